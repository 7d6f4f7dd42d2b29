"""Back ends of telemetry on loopback that misbehave, each in its own way; an SDK that does."""

import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import FunctionType
from typing import Any

import sentry_sdk
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sentry_sdk.client import _Client
from sentry_sdk.scope import Scope
from sentry_sdk.tracing import Span, Transaction

KEY = "4c9ae0b17d5f4f0f8b6f3d2a1e0c9b88"  # of every DSN here: it must stand in no log
PROJECT = "987650001"  # so must this

RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST


@dataclass
class Backend:
    """Where a DSN leads to."""

    dsn: str
    reached: threading.Event | None = None
    """Set by the first connection, where there is somebody to see it."""
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when the test is over: whatever waits lets go."""


Treat = Callable[[socket.socket, Backend], None]
"""What is done to a connection. It is closed after."""


@contextmanager
def treating(treat: Treat, scheme: str = "http", project: str = PROJECT) -> Iterator[Backend]:
    """Yield a back end that treats every connection alike."""

    reached = threading.Event()

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            reached.set()
            with suppress(OSError):  # whoever calls may give up at any time
                treat(self.request, backend)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        port = server.server_address[1]
        backend = Backend(f"{scheme}://{KEY}@127.0.0.1:{port}/{project}", reached)
        thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
        thread.start()
        try:
            yield backend
        finally:
            backend.gone.set()
            server.shutdown()
            thread.join()


def read_request(connection: socket.socket, share: float = 1.0) -> bool:
    """Read a request's head, and its body or a share of it; return whether there was one."""
    with connection.makefile("rb") as file:
        length = 0
        while (line := file.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        file.read(int(length * share))
        return length > 0


# Nobody there.


@contextmanager
def refuses_the_connection() -> Iterator[Backend]:
    with socket.socket() as bound:  # and not listening: the port stays its own
        bound.bind(("127.0.0.1", 0))
        yield Backend(f"http://{KEY}@127.0.0.1:{bound.getsockname()[1]}/{PROJECT}")


@contextmanager
def resolves_to_nothing() -> Iterator[Backend]:
    yield Backend(f"http://{KEY}@telemetry.invalid/{PROJECT}")  # a name that RFC 6761 reserves


@contextmanager
def never_accepts() -> Iterator[Backend]:
    """Leave the handshake of TCP open, as a firewall does that drops packets."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for each in (first, second):  # what its queue holds
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        yield Backend(f"http://{KEY}@127.0.0.1:{full.getsockname()[1]}/{PROJECT}")


# Somebody there who has no answer.


def never_answers(connection: socket.socket, backend: Backend) -> None:
    read_request(connection)
    backend.gone.wait()


def hangs_up(connection: socket.socket, _: Backend) -> None:
    read_request(connection)


def drips_a_byte_a_second(connection: socket.socket, backend: Backend) -> None:
    read_request(connection)
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}":
        connection.sendall(bytes([byte]))
        if backend.gone.wait(1):
            break


def answers_garbage(connection: socket.socket, _: Backend) -> None:
    read_request(connection)
    connection.sendall(bytes(range(256)) * 16)


def resets_within_the_body(connection: socket.socket, _: Backend) -> None:
    read_request(connection, share=0.5)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def resets_within_the_answer(connection: socket.socket, _: Backend) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


# Somebody there who refuses.


def answers(
    status: int, connection: socket.socket, _: Backend, headers: Mapping[str, str] | None = None
) -> None:
    body = b'{"detail":"event submission rejected"}'
    lines = {"Content-Length": str(len(body)), **(headers or {})}
    head = [f"HTTP/1.1 {status} No", *(f"{name}: {value}" for name, value in lines.items())]
    while read_request(connection):  # the connection is kept
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)


# TLS that fails.


def speaks_no_tls(connection: socket.socket, _: Backend) -> None:
    connection.recv(65536)  # the client's hello
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


@contextmanager
def signs_for_itself() -> Iterator[Backend]:
    """Show a certificate that no authority has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        Path(file.name).write_bytes(self_signed())
        context.load_cert_chain(file.name)

    def treat(connection: socket.socket, backend: Backend) -> None:
        with context.wrap_socket(connection, server_side=True) as trusted:
            answers(200, trusted, backend)

    with treating(treat, scheme="https") as backend:
        yield backend


def self_signed() -> bytes:
    """Return a key and its own certificate, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


# A DSN that is wrong.


@contextmanager
def has_no_key() -> Iterator[Backend]:
    yield Backend(f"http://127.0.0.1/{PROJECT}")


@contextmanager
def is_no_address() -> Iterator[Backend]:
    yield Backend(f"{KEY} at {PROJECT}")


Fault = Callable[[], AbstractContextManager[Backend]]

FAULTS: Mapping[str, Fault] = {
    **{
        made.__name__: made
        for made in (refuses_the_connection, resolves_to_nothing, never_accepts, signs_for_itself)
    },
    **{
        treat.__name__: partial(treating, treat)
        for treat in (
            never_answers,
            hangs_up,
            drips_a_byte_a_second,
            answers_garbage,
            resets_within_the_body,
            resets_within_the_answer,
        )
    },
    "speaks_no_tls": partial(treating, speaks_no_tls, scheme="https"),
    **{
        f"answers_{status}": partial(treating, partial(answers, status))
        for status in (400, 413, 429, 500)
    },
    "answers_302": partial(treating, partial(answers, 302, headers={"Location": "/elsewhere"})),
    "answers_429_with_retry_after": partial(
        treating, partial(answers, 429, headers={"Retry-After": "1"})
    ),
    "knows_no_such_project": partial(treating, partial(answers, 403), project="1"),
}
"""By name, where a DSN may lead to."""

WRONG_DSNS: Mapping[str, Fault] = {"has_no_key": has_no_key, "is_no_address": is_no_address}
"""By name, what leads nowhere: with these, reporting is not started."""


# An SDK that raises.


def sdk_functions() -> Iterator[tuple[Any, str]]:
    """Find the functions of the SDK that its instrumentation of a request may call."""
    for holder in (Scope, _Client, Span, Transaction, sentry_sdk.api, sentry_sdk):
        for name, value in vars(holder).items():
            function = getattr(value, "__func__", value)
            if isinstance(function, FunctionType) and function.__module__.startswith("sentry_sdk"):
                yield holder, name


def raises(*args: object, **kwargs: object) -> None:
    """Stand for one of them."""
    raise RuntimeError("the SDK is broken")


def break_sdk() -> None:
    """Have each of them raise, from now on."""
    for holder, name in list(sdk_functions()):
        setattr(holder, name, raises)
