"""No fault of the telemetry back end, of the log's disk or of a process reaches a request."""

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest
import sentry_sdk
from fastapi import FastAPI
from sentry_sdk.transport import HttpTransport

from app import sentry
from app.auth import issuer
from app.core.config import Settings
from app.main import create_app
from app.telemetry import transport
from app.tenancy import lifecycle
from tests.wire.backends import (
    FAULTS,
    KEY,
    PROJECT,
    WRONG_DSNS,
    never_answers,
    raises,
    sdk_functions,
    treating,
)
from tests.wire.listener import Listener, listen
from tests.wire.server import PATIENCE, Server, command_line, serve

APP = "tests.wire.faulty_app:app"
SECRET = "zqkxwvjp"
SECRETS = "\n".join(
    [
        *(f"{name}={SECRET}" for name in ("local", "logged", "crumb", "tag", "context", "message")),
        f"email={SECRET}@example.org",
    ]
)
PRIVATE = re.compile(rf"{SECRET}|{KEY}|{PROJECT}|telemetry\.invalid")
"""What must stand in no log: the planted secrets, and the parts of a DSN."""

UNKNOWN = "01890000-0000-7000-8000-000000000000"  # asked for in the database, and not there
REQUESTS = 60
FAILING = 10  # of the requests, one in so many
MESSAGES = 30
QUEUE = 10  # reports that may wait

LOGS = {
    "full": ("sh", "-c", 'exec "$@" >/dev/full 2>/dev/full', "sh"),
    "closed": ("sh", "-c", 'exec "$@" >&- 2>&-', "sh"),
}

Environment = dict[str, str]
Headers = dict[str, str]
Answers = list[tuple[int, bytes]]


@pytest.fixture(scope="module")
def environment(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The same, with a database of its own."""
    file = tmp_path_factory.mktemp("faults") / "app.db"
    source, copy = sqlite3.connect(file_of(environment)), sqlite3.connect(file)
    with closing(source), closing(copy):
        source.backup(copy)
    return {**environment, "DATABASE_URL": f"sqlite+aiosqlite:///{file}"}


def file_of(environment: Environment) -> str:
    return environment["DATABASE_URL"].removeprefix("sqlite+aiosqlite:///")


@pytest.fixture(scope="module")
def headers(environment: Environment) -> Headers:
    token = command_line(environment, "token", "--tenant", "acme", "--user", "alice")
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def healthy() -> Iterator[Listener]:
    with listen() as listener:
        yield listener


@pytest.fixture(scope="module")
def server(environment: Environment, healthy: Listener) -> Iterator[Server]:
    """A server whose back end can be changed."""
    with faulty(environment, healthy.dsn) as running:
        yield running


@pytest.fixture(scope="module")
def expected(server: Server, headers: Headers, healthy: Listener) -> Answers:
    """What is answered while reports arrive."""
    answers = load(server, headers)
    assert [status for status, _ in answers].count(500) == REQUESTS // FAILING
    healthy.settle()
    assert len(healthy.items("event")) == REQUESTS // FAILING
    return answers


def faulty(
    environment: Environment, dsn: str, within: Sequence[str] = ()
) -> AbstractContextManager[Server]:
    """Serve the application whose routes fail."""
    settings = {"SENTRY_DSN": dsn, "PLANTED_SECRETS": SECRETS, "LOG_LEVEL": "DEBUG"}
    return serve({**environment, **settings}, APP, within)


def load(server: Server, headers: Headers) -> Answers:
    """Send requests, some of which fail; return what was answered."""
    with httpx.Client(base_url=server.url, headers=headers, timeout=PATIENCE) as client:
        return [ask(client, number) for number in range(REQUESTS)]


def ask(client: httpx.Client, number: int) -> tuple[int, bytes]:
    path = (f"/api/v1/projects/{UNKNOWN}", "/health/live")[number % 2]
    if number % FAILING == 0:
        path = f"/faulty/charges/{number}"
    answer = client.get(path, headers={"X-Request-ID": f"request-{number}"})
    return answer.status_code, answer.content


def told(log: str) -> list[str]:
    """Return the lines of a log that tell what is private."""
    return [line for line in log.splitlines() if PRIVATE.search(line)]


# The back end of telemetry.


@pytest.mark.parametrize("fault", [*FAULTS, *WRONG_DSNS])
def test_a_fault_of_the_back_end_changes_no_answer(
    fault: str, server: Server, headers: Headers, expected: Answers
) -> None:
    made = {**FAULTS, **WRONG_DSNS}[fault]
    before = len(server.log)
    with made() as back_end:
        started = httpx.post(f"{server.url}/faulty/dsn", json=back_end.dsn)
        assert started.json() is (fault in FAULTS)
        assert load(server, headers) == expected
        if back_end.reached:
            assert back_end.reached.wait(PATIENCE)
    assert server.log.count("Reports do not arrive") <= 1
    assert told(server.log[before:]) == []


def test_a_back_end_that_does_not_answer_is_tried_less_and_less_often_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0
    tries: list[int] = []

    def request(*_: object) -> SimpleNamespace:
        tries.append(now)
        if now < 100 or now == 131:
            raise OSError
        return SimpleNamespace(status=200, headers={}, close=lambda: None)

    monkeypatch.setattr(HttpTransport, "_request", request)
    monkeypatch.setattr(transport, "monotonic", lambda: now)
    with sentry_sdk.isolation_scope():  # for what starting leaves there
        assert sentry.init_sentry(Settings(SENTRY_DSN=f"http://{KEY}@127.0.0.1:9/{PROJECT}"))
    try:
        sending = sentry_sdk.get_client().transport
        assert isinstance(sending, HttpTransport)
        for now in range(134):  # noqa: B007 - seconds, by the clock of the transport
            sentry.capture_message("late")
            sending._worker.flush(PATIENCE)
        lost = sum(sending._discarded_events.values())
    finally:
        sentry.shutdown_sentry(timeout=0)
    assert tries == [0, 1, 2, 3, 5, 9, 17, 33, 65, 97, 129, 130, 131, 132, 133]
    assert lost == 130


def test_sigterm_answers_what_has_begun_and_sends_what_is_queued(
    environment: Environment, headers: Headers
) -> None:
    with listen() as listener:
        listener.answer = "hang"
        variables = {**environment, "MORE_OPTIONS": json.dumps({"transport_queue_size": QUEUE})}
        with faulty(variables, listener.dsn) as server, begun(server, headers) as caller:
            with httpx.Client(base_url=server.url, headers=headers) as client:
                for _ in range(MESSAGES):
                    assert client.get("/faulty/message").status_code == 200
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: "Shutting down" in server.log)
            listener.answer = "200"
            listener.released.set()
            caller.sendall(b'{"name":"Begun before the end"}')
            assert caller.recv(65536).startswith(b"HTTP/1.1 201 ")
            assert server.process.wait(PATIENCE) == 0
    lost = sum(
        each["quantity"]
        for report in listener.items("client_report")
        for each in report.payload["discarded_events"]
        if each["category"] == "error"
    )
    assert len(listener.items("event")) == MESSAGES - lost
    assert lost > 0


def begun(server: Server, headers: Headers) -> socket.socket:
    """Return the connection of a request whose body the service waits for."""
    address = httpx.URL(server.url)
    caller = socket.create_connection((address.host, address.port or 0), PATIENCE)
    head = {
        "Host": "service.test",
        "Content-Type": "application/json",
        "Content-Length": "31",
        "Expect": "100-continue",
        **headers,
    }
    lines = ["POST /api/v1/projects HTTP/1.1", *(f"{name}: {each}" for name, each in head.items())]
    caller.sendall("\r\n".join([*lines, "", ""]).encode())
    assert caller.recv(1024).startswith(b"HTTP/1.1 100 ")
    return caller


def test_sigterm_ends_it_while_no_report_is_answered(
    environment: Environment, headers: Headers
) -> None:
    with treating(never_answers) as back_end, faulty(environment, back_end.dsn) as server:
        load(server, headers)
        assert server.stop() == 0
        assert "Finished server process" in server.log


# The SDK.


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
async def test_an_sdk_that_raises_in_any_of_its_functions_changes_no_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporting = settings.model_copy(
        update={
            "SENTRY_DSN": f"http://{KEY}@127.0.0.1:9/{PROJECT}",
            "SENTRY_TRACES_SAMPLE_RATE": 1,
            "SENTRY_TRACE_PROPAGATION_TARGETS": ["named.test"],
        }
    )
    reached = []
    with sentry_sdk.isolation_scope():  # for what starting leaves there
        app = create_app(reporting)
        app.get("/failing")(raising)
        app.get("/calling")(calling)
        await lifecycle.create("acme")
        token = issuer.issue(settings, "acme", "alice")
        expected = await asked(app, token)
        for holder, name in sdk_functions():
            with monkeypatch.context() as broken:
                broken.setattr(holder, name, raises)
                # In a context of its own, as each request has with a server.
                if await asyncio.create_task(asked(app, token)) != expected:
                    reached.append(f"{holder.__name__}.{name}")
        sentry.shutdown_sentry(timeout=0)
    assert reached == []


def raising() -> None:
    raise ValueError("the route is broken")


async def calling() -> int:
    thread = threading.Thread(target=str)
    thread.start()
    await asyncio.to_thread(thread.join)
    answering = httpx.MockTransport(lambda _: httpx.Response(202))
    async with httpx.AsyncClient(transport=answering) as client:
        return (await client.get("http://named.test")).status_code


async def asked(app: FastAPI, token: str) -> Answers:
    asgi = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"X-Request-ID": "request", "Authorization": f"Bearer {token}"}
    answers = []
    for path in (f"/api/v1/projects/{UNKNOWN}", "/api/v1/projects", "/failing", "/calling"):
        request = httpx.Request("GET", f"http://service.test{path}", headers=headers)
        answer = await asgi.handle_async_request(request)
        answers.append((answer.status_code, await answer.aread()))
    return answers


def test_an_sdk_that_raises_in_all_of_them_changes_no_answer(
    environment: Environment, headers: Headers, healthy: Listener, expected: Answers
) -> None:
    with faulty(environment, healthy.dsn) as server:
        httpx.post(f"{server.url}/faulty/sdk").raise_for_status()
        assert load(server, headers) == expected
        assert server.stop() == 0


# The disk of the log.


@pytest.mark.parametrize("log", LOGS)
def test_a_log_that_can_not_be_written_changes_no_answer(
    log: str, environment: Environment, headers: Headers, healthy: Listener, expected: Answers
) -> None:
    with faulty(environment, healthy.dsn, within=LOGS[log]) as server:
        assert load(server, headers) == expected
        assert server.stop() == 0


# Processes.


def test_a_worker_that_dies_is_replaced_and_a_service_that_dies_has_kept_what_it_stored(
    environment: Environment, headers: Headers
) -> None:
    with serve({**environment, "WORKERS": "2"}) as server, storing(server, headers) as stored:
        first, second = server.workers(2)
        wait_for(lambda: len(stored) > 10)
        os.kill(first, signal.SIGKILL)
        before = len(stored)
        wait_for(lambda: len(stored) > before + 10)
        _, _, third = server.workers(3)
        for process in (server.process.pid, second, third):
            os.kill(process, signal.SIGKILL)
        server.process.wait(PATIENCE)
    with serve(environment) as server, storing(server, headers) as stored_after:
        wait_for(lambda: len(stored_after) > 10)
    with closing(sqlite3.connect(file_of(environment))) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kept = {name for (name,) in database.execute("SELECT name FROM projects")}
    assert stored | stored_after <= kept


@contextmanager
def storing(server: Server, headers: Headers) -> Iterator[set[str]]:
    """Store one project after another, some at a time; yield the names that were acknowledged."""
    stored: set[str] = set()
    over = threading.Event()

    def store(client: httpx.Client) -> None:
        while not over.is_set():
            name = f"Kept {uuid4()}"
            with suppress(httpx.TransportError):  # its process may have died
                answer = client.post("/api/v1/projects", json={"name": name}, headers=headers)
                assert answer.status_code == 201
                stored.add(name)

    with ThreadPoolExecutor() as pool, httpx.Client(base_url=server.url) as client:
        clients = [pool.submit(store, client) for _ in range(4)]
        try:
            yield stored
        finally:
            over.set()
        for each in clients:
            each.result(PATIENCE)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
