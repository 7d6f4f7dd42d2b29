"""A process in which tenants take turns on a few connections, and count what is not their own.

`python -m tests.security.interleaving NUMBER SEED TENANT …` runs so many transactions of these
tenants, many at a time, and prints a tally as JSON.
"""

import asyncio
import json
import random
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import dispose
from app.projects.models import Project, Task
from app.tenancy import tenant_session

AT_A_TIME = 20  # transactions: some wait for a connection


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


if __name__ == "__main__":
    tally = asyncio.run(run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
    json.dump(vars(tally), sys.stdout)
