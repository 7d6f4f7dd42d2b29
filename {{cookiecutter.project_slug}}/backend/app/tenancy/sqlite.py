"""The database's own layer on SQLite: an authorizer for reads, triggers for writes.

SQLite has no roles. In their place each connection carries a `Gate`: closed, it admits nothing;
open for a statement that the guard has compiled, it admits reading and writing rows; and what is
written must belong to the gate's tenant, or the trigger on the table aborts.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from app.db.engines import Role

FUNCTION = "may_write"
_GATE = "gate"

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
_SCHEMA_TABLES = frozenset({"sqlite_master", "sqlite_temp_master", "sqlite_schema"})


class Gate:
    """What a connection may do at the moment: for which tenant, and whether for a statement."""

    def __init__(self, *, guarded: bool) -> None:
        self.guarded = guarded
        self.open = False
        self.tenant: str | None = None

    def authorize(self, action: int, table: str | None, *_: str | None) -> int:
        """Answer SQLite's question, asked for each part of each statement, by an allow-list."""
        if action in _ALWAYS:
            return sqlite3.SQLITE_OK
        if self.open and action in _ROWS and table not in _SCHEMA_TABLES:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    def may_write(self, tenant: str | None) -> bool:
        """Tell a trigger whether a row of this tenant may be written."""
        return not self.guarded or (tenant is not None and tenant == self.tenant)


def install(engine: Engine, role: Role) -> None:
    """Give each connection of an engine a gate; only the application's role is held by it."""
    guarded = role is Role.APPLICATION

    def connect(connection: Any, entry: ConnectionPoolEntry) -> None:
        gate = entry.info[_GATE] = Gate(guarded=guarded)
        connection.create_function(FUNCTION, 1, gate.may_write)
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        # A migration makes a table anew and drops the old one: that must not cascade.
        if role is not Role.MIGRATION:
            cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()
        if guarded:
            connection.run_async(lambda driver: driver.set_authorizer(gate.authorize))

    event.listen(engine, "connect", connect)
    event.listen(engine, "savepoint", _begin)
    if role is Role.MIGRATION:
        event.listen(engine, "begin", _begin)
    if guarded:
        event.listen(engine, "before_cursor_execute", _open)
        event.listen(engine, "after_cursor_execute", _close)
        event.listen(engine, "handle_error", _close_after_error)
        event.listen(engine, "checkin", _reset)


def enter(connection: Connection, tenant: str) -> None:
    """Let the connection write this tenant's rows until it goes back to the pool."""
    connection.info[_GATE].tenant = tenant


def _begin(connection: Connection, *_: object) -> None:
    # The driver begins at the first write to a row. A savepoint before it would be the transaction
    # itself, and its release a commit; a change of the schema would have no transaction at all.
    driver: Any = connection.connection.dbapi_connection
    if not driver.driver_connection.in_transaction:
        cursor = driver.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        cursor.close()


def _open(connection: Connection, *_: object) -> None:
    connection.info[_GATE].open = True


def _close(connection: Connection, *_: object) -> None:
    connection.info[_GATE].open = False


def _close_after_error(context: Any) -> None:
    if context.connection is not None:
        _close(context.connection)


def _reset(connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    if gate := entry.info.get(_GATE):
        gate.open, gate.tenant = False, None


def protection(table: str, *, writable: bool) -> Sequence[str]:
    """Return the statements that make a table refuse rows of other tenants. Repeatable.

    A table that is not writable refuses all rows, but from the system's role.
    """
    statements = []
    for verb, rows in (("INSERT", ("NEW",)), ("UPDATE", ("OLD", "NEW")), ("DELETE", ("OLD",))):
        trigger = f'"{table}_tenant_{verb.lower()}"'
        allowed = " AND ".join(f"{FUNCTION}({row}.tenant_id)" for row in rows)
        allowed = allowed if writable else f"{FUNCTION}(NULL)"
        statements += [
            f"DROP TRIGGER IF EXISTS {trigger}",
            f'CREATE TRIGGER {trigger} BEFORE {verb} ON "{table}" WHEN NOT ({allowed}) '
            "BEGIN SELECT RAISE(ABORT, 'this session may not write this row'); END",
        ]
    return statements
