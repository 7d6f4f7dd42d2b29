"""The database's own layer on PostgreSQL: forced row-level security, and a gated connection.

The application's role sees the tenant that its transaction has named, the system's role has a
policy of its own, and neither gets a right more than it needs. The connection names the tenant
together with BEGIN, in the same round trip, and takes no statement that the guard has not seen.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy import Connection, Dialect, Engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from app.core.config import Settings
from app.db import Role
from app.db.roles import role_name
from app.tenancy.guard import Gate, TenancyError, approving
from app.tenancy.models import AuditEntry, Tenant

SETTING = "app.tenant_id"
LOCK = (
    "SELECT pg_advisory_xact_lock(hashtextextended($1, 0)), "
    "current_setting('transaction_isolation') = 'read committed'"
)

# No sub-select around it, which would be evaluated once: Citus takes none in a policy.
CURRENT_TENANT = f"nullif(current_setting('{SETTING}', true), '')"


class Rights(NamedTuple):
    """What the two serving roles may do to a table."""

    application: str
    system: str


ROWS = "SELECT, INSERT, UPDATE, DELETE"
OF_ROWS = Rights(ROWS, ROWS)
OF_RECORDS = {
    Tenant.__tablename__: Rights("SELECT", "SELECT, INSERT, UPDATE"),
    AuditEntry.__tablename__: Rights("", "SELECT, INSERT"),
}
# A partition is reached through its table, which is what the rights are given to.
OF_PARTITIONS = Rights("", "")

_TABLES = text(
    """
    SELECT relname, relispartition FROM pg_class
    WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'tenant_id'
    )
    ORDER BY relispartition, relname
    """
)

_TRANSACTION = re.compile(
    r"(BEGIN( ISOLATION LEVEL [A-Z ]+?)?( READ ONLY)?( DEFERRABLE)?|COMMIT|ROLLBACK);"
)

# Of the driver's methods, those that send no SQL, and those that are checked below.
_HARMLESS = frozenset(
    {
        "close",
        "execute",
        "executemany",
        "get_server_pid",
        "get_server_version",
        "get_settings",
        "is_closed",
        "is_in_transaction",
        "prepare",
        "reload_schema_state",
        "terminate",
        "transaction",
    }
)


class GatedConnection(asyncpg.Connection):  # type: ignore[misc] # the driver has no types
    """A driver's connection that runs what the guard approves, for the tenant of its gate."""

    _gate: Gate | None = None  # until it has one, the driver and SQLAlchemy set the connection up

    async def execute(self, query: str, *args: object, **options: Any) -> str:
        """Begin or end a transaction; with its begin, the database is told the tenant."""
        if self._gate is not None:
            if not _TRANSACTION.fullmatch(query):
                raise _refusal()
            if query.startswith("COMMIT") and self._gate.inserted_into:
                await super().execute("ROLLBACK;")  # the driver's transaction is over either way
                raise _refusal()
            if query.startswith("BEGIN"):
                query += f"SET LOCAL {SETTING} = '{self._gate.tenant or ''}'"
        status: str = await super().execute(query, *args, **options)
        return status

    async def executemany(self, command: str, *args: Any, **options: Any) -> Any:
        """Run the statement that the guard has approved, with each of some parameters."""
        self._refuse_unless_approved(command)
        return await super().executemany(str(command), *args, **options)

    async def prepare(self, query: str, *args: Any, **options: Any) -> Any:
        """Prepare the statement that the guard has approved."""
        self._refuse_unless_approved(query)
        return await super().prepare(str(query), *args, **options)

    def _refuse_unless_approved(self, query: str) -> None:
        if self._gate is None:
            return
        # Outside of a transaction the database has not been told the tenant, and shows no rows.
        if query != self._gate.approved or not self.is_in_transaction():
            raise _refusal()


def _refusal() -> TenancyError:
    return TenancyError("the driver's connection can't be scoped: use the session's own methods")


def _until_gated(name: str) -> Any:
    """Return a driver's method that works only before there is a gate."""
    method = getattr(asyncpg.Connection, name)

    def call(self: GatedConnection, *args: Any, **kw: Any) -> Any:
        if self._gate is not None:
            raise _refusal()
        return method(self, *args, **kw)

    return call


for _name in dir(asyncpg.Connection):
    if not _name.startswith("_") and _name not in _HARMLESS:
        setattr(GatedConnection, _name, _until_gated(_name))


def install(engine: Engine) -> None:
    """Let an engine's connections run only what the guard approves."""

    def choose(
        dialect: Dialect, entry: ConnectionPoolEntry, arguments: object, options: dict[str, object]
    ) -> None:
        options["connection_class"] = GatedConnection

    def connect(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        driver: Any = entry.driver_connection
        driver._gate = Gate.hang(entry)

    def checkin(connection: Any, entry: ConnectionPoolEntry) -> None:
        if connection is not None and connection.autocommit:  # nobody can begin a transaction on it
            entry.invalidate()

    event.listen(engine, "do_connect", choose)
    event.listen(engine, "connect", connect)
    event.listen(engine, "checkin", checkin)


def lock(connection: Connection, name: str) -> None:
    """Wait for a lock of this name, and hold it until the transaction ends.

    Raises TenancyError where the transaction would not see what another did that held it before.
    """
    cursor: Any = connection.connection.cursor()
    with approving(connection, LOCK):
        cursor.execute(LOCK, (name,))
    _, sees_others = cursor.fetchone()
    cursor.close()
    if not sees_others:
        raise TenancyError("rows with a quota are inserted in READ COMMITTED: leave the level out")


def tenant_tables(connection: Connection) -> list[str]:
    """Return the names of the tables that have a tenant; a partition is a part of its table."""
    return [name for name, is_partition in connection.execute(_TABLES) if not is_partition]


def protection(connection: Connection, settings: Settings) -> Iterator[str]:
    """Yield the statements that protect every table and partition with a tenant. Repeatable."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    application = quote(role_name(settings, Role.APPLICATION))
    system = quote(role_name(settings, Role.SYSTEM))
    yield f"GRANT USAGE ON SCHEMA public TO {application}, {system}"
    own = f"tenant_id = {CURRENT_TENANT}"
    for name, is_partition in connection.execute(_TABLES).all():
        table = quote(name)
        rights = OF_PARTITIONS if is_partition else OF_RECORDS.get(name, OF_ROWS)
        yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
        yield f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"
        yield f"REVOKE ALL ON {table} FROM PUBLIC, {application}, {system}"
        for role, granted in ((application, rights.application), (system, rights.system)):
            if granted:
                yield f"GRANT {granted} ON {table} TO {role}"
        yield f"DROP POLICY IF EXISTS own_tenant ON {table}"
        yield f"CREATE POLICY own_tenant ON {table} TO {application} USING ({own}) WITH CHECK ({own})"
        yield f"DROP POLICY IF EXISTS every_tenant ON {table}"
        yield f"CREATE POLICY every_tenant ON {table} TO {system} USING (true) WITH CHECK (true)"
