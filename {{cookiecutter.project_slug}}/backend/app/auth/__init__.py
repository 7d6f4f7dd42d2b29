"""Reading a token, before anything in it is trusted: size, shape, encoding, JSON."""

import base64
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

MAX_LENGTH = 8192  # characters of a token
MAX_DEPTH = 16  # objects and lists inside each other
HEADERS = 64  # that are remembered: an issuer has one for each of its keys

_SEGMENTS = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# What a segment may end in, by its length modulo 4. Spare bits of the last character must be zero,
# so that one token has one spelling; one character alone holds no byte.
_ENDINGS = ("", "", "AQgw", "AEIMQUYcgkosw048")
_BRACES_TO_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)).difference(b"[]{}"))


class TokenError(Exception):
    """A token that is refused. The reason is a name for the log; the caller is not told it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Token(NamedTuple):
    """A token taken apart: nothing in it is verified yet."""

    header: Mapping[str, object]
    claims: Mapping[str, object]
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
        header=_read_header(header),
        claims=_read_object(_decode(claims)),
        signed=f"{header}.{claims}".encode("ascii"),
        signature=_decode(signature),
    )


@lru_cache(maxsize=HEADERS)
def _read_header(segment: str) -> Mapping[str, object]:
    # All tokens of a key have the same header. It is read once, and shared: so it can't be changed.
    return MappingProxyType(_read_object(_decode(segment)))


def _decode(segment: str) -> bytes:
    over = len(segment) % 4
    if over and segment[-1] not in _ENDINGS[over]:
        raise TokenError("malformed_base64")
    return base64.urlsafe_b64decode(segment + "==")


def _read_object(encoded: bytes) -> dict[str, object]:
    if encoded.count(b"[") + encoded.count(b"{") > MAX_DEPTH and _is_deep(encoded):
        raise TokenError("malformed_json")
    try:
        value = _JSON.decode(encoded.decode("utf-8"))
    except ValueError:
        raise TokenError("malformed_json") from None
    if not isinstance(value, dict):
        raise TokenError("malformed_json")
    return value


def _is_deep(encoded: bytes) -> bool:
    """Tell whether JSON is nested deeper than allowed, however deep the parser would go."""
    without_escapes = encoded.replace(b"\\\\", b"").replace(b'\\"', b"")
    without_strings = b"".join(without_escapes.split(b'"')[::2])
    brackets = without_strings.translate(_BRACES_TO_BRACKETS, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # the innermost ones
    return bool(brackets)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise TokenError("duplicate_member")
    return members


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
