"""The transport: the last line. It rebuilds each envelope and drops what it can't prove clean.

Some of what the SDK sends passes no hook: sessions, profiles, spans that are made late, the
caller's baggage in the envelope's header, attachments. This is the one place that sees all of
it: `_send_envelope`, called in the SDK's worker thread, where an exception drops the envelope and
reaches nobody. It is private API, pinned by the range of versions in `pyproject.toml`; what is
relied on is proved each time that reporting starts, and without proof it does not.
"""

import json
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Final

from sentry_sdk.client import BaseClient
from sentry_sdk.envelope import Envelope, Item, PayloadRef
from sentry_sdk.profiler import teardown_profiler
from sentry_sdk.transport import HttpTransport
from sentry_sdk.worker import BackgroundWorker

from app.core.context import current_consent, current_tenant
from app.telemetry import FORMS, EventFilter, clean_batch
from app.telemetry.messages import VALUE
from app.telemetry.options import Options
from app.telemetry.sampling import FairQueue, count_dropped, count_sent, tenant_tag
from app.telemetry.structure import (
    PROFILE,
    REPORT,
    SAMPLING,
    SESSION,
    SESSIONS,
    Check,
    identifier,
    timestamp,
)

if TYPE_CHECKING:
    from httpcore import Response as CoreResponse
    from sentry_sdk._types import EventDataCategory  # which is not there when the program runs
    from urllib3 import BaseHTTPResponse

RESERVED: Final = 10
"""Places in the queue that are left to what the SDK itself waits for."""

_PASSING: Final = frozenset({"status_413", "status_429"})
"""One report that is too large, or too many for now: others arrive."""

PARTS: Final = frozenset({"log_byte", "span", "trace_metric_byte"})
"""What the SDK counts beside the trace, the logs or the metrics that it is a part of."""

_TRIES: Final = 3
"""Reports in a row that may fail to arrive before those that follow are dropped for a while."""
_DOUBLINGS: Final = 5
"""How often that while, of a second at first, becomes twice as long."""

EVENTS: Final = frozenset({"event", "transaction", "check_in"})
REBUILT: Final[Mapping[str, Check]] = {
    "client_report": REPORT,
    "profile": PROFILE,
    "profile_chunk": PROFILE,
    "session": SESSION,
    "sessions": SESSIONS,
}
"""Item types that are rebuilt from an allow-list in both modes, because they pass no hook."""

# Attachments are missing on purpose, and so is whatever a later SDK may invent.
CONTENT_TYPES: Final[Mapping[str, str]] = {
    "log": "application/vnd.sentry.items.log+json",
    "span": "application/vnd.sentry.items.span.v2+json",
    "trace_metric": "application/vnd.sentry.items.trace-metric+json",
}


HTTP_LIBRARY: Final = (
    *("urllib3.connection", "urllib3.connectionpool", "urllib3.poolmanager"),
    *("urllib3.response", "urllib3.util.retry"),
)

log = logging.getLogger(__name__)

_TENANT: Final = "tenant"
"""The attribute of an item that says whose it is, whatever it is tagged with."""

_sending = threading.local()
_said = threading.Event()
"""Whether this process has said that its reports do not arrive."""


class NotCleanError(Exception):
    """An item that can't be proved clean."""


class UnexpectedSdkError(Exception):
    """The SDK is not as this transport needs it; the message says in what."""


class ScrubbingTransport(HttpTransport):
    """Sends what it has rebuilt. The SDK makes the instance: see `transport_for`."""

    rules: ClassVar[EventFilter]
    _failures = 0  # in a row
    _resumes = 0.0  # by the monotonic clock: what comes before is not tried

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._places = FairQueue(max(options["transport_queue_size"] - RESERVED, 2))

    # The SDK calls the next three where the application is, and lets through what they raise.

    def capture_envelope(self, envelope: Envelope) -> None:
        """Queue an envelope, or drop it."""
        try:
            for item in envelope.items:
                vars(item)[_TENANT] = current_tenant()
            tenant = _tenant_of(envelope.items)
            if not self._places.enter(tenant):
                self._lose("queue_overflow", envelope.items)
                return
            try:
                super().capture_envelope(envelope)
            except Exception:
                self._places.leave(tenant)
                raise
        except Exception:
            self._lose("internal_sdk_error", envelope.items)

    def record_lost_event(
        self,
        reason: str,
        data_category: "EventDataCategory | None" = None,
        item: Item | None = None,
        *,
        quantity: int = 1,
    ) -> None:
        """Count what was not sent, here and for the next client report."""
        with suppress(Exception):
            super().record_lost_event(reason, data_category, item, quantity=quantity)
        with suppress(Exception):
            _count_lost(reason, data_category, item, quantity)

    def flush(self, timeout: float, callback: Callable[[int, float], None] | None = None) -> None:
        """Wait until what is queued is sent, for at most `timeout` seconds."""
        with suppress(Exception):
            super().flush(timeout, callback)

    def on_dropped_event(self, reason: str) -> None:
        """Say once that reports do not arrive, by the kind of the fault: the rest names the DSN."""
        refused = reason.startswith("status_") and reason not in _PASSING
        if reason != "network" and not refused:
            return
        self._pause()
        if not _said.is_set():
            _said.set()
            error = sys.exception()
            # What gave up after some tries holds the reason why.
            cause = getattr(error, "reason", None)
            cause = cause if isinstance(cause, Exception) else error
            kind = type(cause).__name__ if cause else reason
            log.warning("Reports do not arrive at Sentry (%s); this is said once", kind)

    def _pause(self) -> None:
        # A try may cost more of the processor's time than the request that it reports on, as the
        # handshakes of TLS do, and whoever ends the process would wait for all that is queued.
        self._failures += 1
        if self._failures >= _TRIES:
            doublings = min(self._failures - _TRIES, _DOUBLINGS)
            self._resumes = monotonic() + 2.0**doublings

    def _is_paused(self) -> bool:
        return monotonic() < self._resumes

    def _handle_response(
        self, response: "BaseHTTPResponse | CoreResponse", envelope: Envelope | None
    ) -> None:
        items = envelope.items if envelope else []
        if 200 <= response.status < 300:
            self._failures = 0
            for item in items:
                count_sent(item.data_category, _quantity(item))
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            for item in items:
                # Of these the SDK says nothing, as Sentry has counted them itself.
                _count_lost("status_429", None, item, 1)
        super()._handle_response(response, envelope)

    def _send_envelope(self, envelope: Envelope) -> None:
        self._places.leave(_tenant_of(envelope.items))
        if self._is_paused():
            self._lose("network_error", envelope.items)
            return
        rebuilt = self._rebuild_envelope(envelope)
        if rebuilt.items:
            _sending.now = True
            try:
                super()._send_envelope(rebuilt)
            finally:
                _sending.now = False

    def _fetch_pending_client_report(self, force: bool = False, interval: int = 60) -> Item | None:
        # The SDK adds a report to an envelope that was rebuilt before, and forgets what it counted.
        if self._is_paused():
            return None
        report = super()._fetch_pending_client_report(force, interval)
        if report is None:
            return None
        items = self._rebuild_envelope(Envelope(items=[report])).items
        return items[0] if items else None

    def _rebuild_envelope(self, envelope: Envelope) -> Envelope:
        """Return what may leave of an envelope: possibly nothing. It does not raise."""
        items, refused = [], []
        for item in envelope.items:
            try:
                items.append(self._rebuild(item))
                vars(items[-1])[_TENANT] = vars(item).get(_TENANT)
            except Exception:
                refused.append(item)
        self._lose("before_send", refused)
        try:
            return Envelope(self._headers(envelope.headers, _name_of(items)), items)
        except Exception:
            self._lose("before_send", items)
            return Envelope()

    def _lose(self, reason: str, items: list[Item]) -> None:
        for item in items:
            self.record_lost_event(reason, item=item)

    def _rebuild(self, item: Item) -> Item:
        kind = item.type or ""
        if kind not in EVENTS | FORMS.keys() | REBUILT.keys():
            raise NotCleanError(kind)
        payload = item.payload.json
        if payload is None:
            payload = json.loads(item.get_bytes())
        if kind in EVENTS:
            return Item(PayloadRef(json=self.rules.filter_event(payload)), type=kind)
        if kind in FORMS:
            batch = clean_batch(kind, payload, self.rules)
            kept = batch["items"]
            if not isinstance(kept, list) or not kept:
                raise NotCleanError(kind)
            count = {"item_count": len(kept)}
            return Item(PayloadRef(json=batch), count, kind, CONTENT_TYPES[kind])
        rebuilt = REBUILT[kind](payload)
        if not rebuilt:
            raise NotCleanError(kind)
        headers = {"platform": "python"} if kind == "profile_chunk" else {}
        return Item(PayloadRef(json=rebuilt), headers, kind)

    def _headers(self, offered: Mapping[str, object], transaction: str) -> dict[str, object]:
        """Rebuild an envelope's header."""
        headers: dict[str, object] = {
            "event_id": identifier(offered.get("event_id")),
            "sent_at": timestamp(offered.get("sent_at")),
        }
        # The caller's baggage is not passed on: but for the sampling, the trace is described anew.
        trace = SAMPLING(offered.get("trace"))
        if isinstance(trace, dict) and "trace_id" in trace and self.parsed_dsn:
            own = {
                "public_key": self.parsed_dsn.public_key,
                "org_id": self.parsed_dsn.org_id,
                "release": self.options["release"],
                "environment": self.options["environment"],
                "transaction": transaction,
            }
            headers["trace"] = trace | {key: value for key, value in own.items() if value}
        return {key: value for key, value in headers.items() if value is not None}


def _name_of(items: list[Item]) -> str:
    """Return the clean name of the transaction among items, and give it to its profile."""
    payloads = {item.type: item.payload.json or {} for item in items}
    name = str(payloads.get("transaction", {}).get("transaction", ""))
    for transaction in payloads.get("profile", {}).get("transactions", ()):
        transaction["name"] = name or VALUE
    return name


def _tenant_of(items: list[Item]) -> str:
    """Return the tenant that an envelope is about, or an empty string."""
    return next(filter(None, (tenant_tag(item.payload.json) for item in items)), "")


def _quantity(item: Item) -> int:
    """Return how many reports an item holds: logs and metrics are sent in batches."""
    held = item.headers.get("item_count")
    return held if isinstance(held, int) else 1


def _count_lost(reason: str, category: str | None, item: Item | None, quantity: int) -> None:
    # What an event processor drops is counted by the one that is ours. The other one drops what
    # has been reported already.
    if reason == "event_processor" or (item is None and category in PARTS):
        return
    if item is not None:
        category, quantity = item.data_category, _quantity(item)
    if reason == "before_send" and item is None and current_consent() == "none":
        reason = "consent"  # for which the hooks of logs and metrics return nothing
    # An anonymous tenant's tag is no name, and the thread that sends serves nobody.
    tenant = (vars(item).get(_TENANT) or _tenant_of([item])) if item else ""
    count_dropped(str(category), reason, tenant or current_tenant(), quantity)


def transport_for(rules: EventFilter) -> type[ScrubbingTransport]:
    """Make the transport's class for one filter."""
    return type("Transport", (ScrubbingTransport,), {"rules": rules})


class _AtOnce(BackgroundWorker):
    """A worker that does without its thread."""

    def submit(self, callback: Callable[[], object]) -> bool:
        callback()
        return True


class _Probe(HttpTransport):
    """Stands in for a transport to see where the SDK brings an envelope; sends nothing."""

    def __init__(self) -> None:
        self.options = {"send_client_reports": False}
        self._worker = _AtOnce()
        self.brought: list[Envelope] = []

    def _send_envelope(self, envelope: Envelope) -> None:
        self.brought.append(envelope)


def prove_last_line() -> None:
    """Raise UnexpectedSdkError unless the SDK brings each envelope to `_send_envelope`."""
    for name in ("_send_envelope", "_fetch_pending_client_report", "record_lost_event"):
        if not callable(getattr(HttpTransport, name, None)):
            raise UnexpectedSdkError(f"its transport has no {name}")
    probe, envelope = _Probe(), Envelope()
    probe.capture_envelope(envelope)
    if probe.brought != [envelope]:
        raise UnexpectedSdkError("envelopes do not pass the last line of its transport")


def prove_client(client: BaseClient, asked: Options) -> None:
    """Raise UnexpectedSdkError unless a client works with the options that it was given."""
    # `type`, as the SDK's wrapper that prints envelopes poses as what it wraps.
    if type(client.transport) is not asked["transport"]:
        raise UnexpectedSdkError("it does not use the service's transport")
    if client.spotlight is not None:
        raise UnexpectedSdkError("it sends past the transport")
    if client.integrations.keys() != {each.identifier for each in asked["integrations"]}:
        raise UnexpectedSdkError("it does not have the integrations that were asked for")
    for name, value in asked.items():
        # What is not given is filled in: `data_collection` by what was asked for without it.
        held = client.options.get(name)
        if name == "data_collection":
            held = None if held is None or not held["provided_by_user"] else held
        if held != value:
            raise UnexpectedSdkError(f"it did not take the option {name}")


def stop_profiling() -> None:
    """Stop what takes samples; the options stay as they are."""
    teardown_profiler()


def silence_http_library() -> None:
    """Keep out of the log what the HTTP library writes while a report is being sent.

    It warns of each try that fails, and at the level DEBUG tells of each request, with the host
    and the path of the DSN. What else in this process uses the library still logs.
    """
    for name in HTTP_LIBRARY:
        logging.getLogger(name).addFilter(_is_not_of_a_report)


def let_sdk_log_as_all_do(is_debugging: bool) -> None:
    """Take from the SDK its own way to standard error, which passes by the filter of log lines.

    Its own filter throws away what is told while nobody debugs it. It asks the SDK for that, and an
    SDK that raises ends the thread that sends: here nothing is asked, and nothing is told.
    """
    logger = logging.getLogger("sentry_sdk.errors")
    logger.handlers.clear()
    logger.filters.clear()
    logger.setLevel(logging.DEBUG)
    logger.disabled = not is_debugging


def _is_not_of_a_report(record: logging.LogRecord) -> bool:
    return not getattr(_sending, "now", False)
