"""The verifier: good tokens name their caller; every other token is refused, for a named reason."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.auth.signature import VerificationKey, build_keys
from app.auth.token import MAX_LENGTH, TokenError
from app.auth.verifier import MAX_LIFETIME, SKEW, Principal, Verifier
from app.core.config import Settings

pytestmark = pytest.mark.anyio

ISSUER = "https://issuer.test"
NOW = 1_800_000_000
ALGORITHMS = frozenset({"RS256", "ES256"})

Jwk = dict[str, object]


class FakeKeys:
    """A JWK Set that needs no fetching."""

    def __init__(self, *members: Jwk) -> None:
        self._keys = build_keys({"keys": list(members)}, ALGORITHMS)

    async def find(self, kid: str, algorithm: str) -> VerificationKey | None:
        return self._keys.get((kid, algorithm))


@cache
def rsa_key(name: str = "the issuer's", bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(name: str = "the issuer's") -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64_int(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8))


def rsa_jwk(key: rsa.RSAPrivateKey, **members: object) -> Jwk:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": "rsa", "n": b64_int(numbers.n), "e": "AQAB", **members}


def ec_jwk(key: ec.EllipticCurvePrivateKey, **members: object) -> Jwk:
    point = key.public_key().public_numbers()
    x, y = b64(point.x.to_bytes(32)), b64(point.y.to_bytes(32))
    return {"kty": "EC", "crv": "P-256", "kid": "ec", "x": x, "y": y, **members}


def rs256(signed: bytes, key: rsa.RSAPrivateKey | None = None) -> bytes:
    return (key or rsa_key()).sign(signed, padding.PKCS1v15(), hashes.SHA256())


def es256(signed: bytes, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    r, s = decode_dss_signature((key or ec_key()).sign(signed, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def hs256_with_the_public_key(signed: bytes) -> bytes:
    pem = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hmac.digest(pem, signed, hashlib.sha256)


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
    sign: Callable[[bytes], bytes] = rs256,
) -> str:
    """Sign any header and any claims, given as objects or as the very bytes."""
    parts = (header() if head is None else head, claims() if body is None else body)
    encoded = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in parts]
    signed = ".".join(map(b64, encoded))
    return f"{signed}.{b64(sign(signed.encode()))}"


def with_claims(**changes: object) -> str:
    return token(body=claims(**changes))


def with_header(**changes: object) -> str:
    return token(head=header(**changes))


def with_claims_text(old: str, new: str) -> str:
    """A token whose claims' JSON was changed as text, and signed after it."""
    text = json.dumps(claims())
    assert old in text
    return token(body=text.replace(old, new).encode())


def verifier(*members: Jwk, **settings: object) -> Verifier:
    keys = FakeKeys(*(members or (rsa_jwk(rsa_key()), ec_jwk(ec_key()))))
    chosen = Settings.model_validate({"AUTH_ISSUER": ISSUER, **settings})
    return Verifier(chosen, keys, clock=lambda: NOW)


def respelt_base64(good: str) -> str:
    """The same bytes in another spelling: a spare bit of the last character is set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # An RSA-2048 signature is 256 bytes: the last of its characters has four spare bits.
    return good[:-1] + alphabet[alphabet.index(good[-1]) | 1]


async def test_a_good_rs256_token_names_its_caller() -> None:
    principal = await verifier().verify(token())
    assert principal == Principal("alice", "acme", None, None, frozenset())


async def test_a_good_es256_token_names_its_caller() -> None:
    good = token(header(alg="ES256", kid="ec"), sign=es256)
    assert (await verifier().verify(good)).user_id == "alice"


async def test_a_caller_may_have_a_name_an_address_and_scopes() -> None:
    good = with_claims(email="alice@example.com", name="Alice Søn", scope="read tenants:admin")
    principal = await verifier().verify(good)
    assert (principal.email, principal.username) == ("alice@example.com", "Alice Søn")
    assert principal.scopes == {"read", "tenants:admin"}


GOOD = {
    "a list of audiences": with_claims(aud=["other", "api"]),
    "a plain JWT": with_header(typ="JWT"),
    "a type in lower case": with_header(typ="jwt"),
    "a type in upper case": with_header(typ="AT+JWT"),
    "a claim that nobody knows": with_claims(department=None),
    "nested claims": with_claims(realm={"roles": ["a", "b"], "share": 1.5}),
    "an empty scope": with_claims(scope=""),
    "no name": with_claims(name=None, email=None),
    "an empty name": with_claims(name="", email=""),
    "a Persian name": with_claims(name="\u0645\u06cc\u200c\u0646\u0627"),
    "no time of issue": with_claims(iat=...),
    "expired within the skew": with_claims(exp=NOW - SKEW + 1),
    "issued ahead within the skew": with_claims(iat=NOW + SKEW),
    "not before, within the skew": with_claims(nbf=NOW + SKEW),
    "the longest life": with_claims(exp=NOW + MAX_LIFETIME + SKEW),
    "the shortest tenant": with_claims(tenant_id="ab"),
    "the longest tenant": with_claims(tenant_id="a" * 63),
    "the longest subject": with_claims(sub="s" * 255),
    "a subject beyond ASCII": with_claims(sub="Ælfred|42"),
    "line breaks between members": token(body=json.dumps(claims(), indent=1).encode()),
}


@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD)
async def test_these_are_good_too(good: str) -> None:
    assert (await verifier().verify(good)).tenant_id


async def test_the_tenants_claim_is_the_one_that_the_settings_name() -> None:
    good = with_claims(tenant_id=..., org="globex")
    assert (await verifier(AUTH_TENANT_CLAIM="org").verify(good)).tenant_id == "globex"


async def test_without_settings_of_an_issuer_a_remote_token_is_refused() -> None:
    with pytest.raises(TokenError) as refused:
        await verifier(AUTH_ISSUER="").verify(token())
    assert refused.value.reason == "bad_algorithm"


async def test_an_algorithm_that_the_settings_leave_out_is_refused() -> None:
    with pytest.raises(TokenError) as refused:
        await verifier(AUTH_ALGORITHMS=["ES256"]).verify(token())
    assert refused.value.reason == "bad_algorithm"


MALFORMED = {
    "nothing": ("", "malformed"),
    "no segments": ("abc", "malformed"),
    "two segments": (token().rpartition(".")[0], "malformed"),
    "four segments": (token() + ".abc", "malformed"),
    "empty header": ("." + token().partition(".")[2], "malformed"),
    "empty claims": (token().split(".")[0] + ".." + token().split(".")[2], "malformed"),
    "empty signature": (token().rpartition(".")[0] + ".", "malformed"),
    "only dots": ("..", "malformed"),
    "five segments, encrypted": (".".join(["abc"] * 5), "malformed"),
    "a space before": (" " + token(), "malformed"),
    "a line break after": (token() + "\n", "malformed"),
    "a NUL after": (token() + "\0", "malformed"),
    "a letter beyond ASCII": (token()[:-1] + "é", "malformed"),
    "a lone surrogate": (token()[:-1] + "\udcff", "malformed"),
    "full-width letters": ("\uff41" + token()[1:], "malformed"),
    "padded": (token() + "==", "malformed"),
    "base64 of the other alphabet": (token()[:-2] + "+/", "malformed"),
    "a segment of one letter": (token().rpartition(".")[0] + ".A", "malformed_base64"),
    "spare bits set": (respelt_base64(token()), "malformed_base64"),
    "as long as allowed": ("a" * MAX_LENGTH, "malformed"),
    "longer than allowed": ("a" * (MAX_LENGTH + 1), "too_long"),
    "header that is no JSON": (token(b"alg=RS256"), "malformed_json"),
    "header that is a list": (token(b'["RS256"]'), "malformed_json"),
    "header that is null": (token(b"null"), "malformed_json"),
    "header with a comment": (token(b'{"alg":"RS256"} // yes'), "malformed_json"),
    "claims that are a string": (token(body=b'"alice"'), "malformed_json"),
    "claims that are a number": (token(body=b"1"), "malformed_json"),
    "claims in UTF-16": (token(body=json.dumps(claims()).encode("utf-16")), "malformed_json"),
    "claims with a byte-order mark": (
        token(body=b"\xef\xbb\xbf" + json.dumps(claims()).encode()),
        "malformed_json",
    ),
    "claims in bad UTF-8": (
        token(body=json.dumps(claims()).encode().replace(b"alice", b"\xff")),
        "malformed_json",
    ),
    "NaN": (with_claims_text('"exp": 1800003600', '"exp": NaN'), "malformed_json"),
    "Infinity": (with_claims_text('"exp": 1800003600', '"exp": Infinity'), "malformed_json"),
    "-Infinity": (with_claims_text('"iat": 1800000000', '"iat": -Infinity'), "malformed_json"),
    "a number of 5,000 digits": (
        with_claims_text('"exp": 1800003600', '"exp": ' + "9" * 5000),
        "malformed_json",
    ),
    "deep lists": (token(body=b"[" * 5500), "malformed_json"),
    "deep objects": (token(body=b'{"a":' * 1100), "malformed_json"),
    "deep header": (token(b'{"kid":' * 700), "malformed_json"),
    "two subjects": (with_claims_text('"sub"', '"sub": "root", "sub"'), "duplicate_member"),
    "two tenants": (
        with_claims_text('"tenant_id"', '"tenant_id": "globex", "tenant_id"'),
        "duplicate_member",
    ),
    "two names spelt differently": (
        with_claims_text('"sub"', '"s\\u0075b": "root", "sub"'),
        "duplicate_member",
    ),
    "two members below": (
        with_claims_text('"sub"', '"x": {"a": 1, "a": 2}, "sub"'),
        "duplicate_member",
    ),
    "two algorithms": (
        token(b'{"alg":"none","alg":"RS256","typ":"JWT","kid":"rsa"}'),
        "duplicate_member",
    ),
}

HEADERS = {
    "no algorithm": (with_header(alg=...), "bad_algorithm"),
    "algorithm none": (token(header(alg="none"), sign=lambda _: b"x"), "bad_algorithm"),
    "algorithm None": (token(header(alg="None"), sign=lambda _: b"x"), "bad_algorithm"),
    "HS256 with the public key as its secret": (
        token(header(alg="HS256"), sign=hs256_with_the_public_key),
        "bad_algorithm",
    ),
    "algorithm in lower case": (with_header(alg="rs256"), "bad_algorithm"),
    "algorithm not in the settings": (with_header(alg="RS512"), "bad_algorithm"),
    "algorithm PS256": (with_header(alg="PS256"), "bad_algorithm"),
    "algorithm for encryption": (with_header(alg="RSA-OAEP"), "bad_algorithm"),
    "algorithm that is a list": (with_header(alg=["RS256"]), "bad_algorithm"),
    "algorithm that is null": (with_header(alg=None), "bad_algorithm"),
    "no type": (with_header(typ=...), "bad_type"),
    "type of a logout token": (with_header(typ="logout+jwt"), "bad_type"),
    "type of a security event": (with_header(typ="secevent+jwt"), "bad_type"),
    "type that is a number": (with_header(typ=1), "bad_type"),
    "type with a line break": (with_header(typ="JWT\n"), "bad_type"),
    "no key id": (with_header(kid=...), "bad_key_id"),
    "key id that is empty": (with_header(kid=""), "bad_key_id"),
    "key id that is a list": (with_header(kid=["rsa"]), "bad_key_id"),
    "key id that is a path, 300 long": (with_header(kid="../" * 100), "bad_key_id"),
    "key id that is unknown": (with_header(kid="other"), "unknown_key"),
    "key id that begins like ours": (with_header(kid="rsa "), "unknown_key"),
    "key id of the other kind of key": (with_header(kid="ec"), "unknown_key"),
    "algorithm of the other kind of key": (
        token(header(alg="ES256"), sign=es256),
        "unknown_key",
    ),
    "crit": (with_header(crit=["exp"]), "unexpected_header"),
    "crit that is empty": (with_header(crit=[]), "unexpected_header"),
    "b64 false": (with_header(b64=False, crit=["b64"]), "unexpected_header"),
    "b64 false without crit": (with_header(b64=False), "unexpected_header"),
    "a key of its own": (with_header(jwk=rsa_jwk(rsa_key("a stranger's"))), "unexpected_header"),
    "a certificate of its own": (with_header(x5c=["MIIB"]), "unexpected_header"),
    "a place for its keys": (with_header(jku="https://evil.test/keys"), "unexpected_header"),
    "a place for its certificate": (with_header(x5u="https://evil.test/"), "unexpected_header"),
    "a certificate's thumbprint": (with_header(x5t="abc"), "unexpected_header"),
    "a content type": (with_header(cty="JWT"), "unexpected_header"),
    "compression": (with_header(zip="DEF"), "unexpected_header"),
    "encryption": (with_header(enc="A256GCM"), "unexpected_header"),
    "an empty header": (token(head={}), "bad_algorithm"),
}

SIGNATURES = {
    "signed by a stranger": (
        token(sign=lambda signed: rs256(signed, rsa_key("a stranger's"))),
        "bad_signature",
    ),
    "signed by a stranger, ES256": (
        token(header(alg="ES256", kid="ec"), sign=lambda it: es256(it, ec_key("a stranger's"))),
        "bad_signature",
    ),
    "signature of another token": (
        token().rpartition(".")[0] + "." + with_claims(sub="bob").rpartition(".")[2],
        "bad_signature",
    ),
    "claims of another token": (
        ".".join([token().split(".")[0], b64(json.dumps(claims(sub="root")).encode())])
        + "."
        + token().rpartition(".")[2],
        "bad_signature",
    ),
    "signature of one byte": (token(sign=lambda _: b"x"), "bad_signature"),
    "signature of zeros": (token(sign=lambda _: bytes(256)), "bad_signature"),
    "signature too long": (token(sign=lambda it: rs256(it) + b"x"), "bad_signature"),
    "ES256 of zeros": (
        token(header(alg="ES256", kid="ec"), sign=lambda _: bytes(64)),
        "bad_signature",
    ),
    "ES256 with a byte too many": (
        token(header(alg="ES256", kid="ec"), sign=lambda it: es256(it) + b"x"),
        "bad_signature",
    ),
    "ES256 in DER": (
        token(
            header(alg="ES256", kid="ec"),
            sign=lambda it: ec_key().sign(it, ec.ECDSA(hashes.SHA256())),
        ),
        "bad_signature",
    ),
    "RS512 that says RS256": (
        token(sign=lambda it: rsa_key().sign(it, padding.PKCS1v15(), hashes.SHA512())),
        "bad_signature",
    ),
    "PS256 that says RS256": (
        token(
            sign=lambda it: rsa_key().sign(
                it, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()
            )
        ),
        "bad_signature",
    ),
}

TIMES = {
    "no end": (with_claims(exp=...), "expired"),
    "ended": (with_claims(exp=NOW - SKEW), "expired"),
    "ended in 1970": (with_claims(iat=..., exp=0), "expired"),
    "an end that is null": (with_claims(exp=None), "bad_time"),
    "an end that is a string": (with_claims(exp=str(NOW + 60)), "bad_time"),
    "an end that is a float": (with_claims(exp=NOW + 60.0), "bad_time"),
    "an end that is true": (with_claims(exp=True), "bad_time"),
    "an end that is a list": (with_claims(exp=[NOW + 60]), "bad_time"),
    "an end before time": (with_claims(exp=-1), "bad_time"),
    "an end of 300 digits": (with_claims(exp=10**300), "bad_time"),
    "an end beyond floats": (with_claims_text("1800003600", "1e999"), "bad_time"),
    "an end in milliseconds": (with_claims(exp=(NOW + 60) * 1000), "lives_too_long"),
    "a life too long": (with_claims(exp=NOW + MAX_LIFETIME + SKEW + 1), "lives_too_long"),
    "a life too long, begun long ago": (
        with_claims(iat=NOW - MAX_LIFETIME, exp=NOW + SKEW + 1),
        "lives_too_long",
    ),
    "a life too long, without a beginning": (
        with_claims(iat=..., exp=NOW + MAX_LIFETIME + SKEW + 1),
        "lives_too_long",
    ),
    "issued ahead": (with_claims(iat=NOW + SKEW + 1), "not_yet_valid"),
    "issued at a string": (with_claims(iat=str(NOW)), "bad_time"),
    "issued at null": (with_claims(iat=None), "bad_time"),
    "issued at false": (with_claims(iat=False), "bad_time"),
    "not yet": (with_claims(nbf=NOW + SKEW + 1), "not_yet_valid"),
    "not before a float": (with_claims(nbf=NOW + 0.5), "bad_time"),
    "not before 300 digits": (with_claims(nbf=10**300), "bad_time"),
}

WHO = {
    "no issuer": (with_claims(iss=...), "bad_issuer"),
    "another issuer": (with_claims(iss="https://evil.test"), "bad_issuer"),
    "our issuer with a slash": (with_claims(iss=ISSUER + "/"), "bad_issuer"),
    "our issuer in upper case": (with_claims(iss=ISSUER.upper()), "bad_issuer"),
    "our issuer in a list": (with_claims(iss=[ISSUER]), "bad_issuer"),
    "the local issuer": (with_claims(iss="urn:local-issuer"), "bad_issuer"),
    "no audience": (with_claims(aud=...), "bad_audience"),
    "another audience": (with_claims(aud="other"), "bad_audience"),
    "part of our audience": (with_claims(aud="ap"), "bad_audience"),
    "more than our audience": (with_claims(aud="api2"), "bad_audience"),
    "our audience in upper case": (with_claims(aud="API"), "bad_audience"),
    "no audience in a list": (with_claims(aud=[]), "bad_audience"),
    "audiences of two kinds": (with_claims(aud=["api", 1]), "bad_audience"),
    "an audience in a list in a list": (with_claims(aud=[["api"]]), "bad_audience"),
    "an audience that is an object": (with_claims(aud={"api": True}), "bad_audience"),
    "an audience that is true": (with_claims(aud=True), "bad_audience"),
    "an ID token": (with_claims(nonce="n"), "id_token"),
    "an ID token with a token's hash": (with_claims(at_hash="h"), "id_token"),
    "an ID token with a code's hash": (with_claims(c_hash="h"), "id_token"),
    "an ID token whose nonce is null": (with_claims(nonce=None), "id_token"),
    "no subject": (with_claims(sub=...), "bad_subject"),
    "a subject that is empty": (with_claims(sub=""), "bad_subject"),
    "a subject that is null": (with_claims(sub=None), "bad_subject"),
    "a subject that is a number": (with_claims(sub=42), "bad_subject"),
    "a subject that is a list": (with_claims(sub=["alice"]), "bad_subject"),
    "a subject too long": (with_claims(sub="s" * 256), "bad_subject"),
    "a subject with a line break": (with_claims(sub="alice\nroot"), "bad_subject"),
    "a subject with NUL": (with_claims(sub="alice\0"), "bad_subject"),
    "a subject of zero width": (with_claims(sub="alice\u200b"), "bad_subject"),
    "a subject that turns the text around": (with_claims(sub="\u202eecila"), "bad_subject"),
    "a subject with a lone surrogate": (with_claims(sub="alice\ud800"), "bad_subject"),
    "a name that is a list": (with_claims(name=["Alice"]), "bad_name"),
    "a name with a line break": (with_claims(name="Alice\nRoot"), "bad_name"),
    "an address that is an object": (with_claims(email={"a": 1}), "bad_email"),
    "an address too long": (with_claims(email="a" * 256), "bad_email"),
}

TENANTS = {
    "no tenant": ...,
    "null": None,
    "empty": "",
    "a list": ["acme"],
    "a number": 7,
    "true": True,
    "an object": {"id": "acme"},
    "NUL": "acme\0",
    "zero width": "ac\u200bme",
    "upper case": "Acme",
    "a trailing line break": "acme\n",
    "a leading space": " acme",
    "two": "acme,globex",
    "a path": "acme/../globex",
    "a percent sign": "ac%6de",
    "a quote": "acme'--",
    "a leading dash": "-acme",
    "a leading digit": "1acme",
    "an underscore": "ac_me",
    "a Cyrillic letter": "\u0430cme",
    "full-width letters": "\uff41cme",
    "an Arabic digit": "acme\u0661",
    "one letter": "a",
    "64 letters": "a" * 64,
    "a wildcard": "*",
}

SCOPES: dict[str, object] = {
    "null": None,
    "a list": ["tenants:admin"],
    "an object": {"tenants:admin": True},
    "true": True,
    "two spaces": "read  write",
    "a space before": " read",
    "a space after": "read ",
    "a tab between": "read\twrite",
    "a line break": "read\nwrite",
    "a quote": 'read "write"',
    "a backslash": "read\\write",
    "NUL": "read\0",
    "beyond ASCII": "r\u00e9ad",
}

BAD = {
    **{f"form: {name}": case for name, case in MALFORMED.items()},
    **{f"header: {name}": case for name, case in HEADERS.items()},
    **{f"signature: {name}": case for name, case in SIGNATURES.items()},
    **{f"time: {name}": case for name, case in TIMES.items()},
    **{f"who: {name}": case for name, case in WHO.items()},
    **{
        f"tenant: {name}": (with_claims(tenant_id=bad), "bad_tenant")
        for name, bad in TENANTS.items()
    },
    **{f"scope: {name}": (with_claims(scope=bad), "bad_scope") for name, bad in SCOPES.items()},
}


@pytest.mark.parametrize(("hostile", "reason"), BAD.values(), ids=BAD)
async def test_every_other_token_is_refused(hostile: str, reason: str) -> None:
    with pytest.raises(TokenError) as refused:
        await verifier().verify(hostile)
    assert refused.value.reason == reason


async def test_6_mib_are_refused_however_well_signed() -> None:
    with pytest.raises(TokenError) as refused:
        await verifier().verify(with_claims(filler="x" * 6 * 2**20))
    assert refused.value.reason == "too_long"


async def test_no_letter_of_a_token_can_be_changed_added_or_left_out() -> None:
    good = token(header(alg="ES256", kid="ec"), sign=es256)
    subject = verifier()
    for place, letter in enumerate(good):
        other = "A" if letter != "A" else "B"
        for changed in (other, letter + other, ""):
            with pytest.raises(TokenError):
                await subject.verify(good[:place] + changed + good[place + 1 :])


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
}


@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT)
async def test_a_key_that_is_not_fit_verifies_nothing(unfit: Jwk) -> None:
    with pytest.raises(TokenError) as refused:
        await verifier(unfit).verify(token())
    assert refused.value.reason == "unknown_key"


async def test_an_rsa_key_of_1024_bits_verifies_nothing() -> None:
    small = rsa_key("small", 1024)
    forged = token(sign=lambda signed: rs256(signed, small))
    with pytest.raises(TokenError) as refused:
        await verifier(rsa_jwk(small)).verify(forged)
    assert refused.value.reason == "unknown_key"


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
    with pytest.raises(TokenError) as refused:
        await verifier(unfit).verify(token(header(alg="ES256", kid="ec"), sign=es256))
    assert refused.value.reason == "unknown_key"


async def test_a_key_on_another_curve_verifies_nothing() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    point = other.public_key().public_numbers()
    x, y = b64(point.x.to_bytes(48)), b64(point.y.to_bytes(48))
    member: Jwk = {"kty": "EC", "crv": "P-384", "kid": "ec", "x": x, "y": y}

    def sign(signed: bytes) -> bytes:
        r, s = decode_dss_signature(other.sign(signed, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(48) + s.to_bytes(48)

    with pytest.raises(TokenError) as refused:
        await verifier(member).verify(token(header(alg="ES256", kid="ec"), sign=sign))
    assert refused.value.reason == "unknown_key"


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
