"""The schema that a database really has, as facts: read from its catalogue, and from no model."""

import argparse
import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url

from app.core.config import Settings
from app.db import engines
from tests.conftest import BACKEND
from tests.servers import Cluster

Fact = TypeVar("Fact")


def alembic(partitions: int | str | None = None) -> Config:
    """Return what Alembic's commands take, as `alembic -x partitions=N` makes it."""
    options = [] if partitions is None else [f"partitions={partitions}"]
    return Config(BACKEND / "alembic.ini", cmd_opts=argparse.Namespace(x=options))


class Roles(NamedTuple):
    """The names of the service's three roles."""

    app: str
    system: str
    owner: str


class Database:
    """A migrated database of PostgreSQL, to look at, and to try changes of its schema in."""

    def __init__(self, cluster: Cluster, partitions: int | None = None) -> None:
        name = cluster.create_database()
        self.settings = Settings.model_validate(cluster.urls(name))
        engines.configure(self.settings)
        command.upgrade(alembic(partitions), "head")
        urls = ("DATABASE_URL", "SYSTEM_DATABASE_URL", "MIGRATION_DATABASE_URL")
        named = (make_url(self.settings.database_urls[each]).username or "" for each in urls)
        self.roles = Roles(*named)
        self._superuser = make_url(cluster.superuser_url(name)).set(drivername="postgresql")

    def written(self, text: str) -> str:
        """Return a text with the roles' names in their places, such as `{app}`."""
        return text.format(**self.roles._asdict())

    def look(self, read: Callable[[Any], Awaitable[Fact]], change: str = "") -> Fact:
        """Read something by a driver's connection, as it would be after a change by the owner."""
        return asyncio.run(self.read(read, change))

    async def read(self, read: Callable[[Any], Awaitable[Fact]], change: str = "") -> Fact:
        """Do the same in a running loop."""
        change = self.written(change)
        url = self._superuser.render_as_string(hide_password=False)
        connection = await asyncpg.connect(url)
        try:
            trial = connection.transaction()
            await trial.start()
            await connection.execute(f"SET LOCAL ROLE {self.roles.owner}; {change}; RESET ROLE")
            seen = await read(connection)
            await trial.rollback()
            return seen
        finally:
            await connection.close()


@dataclass(frozen=True)
class Key:
    """What must be unique: a primary key, a unique constraint or index, or an exclusion."""

    name: str
    columns: tuple[str | None, ...]  # None is an expression
    is_primary: bool = False


@dataclass(frozen=True)
class ForeignKey:
    name: str
    columns: tuple[str, ...]
    referred_columns: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    name: str
    roles: tuple[str, ...]
    command: str
    is_permissive: bool
    using: str | None
    check: str | None


@dataclass(frozen=True)
class Table:
    name: str
    kind: str
    nullable: Mapping[str, bool]  # of each column
    keys: tuple[Key, ...]
    foreign_keys: tuple[ForeignKey, ...]
    owner: str = ""
    is_partition: bool = False
    is_enabled: bool = False
    is_forced: bool = False
    policies: tuple[Policy, ...] = ()
    triggers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grant:
    role: str
    right: str
    to: str
    is_grantable: bool = False


@dataclass(frozen=True)
class Schema:
    tables: tuple[Table, ...]
    grants: frozenset[Grant] = frozenset()


# Every schema but the system's own. A table is named with its schema, unless that is `public`.
_SCHEMAS = r"nspname !~ '^pg_' AND nspname <> 'information_schema'"
_NAME = "CASE nspname WHEN 'public' THEN '' ELSE nspname || '.' END || relname"

_TABLES = rf"""
    SELECT pg_class.oid, {_NAME} AS name, relispartition AS is_partition,
        pg_get_userbyid(relowner) AS owner,
        relrowsecurity AS is_enabled, relforcerowsecurity AS is_forced,
        CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' END AS kind
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND {_SCHEMAS}
    ORDER BY name
"""

_COLUMNS = """
    SELECT attname, NOT attnotnull AS is_nullable FROM pg_attribute
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
"""

# Every unique constraint has an index; so have indexes that are unique and no constraint.
_KEYS = """
    SELECT relname AS name, indisprimary AS is_primary, ARRAY(
        SELECT attname::text FROM unnest(indkey[:indnkeyatts - 1]) WITH ORDINALITY AS part
        LEFT JOIN pg_attribute ON attrelid = indrelid AND attnum = part.part
        ORDER BY ordinality
    ) AS columns
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = $1 AND (indisunique OR indisexclusion) ORDER BY name
"""

_FOREIGN_KEYS = """
    SELECT conname AS name, ARRAY(
        SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS part
        JOIN pg_attribute ON attrelid = conrelid AND attnum = part.part ORDER BY ordinality
    ) AS columns, ARRAY(
        SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS part
        JOIN pg_attribute ON attrelid = confrelid AND attnum = part.part ORDER BY ordinality
    ) AS referred_columns
    FROM pg_constraint WHERE conrelid = $1 AND contype = 'f' ORDER BY name
"""

_POLICIES = """
    SELECT polname AS name, polpermissive AS is_permissive,
        CASE polcmd WHEN '*' THEN 'ALL' ELSE polcmd::text END AS command,
        ARRAY(SELECT CASE role WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(role) END::text
            FROM unnest(polroles) AS role) AS roles,
        pg_get_expr(polqual, polrelid) AS using, pg_get_expr(polwithcheck, polrelid) AS check
    FROM pg_policy WHERE polrelid = $1 ORDER BY name
"""

# What has been granted, and what holds where nothing has: PUBLIC may run every new function.
_GRANTS = rf"""
    SELECT coalesce(rolname, 'PUBLIC') AS role, privilege_type AS right, "to", is_grantable
    FROM (
        SELECT 'table ' || {_NAME}, relowner, coalesce(relacl, acldefault('r', relowner))
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND {_SCHEMAS}
        UNION ALL
        SELECT 'column ' || {_NAME} || '.' || attname, relowner, attacl
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE {_SCHEMAS}
        UNION ALL
        SELECT 'sequence ' || {_NAME}, relowner, coalesce(relacl, acldefault('s', relowner))
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE relkind = 'S' AND {_SCHEMAS}
        UNION ALL
        SELECT 'function ' || proname, proowner, coalesce(proacl, acldefault('f', proowner))
        FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace WHERE {_SCHEMAS}
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
        UNION ALL
        SELECT 'schema ' || nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner))
        FROM pg_namespace WHERE {_SCHEMAS}
        UNION ALL
        SELECT 'what is created later', defaclrole, defaclacl FROM pg_default_acl
    ) AS owned ("to", owner, acl)
    CROSS JOIN aclexplode(acl) AS item
    LEFT JOIN pg_roles ON pg_roles.oid = item.grantee
    WHERE item.grantee <> owner
"""


async def read_postgresql(connection: Any) -> Schema:
    """Read the schema by a driver's connection, in whatever transaction that is."""
    tables = []
    for row in await connection.fetch(_TABLES):
        facts = dict(row)
        oid = facts.pop("oid")
        tables.append(
            Table(
                **facts,
                nullable=dict(await connection.fetch(_COLUMNS, oid)),
                keys=await _all(connection, Key, _KEYS, oid),
                foreign_keys=await _all(connection, ForeignKey, _FOREIGN_KEYS, oid),
                policies=await _all(connection, Policy, _POLICIES, oid),
            )
        )
    return Schema(tuple(tables), frozenset(await _all(connection, Grant, _GRANTS)))


async def _all(
    connection: Any, kind: Callable[..., Fact], query: str, *values: object
) -> tuple[Fact, ...]:
    """Make a fact of each row; what is a list in the database can't be one in a fact."""
    return tuple(
        kind(
            **{
                key: tuple(value) if isinstance(value, list) else value
                for key, value in row.items()
            }
        )
        for row in await connection.fetch(query, *values)
    )


_TABLES_OF_SQLITE = """
    SELECT name, CASE type WHEN 'virtual' THEN 'virtual table' ELSE type END
    FROM pragma_table_list WHERE schema = 'main' AND name NOT GLOB 'sqlite_*'
"""


def read_sqlite(connection: sqlite3.Connection) -> Schema:
    """Read the schema of SQLite; what the library keeps for itself is left out."""
    return Schema(
        tuple(
            _table(connection, name, kind) for name, kind in connection.execute(_TABLES_OF_SQLITE)
        )
    )


def _table(connection: sqlite3.Connection, name: str, kind: str) -> Table:
    def column(query: str, of: str = name) -> tuple[Any, ...]:
        return tuple(row[0] for row in connection.execute(query, [of]))

    keys = [
        Key(index, column("SELECT name FROM pragma_index_info(?) ORDER BY seqno", index), primary)
        for index, primary in connection.execute(
            "SELECT name, origin = 'pk' FROM pragma_index_list(?) WHERE \"unique\"", [name]
        )
    ]
    # A table whose key is its row's number has no index for it.
    primary = column("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk")
    if primary and not any(key.is_primary for key in keys):
        keys.append(Key("rowid", primary, is_primary=True))
    parts = 'SELECT "from", "to" FROM pragma_foreign_key_list(?) WHERE id = ? ORDER BY seq'
    foreign_keys = [
        ForeignKey(f"to {to}", *zip(*connection.execute(parts, [name, number]), strict=True))
        for number, to in connection.execute(
            'SELECT DISTINCT id, "table" FROM pragma_foreign_key_list(?)', [name]
        )
    ]
    nullable = connection.execute('SELECT name, NOT "notnull" FROM pragma_table_info(?)', [name])
    triggers = column("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?")
    return Table(
        name, kind, dict(nullable.fetchall()), tuple(keys), tuple(foreign_keys), triggers=triggers
    )
