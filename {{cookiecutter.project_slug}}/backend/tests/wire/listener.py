"""A listener on loopback that receives what the service would send to Sentry, and decodes it."""

import gzip
import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE = 10.0  # seconds for an item to arrive
QUIET = 1.5  # seconds without anything new: a busy machine may hold a process up for less


@dataclass(frozen=True)
class Item:
    """One item of an envelope."""

    type: str
    headers: dict[str, Any]
    payload: dict[str, Any]


@dataclass(frozen=True)
class Envelope:
    """A request's body, decoded."""

    headers: dict[str, Any]
    items: list[Item]


@dataclass
class Listener:
    """What has arrived, raw and decoded, and how it is answered."""

    port: int
    bodies: list[bytes] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Requests that are no reports: their paths and their headers."""
    answer: str = "200"
    """A status, `hang` to answer nothing, or `close` to hang up."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set to let go of what hangs."""

    @property
    def dsn(self) -> str:
        return f"http://publickey@127.0.0.1:{self.port}/42"

    @property
    def text(self) -> str:
        """All that has arrived, decompressed, with what JSON escapes written out."""
        raw = b"\n".join(self.bodies).decode(errors="backslashreplace")
        decoded = [each.__dict__ for each in self.items()]
        headers = [each.headers for each in list(self.envelopes)]
        return "\n".join(
            [
                raw,
                *(json.dumps(each, ensure_ascii=False) for each in (decoded, headers, self.heads)),
            ]
        )

    def items(self, kind: str = "") -> list[Item]:
        """Return the items of a type, or all of them."""
        arrived = [item for envelope in list(self.envelopes) for item in envelope.items]
        return [item for item in arrived if kind in ("", item.type)]

    def wait_for(self, kind: str, matches: Callable[[Item], bool] = lambda _: True) -> Item:
        """Return the first item of a type that matches, once it has arrived."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for item in self.items(kind):
                if matches(item):
                    return item
            time.sleep(0.02)
        raise TimeoutError(f"no such {kind} among {[item.type for item in self.items()]}")

    def settle(self) -> None:
        """Wait until nothing has arrived for a while."""
        deadline = time.monotonic() + PATIENCE
        quiet_since, before = time.monotonic(), -1
        while time.monotonic() < min(deadline, quiet_since + QUIET):
            if len(self.bodies) != before:
                quiet_since, before = time.monotonic(), len(self.bodies)
            time.sleep(0.1)


def decompress(body: bytes, encoding: str) -> bytes:
    match encoding:
        case "gzip":
            return gzip.decompress(body)
        case "br":
            # The SDK uses Brotli where the package is installed.
            plain: bytes = importlib.import_module("brotli").decompress(body)
            return plain
    return body


def parse(body: bytes) -> Envelope:
    """Read the envelope format: a header line, then for each item a header line and a payload."""
    line, _, rest = body.partition(b"\n")
    items = []
    while rest.strip():
        header, _, rest = rest.partition(b"\n")
        headers = json.loads(header)
        payload, rest = rest[: headers["length"]], rest[headers["length"] + 1 :]
        items.append(Item(headers["type"], headers, json.loads(payload)))
    return Envelope(json.loads(line), items)


@contextmanager
def listen() -> Iterator[Listener]:
    """Yield a listener on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.asked.append((self.path, dict(self.headers)))
            self.reply(200)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = decompress(body, self.headers.get("Content-Encoding", ""))
            listener.bodies.append(body)
            listener.heads.append({"": self.path, **dict(self.headers)})
            listener.envelopes.append(parse(body))
            if listener.answer == "hang":
                listener.released.wait()
            if listener.answer.isdecimal():
                self.reply(int(listener.answer))

        def reply(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name too
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener = Listener(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
