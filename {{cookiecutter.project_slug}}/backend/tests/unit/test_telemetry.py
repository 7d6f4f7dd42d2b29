"""The event filter, strict mode and the transport: what each of them lets through on its own."""

import json
import logging
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from sentry_sdk.envelope import Envelope, Item, PayloadRef

from app.telemetry import EventFilter
from app.telemetry import transport as last_line
from app.telemetry.event_filter import Clean
from app.telemetry.items import clean_batch, filter_log, filter_metric, filter_span
from app.telemetry.messages import keep_constants
from app.telemetry.preview import render_preview
from app.telemetry.transport import ScrubbingTransport, transport_for

# Fake, and recognisable. They stand outside of the functions, as values do.
SECRET = "fake-" + "value-8fk2Lq"
PERSON = "jane.doe@planted-example.org"
NUMBER = 4711
JWT = "eyJhbGciOiJub25lIn0" + ".eyJzdWIiOiJqYW5lIn0" + ".c2lnbmF0dXJl"
MODES = ("strict", "balanced")

balanced = EventFilter("balanced")
strict = EventFilter("strict")


# The event filter


def test_breadcrumbs_are_scrubbed_in_a_list_and_as_an_event_holds_them() -> None:
    crumb = {"category": "q", "message": f"to {PERSON}", "data": {"token": SECRET}, "type": "log"}
    clean = {**crumb, "message": "to [EMAIL]", "data": {"token": "[Filtered]"}}
    assert balanced.filter_breadcrumbs([crumb]) == [clean]
    assert balanced.filter_breadcrumbs({"values": [crumb]}) == {"values": [clean]}
    assert strict.filter_breadcrumbs([crumb]) == [{"type": "log"}]


def test_of_a_user_only_what_the_mode_names_is_kept() -> None:
    user = {"id": "u-1", "email": PERSON, "username": "jane", "ip_address": "10.0.0.1", "x": 1}
    assert EventFilter(user_context="id").filter_user_context(user) == {"id": "u-1"}
    assert EventFilter(user_context="anonymous").filter_user_context(user) == {}
    assert EventFilter(user_context="full").filter_user_context(user) == {
        "id": "u-1",
        "email": PERSON,
        "username": "jane",
    }


def test_a_user_id_that_is_an_email_address_is_not_sent() -> None:
    assert balanced.filter_user_context({"id": PERSON}) == {"id": "[EMAIL]"}


def test_the_list_of_packages_keeps_their_versions() -> None:
    modules = {"python-jose": "3.5.0", "tokenizers": "0.20", "jwt": "1.3.1"}
    assert balanced.filter_event({"modules": modules})["modules"] == modules


def test_a_filtered_event_is_known_by_its_type() -> None:
    for rules in (balanced, strict):
        assert type(rules.filter_event({"level": "error"})) is Clean


@pytest.mark.parametrize(("mode", "user_context"), [("nope", "id"), ("strict", "nope")])
def test_a_filter_of_an_unknown_kind_is_not_made(mode: Any, user_context: Any) -> None:
    with pytest.raises(ValueError, match="unknown"):
        EventFilter(mode, user_context)


# A card's number, as a part of the one and as the whole of the other.
DIGITS = "4111111111111111"
LONG_IDS = (
    "ee6857e6249244c1a518010c1bfd1c96",
    "9cedd27d370346918302315d5eea2110",
    "820A39896463425484DA73F2E2020359",
    "cb3cc094-de89-4fc7-ba13-057a21b24708",
    DIGITS * 2,
)
SPAN_IDS = ("6d38120935674350", "b6a4126811833440", DIGITS)


def with_ids(long: str, short: str) -> dict[str, Any]:
    trace = {"trace_id": long, "span_id": short, "parent_span_id": short}
    return {
        "event_id": long,
        "contexts": {"trace": {**trace, "dynamic_sampling_context": {"trace_id": long}}},
        "spans": [{"op": "db"}, trace],
    }


@pytest.mark.parametrize("rules", [balanced, strict], ids=lambda each: each.mode)
def test_the_ids_of_an_event_survive(rules: EventFilter) -> None:
    for long in LONG_IDS:
        for short in SPAN_IDS:
            assert rules.filter_event(with_ids(long, short)) == with_ids(long, short)


@pytest.mark.parametrize("rules", [balanced, strict], ids=lambda each: each.mode)
def test_what_is_no_id_is_filtered_in_its_place(rules: EventFilter) -> None:
    grouped = "4111-1111-1111-1111"
    for long, short in ((DIGITS, grouped), (grouped, PERSON), (PERSON, f"token={SECRET}")):
        clean = json.dumps(rules.filter_event(with_ids(long, short)))
        assert long not in clean
        assert short not in clean


@pytest.mark.parametrize("rules", [balanced, strict], ids=lambda each: each.mode)
def test_the_ids_of_a_batch_survive(rules: EventFilter) -> None:
    for short in SPAN_IDS:
        ids = {"trace_id": DIGITS * 2, "span_id": short}
        clean: Any = clean_batch("log", {"items": [{**ids, "body": "x"}]}, rules)
        assert clean["items"] == [{**ids, "body": "x", "attributes": {}}]


@pytest.mark.parametrize("rules", [balanced, strict], ids=lambda each: each.mode)
def test_the_name_of_a_tenant_survives(rules: EventFilter) -> None:
    for name in ("key-customers-2024", "sk-logistics-2024", "dapi-systems1", "acme"):
        for tags in ({"tenant_id": name}, [["tenant_id", name]], [("tenant_id", name)]):
            clean: Any = rules.filter_event({"tags": tags})
            assert dict(clean["tags"]) == {"tenant_id": name}
    for name in (PERSON, JWT, "sk-" + "logistics_2024/x"):
        assert name not in json.dumps(rules.filter_event({"tags": {"tenant_id": name}}))


# Strict mode


def charge(customer: str, amount: int) -> None:
    raise LookupError(f"charge failed for {customer}: amount={amount} is too much")


def caught(*arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the SDK makes of an exception: an event, and a hint."""
    try:
        charge(*arguments)
    except LookupError as error:
        value = {"type": "LookupError", "value": str(error), "module": "builtins"}
        hint = {"exc_info": (type(error), error, error.__traceback__)}
    return {"exception": {"values": [value]}}, hint


def test_strict_keeps_of_a_message_what_a_programmer_wrote() -> None:
    event, hint = caught(SECRET, NUMBER)
    (kept,) = strict.filter_event(event, hint)["exception"]["values"]  # type: ignore[index] # plain JSON
    assert kept["value"] == "charge failed for […]: amount=[…] is too much"
    assert (kept["type"], kept["module"]) == ("LookupError", "builtins")


def test_strict_keeps_nothing_of_a_message_whose_code_it_does_not_know() -> None:
    event, _ = caught(SECRET, NUMBER)
    (kept,) = strict.filter_event(event)["exception"]["values"]  # type: ignore[index] # plain JSON
    assert kept["value"] == "[…]"


def kept_of(shown: BaseException, raised: BaseException) -> str:
    """Return what strict keeps of one message, told of the exception that got out."""
    event = {"exception": {"values": [{"value": str(shown)}]}}
    clean: Any = strict.filter_event(event, {"exc_info": (type(raised), raised, None)})
    return str(clean["exception"]["values"][0]["value"])


def test_strict_finds_the_code_of_a_cause() -> None:
    def wrap() -> None:
        try:
            charge(SECRET, NUMBER)
        except LookupError as error:
            raise ValueError from error

    with pytest.raises(ValueError, match=r"^$") as raised:
        wrap()
    cause = raised.value.__cause__
    assert cause is not None
    assert kept_of(cause, raised.value) == "charge failed for […]: amount=[…] is too much"


def test_strict_finds_the_code_of_a_groups_members() -> None:
    with pytest.raises(LookupError) as member:
        charge(SECRET, NUMBER)
    group = ExceptionGroup("", [member.value])
    assert kept_of(member.value, group) == "charge failed for […]: amount=[…] is too much"


def test_what_is_kept_still_passes_the_filter() -> None:
    def fail() -> None:
        raise ValueError("ask jane.doe@planted-example.org for the password=hunter2")

    with pytest.raises(ValueError, match="ask") as raised:
        fail()
    event = {"exception": {"values": [{"value": str(raised.value)}]}}
    clean: Any = strict.filter_event(event, {"exc_info": (None, raised.value, None)})
    assert clean["exception"]["values"][0]["value"] == "ask [EMAIL] for the password=[Filtered]"


def test_the_constants_of_a_module_count_for_nothing() -> None:
    code = compile("SETTING = 'fake setting value'", "settings.py", "exec")
    assert keep_constants("the fake setting value", [code]) == "[…]"


def test_a_constant_is_not_found_inside_of_a_longer_value() -> None:
    code = compile("def f(): return 'pass'", "f.py", "exec").co_consts[0]
    assert keep_constants("my passw0rd", [code]) == "[…]"
    assert keep_constants("my-pass-phrase", [code]) == "[…]"
    assert keep_constants("my pass is", [code]) == "[…] pass […]"


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What strict makes of each log call, at the time of the call."""
    kept: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            event = {"logentry": {"message": record.msg, "formatted": record.getMessage()}}
            clean: Any = strict.filter_event(event, {"log_record": record})
            assert clean["logentry"].keys() == {"message"}
            kept.append(clean["logentry"]["message"])

    logger = logging.getLogger("app.test_telemetry")
    handler = Handler()
    logger.addHandler(handler)
    yield kept
    logger.removeHandler(handler)


def test_strict_keeps_the_template_of_a_log_call(logged: list[str]) -> None:
    log = logging.getLogger("app.test_telemetry")
    log.error("refund of %s failed after %d tries", SECRET, 3)
    log.error(f"refund of {SECRET} failed")
    log.error(SECRET)
    assert logged == ["refund of […] failed after […] tries", "refund of […] failed", "[…]"]


def test_strict_keeps_the_structure_of_an_event_and_nothing_else() -> None:
    event = {
        "event_id": "a" * 32,
        "level": "error",
        "platform": "python",
        "release": "1.2.3",
        "environment": "staging",
        "logger": "app.billing",
        "server_name": SECRET,
        "transaction": "/orders/{order}",
        "transaction_info": {"source": "route", "x": SECRET},
        "tags": {"tenant_id": "acme", "request_id": "r-1", "customer": SECRET},
        "request": {"method": "POST", "url": SECRET, "headers": {"host": SECRET}, "data": SECRET},
        "extra": {"x": SECRET},
        "fingerprint": [SECRET],
        "modules": {"x": SECRET},
        "contexts": {"trace": {"trace_id": "b" * 32, "data": {"x": SECRET}, "op": SECRET}, "x": {}},
        "threads": {"values": [{"name": SECRET, "crashed": True}]},
        "spans": [
            {"op": "db", "description": SECRET, "data": {"x": SECRET, "db.system": "sqlite"}}
        ],
        "_meta": {"x": SECRET},
        "anything": SECRET,
    }
    assert strict.filter_event(event) == {
        "event_id": "a" * 32,
        "level": "error",
        "platform": "python",
        "release": "1.2.3",
        "environment": "staging",
        "logger": "app.billing",
        "transaction": "/orders/{order}",
        "transaction_info": {"source": "route"},
        "tags": {"tenant_id": "acme", "request_id": "r-1"},
        "request": {"method": "POST"},
        "contexts": {"trace": {"trace_id": "b" * 32}},
        "threads": {"values": [{"crashed": True}]},
        "spans": [{"op": "db", "data": {"db.system": "sqlite"}}],
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("event_id", SECRET),
        ("level", SECRET),
        ("platform", SECRET),
        ("logger", SECRET),
        ("timestamp", SECRET),
        ("type", SECRET),
        ("transaction", f"/users/{SECRET}"),
        ("transaction_info", {"source": SECRET}),
        ("request", {"method": SECRET}),
        ("tags", {"tenant_id": SECRET.upper(), "request_id": f"a {SECRET}"}),
        ("tags", [["tenant_id", [SECRET]], [SECRET, "x"], SECRET]),
        ("contexts", {"trace": {"op": SECRET, "status": SECRET, "trace_id": SECRET}}),
        ("contexts", {"trace": {"dynamic_sampling_context": {"transaction": SECRET}}}),
        ("breadcrumbs", {"values": [{"category": SECRET, "type": SECRET, "message": SECRET}]}),
        ("exception", {"values": [{"type": f"x {SECRET}", "module": SECRET, "value": SECRET}]}),
        ("exception", {"values": [{"mechanism": {"type": SECRET, "data": {"x": SECRET}}}]}),
        ("message", SECRET),
        ("logentry", {"message": SECRET, "params": [SECRET], "formatted": SECRET}),
        ("status", SECRET),
        ("check_in_id", SECRET),
    ],
)
def test_strict_lets_no_value_take_the_place_of_structure(key: str, value: object) -> None:
    assert SECRET not in json.dumps(strict.filter_event({key: value}))
    assert SECRET.upper() not in json.dumps(strict.filter_event({key: value}))


def test_a_transaction_named_by_an_address_loses_its_name_in_strict() -> None:
    event = {"transaction": f"/users/{SECRET}", "transaction_info": {"source": "url"}}
    assert strict.filter_event(event) == {}


# Logs, metrics and streamed spans


def test_a_log_is_scrubbed() -> None:
    log = {"body": f"to {PERSON}", "attributes": {"password": SECRET, "size": 5}}
    clean = filter_log(log, balanced)
    assert clean == {"body": "to [EMAIL]", "attributes": {"password": "[Filtered]", "size": 5}}
    assert filter_log(log, strict) == {"body": "[…]", "attributes": {}}


def test_a_metric_is_scrubbed_and_in_strict_dropped_where_its_name_is_a_value() -> None:
    metric = {"name": f"hits.{PERSON}", "value": 1, "attributes": {"token": SECRET}}
    clean: Any = filter_metric(metric, balanced)
    assert PERSON not in clean["name"]
    assert clean["attributes"] == {"token": "[Filtered]"}
    assert filter_metric(metric, strict) is None
    assert filter_metric({**metric, "name": "hits"}, strict) == {
        **metric,
        "name": "hits",
        "attributes": {},
    }


def test_a_streamed_span_is_scrubbed() -> None:
    span = {"name": f"SELECT '{PERSON}'", "attributes": {"user.email": PERSON, "token": SECRET}}
    assert filter_span(span, balanced) == {
        "name": "SELECT '[EMAIL]'",
        "attributes": {"token": "[Filtered]"},
    }
    assert filter_span(span, strict) == {"name": "[…]", "attributes": {}}


# The transport


@pytest.fixture(params=MODES)
def line(request: pytest.FixtureRequest) -> Iterator[ScrubbingTransport]:
    made = transport_for(EventFilter(request.param))(
        {**OPTIONS, "dsn": "http://publickey@127.0.0.1:9/42"}
    )
    yield made
    made.kill()


OPTIONS = {
    **__import__("sentry_sdk").consts.DEFAULT_OPTIONS,
    "release": "1.2.3",
    "environment": "staging",
}


def sent(
    line: ScrubbingTransport,
    monkeypatch: pytest.MonkeyPatch,
    *items: Item,
    **headers: object,
) -> list[dict[str, Any]]:
    """Send an envelope as the SDK's worker does; return the lines of what goes over the wire."""
    bodies: list[bytes] = []
    monkeypatch.setattr(line, "_send_request", lambda body, **_: bodies.append(body))
    line._compression_level = 0
    line._send_envelope(Envelope(headers=headers, items=list(items)))
    return [json.loads(each) for body in bodies for each in body.splitlines()]


def item(kind: str, payload: object, **headers: object) -> Item:
    return Item(PayloadRef(json=payload), headers, kind)


def batch(**fields: object) -> dict[str, object]:
    return {"version": 2, "items": [fields], "extra": SECRET}


FRAME = {"abs_path": f"/home/{SECRET}/x.py", "function": "f", "lineno": 1, "vars": {"a": SECRET}}
RAW = [
    item("event", {"exception": {"values": [{"value": f"password={SECRET}"}]}}),
    item("transaction", {"spans": [{"data": {"token": SECRET}}], "type": "transaction"}),
    item("check_in", {"status": "ok", "monitor_slug": "nightly", "password": SECRET}),
    item("span", batch(name=PERSON, attributes={"token": {"value": SECRET, "type": "string"}})),
    item("log", batch(body=PERSON, attributes={"token": {"value": SECRET, "type": "string"}})),
    item(
        "trace_metric", batch(name="n", attributes={"token": {"value": SECRET, "type": "string"}})
    ),
    item("session", {"sid": "a" * 32, "did": SECRET, "attrs": {"ip_address": SECRET}}),
    item("sessions", {"aggregates": [{"exited": 1, "did": SECRET}], "attrs": {"user": SECRET}}),
    item("profile", {"profile": {"frames": [FRAME], "thread_metadata": {"1": {"name": SECRET}}}}),
    item("profile_chunk", {"profile": {"frames": [FRAME]}, "x": SECRET}),
    item("client_report", {"discarded_events": [{"reason": "x", "quantity": 1, "y": SECRET}]}),
]


@pytest.mark.parametrize("raw", RAW, ids=lambda each: each.type)
def test_what_no_hook_has_seen_is_cleaned_by_the_transport(
    raw: Item, line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.headers["filename"] = SECRET
    _, head, payload = sent(line, monkeypatch, raw, event_id="a" * 32)
    assert head.keys() <= {"type", "length", "content_type", "item_count", "platform"}
    assert head["type"] == raw.type
    assert payload
    assert SECRET not in json.dumps(payload)
    assert PERSON not in json.dumps(payload)


@pytest.mark.parametrize("kind", ["attachment", "replay_recording", "feedback", "", "unheard-of"])
def test_unknown_items_are_dropped_and_counted(
    kind: str, line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sent(line, monkeypatch, Item(SECRET.encode(), {"type": kind})) == []
    assert line.dropped == {kind: 1}


def test_an_item_that_can_not_be_read_is_dropped_and_the_others_are_sent(
    line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Item(zlib.compress(SECRET.encode()), {"type": "event"})
    lines = sent(line, monkeypatch, broken, item("event", {"level": "error"}))
    assert [each["type"] for each in lines if "type" in each] == ["event"]
    assert line.dropped == {"event": 1}


def test_what_a_failing_filter_can_not_clean_is_dropped(
    line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RecursionError

    monkeypatch.setattr(EventFilter, "filter_event", fail)
    monkeypatch.setattr(last_line, "clean_batch", fail)
    assert sent(line, monkeypatch, *RAW[:6]) == []
    assert line.dropped.total() == 6


def test_an_event_that_the_hook_has_cleaned_is_sent_as_it_is(
    line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only the hook is told which code raised.
    event, hint = caught("paris", NUMBER)
    clean = line.rules.filter_event(event, hint)
    _, _, payload = sent(line, monkeypatch, item("event", clean))
    assert payload == clean
    assert payload["exception"]["values"][0]["value"].startswith("charge failed for ")


def test_the_header_of_an_envelope_is_rebuilt(
    line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = {
        "trace_id": "b" * 32,
        "sampled": "true",
        "sample_rate": "0.5",
        "sample_rand": SECRET,
        "transaction": SECRET,
        "user_segment": SECRET,
        "environment": SECRET,
        SECRET: "x",
    }
    event = item("transaction", {"transaction": "/x", "transaction_info": {"source": "route"}})
    headers, *_ = sent(
        line, monkeypatch, event, event_id="a" * 32, sent_at=SECRET, dsn=SECRET, trace=trace
    )
    assert headers == {
        "event_id": "a" * 32,
        "trace": {
            "trace_id": "b" * 32,
            "sampled": "true",
            "sample_rate": "0.5",
            "public_key": "publickey",
            "release": "1.2.3",
            "environment": "staging",
            "transaction": "/x",
        },
    }


def test_a_profile_has_the_clean_name_of_its_transaction(
    line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = {"transactions": [{"id": "a" * 32, "name": SECRET}], "version": "1"}
    event = {"transaction": "/x/{y}", "transaction_info": {"source": "route"}}
    _, _, payload, *_ = sent(
        line, monkeypatch, item("profile", profile), item("transaction", event)
    )
    assert payload["transactions"] == [{"id": "a" * 32, "name": "/x/{y}"}]


def test_a_transport_that_can_not_queue_does_not_raise(
    line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(line._worker, "submit", fail)
    line.capture_envelope(Envelope(items=[item("event", {})]))
    assert line.dropped == {"event": 1}


@pytest.mark.parametrize(
    ("reasons", "lines"),
    [
        (["network", "network", "status_500"], 1),
        (["status_403"], 1),
        (["status_413", "status_429", "self_rate_limits", "full_queue"], 0),
    ],
)
def test_what_does_not_arrive_is_told_of_once(
    reasons: list[str],
    lines: int,
    line: ScrubbingTransport,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(last_line, "_said", threading.Event())
    for reason in reasons:
        line.on_dropped_event(reason)
    assert len(caplog.records) == lines
    assert all(reasons[0] in record.getMessage() for record in caplog.records)


# The preview


def test_the_preview_shows_what_is_removed_and_what_is_kept() -> None:
    lines = render_preview().splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 130
    before = [each for each in lines if each[15:].startswith("before")]
    after = [each for each in lines if each[15:].startswith(("balanced", "strict"))]
    assert len(after) == 2 * len(before) > 10
    for planted in ("jane.doe", "4111", "not-a-real", "203.0.113.7"):
        assert planted in "".join(before)
        assert planted not in "".join(after)
    assert "charge declined for […]: card […], api_key=[" in "".join(after)
    assert "charge declined for [EMAIL]: card [CARD], api_key=[Filtered]" in "".join(after)
