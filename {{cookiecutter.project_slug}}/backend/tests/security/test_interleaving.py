"""Few connections, many at a time: each is served its own rows only, whoever is given up midway.

ISOLATION_STEPS=100000 runs as many transactions. `python -m tests.security.test_interleaving NUMBER
SEED TENANT …` is one of the processes that they are shared among: it prints a tally as JSON.
"""

import asyncio
import gc
import json
import os
import random
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import issuer
from app.core.config import Settings
from app.db import dispose
from app.main import create_app
from app.projects.models import Project, Task
from app.tenancy import lifecycle, system_session, tenant_session
from tests.conftest import BACKEND
from tests.wire.server import serve

TRANSACTIONS = int(os.environ.get("ISOLATION_STEPS", "600"))
PROCESSES = 2
AT_A_TIME = 20  # transactions of a process: some wait for a connection
TENANTS = [f"tenant-{number}" for number in range(5)]
CALLERS = 4  # of each tenant at a time
REQUESTS = 5  # that each of them sends in a row
URL = "/api/v1/projects"
MOMENTS = range(0, 360, 3)  # turns of the event loop after which requests are given up


# A process in which tenants take turns, and count what is not their own


@dataclass
class Tally:
    """What came of the transactions."""

    transactions: int = 0
    projects: Counter[str] = field(default_factory=Counter)
    """Made and not deleted again, by tenant."""
    faults: Counter[str] = field(default_factory=Counter)
    """By what was wrong: a foreign row, or an error of the database's."""


class _UndoneError(Exception):
    """Leaves a session on purpose."""


@dataclass
class Turn:
    """One transaction of a tenant."""

    session: AsyncSession
    tenant: str
    choice: random.Random
    ids: dict[str, list[uuid.UUID]]
    """Of projects that have been there, by tenant: every process knows those that it made."""
    made: list[uuid.UUID] = field(default_factory=list)
    deleted: int = 0

    async def read(self) -> None:
        """Read pages of both tables, in each other's order."""
        query = select(Project).order_by(Project.id.desc()).limit(20)
        self._own(*(await self.session.scalars(query)))
        joined = select(Project, Task).join(Task.project).limit(20)
        for project, task in await self.session.execute(joined):
            self._own(project)
            assert (task.tenant_id, task.project_id) == (self.tenant, project.id), "foreign"

    async def make(self) -> None:
        """Make a project with a task."""
        project = Project(name=f"{self.tenant} {uuid.uuid4()}")
        self.session.add_all([project, Task(title=self.tenant, project=project)])
        await self.session.flush()
        self.made.append(project.id)

    async def change(self) -> None:
        """Change one of one's own."""
        renamed = update(Project).where(Project.id == self._pick(self.tenant))
        await self.session.execute(renamed.values(name=f"{self.tenant} {uuid.uuid4()}"))

    async def remove(self) -> None:
        """Delete one of one's own."""
        chosen = delete(Project).where(Project.id == self._pick(self.tenant))
        self.deleted += len((await self.session.scalars(chosen.returning(Project.id))).all())

    async def undo(self) -> None:
        """Make something, and leave with an error."""
        await self.make()
        raise _UndoneError

    async def go_on(self) -> None:
        """Commit, undo a part, and read on in the same session."""
        await self.make()
        await self.session.commit()
        try:
            async with self.session.begin_nested():
                self.session.add(Project(name=f"{self.tenant} {uuid.uuid4()}"))
                await self.session.flush()
                raise _UndoneError
        except _UndoneError:
            await self.read()

    async def reach(self) -> None:
        """Try for another tenant's: by its id, to read, to change and to delete it."""
        others = sorted(self.ids.keys() - {self.tenant})
        foreign = Project.id == self._pick(self.choice.choice(others))
        assert await self.session.scalar(select(Project).where(foreign)) is None, "foreign"
        for attempt in (update(Project).values(name="taken over"), delete(Project)):
            reached = await self.session.scalars(attempt.where(foreign).returning(Project.id))
            assert not reached.all(), "foreign"
        of_each = select(Project.tenant_id, func.count()).group_by(Project.tenant_id)
        counted = dict((await self.session.execute(of_each)).all())
        assert counted.keys() <= {self.tenant}, "foreign"

    def _own(self, *projects: Project) -> None:
        for each in projects:
            assert each.tenant_id == self.tenant, "foreign"
            assert each.name.startswith(f"{self.tenant} "), "foreign"

    def _pick(self, tenant: str) -> uuid.UUID:
        return self.choice.choice(self.ids[tenant] or [uuid.uuid4()])


STEPS: list[Callable[[Turn], Awaitable[None]]] = [
    *(Turn.read, Turn.read, Turn.make, Turn.make, Turn.change, Turn.remove),
    *(Turn.undo, Turn.go_on, Turn.reach),
]


async def run(number: int, seed: int, tenants: list[str]) -> Tally:
    """Run so many transactions; return what came of them."""
    tally = Tally()
    choice = random.Random(seed)
    ids: dict[str, list[uuid.UUID]] = {name: [] for name in tenants}

    async def take_turns() -> None:
        while tally.transactions < number:
            tally.transactions += 1
            await take_turn(tally, choice, choice.choice(tenants), ids)

    await asyncio.gather(*(take_turns() for _ in range(AT_A_TIME)))
    await dispose()
    return tally


async def take_turn(
    tally: Tally, choice: random.Random, tenant: str, ids: dict[str, list[uuid.UUID]]
) -> None:
    """Run one transaction of a tenant."""
    step = choice.choice(STEPS)
    try:
        async with tenant_session(tenant) as session:
            turn = Turn(session, tenant, choice, ids)
            await step(turn)
    except _UndoneError:
        return
    except Exception as error:  # whatever it is, it is counted
        tally.faults[f"{step.__name__}: {type(error).__name__}: {error}"] += 1
        return
    ids[tenant] += turn.made
    del ids[tenant][:-50]
    tally.projects[tenant] += len(turn.made) - turn.deleted


# Processes side by side


def environment(settings: Settings) -> dict[str, str]:
    """Return the settings of a worker process: few connections, and so many that wait for one."""
    return {
        "AUTH_LOCAL_KEY_FILE": settings.AUTH_LOCAL_KEY_FILE,
        "DATABASE_POOL_SIZE": "2",
        "DATABASE_POOL_OVERFLOW": "1",
        "LOG_LEVEL": "WARNING",
        **settings.database_urls,
    }


async def stored() -> Counter[tuple[str, str]]:
    """Count projects, past the guard: by whose they are, and by who has named them."""
    async with system_session("a test counts what is stored") as session:
        rows = await session.execute(select(Project.tenant_id, Project.name))
        return Counter((tenant, name.partition(" ")[0]) for tenant, name in rows)


async def interleave(settings: Settings, transactions: int) -> Counter[str]:
    """Run transactions in processes; return their faults, and hold the rows against their tally."""
    for name in TENANTS:
        await lifecycle.create(name)
    before = await stored()
    share = transactions // PROCESSES
    tallies = await asyncio.gather(
        *(asyncio.to_thread(_run, settings, share, seed) for seed in range(PROCESSES))
    )
    faults = sum((Counter(tally["faults"]) for tally in tallies), Counter[str]())
    made = sum((Counter(tally["projects"]) for tally in tallies), Counter[str]())
    found = await stored() - before
    if found != Counter({(name, name): number for name, number in made.items()}):
        faults["the rows are not those that were made"] += 1
    return faults


def _run(settings: Settings, transactions: int, seed: int) -> dict[str, dict[str, int]]:
    words = [sys.executable, "-m", "tests.security.test_interleaving", str(transactions), str(seed)]
    printed = subprocess.run(
        [*words, *TENANTS],
        cwd=BACKEND,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", **environment(settings)},
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    tally: dict[str, dict[str, int]] = json.loads(printed)
    return tally


class Person:
    """Somebody of a tenant, who does the same as all the others, at the same time."""

    def __init__(self, client: httpx.AsyncClient, tenant: str, token: str) -> None:
        self.client = client
        self.tenant = tenant
        self.headers = {"Authorization": f"Bearer {token}"}
        self.faults: Counter[str] = Counter()

    async def act(self, ids: dict[str, list[str]]) -> None:
        """Make a project, read it, read all of them, try for a foreign one, delete it."""
        name = f"{self.tenant} {uuid.uuid4()}"
        made = (await self._ask(201, "POST", URL, json={"name": name})).json()
        url = f"{URL}/{made['id']}"
        if (await self._ask(200, "GET", url)).json() != made or made["name"] != name:
            self.faults["another project than was made"] += 1
        listed = (await self._ask(200, "GET", URL, params={"limit": "20"})).json()
        if not all(each["name"].startswith(f"{self.tenant} ") for each in listed["items"]):
            self.faults["a foreign project in a list"] += 1
        others = [each for name in ids.keys() - {self.tenant} for each in ids[name][-5:]]
        await self._ask(404, "GET", f"{URL}/{random.choice(others or [uuid.uuid4()])}")
        ids[self.tenant].append(made["id"])
        if len(ids[self.tenant]) > 20:
            await self._ask(204, "DELETE", f"{URL}/{ids[self.tenant].pop(0)}")

    async def _ask(self, status: int, method: str, url: str, **more: Any) -> httpx.Response:
        answer = await self.client.request(method, url, headers=self.headers, **more)
        if answer.status_code != status:
            self.faults[f"{method} was answered {answer.status_code}"] += 1
        return answer


async def converse(settings: Settings, requests: int) -> Counter[str]:
    """Have many people talk to a server of two worker processes; return what went wrong."""
    for name in TENANTS:
        await lifecycle.create(name)
    with serve(environment(settings) | {"WORKERS": str(PROCESSES)}) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            people = [
                Person(client, tenant, issuer.issue(settings, tenant, "alice"))
                for tenant in TENANTS * CALLERS
            ]
            ids: dict[str, list[str]] = {name: [] for name in TENANTS}
            for _ in range(-(-requests // (REQUESTS * len(people)))):
                await asyncio.gather(*(person.act(ids) for person in people))
    return sum((person.faults for person in people), Counter[str]())


@pytest.mark.anyio
async def test_no_transaction_of_two_processes_sees_or_loses_a_row(settings: Settings) -> None:
    assert await interleave(settings, TRANSACTIONS) == {}


@pytest.mark.anyio
async def test_no_request_to_two_worker_processes_is_answered_with_a_foreign_row(
    settings: Settings,
) -> None:
    assert await converse(settings, min(TRANSACTIONS // 2, 10_000)) == {}


# Requests that are given up


async def make_and_delete(client: httpx.AsyncClient) -> list[int]:
    made = await client.post(URL, json={"name": str(uuid.uuid4())})
    deleted = await client.delete(made.headers.get("Location", URL))
    return [made.status_code, deleted.status_code]


async def give_up(client: httpx.AsyncClient, moment: int) -> None:
    requests = [asyncio.create_task(make_and_delete(client)) for _ in range(2)]
    for _ in range(moment):
        await asyncio.sleep(0)
    for each in requests:
        each.cancel()
    await asyncio.gather(*requests, return_exceptions=True)


async def serve_after(settings: Settings, headers: dict[str, str]) -> list[list[int]]:
    """Give up requests at all moments; return how others are served then."""
    # One connection, and one more in need.
    few = {"DATABASE_POOL_SIZE": 1, "DATABASE_POOL_OVERFLOW": 1, "DATABASE_TIMEOUT": 3.0}
    app = create_app(settings.model_copy(update=few))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://service.test", headers=headers
        ) as client,
    ):
        await lifecycle.create("acme")
        for moment in MOMENTS:
            await give_up(client, moment)
        return await asyncio.gather(*(make_and_delete(client) for _ in range(4)))


def test_what_is_given_up_midway_is_in_nobodys_way(
    settings: Settings, as_user: Callable[..., dict[str, str]]
) -> None:
    # What is left behind would be found and closed sooner or later, by chance.
    gc.disable()
    try:
        served = asyncio.run(serve_after(settings, as_user("acme")))
    finally:
        gc.enable()
    assert served == [[201, 204]] * 4
    gc.collect()  # which warns of connections that nobody has closed


if __name__ == "__main__":
    tally = asyncio.run(run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
    json.dump(vars(tally), sys.stdout)
