"""What the tests share: a migrated database of each kind, the application, and its callers."""

import os
import sqlite3

# Tests take nothing from the developer's own .env file.
os.environ["ENV_FILE"] = ""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from alembic import command
from alembic.config import Config
from fastapi import FastAPI

from app.auth import issuer
from app.core.config import Settings
from app.db import engines
from app.main import create_app
from app.tenancy import lifecycle
from tests.servers import Cluster, find_cluster
from tests.wire.server import command_line

BACKEND = Path(__file__).parents[1]

Headers = dict[str, str]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


FOUND = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with find_cluster() as found:
        request.config.stash[FOUND] = f"and PostgreSQL {found.version()}"
        yield found


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which databases were tried: a test that is skipped is easily overlooked."""
    postgresql = config.stash.get(FOUND, "alone: PostgreSQL was not asked for, or not found")
    terminalreporter.write_line(f"Databases: SQLite {sqlite3.sqlite_version} {postgresql}")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "app.db"
    migrate(Settings(DATABASE_URL=f"sqlite+aiosqlite:///{file}"))
    return file


@pytest.fixture(scope="session")
def postgresql_database(cluster: Cluster) -> str:
    name = cluster.create_database()
    migrate(Settings.model_validate(cluster.urls(name)))
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a migrated database without rows, once for each kind."""
    key_file = {"AUTH_LOCAL_KEY_FILE": str(tmp_path / "issuer.json")}
    if request.param == "sqlite":
        file = tmp_path / "app.db"
        file.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        url = {"DATABASE_URL": f"sqlite+aiosqlite:///{file}"}
        made = Settings.model_validate(url | key_file)
        engines.configure(made)
        yield made
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        database = request.getfixturevalue("postgresql_database")
        made = Settings.model_validate(cluster.urls(database) | key_file)
        engines.configure(made)
        yield made
        cluster.execute(database, "SET lock_timeout = '10s'; TRUNCATE tenants CASCADE")


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    """The application, started, with the tenants acme and globex."""
    made = create_app(settings)
    async with made.router.lifespan_context(made):
        for name in ("acme", "globex"):
            await lifecycle.create(name)
        yield made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as made:
        yield made


@pytest.fixture
def as_user(settings: Settings) -> Callable[..., Headers]:
    """Make the headers of a caller: `as_user("acme", scope="tenants:admin")`."""

    def headers(tenant: str, user: str = "alice", scope: str = "") -> Headers:
        return {"Authorization": f"Bearer {issuer.issue(settings, tenant, user, scope)}"}

    return headers


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A developer's machine: the embedded database, migrated, with the tenant acme."""
    directory = tmp_path_factory.mktemp("service")
    variables = {
        "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/app.db",
        "AUTH_LOCAL_KEY_FILE": f"{directory}/issuer.json",
    }
    command_line(variables, "db", "upgrade")
    command_line(variables, "tenant", "create", "acme")
    return variables


def migrate(settings: Settings) -> None:
    """Bring a database to the newest schema, as `python -m app db upgrade` does."""
    engines.configure(settings)
    command.upgrade(Config(BACKEND / "alembic.ini"), "head")
