"""Bugsink: a real server that speaks Sentry's protocol, run on loopback with a database of its own.

`make e2e` installs it into backend/.venv/bugsink, apart from the service: what it pins is its own affair.
"""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx

from tests.servers import free_port
from tests.wire.server import BACKEND

PYTHON = BACKEND / ".venv" / "bugsink" / "bin" / "python"
LOG = "bugsink.log"
PATIENCE = 30.0  # seconds for it to start, and for a report to be seen in it

PROJECT = 1
PUBLIC_KEY = "00000000000040008000000000000001"
AUTH_TOKEN = "0123456789" * 4
ACCOUNT = {"username": "operator@bugsink.test", "password": "development-only"}

SETTINGS = """
import os
from bugsink.settings.default import *

SECRET_KEY = "development-only"
TIME_ZONE = "UTC"
SNAPPEA = {"TASK_ALWAYS_EAGER": True}
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
BUGSINK = {
    "BASE_URL": os.environ["BASE_URL"],
    "INGEST_STORE_BASE_DIR": os.path.abspath("ingestion"),
    "PHONEHOME": False,
    "SINGLE_TEAM": True,
    "SINGLE_USER": True,
    "USER_REGISTRATION": "CB_NOBODY",
}
"""

SEED = f"""
import django
django.setup()

from bsmain.models import AuthToken
from django.contrib.auth import get_user_model
from django.core.management import call_command
from projects.models import Project

call_command("migrate", verbosity=0)
call_command("migrate", "snappea", database="snappea", verbosity=0)
account = {ACCOUNT!r}
get_user_model().objects.create_superuser(email=account["username"], **account)
Project.objects.create(id={PROJECT}, name="Service", slug="service", sentry_key="{PUBLIC_KEY}")
AuthToken.create_full_access(token="{AUTH_TOKEN}")
"""

JSON = dict[str, Any]  # as Bugsink's API answers


@dataclass(frozen=True)
class Bugsink:
    """A running Bugsink, and the directory of all that it keeps."""

    url: str
    directory: Path

    @property
    def dsn(self) -> str:
        """Where its project takes reports."""
        return f"{self.url.replace('://', f'://{PUBLIC_KEY}@')}/{PROJECT}"

    @property
    def log(self) -> str:
        """What it has written so far."""
        return (self.directory / LOG).read_text("utf-8")

    def wait_for_event(self, request_id: str) -> JSON:
        """Return the event of a request with its `data` and its `issue`, once Bugsink has it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for issue in self._ask("issues/", project=PROJECT)["results"]:
                for listed in self._ask("events/", issue=issue["id"])["results"]:
                    event = self._ask(f"events/{listed['id']}/") | {"issue": issue}
                    if event["data"].get("tags", {}).get("request_id") == request_id:
                        return event
            time.sleep(0.1)
        raise TimeoutError(f"nothing of {request_id} arrives:\n{self.log}")

    def _ask(self, path: str, **query: str | int) -> JSON:
        response = httpx.get(
            f"{self.url}/api/canonical/0/{path}",
            params=query,
            headers={"Authorization": f"Bearer {AUTH_TOKEN}"},
        )
        answer: JSON = response.raise_for_status().json()
        return answer

    @contextmanager
    def operator(self) -> Iterator[httpx.Client]:
        """Yield a client that is logged in, and so sees every page."""
        with httpx.Client(base_url=self.url, follow_redirects=True) as client:
            form = client.get("/accounts/login/").text
            hidden = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
            assert hidden, form
            fields = {"csrfmiddlewaretoken": hidden[1], **ACCOUNT}
            client.post("/accounts/login/", data=fields).raise_for_status()
            yield client

    def photograph(self, event: JSON, file: Path) -> None:
        """Save the page of an event as Chromium shows it to the operator."""
        playwright = import_module("playwright.sync_api")  # no dependency: it serves nothing else
        with self.operator() as client, playwright.sync_playwright() as drivers:
            chromium = drivers.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = chromium.new_page(viewport={"width": 1200, "height": 1420})
            page.context.add_cookies(
                [
                    {"name": n, "value": value, "url": self.url}
                    for n, value in client.cookies.items()
                ]
            )
            page.goto(f"{self.url}/issues/issue/{event['issue']['id']}/event/last/details/")
            page.screenshot(path=file)
            chromium.close()

    def stored(self) -> Iterator[tuple[str, str]]:
        """Yield all that it keeps, by place: each file as it is, and each value of its tables."""
        for file in self.directory.rglob("*"):
            if file.is_file():
                yield file.name, file.read_bytes().decode("utf-8", "replace")
        for file in self.directory.glob("*.sqlite3"):
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
                listing = "SELECT name FROM sqlite_master WHERE type = 'table'"
                for (table,) in database.execute(listing).fetchall():
                    for row in database.execute(f'SELECT * FROM "{table}"'):
                        yield table, "\n".join(map(_readable, row))


def _readable(value: object) -> str:
    """Return a stored value as text; of JSON also what its escapes stand for."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    with suppress(ValueError):
        text += json.dumps(json.loads(text), ensure_ascii=False)
    return text


def migrate(directory: Path) -> None:
    """Make the database of a Bugsink with an operator and a project, in an empty directory."""
    (directory / "bugsink_settings.py").write_text(SETTINGS)
    with _started([PYTHON, "-c", SEED], directory, "http://127.0.0.1") as process:
        if process.wait(PATIENCE):
            raise RuntimeError((directory / LOG).read_text("utf-8"))


@contextmanager
def run(migrated: Path, directory: Path) -> Iterator[Bugsink]:
    """Yield a Bugsink that starts with a copy of what `migrate` made, once it answers; stop it."""
    shutil.copytree(migrated, directory, dirs_exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    bugsink = Bugsink(f"http://{address}", directory)
    command: list[str | Path] = [
        PYTHON,
        "-m",
        "gunicorn",
        "--no-control-socket",
        "--bind",
        address,
        "bugsink.wsgi",
    ]
    with _started(command, directory, bugsink.url) as process:
        _wait_until_ready(bugsink, process)
        yield bugsink


@contextmanager
def _started(
    command: list[str | Path], directory: Path, url: str
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(directory),
        "DJANGO_SETTINGS_MODULE": "bugsink_settings",
        "BASE_URL": url,
    }
    with (directory / LOG).open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,  # gunicorn's workers end with it, whatever happens
        )
    try:
        yield process
        process.terminate()
        process.wait(PATIENCE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(bugsink: Bugsink, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{bugsink.url}/health/ready").is_success:
                return
        time.sleep(0.1)
    raise RuntimeError(f"Bugsink does not start:\n{bugsink.log}")
