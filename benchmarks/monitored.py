"""Runs the generated service under load while a real Prometheus watches it, and asks Prometheus.

The service is started as its README says, with two workers; so is Prometheus, with the README's
configuration. In one phase after the other something goes wrong that a dashboard has to show.
"""

import fcntl
import json
import math
import os
import random
import re
import sqlite3
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml

from listener import Listener
from service import HERE as OPENER
from service import environment, free_port
from soak import MAKE_TOKENS, in_project, python

PROJECTS = "/api/v1/projects"
TENANTS = ("acme", "globex", "initech", "hooli")
CALLERS = 4  # of each tenant, at a time
REFUSED = "(refused)"  # who has no token that is accepted
TOKEN = "for-prometheus-alone"
RATE_WINDOW = "5s"  # what Grafana puts in for $__rate_interval at a scrape each second, or more
PATIENCE = 30.0  # seconds for a process to start, or to stop, and for an answer

SETTINGS = {
    "ENV_FILE": "",
    "WORKERS": "2",
    "METRICS_TOKEN": TOKEN,
    "TENANT_RATE_LIMIT": "15/second",  # of each worker
    # Few, and impatient: so that a database that is locked is soon seen.
    "DATABASE_POOL_SIZE": "2",
    "DATABASE_POOL_OVERFLOW": "0",
    "DATABASE_TIMEOUT": "1.2",
    "SENTRY_TRACES_SAMPLE_RATE": "0.2",
    "SENTRY_PROFILES_SAMPLE_RATE": "0",
    "SENTRY_ERRORS_PER_MINUTE": "2",
}

# An error of the database, for one tenant's projects.
FAIL = """
CREATE TRIGGER planted BEFORE INSERT ON projects WHEN NEW.tenant_id = '{}'
BEGIN SELECT abs(-9223372036854775807 - 1); END
"""


class Log:
    """Reads what a process writes to a pipe; while it does not, the pipe is full, as a disk is."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        for end in (self._reading, self.writing):
            fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | os.O_NONBLOCK)
        with suppress(AttributeError, OSError):  # Linux alone can make it smaller
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, 32768)
        self.is_read = True
        self.text = b""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._over.wait(0.002):
            with suppress(BlockingIOError):
                while self.is_read and (part := os.read(self._reading, 65536)):
                    self.text += part

    def said(self) -> str:
        """Return what was read so far."""
        return self.text.decode()

    def close(self) -> None:
        """Read no more."""
        self._over.set()
        self._thread.join()
        os.close(self._reading)
        os.close(self.writing)


class Load:
    """Callers of each tenant, and some whose tokens are refused, at a pace that can be changed."""

    def __init__(self, port: int, tokens: Mapping[str, str]) -> None:
        self._port = port
        self._tokens = tokens
        self.pace: Mapping[str, float] = {}  # requests per second, by tenant
        self.statuses: Counter[int] = Counter()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(name, number))
            for name in (*tokens, REFUSED)
            for number in range(CALLERS)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop calling."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self, name: str, number: int) -> None:
        drawn = random.Random(f"{name} {number}")
        while not self._over.is_set():
            pace = self.pace.get(name, 0.0) / CALLERS
            if not pace:
                self._over.wait(0.05)
                continue
            began = time.monotonic()
            self.statuses[self._ask(name, drawn)] += 1
            self._over.wait(max(0.0, drawn.uniform(0.5, 1.5) / pace - time.monotonic() + began))

    def _ask(self, name: str, drawn: random.Random) -> int:
        """Send a request and return its status; 0 for no answer."""
        token = self._tokens.get(name) or drawn.choice(("", *2 * ("not.a.token",), "x" * 20_000))
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        new = ("POST", PROJECTS, json.dumps({"name": f"Plan {drawn.getrandbits(64)}"}))
        unknown = ("GET", f"{PROJECTS}/{UUID(int=0)}", None)
        method, path, body = drawn.choice((("GET", PROJECTS, None), unknown, new, new))
        # A connection for each, so that both workers get their share.
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)) as connection:
            try:
                connection.request(method, path, body, headers)
                return connection.getresponse().status
            except (OSError, HTTPException):
                return 0


@dataclass(frozen=True)
class Series:
    """What Prometheus has of one series: its labels, and values by seconds of the epoch."""

    labels: Mapping[str, str]
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that runs, and the name that it gives the service."""

    url: str
    job: str

    def ask(self, path: str, **parameters: str | float) -> Any:  # noqa: ANN401 - JSON is any
        """Ask its API; a query that it refuses is an error with its own words."""
        query = urllib.parse.urlencode(parameters)
        try:
            with OPENER.open(f"{self.url}/api/v1/{path}?{query}", timeout=PATIENCE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{parameters}: {error.read().decode()}") from None

    def series(self, expression: str, begin: float, end: float) -> list[Series]:
        """Return what an expression is from one instant to another, each second."""
        found = self.ask("query_range", query=expression, start=begin, end=end, step=1)
        return [
            Series(each["metric"], [(at, float(value)) for at, value in each["values"]])
            for each in found["result"]
        ]

    def wait_for_alerts(self, names: Collection[str]) -> None:
        """Wait until these alerts are raised, though perhaps not yet for long enough to be told."""
        deadline = time.monotonic() + 2 * PATIENCE
        missing = set(names)
        while missing and time.monotonic() < deadline:
            found = self.ask("query", query="ALERTS")["result"]
            missing -= {each["metric"]["alertname"] for each in found}
            time.sleep(0.2)
        if missing:
            raise TimeoutError(f"nothing has raised {', '.join(sorted(missing))}")

    def wait_for_scrapes(self, number: int) -> None:
        """Wait until it has asked the service some more times."""
        deadline = time.monotonic() + 2 * PATIENCE
        count = f'count_over_time(up{{job="{self.job}"}}[1d])'
        known = self._value(count)
        while self._value(count) < known + number:
            if time.monotonic() > deadline:
                raise TimeoutError("Prometheus asks the service nothing any more")
            time.sleep(0.2)

    def _value(self, expression: str) -> float:
        return sum(
            float(each["value"][1]) for each in self.ask("query", query=expression)["result"]
        )


@dataclass
class Service:
    """The service that is watched, and what can be made to go wrong with it."""

    port: int
    database: Path
    load: Load
    log: Log
    back_end: Listener

    def metrics(self) -> str:
        """Return what it shows Prometheus."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        with OPENER.open(request, timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
            return text

    @contextmanager
    def failing(self, tenant: str) -> Iterator[None]:
        """Let the database fail where a tenant makes a project."""
        with self._connected() as database:
            database.execute(FAIL.format(tenant))
            yield
            database.execute("DROP TRIGGER planted")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let nobody else write to the database."""
        with self._connected() as database:
            database.execute("BEGIN IMMEDIATE")
            yield
            database.rollback()

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Let its reports be refused, a tenant fail, and its log be full."""
        self.back_end.status, self.log.is_read = 503, False
        with self.failing("initech"):
            yield
        self.back_end.status, self.log.is_read = 200, True

    @contextmanager
    def well(self) -> Iterator[None]:
        """Let it be."""
        yield

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.database, timeout=PATIENCE)) as connection:
            connection.isolation_level = None
            yield connection


@dataclass(frozen=True)
class Phase:
    """A part of the load: what goes wrong, who calls how often a second, and what comes of it."""

    name: str
    seconds: float
    pace: Mapping[str, float]
    wrong: Callable[[Service], AbstractContextManager[None]] = Service.well
    raises: tuple[str, ...] = ()
    """Names of the alerts whose conditions are met at the end of it."""


QUIET = {"acme": 2.0, "globex": 1.0}
BUSY = {"acme": 20.0, "globex": 6.0, "initech": 10.0}
PHASES = (
    Phase("quiet", 12, QUIET),
    Phase("tokens are refused", 12, {**QUIET, REFUSED: 90.0}, raises=("TokenFailures",)),
    Phase("load", 15, BUSY),
    Phase(
        "globex fails",
        18,
        BUSY,
        lambda service: service.failing("globex"),
        ("TenantErrorRate", "ErrorBudgetBurn", "OperationFailing", "TelemetryBudgetSpent"),
    ),
    Phase(
        "the database is locked",
        8,
        BUSY,
        Service.locked,
        ("HighErrorRate", "HighLatency", "TenantLatency", "PoolSaturated"),
    ),
    Phase("load", 10, BUSY),
    Phase("hooli is over its limit", 12, {**BUSY, "hooli": 80.0}, raises=("QuotaRefusals",)),
    Phase("no reports, no log", 12, BUSY, Service.cut_off, ("LogLinesDropped", "TelemetryDropped")),
    Phase("quiet", 10, QUIET),
)


@dataclass
class Seen:
    """A run that is over: Prometheus still has it. Times are seconds of the epoch."""

    prometheus: Prometheus
    metrics: str
    statuses: Counter[int]
    begin: float
    end: float = 0.0
    phases: list[tuple[str, float]] = field(default_factory=list)  # with their beginnings

    def series(self, expression: str) -> list[Series]:
        """Return what an expression was in the course of the run, up to the very end."""
        begin = self.end - math.ceil(self.end - self.begin)
        return self.prometheus.series(expression, begin, self.end)


@contextmanager
def watched(backend: Path, directory: Path, in_short: bool = False) -> Iterator[Seen]:
    """Run all phases, and yield what can be asked about them.

    In short, a phase ends when what it raises is raised.
    """
    with ExitStack() as stack:
        tokens = _prepare(backend, directory)
        port = free_port()
        # Prometheus first, which takes five seconds to see what it is to ask.
        prometheus = stack.enter_context(_watching(backend.parent, directory, port))
        service = stack.enter_context(_serving(backend, directory, port, tokens))
        seen = Seen(prometheus, "", service.load.statuses, time.time())
        for phase in PHASES:
            seen.phases.append((phase.name, time.time()))
            service.load.pace = phase.pace
            with phase.wrong(service):
                if in_short:
                    prometheus.wait_for_alerts(phase.raises)
                else:
                    time.sleep(phase.seconds)
        prometheus.wait_for_scrapes(2)  # a rate takes two
        seen.end = time.time()
        seen.metrics = service.metrics()
        service.load.pace = {}
        yield seen


def _settings(directory: Path) -> dict[str, str]:
    return {
        **SETTINGS,
        "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/app.db",
        "AUTH_LOCAL_KEY_FILE": f"{directory}/issuer.json",
    }


def _prepare(backend: Path, directory: Path) -> Mapping[str, str]:
    """Make the database and the tenants; return a token of each."""
    settings = _settings(directory)
    in_project(backend, settings, "-m", "app", "db", "upgrade")
    tokens: Mapping[str, str] = json.loads(
        in_project(backend, settings, "-c", MAKE_TOKENS, *TENANTS)
    )
    in_project(backend, settings, "-m", "app", "consent", "hooli", "none")
    return tokens


@contextmanager
def _serving(
    backend: Path, directory: Path, port: int, tokens: Mapping[str, str]
) -> Iterator[Service]:
    with closing(Listener()) as back_end, closing(Log()) as log:
        settings = _settings(directory) | {"SENTRY_DSN": back_end.dsn, "PORT": str(port)}
        command: list[str | Path] = [python(backend), "-m", "app", "run"]
        process = subprocess.Popen(
            command,
            cwd=backend,
            env=environment(**settings),
            stdout=subprocess.DEVNULL,
            stderr=log.writing,
        )
        with _ended(process):
            _wait_for(process, f"http://127.0.0.1:{port}/health/ready", log.said)
            with closing(Load(port, tokens)) as load:
                yield Service(port, directory / "app.db", load, log, back_end)


@contextmanager
def _watching(project: Path, directory: Path, port: int) -> Iterator[Prometheus]:
    """Run Prometheus as a project's README configures it, but each second."""
    config = configuration(project)
    (scrape,) = config["scrape_configs"]
    token, own = directory / "token", free_port()
    token.write_text(TOKEN)
    scrape["authorization"]["credentials_file"] = str(token)
    scrape["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
    config["global"] = dict.fromkeys(("scrape_interval", "evaluation_interval"), "1s")
    config["global"]["scrape_timeout"] = "1s"
    config["rule_files"] = [str(project / "deploy/monitoring/alerts.yaml")]
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with (directory / "prometheus.log").open("wb") as output:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory / 'prometheus.yaml'}",
                f"--storage.tsdb.path={directory / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{own}",
                "--log.level=warn",
            ],
            stderr=output,
            stdout=subprocess.DEVNULL,
        )
    with _ended(process):
        url = f"http://127.0.0.1:{own}"
        _wait_for(process, f"{url}/-/ready", (directory / "prometheus.log").read_text)
        yield Prometheus(url, scrape["job_name"])


def configuration(project: Path) -> Any:  # noqa: ANN401 - YAML is any
    """Return Prometheus's configuration that a project's README shows."""
    readme = (project / "README.md").read_text("utf-8")
    (block,) = re.findall(r"^```yaml\n(scrape_configs:.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    return yaml.safe_load(block)


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process, in good order where it does so in time."""
    try:
        yield
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], url: str, said: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), OPENER.open(url, timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not start:\n{said()}")


# Dashboards


@dataclass(frozen=True)
class Panel:
    """A panel of a dashboard: what it shows, and the queries with the names of their series."""

    row: str
    title: str
    unit: str
    is_stacked: bool
    queries: list[tuple[str, str]]

    def __str__(self) -> str:
        return self.title


def panels(dashboard: Path) -> list[Panel]:
    """Return the panels of a dashboard, in their order."""
    row, found = "", []
    for each in json.loads(dashboard.read_text("utf-8"))["panels"]:
        if each["type"] == "row":
            row = each["title"]
            continue
        defaults = each["fieldConfig"]["defaults"]
        queries = [(target["legendFormat"], target["expr"]) for target in each["targets"]]
        is_stacked = "stacking" in defaults["custom"]
        found.append(Panel(row, each["title"], defaults["unit"], is_stacked, queries))
    return found


def filled(query: str, job: str) -> str:
    """Return a query with its variables filled in as Grafana does: all instances and tenants."""
    values = {"$__rate_interval": RATE_WINDOW, "$job": job, "$instance": ".*", "$tenant": ".*"}
    for name, value in values.items():
        query = query.replace(name, value)
    return query


def named(legend: str, labels: Mapping[str, str]) -> str:
    """Return the name of a series."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)
