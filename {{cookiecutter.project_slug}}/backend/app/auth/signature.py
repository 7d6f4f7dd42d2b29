"""Signatures by python-jose. No other module names it: what it accepts is decided here."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwk, jws
from jose.backends import ECKey, RSAKey
from jose.backends.base import Key
from jose.backends.cryptography_backend import CryptographyECKey, CryptographyRSAKey

RSA_BITS = range(2048, 8192 + 1)
MIN_RSA_EXPONENT = 65537
REMEMBERED = 4096  # signatures of a key
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

# The library falls back to pure Python where `cryptography` is missing: never verify with that.
if RSAKey is not CryptographyRSAKey or ECKey is not CryptographyECKey:
    raise ImportError("python-jose has no cryptography backend: install python-jose[cryptography]")


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, built once, for the one algorithm that it verifies.

    It remembers which signatures were its own, as callers send a token many times. Only this
    answer, which can't change, is remembered, and as long as the key is; never the token itself.
    """

    key: Key
    _verified: dict[bytes, None] = field(default_factory=dict, repr=False, compare=False)

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Tell whether the signature is this key's. What can't be verified is not."""
        digest = sha256(b"%b.%b" % (signed, signature)).digest()
        if digest in self._verified:
            return True
        try:
            verified = bool(self.key.verify(signed, signature))
        except Exception:
            return False
        if verified:
            if len(self._verified) >= REMEMBERED:
                del self._verified[next(iter(self._verified))]  # the oldest
            self._verified[digest] = None
        return verified


# By key id and algorithm: a token must name both, and exactly.
VerificationKeys = dict[tuple[str, str], VerificationKey]


def build_keys(document: object, algorithms: frozenset[str]) -> VerificationKeys:
    """Build the keys of a JWK Set (RFC 7517) that may verify tokens; leave the others out."""
    members = document.get("keys") if isinstance(document, Mapping) else None
    keys: VerificationKeys = {}
    for member in members if isinstance(members, list) else []:
        if isinstance(member, Mapping) and isinstance(kid := member.get("kid"), str):
            for algorithm in _fitting(member, algorithms):
                if key := _build(member, algorithm):
                    keys[kid, algorithm] = key
    return keys


def generate_key() -> dict[str, str]:
    """Make a private JWK for ES256, with a key id of its own."""
    key = CryptographyECKey(ec.generate_private_key(ec.SECP256R1()), "ES256")
    return {**key.to_dict(), "kid": secrets.token_hex(8)}


def public_part(private_key: Mapping[str, str]) -> dict[str, str]:
    """Return a JWK without its secret."""
    return {name: value for name, value in private_key.items() if name != "d"}


def sign(claims: Mapping[str, object], private_key: Mapping[str, str], typ: str) -> str:
    """Sign claims with a private JWK that has `alg` and `kid`."""
    headers = {"typ": typ, "kid": private_key["kid"]}
    return jws.sign(dict(claims), dict(private_key), headers, private_key["alg"])


def _fitting(member: Mapping[str, object], algorithms: frozenset[str]) -> Iterator[str]:
    """Yield the algorithms that a JWK's use, operations, type and curve allow it to verify."""
    operations = member.get("key_ops", ["verify"])
    if member.get("use", "sig") != "sig" or operations != ["verify"] or "d" in member:
        return
    for algorithm in algorithms:
        if member.get("alg", algorithm) != algorithm:
            continue
        if algorithm in CURVES:
            if member.get("kty") == "EC" and member.get("crv") == CURVES[algorithm]:
                yield algorithm
        elif member.get("kty") == "RSA":
            yield algorithm


def _build(member: Mapping[str, object], algorithm: str) -> VerificationKey | None:
    # A number where a string belongs would be taken for a length of memory to fill.
    parameters = {name: value for name, value in member.items() if isinstance(value, str)}
    try:
        key = jwk.construct(parameters, algorithm)
    except Exception:  # whatever it is, it's no key
        return None
    if isinstance(key, CryptographyRSAKey) and not _is_strong(key.prepared_key):
        return None
    return VerificationKey(key)


def _is_strong(key: rsa.RSAPublicKey) -> bool:
    """Tell whether an RSA key is long enough to trust, and short enough to verify in no time."""
    # That the exponent is odd has been looked at when the key was built.
    return key.key_size in RSA_BITS and key.public_numbers().e >= MIN_RSA_EXPONENT
