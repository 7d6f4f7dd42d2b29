"""Error boundaries and background tasks: what fails is logged once, counted, and never lost."""

import asyncio
import gc
import inspect
import logging
import pickle
import sqlite3
import threading
import time
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any, NoReturn, assert_type

import httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI
from starlette.exceptions import HTTPException

from app import observability
from app.api.dependencies.auth import require_scopes
from app.core.config import Settings
from app.core.context import (
    Operation,
    begin_request,
    current_request_id,
    current_tenant,
    operation,
    tell_caller,
)
from app.core.errors import NotFound
from app.main import create_app
from app.observability import (
    Failure,
    RefusalError,
    error_boundary,
    finish_tasks,
    is_unlogged,
    on_failure,
    safe_task,
)
from app.projects.models import Project
from app.tenancy import TenancyError, lifecycle, system_session, tenant_session
from app.tenancy.quotas import QuotaExceededError
from app.tenancy.session import TenantErasedError

pytestmark = pytest.mark.anyio

Log = list[logging.LogRecord]


class BrokenError(Exception):
    """What was planned to fail."""


class HostileError(Exception):
    """An exception that can be raised, and hardly anything else."""

    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError("no comparison")

    def __hash__(self) -> NoReturn:
        raise RuntimeError("no hash")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise RuntimeError("no attributes")


@dataclass(frozen=True, slots=True)
class FrozenError(Exception):
    """An exception that refuses attributes, and is equal to others of its kind."""

    code: int = 1


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[Failure]:
    """What is told of each failure, as it is to the metrics."""
    monkeypatch.setattr(observability, "_listeners", {})
    told: list[Failure] = []

    def listen(failure: Failure) -> None:
        told.append(failure)

    on_failure(listen)
    return told


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], Log]:
    """What the log holds at ERROR."""
    return lambda: [each for each in caplog.records if each.levelno >= logging.ERROR]


def name_of_operation() -> str:
    found = operation.get()
    return found.describe() if found else ""


def fail(error: BaseException | None = None) -> NoReturn:
    raise error if error is not None else BrokenError("planned")


# --- what a boundary does with an exception ---


async def raised_by_sync_function(error: BaseException) -> object:
    @error_boundary("work")
    def work() -> int:
        fail(error)

    return work()


async def raised_by_async_function(error: BaseException) -> object:
    @error_boundary("work")
    async def work() -> int:
        await asyncio.sleep(0)
        fail(error)

    return await work()


async def raised_in_block(error: BaseException) -> None:
    with error_boundary("work"):
        fail(error)


async def raised_in_async_block(error: BaseException) -> None:
    async with error_boundary("work"):
        await asyncio.sleep(0)
        fail(error)


async def swallowed_of_sync_function(error: BaseException, fallback: Any) -> object:
    @error_boundary("work", fallback=fallback)
    def work() -> int:
        fail(error)

    return work()


async def swallowed_of_async_function(error: BaseException, fallback: Any) -> object:
    @error_boundary("work", fallback=fallback)
    async def work() -> int:
        await asyncio.sleep(0)
        fail(error)

    return await work()


async def swallowed_in_block(error: BaseException, fallback: Any) -> None:
    with error_boundary("work", fallback=fallback):
        fail(error)


async def swallowed_in_async_block(error: BaseException, fallback: Any) -> None:
    async with error_boundary("work", fallback=fallback):
        await asyncio.sleep(0)
        fail(error)


RAISING: list[Callable[[BaseException], Awaitable[object]]] = [
    raised_by_sync_function,
    raised_by_async_function,
    raised_in_block,
    raised_in_async_block,
]
FUNCTIONS: list[Callable[[BaseException, Any], Awaitable[object]]] = [
    swallowed_of_sync_function,
    swallowed_of_async_function,
]
SWALLOWING = [*FUNCTIONS, swallowed_in_block, swallowed_in_async_block]

ERRORS: dict[str, Callable[[], Exception]] = {
    "plain": lambda: BrokenError("planned"),
    "hostile": HostileError,
    "frozen": FrozenError,
    "group": lambda: ExceptionGroup("", [NotFound(), KeyError()]),
}


@pytest.mark.parametrize("make", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("run", RAISING)
async def test_a_failure_is_logged_with_its_stack_told_and_goes_on(
    run: Callable[[BaseException], Awaitable[object]],
    make: Callable[[], Exception],
    failures: list[Failure],
    errors: Callable[[], Log],
) -> None:
    error = make()
    with pytest.raises(type(error)) as caught:
        await run(error)
    assert caught.value is error
    (record,) = errors()
    assert record.getMessage().startswith("work failed after ")
    assert record.exc_info
    assert record.exc_info[1] is error
    assert record.exc_info[2]
    (failure,) = failures
    assert failure.operation == "work"
    assert failure.exception is error
    assert failure.duration >= 0


@pytest.mark.parametrize("make", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("run", SWALLOWING)
async def test_with_a_fallback_a_failure_is_logged_and_told_and_ends(
    run: Callable[[BaseException, Any], Awaitable[object]],
    make: Callable[[], Exception],
    failures: list[Failure],
    errors: Callable[[], Log],
) -> None:
    assert await run(make(), "instead") == ("instead" if run in FUNCTIONS else None)
    assert len(errors()) == len(failures) == 1


@pytest.mark.parametrize("run", SWALLOWING)
async def test_a_fallback_that_can_be_called_is_given_the_exception(
    run: Callable[[BaseException, Any], Awaitable[object]],
) -> None:
    given: list[BaseException] = []

    def instead(error: BaseException) -> str:
        given.append(error)
        return name_of_operation()

    error = BrokenError("planned")
    assert await run(error, instead) == ("work" if run in FUNCTIONS else None)
    assert given == [error]


class Made:
    def __init__(self, error: BaseException, size: int = 0) -> None:
        self.error = error


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        (list, []),
        (dict, {}),
        (str, ""),
        (lambda: 7, 7),
        (lambda *, number=7: number, 7),
        (lambda error=None: str(error), "planned"),
        (lambda *errors: len(errors), 1),
    ],
)
async def test_a_fallback_that_takes_nothing_is_called_without_the_exception(
    fallback: Callable[..., object], expected: object
) -> None:
    assert await swallowed_of_sync_function(BrokenError("planned"), fallback) == expected


async def test_a_fallback_that_takes_too_much_is_a_bug_that_is_not_hidden() -> None:
    with pytest.raises(TypeError):
        await swallowed_of_sync_function(BrokenError("planned"), lambda error, other: None)
    made = await swallowed_of_sync_function(error := BrokenError("planned"), Made)
    assert isinstance(made, Made)
    assert made.error is error


@pytest.mark.parametrize("run", [swallowed_of_async_function, swallowed_in_async_block])
async def test_an_asynchronous_fallback_is_awaited(
    run: Callable[[BaseException, Any], Awaitable[object]],
) -> None:
    given: list[BaseException] = []

    async def instead(error: BaseException) -> str:
        await asyncio.sleep(0)
        given.append(error)
        return "instead"

    error = BrokenError("planned")
    assert await run(error, instead) == ("instead" if run in FUNCTIONS else None)
    assert given == [error]


async def test_an_asynchronous_fallback_is_refused_where_nobody_can_await_it() -> None:
    async def instead(error: Exception) -> None: ...

    boundary = error_boundary("work", fallback=instead)
    with pytest.raises(TypeError, match="asynchronous"):
        boundary(fail)
    with pytest.raises(TypeError, match="asynchronous"), boundary:
        pass


NO_FAILURES = [
    asyncio.CancelledError(),
    KeyboardInterrupt(),
    SystemExit(1),
    GeneratorExit(),
    HTTPException(404),
    NotFound(),
    RefusalError("planned"),
    QuotaExceededError("rows", "planned", 60),
    TenantErasedError("planned"),
    BaseExceptionGroup("", [asyncio.CancelledError(), NotFound()]),
    ExceptionGroup("", [NotFound(), ExceptionGroup("", [RefusalError()])]),
]


@pytest.mark.parametrize("error", NO_FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("run", SWALLOWING)
async def test_what_is_no_failure_passes_untouched(
    run: Callable[[BaseException, Any], Awaitable[object]],
    error: BaseException,
    failures: list[Failure],
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = vars(error).copy()
    with pytest.raises(type(error)) as caught:
        await run(error, "instead")
    assert caught.value is error
    assert vars(error) == before
    assert caplog.records == []
    assert failures == []


@pytest.mark.parametrize("run", SWALLOWING)
async def test_a_group_that_mixes_a_failure_with_a_cancellation_is_logged_and_goes_on(
    run: Callable[[BaseException, Any], Awaitable[object]],
    failures: list[Failure],
    errors: Callable[[], Log],
) -> None:
    mixed = BaseExceptionGroup("", [BrokenError("planned"), asyncio.CancelledError()])
    with pytest.raises(BaseExceptionGroup) as caught:
        await run(mixed, "instead")
    assert caught.value is mixed
    assert len(errors()) == len(failures) == 1


@pytest.mark.parametrize("bug", [KeyError("bug"), asyncio.CancelledError(), SystemExit(1)])
@pytest.mark.parametrize("run", SWALLOWING)
async def test_what_a_fallback_raises_goes_on_with_the_failure_as_its_context(
    run: Callable[[BaseException, Any], Awaitable[object]],
    bug: BaseException,
    errors: Callable[[], Log],
) -> None:
    error = BrokenError("planned")
    with pytest.raises(type(bug)) as caught:
        await run(error, lambda _: fail(bug))
    assert caught.value is bug
    assert bug.__context__ is error
    assert [each.exc_info and each.exc_info[1] for each in errors()] == [error]


@pytest.mark.parametrize("run", [swallowed_of_async_function, swallowed_in_async_block])
async def test_a_cancellation_reaches_an_asynchronous_fallback(
    run: Callable[[BaseException, Any], Awaitable[object]],
) -> None:
    entered = asyncio.Event()

    async def instead(error: Exception) -> None:
        entered.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(run(BrokenError("planned"), instead))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_reraise_lets_a_failure_go_on_in_spite_of_a_fallback() -> None:
    called: list[Exception] = []
    with pytest.raises(BrokenError), error_boundary("work", fallback=called.append, reraise=True):
        fail()
    assert called == []


async def test_without_reraise_and_fallback_a_failure_ends_as_none() -> None:
    @error_boundary("work", reraise=False)
    def work() -> int:
        fail()

    assert work() is None


async def test_a_fallback_that_can_be_changed_is_shared_by_nobody() -> None:
    @error_boundary("work", fallback={"rates": [1]})
    def work() -> dict[str, list[int]]:
        fail()

    work()["rates"].append(2)
    assert work() == {"rates": [1]}


async def test_a_fallback_that_can_not_be_changed_is_returned_itself() -> None:
    nothing = object()
    assert await swallowed_of_sync_function(BrokenError(), nothing) is nothing


async def test_what_does_not_fail_is_returned_and_leaves_no_trace(
    failures: list[Failure], caplog: pytest.LogCaptureFixture
) -> None:
    @error_boundary("work", fallback=0)
    async def work(number: int) -> int:
        return number

    assert await work(1) == 1
    assert caplog.records == []
    assert failures == []


# --- logged once ---


async def test_a_failure_that_passes_several_boundaries_is_logged_by_the_first_and_told_by_each(
    failures: list[Failure], errors: Callable[[], Log]
) -> None:
    @error_boundary("inner")
    async def inner() -> None:
        fail()

    @error_boundary("middle")
    async def middle() -> None:
        await inner()

    async with error_boundary("outer", fallback=None):
        with error_boundary("block"):
            await middle()
    assert [record.getMessage().split()[0] for record in errors()] == ["inner"]
    assert [failure.operation for failure in failures] == ["inner", "middle", "block", "outer"]


@pytest.mark.parametrize("make", ERRORS.values(), ids=ERRORS)
async def test_one_exception_is_logged_once_by_two_boundaries(
    make: Callable[[], Exception], errors: Callable[[], Log]
) -> None:
    with error_boundary("outer", fallback=None), error_boundary("inner"):
        fail(make())
    assert len(errors()) == 1


async def test_one_exception_is_logged_once_by_a_task_and_by_those_who_await_it(
    errors: Callable[[], Log],
) -> None:
    @error_boundary("inner")
    async def work() -> None:
        fail()

    async with error_boundary("outer", fallback=None):
        await safe_task(work(), name="task")
    assert len(errors()) == 1


@error_boundary("inner")
def raise_in_thread() -> None:
    fail()


async def test_one_exception_is_logged_once_by_a_thread_and_by_who_waits_for_it(
    errors: Callable[[], Log],
) -> None:
    async with error_boundary("outer", fallback=None):
        await asyncio.to_thread(raise_in_thread)
    assert len(errors()) == 1


async def test_an_exception_that_is_raised_anew_in_each_request_is_logged_in_each(
    errors: Callable[[], Log],
) -> None:
    constant = BrokenError("raised again and again")

    async def serve() -> None:
        begin_request("")
        with error_boundary("outer"), error_boundary("inner"):
            fail(constant)

    for _ in range(3):
        await asyncio.gather(asyncio.create_task(serve()), return_exceptions=True)
    assert len(errors()) == 3


async def test_an_exception_that_a_boundary_ended_is_logged_when_it_is_raised_anew(
    errors: Callable[[], Log],
) -> None:
    constant = BrokenError("raised again and again")
    with error_boundary("every round of it"):
        for _ in range(3):
            with error_boundary("round", fallback=None):
                fail(constant)
    assert len(errors()) == 3


async def test_another_exception_that_replaces_one_is_logged_too(errors: Callable[[], Log]) -> None:
    with error_boundary("outer", fallback=None):
        try:
            with error_boundary("inner"):
                fail()
        except BrokenError:
            raise KeyError from None
    kinds = [record.exc_info and record.exc_info[0] for record in errors()]
    assert kinds == [BrokenError, KeyError]


async def test_an_exception_that_was_logged_crosses_to_another_process() -> None:
    with pytest.raises(BrokenError) as caught, error_boundary("work", reraise=True):
        fail()
    assert pickle.loads(pickle.dumps(caught.value)).args == ("planned",)


async def test_a_logger_that_takes_only_news_drops_what_was_logged_in_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.Logger("server")
    logger.addHandler(caplog.handler)
    logger.addFilter(is_unlogged)
    logged, unlogged = BrokenError("first"), BrokenError("second")
    begin_request("")
    with pytest.raises(BrokenError), error_boundary("work"):
        fail(logged)
    caplog.clear()
    for error in (logged, unlogged, None):
        logger.error("caught", exc_info=error)
    begin_request("")
    logger.error("caught", exc_info=logged)
    told = [record.exc_info and record.exc_info[1] for record in caplog.records]
    assert told == [unlogged, None, logged]


# --- the operation in the context ---


async def test_the_operation_is_the_contexts_while_it_runs_and_when_it_is_logged() -> None:
    seen: list[tuple[str, str]] = []

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((name_of_operation(), current_tenant()))

    logger, reader = logging.getLogger("app.observability"), Reader()
    logger.addHandler(reader)
    begin_request("", lambda: "request")
    tell_caller("acme", "alice")
    try:
        async with error_boundary("outer", fallback=None):
            with error_boundary("inner", fallback=None):
                assert name_of_operation() == "inner"
                fail()
            assert name_of_operation() == "outer"
    finally:
        logger.removeHandler(reader)
    assert seen == [("inner", "acme")]
    assert name_of_operation() == "request"


async def test_a_boundary_within_itself_restores_what_was_around_it() -> None:
    boundary = error_boundary("work", fallback=None)
    seen: list[Operation | None] = []

    @boundary
    def work(depth: int) -> None:
        before = operation.get()
        with boundary:
            if depth:
                work(depth - 1)
            fail()
        seen.append(operation.get())
        assert operation.get() is before

    before = operation.get()
    work(5)
    assert len({id(each) for each in seen}) == 6
    assert operation.get() is before


async def test_tasks_share_one_boundary_and_each_is_told_of_its_own_failure(
    failures: list[Failure], errors: Callable[[], Log]
) -> None:
    boundary = error_boundary("shared", fallback=lambda error: error.args[0])
    turn = asyncio.Event()

    @boundary
    async def decorated(number: int) -> int:
        await turn.wait()
        with boundary:
            await asyncio.sleep(0)
            raise BrokenError(number)
        raise BrokenError(-number)

    async def work(number: int) -> object:
        before = operation.get()
        result = await decorated(number)
        assert operation.get() is before
        return result

    tasks = [asyncio.create_task(work(number)) for number in range(200)]
    turn.set()
    assert await asyncio.gather(*tasks) == [-number for number in range(200)]
    assert len(failures) == len(errors()) == 400


async def test_threads_share_one_boundary() -> None:
    boundary = error_boundary("shared", fallback=lambda error: error.args[0])
    together = threading.Barrier(8)

    @boundary
    def decorated(number: int) -> int:
        with boundary:
            together.wait()
            raise BrokenError(number)
        raise BrokenError(-number)

    def work(number: int) -> object:
        result = decorated(number)
        assert operation.get() is None
        return result

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8))) == [-number for number in range(8)]


def test_a_generator_that_is_left_half_way_restores_the_operation() -> None:
    def work() -> Generator[int]:
        with error_boundary("generator"):
            yield 1

    def use() -> None:
        begin_request("", lambda: "request")
        half_way = work()
        next(half_way)
        with error_boundary("beside it"):
            half_way.close()
            assert name_of_operation() == "beside it"
        assert name_of_operation() == "request"

    copy_context().run(use)


async def test_a_generator_that_is_closed_in_another_context_does_no_harm_there(
    errors: Callable[[], Log], failures: list[Failure]
) -> None:
    async def work() -> AsyncGenerator[int]:
        async with error_boundary("generator", fallback=None):
            yield 1

    async def begin() -> None:
        await anext(generator)

    generator = work()
    await asyncio.create_task(begin())
    with error_boundary("elsewhere"):
        with pytest.raises(StopAsyncIteration):
            await generator.athrow(BrokenError("planned"))
        assert name_of_operation() == "elsewhere"
    assert [record.getMessage().split()[0] for record in errors()] == ["generator"]
    assert len(failures) == 1


async def test_tasks_that_start_one_another_keep_no_chain_of_operations() -> None:
    last: list[Operation | None] = []

    async def step(left: int, has_begun: asyncio.Event) -> None:
        has_begun.set()
        last[:] = [operation.get()]
        if left:
            next_has_begun = asyncio.Event()
            safe_task(step(left - 1, next_has_begun), name="step")
            await next_has_begun.wait()

    safe_task(step(100, asyncio.Event()), name="step")
    await finish_tasks(10)
    found, length = last[0], 0
    while isinstance(found, observability._Run):
        found, length = found.outer, length + 1
    assert length <= 3


# --- decorating ---


async def test_a_decorated_function_keeps_its_signature_and_its_types() -> None:
    @error_boundary("work")
    def plain(number: int, *, text: str = "") -> list[str]:
        """Do it."""
        return [text] * number

    @error_boundary("work", fallback=None)
    async def optional(number: int) -> list[str]:
        return [str(number)]

    async def other(error: Exception) -> bool:
        return bool(error.args)

    @error_boundary("work", fallback=other)
    async def either(number: int) -> int:
        return number

    def returns_from_a_block() -> int:
        with error_boundary("work"):
            return 1

    assert_type(plain(1, text=""), list[str])
    assert_type(await optional(1), list[str] | None)
    assert_type(await either(1), int | bool)
    assert plain.__name__ == "plain"
    assert str(inspect.signature(plain)) == "(number: int, *, text: str = '') -> list[str]"
    assert inspect.iscoroutinefunction(optional)
    assert returns_from_a_block() == 1


async def test_a_generator_is_refused_where_it_is_decorated() -> None:
    def work() -> Iterator[int]:
        yield 1

    async def work_asynchronously() -> AsyncIterator[int]:
        yield 1

    for each in (work, work_asynchronously):
        with pytest.raises(TypeError, match="generator"):
            error_boundary("work")(each)


async def test_a_function_that_returns_a_coroutine_unguarded_is_refused() -> None:
    async def work() -> None: ...

    decorated = error_boundary("work", fallback=None)(lambda number: work())
    with pytest.raises(TypeError, match="must be async"):
        await decorated(1)


async def test_methods_are_decorated_like_functions() -> None:
    class Shop:
        @error_boundary("method", fallback="instead")
        def method(self, number: int) -> str:
            fail()

        @staticmethod
        @error_boundary("static", fallback="instead")
        async def static(number: int) -> str:
            fail()

        @classmethod
        @error_boundary("class", fallback="instead")
        def of_class(cls, number: int) -> str:
            fail()

    assert [Shop().method(1), await Shop.static(1), Shop.of_class(1)] == ["instead"] * 3


# --- telling of failures ---


async def test_a_listener_that_fails_harms_neither_the_caller_nor_the_next_listener(
    failures: list[Failure], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def broken(failure: Failure) -> None:
        raise KeyError("planted")

    def next_one(failure: Failure) -> None:
        told.append(failure.operation)

    on_failure(broken)
    on_failure(next_one)
    assert await swallowed_of_sync_function(BrokenError(), "instead") == "instead"
    assert "a failure could not be told: KeyError" in caplog.messages
    assert "planted" not in caplog.text
    assert told == ["work"]


async def test_a_listener_that_is_registered_again_is_told_once(failures: list[Failure]) -> None:
    told: list[str] = []

    def listen(failure: Failure) -> None:
        told.append(failure.operation)

    for _ in range(3):
        on_failure(listen)
    with error_boundary("work", fallback=None):
        fail()
    assert told == ["work"]


# --- background tasks ---


async def test_a_task_keeps_the_tenant_and_the_request_in_which_it_started() -> None:
    may_go_on = asyncio.Event()

    async def work() -> tuple[str, str, str]:
        await may_go_on.wait()
        return current_request_id(), current_tenant(), name_of_operation()

    begin_request("first")
    tell_caller("acme", "alice")
    task = safe_task(work(), name="send mail")
    begin_request("second")
    tell_caller("globex", "bob")
    may_go_on.set()
    assert await task == ("first", "acme", "send mail")


async def test_a_task_that_nobody_keeps_is_kept() -> None:
    waiting: list[weakref.ref[asyncio.Future[None]]] = []

    async def work() -> str:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(weakref.ref(future))  # nobody else refers to what the task waits for
        await future
        return "ended"

    started = weakref.ref(safe_task(work(), name="work"))
    await asyncio.sleep(0)
    gc.collect()
    future, task = waiting[0](), started()
    assert future
    assert task
    future.set_result(None)
    assert await task == "ended"


async def test_a_task_that_fails_is_logged_once_and_told_under_its_name(
    failures: list[Failure], errors: Callable[[], Log]
) -> None:
    async def work() -> None:
        fail()

    safe_task(work(), name="send mail")
    await finish_tasks(10)
    (record,) = errors()
    assert record.getMessage().startswith("send mail failed")
    assert [failure.operation for failure in failures] == ["send mail"]


async def test_a_task_without_a_name_is_called_like_its_function(failures: list[Failure]) -> None:
    async def send_mail() -> None:
        fail()

    safe_task(send_mail())
    await finish_tasks(10)
    assert [failure.operation for failure in failures] == ["send_mail"]


class OddError(BaseException):
    """Neither an error nor an end that Python knows."""


@pytest.mark.parametrize("end", [NotFound(), RefusalError("planted"), OddError("planted")])
async def test_a_task_that_ends_with_what_is_no_failure_says_so(
    end: BaseException, failures: list[Failure], caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        fail(end)

    safe_task(work(), name="send mail")
    await finish_tasks(10)
    assert caplog.messages == [f"the task send mail ended with {type(end).__name__}"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert failures == []


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_a_task_that_is_cancelled_is_no_failure(
    turns: int, failures: list[Failure], caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        await asyncio.Event().wait()

    task = safe_task(work(), name="work")
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await finish_tasks(10)
    assert task.cancelled()
    assert caplog.records == []
    assert failures == []


async def test_a_task_in_a_thread_without_a_loop_is_refused_in_words() -> None:
    async def work() -> None: ...

    with pytest.raises(RuntimeError, match="needs a running event loop"):
        await asyncio.to_thread(lambda: safe_task(work(), name="work"))


async def test_a_thousand_tasks_are_awaited_and_forgotten(errors: Callable[[], Log]) -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        await asyncio.sleep(0)
        ended.append(number)
        if number % 2:
            fail()

    for number in range(1000):
        safe_task(work(number), name="work")
    await finish_tasks(10)
    await asyncio.sleep(0)
    assert len(ended) == 1000
    assert len(errors()) == 500
    assert observability._tasks == set()


async def test_tasks_that_a_task_starts_are_awaited_too() -> None:
    ended: list[int] = []

    async def work(left: int) -> None:
        await asyncio.sleep(0)
        ended.append(left)
        if left:
            safe_task(work(left - 1), name="work")

    safe_task(work(5), name="work")
    await finish_tasks(10)
    assert ended == [5, 4, 3, 2, 1, 0]


async def test_a_task_that_does_not_end_in_time_is_cancelled_awaited_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cleaned_up: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up.append(True)

    safe_task(work(), name="slow")
    await asyncio.sleep(0)
    await finish_tasks(0)
    assert cleaned_up == [True]
    assert caplog.messages == ["the task slow did not end in time, and is cancelled"]


async def test_a_task_that_ignores_its_cancellation_does_not_stop_the_shutdown(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observability, "GRACE", 0.01)
    may_end = asyncio.Event()

    async def work() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    safe_task(work(), name="stubborn")
    await asyncio.sleep(0)
    await finish_tasks(0)
    assert caplog.messages[-1] == "the task stubborn does not end, although it was cancelled"
    may_end.set()
    await finish_tasks(10)


# --- in the service ---


async def test_a_task_of_a_request_keeps_its_tenants_door_to_the_database_and_no_other(
    app: FastAPI, client: httpx.AsyncClient, as_user: Callable[..., dict[str, str]]
) -> None:
    used_the_systems_door, answered = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[list[str]]] = []

    async def work() -> list[str]:
        async with system_session("while the request is served"):
            used_the_systems_door.set()
        await answered.wait()
        async with tenant_session("acme") as session:
            session.add(Project(name="Made by a task"))
        with pytest.raises(TenancyError):
            async with tenant_session("globex"):
                pass
        with pytest.raises(TenancyError):
            async with system_session("after the request was served"):
                pass
        return [current_tenant(), current_request_id()]

    @app.post("/in-the-background", dependencies=[Depends(require_scopes("tenants:admin"))])
    async def start() -> None:
        tasks.append(safe_task(work(), name="work"))
        await used_the_systems_door.wait()

    headers = {**as_user("acme", scope="tenants:admin"), "X-Request-ID": "in-the-background"}
    assert (await client.post("/in-the-background", headers=headers)).status_code == 200
    answered.set()
    assert await tasks[0] == ["acme", "in-the-background"]
    shown = await client.get("/api/v1/projects", headers=as_user("acme"))
    assert [project["name"] for project in shown.json()["items"]] == ["Made by a task"]


async def test_a_task_ends_before_the_service_does(settings: Settings) -> None:
    async def work() -> None:
        await is_stopping.wait()
        async with tenant_session("acme") as session:
            session.add(Project(name="Made while the service stopped"))

    is_stopping = asyncio.Event()
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        await lifecycle.create("acme")
        task = safe_task(work(), name="work")
        await asyncio.sleep(0)
        is_stopping.set()
    assert task.done()
    assert task.exception() is None


sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


PROJECT = "/api/v1/projects/01890000-0000-7000-8000-000000000000"
TASK = f"{PROJECT}/tasks/01890000-0000-7000-8000-000000000000"


@sqlite
@pytest.mark.parametrize(
    ("request_line", "operation"),
    [
        ("GET /api/v1/projects", "list projects"),
        ("POST /api/v1/projects", "create project"),
        (f"GET {PROJECT}", "get project"),
        (f"PATCH {PROJECT}", "change project"),
        (f"DELETE {PROJECT}", "delete project"),
        (f"GET {PROJECT}/tasks", "list tasks"),
        (f"POST {PROJECT}/tasks", "create task"),
        (f"GET {TASK}", "get task"),
        (f"PATCH {TASK}", "change task"),
        (f"DELETE {TASK}", "delete task"),
    ],
)
async def test_database_work_that_fails_is_logged_and_told_once_under_its_name(
    request_line: str,
    operation: str,
    client: httpx.AsyncClient,
    settings: Settings,
    as_user: Callable[..., dict[str, str]],
    failures: list[Failure],
    errors: Callable[[], Log],
) -> None:
    async def ask() -> int:
        headers = {**as_user("acme"), "If-Match": '"1"'}
        method, path = request_line.split()
        field = "title" if "/tasks" in path else "name"
        answer = await client.request(method, path, json={field: "Apollo"}, headers=headers)
        return answer.status_code

    await ask()
    assert await ask() < 500
    assert failures == []  # answers, as 404 and 409 are
    with closing(sqlite3.connect(settings.DATABASE_URL.partition("///")[2])) as database:
        database.execute("DROP TABLE tasks")
        database.execute("DROP TABLE projects")
    assert await ask() == 500
    assert [record.getMessage().split(" failed")[0] for record in errors()] == [operation]
    assert [failure.operation for failure in failures] == [operation]


@sqlite
async def test_the_server_does_not_log_again_what_a_boundary_has_logged(
    app: FastAPI, errors: Callable[[], Log]
) -> None:
    @app.get("/bounded")
    @error_boundary("bounded")
    async def bounded() -> None:
        fail()

    @app.get("/bounded-in-a-thread")
    @error_boundary("bounded in a thread")
    def bounded_in_a_thread() -> None:
        fail()

    @app.get("/unbounded")
    async def unbounded() -> None:
        fail()

    async with listening(app) as address, httpx.AsyncClient(base_url=address) as client:
        for path in ("/bounded", "/bounded-in-a-thread", "/unbounded"):
            assert (await client.get(path)).status_code == 500
    told = [record.getMessage().split(" failed")[0].strip() for record in errors()]
    assert told == ["bounded", "bounded in a thread", "Exception in ASGI application"]


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application on a real socket, and yield its address."""
    listens = asyncio.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            listens.set()

    server = Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(30):
        await listens.wait()
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await serving


@sqlite
async def test_a_dependency_may_end_its_boundary_in_another_thread(
    app: FastAPI, client: httpx.AsyncClient, failures: list[Failure], errors: Callable[[], Log]
) -> None:
    spent: list[float] = []

    def dependency() -> Iterator[None]:
        with error_boundary("dependency"):
            yield

    @app.get("/fails", dependencies=[Depends(dependency)])
    async def fails() -> None:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        spent.append(time.perf_counter() - began)
        fail()

    assert (await client.get("/fails")).status_code == 500
    assert len(errors()) == 1
    assert [failure.operation for failure in failures] == ["dependency"]
    assert failures[0].duration >= spent[0]


# --- what a slice does with an outgoing call, and with a file (see the README) ---


def no_rates(error: Exception) -> dict[str, float]:
    return {}


# Prices are shown without a conversion while the bank can't be reached.
@error_boundary("fetch rates", fallback=no_rates)
async def fetch_rates(client: httpx.AsyncClient) -> dict[str, float]:
    answer = await client.get("https://bank.example/rates", timeout=5)
    rates: dict[str, float] = answer.raise_for_status().json()
    return rates


def write_report(file: Path, text: str) -> None:
    # A disk that is full is not the caller's fault, but the report is what they wait for.
    with error_boundary("write report"):
        file.write_text(text, "utf-8")


async def test_an_outgoing_call_that_fails_has_a_fallback(failures: list[Failure]) -> None:
    answers = iter([httpx.Response(200, json={"EUR": 1.1}), httpx.Response(503)])
    transport = httpx.MockTransport(lambda request: next(answers))
    async with httpx.AsyncClient(transport=transport) as client:
        assert await fetch_rates(client) == {"EUR": 1.1}
        assert await fetch_rates(client) == {}
    assert [failure.operation for failure in failures] == ["fetch rates"]


async def test_a_file_that_can_not_be_written_is_told_and_raised(
    tmp_path: Path, failures: list[Failure]
) -> None:
    await asyncio.to_thread(write_report, tmp_path / "report.txt", "first")
    with pytest.raises(FileNotFoundError):
        await asyncio.to_thread(write_report, tmp_path / "missing" / "report.txt", "second")
    assert (tmp_path / "report.txt").read_text("utf-8") == "first"
    assert [failure.operation for failure in failures] == ["write report"]
