"""The database's own layer on SQLite: an authorizer for reads, triggers for writes.

SQLite has no roles. In their place each of the application's connections asks its gate: closed, it
admits nothing; open for a statement that the guard has compiled, it admits reading and writing
rows; and what is written must belong to the gate's tenant, or the trigger on the table aborts.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, event, inspect
from sqlalchemy.pool import ConnectionPoolEntry

from app.db import Role
from app.tenancy.guard import COLUMN, Gate, TenancyError
from app.tenancy.models import RECORDS, AuditEntry

FUNCTION = "may_write"

_ROWS = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_INSERT,
        sqlite3.SQLITE_UPDATE,
        sqlite3.SQLITE_DELETE,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
_ALWAYS = frozenset({sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT})
# By the names that the authorizer is told, whichever a statement has.
_SCHEMA_TABLES = frozenset({"sqlite_master", "sqlite_temp_master"})


# Of the driver's methods, those that run no SQL, and those that are checked below.
_HARMLESS = frozenset({"close", "commit", "cursor", "interrupt", "rollback", "set_authorizer"})
_BEGIN = "BEGIN IMMEDIATE"


class GatedCursor(sqlite3.Cursor):
    """A driver's cursor that runs what the guard approves."""

    connection: "GatedConnection"

    def execute(self, sql: str, *args: Any) -> "GatedCursor":
        """Run the statement that the guard has approved, or begin a transaction."""
        if sql != _BEGIN:
            self.connection.refuse_unless_approved(sql, *args)
        # Without a transaction it would be one, and its release a commit that nobody has checked.
        if sql.startswith("SAVEPOINT") and not self.connection.in_transaction:
            raise _refusal()
        return super().execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> "GatedCursor":
        """Run the statement that the guard has approved, with each of some parameters."""
        self.connection.refuse_unless_approved(sql, *args)
        return super().executemany(sql, *args)

    def executescript(self, sql_script: str) -> sqlite3.Cursor:
        """Refuse a script: the guard compiles none."""
        raise _refusal()


class UndoingConnection(sqlite3.Connection):
    """A driver's connection that undoes what is not committed, at once."""

    def commit(self) -> None:
        """Commit; roll back where that fails."""
        # SQLAlchemy takes a transaction for over once its commit has failed. SQLite does not.
        try:
            super().commit()
        except BaseException:
            self.rollback()
            raise

    def close(self) -> None:
        """Roll back, and close."""
        # SQLite itself keeps the transaction, and its lock, until the last cursor is gone: a
        # cancelled request leaves one in its traceback, until garbage is collected.
        with suppress(sqlite3.ProgrammingError):  # it is closed already
            self.rollback()
        super().close()


class GatedConnection(UndoingConnection):
    """A driver's connection that asks its gate, from the moment that it has an authorizer."""

    def __init__(self, *args: Any, gate: Gate, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self._gate = gate
        self._is_sealed = False

    @property
    def is_sealed(self) -> bool:
        """Whether the gate decides: the driver and SQLAlchemy have set the connection up."""
        return self._is_sealed

    def set_authorizer(self, authorizer_callback: Callable[..., int] | None) -> None:
        """Set the authorizer, once, and let the gate decide from now on."""
        self.refuse_unless_approved("")
        super().set_authorizer(authorizer_callback)
        self._is_sealed = True

    def commit(self) -> None:
        """Commit, once what the transaction has inserted is checked."""
        if self._gate.inserted_into:
            self.rollback()
            raise _refusal()
        super().commit()

    def cursor(self, *args: Any) -> GatedCursor:  # type: ignore[override] # no other is to be had
        """Return a cursor that asks the gate."""
        return super().cursor(GatedCursor)

    def refuse_unless_approved(self, sql: str, *parameters: object) -> None:
        """Raise TenancyError for a statement that is not the guard's, or has other values."""
        gate = self._gate
        if self._is_sealed and (sql, parameters) != (gate.approved, (gate.parameters,)):
            raise _refusal()

    def __setattr__(self, name: str, value: object) -> None:
        # What can be set here commits, or sees rows of whoever uses the connection next.
        if getattr(self, "_is_sealed", False):
            raise _refusal()
        super().__setattr__(name, value)


def _refusal() -> TenancyError:
    return TenancyError("the driver's connection can't be scoped: use the session's own methods")


def _until_sealed(name: str) -> Callable[..., object]:
    """Return a driver's method that works only before the gate decides."""
    method = getattr(sqlite3.Connection, name)

    def call(self: GatedConnection, *args: object, **kw: object) -> object:
        if self.is_sealed:
            raise _refusal()
        return method(self, *args, **kw)

    return call


_public = {
    name
    for name, method in vars(sqlite3.Connection).items()
    if callable(method) and not name.startswith("_")
}
for _name in _public - _HARMLESS | {"__exit__"}:  # which commits
    setattr(GatedConnection, _name, _until_sealed(_name))


def _authorize(gate: Gate, action: int, table: str | None, *_: str | None) -> int:
    """Answer SQLite's question, asked for each part of each statement, by an allow-list."""
    if action in _ALWAYS:
        return sqlite3.SQLITE_OK
    if gate.approved is not None and action in _ROWS and table not in _SCHEMA_TABLES:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _may_write(gate: Gate, tenant: str | None) -> bool:
    """Tell a trigger whether a row of this tenant may be written."""
    return tenant is not None and tenant == gate.tenant


def install(engine: Engine, role: Role) -> None:
    """Prepare an engine's connections; those of the application's role get a gate."""
    guarded = role is Role.APPLICATION

    def choose(
        dialect: Dialect, entry: ConnectionPoolEntry, arguments: object, options: dict[str, object]
    ) -> None:
        made = partial(GatedConnection, gate=Gate.hang(entry)) if guarded else UndoingConnection
        options["factory"] = made

    def connect(connection: Any, entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        # What INSERT OR REPLACE removes is seen by the triggers on DELETE.
        cursor.execute("PRAGMA recursive_triggers = ON")
        # A migration makes a table anew and drops the old one: that must not cascade.
        if role is not Role.MIGRATION:
            cursor.execute("PRAGMA foreign_keys = ON")
        # A table-valued function is made at its first use, which the authorizer would not admit.
        cursor.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')")
        cursor.close()
        if guarded:
            connection.run_async(partial(_seal, gate=Gate.of(entry)))
        else:
            connection.create_function(FUNCTION, 1, lambda _: True)

    event.listen(engine, "do_connect", choose)
    event.listen(engine, "connect", connect)
    event.listen(engine, "savepoint", _begin)
    event.listen(engine, "set_connection_execution_options", _take_as_serializable)
    if role is Role.MIGRATION:
        event.listen(engine, "begin", _begin)


async def _seal(driver: Any, gate: Gate) -> None:
    """Have a gate asked before anything is read or written, for as long as the connection lives."""
    await driver.create_function(FUNCTION, 1, partial(_may_write, gate))
    await driver.set_authorizer(partial(_authorize, gate))


def _take_as_serializable(_: Connection, options: dict[str, object]) -> None:
    # Every transaction is, and to tell the driver so would take a statement.
    if str(options.get("isolation_level")).upper() == "SERIALIZABLE":
        del options["isolation_level"]


def _begin(connection: Connection, *_: object) -> None:
    # The driver begins at the first write to a row. A savepoint before it would be the transaction
    # itself, and its release a commit; a change of the schema would have no transaction at all.
    driver: Any = connection.connection.dbapi_connection
    if not driver.driver_connection.in_transaction:
        cursor = driver.cursor()
        cursor.execute(_BEGIN)
        cursor.close()


def tenant_tables(connection: Connection) -> list[str]:
    """Return the names of the tables that have a tenant."""
    inspector = inspect(connection)
    return [
        table
        for table in inspector.get_table_names()
        if any(column["name"] == COLUMN for column in inspector.get_columns(table))
    ]


def protection(connection: Connection) -> Iterator[str]:
    """Yield the statements that protect every table with a tenant. Repeatable."""
    for table in tenant_tables(connection):
        for verb in ("INSERT", "UPDATE", "DELETE"):
            trigger = f'"{table}_tenant_{verb.lower()}"'
            yield f"DROP TRIGGER IF EXISTS {trigger}"
            yield (
                f'CREATE TRIGGER {trigger} BEFORE {verb} ON "{table}" '
                f"WHEN {_refusal_condition(table, verb)} "
                "BEGIN SELECT RAISE(ABORT, 'this session may not write this row'); END"
            )


def _refusal_condition(table: str, verb: str) -> str:
    """Return the condition under which a row of a table is not written."""
    if table == AuditEntry.__tablename__ and verb != "INSERT":
        return "TRUE"  # for every role: what is written there stays
    if table in RECORDS:
        return f"NOT {FUNCTION}(NULL)"  # by tenants
    rows = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}[verb]
    own = " AND ".join(f"{FUNCTION}({row}.tenant_id)" for row in rows)
    return f"NOT ({own})"
