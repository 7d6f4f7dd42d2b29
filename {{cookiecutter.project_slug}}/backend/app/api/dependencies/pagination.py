"""Keyset pagination: a page says where the next one starts, so no row is skipped or repeated.

A cursor is the key of the last row seen. It grants nothing: the next page is read through the
caller's own session.
"""

import base64
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.core.errors import Problem

DEFAULT_SIZE = 50
MAX_SIZE = 100

Item = TypeVar("Item")
Row = TypeVar("Row")
Key = TypeVar("Key", str, uuid.UUID)


class Page(BaseModel, Generic[Item]):
    """Some items of a list, and the cursor of the next page where there is one."""

    items: Sequence[Item]
    next: str | None


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page the caller wants."""

    limit: int
    cursor: str | None

    async def read(
        self, session: AsyncSession, query: Select[Row], key: InstrumentedAttribute[Key]
    ) -> tuple[Sequence[Row], str | None]:
        """Return one page of a query in the order of a unique key, and the next page's cursor."""
        if self.cursor is not None:
            query = query.where(key > _decode(self.cursor, key.type.python_type))
        rows = (await session.scalars(query.order_by(key).limit(self.limit + 1))).all()
        page = rows[: self.limit]
        more = len(rows) > len(page)
        return page, _encode(getattr(page[-1], key.key)) if more else None


def get_paging(
    request: Request,
    limit: Annotated[
        int, Query(ge=1, le=MAX_SIZE, description="Most items wanted.")
    ] = DEFAULT_SIZE,
    cursor: Annotated[
        str | None, Query(max_length=255, description="The `next` of the page before.")
    ] = None,
) -> Paging:
    """Return the page that the query asks for, no larger than the settings allow."""
    return Paging(min(limit, request.app.state.settings.MAX_PAGE_SIZE), cursor)


PageWanted = Annotated[Paging, Depends(get_paging)]


def _encode(key: str | uuid.UUID) -> str:
    return base64.urlsafe_b64encode(str(key).encode()).decode().rstrip("=")


def _decode(cursor: str, kind: type[Key]) -> Key:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
        key = kind(text)
    except ValueError:
        raise Problem(400, "The cursor is not one that this list gave out.") from None
    if _encode(key) != cursor or "\0" in text:  # PostgreSQL knows no NUL
        raise Problem(400, "The cursor is not one that this list gave out.")
    return key
