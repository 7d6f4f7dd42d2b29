"""How texts and structures are gone through: what is looked at, what is remembered, what is told."""

import random
import re
import string
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.privacy import Redaction, explain, scrub, scrub_string, text, walk
from app.privacy.text import suspects

EMAIL = "jane.doe@example.org"
PRIVATE = [f"{number} {EMAIL}" for number in range(50)]
HARMLESS = [f"order {number} done" for number in range(50)]


@pytest.fixture(autouse=True)
def _forget() -> None:
    text.known_clean.clear()
    walk._scrubbed.clear()


def test_what_is_known_to_hold_nothing_private_is_returned_itself() -> None:
    event = {"message": "all done", "frames": [{"lineno": 3, "vars": {"limit": 7, "at": None}}]}
    assert scrub(event) == event
    assert scrub(event) is event


def test_only_what_leads_to_something_private_is_copied() -> None:
    harmless = {"message": "done"}
    event = {"harmless": harmless, "private": {"note": EMAIL}}
    scrubbed = scrub(event)
    assert scrubbed == {"harmless": harmless, "private": {"note": "[EMAIL]"}}
    assert isinstance(scrubbed, dict)
    assert scrubbed["harmless"] is harmless
    assert event["private"] == {"note": EMAIL}


@pytest.mark.parametrize("most", [1, 2, 49, 4096])
def test_what_is_remembered_never_lets_out_what_is_private(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memories are emptied when they are full, also in the middle of a structure."""
    monkeypatch.setattr(walk, "_MOST_KEPT", most)
    monkeypatch.setattr(walk, "_MOST_KEYS", most)
    monkeypatch.setattr(text, "_MOST_REMEMBERED", most)
    monkeypatch.setattr(text, "_MOST_FORMS", most)
    for _ in range(3):
        event = {f"note {each}": each for each in PRIVATE} | {"all": [*PRIVATE, *HARMLESS]}
        assert EMAIL not in str(scrub(event))


def test_threads_share_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_MOST_KEPT", 3)
    monkeypatch.setattr(text, "_MOST_REMEMBERED", 3)

    def leaks(seed: int) -> bool:
        texts = random.Random(seed).sample([*PRIVATE, *HARMLESS], 60)
        return any(EMAIL in str(scrub({"all": texts})) for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(leaks, range(40)))


def test_what_is_private_is_not_kept() -> None:
    scrub({"all": PRIVATE, "note": f"{EMAIL}, once"})
    kept = [*text.known_clean, *walk._scrubbed.values(), *walk._harmless_names]
    assert not any(EMAIL in each for each in kept)


def test_two_texts_of_one_hash_do_not_let_out_either() -> None:
    walk._scrubbed[hash(EMAIL)] = "[TOKEN]"
    assert scrub_string(EMAIL) == "[TOKEN]"


# A text whose form is ordinary is not searched, so no rule may find anything in it.

SOME_WORDS = (
    "password token key secret pin otp code Bearer Basic user name session is was for of tel phone "
    "call mobile iban card ssn passport order id total at from to the SELECT WHERE values input "
    "tax number steuer sin bsn cpf nhs nino pan licence plate hunter failed Error mysql http home"
)
WORDS = SOME_WORDS.split()
BETWEEN = [
    " ",
    " ",
    "  ",
    ": ",
    "=",
    ".",
    "-",
    "/",
    ", ",
    "(",
    ") ",
    "'",
    '"',
    "\n",
    "_",
    "",
    "://",
]


def _made_up(chance: random.Random) -> str:
    def piece() -> str:
        digits = "".join(chance.choices(string.digits, k=chance.choice((1, 2, 3, 4, 5, 6, 7, 9))))
        mixed = "".join(chance.choices(string.ascii_letters + string.digits + "_-", k=12))
        word = chance.choice(WORDS)
        return chance.choice((word, word.title(), word.upper(), digits, digits, mixed))

    return "".join(piece() + chance.choice(BETWEEN) for _ in range(chance.randrange(1, 7)))


def test_what_is_not_searched_holds_nothing_that_a_rule_finds() -> None:
    chance = random.Random(1)
    texts = [_made_up(chance) for _ in range(20_000)]
    ordinary = [each for each in texts if not suspects([each])]
    assert len(ordinary) > len(texts) / 5
    assert [each for each in ordinary if text._search(each, []) != each] == []


@pytest.mark.parametrize(
    "usual",
    [
        "order-12345 done in 678 ms",
        "app/projects/service.py",
        "    limit = min(limit, 100)",
        "2026-11-22T10:32:17.123456Z",
        "https://api.example.com/v1/orders/7165?page=8",
        "SELECT projects.id FROM projects WHERE projects.tenant_id = $1",
        "<app.billing.Service object at 0x7f44585caff6>",
        "python-httpx/0.28.1",
        "GET /api/v1/projects 200 in 12.5 ms",
    ],
)
def test_a_usual_text_is_told_by_its_form(usual: str) -> None:
    assert suspects([usual]) == set()


def test_a_text_with_the_separator_in_it_is_searched() -> None:
    assert scrub({"a": f"x\0{EMAIL}", "b": "\0", "c": EMAIL}) == {
        "a": "x\0[EMAIL]",
        "b": "\0",
        "c": "[EMAIL]",
    }


def test_each_redaction_tells_its_rule_and_its_place() -> None:
    event = {
        "user": {"password": "x", "note": f"{EMAIL} from 203.0.113.7"},
        "pairs": [["token", "y"], ["page", "2"]],
        EMAIL: 3,
        "json": '{"password": "z"}',
        "headers": [{"name": "password", "value": "v"}],
        "filename": "/home/jane/shop/app.py",
        "kept": ["as", "it", "is"],
    }
    assert explain(event) == [
        Redaction(("user", "password"), "name"),
        Redaction(("user", "note"), "email"),
        Redaction(("user", "note"), "ipv4"),
        Redaction(("pairs", 0, 1), "name"),
        Redaction(("[EMAIL]",), "email"),
        Redaction(("json",), "name"),
        Redaction(("headers", 0, "value"), "name"),
        Redaction(("filename",), "path"),
    ]
    assert explain(scrub(event)) == []
    assert explain("x", "password") == [Redaction((), "name")]


def test_a_long_text_is_told_to_be_cut() -> None:
    assert explain("word " * text.LONGEST) == [Redaction((), "cut")]


def test_what_is_made_to_be_searched_for_long_is_cut_short() -> None:
    hostile = "%40://a:b@c password=\\u0040 4111-1111 eyJ0.eyJ0 Cookie: a=b; Bearer 1a2b3c4d5e "
    scrubbed = scrub_string(hostile * 200)
    assert len(scrubbed) < 2 * text._LONGEST_UNSETTLED
    assert not re.search(r"1a2b3c4d5e", scrubbed)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["mysql", "--password", "hunter2", "shop"], ["mysql", "--password", "[Filtered]", "shop"]),
        (["curl", "-u", "jane:hunter2", "-s"], ["curl", "-u", "[Filtered]", "-s"]),
        (["run", "-u", "jane", "80:80"], ["run", "-u", "jane", "80:80"]),
        (["run", "--tokens", "7"], ["run", "--tokens", "[Filtered]"]),
        (["run", "-p", "80:80", "--max-tokens", "7"], ["run", "-p", "80:80", "--max-tokens", "7"]),
    ],
)
def test_an_option_of_a_command_line_hides_what_follows(words: list[str], left: list[str]) -> None:
    assert scrub(words) == left
    assert scrub(left) == left
