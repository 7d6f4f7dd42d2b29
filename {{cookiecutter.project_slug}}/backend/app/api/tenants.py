"""The tenants themselves, for operators: needs the scope `tenants:admin`."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from app.api.dependencies.auth import SYSTEM_SCOPE, require_scopes
from app.api.dependencies.pagination import Page, PageWanted
from app.core.errors import NotFound, Problem, problems
from app.tenancy import Tenant, TenantStatus, lifecycle, system_session
from app.tenancy.models import NAME, TelemetryConsent

router = APIRouter(
    prefix="/api/v1/tenants",
    tags=["tenants"],
    dependencies=[Depends(require_scopes(SYSTEM_SCOPE))],
    responses=problems(400, 401, 403, 413, 422, 429, 503),
)

_PATTERN = f"^{NAME.pattern}$"
Name = Annotated[str, Path(pattern=_PATTERN)]


class TenantIn(BaseModel):
    """A tenant to be created."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=_PATTERN)


class TenantOut(BaseModel):
    """A tenant."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(validation_alias="tenant_id")
    status: TenantStatus
    telemetry_consent: TelemetryConsent


class ConsentIn(BaseModel):
    """What telemetry may tell of a tenant."""

    model_config = ConfigDict(extra="forbid")

    consent: TelemetryConsent


class RowOut(BaseModel):
    """A row of a tenant, and the table that has it."""

    model_config = ConfigDict(ser_json_bytes="base64", ser_json_inf_nan="strings")

    table: str
    row: Mapping[str, Any]


class ErasureOut(BaseModel):
    """How far an erasure is, by table; at its end also what is left, counted in the database."""

    model_config = ConfigDict(from_attributes=True)

    deleted: Mapping[str, int]
    left: Mapping[str, int] | None


Rows = AsyncGenerator[tuple[str, Mapping[str, object]]]
Steps = AsyncGenerator[lifecycle.Erasure]


async def get_known_name(name: Name) -> str:
    """Return the name in the path if a tenant has it, before an answer is begun."""
    await get_tenant(name)
    return name


KnownName = Annotated[str, Depends(get_known_name)]


# A dependency is closed with its request, however that ends: a generator in a route is not.
async def get_export(name: KnownName) -> AsyncIterator[Rows]:
    """Begin an export; its session ends with the request."""
    async with aclosing(lifecycle.export(name)) as rows:
        yield rows


async def get_erasure(name: KnownName) -> AsyncIterator[Steps]:
    """Begin an erasure; its session ends with the request."""
    async with aclosing(lifecycle.erase(name)) as steps:
        yield steps


@router.get("")
async def list_tenants(wanted: PageWanted) -> Page[TenantOut]:
    """List the tenants by name."""
    async with system_session("list tenants") as session:
        rows, following = await wanted.read(session, select(Tenant), Tenant.tenant_id)
    return Page(items=[TenantOut.model_validate(row) for row in rows], next=following)


@router.post(
    "",
    status_code=201,
    responses=problems(409) | {200: {"model": TenantOut, "description": "It is there already"}},
)
async def create_tenant(tenant: TenantIn, response: Response) -> TenantOut:
    """Create a tenant; one that is there already is answered with 200."""
    try:
        created, new = await lifecycle.create(tenant.name)
    except lifecycle.TenantStateError as error:
        raise Problem(409, f"{error}.") from None
    response.status_code = 201 if new else 200
    return TenantOut.model_validate(created)


@router.get("/{name}", responses=problems(404))
async def get_tenant(name: Name) -> TenantOut:
    """Show a tenant."""
    return await _step(lifecycle.find, name)


@router.post("/{name}/suspend", responses=problems(404, 409))
async def suspend_tenant(name: Name) -> TenantOut:
    """Stop serving a tenant, at once; its rows stay."""
    return await _step(lifecycle.suspend, name)


@router.post("/{name}/resume", responses=problems(404, 409))
async def resume_tenant(name: Name) -> TenantOut:
    """Serve a suspended tenant again."""
    return await _step(lifecycle.resume, name)


@router.put("/{name}/telemetry-consent", responses=problems(404))
async def set_consent(name: Name, wanted: ConsentIn) -> TenantOut:
    """Set what telemetry may tell of a tenant; its next request heeds it."""
    return await _step(partial(lifecycle.set_consent, consent=wanted.consent), name)


@router.get("/{name}/export", responses=problems(404))
async def export_tenant(rows: Annotated[Rows, Depends(get_export)]) -> AsyncIterator[RowOut]:
    """Stream everything that a tenant has, as of one moment."""
    async for table, row in rows:
        yield RowOut(table=table, row=row)


@router.post("/{name}/erase", responses=problems(404))
async def erase_tenant(steps: Annotated[Steps, Depends(get_erasure)]) -> AsyncIterator[ErasureOut]:
    """Delete everything that a tenant has, and tell of each batch; the last line is the proof.

    Where the answer breaks off, ask again: it goes on from there. The name stays taken.
    """
    async for step in steps:
        yield ErasureOut.model_validate(step)


async def _step(step: Callable[[str], Awaitable[Tenant]], name: str) -> TenantOut:
    try:
        return TenantOut.model_validate(await step(name))
    except lifecycle.UnknownTenantError:
        raise NotFound from None
    except lifecycle.TenantStateError as error:
        raise Problem(409, f"{error}.") from None
