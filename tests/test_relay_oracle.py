"""Sentry's own engine is an oracle: what its rules remove, the generated service removes as well.

Relay scrubs on Sentry's side. Each of its rules masks what it finds here in generated texts, and
what it masked must not be in the same text as the service would send it. ORACLE_EXAMPLES=20000
makes as many texts, and new ones each time.
"""

import json
import os
import re
import string
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sentry_relay.processing import pii_strip_event

from bakery import ALL_CHOSEN, Bakery

EXAMPLES = int(os.environ.get("ORACLE_EXAMPLES", "0"))

thoroughly = settings(
    max_examples=EXAMPLES or 300,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# The rules of `@common` that look at texts, by their names in a configuration, and what each finds.
# `@mac`, `@imei` and `@uuid` are not in it: the last would take every id of a row or a request.
RULES = {
    "bearer": "Bearer abc123def456",
    "creditcard": "4111 1111 1111 1111",
    "email": "jane@planted-example.org",
    "iban": "DE89370400440532013000",
    "ip": "203.0.113.77",
    "pemkey": "-----BEGIN EC PRIVATE KEY-----\nMIIEow\n-----END EC PRIVATE KEY-----",
    "url_auth": "https://jane:hunter2@planted-example.org",
    "us_ssn": "078-05-1120",
    "userpath": "/home/jane/x",
}


def matches(pattern: str) -> Callable[[str], bool]:
    return lambda found: re.fullmatch(pattern, found) is not None


def is_no_card(found: str) -> bool:
    number = re.sub(r"\D", "", found)
    grouped = re.fullmatch(r"\d+|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{4,5}", found)
    return grouped is None or luhn(number[:-1]) != number


def tells_of_nobody(found: str) -> bool:
    with suppress(ValueError):
        address = ip_address(found)
        return address.is_unspecified or address.is_loopback or found.lower() == "::ffff"
    return False


# What Relay removes and the service keeps: the rule, what it is in the text, and why it may stay.
KEPT_TEXTS: list[tuple[str, Callable[[str], bool], str]] = [
    (
        "bearer",
        matches(r"(?is)bearer\s+([\w.=+/~:%-]{0,7}|[a-z.=+/~:%_-]{1,23})([^\w.=+/~:%-].*)?"),
        "a word as in `the bearer of bad news`; a token has eight characters, not letters or signs alone",
    ),
    ("creditcard", is_no_card, "a wrong check digit, or the groups of several numbers"),
    ("ip", tells_of_nobody, "the machine itself, any, or the prefix of a mapped address"),
    ("us_ssn", matches(r"(000|666|9..).*|....00.*|.*0000"), "such a number is never given out"),
]
# Names whose value Relay removes and the service keeps, and why it may stay.
KEPT_NAMES: list[tuple[str, str]] = [
    (r"(?i)(count|expires|type|url)$", "how many, until when, of which kind, where: not what"),
    (
        r"(?i)(key|passwd|password|secret|token)[_.-]?name$",
        "what a secret is called: `secret_name` is none",
    ),
    (
        r"(?i)^(?!.*(api.?key|authoriz|credent|otp|pass|private|pwd|secret|token|factor)).*auth.",
        "`auth` before another word tells the subject: `auth_user`; as the last word it is hidden",
    ),
]

REPLACEMENT = re.compile(r"\[(?:EMAIL|IP|CARD|IBAN|SSN|PHONE|TOKEN|KEY|Filtered)\]")

Scrub = Callable[[object], object]


@pytest.fixture(scope="module")
def scrub(bakery: Bakery) -> Iterator[Scrub]:
    """The service's filter, which needs nothing but the standard library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(bakery.project(ALL_CHOSEN) / "backend")
        yield import_module("app.privacy").scrub


def relay(applications: dict[str, list[str]], data: dict[str, object]) -> dict[str, object]:
    """Let Relay scrub data; what its rules find in a text becomes as many asterisks."""
    rules = {rule: {"type": rule, "redaction": {"method": "mask"}} for rule in RULES}
    config = {"rules": rules, "applications": applications}
    answer: dict[str, object] = pii_strip_event(config, {"extra": data})
    return answer


def found_by_relay(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield each find: the name of the rule, what it found, and the text without it."""
    applications = {f"extra.{rule}": [rule] for rule in RULES}
    answer = relay(applications, dict.fromkeys(RULES, text))
    match answer:
        case {"extra": dict() as rests, "_meta": {"extra": dict() as meta}}:
            for rule, remarks in meta.items():
                rest: str = rests[rule]  # as long as the text, but not in the bytes that it counts
                for _, _, *ends in remarks[""]["rem"]:
                    start, end = (len(rest.encode()[:each].decode()) for each in ends)
                    yield rule, text[start:end], rest


def luhn(digits: str) -> str:
    """Append the check digit of a card or a device (ISO/IEC 7812-1)."""
    doubled = [int(d) * (2 - i % 2) for i, d in enumerate(reversed(digits))]
    return digits + str(-sum(sum(divmod(d, 10)) for d in doubled) % 10)


def iban(country: str, account: str) -> str:
    """Put the check digits before an account (ISO 13616)."""
    number = int("".join(str(int(char, 36)) for char in f"{account}{country}00"))
    return f"{country}{98 - number % 97:02}{account}"


def spaced(text: str, sign: str, size: int = 4) -> str:
    return sign.join(text[start : start + size] for start in range(0, len(text), size))


def digits(least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(string.digits, min_size=least, max_size=most)


CANARY = "qzvxjkwq"
HOMES = ["/home/", "/Users/", "C:\\Users\\", "c:\\Documents and Settings\\"]
PEM = "-----BEGIN {0}PRIVATE KEY-----\n{1}\n-----END {0}PRIVATE KEY-----"
GLUE = [" ", " ", ", ", "=", ": ", "(", ")", "[", "]", "'", '"', "\n", "\t", ";", "<", ">", "|"]
WORDS = [
    *("password", "secret", "passwd", "api-key", "api_key", "apikey", "auth", "credentials", "otp"),
    *("mysql_pwd", "privatekey", "private_key", "token", "two-factor", "two_factor", "user", "id"),
    *("count", "type", "my", "db", "url", "name", "authorization", "x", "new", "hash", "expires"),
]


def camel_case(words: list[str]) -> str:
    return words[0] + "".join(map(str.title, words[1:]))


token = st.text(string.ascii_letters + string.digits + "-._~+/=", min_size=1, max_size=40)
word = st.text(string.ascii_letters, min_size=1, max_size=10)
cards = st.builds(
    str.__add__,
    st.sampled_from(["4", "51", "2221", "34", "37", "6011", "3530", "36"]),
    digits(8, 14),
).map(luhn)
ibans = st.one_of(
    st.builds(iban, st.just("DE"), digits(18, 18)),
    st.builds(iban, st.just("GB"), st.from_regex(r"[A-Z]{4}[0-9]{14}", fullmatch=True)),
    st.builds(iban, st.just("NO"), digits(11, 11)),
    st.builds(iban, st.just("FR"), st.from_regex(r"[0-9]{10}[0-9A-Z]{11}[0-9]{2}", fullmatch=True)),
    st.builds(iban, st.just("MT"), st.from_regex(r"[A-Z]{4}[0-9]{5}[0-9A-Z]{18}", fullmatch=True)),
)
bearers = st.sampled_from(["Bearer", "bearer", "BEARER"])
private = st.one_of(
    st.emails(),
    st.builds("{}@{}.{}".format, token, word, word),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    st.ip_addresses(v=4).map("::ffff:{}".format),
    cards,
    st.builds(spaced, cards, st.sampled_from([" ", "-"])),
    ibans,
    ibans.map(str.lower),
    st.builds(spaced, ibans, st.sampled_from([" ", "-"])),
    st.from_regex(r"[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}", fullmatch=True),
    st.builds("{}://{}:{}@{}/x".format, word, token, token, word),
    st.builds("{}{} {}".format, st.sampled_from(["", "Authorization: "]), bearers, token),
    st.builds("{}{}/{}".format, st.sampled_from(HOMES), word, word),
    st.builds(PEM.format, st.sampled_from(["RSA ", "EC ", ""]), token),
)
glue = st.sampled_from(GLUE)
parts = st.tuples(glue, st.one_of(private, private, word, st.text(max_size=4))).map("".join)
texts = st.builds(str.__add__, st.lists(parts, min_size=1, max_size=5).map("".join), glue)
field_names = st.builds(
    lambda words, spell: spell(words),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    st.sampled_from(["_".join, "-".join, ".".join, camel_case]),
)


def test_relay_finds_what_each_of_its_rules_is_for() -> None:
    for rule, text in RULES.items():
        assert rule in {each for each, _, _ in found_by_relay(f"in {text} here")}


@given(text=texts)
@thoroughly
def test_what_relay_finds_in_a_text_does_not_pass(scrub: Scrub, text: str) -> None:
    ours = REPLACEMENT.sub("", str(scrub(text)))
    for rule, found, rest in found_by_relay(text):
        if not any(rule == kept and form(found) for kept, form, _ in KEPT_TEXTS):
            assert ours.count(found) <= rest.count(found), (rule, found, ours)


@given(name=field_names)
@thoroughly
def test_what_relay_hides_by_its_name_does_not_pass(scrub: Scrub, name: str) -> None:
    answer = relay({"$string": ["@password"]}, {name: CANARY})
    if CANARY not in json.dumps(answer) and not any(re.search(f, name) for f, _ in KEPT_NAMES):
        assert CANARY not in str(scrub({name: CANARY})), name
