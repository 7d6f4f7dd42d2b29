"""The schema that migrations make: complete, reversible, and protected in every table."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text

from app.core.config import Settings
from app.db import engines
from app.db.base import Base
from app.projects.models import Project
from app.tenancy import lifecycle, tenant_session
from app.tenancy.session import as_owner
from tests.conftest import BACKEND, migrate
from tests.postgresql import Cluster

# Tables that belong to no tenant.
GLOBAL = {"alembic_version"}

# Every table of the models: each has a tenant.
OURS = set(Base.metadata.tables)

ALEMBIC = Config(BACKEND / "alembic.ini")

Found = TypeVar("Found")


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a migrated database of the test's own: its schema will change."""
    if request.param == "sqlite":
        made = Settings(DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/app.db")
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        made = Settings.model_validate(cluster.urls(cluster.create_database()))
    migrate(made)
    return made


def look(read: Callable[[Connection], Found]) -> Found:
    """Read something from the schema, as its owner."""
    found: list[Found] = []
    asyncio.run(as_owner(lambda connection: found.append(read(connection))))
    return found[0]


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


@pytest.mark.usefixtures("settings")
def test_the_models_and_the_migrations_agree() -> None:
    command.check(ALEMBIC)


@pytest.mark.usefixtures("settings")
def test_migrations_go_down_and_up_again() -> None:
    before = look(tables)
    command.downgrade(ALEMBIC, "base")
    assert look(tables) == GLOBAL
    command.upgrade(ALEMBIC, "head")
    assert look(tables) == before


@pytest.mark.usefixtures("settings")
def test_every_key_of_every_table_contains_the_tenant() -> None:
    def keys(connection: Connection) -> dict[str, list[list[str]]]:
        inspector = inspect(connection)
        return {
            table: [
                inspector.get_pk_constraint(table)["constrained_columns"],
                *(key["constrained_columns"] for key in inspector.get_foreign_keys(table)),
                *(key["column_names"] for key in inspector.get_unique_constraints(table)),
            ]
            for table in set(inspector.get_table_names()) - GLOBAL
        }

    found = look(keys)
    assert found
    for table, columns in found.items():
        assert all(key[0] == "tenant_id" for key in columns), table


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_postgresql_protects_every_table(settings: Settings) -> None:
    def protection(connection: Connection) -> dict[str, tuple[bool, bool, set[str]]]:
        rows = connection.execute(
            text(
                "SELECT relname, relrowsecurity, relforcerowsecurity,"
                " ARRAY(SELECT polname::text FROM pg_policy WHERE polrelid = pg_class.oid)"
                " FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
            )
        )
        return {name: (enabled, forced, set(policies)) for name, enabled, forced, policies in rows}

    found = look(protection)
    for table in GLOBAL:
        del found[table]
    assert found == dict.fromkeys(OURS, (True, True, {"own_tenant", "every_tenant"}))


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_the_roles_of_postgresql_may_do_exactly_what_they_must(settings: Settings) -> None:
    def rights(connection: Connection) -> set[tuple[str, str, str]]:
        rows = connection.execute(
            text(
                "SELECT split_part(grantee, '_', 2) = 'system', table_name, privilege_type"
                " FROM information_schema.role_table_grants"
                " WHERE table_schema = 'public' AND grantee <> current_user"
            )
        )
        return {("system" if system else "app", table, right) for system, table, right in rows}

    all_rights = {"SELECT", "INSERT", "UPDATE", "DELETE"}
    allowed = {(role, table) for role in ("app", "system") for table in OURS} - {("app", "tenants")}
    assert look(rights) == {("app", "tenants", "SELECT")} | {
        (role, table, right) for role, table in allowed for right in all_rights
    }


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_sqlite_protects_every_table(settings: Settings) -> None:
    def triggers(connection: Connection) -> set[str]:
        return set(
            connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
        )

    assert look(triggers) == {
        f"{table}_tenant_{verb}"
        for table in look(tables) - GLOBAL
        for verb in ("insert", "update", "delete")
    }


@pytest.mark.usefixtures("settings")
def test_a_new_table_is_protected_without_a_word_about_tenants() -> None:
    def add(connection: Connection) -> None:
        connection.execute(
            text(
                "CREATE TABLE made_by_a_test (tenant_id varchar(63), id int, PRIMARY KEY (tenant_id, id))"
            )
        )

    asyncio.run(as_owner(add))

    def is_protected(connection: Connection) -> bool:
        if connection.dialect.name == "sqlite":
            query = "SELECT count(*) = 3 FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'made_by_a_test'"
        else:
            query = "SELECT relforcerowsecurity FROM pg_class WHERE relname = 'made_by_a_test'"
        return bool(connection.scalar(text(query)))

    assert look(is_protected)


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
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
