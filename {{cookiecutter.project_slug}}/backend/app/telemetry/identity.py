"""Identity: what is told of the user behind an event, by the setting `SENTRY_USER_CONTEXT`."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Final, Literal

from app.privacy import scrub_string
from app.telemetry.structure import identifier

UserContext = Literal["id", "anonymous", "full"]

KEPT: Final[Mapping[UserContext, tuple[str, ...]]] = {
    "id": ("id",),
    "anonymous": ("session_id",),
    "full": ("id", "email", "username"),
}
"""What of a user may leave, by mode."""

_ACCOUNT = re.compile(r"[\w.:@|+/=~-]{1,128}")

# Made anew by each process and never written down: without it, nobody can try out users against
# a session's id, not even with a list of all of them.
_key = secrets.token_bytes(32)


def session_id(tenant_id: str, user_id: str) -> str:
    """Name a user's session: the same while the process lives, another in another tenant.

    Each worker process has a key of its own, and a restart makes another: then the same user has
    another session's id.
    """
    subject = f"{len(tenant_id)}:{tenant_id}{user_id}".encode()
    return hmac.new(_key, subject, hashlib.sha256).hexdigest()[:32]


def describe_user(
    mode: UserContext, user_id: str, tenant_id: str, email: str | None, username: str | None
) -> dict[str, str]:
    """Return what is told of a user."""
    if mode == "anonymous":
        return {"session_id": session_id(tenant_id, user_id)}
    told = {"id": user_id, "email": email, "username": username}
    return {key: value for key in KEPT[mode] if (value := told[key])}


def account(value: object) -> str | None:
    """Keep an id that is one word or a number; filtered, as some issuers use e-mail addresses."""
    known = isinstance(value, str | int) and _ACCOUNT.fullmatch(str(value))
    return scrub_string(str(value)) if known else None


def keep_user(mode: UserContext, user: Mapping[str, object]) -> dict[str, str]:
    """Keep of a user in an event what the mode lets out.

    What an operator asked for with `full` is kept as it is, where it is a text or a number.
    """
    told = {key: CHECKS[mode](user[key]) for key in KEPT[mode] if user.get(key)}
    return {key: kept for key, kept in told.items() if kept is not None}


def _as_it_is(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) else None


CHECKS: Final[Mapping[UserContext, Callable[[object], str | None]]] = {
    "id": account,
    "anonymous": identifier,  # others than this module may set a user
    "full": _as_it_is,
}
"""What each value of a user must pass, by mode."""
