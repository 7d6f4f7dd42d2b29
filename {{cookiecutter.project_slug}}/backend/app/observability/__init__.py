"""Error boundaries and background tasks: what fails has a name, is logged once, and is counted."""

import asyncio
import copy
import inspect
import time
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from logging import ERROR, LogRecord, getLogger  # the package has a module of the name `logging`
from types import TracebackType
from typing import (
    Any,
    Generic,
    Literal,
    NamedTuple,
    Never,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    overload,
)

from app.core import context
from app.core.context import Operation

GRACE = 1.0  # seconds that tasks which are cancelled at shutdown have to clean up

log = getLogger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Fallback = TypeVar("Fallback")
Swallows = TypeVar("Swallows", bound=bool)


class RefusalError(Exception):
    """A refusal that the caller is told of, and no failure of the service: boundaries let it pass.

    So they do with Starlette's HTTPException.
    """


class Failure(NamedTuple):
    """What a boundary tells of an operation that failed."""

    operation: str
    exception: BaseException
    duration: float
    """Seconds that the operation took to fail."""


Listener = Callable[[Failure], None]

# By the function itself: an application that is made again registers nothing twice.
_listeners: dict[Listener, None] = {}


def on_failure(listener: Listener) -> None:
    """Have a function told of each operation that fails, from now on and in every thread.

    It is called where the exception is caught. To register it again changes nothing; so pass a
    function, not a lambda that is made anew each time.
    """
    _listeners[listener] = None


@overload
def error_boundary(
    operation: str, *, reraise: Literal[True] = ...
) -> "Boundary[Never, Literal[False]]": ...
@overload
def error_boundary(
    operation: str,
    *,
    fallback: Callable[[Exception], Coroutine[Any, Any, Fallback]],
    reraise: bool = ...,
) -> "Boundary[Fallback, bool]": ...
@overload
def error_boundary(
    operation: str, *, fallback: Callable[[Exception], Fallback], reraise: bool = ...
) -> "Boundary[Fallback, bool]": ...
@overload
def error_boundary(
    operation: str, *, fallback: Callable[[], Fallback], reraise: bool = ...
) -> "Boundary[Fallback, bool]": ...
@overload
def error_boundary(
    operation: str, *, fallback: Fallback, reraise: bool = ...
) -> "Boundary[Fallback, bool]": ...
@overload
def error_boundary(operation: str, *, reraise: bool) -> "Boundary[None, bool]": ...
def error_boundary(
    operation: str, *, fallback: object = ..., reraise: bool | None = None
) -> "Boundary[Any, Any]":
    """Return a boundary around an operation: a decorator, and a context manager for `with`.

    Functions and blocks may be asynchronous. One boundary may be used again, within itself, and by
    any number of tasks and threads at once. While it runs, log lines carry the operation's name
    and duration. An exception is logged there with its stack, once: boundaries further out, and
    loggers with the filter `is_unlogged`, know that it was. Every operation that it ends is
    counted, as `on_failure` tells.

    Without a `fallback` the exception goes on. With one it ends here, and the fallback is the
    function's result (a block has none, but a fallback that can be called is called for it too):
    either a value, of which each caller gets a copy if it can be changed, or what is called
    with the exception, or without where it takes none (`list`), and awaited where both it and the
    function are asynchronous. A fallback that raises is not protected: its exception goes on, with
    the first one as its context.
    `reraise=True` has the exception go on all the same, without a call of the fallback;
    `reraise=False` alone is the fallback None.

    Answers to the caller (HTTPException, RefusalError) are no failures and pass untouched. So do
    cancellation, KeyboardInterrupt, SystemExit, GeneratorExit, and groups of exceptions of such
    alone; a group that mixes a cancellation with failures is logged and counted, and goes on.

    A generator can't be decorated (TypeError), as it fails in the hands of whoever iterates
    it: put a `with` block around what can fail inside it.
    """
    if reraise is None:
        reraise = fallback is ...
    return Boundary(operation, None if fallback is ... else fallback, reraise)


class Boundary(Generic[Fallback, Swallows]):
    """What `error_boundary` returns."""

    def __init__(self, name: str, fallback: object, reraise: bool) -> None:
        self.name = name
        self._fallback = fallback
        self._reraise = reraise
        self._entered: _Run | None = None

    @overload
    def __call__(
        self, function: Callable[Parameters, Coroutine[Any, Any, Result]]
    ) -> Callable[Parameters, Coroutine[Any, Any, Result | Fallback]]: ...
    @overload
    def __call__(
        self, function: Callable[Parameters, Result]
    ) -> Callable[Parameters, Result | Fallback]: ...
    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Put the boundary around a function."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("a generator can't be decorated: put a with block inside it")
        if inspect.iscoroutinefunction(function):
            return self._around_asynchronous(function)
        self._refuse_to_await()
        return self._around(function)

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            run = _Run.begin(self)
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                if not self._swallows(error, run):
                    raise
                return self._instead(error)
            finally:
                run.end()
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError(f"{self.name}: a function that returns a coroutine must be async")
            return result

        return bounded

    def _around_asynchronous(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        async def bounded(*args: Any, **kwargs: Any) -> Any:
            run = _Run.begin(self)
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                if not self._swallows(error, run):
                    raise
                return await self._awaited_instead(error)
            finally:
                run.end()

        return bounded

    def __enter__(self) -> None:
        self._refuse_to_await()
        self._entered = _Run.begin(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> Swallows:
        run = self._leave()
        try:
            is_swallowed = error is not None and self._swallows(error, run)
            if is_swallowed:
                self._instead(error)
            return cast(Swallows, is_swallowed)  # False, where the overloads say so
        finally:
            run.end()

    async def __aenter__(self) -> None:
        self._entered = _Run.begin(self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> Swallows:
        run = self._leave()
        try:
            is_swallowed = error is not None and self._swallows(error, run)
            if is_swallowed:
                await self._awaited_instead(error)
            return cast(Swallows, is_swallowed)
        finally:
            run.end()

    def _leave(self) -> "_Run":
        """Return the run that ends: the innermost of this boundary."""
        entered, self._entered = self._entered, None
        found = context.operation.get()
        while isinstance(found, _Run):
            if found.boundary is self and not found.has_ended:
                return found
            found = found.outer
        # A generator, such as a dependency with `yield`, may be ended in another context.
        return entered or _Run.begin(self)

    def _refuse_to_await(self) -> None:
        if inspect.iscoroutinefunction(self._fallback):
            raise TypeError(f"{self.name}: the fallback is asynchronous, and what it is for is not")

    def _swallows(self, error: BaseException, run: "_Run") -> bool:
        """Report what ended a run; tell whether the fallback takes its place."""
        if not is_failure(error):
            return False
        failure = Failure(self.name, error, time.perf_counter() - run.started)
        is_swallowed = not self._reraise and isinstance(error, Exception)
        if not _was_logged_in(run.whole, error):
            log.error("%s failed after %.1f ms", self.name, failure.duration * 1000, exc_info=error)
        is_told = not is_swallowed and log.isEnabledFor(ERROR)
        _mark(error, run.whole if is_told else None)
        for listener in tuple(_listeners):
            _tell(listener, failure)
        return is_swallowed

    def _instead(self, error: BaseException | None) -> Any:
        if callable(self._fallback):
            return self._fallback() if _takes_nothing(self._fallback) else self._fallback(error)
        if self._fallback.__class__.__hash__ is None:  # it can be changed, and is not to be shared
            return copy.deepcopy(self._fallback)
        return self._fallback

    async def _awaited_instead(self, error: BaseException | None) -> Any:
        result = self._instead(error)
        return await result if inspect.iscoroutine(result) else result


def _takes_nothing(fallback: Callable[..., object]) -> bool:
    """Whether a fallback is to be called without the exception."""
    try:
        parameters = inspect.signature(fallback).parameters.values()
    except ValueError:  # some classes of the language's own do not tell, such as `dict`
        return isinstance(fallback, type)
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    taken = [each for each in parameters if each.kind in by_place]
    if isinstance(fallback, type):  # `list` would take the exception for its items
        return all(each.default is not each.empty for each in taken)
    return not taken and all(each.kind is not each.VAR_POSITIONAL for each in parameters)


class _Run(Operation):
    """One run of what a boundary is around; the context's operation while it lasts."""

    boundary: Boundary[Any, Any]
    outer: Operation | None
    whole: float
    """When the outermost operation began, such as the request: no other began at that instant."""
    has_ended: bool

    @classmethod
    def begin(cls, boundary: Boundary[Any, Any]) -> Self:
        """Begin a run within the operation that the context is in."""
        run = cls(partial(str, boundary.name), time.perf_counter())
        run.boundary, run.has_ended = boundary, False
        run.outer = _going_on(context.operation.get())
        run.whole = _whole(run.outer) or run.started
        context.operation.set(run)
        return run

    def end(self) -> None:
        """Return the context to what goes on around the run."""
        self.has_ended = True
        self.outer = _going_on(self.outer)  # tasks that start each other keep no chain of runs
        # Not reset by a token: this may be another context than the one in which the run began.
        context.operation.set(_going_on(context.operation.get()))


def _going_on(operation: Operation | None) -> Operation | None:
    """Return the innermost operation that has not ended."""
    while isinstance(operation, _Run) and operation.has_ended:
        operation = operation.outer
    return operation


def _whole(operation: Operation | None) -> float | None:
    """Return when the outermost operation began that this one is part of."""
    if isinstance(operation, _Run):
        return operation.whole
    return operation.started if operation else None


def is_failure(error: BaseException) -> bool:
    """Tell whether an exception is a failure: no answer to the caller, and no end that was asked for."""
    from starlette.exceptions import HTTPException  # noqa: PLC0415 - 80 ms, for a first failure

    inner = [error]
    while inner:
        each = inner.pop()
        if isinstance(each, BaseExceptionGroup):
            inner += each.exceptions
        elif isinstance(each, Exception) and not isinstance(each, HTTPException | RefusalError):
            return True
    return False


def _tell(listener: Listener, failure: Failure) -> None:
    try:
        listener(failure)
    except Exception as fault:  # whatever it is, it must not take the failure's place
        log.warning("a failure could not be told: %s", type(fault).__name__)


# An exception is marked with the instant at which the outermost operation began: one that is raised
# again and again (a constant, a cached one) is logged in each request. It is marked past its own
# methods: it may refuse attributes, and may be neither hashed nor compared.
_MARK = "_logged_in"


def _mark(error: BaseException, whole: float | None) -> None:
    BaseException.__setattr__(error, _MARK, whole)


def was_logged(error: BaseException) -> bool:
    """Tell whether a boundary of the request that is being served, or task, logged an exception."""
    return _was_logged_in(_whole(context.operation.get()), error)


def _was_logged_in(whole: float | None, error: BaseException) -> bool:
    try:
        mark: object = BaseException.__getattribute__(error, _MARK)
    except AttributeError:
        return False
    return whole is not None and mark == whole


def is_unlogged(record: LogRecord) -> bool:
    """Tell whether a log record tells of something else than an exception that was logged.

    A filter for the loggers of those who catch what boundaries let pass, such as the server.
    """
    error = record.exc_info[1] if record.exc_info else None
    return error is None or not was_logged(error)


_tasks: set[asyncio.Task[Any]] = set()


def safe_task(
    work: Coroutine[Any, Any, Result], *, name: str | None = None
) -> asyncio.Task[Result]:
    """Start a background task, and return it; nobody has to keep it or to await it.

    It belongs to the request in which it starts: the tenant and the request's id stay its own,
    and so does its tenant's door to the database, which is the only one to stay open. `name`
    is its operation (the coroutine's own name, where there is none): an exception that ends it is
    logged and counted as by `error_boundary`, an answer that has no caller any more as a warning.

    `finish_tasks` awaits it when the service stops, also if it starts while others are awaited.

    Raises RuntimeError where no event loop runs: a route that is not `async` runs in a thread
    without one. Make such a route `async`, or use Starlette's BackgroundTasks there.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        work.close()  # Python would warn that it was never awaited
        raise RuntimeError(
            "safe_task() needs a running event loop, and a function that is not async may run in "
            "a thread without one"
        ) from None
    called = name or str(getattr(work, "__name__", type(work).__name__))
    task = loop.create_task(_watched(work, called), name=called)
    _tasks.add(task)
    task.add_done_callback(partial(_forget, work))
    return task


async def _watched(work: Coroutine[Any, Any, Result], name: str) -> Result:
    try:
        with error_boundary(name):
            return await work
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        if not is_failure(error):
            log.warning("the task %s ended with %s", name, type(error).__name__)
        raise


def _forget(work: Coroutine[Any, Any, Any], task: asyncio.Task[Any]) -> None:
    _tasks.discard(task)
    work.close()  # it has not begun, if the task was cancelled before it could
    if not task.cancelled():
        task.exception()  # which was logged: asyncio need not warn that nobody asked for it


async def finish_tasks(timeout: float) -> None:  # noqa: ASYNC109 - what is late is cancelled
    """Wait until the background tasks of the running loop have ended, those that they start too.

    Tasks that have not ended after `timeout` seconds are cancelled, and given one second to clean
    up. Each is logged by its name, and again if it goes on even then.
    """
    for late in await _wait(timeout):
        log.warning("the task %s did not end in time, and is cancelled", late.get_name())
        late.cancel()
    for stuck in await _wait(GRACE):
        log.error("the task %s does not end, although it was cancelled", stuck.get_name())


async def _wait(seconds: float) -> set[asyncio.Task[Any]]:
    """Wait until no background task goes on, for some seconds at most; return those that do."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while running := {each for each in _tasks if each.get_loop() is loop and not each.done()}:
        if (left := deadline - loop.time()) <= 0:
            break
        await asyncio.wait(running, timeout=left)
    return running
