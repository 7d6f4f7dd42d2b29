"""The two doors to the database, a tenant's and the system's; and the owner's, to its schema."""

import getpass
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, Engine, event, insert, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from app import db
from app.core.context import current_request_id, tell_caller
from app.db import Role, is_sqlite
from app.db.roles import check_names
from app.observability import RefusalError
from app.tenancy import guard, postgresql, sqlite
from app.tenancy.guard import Gate, TenancyError
from app.tenancy.models import EVERY_TENANT, AuditEntry, Tenant, TenantStatus, checked_name
from app.tenancy.quotas import QuotaExceededError, check_rows

REFUSING_ROWS = (TenantStatus.ERASING, TenantStatus.ERASED)


class TenantErasedError(RefusalError):
    """A transaction that began before its tenant was erased would add rows to it."""


@dataclass(slots=True)
class Caller:
    """Who makes the request that is being served, as far as it is known yet."""

    tenant: str = ""
    user: str = ""
    is_operator: bool = False


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


@contextmanager
def serving_request() -> Iterator[None]:
    """Keep every door shut, until it is known whose the request is that is being served."""
    token = _caller.set(caller := Caller())
    try:
        yield
    finally:
        caller.is_operator = False  # for the tasks that outlive the request
        _caller.reset(token)


def _be_no_operator() -> None:
    if caller := _caller.get():
        _caller.set(Caller(caller.tenant, caller.user))


# A process that is forked while a request is served goes on to work for others.
os.register_at_fork(after_in_child=_be_no_operator)


def identify(tenant: str, user: str) -> None:
    """Tell who makes the request that is being served: that tenant's door opens, and no other.

    Telemetry tells of it as of an `anonymous` tenant, unless it was told of the consent before.
    """
    if caller := _caller.get():
        if caller.tenant not in ("", tenant):
            raise TenancyError("this request is another tenant's: it stays its own")
        if (caller.tenant, caller.user) == (tenant, user):
            return  # who was told before
        caller.tenant, caller.user = tenant, user
    tell_caller(tenant, user)


def admit_operator() -> None:
    """Open the system's door for the request that is being served: its caller has the scope."""
    if caller := _caller.get():
        caller.is_operator = True


@asynccontextmanager
async def tenant_session(tenant: str) -> AsyncIterator[AsyncSession]:
    """Open a session that reads and writes the rows of one tenant, and of no other.

    Leaving the block without an exception commits; commits, rollbacks and savepoints inside it
    are allowed. Raises ValueError for a malformed name, TenancyError in a request whose caller is
    another tenant's or not known; an unknown tenant just has no rows.
    """
    caller = _caller.get()
    if caller is not None and caller.tenant != tenant:
        raise TenancyError(
            "this request is not known to be this tenant's: use the tenant of CurrentUser"
        )
    async with _session_of(checked_name(tenant)) as session:
        yield session
        await session.commit()


class Standing(NamedTuple):
    """Where a tenant stands in its life, and what telemetry may tell of it."""

    status: str
    telemetry_consent: str

    @property
    def is_active(self) -> bool:
        """Whether the tenant may be served."""
        return self.status == TenantStatus.ACTIVE


async def standing_of(tenant: str) -> Standing | None:
    """Return how a tenant stands, by what the database says now; None if there is none.

    This is all that is told before it is known who asks.
    """
    async with _session_of(checked_name(tenant)) as session:
        found = (await session.execute(select(Tenant.status, Tenant.telemetry_consent))).first()
    return Standing(*found) if found else None


@asynccontextmanager
async def _session_of(tenant: str) -> AsyncIterator[AsyncSession]:
    async with db.open_session(Role.APPLICATION, _prepare) as session:
        event.listen(session.sync_session, "after_begin", partial(_begin, tenant))
        event.listen(session.sync_session, "before_attach", partial(_attach, tenant))
        yield session


@asynccontextmanager
async def system_session(reason: str, tenant: str = EVERY_TENANT) -> AsyncIterator[AsyncSession]:
    """Open a session that sees every tenant, for a reason that is written to the audit log first.

    `tenant` is the one that it is about. Leaving the block without an exception commits. Raises
    ValueError without a reason, TenancyError in a request without the system scope.
    """
    if not reason.strip():
        raise ValueError("a system session needs a reason")
    caller = _caller.get()
    if caller is not None and not caller.is_operator:
        raise TenancyError(
            "this request may not see every tenant: use tenant_session(), "
            "or require the scope tenants:admin of the route"
        )
    async with db.open_session(Role.SYSTEM, _prepare) as session:
        await record(session, reason, tenant)
        await session.commit()
        yield session
        await session.commit()


async def record(session: AsyncSession, action: str, tenant: str = EVERY_TENANT) -> None:
    """Write an entry to the audit log, in the transaction of a system session."""
    caller = _caller.get()
    entry = {
        "tenant_id": tenant,
        "actor": f"{caller.tenant}/{caller.user}" if caller else _owner(),
        "action": action,
        "request_id": current_request_id() if caller else "",
    }
    await session.execute(insert(AuditEntry).values(entry))


async def begin_snapshot(session: AsyncSession) -> None:
    """Begin a transaction in which a system session sees the database as of one moment."""
    if is_sqlite(session.get_bind().engine.url):
        await session.execute(text("BEGIN"))
    else:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


async def as_owner(change: Callable[[Connection], None]) -> None:
    """Change the schema in one transaction, and protect every table of tenants' rows in it."""
    check_names(db.current_settings())
    try:
        async with db.begin_as_owner(_prepare) as connection:
            await connection.run_sync(change)
            await connection.run_sync(_protect)
    finally:
        await db.dispose()


def _owner() -> str:
    """Name the account that runs the process: a person's, at a command line."""
    try:
        return f"process of {getpass.getuser()}"
    except (KeyError, OSError):  # a container's account may have no name
        return "process"


def tenant_tables(connection: Connection) -> Sequence[str]:
    """Return the names of the tables that have a tenant, by the database's own catalogue."""
    if is_sqlite(connection.engine.url):
        return sqlite.tenant_tables(connection)
    return postgresql.tenant_tables(connection)


def _protect(connection: Connection) -> None:
    """Put the database's own layer on every table with a tenant: nobody can forget a new one."""
    if is_sqlite(connection.engine.url):
        statements = sqlite.protection(connection)
    else:
        statements = postgresql.protection(connection, db.current_settings())
    for statement in statements:
        connection.exec_driver_sql(statement)


def _begin(
    tenant: str, session: Session, transaction: SessionTransaction, connection: Connection
) -> None:
    """Give the connection of each transaction to the session's tenant."""
    guard.enter(connection, tenant, begins=not transaction.nested)


def _attach(tenant: str, session: Session, row: object) -> None:
    """Take no row of another tenant over from where it was loaded."""
    if inspect(row).dict.get(guard.COLUMN) not in (None, tenant):
        raise TenancyError("this row is another tenant's: load it in a session of its own tenant")


def _before_commit(connection: Connection) -> None:
    """Let no transaction commit that adds rows to an erased tenant, or beyond a quota."""
    gate = Gate.of(connection)
    if gate.tenant is None or not gate.inserted_into:
        return
    lock = _no_lock if is_sqlite(connection.engine.url) else partial(postgresql.lock, connection)
    quotas = db.current_settings().TENANT_ROW_QUOTAS
    try:
        # The rows refer to their tenant, whose status waits for this transaction to change.
        if connection.scalar(select(Tenant.status)) in REFUSING_ROWS:
            raise TenantErasedError("this tenant is being erased, and takes no more rows")
        check_rows(connection, gate.tenant, gate.inserted_into, quotas, lock)
        guard.admit_commit(connection)
    except (TenantErasedError, QuotaExceededError, TenancyError):
        # For SQLAlchemy, a commit that failed has ended the transaction: see to it.
        connection.connection.rollback()
        raise
    except BaseException:
        connection.invalidate()
        raise


def _no_lock(name: str) -> None:
    """Do nothing: who has written to SQLite is the only writer until the transaction ends."""


def _prepare(engine: Engine, role: Role) -> None:
    """Put the guard and the database's own layer on a new engine, as its role demands."""
    if role is Role.APPLICATION:
        guard.install(engine)
        event.listen(engine, "commit", _before_commit)
    else:
        guard.release(engine)
    if is_sqlite(engine.url):
        sqlite.install(engine, role)
    elif role is Role.APPLICATION:
        postgresql.install(engine)
