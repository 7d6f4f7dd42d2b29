"""Log lines: one for each record, nothing private in it, and nothing that a caller could forge."""

import asyncio
import errno
import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import httpx
import pytest
import structlog
import uvicorn
from fastapi import BackgroundTasks, FastAPI
from prometheus_client import REGISTRY

from app.api.dependencies.auth import CurrentUser
from app.auth import issuer
from app.core import context
from app.core.config import Settings
from app.main import create_app
from app.observability import logging as log_lines
from app.observability import metrics
from app.observability.logging import (
    DEEPEST,
    FIELDS,
    LONGEST,
    MOST_GIVEN,
    ScrubbingFormatter,
    StandardError,
    configure,
    for_people,
)
from app.privacy import PIIFilter
from app.privacy.text import CUT
from app.tenancy import lifecycle

PERSON = "jane.roe@example.org"
CARD = "4111 1111 1111 1111"
LOG = logging.getLogger("app.test")

Line = dict[str, Any]


def record_of(message: object = "x", *values: object, **fields: object) -> logging.LogRecord:
    """Make a record as a log call does; `fields` are attributes of it."""
    record = logging.LogRecord("app", logging.ERROR, __file__, 1, message, values, None)
    vars(record).update(fields)
    return record


def as_json(record: logging.LogRecord) -> Line:
    text = ScrubbingFormatter(release="1.2.3").format(record)
    assert text.isascii()
    assert text.isprintable()
    line: Line = json.loads(text, parse_constant=pytest.fail)
    return line


def for_a_person(record: logging.LogRecord) -> str:
    return ScrubbingFormatter(for_people(colours=False)).format(record)


FORMATS = [lambda record: json.dumps(as_json(record)), for_a_person]
in_both_formats = pytest.mark.parametrize("text_of", FORMATS, ids=["json", "console"])
TextOf = Callable[[logging.LogRecord], str]


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.fixture
def in_request() -> Iterator[None]:
    """Be within a request of the tenant acme."""
    context.begin_request("trace-4711", lambda: "GET /api/v1/projects")
    context.tell_caller("acme", "alice")
    yield
    context.operation.set(None)
    context.work.set(None)


# What a line tells.


def test_a_line_has_every_field_and_null_where_nothing_is_known() -> None:
    line = as_json(record_of("hello"))
    assert tuple(line) == FIELDS
    told = {name: value for name, value in line.items() if name != "timestamp"}
    assert {name: value for name, value in told.items() if value is not None} == {
        "level": "error",
        "logger": "app",
        "message": "hello",
        "release": "1.2.3",
    }


def test_the_instant_is_in_utc_to_the_millisecond() -> None:
    record = record_of(created=datetime(2026, 11, 26, 1, 2, 3, 4999, UTC).timestamp())
    assert as_json(record)["timestamp"] == "2026-11-26T01:02:03.004Z"


@pytest.mark.usefixtures("in_request")
def test_a_line_of_a_request_tells_whose_it_is_and_what_is_being_done() -> None:
    line = as_json(record_of())
    assert (line["request_id"], line["tenant_id"]) == ("trace-4711", "acme")
    assert line["session_id"] == context.sessions.name("acme", "alice")
    assert line["operation"] == "GET /api/v1/projects"
    assert line["duration_ms"] >= 0


@pytest.mark.usefixtures("in_request")
def test_a_line_for_people_begins_with_what_is_said() -> None:
    line = for_a_person(record_of("order made", number=7))
    start, _, rest = line.partition(" order made ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[error    \] app", start)
    assert rest.startswith("request_id=trace-4711 tenant_id=acme session_id=")
    assert ' operation="GET /api/v1/projects" duration_ms=' in rest
    assert rest.endswith(" number=7")


def test_a_line_for_people_leaves_out_what_is_not_known() -> None:
    assert for_a_person(record_of("hello")).endswith("Z [error    ] app hello")


@pytest.mark.parametrize("operation", ["raise ValueError", "return 7", "return None"])
def test_an_operation_that_can_not_say_what_it_is_has_no_name(operation: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def describe(): {operation}", namespace)
    token = context.operation.set(context.Operation(namespace["describe"], 0.0))
    try:
        assert as_json(record_of("hello"))["operation"] is None
    finally:
        context.operation.reset(token)


def test_what_is_given_is_told_beside_the_message() -> None:
    line = as_json(record_of("order made", number=7, items=[1, {"a": None}], done=True))
    assert (line["number"], line["items"], line["done"]) == (7, [1, {"a": None}], True)


@pytest.mark.usefixtures("in_request")
@pytest.mark.parametrize(
    "name", [*(set(FIELDS) - {"message"}), "exception", "stack", "TENANT_ID", "Release"]
)
def test_nothing_that_is_given_takes_the_place_of_a_field(name: str) -> None:
    line = as_json(record_of("x", **{name: 4711}))
    told = {key for key, value in line.items() if value in {4711, "[Filtered]"}}
    assert told == {f"{name}_"}
    assert line["tenant_id"] == "acme"
    assert f" {name}=4711" not in for_a_person(record_of("x", **{name: 4711}))


@pytest.mark.usefixtures("in_request")
@pytest.mark.parametrize(
    ("message", "given"),
    [
        ("done tenant_id=globex", {}),
        ("done", {"a": "b tenant_id=globex"}),
        ("done", {"a": 'b" tenant_id=globex "'}),
        ("done", {"a": {"b": "c tenant_id=globex"}}),
        ("done", {"a tenant_id=globex b": "c"}),
        ("done", {"tenant_id\u200b": "globex"}),
        ("done", {"tenant_\u0456d": "globex"}),
    ],
)
def test_no_part_of_a_line_for_people_reads_like_a_field_of_it(
    message: str, given: dict[str, object]
) -> None:
    line = for_a_person(record_of(message, **given))
    unquoted = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)
    assert re.findall(r"(?<=\s)tenant_id=\S+", unquoted) == ["tenant_id=acme"]
    assert "tenant_\u0456d" not in line


# Structlog.


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[Line]]]:
    """Yield what reads the lines that are logged in a test, as JSON."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    configure(Settings(LOG_FORMAT="json", LOG_LEVEL="DEBUG"))
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def test_a_line_of_structlog_is_one_of_logging(lines: Callable[[], list[Line]]) -> None:
    log = structlog.get_logger("app.orders").bind(order=7)
    log.warning("order of %s failed", PERSON, mail=PERSON, name="forged", message="forged")
    (line,) = lines()
    assert (line["logger"], line["level"]) == ("app.orders", "warning")
    assert line["message"] == "order of [EMAIL] failed"
    assert (line["order"], line["mail"]) == (7, "[EMAIL]")
    assert (line["name_"], line["message_"]) == ("forged", "forged")


def test_who_listens_to_logging_sees_structlogs_records_as_they_were_made(
    lines: Callable[[], list[Line]],
) -> None:
    seen: list[logging.LogRecord] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    logging.getLogger("app.listened").addHandler(Listener())
    structlog.get_logger("app.listened").error("order of %s", "somebody", number=7)
    (record,) = seen
    assert (record.msg, record.args) == ("order of %s", ("somebody",))
    assert record.pathname == __file__
    assert vars(record)["number"] == 7
    assert "order of somebody" in [line["message"] for line in lines()]


def test_structlog_tells_of_an_exception_with_its_stack(
    lines: Callable[[], list[Line]],
) -> None:
    try:
        int("planted")
    except ValueError:
        structlog.get_logger("app.orders").exception("it failed")
    (line,) = lines()
    assert line["exception"].startswith("Traceback (most recent call last):\n")


# What is private.


class Rude:
    """An object that fails to say what it is."""

    def __str__(self) -> NoReturn:
        raise ValueError(PERSON)

    __repr__ = __str__


class Mail(Enum):
    OF_JANE = PERSON

    def __str__(self) -> str:
        return PERSON


@dataclass
class User:
    mail: str
    password: str


def chained() -> Exception:
    """An exception with something private in each of its parts."""
    first = raised(KeyError(f"of {PERSON}"))
    second = raised(RuntimeError(f"password=hunter2 for {PERSON}"))
    second.add_note(f"it was {PERSON}")
    second.__context__ = first
    third = raised(
        ExceptionGroup(f"{PERSON} failed", [raised(OSError(2, "no", f"/home/{PERSON}"))])
    )
    third.__cause__ = second
    return third


PRIVATE: dict[str, Callable[[], logging.LogRecord]] = {
    "a message": lambda: record_of(f"mail to {PERSON}"),
    "an argument": lambda: record_of("mail to %s", PERSON),
    "an argument by name": lambda: record_of("mail to %(who)s", {"who": PERSON}),
    "a mapping": lambda: record_of("sent %s", {"password": "hunter2"}),
    "a logger": lambda: record_of(name=f"mail.{PERSON}"),
    "a level": lambda: record_of(levelname=PERSON),
    "a value": lambda: record_of(who=PERSON),
    "a value by its name": lambda: record_of(password="hunter2"),
    "a value by another's": lambda: record_of(given={"name": "password", "value": "hunter2"}),
    "a value within": lambda: record_of(a=[{"b": ({"c": {PERSON}},)}]),
    "bytes": lambda: record_of(a=PERSON.encode(), b=bytearray(PERSON.encode())),
    "a key": lambda: record_of(**{PERSON: 1}),
    "a key within": lambda: record_of(a={PERSON: 1, PERSON.encode(): 2, (PERSON,): 3}),
    "a number": lambda: record_of(a=4111111111111111, b=Decimal(4111111111111111)),
    "a path": lambda: record_of(a=Path("/srv") / PERSON / "x", b="/home/hunter2/x"),
    "a member of a class": lambda: record_of(a=Mail.OF_JANE),
    "an object": lambda: record_of(a=User(PERSON, "hunter2")),
    "an object's text": lambda: record_of(a=ValueError(f"password=hunter2 for {PERSON}")),
    "an exception": lambda: record_of(exc_info=(None, chained(), chained().__traceback__)),
    "an exception alone": lambda: record_of(exc_info=chained()),
    "an exception that is not raised": lambda: record_of(exc_info=ValueError(PERSON)),
    "a message that is an exception": lambda: record_of(ValueError(PERSON)),
    "the stack of the call": lambda: record_of(stack_info=f"login('{PERSON}')"),
    "another formatter's text": lambda: record_of(exc_text=PERSON),
    "an object that fails": lambda: record_of(
        "%s", Rude(), a=Rude(), b=[Rude()], c={Rude(): Rude()}
    ),
}


@in_both_formats
@pytest.mark.parametrize("place", PRIVATE)
def test_what_is_private_is_in_no_line(place: str, text_of: TextOf) -> None:
    text = text_of(PRIVATE[place]())
    assert "jane" not in text
    assert "hunter2" not in text
    assert "4111" not in text


@in_both_formats
def test_what_a_sign_kept_apart_is_found_where_its_mark_joins_it(text_of: TextOf) -> None:
    text = text_of(record_of("password=hun\rter2", given="password=hun\x85ter2"))
    assert "ter2" not in text


@pytest.mark.parametrize(
    "release", ["1.2.3", "1.2.3.4", "2026.11.26", "0.1.0+a1b2c3d", "a1b2c3d" * 5]
)
def test_a_release_is_no_address_and_no_secret(release: str) -> None:
    line = json.loads(ScrubbingFormatter(release=release).format(record_of()))
    assert line["release"] == release


@in_both_formats
def test_what_a_caller_calls_a_request_is_filtered(text_of: TextOf) -> None:
    token = context.work.set(context.Work(CARD.replace(" ", "-")))
    try:
        assert "4111" not in text_of(record_of())
    finally:
        context.work.reset(token)


def test_the_ids_that_the_service_gives_are_kept() -> None:
    for _ in range(100):
        context.begin_request("")
        assert as_json(record_of())["request_id"] == context.current_request_id()


def test_an_exception_has_its_stack_its_causes_and_its_notes() -> None:
    text = as_json(record_of(exc_info=chained()))["exception"]
    assert re.findall(r"^\S*(?:Error|Group): .*|^.*exception.*:$", text, re.MULTILINE) == [
        "KeyError: 'of [EMAIL]'",
        "During handling of the above exception, another exception occurred:",
        "RuntimeError: password=[Filtered] for [EMAIL]",
        "The above exception was the direct cause of the following exception:",
        "ExceptionGroup: [EMAIL] failed (1 sub-exception)",
    ]
    assert "\nit was [EMAIL]\n" in text
    assert '  |   File "test_logging.py", line ' in text
    assert text.count("in raised\n") == 4


def test_an_exception_that_was_not_raised_is_told_with_the_place_of_the_call() -> None:
    text = as_json(record_of(exc_info=ValueError("x"), funcName="order"))["exception"]
    assert (
        text == 'Not raised, logged at:\n  File "test_logging.py", line 1, in order\nValueError: x'
    )


def descend(calls: int) -> None:
    """Fail after so many calls, of two functions in turn: a stack of which nothing repeats."""
    ascend(calls - 1) if calls else int("x")


def ascend(calls: int) -> None:
    descend(calls - 1) if calls else int("x")


def test_of_a_long_stack_both_ends_are_told() -> None:
    with pytest.raises(ValueError, match="invalid") as caught:
        descend(300)
    text = as_json(record_of(exc_info=caught.value))["exception"]
    assert "in test_of_a_long_stack_both_ends_are_told\n" in text
    assert re.search(r"\n  \[\d{3} more\]\n", text)
    assert text.endswith("ValueError: invalid literal for int() with base 10: 'x'")
    assert text.count("  File ") == log_lines.MOST_FRAMES


def test_of_a_long_chain_and_of_a_large_group_a_part_is_told() -> None:
    error: Exception = ValueError("first")
    for number in range(1000):
        later = ValueError(str(number))
        later.__cause__ = error
        error = later
    group: Exception = ExceptionGroup("many", [ValueError(str(number)) for number in range(1000)])
    for _ in range(100):
        group = ExceptionGroup("nested", [group, group])
    for each in (error, group):
        text = as_json(record_of(exc_info=each))["exception"]
        assert 1 <= text.count("Not raised") <= log_lines.MOST_EXCEPTIONS


def test_an_exception_that_names_itself_its_cause_is_told_once() -> None:
    error = ValueError("x")
    error.__cause__ = error
    assert as_json(record_of(exc_info=error))["exception"].count("ValueError: x") == 1


def test_a_record_is_as_it_was_for_those_who_see_it_next() -> None:
    record = record_of("mail to %s", PERSON, exc_info=(ValueError, chained(), None), a=[PERSON])
    logging.Formatter().format(record)
    before = dict(vars(record))
    as_json(record)
    for_a_person(record)
    assert vars(record) == before
    assert "hunter2" in str(record.exc_text)


# What is forged.

BREAKING = [
    *("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"),
    *("\x1b[2K\x1b[1A", "\x1b]0;title\x07", "\x9b31m", "\x00", "\x08", "\x7f", "\x90"),
    *("\u202e", "\u2066", "\u200f", "\u061c", "\ufeff", "\U000e0041", "\ud800"),
]
FORGED = "2026-11-26T03:00:00.000Z [critical ] app forged"
SIGNS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


@dataclass(repr=False)
class Named:
    name: str

    def __repr__(self) -> str:
        return self.name


def noted(text: str) -> Exception:
    error = raised(ValueError(text))
    error.add_note(text)
    error.__cause__ = raised(type("Error", (Exception,), {"__module__": text})(text))
    return raised(ExceptionGroup(text, [error]))


FORGING: dict[str, Callable[[str], logging.LogRecord]] = {
    "a message": record_of,
    "an argument": lambda text: record_of("said: %s", text),
    "a logger": lambda text: record_of(name=text),
    "a level": lambda text: record_of(levelname=text),
    "a value": lambda text: record_of(a=text),
    "a value within": lambda text: record_of(a=[{"b": text}], c=text.encode("utf-8", "replace")),
    "a key": lambda text: record_of(**{text: 1}),
    "a key within": lambda text: record_of(a={text: {text: text}}),
    "an object": lambda text: record_of(a=Named(text)),
    "an exception": lambda text: record_of(exc_info=noted(text)),
    "the stack of the call": lambda text: record_of(stack_info=text),
    "the place of the call": lambda text: record_of("%d", "x", module=text),
}


def texts(value: object) -> Iterator[str]:
    """Yield every text in a line that is read from JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for pair in value.items() for each in pair for text in texts(each))
    elif isinstance(value, list):
        yield from (text for each in value for text in texts(each))


@pytest.mark.parametrize("place", FORGING)
def test_nothing_breaks_out_of_a_line(place: str) -> None:
    for sign in BREAKING:
        make = FORGING[place]
        record = make(f"x{sign}{FORGED}")
        line = as_json(record)
        stacks = [str(line.pop(name, "")) for name in ("stack", "exception")]
        assert not [text for text in texts(line) if SIGNS.search(text)]
        assert not [text for text in stacks if SIGNS.search(text.replace("\n", ""))]
        first, *others = for_a_person(record).split("\n")
        assert not SIGNS.search(first)
        assert all(each.startswith("    ") and not SIGNS.search(each) for each in others)


@pytest.mark.usefixtures("in_request")
def test_nothing_breaks_out_of_the_name_of_an_operation() -> None:
    for sign in BREAKING:
        token = context.operation.set(context.Operation(f"x{sign}y".strip, 0.0))
        try:
            assert not SIGNS.search(for_a_person(record_of()))
            assert not SIGNS.search(as_json(record_of())["operation"])
        finally:
            context.operation.reset(token)


# What is odd.


class Wild(dict[str, object]):
    def items(self) -> NoReturn:
        raise RuntimeError(PERSON)


def nested(depth: int) -> object:
    value: object = "bottom"
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


def cycle() -> list[object]:
    value: list[object] = []
    value += [value, {"again": value}]
    return value


ODD = {
    "nan": float("nan"),
    "infinity": float("-inf"),
    "a large number": 10**5000,
    "a number past 64 bits": 2**64,
    "bytes": b"\xff\x00",
    "a surrogate": "\ud800",
    "a set": {1, "a"},
    "a cycle": cycle(),
    "depth": nested(3000),
    "breadth": list(range(1_000_000)),
    "many names": {str(number): number for number in range(100_000)},
    "both": [[["x" * 100] * 100] * 100] * 100,
    "a long text": "x y" * 1_000_000,
    "a long key": {"x y" * 1_000_000: 1},
    "long bytes": b"x" * 10_000_000,
    "an object that fails": Rude(),
    "a mapping that fails": Wild(a=1),
    "keys of all kinds": {None: 1, 2: 2, (3,): 3, b"4": 4, Rude(): 5, 1.5: 6},
    "an instant": datetime(2026, 1, 1, tzinfo=UTC),
    "an id": UUID(int=7),
    "a decimal": Decimal("1.50"),
    "a class": Rude,
    "a function": nested,
    "an iterator": iter([1]),
    "a lock": threading.Lock(),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_line_is_json_whatever_it_is_given(kind: str) -> None:
    line = as_json(record_of("x", given=ODD[kind]))
    assert line["message"] == "x"
    assert "given" in line
    assert len(json.dumps(line)) < 2 * MOST_GIVEN
    assert "\n" not in for_a_person(record_of("x", given=ODD[kind]))


@pytest.mark.parametrize("kind", ["depth", "breadth", "many names", "both", "a cycle"])
def test_what_is_too_much_is_cut_with_a_mark(kind: str) -> None:
    text = json.dumps(as_json(record_of("x", given=ODD[kind]))["given"], ensure_ascii=False)
    assert CUT in text
    assert not text.startswith("[" * (DEEPEST + 1))
    assert text.count("{") <= DEEPEST or kind == "a cycle"


def test_a_value_that_fails_takes_no_other_with_it() -> None:
    line = as_json(record_of("x", a=Rude(), b=2, c=[Rude(), 3]))
    assert line["a"] == "[not logged: a value (ValueError)]"
    assert (line["b"], line["c"]) == (2, [line["a"], 3])


def test_a_long_text_is_cut_in_its_middle() -> None:
    text = "begin " + "word " * 1_000_000 + "end"
    line = as_json(record_of(text, given=text))
    for each in (line["message"], line["given"]):
        assert len(each) <= LONGEST + 10
        assert each.startswith("begin word")
        assert "[cut]" in each
        assert each.endswith("word end")


# What fails.


def test_what_can_not_be_formatted_is_told_by_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = record_of("%d orders for %s", "planted", PERSON, a=1, exc_info=raised(KeyError()))
    line = as_json(record)
    assert line["message"] == "[not logged: test_logging:1 (TypeError)]"
    assert (line["a"], line["exception"].splitlines()[-1]) == (1, "KeyError")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("fields", [{"created": "planted"}, {"levelname": None}])
def test_a_record_that_makes_no_sense_is_told_by_its_place(fields: dict[str, object]) -> None:
    line = as_json(record_of("planted", **fields))
    assert re.fullmatch(r"\[not logged: test_logging:1 \(\w+Error\)\]", line["message"])


def test_where_the_filter_fails_nothing_is_told_but_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    formatters = ScrubbingFormatter(), ScrubbingFormatter(for_people(colours=False))

    def fail(*_: object) -> NoReturn:
        raise RuntimeError("planted")

    monkeypatch.setattr(PIIFilter, "filter_dict", fail)
    monkeypatch.setattr(PIIFilter, "filter_string", fail)
    for formatter in formatters:
        text = formatter.format(
            record_of("planted", planted="planted", exc_info=chained(), stack_info="planted")
        )
        assert "planted" not in text
        assert "[not logged: test_logging:1, the filter failed (RuntimeError)]" in text


def lines_dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("log_lines_dropped_total", {"reason": reason}) or 0


class Broken(io.StringIO):
    """A stream that takes half of a line, and fails."""

    error: Exception | None = None

    def write(self, text: str) -> int:
        if self.error is not None:
            super().write(text[:20])
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "planted"), "ENOSPC"),
        (BrokenPipeError(errno.EPIPE, "planted"), "EPIPE"),
        (BlockingIOError(errno.EAGAIN, "planted"), "EAGAIN"),
        (ValueError("I/O operation on closed file"), "ValueError"),
        (UnicodeEncodeError("ascii", "x", 0, 1, "planted"), "UnicodeEncodeError"),
    ],
)
def test_a_line_that_can_not_be_written_is_counted_and_the_next_one_is_whole(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Broken()
    monkeypatch.setattr(sys, "stderr", stream)
    handler = StandardError()
    handler.setFormatter(ScrubbingFormatter())
    before = lines_dropped(reason)
    handler.handle(record_of("first"))
    stream.error = error
    handler.handle(record_of("second"))
    stream.error = None
    handler.handle(record_of("third"))
    first, _, third = stream.getvalue().splitlines()
    assert (json.loads(first)["message"], json.loads(third)["message"]) == ("first", "third")
    assert lines_dropped(reason) == before + 1


def test_without_standard_error_nothing_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    before = lines_dropped("AttributeError")
    configured = StandardError()
    configured.handle(record_of("x"))
    assert lines_dropped("AttributeError") == before + 1


# The process.

SETUP = """
import logging, threading, warnings
from app.core.config import Settings
from app.observability.logging import configure
PLANTED = "jane.roe" + "@example.org"
"""
CONFIGURED = f"{SETUP}configure(Settings())\n"

# A process that the server's own command has begun to configure, before the application does.
STARTED_BY_UVICORN = f"""{SETUP}
import logging.config, uvicorn.config
logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)
configure(Settings())
logging.getLogger("uvicorn.error").error("failed for %s", PLANTED, extra={{"color_message": PLANTED}})
logging.getLogger("uvicorn.access").info("GET /?token=planted")
"""

# A handler of another part, whose formatting fails.
FAILING_HANDLER = f"""{CONFIGURED}
logging.getLogger().addHandler(logging.StreamHandler())
logging.getLogger("app").error("%d orders for %s", "planted", "planted")
"""

STATEMENT = f"""{CONFIGURED}
from sqlalchemy import create_engine, text
with create_engine("sqlite://", echo=True).connect() as connection:
    connection.execute(text("SELECT '" + PLANTED + "'"))
"""


def run(script: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, whose lines are JSON."""
    variables = {"PATH": os.environ["PATH"], "ENV_FILE": "", "LOG_FORMAT": "json"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
    return subprocess.run(
        [sys.executable, "-c", script], env=variables, timeout=60, check=False, **streams
    )


def lines_of(ended: subprocess.CompletedProcess[str]) -> list[Line]:
    assert ended.stdout == ""
    return [json.loads(line) for line in ended.stderr.splitlines()]


def test_a_handler_that_fails_prints_nothing() -> None:
    ended = run(FAILING_HANDLER)
    assert [line["message"] for line in lines_of(ended)] == ["[not logged: <string>:9 (TypeError)]"]


@pytest.mark.parametrize(
    "end",
    [
        "raise ValueError(PLANTED)",
        "threading.Thread(target=int, args=[PLANTED]).start()",
        "type('X', (), {'__del__': lambda self: int(PLANTED)})()",
        "warnings.warn(PLANTED)",
    ],
)
def test_what_the_interpreter_would_print_is_logged_through_the_filter(end: str) -> None:
    (line,) = lines_of(run(CONFIGURED + end))
    told = f"{line['message']} {line.get('exception')}"
    assert "[EMAIL]" in told or "[Filtered]" in told
    assert "jane.roe" not in told


def test_a_process_that_uvicorn_starts_logs_through_the_filter_too() -> None:
    (line,) = lines_of(run(STARTED_BY_UVICORN))
    assert (line["logger"], line["message"]) == ("uvicorn.error", "failed for [EMAIL]")
    assert tuple(line) == FIELDS


def test_a_statement_of_sqlalchemy_is_logged_once_and_through_the_filter() -> None:
    lines = lines_of(run(STATEMENT))
    assert {line["logger"] for line in lines} == {"sqlalchemy.engine.Engine"}
    assert [line["message"] for line in lines if "SELECT" in line["message"]] == [
        "SELECT '[EMAIL]'"
    ]


FAILING_STREAM = f"""{CONFIGURED}
from app.observability.metrics import expose
for number in range(1000):
    logging.getLogger("app").error("line %d", number)
shown = expose("")[0].decode().splitlines()
print([line for line in shown if line.startswith("log_lines_dropped_total")])
"""


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(
    ("opened", "reason"),
    [
        (lambda: os.open("/dev/full", os.O_WRONLY), "ENOSPC"),
        (closed_pipe, "EPIPE"),
    ],
    ids=["a full disk", "a closed pipe"],
)
def test_a_process_whose_log_can_not_be_written_goes_on(
    opened: Callable[[], int], reason: str
) -> None:
    stream = opened()
    try:
        ended = run(FAILING_STREAM, stderr=stream)
    finally:
        os.close(stream)
    counted = f'log_lines_dropped_total{{reason="{reason}"}} 1000.0'
    assert (ended.returncode, ended.stdout) == (0, f"{[counted]}\n")


def test_a_line_that_can_be_neither_written_nor_counted_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Broken()
    stream.error = OSError(errno.ENOSPC, "planted")
    monkeypatch.setattr(sys, "stderr", stream)

    def fail(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "planted")

    monkeypatch.setattr(metrics.LOG_LINES_DROPPED, "labels", fail)
    StandardError().handle(record_of("x"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def standard_error(stream: io.StringIO) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        yield


@pytest.mark.parametrize(
    ("stream", "variables", "coloured"),
    [
        (Terminal, {}, True),
        (Terminal, {"NO_COLOR": ""}, True),
        (Terminal, {"NO_COLOR": "1"}, False),
        (io.StringIO, {}, False),
    ],
)
@pytest.mark.usefixtures("lines")
def test_lines_are_coloured_on_a_terminal_only(
    stream: type[io.StringIO],
    variables: dict[str, str],
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    made = stream()
    with standard_error(made):
        configure(Settings(LOG_FORMAT="console"))
        LOG.error("said: \x1b[31m%s", "\x1b[0m")
    assert ("\x1b" in made.getvalue()) is coloured
    assert "said: \\x1b[31m\\x1b[0m" in made.getvalue()


@pytest.mark.parametrize(
    ("environment", "wanted", "is_json"),
    [
        ("development", "auto", False),
        ("staging", "auto", True),
        ("production", "auto", True),
        ("development", "json", True),
        ("production", "console", False),
    ],
)
@pytest.mark.usefixtures("lines")
def test_lines_are_for_people_in_development_and_json_elsewhere(
    environment: str, wanted: str, is_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.model_validate({"LOG_FORMAT": wanted, "APP_VERSION": "4.5.6"})
    configure(settings.model_copy(update={"ENVIRONMENT": environment}))
    LOG.error("hello")
    line = capsys.readouterr().err
    assert line.startswith("{") is is_json
    assert "4.5.6" in line


# Many requests at a time.

TENANTS = [f"tenant-{number}" for number in range(50)]


def talkative(app: FastAPI) -> None:
    """Add a route that logs from wherever code of a request may run, while all others do."""
    together = asyncio.Barrier(len(TENANTS))

    def say(where: str, tenant: str) -> None:
        logging.getLogger("app.example").info(where, extra={"of": tenant})

    @app.get("/talk")
    async def talk(user: CurrentUser, later: BackgroundTasks) -> None:
        async def in_a_task() -> None:
            await together.wait()
            say("in a task", user.tenant_id)

        task = asyncio.create_task(in_a_task())
        say("at first", user.tenant_id)
        await task
        await asyncio.to_thread(say, "in a thread", user.tenant_id)
        await asyncio.gather(asyncio.to_thread(say, "in another", user.tenant_id), in_a_task())
        structlog.get_logger("app.example").info("at last", of=user.tenant_id)
        later.add_task(say, "after the answer", user.tenant_id)

    @app.get("/fail")
    async def fail(user: CurrentUser) -> None:
        await together.wait()
        raise RuntimeError(user.tenant_id)

    @app.get("/in-a-thread")
    def run_in_a_thread(user: CurrentUser) -> None:
        say("in a route of its own thread", user.tenant_id)


async def call(app: FastAPI, settings: Settings) -> None:
    """Serve an application over a socket, and have all tenants call it at the same time."""
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    limits = httpx.Limits(max_connections=len(TENANTS))
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=30, limits=limits
    ) as client:

        async def ask(tenant: str, token: str, path: str) -> None:
            headers = {"Authorization": f"Bearer {token}", "X-Request-ID": f"{tenant}.{path[1:]}"}
            await client.get(path, headers=headers)

        tokens = {tenant: issuer.issue(settings, tenant, "alice") for tenant in TENANTS}
        for path in ("/talk", "/fail", "/in-a-thread"):
            await asyncio.gather(*(ask(*each, path) for each in tokens.items()))
    server.should_exit = True
    await serving


@pytest.mark.anyio
@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
async def test_each_line_of_a_request_carries_its_tenant_while_others_are_served(
    settings: Settings, lines: Callable[[], list[Line]]
) -> None:
    app = create_app(settings.model_copy(update={"LOG_FORMAT": "json"}))
    talkative(app)
    async with app.router.lifespan_context(app):
        for name in TENANTS:
            await lifecycle.create(name)
        lines()
        await call(app, settings)
    told = [line for line in lines() if line["request_id"]]
    assert len(told) == len(TENANTS) * (7 + 1 + 1 + 1 + 1 + 1)
    assert {line["logger"] for line in told} == {"app.example", "app.request", "uvicorn.error"}
    assert [
        line for line in told if line["tenant_id"] != line["request_id"].partition(".")[0]
    ] == []
    assert [line for line in told if line.get("of", line["tenant_id"]) != line["tenant_id"]] == []
    assert len({line["session_id"] for line in told}) == len(TENANTS)
    assert {line["operation"] for line in told} == {"GET /talk", "GET /fail", "GET /in-a-thread"}
