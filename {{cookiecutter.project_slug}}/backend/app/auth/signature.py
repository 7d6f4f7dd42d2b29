"""Signatures by python-jose. No other module names it: what it accepts is decided here."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from jose import jwk, jws
from jose.backends import ECKey, RSAKey
from jose.backends.base import Key
from jose.backends.cryptography_backend import CryptographyECKey, CryptographyRSAKey
from jose.exceptions import JOSEError

MIN_RSA_BITS = 2048
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

# The library falls back to pure Python where `cryptography` is missing: never verify with that.
if RSAKey is not CryptographyRSAKey or ECKey is not CryptographyECKey:
    raise ImportError("python-jose has no cryptography backend: install python-jose[cryptography]")


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, built once, for the one algorithm that it verifies."""

    key: Key

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Tell whether the signature is this key's."""
        return bool(self.key.verify(signed, signature))


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
    except (JOSEError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, CryptographyRSAKey) and key.prepared_key.key_size < MIN_RSA_BITS:
        return None
    return VerificationKey(key)
