"""What is known of a request: its id, its tenant, and its caller by a pseudonym."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from app.core.context import (
    DAY,
    AnonymousSessions,
    begin_request,
    current_consent,
    current_request_id,
    current_session,
    current_tenant,
    sessions,
    tell_caller,
    tell_consent,
    tell_tenant,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_caller_keeps_one_id_and_shares_it_with_nobody() -> None:
    made = AnonymousSessions()
    assert made.name("acme", "alice") == made.name("acme", "alice")
    others = [("acme", "bob"), ("globex", "alice"), ("acmea", "lice"), ("acme:5", "alice")]
    assert len({made.name("acme", "alice"), *(made.name(*each) for each in others)}) == 5


def test_an_id_tells_nothing_of_its_caller_without_the_key() -> None:
    assert AnonymousSessions().name("acme", "alice") != AnonymousSessions().name("acme", "alice")


def test_another_process_gives_another_id() -> None:
    program = "from app.core.context import sessions; print(sessions.name('acme', 'alice'))"
    told = [subprocess.check_output([sys.executable, "-c", program], text=True) for _ in range(2)]
    assert len({*told, f"{sessions.name('acme', 'alice')}\n"}) == 3


def test_ids_change_after_their_lifetime_and_not_before() -> None:
    clock = Clock()
    made = AnonymousSessions(clock=clock)
    first = made.name("acme", "alice")
    clock.now = DAY - 1
    assert made.name("acme", "alice") == first
    clock.now = DAY
    second = made.name("acme", "alice")
    assert second != first
    clock.now = 2 * DAY - 1
    assert made.name("acme", "alice") == second


def test_ids_change_when_told_to() -> None:
    made = AnonymousSessions()
    first = made.name("acme", "alice")
    made.rotate()
    assert made.name("acme", "alice") != first


def test_threads_that_meet_a_rotation_see_one_key_before_and_one_after() -> None:
    clock = Clock()
    made = AnonymousSessions(clock=clock)
    before = made.name("acme", "alice")
    with ThreadPoolExecutor(16) as threads:
        clock.now = DAY
        after = set(threads.map(lambda _: made.name("acme", "alice"), range(2000)))
    assert len(after) == 1
    assert before not in after


def test_a_key_is_shown_by_nothing_that_prints_the_manager(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("secrets.token_bytes", lambda size: b"k" * size)
    assert "kkk" not in repr(AnonymousSessions())


@pytest.mark.anyio
async def test_each_request_knows_its_own_caller_whatever_runs_beside_it() -> None:
    async def serve(tenant: str) -> tuple[str, str, str]:
        begin_request(f"request-{tenant}")
        await asyncio.sleep(0)
        tell_caller(tenant, "alice")
        await asyncio.sleep(0)
        told = asyncio.create_task(background())
        return await told

    async def background() -> tuple[str, str, str]:
        await asyncio.sleep(0)
        return current_request_id(), current_tenant(), current_session()

    tenants = [f"tenant-{number}" for number in range(50)]
    told = await asyncio.gather(*(asyncio.create_task(serve(each)) for each in tenants))
    assert told == [(f"request-{each}", each, sessions.name(each, "alice")) for each in tenants]


@pytest.mark.anyio
async def test_a_task_of_a_request_tells_all_of_it() -> None:
    begin_request("first")
    assert (current_tenant(), current_consent()) == ("", "full")
    await asyncio.create_task(told())
    assert (current_tenant(), current_consent()) == ("acme", "none")
    begin_request("second")
    assert (current_tenant(), current_consent()) == ("", "full")


async def told() -> None:
    tell_tenant("acme")
    assert current_consent() == "anonymous"
    tell_consent("none")


@pytest.mark.anyio
async def test_tasks_outside_of_a_request_tell_only_themselves() -> None:
    async def work(tenant: str) -> tuple[str, str]:
        tell_caller(tenant, "alice")
        tell_consent("full")
        await asyncio.sleep(0)
        return current_tenant(), current_session()

    tell_consent("anonymous")
    names = ("acme", "globex")
    told = await asyncio.gather(*(work(each) for each in names))
    assert told == [(each, sessions.name(each, "alice")) for each in names]
    assert (current_tenant(), current_consent()) == ("", "anonymous")


FORKING = """
import os
from app.core import context
from app.tenancy import admit_operator, identify, serving_request
from app.tenancy.session import _caller

context.begin_request("first")
context.tell_consent("full")
with serving_request():
    identify("acme", "alice")
    admit_operator()
    child = os.fork()
    if not child:
        told = context.current_request_id(), context.current_tenant(), context.current_session()
        os._exit(any(told) or context.operation.get() is not None or _caller.get().is_operator)
    assert context.current_tenant() == "acme"
    assert _caller.get().is_operator
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_process_that_is_forked_in_a_request_knows_nothing_of_it() -> None:
    subprocess.run([sys.executable, "-c", FORKING], check=True)


def test_a_request_begins_without_the_caller_of_the_one_before() -> None:
    copy_context().run(serve_twice)


def serve_twice() -> None:
    tell_caller("acme", "alice")
    begin_request("second")
    assert (current_tenant(), current_session()) == ("", "")
