"""Runs migrations as the tables' owner, and protects every table of tenants' rows after them."""

import asyncio
from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection
from sqlalchemy.types import TypeDecorator

from app.db.base import Base, load_models
from app.tenancy.session import as_owner


def run_migrations(connection: Connection) -> None:
    """Bring the schema to the revision that was asked for."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite alters a table by making it anew
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()


def render_item(kind: str, item: object, _: AutogenContext) -> str | Literal[False]:
    """Write our own types as the plain ones below them: a migration outlives the models."""
    return f"sa.{item.impl!r}" if kind == "type" and isinstance(item, TypeDecorator) else False


load_models()
if context.is_offline_mode():
    raise SystemExit(
        "Migrations need the database: what protects its rows is read from its schema."
    )
asyncio.run(as_owner(run_migrations))
