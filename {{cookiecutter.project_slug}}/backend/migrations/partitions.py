"""How every table with the tenant in its key is stored: by tenant, in partitions if asked for.

PostgreSQL alone has partitions, by hash of the tenant. How many is said once, when a database gets
its tables; migrations say nothing about it, the first ones and all later ones alike.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa

FEWEST, MOST = 2, 1024
OUT_OF_MEMORY = "53200"  # PostgreSQL's code; what runs out is the space for locks

_TENANTS = sa.text(
    """
    SELECT (SELECT count(*) FROM pg_inherits WHERE inhparent = pg_class.oid)
    FROM pg_class WHERE oid = to_regclass('public.tenants')
    """
)
_PARTITIONS = sa.text("SELECT relname FROM pg_class WHERE relispartition AND relkind IN ('r', 'p')")


def asked_for(options: Mapping[str, str]) -> int | None:
    """Return what `-x partitions=N` says, if it is said; leave with a sentence if it can't be."""
    if (said := options.get("partitions")) is None:
        return None
    if not (re.fullmatch("[0-9]{1,4}", said) and FEWEST <= int(said) <= MOST):
        raise SystemExit(f"The number of partitions is {FEWEST} to {MOST}.")
    return int(said)


def decide(connection: sa.Connection, asked: int | None) -> int:
    """Return the number of partitions of a table, 0 for none: the database's own, once it has one.

    Leave with a sentence if something else is asked for.
    """
    if connection.dialect.name != "postgresql":
        if asked:
            raise SystemExit("Partitions are for PostgreSQL: DATABASE_URL names another database.")
        return 0
    present: int | None = connection.scalar(_TENANTS)
    if present is None:
        return asked or 0
    if asked not in (None, present):
        have = f"{present} partitions" if present else "no partitions"
        raise SystemExit(f"The tables of this database have {have}: that can't be changed.")
    return present


def names(connection: sa.Connection) -> frozenset[str]:
    """Return the names of all partitions: they are tables too, but no model's."""
    if connection.dialect.name != "postgresql":
        return frozenset()
    return frozenset(connection.scalars(_PARTITIONS))


@contextmanager
def made(count: int) -> Iterator[None]:
    """Keep a tenant's rows together in what is created while this lasts.

    On SQLite a table is stored in the order of its key; on PostgreSQL in partitions, if any.
    """

    def declare(table: sa.Table, _: sa.Connection, **__: object) -> None:
        if "tenant_id" not in table.primary_key.columns:
            return
        table.dialect_options["sqlite"]["with_rowid"] = False
        if count:
            table.dialect_options["postgresql"]["partition_by"] = "HASH (tenant_id)"

    def create(table: sa.Table, connection: sa.Connection, **_: object) -> None:
        if "tenant_id" not in table.primary_key.columns:
            return
        quote = connection.dialect.identifier_preparer.quote
        for rest in range(count):
            connection.exec_driver_sql(
                f"CREATE TABLE {quote(f'{table.name}_{rest}')} PARTITION OF {quote(table.name)}"
                f" FOR VALUES WITH (MODULUS {count}, REMAINDER {rest})"
            )

    sa.event.listen(sa.Table, "before_create", declare)
    sa.event.listen(sa.Table, "after_create", create)
    try:
        yield
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") != OUT_OF_MEMORY:
            raise
        raise SystemExit(
            f"The server has no room for locks on {count} partitions of each table: "
            "let it have a larger max_locks_per_transaction."
        ) from error
    finally:
        sa.event.remove(sa.Table, "before_create", declare)
        sa.event.remove(sa.Table, "after_create", create)
