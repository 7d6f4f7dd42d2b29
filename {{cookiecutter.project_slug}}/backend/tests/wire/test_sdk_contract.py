"""What the last line and the hooks rely on in the SDK, as it is installed.

Most of it is private API. Where one of these fails after an update of the SDK, read what has
changed before the range of versions in `pyproject.toml` is moved.
"""

import asyncio
import inspect
import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk import crons, metrics, traces
from sentry_sdk import logger as sentry_log
from sentry_sdk._log_batcher import LogBatcher
from sentry_sdk._metrics_batcher import MetricsBatcher
from sentry_sdk._span_batcher import SpanBatcher
from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.envelope import Envelope, Item, PayloadRef
from sentry_sdk.integrations.asyncio import AsyncioIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import AsyncHttpTransport, Http2Transport, HttpTransport

from app.telemetry import options, transport

DSN = "http://publickey@127.0.0.1:9/42"


class Marked(dict[str, object]):
    """What a hook returns, to be known again."""


class Keeping(HttpTransport):
    """Keeps what is brought to `_send_envelope`, and what would go over the wire."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(given)
        self.brought: list[Envelope] = []
        self.threads: set[int] = set()
        self.bodies: list[bytes] = []
        self.heads: list[dict[str, str]] = []
        self.fault: Exception | None = None

    def _send_envelope(self, envelope: Envelope) -> None:
        self.brought.append(envelope)
        self.threads.add(threading.get_ident())
        if self.fault:
            raise self.fault
        super()._send_envelope(envelope)

    def _send_request(self, body: bytes, headers: Any, *rest: Any, **more: Any) -> None:
        self._update_headers(headers)
        self.bodies.append(body)
        self.heads.append(headers)


@pytest.fixture
def start() -> Iterator[Callable[..., Keeping]]:
    """Initialise the SDK alone, with options of a test."""

    def begin(**more: Any) -> Keeping:
        given = {
            "dsn": DSN,
            "transport": Keeping,
            "default_integrations": False,
            "auto_enabling_integrations": False,
            "traces_sample_rate": 1.0,
            "_experiments": {"transport_compression_algo": "none"},
            **more,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sentry_sdk.init(**given)
        made = sentry_sdk.get_client().transport
        assert type(made) is Keeping
        return made

    with sentry_sdk.isolation_scope():
        yield begin
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)


Start = Callable[..., Keeping]


def test_every_envelope_is_brought_to_the_last_line_in_a_thread_of_the_sdk(start: Start) -> None:
    made = start()
    envelope = Envelope(items=[Item(b"{}", type="anything")])
    made.capture_envelope(envelope)
    sentry_sdk.flush(2)
    assert made.brought[0] is envelope
    assert threading.get_ident() not in made.threads


def test_what_is_raised_there_reaches_nobody_and_sends_nothing(start: Start) -> None:
    made = start(send_client_reports=False)
    made.fault = RuntimeError("no")
    sentry_sdk.capture_message("hello")
    sentry_sdk.flush(2)
    assert (len(made.brought), made.bodies) == (1, [])


def test_the_body_is_the_envelope_that_is_passed_on_and_a_client_report(start: Start) -> None:
    made = start()
    made.record_lost_event("before_send", "error")
    made._last_client_report_sent = 0
    item = Item(PayloadRef(json={"a": 1}), {"b": 2}, "event")
    made.capture_envelope(Envelope({"c": 3}, [item]))
    sentry_sdk.flush(2)
    lines = [json.loads(line) for line in made.bodies[0].splitlines()]
    assert lines[0] == {"c": 3}
    assert lines[1]["type"] == "event"
    assert lines[2] == {"a": 1}
    assert lines[3]["type"] == "client_report"
    assert lines[4].keys() == {"timestamp", "discarded_events"}
    assert len(lines) == 5


def test_the_client_report_is_made_where_it_can_be_replaced(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeping, "_fetch_pending_client_report", lambda *_, **__: None)
    made = start()
    made.record_lost_event("before_send", "error")
    sentry_sdk.capture_message("hello")
    sentry_sdk.flush(2)
    assert len(made.bodies) == 1
    assert b"client_report" not in made.bodies[0]


def test_the_head_of_the_request_tells_the_version_and_the_key(start: Start) -> None:
    made = start()
    sentry_sdk.capture_message("hello")
    sentry_sdk.flush(2)
    version = f"sentry.python/{sentry_sdk.VERSION}"
    (head,) = made.heads
    assert head.keys() == {"Content-Type", "User-Agent", "X-Sentry-Auth"}
    assert head["User-Agent"] == version
    assert set(head["X-Sentry-Auth"].removeprefix("Sentry ").split(", ")) == {
        "sentry_key=publickey",
        "sentry_version=7",
        f"sentry_client={version}",
    }


def test_the_methods_that_are_overridden_are_called_as_they_are() -> None:
    for name in (
        "capture_envelope",
        "_send_envelope",
        "on_dropped_event",
        "record_lost_event",
        "_fetch_pending_client_report",
    ):
        theirs = inspect.signature(getattr(HttpTransport, name)).parameters.values()
        ours = inspect.signature(getattr(transport.ScrubbingTransport, name)).parameters.values()
        kinds = [(each.kind, each.default) for each in theirs]
        assert kinds == [(each.kind, each.default) for each in ours]
        assert not inspect.iscoroutinefunction(getattr(HttpTransport, name))


@pytest.mark.parametrize("experiment", ["transport_async", "transport_http2"])
def test_a_transport_that_is_given_goes_before_an_experimental_one(
    experiment: str, start: Start
) -> None:
    async def begin() -> Keeping:
        return start(_experiments={experiment: True}, integrations=[AsyncioIntegration()])

    assert not isinstance(asyncio.run(begin()), AsyncHttpTransport | Http2Transport)


def test_what_the_envelope_can_hold_is_known() -> None:
    added = {name for name in dir(Envelope) if name.startswith("add_")}
    assert added == {
        *("add_event", "add_transaction", "add_profile", "add_profile_chunk", "add_checkin"),
        *("add_session", "add_sessions", "add_item"),
    }
    batches = {each.TYPE: each.CONTENT_TYPE for each in (LogBatcher, MetricsBatcher, SpanBatcher)}
    assert batches == transport.CONTENT_TYPES


def test_the_options_that_are_given_exist() -> None:
    class Settings:
        SENTRY_DSN = DSN

    assert options.sdk_options(Settings()).keys() <= DEFAULT_OPTIONS.keys()
    for turned_on in options.COLLECTION_ON.values():
        assert turned_on().keys() <= options.COLLECTION_OFF.keys()


def ask_for_an_error() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        sentry_sdk.capture_exception()


def ask_for_a_transaction() -> None:
    with sentry_sdk.start_transaction(name="orders"), sentry_sdk.start_span(op="db"):
        pass


HOOKS: dict[str, tuple[str, Callable[[], object], str, dict[str, object]]] = {
    "an error": ("before_send", ask_for_an_error, "event", {}),
    "a message": ("before_send", lambda: sentry_sdk.capture_message("m"), "event", {}),
    "a check-in": ("before_send", lambda: crons.capture_checkin("m", status="ok"), "check_in", {}),
    "a transaction": ("before_send_transaction", ask_for_a_transaction, "transaction", {}),
    "a log": ("before_send_log", lambda: sentry_log.error("m"), "log", {"enable_logs": True}),
    "a metric": ("before_send_metric", lambda: metrics.count("m", 1), "trace_metric", {}),
    "a span": (
        "before_send_span",
        lambda: traces.start_span(name="m", parent_span=None).end(),
        "span",
        {"trace_lifecycle": "stream"},
    ),
}


@pytest.mark.parametrize("name", HOOKS)
def test_each_hook_sees_what_is_sent(name: str, start: Start) -> None:
    hook, ask, kind, more = HOOKS[name]
    seen = []

    def keep(item: dict[str, object], hint: dict[str, object]) -> dict[str, object]:
        seen.append(item)
        return item

    made = start(**{hook: keep, **more})
    ask()
    sentry_sdk.flush(2)
    assert len(seen) == 1
    assert [item.type for item in made.brought[0].items] == [kind]


@pytest.mark.parametrize("name", [each for each in HOOKS if each != "a span"])
def test_nothing_is_sent_where_a_hook_returns_nothing(name: str, start: Start) -> None:
    hook, ask, _, more = HOOKS[name]
    made = start(**{hook: lambda item, hint: None, "send_client_reports": False, **more})
    ask()
    sentry_sdk.flush(2)
    assert made.brought == []


@pytest.mark.parametrize("name", ["an error", "a message", "a check-in", "a transaction"])
def test_what_a_hook_returns_is_brought_as_it_is(name: str, start: Start) -> None:
    hook, ask, _, _ = HOOKS[name]
    made = start(**{hook: lambda event, hint: Marked(event)})
    ask()
    sentry_sdk.flush(2)
    assert type(made.brought[0].items[0].payload.json) is Marked


def test_a_hook_is_told_of_the_exception_and_of_the_log_record(start: Start) -> None:
    hints: list[dict[str, Any]] = []
    crumbs: list[dict[str, Any]] = []
    start(
        before_send=lambda event, hint: hints.append(hint),
        before_breadcrumb=lambda crumb, hint: crumbs.append(hint),
        integrations=[LoggingIntegration()],
    )
    ask_for_an_error()
    logging.getLogger("orders").error("an order failed")
    assert isinstance(hints[0]["exc_info"][1], ValueError)
    assert isinstance(hints[1]["log_record"], logging.LogRecord)
    assert isinstance(crumbs[0]["log_record"], logging.LogRecord)


def test_a_breadcrumb_that_a_hook_drops_is_in_no_event(start: Start) -> None:
    made = start(before_breadcrumb=lambda crumb, hint: None)
    sentry_sdk.add_breadcrumb(message="secret")
    sentry_sdk.capture_message("hello")
    sentry_sdk.flush(2)
    assert made.brought[0].items[0].payload.json is not None
    assert not made.brought[0].items[0].payload.json.get("breadcrumbs", {}).get("values")


def test_the_name_and_the_attributes_of_a_span_are_those_of_its_hook(start: Start) -> None:
    made = start(
        trace_lifecycle="stream",
        before_send_span=lambda span, hint: {"name": "clean", "attributes": {"a": 1}},
    )
    traces.start_span(name="secret", attributes={"b": "secret"}, parent_span=None).end()
    sentry_sdk.flush(2)
    assert made.brought[0].items[0].payload.json is not None
    (span,) = made.brought[0].items[0].payload.json["items"]
    assert span["name"] == "clean"
    assert "secret" not in json.dumps(span)


def test_spotlight_is_off_where_it_is_switched_off(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTRY_SPOTLIGHT", "1")
    start(spotlight=False)
    assert sentry_sdk.get_client().spotlight is None


def test_without_a_word_on_it_no_private_data_is_asked_for(start: Start) -> None:
    start(send_default_pii=None, data_collection=None)
    held = sentry_sdk.get_client().options
    assert not sentry_sdk.get_client().should_send_default_pii()
    assert held["data_collection"]["provided_by_user"] is False
    assert held["data_collection"]["user_info"] is False
    assert held["event_scrubber"] is not None
