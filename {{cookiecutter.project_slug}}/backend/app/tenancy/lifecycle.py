"""The life of a tenant: provisioning, active, suspended, erasing, erased."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, MetaData, Table, delete, func, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Base, load_models
from app.tenancy.guard import COLUMN
from app.tenancy.models import RECORDS, TelemetryConsent, Tenant, TenantStatus, checked_name
from app.tenancy.session import (
    begin_snapshot,
    record,
    standing_of,
    system_session,
    tenant_tables,
)

BATCH = 500  # rows erased in one transaction

# Which status each step may start from; a step that finds itself done does nothing.
STEPS = {
    TenantStatus.ACTIVE: {TenantStatus.PROVISIONING, TenantStatus.SUSPENDED},
    TenantStatus.SUSPENDED: {TenantStatus.ACTIVE},
    TenantStatus.ERASING: set(TenantStatus),  # what is erased may be proved once more
}


class UnknownTenantError(LookupError):
    """There is no tenant of this name."""


class TenantStateError(Exception):
    """The tenant's status does not allow this step; the message says which it has."""


async def check_database() -> None:
    """Ask the database for something that only a migrated one has; raise if it can't be asked."""
    await standing_of("readiness")


async def create(name: str) -> tuple[Tenant, bool]:
    """Create a tenant, or find it; return it, active, and whether it is new.

    Raises ValueError for a malformed name, TenantStateError for one that is not to be served.
    """
    tenant, new = await _provision(name)
    if tenant.status == TenantStatus.PROVISIONING:
        tenant = await _move(name, TenantStatus.ACTIVE)
    if tenant.status != TenantStatus.ACTIVE:
        raise TenantStateError(f"the tenant {name} is {tenant.status}")
    return tenant, new


async def find(name: str) -> Tenant:
    """Return a tenant. Raises ValueError for a malformed name, UnknownTenantError for no tenant's."""
    async with system_session(f"show tenant {checked_name(name)}", name) as session:
        tenant = await session.get(Tenant, name)
    if tenant is None:
        raise UnknownTenantError(name)
    return tenant


async def suspend(name: str) -> Tenant:
    """Stop serving a tenant, at once, on every process. Its rows stay."""
    return await _move(name, TenantStatus.SUSPENDED)


async def resume(name: str) -> Tenant:
    """Serve a suspended tenant again, or one whose creation was interrupted."""
    return await _move(name, TenantStatus.ACTIVE)


async def set_consent(name: str, consent: TelemetryConsent) -> Tenant:
    """Set what telemetry may tell of a tenant; every process heeds it from the next request on."""
    reason = f"tenant {checked_name(name)}: telemetry consent {consent}"
    async with system_session(reason, name) as session:
        tenant = await session.get(Tenant, name)
        if tenant is None:
            raise UnknownTenantError(name)
        tenant.telemetry_consent = consent
        return tenant


async def export(name: str) -> AsyncGenerator[tuple[str, Mapping[str, object]]]:
    """Yield every row that a tenant has, after the name of its table; all as of one moment.

    What operators keep of a tenant, its status and the audit log, is theirs and left out. Raises
    UnknownTenantError.
    """
    async with system_session(f"export tenant {checked_name(name)}", name) as session:
        await begin_snapshot(session)
        if await session.get(Tenant, name) is None:
            raise UnknownTenantError(name)
        for table in await _holdings(session):
            rows = select(table).where(table.c[COLUMN] == name).order_by(*table.primary_key)
            async for row in (await session.stream(rows)).mappings():
                yield table.name, dict(row)


@dataclass(frozen=True, slots=True)
class Erasure:
    """How far an erasure is, in rows by table: deleted by this call, and at its end those left."""

    deleted: Mapping[str, int]
    left: Mapping[str, int] | None = None


async def erase(name: str) -> AsyncGenerator[Erasure]:
    """Delete everything that a tenant has, in batches; yield how far it is after each.

    May be called again after it was interrupted. The last item is the proof: a count of each table
    that the database's catalogue has, all zero, written to the audit log as well. The name stays
    taken. Raises UnknownTenantError.
    """
    await _move(name, TenantStatus.ERASING)
    async with system_session(f"erase tenant {name}", name) as session:
        tables = list(reversed(await _holdings(session)))
        deleted = {table.name: 0 for table in tables}
        left: Mapping[str, int] | None = None
        # A transaction that was already writing when the status changed is waited for, and its
        # rows found by another round.
        while left is None or any(left.values()):
            for table in tables:
                while await _cut_batch(session, table, tables, name):
                    pass
            for table in tables:
                while rows := await _delete_batch(session, table, name):
                    deleted[table.name] += rows
                    yield Erasure(dict(deleted))
            left = await _prove(session, tables, name)
    yield Erasure(deleted, left)


async def _provision(name: str) -> tuple[Tenant, bool]:
    """Find a tenant's row or make it; return it, and whether it is new."""
    try:
        async with system_session(f"create tenant {checked_name(name)}", name) as session:
            if (found := await session.get(Tenant, name)) is not None:
                return found, False
            made = Tenant(tenant_id=name, status=TenantStatus.PROVISIONING)
            session.add(made)
            await session.flush()
            return made, True
    except IntegrityError:  # somebody else created it at the same moment
        return await _provision(name)


async def _holdings(session: AsyncSession) -> Sequence[Table]:
    """Return the tables with tenants' rows, a table after those that it refers to."""
    return await (await session.connection()).run_sync(_catalogue)


def _catalogue(connection: Connection) -> Sequence[Table]:
    """Read from the database which tables have a tenant: the models may not know all of them."""
    load_models()
    holdings = set(tenant_tables(connection)) - RECORDS
    known = {table.name for table in Base.metadata.tables.values() if COLUMN in table.c}
    if missing := known - RECORDS - holdings:
        raise RuntimeError(f"the schema public lacks {', '.join(sorted(missing))}")
    found = MetaData()
    # With a key to a partitioned table come keys to its partitions, and those themselves.
    found.reflect(connection, only=sorted(holdings))
    return [_typed(table) for table in found.sorted_tables if table.name in holdings]


def _typed(table: Table) -> Table:
    """Give a table's columns the types of the models: SQLite does not know an id from a text."""
    if (model := Base.metadata.tables.get(table.name)) is not None:
        for column in table.c:
            if column.name in model.c:
                column.type = model.c[column.name].type
    return table


async def _cut_batch(session: AsyncSession, table: Table, order: Sequence[Table], name: str) -> int:
    """Empty some rows' references to a row that is deleted as early or earlier; return how many.

    A table that refers to itself, or two that refer to each other, have no order of deletion.
    """
    earlier = {each.name for each in order[: order.index(table) + 1]}
    circular = [
        column
        for key in table.foreign_key_constraints
        if key.referred_table.name in earlier
        for column in key.columns
        if column.nullable
    ]
    if not circular:
        return 0
    key = table.primary_key.columns
    rows = or_(*(column.is_not(None) for column in circular))
    batch = select(*key).where(table.c[COLUMN] == name, rows).limit(BATCH)
    await session.get_one(Tenant, name, with_for_update=True)
    cut = update(table).where(tuple_(*key).in_(batch)).values(dict.fromkeys(circular))
    result = await (await session.connection()).execute(cut)
    await session.commit()
    return result.rowcount


async def _delete_batch(session: AsyncSession, table: Table, name: str) -> int:
    """Delete some rows of a tenant, for good; return how many."""
    key = table.primary_key.columns
    batch = select(*key).where(table.c[COLUMN] == name).limit(BATCH)
    # One erasure at a time: of two, each would delete what the other's rows still refer to.
    await session.get_one(Tenant, name, with_for_update=True)
    connection = await session.connection()
    result = await connection.execute(delete(table).where(tuple_(*key).in_(batch)))
    await session.commit()
    return result.rowcount


async def _prove(session: AsyncSession, tables: Sequence[Table], name: str) -> Mapping[str, int]:
    """Count what is left of a tenant; where that is nothing, it is erased, with a receipt."""
    tenant = await session.get_one(Tenant, name, with_for_update=True)
    left = {table.name: await _count(session, table, name) for table in tables}
    if not any(left.values()):
        tenant.status = TenantStatus.ERASED
        counts = ", ".join(f"{table} {rows}" for table, rows in left.items())
        await record(session, f"erased tenant {name}; rows left: {counts}", name)
    await session.commit()
    return left


async def _count(session: AsyncSession, table: Table, name: str) -> int:
    rows = select(func.count()).select_from(table).where(table.c[COLUMN] == name)
    return (await session.execute(rows)).scalar_one()


async def _move(name: str, status: TenantStatus) -> Tenant:
    """Give a tenant a status that its present one allows; the same one is allowed always."""
    async with system_session(f"tenant {checked_name(name)}: {status}", name) as session:
        tenant = await session.get(Tenant, name, with_for_update=True)
        if tenant is None:
            raise UnknownTenantError(name)
        # SQLite locks no row: what was read above may be over.
        step = update(Tenant).where(Tenant.tenant_id == name, Tenant.status.in_(STEPS[status]))
        await session.execute(step.values(status=status))
        await session.refresh(tenant)
        if tenant.status != status:
            raise TenantStateError(f"the tenant {name} is {tenant.status}")
        return tenant
