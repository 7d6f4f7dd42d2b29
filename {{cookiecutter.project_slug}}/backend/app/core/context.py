"""What is known of the work that is being done: its request, its tenant, its caller's session."""

import hashlib
import hmac
import os
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

HEADER = "X-Request-ID"
DAY = 86_400.0


@dataclass(slots=True)
class Work:
    """A request, or work outside of one, as far as it is known whose it is.

    All tasks and threads of a request share one: a middleware may have the route run in a task of
    its own, and must be told of the tenant and its consent all the same.
    """

    request_id: str = ""
    tenant: str = ""
    session: str = ""
    consent: str = ""
    """Empty until it is told."""


# Never reset: the server gives each request a context of its own, and what runs after the
# response (an error report, a background task) still belongs to the request.
work: ContextVar[Work | None] = ContextVar("work", default=None)


class Operation(NamedTuple):
    """A piece of work that has a name, such as a request or a call of another service."""

    describe: Callable[[], str]
    """Returns the name; asked for late, as a request knows its route only on its way."""
    started: float
    """When it began, by `time.perf_counter`."""


operation: ContextVar[Operation | None] = ContextVar("operation", default=None)

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")


class AnonymousSessions:
    """Names callers by ids from which nobody can find them, not even with a list of all users.

    An id is the same until the key is changed, `lifetime` seconds after it was made. The key is
    made by each process for itself, and is never written down: another process, and a restart,
    give another id. Threads may share one instance.
    """

    def __init__(self, lifetime: float = DAY, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._changing = threading.RLock()  # collecting garbage may name somebody within
        self.rotate()

    def rotate(self) -> None:
        """Give every caller another id from now on."""
        self._key, self._ends = secrets.token_bytes(32), self._clock() + self._lifetime

    def name(self, *subject: str) -> str:
        """Return the id of a subject, such as a tenant and its user: 32 hexadecimal digits."""
        with self._changing:
            if self._clock() >= self._ends:
                self.rotate()
            key = self._key
        spelt = "".join(f"{len(part)}:{part}" for part in subject)
        return hmac.new(key, spelt.encode(), hashlib.sha256).hexdigest()[:32]


sessions = AnonymousSessions()


def current_request_id() -> str:
    """Return the id of the request being served, or an empty string outside of one."""
    return _known().request_id


def current_tenant() -> str:
    """Return the tenant whose request is being served, or an empty string while it is not known."""
    return _known().tenant


def current_session() -> str:
    """Return the id of the caller's session, or an empty string where it is not followed."""
    return _known().session


def current_consent() -> str:
    """Return what telemetry may tell: `full`, `anonymous` or `none`.

    Of a tenant whose consent was not told it may tell what it may of an `anonymous` one.
    """
    known = _known()
    return known.consent or ("anonymous" if known.tenant else "full")


def begin_request(offered_id: str, describe: Callable[[], str] = str) -> None:
    """Know nothing of the work but that it is a request, with its caller's id if that is well formed.

    `describe` returns what the request is called in the log: its method and its route.
    """
    accepted = offered_id if _WELL_FORMED.fullmatch(offered_id) else uuid.uuid4().hex
    work.set(Work(accepted))
    operation.set(Operation(describe, time.perf_counter()))


def tell_tenant(tenant: str) -> None:
    """Tell whose the work is, before it is known what telemetry may say of that tenant."""
    known = _known()
    if known.request_id and not known.tenant:
        known.tenant = tenant
    elif known.tenant != tenant:
        work.set(Work(known.request_id, tenant))


def tell_consent(consent: str) -> None:
    """Tell what telemetry may say of the tenant that is being served."""
    _own().consent = consent


def tell_caller(tenant: str, user: str) -> None:
    """Tell for log lines and reports whose the work is.

    The session of a user is not followed where the tenant's consent, told before, is `none`.
    """
    tell_tenant(tenant)
    known = _own()
    known.session = "" if known.consent == "none" else sessions.name(tenant, user)


def _known() -> Work:
    return work.get() or _NOTHING


def _own() -> Work:
    """Return what all of the request share; outside of one, what this task has for itself."""
    known = _known()
    if not known.request_id:
        work.set(known := replace(known))
    return known


_NOTHING: Final = Work()


def _forget() -> None:
    work.set(None)
    operation.set(None)


# A process that is forked while a request is served goes on to work for others.
os.register_at_fork(after_in_child=_forget)


def route_of(scope: Mapping[str, Any]) -> str:
    """Return the template of an ASGI request's route; an empty string where there is none (yet)."""
    # A router that is included has the prefix that it is included under in the context alone.
    route = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    return str(getattr(route, "path", ""))
