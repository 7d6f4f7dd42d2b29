"""The caller's own database session, for routes."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from app.api.dependencies.auth import CurrentUser
from app.tenancy import tenant_session


async def get_database(user: CurrentUser) -> AsyncIterator[AsyncSession]:
    """Open a session of the caller's tenant; it commits when the route returns."""
    async with tenant_session(user.tenant_id) as session:
        yield session


# The scope `function` commits before the response is sent: what was confirmed is stored.
Database = Annotated[AsyncSession, Depends(get_database, scope="function")]
