"""The verifier: what a bearer token must be before anyone is let in. It fails closed."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.auth import issuer
from app.auth.keys import KeySource, RemoteKeys
from app.auth.token import TokenError, parse
from app.core.config import Settings

# `crit`, `b64`, embedded keys and the like ask a verifier to do something else: none may.
HEADER = frozenset({"alg", "typ", "kid"})
TYPES = frozenset({"jwt", "at+jwt"})
ID_TOKEN_CLAIMS = ("nonce", "at_hash", "c_hash")

MAX_LIFETIME = 86_400  # seconds between a token's making and its end
SKEW = 30  # seconds that two clocks may differ
LATEST = 2**53  # a time beyond this is no time

_TENANT = re.compile(r"[a-z][a-z0-9-]{1,62}")
_JOINERS = dict.fromkeys((0x200C, 0x200D))  # a part of names in Persian and other scripts
_SCOPES = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")  # RFC 6749, section 3.3


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller, as the token says: a user of one tenant, with scopes."""

    user_id: str
    tenant_id: str
    email: str | None = None
    username: str | None = None
    scopes: frozenset[str] = frozenset()


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

    def _check_header(self, header: dict[str, object]) -> tuple[str, str]:
        if not HEADER.issuperset(header):
            raise TokenError("unexpected_header")
        algorithm, typ, kid = (header.get(name) for name in ("alg", "typ", "kid"))
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise TokenError("bad_algorithm")
        if not isinstance(typ, str) or typ.lower() not in TYPES:
            raise TokenError("bad_type")
        if not isinstance(kid, str) or not 1 <= len(kid) <= 255:
            raise TokenError("bad_key_id")
        return algorithm, kid

    def _check_claims(self, claims: dict[str, object]) -> Principal:
        if any(name in claims for name in ID_TOKEN_CLAIMS):
            raise TokenError("id_token")
        if claims.get("iss") != self._issuer:
            raise TokenError("bad_issuer")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._audience not in audiences or not all(isinstance(each, str) for each in audiences):
            raise TokenError("bad_audience")
        self._check_times(claims)
        return Principal(
            user_id=_printable(claims.get("sub"), "bad_subject"),
            tenant_id=_matching(_TENANT, claims.get(self._tenant_claim), "bad_tenant"),
            email=_optional(claims, "email"),
            username=_optional(claims, "name"),
            scopes=_scopes(claims),
        )

    def _check_times(self, claims: dict[str, object]) -> None:
        now = self._clock()
        expires = _instant(claims, "exp")
        if expires is None or expires <= now - SKEW:
            raise TokenError("expired")
        issued = _instant(claims, "iat")
        not_before = _instant(claims, "nbf")
        if any(each is not None and each > now + SKEW for each in (issued, not_before)):
            raise TokenError("not_yet_valid")
        if expires - (now if issued is None else issued) > MAX_LIFETIME + SKEW:
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


def _instant(claims: dict[str, object], name: str) -> int | None:
    value = claims.get(name)
    if name not in claims:
        return None
    if type(value) is not int or not 0 <= value <= LATEST:  # a bool is an int to isinstance
        raise TokenError("bad_time")
    return value


def _printable(value: object, reason: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 255 or not value.isprintable():
        raise TokenError(reason)
    return value


def _matching(pattern: re.Pattern[str], value: object, reason: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise TokenError(reason)
    return value


def _optional(claims: dict[str, object], name: str) -> str | None:
    value = claims.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        _printable(value.translate(_JOINERS), f"bad_{name}")
        return value
    raise TokenError(f"bad_{name}")


def _scopes(claims: dict[str, object]) -> frozenset[str]:
    if claims.get("scope", "") == "":
        return frozenset()
    return frozenset(_matching(_SCOPES, claims["scope"], "bad_scope").split(" "))
