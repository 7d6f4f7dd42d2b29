"""Two worker processes, few connections, many tenants at a time: each is served its own rows only.

ISOLATION_STEPS=100000 runs as many transactions.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import uuid
from collections import Counter
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.auth import issuer
from app.core.config import Settings
from app.projects.models import Project
from app.tenancy import lifecycle, system_session
from tests.conftest import BACKEND
from tests.wire.server import serve

pytestmark = pytest.mark.anyio

TRANSACTIONS = int(os.environ.get("ISOLATION_STEPS", "600"))
PROCESSES = 2
TENANTS = [f"tenant-{number}" for number in range(5)]
CALLERS = 4  # of each tenant at a time
REQUESTS = 5  # that each of them sends in a row
URL = "/api/v1/projects"


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
    words = [sys.executable, "-m", "tests.security.interleaving", str(transactions), str(seed)]
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


async def test_no_transaction_of_two_processes_sees_or_loses_a_row(settings: Settings) -> None:
    assert await interleave(settings, TRANSACTIONS) == {}


async def test_no_request_to_two_worker_processes_is_answered_with_a_foreign_row(
    settings: Settings,
) -> None:
    assert await converse(settings, min(TRANSACTIONS // 2, 10_000)) == {}
