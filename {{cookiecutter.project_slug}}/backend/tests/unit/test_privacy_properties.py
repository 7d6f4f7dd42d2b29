"""What holds of the PII filter for any input: generated texts and structures, also hostile ones.

A run makes the same few examples each time. PROPERTY_EXAMPLES=20000 makes as many, and new ones.
"""

import json
import math
import os
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.privacy import scrub, scrub_string

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))

thoroughly = settings(
    max_examples=EXAMPLES or 100,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
often = settings(thoroughly, max_examples=EXAMPLES or 500)  # a text takes little time

# Recognisable by nothing but its name, and so by no rule for a shape.
CANARY = "qzvxjkwq"

SENSITIVE_NAMES = [
    *("password", "api_key", "apiKey", "X-Api-Key", "access.token", "Authorization"),
    *("client-secret", "SESSION_ID", "credit_card", "пароль", "contraseña", "dbPass", "cookie"),
    "private_key",
]
HARMLESS_NAMES = [
    *("note", "count", "token_count", "max_tokens", "items", "a", "user_id", "has_token"),
]
HARMLESS_WORDS = [
    "order",
    "failed, retrying in",
    "GET /api/v1/orders/{order_id}/pay ->",
    "token_count:",
    "SELECT projects.id FROM projects WHERE projects.tenant_id = $1 LIMIT",
    "ValueError: https://docs.example.com:8443/errors/E1001?page=2",
    "std::vector::at",
    "app.auth.verifier: connect to 127.0.0.1:5432 took [ms]",
    "max_tokens=4096, status=ok, has_password: true, café",
]
REPLACEMENTS = [
    *("[EMAIL]", "[IP]", "[CARD]", "[IBAN]", "[SSN]", "[PHONE]", "[TOKEN]", "[KEY]", "[Filtered]"),
    *("[…]", "…[cut]…", "~"),
]
SIGNS = [
    *(" ", "  ", "\n", "\t", "=", ":", ": ", " = ", "=>", ":=", "::", "==", "&", "?", ";", ","),
    *(", ", "'", '"', '\\"', "\\'", "\\\\", "\\", "`", "(", ")", "[", "]", "{", "}", "<", ">"),
    *("</", "/>", "%", "%25", "%3D", "%3A", "%22", "%40", "%20", "%2525", "\\u003d", "+", "-"),
    *("--", "_", ".", "/", "//", "://", "@", "#", "|", "~", "\x00", "\ufeff", "\u200b", "\u2028"),
    *("\uff20", "\uff1d"),
]
# Fake, and put together here where a scanner would take one for a real one.
SHAPES = [
    *("jane.doe@planted-example.org", '"jane doe"@planted-example.org', "203.0.113.77", "10.1.2.3"),
    *("2001:db8::17", "::ffff:203.0.113.80", "fe80::1%eth0", "4111 1111 1111 1111"),
    *("378282246310005", "DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "078-05-1120"),
    *("+4915112345678", "(415) 555-2671", "tel 030 1234567", "Bearer abc123def456"),
    *("Basic dXNlcjpzM2NyM3Q=", "eyJhbGciOiJub25lIn0" + ".eyJzdWIiOiJqYW5lIn0" + ".c2ln"),
    *("ghp_" + "16C7e42F292c6912E7710c83", "AKIA" + "IOSFODNN7EXAMPLE"),
    *("sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "xoxb-" + "1234567890-ab"),
    *("postgres://svc:pgP4ss@db.int:5432/app", "https://u:p@host/x?code=abcdefgh"),
    *("user:pw@host:80", "/home/jane/x.txt", "C:\\Users\\jane\\x.txt", "\\\\files\\jane\\x.doc"),
    *("~/x", "/var/lib/a b", "-----BEGIN RSA " + "PRIVATE KEY-----"),
    *("-----END RSA " + "PRIVATE KEY-----", "MIIEow", "Key (email)=(jane) already exists."),
    *("row contains (a, b)", "[parameters: ('Jane', 'x')]", "input_value='jane', input_type=str"),
    *("VALUES ('bob', 'hunter2')", "Digest username=jane", "<password>x</password>"),
    *("dXNlcjpwYXNzd29yZD1CNjRTZWNyZXQx", "curl -u jane:x", "mysql -px"),
    *("verification code is 123456", "ee6857e6249244c1a518010c1bfd1c96", "version 1.2.3.4"),
    *("1.2.3.4", "hooks.slack.com/services/T0/B0/x", "2026-11-21T23:41:57.123456Z"),
    *("Cookie: a=b; c=d", "eyJ"),
]

sensitive_names = st.sampled_from(SENSITIVE_NAMES)
names = st.sampled_from(SENSITIVE_NAMES + HARMLESS_NAMES)
pieces = st.one_of(
    st.sampled_from(SIGNS),
    st.sampled_from(SHAPES),
    st.sampled_from(REPLACEMENTS),
    names,
    st.sampled_from(
        ["null", "None", "true", "hunter2", "Bearer", "Basic", "password is", "1", "a"]
    ),
    st.text(max_size=6),
    st.from_regex(r"[A-Za-z0-9+/=_-]{1,24}", fullmatch=True),
)
texts = st.one_of(
    st.lists(st.sampled_from(SHAPES), min_size=2, max_size=3).map("".join),
    st.lists(pieces, max_size=12).map("".join),
    st.lists(pieces, max_size=5).map("".join).map(json.dumps),
    st.text(alphabet="pasword=: \"'\\[]{}()@.%25&<>/-1aE", max_size=60),
    st.text(max_size=60),
)
plain_leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, st.sampled_from(SHAPES)
)
plain = st.recursive(
    plain_leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(names, texts), inner, max_size=4),
        st.tuples(names, inner).map(list),
        st.fixed_dictionaries({"name": names, "value": inner}),
    ),
    max_leaves=12,
)


class Mute:
    """An object that fails to say what it is."""

    def __repr__(self) -> str:
        raise RuntimeError(CANARY)


any_leaves = st.one_of(
    plain_leaves,
    st.binary(max_size=20),
    st.text(alphabet=st.characters(), max_size=10),  # lone surrogates too
    st.decimals(),
    st.complex_numbers(),
    st.fractions(),
    st.datetimes(),
    st.uuids(),
    st.timedeltas(),
    st.frozensets(st.one_of(st.integers(), st.text(max_size=5)), max_size=3),
    st.builds(Mute),
    st.builds(pow, st.just(-10), st.just(5001)),  # more digits than Python writes out
    st.builds(ValueError, texts),
    st.sampled_from(
        [
            Decimal("sNaN"),
            Decimal("1e999999"),
            math.nan,
            math.inf,
            object,
            len,
            "\ud800",
            b"\xff\xfe",
            bytearray(b"password=x"),
            memoryview(b"password=x"),
            range(3),
        ]
    ),
)
any_keys = st.one_of(
    names,
    texts,
    st.binary(max_size=8),
    st.integers(),
    st.none(),
    st.floats(),
    st.builds(pow, st.just(10), st.just(5000)),
)
anything = st.recursive(
    any_leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(any_keys, inner, max_size=4),
    ),
    max_leaves=10,
)


# What a service writes into its messages all day: a word, and what it is about.
harmless_values = st.one_of(
    st.uuids(version=4).map(str),
    st.uuids(version=4).map(lambda made: made.hex),
    st.integers(0, 99_999).map(str),
    st.decimals(0, 9999, places=2).map(str),
    st.integers(0, 2**31).map(lambda seconds: datetime.fromtimestamp(seconds, UTC).isoformat()),
)
harmless = st.lists(
    st.builds("{} {}".format, st.sampled_from(HARMLESS_WORDS), harmless_values),
    min_size=1,
    max_size=4,
).map(" ".join)


def holding(value: object, name: str, around: object) -> list[object]:
    """Return structures that hold a value under a name, each in the way of some library."""
    return [
        {name: value, "note": around},
        [around, {"deeper": [{name: [value, around]}]}],
        [[name, value], around],
        {"headers": [(name, value)], "note": around},
        {"name": name, "value": value},
        {name: {"a": {"b": value}}},
    ]


@given(text=texts)
@often
def test_scrubbing_a_text_twice_is_scrubbing_it_once(text: str) -> None:
    once = scrub_string(text)
    assert scrub_string(once) == once


@given(data=plain)
@thoroughly
def test_scrubbing_plain_data_twice_is_scrubbing_it_once(data: object) -> None:
    once = scrub(data)
    assert repr(scrub(once)) == repr(once)


@given(data=plain)
@thoroughly
def test_json_stays_json_and_the_input_stays_as_it_was(data: object) -> None:
    before = repr(data)
    json.dumps(scrub(data))
    assert repr(data) == before


@given(data=anything, name=any_keys)
@thoroughly
def test_nothing_makes_it_fail(data: object, name: object) -> None:
    cycle: list[object] = [data]
    cycle.append({"again": cycle, "once more": (cycle, data)})
    scrub(cycle, str(name)[:40] if isinstance(name, str) else "")
    scrub({name: data})


@given(levels=st.integers(1, 3000), inner=plain)
@thoroughly
def test_no_depth_makes_it_fail(levels: int, inner: object) -> None:
    data: object = {"password": CANARY, "note": inner}
    for level in range(levels):
        data = [data] if level % 2 else {"n": data}
    assert CANARY not in repr(scrub(data))


@given(name=sensitive_names, around=plain, data=st.data())
@thoroughly
def test_what_stands_under_a_sensitive_name_never_survives(
    name: str, around: object, data: st.DataObject
) -> None:
    structure = data.draw(st.sampled_from(holding(CANARY, name, around)))
    assert CANARY not in repr(scrub(structure))
    # The same, when somebody has written it as JSON into a text.
    assert CANARY not in scrub_string(json.dumps(structure))


@given(before=texts, name=sensitive_names, sign=st.sampled_from(["=", ": ", ":", " = "]))
@often
def test_what_a_text_says_under_a_sensitive_name_never_survives(
    before: str, name: str, sign: str
) -> None:
    for gap in (" ", "\n", "&", ", "):
        assert CANARY not in scrub_string(f"{before}{gap}{name}{sign}{CANARY}")


@given(text=harmless)
@often
def test_what_is_known_to_be_harmless_survives(text: str) -> None:
    assert scrub_string(text) == text
    assert scrub({"note": [text, {"message": text}]}) == {"note": [text, {"message": text}]}
