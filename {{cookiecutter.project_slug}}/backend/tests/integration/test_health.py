"""What machines ask: alive, ready, and the metrics; what is counted, for whom, and who may read it."""

import asyncio
import itertools
import os
import random
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError
from starlette.types import Message

from app.core.config import Settings
from app.main import create_app
from app.observability import metrics
from app.observability.metrics import OTHER, RANKING, TopTenants
from app.tenancy import lifecycle, tenant_session
from tests.servers import missing

LIVE = "/health/live"
PROJECTS = "/api/v1/projects"
TOKEN = "planted-Token_1~+/.=="

AsUser = Callable[..., dict[str, str]]
Series = dict[str, float]

pytestmark = pytest.mark.anyio

# What is counted is the same on every database.
on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


# Health


async def test_a_live_process_says_so_without_a_token(client: httpx.AsyncClient) -> None:
    response = await client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_it_is_ready_when_the_database_answers(client: httpx.AsyncClient) -> None:
    response = await client.get("/health/ready")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_it_is_not_ready_without_its_tables_and_says_no_more_than_that(
    settings: Settings, tmp_path: Path
) -> None:
    empty = settings.model_copy(
        update={
            "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/empty.db",
            "SYSTEM_DATABASE_URL": "",
            "MIGRATION_DATABASE_URL": "",
        }
    )
    transport = httpx.ASGITransport(create_app(empty))
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
        response = await client.get("/health/ready")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["reason"] == "database_unavailable"
    assert "tenants" not in response.text


# Metrics


def client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service.test")


@asynccontextmanager
async def serving(settings: Settings, **changes: object) -> AsyncIterator[httpx.AsyncClient]:
    """Start an application with the tenants acme and globex, and yield a client of it."""
    app = create_app(settings.model_copy(update=changes))
    async with app.router.lifespan_context(app), client_of(app) as client:
        for name in ("acme", "globex"):
            await lifecycle.create(name)
        yield client


async def scrape(client: httpx.AsyncClient) -> Series:
    """Return every series, as it is written, with its value."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    lines = [line for line in response.text.split("\n") if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def counted(client: httpx.AsyncClient, work: Awaitable[object]) -> Series:
    """Return the series that grew while the work was done, and by how much."""
    before = await scrape(client)
    await work
    after = await scrape(client)
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    return {name: growth for name, growth in grown.items() if growth}


def requests(route: str, status: int, method: str = "GET") -> str:
    return f'http_requests_total{{method="{method}",route="{route}",status="{status}"}}'


@on_sqlite
async def test_a_request_is_counted_by_the_template_of_its_route(
    client: httpx.AsyncClient, as_user: AsUser
) -> None:
    grown = await counted(
        client, client.get(f"{PROJECTS}/planted-in-path?x=planted", headers=as_user("acme"))
    )
    route = f"{PROJECTS}/{{project_id}}"
    assert grown[requests(route, 422)] == 1
    labels = f'method="GET",route="{route}"'
    assert grown[f"http_request_duration_seconds_count{{{labels}}}"] == 1
    assert 0 < grown[f"http_request_duration_seconds_sum{{{labels}}}"] < 30
    assert grown[f'http_request_duration_seconds_bucket{{le="+Inf",{labels}}}'] == 1
    assert not [name for name in grown if "planted" in name]


@on_sqlite
async def test_no_caller_makes_series(app: FastAPI, as_user: AsUser) -> None:
    async def attack(name: str) -> set[str]:
        methods = ("GET", "PUT", "TRACE", name, name.lower())
        paths = (PROJECTS, f"{PROJECTS}/{name}", LIVE, f"/{name}", f"/%0A%22%F0{name}", f"/?{name}")
        headers = {"X-Tenant-ID": name, "Host": f"{name}.example", "X-Request-ID": name}
        async with client_of(app) as client:
            for method, path in itertools.product(methods, paths):
                for credentials in (f"Bearer {name}", f"Basic {name}", name):
                    own = headers | {"Authorization": credentials}
                    await client.request(method, path, headers=own)
            await client.get(PROJECTS, headers=as_user("acme") | {"X-Tenant-ID": name})
            return set(await scrape(client))

    known = await attack("FIRST")
    assert await attack("SECOND") == known
    assert any('method="other",route="(no route)"' in name for name in known)
    assert not any('method="other",route="/' in name for name in known)


@on_sqlite
async def test_a_scrape_measures_everything_but_itself(client: httpx.AsyncClient) -> None:
    grown = await counted(client, scrape(client))
    assert not [name for name in grown if name.startswith(("http_", "tenant_"))]
    assert (await scrape(client))["http_requests_in_progress"] == 0


@pytest.fixture
def holding(app: FastAPI) -> asyncio.Event:
    """Give the application a route that answers once the event is set."""
    release = asyncio.Event()

    @app.get("/holding")
    async def hold() -> None:
        await release.wait()

    return release


async def in_progress(client: httpx.AsyncClient, number: float) -> None:
    """Wait until that many requests are in progress."""
    async with asyncio.timeout(10):
        while (await scrape(client))["http_requests_in_progress"] != number:
            pass


@on_sqlite
async def test_a_hundred_requests_in_progress_are_a_hundred_and_then_none(
    client: httpx.AsyncClient, holding: asyncio.Event
) -> None:
    async def ask() -> None:
        asked = [asyncio.create_task(client.get("/holding")) for _ in range(100)]
        await in_progress(client, 100)
        holding.set()
        await asyncio.gather(*asked)

    grown = await counted(client, ask())
    assert grown[requests("/holding", 200)] == 100
    await in_progress(client, 0)


@on_sqlite
async def test_a_request_that_is_cancelled_is_no_longer_in_progress(
    client: httpx.AsyncClient, holding: asyncio.Event
) -> None:
    asked = asyncio.create_task(client.get("/holding"))
    await in_progress(client, 1)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await in_progress(client, 0)


@on_sqlite
async def test_a_failure_and_an_answer_that_breaks_off_are_counted_and_over(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    async def parts() -> AsyncIterator[str]:
        yield "a part"
        raise RuntimeError

    @app.get("/failing")
    async def fail() -> None:
        raise RuntimeError

    @app.get("/breaking")
    async def break_off() -> StreamingResponse:
        return StreamingResponse(parts())

    async def ask() -> None:
        await client.get("/failing")
        await client.get("/breaking")

    grown = await counted(client, ask())
    assert grown[requests("/failing", 500)] == 1
    assert grown[requests("/breaking", 200)] == 1
    await in_progress(client, 0)


@on_sqlite
async def test_a_streamed_answer_is_in_progress_until_its_end(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    during: list[Series] = []

    async def parts() -> AsyncIterator[str]:
        for _ in range(3):
            during.append(await scrape(client))
            yield "a part"

    @app.get("/streaming")
    async def stream() -> StreamingResponse:
        return StreamingResponse(parts())

    grown = await counted(client, client.get("/streaming"))
    assert [each["http_requests_in_progress"] for each in during] == [1, 1, 1]
    assert grown[requests("/streaming", 200)] == 1


@on_sqlite
async def test_what_is_no_request_is_not_counted(app: FastAPI, client: httpx.AsyncClient) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/nowhere", "headers": [(b"host", b"x")], "state": {}}
    grown = await counted(client, app(scope, receive, send))
    assert sent[0]["type"] == "websocket.close"
    assert not [name for name in grown if name.startswith("http_")]


@on_sqlite
async def test_a_tenants_requests_are_counted_for_it_and_nobodys_for_nobody(
    client: httpx.AsyncClient, as_user: AsUser
) -> None:
    async def ask() -> None:
        for _ in range(3):
            await client.get(PROJECTS, headers=as_user("acme"))
        await client.post(PROJECTS, headers=as_user("acme"), json={})
        await client.get(PROJECTS, headers=as_user("globex"))
        await client.get(PROJECTS)

    grown = await counted(client, ask())
    assert {name: n for name, n in grown.items() if name.startswith("tenant_requests")} == {
        'tenant_requests_total{status="2xx",tenant="acme"}': 3,
        'tenant_requests_total{status="4xx",tenant="acme"}': 1,
        'tenant_requests_total{status="2xx",tenant="globex"}': 1,
    }
    assert grown['tenant_request_duration_seconds_count{tenant="acme"}'] == 4


@on_sqlite
async def test_tenants_beyond_the_number_that_is_set_are_counted_together(
    settings: Settings, as_user: AsUser
) -> None:
    async with serving(settings, METRICS_TENANTS=1) as client:

        async def ask() -> None:
            for tenant in ("acme", "globex", "acme", "globex"):
                await client.get(PROJECTS, headers=as_user(tenant))

        grown = await counted(client, ask())
    assert grown['tenant_requests_total{status="2xx",tenant="acme"}'] == 2
    assert grown['tenant_requests_total{status="2xx",tenant="other"}'] == 2


@on_sqlite
async def test_what_a_tenant_is_refused_is_counted_for_it(
    settings: Settings, as_user: AsUser
) -> None:
    limits = {"TENANT_RATE_LIMIT": "3/hour", "TENANT_ROW_QUOTAS": {"projects": 1}}
    async with serving(settings, **limits) as client:

        async def ask() -> None:
            for name in ("A", "B"):
                await client.post(PROJECTS, headers=as_user("acme"), json={"name": name})
            for _ in range(3):
                await client.get(PROJECTS, headers=as_user("acme"))

        grown = await counted(client, ask())
    assert grown['quota_refusals_total{tenant="acme"}'] == 3
    assert grown['tenant_requests_total{status="4xx",tenant="acme"}'] == 3
    assert grown[requests(PROJECTS, 429)] == 2


@on_sqlite
async def test_tokens_that_are_refused_are_counted_by_the_reason(
    client: httpx.AsyncClient,
) -> None:
    async def ask() -> None:
        await client.get(PROJECTS)
        for token in ("planted", "planted" * 2000):
            await client.get(PROJECTS, headers={"Authorization": f"Bearer {token}"})

    grown = await counted(client, ask())
    assert {name: n for name, n in grown.items() if name.startswith("token_")} == {
        'token_failures_total{reason="missing"}': 1,
        'token_failures_total{reason="malformed"}': 1,
        'token_failures_total{reason="too_long"}': 1,
    }


def connections(series: Series) -> tuple[float, float, float]:
    """Return how many connections of the application's role are in use, idle and allowed."""
    of_role = 'database_pool_connections{role="application",state='
    return (
        series[f'{of_role}"in_use"}}'],
        series[f'{of_role}"idle"}}'],
        series['database_pool_limit{role="application"}'],
    )


async def test_connections_are_in_use_then_idle_and_gone_in_the_end(settings: Settings) -> None:
    async with serving(settings) as client:
        async with tenant_session("acme") as one, tenant_session("globex") as two:
            await one.connection()
            await two.connection()
            assert connections(await scrape(client)) == (2, 0, 15)
            await (await two.connection()).invalidate()
            assert connections(await scrape(client))[1] == 0
            await two.rollback()
        assert connections(await scrape(client)) == (0, 1, 15)
    async with client_of(create_app(settings)) as client:
        assert connections(await scrape(client)) == (0, 0, 0)


@on_sqlite
async def test_metrics_are_there_while_the_database_is_not(
    settings: Settings, tmp_path: Path
) -> None:
    gone = {"DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}"}  # a directory can't be opened
    async with client_of(create_app(settings.model_copy(update=gone))) as client:
        assert (await client.get("/health/ready")).status_code == 503
        assert connections(await scrape(client))[:2] == (0, 0)


READERS: dict[str, tuple[dict[str, object], str | None, int]] = {
    "development": ({}, None, 200),
    "staging": ({"ENVIRONMENT": "staging"}, None, 200),
    "production": ({"ENVIRONMENT": "production"}, None, 401),
    "production, with some token": ({"ENVIRONMENT": "production"}, "x", 401),
    "production, with an empty token": ({"ENVIRONMENT": "production"}, "", 401),
    "production, public": ({"ENVIRONMENT": "production", "METRICS_PUBLIC": True}, None, 200),
    "a token": ({"METRICS_TOKEN": TOKEN}, TOKEN, 200),
    "a token, in production": ({"ENVIRONMENT": "production", "METRICS_TOKEN": TOKEN}, TOKEN, 200),
    "a token, which is not sent": ({"METRICS_TOKEN": TOKEN}, None, 401),
    "a token, and another is sent": ({"METRICS_TOKEN": TOKEN}, TOKEN[:-1], 401),
    "a token, and none that is one": ({"METRICS_TOKEN": TOKEN}, "\u00fc", 401),
    "a token, though public": ({"METRICS_TOKEN": TOKEN, "METRICS_PUBLIC": True}, None, 401),
}


@on_sqlite
@pytest.mark.parametrize("reader", READERS)
async def test_who_may_read_metrics(settings: Settings, reader: str) -> None:
    changes, token, status = READERS[reader]
    headers = {} if token is None else {b"Authorization": f"Bearer {token}".encode()}
    async with client_of(create_app(settings.model_copy(update=changes))) as client:
        response = await client.get("/metrics", headers=headers)
        assert response.status_code == status
        if status == 401:
            # As any path that needs credentials answers who has none.
            ask_again = {"X-Request-ID": response.headers["X-Request-ID"]}
            refused = await client.get(PROJECTS, headers=ask_again)
            assert response.content == refused.content
            assert response.headers == refused.headers


@on_sqlite
async def test_a_tenants_token_does_not_open_metrics(settings: Settings, as_user: AsUser) -> None:
    async with serving(settings, METRICS_TOKEN=TOKEN) as client:
        response = await client.get("/metrics", headers=as_user("acme", scope="tenants:admin"))
    assert response.status_code == 401


@pytest.mark.parametrize("token", ["two words", "\u00fc", "a\nb", "=", '"quoted"'])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    with pytest.raises(ValidationError, match="METRICS_TOKEN"):
        Settings(METRICS_TOKEN=token)


def test_the_token_is_not_shown_with_the_settings() -> None:
    assert TOKEN not in repr(Settings(METRICS_TOKEN=TOKEN))


FORMATS = {
    "": "text/plain; version=0.0.4; charset=utf-8",
    "*/*": "text/plain; version=0.0.4; charset=utf-8",
    "text/plain;version=1.0.0": "text/plain; version=1.0.0; charset=utf-8; escaping=underscores",
    "application/openmetrics-text;version=1.0.0,text/plain;q=0.5": (
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
    ),
    "text/plain; version=x": "text/plain; version=0.0.4; charset=utf-8",
    "application/openmetrics-text; version=": (
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    ),
}


@on_sqlite
@pytest.mark.parametrize("accepted", FORMATS)
async def test_metrics_come_in_the_format_that_is_asked_for(
    client: httpx.AsyncClient, accepted: str
) -> None:
    response = await client.get("/metrics", headers={"Accept": accepted})
    assert response.headers["Content-Type"] == FORMATS[accepted]
    assert response.headers["Cache-Control"] == "no-store"
    assert response.text.endswith("# EOF\n") == ("openmetrics" in accepted)


@on_sqlite
async def test_metrics_are_read_and_nothing_else(app: FastAPI, client: httpx.AsyncClient) -> None:
    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        response = await client.request(method, "/metrics")
        assert (response.status_code, response.headers["Allow"]) == (405, "GET")
    assert "/metrics" not in app.openapi()["paths"]


@on_sqlite
async def test_metrics_are_read_by_address_whatever_the_services_name(settings: Settings) -> None:
    async with serving(settings, TRUSTED_HOSTS=["api.example.com"]) as client:
        by_address = {"Host": "10.0.0.7:8000"}
        assert (await client.get("/metrics", headers=by_address)).status_code == 200
        assert (await client.get(LIVE, headers=by_address)).status_code == 400


@on_sqlite
async def test_promtool_has_nothing_to_complain_about(
    client: httpx.AsyncClient, as_user: AsUser
) -> None:
    if (promtool := shutil.which("promtool")) is None:
        missing("no promtool: install Debian's prometheus")
    await client.get(PROJECTS, headers=as_user("acme"))
    await client.get(PROJECTS)
    metrics.OPERATION_ERRORS.labels('an "operation"\nin two lines \\ \u2028').inc()
    shown = (await client.get("/metrics")).content
    judge = await asyncio.create_subprocess_exec(
        *(promtool, "check", "metrics"), stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    complaints, _ = await judge.communicate(shown)
    assert (judge.returncode, complaints) == (0, b"")


class Clock:
    """A clock that stands still until it is told to go on."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def spend(tenants: TopTenants, clock: Clock, traffic: dict[str, int]) -> Counter[str]:
    """Let these requests be made, in turns, and the time from one ranking to the next go by.

    Return how many were counted under which label.
    """
    labels: Counter[str] = Counter()
    left = Counter(traffic)
    while left:
        for tenant in list(left):
            labels[tenants.count(tenant)] += 1
            left[tenant] -= 1
        left = +left
    clock.now += RANKING
    return labels


def test_tenants_have_a_place_from_their_first_request_on_while_there_are_some() -> None:
    tenants = TopTenants(2, Clock())
    assert [tenants.count(name) for name in ("a", "b", "c", "a")] == ["a", "b", OTHER, "a"]
    assert [tenants.label(name) for name in ("a", "b", "c", "unseen")] == ["a", "b", OTHER, OTHER]
    tenants = TopTenants(1, Clock())  # where what is lost of a request is counted before it is
    assert [tenants.label("a"), tenants.count("b"), tenants.count("a")] == ["a", OTHER, "a"]


def test_a_tenant_that_gets_busy_takes_the_place_of_one_that_went_quiet() -> None:
    tenants = TopTenants(2, clock := Clock())
    spend(tenants, clock, {"first": 100, "second": 100})
    for _ in range(20):
        spend(tenants, clock, {"first": 100, "late": 100})
    assert spend(tenants, clock, {"first": 5, "second": 5, "late": 5}) == {
        "first": 5,
        "late": 5,
        OTHER: 5,
    }


def test_a_burst_of_a_quiet_tenant_is_seen_at_the_next_ranking() -> None:
    tenants = TopTenants(1, clock := Clock())
    spend(tenants, clock, {"steady": 10})
    assert spend(tenants, clock, {"steady": 10, "noisy": 10_000})["noisy"] == 0
    assert spend(tenants, clock, {"steady": 10, "noisy": 10_000})["noisy"] == 10_000


def test_tenants_that_are_about_as_busy_do_not_take_turns() -> None:
    tenants = TopTenants(5, clock := Clock())
    drawn = random.Random(1)
    names = [f"tenant-{number}" for number in range(30)]
    labels: set[str] = set()
    for _ in range(100):
        labels |= set(spend(tenants, clock, {name: drawn.randint(20, 40) for name in names}))
    assert len(labels) == 6


def test_a_few_requests_of_many_tenants_take_no_place() -> None:
    tenants = TopTenants(2, clock := Clock())
    labels: set[str] = set()
    for minute in range(200):
        labels |= set(spend(tenants, clock, {f"tenant-{minute}-{each}": 3 for each in range(5)}))
    assert labels == {"tenant-0-0", "tenant-0-1", OTHER}


def test_the_busy_ones_are_found_among_a_hundred_thousand() -> None:
    tenants = TopTenants(3, clock := Clock())
    drawn = random.Random(1)
    for _ in range(2):
        for _ in range(100_000):
            name = drawn.choice("abc") if drawn.random() < 0.1 else str(drawn.randrange(100_000))
            tenants.count(name)
            assert len(tenants._traffic) <= 3 * metrics.CANDIDATES
        clock.now += RANKING
    assert {tenants.count(name) for name in "abc"} == set("abc")


def test_no_more_tenants_than_set_ever_have_a_place() -> None:
    tenants = TopTenants(2, clock := Clock())
    labels: Counter[str] = Counter()
    for number in range(50):
        for _ in range(2):
            labels += spend(tenants, clock, {f"tenant-{number}": 50})
        clock.now += 40 * RANKING
    assert len(labels) == 2 * metrics.SERIES + 1
    assert labels["tenant-19"]
    assert not labels["tenant-20"]


@pytest.mark.parametrize("name", [OTHER, "caf\u00e9", "\ud800"])
def test_a_name_that_would_be_mistaken_or_not_be_written_has_no_place(name: str) -> None:
    assert TopTenants(5, Clock()).count(name) == OTHER


def test_without_places_all_tenants_share_one_label() -> None:
    tenants = TopTenants(0, clock := Clock())
    assert spend(tenants, clock, {"a": 10, "b": 10}) + spend(tenants, clock, {"a": 1}) == {
        OTHER: 21
    }


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("busy_threads")
def test_threads_may_count_at_the_same_time() -> None:
    tenants = TopTenants(2, clock := Clock())

    def count(thread: int) -> None:
        for number in range(500):
            tenants.count(f"tenant-{thread}-{number}")
            clock.now += RANKING / 2

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(4)))
    assert len(tenants._traffic) <= 2 * metrics.CANDIDATES


@on_sqlite
async def test_no_count_falls_or_gets_lost_when_a_tenant_loses_its_place(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_tenants", TopTenants(1, clock := Clock()))

    async def of_tenants() -> Series:
        return {
            name: value
            for name, value in (await scrape(client)).items()
            if name.startswith("tenant_requests_total")
        }

    before = last = await of_tenants()
    made = 0
    for name in ("early", "late", "early"):
        for _ in range(12):
            for _ in range(20):
                metrics.count_request("GET", LIVE, 200, 0.01, name)
            metrics.count_request("GET", LIVE, 200, 0.01, "quiet")
            made += 21
            clock.now += RANKING
            now = await of_tenants()
            assert all(now[each] >= value for each, value in last.items())
            last = now
            assert sum(now.values()) - sum(before.values()) == made
    assert last['tenant_requests_total{status="2xx",tenant="late"}'] > 0


def test_labels_cannot_forge_a_line() -> None:
    metrics.count_request('X"\n', "/x", 200, 0.1, 'acme"} 1\nforged 1')
    text = metrics.expose("")[0].decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert "tenant_requests" in names
    assert "forged" not in names


def test_a_directory_for_several_workers_is_made_and_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(metrics.VARIABLE, raising=False)
    with metrics.shared_by(1):
        assert metrics.VARIABLE not in os.environ
    with metrics.shared_by(2):
        directory = Path(os.environ[metrics.VARIABLE])
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "counter_1.db").touch()
    assert metrics.VARIABLE not in os.environ
    assert not directory.exists()


def test_a_directory_of_the_operators_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(metrics.VARIABLE, str(tmp_path))
    (tmp_path / "counter_1.db").touch()
    with metrics.shared_by(2):
        assert os.environ[metrics.VARIABLE] == str(tmp_path)
    assert (tmp_path / "counter_1.db").exists()
