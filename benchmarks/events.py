"""The events whose scrubbing is timed: errors as a busy service sends them, and hostile strings."""

import itertools
import random
import string
from collections.abc import Iterator

Event = dict[str, object]

KILOBYTE = 1000
TYPICAL = 70 * KILOBYTE  # of about 3,800 nodes: 46 frames, 72 breadcrumbs and more
HOSTILE_LENGTH = 16 * 1024  # characters

SYLLABLES = [first + second for first in "bcdfghjklmnprstvwz" for second in "aeiouy"]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
HEADERS = (
    *("accept", "accept-encoding", "accept-language", "cache-control", "content-type", "host"),
    *("origin", "referer", "user-agent", "via", "x-forwarded-host", "x-request-start"),
)


class Values:
    """Values that were never seen before, of the kinds that events hold; numbered, so repeatable."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def word(self) -> str:
        """Return a word that could be a name in a program."""
        return "".join(self.random.choices(SYLLABLES, k=3))

    def number(self) -> int:
        """Return a number as counters, line numbers and identifiers are."""
        return self.random.randrange(10 ** self.random.randrange(2, 7))

    def digits(self, base: str, length: int) -> str:
        """Return digits of a base: an identifier, a checksum, a token."""
        return "".join(self.random.choices(base, k=length))

    def sentence(self) -> str:
        """Return a message such as programs log."""
        return f"{self.word()} {self.word()}: {self.number()} of {self.number()} done"

    def line(self) -> str:
        """Return a line of source code."""
        return f"    {self.word()} = {self.word()}({self.number()})"

    def query(self) -> str:
        """Return an SQL statement without literals."""
        table = self.word()
        return f"SELECT id, {self.word()} FROM {table} WHERE {table}.{self.word()} = $1"

    def url(self) -> str:
        """Return the URL of some resource."""
        return (
            f"https://{self.word()}.example.com/{self.word()}/{self.number()}?page={self.number()}"
        )

    def email(self) -> str:
        """Return an address that no mail reaches."""
        return f"{self.word()}.{self.word()}@example.com"

    def token(self) -> str:
        """Return what stands for a secret."""
        return self.digits(string.ascii_letters + string.digits, 24)


def typical(seed: int, size: int = TYPICAL) -> Event:
    """Return an error event of about `size` bytes as JSON.

    Its keys are the same for every seed. Its values are not, but for the words of which an event
    has few: levels, types, methods. Two or three values in a hundred are private.
    """
    values, share = Values(seed), size / TYPICAL
    return {
        "event_id": values.digits(string.hexdigits.lower(), 32),
        "platform": "python",
        "level": "error",
        "timestamp": f"2026-11-22T10:32:17.{values.number():06d}Z",
        "release": f"1.{values.number()}.{values.number()}",
        "environment": values.word(),
        "transaction": f"/v1/{values.word()}/{{id}}",
        "logger": values.word(),
        "logentry": {"message": values.sentence(), "params": [values.word(), values.number()]},
        "exception": {"values": [exception(values, round(46 * share))]},
        "breadcrumbs": {"values": [*itertools.islice(breadcrumbs(values), round(72 * share))]},
        "request": request(values),
        "contexts": contexts(values),
        "tags": {f"tag_{number}": values.word() for number in range(round(12 * share))},
        "extra": {
            "password": values.token(),
            "rows": [row(values) for _ in range(round(150 * share))],
        },
        "modules": {
            f"package-{number}": f"{values.random.randrange(30)}.{values.number()}"
            for number in range(round(120 * share))
        },
    }


def exception(values: Values, frames: int) -> Event:
    """Return an exception whose traceback has so many frames."""
    return {
        "type": values.word().title() + "Error",
        "module": values.word(),
        "value": f"{values.sentence()} for {values.email()}",
        "mechanism": {"type": "starlette", "handled": False},
        "stacktrace": {"frames": [frame(values, number) for number in range(frames)]},
    }


def frame(values: Values, number: int) -> Event:
    """Return a frame: every second one is of the service itself, and has variables."""
    path = f"{values.word()}/{values.word()}.py"
    frame: Event = {
        "filename": path,
        "abs_path": f"/srv/app/{path}",
        "module": f"{values.word()}.{values.word()}",
        "function": values.word(),
        "lineno": values.number(),
        "pre_context": [values.line() for _ in range(2)],
        "context_line": values.line(),
        "post_context": [values.line() for _ in range(2)],
        "in_app": bool(number % 2),
    }
    if number % 2:
        frame["vars"] = variables(values)
    return frame


def variables(values: Values) -> Event:
    """Return what the SDK keeps of a frame's variables: their representations."""
    return {
        "self": f"<{values.word()} object at 0x{values.digits('0123456789abcdef', 12)}>",
        "page": str(values.number()),
        "name": f"'{values.word()}'",
        "token": f"'{values.token()}'",
        "options": {"limit": str(values.number()), "order": f"'{values.word()}'"},
        "items": [str(values.number()) for _ in range(6)],
        "started": f"datetime.date(2026, 11, {values.number()})",
        "user": f"User(id={values.number()}, email='{values.email()}')",
    }


def breadcrumbs(values: Values) -> Iterator[Event]:
    """Yield what happened before, without end: queries, requests to other services, log records."""
    while True:
        when = f"2026-11-22T10:{values.random.randrange(60):02d}:{values.random.randrange(60):02d}Z"
        yield {
            "type": "default",
            "category": "query",
            "message": values.query(),
            "timestamp": when,
            "data": {"db.system": "postgresql", "duration_ms": values.random.random()},
        }
        yield {
            "type": "http",
            "category": "httplib",
            "timestamp": when,
            "data": {
                "url": values.url(),
                "method": values.random.choice(METHODS),
                "status_code": values.random.randrange(200, 505),
                "reason": values.word(),
                "attempt": values.number(),
            },
        }
        yield {
            "type": "log",
            "category": values.word(),
            "level": "info",
            "message": values.sentence(),
            "timestamp": when,
            "data": {"worker": values.word(), "queue": values.word(), "size": values.number()},
        }
        yield {
            "type": "log",
            "category": values.word(),
            "level": "warning",
            "message": f"no account for {values.email()}, {values.sentence()}",
            "timestamp": when,
            "data": {},
        }


def request(values: Values) -> Event:
    """Return the request in which the error happened."""
    headers = {name: f"{values.word()}/{values.number()}" for name in HEADERS}
    return {
        "method": "POST",
        "url": values.url(),
        "query_string": f"page={values.number()}&sort={values.word()}&api_key={values.token()}",
        "headers": headers | {"authorization": f"Bearer {values.token()}"},
        "cookies": {"session": values.token(), "theme": values.word()},
        "env": {"SERVER_NAME": values.word(), "REMOTE_ADDR": f"192.0.2.{values.number() % 255}"},
        "data": {f"field_{number}": values.word() for number in range(20)},
    }


def contexts(values: Values) -> Event:
    """Return where the error happened."""
    hexadecimal = "0123456789abcdef"
    trace = {"trace_id": values.digits(hexadecimal, 32), "span_id": values.digits(hexadecimal, 16)}
    return {
        "trace": trace | {"op": "http.server", "status": values.word()},
        "runtime": {
            "name": "CPython",
            "version": f"3.12.{values.number()}",
            "build": values.word(),
        },
        "job": {f"setting_{number}": values.number() for number in range(20)},
    }


def row(values: Values) -> Event:
    """Return one of the records that a service adds to its reports."""
    return {
        "id": values.number(),
        "name": values.word(),
        "state": values.word(),
        "active": bool(values.number() % 2),
        "price": values.number() / 100,
        "parent": None,
        "labels": [values.word(), values.word()],
        "size": {"width": values.number(), "height": values.number()},
    }


def nodes(value: object) -> int:
    """Count a value and all that is inside it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(nodes, inner))


# What a rule may begin with, or never come to the end of.
# fmt: off
STARTS = (
    *string.punctuation,
    *("a", "1", "0", " ", "\n", "\t", "é", "\uff20", "\u200b", "\u0661", "字"),
    *("a@", "a.", "a-", "@a.", "a@b.", "1.", "1:", "::", "a:", "1-", "1 ", "+1", "(1)", "1.1.1."),
    *("password=", "password:", "'password': '", '{"password":"', "token ", "secret=(", "key key "),
    *("eyJ", "eyJ.", "eyJ0.eyJ", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----\n", "AKIA", "ghp_"),
    *("http://", "a://b:", "://a:b@", "postgres://a:", "?a=", "&sig=", "?token=&", "#a=", "file:///"),
    *("/home/", "/", "C:\\", "\\\\a\\", "/Users/a/", "~a/", "../", "\\x00", "b'\\x", "\\u0040"),
    *("%25", "%40", "%2540", "&amp;", "&#64;", "=?utf-8?q?a", "QUFB", "Zm9v", "bWFp=", "61", "6f6f"),
    *("4111 ", "4111-1111-", "DE89 ", "GB82WEST", "078-05-", "12/", "2026-11-", "Bearer ", "Basic Q"),
    *("[[", "{", "[{", '{"a":', '["', "{'a': {", "((", "<a ", "<a>", "<a b='", "</", "<!--", "<![CDATA["),
    *("Cookie: a=", "Set-Cookie: a", "a=b; ", "a=b&", "a=b ", "a: b\n", "--a ", "-p", "export A="),
    *('s:8:"', "<key>a</key>", "setattr(a, 'b', ", ":password ", 'name="', 'value="', "password, "),
    *("a += ", "token[", "a -> ", "«", "-----BEGIN+", "-----END ", "MIIBa", "AUTH ", "a: b = "),
    *("00491", "/a/home/", "sftp://", "1 Main ", "\x1b[31m", "=40", "napi_", "a_b-", "$$", "a(value="),
    *("SELECT '", "''", "'a', ", "VALUES (", "DETAIL:  Key (a)=(", "input_value='", "a(b='", "User("),
)
# fmt: on


def hostile() -> Iterator[str]:
    """Yield strings on which a careless rule takes time that grows with the square of the length.

    Each start is repeated, alone and with another, and followed by a long run; then all are mixed.
    """
    chosen = random.Random(HOSTILE_LENGTH)
    for start in STARTS:
        yield repeated(start)
        yield repeated(start + chosen.choice(STARTS))
        yield start + repeated(chosen.choice("aA1 .:=/"))[len(start) :]
        yield repeated("".join(chosen.choices(STARTS, k=20)))


def repeated(text: str) -> str:
    """Repeat a text until it is as long as the hostile strings are."""
    return (text * (HOSTILE_LENGTH // len(text) + 1))[:HOSTILE_LENGTH]
