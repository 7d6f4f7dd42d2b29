"""Nothing private leaves: a canary in each place that the SDK reads from, in real processes."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from app.telemetry import FORMS, transport
from app.telemetry.options import SAFE_TO_PROFILE
from tests.wire import places
from tests.wire.listener import Listener, listen
from tests.wire.places import PLACES, PROCESS_CANARIES, Canary, Place, found
from tests.wire.server import BACKEND, serve

EVERYTHING = {
    "SENTRY_TRACES_SAMPLE_RATE": "1",
    "SENTRY_PROFILES_SAMPLE_RATE": "1",
    "SENTRY_TRACE_PROPAGATION_TARGETS": '["named.test"]',
    **{
        f"SENTRY_INCLUDE_{name}": "true"
        for name in (
            *("REQUEST_BODIES", "LOCAL_VARIABLES", "SOURCE_CONTEXT", "ARGV", "SERVER_NAME"),
            *("MODULES", "SESSIONS", "LOGS"),
        )
    },
}
"""All that is off is turned on: what is not collected could not leak."""

LIFECYCLES: dict[str, dict[str, object]] = {
    "static": {},
    "stream": {
        "trace_lifecycle": "stream",
        "profiles_sample_rate": None,
        **(
            {"profile_session_sample_rate": 1.0, "profile_lifecycle": "trace"}
            if SAFE_TO_PROFILE
            else {}
        ),
    },
}


@dataclass(frozen=True)
class Run:
    """What arrived of one process, and what its callers saw."""

    mode: str
    lifecycle: str
    listener: Listener
    answers: list[str]

    def leaked(self, canary: Canary, arrived: set[str]) -> set[str]:
        """Return what arrived of a canary that must not, by the mode."""
        told = {canary.mail[:6], canary.secret}
        return arrived & (told | {canary.plain} if self.mode == "strict" else told)


def trace_of(canary: Canary) -> str:
    return hashlib.md5(str(canary.number).encode(), usedforsecurity=False).hexdigest()


def call(client: httpx.Client, number: int, place: Place) -> str:
    """Send the request of a place; return what came of it."""
    canary = Canary(number)
    asked = place.request(canary) if place.request else {}
    stage = "connect" if place.stage == "websocket" else place.stage
    path = asked.pop("path", f"/canaries/{stage}/{number}")
    body = {"json", "data", "content", "files"} & asked.keys()
    method = "POST" if body else canary.plain if place.stage == "method" else "GET"
    headers = {
        "sentry-trace": f"{trace_of(canary)}-{trace_of(canary)[:16]}-1",
        "X-Request-ID": f"place-{number:03}",
        **asked.pop("headers", {}),
    }
    try:
        return str(client.request(method, path, headers=headers, **asked).status_code)
    except httpx.TransportError as error:  # a response that breaks off is one of the places
        return type(error).__name__


@pytest.fixture(
    scope="module",
    params=[f"{mode}-{cycle}" for mode in ("strict", "balanced") for cycle in LIFECYCLES],
)
def run(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[Run]:
    mode, _, lifecycle = request.param.partition("-")
    with listen() as listener:
        variables = {
            **environment,
            **EVERYTHING,
            "SENTRY_DSN": listener.dsn,
            "SENTRY_PRIVACY_MODE": mode,
            "MORE_OPTIONS": json.dumps({"transport_queue_size": 10_000, **LIFECYCLES[lifecycle]}),
        }
        with serve(variables, "tests.wire.faulty_app:app") as server:
            alone = httpx.Limits(max_keepalive_connections=0)  # a fault must not hit its neighbour
            with (
                httpx.Client(base_url=server.url, timeout=30, limits=alone) as client,
                ThreadPoolExecutor(4) as pool,
            ):
                answers = list(pool.map(lambda each: call(client, *each), enumerate(PLACES)))
            listener.settle()
            assert server.process.poll() is None, server.log[-5000:]
            server.stop()
            assert "Sentry is off" not in server.log
        yield Run(mode, lifecycle, listener, answers)


def belongs_to(payload: Any) -> set[str]:
    """Return the traces and the requests that an item's payload belongs to."""
    found_here = set()
    if isinstance(payload, dict):
        found_here = {str(payload[key]) for key in ("trace_id", "request_id") if key in payload}
        payload = list(payload.values())
    if isinstance(payload, list):
        found_here = found_here.union(*map(belongs_to, payload))
    return found_here


def test_the_report_of_each_place_arrives(run: Run) -> None:
    arrived: dict[str, set[str]] = {}
    for item in run.listener.items():
        arrived.setdefault(item.type, set()).update(belongs_to(item.payload))
    missing = [
        (place.name, kind, run.answers[number])
        for number, place in enumerate(PLACES)
        for kind in (place.static if run.lifecycle == "static" else place.stream)
        if kind != "profile_chunk"  # which belongs to no trace
        and not {trace_of(Canary(number)), f"place-{number:03}"} & arrived.get(kind, set())
    ]
    assert missing == []


def test_no_canary_arrives(run: Run) -> None:
    arrived = found(run.listener.text)
    leaks = {
        place.name: leaked
        for number, place in enumerate(PLACES)
        if (leaked := run.leaked(Canary(number), arrived))
    }
    assert leaks == {}


def test_every_type_of_item_arrives(run: Run) -> None:
    arrived = {item.type for item in run.listener.items()}
    common = {"event", "log", "trace_metric", "check_in", "session", "sessions", "client_report"}
    traced = {"static": {"transaction", "span"}, "stream": {"span"}}
    if SAFE_TO_PROFILE:
        traced["static"].add("profile")
        traced["stream"].add("profile_chunk")
    assert common | traced[run.lifecycle] <= arrived
    assert arrived <= transport.EVENTS | FORMS.keys() | transport.REBUILT.keys()


def test_the_places_are_many() -> None:
    assert len(PLACES) + len(PROCESS_CANARIES) >= 120
    assert len({place.name for place in PLACES}) == len(PLACES)


def dying(mode: str, listener: Listener, environment: dict[str, str]) -> tuple[int, str]:
    """Run a process that fails in every way; return its exit code and what it wrote."""
    variables = {
        **environment,
        **EVERYTHING,
        **places.variables(),
        "PATH": os.environ["PATH"],
        "ENV_FILE": "",
        "SENTRY_DSN": listener.dsn,
        "SENTRY_PRIVACY_MODE": mode,
    }
    command = [sys.executable, "-m", "tests.wire.faulty_app", *places.arguments()]
    ended = subprocess.run(
        command, cwd=BACKEND, env=variables, stderr=subprocess.PIPE, text=True, check=False
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("mode", ["strict", "balanced"])
def test_no_canary_arrives_of_a_process_that_dies(mode: str, environment: dict[str, str]) -> None:
    with listen() as listener:
        code, said = dying(mode, listener, environment)
        run = Run(mode, "static", listener, [])
    assert code == 1, said
    reported = [item.payload.get("tags") for item in listener.items("event")]
    for canary in PROCESS_CANARIES.values():
        assert {"request_id": f"place-{canary.number}"} in reported
    arrived = found(listener.text)
    leaks = {name: run.leaked(canary, arrived) for name, canary in PROCESS_CANARIES.items()}
    assert not any(leaks.values()), leaks
