"""Canaries, the places where they get into what the SDK sends, and how each gets there."""

import asyncio
import base64
import dataclasses
import json
import linecache
import logging
import re
import sys
import threading
import time
import types
import warnings
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus

import httpx
import pydantic
import sentry_sdk
import sqlalchemy
from fastapi import FastAPI, HTTPException
from sentry_sdk import crons, metrics, traces
from sentry_sdk import logger as sentry_log
from sentry_sdk.envelope import Envelope, Item, PayloadRef
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Message

from app import sentry
from app.telemetry.options import SAFE_TO_PROFILE

log = logging.getLogger("app.planting")


@dataclass(frozen=True)
class Canary:
    """What is planted in one place. Only `plain` can't be recognised, by its name or its shape."""

    number: int

    @property
    def mail(self) -> str:
        return f"zke{self.number:03}@planted-example.org"

    @property
    def secret(self) -> str:
        """Stands under a sensitive name wherever it is planted."""
        return f"zkn{self.number:03}"

    @property
    def plain(self) -> str:
        return f"zkp{self.number:03}"

    @property
    def text(self) -> str:
        return f"{self.mail} password={self.secret} {self.plain}"

    @property
    def data(self) -> dict[str, object]:
        return {
            "password": self.secret,
            "mail": self.mail,
            "note": self.plain,
            f"key {self.mail}": 1,
            "list": [["api_key", self.secret], {"value": self.text}],
        }


CORE = re.compile(r"zk[enp]\d{3}", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")


def found(text: str) -> set[str]:
    """Return what is found of the canaries in a text: as they are, percent-encoded, in base64."""
    layers = [text, unquote_plus(text), unquote_plus(unquote_plus(text))]
    layers += [_decoded(run) for run in set(_BASE64.findall(text))]
    return {core.lower() for layer in layers for core in CORE.findall(layer)}


def _decoded(run: str) -> str:
    """Decode base64 that may begin before the run does, and end where it does not."""
    run = run.rstrip("=").translate(str.maketrans("-_", "+/"))
    shifted = [f"{run[start:]}{'A' * (-len(run[start:]) % 4)}" for start in range(4)]
    return " ".join(base64.b64decode(each).decode("latin-1") for each in shifted)


Plant = Callable[[Canary], object]
Request = Callable[[Canary], dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """A place, how a canary gets there, and the types of the items that it arrives with."""

    name: str
    plant: Plant | None = None
    """Run in the service while it serves the request of this place; may raise, or respond."""
    request: Request | None = None
    """What the caller puts into the request: arguments of `httpx.request`."""
    stage: str = "route"
    """Where in the service it is run: see `tests.wire.faulty_app`."""
    static: tuple[str, ...] = ("event", "transaction")
    stream: tuple[str, ...] = ("event", "span")


# What the caller of the service can do.

REQUESTS: dict[str, Request] = {
    "a parameter of the query": lambda c: {"params": {"note": c.text, "password": c.secret}},
    "the name of a parameter": lambda c: {"params": {c.mail: "x", c.plain: "y"}},
    "JSON in the query": lambda c: {"params": {"filter": json.dumps(c.data)}},
    "base64 in the query": lambda c: {"params": {"state": _base64(c)}},
    "percent-encoding in the query": lambda c: {"params": {"next": quote(quote(c.text))}},
    "an address in the query": lambda c: {
        "params": {"next": f"https://u:{c.secret}@h/?q={c.mail}"}
    },
    "a header of its own": lambda c: {"headers": {"X-Note": c.text, "X-Api-Key": c.secret}},
    "the name of a header": lambda c: {"headers": {f"X-{c.plain}": c.mail}},
    "Authorization: Bearer": lambda c: {"headers": {"Authorization": f"Bearer {c.secret}.x.y"}},
    "Authorization: Basic": lambda c: {"headers": {"Authorization": f"Basic {_base64(c)}"}},
    "Authorization: another": lambda c: {"headers": {"Authorization": f"Api-Key {c.secret}"}},
    "Proxy-Authorization": lambda c: {"headers": {"Proxy-Authorization": f"Basic {_base64(c)}"}},
    "a cookie": lambda c: {"headers": {"Cookie": f"sessionid={c.secret}; mail={c.mail}"}},
    "a cookie without a name": lambda c: {"headers": {"Cookie": c.secret}},
    "Referer": lambda c: {"headers": {"Referer": f"https://h/reset?token={c.secret}&m={c.mail}"}},
    "Origin": lambda c: {"headers": {"Origin": f"https://u:{c.secret}@{c.mail}"}},
    "User-Agent": lambda c: {"headers": {"User-Agent": c.text}},
    "Accept-Language": lambda c: {"headers": {"Accept-Language": c.mail}},
    "If-None-Match": lambda c: {"headers": {"If-None-Match": f'"{c.mail}"'}},
    "Host": lambda c: {"headers": {"Host": c.mail}},
    "X-Forwarded-For": lambda c: {"headers": {"X-Forwarded-For": f"{c.mail}, 203.0.113.5"}},
    "X-Real-IP": lambda c: {"headers": {"X-Real-IP": c.mail}},
    "Forwarded": lambda c: {"headers": {"Forwarded": f'for="{c.mail}";by={c.mail}'}},
    "Content-Type": lambda c: {
        "headers": {"Content-Type": f"text/x; boundary={c.mail}"},
        "content": b"x",
    },
    "X-Request-ID": lambda c: {"headers": {"X-Request-ID": c.mail}},
    "baggage of others": lambda c: {"headers": {"baggage": f"user={c.plain},password={c.secret}"}},
    "baggage of a trace": lambda c: {"headers": {"baggage": _baggage(c)}},
    "tracestate": lambda c: {"headers": {"tracestate": f"vendor={c.plain}"}},
    "a body in JSON": lambda c: {"json": c.data},
    "a body in JSON, nested": lambda c: {"json": _nested(c, 50)},
    "a body in JSON, a list": lambda c: {"json": [c.text, ["password", c.secret]]},
    "a body in JSON, a string of JSON": lambda c: {"json": json.dumps(c.data)},
    "a form": lambda c: {"data": {"password": c.secret, "note": c.text, c.mail: "x"}},
    "a field of a multipart form": lambda c: {"data": {"password": c.secret}, "files": {"f": b"x"}},
    "a file that is uploaded": lambda c: {"files": {"f": (f"{c.mail}.pdf", c.text.encode())}},
    "a body in plain text": lambda c: {
        "content": c.text,
        "headers": {"Content-Type": "text/plain"},
    },
    "a body in bytes": lambda c: {"content": b"\xff\xfe" + c.text.encode("utf-16-le")},
    "a body in XML": lambda c: {"content": f"<password>{c.secret}</password><m>{c.mail}</m>"},
    "a body that is no JSON": lambda c: {
        "content": '{"password": "' + c.secret,
        "headers": {"Content-Type": "application/json"},
    },
    "a large body": lambda c: {"json": {"note": [c.text] * 10_000}},
}

# A request that is answered without one of the service's routes for it, or not by it.
EDGES: dict[str, Request] = {
    "the path of no route": lambda c: {"path": f"/nowhere/{c.mail}/password={c.secret}"},
    "the path of no route, encoded": lambda c: {"path": f"/nowhere/{quote(quote(c.text))}"},
    "the path of no route, in base64": lambda c: {"path": f"/nowhere/{_base64(c)}"},
    "the path of no route, a user's folder": lambda c: {"path": f"/home/{c.plain}/.ssh/{c.mail}"},
    "a parameter that is refused": lambda c: {"path": f"/canaries/validation/{c.plain}"},
    "a body that is refused": lambda c: {"path": "/canaries/validation/1", "json": c.data},
}


def _base64(c: Canary) -> str:
    return base64.b64encode(c.text.encode()).decode()


def _baggage(c: Canary) -> str:
    names = [
        *("environment", "release", "transaction", "user_segment", "public_key", "sample_rate"),
        *("sample_rand", "sampled", "replay_id", "org", c.plain),
    ]
    return ",".join(f"sentry-{name}={quote(c.text)}" for name in names)


def _nested(c: Canary, depth: int) -> object:
    value: object = c.data
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return value


# What the service can do, or what is done to it, while it serves a request.


def raising(make: Callable[[Canary], BaseException]) -> Plant:
    """Raise what is made of the canary."""

    def plant(c: Canary) -> None:
        raise make(c)

    return plant


class Rude:
    """An object that tells all in its `repr`, as many a class does."""

    def __init__(self, c: Canary) -> None:
        self.canary = c

    def __repr__(self) -> str:
        return (
            f"<Rude mail={self.canary.mail!r} password={self.canary.secret!r} {self.canary.plain}>"
        )


class ToldError(Exception):
    """An exception that has its message where the SDK looks for one."""

    def __init__(self, c: Canary, name: str) -> None:
        super().__init__()
        setattr(self, name, c.text)


@dataclass
class Customer:
    mail: str
    password: str


class Order(pydantic.BaseModel):
    """What refuses a canary, and says so with it."""

    number: int


def _chained(c: Canary) -> None:
    try:
        raise KeyError(c.text)
    except KeyError as error:
        raise RuntimeError("while an order was looked up") from error


def _in_the_course_of(c: Canary) -> None:
    try:
        raise LookupError(c.text)
    except LookupError:
        raise RuntimeError("an order was lost")  # noqa: B904 - without a cause on purpose


def _noted(c: Canary) -> None:
    error = ValueError("an order is bad")
    error.add_note(c.text)
    raise error


def _grouped(c: Canary) -> None:
    inner = ExceptionGroup(c.text, [ValueError(c.text), OSError(13, c.text, f"/home/{c.plain}/x")])
    raise ExceptionGroup("some orders failed", [inner, KeyError(c.mail)])


def run_source(source: str, c: Canary, file: str = "orders.py", module: str = "orders") -> None:
    """Run a source text whose lines can be read, as those of a file."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names = {"__name__": module, "c": c}
    exec(compile(source, file, "exec"), names)
    names["go"]()  # type: ignore[operator]


def _source_lines(c: Canary) -> None:
    lines = ["def go():", f"    # ask {c.mail} about this", f"    password = '{c.secret}'"]
    run_source("\n".join([*lines, "    raise ValueError('an order failed')"]), c)


def _function_named(name: str, c: Canary) -> None:
    def go() -> None:
        raise ValueError("an order failed")

    go.__code__ = go.__code__.replace(co_name=name, co_qualname=name)
    go()


def _class_named(name: str) -> None:
    raise type(name, (Exception,), {"__module__": name})("an order failed")


GO = "def go():\n    raise ValueError('an order failed')"

RAISED: dict[str, Plant] = {
    "an exception's message": raising(lambda c: ValueError(f"order of {c.text} failed")),
    "an exception's arguments": raising(
        lambda c: ValueError("order", c.data, Rude(c), c.text.encode())
    ),
    "an exception's `message`": raising(lambda c: ToldError(c, "message")),
    "an exception's `detail`": raising(lambda c: ToldError(c, "detail")),
    "an exception's cause": _chained,
    "an exception's context": _in_the_course_of,
    "an exception's notes": _noted,
    "a group of exceptions": _grouped,
    "a missing key": lambda c: {"order": 1}[c.text],
    "a missing file": lambda c: Path(f"/home/{c.plain}/{c.mail}").read_text("utf-8"),
    "text that can not be decoded": lambda c: (c.text.encode() + b"\xff").decode(),
    "text that is no number": lambda c: int(c.text),
    "JSON that can not be read": lambda c: json.loads(c.text),
    "data that pydantic refuses": lambda c: Order.model_validate({"number": c.text}),
    "an error that is answered": raising(lambda c: HTTPException(500, detail=c.data)),
    "an attribute that is missing": lambda c: getattr(Rude(c), c.plain),
    "a module that is missing": lambda c: __import__(c.plain),
    "a function's name": lambda c: _function_named(f"{c.mail} {c.plain}", c),
    "a class's name": lambda c: _class_named(f"{c.mail} {c.plain}"),
    "a module's name": lambda c: run_source(GO, c, module=f"{c.mail} {c.plain}"),
    "a function's name, a word": lambda c: _function_named(c.plain, c),
    "a class's name, a word": lambda c: _class_named(c.plain),
    "a module's name, a word": lambda c: run_source(GO, c, module=c.plain),
    "a file's path": lambda c: run_source(GO, c, f"/home/{c.plain}/{c.mail}/orders.py"),
    "a file's path on Windows": lambda c: run_source(
        GO, c, rf"C:\Users\{c.plain}\{c.mail}\orders.py"
    ),
    "a file's name": lambda c: run_source(GO, c, f"/srv/{c.mail}.py"),
    "lines of source": _source_lines,
}


def _local(make: Callable[[Canary], object]) -> Plant:
    """Raise while a variable holds what is made of the canary."""

    def plant(c: Canary) -> None:
        value = make(c)
        raise ValueError("an order failed", type(value))

    return plant


def _secret_local(c: Canary) -> None:
    password = c.secret
    api_key = {"value": c.secret}
    raise ValueError("an order failed", len(password), len(api_key))


def _class_with(c: Canary) -> type:
    return types.new_class("Order", (), {}, lambda names: names.update(password=c.secret))


LOCALS: dict[str, Plant] = {
    "a variable": _secret_local,
    "a variable, text": _local(lambda c: c.text),
    "a variable, a mapping": _local(lambda c: c.data),
    "a variable, nested": _local(lambda c: _nested(c, 50)),
    "a variable, bytes": _local(lambda c: c.text.encode()),
    "a variable, an object": _local(Rude),
    "a variable, a data class": _local(lambda c: Customer(c.mail, c.secret)),
    "a variable, a list of objects": _local(lambda c: [Rude(c), (Rude(c), {Rude(c)})]),
    "a variable, an exception": _local(lambda c: ValueError(c.text)),
    "a variable, pairs": _local(lambda c: [("password", c.secret), (b"cookie", c.secret.encode())]),
    "a variable, a class": _local(_class_with),
    "a variable, a request": _local(lambda c: httpx.Request("GET", f"https://h/?mail={c.mail}")),
}


def _log_rudely(c: Canary) -> None:
    log.error(Rude(c))


def _log_a_name(c: Canary) -> None:
    logging.getLogger(f"app.{c.mail}.{c.plain}").error("an order failed")


def _log_a_level(c: Canary) -> None:
    logging.addLevelName(45, c.mail)
    log.log(45, "an order failed")


def _log_an_exception(c: Canary) -> None:
    try:
        raise ValueError(c.text)
    except ValueError:
        log.exception("the order of %s failed", c.mail)


def _log_elsewhere(c: Canary) -> None:
    record = log.makeRecord(
        "app.orders",
        logging.ERROR,
        f"/home/{c.plain}/{c.mail}.py",
        7,
        c.text,
        (),
        None,
        func=c.mail,
        extra={"mail": c.mail, "password": c.secret, "note": c.plain},
    )
    record.threadName = record.processName = record.taskName = c.text
    log.handle(record)


def _warn(c: Canary) -> None:
    logging.captureWarnings(True)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"the order of {c.text} is old", stacklevel=1)
    logging.captureWarnings(False)
    log.error("an order failed")


LOGGED: dict[str, Plant] = {
    "a log call's parameters": lambda c: log.error("order of %s, password=%s", c.text, c.secret),
    "a log call's mapping": lambda c: log.error("order of %(mail)s %(note)s", c.data),
    "a log call's f-string": lambda c: log.error(f"order of {c.text} failed"),
    "a log call's format": lambda c: log.error(f"order of {c.text} failed"),
    "a log call's objects": lambda c: log.error("order of %r: %s", Rude(c), c.data),
    "a log call's extra": lambda c: log.error(
        "an order failed", extra={"order": c.data, "note": c.text}
    ),
    "a log call's exception": _log_an_exception,
    "a log call's stack": lambda c: log.error("order of %s failed", c.text, stack_info=True),
    "a log call of an object": _log_rudely,
    "a log record's fields": _log_elsewhere,
    "a logger's name": _log_a_name,
    "a level's name": _log_a_level,
    "a warning": _warn,
    "a log call before an error": lambda c: log.info(
        "order of %s, password=%s", c.mail, c.secret, extra=c.data
    ),
}


def _call(url: str) -> Plant:
    def plant(c: Canary) -> None:
        with httpx.Client(timeout=1) as client:
            client.get(url.format(mail=c.mail, secret=c.secret, plain=c.plain))

    return plant


def crumb(**fields: Callable[[Canary], object]) -> Plant:
    """Leave a breadcrumb."""
    return lambda c: sentry_sdk.add_breadcrumb({name: make(c) for name, make in fields.items()})


CRUMBS: dict[str, Plant] = {
    "a breadcrumb's message": crumb(message=lambda c: f"order of {c.text}"),
    "a breadcrumb's data": crumb(data=lambda c: c.data),
    "a breadcrumb's category": crumb(category=lambda c: f"{c.mail} {c.plain}"),
    "a breadcrumb's category, a word": crumb(category=lambda c: c.plain),
    "a breadcrumb's type": crumb(type=lambda c: c.mail + c.plain),
    "a breadcrumb's level": crumb(level=lambda c: c.mail + c.plain),
    "a breadcrumb's field of its own": crumb(note=lambda c: c.text),
    "a breadcrumb of the service": lambda c: sentry.add_breadcrumb(
        f"order of {c.text}", c.mail, "info", c.data
    ),
    "a breadcrumb of Redis": crumb(
        message=lambda c: f"SET 'session:{c.mail}' '{c.plain}'",
        category=lambda c: "redis",
        type=lambda c: "redis",
        data=lambda c: {"redis.key": c.mail, "redis.command": "SET", "db.operation": c.plain},
    ),
    "a breadcrumb of a process": crumb(
        message=lambda c: f"curl -u {c.mail} --password {c.secret} {c.plain}",
        category=lambda c: "subprocess",
        type=lambda c: "subprocess",
        data=lambda c: {"subprocess.cwd": f"/home/{c.plain}", "mail": c.mail},
    ),
    "a call of another service": _call("http://localhost:9/{plain}/{mail}?password={secret}"),
}


def _database(statement: str, **parameters: str) -> Plant:
    def plant(c: Canary) -> None:
        fill = {"mail": c.mail, "secret": c.secret, "plain": c.plain}
        with sqlalchemy.create_engine("sqlite://").connect() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE orders (mail text UNIQUE, n int)"))
            connection.execute(
                sqlalchemy.text(statement.format(**fill)),
                {name: value.format(**fill) for name, value in parameters.items()},
            )

    return plant


DATABASE: dict[str, Plant] = {
    "a statement's literals": _database("SELECT '{mail}', '{plain}' AS password FROM orders"),
    "a statement's condition": _database(
        "SELECT 1 FROM orders WHERE password = '{secret}' OR mail = '{mail}'"
    ),
    "a statement's parameters": _database(
        "SELECT 1 FROM orders WHERE mail IN (:mail, :x)", mail="{mail}", x="{plain}"
    ),
    "a statement's comment": _database(
        "SELECT 1 /* {mail} password={secret} {plain} */ FROM orders"
    ),
    "a statement's names": _database('SELECT 1 AS "{mail} {plain}" FROM orders'),
    "a statement that fails": _database(
        "SELECT '{mail}', '{plain}' FROM nowhere WHERE password = '{secret}'"
    ),
    "a parameter that fails": _database(
        "INSERT INTO orders VALUES (:mail, 1), (:mail, 2)", mail="{mail} {plain}"
    ),
}


def _scope(change: Callable[[sentry_sdk.Scope, Canary], object]) -> Plant:
    return lambda c: change(sentry_sdk.get_isolation_scope(), c)


def on_event(change: Callable[[dict[str, Any], Canary], object]) -> Plant:
    """Change the reports of this request as an event processor of the SDK does."""

    def plant(c: Canary) -> None:
        def process(event: Any, hint: Any) -> Any:
            change(event, c)
            return event

        sentry_sdk.get_isolation_scope().add_event_processor(process)

    return plant


def _field(name: str) -> Plant:
    return on_event(lambda event, c: event.update({name: c.text}))


def _label(name: str) -> Plant:
    """Set what an operator sets: any text but what is recognised passes, in both modes."""
    return on_event(lambda event, c: event.update({name: f"{c.mail} password={c.secret}"}))


def _context(name: str, make: Callable[[Canary], dict[str, object]]) -> Plant:
    return _scope(lambda scope, c: scope.set_context(name, make(c)))


def _huge(c: Canary) -> str:
    return f"{c.text} {'order ' * 175_000} {c.text}"


SCOPE: dict[str, Plant] = {
    "a tag": _scope(lambda scope, c: scope.set_tag("note", c.text)),
    "a tag under a sensitive name": _scope(lambda scope, c: scope.set_tag("db_password", c.secret)),
    "a tag's name": _scope(lambda scope, c: scope.set_tag(f"{c.mail} {c.plain}", "x")),
    "the tag of the tenant": _scope(lambda scope, c: scope.set_tag("tenant_id", c.text)),
    "a tag of the service": lambda c: sentry.set_tag("note", c.text),
    "a context": _context("order", lambda c: c.data),
    "a context's name": lambda c: sentry_sdk.set_context(f"{c.mail} {c.plain}", {"a": 1}),
    "a context of the service": lambda c: sentry.set_context("order", c.data),
    "the context of the trace": on_event(
        lambda event, c: (
            event["contexts"]
            .setdefault("trace", {})
            .update(data=c.data, op=c.text, description=c.text, origin=c.mail, status=c.mail)
        )
    ),
    "the context of the runtime": _context("runtime", lambda c: {"name": c.mail, "build": c.text}),
    "the context of the device": _context("device", lambda c: {"name": c.text, "model": c.plain}),
    "the context of the response": _context(
        "response",
        lambda c: {"headers": {"Set-Cookie": c.secret}, "data": c.text, "status_code": c.mail},
    ),
    "the context of feedback": _context(
        "feedback", lambda c: {"message": c.text, "contact_email": c.mail, "name": c.plain}
    ),
    "extra data": _scope(lambda scope, c: scope.set_extra("order", c.data)),
    "extra data, its name": _scope(lambda scope, c: scope.set_extra(f"{c.mail} {c.plain}", 1)),
    "extra data, JSON in a string": _scope(
        lambda scope, c: scope.set_extra("order", json.dumps(json.dumps(c.data)))
    ),
    "extra data, base64": _scope(lambda scope, c: scope.set_extra("order", _base64(c))),
    "extra data, percent-encoded": _scope(
        lambda scope, c: scope.set_extra("order", quote(quote(c.text, safe=""), safe=""))
    ),
    "extra data, bytes": _scope(lambda scope, c: scope.set_extra("order", c.text.encode())),
    "extra data, an object": _scope(lambda scope, c: scope.set_extra("order", Rude(c))),
    "extra data, nested": _scope(lambda scope, c: scope.set_extra("order", _nested(c, 50))),
    "extra data, a mebibyte": _scope(lambda scope, c: scope.set_extra("order", _huge(c))),
    "extra data, half a character": _scope(
        lambda scope, c: scope.set_extra("order", f"\ud800 {c.text} \udfff")
    ),
    "extra data, not a number": _scope(
        lambda scope, c: scope.set_extra(
            "order", {"password": c.secret, c.mail: float("nan"), "n": float("inf")}
        )
    ),
    "extra data, a cookie jar": _scope(
        lambda scope, c: scope.set_extra("cookies", {"a": c.secret, "b": [c.secret]})
    ),
    "the user": lambda c: sentry_sdk.set_user(
        {
            "id": c.mail,
            "email": c.mail,
            "username": c.plain,
            "ip_address": "203.0.113.9",
            "segment": c.text,
            "data": c.data,
            "geo": {"city": c.plain},
        }
    ),
    "the user of the service": lambda c: sentry.set_user_context(c.mail, "acme", c.mail, c.plain),
    "the fingerprint": on_event(lambda event, c: event.update(fingerprint=[c.text, c.plain])),
    "the level": on_event(lambda event, c: event.update(level=c.text)),
    "the transaction's name": lambda c: sentry_sdk.set_transaction_name(f"/orders/{c.text}"),
    "the transaction's name, as of a route": lambda c: sentry_sdk.set_transaction_name(
        f"/orders/{c.mail}", source="route"
    ),
    "the transaction's source": on_event(
        lambda event, c: event.update(transaction_info={"source": c.text, "password": c.secret})
    ),
    **{f"the event's {name}": _label(name) for name in ("release", "environment", "dist")},
    **{
        f"the event's {name}": _field(name)
        for name in ("server_name", "logger", "culprit", "platform", "message", "site", "unknown")
    },
    "the event's modules": on_event(
        lambda event, c: event.update(modules={c.mail: "1", "a": c.mail})
    ),
    "the event's SDK": on_event(
        lambda event, c: event.update(
            sdk={
                "name": c.mail,
                "version": c.mail,
                "packages": [{"name": c.mail, "version": c.mail}],
                "settings": c.data,
            }
        )
    ),
    "the event's threads": on_event(
        lambda event, c: event.update(
            threads={"values": [{"id": 1, "name": c.text, "state": c.plain, "held_locks": c.data}]}
        )
    ),
    "the event's debugging": on_event(
        lambda event, c: event.update(
            debug_meta={"images": [{"code_file": f"/home/{c.plain}/{c.mail}.so"}]},
            errors=[{"value": c.text}],
            _meta={"a": {"": {"val": c.text}}},
        )
    ),
    "the event's request": on_event(
        lambda event, c: event.update(
            request={
                "url": f"https://u:{c.secret}@h/?q={c.mail}",
                "cookies": c.data,
                "env": {"REMOTE_ADDR": "203.0.113.9", "PASSWORD": c.secret, "N": c.text},
                "data": c.data,
                "api_target": c.text,
            }
        )
    ),
    "the event's template": on_event(
        lambda event, c: event.update(
            template={"context_line": c.text, "filename": f"/home/{c.plain}/x.html"}
        )
    ),
    "the event's stack": on_event(
        lambda event, c: event.update(
            stacktrace={
                "frames": [
                    {
                        "function": c.text,
                        "vars": c.data,
                        "context_line": c.text,
                        "package": f"/home/{c.plain}",
                        "lineno": c.mail,
                    }
                ],
                "registers": c.data,
            }
        )
    ),
    "the event's mechanism": on_event(
        lambda event, c: event.update(
            exception={
                "values": [
                    {
                        "type": "E",
                        "value": "v",
                        "mechanism": {
                            "type": c.mail,
                            "data": c.data,
                            "meta": c.data,
                            "help_link": c.text,
                        },
                        "module": c.mail,
                    }
                ]
            }
        )
    ),
    "the breadcrumbs of an event": on_event(
        lambda event, c: event.update(breadcrumbs={"values": [{"message": c.text, "data": c.data}]})
    ),
    "an attachment": _scope(
        lambda scope, c: scope.add_attachment(bytes=c.text.encode(), filename=f"{c.mail}.txt")
    ),
    "an attachment of a file": _scope(
        lambda scope, c: scope.add_attachment(
            path=__file__, filename=f"{c.mail}.py", content_type=c.mail
        )
    ),
    "a message": lambda c: sentry_sdk.capture_message(f"the order of {c.text}", level="error"),
    "a message of the service": lambda c: sentry.capture_message(
        f"the order of {c.text}", order=c.data, password=c.secret, note=c.text
    ),
    "an exception of the service": lambda c: sentry.capture_exception(ValueError(c.text), **c.data),
    "an event of its own": lambda c: sentry_sdk.capture_event(
        {
            "message": c.text,
            "tags": {"a": c.text},
            "extra": c.data,
            "logentry": {"message": "m %s", "params": [c.text, c.data]},
        }
    ),
}


def _span(**fields: Callable[[Canary], Any]) -> Plant:
    """Make a span of either life cycle."""

    def plant(c: Canary) -> None:
        made = {name: make(c) for name, make in fields.items()}
        data = made.pop("data", {})
        op, name = made.get("op", "function"), made.get("name", "order")
        if streaming():
            with traces.start_span(name=name, attributes={"sentry.op": op, **data}):
                pass
            return
        with sentry_sdk.start_span(op=op, name=name, origin=made.get("origin", "manual")) as span:
            for key, value in data.items():
                span.set_data(key, value)
            if "tag" in made:
                span.set_tag(*made["tag"])
            if "status" in made:
                span.set_status(made["status"])

    return plant


def streaming() -> bool:
    """Whether this process sends its traces span by span."""
    return bool(sentry_sdk.get_client().options.get("trace_lifecycle") == "stream")


def _flat(c: Canary) -> dict[str, Any]:
    return {
        "password": c.secret,
        "mail": c.mail,
        "note": c.plain,
        f"key {c.mail}": "x",
        "text": c.text,
    }


def _gen_ai(c: Canary) -> dict[str, str]:
    messages = json.dumps([{"role": "user", "content": c.text}])
    return {
        "gen_ai.request.messages": messages,
        "gen_ai.response.text": c.text,
        "gen_ai.request.model": c.mail,
    }


def _measure(c: Canary) -> None:
    if not streaming():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sentry_sdk.set_measurement(f"{c.mail} {c.plain}", 1.0, c.mail)


def _own_transaction(c: Canary) -> None:
    if streaming():
        with traces.start_span(name=f"orders of {c.text}", attributes=_flat(c), parent_span=None):
            pass
        return
    with sentry_sdk.start_transaction(name=f"orders of {c.text}", op=c.mail) as transaction:
        transaction.set_data("order", c.data)
        transaction.set_tag("note", c.text)


def _profiled(c: Canary) -> None:
    def go() -> None:
        time.sleep(0.12)

    go.__code__ = go.__code__.replace(
        co_name=f"{c.mail} {c.plain}",
        co_qualname=f"{c.mail} {c.plain}",
        co_filename=f"/home/{c.plain}/{c.mail}/orders.py",
    )
    thread = threading.Thread(target=go, name=c.text)
    thread.start()
    go()
    thread.join()


PROFILED: dict[str, tuple[Plant, str, str]] = {
    "a profile": (_profiled, "profile", "profile_chunk"),
}
TRACED: dict[str, Plant] = {
    "a span's name": _span(name=lambda c: f"order of {c.text}"),
    "a span's operation": _span(op=lambda c: f"{c.mail} {c.plain}"),
    "a span's data": _span(data=_flat),
    "a span's tag": _span(tag=lambda c: (c.mail, c.text)),
    "a span's status": _span(status=lambda c: c.mail + c.plain),
    "a span's origin": _span(origin=lambda c: c.mail + c.plain),
    "a span of a language model": _span(
        op=lambda c: "gen_ai.chat", name=lambda c: c.text, data=_gen_ai
    ),
    "a span of a tool": _span(
        op=lambda c: "gen_ai.execute_tool",
        data=lambda c: {"gen_ai.tool.input": json.dumps(c.data), "mail": c.mail},
    ),
    "a span of a cache": _span(
        op=lambda c: "cache.get",
        name=lambda c: f"session:{c.mail}",
        data=lambda c: {"cache.key": c.mail},
    ),
    "a span of a queue": _span(
        op=lambda c: "queue.process",
        data=lambda c: {"messaging.message.id": c.mail, "messaging.body": c.text},
    ),
    "a span of a call": _span(
        op=lambda c: "http.client",
        name=lambda c: f"GET https://u:{c.secret}@h/{c.mail}",
        data=lambda c: {"url": f"https://h/?token={c.secret}", "http.query": f"mail={c.mail}"},
    ),
    "a measurement": _measure,
    "a transaction of its own": _own_transaction,
}


def _metric(**fields: Callable[[Canary], Any]) -> Plant:
    def plant(c: Canary) -> None:
        made = {name: make(c) for name, make in fields.items()}
        metrics.count("orders.failed", 1)
        metrics.distribution(
            made.get("name", "orders.size"), 7.5, made.get("unit"), made.get("attributes", {})
        )

    return plant


METRICS: dict[str, Plant] = {
    "a metric's name": _metric(name=lambda c: f"orders of {c.text}"),
    "a metric's name, a word": _metric(name=lambda c: f"orders.{c.plain}"),
    "a metric's unit": _metric(unit=lambda c: c.mail + c.plain),
    "a metric's attributes": _metric(attributes=_flat),
    "a metric's attributes, objects": _metric(
        attributes=lambda c: {"order": Rude(c), "list": [c.text]}
    ),
}


def _attribute_of_all(c: Canary) -> None:
    scope = sentry_sdk.get_isolation_scope()
    scope.set_attribute("note", c.text)
    scope.set_attribute(f"key {c.mail}", c.plain)
    sentry_log.error("an order failed")


LOGS: dict[str, Plant] = {
    "a log's text": lambda c: sentry_log.error(f"order of {c.text}"),
    "a log's parameters": lambda c: sentry_log.error(
        "order of {mail} {note}", mail=c.mail, note=c.text
    ),
    "a log's attributes": lambda c: sentry_log.error("an order failed", attributes=_flat(c)),
    "a log's attributes, objects": lambda c: sentry_log.error(
        "an order failed", attributes={"order": Rude(c), "list": [c.text]}
    ),
    "an attribute of all": _attribute_of_all,
}


def _check_in(**fields: Callable[[Canary], Any]) -> Plant:
    def plant(c: Canary) -> None:
        made = {name: make(c) for name, make in fields.items()}
        crons.capture_checkin(**{"monitor_slug": "orders", "status": "ok", **made})

    return plant


CHECK_INS: dict[str, Plant] = {
    "a check-in's monitor": _check_in(monitor_slug=lambda c: f"{c.mail} {c.plain}"),
    "a check-in's configuration": _check_in(
        monitor_config=lambda c: {
            "schedule": {"type": "crontab", "value": c.text},
            "timezone": c.mail,
            **c.data,
        }
    ),
    "a check-in's status": _check_in(status=lambda c: c.mail + c.plain),
}


def _session(c: Canary) -> None:
    scope = sentry_sdk.get_isolation_scope()
    scope.set_user({"id": c.mail, "ip_address": "203.0.113.9"})
    scope.start_session(session_mode="application")
    session = scope._session
    assert session is not None
    session.update(did=c.text, user_agent=c.text, ip_address=c.mail, status="exited")
    session.update(user={"id": c.mail, "email": c.mail, "username": c.plain})
    scope.end_session()


def _envelope(kind: str) -> Plant:
    """Hand the transport what no hook has seen."""

    def plant(c: Canary) -> None:
        headers = {
            "filename": c.mail,
            "content_type": c.mail,
            "attachment_type": c.mail,
            "meta": c.data,
            c.plain: 1,
        }
        item = Item(
            PayloadRef(
                json={
                    **c.data,
                    "message": c.text,
                    "items": [
                        {
                            "name": c.text,
                            "body": c.text,
                            "attributes": {c.mail: {"value": c.text, "type": c.text}},
                        }
                    ],
                }
            ),
            headers,
            kind,
        )
        trace = dict.fromkeys(
            ("trace_id", "public_key", "sample_rate", "release", "transaction", c.plain), c.text
        )
        transport = sentry_sdk.get_client().transport
        assert transport is not None
        transport.capture_envelope(
            Envelope(
                {
                    "dsn": c.text,
                    "sdk": c.data,
                    "sent_at": c.text,
                    "event_id": c.mail,
                    "trace": trace,
                    c.plain: c.text,
                },
                [item, item],
            )
        )

    return plant


KINDS = [
    *("event", "transaction", "span", "log", "trace_metric", "check_in", "attachment", "session"),
    *("sessions", "profile", "profile_chunk", "client_report", "feedback", "user_report", "statsd"),
    *("replay_event", "replay_recording", "replay_video", "raw_security", "nel", "metric_buckets"),
    *("otel_log", "form_data", "unreal_report", "what-comes-next"),
]


def _report(c: Canary) -> None:
    transport = sentry_sdk.get_client().transport
    assert transport is not None
    transport.record_lost_event(c.text, c.mail)  # type: ignore[arg-type] # no category, on purpose


# What happens beside a request, or after it.


def _thread(c: Canary) -> None:
    def fail() -> None:
        raise ValueError(f"order of {c.text} failed")

    thread = threading.Thread(target=fail, name=c.text)
    thread.start()
    thread.join()


async def _task(c: Canary) -> None:
    async def fail() -> None:
        raise ValueError(f"order of {c.text} failed")

    await asyncio.gather(asyncio.create_task(fail(), name=c.text), return_exceptions=True)


async def _loop(c: Canary) -> None:
    loop = asyncio.get_running_loop()
    loop.call_exception_handler(
        {"message": c.text, "exception": ValueError(c.text), "order": Rude(c)}
    )


async def _in_a_thread(c: Canary) -> None:
    await asyncio.to_thread(raising(lambda c: ValueError(f"order of {c.text}")), c)


def _stream(c: Canary) -> Response:
    async def chunks() -> Any:
        yield b"order"
        raise ValueError(f"order of {c.text} failed")

    return StreamingResponse(chunks())


def _background(c: Canary) -> Response:
    return PlainTextResponse(
        "ok", background=BackgroundTask(raising(lambda c: ValueError(c.text)), c)
    )


def _traceback(c: Canary) -> None:
    logging.getLogger("uvicorn.error").error(
        f'Traceback:\n  File "/home/{c.plain}/x.py", line 1\nValueError: {c.text}'
    )


BESIDE: dict[str, Plant] = {
    "a thread that fails": _thread,
    "a task that fails": _task,
    "a fault of the loop": _loop,
    "a function in another thread": _in_a_thread,
    "a response that breaks off": _stream,
    "a task after the response": _background,
    "a traceback in the log": _traceback,
}
STAGES: dict[str, str] = {
    "a dependency that fails": "dependency",
    "a dependency that fails at its end": "teardown",
    "a route without async": "sync",
    "a middleware that fails": "middleware",
    "a handler of errors that fails": "handler",
    "a websocket": "websocket",
}


def _places() -> Iterator[Place]:
    for name, request in REQUESTS.items():
        yield Place(name, request=request)
    for name, request in EDGES.items():
        yield Place(name, request=request, static=("transaction",), stream=("span",))
    for group in (RAISED, LOCALS, LOGGED, CRUMBS, DATABASE, SCOPE, TRACED, BESIDE):
        for name, plant in group.items():
            yield Place(name, plant)
    failing = raising(lambda c: ValueError(f"order of {c.text} failed"))
    for name, stage in STAGES.items():
        yield Place(name, failing, stage=stage)
    # The SDK traces no request by a method that it does not know.
    yield Place("a request's method", failing, None, "method", ("event",), ("event",))
    for kind, group in {"trace_metric": METRICS, "log": LOGS, "check_in": CHECK_INS}.items():
        for name, plant in group.items():
            yield Place(name, plant, static=("event", kind), stream=("event", kind))
    for name, (plant, static, stream) in PROFILED.items():
        arriving = [("event", each) if SAFE_TO_PROFILE else ("event",) for each in (static, stream)]
        yield Place(name, plant, static=arriving[0], stream=arriving[1])
    yield Place("a session", _session)
    yield Place("a report of what was lost", _report)
    for kind in KINDS:
        yield Place(f"an envelope with {kind}", _envelope(kind))


PLACES = list(_places())
"""Each place has a canary of its own: that of its number here."""


# What a process can hold before and after it serves.


PROCESS: dict[str, Plant] = {
    "the command line": lambda c: None,  # both are there before it starts
    "the environment": lambda c: None,
    "an import that fails": lambda c: run_source("def go():\n    import " + c.plain, c),
    "a thread of a process": _thread,
    "a loop of a process": lambda c: asyncio.run(_task(c)),
    "an unraisable exception": lambda c: sys.unraisablehook(
        types.SimpleNamespace(
            exc_type=ValueError,
            exc_value=ValueError(c.text),
            exc_traceback=None,
            err_msg=c.text,
            object=Rude(c),
        )
    ),
    "a start that fails": lambda c: _lifespan(c, "startup"),
    "a stop that fails": lambda c: _lifespan(c, "shutdown"),
    "the exception that ends a process": raising(lambda c: ValueError(f"order of {c.text} failed")),
}


def _lifespan(c: Canary, step: str) -> None:
    """Start or stop the application with a fault, as a server does, and log what it says."""
    app = FastAPI()
    app.router.lifespan_context = lambda app: _Lifespan(c, step)
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        if "failed" in message["type"]:
            logging.getLogger("uvicorn.error").error(message["message"])

    try:
        asyncio.run(app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send))
    except ValueError:
        log.exception("the service could not %s", step)


@dataclasses.dataclass
class _Lifespan:
    canary: Canary
    step: str

    async def __aenter__(self) -> None:
        if self.step == "startup":
            raise ValueError(f"order of {self.canary.text} failed")

    async def __aexit__(self, *arguments: object) -> None:
        if self.step == "shutdown":
            raise ValueError(f"order of {self.canary.text} failed")


PROCESS_CANARIES = {name: Canary(900 + index) for index, name in enumerate(PROCESS)}


def arguments() -> list[str]:
    """Return the command line of a process that holds a canary there."""
    c = PROCESS_CANARIES["the command line"]
    return ["--mail", c.mail, "--password", c.secret, f"--token={c.secret}", c.mail]


def variables() -> dict[str, str]:
    """Return the environment of a process that holds a canary there."""
    c = PROCESS_CANARIES["the environment"]
    return {"DB_PASSWORD": c.secret, "CONTACT": c.mail, "NOTE": c.plain}


async def planted(place: Place, c: Canary) -> object:
    """Plant a canary and return what the route is to respond, if anything."""
    outcome = place.plant(c) if place.plant else None
    if isinstance(outcome, Awaitable):
        outcome = await outcome
    return outcome
