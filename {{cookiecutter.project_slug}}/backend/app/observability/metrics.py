"""What the service counts and measures of itself, for Prometheus.

Several worker processes share a directory: each keeps its numbers in files there, and whichever is
asked adds them up. Nothing that a caller may choose freely is ever a label.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app.observability import Failure

PATH = "/metrics"
NO_ROUTE = "(no route)"
OTHER = "other"  # methods that HTTP does not know, and tenants without a place of their own
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

PLACES = 20  # of tenants, until settings say otherwise
CANDIDATES = 50  # tenants for each place whose traffic is followed
SERIES = 10  # tenants for each place that may have had it, until the process ends
RANKING = 60.0  # seconds from one ranking to the next
KEPT = 0.9  # of what was counted, from one ranking to the next
AHEAD = 1.5  # times as busy must a newcomer be as the one whose place it takes,
HEAD_START = 10.0  # and by so many requests more

MEMORY = Path("/dev/shm")  # noqa: S108 - a new directory in it, of this user alone
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# prometheus-client looks once, when it is imported: what is set later is for other processes.
SHARED = os.environ.get(VARIABLE, "")
if SHARED:
    Path(SHARED).mkdir(parents=True, exist_ok=True)
    # Of another process, that had the same number before this one.
    mark_process_dead(os.getpid(), SHARED)  # type: ignore[no-untyped-call] # theirs
# Else half of all series would be dates, which nobody would look at.
disable_created_metrics()  # type: ignore[no-untyped-call] # theirs

REQUESTS = Counter(
    "http_requests_total",
    "Requests that were answered, by method, template of the route and status.",
    ["method", "route", "status"],
)
REQUEST_DURATION = Histogram(
    "http_request_duration_seconds",
    "Time from the head of a request to the end of its answer.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
IN_PROGRESS = Gauge(
    "http_requests_in_progress",
    "Requests that are being answered.",
    multiprocess_mode="livesum",
)
TENANT_REQUESTS = Counter(
    "tenant_requests_total",
    "Requests that were answered, by tenant and class of the status.",
    ["tenant", "status"],
)
TENANT_REQUEST_DURATION = Histogram(
    "tenant_request_duration_seconds",
    "Time from the head of a tenant's request to the end of its answer.",
    ["tenant"],
    buckets=(0.05, 0.25, 1, 5),
)
OPERATION_ERRORS = Counter(
    "operation_errors_total",
    "Errors that ended an operation, by its name.",
    ["operation"],
)
TOKEN_FAILURES = Counter(
    "token_failures_total",
    "Requests without a token that is accepted, by the reason.",
    ["reason"],
)
QUOTA_REFUSALS = Counter(
    "quota_refusals_total",
    "Requests and rows that were refused because their tenant is at a limit.",
    ["tenant"],
)
LOG_LINES_DROPPED = Counter(
    "log_lines_dropped_total",
    "Log lines that could not be written, by the reason, such as ENOSPC.",
    ["reason"],
)
POOL_CONNECTIONS = Gauge(
    "database_pool_connections",
    "Open connections to the database, by role, in use or idle.",
    ["role", "state"],
    multiprocess_mode="livesum",
)
POOL_LIMIT = Gauge(
    "database_pool_limit",
    "Most connections to the database that may be in use, by role.",
    ["role"],
    multiprocess_mode="livesum",
)


def count_failure(failure: Failure) -> None:
    """Count an operation that failed, as its error boundary tells."""
    OPERATION_ERRORS.labels(failure.operation).inc()


class TopTenants:
    """Finds the busiest tenants, each of which has series of its own; the rest share one label.

    A tenant gets a place where one is free; later, once it is clearly busier than a tenant that
    has one. What was counted under a label stays there, so that no counter ever falls or jumps.
    The traffic of at most `CANDIDATES` tenants a place is followed (Misra and Gries, 1982; nobody
    is overestimated, and who has more than that share of all requests is never missed), and it
    fades. At most `SERIES` tenants a place ever have it: who comes after them shares the label.
    Threads may share one instance.
    """

    def __init__(self, places: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Give that many tenants a place. `clock` returns seconds."""
        self._places = places
        self._clock = clock
        self._ranked = clock()
        self._traffic: dict[str, float] = {}
        self._placed: set[str] = set()
        self._had_place: set[str] = set()
        # One that its owner may take again: collecting garbage may log, and count what is lost.
        self._changing = threading.RLock()

    def label(self, tenant: str) -> str:
        """Return what a tenant is called in metrics, now."""
        if tenant not in self._placed and len(self._placed) < self._places:
            with self._changing:
                self._fill_place(tenant)
        return tenant if tenant in self._placed else OTHER

    def count(self, tenant: str) -> str:
        """Count one request of a tenant; return what the tenant is called in metrics."""
        with self._changing:
            if (now := self._clock()) >= self._ranked + RANKING:
                self._rank(now)
            self._add(tenant)
            self._fill_place(tenant)
        return self.label(tenant)

    def _add(self, tenant: str) -> None:
        if tenant in self._traffic:
            self._traffic[tenant] += 1
        elif len(self._traffic) < self._places * CANDIDATES:
            self._traffic[tenant] = 1
        else:  # as many requests of others are forgotten along with this one
            self._traffic = {each: count - 1 for each, count in self._traffic.items() if count > 1}

    def _rank(self, now: float) -> None:
        """Let what was counted fade; give places of quiet tenants to busier ones."""
        kept = KEPT ** ((now - self._ranked) / RANKING)
        self._ranked = now
        self._traffic = {each: count * kept for each, count in self._traffic.items()}
        busiest = sorted(self._traffic.items(), key=lambda item: item[1], reverse=True)
        newcomers = (item for item in busiest if self._may_have_place(item[0]))
        for quietest in sorted(self._placed, key=lambda each: self._traffic.get(each, 0)):
            newcomer, count = next(newcomers, ("", 0.0))
            if count <= AHEAD * self._traffic.get(quietest, 0) + HEAD_START:
                break
            self._placed.discard(quietest)
            self._place(newcomer)

    def _may_have_place(self, tenant: str) -> bool:
        if tenant in self._placed or tenant == OTHER or not tenant.isascii():
            return False
        return tenant in self._had_place or len(self._had_place) < self._places * SERIES

    def _fill_place(self, tenant: str) -> None:
        if len(self._placed) < self._places and self._may_have_place(tenant):
            self._place(tenant)

    def _place(self, tenant: str) -> None:
        self._placed.add(tenant)
        self._had_place.add(tenant)


_tenants = TopTenants(PLACES)


def follow_tenants(places: int) -> None:
    """Give that many tenants series of their own from now on."""
    global _tenants  # noqa: PLW0603 - as the registry, one for the process
    _tenants = TopTenants(places)


def tenant_label(tenant: str) -> str:
    """Return what a tenant is called in metrics: its name if it is one of the busiest."""
    return _tenants.label(tenant)


# Not by prometheus-fastapi-instrumentator: it looks for the route a second time, and takes 22 µs
# of each request where this takes 4.
def count_request(method: str, route: str, status: int, seconds: float, tenant: str) -> None:
    """Count a request that was answered. `tenant` is empty if it is not known whose it is."""
    method = method if method in METHODS else OTHER
    if status == 405:  # else each route would have series for every method that it does not have
        route = NO_ROUTE
    requests, duration = _series_of_route(method, route, status)
    requests.inc()
    duration.observe(seconds)
    if tenant:
        requests, duration = _series_of_tenant(_tenants.count(tenant), status // 100)
        requests.inc()
        duration.observe(seconds)


# Looking series up by their labels takes longer than counting. There are few: see above.
@cache
def _series_of_route(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(method, route, status), REQUEST_DURATION.labels(method, route)


@cache
def _series_of_tenant(label: str, status_class: int) -> tuple[Counter, Histogram]:
    requests = TENANT_REQUESTS.labels(label, f"{status_class}xx")
    return requests, TENANT_REQUEST_DURATION.labels(label)


def expose(accept: str) -> tuple[bytes, str]:
    """Return the metrics of all worker processes in a format that is accepted, and its type."""
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number
        encode, content_type = choose_encoder("")
    if not SHARED:
        return encode(REGISTRY), content_type
    _forget_dead_processes()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, SHARED)  # type: ignore[no-untyped-call] # theirs
    return encode(registry), content_type


def _forget_dead_processes() -> None:
    """Drop what only a live process may tell, such as its connections; its counts stay."""
    for file in Path(SHARED).glob("gauge_live*.db"):
        try:
            os.kill(int(file.stem.rpartition("_")[2]), 0)
        except OSError:
            file.unlink(missing_ok=True)


@contextmanager
def shared_by(workers: int) -> Iterator[None]:
    """Make the directory that processes share which are started meanwhile, and remove it.

    One that the operator has chosen, by `PROMETHEUS_MULTIPROC_DIR`, is left as it is. Raises
    ValueError where none can be made.
    """
    if workers == 1 or VARIABLE in os.environ:
        yield
        return
    try:
        # In memory: a disk that is full, or may not be written to, is no reason not to count.
        directory = TemporaryDirectory(
            prefix="metrics-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None
        )
    except OSError:
        raise ValueError("several workers need a directory to write to: set TMPDIR") from None
    with directory as name:
        os.environ[VARIABLE] = name
        try:
            yield
        finally:
            del os.environ[VARIABLE]
