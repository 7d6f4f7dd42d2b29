"""The schema that migrations make: what the models say, reversible, and protected by itself."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import asyncpg
import httpx
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError

from app.auth import issuer
from app.core.config import Settings
from app.db import engines
from app.main import create_app
from app.projects.models import Project
from app.tenancy import lifecycle, tenant_session
from app.tenancy.session import as_owner
from migrations import partitions
from tests.catalogue import Database, Schema, alembic, read_postgresql, read_sqlite
from tests.conftest import BACKEND
from tests.servers import Cluster

PARTITIONS = {"sqlite": None, "postgresql": None, "partitions": 3}

Found = TypeVar("Found")


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def settings(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Settings:
    """Settings of a migrated database of the test's own: its schema will change."""
    if kind == "sqlite":
        made = Settings(DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/app.db")
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        made = Settings.model_validate(cluster.urls(cluster.create_database()))
    engines.configure(made)
    command.upgrade(alembic(PARTITIONS[kind]), "head")
    return made


on_every_database = pytest.mark.parametrize("kind", PARTITIONS, indirect=True)
on_postgresql = pytest.mark.parametrize("kind", ["postgresql"], indirect=True)


def schema(settings: Settings) -> Schema:
    """Read the schema as it is."""
    url = make_url(settings.MIGRATION_DATABASE_URL or settings.DATABASE_URL)
    if url.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(url.database or "")) as file:
            return read_sqlite(file)
    return asyncio.run(by_driver(url.set(drivername="postgresql").render_as_string(False)))


async def by_driver(url: str) -> Schema:
    connection = await asyncpg.connect(url)
    try:
        return await read_postgresql(connection)
    finally:
        await connection.close()


def look(read: Callable[[Connection], Found]) -> Found:
    """Ask the database something, as its owner."""
    found: list[Found] = []
    asyncio.run(as_owner(lambda connection: found.append(read(connection))))
    return found[0]


# Everything that a schema may hold, but for what belongs to a table.
OBJECTS = {
    "sqlite": "SELECT name FROM sqlite_schema WHERE type <> 'index'",
    "postgresql": """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind <> 'i'
        UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT typname FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typrelid = 0 AND typelem = 0
        UNION ALL SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'
    """,
}


def objects(connection: Connection) -> set[str]:
    return set(connection.scalars(text(OBJECTS[connection.dialect.name])))


@on_every_database
@pytest.mark.usefixtures("settings")
def test_the_models_and_the_migrations_agree() -> None:
    command.check(alembic())


@on_every_database
def test_migrations_go_down_and_up_again(settings: Settings, kind: str) -> None:
    before = schema(settings)
    command.downgrade(alembic(), "base")
    assert look(objects) - {"public", "information_schema"} == {"alembic_version"}
    command.upgrade(alembic(PARTITIONS[kind]), "head")
    assert schema(settings) == before


@on_every_database
def test_a_new_table_is_protected_without_a_word_about_tenants(settings: Settings) -> None:
    def add(connection: Connection) -> None:
        columns = "tenant_id varchar(63) NOT NULL, id int, PRIMARY KEY (tenant_id, id)"
        connection.execute(text(f"CREATE TABLE made_by_a_test ({columns})"))

    asyncio.run(as_owner(add))
    found = {table.name: table for table in schema(settings).tables}
    new, old = found["made_by_a_test"], found["projects"]
    assert new.is_forced == old.is_forced
    assert new.policies == old.policies
    triggers = [trigger.replace("projects", "made_by_a_test") for trigger in old.triggers]
    assert list(new.triggers) == triggers


@on_every_database
def test_a_migration_that_fails_changes_nothing(settings: Settings) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half_done (id int)"))
        raise RuntimeError

    before = schema(settings)
    with pytest.raises(RuntimeError):
        asyncio.run(as_owner(fail))
    assert schema(settings) == before


@on_postgresql
def test_what_was_granted_by_hand_is_gone_after_the_next_migration(settings: Settings) -> None:
    owner = make_url(settings.MIGRATION_DATABASE_URL).set(drivername="postgresql")

    async def grant() -> None:
        connection = await asyncpg.connect(owner.render_as_string(False))
        await connection.execute("GRANT TRUNCATE, SELECT ON projects, audit_log TO PUBLIC")
        await connection.close()

    before = schema(settings)
    asyncio.run(grant())
    assert schema(settings) != before
    asyncio.run(as_owner(lambda _: None))
    assert schema(settings) == before


@on_postgresql
def test_a_migration_of_rows_lifts_the_protection_for_itself_alone(settings: Settings) -> None:
    async def fill() -> None:
        await lifecycle.create("acme")
        async with tenant_session("acme") as session:
            session.add(Project(name="Rocket"))
        await engines.dispose()

    asyncio.run(fill())
    rename = text("UPDATE projects SET name = name || '!'")

    def rows_renamed(connection: Connection) -> int:
        return connection.execute(rename).rowcount

    def rows_renamed_unforced(connection: Connection) -> int:
        connection.execute(text("ALTER TABLE projects NO FORCE ROW LEVEL SECURITY"))
        return rows_renamed(connection)

    assert look(rows_renamed) == 0
    assert look(rows_renamed_unforced) == 1
    assert look(rows_renamed) == 0


# Tables divided by hash of the tenant: asked for once, then nobody has to think of it.


COUNT = 3
TENANTS = [f"tenant-{number}" for number in range(8)]


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Database:
    return Database(cluster, partitions=COUNT)


@pytest.fixture(scope="module")
def unpartitioned(cluster: Cluster) -> Database:
    return Database(cluster)


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    engines.configure(database.settings)
    app = create_app(database.settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as made:
            yield made


@pytest.mark.anyio
async def test_the_service_notices_nothing_of_partitions(
    client: httpx.AsyncClient, database: Database
) -> None:
    for tenant in TENANTS:
        await lifecycle.create(tenant)
        headers = {
            "Authorization": f"Bearer {issuer.issue(database.settings, tenant, 'alice', '')}"
        }
        for name in ("Apollo", "Gemini"):
            made = await client.post("/api/v1/projects", json={"name": name}, headers=headers)
            assert made.status_code == 201
        again = await client.post("/api/v1/projects", json={"name": "Apollo"}, headers=headers)
        gone = await client.delete(f"/api/v1/projects/{made.json()['id']}", headers=headers)
        assert (again.status_code, gone.status_code) == (409, 204)
        listed = await client.get("/api/v1/projects", headers=headers)
        assert [item["name"] for item in listed.json()["items"]] == ["Apollo"]
    exported = [table async for table, _ in lifecycle.export(TENANTS[0])]
    erased = [step async for step in lifecycle.erase(TENANTS[0])]
    assert exported == ["projects"]
    assert erased[-1].left == {"projects": 0, "tasks": 0}

    async def read(connection: asyncpg.Connection) -> set[str]:
        rows = await connection.fetch("SELECT tableoid::regclass::text FROM projects")
        return {row[0] for row in rows}

    assert await database.read(read) == {f"projects_{rest}" for rest in range(COUNT)}


@pytest.mark.anyio
@pytest.mark.parametrize("role", ["DATABASE_URL", "SYSTEM_DATABASE_URL", "MIGRATION_DATABASE_URL"])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT FROM projects_0",
        "DELETE FROM projects_0",
        "UPDATE projects_0 SET name = 'mine'",
        "INSERT INTO tenants_0 VALUES ('mine', 'active', now())",
    ],
)
async def test_no_role_reaches_a_partition_but_through_its_table(
    database: Database, role: str, statement: str
) -> None:
    url = make_url(database.settings.database_urls[role]).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        assert (await connection.execute(statement)).endswith(" 0")  # the owner is shown no row
    except asyncpg.InsufficientPrivilegeError:
        pass
    else:
        assert role == "MIGRATION_DATABASE_URL"
    finally:
        await connection.close()


LATER = """
import sqlalchemy as sa
from alembic import op

revision = "later"
down_revision = {head!r}


def upgrade() -> None:
    op.create_table(
        "notes",
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("tenant_id", "id"),
    )


def downgrade() -> None:
    op.drop_table("notes")
"""


def test_a_later_migration_makes_partitions_without_being_told(
    database: Database, tmp_path: Path
) -> None:
    engines.configure(database.settings)
    config = alembic()
    head = ScriptDirectory.from_config(config).get_current_head()
    (tmp_path / "later.py").write_text(LATER.format(head=head))
    places = (str(BACKEND / "migrations" / "versions"), str(tmp_path))
    config.set_main_option("version_locations", os.pathsep.join(places))
    command.upgrade(config, "head")
    made = database.look(read_postgresql)
    command.downgrade(config, "-1")
    left = database.look(read_postgresql)
    notes = {table.name: table for table in made.tables if table.name.startswith("notes")}
    assert notes.keys() == {"notes", *(f"notes_{rest}" for rest in range(COUNT))}
    like = next(table for table in made.tables if table.name == "projects")
    assert {(table.is_forced, table.policies) for table in notes.values()} == {
        (True, like.policies)
    }
    assert not [table for table in left.tables if table.name in notes]


BY_APP = ("app", "db", "upgrade", "--partitions", "{}")
BY_ALEMBIC = ("alembic", "-x", "partitions={}", "upgrade", "head")


def upgrade(program: tuple[str, ...], urls: dict[str, str], count: int) -> tuple[int, str]:
    """Migrate as an operator does; return the code, and the complaint."""
    done = subprocess.run(
        [sys.executable, "-m", *(word.format(count) for word in program)],
        cwd=BACKEND,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", **urls},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("program", [BY_APP, BY_ALEMBIC])
def test_the_number_of_partitions_stays_as_it_is(
    database: Database, program: tuple[str, ...]
) -> None:
    urls = database.settings.database_urls
    assert upgrade(program, urls, COUNT) == (0, "")
    refusal = f"The tables of this database have {COUNT} partitions: that can't be changed.\n"
    assert upgrade(program, urls, COUNT + 1) == (1, refusal)


def test_tables_that_are_there_are_not_divided(unpartitioned: Database) -> None:
    refusal = "The tables of this database have no partitions: that can't be changed.\n"
    assert upgrade(BY_APP, unpartitioned.settings.database_urls, 8) == (1, refusal)


def test_sqlite_has_no_partitions(tmp_path: Path) -> None:
    refusal = "Partitions are for PostgreSQL: DATABASE_URL names another database.\n"
    url = f"sqlite+aiosqlite:///{tmp_path}/app.db"
    assert upgrade(BY_APP, {"DATABASE_URL": url}, 8) == (1, refusal)


@pytest.mark.parametrize("count", ["0", "1", "-2", "1025", "2.0", "two", "\u0662", "", "9" * 5000])
def test_a_number_that_can_not_be_is_refused(unpartitioned: Database, count: str) -> None:
    engines.configure(unpartitioned.settings)
    with pytest.raises(SystemExit, match=r"^The number of partitions is 2 to 1024\.$"):
        command.upgrade(alembic(count), "head")


class NoMemoryForLocksError(Exception):
    sqlstate = "53200"


def test_too_many_for_the_server_are_refused_with_what_to_do() -> None:
    # Bringing a server to it takes a minute; its answer is this one.
    with pytest.raises(SystemExit, match="larger max_locks"), partitions.made(COUNT):
        raise DBAPIError("CREATE TABLE", {}, NoMemoryForLocksError())
