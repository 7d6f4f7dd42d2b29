"""The event filter, strict mode and the transport: what each of them lets through on its own."""

import asyncio
import copy
import datetime
import decimal
import enum
import json
import logging
import math
import socket
import sqlite3
import ssl
import struct
import sys
import threading
import time
import zlib
import zoneinfo
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import asyncpg
import httpx
import pydantic
import pytest
import sqlalchemy as sa
from fastapi.exceptions import HTTPException, RequestValidationError
from sentry_sdk import crons
from sentry_sdk.envelope import Envelope, Item, PayloadRef
from sentry_sdk.utils import event_from_exception

from app.projects.models import Project
from app.telemetry import (
    Clean,
    EventFilter,
    clean_batch,
    filter_log,
    filter_metric,
    filter_span,
    structure,
)
from app.telemetry import transport as last_line
from app.telemetry.messages import Template, keep_constants
from app.telemetry.sampling import DROPPED
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


@pytest.mark.parametrize("rules", [balanced, strict], ids=lambda each: each.mode)
def test_what_is_no_word_is_no_id_of_a_user(rules: EventFilter) -> None:
    for known in ("auth0|4f2a", "6d0c9b1e-1c5f-4a1e-8f6e-2f8f3c1b7a90", 4711):
        assert rules.filter_user_context({"id": known}) == {"id": str(known)}
    others: list[object] = ['{"name": "Jane"}', "Jane Roe", {"name": "Jane"}, ["Jane"], b"Jane"]
    for value in others:
        assert rules.filter_user_context({"id": value}) == {}
        item: Any = clean_batch("log", {"items": [{"attributes": {"user.id": value}}]}, strict)
        assert item["items"][0]["attributes"] == {}


@pytest.mark.parametrize("mode", MODES)
def test_a_log_tells_of_a_user_what_an_event_does(mode: Any) -> None:
    user = {"user.id": "u-1", "user.name": "Jane Roe", "user.email": PERSON}
    for context, kept in (("anonymous", {}), ("id", {"user.id": "u-1"}), ("full", user)):
        rules = EventFilter(mode, context)  # type: ignore[arg-type]  # each is one of them
        log = filter_log({"body": "x", "attributes": user}, rules)
        assert log is not None
        assert log["attributes"] == kept


def test_a_session_that_others_set_is_not_sent() -> None:
    anonymous = EventFilter(user_context="anonymous")
    assert anonymous.filter_user_context({"session_id": "janedoe"}) == {}
    session = {"session_id": "a" * 32}
    assert anonymous.filter_user_context(session) == session


@pytest.mark.parametrize(
    "value", [78_051_120, 2_025_550_123, 4711, "1980-02-03T00:00:00Z", float("nan"), float("inf")]
)
def test_what_is_no_time_of_a_report_does_not_leave_as_one(value: object) -> None:
    event = {"timestamp": value, "start_timestamp": value, "spans": [{"timestamp": value}]}
    assert strict.filter_event(event) == {"spans": [{}]}


def test_a_breadcrumb_is_of_no_time_long_past() -> None:
    birth = datetime.datetime(1980, 2, 3, tzinfo=datetime.UTC)
    assert strict.filter_breadcrumbs([{"type": "log", "timestamp": birth}]) == [{"type": "log"}]
    now = datetime.datetime.now(datetime.UTC)
    assert strict.filter_breadcrumbs([{"timestamp": now}]) == [{"timestamp": now}]


@pytest.mark.parametrize("value", ["4711", "1980.02.03", "0491570156", "10.0.0.1"])
def test_what_is_no_version_does_not_leave_as_one(value: str) -> None:
    event = {"release": value, "dist": value, "sdk": {"version": value}}
    assert strict.filter_event(event) == {"sdk": {}}


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
        clean: Any = clean_batch("log", {"items": [{**ids, "body": Template("x")}]}, rules)
        assert clean["items"] == [{**ids, "body": "x", "attributes": {}}]


@pytest.mark.parametrize("rules", [balanced, strict], ids=lambda each: each.mode)
def test_the_name_of_a_tenant_survives(rules: EventFilter) -> None:
    for name in ("key-customers-2024", "sk-logistics-2024", "dapi-systems1", "acme"):
        for tags in ({"tenant_id": name}, [["tenant_id", name]], [("tenant_id", name)]):
            clean: Any = rules.filter_event({"tags": tags})
            assert dict(clean["tags"]) == {"tenant_id": name}
    for name in (PERSON, JWT, "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF3gH6"):
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


def passing() -> None:
    raise LookupError("pass")


def test_the_constants_of_a_module_count_for_nothing() -> None:
    assert keep_constants("the pass is pass", [passing.__code__]) == "[…] pass […] pass"
    module = compile("SETTING = 'pass'", __file__, "exec")
    assert keep_constants("the pass is pass", [module]) == "[…]"


def test_code_that_was_made_at_run_time_proves_nothing() -> None:
    for file in ("<string>", __file__):
        (made, *_) = compile(f"def made(): return 'of {MADE}'", file, "exec").co_consts
        assert keep_constants(f"of {MADE}", [made]) == "[…]"


def failing_login() -> None:
    password = "correct horse"
    token = "tk-4711"
    raise PermissionError(f"login with {password} instead of {token} failed")


def failing_order() -> None:
    customer, street = "Jane Roe", "Main Road"
    town = "Old Town"
    raise LookupError(f"no order for {customer} of {street} in the place {town!r}")


def failing_plainly() -> None:
    message = "there is no order"
    raise LookupError(message)


def refuse(customer: str, password: str) -> None:
    raise PermissionError(f"no login of {customer} with {password}")


def failing_call() -> None:
    refuse("Jane Roe", password="correct horse")


def failing_comparison() -> None:
    customer = "Jane Roe".title()
    if customer == "Jane Roe":
        raise LookupError("no order of " + customer)


def failing_choice() -> None:
    match "Jane Roe".title():
        case "Jane Roe" as customer:
            raise LookupError("no order of %s today" % customer)  # noqa: UP031 - what is tested


def failing_membership() -> None:
    customer = "Jane Roe".title()
    if customer in {"Jane Roe", "Richard Roe"}:
        raise KeyError(customer)


def failing_default() -> None:
    def fail(password: str = "correct horse") -> None:
        raise PermissionError(f"no login with {password}")

    fail()


def failing_attribute() -> None:
    settings = SimpleNamespace()
    settings.password = "correct horse"
    raise PermissionError("no login with " + settings.password)


def failing_key() -> None:
    settings = {"name": "Jane Roe"}
    raise PermissionError("no login of {}".format(settings["name"]))


def failing_missing_key() -> None:
    settings = {"name": "Jane Roe"}
    settings["street"]


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (failing_login, "login with […] instead of […] failed"),
        (failing_order, "no order for […] in the place […]"),
        (failing_plainly, "there is no order"),
        (failing_call, "no login of […] with […]"),
        (failing_comparison, "no order of […]"),
        (failing_choice, "no order of […] today"),
        (failing_membership, "'[…]'"),
        (failing_default, "no login with […]"),
        (failing_attribute, "no login with […]"),
        (failing_key, "no login of […]"),
        (failing_missing_key, "'street'"),
    ],
)
def test_a_value_that_is_written_into_code_is_none_of_its_words(
    function: Callable[[], object], left: str
) -> None:
    event, hint = event_from_exception(raised_by(function), OPTIONS)
    clean: Any = strict.filter_event(event, hint)
    assert clean["exception"]["values"][0]["value"] == left


def test_what_other_rules_let_through_is_filtered_again() -> None:
    event = balanced.filter_event({"extra": {"name": "Jane Roe"}, "level": "error"})
    assert balanced.filter_event(event) is event
    assert strict.filter_event(event) == {"level": "error"}


def test_names_that_were_made_at_run_time_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    home = sys.modules[__name__]
    monkeypatch.setattr(home, "JaneRoe", type("JaneRoe", (LookupError,), {}), raising=False)
    home.JaneRoe.__module__ = __name__
    event, hint = event_from_exception(home.JaneRoe(), OPTIONS)
    clean: Any = strict.filter_event(event, hint)
    assert clean["exception"]["values"][0]["type"] == "LookupError"
    monkeypatch.setitem(sys.modules, PERSON, ModuleType(PERSON))
    assert structure.logger(PERSON) == structure.module(PERSON) == "[EMAIL]"


def test_a_schema_that_was_made_at_run_time_is_not_told() -> None:
    name = SECRET.replace("-", "")
    fields: Any = {name: (int, ...)}
    model = pydantic.create_model("Row", **fields)
    kind: Any = enum.Enum("kind", {"first": SECRET})
    choice = pydantic.TypeAdapter(kind)
    for function in (lambda: model(**{name: "x"}), lambda: choice.validate_python("x")):
        event, hint = event_from_exception(raised_by(function), OPTIONS)
        told = json.dumps(strict.filter_event(event, hint))
        assert name not in told
        assert SECRET not in told


@pytest.mark.parametrize("text", ["4711", "fatal error"])
def test_a_log_that_would_keep_others_from_leaving_is_dropped(text: str) -> None:
    log = {"body": "x", "time_unix_nano": 1, "severity_text": text, "severity_number": 9}
    assert filter_log(log, strict) is None


def test_a_word_with_a_digit_in_it_is_a_value() -> None:
    def fail() -> None:
        name = "order-4711"
        raise ValueError(f"there is no {name} in the house")

    error = raised_by(fail)
    event, hint = event_from_exception(error, OPTIONS)
    clean: Any = strict.filter_event(event, hint)
    assert clean["exception"]["values"][0]["value"] == "there is no […] in the house"


def test_a_constant_is_not_found_inside_of_a_longer_value() -> None:
    codes = [passing.__code__]
    assert keep_constants("my passw0rd", codes) == "[…]"
    assert keep_constants("my-pass-phrase", codes) == "[…]"
    assert keep_constants("my pass is", codes) == "[…] pass […]"


def test_a_value_of_mere_signs_is_a_value() -> None:
    assert keep_constants("!$%&/()=?", []) == "[…]"


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


log = logging.getLogger("app.test_telemetry")


def report(message: str, *values: object, **options: Any) -> None:
    log.error(message, *values, **options)


def raised_by(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def lose_a_task(name: str) -> None:
    """Do what `asyncio` does when a task that is named by a value is lost."""
    lines = ["Task was destroyed but it is pending!", f"task: <Task pending name='{name}'>"]
    log.error("\n".join(lines))


LOG_CALLS: list[tuple[Callable[[], object], str]] = [
    (lambda: log.error("refund of %s failed after %d tries", SECRET, 3), "refund of […] failed after […] tries"),
    (lambda: log.error("refund of %(who)s failed at 100%%", {"who": SECRET}), "refund of […] failed at 100%"),
    (lambda: log.error(f"refund of {SECRET} failed"), "refund of […] failed"),
    (lambda: log.error("refund of {} failed".format(SECRET)), "refund of […] failed"),  # noqa: UP032 - as some write it
    (lambda: log.error("refund of " + SECRET), "refund of […]"),
    (lambda: log.log(logging.ERROR, "refund of %r", SECRET), "refund of […]"),
    (lambda: log.error("refund of %s", SECRET, extra={"customer": SECRET}), "refund of […]"),
    (lambda: report("refund of %s, by a helper", SECRET), "refund of […], by a helper"),
    (lambda: report(f"refund of {SECRET}, by a helper"), "refund of […], by a helper"),
    (lambda: report("refund of %s, by a helper", SECRET, stacklevel=2), "refund of […], by a helper"),
    (lambda: logging.LoggerAdapter(log, {"x": SECRET}).error("refund of %s", SECRET), "refund of […]"),
    (lambda: log.error(SECRET), "[…]"),
    (lambda: log.error({"customer": SECRET}), "[…]"),
    (lambda: log.error(raised_by(lambda: int(SECRET))), "invalid literal for int() with base 10: […]"),
    (lambda: log.exception("no refund of %s", SECRET), "no refund of […]"),
    (lambda: lose_a_task(SECRET), "Task was destroyed but it is pending!\n[…]"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "left"), LOG_CALLS, ids=lambda each: each if isinstance(each, str) else ""
)
def test_strict_keeps_of_a_log_call_what_a_programmer_wrote(
    call: Callable[[], object], left: str, logged: list[str]
) -> None:
    call()
    assert logged == [left]


# What leaves of the messages of libraries


class Line(pydantic.BaseModel):
    price: int


class Bill(pydantic.BaseModel):
    lines: dict[int, Line]


def unreachable(connect: Callable[[], object]) -> None:
    """Fail as an HTTP client does, which hides why."""
    try:
        connect()
    except OSError as error:
        raise httpx.ConnectError(str(error)) from None


def speak_without_tls() -> None:
    incoming = ssl.MemoryBIO()
    incoming.write(b"HTTP/1.1 400 Bad Request")
    ssl.create_default_context().wrap_bio(
        incoming, ssl.MemoryBIO(), server_hostname="x"
    ).do_handshake()


class Order(pydantic.BaseModel, extra="forbid"):
    name: str = pydantic.Field(min_length=3)
    lines: list[Line] = []
    notes: dict[str, int] = {}

    @pydantic.field_validator("name")
    @classmethod
    def known(cls, name: str) -> str:
        if name == SECRET:
            raise ValueError(f"no order is called {name}")
        return name


def order(customer: str, *, amount: int) -> None:
    """Do nothing, but with these arguments."""


def rows() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    database.execute("create table projects (tenant_id text, name text not null unique)")
    database.execute("insert into projects values ('acme', ?)", [SECRET])
    return database


def on_engine(statement: sa.Executable) -> None:
    with sa.create_engine("sqlite://").connect() as connection:
        connection.execute(statement)


def fail(error: BaseException) -> None:
    raise error


def refused(**fields: str) -> None:
    """Raise what PostgreSQL's server answered, as the driver does."""
    raise asyncpg.PostgresError.new(fields)


def answered(status: int) -> None:
    request = httpx.Request("GET", f"https://x.example/{SECRET}")
    httpx.Response(status, request=request).raise_for_status()


def noted() -> None:
    error = ValueError(f"no refund for {SECRET}")
    error.add_note(f"while serving {SECRET}")
    raise error


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError(SECRET)


NOTHING: Any = None
EMPTY: dict[str, str] = {}
ORDER: Callable[..., None] = order
MESSAGES: list[tuple[Callable[[], object], str, str]] = [
    # The interpreter
    (lambda: int(SECRET), "ValueError", "invalid literal for int() with base 10: […]"),
    (lambda: float(SECRET), "ValueError", "could not convert string to float: […]"),
    (lambda: EMPTY["customer"], "KeyError", "'customer'"),
    (lambda: EMPTY[SECRET], "KeyError", "'[…]'"),
    ([].pop, "IndexError", "pop from empty list"),
    (lambda: 1 / 0, "ZeroDivisionError", "division by zero"),
    (lambda: NOTHING.name, "AttributeError", "'NoneType' object has no attribute 'name'"),
    (lambda: getattr(NOTHING, SECRET), "AttributeError", "'NoneType' object has no attribute '[…]'"),
    (lambda: NOTHING[0], "TypeError", "'NoneType' object is not subscriptable"),
    (ORDER, "TypeError", "order() missing 1 required positional argument: 'customer'"),
    (lambda: order("x", **{SECRET: 1}), "TypeError", "order() got an unexpected keyword argument '[…]'"),
    (lambda: 1 + NOTHING, "TypeError", "unsupported operand type(s) for +: 'int' and 'NoneType'"),
    (lambda: datetime.date(2026, 1, 1) < NOTHING, "TypeError", "'<' not supported between instances of 'datetime.date' and 'NoneType'"),
    (b"\xff".decode, "UnicodeDecodeError", "'utf-8' codec can't decode byte […] in position 0: invalid start byte"),
    (lambda: exec(f"{SECRET!r} +"), "SyntaxError", "invalid syntax ([…], line 1)"),
    (lambda: fail(AssertionError()), "AssertionError", ""),
    (lambda: fail(TypeError(f"order() missing 1 required positional argument: {SECRET}")), "TypeError", "order() missing 1 required positional argument: […]"),
    # The standard library
    (lambda: json.loads(SECRET), "JSONDecodeError", "Expecting value: line 1 column 1 (char 0)"),
    (Path(f"/no/{SECRET}").read_text, "FileNotFoundError", "[Errno 2] No such file or directory: […]"),
    (lambda: socket.create_connection(("127.0.0.1", 1)), "ConnectionRefusedError", "[Errno 111] Connection refused"),
    (lambda: fail(socket.gaierror(socket.EAI_NONAME, SECRET)), "gaierror", "[EAI_NONAME] the host's address was not found"),
    (lambda: fail(TimeoutError("timed out")), "TimeoutError", "timed out"),
    (lambda: fail(asyncio.InvalidStateError("invalid state")), "InvalidStateError", "invalid state"),
    (lambda: struct.unpack("I", b""), "error", "unpack requires a buffer of 4 bytes"),
    (lambda: decimal.Decimal(SECRET), "InvalidOperation", "[<class 'decimal.ConversionSyntax'>]"),
    (lambda: zoneinfo.ZoneInfo(SECRET), "ZoneInfoNotFoundError", "'No time zone found with key […]'"),
    (lambda: datetime.date.fromisoformat(SECRET), "ValueError", "Invalid isoformat string: […]"),
    (lambda: time.strptime(SECRET, "%Y"), "ValueError", "time data […] does not match format […]"),
    # Databases
    (lambda: rows().execute("insert into projects values ('acme', ?)", [SECRET]), "IntegrityError", "UNIQUE constraint failed: projects.name"),
    (lambda: rows().execute("insert into projects values ('acme', null)"), "IntegrityError", "NOT NULL constraint failed: projects.name"),
    (lambda: rows().execute(f"select * from {SECRET[:4]}"), "OperationalError", "no such table: […]"),
    (lambda: fail(sqlite3.OperationalError("database is locked")), "OperationalError", "database is locked"),
    (lambda: on_engine(sa.select(Project)), "OperationalError", "(sqlite3.OperationalError) no such table: projects [SQL: SELECT […]] (sqlalche.me/e/21/e3q8)"),
    (lambda: on_engine(sa.text("select :a").bindparams(a=object())), "ProgrammingError", "(sqlite3.ProgrammingError) Error binding parameter 1: type 'object' is not supported [SQL: SELECT […]] (sqlalche.me/e/21/f405)"),
    (lambda: fail(sa.exc.NoResultFound("No row was found when one was required")), "NoResultFound", "No row was found when one was required"),
    (lambda: refused(C="23505", M='duplicate key value violates unique constraint "uq_late"', n="uq_late", D=f"Key (name)=({SECRET})"), "UniqueViolationError", '[23505] duplicate key value violates unique constraint "uq_late"'),
    (lambda: refused(C="23502", M='null value in column "name" of relation "projects" violates not-null constraint', D=SECRET), "NotNullViolationError", '[23502] null value in column "name" of relation "projects" violates not-null constraint'),
    (lambda: refused(C="42P01", M='relation "projects" does not exist'), "UndefinedTableError", '[42P01] relation "projects" does not exist'),
    (lambda: refused(C="42P01", M=f'relation "{SECRET}" does not exist'), "UndefinedTableError", '[42P01] relation "[…]" does not exist'),
    (lambda: refused(C="22P02", M=f'invalid input syntax for type uuid: "{SECRET}"'), "InvalidTextRepresentationError", "[22P02] invalid input syntax for type […]: […]"),
    (lambda: refused(C="P0001", M=SECRET), "RaiseError", "[P0001] […]"),
    # Libraries of the web
    (lambda: answered(404), "HTTPStatusError", "HTTP status '404 Not Found' for url […]"),
    (lambda: httpx.get(f"http://127.0.0.1:1/{SECRET}"), "ConnectError", "[Errno 111] Connection refused"),
    (lambda: unreachable(lambda: fail(socket.gaierror(socket.EAI_NONAME, SECRET))), "ConnectError", "[EAI_NONAME] the host's address was not found"),
    (lambda: unreachable(speak_without_tls), "ConnectError", "[SSL: WRONG_VERSION_NUMBER]"),
    (lambda: unreachable(lambda: fail(OSError(SECRET))), "ConnectError", "[…]"),
    (lambda: Bill.model_validate({"lines": {737: SECRET}}), "ValidationError", "1 validation error for Bill\nlines.[…]\n  Input should be a valid dictionary or instance of Line [type=model_type]"),
    (("{" + str(NUMBER) + "}").format, "IndexError", "Replacement index […] out of range for positional args tuple"),
    (lambda: fail(sa.exc.TimeoutError(f"QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout {NUMBER}")), "TimeoutError", "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout […]"),
    (lambda: fail(asyncpg.ConnectionDoesNotExistError(f"connection was closed in the middle of operation: {SECRET}")), "ConnectionDoesNotExistError", "[08003] connection was closed in the middle of operation: […]"),
    (lambda: fail(HTTPException(404, SECRET)), "HTTPException", "[…]"),
    (lambda: Order(name="a"), "ValidationError", "1 validation error for Order\nname\n  String should have at least 3 characters [type=string_too_short]"),
    (lambda: Order(name=SECRET), "ValidationError", "1 validation error for Order\nname\n  Value error, no order is called […] [type=value_error]"),
    (lambda: Order.model_validate({"name": "abc", "lines": [{"price": SECRET}]}), "ValidationError", "1 validation error for Order\nlines.0.price\n  Input should be a valid integer, unable to parse string as an integer [type=int_parsing]"),
    (lambda: Order.model_validate({"name": "abc", "notes": {SECRET: "x"}}), "ValidationError", "1 validation error for Order\nnotes.[…]\n  Input should be a valid integer, unable to parse string as an integer [type=int_parsing]"),
    (lambda: Order.model_validate({"name": "abc", SECRET: "x"}), "ValidationError", "1 validation error for Order\n[…]\n  Extra inputs are not permitted [type=extra_forbidden]"),
    (lambda: fail(RequestValidationError([{"type": "missing", "loc": ("body", "name"), "msg": SECRET, "input": SECRET}])), "RequestValidationError", "1 validation error for RequestValidationError\nbody.name\n  Field required [type=missing]"),
    # The service's own
    (noted, "ValueError", "no refund for […]\nwhile serving […]"),
    (lambda: fail(SilentError(SECRET)), "SilentError", "[…]"),
    (lambda: fail(type(SECRET, (LookupError,), {})(SECRET)), "LookupError", "[…]"),
    (lambda: fail(ExceptionGroup(SECRET, [ValueError("x")])), "ExceptionGroup", "[…]"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "kind", "left"), MESSAGES, ids=lambda each: each if isinstance(each, str) else ""
)
def test_strict_keeps_of_a_message_what_is_known_to_be_no_value(
    function: Callable[[], object], kind: str, left: str
) -> None:
    event, hint = event_from_exception(raised_by(function), OPTIONS)
    clean: Any = strict.filter_event(event, hint)
    kept = clean["exception"]["values"][-1]
    assert (kept["type"], kept["value"]) == (kind, left)
    assert SECRET not in json.dumps(clean)


def test_a_statement_of_many_spaces_takes_no_long_time() -> None:
    error = sa.exc.OperationalError(" " * 300_000, None, sqlite3.OperationalError("interrupted"))
    event, hint = event_from_exception(error, OPTIONS)
    clean: Any = strict.filter_event(event, hint)  # minutes, where a pattern goes back and forth
    assert clean["exception"]["values"][-1]["value"].startswith("(sqlite3.OperationalError) inter")


def test_notes_that_are_none_lose_no_report() -> None:
    error = raised_by(lambda: int(SECRET))
    error.__notes__ = SECRET  # type: ignore[assignment]  # whatever somebody may put there
    event, hint = event_from_exception(error, OPTIONS)
    clean: Any = strict.filter_event(event, hint)
    assert SECRET not in json.dumps(clean)
    error.__notes__ = None  # type: ignore[assignment]
    assert strict.filter_event(
        {"exception": {"values": [{"type": "ValueError", "value": "x"}]}}, hint
    )


def test_without_the_exception_itself_a_known_message_keeps_no_slot() -> None:
    value = {"type": "ValueError", "value": f"invalid literal for int() with base 10: '{SECRET}'"}
    clean: Any = strict.filter_event({"exception": {"values": [value]}})
    assert (
        clean["exception"]["values"][0]["value"] == "invalid literal for int() with base […]: […]"
    )


# Names of code


def frame_of(**frame: object) -> dict[str, Any]:
    clean: Any = strict.filter_event({"stacktrace": {"frames": [{"lineno": 1, **frame}]}})
    return dict(clean["stacktrace"]["frames"][0])


def test_a_frame_of_a_loaded_module_keeps_its_names() -> None:
    named = {"module": "json.decoder", "function": "raw_decode", "filename": "json/decoder.py"}
    assert frame_of(**named, abs_path=json.decoder.__file__) == {
        **named,
        "abs_path": "decoder.py",
        "lineno": 1,
    }


@pytest.mark.parametrize(
    ("frame", "left"),
    [
        ({"module": "json.decoder", "function": "janedoe"}, {"module": "json.decoder", "function": "[…]"}),
        ({"module": "json.decoder", "filename": "janedoe/decoder.py"}, {"module": "json.decoder", "filename": "[…]"}),
        ({"module": "app.janedoe", "function": "raw_decode"}, {}),
        ({"abs_path": "/home/jane.doe/app/main.py"}, {"abs_path": "main.py"}),
        ({"abs_path": "/srv/janedoe.py", "filename": "janedoe/main.py"}, {"filename": "main.py"}),
        ({"filename": "app/main.py"}, {"filename": "app/main.py"}),
        ({"abs_path": "/srv/Jane.Doe.py", "filename": "jane-doe.py"}, {}),
        ({"abs_path": ["/srv/x.py"], "module": {"json": 1}, "function": 5}, {}),
    ],
)  # fmt: skip
def test_a_frame_keeps_no_name_that_stands_in_no_code(
    frame: dict[str, object], left: dict[str, object]
) -> None:
    assert frame_of(**frame) == {"lineno": 1, **left}


MADE = "jane0" + "doe"


def test_code_that_was_made_at_run_time_has_no_names() -> None:
    source = f"def {MADE}():\n raise ValueError('of {MADE}')\n{MADE}()"
    made = compile(source, f"{MADE}.py", "exec")
    error = raised_by(lambda: exec(made, {"__name__": MADE}))
    event, hint = event_from_exception(error, OPTIONS)
    assert MADE not in json.dumps(strict.filter_event(event, hint))


def test_a_function_that_ran_is_named_only_where_its_name_stands_in_the_code() -> None:
    def inner() -> None:
        raise ValueError

    def names() -> list[str]:
        event, hint = event_from_exception(raised_by(inner), OPTIONS)
        clean: Any = strict.filter_event(event, hint)
        return [
            each["function"] for each in clean["exception"]["values"][0]["stacktrace"]["frames"]
        ]

    assert names() == ["raised_by", "inner"]
    inner.__code__ = inner.__code__.replace(co_name=MADE)
    assert names() == ["raised_by", "[…]"]


def test_a_logger_is_named_where_its_name_stands_in_the_code() -> None:
    record = logging.LogRecord("app.test_telemetry", 40, __file__, 1, "x", (), None)
    assert strict.filter_event({"logger": "x"}, {"log_record": record}) == {
        "logger": "app.test_telemetry"
    }
    record.name = "harmless"  # which stands in this file, and not as the name of a logger
    assert strict.filter_event({"logger": "x"}, {"log_record": record}) == {}
    record.name = "app." + SECRET
    assert strict.filter_event({"logger": record.name}, {"log_record": record}) == {}
    assert strict.filter_event({"logger": "app.projects.models"}) == {
        "logger": "app.projects.models"
    }


@crons.monitor("nightly")
def run_nightly() -> None:
    """Does nothing: only its slug counts."""


def test_a_check_in_is_named_where_its_name_stands_in_the_services_code() -> None:
    event = {"type": "check_in", "status": "ok"}
    for slug in (SECRET, "harmless"):
        assert strict.filter_event({**event, "monitor_slug": slug}) == event
    assert strict.filter_event({**event, "monitor_slug": "nightly"}) == {
        **event,
        "monitor_slug": "nightly",
    }


@pytest.fixture
def told() -> Iterator[None]:
    """Tell what the service is called by."""
    structure.tell_labels("build-of-friday", "island")
    structure.tell_routes(lambda: {"/x", "/x/{y}", "/orders/{order}"})
    yield
    structure.tell_labels()
    structure.tell_routes(tuple)


LABELS = {"release": "build-of-friday", "environment": "island"}
ROUTE = {"transaction": "/x/{y}", "transaction_info": {"source": "route"}}


def test_what_the_settings_name_is_kept(told: None) -> None:
    assert strict.filter_event({**LABELS, **ROUTE}) == {**LABELS, **ROUTE}


def test_what_the_settings_do_not_name_is_kept_where_it_is_usual() -> None:
    assert strict.filter_event({**LABELS, **ROUTE}) == {}
    usual = {"release": "4.5.6-rc.1", "environment": "production"}
    assert strict.filter_event(usual) == usual
    assert strict.filter_event({"release": "203.0.113.7", "environment": SECRET}) == {}


def test_strict_keeps_the_structure_of_an_event_and_nothing_else(told: None) -> None:
    event = {
        "event_id": "a" * 32,
        "level": "error",
        "platform": "python",
        "release": "1.2.3",
        "environment": "staging",
        "logger": "app.projects.models",
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
        "logger": "app.projects.models",
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


@pytest.mark.parametrize(
    ("source", "name", "kept"),
    [
        ("route", "generic ASGI request", True),
        ("route", "/users/janedoe", False),
        ("component", "json.decoder.JSONDecoder", True),
        ("component", "json.decoder.janedoe", False),
        ("task", "janedoe", False),
        ("custom", "json.decoder.JSONDecoder", False),
        (["route"], "/users/janedoe", False),
    ],
)
def test_a_transaction_keeps_a_name_that_stands_in_code(source: Any, name: str, kept: bool) -> None:
    event = {"transaction": name, "transaction_info": {"source": source}}
    assert strict.filter_event(event) == (event if kept else {})


# A canary in every place

TRACE = {"trace_id": "a" * 32, "span_id": "b" * 16, "op": "db", "status": "ok", "origin": "manual"}
STACK: dict[str, Any] = {
    "frames": [
        {
            "function": "raw_decode",
            "module": "json.decoder",
            "filename": "json/decoder.py",
            "abs_path": json.decoder.__file__,
            "lineno": 1,
            "in_app": True,
            "context_line": "x",
            "vars": {"x": "y"},
        }
    ]
}
WHOLE: dict[str, Any] = {
    "event_id": "a" * 32,
    "type": "transaction",
    "platform": "python",
    "level": "error",
    "timestamp": "2026-01-01T00:00:00Z",
    "start_timestamp": 1767225600.5,
    "transaction": "json.decoder.JSONDecoder",
    "transaction_info": {"source": "component"},
    "logger": "root",
    "release": "1.2.3",
    "environment": "staging",
    "server_name": "x",
    "modules": {"x": "1"},
    "fingerprint": ["x"],
    "extra": {"x": "y"},
    "message": "x",
    "logentry": {"message": "x", "formatted": "x", "params": ["x"]},
    "request": {"method": "GET", "url": "x", "headers": {"x": "y"}, "env": {"x": "y"}, "data": "x"},
    "contexts": {
        "trace": {**TRACE, "dynamic_sampling_context": {"sampled": "true", "transaction": "x"}},
        "runtime": {"name": "CPython", "version": "3.11", "build": "x"},
        "response": {"status_code": 200, "headers": {"x": "y"}},
        "x": {"y": "z"},
    },
    "tags": {"x": "y"},
    "breadcrumbs": {
        "values": [{"type": "log", "category": "log", "level": "info", "message": "x", "data": {}}]
    },
    "exception": {
        "values": [
            {
                "type": "ValueError",
                "value": "x",
                "module": "builtins",
                "mechanism": {"type": "generic", "source": "__cause__", "data": {"x": "y"}},
                "stacktrace": STACK,
            }
        ]
    },
    "stacktrace": STACK,
    "threads": {"values": [{"id": 1, "name": "x", "crashed": True, "stacktrace": STACK}]},
    "spans": [{**TRACE, "description": "x", "data": {"db.system": "sqlite", "x": "y"}, "tags": {}}],
    "sdk": {
        "name": "sentry.python",
        "version": "2.75.0",
        "integrations": ["fastapi"],
        "packages": [{"name": "pypi:sentry-sdk", "version": "2.75.0"}],
    },
    "user": {"email": "x", "username": "x", "geo": {"city": "x"}},
    "check_in_id": "a" * 32,
    "monitor_slug": "x",
    "monitor_config": {"timezone": "x"},
    "status": "ok",
    "duration": 1.5,
    "measurements": {"x": {"value": 1, "unit": "x"}},
    "_meta": {"x": {"": {"x": "y"}}},
    "debug_meta": {"images": [{"code_file": "x"}]},
}
BATCHED: dict[str, Any] = {
    "timestamp": 1767225600.0,
    "level": "info",
    "severity_text": "info",
    "time_unix_nano": 1,
    "trace_id": "a" * 32,
    "span_id": "b" * 16,
    "parent_span_id": "b" * 16,
    "status": "ok",
    "body": Template("x"),
    "name": Template("x"),
    "type": "counter",
    "unit": "second",
    "value": 1.0,
    "attributes": {
        **dict.fromkeys(structure.ATTRIBUTES, "x"),
        **dict.fromkeys(("sentry.message.template", "sentry.message.parameter.0"), "x"),
        **dict.fromkeys(("code.file.path", "code.line.number", "code.function.name"), "x"),
        **dict.fromkeys(("logger.name", "server.address", "thread.name", "user.name"), "x"),
    },
}
CANARIES = (SECRET, "hunter2horse", "JaneDoe", "janedoe", "+43 660 1234567", "пароль", "a b/c.py")
SHAPES: tuple[Callable[[str], object], ...] = (
    lambda canary: [canary],
    lambda canary: {canary: canary},
    lambda canary: (canary.encode(), {"values": [canary], "frames": [canary]}),
    lambda canary: canary * 999,
)


def places(value: object) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each place in a structure, and to a new key in each mapping."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in inner:
        yield (key,)
        yield from ((key, *rest) for rest in places(each))
    if isinstance(value, dict):
        yield (CANARIES[0],)


def planted(whole: dict[str, Any], place: tuple[Any, ...], canary: object) -> dict[str, Any]:
    copied: Any = copy.deepcopy(whole)
    spot = copied
    for step in place[:-1]:
        spot = spot[step]
    spot[place[-1]] = canary
    return dict(copied)


def wired(kind: str) -> Callable[[dict[str, Any]], object]:
    return lambda item: clean_batch(kind, {"items": [item]}, strict)


FILTERS: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], object]]] = {
    "event": (WHOLE, strict.filter_event),
    "log": (BATCHED, lambda item: filter_log(item, strict)),
    "metric": (BATCHED, lambda item: filter_metric(item, strict)),
    "span": (BATCHED, lambda item: filter_span(item, strict)),
    "log on the wire": (BATCHED, wired("log")),
    "metric on the wire": (BATCHED, wired("trace_metric")),
    "span on the wire": (BATCHED, wired("span")),
}


@pytest.mark.parametrize(("whole", "clean"), FILTERS.values(), ids=FILTERS)
def test_no_canary_leaves_from_any_place_in_strict(
    whole: dict[str, Any], clean: Callable[[dict[str, Any]], object]
) -> None:
    assert clean(whole)
    shaped = [(each, each) for each in CANARIES] + [(SECRET, shape(SECRET)) for shape in SHAPES]
    for place in places(whole):
        for canary, value in shaped:
            left = json.dumps(clean(planted(whole, place, value)), ensure_ascii=False)
            assert canary not in left, place


def test_what_is_filtered_in_strict_stays_as_it_is() -> None:
    for place in places(WHOLE):
        once = json.loads(json.dumps(strict.filter_event(planted(WHOLE, place, [SECRET]))))
        assert strict.filter_event(once) == once, place


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

    def count(name: str) -> object:
        return filter_metric({**metric, "name": name}, strict)

    assert count("hits") == {**metric, "name": "hits", "attributes": {}}


@pytest.mark.parametrize("value", [math.nan, math.inf, 4111111111111111.0, "x", None])
@pytest.mark.parametrize("rules", [balanced, strict], ids=lambda each: each.mode)
def test_a_metric_that_would_keep_others_from_leaving_is_dropped(
    rules: EventFilter, value: object
) -> None:
    def gauge(name: str) -> object:
        metric = {"name": name, "timestamp": 1767225600.0, "type": "gauge", "value": value}
        return filter_metric(metric, rules)

    assert gauge("size") is None


def test_a_streamed_span_is_scrubbed() -> None:
    span = {"name": f"SELECT '{PERSON}'", "attributes": {"user.email": PERSON, "token": SECRET}}
    assert filter_span(span, balanced) == {
        "name": "SELECT '[EMAIL]'",
        "attributes": {"token": "[Filtered]"},
    }
    assert filter_span(span, strict) == {"name": "[…]", "attributes": {}}


def test_a_streamed_span_keeps_the_name_of_its_route(told: None) -> None:
    attributes = {"sentry.segment.name.source": "route", "http.route": "/x/{y}"}
    span = {"name": "/x/{y}", "attributes": attributes}
    clean = filter_span(span, strict)
    assert clean == span
    wire: Any = clean_batch("span", {"items": [clean]}, strict)
    assert wire["items"][0]["name"] == "/x/{y}"


def test_on_the_wire_only_what_a_hook_proved_has_a_text() -> None:
    for kind, key, left in (("log", "body", "[…]"), ("span", "name", "[…]")):
        clean: Any = clean_batch(kind, {"items": [{key: "starting"}]}, strict)
        assert clean["items"] == [{key: left, "attributes": {}}]
        clean = clean_batch(kind, {"items": [{key: Template("starting")}]}, strict)
        assert clean["items"] == [{key: "starting", "attributes": {}}]
    assert clean_batch("trace_metric", {"items": [{"name": "hits"}]}, strict)["items"] == []


def test_the_proof_of_a_text_outlives_the_sdks_asking_for_a_text() -> None:
    assert type(str(Template("x"))) is Template


# The transport


@pytest.fixture(params=MODES)
def line(request: pytest.FixtureRequest) -> Iterator[ScrubbingTransport]:
    made = transport_for(EventFilter(request.param))(
        {**OPTIONS, "dsn": "http://publickey@127.0.0.1:9/42"}
    )
    yield made
    made.kill()


@pytest.fixture(autouse=True)
def counted_anew() -> None:
    DROPPED.clear()


def lost() -> dict[str, float]:
    """Return how many reports were counted as dropped, by category."""
    samples = [each for metric in DROPPED.collect() for each in metric.samples]
    return {each.labels["category"]: each.value for each in samples if each.name.endswith("_total")}


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
        "trace_metric",
        batch(name=Template("n"), attributes={"token": {"value": SECRET, "type": "string"}}),
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


@pytest.mark.parametrize(
    ("kind", "category"),
    [
        ("attachment", "attachment"),
        *((kind, "default") for kind in ("replay_recording", "feedback", "", "unheard-of")),
    ],
)
def test_unknown_items_are_dropped_and_counted(
    kind: str, category: str, line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sent(line, monkeypatch, Item(SECRET.encode(), {"type": kind})) == []
    assert lost() == {category: 1}


def test_an_item_that_can_not_be_read_is_dropped_and_the_others_are_sent(
    line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Item(zlib.compress(SECRET.encode()), {"type": "event"})
    lines = sent(line, monkeypatch, broken, item("event", {"level": "error"}))
    assert [each["type"] for each in lines if "type" in each] == ["event"]
    assert lost() == {"error": 1}


def test_what_a_failing_filter_can_not_clean_is_dropped(
    line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RecursionError

    monkeypatch.setattr(EventFilter, "filter_event", fail)
    monkeypatch.setattr(last_line, "clean_batch", fail)
    assert sent(line, monkeypatch, *RAW[:6]) == []
    assert sum(lost().values()) == 6


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
    line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch, told: None
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
    line: ScrubbingTransport, monkeypatch: pytest.MonkeyPatch, told: None
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
    assert lost() == {"error": 1}


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
