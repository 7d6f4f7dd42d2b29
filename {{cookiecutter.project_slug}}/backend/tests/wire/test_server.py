"""The service as a process: what only a real server shows."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.wire.server import PATIENCE, Server, command_line, serve

Environment = dict[str, str]


@pytest.fixture(scope="module")
def headers(environment: Environment) -> dict[str, str]:
    """What Alice of the tenant acme sends."""
    token = command_line(environment, "token", "--tenant", "acme", "--user", "alice")
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def server(environment: Environment) -> Iterator[Server]:
    """A server for the tests that leave it running."""
    with serve(environment) as running:
        yield running


def test_a_caller_with_a_token_stores_and_reads(server: Server, headers: dict[str, str]) -> None:
    with httpx.Client(base_url=server.url, headers=headers) as alice:
        created = alice.post("/api/v1/projects", json={"name": "Apollo"})
        shown = alice.get(created.headers["Location"])
    assert (created.status_code, shown.status_code) == (201, 200)
    assert shown.json()["name"] == "Apollo"


def test_nobody_gets_in_without_a_token(server: Server) -> None:
    response = httpx.get(f"{server.url}/api/v1/projects")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_the_server_does_not_say_what_it_runs_on(server: Server) -> None:
    assert "server" not in httpx.get(f"{server.url}/health/live").headers


def test_a_request_id_is_in_the_response_and_in_its_one_log_line(environment: Environment) -> None:
    with serve(environment) as server:
        response = httpx.get(f"{server.url}/health/live", headers={"X-Request-ID": "trace-4711"})
        server.stop()
        (line,) = [line for line in server.log.splitlines() if "trace-4711" in line]
    assert response.headers["X-Request-ID"] == "trace-4711"
    assert "request served" in line
    assert 'operation="GET /health/live"' in line
    assert line.endswith(" status=200")


def test_the_log_names_the_route_and_nothing_that_the_address_holds(
    environment: Environment,
) -> None:
    with serve(environment | {"LOG_FORMAT": "json"}) as server:
        httpx.get(f"{server.url}/api/v1/projects/planted-in-path?cursor=planted-in-query")
        httpx.get(f"{server.url}/planted-unknown-path")
        server.stop()
        log = server.log
    lines = [json.loads(line) for line in log.splitlines()]
    served = {(line["operation"], line["status"]) for line in lines if "status" in line}
    assert {("GET /api/v1/projects/{project_id}", 401), ("GET (no route)", 404)} <= served
    assert "planted" not in log


def test_what_was_stored_is_there_after_a_restart(
    environment: Environment, headers: dict[str, str]
) -> None:
    with serve(environment) as first:
        project = {"name": "Outlives its server"}
        created = httpx.post(f"{first.url}/api/v1/projects", json=project, headers=headers)
    with serve(environment) as second:
        shown = httpx.get(second.url + created.headers["Location"], headers=headers)
    assert shown.json()["name"] == "Outlives its server"


def test_sigterm_ends_it_in_good_order(environment: Environment) -> None:
    with serve(environment) as server:
        assert server.stop() == 0
        assert "Traceback" not in server.log


def begin_request(server: Server) -> socket.socket:
    """Return a connection on which the server waits for a body that does not come."""
    address = httpx.URL(server.url)
    caller = socket.create_connection((address.host, address.port))
    caller.sendall(
        b"POST /api/v1/projects HTTP/1.1\r\nHost: service.test\r\n"
        b"Content-Type: application/json\r\nContent-Length: 100\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    assert caller.recv(1024).startswith(b"HTTP/1.1 100")
    return caller


def test_a_request_that_does_not_end_holds_it_up_no_longer_than_the_timeout(
    environment: Environment,
) -> None:
    # stop() has less patience than the request has time.
    limits = {"SHUTDOWN_TIMEOUT": "1", "REQUEST_TIMEOUT": "3600"}
    with serve({**environment, **limits}) as server, begin_request(server):
        assert server.stop() == 0


def test_two_workers_serve_one_database(environment: Environment, headers: dict[str, str]) -> None:
    with serve({**environment, "WORKERS": "2"}) as server:
        for number in range(20):
            project = {"name": f"Shared {number}"}
            created = httpx.post(f"{server.url}/api/v1/projects", json=project, headers=headers)
            assert created.status_code == 201
        shown = httpx.get(f"{server.url}/api/v1/projects?limit=100", headers=headers).json()
        route = 'method="POST",route="/api/v1/projects"'
        assert shows(server, 20, f'http_requests_total{{{route},status="201"}}')
        assert shows(server, 20, f"http_request_duration_seconds_count{{{route}}}")
        assert shows(server, 21, 'tenant_requests_total{status="2xx",tenant="acme"}')
        assert server.stop() == 0
        assert server.log.count("Started server process") == 2
    names = {project["name"] for project in shown["items"]}
    assert names.issuperset(f"Shared {number}" for number in range(20))


def shows(server: Server, value: int, series: str) -> bool:
    """Tell whether a series has that value; wait a while, as an answer is sent, then counted."""
    line = f"{series} {float(value)}"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if line in httpx.get(f"{server.url}/metrics").text.splitlines():
            return True
    return False


def test_what_workers_counted_outlives_them_and_what_they_were_doing_does_not(
    environment: Environment, headers: dict[str, str], tmp_path: Path
) -> None:
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"), "WORKERS": "2"}
    reads = 'http_requests_total{method="GET",route="/api/v1/projects",status="200"}'
    each_its_connection = {**headers, "Connection": "close"}
    with serve({**environment, **shared}) as server, ExitStack() as callers:
        alice = httpx.Client(headers=each_its_connection, timeout=PATIENCE)
        callers.enter_context(alice)
        for started in (2, 4):
            pids = server.workers(started)
            for _ in range(10):
                alice.get(f"{server.url}/api/v1/projects").raise_for_status()
            assert shows(server, 5 * started, reads)
            assert shows(server, 0, "http_requests_in_progress")
            if started == 2:
                for _ in range(8):
                    callers.enter_context(begin_request(server))
                assert shows(server, 8, "http_requests_in_progress")
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
    assert [*Path(tmp_path, "metrics").glob("counter_*.db")]
