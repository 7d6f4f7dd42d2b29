"""An issuer whose keys change, its tokens, and what somebody else might send instead of one."""

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

from app.auth.keys import FRESH, RemoteKeys
from app.auth.signature import generate_key, public_part, sign
from app.auth.verifier import Verifier
from app.core.config import Settings

ISSUER = "https://issuer.test"
LIFETIME = 3600  # seconds
ALGORITHMS = frozenset({"ES256"})

Claims = dict[str, object]


@dataclass(frozen=True)
class Caller:
    """Who a token is for: a user of a tenant, who may choose others."""

    tenant: str
    user: str = "alice"
    is_operator: bool = False
    memberships: frozenset[str] = frozenset()


class Issuer:
    """Signs with its newest key, and publishes that one, with or without the one before it."""

    def __init__(self) -> None:
        self._keys = (generate_key(), generate_key())
        self._published: tuple[dict[str, str], ...] = self._keys[1:]
        self._now = 0.0
        self._made: dict[tuple[str, Caller], str] = {}

    def rotate(self, *, keep: bool) -> None:
        """Take a new key into use; the keys that a verifier has are then too old to be used on."""
        self._keys = (self._keys[1], generate_key())
        self._published = self._keys if keep else self._keys[1:]
        self._now += FRESH + 1
        self._made.clear()

    def verifier(self, settings: Settings) -> Verifier:
        """Return a verifier that asks this issuer for its keys."""
        keys = RemoteKeys(
            ISSUER,
            f"{ISSUER}/keys",
            ALGORITHMS,
            https_only=True,
            clock=lambda: self._now,
            transport=httpx.MockTransport(self._answer),
        )
        return Verifier(settings, keys)

    def token(self, kind: str, caller: Caller) -> str | None:
        """Return a token of a kind for a caller; None is no token at all."""
        if kind == "missing":
            return None
        if (kind, caller) not in self._made:
            self._made[kind, caller] = self._make(kind, caller)
        return self._made[kind, caller]

    def accepts(self, kind: str) -> bool:
        """Tell whether the service must let a token of this kind in."""
        return kind == "good" or (kind == "of the key before" and len(self._published) > 1)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"keys": [public_part(key) for key in self._published]})

    def _make(self, kind: str, caller: Caller) -> str:
        before, newest = self._keys
        claims = _claims(caller)
        if kind in ("good", "of the key before"):
            return sign(claims, newest if kind == "good" else before, "at+jwt")
        return BAD[kind](newest, claims)


def _claims(caller: Caller) -> Claims:
    now = int(time.time())
    claims: Claims = {
        "iss": ISSUER,
        "aud": "api",
        "sub": caller.user,
        "tenant_id": caller.tenant,
        "tenants": sorted(caller.memberships),
        "iat": now,
        "exp": now + LIFETIME,
    }
    return claims | ({"scope": "tenants:admin"} if caller.is_operator else {})


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _tampered(key: Mapping[str, str], claims: Claims) -> str:
    """Put other claims before a good signature of the claims that a plain user has."""
    other = sign(claims | {"sub": "mallory", "scope": ""}, key, "at+jwt").split(".")
    return f"{other[0]}.{_segment(claims)}.{other[2]}"


def _unsigned(key: Mapping[str, str], claims: Claims) -> str:
    header = {"alg": "none", "typ": "at+jwt", "kid": key["kid"]}
    return f"{_segment(header)}.{_segment(claims)}."


def _forged(key: Mapping[str, str], claims: Claims) -> str:
    return sign(claims, generate_key() | {"kid": key["kid"]}, "at+jwt")


def _but(**changes: object) -> Callable[[Mapping[str, str], Claims], str]:
    return lambda key, claims: sign(claims | changes, key, "at+jwt")


BAD: Mapping[str, Callable[[Mapping[str, str], Claims], str]] = {
    "nonsense": lambda _, claims: f"nonsense of {claims['sub']}",
    "tampered": _tampered,
    "unsigned": _unsigned,
    "forged": _forged,
    "expired": _but(iat=1_600_000_000, exp=1_600_003_600),
    "of another issuer": _but(iss="https://other.test"),
    "for another audience": _but(aud="other"),
    "for a sign-in": _but(nonce="once"),
    "of no tenant": _but(tenant_id="Not A Name"),
}
KINDS: Sequence[str] = ["good", "missing", "of the key before", *BAD]
