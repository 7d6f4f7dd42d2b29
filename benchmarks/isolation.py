"""Measures what keeping tenants apart costs, beside plain SQLAlchemy on the same database.

Runs in the environment of a generated project. Both take the same query by turns, in one process;
what counts is the ratio. The plain one has the tenant in its query, and no layer looks at it: on
PostgreSQL it signs in as the superuser, whom row-level security does not hold.
"""

import argparse
import asyncio
import math
import random
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from app.api.dependencies.pagination import Paging
from app.core.config import Settings
from app.db import configure, dispose
from app.projects.models import Project
from app.tenancy import lifecycle, tenant_session
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from measures import verdict

# The generated project's own, which this repository's would be taken for.
migrate = import_module("tests.conftest").migrate
find_cluster = import_module("tests.servers").find_cluster

TENANT = "acme"
PAGE = 50  # rows, as a list of the API has by default
MOMENT = "2026-01-01 00:00:00.000000+00:00"

Open = Callable[[], AbstractAsyncContextManager[AsyncSession]]
Query = Callable[[AsyncSession], Awaitable[object]]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    repeats: int  # of a query in each round
    few: int  # tenants
    many: int  # tenants
    rows: int  # of all tenants together
    pages: int


SIZES = {
    "smallest": Size(rounds=3, repeats=5, few=2, many=20, rows=200, pages=10),
    "full": Size(rounds=60, repeats=40, few=10, many=10_000, rows=1_000_000, pages=600),
}

# What a ratio may be at most, and what is aimed at.
FLOORS = {
    ("PostgreSQL", "a query in a transaction"): (1.3, 1.1),
    ("SQLite", "a query in a transaction"): (1.35, 1.1),
    ("PostgreSQL", "a transaction of one query"): (1.5, 1.2),
    ("PostgreSQL", "a page, many tenants to few"): (1.2, 1.0),
    ("SQLite", "a page, many tenants to few"): (1.2, 1.0),
}


def main() -> int:
    """Measure, print a table, and return 1 where a floor is missed; the smallest size has none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="full")
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    floors = FLOORS if arguments.size == "full" else {}
    print("Isolation: ratio to plain SQLAlchemy, medians of interleaved rounds\n")
    print(f"{'database':<12}{'what':<32}{'plain':>11}{'guarded':>11}{'ratio':>7}")
    missed = False
    for name, databases in (("SQLite", sqlite_databases), ("PostgreSQL", postgresql_databases)):
        with databases() as make:
            for what, plain, guarded in measure(make, size):
                most, aim = floors.get((name, what), (math.inf, math.inf))
                ratio = guarded / plain
                missed |= ratio > most
                row = f"{name:<12}{what:<32}{plain * 1e6:>8.0f} µs{guarded * 1e6:>8.0f} µs"
                print(f"{row}{ratio:>7.2f}  {verdict(ratio, most, aim)}", flush=True)
    return int(missed)


@dataclass(frozen=True)
class Database:
    """A migrated database: the service's settings for it, and a way in that no layer watches."""

    settings: Settings
    plain_url: str
    fill: Callable[[int, int], None]  # with so many tenants, and so many rows together


Make = Callable[[], Database]


def measure(make: Make, size: Size) -> Iterator[tuple[str, float, float]]:
    """Yield what is compared on one kind of database, and the two times in seconds."""
    database = make()
    configure(database.settings)
    yield from asyncio.run(compare(database.plain_url, size))
    grown = {size.few: make(), size.many: make()}
    for tenants, each in grown.items():
        each.fill(tenants, size.rows)
    times = asyncio.run(pages_by_turns(grown, size))
    yield "a page, many tenants to few", times[size.few], times[size.many]


async def compare(plain_url: str, size: Size) -> list[tuple[str, float, float]]:
    """Time a query, and a transaction of one, in a plain session and in a tenant's."""
    await lifecycle.create(TENANT)
    async with tenant_session(TENANT) as session:
        projects = [Project(name=f"project {number}") for number in range(100)]
        session.add_all(projects)
    ids = [project.id for project in projects]
    engine = create_async_engine(plain_url)

    async def guarded_query(session: AsyncSession) -> None:
        await session.scalar(select(Project).where(Project.id == random.choice(ids)))

    async def plain_query(session: AsyncSession) -> None:
        own = select(Project).where(Project.tenant_id == TENANT)
        await session.scalar(own.where(Project.id == random.choice(ids)))

    ways: list[tuple[Open, Query]] = [
        (partial(plain_session, engine), plain_query),
        (partial(tenant_session, TENANT), guarded_query),
    ]
    measured = [
        ("a query in a transaction", *await by_turns(inside, ways, size)),
        ("a transaction of one query", *await by_turns(whole, ways, size)),
    ]
    await engine.dispose()
    await dispose()
    return measured


@asynccontextmanager
async def plain_session(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """Open a session as SQLAlchemy's documents do; leaving it commits."""
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session
        await session.commit()


async def inside(opening: Open, query: Query, repeats: int) -> float:
    """Return the seconds that a query takes in a transaction that has begun."""
    async with opening() as session:
        await query(session)
        started = time.perf_counter()
        for _ in range(repeats):
            await query(session)
        return (time.perf_counter() - started) / repeats


async def whole(opening: Open, query: Query, repeats: int) -> float:
    """Return the seconds that it takes to open a session, query, commit and close it."""
    started = time.perf_counter()
    for _ in range(repeats):
        async with opening() as session:
            await query(session)
    return (time.perf_counter() - started) / repeats


Timed = Callable[[Open, Query, int], Awaitable[float]]


async def by_turns(timed: Timed, ways: list[tuple[Open, Query]], size: Size) -> tuple[float, float]:
    """Time both ways in each round; return the plain one's median, and that times the ratio."""
    rounds = [[await timed(*way, size.repeats) for way in ways] for _ in range(size.rounds + 1)]
    del rounds[0]  # connections are made and statements prepared
    plain = statistics.median(times[0] for times in rounds)
    return plain, plain * statistics.median(guarded / bare for bare, guarded in rounds)


async def pages_by_turns(grown: Mapping[int, Database], size: Size) -> dict[int, float]:
    """Return the median seconds of a page in databases of so many tenants, read by turns."""
    taken: dict[int, list[float]] = {tenants: [] for tenants in grown}
    for _ in range(size.pages):
        for tenants, database in grown.items():
            configure(database.settings)
            taken[tenants].append(await page(tenants, size.rows // tenants))
    await dispose()
    return {tenants: statistics.median(times) for tenants, times in taken.items()}


async def page(tenants: int, rows: int) -> float:
    """Return the seconds that a page takes, anywhere in the list of any of the tenants.

    A page of few tenants is as far from the last one read as that of many: what is compared is the
    number of tenants, and not what the database finds in its cache.
    """
    tenant = random.randrange(tenants)
    start = random.randrange(max(rows - PAGE, 1)) * tenants + tenant
    query = select(Project).where(Project.id > uuid.UUID(int=start))
    async with tenant_session(tenant_name(tenant)) as session:
        started = time.perf_counter()
        await Paging(PAGE, None).read(session, query, Project.id)
        return time.perf_counter() - started


def tenant_name(number: int) -> str:
    """Name a tenant, all with the same length."""
    return f"tenant-{number:05}"


@contextmanager
def sqlite_databases() -> Iterator[Make]:
    """Yield what makes databases of SQLite."""
    with tempfile.TemporaryDirectory(prefix="isolation-") as directory:

        def make() -> Database:
            file = Path(directory) / f"{uuid.uuid4().hex}.db"
            url = f"sqlite+aiosqlite:///{file}"
            settings = Settings(DATABASE_URL=url)
            migrate(settings)
            return Database(settings, url, partial(fill_sqlite, file))

        yield make


@contextmanager
def postgresql_databases() -> Iterator[Make]:
    """Yield what makes databases of PostgreSQL."""
    with find_cluster() as cluster:

        def make() -> Database:
            name = cluster.create_database()
            settings = Settings.model_validate(cluster.urls(name))
            migrate(settings)
            url = cluster.superuser_url(name)
            return Database(settings, url, partial(fill_postgresql, partial(cluster.execute, name)))

        yield make


def fill_sqlite(file: Path, tenants: int, rows: int) -> None:
    """Give each tenant its share of the rows, whose ids sort by when they were made."""
    connection = sqlite3.connect(file)
    connection.create_function("may_write", 1, lambda _: True)
    connection.executemany(
        "INSERT INTO tenants (tenant_id, status, created_at) VALUES (?, 'active', ?)",
        [(tenant_name(number), MOMENT) for number in range(tenants)],
    )
    connection.executemany(
        "INSERT INTO projects VALUES (?, ?, ?, 1, ?, ?)",
        (
            (tenant_name(row % tenants), f"{row:032x}", f"project {row}", MOMENT, MOMENT)
            for row in range(rows)
        ),
    )
    connection.commit()
    connection.execute("ANALYZE")
    connection.close()


def fill_postgresql(execute: Callable[[str], None], tenants: int, rows: int) -> None:
    """Give each tenant its share of the rows, whose ids sort by when they were made."""
    name = "'tenant-' || lpad(({})::text, 5, '0')"
    execute(
        "INSERT INTO tenants (tenant_id, status, created_at)"
        f" SELECT {name.format('n')}, 'active', now()"
        f" FROM generate_series(0, {tenants - 1}) n"
    )
    execute(
        f"INSERT INTO projects SELECT {name.format(f'n % {tenants}')},"
        " lpad(to_hex(n), 32, '0')::uuid, 'project ' || n, 1, now(), now()"
        f" FROM generate_series(0, {rows - 1}) n"
    )
    execute("VACUUM ANALYZE projects")


if __name__ == "__main__":
    sys.exit(main())
