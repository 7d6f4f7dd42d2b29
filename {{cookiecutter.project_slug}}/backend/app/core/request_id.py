"""The id that ties a request's log lines, its response and its error report together."""

import re
import uuid
from contextvars import ContextVar

HEADER = "X-Request-ID"

# Never reset: the server gives each request a context of its own, and what runs after the
# response (an error report, a background task) still belongs to the request.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")


def current_request_id() -> str:
    """Return the id of the request being served, or an empty string outside of one."""
    return request_id.get()


def accept_request_id(offered: str) -> str:
    """Return the caller's id if it is well formed, else a new one, and make it the current one."""
    accepted = offered if _WELL_FORMED.fullmatch(offered) else uuid.uuid4().hex
    request_id.set(accepted)
    return accepted
