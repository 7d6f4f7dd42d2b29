"""Runs migrations as the tables' owner, and protects every table of tenants' rows after them."""

import asyncio
from functools import partial
from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, ForeignKeyConstraint
from sqlalchemy.types import TypeDecorator

from app.db.base import Base, load_models
from app.tenancy.session import as_owner
from migrations import partitions


def run_migrations(asked: int | None, connection: Connection) -> None:
    """Bring the schema to the revision that was asked for."""
    hidden = partitions.names(connection)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite alters a table by making it anew
        render_item=render_item,
        include_name=lambda name, kind, _: kind != "table" or name not in hidden,
        include_object=lambda item, *_: not refers_to(hidden, item),
    )
    with partitions.made(partitions.decide(connection, asked)), context.begin_transaction():
        context.run_migrations()


def render_item(kind: str, item: object, _: AutogenContext) -> str | Literal[False]:
    """Write our own types as the plain ones below them: a migration outlives the models."""
    if kind != "type" or not isinstance(item, TypeDecorator):
        return False
    return False if type(item).__module__.startswith("sqlalchemy.") else f"sa.{item.impl!r}"


def refers_to(tables: frozenset[str], item: object) -> bool:
    """Tell whether something is a foreign key to one of these tables.

    PostgreSQL itself adds one to each partition of the table that a key refers to.
    """
    return (
        isinstance(item, ForeignKeyConstraint)
        and item.elements[0].target_fullname.split(".")[-2] in tables
    )


load_models()
if context.is_offline_mode():
    raise SystemExit(
        "Migrations need the database: what protects its rows is read from its schema."
    )
options = context.get_x_argument(as_dictionary=True)
asyncio.run(as_owner(partial(run_migrations, partitions.asked_for(options))))
