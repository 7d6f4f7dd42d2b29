"""What is known of the work that is being done: its request, its tenant, its caller's session."""

import hashlib
import hmac
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple

HEADER = "X-Request-ID"
DAY = 86_400.0

# Never reset: the server gives each request a context of its own, and what runs after the
# response (an error report, a background task) still belongs to the request.
request_id: ContextVar[str] = ContextVar("request_id", default="")
tenant_id: ContextVar[str] = ContextVar("tenant_id", default="")
session_id: ContextVar[str] = ContextVar("session_id", default="")
telemetry_consent: ContextVar[str] = ContextVar("telemetry_consent", default="full")


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
    return request_id.get()


def current_tenant() -> str:
    """Return the tenant whose request is being served, or an empty string while it is not known."""
    return tenant_id.get()


def begin_request(offered_id: str, describe: Callable[[], str] = str) -> str:
    """Make the caller's id the request's if it is well formed, else a new one; return it.

    `describe` returns what the request is called in the log: its method and its route.
    """
    accepted = offered_id if _WELL_FORMED.fullmatch(offered_id) else uuid.uuid4().hex
    request_id.set(accepted)
    tenant_id.set("")
    session_id.set("")
    telemetry_consent.set("full")
    operation.set(Operation(describe, time.perf_counter()))
    return accepted


def tell_consent(consent: str) -> None:
    """Tell what telemetry may say of the tenant that is being served."""
    telemetry_consent.set(consent)


def tell_caller(tenant: str, user: str) -> None:
    """Tell for log lines and reports whose the request is that is being served.

    The session of a user is not followed where the tenant's consent, told before, is `none`.
    """
    tenant_id.set(tenant)
    session_id.set("" if telemetry_consent.get() == "none" else sessions.name(tenant, user))
