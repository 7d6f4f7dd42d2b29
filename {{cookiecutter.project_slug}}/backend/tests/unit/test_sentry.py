"""The façade: what it starts, what it lets out, and that nobody ever notices a fault in it."""

import asyncio
import copy
import gc
import importlib
import json
import logging
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context, copy_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import sentry_sdk
from fastapi import APIRouter, FastAPI, HTTPException, Request
from prometheus_client import REGISTRY
from pydantic import ValidationError
from sentry_sdk.integrations import setup_integrations
from sentry_sdk.integrations.argv import ArgvIntegration
from sentry_sdk.serializer import serialize
from sentry_sdk.tracing_utils import should_propagate_trace
from sentry_sdk.transport import BaseHttpTransport, HttpTransport, HttpTransportCore
from sentry_sdk.worker import _TERMINATOR, BackgroundWorker
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import StreamingResponse

from app import sentry
from app.core import environment
from app.core.config import Settings
from app.core.context import (
    Work,
    begin_request,
    current_consent,
    current_request_id,
    tell_consent,
    work,
)
from app.observability import error_boundary
from app.telemetry import EventFilter, instruments, options
from app.telemetry import transport as last_line
from app.telemetry.sampling import DROPPED, fates_of_errors
from tests.wire.backends import raises, sdk_functions

# Fake, and recognisable. They stand outside of the functions, as values do.
SECRET = "fake-" + "value-8fk2Lq"
PERSON = "jane.doe@planted-example.org"
KEY = "fakepublickey77"
DSN = f"http://{KEY}@127.0.0.1:9/42"
MODES = ("strict", "balanced")


RATED, BUDGETED = ("TRACES", "PROFILES"), ("ERRORS", "TRACES")


def settings(**values: object) -> SimpleNamespace:
    return SimpleNamespace(
        **{
            "SENTRY_DSN": DSN,
            "SENTRY_ENVIRONMENT": "testing",
            "SENTRY_RELEASE": "",
            "SENTRY_TRACES_SAMPLE_RATE": 1.0,
            "SENTRY_PROFILES_SAMPLE_RATE": 0.0,
            "SENTRY_SAMPLING": "explicit",
            "SENTRY_PRIVACY_MODE": "balanced",
            "SENTRY_USER_CONTEXT": "id",
            "APP_VERSION": "7.8.9",
            "ENVIRONMENT": "staging",
            **values,
        }
    )


@pytest.fixture(autouse=True)
def off() -> Iterator[None]:
    """Each test starts and ends with reporting off, and in scopes of its own."""
    sentry.shutdown_sentry(timeout=0)
    with sentry_sdk.isolation_scope():
        yield
    sentry.shutdown_sentry(timeout=0)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the SDK would put on the wire, decoded: all but the last step is real."""
    arrived: list[dict[str, Any]] = []

    def keep(self: object, envelope: Any) -> None:
        arrived.extend(
            {"type": item.type, **json.loads(item.get_bytes())} for item in envelope.items
        )

    monkeypatch.setattr("sentry_sdk.transport.HttpTransport._send_envelope", keep)
    return arrived


def report(arrived: list[dict[str, Any]], kind: str = "event") -> dict[str, Any]:
    """Wait for the SDK's worker and return the last item of a type."""
    sentry_sdk.flush(2)
    return [each for each in arrived if each["type"] in (kind, "error", "default")][-1]


def start(**values: object) -> None:
    assert sentry.init_sentry(settings(**values)) is True


def raised(message: str) -> ValueError:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def event_with(place: str, value: object) -> dict[str, Any]:
    """Build an event as the SDK does, with a value at a place."""
    event: dict[str, Any] = {
        "event_id": "a" * 32,
        "level": "error",
        "platform": "python",
        "request": {"url": "https://api.test/x", "headers": {"Host": "api.test"}, "method": "POST"},
        "exception": {"values": [{"type": "ValueError", "value": "failed"}]},
        "breadcrumbs": {"values": [{"data": {}, "category": "query", "message": "m"}]},
        "tags": {"tenant_id": "acme"},
        "contexts": {"trace": {"trace_id": "b" * 32}},
        "spans": [{"data": {}, "op": "db", "span_id": "c" * 16, "description": "SELECT 1"}],
    }
    target: Any = event
    *steps, last = [int(step) if step.isdigit() else step for step in place.split(".")]
    for step in steps:
        target = target.setdefault(step, {}) if isinstance(target, dict) else target[step]
    target[last] = value
    return event


# Filtering


PLACES = [
    *("request.data", "request.headers", "request.cookies", "request.env", "request.query_string"),
    *("extra", "contexts.app", "tags", "spans.0.data", "breadcrumbs.values.0.data", "user"),
    *("exception.values.0.stacktrace", "exception.values.0.mechanism", "threads", "unknown"),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", PLACES)
def test_a_secret_leaves_from_no_place_under_its_name(place: str, mode: str) -> None:
    start(SENTRY_PRIVACY_MODE=mode)
    for name in ("password", "apiKey", "X-Auth-Token", "set-cookie"):
        for value in ({name: SECRET}, {"a": [{name: SECRET}]}, [[name, SECRET]]):
            clean = sentry._before_send(event_with(place, value), {})
            assert clean is not None
            assert SECRET not in json.dumps(clean)


TEXTS = [
    (PERSON, "[EMAIL]"),
    ("203.0.113.77", "[IP]"),
    ("2001:db8:85a3::8a2e:370:7334", "[IP]"),
    ("4111 1111 1111 1111", "[CARD]"),
    ("DE89370400440532013000", "[IBAN]"),
    ("078-05-1120", "[SSN]"),
    ("+1 415-555-2671", "[PHONE]"),
    ("ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a", "[TOKEN]"),
    ("-----BEGIN " + "PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "[KEY]"),
]
TEXT_PLACES = [
    *("exception.values.0.value", "message", "logentry.message", "logentry.formatted"),
    *("breadcrumbs.values.0.message", "request.url", "request.query_string", "request.data"),
    *("spans.0.description", "tags.note", "extra.note", "contexts.app.note", "transaction"),
    *("fingerprint", "request.headers.Note", "request.data.note"),
]


@pytest.mark.parametrize(("private", "kind"), TEXTS)
def test_what_is_private_by_its_shape_is_replaced_in_balanced(private: str, kind: str) -> None:
    for place in TEXT_PLACES:
        clean = sentry._before_send(event_with(place, f"got {private} here"), {})
        assert private not in json.dumps(clean)
        assert kind in json.dumps(clean), place


@pytest.mark.parametrize("place", TEXT_PLACES)
def test_no_value_leaves_in_strict(place: str) -> None:
    start(SENTRY_PRIVACY_MODE="strict")
    clean = sentry._before_send(event_with(place, f"got {SECRET} here"), {})
    assert clean is not None
    assert SECRET not in json.dumps(clean)


def test_an_absolute_path_becomes_its_last_component() -> None:
    frame = {"abs_path": "/srv/jane/app/sentry.py", "filename": "app/sentry.py", "function": "f"}
    event = event_with("exception.values.0.stacktrace", {"frames": [frame]})
    for mode in MODES:
        start(SENTRY_PRIVACY_MODE=mode)
        clean: Any = sentry._before_send(event, {})
        (kept,) = clean["exception"]["values"][0]["stacktrace"]["frames"]
        assert (kept["abs_path"], kept["filename"]) == ("sentry.py", "app/sentry.py")


def test_a_harmless_event_passes_unchanged_in_balanced() -> None:
    event = event_with("request.data", {"token_count": 5, "note": "GET /api/v1/users/42 -> 404"})
    assert sentry._before_send(copy.deepcopy(event), {}) == event


def test_the_hooks_do_not_change_what_they_are_given() -> None:
    event = event_with("extra", {"password": SECRET, "to": [PERSON]})
    before = copy.deepcopy(event)
    for mode in MODES:
        start(SENTRY_PRIVACY_MODE=mode)
        sentry._before_send(event, {})
        sentry._before_send_transaction(event, {})
        assert event == before


def test_scrubbing_twice_is_scrubbing_once() -> None:
    event = event_with("extra", {"password": SECRET, "text": f"{PERSON} token={SECRET}"})
    for mode in MODES:
        start(SENTRY_PRIVACY_MODE=mode)
        once = sentry._before_send(event, {})
        assert once is not None
        assert sentry._before_send(once, {}) == once


def test_the_hooks_filter_as_balanced_until_a_mode_is_set() -> None:
    event = event_with("extra", {"note": "kept", "password": SECRET})
    clean = sentry._before_send(event, {})
    assert clean is not None
    assert clean["extra"] == {"note": "kept", "password": "[Filtered]"}


def test_a_parameter_of_a_log_call_that_was_filtered_from_its_text_is_filtered_too() -> None:
    entry = {
        "message": "login with password=%s from %s",
        "formatted": f"login with password={SECRET} from paris",
        "params": [SECRET, "paris"],
    }
    clean: Any = sentry._before_send(event_with("logentry", entry), {})
    assert clean["logentry"]["params"] == ["[Filtered]", "paris"]


def test_the_hosts_name_is_not_sent() -> None:
    clean = sentry._before_send(event_with("server_name", "ip-10-3-2-1-acme"), {})
    assert clean is not None
    assert "server_name" not in clean


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Name every place in a structure."""
    steps: Any = []
    if isinstance(value, dict):
        steps = value.items()
    elif isinstance(value, list):
        steps = enumerate(value)
    for step, each in steps:
        yield (*path, step)
        yield from places(each, (*path, step))


@pytest.mark.parametrize("mode", MODES)
def test_a_hook_returns_an_event_whatever_stands_in_it(mode: str) -> None:
    start(SENTRY_PRIVACY_MODE=mode)
    usual = {
        **event_with("request.data", {"x": 1}),
        "transaction": "/x",
        "transaction_info": {"source": "route"},
        "user": {"id": "1"},
        "threads": {"values": [{"id": 1, "stacktrace": {"frames": [{"function": "f"}]}}]},
        "logentry": {"message": "m %s", "params": ["a"], "formatted": "m a"},
        "modules": {"a": "1"},
    }
    odd: list[Any] = [None, 7, "x", [], {}, [None], [[1, 2], ["a"]], {"values": [None, 7]}, b"x"]
    for path in places(usual):
        for value in [*odd, {1: object()}, "\ud800", float("nan")]:
            event: Any = copy.deepcopy(usual)
            target = event
            for step in path[:-1]:
                target = target[step]
            target[path[-1]] = value
            assert sentry._before_send(event, {}) is not None, (path, value)


@pytest.mark.parametrize("broken", [None, 7, "text", []])
def test_a_hook_that_fails_lets_nothing_out(broken: Any) -> None:
    assert sentry._before_send(broken, {}) is None
    assert sentry._before_send_transaction(broken, {}) is None


def test_a_fault_in_the_filter_lets_nothing_out(
    monkeypatch: pytest.MonkeyPatch, sent: list[dict[str, Any]]
) -> None:
    start()

    def fail(*arguments: object) -> None:
        raise RecursionError

    sentry.add_breadcrumb("before")
    monkeypatch.setattr("app.telemetry.scrub", fail)
    sentry.add_breadcrumb(SECRET)
    assert sentry.capture_message(SECRET) is None
    sentry_sdk.flush(2)
    assert SECRET not in json.dumps(sent)


def test_the_request_id_is_a_tag_in_both_modes() -> None:
    token = work.set(Work("request-4711"))
    try:
        for mode in MODES:
            start(SENTRY_PRIVACY_MODE=mode)
            for tags in ({"tenant_id": "acme"}, [["tenant_id", "acme"]], None, [None], "acme"):
                clean = sentry._before_send(event_with("tags", tags), {})
                assert clean is not None
                kept: Any = clean["tags"]
                assert kept["request_id"] == "request-4711"
                assert kept.get("tenant_id") == ("acme" if "tenant_id" in str(tags) else None)
    finally:
        work.reset(token)


@pytest.mark.parametrize("mode", MODES)
def test_the_request_id_is_found_again_where_it_is_one(mode: str) -> None:
    start(SENTRY_PRIVACY_MODE=mode)
    for offered, expected in (
        ("ee6857e6249244c1a518010c1bfd1c96", "ee6857e6249244c1a518010c1bfd1c96"),
        ("cb3cc094-de89-4fc7-ba13-057a21b24708", "cb3cc094-de89-4fc7-ba13-057a21b24708"),
        ("1" * 16 + "4111111111111111", "1" * 16 + "4111111111111111"),
        ("4111111111111111", "[CARD]"),
        ("DE89370400440532013000", "[IBAN]"),
        (f"password={SECRET}", "password=[Filtered]"),
    ):
        token = work.set(Work(offered))
        try:
            clean: Any = sentry._before_send(event_with("tags", {"request_id": "x"}), {})
            assert clean["tags"]["request_id"] == expected
        finally:
            work.reset(token)


# Starting


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("user_context", ["id", "anonymous", "full"])
def test_it_starts_in_every_mode(mode: str, user_context: str) -> None:
    values = {"SENTRY_PRIVACY_MODE": mode, "SENTRY_USER_CONTEXT": user_context}
    assert sentry.init_sentry(settings(**values)) is True
    assert sentry_sdk.get_client().is_active()


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory in which a release is looked for, with nothing in it."""
    monkeypatch.setattr(environment, "BACKEND", tmp_path)
    environment.release_of.cache_clear()
    yield tmp_path
    environment.release_of.cache_clear()


def test_it_starts_from_the_services_settings(sent: list[dict[str, Any]], backend: Path) -> None:
    assert sentry.init_sentry(Settings(SENTRY_DSN=DSN, ENVIRONMENT="staging")) is True
    sentry.capture_message("hello")
    event = report(sent)
    assert (event["environment"], event["release"]) == ("staging", "0.1.0")


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({"ENVIRONMENT": "staging"}, "staging"),
        ({"ENVIRONMENT": "staging", "SENTRY_ENVIRONMENT": "canary"}, "canary"),
        ({"ENVIRONMENT": "staging", "SENTRY_ENVIRONMENT": "development"}, "development"),
        ({"ENVIRONMENT": "development"}, "development"),
        ({"ENVIRONMENT": "staging", "SENTRY_ENVIRONMENT": ""}, "staging"),
        ({"SENTRY_ENVIRONMENT": "canary"}, "canary"),
        ({"SENTRY_ENVIRONMENT": "development"}, "development"),
        ({"SENTRY_ENVIRONMENT": ""}, "production"),
        ({}, "production"),
    ],
)
def test_the_label_is_the_environment_unless_one_is_set_and_detected_where_neither_is(
    values: dict[str, Any], label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENVIRONMENT", "SENTRY_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APP_ENV", "prod")
    assert sentry.init_sentry(Settings(SENTRY_DSN=DSN, **values)) is True
    assert sentry_sdk.get_client().options["environment"] == label


def test_a_label_in_the_processs_variables_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ENV", "prod")
    monkeypatch.setenv("ENVIRONMENT", "development")
    assert sentry.init_sentry(Settings(SENTRY_DSN=DSN)) is True
    assert sentry_sdk.get_client().options["environment"] == "development"


@pytest.mark.parametrize("label", sorted(set(environment.SPELLINGS.values())))
def test_every_label_that_is_detected_leaves_in_strict_and_has_its_rates(label: str) -> None:
    assert EventFilter("strict").filter_event({"environment": label}) == {"environment": label}
    assert label in options.RATES


@pytest.mark.parametrize(
    ("told", "values", "release"),
    [
        ("", {}, "7.8.9"),
        ("1.4.2", {}, "1.4.2"),
        ("1.4.2", {"SENTRY_RELEASE": "1.2.3-rc"}, "1.2.3-rc"),
        ("", {"SENTRY_RELEASE": "1.2.3-rc"}, "1.2.3-rc"),
        ("", {"SENTRY_RELEASE": None}, "7.8.9"),
        (f"no release: {SECRET}", {}, "7.8.9"),
    ],
)
def test_the_release_is_what_is_set_or_else_what_a_file_tells_or_else_the_applications(
    told: str, values: dict[str, Any], release: str, backend: Path
) -> None:
    if told:
        (backend / "VERSION").write_text(told)
    start(**values)
    assert sentry_sdk.get_client().options["release"] == release


@pytest.mark.parametrize("mode", MODES)
def test_the_commit_leaves_as_the_release(
    mode: str, backend: Path, sent: list[dict[str, Any]]
) -> None:
    commit = "d2106ab9c7a4f3e88b5c6d7e8f90a1b2c3d4e5f6"
    (backend / ".git").mkdir()
    (backend / ".git/HEAD").write_text(f"{commit}\n")
    start(SENTRY_PRIVACY_MODE=mode)
    sentry.capture_message("hello")
    assert report(sent)["release"] == commit


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((f"SENTRY_{kind}_SAMPLE_RATE", bad) for kind in RATED for bad in (2, -0.1, "nan", "")),
        *((f"SENTRY_{kind}_PER_MINUTE", bad) for kind in BUDGETED for bad in (-1, 1.5, "many")),
        ("SENTRY_SAMPLING", "Environment"),
        ("SENTRY_PRIVACY_MODE", "Strict"),
        ("SENTRY_USER_CONTEXT", "none"),
        ("SENTRY_INCLUDE_LOGS", "perhaps"),
        ("SENTRY_TRACE_PROPAGATION_TARGETS", "named.test"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_setting(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({name: value})
    assert [each["loc"] for each in refused.value.errors()] == [(name,)]


def test_tests_are_sampled_as_development_is() -> None:
    assert options.RATES["test"] == options.RATES["development"]


@pytest.mark.parametrize(
    ("label", "traces", "profiles", "debug"),
    [
        ("development", 1.0, None, True),
        ("test", 1.0, None, False),
        ("staging", 0.5, 0.1, False),
        ("production", 0.1, 0.01, False),
        ("somewhere else", 0.1, 0.01, False),
    ],
)
def test_sampling_follows_the_environment_where_that_is_asked_for(
    label: str, traces: float, profiles: float | None, debug: bool
) -> None:
    for asked in ("environment", "explicit"):
        start(SENTRY_SAMPLING=asked, SENTRY_ENVIRONMENT=label, SENTRY_TRACES_SAMPLE_RATE=0.3)
        options = sentry_sdk.get_client().options
        told = [options[name] for name in ("traces_sample_rate", "profiles_sample_rate", "debug")]
        rate = options["traces_sampler"]({"parent_sampled": None})
        if asked == "environment":
            assert [*told, rate] == [traces, profiles, debug, traces]
        else:
            assert (told[0], told[2], rate) == (0.3, False, 0.3)


def test_what_the_sdk_says_of_itself_passes_the_filter_of_log_lines(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    start(SENTRY_SAMPLING="environment", SENTRY_ENVIRONMENT="development")
    logging.getLogger("sentry_sdk.errors").warning("mailed %s", PERSON)
    assert caplog.messages[-1] == f"mailed {PERSON}"  # of which our formatter makes the line
    assert PERSON not in capsys.readouterr().err


@pytest.mark.parametrize("debugged", [True, False])
def test_an_sdk_that_raises_does_not_end_the_thread_that_sends(
    debugged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(SENTRY_SAMPLING="environment", SENTRY_ENVIRONMENT="development" if debugged else "test")
    worker = BackgroundWorker()
    for holder, name in sdk_functions():
        with monkeypatch.context() as broken:
            broken.setattr(holder, name, raises)
            for job in (raises, _TERMINATOR):
                worker._queue.put(job)  # type: ignore[no-untyped-call]
            worker._target()  # what its thread runs


def test_collection_is_off() -> None:
    start()
    held = sentry_sdk.get_client().options
    for name, value in options.COLLECTION_OFF.items():
        assert name == "data_collection" or held[name] == value
    assert not held["data_collection"]["provided_by_user"]
    assert set(sentry_sdk.get_client().integrations) == {
        *("requests", "queries", "tasks", "logging", "dedupe"),
        *("excepthook", "threads", "atexit"),
    }


TURNED_ON: dict[str, tuple[str, object]] = {
    "SENTRY_INCLUDE_REQUEST_BODIES": ("max_request_body_size", "medium"),
    "SENTRY_INCLUDE_LOCAL_VARIABLES": ("include_local_variables", True),
    "SENTRY_INCLUDE_SOURCE_CONTEXT": ("include_source_context", True),
    "SENTRY_INCLUDE_SERVER_NAME": ("server_name", socket.gethostname()),
    "SENTRY_INCLUDE_SESSIONS": ("auto_session_tracking", True),
    "SENTRY_INCLUDE_LOGS": ("enable_logs", True),
}


def test_every_setting_that_turns_a_thing_on_is_tested() -> None:
    settings_of_kind = {name for name in Settings.model_fields if "_INCLUDE_" in name}
    assert settings_of_kind == TURNED_ON.keys() | {"SENTRY_INCLUDE_ARGV", "SENTRY_INCLUDE_MODULES"}
    assert TURNED_ON.keys() == options.COLLECTION_ON.keys()


@pytest.mark.parametrize("name", TURNED_ON)
def test_a_setting_turns_one_thing_on(name: str) -> None:
    option, value = TURNED_ON[name]
    start(**{name: True})
    held = sentry_sdk.get_client().options
    assert held[option] == value
    changed = {
        each
        for each, off in options.COLLECTION_OFF.items()
        if each != "data_collection" and held[each] != off
    }
    assert changed == {option}


@pytest.mark.parametrize(
    ("name", "value", "integration"),
    [
        ("SENTRY_INCLUDE_ARGV", True, "argv"),
        ("SENTRY_INCLUDE_MODULES", True, "modules"),
        ("SENTRY_TRACE_PROPAGATION_TARGETS", ["named.test"], "calls"),
    ],
)
def test_a_setting_adds_one_integration(name: str, value: object, integration: str) -> None:
    start()
    usual = set(sentry_sdk.get_client().integrations)
    start(**{name: value})
    assert set(sentry_sdk.get_client().integrations) == usual | {integration}


@pytest.mark.parametrize("value", ["true", "false", 1, None, [True]])
def test_what_is_not_true_turns_nothing_on(value: object) -> None:
    names = [*TURNED_ON, "SENTRY_INCLUDE_ARGV", "SENTRY_INCLUDE_MODULES"]
    start(**dict.fromkeys(names, value))
    held = sentry_sdk.get_client().options
    for name, off in options.COLLECTION_OFF.items():
        assert name == "data_collection" or held[name] == off
    assert not {"argv", "modules"} & set(sentry_sdk.get_client().integrations)


def kept_of(mode: str, sent: list[dict[str, Any]]) -> dict[str, Any]:
    """Report an error with all turned on, and return what is sent of it."""
    names = [*TURNED_ON, "SENTRY_INCLUDE_ARGV", "SENTRY_INCLUDE_MODULES"]
    start(**dict.fromkeys(names, True), SENTRY_PRIVACY_MODE=mode)
    sentry.capture_exception(raised("no"))
    return report(sent)


def test_what_is_turned_on_is_sent_in_balanced(
    sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["serve", "--port", "80", f"--password={SECRET}"])
    event = kept_of("balanced", sent)
    frame = event["exception"]["values"][0]["stacktrace"]["frames"][-1]
    assert frame["vars"] == {"message": "'no'"}
    assert frame["context_line"].strip() == "raise ValueError(message)"
    assert event["server_name"] == socket.gethostname()
    assert event["extra"]["sys.argv"] == ["serve", "--port", "80", "--password=[Filtered]"]
    assert event["modules"]["sentry-sdk"] == sentry_sdk.VERSION


def test_what_strict_never_sends_it_does_not_send_when_it_is_turned_on(
    sent: list[dict[str, Any]],
) -> None:
    event = kept_of("strict", sent)
    frame = event["exception"]["values"][0]["stacktrace"]["frames"][-1]
    assert not {"vars", "context_line", "pre_context", "post_context"} & frame.keys()
    assert not {"server_name", "extra", "modules"} & event.keys()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://named.test", True),
        ("https://Named.test:8443/orders?x=1", True),
        ("https://user:pass@named.test/orders", True),
        ("https://stranger.test/?next=https://named.test/", False),
        ("https://stranger.test/named.test/", False),
        ("https://named.test.stranger.test/", False),
        ("https://not-named.test/", False),
        ("https://named.test@stranger.test/", False),
        ("https://stranger.test\\@named.test/", False),
        ("https://namedxtest/", False),
    ],
)
def test_trace_headers_are_added_for_the_named_hosts_alone(url: str, told: bool) -> None:
    start(SENTRY_TRACE_PROPAGATION_TARGETS=["named.test"])
    assert should_propagate_trace(sentry_sdk.get_client(), url) is told


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("rate", [1.0, 0.0])
async def test_a_call_is_a_span_and_a_breadcrumb_and_tells_its_trace(
    kind: str, rate: float, sent: list[dict[str, Any]]
) -> None:
    told: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        told.append(request.headers)
        if request.url.path == "/moved":
            return httpx.Response(307, headers={"Location": "https://stranger.test/"})
        if request.url.path == "/gone":
            raise httpx.ConnectError("gone")
        return httpx.Response(503)

    transport = httpx.MockTransport(answer)

    def call_in_place(url: str) -> httpx.Response:
        with httpx.Client(transport=transport, follow_redirects=True) as client:
            return client.get(url, headers={"baggage": "own=1"})

    async def call(path: str) -> None:
        url = f"https://named.test{path}?q=1"
        if kind == "sync":
            assert call_in_place(url).status_code == 503
            return
        async with httpx.AsyncClient(transport=transport, follow_redirects=True) as client:
            assert (await client.get(url, headers={"baggage": "own=1"})).status_code == 503

    start(SENTRY_TRACES_SAMPLE_RATE=rate, SENTRY_TRACE_PROPAGATION_TARGETS=["named.test"])
    with sentry_sdk.start_transaction(name="serve", op="http.server", source="custom"):
        await call("/orders")
        with suppress(httpx.ConnectError):
            await call("/gone")
        trace = sentry_sdk.get_current_scope().get_traceparent()
        sentry.capture_message("called")
        await call("/moved")
    stranger = told.pop()
    assert (stranger["baggage"], "sentry-trace" in stranger) == ("own=1", False)
    assert told.pop()["baggage"].startswith("own=1,sentry-")
    assert {each["sentry-trace"].split("-")[0] for each in told} == {str(trace).split("-")[0]}
    assert all(each["baggage"].startswith("own=1,sentry-") for each in told)
    assert all(each["baggage"].count("sentry-trace_id") == 1 for each in told)
    (crumb,) = of("event", sent)[0]["breadcrumbs"]["values"]
    data = {"method": "GET", "url": "https://named.test/orders", "status_code": 503}
    assert (crumb["category"], crumb["data"]) == ("httplib", data)
    spans = [each["spans"] for each in of("transaction", sent)]
    seen = [[(each["description"], each["status"]) for each in made] for made in spans]
    expected = [
        ("GET https://named.test/orders", "unavailable"),
        ("GET https://named.test/gone", "internal_error"),
        ("GET https://named.test/moved", "ok"),
        ("GET https://stranger.test/", "unavailable"),
    ]
    assert seen == [expected] * int(rate)


def test_without_a_release_nothing_is_asked_for_one(
    monkeypatch: pytest.MonkeyPatch, backend: Path
) -> None:
    def fail() -> None:
        raise AssertionError("the SDK runs git")

    monkeypatch.setattr("sentry_sdk.client.get_default_release", fail)
    start(SENTRY_RELEASE="", APP_VERSION="")


def test_any_object_with_a_dsn_will_do() -> None:
    assert sentry.init_sentry(SimpleNamespace(SENTRY_DSN=DSN)) is True


def test_the_spotlight_of_the_environment_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRY_SPOTLIGHT", "1")
    start()
    assert sentry_sdk.get_client().spotlight is None


@pytest.mark.parametrize("dsn", ["", None])
def test_without_a_dsn_nothing_is_started(dsn: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert sentry.init_sentry(settings(SENTRY_DSN=dsn)) is False
    assert not sentry_sdk.get_client().is_active()
    assert caplog.records == []


def test_an_empty_dsn_later_switches_it_off() -> None:
    start()
    assert sentry.init_sentry(settings(SENTRY_DSN="")) is False
    assert not sentry_sdk.get_client().is_active()
    assert sentry.capture_message("hello") is None


MALFORMED = [
    f"ftp://{KEY}@host/1",
    f"https://{KEY}@host/project",
    f"https://{KEY}@/1",
    f"https://host/{KEY}",
    f"https://{KEY}@host:port/1",
    f"https://[{KEY}@host/1",
    KEY,
]


@pytest.mark.parametrize("dsn", MALFORMED)
def test_a_malformed_dsn_leaves_it_off_and_is_not_logged(
    dsn: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    assert sentry.init_sentry(settings(SENTRY_DSN=dsn)) is False
    assert not sentry_sdk.get_client().is_active()
    assert [record.name for record in caplog.records] == ["app.sentry"]
    assert KEY not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "values",
    [
        {"SENTRY_TRACES_SAMPLE_RATE": "many"},
        {"SENTRY_TRACES_SAMPLE_RATE": object()},
        {"SENTRY_PROFILES_SAMPLE_RATE": []},
    ],
)
def test_a_bad_option_leaves_it_off(
    values: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    assert sentry.init_sentry(settings(**values)) is False
    assert len(caplog.records) == 1
    assert KEY not in caplog.text


@pytest.mark.parametrize("error", [ValueError, TypeError, AttributeError, RuntimeError, OSError])
def test_an_init_that_raises_leaves_it_off(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**options: object) -> None:
        raise error(f"cannot use {options['dsn']}")

    monkeypatch.setattr(sentry_sdk, "init", fail)
    assert sentry.init_sentry(settings()) is False
    assert len(caplog.records) == 1
    assert KEY not in caplog.text
    assert sentry.capture_message("hello") is None


# Each of these breaks what the last line relies on, as another version of the SDK might.


def without_the_method(broken: pytest.MonkeyPatch) -> None:
    broken.delattr(BaseHttpTransport, "_send_envelope")


def without_the_client_reports(broken: pytest.MonkeyPatch) -> None:
    broken.delattr(HttpTransportCore, "_fetch_pending_client_report")


def with_another_way_out(broken: pytest.MonkeyPatch) -> None:
    def capture(self: HttpTransport, envelope: Any) -> None:
        self._worker.submit(lambda: self._prepare_envelope(envelope))

    broken.setattr(BaseHttpTransport, "capture_envelope", capture)


def with_more_arguments(broken: pytest.MonkeyPatch) -> None:
    def capture(self: Any, envelope: Any) -> None:
        self._send_envelope(envelope, "more")

    broken.setattr(BaseHttpTransport, "capture_envelope", capture)


def with_another_transport(broken: pytest.MonkeyPatch) -> None:
    broken.setattr("sentry_sdk.client.make_transport", HttpTransport)


def with_no_transport(broken: pytest.MonkeyPatch) -> None:
    broken.setattr("sentry_sdk.client.make_transport", lambda options: None)


def with_a_transport_around_it(broken: pytest.MonkeyPatch) -> None:
    broken.setenv("SENTRY_PRINT_ENVELOPES", "1")


def with_spotlight(broken: pytest.MonkeyPatch) -> None:
    broken.setattr("sentry_sdk.spotlight.setup_spotlight", lambda options: object())


def with_an_integration_more(broken: pytest.MonkeyPatch) -> None:
    usual = setup_integrations

    def more(*arguments: Any, **options: Any) -> dict[str, Any]:
        return usual(*arguments, **options) | {"argv": ArgvIntegration()}

    broken.setattr(sentry_sdk.client, "setup_integrations", more)


def with_an_integration_less(broken: pytest.MonkeyPatch) -> None:
    broken.setattr(sentry_sdk.client, "setup_integrations", lambda *_, **__: {})


def with_option(name: str, value: object) -> Callable[[pytest.MonkeyPatch], None]:
    def change(broken: pytest.MonkeyPatch) -> None:
        usual = sentry_sdk.client.get_options
        broken.setattr(
            sentry_sdk.client, "get_options", lambda **given: {**usual(**given), name: value}
        )

    return change


UNEXPECTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "the method that sends is gone": without_the_method,
    "the method for client reports is gone": without_the_client_reports,
    "envelopes go another way": with_another_way_out,
    "the method that sends takes more": with_more_arguments,
    "another transport is used": with_another_transport,
    "no transport is used": with_no_transport,
    "the transport is wrapped": with_a_transport_around_it,
    "spotlight is on": with_spotlight,
    "an integration was added": with_an_integration_more,
    "an integration is missing": with_an_integration_less,
    **{
        f"the option {name} is another": with_option(name, value)
        for name, value in {
            "send_default_pii": True,
            "data_collection": {"provided_by_user": True},
            "before_send": None,
            "before_send_transaction": None,
            "before_send_span": None,
            "before_send_log": None,
            "before_send_metric": None,
            "before_breadcrumb": None,
            "include_local_variables": True,
            "max_request_body_size": "always",
            "trace_propagation_targets": [".*"],
        }.items()
    },
}


@pytest.mark.parametrize("change", UNEXPECTED.values(), ids=UNEXPECTED)
def test_it_stays_off_where_the_sdk_is_not_as_expected(
    change: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as broken:
        change(broken)
        assert sentry.init_sentry(settings()) is False
        assert not sentry_sdk.get_client().is_active()
        assert sentry.capture_message("hello") is None
        (record,) = caplog.records
        assert record.name == "app.sentry"
        assert record.getMessage().startswith("Sentry is off: ")
        assert KEY not in caplog.text
        assert REGISTRY.get_sample_value("telemetry_off") == 1
    start()
    assert REGISTRY.get_sample_value("telemetry_off") == 0


def test_it_says_in_what_the_sdk_is_not_as_expected(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_spotlight(monkeypatch)
    sentry.init_sentry(settings())
    assert "it sends past the transport" in caplog.text


def test_a_stop_under_way_does_not_relax_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    start(SENTRY_PRIVACY_MODE="strict")
    modes = []
    usual = sentry_sdk.get_client().close

    def close(timeout: float) -> None:
        modes.append(sentry._state.rules.mode)
        usual(timeout=timeout)

    monkeypatch.setattr(sentry_sdk.get_client(), "close", close)
    sentry.shutdown_sentry(timeout=0)
    assert modes == ["strict"]
    assert sentry._state.rules.mode == "balanced"


def profiler() -> object:
    """Return what takes the samples, if anything does."""
    scheduler: object = importlib.import_module(
        "sentry_sdk.profiler.transaction_profiler"
    )._scheduler
    return scheduler


@pytest.mark.parametrize("safe", [True, False])
def test_nothing_is_profiled_where_that_could_kill_the_process(
    safe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "SAFE_TO_PROFILE", safe)
    start(SENTRY_PROFILES_SAMPLE_RATE=0.5)
    assert sentry_sdk.get_client().options["profiles_sample_rate"] == 0.5
    assert (profiler() is not None) is safe
    sentry.shutdown_sentry(timeout=0)
    importlib.import_module("sentry_sdk.profiler").teardown_profiler()


def test_a_client_that_others_start_is_told_nothing(
    sent: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    start(SENTRY_PRIVACY_MODE="strict")
    sentry_sdk.init(dsn=DSN, default_integrations=False)
    assert sentry.capture_message(PERSON) is None
    assert sentry.capture_exception(raised(PERSON)) is None
    sentry_sdk.flush(2)
    assert sent == []
    assert caplog.text.count("Other code has started Sentry anew") == 1


def test_what_waits_is_sent_where_the_client_fails_to_close(
    sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    client = sentry_sdk.get_client()

    def fail(timeout: float) -> None:
        raise KeyError(timeout)

    monkeypatch.setattr(client, "close", fail)
    sentry.capture_message("the last words")
    sentry.shutdown_sentry(timeout=2)
    assert [each["message"] for each in sent if each["type"] == "event"] == ["the last words"]
    assert not client.transport._worker.is_alive  # type: ignore[union-attr]  # of HTTP


@pytest.mark.parametrize("mode", MODES)
def test_an_event_with_an_id_of_its_own_is_no_fault_of_the_callers(
    mode: str, sent: list[dict[str, Any]]
) -> None:
    start(SENTRY_PRIVACY_MODE=mode)
    sentry_sdk.capture_event({"event_id": "my-own-id", "message": "x", "level": "error"})
    assert report(sent)["level"] == "error"


def test_a_route_with_a_token_in_its_path_is_not_told(sent: list[dict[str, Any]]) -> None:
    path = "/hooks/" + "ghp_" + "a1B2c3D4e5" * 4
    assert sentry.init_sentry(
        settings(SENTRY_PRIVACY_MODE="strict"), lambda: [SimpleNamespace(path=path)]
    )
    clean = sentry._before_send({"transaction": path, "transaction_info": {"source": "route"}}, {})
    assert clean is not None
    assert clean["transaction"] == "/hooks/[TOKEN]"


def test_of_starts_at_once_the_last_one_holds() -> None:
    modes = [MODES[number % 2] for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        started = list(
            pool.map(lambda mode: sentry.init_sentry(settings(SENTRY_PRIVACY_MODE=mode)), modes)
        )
    assert started == [True] * 8
    transport = sentry_sdk.get_client().transport
    assert isinstance(transport, last_line.ScrubbingTransport)
    assert transport.rules is sentry._state.rules


def test_an_unreachable_server_is_no_fault_of_the_callers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    start()
    assert sentry.capture_message("hello") is not None
    sentry.shutdown_sentry(timeout=0.2)
    assert KEY not in caplog.text


@pytest.mark.parametrize("name", ["SENTRY_DSN", "SENTRY_PRIVACY_MODE", "SENTRY_RELEASE"])
def test_a_setting_that_can_not_be_read_leaves_it_off(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError(f"no secrets for {DSN}")

    broken = type("Settings", (), {**vars(settings()), name: property(fail)})()
    assert sentry.init_sentry(broken) is False
    assert [record.name for record in caplog.records] == ["app.sentry"]
    assert "RuntimeError" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("name", ["SENTRY_PRIVACY_MODE", "SENTRY_USER_CONTEXT"])
@pytest.mark.parametrize("value", ["nope", "", None, 7, ["strict"]])
def test_an_unknown_privacy_setting_leaves_it_off(
    name: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert sentry.init_sentry(settings(**{name: value})) is False
    assert not sentry_sdk.get_client().is_active()
    assert [record.name for record in caplog.records] == ["app.sentry"]
    assert "ValueError" in caplog.text


def test_a_missing_privacy_setting_is_a_strict_one() -> None:
    values = settings()
    del values.SENTRY_PRIVACY_MODE, values.SENTRY_USER_CONTEXT
    assert sentry.init_sentry(values) is True
    assert (sentry._state.rules.mode, sentry._state.rules.user_context) == ("strict", "id")


def test_reports_that_do_not_arrive_are_told_of_once_and_without_the_dsn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(last_line, "_said", threading.Event())
    caplog.set_level(logging.DEBUG)
    for _ in range(2):
        start()
        for number in range(5):
            sentry.capture_message(f"hello {number}")
        sentry_sdk.flush(5)
    told = [record for record in caplog.records if record.name == last_line.__name__]
    assert [record.levelname for record in told] == ["WARNING"]
    assert "NewConnectionError" in caplog.text
    assert not [each for each in caplog.records if each.name.partition(".")[0] == "urllib3"]
    for part in (KEY, "127.0.0.1", "/42", "envelope"):
        assert part not in caplog.text


def test_the_http_library_still_logs_what_is_not_a_report(
    caplog: pytest.LogCaptureFixture,
) -> None:
    start()
    logging.getLogger("urllib3.connectionpool").warning("of another part")
    assert "of another part" in caplog.text


# The helpers


def test_an_exception_is_reported_with_its_stack(sent: list[dict[str, Any]]) -> None:
    start()
    assert sentry.capture_exception(raised(f"no {PERSON}"), order=4711, password=SECRET)
    event = report(sent)
    (error,) = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("ValueError", "no [EMAIL]")
    assert error["stacktrace"]["frames"][-1]["function"] == "raised"
    assert event["extra"] == {"order": 4711, "password": "[Filtered]"}


def test_a_message_is_reported_with_its_level(sent: list[dict[str, Any]]) -> None:
    start()
    event_id = sentry.capture_message(f"hello {PERSON}", "warning", size=5)
    event = report(sent)
    assert event["event_id"] == event_id
    assert (event["message"], event["level"]) == ("hello [EMAIL]", "warning")
    assert event["extra"] == {"size": 5}


def test_what_is_given_with_one_report_is_not_in_the_next(sent: list[dict[str, Any]]) -> None:
    start()
    sentry.capture_message("first", size=5)
    sentry.capture_message("second")
    assert "size" not in report(sent).get("extra", {})


def test_a_message_in_strict_keeps_what_its_caller_wrote(sent: list[dict[str, Any]]) -> None:
    start(SENTRY_PRIVACY_MODE="strict")
    sentry.capture_message(f"refund of {SECRET} is late", secret=SECRET)
    event = report(sent)
    assert event["message"] == "refund of […] is late"
    assert SECRET not in json.dumps(sent)


def test_a_breadcrumb_is_in_the_next_report(sent: list[dict[str, Any]]) -> None:
    start()
    sentry.add_breadcrumb(f"mailed {PERSON}", "mail", "warning", {"token": SECRET, "size": 5})
    sentry.capture_message("hello")
    (crumb,) = report(sent)["breadcrumbs"]["values"]
    assert crumb["message"] == "mailed [EMAIL]"
    assert (crumb["category"], crumb["level"]) == ("mail", "warning")
    assert crumb["data"] == {"token": "[Filtered]", "size": 5}


def test_a_tag_and_a_context_are_in_the_next_report(sent: list[dict[str, Any]]) -> None:
    start()
    sentry.set_tag("plan", "gold")
    sentry.set_tag("contact", PERSON)
    sentry.set_context("order", {"size": 5, "card_number": SECRET})
    sentry.capture_message("hello")
    event = report(sent)
    assert event["tags"] == {"plan": "gold", "contact": "[EMAIL]"}
    assert event["contexts"]["order"] == {"size": 5, "card_number": "[Filtered]"}


@pytest.mark.parametrize("mode", MODES)
def test_the_user_and_the_tenant_are_in_the_next_report(
    mode: str, sent: list[dict[str, Any]]
) -> None:
    start(SENTRY_PRIVACY_MODE=mode)
    sentry.set_user_context("user-4711", "acme", PERSON, "jane.doe")
    sentry.capture_message("hello")
    event = report(sent)
    assert event["user"] == {"id": "user-4711"}
    assert event["tags"]["tenant_id"] == "acme"
    assert "jane" not in json.dumps(sent)


def test_the_full_user_is_what_was_passed_in(sent: list[dict[str, Any]]) -> None:
    start(SENTRY_USER_CONTEXT="full")
    sentry.set_user_context("user-4711", "acme", PERSON, "jane")
    sentry.capture_message("hello")
    assert report(sent)["user"] == {"id": "user-4711", "email": PERSON, "username": "jane"}
    sentry.set_user_context("user-4711", "acme")
    sentry.capture_message("hello again")
    assert report(sent)["user"] == {"id": "user-4711"}


def test_the_anonymous_user_is_the_same_in_a_session_and_another_in_another_tenant(
    sent: list[dict[str, Any]],
) -> None:
    start(SENTRY_USER_CONTEXT="anonymous")
    users = []
    for user, tenant in (("user-4711", "acme"), ("user-4711", "acme"), ("user-4711", "globex")):
        sentry.set_user_context(user, tenant, PERSON, "jane")
        sentry.capture_message("hello")
        users.append(report(sent)["user"])
    assert users[0] == users[1] != users[2]
    assert users[0].keys() == {"session_id"}
    assert "user-4711" not in json.dumps(sent)


def test_a_cleared_user_is_in_no_report(sent: list[dict[str, Any]]) -> None:
    start()
    sentry.set_user_context("user-4711", "acme")
    sentry.clear_user_context()
    sentry.capture_message("hello")
    event = report(sent)
    assert "user" not in event
    assert "tenant_id" not in event.get("tags", {})


def test_an_error_that_is_logged_is_reported_and_an_info_is_its_breadcrumb(
    sent: list[dict[str, Any]],
) -> None:
    start()
    log = logging.getLogger("app.test")
    log.setLevel(logging.DEBUG)
    log.debug("not told")
    log.info("starting for %s", PERSON)
    log.error("failed with token=%s", SECRET)
    event = report(sent)
    assert event["logentry"]["formatted"] == "failed with token=[Filtered]"
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == [
        "starting for [EMAIL]"
    ]
    assert SECRET not in json.dumps(sent)


def test_a_breadcrumb_in_strict_keeps_what_its_caller_wrote(sent: list[dict[str, Any]]) -> None:
    start(SENTRY_PRIVACY_MODE="strict")
    log = logging.getLogger("app.main")
    log.setLevel(logging.INFO)
    log.info("starting for %s", SECRET)
    sentry.add_breadcrumb(f"answered with {SECRET}", data={"a": SECRET})
    sentry.capture_message("hello")
    first, second = report(sent)["breadcrumbs"]["values"]
    assert (first["message"], first["category"]) == ("starting for […]", "app.main")
    assert (second["message"], second["category"]) == ("answered with […]", "custom")
    assert SECRET not in json.dumps(sent)


@pytest.mark.parametrize("mode", MODES)
def test_a_transaction_is_scrubbed(mode: str, sent: list[dict[str, Any]]) -> None:
    start(SENTRY_PRIVACY_MODE=mode)
    with sentry_sdk.start_transaction(name=f"/users/{PERSON}", source="url") as transaction:
        transaction.set_data("password", SECRET)
        with sentry_sdk.start_span(op="db", name=f"SELECT '{PERSON}'") as span:
            span.set_data("api_key", SECRET)
    arrived = report(sent, "transaction")
    assert [span["op"] for span in arrived["spans"]] == ["db"]
    assert SECRET not in json.dumps(arrived)
    assert PERSON not in json.dumps(arrived)


def test_of_a_share_that_a_caller_sent_no_more_than_six_digits_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "sentry_sdk.transport.HttpTransport._send_envelope",
        lambda self, envelope: headers.append(envelope.headers),
    )
    start()
    baggage = "sentry-trace_id=" + "a" * 32 + ",sentry-sample_rand=0.4111111111111111"
    baggage += ",sentry-sample_rate=0.4111111111111111,sentry-sampled=true"
    caller = {"sentry-trace": f"{'a' * 32}-{'b' * 16}-1", "baggage": baggage}
    with sentry_sdk.start_transaction(sentry_sdk.continue_trace(caller, name="x")):
        pass
    sentry_sdk.flush(2)
    trace = headers[-1]["trace"]
    assert trace["sample_rand"] == "0.411111"
    assert len(trace["sample_rate"]) <= len("0.411111")


def test_a_shutdown_sends_what_is_waiting(sent: list[dict[str, Any]]) -> None:
    start()
    sentry.capture_message("hello")
    sentry.shutdown_sentry()
    assert [each["message"] for each in sent] == ["hello"]
    assert not sentry_sdk.get_client().is_active()
    sentry.shutdown_sentry()


CALLS: list[Callable[[], object]] = [
    lambda: sentry.set_user_context("user-4711", "acme", PERSON, "jane"),
    sentry.clear_user_context,
    lambda: sentry.capture_message("hello", "error", size=5),
    lambda: sentry.capture_exception(ValueError("x"), size=5),
    lambda: sentry.add_breadcrumb("hello", "c", "info", {"a": 1}),
    lambda: sentry.set_tag("a", "b"),
    lambda: sentry.set_context("a", {"b": 1}),
    lambda: sentry.shutdown_sentry(0.1),
]


@pytest.mark.parametrize("call", CALLS)
def test_each_call_is_quiet_while_it_is_off(
    call: Callable[[], object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    class Recording:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            raise AttributeError(name)

    monkeypatch.setattr(sentry, "sentry_sdk", Recording())
    assert call() is None
    assert asked == []
    assert caplog.records == []


class Raising:
    """An SDK that raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        def fail(*arguments: object, **options: object) -> None:
            raise RuntimeError(f"{name} failed for {DSN}")

        return fail


@pytest.mark.parametrize("call", CALLS)
def test_each_call_survives_an_sdk_that_raises(
    call: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start()
    with monkeypatch.context() as patched:
        patched.setattr(sentry, "sentry_sdk", Raising())
        assert call() is None
        sentry._state.on = True
    assert KEY not in caplog.text


@pytest.mark.parametrize("call", CALLS)
def test_each_call_survives_arguments_that_raise(call: Callable[[], object]) -> None:
    class Rude:
        def __str__(self) -> str:
            raise RuntimeError

        __repr__ = __str__

    start()
    rude: Any = Rude()
    sentry.set_user_context(rude, rude)
    sentry.set_tag(rude, rude)
    sentry.set_context(rude, rude)
    sentry.add_breadcrumb(rude, rude, rude, rude)
    sentry.capture_message(rude, rude, rude=rude)
    sentry.capture_exception(rude, rude=rude)
    call()


# Requests, queries and tasks. The service's own instruments see any application.

TRACE = "771a43a4192642f0b136d5159a501700"
router = APIRouter()


@router.get("/orders/{order}")
async def read_order(order: str) -> None:
    if order == "answered":
        raise HTTPException(503, "later")
    if order == "not-found":
        raise HTTPException(404)
    if order != "good":
        raise ValueError("no such order")
    with create_engine("sqlite://").connect() as connection:
        connection.execute(text("SELECT 1"))
        with suppress(OperationalError):
            connection.execute(text("SELECT missing"))


@router.get("/stream")
async def stream() -> StreamingResponse:
    def parts() -> Iterator[bytes]:
        yield b"begun"
        raise ValueError("no more")

    return StreamingResponse(parts())


@router.get("/tasks")
async def tasks() -> None:
    await asyncio.create_task(read_order("bad"))


def fail() -> None:
    raise ValueError("no")


async def fail_soon() -> None:
    raise ValueError("no")


async def answer_later() -> None:
    raise HTTPException(404)


def log_and_raise() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("app.orders").exception("an order failed")
        raise


@router.get("/once/in-a-route")
def once_in_a_route() -> None:
    log_and_raise()


@router.get("/once/in-a-boundary")
async def once_in_a_boundary() -> None:
    with error_boundary("load"):
        await asyncio.gather(fail_soon(), fail_soon())


@router.get("/once/in-a-pool")
async def once_in_a_pool() -> None:
    work = error_boundary("work")(fail)
    await asyncio.get_running_loop().run_in_executor(None, work)


@router.get("/once/in-a-group")
async def once_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fail_soon())


@router.get("/once/in-the-log")
async def once_in_the_log() -> None:
    try:
        await asyncio.create_task(fail_soon())
    except ValueError:
        logging.getLogger("app.orders").exception("an order failed")


@router.get("/never/not-found")
async def never() -> None:
    await asyncio.gather(answer_later())


@router.post("/orders")
async def take_order(request: Request) -> None:
    await request.body()
    raise ValueError("no orders")


inner, outer = FastAPI(), FastAPI()
inner.include_router(router, prefix="/v1")
outer.include_router(router, prefix="/v1")
outer.mount("/inner", inner)


async def ask(path: str, method: str = "GET", body: str = "", **headers: str) -> int:
    transport = httpx.ASGITransport(outer, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        answer = await client.request(method, path, content=body, headers=headers)
        return answer.status_code


def of(kind: str, sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    sentry_sdk.flush(2)
    return [each for each in sent if each["type"] == kind]


@pytest.mark.parametrize("mode", MODES)
async def test_a_traced_request_is_told_by_its_route_with_its_queries(
    mode: str, sent: list[dict[str, Any]]
) -> None:
    assert sentry.init_sentry(settings(SENTRY_PRIVACY_MODE=mode), lambda: outer.routes)
    scopes = sentry_sdk.get_isolation_scope(), sentry_sdk.get_current_scope()
    assert await ask("/v1/orders/good") == 200
    assert (sentry_sdk.get_isolation_scope(), sentry_sdk.get_current_scope()) == scopes
    (trace,) = of("transaction", sent)
    assert (trace["transaction"], trace["transaction_info"]) == (
        "/v1/orders/{order}",
        {"source": "route"},
    )
    assert (trace["contexts"]["trace"]["op"], trace["contexts"]["trace"]["status"]) == (
        "http.server",
        "ok",
    )
    assert trace["contexts"]["response"]["status_code"] == 200
    assert trace["request"]["method"] == "GET"
    assert [(span["op"], span.get("status")) for span in trace["spans"]] == [
        ("db", None),
        ("db", "internal_error"),
    ]
    ids = {span["parent_span_id"] for span in trace["spans"]}
    assert ids == {trace["contexts"]["trace"]["span_id"]}


@pytest.mark.parametrize(("sampled", "rate", "traces"), [("0", 1.0, 0), ("1", 0.0, 1)])
async def test_who_began_a_trace_has_decided_on_it(
    sampled: str, rate: float, traces: int, sent: list[dict[str, Any]]
) -> None:
    start(SENTRY_TRACES_SAMPLE_RATE=rate)
    await ask("/v1/orders/good", **{"sentry-trace": f"{TRACE}-{TRACE[:16]}-{sampled}"})
    assert [each["contexts"]["trace"]["trace_id"] for each in of("transaction", sent)] == (
        [TRACE] * traces
    )


@pytest.mark.parametrize(
    ("setting", "kind"),
    [("SENTRY_ERRORS_PER_MINUTE", "event"), ("SENTRY_TRACES_PER_MINUTE", "transaction")],
)
async def test_a_budget_is_of_errors_or_of_traces(
    setting: str, kind: str, sent: list[dict[str, Any]]
) -> None:
    start(**{setting: 3})
    for _ in range(10):
        await ask("/v1/orders/bad")
    numbers = {each: len(of(each, sent)) for each in ("event", "transaction")}
    assert numbers == {"event": 10, "transaction": 10} | {kind: 3}


async def test_what_only_asks_for_heads_and_options_is_not_traced(
    sent: list[dict[str, Any]],
) -> None:
    start()
    assert await ask("/v1/orders/good", "HEAD") == await ask("/v1/orders/good", "OPTIONS") == 405
    assert of("transaction", sent) == []


async def test_a_request_is_drawn_by_the_number_that_its_trace_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "sentry_sdk.transport.HttpTransport._send_envelope",
        lambda self, envelope: headers.append(envelope.headers),
    )
    start(SENTRY_TRACES_SAMPLE_RATE=0.5)
    for number in (0, 499_999, 500_000, 999_999):
        monkeypatch.setattr("random.randrange", lambda _, drawn=number: drawn)
        await ask("/v1/orders/good")
    sentry_sdk.flush(2)
    traces = [each["trace"] for each in headers if "trace" in each]
    drawn = [(each["sample_rand"], each["sample_rate"]) for each in traces]
    assert drawn == [("0.000000", "0.5"), ("0.499999", "0.5")]


@pytest.mark.parametrize("rate", [1.0, 0.0])
@pytest.mark.parametrize(
    ("order", "status", "handled"), [("bad", 500, False), ("answered", 503, True)]
)
@pytest.mark.parametrize("place", ["", "/inner"])
async def test_a_request_that_fails_is_reported_once(
    place: str, order: str, status: int, handled: bool, rate: float, sent: list[dict[str, Any]]
) -> None:
    start(SENTRY_TRACES_SAMPLE_RATE=rate)
    caller = {"sentry-trace": f"{TRACE}-{'b' * 16}"}
    assert await ask(f"{place}/v1/orders/{order}", **caller) == status
    (error,) = of("event", sent)
    assert error["exception"]["values"][-1]["mechanism"] == {
        "type": "starlette",
        "handled": handled,
    }
    assert (error["transaction"], error["transaction_info"]["source"]) == (
        "/v1/orders/{order}",
        "route",
    )
    assert error["contexts"]["trace"]["trace_id"] == TRACE
    statuses = [each["contexts"]["trace"]["status"] for each in of("transaction", sent)]
    assert statuses == ["internal_error" if status == 500 else "unavailable"] * int(rate)


async def test_a_trace_tells_that_its_answer_was_cut_off(sent: list[dict[str, Any]]) -> None:
    start()
    with suppress(ValueError):
        await ask("/v1/stream")
    (trace,) = of("transaction", sent)
    assert trace["contexts"]["response"]["status_code"] == 200
    assert trace["contexts"]["trace"]["status"] == "internal_error"


async def test_what_a_caller_asked_for_wrongly_is_not_reported(
    sent: list[dict[str, Any]],
) -> None:
    start()
    assert await ask("/v1/orders/not-found") == 404
    assert of("event", sent) == []


async def test_a_request_takes_and_leaves_no_breadcrumbs(sent: list[dict[str, Any]]) -> None:
    start()
    sentry.add_breadcrumb("a query of the process")
    for order in ("good", "bad"):
        await ask(f"/v1/orders/{order}")
    (error,) = of("event", sent)
    assert "query" not in json.dumps(error.get("breadcrumbs", {}))


async def test_tasks_have_tags_of_their_own_and_report_what_ends_them_once(
    sent: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    usual = loop.get_task_factory()
    start()
    instruments.Tasks.setup_once()  # as in a process whose first loop this is

    async def work(number: int) -> None:
        sentry.set_tag("number", str(number))
        await asyncio.sleep(0)
        raise ValueError("no")

    await asyncio.gather(*map(work, range(5)), return_exceptions=True)
    loop.set_task_factory(usual)
    assert sorted(each["tags"]["number"] for each in of("event", sent)) == list("01234")
    assert "number" not in sentry_sdk.get_isolation_scope()._tags


def test_a_task_keeps_the_context_that_it_is_given() -> None:
    async def serve() -> None:
        instruments.Tasks.setup_once()
        work.set(Work("outer"))
        for context in (Context(), copy_context()):
            context.run(work.set, Work("given"))
            assert await asyncio.create_task(tell(), context=context) == "given"
        assert await asyncio.create_task(tell(), context=Context()) == ""
        assert await asyncio.create_task(tell()) == "outer"

    async def tell() -> str:
        return current_request_id()

    start()
    asyncio.run(serve())


def test_asyncio_still_logs_a_task_that_nobody_awaits(
    sent: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise ValueError("no")

    async def serve() -> None:
        instruments.Tasks.setup_once()
        task = asyncio.create_task(fail())
        await asyncio.wait([task])  # which does not ask for its result

    start()
    asyncio.run(serve())
    gc.collect()
    assert "Task exception was never retrieved" in caplog.text
    assert len(of("event", sent)) == 1  # the line is no second report


async def test_a_task_that_ends_its_request_is_reported_once(sent: list[dict[str, Any]]) -> None:
    start()
    assert [await ask("/v1/tasks"), await ask("/v1/tasks")] == [500, 500]
    mechanisms = [each["exception"]["values"][-1]["mechanism"] for each in of("event", sent)]
    assert mechanisms == [{"type": "asyncio", "handled": False}] * 2


ONCE = ("in-a-route", "in-a-boundary", "in-a-pool", "in-a-group", "in-the-log")


@pytest.mark.parametrize("where", ONCE)
async def test_an_error_that_is_met_in_several_places_is_reported_once(
    where: str, sent: list[dict[str, Any]]
) -> None:
    start()
    status = await ask(f"/v1/once/{where}")
    errors = 2 if where == "in-a-boundary" else 1  # each of two tasks has its own
    assert (status, len(of("event", sent))) == (200 if where == "in-the-log" else 500, errors)


async def test_an_answer_that_ends_a_task_is_no_error(sent: list[dict[str, Any]]) -> None:
    start()
    assert await ask("/v1/never/not-found") == 404
    assert of("event", sent) == []


async def test_behind_a_middleware_that_has_a_task_of_its_own_a_failure_is_reported_once(
    sent: list[dict[str, Any]],
) -> None:
    start()
    app = FastAPI()
    app.include_router(router, prefix="/v1")
    app.add_middleware(BaseHTTPMiddleware, dispatch=lambda request, call: call(request))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        assert (await client.get("/v1/orders/answered")).status_code == 503
        assert (await client.get("/v1/orders/bad")).status_code == 500
    last = [each["exception"]["values"][-1] for each in of("event", sent)]
    assert [each["mechanism"]["handled"] for each in last] == [True, False]


async def test_a_request_takes_nothing_over_from_the_one_in_whose_context_it_begins(
    sent: list[dict[str, Any]],
) -> None:
    start(SENTRY_TRACES_SAMPLE_RATE=1.0)
    contexts: list[Context] = []

    async def serve(request: Request) -> None:
        sentry.set_user_context("alice", "acme")
        contexts.append(copy_context())  # in which a server may begin what follows

    app = FastAPI()
    app.add_api_route("/first", serve)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        await client.get("/first")
    (context,) = contexts
    await asyncio.create_task(ask("/v1/orders/bad"), context=context)
    (error,) = of("event", sent)
    assert "user" not in error
    assert "tenant_id" not in error.get("tags", {})
    names = [each["transaction"] for each in of("transaction", sent)]
    assert names == ["/first", "/v1/orders/{order}"]


FORKING = """
import asyncio, os, httpx, sentry_sdk
from fastapi import FastAPI
from app import sentry
from app.core.config import Settings

async def serve() -> int:
    sentry.set_user_context("alice", "acme")
    child = os.fork()
    if not child:
        told = sentry_sdk.get_isolation_scope()
        os._exit(bool(told._user or "tenant_id" in told._tags))
    return os.waitpid(child, 0)[1]

async def ask() -> int:
    app = FastAPI()
    app.add_api_route("/", serve)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        return (await client.get("/")).json()

assert sentry.init_sentry(Settings(SENTRY_DSN="http://key@127.0.0.1:9/1"))
assert asyncio.run(ask()) == 0
"""


def test_a_process_that_is_forked_in_a_request_reports_as_nobody() -> None:
    subprocess.run([sys.executable, "-c", FORKING], check=True)


def test_a_report_that_the_sdk_can_not_queue_keeps_no_place_in_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start()
    DROPPED.clear()
    monkeypatch.setattr("sentry_sdk.transport.HttpTransport.capture_envelope", raises)
    for _ in range(2 * sentry_sdk.get_client().options["transport_queue_size"]):
        sentry.capture_message("worked")
    assert fates_of_errors() == ["internal_sdk_error"]


@pytest.mark.parametrize("consent", ["none", "anonymous"])
@pytest.mark.parametrize("where", ["thread", "pool"])
async def test_what_a_tenant_consents_to_is_known_in_threads(
    where: str, consent: str, sent: list[dict[str, Any]]
) -> None:
    start()
    begin_request("request-1")
    tell_consent(consent)
    sentry.set_user_context("alice", "acme")
    if where == "thread":
        thread = threading.Thread(target=sentry.capture_message, args=("worked",))
        thread.start()
        await asyncio.to_thread(thread.join)
    else:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, sentry.capture_message, "worked")
        # What follows in the same thread is nobody's.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(sentry.capture_message, "worked").result()
            assert copy_context().run(pool.submit, current_consent).result() == consent
    told = of("event", sent)
    assert len(told) == (0 if consent == "none" else {"thread": 1, "pool": 2}[where])
    for event in told:
        assert event["tags"]["request_id"] == "request-1"
        assert event["tags"]["tenant_id"].startswith("anonymous-")
        assert "alice" not in json.dumps(event)


async def test_a_worker_of_a_pool_keeps_nothing_of_the_request_that_it_was_started_in(
    sent: list[dict[str, Any]],
) -> None:
    class Kept:
        """Something that a request has."""

    kept: list[weakref.ref[Kept]] = []
    pool = ThreadPoolExecutor(1)

    async def serve() -> None:
        local = Kept()
        kept.append(weakref.ref(local))
        sentry_sdk.get_isolation_scope().set_extra("kept", local)

        def work() -> None:
            held = local
            try:
                raise ValueError(f"{held} failed")
            except ValueError as error:  # which has the stack, and so what was held
                sentry.capture_exception(error)

        pool.submit(work).result()

    start()
    app = FastAPI()
    app.add_api_route("/", serve)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        await client.get("/")
    sentry_sdk.flush(2)
    gc.collect()
    assert [each() for each in kept] == [None]
    pool.shutdown()


async def test_while_reporting_stops_consent_is_heeded(
    sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    tell_consent("none")
    monkeypatch.setattr(sentry._state, "on", False)
    logging.getLogger("app.orders").error("late")
    assert of("event", sent) == []


def test_a_boundary_whose_log_is_off_does_not_keep_its_error_from_being_reported(
    sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    monkeypatch.setattr(logging.getLogger("app.observability"), "level", logging.CRITICAL)
    try:
        with error_boundary("work"):
            fail()
    except ValueError as error:
        sentry.capture_exception(error)
    assert len(of("event", sent)) == 1


def test_the_tasks_of_each_loop_that_serves_are_seen(sent: list[dict[str, Any]]) -> None:
    start()
    for _ in range(3):
        asyncio.run(ask("/v1/tasks"))
    kinds = [each["exception"]["values"][-1]["mechanism"]["type"] for each in of("event", sent)]
    assert kinds == ["asyncio"] * 3


def test_threads_and_calls_in_pools_have_tags_of_their_own(sent: list[dict[str, Any]]) -> None:
    def work(number: int) -> None:
        sentry.set_tag(f"own{number}", "yes")
        sentry.capture_message("worked")

    start()
    sentry.set_tag("of", "the process")
    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
        thread.join()
    with ThreadPoolExecutor(1) as pool:
        for number in range(3, 6):
            pool.submit(work, number).result()
    told = [each["tags"] for each in of("event", sent)]
    assert told == [{"of": "the process", f"own{number}": "yes"} for number in range(6)]


class Failing(threading.Thread):
    def run(self) -> None:
        raise ValueError("no")


@pytest.mark.parametrize("made", [Failing, lambda: threading.Thread(target=fail)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_a_thread_is_reported(
    made: Callable[[], threading.Thread], sent: list[dict[str, Any]]
) -> None:
    start()
    thread = made()
    thread.start()
    thread.join()
    (error,) = of("event", sent)
    mechanism = {"type": "threading", "handled": False}
    assert error["exception"]["values"][-1]["mechanism"] == mechanism


JSON, FORM = "application/json", "application/x-www-form-urlencoded"
LONGEST = '{"item": 7}'.ljust(instruments.LONGEST_BODY)


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        (f"{JSON}; charset=utf-8", '{"item": 7}', {"item": 7}),
        (JSON, '{"password": "p"}', {"password": "[Filtered]"}),
        (FORM, "item=7&password=p", {"item": ["7"], "password": "[Filtered]"}),
        (JSON, LONGEST, {"item": 7}),
        (JSON, f"{LONGEST} ", None),
        (JSON, "{", None),
        (JSON, "", None),
        ("text/plain", "hello", None),
    ],
)
async def test_a_body_is_told_by_its_fields(
    kind: str, body: str, told: object, sent: list[dict[str, Any]]
) -> None:
    start(SENTRY_INCLUDE_REQUEST_BODIES=True)
    headers = {"content-type": kind}
    assert await ask("/v1/orders", "POST", body, **headers) == 500
    assert report(sent)["request"].get("data") == told


@pytest.mark.parametrize(("mode", "bodies"), [("strict", True), ("balanced", False)])
async def test_a_body_is_told_of_in_balanced_mode_alone_and_if_asked_for(
    mode: str, bodies: bool, sent: list[dict[str, Any]]
) -> None:
    start(SENTRY_PRIVACY_MODE=mode, SENTRY_INCLUDE_REQUEST_BODIES=bodies)
    await ask("/v1/orders", "POST", '{"item": 7}', **{"content-type": JSON})
    assert "data" not in report(sent)["request"]


def test_the_serializer_leaves_what_a_hook_rebuilds_to_the_hook() -> None:
    event = instruments.Plain(a={"b": object()})
    assert serialize(event) is event


def test_the_line_that_closes_a_request_is_no_breadcrumb(sent: list[dict[str, Any]]) -> None:
    start()
    logging.getLogger("app.request").warning("slow")
    logging.getLogger("app").setLevel(logging.INFO)
    logging.getLogger("app.request").info("request served")
    logging.getLogger("app.orders").info("an order came")
    sentry.capture_message("hello")
    crumbs = report(sent)["breadcrumbs"]["values"]
    assert [each["message"] for each in crumbs] == ["slow", "an order came"]


class Finder:
    """Finds an SDK that raises as it is imported."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def find_spec(self, name: str, *arguments: object) -> None:
        if name == "sentry_sdk":
            raise self.error(name)


@pytest.fixture(params=[ImportError, AttributeError, SyntaxError, OSError])
def without_sdk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The façade as it is imported where the SDK is not installed, or broken."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "sentry_sdk"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(request.param), *sys.meta_path])
    spec = importlib.util.spec_from_file_location("app.sentry_alone", sentry.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    # Its dataclass looks itself up there.
    monkeypatch.setitem(sys.modules, "app.sentry_alone", alone)
    spec.loader.exec_module(alone)
    return alone


def test_without_the_sdk_it_says_so_once_and_everything_is_quiet(
    without_sdk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert without_sdk.sentry_sdk is None
    assert without_sdk.SENTRY_AVAILABLE is False
    assert without_sdk.init_sentry(settings(SENTRY_DSN="")) is False
    assert caplog.records == []
    assert without_sdk.init_sentry(settings()) is False
    assert len(caplog.records) == 1
    assert KEY not in caplog.text
    without_sdk.set_user_context("u", "acme")
    without_sdk.clear_user_context()
    assert without_sdk.capture_message("hello") is None
    assert without_sdk.capture_exception(ValueError()) is None
    without_sdk.add_breadcrumb("hello")
    without_sdk.set_tag("a", "b")
    without_sdk.set_context("a", {})
    without_sdk.shutdown_sentry()


def test_without_the_sdk_the_hooks_still_scrub(without_sdk: Any) -> None:
    clean = without_sdk._before_send(event_with("extra", {"password": SECRET}), {})
    assert clean["extra"] == {"password": "[Filtered]"}


def test_the_sdk_is_available_here() -> None:
    assert sentry.SENTRY_AVAILABLE is True
    assert vars(sentry)["sentry_sdk"] is sentry_sdk


@pytest.mark.parametrize(("name", "value"), [("SENTRY_AVAILABLE", False), ("sentry_sdk", None)])
def test_an_sdk_that_goes_missing_keeps_it_off(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sentry, name, value)
    assert sentry.init_sentry(settings()) is False
    assert REGISTRY.get_sample_value("telemetry_off") == 1
    assert len(caplog.records) == 1
    assert sentry.capture_message("hello") is None
