"""Identity: what is told of the user behind an event, by the setting `SENTRY_USER_CONTEXT`."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final, Literal

from app.privacy import scrub_string

UserContext = Literal["id", "anonymous", "full"]

KEPT: Final[Mapping[UserContext, tuple[str, ...]]] = {
    "id": ("id",),
    "anonymous": ("session_id",),
    "full": ("id", "email", "username"),
}
"""What of a user may leave, by mode."""

# Made anew by each process and never written down: without it, nobody can try out users against
# a session's id, not even with a list of all of them.
_key = secrets.token_bytes(32)


def session_id(tenant_id: str, user_id: str) -> str:
    """Name a user's session: the same while the process lives, another in another tenant."""
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


def keep_user(mode: UserContext, user: Mapping[str, object]) -> dict[str, str]:
    """Keep of a user in an event what the mode lets out.

    An id is filtered as any text is, because some issuers use e-mail addresses for it. What an
    operator asked for with `full` is kept as it is.
    """
    kept = {key: str(user[key]) for key in KEPT[mode] if user.get(key)}
    if mode != "full":
        kept = {key: scrub_string(value) for key, value in kept.items()}
    return kept
