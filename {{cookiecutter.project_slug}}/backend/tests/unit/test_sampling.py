"""Which reports are sent: rates of traces and errors, budgets, and places in the queue."""

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.core.config import Settings
from app.core.context import begin_request, tell_caller, tell_consent
from app.observability import error_boundary, metrics
from app.telemetry.sampling import DROPPED, MOST_BUCKETS, Budget, FairQueue, Sampling

RATES = {
    "tenants": {"acme": {"traces": 0.5, "errors": 0.25}, "globex": {"traces": 0.01}},
    "routes": {
        "GET /api/v1/projects/{project_id}": {"traces": 0.2, "errors": 0.75},
        "POST /api/v1/projects": {"errors": 0.0},
    },
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def counted_anew() -> None:
    metrics.follow_tenants(20)
    DROPPED.clear()


def dropped() -> dict[tuple[str, str, str], float]:
    samples = [each for metric in DROPPED.collect() for each in metric.samples]
    return {
        (each.labels["category"], each.labels["reason"], each.labels["tenant"]): each.value
        for each in samples
        if each.name == "telemetry_dropped_total"
    }


def begun(path: str, method: str = "GET", **more: object) -> dict[str, object]:
    return {"asgi_scope": {"type": "http", "method": method, "path": path}, **more}


# Budgets


def test_a_tenant_may_send_its_budget_at_once_and_no_more() -> None:
    budget = Budget(10, Clock())
    assert [budget.take("acme") for _ in range(12)] == [True] * 10 + [False] * 2


def test_what_one_tenant_takes_is_not_anothers() -> None:
    budget = Budget(10, Clock())
    assert sum(budget.take("noisy") for _ in range(10_000)) == 10
    assert all(budget.take("quiet") for _ in range(10))


def test_a_budget_fills_up_with_time_and_not_beyond_its_size() -> None:
    clock = Clock()
    budget = Budget(60, clock)
    assert sum(budget.take("acme") for _ in range(100)) == 60
    clock.now = 10.0
    assert sum(budget.take("acme") for _ in range(100)) == 10
    clock.now = 1000.0
    assert sum(budget.take("acme") for _ in range(100)) == 60


def test_no_budget_is_no_limit() -> None:
    budget = Budget(0, Clock())
    assert all(budget.take("acme") for _ in range(10_000))


def test_the_buckets_of_many_tenants_take_no_more_memory() -> None:
    budget = Budget(1, Clock())
    for number in range(MOST_BUCKETS + 50):
        assert budget.take(f"tenant-{number}")
    assert len(budget._buckets) == MOST_BUCKETS
    assert not budget.take(f"tenant-{MOST_BUCKETS + 49}")


def test_threads_take_no_more_than_there_is() -> None:
    budget = Budget(1000, Clock())
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: budget.take("acme"), range(4000))) == 1000


# The queue


def test_a_tenant_alone_has_half_of_the_queue() -> None:
    queue = FairQueue(100)
    assert sum(queue.enter("noisy") for _ in range(1000)) == 50


def test_there_is_room_for_another_however_many_are_noisy() -> None:
    queue = FairQueue(100)
    for number in range(5):
        for _ in range(1000):
            queue.enter(f"noisy-{number}")
    assert all(queue.enter("quiet") for _ in range(2))


def test_a_place_that_is_given_back_is_free() -> None:
    queue = FairQueue(2)
    assert queue.enter("acme")
    assert not queue.enter("acme")
    queue.leave("acme")
    assert queue.enter("acme")


@pytest.mark.parametrize("made", [Budget(1), FairQueue(2)])
def test_a_report_may_be_made_while_another_is_decided_on(made: Budget | FairQueue) -> None:
    """As when the garbage that is collected there logs an error: in the same thread."""
    with made._lock:
        assert made._lock.acquire(blocking=False)
        made._lock.release()


def test_a_place_that_was_not_taken_can_not_be_given_back() -> None:
    queue = FairQueue(2)
    queue.leave("acme")
    assert queue.enter("acme")
    assert not queue.enter("acme")


def test_threads_take_no_more_places_than_there_are() -> None:
    queue, barrier = FairQueue(100), threading.Barrier(8)

    def work(number: int) -> int:
        barrier.wait()
        return sum(queue.enter(f"tenant-{number}") for _ in range(200))

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(work, range(8))) <= 100


# Traces, when they begin


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
@pytest.mark.parametrize("parent", [None, True, False])
def test_what_machines_ask_is_never_traced(path: str, parent: bool | None) -> None:
    assert Sampling(traces=1.0).trace_rate(begun(path, parent_sampled=parent)) == 0.0


def test_below_a_root_path_machines_ask_the_same() -> None:
    asked = begun("/service/health/live")
    asked["asgi_scope"] = {**asked["asgi_scope"], "root_path": "/service"}  # type: ignore[dict-item] # a dict
    assert Sampling(traces=1.0).trace_rate(asked) == 0.0


@pytest.mark.parametrize("parent", [True, False])
def test_a_parents_decision_is_honoured(parent: bool) -> None:
    made = Sampling(0.3, RATES)
    assert made.trace_rate(begun("/api/v1/projects/7", parent_sampled=parent)) == parent


def test_a_trace_has_the_rate_of_the_settings() -> None:
    assert Sampling(0.3).trace_rate(begun("/api/v1/projects", parent_sampled=None)) == 0.3
    assert Sampling(0.3).trace_rate({}) == 0.3  # that of a process, which asks for nothing


def test_a_route_has_a_rate_of_its_own() -> None:
    made = Sampling(0.1, RATES)
    assert made.trace_rate(begun("/api/v1/projects/7")) == 0.2
    assert made.trace_rate(begun("/api/v1/projects/7", "DELETE")) == 0.5
    assert made.trace_rate(begun("/api/v1/projects/7/tasks")) == 0.5


def test_as_many_traces_are_begun_as_the_tenant_with_the_highest_rate_needs() -> None:
    assert Sampling(0.1, RATES).trace_rate(begun("/x")) == 0.5
    assert Sampling(0.9, RATES).trace_rate(begun("/x")) == 0.9


@pytest.mark.parametrize(
    ("rates", "place"),
    [
        ("[]", "all"),
        ("{", "all"),
        ('{"tenant": {}}', "tenant"),
        ('{"tenants": {"acme": 0.5}}', "tenants.acme"),
        ('{"tenants": {"acme": {"error": 1}}}', "tenants.acme.error"),
        ('{"tenants": {"acme": {"errors": 1.01}}}', "tenants.acme.errors"),
        ('{"tenants": {"acme": {"errors": -1}}}', "tenants.acme.errors"),
        ('{"tenants": {"acme": {"errors": NaN}}}', "tenants.acme.errors"),
        ('{"tenants": {"acme": {"errors": true}}}', "tenants.acme.errors"),
        ('{"tenants": {"acme": {"errors": "0.5"}}}', "tenants.acme.errors"),
        ('{"tenants": {"GET /x": {"errors": 1}}}', "tenants.GET /x"),
        ('{"tenants": {"Acme": {"errors": 1}}}', "tenants.Acme"),
        ('{"routes": {"acme": {"errors": 1}}}', "routes.acme"),
        ('{"routes": {"get /x": {"errors": 1}}}', "routes.get /x"),
        ('{"routes": {"GET x": {"errors": 1}}}', "routes.GET x"),
        ('{"routes": {"GET /x/{a:foo}": {"traces": 1}}}', "routes.GET /x/{a:foo}"),
        ('{"routes": {"GET /x/{a}/{a}": {"traces": 1}}}', "routes.GET /x/{a}/{a}"),
    ],
)
def test_a_mistake_in_the_file_of_rates_is_refused_by_its_place(
    rates: str, place: str, tmp_path: Path
) -> None:
    file = tmp_path / "rates.json"
    file.write_text(rates)
    with pytest.raises(ValidationError, match=re.escape(f"in the file, {place}")) as refused:
        Settings(SENTRY_RATES_FILE=str(file))
    assert [each["loc"] for each in refused.value.errors()] == [("SENTRY_RATES_FILE",)]


def test_a_file_of_rates_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    for file in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(ValidationError, match="the file can't be read"):
            Settings(SENTRY_RATES_FILE=str(file))


def test_what_a_file_of_rates_may_leave_out(tmp_path: Path) -> None:
    file = tmp_path / "rates.json"
    for rates in ("{}", '{"tenants": {}}', '{"routes": {"GET /x/{a:path}": {}}}'):
        file.write_text(rates)
        assert Settings.read_rates(str(file)) == {"tenants": {}, "routes": {}} | json.loads(rates)
    file.write_text(json.dumps(RATES))
    assert Settings.read_rates(str(file)) == RATES


# Reports, when they are made


@pytest.fixture
def request_of() -> Callable[..., Context]:
    """Make the context of a request: `request_of("acme", "GET /x").run(…)`."""

    def make(tenant: str, route: str = "GET /x", consent: str = "full") -> Context:
        def begin() -> None:
            begin_request("", lambda: route)
            tell_consent(consent)
            tell_caller(tenant, "alice")

        metrics.count_request("GET", "/x", 200, 0.1, tenant)  # who is not known shares a label
        context = copy_context()
        context.run(begin)
        return context

    return make


def trace(rand: float, **more: object) -> dict[str, object]:
    sampled = {"sample_rand": str(rand), "sample_rate": "0.5"}
    contexts = {"trace": {"dynamic_sampling_context": sampled, **more}}
    return {"type": "transaction", "contexts": contexts}


def test_a_trace_that_is_beyond_its_tenants_share_is_left_out_and_counted(
    request_of: Callable[..., Context],
) -> None:
    made, acme, globex, other = (
        Sampling(0.1, RATES),
        request_of("acme"),
        request_of("globex"),
        request_of("other"),
    )
    for rand, admitted in ((0.005, 3), (0.05, 2), (0.3, 1), (0.6, 0)):
        kept = [each.run(made.admit, trace(rand), {}) for each in (acme, globex, other)]
        assert len(list(filter(None, kept))) == admitted
    assert dropped() == {
        ("transaction", "sample_rate", "acme"): 1,
        ("transaction", "sample_rate", "globex"): 3,
        ("transaction", "sample_rate", "other"): 2,
    }


def test_a_trace_tells_the_share_that_it_stands_for(request_of: Callable[..., Context]) -> None:
    kept = request_of("globex").run(Sampling(0.1, RATES).admit, trace(0.001), {})
    assert kept is not None
    contexts = kept["contexts"]
    assert isinstance(contexts, dict)
    assert contexts["trace"]["dynamic_sampling_context"]["sample_rate"] == "0.01"


def test_of_a_trace_that_others_began_no_part_is_left_out(
    request_of: Callable[..., Context],
) -> None:
    made = Sampling(0.1, RATES)
    assert request_of("globex").run(made.admit, trace(0.9, parent_span_id="a" * 16), {})


@pytest.mark.parametrize(
    ("tenant", "route", "rate"),
    [
        ("other", "GET /x", 1.0),
        ("acme", "GET /x", 0.25),
        ("other", "GET /api/v1/projects/{project_id}", 0.75),
        ("acme", "GET /api/v1/projects/{project_id}", 0.25),
        ("acme", "POST /api/v1/projects", 0.0),
    ],
)
def test_errors_have_the_smaller_rate_of_their_tenant_and_their_route(
    tenant: str,
    route: str,
    rate: float,
    request_of: Callable[..., Context],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = [number / 100 for number in range(100)]
    monkeypatch.setattr("random.random", iter(drawn).__next__)
    made, context = Sampling(0.0, RATES), request_of(tenant, route)
    admit = error_boundary("a part of the request")(made.admit)
    kept = [context.run(admit, {"level": "error"}, {}) for _ in drawn]
    assert len(list(filter(None, kept))) == 100 * rate


def test_a_tenants_budgets_of_errors_and_traces_are_apart(
    request_of: Callable[..., Context],
) -> None:
    made, context = Sampling(1.0, None, 3, 2), request_of("acme")
    errors = [context.run(made.admit, {}, {}) is not None for _ in range(5)]
    traces = [context.run(made.admit, trace(0.1), {}) is not None for _ in range(5)]
    assert (sum(errors), sum(traces)) == (3, 2)
    assert request_of("globex").run(made.admit, {"level": "error"}, {}) is not None
    assert dropped() == {
        ("error", "budget", "acme"): 2,
        ("transaction", "budget", "acme"): 3,
    }


@pytest.mark.parametrize("kind", [None, "transaction", "check_in"])
def test_of_a_tenant_that_does_not_consent_nothing_is_sent_and_all_is_counted(
    kind: str | None, request_of: Callable[..., Context]
) -> None:
    made = Sampling(1.0)
    for consent, is_sent in (("none", False), ("anonymous", True), ("full", True)):
        event: dict[str, object] = {"type": kind}
        admitted = request_of("acme", consent=consent).run(made.admit, event, {})
        assert (admitted is event) is is_sent
    assert list(dropped().values()) == [1]


def test_outside_of_a_request_the_tag_tells_the_tenant() -> None:
    made = Sampling(0.0, {"tenants": {"acme": {"errors": 0.0}}})
    assert made.admit({"tags": {"tenant_id": "acme"}}, {}) is None
    assert made.admit({"tags": {"tenant_id": "globex"}}, {}) is not None
    assert made.admit({"tags": [["tenant_id", "acme"]]}, {}) is not None


def test_what_can_not_be_decided_on_is_not_sent_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Sampling(1.0)
    assert made.admit(trace("no number"), {}) is None  # type: ignore[arg-type] # which it may be
    assert dropped() == {("transaction", "callback_error", ""): 1}
