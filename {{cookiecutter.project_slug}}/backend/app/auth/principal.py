"""Who is calling."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller, as the token says: a user of one tenant, with scopes."""

    user_id: str
    tenant_id: str
    email: str | None = None
    username: str | None = None
    scopes: frozenset[str] = frozenset()
