"""Whatever fails, no raw byte leaves and no caller notices."""

import gzip
import importlib
import inspect
import json
import logging
import pkgutil
import warnings
from collections.abc import Iterator
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk import crons, metrics
from sentry_sdk import logger as sentry_log
from sentry_sdk.envelope import Envelope, Item
from sentry_sdk.transport import HttpTransport
from sentry_sdk.worker import BackgroundWorker

import app.privacy
import app.telemetry
from app import sentry
from app.telemetry import EventFilter
from app.telemetry.sampling import DROPPED
from app.telemetry.transport import HTTP_LIBRARY, ScrubbingTransport
from tests.wire.places import Canary, found

CANARY = Canary(777)


class Wire:
    """What would go over it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def post(self, body: bytes) -> SimpleNamespace:
        self.bodies.append(gzip.decompress(body))
        return SimpleNamespace(status=200, headers={}, data=b"", close=lambda: None)

    @property
    def text(self) -> str:
        return b"\n".join(self.bodies).decode()


@pytest.fixture(scope="module")
def wires() -> Iterator[list[Wire]]:
    """Put the last of these in place of the network, also for what is sent after a test."""
    made = [Wire()]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(HttpTransport, "_request", lambda *given: made[-1].post(given[3]))
        yield made


@pytest.fixture
def wire(wires: list[Wire], monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    wires.append(Wire())
    with sentry_sdk.isolation_scope(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield wires[-1]
    monkeypatch.undo()
    sentry.shutdown_sentry(timeout=0)
    for name in HTTP_LIBRARY:  # one of them may be a function that fails
        logging.getLogger(name).filters.clear()


def settings(mode: str, **more: object) -> SimpleNamespace:
    return SimpleNamespace(
        APP_VERSION="1.2.3",
        SENTRY_DSN="http://publickey@127.0.0.1:9/42",
        SENTRY_PRIVACY_MODE=mode,
        SENTRY_TRACES_SAMPLE_RATE=1.0,
        SENTRY_INCLUDE_LOCAL_VARIABLES=True,
        SENTRY_INCLUDE_SOURCE_CONTEXT=True,
        SENTRY_INCLUDE_LOGS=True,
        SENTRY_INCLUDE_SESSIONS=True,
        **more,
    )


def report_everything() -> None:
    """Do what an application does, with a canary in it. Nothing of it may raise."""
    canary = CANARY
    sentry.set_user_context(canary.mail, "acme", canary.mail, canary.plain)
    sentry.set_tag("note", canary.text)
    sentry.set_context("order", canary.data)
    sentry.add_breadcrumb(canary.text, data=canary.data)
    with sentry_sdk.start_transaction(name=canary.text) as transaction:
        transaction.set_data("order", canary.data)
        with sentry_sdk.start_span(op="gen_ai.chat", name=canary.text) as span:
            span.set_data("password", canary.secret)
        with sentry_sdk.start_span(op="db", name=canary.text):
            pass
    logging.getLogger("app.orders").error("order of %s", canary.text)
    sentry_log.error(f"order of {canary.text}", attributes={"mail": canary.mail})
    metrics.count("orders", 1, attributes={"mail": canary.mail})
    metrics.count(canary.mail, 1)  # which strict drops
    crons.capture_checkin(canary.mail, status="ok")
    sentry_sdk.get_isolation_scope().add_attachment(bytes=canary.text.encode(), filename="a.txt")
    scope = sentry_sdk.get_isolation_scope()
    scope.start_session(session_mode="application")
    scope.end_session()
    sentry.capture_message(canary.text, order=canary.data)
    try:
        raise ValueError(canary.text)
    except ValueError as error:
        sentry.capture_exception(error)
    sentry.clear_user_context()
    sentry_sdk.flush(5)


def modules() -> Iterator[Any]:
    yield sentry
    for package in (app.telemetry, app.privacy):
        yield package
        for each in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(each.name)


def breakable() -> Iterator[tuple[Any, str]]:
    """Find every function and method of ours that reporting may call, wherever it is named."""
    beyond = {"init_sentry", "shutdown_sentry", "sdk_options", "render_preview"}
    for module in modules():
        if module.__name__.endswith("preview"):
            continue
        for name, value in vars(module).items():
            home = getattr(value, "__module__", None) or ""
            if not home.startswith(("app.sentry", "app.telemetry", "app.privacy")):
                continue
            if isinstance(value, FunctionType) and name not in beyond:
                yield module, name
            elif inspect.isclass(value) and home == module.__name__:
                for method, function in vars(value).items():
                    if isinstance(function, FunctionType) and method != "__init__":
                        yield value, method


# What the service and the SDK call by its name: what is put in its place is not ours.
CALLED = {
    *("set_user_context", "clear_user_context", "capture_message", "capture_exception"),
    *("add_breadcrumb", "set_tag", "set_context", "capture_envelope", "flush"),
    *("record_lost_event", "emit"),
}
OURS = [each for each in breakable() if each[1] not in CALLED]
THEIRS: list[tuple[Any, str]] = [
    *(
        (HttpTransport, name)
        for name in ("capture_envelope", "_send_envelope", "_prepare_envelope")
    ),
    *((HttpTransport, name) for name in ("_serialize_envelope", "_send_request", "_request")),
    *((HttpTransport, name) for name in ("_update_headers", "_fetch_pending_client_report")),
    *((HttpTransport, name) for name in ("record_lost_event", "_flush_client_reports")),
    *((HttpTransport, name) for name in ("_check_disabled", "_handle_response")),
    *((BackgroundWorker, name) for name in ("submit", "start")),
    (Envelope, "serialize_into"),
    *((Item, name) for name in ("serialize_into", "get_bytes")),
]


def label(each: tuple[Any, str]) -> str:
    return f"{each[0].__name__}.{each[1]}"


@pytest.mark.parametrize("mode", ["strict", "balanced"])
@pytest.mark.parametrize("target", OURS, ids=map(label, OURS))
def test_a_function_of_ours_that_fails(
    target: tuple[Any, str], mode: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sentry.init_sentry(settings(mode)) is True

    def fail(*_: object, **__: object) -> None:
        raise RecursionError(CANARY.text)  # the one that logging lets through

    with monkeypatch.context() as broken:
        broken.setattr(*target, fail)
        report_everything()
        assert isinstance(sentry.init_sentry(settings(mode)), bool)
    leaked = found(wire.text) - ({CANARY.plain} if mode == "balanced" else set())
    assert leaked == set()


@pytest.mark.parametrize("target", THEIRS, ids=map(label, THEIRS))
def test_a_function_of_the_sdk_that_fails(
    target: tuple[Any, str], wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sentry.init_sentry(settings("strict")) is True

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(CANARY.text)

    with monkeypatch.context() as broken:
        broken.setattr(*target, fail)
        report_everything()
        assert isinstance(sentry.init_sentry(settings("strict")), bool)
    assert found(wire.text) == set()


def test_without_a_fault_everything_arrives(wire: Wire) -> None:
    assert sentry.init_sentry(settings("balanced")) is True
    report_everything()
    lines = [json.loads(line) for line in wire.text.splitlines() if line]
    kinds = {line["type"] for line in lines if "type" in line}
    sent = {"event", "transaction", "span", "log", "trace_metric", "check_in", "session"}
    assert sent <= kinds


def test_what_can_not_be_cleaned_is_counted(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sentry.init_sentry(settings("balanced")) is True
    transport = sentry_sdk.get_client().transport
    assert isinstance(transport, ScrubbingTransport)

    def fail(*_: object) -> None:
        raise RuntimeError(CANARY.text)

    DROPPED.clear()
    monkeypatch.setattr(ScrubbingTransport, "_rebuild", fail)
    report_everything()
    assert wire.bodies == []
    counted = {
        sample.labels["category"] for metric in DROPPED.collect() for sample in metric.samples
    }
    assert {"error", "transaction", "log_item", "trace_metric", "monitor", "session"} <= counted


def test_a_client_report_that_the_sdk_adds_to_an_envelope_is_rebuilt(wire: Wire) -> None:
    assert sentry.init_sentry(settings("strict")) is True
    transport = sentry_sdk.get_client().transport
    assert isinstance(transport, ScrubbingTransport)
    transport.record_lost_event(CANARY.text, "error")
    transport._last_client_report_sent = 0  # so long ago that one is due
    sentry.capture_message("hello")
    sentry_sdk.flush(5)
    assert b"client_report" in wire.bodies[0]
    assert b'"type":"event"' in wire.bodies[0]
    assert found(wire.text) == set()


@pytest.mark.parametrize("name", ["filter_event", "filter_breadcrumbs", "filter_user_context"])
def test_a_filter_that_fails_sends_no_event(
    name: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sentry.init_sentry(settings("balanced")) is True

    def fail(*_: object) -> None:
        raise RuntimeError(CANARY.text)

    monkeypatch.setattr(EventFilter, name, fail)
    report_everything()
    assert not found(wire.text) - {CANARY.plain}
