"""A generated service is what its OpenAPI document says, to an operator and to a plain user.

SCHEMA_EXAMPLES=200 tries as many calls of each operation, and others each time.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import postgresql
from bakery import ALL_CHOSEN, Bakery
from environments import Environment, free_port, run
from template_source import REPOSITORY

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "0"))
FEW = 10
PATIENCE = 30.0  # seconds for a server to start
JUDGE = REPOSITORY / "tests" / "schema"
CALLERS = {
    "plain user": ["--tenant", "acme", "--user", "alice"],
    "operator": ["--tenant", "operations", "--user", "olga", "--scope", "tenants:admin"],
}
TENANTS = ("acme", "globex", "operations")
ROLES = {
    "DATABASE_URL": "app",
    "SYSTEM_DATABASE_URL": "app_system",
    "MIGRATION_DATABASE_URL": "app_owner",
}
HERE = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of an empty database, once for each kind."""
    if request.param == "sqlite":
        yield {"DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"}
        return
    if (programs := postgresql.programs()) is None:
        reason = "no PostgreSQL server on this machine (Debian: apt-get install postgresql)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with postgresql.running(programs, "of-a-test") as server:
        for role in ROLES.values():
            server.psql("--command", f"CREATE ROLE {role} LOGIN PASSWORD '{server.password}'")
        server.psql("--command", "CREATE DATABASE service OWNER app_owner")
        yield {
            setting: f"postgresql+asyncpg://{role}:{server.password}@{server.address}/service"
            for setting, role in ROLES.items()
        }


@dataclass(frozen=True)
class Service:
    """A generated service that runs, and its command line."""

    url: str
    python: Path
    backend: Path
    settings: Mapping[str, str]

    def command(self, *words: str) -> str:
        return run([self.python, "-m", "app", *words], self.backend, **self.settings).strip()

    def status(self, path: str, **headers: str) -> int:
        """Return the status of what it answers; 0 where it does not answer."""
        try:
            with HERE.open(urllib.request.Request(self.url + path, headers=headers)) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


@pytest.fixture
def service(
    bakery: Bakery, environment: Environment, database: dict[str, str], tmp_path: Path
) -> Iterator[Service]:
    """The service, with the tenants that the callers belong to, and one more."""
    port = free_port()
    settings = database | {
        "AUTH_LOCAL_KEY_FILE": str(tmp_path / "issuer.json"),
        "ENV_FILE": "",
        "PORT": str(port),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    backend = bakery.project(ALL_CHOSEN) / "backend"
    made = Service(f"http://127.0.0.1:{port}", environment.bin / "python", backend, settings)
    for words in ("db upgrade", *(f"tenant create {name}" for name in TENANTS)):
        made.command(*words.split())
    with (tmp_path / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [made.python, "-m", "app", "run"],
            cwd=backend,
            env={"PATH": os.environ["PATH"], **settings},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while made.status("/health/ready") != 200:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(
                    f"the service does not start:\n{(tmp_path / 'service.log').read_text()}"
                )
            time.sleep(0.05)
        yield made
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("caller", CALLERS)
def test_the_service_is_what_its_document_says(
    service: Service, caller: str, tmp_path: Path
) -> None:
    token = service.command("token", *CALLERS[caller])
    schemathesis = Path(sys.executable).with_name("schemathesis")
    run(
        [
            *(schemathesis, "--no-color", "--config-file", JUDGE / "schemathesis.toml"),
            *("run", f"{service.url}/openapi.json", "--checks", "all"),
            *("--header", f"Authorization: Bearer {token}"),
            *("--max-examples", str(EXAMPLES or FEW), "--generation-database", "none"),
            *([] if EXAMPLES else ["--seed", "1"]),
        ],
        tmp_path,
        SCHEMATHESIS_HOOKS="hooks",
        PYTHONPATH=JUDGE,
    )
    assert service.status("/api/v1/projects", Authorization=f"Bearer {token}") == 200
