"""Quotas over HTTP: who is at a limit is told when to come back, and nobody else notices."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from limits.aio.storage import memory
from pydantic import ValidationError
from pydantic_settings import SettingsError
from redis.asyncio import Redis
from sqlalchemy import Insert, delete, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Settings
from app.main import create_app
from app.projects.models import Project
from app.tenancy import TenancyError, lifecycle, quotas, system_session, tenant_session
from app.tenancy.quotas import QuotaExceededError, RateLimits
from tests.servers import PASSWORD, RedisServer, find_redis, start_redis

BACKEND = Path(__file__).parents[2]
PROJECTS = "/api/v1/projects"

Headers = dict[str, str]
AsUser = Callable[..., Headers]

pytestmark = pytest.mark.anyio

# What is counted before a route is reached is the same on every database.
on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("settings", ["postgresql"], indirect=True)


@asynccontextmanager
async def serving(settings: Settings, **changes: object) -> AsyncIterator[httpx.AsyncClient]:
    """Start an application with the tenants acme and globex, and yield a client of it."""
    app = create_app(settings.model_copy(update=changes))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service.test") as client,
    ):
        for name in ("acme", "globex"):
            await lifecycle.create(name)
        yield client


async def statuses(client: httpx.AsyncClient, headers: Headers, count: int) -> list[int]:
    """Ask one time after the other, and return how each was answered."""
    return [(await client.get(PROJECTS, headers=headers)).status_code for _ in range(count)]


class Clock:
    """The time by which requests are counted in memory."""

    def __init__(self) -> None:
        self.now = 1_000_000.5

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(memory, "time", SimpleNamespace(time=made.time))
    return made


@pytest.fixture(scope="module")
def redis_server() -> Iterator[str]:
    with find_redis() as url:
        yield url


@pytest.fixture
async def redis_url(redis_server: str) -> str:
    """The URL of a Redis that has counted nothing yet."""
    async with Redis.from_url(redis_server) as redis:
        for key in await counters(redis):
            await redis.delete(key)
    return redis_server


async def counters(redis: "Redis") -> list[bytes]:
    return [key async for key in redis.scan_iter(f"{Settings().AUTH_AUDIENCE}:*")]


# --- Requests ---


@on_sqlite
async def test_a_tenant_at_its_limit_is_told_so_and_nobody_else_notices(
    settings: Settings, as_user: AsUser, clock: Clock
) -> None:
    async with serving(settings, TENANT_RATE_LIMIT="3/minute") as client:
        acme, globex = as_user("acme"), as_user("globex")
        assert await statuses(client, acme, 3) == [200] * 3
        refused = await client.get(PROJECTS, headers=as_user("acme", user="bob"))
        assert await statuses(client, globex, 3) == [200] * 3
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 200
        assert await statuses(client, {"Authorization": "Bearer x"}, 4) == [401] * 4
    assert refused.status_code == 429
    assert refused.headers["Content-Type"] == "application/problem+json"
    # The windows are those of the clock's minutes: this one has 19.5 s left.
    assert refused.headers["Retry-After"] == "20"
    body = refused.json()
    assert body["limit"] == "requests"
    assert body["detail"] == (
        "The tenant is at its limit of requests, 3 per 1 minute: wait 20 s, then go on."
    )
    assert "globex" not in refused.text


@on_sqlite
async def test_after_the_time_that_was_told_the_tenant_is_served(
    settings: Settings, as_user: AsUser, clock: Clock
) -> None:
    async with serving(settings, TENANT_RATE_LIMIT="3/minute") as client:
        acme = as_user("acme")
        await statuses(client, acme, 3)
        clock.now += 19
        assert await statuses(client, acme, 1) == [429]
        clock.now += 1
        assert await statuses(client, acme, 1) == [200]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limit", ["1/second", "7/minute", "2/second;30/minute", "90/2 minutes"])
async def test_the_time_that_is_told_is_the_first_whole_second_that_will_do(
    limit: str, seed: int, clock: Clock
) -> None:
    limits = RateLimits(Settings(TENANT_RATE_LIMIT=limit))
    chance = random.Random(seed)
    told = []
    for _ in range(300):
        clock.now += chance.expovariate(1)
        try:
            await limits.hit("acme")
        except QuotaExceededError as refusal:
            told.append(refusal.retry_after)
            for _ in range(refusal.retry_after - 1):
                clock.now += 1
                with pytest.raises(QuotaExceededError):
                    await limits.hit("acme")
            clock.now += 1
            await limits.hit("acme")
    assert told
    assert min(told) >= 1
    await limits.close()


async def test_what_one_limit_refuses_is_not_taken_from_another(clock: Clock) -> None:
    limits = RateLimits(Settings(TENANT_RATE_LIMIT="3/hour;1/second"))
    for _ in range(3):
        await limits.hit("acme")
        for _ in range(5):
            with pytest.raises(QuotaExceededError, match="1 per 1 second"):
                await limits.hit("acme")
        clock.now += 2
    with pytest.raises(QuotaExceededError, match="3 per 1 hour"):
        await limits.hit("acme")
    await limits.close()


@pytest.mark.parametrize("store", ["memory", "redis"])
@on_sqlite
async def test_of_requests_at_the_same_time_as_many_pass_as_the_limit_says(
    settings: Settings, as_user: AsUser, redis_url: str, store: str
) -> None:
    changes = {"TENANT_RATE_LIMIT": "10/hour", "REDIS_URL": redis_url if store == "redis" else ""}
    async with serving(settings, **changes) as client:
        requests = [client.get(PROJECTS, headers=as_user("acme")) for _ in range(60)]
        answers = [answer.status_code for answer in await asyncio.gather(*requests)]
        assert sorted(answers) == [200] * 10 + [429] * 50
        assert await statuses(client, as_user("globex"), 1) == [200]


async def test_a_process_that_is_busy_counts_all_the_same(redis_url: str) -> None:
    loop = asyncio.get_running_loop()
    answered = False

    def take_a_while() -> None:
        time.sleep(0.03)
        if not answered:
            loop.call_soon(take_a_while)

    limits = RateLimits(Settings(TENANT_RATE_LIMIT="1/hour", REDIS_URL=redis_url))
    loop.call_soon(take_a_while)
    await limits.hit("acme")
    with pytest.raises(QuotaExceededError):
        await limits.hit("acme")
    answered = True
    await limits.close()


async def test_who_comes_no_more_takes_no_memory(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(quotas, "SWEEP_INTERVAL", 0)
    tasks = asyncio.all_tasks()
    limits = RateLimits(Settings(TENANT_RATE_LIMIT="3/minute"))
    for number in range(100):
        await limits.hit(f"tenant-{number}")
    in_memory = limits._counters[asyncio.get_running_loop()]
    assert isinstance(in_memory, quotas._InMemory)
    assert len(in_memory._storage.expirations) == 100
    clock.now += 120
    for _ in range(2):  # the first sweep began before their time was over
        await limits.hit("acme")
        assert in_memory._storage.timer is not None
        await in_memory._storage.timer
    assert [key.split("/")[1] for key in in_memory._storage.storage] == ["acme"]
    assert len(in_memory._storage.locks) <= 1
    monkeypatch.setattr(quotas, "SWEEP_INTERVAL", 60)
    await limits.hit("acme")
    await limits.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == tasks


async def test_a_request_does_not_look_through_the_counters_of_all_tenants(clock: Clock) -> None:
    limits = RateLimits(Settings(TENANT_RATE_LIMIT="3/minute"))
    for number in range(100):
        await limits.hit(f"tenant-{number}")
    clock.now += 120
    await limits.hit("acme")
    await asyncio.sleep(0)
    in_memory = limits._counters[asyncio.get_running_loop()]
    assert isinstance(in_memory, quotas._InMemory)
    assert len(in_memory._storage.expirations) == 101
    await limits.close()


def test_a_service_without_limits_loads_nothing_for_them() -> None:
    script = (
        "import sys, app.main; print([each for each in ('limits', 'redis') if each in sys.modules])"
    )
    environment = {"PATH": os.environ["PATH"], "ENV_FILE": ""}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=BACKEND,
        env=environment,
        capture_output=True,
        check=True,
    )
    assert run.stdout.strip() == b"[]"


# --- Requests, counted by several processes ---


@pytest.mark.parametrize(("shared", "answer"), [(True, 429), (False, 200)])
@on_sqlite
async def test_processes_share_a_limit_through_redis_and_not_without(
    settings: Settings, as_user: AsUser, redis_url: str, shared: bool, answer: int
) -> None:
    changes = {"TENANT_RATE_LIMIT": "3/hour", "REDIS_URL": redis_url if shared else ""}
    async with serving(settings, **changes) as one, serving(settings, **changes) as other:
        acme = as_user("acme")
        assert await statuses(one, acme, 2) + await statuses(other, acme, 1) == [200] * 3
        for client in (one, other):
            assert await statuses(client, acme, 1) == [answer]
            assert await statuses(client, as_user("globex"), 1) == [200]


@on_sqlite
async def test_in_redis_too_the_tenant_is_served_after_the_time_that_was_told(
    settings: Settings, as_user: AsUser, redis_url: str
) -> None:
    async with (
        serving(settings, TENANT_RATE_LIMIT="3/hour", REDIS_URL=redis_url) as client,
        Redis.from_url(redis_url) as redis,
    ):
        acme = as_user("acme")
        assert await statuses(client, acme, 4) == [200] * 3 + [429]
        refused = await client.get(PROJECTS, headers=acme)
        told = int(refused.headers["Retry-After"])
        assert 3590 <= told <= 3600
        await let_pass(redis, told)
        # The last window still counts for nearly all of its requests.
        assert await statuses(client, acme, 2) == [200, 429]
        await let_pass(redis, 2 * 3600)
        assert await counters(redis) == []
        assert await statuses(client, acme, 1) == [200]


async def let_pass(redis: "Redis", seconds: int) -> None:
    """Make every counter as old as if the time had passed."""
    for key in await counters(redis):
        await redis.pexpire(key, await redis.pttl(key) - seconds * 1000)


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with start_redis() as server:
        yield server


FAULTS: dict[str, tuple[Callable[[RedisServer], None], Callable[[RedisServer], None]]] = {
    "dies": (RedisServer.kill, RedisServer.start),
    "hangs": (RedisServer.hang, RedisServer.wake),
}


@pytest.mark.parametrize(("fail", "recover"), FAULTS.values(), ids=FAULTS)
@on_sqlite
async def test_while_redis_fails_requests_are_served_and_afterwards_counted_again(
    settings: Settings,
    as_user: AsUser,
    own_redis: RedisServer,
    fail: Callable[[RedisServer], None],
    recover: Callable[[RedisServer], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(quotas, "PAUSE", 0)
    async with serving(settings, TENANT_RATE_LIMIT="1/hour", REDIS_URL=own_redis.url) as client:
        acme = as_user("acme")
        assert await statuses(client, acme, 2) == [200, 429]
        fail(own_redis)
        assert await statuses(client, acme, 4) == [200] * 4
        requests = [client.get(PROJECTS, headers=acme) for _ in range(20)]
        assert {answer.status_code for answer in await asyncio.gather(*requests)} == {200}
        recover(own_redis)
        assert 429 in await statuses(client, acme, 4)
        monkeypatch.setattr(quotas, "PAUSE", 60)  # which is over, for all requests
        assert await statuses(client, as_user("globex"), 2) == [200, 429]
    log = capsys.readouterr().err
    assert log.count("requests are served without a rate limit") == 1
    assert PASSWORD not in log


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["none", "odd"])
@on_sqlite
async def test_a_server_that_is_no_help_is_left_alone_for_a_while(
    settings: Settings, as_user: AsUser, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[asyncio.Task[object] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        writer.write(answer)
        await reader.read()  # until the client has enough
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    changes = {"TENANT_RATE_LIMIT": "1/hour", "REDIS_URL": f"redis://127.0.0.1:{port}"}
    monkeypatch.setattr(quotas, "CONNECTIONS", 3)
    monkeypatch.setattr(quotas, "PAUSE", 0)
    async with server, serving(settings, **changes) as client:
        acme = as_user("acme")
        for asked in (3, 4):  # those beside the first three wait for no second try of theirs
            requests = [client.get(PROJECTS, headers=acme) for _ in range(10)]
            assert {each.status_code for each in await asyncio.gather(*requests)} == {200}
            assert len(connections) == asked
            monkeypatch.setattr(quotas, "PAUSE", 60)  # the first pause is over; then one tries
        assert await statuses(client, acme, 5) == [200] * 5
        assert len(connections) == 4
        await asyncio.wait_for(asyncio.gather(*filter(None, connections)), 3)


async def test_services_that_use_the_same_redis_count_for_themselves(redis_url: str) -> None:
    for audience in ("api", "shop"):
        limits = RateLimits(
            Settings(TENANT_RATE_LIMIT="1/hour", REDIS_URL=redis_url, AUTH_AUDIENCE=audience)
        )
        await limits.hit(f"tenant-{os.getpid()}")
        await limits.close()


async def test_an_application_may_be_served_by_one_loop_after_another(redis_url: str) -> None:
    limits = RateLimits(Settings(TENANT_RATE_LIMIT="2/hour", REDIS_URL=redis_url))

    async def serve() -> None:
        await limits.hit("acme")
        await limits.close()

    for _ in range(2):
        await asyncio.to_thread(asyncio.run, serve())
    with pytest.raises(QuotaExceededError):
        await limits.hit("acme")
    await limits.close()


# --- Rows ---

QUOTA = {"projects": 5}


async def make(client: httpx.AsyncClient, name: str, headers: Headers) -> httpx.Response:
    return await client.post(PROJECTS, json={"name": name}, headers=headers)


async def count_projects(tenant: str) -> int:
    async with tenant_session(tenant) as session:
        return await session.scalar(select(func.count()).select_from(Project)) or 0


async def test_of_rows_that_are_made_at_the_same_time_as_many_stay_as_the_quota_says(
    settings: Settings, as_user: AsUser
) -> None:
    async with serving(settings, TENANT_ROW_QUOTAS=QUOTA) as client:
        acme, globex = as_user("acme"), as_user("globex")
        for number in range(4):
            assert (await make(client, f"first {number}", acme)).status_code == 201
        requests = [make(client, f"{number}", acme) for number in range(10)]
        others = [make(client, f"{number}", globex) for number in range(5)]
        answers = await asyncio.gather(*requests, *others)
        assert sorted(answer.status_code for answer in answers[:10]) == [201] + [429] * 9
        assert [answer.status_code for answer in answers[10:]] == [201] * 5
        assert (await count_projects("acme"), await count_projects("globex")) == (5, 5)


@on_postgresql  # SQLite has one writer at a time
async def test_of_transactions_that_commit_at_the_same_time_each_counts_those_before_it(
    settings: Settings,
) -> None:
    ready = asyncio.Barrier(10)

    async def add(number: int) -> bool:
        try:
            async with tenant_session("acme") as session:
                session.add(Project(name=f"{number}"))
                await session.flush()
                await ready.wait()
        except QuotaExceededError:
            return False
        return True

    async with serving(settings, TENANT_ROW_QUOTAS=QUOTA):
        async with asyncio.timeout(30):
            stored = await asyncio.gather(*(add(number) for number in range(10)))
        assert (sum(stored), await count_projects("acme")) == (5, 5)


async def test_a_refused_row_is_told_of_and_a_deleted_one_makes_room(
    settings: Settings, as_user: AsUser
) -> None:
    async with serving(settings, TENANT_ROW_QUOTAS=QUOTA) as client:
        acme = as_user("acme")
        made = [await make(client, f"{number}", acme) for number in range(5)]
        refused = await make(client, "one more", acme)
        assert refused.status_code == 429
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.headers["Retry-After"] == "60"
        assert refused.json()["limit"] == "rows"
        assert refused.json()["detail"] == (
            "The tenant is at its limit of rows, 5 in projects: delete some before you add others."
        )
        url = made[0].headers["Location"]
        # What adds no row to a full table is not in question.
        change = {"json": {"name": "changed"}, "headers": acme | {"If-Match": '"1"'}}
        assert (await client.patch(url, **change)).status_code == 200  # type: ignore[arg-type] # a plain dict of its arguments
        task = await client.post(f"{url}/tasks", json={"title": "no quota"}, headers=acme)
        assert task.status_code == 201
        assert (await client.delete(url, headers=acme)).status_code == 204
        assert (await make(client, "one more", acme)).status_code == 201
        assert (await make(client, "too many", acme)).status_code == 429


async def by_add(session: AsyncSession) -> None:
    session.add(Project(name="one more"))


async def by_add_in_a_savepoint(session: AsyncSession) -> None:
    async with session.begin_nested():
        session.add(Project(name="one more"))


async def by_add_in_an_open_savepoint(session: AsyncSession) -> None:
    await session.begin_nested()
    session.add(Project(name="one more"))
    await session.commit()


async def by_a_flush_before_a_commit(session: AsyncSession) -> None:
    session.add(Project(name="one more"))
    await session.flush()
    await session.execute(select(Project))
    await session.commit()


async def by_insert(session: AsyncSession) -> None:
    await session.execute(insert(Project).values(name="one more"))


async def by_bulk_insert(session: AsyncSession) -> None:
    await session.execute(insert(Project), [{"name": f"{number} more"} for number in range(3)])


async def by_insert_returning(session: AsyncSession) -> None:
    await session.scalars(insert(Project).returning(Project.id), [{"name": "one more"}])


async def by_insert_from_select(session: AsyncSession) -> None:
    source = select(literal("one more"), literal(1), Project.created_at, Project.updated_at)
    columns = ["name", "version", "created_at", "updated_at"]
    await session.execute(insert(Project).from_select(columns, source.limit(1)))


async def by_upsert(session: AsyncSession) -> None:
    await session.execute(upsert(session, "one more"))


def upsert(session: AsyncSession, name: str) -> Insert:
    insertion = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = insertion.insert(Project).values(name=name)
    changed: Insert = statement.on_conflict_do_update(
        index_elements=["tenant_id", "name"], set_={"version": 7}
    )
    return changed


WAYS: list[Callable[[AsyncSession], Awaitable[None]]] = [
    by_add,
    by_add_in_a_savepoint,
    by_add_in_an_open_savepoint,
    by_a_flush_before_a_commit,
    by_insert,
    by_bulk_insert,
    by_insert_returning,
    by_insert_from_select,
    by_upsert,
]


@pytest.mark.parametrize("way", WAYS)
async def test_no_way_of_adding_a_row_goes_around_the_quota(
    settings: Settings, way: Callable[[AsyncSession], Awaitable[None]]
) -> None:
    async with serving(settings, TENANT_ROW_QUOTAS=QUOTA):
        async with tenant_session("acme") as session:
            session.add_all([Project(name=f"{number}") for number in range(5)])
        for _ in range(2):
            with pytest.raises(QuotaExceededError):
                async with tenant_session("acme") as session:
                    await way(session)
        assert await count_projects("acme") == 5
        # With a row less all of them but the one that adds three may go on.
        async with tenant_session("globex") as session:
            session.add_all([Project(name=f"{number}") for number in range(2)])
        async with tenant_session("globex") as session:
            await way(session)
        assert await count_projects("globex") == (5 if way is by_bulk_insert else 3)


async def test_a_full_table_takes_what_adds_no_row_in_the_end(settings: Settings) -> None:
    async with serving(settings, TENANT_ROW_QUOTAS=QUOTA):
        async with tenant_session("acme") as session:
            session.add_all([Project(name=f"{number}") for number in range(5)])
        async with tenant_session("acme") as session:
            await session.execute(upsert(session, "0"))
            savepoint = await session.begin_nested()
            session.add(Project(name="one more"))
            await session.flush()
            await savepoint.rollback()
        async with tenant_session("acme") as session:
            await session.delete(await session.scalar(select(Project).where(Project.name == "1")))
            session.add(Project(name="in its place"))
        async with tenant_session("acme") as session:
            session.add(Project(name="one more"))
            await session.flush()
            await session.rollback()
        assert await count_projects("acme") == 5


async def test_what_is_there_in_the_end_counts(settings: Settings) -> None:
    async with serving(settings, TENANT_ROW_QUOTAS=QUOTA):
        async with tenant_session("acme") as session:
            session.add_all([Project(name=f"{number}") for number in range(5)])
        async with tenant_session("acme") as session:
            async with session.begin_nested():
                session.add(Project(name="in the place of 0"))
            await session.execute(delete(Project).where(Project.name == "0"))
        assert await count_projects("acme") == 5


@on_postgresql  # SQLite has one writer at a time
async def test_who_is_not_done_yet_holds_nobody_up(settings: Settings) -> None:
    """Two add rows, one waits for what the other has changed: no deadlock comes of it."""
    changed, added = asyncio.Event(), asyncio.Event()
    change = update(Project).where(Project.name == "0").values(version=2)

    async def change_and_add() -> None:
        async with tenant_session("acme") as session:
            await session.execute(change)
            changed.set()
            await added.wait()
            session.add(Project(name="one"))

    async def add_and_change() -> None:
        async with tenant_session("acme") as session:
            await changed.wait()
            async with session.begin_nested():
                session.add(Project(name="another"))
            added.set()
            await session.execute(change)

    async with serving(settings, TENANT_ROW_QUOTAS=QUOTA):
        async with tenant_session("acme") as session:
            session.add(Project(name="0"))
        async with asyncio.timeout(30):
            await asyncio.gather(change_and_add(), add_and_change())
        assert await count_projects("acme") == 3


async def test_each_commit_of_a_session_is_held_to_the_quota(settings: Settings) -> None:
    async with serving(settings, TENANT_ROW_QUOTAS=QUOTA):
        async with tenant_session("acme") as session:
            for number in range(5):
                session.add(Project(name=f"{number}"))
                await session.commit()
            session.add(Project(name="one more"))
            with pytest.raises(QuotaExceededError):
                await session.commit()
            await session.rollback()
            assert len((await session.scalars(select(Project))).all()) == 5
        assert await count_projects("acme") == 5


async def commit_by_the_driver(driver: Any) -> None:
    if hasattr(driver, "fetch"):
        await driver.execute("COMMIT;")
    else:
        await driver.commit()


def commit_by_the_driver_in_a_block(driver: Any) -> None:
    with driver._conn:
        pass


def commit_by_a_change_of_level(driver: Any) -> None:
    driver._conn.isolation_level = None


@pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)
async def test_no_commit_below_the_session_goes_around_the_quota(settings: Settings) -> None:
    ways: list[Callable[[Any], Any]] = [commit_by_the_driver]
    async with serving(settings, TENANT_ROW_QUOTAS=QUOTA):
        async with tenant_session("acme") as session:
            is_sqlite = session.get_bind().dialect.name == "sqlite"
        if is_sqlite:
            ways += [commit_by_the_driver_in_a_block, commit_by_a_change_of_level]
        for way in ways:
            with pytest.raises(TenancyError):
                await add_nine_and_commit(way)
            assert await count_projects("acme") == 0
        async with tenant_session("acme") as session:
            session.add(Project(name="one"))
        assert await count_projects("acme") == 1


async def add_nine_and_commit(way: Callable[[Any], Any]) -> None:
    async with tenant_session("acme") as session:
        await session.execute(insert(Project), [{"name": f"{number}"} for number in range(9)])
        raw = await (await session.connection()).get_raw_connection()
        driver: Any = raw.driver_connection
        # A connection of SQLite is used in its own thread.
        await (way(driver) if iscoroutinefunction(way) else driver._execute(way, driver))


@on_postgresql
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_rows_with_a_quota_are_counted_where_those_of_others_are_seen(
    settings: Settings, level: str
) -> None:
    async with serving(settings, TENANT_ROW_QUOTAS=QUOTA):
        with pytest.raises(TenancyError, match="READ COMMITTED"):
            await add_at(level)
        assert await count_projects("acme") == 0
    async with serving(settings):
        await add_at(level)
        assert await count_projects("acme") == 1


async def add_at(level: str) -> None:
    async with tenant_session("acme") as session:
        await session.connection(execution_options={"isolation_level": level})
        session.add(Project(name="one"))


async def test_operators_are_held_to_no_quota(settings: Settings) -> None:
    async with serving(settings, TENANT_ROW_QUOTAS=QUOTA):
        async with system_session("import what acme had elsewhere", "acme") as session:
            session.add_all([Project(tenant_id="acme", name=f"{number}") for number in range(9)])
        assert await count_projects("acme") == 9


# --- Settings ---

RATE = "a limit is written as 100/minute, several as 10/second;1000/hour"
URL = "it must be a URL: redis://user:password@host:port/number, rediss:// for TLS"

REFUSED = {
    "no rate": ({"TENANT_RATE_LIMIT": "often"}, RATE),
    "no time": ({"TENANT_RATE_LIMIT": "100"}, RATE),
    "no such time": ({"TENANT_RATE_LIMIT": "100/fortnight"}, RATE),
    "no request": ({"TENANT_RATE_LIMIT": "10/second;0/hour"}, RATE),
    "no such server": ({"REDIS_URL": "localhost:6379"}, URL),
    "no such option": ({"REDIS_URL": "redis://:planted@localhost?planted=1"}, URL),
    "a slash in the password": ({"REDIS_URL": "redis://:planted/x@localhost"}, URL),
    "no row": ({"TENANT_ROW_QUOTAS": '{"projects": 0}'}, "greater than 0"),
    "no number": ({"TENANT_ROW_QUOTAS": '{"projects": "many"}'}, "valid integer"),
    "no JSON": ({"TENANT_ROW_QUOTAS": "projects=10"}, 'field "TENANT_ROW_QUOTAS"'),
}


@pytest.mark.parametrize(("variables", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_setting_that_makes_no_sense_is_refused(
    variables: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((ValidationError, SettingsError)) as refused:
        Settings()
    assert sentence in str(refused.value)
    assert "planted" not in str(refused.value)


@on_sqlite
@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"TENANT_RATE_LIMIT": "often"}, f"TENANT_RATE_LIMIT: {RATE}"),
        ({"REDIS_URL": "redis://:planted@localhost:x"}, f"REDIS_URL: {URL}"),
        (
            {"TENANT_ROW_QUOTAS": json.dumps({"projects": 1, "elsewhere": 1})},
            "TENANT_ROW_QUOTAS has 'elsewhere', but may have projects, tasks.",
        ),
    ],
)
def test_a_service_does_not_start_with_it_and_says_why_in_one_sentence(
    settings: Settings, variables: dict[str, str], sentence: str
) -> None:
    environment = {**settings.database_urls, "AUTH_LOCAL_KEY_FILE": settings.AUTH_LOCAL_KEY_FILE}
    run = subprocess.run(
        [sys.executable, "-m", "app", "run"],
        cwd=BACKEND,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", "PORT": "0"} | environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (1, "", f"{sentence}\n")
