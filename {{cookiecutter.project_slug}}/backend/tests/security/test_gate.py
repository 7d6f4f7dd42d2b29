"""The gate, from below: what a driver's connection does by itself, and what the guard hangs on."""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from inspect import isawaitable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from sqlalchemy import ColumnElement, Connection, String, bindparam, insert, select
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import SavepointClause

from app.db import Role, current_settings, engines, open_session
from app.projects.models import Project
from app.tenancy import TenancyError, guard, sqlite, tenant_session
from app.tenancy.guard import Gate, approving
from app.tenancy.session import _prepare
from tests.security.sessions import driver_of

pytestmark = pytest.mark.anyio

on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("settings", ["postgresql"], indirect=True)

# What a driver may be asked at any time: it sends no SQL, or ends the transaction.
SILENT = {
    asyncpg.Connection: {
        "close",
        "get_server_pid",
        "get_server_version",
        "get_settings",
        "is_closed",
        "is_in_transaction",
        "reload_schema_state",
        "terminate",
        "transaction",
    },
    sqlite3.Connection: {"close", "commit", "cursor", "interrupt", "rollback"},
}


def methods(connection: type) -> list[str]:
    """Return the names of a driver's other methods."""
    public = {name for name in dir(connection) if name[0].islower()}
    return sorted(name for name in public - SILENT[connection] if callable(vars(connection)[name]))


async def connection_of(session: AsyncSession) -> Connection:
    """Return the connection that a session uses, which has the gate."""
    connection = (await session.connection()).sync_connection
    assert connection is not None
    return connection


async def at_sqlite(session: AsyncSession, call: Callable[[sqlite3.Connection], object]) -> object:
    """Call something with SQLite's own connection, in the thread that it belongs to."""
    driver = await driver_of(session)
    return await driver._execute(call, driver._conn)


@on_sqlite
@pytest.mark.parametrize("name", [*methods(sqlite3.Connection), "__exit__"])
async def test_no_method_of_sqlites_connection_goes_past_the_gate(name: str, app: FastAPI) -> None:
    async with tenant_session("acme") as session:
        await session.execute(select(Project))
        with pytest.raises(TenancyError, match="session's own methods"):
            await at_sqlite(session, lambda connection: getattr(connection, name)("SELECT 1"))


@on_postgresql
@pytest.mark.parametrize("name", methods(asyncpg.Connection))
async def test_no_method_of_postgresqls_connection_goes_past_the_gate(
    name: str, app: FastAPI
) -> None:
    async with tenant_session("acme") as session:
        await session.execute(select(Project))
        method = getattr(await driver_of(session), name)
        with pytest.raises(TenancyError, match="session's own methods"):
            await method("SELECT 1", [])


@on_postgresql
@pytest.mark.parametrize("name", sorted(SILENT[asyncpg.Connection] - {"close", "terminate"}))
async def test_postgresqls_connection_may_be_asked_what_sends_no_sql(
    name: str, app: FastAPI
) -> None:
    async with tenant_session("acme") as session:
        told = getattr(await driver_of(session), name)()
        if isawaitable(told):
            await told


@on_postgresql
@pytest.mark.parametrize("name", ["close", "terminate"])
async def test_postgresqls_connection_may_be_given_up(name: str, app: FastAPI) -> None:
    async with tenant_session("acme") as session:
        driver = await driver_of(session)
        if isawaitable(told := getattr(driver, name)()):
            await told
        assert driver.is_closed()
        await (await session.connection()).invalidate()
        await session.rollback()


async def test_a_statement_is_approved_once(app: FastAPI) -> None:
    """Not after it was run, and not after it has failed."""
    async with tenant_session("acme") as session:
        connection = await connection_of(session)
        for statement in (select(Project), *[insert(Project).values(name="taken")] * 2):
            with suppress(IntegrityError):
                await session.execute(statement)
            assert Gate.of(connection).approved is None
        await session.rollback()


@on_postgresql
async def test_a_commit_that_is_refused_has_ended_the_transaction(app: FastAPI) -> None:
    async with tenant_session("acme") as session:
        session.add(Project(name="undone"))
        await session.flush()
        driver = await driver_of(session)
        with pytest.raises(TenancyError):
            await driver.execute("COMMIT;")
        assert not driver.is_in_transaction()
        await session.rollback()


@on_sqlite
async def test_a_commit_that_is_refused_leaves_nothing_to_the_next_one(app: FastAPI) -> None:
    async with tenant_session("acme") as session:
        session.add(Project(name="undone"))
        await session.flush()
        with pytest.raises(TenancyError):
            await at_sqlite(session, lambda connection: connection.commit())
        assert not await at_sqlite(session, lambda connection: connection.in_transaction)
        await session.rollback()


def test_a_commit_that_fails_leaves_no_transaction(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "app.db", factory=sqlite.UndoingConnection)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(
        "CREATE TABLE nodes (id INTEGER PRIMARY KEY, parent REFERENCES nodes DEFERRABLE INITIALLY DEFERRED)"
    )
    connection.execute("INSERT INTO nodes VALUES (1, 2)")
    with pytest.raises(sqlite3.IntegrityError):
        connection.commit()
    assert not connection.in_transaction
    connection.close()


@on_sqlite
async def test_a_savepoint_is_no_way_around_the_transaction(app: FastAPI) -> None:
    savepoint: Any = SavepointClause  # which has no types
    async with tenant_session("acme") as session:
        connection = await session.connection()
        with pytest.raises(TenancyError):
            await connection.execute(savepoint("beside"))


def test_a_connection_that_is_closed_keeps_no_lock(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "app.db", factory=sqlite.UndoingConnection)
    connection.execute("CREATE TABLE notes (id INTEGER)")
    connection.executemany("INSERT INTO notes VALUES (?)", [(1,), (2,)])
    unread = connection.execute("SELECT id FROM notes")  # as a traceback may keep it
    connection.close()
    with closing(sqlite3.connect(tmp_path / "app.db", timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
    del unread


@on_postgresql
async def test_outside_of_a_transaction_nothing_runs_and_the_next_one_has_its_own(
    app: FastAPI,
) -> None:
    async with tenant_session("acme") as session:
        session.add(Project(name="own"))
    async with tenant_session("acme") as session:
        raw = await (await session.connection()).get_raw_connection()
        adapted: Any = raw.dbapi_connection
        adapted.autocommit = True
        with pytest.raises(TenancyError):
            await session.execute(select(Project))
    async with tenant_session("acme") as session:
        assert await session.scalar(select(Project.name)) == "own"


async def test_without_a_tenant_there_is_no_query(app: FastAPI) -> None:
    async with open_session(Role.APPLICATION, _prepare) as session:
        with pytest.raises(TenancyError, match="no tenant, no query"):
            await session.execute(select(Project))


async def test_driver_sql_is_refused_with_what_to_write_instead(app: FastAPI) -> None:
    async with tenant_session("acme") as session:
        connection = await session.connection()
        with pytest.raises(TenancyError, match=r"driver SQL can't be scoped: write select\(\)"):
            await connection.exec_driver_sql("SELECT 1")


async def test_another_sessions_use_does_not_change_a_statements_tenant(app: FastAPI) -> None:
    async with tenant_session("acme") as acme, tenant_session("globex") as globex:

        def look() -> str:
            globex.sync_session.execute(select(Project.name))
            return "a value that depends on it"

        # It is asked for its value before the guard is asked for the tenant.
        query = select(bindparam("looked", callable_=look, type_=String()), Project.name)
        with pytest.raises(TenancyError, match="another session was used"):
            await acme.run_sync(lambda session: session.execute(query))


async def test_who_loses_a_connections_gate_loses_the_connection(app: FastAPI) -> None:
    with suppress(TenancyError):
        async with tenant_session("acme") as session:
            (await session.connection()).info.clear()
    async with tenant_session("globex") as session:
        assert (await session.scalars(select(Project))).all() == []


async def test_a_connection_has_one_tenant_until_it_is_given_back(app: FastAPI) -> None:
    async with tenant_session("acme") as session:
        connection = await connection_of(session)
        with pytest.raises(TenancyError, match="another tenant"):
            guard.enter(connection, "globex", begins=True)
        assert Gate.of(connection).tenant == "acme"


async def test_what_was_rolled_back_is_not_waiting_to_be_checked(app: FastAPI) -> None:
    async with tenant_session("acme") as session:
        session.add(Project(name="undone"))
        await session.flush()
        connection = await connection_of(session)
        assert Gate.of(connection).inserted_into == {"projects"}
        await session.rollback()
        connection = await connection_of(session)
        assert Gate.of(connection).inserted_into == set()


@on_sqlite
@pytest.mark.parametrize("name", ["execute", "executemany", "executescript"])
async def test_no_cursor_of_sqlite_goes_past_the_gate(name: str, app: FastAPI) -> None:
    def run(connection: sqlite3.Connection) -> object:
        return getattr(connection.cursor(), name)("SELECT 1")

    async with tenant_session("acme") as session:
        with pytest.raises(TenancyError, match="session's own methods"):
            await at_sqlite(session, run)


ATTRIBUTES = ("isolation_level", "row_factory", "text_factory", "_gate", "_is_sealed")


@on_sqlite
@pytest.mark.parametrize("name", ATTRIBUTES)
async def test_nothing_can_be_set_on_sqlites_connection(name: str, app: FastAPI) -> None:
    async with tenant_session("acme") as session:
        with pytest.raises(TenancyError, match="session's own methods"):
            await at_sqlite(session, lambda connection: setattr(connection, name, None))


APPROVED = "SELECT name FROM projects WHERE tenant_id = ?"


@on_sqlite
@pytest.mark.parametrize(
    ("sql", "values"),
    [(APPROVED, ("globex",)), (APPROVED, ()), (APPROVED + " ", ("acme",)), (APPROVED, None)],
)
async def test_what_is_approved_is_a_statement_with_its_values(
    sql: str, values: tuple[str, ...] | None, app: FastAPI
) -> None:
    async with tenant_session("acme") as session:
        session.add(Project(name="own"))
        await session.commit()
        connection = await connection_of(session)
        Gate.of(connection)._parameters = ("acme",)
        arguments = [] if values is None else [values]

        def run(driver: sqlite3.Connection) -> object:
            return driver.cursor().execute(APPROVED, ("acme",)).fetchall()

        def run_another(driver: sqlite3.Connection) -> object:
            return driver.cursor().execute(sql, *arguments).fetchall()

        with approving(connection, APPROVED):
            assert await at_sqlite(session, run) == [("own",)]
            with pytest.raises(TenancyError):
                await at_sqlite(session, run_another)
        with pytest.raises(TenancyError):
            await at_sqlite(session, run)


SCHEMAS = ("sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema")


@on_sqlite
@pytest.mark.parametrize("table", SCHEMAS)
async def test_the_authorizer_stays_and_hides_the_schema(table: str, app: FastAPI) -> None:
    look = f"SELECT sql FROM {table}"
    async with tenant_session("acme") as session:
        connection = await connection_of(session)
        Gate.of(connection)._parameters = ()
        with pytest.raises(TenancyError):
            await at_sqlite(session, lambda driver: driver.set_authorizer(None))
        with approving(connection, look), pytest.raises(sqlite3.DatabaseError, match="prohibited"):
            await at_sqlite(session, lambda driver: driver.cursor().execute(look, ()))


async def test_who_has_no_tenant_writes_no_row_without_one() -> None:
    assert not sqlite._may_write(Gate(), None)


@on_sqlite
async def test_what_is_not_committed_is_undone_when_the_connection_closes(app: FastAPI) -> None:
    async with tenant_session("acme") as session:
        session.add(Project(name="undone"))
        await session.flush()
        connection = await session.connection()
        cursor = await at_sqlite(session, lambda driver: driver.cursor())  # which outlives it
        await (await driver_of(session)).interrupt()
        await (await driver_of(session)).close()
        await connection.invalidate()
        file = current_settings().DATABASE_URL.removeprefix("sqlite+aiosqlite:///")
        with closing(sqlite3.connect(file, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
        del cursor
        await session.rollback()


@on_sqlite
async def test_sqlite_begins_with_the_lock_of_the_writer(app: FastAPI) -> None:
    async with tenant_session("acme") as session:
        assert await at_sqlite(session, lambda driver: driver.isolation_level) == "IMMEDIATE"


@on_sqlite
async def test_a_file_that_is_new_to_the_service_takes_readers_beside_a_writer(
    app: FastAPI,
) -> None:
    file = current_settings().DATABASE_URL.removeprefix("sqlite+aiosqlite:///")
    await engines.dispose()
    with closing(sqlite3.connect(file)) as other:
        assert other.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    async with tenant_session("acme") as session:
        await session.execute(select(Project))
    with closing(sqlite3.connect(file)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("name", ["approved", "inserted_into", "parameters", "tenant"])
def test_a_gate_is_not_set_from_outside(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Gate(), name, "globex")


@pytest.mark.parametrize("dialect_class", [PGDialect_asyncpg, SQLiteDialect_aiosqlite])
def test_what_the_guard_changes_in_sqlalchemy_is_there(dialect_class: type[Any]) -> None:
    """A method that SQLAlchemy calls by another name one day would guard nothing."""
    for mixin, changed in (
        (guard._Guard, dialect_class.statement_compiler),
        (guard._Quoting, dialect_class.preparer),
    ):
        hooks = {name for name, value in vars(mixin).items() if callable(value)}
        assert {name for name in hooks if not hasattr(changed, name)} == set()


class Told(ColumnElement[str]):
    """An element of a team's own, which tells how it is compiled."""

    inherit_cache = False


@compiles(Told)
def tell(element: Told, compiler: object, **options: object) -> str:
    return f"'{sorted(options)}'"


def test_elements_of_ones_own_work_where_there_is_no_guard() -> None:
    plain = select(Told()).compile(compile_kwargs={"literal_binds": True})
    assert "literal_binds" in str(plain)


async def test_the_guard_adds_to_a_dialect_and_takes_nothing_away(app: FastAPI) -> None:
    async with tenant_session("acme") as session:
        dialect = session.get_bind().dialect
        assert issubclass(dialect.statement_compiler, type(dialect).statement_compiler)
        assert isinstance(dialect.identifier_preparer, type(dialect).preparer)
