"""What arrives at Sentry from a real process, and what does not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app.telemetry.options import SAFE_TO_PROFILE
from tests.wire.listener import Item, Listener, listen
from tests.wire.server import BACKEND, Server, command_line, serve

# Recognisable, and fake; put together here so that nothing takes them for real ones.
SECRETS = {
    "local": "fake-" + "local-8fk2Lq",
    "logged": "fake-" + "logged-9dk3Mw",
    "crumb": "fake-" + "crumb-7gh4Nx",
    "tag": "fake-" + "tag-6jk5Py",
    "context": "fake-" + "context-5lm6Qz",
    "message": "fake-" + "message-4np7Ra",
    "email": "planted.person" + "@planted-example.org",
    "header": "fake-" + "header-3qr8Sb",
    "cookie": "fake-" + "cookie-2st9Tc",
    "query": "fake-" + "query-1uv0Ud",
    "baggage": "fake-" + "baggage-0wx1Ve",
    "body": "fake-" + "body-9yz2Wf",
}
ADDRESS = "203.0.113" + ".57"

RELEASE = "4.5.6-rc.1"
TENANT = "acme"
USER = "alice-4711"


@pytest.fixture(scope="module")
def token(environment: dict[str, str]) -> str:
    return command_line(environment, "token", "--tenant", TENANT, "--user", USER)


class Service:
    """A running service, its caller, and what it reports."""

    def __init__(self, server: Server, listener: Listener, token: str) -> None:
        self.server = server
        self.listener = listener
        self.token = token

    def call(self, path: str, request_id: str) -> httpx.Response:
        """Call a route with a secret in every place that a request has."""
        return httpx.request(
            "GET",
            self.server.url + path,
            params={"reset_token": SECRETS["query"], "page": "2"},
            headers={
                "Authorization": f"Bearer {self.token}",
                "Cookie": f"sessionid={SECRETS['cookie']}",
                "X-Api-Key": SECRETS["header"],
                "X-Forwarded-For": ADDRESS,
                "X-Request-ID": request_id,
                "sentry-trace": "771a43a4192642f0b136d5159a501700-771a43a4192642f0-1",
                "baggage": f"sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-sampled=true,"
                f"sentry-transaction={SECRETS['baggage']}",
                "Content-Type": "application/json",
            },
            content=json.dumps({"password": SECRETS["body"]}),
        )

    def assert_nothing_private(self) -> None:
        arrived = self.listener.text
        assert self.listener.items()
        found = [name for name, secret in SECRETS.items() if secret in arrived]
        assert found == []
        assert self.token not in arrived
        assert ADDRESS not in arrived
        assert str(Path.home()) not in arrived
        assert str(BACKEND) not in arrived


@pytest.fixture(scope="module", params=["strict", "balanced"])
def service(
    request: pytest.FixtureRequest, environment: dict[str, str], token: str
) -> Iterator[Service]:
    with listen() as listener:
        variables = environment | reporting(listener) | {"SENTRY_PRIVACY_MODE": request.param}
        with serve(variables, "tests.wire.faulty_app:app") as server:
            yield Service(server, listener, token)


def reporting(listener: Listener) -> dict[str, str]:
    return {
        "SENTRY_DSN": listener.dsn,
        "SENTRY_RELEASE": RELEASE,
        "ENVIRONMENT": "staging",
        "SENTRY_TRACES_SAMPLE_RATE": "1",
        "SENTRY_PROFILES_SAMPLE_RATE": "1",
        "PLANTED_SECRETS": "\n".join(f"{name}={value}" for name, value in SECRETS.items()),
    }


def of_request(request_id: str) -> Callable[[Item], bool]:
    """Match the reports of one request."""
    return lambda item: item.payload.get("tags", {}).get("request_id") == request_id


def test_an_unhandled_exception_arrives_with_all_that_explains_it(service: Service) -> None:
    assert service.call("/faulty/charges/1", "request-4711").status_code == 500
    event = service.listener.wait_for("event", of_request("request-4711")).payload
    (error,) = event["exception"]["values"]
    assert error["type"] == "ValueError"
    assert error["value"].startswith("charge failed for ")
    frame = error["stacktrace"]["frames"][-1]
    assert (frame["function"], frame["abs_path"]) == ("charge", "faulty_app.py")
    assert frame["lineno"] > 0
    assert event["tags"]["tenant_id"] == TENANT
    assert event["user"] == {"id": USER}
    assert event["release"] == RELEASE
    assert event["environment"] == "staging"
    assert event["transaction"] == "/faulty/charges/{charge}"
    service.assert_nothing_private()


def test_what_was_logged_before_an_error_is_among_its_breadcrumbs(service: Service) -> None:
    service.call("/faulty/charges/1", "request-4712")
    event = service.listener.wait_for("event", of_request("request-4712")).payload
    messages = [crumb.get("message", "") for crumb in event["breadcrumbs"]["values"]]
    assert any(message.startswith("charging with token=") for message in messages)
    assert any(message.startswith("provider said password=") for message in messages)
    service.assert_nothing_private()


def test_one_exception_is_one_event(service: Service) -> None:
    service.call("/faulty/charges/1", "request-4713")
    service.listener.wait_for("event", of_request("request-4713"))
    service.call("/faulty/log", "request-4714")
    service.listener.wait_for("event", of_request("request-4714"))
    assert len(list(filter(of_request("request-4713"), service.listener.items("event")))) == 1


def test_an_error_in_the_log_arrives_scrubbed(service: Service) -> None:
    service.call("/faulty/log", "request-4715")
    event = service.listener.wait_for("event", of_request("request-4715")).payload
    assert event["logentry"]["message"].startswith("refund failed for ")
    assert (event["level"], event["logger"]) == ("error", "app.billing")
    assert event["tags"]["tenant_id"] == TENANT
    service.assert_nothing_private()


def test_a_message_arrives_scrubbed(service: Service) -> None:
    service.call("/faulty/message", "request-4716")
    event = service.listener.wait_for("event", of_request("request-4716")).payload
    assert event["message"].startswith("refund is late, password=")
    service.assert_nothing_private()


def test_a_transaction_arrives_scrubbed(service: Service) -> None:
    service.call(f"/faulty/slow/{SECRETS['email']}", "request-4717")
    transaction = service.listener.wait_for("transaction", of_request("request-4717")).payload
    assert transaction["transaction"] == "/faulty/slow/{charge}"
    assert transaction["tags"]["tenant_id"] == TENANT
    assert any(span["op"] == "db" for span in transaction["spans"])
    service.assert_nothing_private()


def test_a_profile_arrives_without_the_places_of_its_files(service: Service) -> None:
    service.call("/faulty/slow/1", "request-4718")
    if not SAFE_TO_PROFILE:
        service.listener.wait_for("transaction", of_request("request-4718"))
        assert service.listener.items("profile") == []
        return
    profile = service.listener.wait_for("profile").payload
    paths = [frame.get("abs_path", "") for frame in profile["profile"]["frames"]]
    assert any(paths)
    assert not any("/" in path for path in paths)
    service.assert_nothing_private()


def test_the_trace_in_the_header_is_described_by_the_service(service: Service) -> None:
    service.call("/faulty/charges/1", "request-4719")
    service.listener.wait_for("event", of_request("request-4719"))
    traces = [
        each.headers["trace"] for each in service.listener.envelopes if "trace" in each.headers
    ]
    assert traces
    for trace in traces:
        assert (trace["release"], trace["environment"]) == (RELEASE, "staging")
        assert trace.get("transaction") != SECRETS["baggage"]
    assert set().union(*(each.headers for each in service.listener.envelopes)) <= {
        "event_id",
        "sent_at",
        "trace",
    }
    service.assert_nothing_private()


def test_only_a_named_host_is_told_of_the_trace(environment: dict[str, str], token: str) -> None:
    with listen() as listener, listen() as other:
        variables = environment | reporting(listener)
        variables["SENTRY_TRACE_PROPAGATION_TARGETS"] = '["127.0.0.1"]'
        with serve(variables, "tests.wire.faulty_app:app") as server:
            for host in ("localhost", "127.0.0.1"):
                url = f"http://{host}:{other.port}/{host}"
                headers = {"baggage": f"sentry-transaction={SECRETS['baggage']},user=alice"}
                called = httpx.get(
                    f"{server.url}/faulty/call", params={"url": url}, headers=headers
                )
                assert called.status_code == 200
        told = {path: {name.lower() for name in headers} for path, headers in other.asked}
        assert not {"sentry-trace", "baggage"} & told["/localhost"]
        assert {"sentry-trace", "baggage"} <= told["/127.0.0.1"]
        assert "alice" not in str(other.asked)


def test_what_is_waiting_is_sent_when_the_service_stops(
    environment: dict[str, str], token: str
) -> None:
    with listen() as listener:
        with serve(environment | reporting(listener), "tests.wire.faulty_app:app") as server:
            Service(server, listener, token).call("/faulty/charges/1", "request-4720")
            server.stop()
        assert any(map(of_request("request-4720"), listener.items("event")))


def test_the_anonymous_user_is_a_session(environment: dict[str, str], token: str) -> None:
    with listen() as listener:
        variables = environment | reporting(listener) | {"SENTRY_USER_CONTEXT": "anonymous"}
        with serve(variables, "tests.wire.faulty_app:app") as server:
            service = Service(server, listener, token)
            sessions = set()
            for request_id in ("request-4721", "request-4722"):
                service.call("/faulty/charges/1", request_id)
                event = listener.wait_for("event", of_request(request_id)).payload
                (session,) = event["user"].items()
                sessions.add(session)
        assert len(sessions) == 1
        assert USER not in listener.text


def test_a_listener_that_does_not_answer_stops_no_request(
    environment: dict[str, str], token: str
) -> None:
    with listen() as listener:
        pass
    # Nobody listens any more.
    variables = environment | reporting(listener) | {"LOG_LEVEL": "DEBUG"}
    with serve(variables, "tests.wire.faulty_app:app") as server:
        service = Service(server, listener, token)
        assert service.call("/faulty/charges/1", "request-4723").status_code == 500
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        for number in range(4):
            service.call(f"/faulty/charges/{number}", f"request-473{number}")
        server.stop()
        assert server.log.count("Reports do not arrive") == 1
        for part in ("publickey", "urllib3", f":{listener.port}", "/api/42"):
            assert part not in server.log


def test_a_malformed_dsn_stops_no_service_and_is_not_logged(environment: dict[str, str]) -> None:
    dsn = "not-a-scheme://" + "fake-dsn-key-77@host/1"
    with serve(environment | {"SENTRY_DSN": dsn}) as server:
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        assert server.log.count("Sentry is off") == 1
        assert "fake-dsn-key-77" not in server.log
        server.stop()


@pytest.mark.parametrize("consent", ["full", "anonymous"])
def test_an_error_by_hand_arrives_and_is_found_by_what_is_printed(
    environment: dict[str, str], consent: str
) -> None:
    command_line(environment, "tenant", "create", "globex")
    command_line(environment, "consent", "globex", consent)
    with listen() as listener:
        said = command_line(environment | {"SENTRY_DSN": listener.dsn}, "report", "globex")
    (error,) = listener.items("event")
    tag = error.payload["tags"]["tenant_id"]
    assert said == f"An error has arrived. In Sentry, look for tenant_id:{tag}"
    assert (tag == "globex") is (consent == "full")
    assert error.payload["exception"]["values"][0]["stacktrace"]["frames"]


def test_an_error_by_hand_that_does_not_arrive_says_why(environment: dict[str, str]) -> None:
    def refused(tenant: str, dsn: str = "") -> str:
        with pytest.raises(subprocess.CalledProcessError) as failed:
            command_line(environment | {"SENTRY_DSN": dsn}, "report", tenant)
        assert failed.value.returncode == 1
        return str(failed.value.stderr)

    nowhere = "http://publickey@127.0.0.1:9/42"
    command_line(environment, "tenant", "create", "initech")
    command_line(environment, "consent", "initech", "none")
    assert refused("acme") == "Nothing is reported: SENTRY_DSN is not set.\n"
    assert refused("nobody", nowhere) == "There is no tenant nobody.\n"
    assert refused("initech", nowhere).endswith("No error has arrived: consent.\n")
    assert refused("acme", "no DSN").endswith("Nothing is reported: the line before says why.\n")
    unreached = refused("acme", nowhere).splitlines()
    assert "Reports do not arrive at Sentry (NewConnectionError)" in unreached[0]
    assert unreached[1:] == ["No error has arrived: network_error."]


def test_every_line_of_every_process_names_the_release_that_is_set(
    environment: dict[str, str],
) -> None:
    variables = {"SENTRY_RELEASE": RELEASE, "WORKERS": "2", "LOG_FORMAT": "json"}
    with serve(environment | variables) as server:
        server.stop()
        lines = [json.loads(line) for line in server.log.splitlines()]
    assert {"Started parent process", "Started server process"} <= {
        line["message"].partition(" [")[0] for line in lines
    }
    assert {line["release"] for line in lines} == {RELEASE}


def test_without_a_dsn_nothing_of_the_sdk_is_set_up(environment: dict[str, str]) -> None:
    program = """
import sys
from starlette.applications import Starlette
from app.main import app
assert Starlette.__call__.__module__ == "starlette.applications"
before = set(sys.modules)
from fastapi.testclient import TestClient
with TestClient(app) as client:
    assert client.get("/api/v1/projects").status_code == 401
print(*(each for each in sys.modules if each in UNUSED or each not in before and "sentry" in each))
""".replace("UNUSED", repr([f"app.telemetry.{n}" for n in ("instruments", "options", "transport")]))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=BACKEND,
        env=os.environ | environment | {"ENV_FILE": "", "SENTRY_DSN": ""},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_a_request_takes_nothing_over_from_the_one_before_on_its_connection(
    environment: dict[str, str], token: str
) -> None:
    """The server begins what follows a large body in a copy of that request's context."""
    with listen() as listener:
        variables = environment | reporting(listener) | {"SENTRY_TRACES_SAMPLE_RATE": "1"}
        with (
            serve(variables, "tests.wire.faulty_app:app") as server,
            httpx.Client(base_url=server.url) as client,
        ):
            headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "request-4731"}
            body = {"name": "x" * 200_000}
            assert client.post("/api/v1/projects", json=body, headers=headers).status_code == 422
            headers = {"X-Request-ID": "request-4732"}
            assert client.get("/faulty/call?url=nowhere:", headers=headers).status_code == 500
            server.stop()
        error = listener.wait_for("event", of_request("request-4732")).payload
        traced = [each.payload["tags"]["request_id"] for each in listener.items("transaction")]
    assert error["tags"].get("tenant_id") is None
    assert not error.get("user")
    assert traced == ["request-4731", "request-4732"]
