"""What arrives of many tenants at once: each error under its own tenant, and no more than it may.

FAILING_REQUESTS=10000 has as many requests fail.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sentry_sdk
from fastapi import FastAPI, Request, Response
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

from app.api.dependencies.auth import CurrentUser
from app.auth import issuer
from app.core.config import Settings
from app.main import create_app
from app.observability import error_boundary
from app.telemetry.sampling import DROPPED, SENT
from app.tenancy import identify, lifecycle, standing_of
from app.tenancy.models import TelemetryConsent
from app.tenancy.session import Standing
from tests.wire.listener import Item, Listener, listen

pytestmark = pytest.mark.anyio

FAILING = int(os.environ.get("FAILING_REQUESTS", "300"))
TENANTS = 50

Call = Callable[..., Any]


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listen() as made:
        yield made
        sentry_sdk.get_client().close(timeout=0)


@pytest.fixture
def serving(sqlite_template: Path, tmp_path: Path, listener: Listener) -> Any:
    """Serve some tenants with settings of one's own: `async with serving(3, NAME=…) as call`."""

    file = tmp_path / "app.db"
    file.write_bytes(sqlite_template.read_bytes())

    @asynccontextmanager
    async def serve(
        tenants: int, is_wrapped: bool = False, **values: object
    ) -> AsyncIterator[Call]:
        settings = Settings.model_validate(
            {
                "DATABASE_URL": f"sqlite+aiosqlite:///{file}",
                "AUTH_LOCAL_KEY_FILE": str(tmp_path / "issuer.json"),
                "SENTRY_DSN": listener.dsn,
                "SENTRY_TRACES_SAMPLE_RATE": 0.0,
                **values,
            }
        )
        app = create_app(settings)
        app.add_api_route("/failures/{number}", fail)
        app.add_api_route("/successes/{number}", succeed)
        app.add_api_route("/bounded/{number}", fail_in_a_thread)
        app.add_api_route("/mended/{number}", fail_and_mend)
        app.add_api_route("/signed/{tenant}/{number}", fail_for)
        if is_wrapped:
            app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
        DROPPED.clear()
        SENT.clear()
        async with app.router.lifespan_context(app), client_of(app) as client:
            for number in range(tenants):
                await lifecycle.create(name_of(number))
            yield caller(client, settings)

    return serve


async def fail(number: int, user: CurrentUser) -> None:
    await asyncio.sleep(0)
    raise RuntimeError("a failure")


@error_boundary("count to a number")
def fail_in_a_thread(number: int, user: CurrentUser) -> None:
    raise RuntimeError("a failure")


async def fail_and_mend(number: int, user: CurrentUser) -> None:
    async with error_boundary("ask a bank", fallback=None):
        raise RuntimeError("a failure")


async def fail_for(tenant: str, number: int) -> None:
    """Fail for who is known by other means than a token, such as a signature."""
    identify(tenant, f"user-of-{tenant}")
    raise RuntimeError("a failure")


async def pass_on(request: Request, serve: RequestResponseEndpoint) -> Response:
    """Have the rest of a request served in a task of its own, as any such middleware does."""
    return await serve(request)


async def succeed(number: int, user: CurrentUser) -> None:
    """Do nothing."""


def client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service.test")


def caller(client: httpx.AsyncClient, settings: Settings) -> Call:
    tokens: dict[tuple[str, ...], str] = {}

    async def call(tenant: int, path: str, **more: Any) -> httpx.Response:
        """Call as a user of a tenant, in a request whose id names both."""
        name, user = name_of(tenant), f"user-{tenant}"
        scope, memberships = more.pop("scope", ""), more.pop("memberships", ())
        claims = (name, scope, *memberships)
        if claims not in tokens:
            tokens[claims] = issuer.issue(settings, name, user, scope, memberships)
        headers = {
            "Authorization": f"Bearer {tokens[claims]}",
            "X-Request-ID": f"{name}.{user}.{path.rpartition('/')[2]}",
            **more.pop("headers", {}),
        }
        return await client.request(more.pop("method", "GET"), path, headers=headers, **more)

    return call


def name_of(tenant: int) -> str:
    return f"tenant-{tenant}"


def counted(metric: Any, *labels: str) -> Counter[tuple[str, ...]]:
    """Return a metric's counts by some of its labels."""
    counts: Counter[tuple[str, ...]] = Counter()
    for sample in (each for family in metric.collect() for each in family.samples):
        if sample.name.endswith("_total"):
            counts[tuple(sample.labels[label] for label in labels)] += round(sample.value)
    return counts


def flush() -> None:
    sentry_sdk.flush(10)


def tags(item: Item) -> dict[str, str]:
    return dict(item.payload["tags"])


async def test_errors_of_interleaved_tenants_arrive_under_their_own_and_add_up(
    serving: Any, listener: Listener
) -> None:
    async with serving(TENANTS) as call:
        asked = [(number % TENANTS, f"/failures/{number}") for number in range(FAILING)]
        random.Random(1).shuffle(asked)
        limit = asyncio.Semaphore(40)

        async def ask(tenant: int, path: str) -> int:
            async with limit:
                answer: httpx.Response = await call(tenant, path)
                return answer.status_code

        assert set(await asyncio.gather(*(ask(*one) for one in asked))) == {500}
        await asyncio.to_thread(flush)
        events = listener.items("event")
        for event in events:
            tenant, user, _ = tags(event)["request_id"].split(".")
            assert tags(event)["tenant_id"] == tenant
            assert event.payload["user"] == {"id": user}
        assert len({tags(event)["request_id"] for event in events}) == len(events)
        lost = counted(DROPPED, "category")[("error",)]
        assert len(events) == FAILING - lost == counted(SENT, "category")[("error",)]
        assert events


async def test_what_a_boundary_has_logged_is_one_error_and_marks_its_span(
    serving: Any, listener: Listener
) -> None:
    async with serving(1, SENTRY_TRACES_SAMPLE_RATE=1.0) as call:
        assert (await call(0, "/bounded/1")).status_code == 500
        await asyncio.to_thread(flush)
        (event,) = listener.items("event")
        assert event.payload["exception"]["values"][0]["type"] == "RuntimeError"
        assert tags(event)["tenant_id"] == "tenant-0"
        (trace,) = listener.items("transaction")
        assert trace.payload["contexts"]["trace"]["status"] == "internal_error"


async def test_what_a_boundary_has_mended_is_a_span_that_failed_in_a_request_that_did_not(
    serving: Any, listener: Listener
) -> None:
    async with serving(1, SENTRY_TRACES_SAMPLE_RATE=1.0) as call:
        assert (await call(0, "/mended/1")).status_code == 200
        await asyncio.to_thread(flush)
        (trace,) = listener.items("transaction")
        assert trace.payload["contexts"]["trace"]["status"] == "ok"
        (failed,) = [each for each in trace.payload["spans"] if each["op"] == "function"]
        assert failed["status"] == "internal_error"
        assert failed["start_timestamp"] <= failed["timestamp"]


@pytest.mark.parametrize("consent", list(TelemetryConsent))
async def test_a_middleware_with_tasks_of_its_own_hides_neither_tenant_nor_consent(
    consent: TelemetryConsent, serving: Any, listener: Listener
) -> None:
    async with serving(1, is_wrapped=True, SENTRY_TRACES_SAMPLE_RATE=1.0) as call:
        await lifecycle.set_consent("tenant-0", consent)
        assert (await call(0, "/failures/1")).status_code == 500
        assert (await call(0, "/successes/1")).status_code == 200
        await asyncio.to_thread(flush)
        told = [*listener.items("event"), *listener.items("transaction")]
        assert len(told) == (0 if consent == TelemetryConsent.NONE else 3)
        for item in told:
            assert tags(item)["request_id"] == "tenant-0.user-0.1"
            is_named = consent == TelemetryConsent.FULL
            assert (tags(item)["tenant_id"] == "tenant-0") is is_named
            assert (item.payload["user"].get("id") == "user-0") is is_named


async def test_sessions_of_a_tenant_that_allows_nothing_are_not_counted(
    serving: Any, listener: Listener
) -> None:
    async with serving(2, SENTRY_INCLUDE_SESSIONS=True) as call:
        await lifecycle.set_consent("tenant-1", TelemetryConsent.NONE)
        for tenant in (0, 1, 1):
            assert (await call(tenant, "/successes/1")).status_code == 200
        await asyncio.to_thread(flush)
        (sessions,) = listener.items("sessions")
        assert [each["exited"] for each in sessions.payload["aggregates"]] == [1]


async def test_who_is_known_by_other_means_is_told_of_as_anonymous(
    serving: Any, listener: Listener
) -> None:
    async with serving(1, SENTRY_TRACES_SAMPLE_RATE=1.0) as call:
        headers = {"X-Request-ID": "one", "Authorization": ""}
        assert (await call(0, "/signed/tenant-0/1", headers=headers)).status_code == 500
        await asyncio.to_thread(flush)
        told = [*listener.items("event"), *listener.items("transaction")]
        assert len(told) == 2
        for item in told:
            assert tags(item)["tenant_id"].startswith("anonymous-")
        assert "tenant-0" not in listener.text


async def test_what_is_lost_of_an_anonymous_tenant_is_counted_by_its_name(
    serving: Any, listener: Listener
) -> None:
    listener.answer = "413"
    async with serving(1) as call:
        await lifecycle.set_consent("tenant-0", TelemetryConsent.ANONYMOUS)
        assert (await call(0, "/failures/1")).status_code == 500
        await asyncio.to_thread(flush)
        assert counted(DROPPED, "category", "tenant")["error", "tenant-0"] == 1


async def test_a_trace_that_is_not_drawn_is_counted_for_its_tenant(serving: Any) -> None:
    async with serving(1, SENTRY_TRACES_SAMPLE_RATE=1e-9) as call:
        assert (await call(0, "/successes/1")).status_code == 200
        lost = counted(DROPPED, "category", "reason", "tenant")
        assert lost["transaction", "sample_rate", "tenant-0"] == 1


async def test_a_noisy_tenant_costs_a_quiet_one_nothing(serving: Any, listener: Listener) -> None:
    quiet, budget = 30, 50
    noisy = quiet * max(FAILING // 15, 10)
    async with serving(2, SENTRY_ERRORS_PER_MINUTE=budget) as call:
        started = time.monotonic()
        for number in range(noisy):
            await call(0, f"/failures/{number}")
            if number % (noisy // quiet) == 0:
                await call(1, f"/failures/{number}")
        await asyncio.to_thread(flush)
        arrived = Counter(tags(event)["tenant_id"] for event in listener.items("event"))
        lost = counted(DROPPED, "tenant", "reason")
        assert arrived["tenant-1"] == quiet
        assert {tenant for tenant, _ in lost} == {"tenant-0"}
        assert budget <= arrived["tenant-0"] == noisy - lost["tenant-0", "budget"]
        assert arrived["tenant-0"] <= budget + budget * (time.monotonic() - started) / 60


async def test_what_a_tenant_consents_to_is_heeded_at_once(
    serving: Any, listener: Listener
) -> None:
    async with serving(2, SENTRY_TRACES_SAMPLE_RATE=1.0) as call:
        url = "/api/v1/tenants/tenant-1/telemetry-consent"
        for number, consent in enumerate(("none", "anonymous", "full")):
            body = {"method": "PUT", "json": {"consent": consent}, "scope": "tenants:admin"}
            assert (await call(0, url, **body)).is_success
            flushed = len(listener.bodies)
            assert (await call(1, f"/failures/{number}")).status_code == 500
            assert (await call(1, f"/successes/{number}")).status_code == 200
            await asyncio.to_thread(flush)
            arrived = [
                item
                for envelope in listener.envelopes[flushed:]
                for item in envelope.items
                if item.type in ("event", "transaction")
                and f".{number}" in tags(item)["request_id"]
            ]
            if consent == "none":
                assert arrived == []
                lost = counted(DROPPED, "reason", "tenant", "category")
                assert lost["consent", "tenant-1", "error"] == 1
                assert lost["consent", "tenant-1", "transaction"] == 2
                continue
            assert sorted(item.type for item in arrived) == ["event", "transaction", "transaction"]
            for item in arrived:
                is_named = tags(item)["tenant_id"] == "tenant-1"
                assert is_named is (consent == "full")
                assert ("id" in item.payload["user"]) is is_named
        told_as = {tags(item)["tenant_id"] for item in listener.items("event")}
        assert len(told_as) == 2


@pytest.mark.parametrize("mode", ["strict", "balanced"])
async def test_of_an_anonymous_tenant_neither_name_nor_user_leaves(
    mode: str, serving: Any, listener: Listener
) -> None:
    async with serving(1, SENTRY_PRIVACY_MODE=mode, SENTRY_USER_CONTEXT="full") as call:
        await lifecycle.set_consent("tenant-0", TelemetryConsent.ANONYMOUS)
        headers = {"X-Request-ID": "one", "X-Tenant-ID": "tenant-0"}
        assert (await call(0, "/failures/1", headers=headers)).status_code == 500
        await asyncio.to_thread(flush)
        (event,) = listener.items("event")
        assert tags(event)["request_id"] == "one"
        assert "tenant-0" not in listener.text
        assert "user-0" not in listener.text


@pytest.mark.parametrize("unknown", ["tenant-0", "tenant-1"])
async def test_what_fails_before_the_consent_is_known_is_told_without_a_name(
    unknown: str, serving: Any, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def standing_of_the_other(tenant: str) -> Standing | None:
        if tenant == unknown:
            raise RuntimeError(f"no database for {tenant}")
        return await standing_of(tenant)

    async with serving(2, SENTRY_PRIVACY_MODE="balanced") as call:
        monkeypatch.setattr("app.api.dependencies.auth.standing_of", standing_of_the_other)
        headers = {"X-Request-ID": "one", "X-Tenant-ID": "tenant-1"}
        answer = await call(0, "/successes/1", headers=headers, memberships=["tenant-1"])
        assert answer.status_code == 500
        await asyncio.to_thread(flush)
        (event,) = listener.items("event")
        assert event.payload["exception"]["values"][0]["type"] == "RuntimeError"
        assert "tenant-0" not in listener.text
        assert "tenant-1" not in listener.text


async def test_parents_are_honoured_and_machines_are_not_traced(
    serving: Any, listener: Listener
) -> None:
    async with serving(1, SENTRY_TRACES_SAMPLE_RATE=1.0) as call:
        for number, (path, sampled) in enumerate(
            [("/successes/1", 1), ("/successes/2", 0), ("/health/live", 1), ("/successes/3", 1)]
        ):
            trace = {"sentry-trace": f"{number:032x}-{'b' * 16}-{sampled}"}
            assert (await call(0, path, headers=trace)).is_success
        assert (await call(0, "/health/ready")).is_success
        await asyncio.to_thread(flush)
        told = [tags(each)["request_id"] for each in listener.items("transaction")]
        assert sorted(each.rpartition(".")[2] for each in told) == ["1", "3"]


async def test_rates_of_a_file_hold_for_tenants_and_for_routes(
    serving: Any, listener: Listener, tmp_path: Path
) -> None:
    file = tmp_path / "rates.json"
    rates = {
        "tenants": {"tenant-0": {"errors": 0}, "tenant-1": {"traces": 1}},
        "routes": {"GET /failures/{number}": {"traces": 0}},
    }
    file.write_text(json.dumps(rates))
    async with serving(3, SENTRY_RATES_FILE=str(file)) as call:
        for tenant in range(3):
            await call(tenant, "/failures/1")
            await call(tenant, "/successes/2")
        await asyncio.to_thread(flush)
        errors = {tags(each)["tenant_id"] for each in listener.items("event")}
        traces = [tags(each)["request_id"] for each in listener.items("transaction")]
        assert errors == {"tenant-1", "tenant-2"}
        assert traces == ["tenant-1.user-1.2"]
