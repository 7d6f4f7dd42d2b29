"""Looks for what shows only after long: a leak of data or of memory, and a property that fails.

Generates a project, searches for counterexamples to its filter's properties, and lets requests of
many tenants fail in its service, in each privacy mode, while a listener reads every report.
"""

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from pathlib import Path
from statistics import linear_regression

from generated import generate
from listener import Listener
from measures import memory_of
from service import environment, free_port

TENANTS = [f"tenant-{number:02}" for number in range(40)]
CALLERS = 8  # at a time
MODES = ("strict", "balanced")
EXAMPLES = 1000  # of each property, a minute
WARM_UP = 0.4  # of the time: caches fill, and the allocator gets what it needs
LEAST_TIME = 60.0  # seconds: memory that is watched for less proves nothing
MOST_GROWTH = 0.05  # of the memory that is in use after the warm-up, until the end
LEAST_REPORTED = 0.9  # of the failures: a full queue drops what comes next
START_TIMEOUT = 30.0  # seconds
LOGGED = re.compile(r"\[(?:warning|error|critical) *\] (.*)")
EXPECTED = ("app.billing ", "uvicorn.error Exception in ASGI app")  # how such lines begin

# Recognisable, and fake. What holds one of these in a report is a leak.
CANARY = "qzvxjkwq"
PLANTED = {
    **{name: f"{CANARY}-{name}-7" for name in ("local", "logged", "crumb", "tag", "context")},
    "message": f"{CANARY}-message-7",
    "email": f"{CANARY}@planted-example.org",
    "card": "4242 4242 4242 4242",
}
MAKE_TOKENS = """
import asyncio, json, sys
from app.auth import issuer
from app.core.config import settings
from app import db
from app.tenancy import lifecycle

async def make():
    db.configure(settings)
    for tenant in sys.argv[1:]:
        await lifecycle.create(tenant)
    print(json.dumps({each: issuer.issue(settings, each, "alice", "") for each in sys.argv[1:]}))

asyncio.run(make())
"""


def main() -> int:
    """Run all of it; return 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of failing requests")
    parser.add_argument(
        "--backend", type=Path, help="of an installed project, whose properties hold"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        faults = []
        backend = arguments.backend
        if not backend:
            backend = generate(Path(directory))
            faults += properties(backend, int(arguments.minutes * EXAMPLES))
        for mode in MODES:
            place = Path(directory) / mode
            place.mkdir()
            seen = load(backend, place, mode, arguments.minutes * 60 / len(MODES))
            faults += report(mode, seen)
    print("\n".join(["", *faults] if faults else ["", "All of it holds."]))
    return 1 if faults else 0


def properties(backend: Path, examples: int) -> list[str]:
    """Search for counterexamples to the properties of the filter; return what was found."""
    tests = sorted(backend.glob("tests/unit/test_*_properties.py"))
    started = time.monotonic()
    done = subprocess.run(
        [python(backend), "-m", "pytest", "-p", "no:cacheprovider", *tests],
        cwd=backend,
        env=environment(PROPERTY_EXAMPLES=str(max(examples, 1)), ENV_FILE=""),
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"{examples} examples of each property: {time.monotonic() - started:.0f} s", flush=True)
    return [done.stdout] if done.returncode else []


def python(backend: Path) -> Path:
    """Return the interpreter of an installed project."""
    return backend / ".venv" / "bin" / "python"


@dataclass
class Seen:
    """What the service answered and reported, and the memory that it used."""

    statuses: Counter[int] = field(default_factory=Counter)
    callers: set[str] = field(default_factory=set)  # tenants
    reports: Counter[str] = field(default_factory=Counter)  # error events, by tenant
    users: set[str] = field(default_factory=set)
    mislabelled: list[str] = field(default_factory=list)
    leaks: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds, megabytes
    log: str = ""

    def read(self, body: bytes) -> None:
        """Take in an envelope: look for canaries, and whose it says that it is."""
        self.leaks += body.count(CANARY.encode()) + body.count(PLANTED["card"].encode())
        _, *lines = body.split(b"\n")  # items are JSON here, each on one line
        for header, payload in zip(lines[::2], lines[1::2], strict=False):
            if header and json.loads(header).get("type") == "event":
                event = json.loads(payload)
                tags = event["tags"]
                self.reports[tags["tenant_id"]] += 1
                self.users.add(str(event["user"]))
                if not tags["request_id"].startswith(tags["tenant_id"]):
                    self.mislabelled.append(str(tags))

    @property
    def growth(self) -> float:
        """What the memory grew by after the warm-up, as a share, along the straight line."""
        start = self.memory[0][0]
        end = self.memory[-1][0]
        steady = [each for each in self.memory if each[0] >= start + WARM_UP * (end - start)]
        slope = linear_regression(*zip(*steady, strict=True)).slope
        return slope * (steady[-1][0] - steady[0][0]) / steady[0][1]


def load(backend: Path, directory: Path, mode: str, seconds: float) -> Seen:
    """Let requests fail for some time, and return what was seen of it."""
    seen = Seen()
    settings = {
        "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/app.db",
        "AUTH_LOCAL_KEY_FILE": f"{directory}/issuer.json",
        "ENV_FILE": "",
        "SENTRY_PRIVACY_MODE": mode,
        "SENTRY_USER_CONTEXT": "anonymous",
        "SENTRY_TRACES_SAMPLE_RATE": "0.1",
        "PLANTED_SECRETS": "\n".join(f"{name}={value}" for name, value in PLANTED.items()),
    }
    in_project(backend, settings, "-m", "app", "db", "upgrade")
    tokens: dict[str, str] = json.loads(in_project(backend, settings, "-c", MAKE_TOKENS, *TENANTS))
    with closing(Listener()) as listener:
        settings["SENTRY_DSN"] = listener.dsn
        with serving(backend, settings, directory / "service.log") as (process, port):
            callers = [
                threading.Thread(target=call, args=(port, tokens, number, seconds, seen))
                for number in range(CALLERS)
            ]
            for caller in callers:
                caller.start()
            started = time.monotonic()
            while any(caller.is_alive() for caller in callers):
                time.sleep(min(1.0, seconds / 20))
                seen.memory.append((time.monotonic() - started, memory_of(process.pid)))
                take_in(listener, seen)
        take_in(listener, seen)
    seen.log = (directory / "service.log").read_text("utf-8")
    return seen


def take_in(listener: Listener, seen: Seen) -> None:
    """Read what has arrived, and forget it."""
    arrived, listener.received = listener.received, []
    for body in arrived:
        seen.read(body)


def in_project(backend: Path, settings: dict[str, str], *words: str) -> str:
    """Run the project's Python, and return what it prints."""
    command = [str(python(backend)), *words]
    variables = environment(**settings)
    return subprocess.run(
        command, cwd=backend, env=variables, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@contextmanager
def serving(
    backend: Path, settings: dict[str, str], log: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Yield the process of a service whose routes fail, and its port, once it answers."""
    port = free_port()
    app = ["-m", "uvicorn", "tests.e2e.failing_app:app", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python(backend), *app], cwd=backend, env=environment(**settings), stderr=output
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while ask(port, "GET", "/health/live") != HTTPStatus.OK:
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"the service does not start:\n{log.read_text()}")
            time.sleep(0.1)
        yield process, port
        process.terminate()
        process.wait(START_TIMEOUT)
    finally:
        process.kill()
        process.wait()


def ask(port: int, method: str, path: str, token: str = "", request_id: str = "") -> int:
    """Send a request with a canary in each of its places; return the status, or 0 for none."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Cookie": f"sessionid={CANARY}",
        "X-Api-Key": CANARY,
        "X-Request-ID": request_id,
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT)
    try:
        connection.request(method, path, json.dumps({"password": CANARY}), headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def call(port: int, tokens: dict[str, str], number: int, seconds: float, seen: Seen) -> None:
    """Call failing routes by turns for every tenant, and count the answers."""
    deadline = time.monotonic() + seconds
    for turn in count(number, CALLERS):
        if time.monotonic() >= deadline:
            break
        tenant = TENANTS[turn % len(TENANTS)]
        route = ("charges", "refunds")[turn // len(TENANTS) % 2]
        path = f"/billing/{route}/{turn}-{PLANTED['email']}?reset_token={CANARY}"
        seen.callers.add(tenant)
        seen.statuses[ask(port, "POST", path, tokens[tenant], f"{tenant}-{turn}")] += 1


def report(mode: str, seen: Seen) -> list[str]:
    """Print what was seen, and return what should not have been."""
    calls, reports = seen.statuses.total(), seen.reports.total()
    print(
        f"{mode:<10}{calls:>7} requests{reports:>8} reports of {len(seen.reports)} tenants"
        f"{seen.memory[-1][1]:>7.0f} MB, {seen.growth:+.1%} after the warm-up"
    )
    expected = {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.OK}
    steady = seen.memory[-1][0] >= LEAST_TIME
    logged = LOGGED.findall(seen.log)
    unexpected = [line for line in logged if not line.startswith(EXPECTED)]
    faults = {
        f"{seen.leaks} canaries in reports": seen.leaks,
        f"answers that were not expected: {dict(seen.statuses)}": seen.statuses.keys() - expected,
        f"reports under another tenant: {seen.mislabelled[:3]}": seen.mislabelled,
        f"no report of {seen.callers - seen.reports.keys()}": seen.callers - seen.reports.keys(),
        f"{len(seen.users)} sessions of {len(seen.callers)} users": len(seen.users)
        != len(seen.callers),
        f"memory grows by {seen.growth:.1%}": steady and seen.growth > MOST_GROWTH,
        f"{seen.log.count(CANARY)} canaries in the log": CANARY in seen.log,
        "failures that the log does not have": not logged,
        f"faults in the log: {unexpected[:3]}": unexpected,
        f"{calls - reports} failures without a report": reports < LEAST_REPORTED * calls,
    }
    return [f"{mode}: {fault}" for fault, found in faults.items() if found]


if __name__ == "__main__":
    sys.exit(main())
