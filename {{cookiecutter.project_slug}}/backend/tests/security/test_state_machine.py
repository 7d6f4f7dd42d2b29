"""Random walks of many callers over the whole API: no step tells a tenant what is another's.

A run walks the same few ways each time. ISOLATION_STEPS=100000 takes as many steps, on new ways.
"""

import asyncio
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from pydantic_core import to_jsonable_python
from sqlalchemy import select

from app.core.config import Settings
from app.core.context import HEADER
from app.db.base import Base
from app.main import create_app
from app.tenancy import Tenant, TenantStatus, lifecycle, system_session
from app.tenancy.models import RECORDS
from tests.security.calls import (
    OPERATIONS,
    TENANTS_OF_A_WALK,
    Call,
    Decider,
    any_call,
    plain_call,
    reading_call,
    writing_call,
)
from tests.security.document import WRITES, Kind
from tests.security.model import Model, Request, Shown
from tests.security.tokens import ISSUER, Caller, Issuer

STEPS = int(os.environ.get("ISOLATION_STEPS", "0"))
FEW = 500
STATUS_AFTER = {Kind.SUSPEND: TenantStatus.SUSPENDED, Kind.RESUME: TenantStatus.ACTIVE}
WALK = 50  # rules that a walk follows; most of them send one request, or several


class Service:
    """The application, in an event loop that goes on between steps, with few connections."""

    def __init__(self, settings: Settings, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.run = run
        self.issuer = Issuer()
        self.model = Model()
        self.walks = 0
        self.answers: Counter[tuple[str, int]] = Counter()
        self.app = create_app(settings)
        self.app.state.verifier = self.issuer.verifier(settings)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://service.test")

    async def send(self, asked: Request) -> httpx.Response:
        """Send a request, and look at its answer's id."""
        request_id = f"request-{self.answers.total()}"
        answer = await self._client.request(
            asked.operation.method,
            asked.path,
            params=asked.query,
            headers={**asked.headers, HEADER: request_id},
            content=asked.content,
        )
        self.answers[repr(asked.operation), answer.status_code] += 1
        assert answer.headers[HEADER] == request_id
        return answer

    async def show(self, tenant: str, url: str) -> Shown:
        """Return what one of a tenant's people is shown."""
        token = self.issuer.token("good", Caller(tenant))
        answer = await self._client.get(url, headers={"Authorization": f"Bearer {token}"})
        shown: Shown = answer.raise_for_status().json()
        return shown


@contextmanager
def serving(settings: Settings) -> Iterator[Service]:
    """Yield the service, started, with one connection a role and at most one more."""
    changes = {
        "AUTH_ISSUER": ISSUER,
        "DATABASE_POOL_SIZE": 1,
        "DATABASE_POOL_OVERFLOW": 1,
        "LOG_LEVEL": "WARNING",
    }
    with asyncio.Runner() as runner:
        service = Service(settings.model_copy(update=changes), runner.run)
        lifespan = service.app.router.lifespan_context(service.app)
        runner.run(lifespan.__aenter__())
        try:
            yield service
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


async def stored(tenant: str) -> list[Shown]:
    """Return every row of a tenant, past the guard."""
    rows: list[Shown] = []
    async with system_session("a test looks at what is stored") as session:
        for table in Base.metadata.sorted_tables:
            if "tenant_id" in table.c and table.name not in RECORDS:
                found = await session.execute(select(table).where(table.c.tenant_id == tenant))
                rows += [to_jsonable_python(dict(row)) for row in found.mappings()]
    return rows


async def status_of(tenant: str) -> TenantStatus | None:
    """Return the status of a tenant, past the guard."""
    async with system_session("a test looks at a status") as session:
        found = await session.get(Tenant, tenant)
    return None if found is None else TenantStatus(found.status)


async def create(tenants: Sequence[str]) -> None:
    """Create tenants, all at once."""
    async with system_session("a test makes tenants") as session:
        session.add_all(Tenant(tenant_id=name, status=TenantStatus.ACTIVE) for name in tenants)


async def erase(tenant: str) -> None:
    """Erase a tenant, or go on with it, as the command line does."""
    async for _ in lifecycle.erase(tenant):
        pass


class Walk(RuleBasedStateMachine):
    """Some tenants, new ones each time, and what their callers do one after the other."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service
        self.model = service.model
        service.walks += 1
        self.names = [f"t{service.walks:06}-{each}" for each in range(TENANTS_OF_A_WALK)]
        self.decider = Decider(self.model, service.issuer, self.names)
        service.run(create(self.names[:3]))
        for number, name in enumerate(self.names[:3]):
            self.model.add_tenant(name)
            for operation in OPERATIONS:
                if operation.kind is Kind.CREATE and not operation.is_about_tenants:
                    self.ask(plain_call(operation, number))

    @rule(call=any_call)
    def ask(self, call: Call) -> None:
        """One request, whose answer is foretold."""
        asked = self.decider.decide(call)
        self.model.settle(asked, self.service.run(self.service.send(asked)))

    @rule(call=writing_call)
    def change(self, call: Call) -> None:
        """The same, so that there is something to be read."""
        self.ask(call)

    @rule(calls=st.lists(reading_call, min_size=2, max_size=4))
    def ask_at_once(self, calls: list[Call]) -> None:
        """More requests at a time than there are connections."""
        asked = [self.decider.decide(call) for call in calls]

        async def send() -> list[httpx.Response]:
            return await asyncio.gather(*map(self.service.send, asked))

        for each, answer in zip(asked, self.service.run(send()), strict=True):
            self.model.settle(each, answer)

    @rule(call=any_call, after=st.integers(0, 400), beside=reading_call)
    def abandon(self, call: Call, after: int, beside: Call) -> None:
        """A request that is cancelled midway, beside another that may wait for its connection."""
        asked, other = self.decider.decide(call), self.decider.decide(beside)
        self.service.run(self._abandon(asked, other, after))

    @rule(keep=st.booleans(), which=st.integers(0, TENANTS_OF_A_WALK - 1))
    def operate(self, *, keep: bool, which: int) -> None:
        """The issuer changes its key, and somebody at a command line sees to a tenant."""
        self.service.issuer.rotate(keep=keep)
        name = self.names[which]
        if name not in self.model.tenants:
            self.service.run(lifecycle.create(name))
            self.model.add_tenant(name)
        elif self.model.tenants[name] is TenantStatus.SUSPENDED:
            self.service.run(lifecycle.resume(name))
            self.model.tenants[name] = TenantStatus.ACTIVE

    def teardown(self) -> None:
        """Hold what is stored against what the API has said."""
        known = self.model.tenants.keys() & set(self.names)
        if sys.exc_info()[0] is None:
            for name in known:
                self.model.compare(name, self.service.run(stored(name)))
        # After a failure the model may be wrong about these, and later walks list them too.
        for name in known:
            self.model.tenants[name] = self.service.run(status_of(name))

    async def _abandon(self, asked: Request, other: Request, after: int) -> None:
        cancelled = asyncio.create_task(self.service.send(asked))
        beside = asyncio.create_task(self.service.send(other))
        for _ in range(after):
            await asyncio.sleep(0)
        was_running = cancelled.cancel()
        await asyncio.wait([cancelled, beside])
        # A library may make an error of its own of a cancellation; nobody gets that answer.
        made_an_error = was_running and not cancelled.cancelled()
        if not cancelled.cancelled() and not (made_an_error and cancelled.result().is_server_error):
            self.model.settle(asked, cancelled.result())
        elif self.model.forecast(asked) < 300 and asked.operation.kind in WRITES:
            await self._find_out(asked)
        # What it says depends on which was first; whose it is does not.
        self.model.look_for_foreign(other, beside.result())
        assert beside.result().status_code < 500

    async def _find_out(self, asked: Request) -> None:
        """Find out whether a request that was cancelled has done its work, which is up to it."""
        if asked.operation.is_about_tenants:
            await self._find_out_status(asked.named, asked.operation.kind)
            return
        rows = {row["id"] for row in await stored(asked.tenant)}
        own = self.model.rows[asked.tenant]
        if asked.operation.kind is Kind.CREATE:
            new = rows - {row["id"] for row in own.values()}
            assert len(new) <= 1
            for each in new:
                await self._learn(asked, f"{asked.path}/{each}")
        elif own[asked.path]["id"] in rows:
            await self._learn(asked, asked.path)
        else:
            assert asked.operation.kind is Kind.DELETE
            self.model.forget(asked.tenant, asked.path)

    async def _learn(self, asked: Request, url: str) -> None:
        """Have a row shown to its tenant."""
        shown = await self.service.show(asked.tenant, url)
        if shown != self.model.rows[asked.tenant].get(url):
            self.model.learn(asked, url, shown)

    async def _find_out_status(self, name: str, kind: Kind) -> None:
        """Find out how far a step in a tenant's life has come; go on with what has begun."""
        status = await status_of(name)
        if status == self.model.tenants.get(name):
            return
        match kind:
            case Kind.CREATE:
                await lifecycle.create(name)
                self.model.add_tenant(name)
            case Kind.ERASE:
                await erase(name)
                self.model.erase(name)
            case _:
                assert status == STATUS_AFTER[kind]
                self.model.tenants[name] = status


def walk(settings: Settings, steps: int, *, anew: bool) -> Counter[tuple[str, int]]:
    """Walk for so many steps, on new ways or those of the last time; count what was answered."""
    ways = hypothesis.settings(
        max_examples=math.ceil(steps / WALK),
        stateful_step_count=WALK,
        derandomize=not anew,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    with serving(settings) as service:

        class ThisWalk(Walk):
            def __init__(self) -> None:
                super().__init__(service)

        run_state_machine_as_test(ThisWalk, settings=ways)
        for name in service.model.tenants:
            service.model.compare(name, service.run(stored(name)))
    return service.answers


def test_every_operation_does_its_work_for_who_may(settings: Settings) -> None:
    kinds = list(Kind)
    tour = sorted(OPERATIONS, key=lambda each: (kinds.index(each.kind), -len(each.parameters)))
    with serving(settings) as service:
        walk = Walk(service)
        for each in tour:
            walk.ask(plain_call(each, which=4 if each.kind is Kind.CHANGE else 2))
        assert {repr(each) for each in OPERATIONS} == {
            name for name, status in service.answers if status < 300
        }


def test_no_walk_tells_a_tenant_what_is_anothers(settings: Settings) -> None:
    answers = walk(settings, STEPS or FEW, anew=STEPS > 0)
    assert {status for _, status in answers} >= {200, 201, 401, 403, 404, 422}
    if STEPS:
        assert {name for name, _ in answers} == {repr(each) for each in OPERATIONS}
