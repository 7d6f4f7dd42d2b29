"""The verifier: good tokens name their caller; every other token is refused, for a named reason."""

import base64
import contextlib
import hashlib
import hmac
import json
import re
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.auth import MAX_DEPTH, MAX_LENGTH, TokenError
from app.auth.signature import REMEMBERED, VerificationKey, build_keys
from app.auth.verifier import Principal, Verifier
from app.core.config import Settings

pytestmark = pytest.mark.anyio

ISSUER = "https://issuer.test"
NOW = 1_800_000_000
ALGORITHMS = frozenset({"RS256", "ES256"})
LIFETIME = Settings().AUTH_MAX_LIFETIME
SKEW = Settings().AUTH_CLOCK_SKEW
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

Jwk = dict[str, object]
Sign = Callable[[bytes], bytes]


class FakeKeys:
    """A JWK Set that needs no fetching."""

    def __init__(self, *members: Jwk) -> None:
        self._keys = build_keys({"keys": list(members)}, ALGORITHMS)

    async def find(self, kid: str, algorithm: str) -> VerificationKey | None:
        return self._keys.get((kid, algorithm))


@cache
def rsa_key(
    name: str = "the issuer's", bits: int = 2048, exponent: int = 65537
) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=exponent, key_size=bits)


@cache
def ec_key(name: str = "the issuer's") -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64_int(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8))


def rsa_jwk(key: rsa.RSAPrivateKey, **members: object) -> Jwk:
    numbers = key.public_key().public_numbers()
    whole: Jwk = {"kty": "RSA", "kid": "rsa", "n": b64_int(numbers.n), "e": b64_int(numbers.e)}
    return whole | members


def ec_jwk(key: ec.EllipticCurvePrivateKey, **members: object) -> Jwk:
    point = key.public_key().public_numbers()
    x, y = b64(point.x.to_bytes(32)), b64(point.y.to_bytes(32))
    return {"kty": "EC", "crv": "P-256", "kid": "ec", "x": x, "y": y, **members}


def rs256(signed: bytes, key: rsa.RSAPrivateKey | None = None) -> bytes:
    return (key or rsa_key()).sign(signed, padding.PKCS1v15(), hashes.SHA256())


def es256(signed: bytes, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    r, s = decode_dss_signature((key or ec_key()).sign(signed, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def claims(**changes: object) -> dict[str, object]:
    """The claims of a good token; a change to `...` leaves one out."""
    whole: dict[str, object] = {
        "iss": ISSUER,
        "aud": "api",
        "sub": "alice",
        "tenant_id": "acme",
        "iat": NOW,
        "exp": NOW + 3600,
    }
    whole |= changes
    return {name: value for name, value in whole.items() if value is not ...}


def header(**changes: object) -> dict[str, object]:
    """The header of a good RS256 token; a change to `...` leaves a member out."""
    whole: dict[str, object] = {"alg": "RS256", "typ": "at+jwt", "kid": "rsa"}
    whole |= changes
    return {name: value for name, value in whole.items() if value is not ...}


def token(
    head: Mapping[str, object] | bytes | None = None,
    body: Mapping[str, object] | bytes | None = None,
    sign: Sign = rs256,
) -> str:
    """Sign any header and any claims, given as objects or as the very bytes."""
    parts = (header() if head is None else head, claims() if body is None else body)
    encoded = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in parts]
    signed = ".".join(map(b64, encoded))
    return f"{signed}.{b64(sign(signed.encode()))}"


def es256_token(sign: Sign = es256) -> str:
    return token(header(alg="ES256", kid="ec"), sign=sign)


def with_claims(**changes: object) -> str:
    return token(body=claims(**changes))


def with_header(**changes: object) -> str:
    return token(head=header(**changes))


def with_claims_text(old: str, new: str) -> str:
    """A token whose claims' JSON was changed as text, and signed after it."""
    text = json.dumps(claims())
    assert old in text
    return token(body=text.replace(old, new).encode())


def verifier(*members: Jwk, **changes: object) -> Verifier:
    issuers = (rsa_jwk(rsa_key()), rsa_jwk(rsa_key("next"), kid="next"), ec_jwk(ec_key()))
    chosen = Settings.model_validate({"AUTH_ISSUER": ISSUER, **changes})
    return Verifier(chosen, FakeKeys(*(members or issuers)), clock=lambda: NOW)


async def reason_of_refusal(subject: Verifier, refused: str) -> str:
    with pytest.raises(TokenError) as error:
        await subject.verify(refused)
    return error.value.reason


async def test_a_good_rs256_token_names_its_caller() -> None:
    principal = await verifier().verify(token())
    assert principal == Principal("alice", "acme", None, None, frozenset(), frozenset())


async def test_a_good_es256_token_names_its_caller() -> None:
    assert (await verifier().verify(es256_token())).user_id == "alice"


async def test_a_caller_may_have_a_name_an_address_and_scopes() -> None:
    good = with_claims(email="alice@example.com", name="Alice Søn", scope="read tenants:admin")
    principal = await verifier().verify(good)
    assert (principal.email, principal.username) == ("alice@example.com", "Alice Søn")
    assert principal.scopes == {"read", "tenants:admin"}


async def test_a_caller_may_be_a_member_of_other_tenants() -> None:
    principal = await verifier().verify(with_claims(tenants=["globex", "initech", "globex"]))
    assert principal.tenant_id == "acme"
    assert principal.memberships == {"globex", "initech"}


def nested(levels: int) -> object:
    """Lists inside each other, so many that the claims with them in it are as deep as `levels`."""
    return json.loads("[" * (levels - 1) + "]" * (levels - 1))


def with_the_other_s(signed: bytes) -> bytes:
    """The second of the two signatures that ECDSA has for everything (RFC 7518 allows both)."""
    signature = es256(signed)
    return signature[:32] + (P256_ORDER - int.from_bytes(signature[32:])).to_bytes(32)


GOOD = {
    "a list of audiences": with_claims(aud=["other", "api"]),
    "a plain JWT": with_header(typ="JWT"),
    "a type in lower case": with_header(typ="jwt"),
    "a type in upper case": with_header(typ="AT+JWT"),
    "a claim that nobody knows": with_claims(department=None),
    "nested claims": with_claims(realm={"roles": ["a", "b"], "share": 1.5}),
    "the deepest claims": with_claims(realm=nested(MAX_DEPTH)),
    "many lists side by side": with_claims(realm=[[]] * 1000),
    "brackets in strings": with_claims(realm=['["[{\\' * MAX_DEPTH]),
    "an empty scope": with_claims(scope=""),
    "no name": with_claims(name=None, email=None),
    "an empty name": with_claims(name="", email=""),
    "a Persian name": with_claims(name="\u0645\u06cc\u200c\u0646\u0627"),
    "no time of issue": with_claims(iat=...),
    "expired within the skew": with_claims(exp=NOW - SKEW + 1),
    "issued ahead within the skew": with_claims(iat=NOW + SKEW),
    "not before, within the skew": with_claims(nbf=NOW + SKEW),
    "the longest life": with_claims(exp=NOW + LIFETIME),
    "the longest life, by a clock ahead": with_claims(iat=NOW + SKEW, exp=NOW + SKEW + LIFETIME),
    "the longest life, without a beginning": with_claims(iat=..., exp=NOW + SKEW + LIFETIME),
    "the shortest tenant": with_claims(tenant_id="ab"),
    "the longest tenant": with_claims(tenant_id="a" * 63),
    "no other tenant": with_claims(tenants=[]),
    "itself among the tenants": with_claims(tenants=["acme"]),
    "the longest subject": with_claims(sub="s" * 255),
    "a subject beyond ASCII": with_claims(sub="Ælfred|42"),
    "line breaks between members": token(body=json.dumps(claims(), indent=1).encode()),
    "the other of two signatures": es256_token(with_the_other_s),
    "the key that comes next": token(
        header(kid="next"), sign=lambda signed: rs256(signed, rsa_key("next"))
    ),
}


@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD)
async def test_these_are_good_too(good: str) -> None:
    assert (await verifier().verify(good)).tenant_id


async def test_the_tenants_claims_are_those_that_the_settings_name() -> None:
    good = with_claims(tenant_id=..., org="globex", tenants=1, orgs=["acme"])
    subject = verifier(AUTH_TENANT_CLAIM="org", AUTH_MEMBERSHIPS_CLAIM="orgs")
    principal = await subject.verify(good)
    assert principal.tenant_id == "globex"
    assert principal.memberships == {"acme"}


async def test_without_settings_of_an_issuer_a_remote_token_is_refused() -> None:
    assert await reason_of_refusal(verifier(AUTH_ISSUER=""), token()) == "bad_algorithm"


async def test_an_algorithm_that_the_settings_leave_out_is_refused() -> None:
    subject = verifier(AUTH_ALGORITHMS=["ES256"])
    assert await reason_of_refusal(subject, token()) == "bad_algorithm"


async def test_the_settings_say_how_long_a_token_may_live() -> None:
    subject = verifier(AUTH_MAX_LIFETIME=60)
    assert await subject.verify(with_claims(exp=NOW + 60))
    assert await reason_of_refusal(subject, with_claims(exp=NOW + 61)) == "lives_too_long"


async def test_the_settings_say_how_far_two_clocks_may_differ() -> None:
    subject = verifier(AUTH_CLOCK_SKEW=0)
    assert await subject.verify(with_claims(exp=NOW + 1))
    assert await reason_of_refusal(subject, with_claims(exp=NOW)) == "expired"
    assert await reason_of_refusal(subject, with_claims(iat=NOW + 1)) == "not_yet_valid"


@pytest.mark.parametrize(
    "changes",
    [
        {"AUTH_MAX_LIFETIME": 0},
        {"AUTH_MAX_LIFETIME": -1},
        {"AUTH_CLOCK_SKEW": -1},
        {"AUTH_CLOCK_SKEW": 301},
        {"AUTH_MEMBERSHIPS_CLAIM": ""},
        {"AUTH_MEMBERSHIPS_CLAIM": "tenant_id"},
        {"AUTH_TENANT_CLAIM": "tenants"},
        {"TENANT_DOMAIN": ".example.com"},
        {"TENANT_DOMAIN": "*.example.com"},
        {"TENANT_DOMAIN": "Example.com"},
        {"TENANT_DOMAIN": "example.com\n"},
        {"TENANT_DOMAIN": "https://example.com"},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(changes)


# Everything below is refused. A table gives for each token the name of the reason; what differs
# from a good token is what its name says, and nothing else.

Cases = dict[str, tuple[str, str]]


def cases(
    group: str, reason: str, build: Callable[[Any], str], values: Mapping[str, object]
) -> Cases:
    """Build a token of each value. All of them are refused for the same reason."""
    return {f"{group}: {name}": (build(value), reason) for name, value in values.items()}


def as_it_is(text: str) -> str:
    return text


def in_header(name: str) -> Callable[[object], str]:
    return lambda value: with_header(**{name: value})


def in_claim(name: str) -> Callable[[object], str]:
    return lambda value: with_claims(**{name: value})


def header_text(text: bytes) -> str:
    return token(text)


def claims_text(text: bytes) -> str:
    return token(body=text)


def signed_by(sign: Sign) -> str:
    return token(sign=sign)


def respelt(segment: str) -> str:
    """The same bytes in another spelling: a spare bit of the last character is set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(segment) % 4
    return segment[:-1] + alphabet[alphabet.index(segment[-1]) | 1]


HEADER, CLAIMS, SIGNATURE = token().split(".")
TEXT = json.dumps(claims())

FORM = cases(
    "form",
    "malformed",
    as_it_is,
    {
        "nothing": "",
        "no segments": "abc",
        "two segments": f"{HEADER}.{CLAIMS}",
        "four segments": f"{token()}.abc",
        "five segments, encrypted": ".".join(
            [b64(b'{"alg":"RSA-OAEP","enc":"A256GCM"}'), *["abc"] * 4]
        ),
        "empty header": f".{CLAIMS}.{SIGNATURE}",
        "claims that are detached": f"{HEADER}..{SIGNATURE}",
        "claims that are not encoded": f"{HEADER}.{TEXT}.{SIGNATURE}",
        "empty signature": f"{HEADER}.{CLAIMS}.",
        "only dots": "..",
        "JSON, flattened": json.dumps(
            {"protected": HEADER, "payload": CLAIMS, "signature": SIGNATURE}
        ),
        "JSON, general": json.dumps(
            {"payload": CLAIMS, "signatures": [{"protected": HEADER, "signature": SIGNATURE}]}
        ),
        "disclosures after": f"{token()}~{b64(b'[]')}~",
        "two tokens": f"{token()},{token()}",
        "a scheme before": f"Bearer {token()}",
        "quotes around": f'"{token()}"',
        "a space before": f" {token()}",
        "a space after": f"{token()} ",
        "a space within": f"{HEADER}. {CLAIMS}.{SIGNATURE}",
        "a tab before": f"\t{token()}",
        "a line break after": f"{token()}\n",
        "a line break within": f"{HEADER}.{CLAIMS}.{SIGNATURE[:76]}\r\n{SIGNATURE[76:]}",
        "a NUL after": f"{token()}\0",
        "a letter beyond ASCII": f"{token()[:-1]}é",
        "a lone surrogate": f"{token()[:-1]}\udcff",
        "a full-width letter": f"\uff45{token()[1:]}",
        "a full-width dot": f"{HEADER}\uff0e{CLAIMS}.{SIGNATURE}",
        "an Arabic digit": f"{token()[:-1]}\u0661",
        "a character of zero width": f"{HEADER}.{CLAIMS}\u200b.{SIGNATURE}",
        "a percent sign": f"{HEADER}%2e{CLAIMS}%2e{SIGNATURE}",
        "padding": f"{token()}==",
        "padding within": f"{HEADER}=.{CLAIMS}==.{SIGNATURE}==",
        "the other alphabet": f"{token()[:-2]}+/",
        "as long as allowed": "a" * MAX_LENGTH,
    },
)

LENGTH = cases(
    "length",
    "too_long",
    as_it_is,
    {
        "a letter more than allowed": "a" * (MAX_LENGTH + 1),
        "dots": "." * (MAX_LENGTH + 1),
        "well signed": with_claims(filler="x" * 6 * 2**20),
        "a signature": f"{token()}{'A' * MAX_LENGTH}",
    },
)

BASE64 = cases(
    "base64",
    "malformed_base64",
    as_it_is,
    {
        "spare bits in the header": f"{respelt(b64(b'{}'))}.{CLAIMS}.{SIGNATURE}",
        "spare bits in the claims": f"{HEADER}.{respelt(b64(b'{}'))}.{SIGNATURE}",
        "spare bits in the signature": f"{HEADER}.{CLAIMS}.{respelt(SIGNATURE)}",
        "one of two spare bits": f"{HEADER}.{CLAIMS}.{respelt(b64(bytes(32)))}",
        "one of four spare bits": f"{HEADER}.{CLAIMS}.{respelt(b64(bytes(31)))}",
        "a letter too many in the header": f"{HEADER + 'A' * (-len(HEADER) % 4 + 1)}.{CLAIMS}.AA",
        "one letter of claims": f"{HEADER}.A.{SIGNATURE}",
        "one letter of signature": f"{HEADER}.{CLAIMS}.A",
    },
)

JSON = {
    **cases(
        "header",
        "malformed_json",
        header_text,
        {
            "no JSON": b"alg=RS256",
            "a list": b'["RS256"]',
            "a string": b'"RS256"',
            "null": b"null",
            "a comment": b'{"alg":"RS256"} // yes',
            "two objects": b'{"alg":"none"}{"alg":"RS256"}',
            "single quotes": b"{'alg':'RS256'}",
            "a byte-order mark": b"\xef\xbb\xbf" + json.dumps(header()).encode(),
            "UTF-16": json.dumps(header()).encode("utf-16"),
            "UTF-32 without a mark": json.dumps(header()).encode("utf-32-le"),
            "cut short": json.dumps(header()).encode()[:-1],
            "deep": b'{"kid":' * 700,
            "a NUL after it": json.dumps(header()).encode() + b"\0",
        },
    ),
    **cases(
        "claims",
        "malformed_json",
        claims_text,
        {
            "a string": b'"alice"',
            "a number": b"1",
            "true": b"true",
            "a list of claims": f"[{TEXT}]".encode(),
            "another token": token().encode(),
            "compressed": zlib.compress(TEXT.encode()),
            "UTF-16": TEXT.encode("utf-16"),
            "UTF-16 without a mark": TEXT.encode("utf-16-be"),
            "UTF-7": TEXT.replace("alice", "+AGE-").encode() + b"+",
            "a byte-order mark": b"\xef\xbb\xbf" + TEXT.encode(),
            "Latin-1": TEXT.replace("alice", "\xe9").encode("latin-1"),
            "UTF-8 longer than needed": TEXT.encode().replace(b"alice", b"\xc0\xaf"),
            "a surrogate in UTF-8": TEXT.encode().replace(b"alice", b"\xed\xa0\x80"),
            "a line break in a string": TEXT.replace("alice", "ali\nce").encode(),
            "a NUL in a string": TEXT.replace("alice", "ali\0ce").encode(),
            "an unknown escape": TEXT.replace("alice", "ali\\ce").encode(),
            "a comma too many": TEXT.replace("}", ",}").encode(),
            "a name without quotes": TEXT.replace('"sub"', "sub").encode(),
            "cut short": TEXT.encode()[:-1],
            "more after it": TEXT.encode() + b"{}",
            "other blanks around": f"\x0c{TEXT}\u00a0".encode(),
            "deep lists": b"[" * 5500,
            "deep objects": b'{"a":' * 1100,
            "lists a level too deep": json.dumps(claims(x=nested(MAX_DEPTH + 1))).encode(),
            "lists and objects too deep": b'{"x":' + b'[{"a":' * 20 + b"1" + b"}]" * 20 + b"}",
            "deep beside strings": b'{"x":["\\\\", "\\"", ' + b"[" * 40 + b"]" * 40 + b"]}",
            "deep and closed by the wrong brackets": b'{"x":' + b"[" * 40 + b"}" * 40 + b"}",
        },
    ),
    **cases(
        "number",
        "malformed_json",
        lambda text: with_claims_text(str(NOW + 3600), text),
        {
            "NaN": "NaN",
            "Infinity": "Infinity",
            "-Infinity": "-Infinity",
            "5,000 digits": "9" * 5000,
            "a leading zero": f"0{NOW + 3600}",
            "a plus sign": f"+{NOW + 3600}",
            "hexadecimal": "0x6b49d200",
            "underscores": "1_800_003_600",
            "Arabic digits": "\u0661\u0668" + "\u0660" * 8,
            "full-width digits": "\uff11\uff18" + "\uff10" * 8,
            "a sum": f"{NOW}+60",
        },
    ),
}

DUPLICATES = {
    **cases(
        "twice",
        "duplicate_member",
        lambda text: with_claims_text('"sub"', f'{text}, "sub"'),
        {
            "the subject": '"sub": "root"',
            "the subject, the same": '"sub": "alice"',
            "the subject, spelt differently": '"s\\u0075b": "root"',
            "the tenant": '"tenant_id": "globex"',
            "the tenants": '"tenants": [], "tenants": ["globex"]',
            "the end": '"exp": 9999999999',
            "the scope": '"scope": "", "scope": "tenants:admin"',
            "below": '"x": {"a": 1, "a": 2}',
            "below a list": '"x": [1, [{"a": 1, "a": 1}]]',
            "below, and deeper": '"x": {"y": {"z": {"": 1, "": 2}}}',
            "500 times": ", ".join(['"a": 0'] * 500),
        },
    ),
    **cases(
        "header twice",
        "duplicate_member",
        header_text,
        {
            "the algorithm": b'{"alg":"none","alg":"RS256","typ":"JWT","kid":"rsa"}',
            "the key id": b'{"alg":"RS256","typ":"JWT","kid":"other","kid":"rsa"}',
        },
    ),
}


def spki(encoding: Encoding) -> bytes:
    return rsa_key().public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def pkcs1() -> bytes:
    return rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)


# Whatever form of the public key a verifier might take for the secret of an HMAC.
PUBLIC_KEY = {
    "PEM": spki(Encoding.PEM),
    "PEM without its last line break": spki(Encoding.PEM).rstrip(),
    "PEM of PKCS #1": pkcs1(),
    "DER": spki(Encoding.DER),
    "a JWK": json.dumps(rsa_jwk(rsa_key())).encode(),
    "the modulus": base64.urlsafe_b64decode(str(rsa_jwk(rsa_key())["n"]) + "=="),
    "the modulus in base64": str(rsa_jwk(rsa_key())["n"]).encode(),
    "nothing": b"",
    "the key id": b"rsa",
}


def hs256(secret: bytes) -> str:
    return token(header(alg="HS256"), sign=lambda it: hmac.digest(secret, it, hashlib.sha256))


def rs256_by_hmac(secret: bytes) -> str:
    return token(sign=lambda it: hmac.digest(secret, it, hashlib.sha256))


def unsigned(algorithm: object) -> str:
    return token(header(alg=algorithm), sign=lambda _: b"x")


ALGORITHM = {
    **cases(
        "algorithm",
        "bad_algorithm",
        unsigned,
        {
            "none": "none",
            "None": "None",
            "NONE": "NONE",
            "nOnE": "nOnE",
            "none and a blank": "none ",
            "empty": "",
        },
    ),
    **cases(
        "algorithm",
        "bad_algorithm",
        in_header("alg"),
        {
            "missing": ...,
            "in lower case": "rs256",
            "with a blank": "RS256 ",
            "with a NUL": "RS256\0",
            "with a letter of zero width": "RS256\u200b",
            "with a full-width letter": "\uff32S256",
            "not in the settings": "RS512",
            "PS256": "PS256",
            "EdDSA": "EdDSA",
            "Ed25519": "Ed25519",
            "ES256K": "ES256K",
            "HS512": "HS512",
            "ML-DSA-44": "ML-DSA-44",
            "for encryption": "RSA-OAEP",
            "direct encryption": "dir",
            "encryption by a password": "PBES2-HS256+A128KW",
            "a list": ["RS256"],
            "an object": {"RS256": True},
            "a number": 256,
            "true": True,
            "null": None,
        },
    ),
    **cases("HS256 with", "bad_algorithm", hs256, PUBLIC_KEY),
    **cases("HS256 that says RS256, with", "bad_signature", rs256_by_hmac, PUBLIC_KEY),
    "algorithm: an empty header": (token(head={}), "bad_algorithm"),
}

TYPE = cases(
    "type",
    "bad_type",
    in_header("typ"),
    {
        "missing": ...,
        "a logout token": "logout+jwt",
        "a proof of possession": "dpop+jwt",
        "a security event": "secevent+jwt",
        "an ID token": "id_token+jwt",
        "a client's assertion": "client-authentication+jwt",
        "a credential": "vc+sd-jwt",
        "an encrypted one": "JWE",
        "any JOSE": "JOSE",
        "any JOSE as JSON": "JOSE+JSON",
        "a media type": "application/at+jwt",
        "a media type of a JWT": "application/jwt",
        "a parameter": "at+jwt;v=1",
        "a line break": "JWT\n",
        "a blank": " at+jwt",
        "a blank for the plus": "at jwt",
        "empty": "",
        "a number": 1,
        "null": None,
        "a list": ["JWT"],
        "an object": {"JWT": 1},
    },
)

KEY_ID = {
    **cases(
        "key id",
        "bad_key_id",
        in_header("kid"),
        {
            "missing": ...,
            "empty": "",
            "null": None,
            "a number": 0,
            "true": True,
            "a list": ["rsa"],
            "an object": {"rsa": "rsa"},
            "256 letters": "k" * 256,
            "a path, 300 long": "../" * 100,
            "5,000 letters": "k" * 5000,
        },
    ),
    **cases(
        "key id",
        "unknown_key",
        in_header("kid"),
        {
            "unknown": "other",
            "in upper case": "RSA",
            "ours and a blank": "rsa ",
            "ours and a NUL": "rsa\0",
            "ours and a line break": "rsa\n",
            "ours, in other letters": "r\u0455a",
            "a path": "../../../../dev/null",
            "a file": "file:///proc/self/environ",
            "an address": "https://evil.test/key.pem",
            "SQL": "rsa' UNION SELECT 'secret' -- ",
            "a command": "rsa|whoami",
            "a template": "${7*7}",
            "a lone surrogate": "\ud800",
            "255 letters": "k" * 255,
            "the algorithm": "RS256",
            "the other kind of key": "ec",
        },
    ),
    "key id: one that was rotated out": (
        token(header(kid="last"), sign=lambda it: rs256(it, rsa_key("last"))),
        "unknown_key",
    ),
    "key id: ES256 with that of an RSA key": (
        token(header(alg="ES256"), sign=es256),
        "unknown_key",
    ),
    "key id: another of the issuer's keys": (with_header(kid="next"), "bad_signature"),
    "key id: RSA's signature for the EC key": (
        token(header(alg="ES256", kid="ec")),
        "bad_signature",
    ),
}


def with_own_key(members: Mapping[str, object]) -> str:
    """A token of a stranger's, well signed, whose header says where to find the key."""
    return token(header(**members), sign=lambda it: rs256(it, rsa_key("a stranger's")))


OTHER_MEMBERS = {
    **cases(
        "header has",
        "unexpected_header",
        with_own_key,
        {
            "its key": {"jwk": rsa_jwk(rsa_key("a stranger's"))},
            "its key as a secret": {"jwk": {"kty": "oct", "k": "c2VjcmV0"}},
            "its keys' address": {"jku": "https://evil.test/keys"},
            "its keys' address, that looks like ours": {"jku": f"{ISSUER}@evil.test/keys"},
            "its certificate": {"x5c": ["MIIB"]},
            "its certificate's address": {"x5u": "https://evil.test/certificate"},
            "its certificate's thumbprint": {"x5t": "abc"},
            "its certificate's longer thumbprint": {"x5t#S256": "abc"},
            "its keys' address, as null": {"jku": None},
        },
    ),
    **cases(
        "header has",
        "unexpected_header",
        lambda members: with_header(**members),
        {
            "crit": {"crit": ["exp"]},
            "crit that is empty": {"crit": []},
            "crit that is unknown": {"crit": ["https://evil.test/ext"]},
            "crit that is null": {"crit": None},
            "claims that are not encoded": {"b64": False, "crit": ["b64"]},
            "claims that are not encoded, without crit": {"b64": False},
            "claims that are encoded": {"b64": True},
            "a token in it": {"cty": "JWT"},
            "compression": {"zip": "DEF"},
            "encryption": {"enc": "A256GCM"},
            "the rounds of a password": {"p2c": 2**31, "p2s": "abc"},
            "a key for encryption": {"epk": ec_jwk(ec_key())},
            "a nonce": {"nonce": "n"},
            "an address": {"url": "https://api.test"},
            "claims": {"iss": ISSUER, "aud": "api"},
            "the algorithm in upper case": {"ALG": "none"},
            "an empty name": {"": ""},
            "a prototype": {"__proto__": {"alg": "none"}},
        },
    ),
}


def both(r: int, s: int) -> Sign:
    return lambda _: r.to_bytes(32) + s.to_bytes(32)


def pss(signed: bytes) -> bytes:
    return rsa_key().sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


def by_rsa(hashing: hashes.HashAlgorithm) -> Sign:
    return lambda signed: rsa_key().sign(signed, padding.PKCS1v15(), hashing)


def der(signed: bytes) -> bytes:
    return ec_key().sign(signed, ec.ECDSA(hashes.SHA256()))


def es512(signed: bytes) -> bytes:
    r, s = decode_dss_signature(ec_key().sign(signed, ec.ECDSA(hashes.SHA512())))
    return r.to_bytes(32) + s.to_bytes(32)


def modulus_more(signed: bytes) -> bytes:
    """The same signature to whoever takes the remainder first."""
    return (int.from_bytes(rs256(signed)) + rsa_key().public_key().public_numbers().n).to_bytes(257)


SIGNATURES = {
    **cases(
        "RS256",
        "bad_signature",
        signed_by,
        {
            "signed by a stranger": lambda it: rs256(it, rsa_key("a stranger's")),
            "signed by another of the issuer's keys": lambda it: rs256(it, rsa_key("next")),
            "one byte": lambda _: b"x",
            "zeros": lambda _: bytes(256),
            "the number one": lambda _: (1).to_bytes(256),
            "nothing but ones": lambda _: b"\xff" * 256,
            "the modulus": lambda _: rsa_key().public_key().public_numbers().n.to_bytes(256),
            "a byte more": lambda it: rs256(it) + b"x",
            "a zero more": lambda it: rs256(it) + b"\0",
            "a zero before": lambda it: b"\0" + rs256(it),
            "a byte less": lambda it: rs256(it)[:-1],
            "a byte less at its beginning": lambda it: rs256(it)[1:],
            "half of it": lambda it: rs256(it)[:128],
            "twice": lambda it: rs256(it) * 2,
            "backwards": lambda it: rs256(it)[::-1],
            "the modulus more": modulus_more,
            "in hexadecimal": lambda it: rs256(it).hex().encode(),
            "in base64": lambda it: b64(rs256(it)).encode(),
            "of the header alone": lambda it: rs256(it.partition(b".")[0]),
            "of the claims alone": lambda it: rs256(it.partition(b".")[2]),
            "of what is encoded": lambda _: rs256(json.dumps(header() | claims()).encode()),
            "of its hash": lambda it: rs256(hashlib.sha256(it).digest()),
            "the hash": lambda it: hashlib.sha256(it).digest(),
            "PS256": pss,
            "RS512": by_rsa(hashes.SHA512()),
        },
    ),
    **cases(
        "ES256",
        "bad_signature",
        es256_token,
        {
            "signed by a stranger": lambda it: es256(it, ec_key("a stranger's")),
            "zeros": both(0, 0),
            "r is zero": both(0, 1),
            "s is zero": both(1, 0),
            "ones": both(1, 1),
            "the order of the curve": both(P256_ORDER, P256_ORDER),
            "r is the order of the curve": both(P256_ORDER, 1),
            "s is the order of the curve": both(1, P256_ORDER),
            "less than nothing": both(P256_ORDER - 1, P256_ORDER - 1),
            "nothing but ones": both(2**256 - 1, 2**256 - 1),
            "r and s changed over": lambda it: es256(it)[32:] + es256(it)[:32],
            "a byte more": lambda it: es256(it) + b"x",
            "a byte less": lambda it: es256(it)[:-1],
            "zeros before": lambda it: bytes(2) + es256(it),
            "r and s of 33 bytes": lambda it: b"\0" + es256(it)[:32] + b"\0" + es256(it)[32:],
            "r alone": lambda it: es256(it)[:32],
            "DER": der,
            "DER and zeros": lambda it: der(it).ljust(96, b"\0"),
            "ES512": es512,
        },
    ),
    **cases(
        "signature",
        "bad_signature",
        as_it_is,
        {
            "of another token": f"{HEADER}.{CLAIMS}.{with_claims(sub='bob').rpartition('.')[2]}",
            "of other claims": f"{HEADER}.{b64(json.dumps(claims(sub='root')).encode())}.{SIGNATURE}",
            "of another header": f"{b64(json.dumps(header(typ='JWT')).encode())}.{CLAIMS}.{SIGNATURE}",
            "of claims with other blanks": ".".join(
                [HEADER, b64(json.dumps(claims(), indent=1).encode()), SIGNATURE]
            ),
        },
    ),
}

NOT_TIMES = {
    "null": None,
    "a string": str(NOW),
    "an empty string": "",
    "Arabic digits": "\u0661\u0668" + "\u0660" * 8,
    "a date": "2027-01-15T08:00:00Z",
    "a float": float(NOW),
    "a float between": NOW + 0.5,
    "false": False,
    "true": True,
    "a list": [NOW],
    "an object": {"$numberLong": str(NOW)},
    "negative": -1,
    "300 digits": 10**300,
    "beyond 64 bits": 2**64,
    "beyond what a float holds": 2**53 + 1,
}

TIMES = {
    **cases("end", "bad_time", in_claim("exp"), NOT_TIMES),
    **cases("issued", "bad_time", in_claim("iat"), NOT_TIMES),
    **cases("not before", "bad_time", in_claim("nbf"), NOT_TIMES),
    **cases(
        "end",
        "bad_time",
        lambda text: with_claims_text(str(NOW + 3600), text),
        {
            "a float that is whole": f"{NOW + 3600}.0",
            "an exponent": "18e8",
            "an exponent of three digits": "1e999",
            "an exponent of 1,000 digits": f"1e{'9' * 1000}",
            "a fraction of 5,000 digits": f"0.{'9' * 5000}",
        },
    ),
    **cases(
        "end",
        "expired",
        lambda changes: with_claims(**changes),
        {
            "missing": {"exp": ...},
            "a second ago, by the slowest clock": {"exp": NOW - SKEW},
            "an hour ago": {"exp": NOW - 3600},
            "in 1970": {"iat": ..., "exp": 0},
        },
    ),
    "end: minus zero": (with_claims_text(str(NOW + 3600), "-0"), "expired"),
    **cases(
        "begins",
        "not_yet_valid",
        lambda changes: with_claims(**changes),
        {
            "ahead": {"iat": NOW + SKEW + 1},
            "a day ahead": {"iat": NOW + 86_400, "exp": NOW + 90_000},
            "later than issued": {"nbf": NOW + SKEW + 1},
            "in milliseconds": {"iat": NOW * 1000, "exp": NOW * 1000 + 60},
        },
    ),
    **cases(
        "lives",
        "lives_too_long",
        lambda changes: with_claims(**changes),
        {
            "a second too long": {"exp": NOW + LIFETIME + 1},
            "a second too long, begun long ago": {"iat": NOW - LIFETIME, "exp": NOW + 1},
            "since 1970": {"iat": 0},
            "a second too long, without a beginning": {
                "iat": ...,
                "exp": NOW + LIFETIME + SKEW + 1,
            },
            "until milliseconds": {"exp": (NOW + 60) * 1000},
            "until the last of times": {"exp": 2**53},
            "until the last of times, without a beginning": {"iat": ..., "exp": 2**53},
        },
    ),
}

WHO = {
    **cases(
        "issuer",
        "bad_issuer",
        in_claim("iss"),
        {
            "missing": ...,
            "null": None,
            "empty": "",
            "another": "https://evil.test",
            "ours with a slash": f"{ISSUER}/",
            "ours with a path": f"{ISSUER}/realms/other",
            "ours in upper case": ISSUER.upper(),
            "ours without encryption": ISSUER.replace("https", "http"),
            "ours as a user's name": f"{ISSUER}@evil.test",
            "ours as a subdomain": f"{ISSUER}.evil.test",
            "ours with its port": f"{ISSUER}:443",
            "ours with a blank": f"{ISSUER} ",
            "ours with a NUL": f"{ISSUER}\0",
            "ours in other letters": ISSUER.replace("i", "\u0456"),
            "ours in a list": [ISSUER],
            "ours in an object": {ISSUER: ISSUER},
            "true": True,
            "the local issuer": "urn:local-issuer",
        },
    ),
    **cases(
        "audience",
        "bad_audience",
        in_claim("aud"),
        {
            "missing": ...,
            "null": None,
            "empty": "",
            "another": "other",
            "part of ours": "ap",
            "more than ours": "api2",
            "ours in upper case": "API",
            "ours with a blank": "api ",
            "ours among others in a string": "other api",
            "an empty list": [],
            "a list with others": ["other", "API"],
            "a list with a number": ["api", 1],
            "a list with null": [None, "api"],
            "a list in a list": [["api"]],
            "ours beside a list": ["api", ["api"]],
            "an object": {"api": True},
            "an object in a list": ["api", {}],
            "true": True,
            "a number": 1,
            "a wildcard": "*",
        },
    ),
    **cases(
        "subject",
        "bad_subject",
        in_claim("sub"),
        {
            "missing": ...,
            "null": None,
            "empty": "",
            "a number": 42,
            "a float": 4.2,
            "true": True,
            "a list": ["alice"],
            "an object": {"id": "alice"},
            "256 letters": "s" * 256,
            "a blank": " ",
            "blanks": "   ",
            "a line break": "alice\nroot",
            "a line break at its end": "alice\n",
            "a tab": "alice\troot",
            "NUL": "alice\0",
            "an escape sequence": "\x1b[2Jalice",
            "delete": "alice\x7f",
            "zero width": "alice\u200b",
            "a joiner": "ali\u200dce",
            "a soft hyphen": "ali\u00adce",
            "a byte-order mark": "\ufeffalice",
            "text turned around": "\u202eecila",
            "text kept apart": "\u2066alice\u2069",
            "a line separator": "alice\u2028",
            "a blank that does not break": "alice\u00a0root",
            "a lone surrogate": "alice\ud800",
            "for private use": "alice\ue000",
            "a tag": "alice\U000e0041",
        },
    ),
    **cases(
        "name",
        "bad_name",
        in_claim("name"),
        {
            "a list": ["Alice"],
            "a number": 1,
            "a line break": "Alice\nRoot",
            "text turned around": "\u202eecilA",
            "nothing but a joiner": "\u200d",
            "256 letters": "a" * 256,
            "a letter and 255 joiners": "a" + "\u200d" * 255,
        },
    ),
    **cases(
        "address",
        "bad_email",
        in_claim("email"),
        {
            "an object": {"a": 1},
            "false": False,
            "256 letters": "a" * 256,
            "another header": "a@example.com\r\nBcc: b@example.com",
        },
    ),
    **cases(
        "ID token",
        "id_token",
        lambda changes: with_claims(**changes),
        {
            "a nonce": {"nonce": "n"},
            "a nonce that is null": {"nonce": None},
            "a token's hash": {"at_hash": "h"},
            "a code's hash": {"c_hash": "h"},
            "a state's hash": {"s_hash": "h"},
            "all of it": {"nonce": "n", "at_hash": "h", "auth_time": NOW},
        },
    ),
    **cases(
        "token of another use",
        "not_a_bearer_token",
        lambda changes: with_claims(**changes),
        {
            "bound to a key": {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
            "bound to nothing": {"cnf": None},
            "a logout": {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
        },
    ),
}

NOT_A_TENANT = {
    "null": None,
    "empty": "",
    "a number": 7,
    "true": True,
    "an object": {"id": "globex"},
    "NUL": "acme\0",
    "NUL within": "acme\0globex",
    "zero width": "ac\u200bme",
    "upper case": "Acme",
    "a trailing line break": "acme\n",
    "a leading blank": " acme",
    "two": "acme,globex",
    "a path": "acme/../globex",
    "a percent sign": "ac%6de",
    "a quote": "acme'--",
    "a leading dash": "-acme",
    "a leading digit": "1acme",
    "an underscore": "ac_me",
    "a dot": "acme.globex",
    "a Cyrillic letter": "\u0430cme",
    "full-width letters": "\uff41cme",
    "a letter with an accent": "acm\u00e9",
    "an Arabic digit": "acme\u0661",
    "one letter": "a",
    "64 letters": "a" * 64,
    "a wildcard": "*",
    "a list": ["acme"],
}

TENANTS = {
    **cases("tenant", "bad_tenant", in_claim("tenant_id"), {"missing": ..., **NOT_A_TENANT}),
    "tenant: only among the tenants": (
        with_claims(tenant_id=..., tenants=["acme"]),
        "bad_tenant",
    ),
    **cases(
        "tenants",
        "bad_memberships",
        lambda other: with_claims(tenants=["globex", other]),
        NOT_A_TENANT,
    ),
    **cases(
        "tenants",
        "bad_memberships",
        in_claim("tenants"),
        {
            "null alone": None,
            "false": False,
            "a string": "globex",
            "a string of several": "globex initech",
            "an empty string": "",
            "a list as a string": '["globex"]',
            "an object alone": {"globex": True},
            "an empty object": {},
            "a number alone": 7,
            "a list in a list": [["globex"]],
            "objects with roles": [{"name": "globex", "role": "admin"}],
        },
    ),
}

SCOPES = cases(
    "scope",
    "bad_scope",
    in_claim("scope"),
    {
        "null": None,
        "a list": ["tenants:admin"],
        "an empty list": [],
        "an object": {"tenants:admin": True},
        "true": True,
        "a number": 1,
        "two blanks": "read  write",
        "a blank before": " read",
        "a blank after": "read ",
        "nothing but a blank": " ",
        "a tab between": "read\twrite",
        "a line break": "read\nwrite",
        "a line break after": "read\n",
        "a quote": 'read "write"',
        "a backslash": "read\\write",
        "NUL": "read\0",
        "zero width": "tenants:\u200badmin",
        "beyond ASCII": "r\u00e9ad",
        "a blank that does not break": "read\u00a0write",
        "delete": "read\x7f",
    },
)


def heavy(changes: Mapping[str, object]) -> str:
    """As much as the limit allows, good but for its signature: nothing can be refused earlier."""
    made = token(body=claims(**changes), sign=lambda _: bytes(256))
    assert MAX_LENGTH * 0.9 < len(made) <= MAX_LENGTH
    return made


HEAVY = cases(
    "heavy",
    "bad_signature",
    heavy,
    {
        "lists": {"x": [[]] * 1400},
        "objects": {"x": [{}] * 1400},
        "objects of one member": {"x": [{"": 0}] * 620},
        "deep ones, many times": {"x": [nested(MAX_DEPTH - 1)] * 185},
        "members": {str(number): 0 for number in range(570)},
        "small numbers": {"x": [0] * 1850},
        "numbers of 300 digits": {"x": [10**300] * 18},
        "a number of 4,200 digits": {"x": 10**4200, "y": 10**1300},
        "fractions": {"x": [0.1] * 1100},
        "exponents": {"x": [1e-300] * 700},
        "a long text": {"x": "x" * 5500},
        "escapes": {"x": "\0" * 920},
        "quotes and backslashes": {"x": '"\\' * 1380},
        "brackets in a text": {"x": "[{" * 2750},
        "texts": {"x": [""] * 1400},
        "surrogates": {"x": "\U0001f600" * 460},
        "tenants": {"tenants": ["ab"] * 930},
        "audiences": {"aud": ["api"] * 800},
        "scopes": {"scope": " ".join(["a"] * 2750)},
    },
)

HOSTILE: Cases = {
    **FORM,
    **LENGTH,
    **BASE64,
    **JSON,
    **DUPLICATES,
    **ALGORITHM,
    **TYPE,
    **KEY_ID,
    **OTHER_MEMBERS,
    **SIGNATURES,
    **TIMES,
    **WHO,
    **TENANTS,
    **SCOPES,
    **HEAVY,
}


@pytest.mark.parametrize(("hostile", "reason"), HOSTILE.values(), ids=HOSTILE)
async def test_every_other_token_is_refused(hostile: str, reason: str) -> None:
    assert await reason_of_refusal(verifier(), hostile) == reason


def test_the_runbook_explains_each_reason() -> None:
    runbook = (Path(__file__).parents[3] / "runbook.md").read_text("utf-8")
    section = runbook.partition("### TokenFailures")[2].partition("###")[0]
    explained = {
        reason
        for line in section.splitlines()
        if line.startswith("| `")
        for reason in re.findall(r"`([a-z0-9_]+)`", line.split("|")[1])
    }
    of_keys = {"no_keys", "unknown_key", "bad_signature", "lives_too_long"}
    of_headers = {"missing", "several"}
    assert explained == {reason for _, reason in HOSTILE.values()} | of_keys | of_headers


def test_no_hostile_token_stands_in_the_table_twice() -> None:
    assert len({hostile for hostile, _ in HOSTILE.values()}) == len(HOSTILE) >= 450


async def test_no_letter_of_a_token_can_be_changed_added_or_left_out() -> None:
    good = es256_token()
    subject = verifier()
    for place, letter in enumerate(good):
        other = "A" if letter != "A" else "B"
        for changed in (other, letter + other, ""):
            with pytest.raises(TokenError):
                await subject.verify(good[:place] + changed + good[place + 1 :])


generated = settings(derandomize=True, deadline=None, database=None)  # the same in each run
SUBJECT = verifier()
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
)
NAMES = ("iss", "aud", "sub", "tenant_id", "tenants", "iat", "nbf", "exp", "scope", "name", "email")


@generated
@given(changes=st.dictionaries(st.sampled_from(NAMES), JSON_VALUES, min_size=1))
async def test_nothing_but_a_refusal_comes_of_any_value_of_a_well_signed_claim(
    changes: dict[str, object],
) -> None:
    with contextlib.suppress(TokenError):
        await SUBJECT.verify(token(body=claims(**changes)))


@generated
@given(head=st.binary(), body=st.binary(), signature=st.binary())
async def test_a_token_of_any_bytes_is_refused(head: bytes, body: bytes, signature: bytes) -> None:
    with pytest.raises(TokenError):
        await SUBJECT.verify(token(head, body, lambda _: signature))


@generated
@given(text=st.text())
async def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        await SUBJECT.verify(text)


async def test_a_refusal_holds_no_part_of_the_token() -> None:
    with pytest.raises(TokenError) as refused:
        await verifier().verify(claims_text(b'{"sub": "planted'))
    assert (str(refused.value), refused.value.__cause__) == ("malformed_json", None)
    assert refused.value.__suppress_context__


async def test_a_token_that_was_good_is_refused_once_its_time_is_over() -> None:
    now = [NOW]
    subject = Verifier(
        Settings(AUTH_ISSUER=ISSUER), FakeKeys(rsa_jwk(rsa_key())), clock=lambda: now[0]
    )
    await subject.verify(token())
    now[0] += 3600 + SKEW
    assert await reason_of_refusal(subject, token()) == "expired"


async def test_a_token_that_was_good_lends_nothing_to_one_that_is_like_it() -> None:
    subject = verifier()
    for good in (token(), es256_token()):
        await subject.verify(good)
    assert await reason_of_refusal(subject, f"{HEADER}.{CLAIMS}.AAAA") == "bad_signature"
    other = b64(json.dumps(claims(sub="bob")).encode())
    assert await reason_of_refusal(subject, f"{HEADER}.{other}.{SIGNATURE}") == "bad_signature"


async def test_a_token_that_was_refused_is_refused_again() -> None:
    subject = verifier()
    forged, _ = HOSTILE["RS256: signed by a stranger"]
    assert {await reason_of_refusal(subject, forged) for _ in range(3)} == {"bad_signature"}


def test_a_key_remembers_only_so_many_signatures() -> None:
    class Yes:
        asked = 0

        def verify(self, signed: bytes, signature: bytes) -> bool:
            self.asked += 1
            return True

    yes: Any = Yes()
    key = VerificationKey(yes)
    for number in [*range(REMEMBERED + 1), REMEMBERED, 0]:
        assert key.verifies(b"%d" % number, b"")
    assert yes.asked == REMEMBERED + 2  # the last one was remembered, the first one no longer


def test_a_signature_that_cannot_be_verified_is_not_the_keys() -> None:
    class Broken:
        def verify(self, signed: bytes, signature: bytes) -> bool:
            raise RuntimeError("out of memory")

    broken: Any = Broken()
    assert not VerificationKey(broken).verifies(b"signed", b"signature")


# Each of these keys would verify the token, were it fit to.
UNFIT = {
    "for encryption": rsa_jwk(rsa_key(), use="enc"),
    "for another algorithm": rsa_jwk(rsa_key(), alg="RS512"),
    "for encryption by its algorithm": rsa_jwk(rsa_key(), alg="RSA-OAEP"),
    "for a list of algorithms": rsa_jwk(rsa_key(), alg=["RS256"]),
    "for signing": rsa_jwk(rsa_key(), key_ops=["sign"]),
    "for wrapping keys too": rsa_jwk(rsa_key(), key_ops=["verify", "wrapKey"]),
    "for nothing": rsa_jwk(rsa_key(), key_ops=[]),
    "for a string of operations": rsa_jwk(rsa_key(), key_ops="verify"),
    "for a use that is null": rsa_jwk(rsa_key(), use=None),
    "of another kind": rsa_jwk(rsa_key(), kty="EC"),
    "of no kind": rsa_jwk(rsa_key(), kty=None),
    "symmetric": {"kty": "oct", "kid": "rsa", "k": "c2VjcmV0"},
    "private": rsa_jwk(rsa_key(), d=b64_int(rsa_key().private_numbers().d)),
    "without a key id": rsa_jwk(rsa_key(), kid=None),
    "with a number as its key id": rsa_jwk(rsa_key(), kid=7),
    "with a list as its key id": rsa_jwk(rsa_key(), kid=["rsa"]),
    "without an exponent": rsa_jwk(rsa_key(), e=None),
    "with an exponent of one": rsa_jwk(rsa_key(), e="AQ"),
    "with a number as its modulus": rsa_jwk(rsa_key(), n=10**13),
    "with a modulus beyond ASCII": rsa_jwk(rsa_key(), n="\u00e9"),
    "with an empty modulus": rsa_jwk(rsa_key(), n=""),
    "in another case": rsa_jwk(rsa_key(), kty="rsa"),
    "with a key id and a blank": rsa_jwk(rsa_key(), kid="rsa "),
}


@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT)
async def test_a_key_that_is_not_fit_verifies_nothing(unfit: Jwk) -> None:
    assert await reason_of_refusal(verifier(unfit), token()) == "unknown_key"


WEAK = {
    "of 1,024 bits": rsa_key("small", bits=1024),
    "of 2,040 bits": rsa_key("almost", bits=2040),
    "with an exponent of three": rsa_key("three", exponent=3),
}


@pytest.mark.parametrize("weak", WEAK.values(), ids=WEAK)
async def test_an_rsa_key_that_is_weak_verifies_nothing(weak: rsa.RSAPrivateKey) -> None:
    forged = token(sign=lambda signed: rs256(signed, weak))
    assert await reason_of_refusal(verifier(rsa_jwk(weak)), forged) == "unknown_key"


@pytest.mark.parametrize(
    ("bits", "exponent", "fit"),
    [
        (2047, 65537, False),
        (2048, 65537, True),
        (8192, 65537, True),
        (8193, 65537, False),
        (16384, 65537, False),
        (200_000, 65537, False),
        (2048, 1, False),
        (2048, 3, False),
        (2048, 65535, False),
        (2048, 65536, False),
        (2048, 65538, False),
        (2048, 65539, True),
    ],
)
def test_an_rsa_key_has_2048_to_8192_bits_and_an_odd_exponent_of_65537_or_more(
    bits: int, exponent: int, fit: bool
) -> None:
    modulus = (1 << (bits - 1)) + 1
    member = {"kty": "RSA", "kid": "rsa", "n": b64_int(modulus), "e": b64_int(exponent)}
    assert bool(build_keys({"keys": [member]}, ALGORITHMS)) is fit


UNFIT_CURVES = {
    "another curve's name": ec_jwk(ec_key(), crv="P-384"),
    "a curve that is a list": ec_jwk(ec_key(), crv=["P-256"]),
    "no curve": ec_jwk(ec_key(), crv=None),
    "a point that is not on the curve": ec_jwk(ec_key(), x=b64(bytes(32))),
    "no point": ec_jwk(ec_key(), y=None),
    "for encryption": ec_jwk(ec_key(), use="enc"),
}


@pytest.mark.parametrize("unfit", UNFIT_CURVES.values(), ids=UNFIT_CURVES)
async def test_a_curve_that_is_not_fit_verifies_nothing(unfit: Jwk) -> None:
    assert await reason_of_refusal(verifier(unfit), es256_token()) == "unknown_key"


async def test_a_key_on_another_curve_verifies_nothing() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    point = other.public_key().public_numbers()
    x, y = b64(point.x.to_bytes(48)), b64(point.y.to_bytes(48))
    member: Jwk = {"kty": "EC", "crv": "P-384", "kid": "ec", "x": x, "y": y}

    def sign(signed: bytes) -> bytes:
        r, s = decode_dss_signature(other.sign(signed, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(48) + s.to_bytes(48)

    assert await reason_of_refusal(verifier(member), es256_token(sign)) == "unknown_key"


FIT = {
    "for signatures": rsa_jwk(rsa_key(), use="sig"),
    "for this algorithm": rsa_jwk(rsa_key(), alg="RS256"),
    "for verifying": rsa_jwk(rsa_key(), key_ops=["verify"]),
    "with its certificate": rsa_jwk(rsa_key(), x5c=["MIIB"], x5t="abc"),
}


@pytest.mark.parametrize("fit", FIT.values(), ids=FIT)
async def test_a_key_that_says_what_it_is_for_verifies(fit: Jwk) -> None:
    assert (await verifier(fit).verify(token())).user_id == "alice"


async def test_one_bad_key_does_not_spoil_the_others() -> None:
    beside: list[Jwk] = [{}, {"kid": "rsa", "kty": []}, *UNFIT_CURVES.values(), rsa_jwk(rsa_key())]
    assert (await verifier(*beside).verify(token())).user_id == "alice"


@pytest.mark.parametrize("document", [None, [], {}, {"keys": None}, {"keys": "rsa"}, {"keys": [1]}])
def test_what_is_no_set_of_keys_has_none(document: object) -> None:
    assert build_keys(document, ALGORITHMS) == {}
