"""What a tenant has is exported as of one moment, and erased to the last row, whatever happens."""

import asyncio
import gc
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import QueuePool
from starlette.types import Message, Scope

from app.api.dependencies.database import Database
from app.api.tenants import RowOut
from app.core.config import Settings
from app.core.context import begin_request
from app.projects.models import Project, Task
from app.tenancy import (
    TenancyError,
    Tenant,
    TenantStatus,
    admit_operator,
    identify,
    lifecycle,
    serving_request,
    standing_of,
    system_session,
    tenant_session,
)
from app.tenancy.models import AuditEntry
from app.tenancy.session import TenantErasedError, as_owner
from tests.conftest import BACKEND

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("app")]

URL = "/api/v1/tenants"
Headers = dict[str, str]


@pytest.fixture
def operator(as_user: Callable[..., Headers]) -> Headers:
    return as_user("acme", "olga", scope="tenants:admin")


async def fill(name: str, tasks: int = 1) -> None:
    async with tenant_session(name) as session:
        project = Project(name="Rocket")
        session.add(project)
        session.add_all(Task(title=f"Step {number}", project=project) for number in range(tasks))


async def entries(tenant: str) -> list[AuditEntry]:
    """Return what the audit log says of a tenant; to look is not about any."""
    query = select(AuditEntry).where(AuditEntry.tenant_id == tenant).order_by(AuditEntry.at)
    async with system_session("a test reads the audit log") as session:
        return list(await session.scalars(query))


async def is_active(name: str) -> bool:
    standing = await standing_of(name)
    return standing is not None and standing.is_active


async def test_an_export_has_everything_of_a_tenant_and_nothing_else(
    client: httpx.AsyncClient, operator: Headers
) -> None:
    await fill("acme")
    await fill("globex")
    answer = await client.get(f"{URL}/globex/export", headers=operator)
    assert answer.headers["content-type"] == "application/jsonl"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["table"] for line in lines] == ["projects", "tasks"]
    assert {line["row"]["tenant_id"] for line in lines} == {"globex"}
    assert lines[1]["row"]["project_id"] == lines[0]["row"]["id"]


async def test_an_export_is_of_one_moment() -> None:
    await fill("acme", tasks=3)
    lines = lifecycle.export("acme")
    assert (await anext(lines))[0] == "projects"
    async with tenant_session("acme") as session:
        await session.execute(update(Task).values(title="changed meanwhile"))
        session.add(Task(title="new", project=await session.get_one(Project, await own_id())))
    assert sorted([str(row["title"]) async for _, row in lines]) == ["Step 0", "Step 1", "Step 2"]


async def own_id() -> tuple[str, object]:
    async with tenant_session("acme") as session:
        return "acme", (await session.scalars(select(Project.id))).one()


async def test_an_erased_tenant_has_no_rows_and_its_name_is_not_given_again(
    client: httpx.AsyncClient, operator: Headers
) -> None:
    await fill("acme")
    await fill("globex")
    answer = await client.post(f"{URL}/globex/erase", headers=operator)
    steps = [json.loads(line) for line in answer.text.splitlines()]
    assert steps[0] == {"deleted": {"tasks": 1, "projects": 0}, "left": None}
    assert steps[-1] == {
        "deleted": {"tasks": 1, "projects": 1},
        "left": {"tasks": 0, "projects": 0},
    }
    assert [row async for row in lifecycle.export("globex")] == []
    assert len([row async for row in lifecycle.export("acme")]) == 2
    again = await client.post(URL, json={"name": "globex"}, headers=operator)
    assert (again.status_code, again.json()["detail"]) == (409, "the tenant globex is erased.")


async def test_who_is_not_there_is_neither_exported_nor_erased(
    client: httpx.AsyncClient, operator: Headers
) -> None:
    assert (await client.get(f"{URL}/nobody/export", headers=operator)).status_code == 404
    assert (await client.post(f"{URL}/nobody/erase", headers=operator)).status_code == 404


async def test_an_erasure_that_was_killed_goes_on_and_ends(settings: Settings) -> None:
    await fill("acme", tasks=3 * lifecycle.BATCH)
    script = (
        "import asyncio, os, signal\n"
        "from app.tenancy import lifecycle\n"
        "async def run():\n"
        "    async for step in lifecycle.erase('acme'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(run())\n"
    )
    killed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script],
        cwd=BACKEND,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", **settings.database_urls},
        check=False,
        timeout=60,
    )
    assert killed.returncode == -9
    assert not await is_active("acme")
    steps = [step async for step in lifecycle.erase("acme")]
    assert steps[-1] == lifecycle.Erasure(
        deleted={"tasks": 2 * lifecycle.BATCH, "projects": 1}, left={"tasks": 0, "projects": 0}
    )


async def test_the_proof_of_an_erasure_stands_in_the_audit_log() -> None:
    await fill("acme")
    async for _ in lifecycle.erase("acme"):
        pass
    receipt = (await entries("acme"))[-1].action
    assert receipt == "erased tenant acme; rows left: tasks 0, projects 0"
    async for _ in lifecycle.erase("acme"):  # may be proved once more
        pass
    assert (await entries("acme"))[-1].action == receipt


async def test_what_is_being_erased_takes_no_more_rows() -> None:
    steps = lifecycle.erase("acme")
    async with tenant_session("acme") as session:  # its transaction is older than the erasure
        assert await session.scalar(select(func.count()).select_from(Project)) == 0
        await session.commit()
        await fill("acme")
        await anext(steps)
        session.add(Project(name="late"))
        with pytest.raises(TenantErasedError):
            await session.commit()
        await session.rollback()
    assert [step.left async for step in steps][-1] == {"tasks": 0, "projects": 0}


async def test_rows_that_refer_to_each_other_are_erased_too(settings: Settings) -> None:
    def make(connection: Connection) -> None:
        connection.exec_driver_sql(
            "CREATE TABLE notes (tenant_id varchar(63) NOT NULL, id int NOT NULL, parent_id int,"
            " PRIMARY KEY (tenant_id, id),"
            " FOREIGN KEY (tenant_id, parent_id) REFERENCES notes (tenant_id, id))"
        )

    def drop(connection: Connection) -> None:
        connection.exec_driver_sql("DROP TABLE notes")

    await as_owner(make)
    try:
        async with system_session("a test adds rows") as session:
            for number in range(lifecycle.BATCH + 2):
                row = {"id": number, "parent": 0 if number else None}
                note = text("INSERT INTO notes VALUES ('acme', :id, :parent)")
                await session.execute(note, row)
        last = [step async for step in lifecycle.erase("acme")][-1]
        assert last.left == {"notes": 0, "tasks": 0, "projects": 0}
    finally:
        await as_owner(drop)


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
async def test_a_step_that_was_overtaken_does_not_bring_a_tenant_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = AsyncSession.get

    async def read_and_wait(self: AsyncSession, *args: Any, **kw: Any) -> Any:
        found = await read(self, *args, **kw)
        monkeypatch.setattr(AsyncSession, "get", read)
        async for _ in lifecycle.erase("acme"):
            pass
        return found

    monkeypatch.setattr(AsyncSession, "get", read_and_wait)
    with pytest.raises(lifecycle.TenantStateError, match="erased"):
        await lifecycle.suspend("acme")
    assert not await is_active("acme")


async def test_a_tenant_is_provisioned_before_it_is_active() -> None:
    async with system_session("a creation was interrupted") as session:
        session.add(Tenant(tenant_id="initech"))
    assert not await is_active("initech")
    tenant, new = await lifecycle.create("initech")
    assert (tenant.status, new) == (TenantStatus.ACTIVE, False)
    assert await is_active("initech")


async def test_of_many_who_create_a_tenant_one_does_and_none_fails() -> None:
    made = await asyncio.gather(*(lifecycle.create("initech") for _ in range(8)))
    assert [new for _, new in made].count(True) == 1
    assert {tenant.status for tenant, _ in made} == {TenantStatus.ACTIVE}


async def test_a_system_session_is_written_down_before_it_opens() -> None:
    with pytest.raises(RuntimeError):
        async with system_session("repair something", "globex"):
            raise RuntimeError
    entry = (await entries("globex"))[-1]
    assert (entry.action, entry.request_id) == ("repair something", "")
    assert entry.actor.startswith("process")


async def test_an_operators_request_is_written_down_with_its_caller_and_id(
    client: httpx.AsyncClient, operator: Headers
) -> None:
    await client.post(f"{URL}/globex/suspend", headers=operator | {"X-Request-ID": "req-1"})
    entry = (await entries("globex"))[-1]
    assert (entry.actor, entry.request_id) == ("acme/olga", "req-1")
    assert entry.action == "tenant globex: suspended"


async def test_a_request_opens_the_systems_door_only_with_the_scope() -> None:
    begin_request("req-2")
    with serving_request():
        identify("acme", "alice")
        with pytest.raises(TenancyError, match="tenants:admin"):
            async with system_session("look around"):
                pass
        admit_operator()
        async with system_session("look around"):
            pass
    async with system_session("a job looks around"):
        pass
    assert [(each.actor, each.request_id) for each in await entries("*")][-3] == (
        "acme/alice",
        "req-2",
    )


async def test_a_task_that_outlives_its_request_stays_outside_the_systems_door() -> None:
    async def later() -> None:
        await served.wait()
        async with system_session("look around"):
            pass

    served = asyncio.Event()
    with serving_request():
        task = asyncio.create_task(later())
        admit_operator()
    served.set()
    with pytest.raises(TenancyError, match="tenants:admin"):
        await task


async def test_no_other_tenants_door_opens_in_a_request_of_a_tenant() -> None:
    with serving_request():
        identify("acme", "alice")
        async with tenant_session("acme"):
            pass
        with pytest.raises(TenancyError, match="CurrentUser"):
            async with tenant_session("globex"):
                pass


async def test_no_door_opens_in_a_request_before_its_caller_is_known(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    """Not in a route without `CurrentUser`, not in what stands around it, not after a failure."""
    opened: list[str] = []

    async def try_doors(request: Request, error: Exception | None = None) -> Response:
        for name, door in (("a tenant's", tenant_session), ("the system's", system_session)):
            with suppress(TenancyError):
                async with door("acme"):
                    opened.append(name)
        return Response()

    async def try_and_go_on(request: Request, go_on: Callable[..., Any]) -> Any:
        await try_doors(request)
        return await go_on(request)

    async def fail() -> None:
        raise RuntimeError

    app.add_route("/anybody", try_doors)
    app.add_api_route("/failing", fail)
    app.middleware("http")(try_and_go_on)
    app.add_exception_handler(Exception, try_doors)
    assert (await client.get("/anybody")).status_code == 200
    assert (await client.get("/failing")).status_code == 200
    assert opened == []
    await try_doors(Request({"type": "http"}))
    assert opened == ["a tenant's", "the system's"]


async def test_who_has_checked_the_caller_otherwise_says_so(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    @app.post("/called-back")
    async def called_back() -> int:
        identify("acme", "a sender whose signature was checked")
        async with tenant_session("acme") as session:
            return await session.scalar(select(func.count(Project.id))) or 0

    assert (await client.post("/called-back")).json() == 0


async def test_a_tenants_session_keeps_its_transaction() -> None:
    async with tenant_session("acme") as session:
        with pytest.raises(TenancyError, match="AUTOCOMMIT"):
            await session.connection(execution_options={"isolation_level": "autocommit"})
    async with tenant_session("acme") as session:
        engine = session.get_bind().engine
        with pytest.raises(TenancyError, match="AUTOCOMMIT"):
            engine.execution_options(isolation_level="AUTOCOMMIT")


async def test_who_writes_while_a_tenant_is_being_erased_is_told_that_it_is_not_active(
    app: FastAPI, client: httpx.AsyncClient, as_user: Callable[..., Headers]
) -> None:
    began, erased = asyncio.Event(), asyncio.Event()

    @app.post("/late")
    async def add_late(db: Database) -> None:
        await db.scalar(select(Project))
        began.set()
        await erased.wait()
        db.add(Project(name="late"))

    late = asyncio.create_task(client.post("/late", headers=as_user("globex")))
    await began.wait()
    async for _ in lifecycle.erase("globex"):
        pass
    erased.set()
    answer = await late
    assert (answer.status_code, answer.json()["detail"]) == (403, "The tenant is not active.")
    assert [row async for row in lifecycle.export("globex")] == []


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
async def test_sqlite_is_set_up_for_several_processes(settings: Settings) -> None:
    async with system_session("a test reads what is set") as session:
        pragmas = (
            "journal_mode",
            "busy_timeout",
            "foreign_keys",
            "recursive_triggers",
            "synchronous",
        )
        values = [await session.scalar(text(f"PRAGMA {each}")) for each in pragmas]
    assert values == ["wal", settings.DATABASE_TIMEOUT * 1000, 1, 1, 1]


async def test_an_export_that_is_given_up_keeps_no_connection(
    app: FastAPI, operator: Headers
) -> None:
    await fill("globex", tasks=2000)
    gc.disable()  # what is left behind would be found and closed sooner or later
    try:
        for _ in range(3):
            await give_up_an_export(app, operator)
        async with system_session("a test looks at the pool") as session:
            pool = session.get_bind().engine.pool
            assert isinstance(pool, QueuePool)
            assert pool.checkedout() == 0
    finally:
        gc.enable()


async def give_up_an_export(app: FastAPI, headers: Headers) -> None:
    """Ask for an export as a server does, and cancel the request when some rows are there."""
    rows = 0
    some = asyncio.Event()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal rows
        rows += message["type"] == "http.response.body"
        if rows > 3:
            some.set()

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": f"{URL}/globex/export",
        "query_string": b"",
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
        "asgi": {"version": "3.0", "spec_version": "2.4"},
    }
    asking = asyncio.create_task(app(scope, receive, send))
    await some.wait()
    asking.cancel()
    await asyncio.wait([asking])
    for _ in range(50):  # time for what closes itself
        await asyncio.sleep(0)


async def test_bytes_that_are_no_text_are_exported_all_the_same() -> None:
    line = RowOut(table="notes", row={"seal": b"\xff"}).model_dump_json()
    assert line == '{"table":"notes","row":{"seal":"_w=="}}'


async def test_a_number_that_json_does_not_have_is_exported_by_its_name() -> None:
    line = RowOut(table="notes", row={"most": math.inf}).model_dump_json()
    assert line == '{"table":"notes","row":{"most":"Infinity"}}'
