"""Reading a token, before anything in it is trusted: size, shape, encoding, JSON."""

import base64
import binascii
import json
import re
from dataclasses import dataclass

MAX_LENGTH = 8192
_SEGMENTS = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class TokenError(Exception):
    """A token that is refused. The reason is a name for the log; the caller is not told it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Token:
    """A token taken apart: nothing in it is verified yet."""

    header: dict[str, object]
    claims: dict[str, object]
    signed: bytes
    signature: bytes


def parse(token: str) -> Token:
    """Take a compact JWS (RFC 7515) apart; raise TokenError unless it is in canonical form."""
    if len(token) > MAX_LENGTH:
        raise TokenError("too_long")
    if not (segments := _SEGMENTS.fullmatch(token)):
        raise TokenError("malformed")
    header, claims, signature = segments.groups()
    return Token(
        header=_read_object(_decode(header)),
        claims=_read_object(_decode(claims)),
        signed=f"{header}.{claims}".encode("ascii"),
        signature=_decode(signature),
    )


def _decode(segment: str) -> bytes:
    try:
        decoded = base64.b64decode(segment + "=" * (-len(segment) % 4), b"-_", validate=True)
    except binascii.Error as error:
        raise TokenError("malformed_base64") from error
    # Spare bits of the last character must be zero: one token has one spelling.
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != segment.encode("ascii"):
        raise TokenError("malformed_base64")
    return decoded


def _read_object(encoded: bytes) -> dict[str, object]:
    try:
        value = json.loads(
            encoded.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise TokenError("malformed_json") from error
    if not isinstance(value, dict):
        raise TokenError("malformed_json")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise TokenError("duplicate_member")
    return members


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
