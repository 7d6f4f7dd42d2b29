"""What a tenant may use up: requests in a time, from a bucket of its own, and rows of a table."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, func, select

from app.core.config import Settings
from app.db.base import Base, load_models
from app.observability import RefusalError, metrics
from app.tenancy.guard import COLUMN
from app.tenancy.models import RECORDS

# Both libraries are imported where they are used, because they take a quarter of a second:
# nothing, for a service that sets no limit.
if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.storage import MemoryStorage, RedisStorage

WAIT = 0.25  # seconds that Redis is given to answer; then the request is served uncounted
TURNS = 50  # of the event loop, which Redis is given at least; the first request takes some 30
PAUSE = 5.0  # seconds for which Redis is left alone after it failed
WARNING_INTERVAL = 30.0  # seconds
SWEEP_INTERVAL = 60.0  # seconds
CONNECTIONS = 50  # that a process opens to Redis at most; of more requests each waits for one

ROWS_RETRY_AFTER = 60  # seconds; rows go when somebody deletes them, which nobody can foretell

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class QuotaExceededError(RefusalError):
    """A tenant is at one of its limits. The message tells its callers what to do.

    `retry_after` is in seconds, and at least 1.
    """

    def __init__(self, limit: Literal["requests", "rows"], message: str, retry_after: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.retry_after = retry_after


class RateLimits:
    """The rate limits of an application: what one tenant spends costs another nothing.

    Requests are counted in windows, of which the last one fades out while the present one fills:
    two numbers a tenant, however high the limit, and no second burst where two windows meet.
    """

    def __init__(self, settings: Settings) -> None:
        self._limits = _parse(settings.TENANT_RATE_LIMIT)
        self._settings = settings
        # A connection belongs to the event loop that opened it.
        self._counters: WeakKeyDictionary[asyncio.AbstractEventLoop, _Counters] = (
            WeakKeyDictionary()
        )

    async def hit(self, tenant: str) -> None:
        """Count a request of a tenant; raise QuotaExceededError where it is one too many."""
        if not self._limits:
            return
        loop = asyncio.get_running_loop()
        if (counters := self._counters.get(loop)) is None:
            counters = self._counters[loop] = _counters(self._settings)
        if refusal := await counters.spend(self._limits, tenant):
            _count_refusal(tenant)
            raise refusal

    async def close(self) -> None:
        """Close what the running loop has open. What is asked after it is counted all the same."""
        if counters := self._counters.pop(asyncio.get_running_loop(), None):
            await counters.close()


class _Counters(Protocol):
    async def spend(
        self, limits: Sequence["RateLimitItem"], tenant: str
    ) -> QuotaExceededError | None: ...

    async def close(self) -> None: ...


def _counters(settings: Settings) -> _Counters:
    if not settings.REDIS_URL:
        return _InMemory()
    # Another service may use the same Redis, and have tenants of the same names.
    return _Shared(settings.REDIS_URL, settings.AUTH_AUDIENCE)


class _InMemory:
    """Counters of this process alone."""

    def __init__(self) -> None:
        from limits.aio.storage import MemoryStorage  # noqa: PLC0415

        self._storage = MemoryStorage()

    async def spend(
        self, limits: Sequence["RateLimitItem"], tenant: str
    ) -> QuotaExceededError | None:
        # The storage would look through everybody's counters after each request, if it had no
        # timer running: 10,000 tenants would make every request a hundred times as expensive.
        if self._storage.timer is None or self._storage.timer.done():
            self._storage.timer = asyncio.create_task(_sweep(self._storage))
        return await _spend(self._storage, limits, tenant)

    async def close(self) -> None:
        if self._storage.timer:
            self._storage.timer.cancel()


async def _sweep(storage: "MemoryStorage") -> None:
    """Drop the counters whose windows are over, a while from now."""
    await asyncio.sleep(SWEEP_INTERVAL)
    for key in list(storage.expirations):
        await storage.get(key)  # which drops it
        await asyncio.sleep(0)


class _Shared:
    """Counters of every process of a service, in Redis; where it fails, nothing is refused."""

    def __init__(self, url: str, service: str) -> None:
        from limits.aio.storage import RedisStorage  # noqa: PLC0415
        from redis.asyncio import BlockingConnectionPool  # noqa: PLC0415

        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=None,
            protocol=2,
            driver_info=None,  # a round trip for each connection, to tell a name
        )
        self._storage = RedisStorage(
            "redis://",
            implementation="redispy",
            connection_pool=self._pool,  # type: ignore[arg-type] # its documentation names it
            key_prefix=service,
        )
        self._connections = asyncio.Semaphore(CONNECTIONS)
        self._failures = 0
        self._paused_until = 0.0
        self._silent_until = 0.0

    async def spend(
        self, limits: Sequence["RateLimitItem"], tenant: str
    ) -> QuotaExceededError | None:
        if self._paused_until:
            if time.monotonic() < self._paused_until:
                return None
            self._paused_until = time.monotonic() + PAUSE  # for those beside the one that tries
        failures = self._failures
        async with self._connections:
            if failures != self._failures:
                return None
            try:
                refusal = await _patiently(_spend(self._storage, limits, tenant))
            except Exception as error:  # whatever it is, it is no fault of the request
                self._pause(error)
                return None
        self._paused_until = 0.0
        return refusal

    def _pause(self, error: Exception) -> None:
        now = time.monotonic()
        self._failures += 1
        self._paused_until = now + PAUSE
        if now >= self._silent_until:
            self._silent_until = now + WARNING_INTERVAL
            # Not its text, which may tell of the server's address.
            name = type(error).__name__
            log.warning("Redis fails (%s): requests are served without a rate limit", name)

    async def close(self) -> None:
        await self._pool.aclose()


async def _patiently(work: Coroutine[object, object, Result]) -> Result:
    """Return what work returns; raise TimeoutError if it takes longer than WAIT.

    A process that is busy gets to its work late: that must not look like a Redis that is slow, or
    whoever sends the most requests would be the one whose limit is lifted. Turns are counted.
    """
    task = asyncio.create_task(work)
    try:
        for _ in range(TURNS):
            if (await asyncio.wait([task], timeout=WAIT / TURNS))[0]:
                return task.result()
        raise TimeoutError
    finally:
        task.cancel()


def _parse(text: str) -> list["RateLimitItem"]:
    if not text:
        return []
    from limits import parse_many  # noqa: PLC0415

    # The shortest window first: what it refuses is not taken from the longer ones.
    return sorted(parse_many(text), key=lambda limit: limit.get_expiry())


async def _spend(
    storage: "MemoryStorage | RedisStorage", limits: Sequence["RateLimitItem"], tenant: str
) -> QuotaExceededError | None:
    from limits.aio.strategies import SlidingWindowCounterRateLimiter  # noqa: PLC0415

    limiter = SlidingWindowCounterRateLimiter(storage)
    for limit in limits:
        if not await limiter.hit(limit, tenant):
            waits = [await _wait(storage, each, tenant) for each in limits]
            seconds = max(1, math.ceil(max(waits)))
            message = (
                f"The tenant is at its limit of requests, {limit}: wait {seconds} s, then go on."
            )
            return QuotaExceededError("requests", message, seconds)
    return None


async def _wait(
    storage: "MemoryStorage | RedisStorage", limit: "RateLimitItem", tenant: str
) -> float:
    """Return the seconds until a limit lets one request through; not above 0 if it would now."""
    window = limit.get_expiry()
    last, last_ends, present, present_ends = await storage.get_sliding_window(
        limit.key_for(tenant), window
    )
    if present >= limit.amount:
        return present_ends - window  # the storage keeps a window for as long again, as the last
    if not last:
        return 0
    return last_ends - window * (limit.amount - present) / last


def _count_refusal(tenant: str) -> None:
    metrics.QUOTA_REFUSALS.labels(metrics.tenant_label(tenant)).inc()


def check_tables(quotas: Mapping[str, int]) -> None:
    """Raise ValueError for a quota of a table that holds no tenants' rows."""
    load_models()
    tables = Base.metadata.tables.values()
    known = {table.name for table in tables if COLUMN in table.c} - RECORDS
    for name in sorted(quotas.keys() - known):
        raise ValueError(f"TENANT_ROW_QUOTAS has {name!r}, but may have {', '.join(sorted(known))}")


def check_rows(
    connection: Connection,
    tenant: str,
    tables: Collection[str],
    quotas: Mapping[str, int],
    lock: Callable[[str], None],
) -> None:
    """Raise QuotaExceededError if a tenant has more rows of a table than it may.

    Call it last before the commit, with the tables that rows were added to. `lock` takes a name
    and waits until no other transaction holds it; this one then holds it until it ends: of all
    that add rows of a tenant to a table at the same time, each counts those of the one before.
    """
    # In one order: no two transactions wait for each other.
    for name in sorted(quotas.keys() & set(tables)):
        lock(f"rows of {tenant} in {name}")
        owner = Base.metadata.tables[name].c[COLUMN]
        rows = select(owner).where(owner == tenant).limit(quotas[name] + 1).subquery()
        counted = connection.scalar(select(func.count()).select_from(rows)) or 0
        if counted > quotas[name]:
            message = (
                f"The tenant is at its limit of rows, {quotas[name]} in {name}: "
                "delete some before you add others."
            )
            _count_refusal(tenant)
            raise QuotaExceededError("rows", message, ROWS_RETRY_AFTER)
