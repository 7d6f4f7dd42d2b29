"""The schema that migrations make: what the models say, reversible, and protected by itself."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest
from alembic import command
from sqlalchemy import Connection, make_url, text

from app.core.config import Settings
from app.db import engines
from app.projects.models import Project
from app.tenancy import lifecycle, tenant_session
from app.tenancy.session import as_owner
from tests.catalogue import Schema, alembic, read_postgresql, read_sqlite
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
