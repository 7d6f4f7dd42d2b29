"""Looks long for a way to another tenant: by random walks, by interleaving, and by the clock.

Runs in the environment of a generated project, on both databases. What is small in its own tests
has its full length here: callers walk over the whole API at random, transactions of many tenants
take turns on few connections in two processes, and calls with a foreign id are timed beside calls
with an unknown one.
"""

import argparse
import asyncio
import gc
import logging
import math
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx
from app.auth import issuer
from app.core.config import Settings
from app.db.base import uuid7
from app.main import create_app
from app.tenancy import lifecycle
from tests.security import test_indistinguishable as pairs
from tests.security import test_interleaving as interleaving
from tests.security import test_state_machine as machine
from tests.security.document import Operation

from isolation import postgresql_databases, sqlite_databases

LEAST_P = 0.01  # below this, chance is not what makes the difference
WARM_UP = 100  # pairs
ROWS = 20  # of each tenant, whose ids are tried

STEPS = 2000  # of the random walks for a minute: it is less than half of the time

# What is done for each of these steps.
TRANSACTIONS = 5
REQUESTS = 0.5
PAIRS = 0.1


def main() -> int:
    """Run all of it on both databases; return 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="about, on one database")
    arguments = parser.parse_args()
    steps = max(int(arguments.minutes * STEPS), 1)
    # A cancelled request is an error to the pool.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    failed = False
    for name, databases in (("SQLite", sqlite_databases), ("PostgreSQL", postgresql_databases)):
        with databases() as make, tempfile.TemporaryDirectory(prefix="issuer-") as directory:
            for look in (walk, interleave, converse, time_pairs):
                issuer_file = {"AUTH_LOCAL_KEY_FILE": str(Path(directory) / "issuer.json")}
                settings = make().settings.model_copy(update=issuer_file)
                started = time.monotonic()
                holds, said = look(settings, steps)
                failed |= not holds
                seconds = time.monotonic() - started
                verdict = "holds" if holds else "FAILED"
                print(f"{name:<11}{verdict:<7}{said}, {seconds:.0f} s", flush=True)
    return int(failed)


Outcome = tuple[bool, str]  # whether it holds, and what was seen


def walk(settings: Settings, steps: int) -> Outcome:
    """Walk at random; what fails is printed with the steps that lead there."""
    answers = machine.walk(settings, steps, anew=True)
    statuses: Counter[int] = Counter()
    for (_, status), number in answers.items():
        statuses[status] += number
    seen = ", ".join(f"{number} of {status}" for status, number in sorted(statuses.items()))
    successful = {name for name, status in answers if status < HTTPStatus.BAD_REQUEST}
    did = f"{len(successful)} of {len(machine.OPERATIONS)} operations did their work"
    return True, f"{answers.total()} requests of random walks ({seen}), {did}"


def interleave(settings: Settings, steps: int) -> Outcome:
    """Let transactions of tenants take turns in two processes."""
    number = steps * TRANSACTIONS
    faults = asyncio.run(interleaving.interleave(settings, number))
    return not faults, f"{number} transactions interleaved: {dict(faults) or 'no fault'}"


def converse(settings: Settings, steps: int) -> Outcome:
    """Let people of tenants talk to a server of two worker processes."""
    number = int(steps * REQUESTS)
    faults = asyncio.run(interleaving.converse(settings, number))
    return not faults, f"{number} requests interleaved: {dict(faults) or 'no fault'}"


def time_pairs(settings: Settings, steps: int) -> Outcome:
    """Time foreign ids beside unknown ones; a difference has to be found twice to be one."""
    number = max(int(steps * PAIRS), 1)
    for _ in range(2):
        differences, median = asyncio.run(paired(settings, number))
        p = signed_rank(differences)
        if p > LEAST_P:
            break
    share = statistics.median(differences) / median
    told = f"{number} pairs of a foreign and an unknown id: {share:+.2%} of {median * 1e3:.2f} ms"
    return p > LEAST_P, f"{told} in the median, p = {p:.2f}"


async def paired(settings: Settings, number: int) -> tuple[list[float], float]:
    """Return how much longer a foreign id takes than an unknown one, pair by pair, in seconds.

    The second result is the median that an unknown id takes.
    """
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service.test") as client,
    ):
        calls = await prepared(settings, client)
        gc.disable()
        timed = [await pair(client, random.choice(calls)) for _ in range(WARM_UP + number)]
        gc.enable()
    unknown = [each for _, each in timed[WARM_UP:]]
    return [one - other for one, other in timed[WARM_UP:]], statistics.median(unknown)


@dataclass(frozen=True)
class Call:
    """A call with a foreign id somewhere, and the same with an unknown one there."""

    operation: Operation
    foreign: list[str]
    unknown: list[str]
    headers: dict[str, str]
    content: bytes | None


async def prepared(settings: Settings, client: httpx.AsyncClient) -> list[Call]:
    """Give two tenants rows; return the calls of the one that name the other's."""
    people = []
    for name in ("acme", "globex"):
        await lifecycle.create(name)
        people.append({"Authorization": f"Bearer {issuer.issue(settings, name, 'alice')}"})
    calls = []
    for _ in range(ROWS):
        own, foreign = [await pairs.fill(client, each, f"Plan {uuid7()}") for each in people]
        unknown = {collection: str(uuid7()) for collection in foreign}
        for operation in pairs.WITH_IDS:
            for keys, others in pairs.named(operation, own, foreign, unknown):
                headers = people[0] | {"If-Match": '"1"'}
                content = pairs.encoded(operation, "Another plan")
                calls.append(Call(operation, keys, others, headers, content))
    return calls


async def pair(client: httpx.AsyncClient, call: Call) -> tuple[float, float]:
    """Return the seconds that a foreign and an unknown id take, in an order that chance decides."""
    seconds = [0.0, 0.0]
    for which, keys in random.sample([*enumerate((call.foreign, call.unknown))], 2):
        started = time.perf_counter()
        answer = await pairs.send(client, call.operation, keys, call.headers, call.content)
        seconds[which] = time.perf_counter() - started
        assert answer.status_code == HTTPStatus.NOT_FOUND
    return seconds[0], seconds[1]


def signed_rank(differences: list[float]) -> float:
    """Return how often chance alone would differ so much (Wilcoxon's signed-rank test)."""
    ranked = sorted(filter(None, differences), key=abs)
    number = len(ranked)
    above = sum(rank for rank, each in enumerate(ranked, 1) if each > 0)
    mean = number * (number + 1) / 4
    deviation = math.sqrt(mean * (2 * number + 1) / 6)
    return 2 * statistics.NormalDist().cdf(-abs(above - mean) / deviation)


if __name__ == "__main__":
    sys.exit(main())
