"""The database's own layer, applied after every migration to every table with a `tenant_id`.

On PostgreSQL: forced row-level security. The application's role sees the tenant that its
transaction has named, the system's role has a policy of its own, and neither gets a right more
than it needs. A new table is protected because it has the column: nobody can forget it.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, inspect

from app.core.config import Settings
from app.db.engines import Role, is_sqlite
from app.db.roles import role_name
from app.tenancy import sqlite
from app.tenancy.guard import COLUMN

SETTING = "app.tenant_id"

# The sub-select is evaluated once for a statement, not once for a row.
CURRENT_TENANT = f"(SELECT nullif(current_setting('{SETTING}', true), ''))"

# What the application's role may do to a table; every other table of tenants' rows: all four.
ROWS = "SELECT, INSERT, UPDATE, DELETE"
RIGHTS = {"tenants": "SELECT"}


def protect(connection: Connection, settings: Settings) -> None:
    """Protect every table that has a `tenant_id`. Repeatable; runs as the tables' owner."""
    inspector = inspect(connection)
    tables = [
        table
        for table in inspector.get_table_names()
        if any(column["name"] == COLUMN for column in inspector.get_columns(table))
    ]
    if is_sqlite(connection.engine.url):
        statements = [
            line
            for table in tables
            for line in sqlite.protection(table, writable=table not in RIGHTS)
        ]
    else:
        statements = _postgresql(connection, settings, tables)
    for statement in statements:
        connection.exec_driver_sql(statement)


def _postgresql(connection: Connection, settings: Settings, tables: Sequence[str]) -> list[str]:
    quote = connection.dialect.identifier_preparer.quote_identifier
    application = quote(role_name(settings, Role.APPLICATION))
    system = quote(role_name(settings, Role.SYSTEM))
    statements = [f"GRANT USAGE ON SCHEMA public TO {application}, {system}"]
    for name in tables:
        table, rights = quote(name), RIGHTS.get(name, ROWS)
        own = f"tenant_id = {CURRENT_TENANT}"
        statements += [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            f"REVOKE ALL ON {table} FROM PUBLIC, {application}, {system}",
            f"GRANT {rights} ON {table} TO {application}",
            f"GRANT {ROWS} ON {table} TO {system}",
            f"DROP POLICY IF EXISTS own_tenant ON {table}",
            f"CREATE POLICY own_tenant ON {table} TO {application} USING ({own}) WITH CHECK ({own})",
            f"DROP POLICY IF EXISTS every_tenant ON {table}",
            f"CREATE POLICY every_tenant ON {table} TO {system} USING (true) WITH CHECK (true)",
        ]
    return statements
