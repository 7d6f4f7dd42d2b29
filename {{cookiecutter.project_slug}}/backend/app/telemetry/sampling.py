"""Sampling: which reports are sent, by consent, by rates, and by the budget of each tenant.

What is refused here is counted, by the kind of report, by the reason and by the tenant.
"""

import random
import re
import threading
import time
from collections import Counter as Count
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from starlette.routing import compile_path

from app.core.context import current_consent, current_tenant, operation
from app.observability import metrics
from app.telemetry import Event, Hint

NEVER_TRACED: Final = frozenset({"/health/live", "/health/ready", metrics.PATH})
"""What machines ask every few seconds."""

ERROR: Final = "error"
TRACE: Final = "transaction"
CATEGORIES: Final[Mapping[object, str]] = {"transaction": TRACE, "check_in": "monitor"}
"""What Sentry counts a report as, by the event's type; the others are errors."""

UNCOUNTED: Final = "internal"
"""What Sentry counts as the SDK's reports of what it has lost."""

MOST_BUCKETS: Final = 10_000

Rates = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Shares by `tenants` or `routes`, by name, and by `errors` or `traces`."""

SENT = Counter("telemetry_sent", "Reports that Sentry has taken.", ["category"])
DROPPED = Counter(
    "telemetry_dropped", "Reports that were not sent, and why.", ["category", "reason", "tenant"]
)
OFF = Gauge(
    "telemetry_off",
    "Whether a DSN is set, and reporting could not be started.",
    multiprocess_mode="livemax",
)
SCRUBBING = Histogram(
    "telemetry_scrub_seconds",
    "Time to take what is private out of a report.",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1),
)


def count_sent(category: str, quantity: int = 1) -> None:
    """Count reports that have arrived."""
    if category != UNCOUNTED:
        SENT.labels(category).inc(quantity)


def count_dropped(category: str, reason: str, tenant: str, quantity: int = 1) -> None:
    """Count reports that are not sent."""
    if category != UNCOUNTED:
        DROPPED.labels(category, reason, tenant and metrics.tenant_label(tenant)).inc(quantity)


def fates_of_errors() -> list[str]:
    """Return what became of this process's errors: `sent`, or why they were not sent."""
    counted = (each for metric in (SENT, DROPPED) for each in metric.collect())
    samples = (each for metric in counted for each in metric.samples)
    return sorted(
        each.labels.get("reason", "sent")
        for each in samples
        if each.name.endswith("_total") and each.labels["category"] == ERROR and each.value
    )


class Budget:
    """So many reports of a tenant in a minute, and as many at once; 0 is no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = per_minute
        self._clock = clock
        # One that its owner may take again: collecting garbage may log, and so report.
        self._lock = threading.RLock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, tenant: str) -> bool:
        """Tell whether a tenant has one left, and take it."""
        if not self._size:
            return True
        with self._lock:
            now = self._clock()
            left, filled = self._buckets.pop(tenant, (float(self._size), now))
            left = min(self._size, left + (now - filled) * self._size / 60)
            has_one = left >= 1
            self._buckets[tenant] = (left - has_one, now)
            if len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        return has_one


class FairQueue:
    """Lets a tenant wait in a queue with as many reports as there are free places.

    So there is always room for another: one that sends many has at most half of the places, two
    have a third each. (Choudhury and Hahne, dynamic queue length thresholds, 1998.)
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.RLock()  # as above
        self._waiting: Count[str] = Count()
        self._all = 0

    def enter(self, tenant: str) -> bool:
        """Take a place for a tenant; tell whether there is one."""
        with self._lock:
            if self._waiting[tenant] >= self._size - self._all:
                return False
            self._waiting[tenant] += 1
            self._all += 1
        return True

    def leave(self, tenant: str) -> None:
        """Give a place back."""
        with self._lock:
            if tenant in self._waiting:
                self._all -= 1
                self._waiting[tenant] -= 1
                if not self._waiting[tenant]:
                    del self._waiting[tenant]


class Sampling:
    """Decides on each trace when it begins, and on each report when it is made."""

    def __init__(
        self,
        traces: float = 0.0,
        rates: Rates | None = None,
        errors_per_minute: int = 0,
        traces_per_minute: int = 0,
    ) -> None:
        self._traces = traces
        self._tenants = (rates or {}).get("tenants", {})
        self._routes = (rates or {}).get("routes", {})
        self._most = max(traces, *(each.get("traces", 0.0) for each in self._tenants.values()), 0.0)
        self._patterns = list(_patterns(self._routes))
        self._budgets = {ERROR: Budget(errors_per_minute), TRACE: Budget(traces_per_minute)}

    def trace_rate(self, begun: Mapping[str, object]) -> float:
        """Return the share in which traces like this are begun: the SDK's `traces_sampler`.

        Whose request it is, is not known yet: where some tenant has a higher rate than others,
        what is too much of the others is left out by `admit`.
        """
        scope = begun.get("asgi_scope")
        method, path = _asked(scope) if isinstance(scope, Mapping) else ("", "")
        if path in NEVER_TRACED:
            return 0.0
        if (parent := begun.get("parent_sampled")) is not None:
            return float(bool(parent))
        for pattern, of_method, rate in self._patterns:
            if of_method == method and pattern.match(path):
                return rate
        return self._most

    def admit(self, event: Event, hint: Hint) -> Event | None:
        """Return an event that is to be sent; count one that is not: an event processor."""
        category = CATEGORIES.get(event.get("type"), ERROR)
        tenant = current_tenant() or tenant_tag(event)
        try:
            reason = self._refusal(category, tenant, event)
        except Exception:
            reason = "callback_error"
        if reason:
            count_dropped(category, reason, tenant)
            return None
        return event

    def _refusal(self, category: str, tenant: str, event: Event) -> str:
        """Return why an event is not to be sent; nothing if it is."""
        if current_consent() == "none":
            return "consent"
        if category == TRACE and not self._is_in_share(tenant, event):
            return "sample_rate"
        if category == ERROR and random.random() >= self._rate("errors", tenant, 1.0):  # noqa: S311 - no secret
            return "sample_rate"
        if category in self._budgets and not self._budgets[category].take(tenant):
            return "budget"
        return ""

    def _rate(self, kind: str, tenant: str, otherwise: float) -> float:
        """Return the smaller one of the rates of a tenant and of the route that is being served."""
        rates = (self._tenants.get(tenant, {}), self._routes.get(_route(), {}))
        return min((rate[kind] for rate in rates if kind in rate), default=otherwise)

    def _is_in_share(self, tenant: str, event: Event) -> bool:
        """Tell whether a trace that was begun is one of its tenant's share."""
        contexts = event.get("contexts")
        trace = contexts.get("trace") if isinstance(contexts, Mapping) else None
        if not isinstance(trace, Mapping) or trace.get("parent_span_id"):
            return True  # who began it has decided on the whole of it
        sampled = trace.get("dynamic_sampling_context")
        if not isinstance(sampled, dict):
            return True
        rate = self._rate("traces", tenant, self._traces)
        if float(sampled.get("sample_rand", 0.0)) >= rate:
            return False
        sampled["sample_rate"] = str(rate)
        return True


def _patterns(
    routes: Mapping[str, Mapping[str, float]],
) -> Iterator[tuple[re.Pattern[str], str, float]]:
    """Yield what tells a route with a rate of its own by the method and the path of a request."""
    for route, rate in routes.items():
        method, _, path = route.partition(" ")
        if "traces" in rate:
            yield compile_path(path)[0], method, rate["traces"]


def _route() -> str:
    """Return the method and the route of the request that is being served."""
    served = operation.get()
    while (around := getattr(served, "outer", None)) is not None:
        served = around
    return served.describe() if served else ""


def _asked(scope: Mapping[str, object]) -> tuple[str, str]:
    root = str(scope.get("root_path", ""))
    return str(scope.get("method", "")), str(scope.get("path", "")).removeprefix(root)


def tenant_tag(event: object) -> str:
    """Return the tenant that an event is tagged with, or an empty string."""
    tags = event.get("tags") if isinstance(event, Mapping) else None
    return str(tags.get("tenant_id", "")) if isinstance(tags, Mapping) else ""
