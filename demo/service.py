"""The generated service as its README starts it, and people who call it."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

# What the demonstration takes over from a person's environment: not the settings of other services,
# and only for installing what leads to a package index. Nothing else here leaves this machine.
NEEDED = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR")
NETWORK = ("HTTP", "NO_PROXY", "PIP_", "SSL_", "UV_", "http", "no_proxy")
HERE = urllib.request.build_opener(urllib.request.ProxyHandler({}))
START_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 20.0  # seconds


class DemonstrationError(Exception):
    """Something is not as the demonstration says; the message tells what."""


def environment(**settings: str) -> dict[str, str]:
    """Return an environment with these settings and nothing that would change the service."""
    return {name: value for name, value in os.environ.items() if name in NEEDED} | settings


def run(command: list[str], directory: Path, **settings: str) -> str:
    """Run a command to its end and return what it prints; an error shows all that it said."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemonstrationError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def install(project: Path) -> None:
    """Install what the project needs; without a network, from what uv kept of the last time."""
    network = {name: value for name, value in os.environ.items() if name.startswith(NETWORK)}
    try:
        run(["make", "install"], project, **network)
    except DemonstrationError as error:
        try:
            run(["make", "install"], project, **network, UV_OFFLINE="1")
        except DemonstrationError:
            raise error from None


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(project: Path, **settings: str) -> Iterator[str]:
    """Run the service with `make run`, yield its URL once it is ready, and stop it after."""
    port = free_port()
    log = project / "service.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["make", "run"],
            cwd=project,
            env=environment(PORT=str(port), ENVIRONMENT="development", **settings),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, url)
        yield url
    except DemonstrationError as error:
        raise DemonstrationError(f"{error}\n\nThe service said:\n{log.read_text()}") from error
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with HERE.open(f"{url}/health/ready", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise DemonstrationError(f"make run is ready within {START_TIMEOUT:.0f} seconds")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt it as Ctrl-C does, which goes to make and to the service; then make sure."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@dataclass(frozen=True)
class Answer:
    """What the service answered."""

    status: int
    headers: "Message[str, str]"
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is any
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def without_request_id(self) -> bytes:
        """The body, with the request's own id struck out."""
        return self.body.replace(self.headers["X-Request-ID"].encode(), b"")


@dataclass(frozen=True)
class Person:
    """Someone of a tenant, with a token."""

    name: str
    tenant: str
    token: str
    url: str

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """Call the service."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with HERE.open(request, timeout=30) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())
