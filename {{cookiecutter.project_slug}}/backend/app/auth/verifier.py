"""The verifier: what a bearer token must be before anyone is let in. It fails closed."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.auth import TokenError, issuer, parse
from app.auth.keys import KeySource, RemoteKeys
from app.core.config import Settings

# `crit`, `b64`, embedded keys and the like ask a verifier to do something else: none may.
HEADER = frozenset({"alg", "typ", "kid"})
TYPES = frozenset({"jwt", "at+jwt"})
ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "s_hash"})
# `cnf` binds a token to a key that its bearer would have to prove (RFC 7800); `events` tells of
# something, such as a logout (RFC 8417).
OTHER_CLAIMS = frozenset({"cnf", "events"})

LATEST = 2**53  # a time beyond this is no time

_TENANT = re.compile(r"[a-z][a-z0-9-]{1,62}")
_JOINERS = dict.fromkeys((0x200C, 0x200D))  # a part of names in Persian and other scripts
_SCOPES = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")  # RFC 6749, section 3.3


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller, as the token says: a user of one tenant, with scopes.

    `memberships` are the other tenants that the caller may choose instead; the scopes are the same
    in each of them.
    """

    user_id: str
    tenant_id: str
    email: str | None = None
    username: str | None = None
    scopes: frozenset[str] = frozenset()
    memberships: frozenset[str] = frozenset()


class Verifier:
    """Turns a token into the principal that it proves."""

    def __init__(
        self,
        settings: Settings,
        keys: KeySource | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Verify for these settings. `keys` and `clock` (seconds since 1970) are for tests."""
        self._issuer = settings.AUTH_ISSUER or issuer.ISSUER
        self._audience = settings.AUTH_AUDIENCE
        self._tenant_claim = settings.AUTH_TENANT_CLAIM
        self._memberships_claim = settings.AUTH_MEMBERSHIPS_CLAIM
        self._max_lifetime = settings.AUTH_MAX_LIFETIME
        self._skew = settings.AUTH_CLOCK_SKEW
        self._algorithms: frozenset[str] = (
            frozenset(settings.AUTH_ALGORITHMS) if settings.AUTH_ISSUER else issuer.ALGORITHMS
        )
        self._keys = keys or key_source(settings)
        self._clock = clock

    async def verify(self, encoded: str) -> Principal:
        """Return the caller that a token proves; raise TokenError, which names the reason."""
        token = parse(encoded)
        algorithm, kid = self._check_header(token.header)
        # Reading claims is cheaper than verifying a signature, and trusts nothing.
        principal = self._check_claims(token.claims)
        key = await self._keys.find(kid, algorithm)
        if key is None:
            raise TokenError("unknown_key")
        if not key.verifies(token.signed, token.signature):
            raise TokenError("bad_signature")
        return principal

    def _check_header(self, header: Mapping[str, object]) -> tuple[str, str]:
        if not HEADER.issuperset(header):
            raise TokenError("unexpected_header")
        algorithm, typ, kid = header.get("alg"), header.get("typ"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise TokenError("bad_algorithm")
        if not isinstance(typ, str) or typ.lower() not in TYPES:
            raise TokenError("bad_type")
        if not isinstance(kid, str) or not 1 <= len(kid) <= 255:
            raise TokenError("bad_key_id")
        return algorithm, kid

    def _check_claims(self, claims: Mapping[str, object]) -> Principal:
        if not ID_TOKEN_CLAIMS.isdisjoint(claims):
            raise TokenError("id_token")
        if not OTHER_CLAIMS.isdisjoint(claims):
            raise TokenError("not_a_bearer_token")
        if claims.get("iss") != self._issuer:
            raise TokenError("bad_issuer")
        self._check_audience(claims.get("aud"))
        self._check_times(claims)
        return Principal(
            user_id=_printable(claims.get("sub"), "bad_subject"),
            tenant_id=_matching(_TENANT, claims.get(self._tenant_claim), "bad_tenant"),
            email=_optional(claims, "email"),
            username=_optional(claims, "name"),
            scopes=_scopes(claims.get("scope", "")),
            memberships=_memberships(claims.get(self._memberships_claim, [])),
        )

    def _check_audience(self, audience: object) -> None:
        audiences = audience if isinstance(audience, list) else [audience]
        if self._audience not in audiences or not all(isinstance(each, str) for each in audiences):
            raise TokenError("bad_audience")

    def _check_times(self, claims: Mapping[str, object]) -> None:
        now = self._clock()
        expires = _instant(claims, "exp")
        if expires is None or expires <= now - self._skew:
            raise TokenError("expired")
        latest_start = now + self._skew
        issued = _instant(claims, "iat")
        if issued is not None and issued > latest_start:
            raise TokenError("not_yet_valid")
        not_before = _instant(claims, "nbf")
        if not_before is not None and not_before > latest_start:
            raise TokenError("not_yet_valid")
        # Without a time of issue it was issued as late as the issuer's clock may say.
        if expires - (latest_start if issued is None else issued) > self._max_lifetime:
            raise TokenError("lives_too_long")


def key_source(settings: Settings) -> KeySource:
    """Return where the settings say that the issuer's keys are."""
    if not settings.AUTH_ISSUER:
        return issuer.LocalKeys(settings.AUTH_LOCAL_KEY_FILE)
    return RemoteKeys(
        settings.AUTH_ISSUER,
        settings.AUTH_JWKS_URL,
        frozenset(settings.AUTH_ALGORITHMS),
        https_only=settings.ENVIRONMENT != "development",
    )


def _instant(claims: Mapping[str, object], name: str) -> int | None:
    if name not in claims:
        return None
    value = claims[name]
    if type(value) is not int or not 0 <= value <= LATEST:  # a bool is an int to isinstance
        raise TokenError("bad_time")
    return value


def _printable(value: object, reason: str) -> str:
    if (
        not isinstance(value, str)
        or not value.strip()
        or len(value) > 255
        or not value.isprintable()
    ):
        raise TokenError(reason)
    return value


def _matching(pattern: re.Pattern[str], value: object, reason: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise TokenError(reason)
    return value


def _optional(claims: Mapping[str, object], name: str) -> str | None:
    value = claims.get(name)
    if value is None or value == "":
        return None
    reason = f"bad_{name}"
    if not isinstance(value, str) or len(value) > 255:
        raise TokenError(reason)
    _printable(value.translate(_JOINERS), reason)
    return value


def _scopes(value: object) -> frozenset[str]:
    if value == "":
        return frozenset()
    return frozenset(_matching(_SCOPES, value, "bad_scope").split(" "))


def _memberships(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise TokenError("bad_memberships")
    return frozenset(_matching(_TENANT, each, "bad_memberships") for each in value)
