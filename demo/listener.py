"""Stands in for Sentry: keeps what arrives on loopback, and decodes the envelopes."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

Event = dict[str, Any]


class Listener:
    """A server on a free port of loopback that answers as Sentry does, and remembers."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.status = 200  # of each answer
        self._arrived = threading.Condition()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                with listener._arrived:
                    listener.received.append(body)
                    listener._arrived.notify_all()
                self.send_response(listener.status)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
                """Say nothing: the demonstration speaks."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def dsn(self) -> str:
        """The address to report to; its key is no secret, and means nothing here."""
        return f"http://public@127.0.0.1:{self._server.server_address[1]}/1"

    def wait_for_event(self, seconds: float) -> Event | None:
        """Return the first error event, or None if none arrives in time."""
        with self._arrived:
            self._arrived.wait_for(lambda: bool(self._events()), timeout=seconds)
            return next(iter(self._events()), None)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _events(self) -> list[Event]:
        found = []
        for envelope in self.received:
            _, *items = envelope.split(b"\n")  # items are JSON here, each on one line
            for header, payload in zip(items[::2], items[1::2], strict=False):
                if header and json.loads(header).get("type") == "event":
                    found.append(cast(Event, json.loads(payload)))
        return found
