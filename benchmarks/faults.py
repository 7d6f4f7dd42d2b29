"""Measures what a fault of telemetry does to requests, to memory and to the end.

Then it ends processes under load, and has requests of many tenants fail at once, to look at whose
each report is.

Runs in the environment of a generated project. Two servers, a healthy one and one with the fault,
take the same load by turns, from a process of its own: requests come at their times, however long
the answers take, and one in ten of them fails and is reported.
"""

import argparse
import asyncio
import math
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from measures import memory_of, verdict

ROUNDS = 12
RATE = 80.0  # requests per second: less than half of what a process answers
QUEUED = 20  # reports before the service is stopped
WARM_UP = 1000  # requests before memory is looked at, none of which fails
CALLERS = 4  # at a time, while memory is looked at
PATIENCE = 60.0  # seconds for an answer
AGAIN = 0.01  # seconds until one asks again
JUDGED = 30.0  # seconds of load: times of less are chance
TURN = 5.0  # seconds of load, in which one process ends
DEAD = ("refuses_the_connection", "never_answers")

FULL_DISK = ("sh", "-c", 'exec "$@" >/dev/full 2>/dev/full', "sh")
FULL_QUEUE = {"MORE_OPTIONS": '{"transport_queue_size": 12}'}  # room for two reports

EXPECTED = {
    "/api/v1/projects": 200,
    "/faulty/charges/7": 500,
    "/faulty/log": 200,
    "/faulty/slow/7?seconds=0.5": 200,
}
READING, FAULTY, LOGGING, SLOW = EXPECTED
PLANTED = ("local", "logged", "crumb", "tag", "context", "email", "message")

# What may be measured at most, and what is aimed at.
P99 = (1.15, 1.05)  # of the healthy run's
SHUTDOWN = (3.0, 2.0)  # seconds
GROWTH = (20.0, 5.0)  # megabytes
UNJUDGED = (math.inf, math.inf)


def main() -> int:
    """Measure, print two tables, and return 1 where a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load, for each fault")
    parser.add_argument("--errors", type=int, default=100_000, help="while memory is looked at")
    parser.add_argument("names", nargs="*", help="of faults and of ends; all where none is named")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as directory,
        ProcessPoolExecutor(1, mp_context=context) as pool,
    ):
        service = Service(Path(directory), pool)
        every = {**service.faults, **ENDS}
        names = arguments.names or every
        if unknown := [name for name in names if name not in every]:
            parser.error(f"{unknown[0]} is none of {', '.join(every)}")
        faults, ends = [*filter(service.faults.get, names)], [*filter(ENDS.get, names)]
        missed = bool(faults) and compare_all(service, faults, arguments.seconds)
        missed |= bool(ends) and end_all(service, ends, arguments.seconds)
        missed |= watch_memory(service, arguments.errors)
    missed |= mix_tenants(max(arguments.errors // 10, 100))
    return int(missed)


@dataclass(frozen=True)
class Load:
    """What was answered: after how many seconds each time, and what was not as expected."""

    times: list[float]
    failed: Counter[str]
    again: Counter[str]
    """What one asked again for, by what had happened."""

    @property
    def p99(self) -> float:
        """The seconds that one answer in a hundred took longer than."""
        return statistics.quantiles(self.times, n=100)[-1]


class Service:
    """The generated service with routes that fail, and a process that calls it."""

    def __init__(self, directory: Path, pool: Executor) -> None:
        # The generated project's own, which this repository's would be taken for.
        self.server = import_module("tests.wire.server")
        self.back_ends = import_module("tests.wire.backends")
        self.pool = pool
        self.settings = {
            "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/app.db",
            "AUTH_LOCAL_KEY_FILE": f"{directory}/issuer.json",
            "PLANTED_SECRETS": "\n".join(f"{name}=planted" for name in PLANTED),
        }
        command_line = partial(self.server.command_line, self.settings)
        command_line("db", "upgrade")
        command_line("tenant", "create", "acme")
        self.token = command_line("token", "--tenant", "acme", "--user", "alice")

    @contextmanager
    def serving(self, condition: "Condition") -> Iterator[Any]:
        """Serve in a condition."""
        with condition.back_end() as back_end:
            settings = {**self.settings, **condition.settings, "SENTRY_DSN": back_end.dsn}
            app = "tests.wire.faulty_app:app"
            with self.server.serve(settings, app, condition.within) as server:
                if condition.is_of_sdk:
                    httpx.post(f"{server.url}/faulty/sdk").raise_for_status()
                yield server

    @property
    def healthy(self) -> "Condition":
        """Reports arrive."""
        return Condition(partial(self.back_ends.treating, partial(self.back_ends.answers, 200)))

    @property
    def faults(self) -> "Mapping[str, Condition]":
        """What may be wrong, by name."""
        back_ends = {**self.back_ends.FAULTS, **self.back_ends.WRONG_DSNS}
        return {
            **{name: Condition(back_end) for name, back_end in back_ends.items()},
            "a_full_queue": Condition(back_ends["never_answers"], FULL_QUEUE),
            "a_full_disk_for_logs": replace(self.healthy, within=FULL_DISK),
            "an_sdk_that_raises": replace(self.healthy, is_of_sdk=True),
        }

    def paced(self, url: str, seconds: float) -> Load:
        """Send a server requests, each at its time."""
        return self.pool.submit(in_loop, pace, Caller, [url], self.token, seconds).result()

    def hammered(self, url: str, path: str, number: int) -> Load:
        """Send a server a number of requests, as fast as it answers."""
        return self.pool.submit(in_loop, hammer, Caller, [url], self.token, path, number).result()

    def insisted(self, urls: Sequence[str], seconds: float) -> "Future[Load]":
        """Begin to send servers requests by turns, each at its time, until one is answered."""
        return self.pool.submit(in_loop, pace, Insisting, urls, self.token, seconds)


@dataclass(frozen=True)
class Condition:
    """In what a server serves."""

    back_end: Callable[[], AbstractContextManager[Any]]
    settings: Mapping[str, str] = field(default_factory=dict)
    within: Sequence[str] = ()
    is_of_sdk: bool = False
    """Whether each function of the SDK raises."""


# What faults do to requests and to the end.


@dataclass(frozen=True)
class Compared:
    """What a fault did: seconds, in the median of the rounds."""

    requests: int
    failed: Counter[str]
    healthy: float
    faulty: float
    ratio: float
    shutdown: float


def compare_all(service: Service, names: Sequence[str], seconds: float) -> bool:
    """Print a line for each fault; return whether a floor is missed."""
    p99, shutdown = (P99, SHUTDOWN) if seconds >= JUDGED else (UNJUDGED, UNJUDGED)
    print(f"Faults of telemetry: {seconds:g} s of load each, medians of interleaved rounds\n")
    print(
        f"{'fault':<30}{'requests':>9}{'failed':>7}{'healthy p99':>13}{'p99':>11}{'ratio':>7}"
        f"{'shutdown':>18}"
    )
    missed = False
    for name in names:
        seen = compare(service, service.faults[name], seconds)
        missed |= bool(seen.failed) or seen.ratio > p99[0] or seen.shutdown > shutdown[0]
        print(
            f"{name:<30}{seen.requests:>9}{seen.failed.total():>7}{seen.healthy * 1e3:>10.1f} ms"
            f"{seen.faulty * 1e3:>8.1f} ms{seen.ratio:>7.2f}  {verdict(seen.ratio, *p99):<6}"
            f"{seen.shutdown:>8.2f} s  {verdict(seen.shutdown, *shutdown)}",
            flush=True,
        )
        if seen.failed:
            print(f"    not as expected: {dict(seen.failed)}", flush=True)
    return missed


def compare(service: Service, condition: Condition, seconds: float) -> Compared:
    """Load a healthy server and one with a fault by turns."""
    with service.serving(service.healthy) as healthy, service.serving(condition) as faulty:
        rounds: list[dict[str, Load]] = []
        for turn in range(ROUNDS + 1):
            order = (healthy, faulty) if turn % 2 else (faulty, healthy)
            rounds.append({each.url: service.paced(each.url, seconds / ROUNDS) for each in order})
        shutdown = time_shutdown(service, faulty)
    del rounds[0]  # connections are made, and caches filled
    pairs = [(each[healthy.url].p99, each[faulty.url].p99) for each in rounds]
    loads = [each[faulty.url] for each in rounds]
    return Compared(
        requests=sum(len(each.times) for each in loads),
        failed=sum((each.failed for each in loads), Counter()),
        healthy=statistics.median(well for well, _ in pairs),
        faulty=statistics.median(ill for _, ill in pairs),
        ratio=statistics.median(ill / well for well, ill in pairs),
        shutdown=shutdown,
    )


def time_shutdown(service: Service, server: Any) -> float:  # noqa: ANN401 - typed where it is from
    """Return the seconds until a server has ended that has reports to send."""
    service.hammered(server.url, FAULTY, QUEUED)
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(PATIENCE)
    return time.monotonic() - started


# What ends a process.


@dataclass(frozen=True)
class End:
    """How one of two processes ends that take the load together."""

    signal: signal.Signals
    are_workers: bool = False
    """Whether they are of one service, and one that ends is replaced: else each is a service."""
    is_asked: bool = False
    """Whether it is asked to end, and so answers what it has read, and has a time to be done in."""


@dataclass(frozen=True)
class Ended:
    """What an end did."""

    load: Load
    over: float
    """Seconds until the process had ended, or was replaced."""

    @property
    def cut_off(self) -> int:
        """How many requests were sent, and not answered."""
        return self.load.again.total() - self.load.again["ConnectionRefusedError"]


ENDS = {
    "SIGTERM": End(signal.SIGTERM, is_asked=True),
    "SIGKILL": End(signal.SIGKILL),
    "a_worker_that_dies": End(signal.SIGKILL, are_workers=True),
}


def end_all(service: Service, names: Sequence[str], seconds: float) -> bool:
    """Print a line for each end; return whether a request failed for good, or a floor is missed."""
    turns = max(round(seconds / TURN), 1)
    print(
        f"\nEnds of a process under load, {turns} times with a back end that is well, and as often with "
        "one that never answers;\nwho is not answered asks again\n"
    )
    print(
        f"{'end':<20}{'requests':>9}{'failed':>7}{'cut off':>9}{'healthy p99':>13}{'p99':>11}"
        f"{'ratio':>7}{'over after':>18}"
    )
    missed = False
    for name in names:
        missed |= end_often(service, name, turns, min(seconds, TURN))
    return missed


def end_often(service: Service, name: str, turns: int, seconds: float) -> bool:
    """Print the line of an end; return whether it is not as it must be."""
    end, seen = ENDS[name], defaultdict(list)
    conditions = {"well": service.healthy, "ill": service.faults["never_answers"]}
    for turn in range(turns):
        for each in conditions if turn % 2 else reversed(conditions):
            seen[each].append(end_one(service, conditions[each], end, seconds))
    every = [*seen["well"], *seen["ill"]]
    failed = sum((each.load.failed for each in every), Counter())
    cut_off, over = sum(each.cut_off for each in every), max(each.over for each in every)
    well, ill = ([each.load.p99 for each in seen[which]] for which in ("well", "ill"))
    ratio = statistics.median(b / a for a, b in zip(well, ill, strict=True))
    p99 = P99 if turns * seconds >= JUDGED else UNJUDGED
    within = SHUTDOWN if end.is_asked else UNJUDGED
    print(
        f"{name:<20}{sum(len(each.load.times) for each in every):>9}{failed.total():>7}{cut_off:>9}"
        f"{statistics.median(well) * 1e3:>10.1f} ms{statistics.median(ill) * 1e3:>8.1f} ms"
        f"{ratio:>7.2f}  {verdict(ratio, *p99):<6}{over:>8.2f} s  {verdict(over, *within)}",
        flush=True,
    )
    if failed:
        print(f"    not as expected: {dict(failed)}", flush=True)
    # A connection that is there when the process ends, and that it has not read from, is closed.
    cuts = end.is_asked and cut_off > len(every)
    return bool(failed) or cuts or ratio > p99[0] or over > within[0]


def end_one(service: Service, condition: Condition, end: End, seconds: float) -> Ended:
    """End one of two processes under load."""
    with ExitStack() as serving:
        if end.are_workers:
            condition = replace(condition, settings={"WORKERS": "2"})
            servers = [serving.enter_context(service.serving(condition))]
            process = servers[0].workers(2)[0]
        else:
            servers = [serving.enter_context(service.serving(condition)) for _ in range(2)]
            process = servers[0].process.pid
        for each in servers:
            service.hammered(each.url, FAULTY, QUEUED)
        load = service.insisted([each.url for each in servers], seconds)
        time.sleep(seconds / 2)
        struck = time.monotonic()
        os.kill(process, end.signal)
        if end.are_workers:
            servers[0].workers(3)
        else:
            servers[0].process.wait(PATIENCE)
        over = time.monotonic() - struck
        return Ended(load.result(), over)


# What they do to memory.


def watch_memory(service: Service, errors: int) -> bool:
    """Print what memory grows by while errors are reported to nobody; return whether too much.

    Nothing is held back for a budget: each goes through the filter, to the queue.
    """
    missed = False
    print(f"\nMemory over {errors} errors with the back end dead\n")
    for name in DEAD:
        condition = replace(service.faults[name], settings={"SENTRY_ERRORS_PER_MINUTE": "0"})
        with service.serving(condition) as server:
            service.hammered(server.url, READING, WARM_UP)
            before = memory_of(server.process.pid)
            seen = service.hammered(server.url, LOGGING, errors)
            growth = memory_of(server.process.pid) - before
        missed |= growth > GROWTH[0] or bool(seen.failed)
        print(
            f"{name:<30}{seen.failed.total():>7} failed{growth:>+9.1f} MB of {before:.0f} MB  "
            f"{verdict(growth, *GROWTH)}",
            flush=True,
        )
    return missed


# What arrives of many tenants at once.


def mix_tenants(failing: int) -> bool:
    """Have as many requests of 50 tenants fail at once; return whether a report is not as it must."""
    tests = [sys.executable, "-m", "pytest", "-q", "tests/wire/test_tenants.py"]
    variables = os.environ | {"FAILING_REQUESTS": str(failing)}
    done = subprocess.run(tests, env=variables, capture_output=True, text=True, check=False)
    print(
        f"\n{failing} requests of 50 tenants fail at once: {'MISSED' if done.returncode else 'ok'}"
    )
    if done.returncode:
        print(done.stdout)
    return bool(done.returncode)


# Who calls. It runs in a process of its own, so that it takes no time from a back end.

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Caller:
    """Someone who calls the service over connections that are kept, and counts what is wrong."""

    headers = ""
    paths = (FAULTY, *(READING,) * 9)
    """What is asked for, one after the other."""

    def __init__(self, urls: Sequence[str], token: str) -> None:
        self.places = cycle([url.removeprefix("http://") for url in urls])
        self.token = token
        self.idle: defaultdict[str, list[Connection]] = defaultdict(list)
        self.load = Load([], Counter(), Counter())

    async def ask(self, path: str, due: float) -> None:
        """Ask for a path, at an instant of the loop's clock."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(due - loop.time())
        try:
            async with asyncio.timeout(PATIENCE):
                status = await self.status_of(path)
        except (OSError, EOFError) as error:  # which a time that is up is as well
            self.load.failed[f"{path} {type(error).__name__}"] += 1
            return
        if path != SLOW:
            self.load.times.append(loop.time() - due)
        if status != EXPECTED[path]:
            self.load.failed[f"{path} {status}"] += 1

    async def status_of(self, path: str) -> int:
        """Send a request over a connection that is idle, or a new one; read the answer."""
        place = next(self.places)
        idle = self.idle[place]
        if idle:
            reader, writer = idle.pop()
        else:
            reader, writer = await asyncio.open_connection(*place.split(":"))
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: service\r\nAuthorization: Bearer {self.token}\r\n"
            f"{self.headers}\r\n".encode()
        )
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).lower().splitlines()
        headers = dict(line.split(b": ", 1) for line in lines if line)
        await reader.readexactly(int(headers[b"content-length"]))
        if headers.get(b"connection") == b"close":
            writer.close()
        else:
            idle.append((reader, writer))
        return int(first.split()[1])

    def hang_up(self) -> None:
        """Close the connections that are idle."""
        for connections in self.idle.values():
            for _, writer in connections:
                writer.close()


class Insisting(Caller):
    """Someone who asks again where a connection ends before the answer, as a balancer does.

    Each request has a connection of its own: one that is idle may end at any time, and tells
    nothing of a request.
    """

    headers = "Connection: close\r\n"
    paths = (FAULTY, SLOW, *(READING,) * 8)

    async def status_of(self, path: str) -> int:
        """Ask one place after another until one answers."""
        while True:
            try:
                return await super().status_of(path)
            except (OSError, EOFError) as error:
                self.load.again[type(error).__name__] += 1
                await asyncio.sleep(AGAIN)


async def pace(caller: Caller, seconds: float) -> None:
    """Ask at a rate, whether or not what was asked before is answered."""
    started = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as asking:
        for number in range(max(int(seconds * RATE), len(caller.paths))):
            path = caller.paths[number % len(caller.paths)]
            asking.create_task(caller.ask(path, started + number / RATE))


async def hammer(caller: Caller, path: str, number: int) -> None:
    """Ask for the same again and again, some at a time."""
    left = iter(range(number))

    async def ask() -> None:
        for _ in left:
            await caller.ask(path, asyncio.get_running_loop().time())

    async with asyncio.TaskGroup() as asking:
        for _ in range(CALLERS):
            asking.create_task(ask())


def in_loop(
    work: Any,  # noqa: ANN401 - it is handed on
    caller_type: type[Caller],
    urls: Sequence[str],
    token: str,
    *words: object,
) -> Load:
    """Call servers in a loop of its own, and return what was answered."""
    caller = caller_type(urls, token)

    async def run() -> None:
        await work(caller, *words)
        caller.hang_up()

    asyncio.run(run())
    return caller.load


if __name__ == "__main__":
    sys.exit(main())
