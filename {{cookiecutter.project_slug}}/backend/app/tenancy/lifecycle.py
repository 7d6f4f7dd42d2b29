"""The life of a tenant: provisioning, active, suspended, erasing, erased."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from sqlalchemy import Table, delete, select, tuple_
from sqlalchemy.exc import IntegrityError

from app.db.base import Base, load_models
from app.tenancy.models import Tenant, TenantScoped, TenantStatus, checked_name
from app.tenancy.session import system_session, tenant_session

BATCH = 500  # rows erased in one transaction

# Which status each step may start from; a step that finds itself done does nothing.
STEPS = {
    TenantStatus.ACTIVE: {TenantStatus.PROVISIONING, TenantStatus.SUSPENDED},
    TenantStatus.SUSPENDED: {TenantStatus.ACTIVE},
    TenantStatus.ERASING: {TenantStatus.PROVISIONING, TenantStatus.ACTIVE, TenantStatus.SUSPENDED},
    TenantStatus.ERASED: {TenantStatus.ERASING},
}


class UnknownTenantError(LookupError):
    """There is no tenant of this name."""


class TenantStateError(Exception):
    """The tenant's status does not allow this step; the message says which it has."""


async def is_active(name: str) -> bool:
    """Tell whether a tenant exists and may be served, by what the database says now."""
    async with tenant_session(name) as session:
        return await session.scalar(select(Tenant.status)) == TenantStatus.ACTIVE


async def is_reachable() -> bool:
    """Ask the database for something that only a migrated one has; raise if it can't be asked."""
    async with tenant_session("readiness") as session:
        await session.execute(select(Tenant.status))
    return True


async def create(name: str) -> tuple[Tenant, bool]:
    """Create a tenant, or find it; return it, active, and whether it is new.

    Raises ValueError for a malformed name, TenantStateError for one that is not to be served.
    """
    try:
        async with system_session(f"create tenant {checked_name(name)}") as session:
            tenant = await session.get(Tenant, name)
            if tenant is None:
                tenant = Tenant(tenant_id=name, status=TenantStatus.ACTIVE)
                session.add(tenant)
                await session.flush()
                return tenant, True
    except IntegrityError:  # somebody else created it at the same moment
        return await create(name)
    if tenant.status == TenantStatus.PROVISIONING:
        tenant = await _move(name, TenantStatus.ACTIVE)
    if tenant.status != TenantStatus.ACTIVE:
        raise TenantStateError(f"the tenant {name} is {tenant.status}")
    return tenant, False


async def suspend(name: str) -> Tenant:
    """Stop serving a tenant, at once, on every process. Its rows stay."""
    return await _move(name, TenantStatus.SUSPENDED)


async def resume(name: str) -> Tenant:
    """Serve a suspended tenant again."""
    return await _move(name, TenantStatus.ACTIVE)


async def export(name: str) -> AsyncIterator[str]:
    """Yield everything that a tenant has, a JSON object a line: `{"table": …, "row": …}`."""
    async with system_session(f"export tenant {checked_name(name)}") as session:
        if await session.get(Tenant, name) is None:
            raise UnknownTenantError(name)
        for table in tenant_tables():
            rows = await session.stream(select(table).where(table.c.tenant_id == name))
            async for row in rows.mappings():
                yield json.dumps({"table": table.name, "row": dict(row)}, default=str)


async def erase(name: str) -> AsyncGenerator[tuple[str, int]]:
    """Delete everything that a tenant has, in batches; yield each table with its rows deleted.

    May be called again after it was interrupted. The name stays taken.
    """
    await _move(name, TenantStatus.ERASING)
    for table in reversed(tenant_tables()):
        yield table.name, await _erase_rows(name, table)
    await _move(name, TenantStatus.ERASED)


def tenant_tables() -> Sequence[Table]:
    """Return every table of tenants' rows, a table after those that it refers to."""
    load_models()
    scoped = {
        mapper.local_table
        for mapper in Base.registry.mappers
        if issubclass(mapper.class_, TenantScoped)
    }
    return [table for table in Base.metadata.sorted_tables if table in scoped]


async def _erase_rows(name: str, table: Table) -> int:
    key = tuple_(*table.primary_key)
    batch = select(*table.primary_key).where(table.c.tenant_id == name).limit(BATCH)
    total = 0
    while True:
        async with system_session(f"erase tenant {name}: {table.name}") as session:
            keys = (await session.execute(batch)).all()
            if not keys:
                return total
            await session.execute(delete(table).where(key.in_(keys)))
            total += len(keys)


async def _move(name: str, status: TenantStatus) -> Tenant:
    """Give a tenant a status that its present one allows; the same one is allowed always."""
    async with system_session(f"tenant {checked_name(name)}: {status}") as session:
        tenant = await session.get(Tenant, name, with_for_update=True)
        if tenant is None:
            raise UnknownTenantError(name)
        if tenant.status != status:
            if tenant.status not in STEPS[status]:
                raise TenantStateError(f"the tenant {name} is {tenant.status}")
            tenant.status = status
        return tenant
