"""The service as a process: what only a real server shows."""

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.wire.server import Server, command_line, serve

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


def test_a_request_that_does_not_end_holds_it_up_no_longer_than_the_timeout(
    environment: Environment,
) -> None:
    # stop() has less patience than the request has time.
    limits = {"SHUTDOWN_TIMEOUT": "1", "REQUEST_TIMEOUT": "3600"}
    with serve({**environment, **limits}) as server:
        address = httpx.URL(server.url)
        with socket.create_connection((address.host, address.port)) as caller:
            caller.sendall(
                b"POST /api/v1/projects HTTP/1.1\r\nHost: service.test\r\n"
                b"Content-Type: application/json\r\nContent-Length: 100\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            # The server is now waiting for a body that does not come.
            assert caller.recv(1024).startswith(b"HTTP/1.1 100")
            assert server.stop() == 0


def test_two_workers_serve_one_database(environment: Environment, headers: dict[str, str]) -> None:
    with serve({**environment, "WORKERS": "2"}) as server:
        for number in range(20):
            project = {"name": f"Shared {number}"}
            created = httpx.post(f"{server.url}/api/v1/projects", json=project, headers=headers)
            assert created.status_code == 201
        shown = httpx.get(f"{server.url}/api/v1/projects?limit=100", headers=headers).json()
        assert server.stop() == 0
        assert server.log.count("Started server process") == 2
    names = {project["name"] for project in shown["items"]}
    assert names.issuperset(f"Shared {number}" for number in range(20))
