"""Measures what telemetry costs: of a request, of a service's throughput, and of its start.

Runs in the environment of a generated project. All contenders are processes of their own, which
work by turns, on the same routes, with copies of the same database; what they report is received
on loopback. What counts are ratios, in the median of the rounds.
"""

import argparse
import asyncio
import gzip
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from app.auth import issuer
from app.core.config import Settings
from app.db import configure, dispose
from app.projects.models import Project
from app.tenancy import lifecycle, tenant_session

import served
import shares
from measures import verdict
from service import free_port

# The generated project's own, which this repository's would be taken for.
migrate = import_module("tests.conftest").migrate

WITH, WITHOUT = Path.cwd(), Path(os.environ["WITHOUT_SENTRY"])
"""The generated project, and the one that has no Sentry."""

CONNECTIONS = 4
PATIENCE = 60.0  # seconds for a process to start, or to answer
LOGGED = 4_000  # characters that are shown of a log
STEPS = ("bare", "tenancy", "authentication", "edge and logs", "metrics", "telemetry")
"""The contenders over HTTP, each with one part more than the one before."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    requests: int  # of each contender in a round
    starts: int  # of each contender


SIZES = {
    "smallest": Size(rounds=1, requests=12, starts=1),
    "full": Size(rounds=40, requests=300, starts=15),
}


@dataclass(frozen=True)
class Goal:
    """What a ratio may be: at most, or at least where more is better; and what is aimed at."""

    floor: float
    aim: float
    is_least: bool = False

    def verdict(self, ratio: float) -> str:
        """Say whether a ratio keeps its floor, and whether it reaches its aim."""
        if self.is_least:
            return verdict(-ratio, -self.floor, -self.aim)
        return verdict(ratio, self.floor, self.aim)


GOALS = {
    "added": Goal(0.8, 0.5),
    "telemetry": Goal(0.8, 0.93, is_least=True),
    "bare": Goal(-math.inf, 0.6, is_least=True),
    "import": Goal(1.25, 1.1),
}


def main() -> int:
    """Measure, print three tables, and return 1 where a floor is missed at full size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--write", action="store_true", help="draw the plot in docs/ anew")
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    with tempfile.TemporaryDirectory(prefix="telemetry-") as directory:
        ratios = asyncio.run(measure(Path(directory), size, arguments.write))
    ratios["import"] = compare_starts(size)
    for name, ratio in ratios.items():
        goal = GOALS[name]
        print(f"{name:<12}{ratio:>6.2f}  floor {goal.floor:g}, aim {goal.aim:g}", end="  ")
        print(goal.verdict(ratio) if arguments.size == "full" else "")
    missed = any(GOALS[name].verdict(ratio) == "MISSED" for name, ratio in ratios.items())
    return int(missed and arguments.size == "full")


async def measure(directory: Path, size: Size, write: bool) -> dict[str, float]:
    """Print what requests take, called and over HTTP; return the ratios that have goals."""
    database = await Database.make(directory)
    async with Receiver.listening() as receiver, AsyncExitStack() as stack:
        start = Start(database, receiver, stack)
        added = await compare_calls(start, size)
    async with Receiver.listening() as receiver, AsyncExitStack() as stack:
        throughput = await compare_throughput(Start(database, receiver, stack), size)
    if write:
        shares.draw(throughput)
    return {
        "added": added,
        "telemetry": ratio(throughput, "telemetry", "metrics"),
        "bare": ratio(throughput, "telemetry", "bare"),
    }


def ratio(measured: Mapping[str, list[float]], one: str, other: str) -> float:
    """Return the median of what one has to what the other has, round by round."""
    return statistics.median(a / b for a, b in zip(measured[one], measured[other], strict=True))


# What all contenders start from.


@dataclass(frozen=True)
class Database:
    """A database with a tenant and a page of projects, and what a caller needs."""

    file: Path
    keys: Path
    token: str
    project: str

    @classmethod
    async def make(cls, directory: Path) -> "Database":
        """Make it, in a directory."""
        file, keys = directory / "template.db", directory / "issuer.json"
        settings = Settings(DATABASE_URL=url(file), AUTH_LOCAL_KEY_FILE=str(keys))
        await asyncio.to_thread(migrate, settings)
        configure(settings)
        await lifecycle.create(served.TENANT)
        projects = [Project(name=f"project {number}") for number in range(served.PAGE)]
        async with tenant_session(served.TENANT) as session:
            session.add_all(projects)
        await dispose()
        token = issuer.issue(settings, served.TENANT, "alice")
        return cls(file, keys, token, str(projects[0].id))

    def copy(self, name: str) -> Path:
        """Copy it, for a contender."""
        return Path(shutil.copy(self.file, self.file.with_name(f"{name.replace(' ', '-')}.db")))


def url(file: Path) -> str:
    """Return the URL of a SQLite database."""
    return f"sqlite+aiosqlite:///{file}"


class Receiver:
    """Takes envelopes on loopback, and counts the transactions of each contender."""

    def __init__(self) -> None:
        self.transactions: Counter[str] = Counter()
        self._port = 0

    @classmethod
    @asynccontextmanager
    async def listening(cls) -> AsyncIterator["Receiver"]:
        """Listen on a free port."""
        made = cls()
        server = await asyncio.start_server(made._receive, "127.0.0.1", 0)
        made._port = server.sockets[0].getsockname()[1]
        try:
            yield made
        finally:
            server.close()

    def dsn(self, number: int) -> str:
        """Return where a contender with a number reports."""
        return f"http://key@127.0.0.1:{self._port}/{number}"

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                lines = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
                body = await reader.readexactly(int(lines["content-length"]))
                if lines.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                first = json.loads(body.splitlines()[1])
                self.transactions[head.split("/")[2]] += first["type"] == "transaction"
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()


@dataclass(frozen=True)
class Start:
    """Starts contenders, which are stopped with the stack."""

    database: Database
    receiver: Receiver
    stack: AsyncExitStack

    async def __call__(self, name: str, number: int, *words: str) -> asyncio.subprocess.Process:
        """Start a contender, with a copy of the database."""
        backend = WITH if name in {"telemetry", "none", "stock"} else WITHOUT
        dsn = self.receiver.dsn(number)
        file = self.database.copy(f"{name} {words[0]}")
        variables = {
            **os.environ,
            "PYTHONPATH": f"{backend}:{Path(__file__).parent}",
            "LOG_LEVEL": "INFO",
            "DATABASE_URL": url(file),
            "AUTH_LOCAL_KEY_FILE": str(self.database.keys),
            "SENTRY_TRACES_SAMPLE_RATE": str(served.RATE),
            "SENTRY_DSN": dsn if name == "telemetry" else "",
            "STOCK_DSN": dsn,
        }
        log = self.stack.enter_context(file.with_suffix(".log").open("wb"))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, served.__file__, name, *words),
            cwd=backend,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        self.stack.push_async_callback(stop, process)
        return process

    def show_logs(self) -> None:
        """Print the end of what each contender has logged."""
        for log in self.database.file.parent.glob("*.log"):
            print(log.stem, log.read_text(errors="replace")[-LOGGED:], sep="\n", file=sys.stderr)


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ask a process to end, and see to it."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), PATIENCE)
        return
    process.kill()
    await process.wait()


# Calls without a server in between.


async def compare_calls(start: Start, size: Size) -> float:
    """Print what a call takes; return what ours adds, as a part of what the stock SDK adds."""
    names = ("none", "stock", "telemetry")
    database = start.database
    workers = {
        name: await start(name, number, "call", database.token, database.project)
        for number, name in enumerate(names)
    }
    taken = await by_turns(names, lambda name: round_of_calls(workers[name], size.requests), size)
    added = {
        name: [a - b for a, b in zip(taken[name], taken["none"], strict=True)] for name in names
    }
    print(f"Telemetry: medians of {size.rounds} interleaved rounds, {served.RATE:.0%} traced\n")
    print(f"{'a call, in process':<24}{'processor':>12}{'added':>12}{'traced':>10}")
    for number, name in enumerate(names):
        calls = (size.rounds + 1) * 3 * -(-size.requests // 3)
        traced = start.receiver.transactions[str(number)] / calls
        times = (statistics.median(each[name]) * 1e3 for each in (taken, added))
        print(f"{name:<24}" + "".join(f"{each:>9.3f} ms" for each in times) + f"{traced:>10.1%}")
    print(flush=True)
    ours, theirs = (statistics.median(added[name]) for name in ("telemetry", "stock"))
    return ours / theirs if theirs else math.nan


async def round_of_calls(worker: asyncio.subprocess.Process, size: int) -> float:
    """Let a worker make so many calls; return the processor's seconds for each of them."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(b"%d\n" % size)
    return float(await asyncio.wait_for(worker.stdout.readline(), PATIENCE))


# Requests over HTTP.


async def compare_throughput(start: Start, size: Size) -> dict[str, list[float]]:
    """Print how many requests are answered in a second; return it by contender and round."""
    ports = {}
    for number, name in enumerate(STEPS):
        ports[name] = free_port()
        await start(name, number, "serve", str(ports[name]))
    for port in ports.values():
        await until_ready(port)
    try:
        answered = await by_turns(STEPS, lambda name: load(ports[name], start.database, size), size)
    except ExceptionGroup:
        start.show_logs()
        raise
    print(f"{'requests over HTTP':<24}{'a second':>12}{'of bare':>12}{'of before':>12}")
    before = STEPS[0]
    for name in STEPS:
        ratios = (ratio(answered, name, other) for other in (STEPS[0], before))
        row = f"{name:<24}{statistics.median(answered[name]):>12.0f}"
        print(row + "".join(f"{each:>12.2f}" for each in ratios), flush=True)
        before = name
    print(flush=True)
    return answered


async def until_ready(port: int) -> None:
    """Wait until somebody listens on a port."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


async def load(port: int, database: Database, size: Size) -> float:
    """Send a server as many requests as it answers; return how many it does in a second."""
    turns = -(-size.requests // (3 * CONNECTIONS))
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(connection(port, database, turns))
    return 3 * CONNECTIONS * turns / (loop.time() - started)


async def connection(port: int, database: Database, turns: int) -> None:
    """Send requests one after the other, on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(turns):
        for method, path, query, body in served.calls(database.project):
            head = (
                f"{method} {path}?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Authorization: Bearer {database.token}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            content = await reader.readexactly(int(length))
            if answer.split()[1] not in {b"200", b"201"}:
                raise RuntimeError(f"{method} {path} was answered {content.decode()}")
    writer.close()


async def by_turns(
    names: Sequence[str], measure: Callable[[str], Awaitable[float]], size: Size
) -> dict[str, list[float]]:
    """Measure each contender in each round; the first round counts for nothing."""
    measured: dict[str, list[float]] = {name: [] for name in names}
    for number in range(size.rounds + 1):
        for name in names if number % 2 else reversed(names):
            measured[name].append(await measure(name))
    return {name: values[1:] for name, values in measured.items()}


# The start of a process.


STARTING = "import time; import app.main; print(time.process_time())"


def compare_starts(size: Size) -> float:
    """Print what it takes to import the service; return what it is with Sentry to without."""
    contenders = {
        "without Sentry": (WITHOUT, ""),
        "with it, no DSN": (WITH, ""),
        "with it and a DSN": (WITH, "http://key@127.0.0.1:9/1"),
    }
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(size.starts + 1):
        for name, (backend, dsn) in contenders.items():
            taken[name].append(seconds_to_import(backend, dsn))
    taken = {name: times[1:] for name, times in taken.items()}  # there is bytecode by now
    print(f"{'import of app.main':<24}{'processor':>12}{'ratio':>12}")
    for name, times in taken.items():
        compared = ratio(taken, name, "without Sentry")
        print(f"{name:<24}{statistics.median(times) * 1e3:>9.0f} ms{compared:>12.2f}", flush=True)
    print()
    return ratio(taken, "with it and a DSN", "without Sentry")


def seconds_to_import(backend: Path, dsn: str) -> float:
    """Import the service in a fresh interpreter; return the processor's seconds for all of it."""
    variables = {**os.environ, "PYTHONPATH": str(backend), "SENTRY_DSN": dsn}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", STARTING]
    done = subprocess.run(
        command, cwd=backend, env=variables, check=True, stdout=subprocess.PIPE, text=True
    )
    return float(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
