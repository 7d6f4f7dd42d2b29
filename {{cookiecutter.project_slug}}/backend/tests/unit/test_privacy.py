"""The PII filter takes out what is private, keeps what is not, and survives any input."""

import ast
import copy
import json
import random
import sys
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from uuid import UUID

import pytest

from app import privacy
from app.privacy import get_pii_filter, names, scrub, scrub_string
from app.privacy import text as texts_of
from app.privacy.text import LONGEST

pii = get_pii_filter()

# Recognisable, and fake; what a scanner would take for a real token is put together here.
SECRET = "fake-" + "value-8fk2Lq"
EMAIL = "jane.doe+tag@planted-example.org"
JWT = "eyJhbGciOiJub25lIn0" + ".eyJzdWIiOiJqYW5lIn0" + ".c2lnbmF0dXJl"

NAMES = [
    *("pw", "password", "passwd", "secret", "api_key", "apikey", "access_token", "auth_token"),
    *("refresh_token", "token", "credentials", "credit_card", "card_number", "cvv", "ssn"),
    *("social_security", "private_key", "secret_key", "Authorization", "X-API-Key"),
    *("X-Auth-Token", "Cookie", "Set-Cookie", "Proxy-Authorization", "passphrase", "otp", "pin"),
]


def spellings(name: str) -> list[str]:
    """Write a name as code, environments, headers and configurations do."""
    words = name.lower().replace("-", "_").split("_")
    camel = words[0] + "".join(map(str.title, words[1:]))
    joined = ["_".join(words), "-".join(words), ".".join(words), camel]
    return [*joined, camel[0].upper() + camel[1:], "_".join(words).upper(), f"user_{name}"]


@pytest.mark.parametrize("name", NAMES)
def test_a_value_under_a_sensitive_name_is_filtered_in_every_spelling(name: str) -> None:
    for spelled in spellings(name):
        assert pii.filter_dict({spelled: SECRET}) == {spelled: "[Filtered]"}
        assert pii.filter_dict({spelled: 4711}) == {spelled: "[Filtered]"}
        nested = {"a": [SECRET]}
        assert pii.filter_dict({spelled: nested}) == {spelled: "[Filtered]"}


@pytest.mark.parametrize(
    "name",
    [
        *("signing_key", "dateOfBirth", "account-number", "encryption.key", "firstName", "dbPass"),
        *("csrfmiddlewaretoken", "userpassword1", "mypasswordfield", "pAsSwOrD", "connect.sid"),
        *(
            "contraseña",
            "Passwort",
            "senha",
            "密码",
            "пароль",
            "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44",
            "user[password]",
        ),
        *("session_id", "PHPSESSID", "AWS_SECRET_ACCESS_KEY", "bearerToken", "date of birth"),
    ],
)
def test_a_sensitive_name_is_known_in_parts_in_one_piece_and_in_other_languages(name: str) -> None:
    assert pii.filter_dict({name: SECRET}) == {name: "[Filtered]"}


@pytest.mark.parametrize("name", NAMES)
def test_a_value_beside_a_sensitive_name_in_text_is_filtered(name: str) -> None:
    texts = [
        f"{name}={SECRET}",
        f"{name}: {SECRET}",
        f'"{name}": "{SECRET}"',
        repr({name: SECRET}),
        f"Config({name}='{SECRET}', debug=False)",
        f"retry with --{name}={SECRET}",
        f"/callback?page=2&{name}={SECRET}",
        json.dumps(json.dumps({name: SECRET})),
    ]
    for text in texts:
        scrubbed = pii.filter_string(text)
        assert SECRET not in scrubbed, text
        assert "[Filtered]" in scrubbed


@pytest.mark.parametrize(
    "name",
    [
        *("token_count", "max_tokens", "total_tokens", "prompt_tokens", "tokenizer", "token_type"),
        *("password_policy", "author", "monkey", "primary_key", "sort_key", "passenger", "compass"),
        *("secretary", "session_count", "cookie_policy_version", "cardinality", "pinned", "design"),
        *("has_password", "foreign_keys", "card_type", "keyboard", "postcard", "hotpot", "spin"),
    ],
)
def test_a_harmless_name_keeps_its_value(name: str) -> None:
    assert pii.filter_dict({name: "plain"}) == {name: "plain"}
    assert pii.filter_string(f"{name}=plain") == f"{name}=plain"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"user {EMAIL} not found", "user [EMAIL] not found"),
        ("josé@exämple.de", "[EMAIL]"),
        ('"jane doe"@planted-example.org', "[EMAIL]"),
        ("?to=jane%40planted-example.org", "?to=[EMAIL]"),
        ("peer 203.0.113.77:443 refused", "peer [IP]:443 refused"),
        ("('10.1.2.3', 51234)", "('[IP]', 51234)"),
        ("[2001:db8::17]:443 reset", "[[IP]]:443 reset"),
        ("fe80::1ff:fe23:4567:890a%eth0 down", "[IP] down"),
        ("::ffff:203.0.113.80 closed", "[IP] closed"),
        ("card 4111 1111 1111 1111 declined", "card [CARD] declined"),
        ("card 5500-0000-0000-0004", "card [CARD]"),
        ("amex 378282246310005", "amex [CARD]"),
        ("from DE89370400440532013000", "from [IBAN]"),
        ("from GB29 NWBK 6016 1331 9268 19 and on", "from [IBAN] and on"),
        ("number 078-05-1120 dup", "number [SSN] dup"),
        ("call +4915112345678 now", "call [PHONE] now"),
        ("call (415) 555-2671", "call [PHONE]"),
        ("tel 030 1234567", "tel [PHONE]"),
        (f"bad {JWT}", "bad [TOKEN]"),
        ("sent Bearer abc123def456", "sent Bearer [TOKEN]"),
        ("got Basic dXNlcjpzM2NyM3RwYXNz", "got Basic [TOKEN]"),
        ("with ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a", "with [TOKEN]"),
        ("with AKIA" + "IOSFODNN7EXAMPLE", "with [TOKEN]"),
        ("with xoxb-" + "123456789012-abcdefGHIJK", "with [TOKEN]"),
        ("with sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "with [TOKEN]"),
        ("postgres://svc:pgP4ss@db.int:5432/app", "postgres://[Filtered]@db.int:5432/app"),
        ("https://u:p/w0rd@host.int/x", "https://[Filtered]@host.int/x"),
        ("open(/home/deploy/.ssh/deploy-acme.pem)", "open(deploy-acme.pem)"),
        ("No such file: '/Users/jane/keys/id_rsa'", "No such file: 'id_rsa'"),
        (r"C:\Users\jane.doe\a b\x.txt missing", "x.txt missing"),
        (r"\\files\jane.doe\x.doc", "x.doc"),
        ("/home/jane.doe", "~"),
        ("\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44\uff1dx […]", "password=[Filtered] […]"),
        ("\uff14\uff11\uff11\uff11" + "\uff11" * 12, "[CARD]"),
        ("acct BE68539007547034", "acct [IBAN]"),
        ("acct be68539007547034", "acct [IBAN]"),
        ("card 4111111111111111 of ab12cdef34567890", "card [CARD] of ab12cdef34567890"),
        ("ab12cdef34567890 from DE89370400440532013000", "ab12cdef34567890 from [IBAN]"),
        ("Cookie: a=b; c=d", "Cookie: [Filtered]"),
        ("Key (email)=(jane) already exists.", "Key (email)=([Filtered]) already exists."),
        ("[parameters: ('Jane', 'x')]", "[parameters: [Filtered]]"),
        (
            "[type=x, input_value='jane', input_type=str]",
            "[type=x, input_value=[Filtered], input_type=str]",
        ),
        ("VALUES ('bob', 'hunter2')", "VALUES ('[Filtered]', '[Filtered]')"),
        ("<password>hunter2</password>", "<password>[Filtered]</password>"),
        ("with password hunter2 for bob", "with password [TOKEN] for bob"),
        ("auth blob dXNlcjpwYXNzd29yZD1CNjRTZWNyZXQx", "auth blob [TOKEN]"),
        ("%7B%22password%22%3A%22UePw111%22%7D", '{"password":"[Filtered]"}'),
    ],
)
def test_private_data_is_replaced_by_its_kind(text: str, clean: str) -> None:
    assert pii.filter_string(text) == clean
    assert pii.filter_string(clean) == clean


def test_a_private_key_is_replaced_whole_even_without_its_end() -> None:
    begin = "-----BEGIN RSA " + "PRIVATE KEY-----\n"
    assert pii.filter_string(f"key {begin}MIIEow\n-----END RSA PRIVATE KEY-----.") == "key [KEY]."
    assert pii.filter_string(f"key {begin}MIIEow") == "key [KEY]"


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3.4 released",
        "Mozilla/5.0 Chrome/120.0.0.0 Safari/537.36",
        "uuid b1a7c3f0-1d2e-4f5a-9b8c-7d6e5f4a3b2c missing",
        "at 2026-11-21T23:41:57.123456Z",
        "2026-11-21 23:41:57,123 took 12:34:56",
        "GET /api/v1/users/42 -> 404",
        "/api/v1/orders/{order_id}/pay",
        "SELECT projects.id FROM projects WHERE projects.tenant_id = $1 AND token = ?",
        "UNIQUE constraint failed: projects.tenant_id, projects.name",
        "order 1234567890123456 not found",
        "order 4111111111111112 has another check digit",
        "reference DE89370400440532013001 has another check digit",
        "epoch 1795305011831 ms",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "object at 0x7f3a2b1c4d5e",
        "trace ee6857e6249244c1a518010c1bfd1c96 span be27ca24a5465c38",
        "00-9cedd27d370346918302315d5eea2110-6d38120935674350-01",
        "span 54225ae16b6f27c6 is Base64 of something with a colon",
        "request cb3cc094-de89-4fc7-ba13-057a21b24708 failed",
        "listening on http://0.0.0.0:8000",
        "connect to 127.0.0.1:5432 or [::1]:5432 failed",
        "\uff11\uff12 \u2460 […]",
        "std::vector::at out of range",
        "s3://bucket/prefix/file.parquet",
        "https://docs.example.com:8443/errors/E1001?page=2",
        "redis://cache:6379/0 timeout",
        "token count exceeded: 4096 > 2048",
        "password must be at least 8 characters",
        "basic authentication is required",
        "bearer of bad news",
        "http_request_duration_seconds",
        "app.auth.verifier: started",
        "KeyError: 'session'",
    ],
)
def test_what_is_not_private_survives(text: str) -> None:
    assert pii.filter_string(text) == text
    assert pii.filter_dict({"note": text}) == {"note": text}


def test_an_id_made_at_random_is_taken_for_nothing_else() -> None:
    seeded = random.Random(4711)
    changed = []
    for _ in range(20_000):
        made = UUID(int=seeded.getrandbits(128), version=4)
        span = f"{seeded.getrandbits(64):016x}"
        texts = [made.hex, str(made), f"in {made.hex}: failed"]
        # What has no letter is judged as a card.
        texts += [] if span.isdigit() else [span, f"span {span} of {made}"]
        changed += [text for text in texts if scrub_string(text) != text]
    assert changed == []


def test_it_imports_the_standard_library_and_nothing_else() -> None:
    modules = list(Path(privacy.__file__).parent.glob("**/*.py"))
    assert len(modules) > 1
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            match node:
                case ast.Import(names):
                    imported = [each.name for each in names]
                case ast.ImportFrom(name, _, level):
                    imported = ["." * level + (name or "")]
                case _:
                    continue
            for each in imported:
                own = each == privacy.__name__ or each.startswith(f"{privacy.__name__}.")
                assert own or each.partition(".")[0] in sys.stdlib_module_names, (module, each)


def test_names_are_found_at_any_depth_and_in_pairs() -> None:
    data = {
        "rows": [{"x": [{"token": SECRET}]}],
        "headers": [["authorization", SECRET], ("X-Api-Key", SECRET), [b"cookie", SECRET.encode()]],
        "har": [{"name": "authorization", "value": SECRET}],
        "argv": ["svc", "--db-password", SECRET, f"--token={SECRET}"],
        "errors": [{"loc": ["body", "password"], "msg": "too short", "input": SECRET}],
        "card": {"number": SECRET},
        "text": json.dumps({"p": json.dumps({"token": SECRET})}),
        "escaped": '{"pass\\u0077ord": "' + SECRET + '"}',
    }
    assert SECRET not in repr(pii.filter_dict(data))


def test_what_is_written_together_is_found_and_scrubbing_again_finds_no_more() -> None:
    for text in (
        "4242-4242-4242-4242" + "ES9121000418450200051332 ",
        "/var/lib/acme/x.db" + "user1:pw987@proxy:3128",
        "ghp_" + "a1B2" * 9 + ": entry",
        "%2570assword%253Dhunter2x&token=abc",
        "password=[EMAIL]x",
    ):
        once = pii.filter_string(text)
        assert once != text
        assert pii.filter_string(once) == once


def test_keys_of_a_mapping_are_data_too() -> None:
    assert pii.filter_dict({EMAIL: 1, "x" + EMAIL: 2}) == {"[EMAIL]": 1, "[EMAIL]+": 2}


def test_numbers_are_read_as_well() -> None:
    data = {"n": 4111111111111111, "phone": 4155552671, "count": 1234567890123456}
    assert pii.filter_dict(data) == {
        "n": "[CARD]",
        "phone": "[PHONE]",
        "count": 1234567890123456,
    }


def test_a_version_may_look_like_an_address() -> None:
    data = {"release": "1.2.3.4", "sdk": {"version": "10.0.0.1"}, "app_version": "v1.2.3.4"}
    assert pii.filter_dict(data) == data
    assert pii.filter_dict({"release": f"1.2 for {EMAIL}"}) == {"release": "1.2 for [EMAIL]"}


def test_plain_values_of_other_kinds_are_kept() -> None:
    data = {
        "when": datetime(2026, 11, 21, tzinfo=UTC),
        "id": UUID(int=7),
        "share": 0.5,
        "none": None,
        "password": None,
        "has_token": True,
        "pair": (1, 2),
    }
    assert pii.filter_dict(data) == data


def test_other_objects_become_scrubbed_text() -> None:
    class Config:
        def __repr__(self) -> str:
            return f"Config(secret_key='{SECRET}')"

    class Broken:
        def __repr__(self) -> str:
            raise ValueError(SECRET)

    data = {
        "config": Config(),
        "broken": Broken(),
        "path": PurePosixPath("/srv/jane/x.py"),
        "bytes": f"password={SECRET}".encode(),
        "error": ValueError(f"token={SECRET}"),
    }
    assert pii.filter_dict(data) == {
        "config": "Config(secret_key='[Filtered]')",
        "broken": "[Filtered]",
        "path": "x.py",
        "bytes": "password=[Filtered]",
        "error": "ValueError: token=[Filtered]",
    }


def test_the_input_is_never_changed() -> None:
    data = {"password": SECRET, "list": [{"token": SECRET}, EMAIL], "t": (EMAIL,)}
    before = copy.deepcopy(data)
    pii.filter_dict(data)
    assert data == before


def test_an_exception_is_described_without_its_secrets() -> None:
    described = pii.filter_exception(ValueError(f"{EMAIL} password={SECRET}"))
    assert described == {
        "type": "ValueError",
        "module": "builtins",
        "value": "[EMAIL] password=[Filtered]",
    }


def test_an_exception_that_can_not_be_shown_is_described_all_the_same() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert pii.filter_exception(MuteError())["value"] == ""


def test_a_structure_that_holds_itself_ends() -> None:
    data: dict[str, object] = {"password": SECRET}
    data["self"] = data
    data["list"] = [data, [data]]
    assert SECRET not in repr(pii.filter_dict(data))


def test_a_structure_too_deep_is_cut() -> None:
    data: dict[str, object] = {"note": SECRET}
    for _ in range(5000):
        data = {"n": data}
    assert SECRET not in repr(pii.filter_dict(data))


def test_forty_levels_are_kept() -> None:
    data: dict[str, object] = {"password": SECRET, "note": "kept"}
    for _ in range(40):
        data = {"n": data}
    shown = repr(pii.filter_dict(data))
    assert "kept" in shown
    assert SECRET not in shown


def test_json_too_deep_to_read_is_still_scrubbed() -> None:
    text = "[" * 8000 + f'"password={SECRET}"' + "]" * 8000
    assert SECRET not in pii.filter_string(text)


def test_what_is_shared_is_scrubbed_once() -> None:
    data: list[object] = [EMAIL]
    for _ in range(60):
        data = [data, data]
    assert scrub(data)


def test_a_long_text_is_cut_and_not_skipped() -> None:
    for filler in ("x" * 50_000, "word " * 20_000):
        for text in (f"{EMAIL} {filler}", f"{filler} {EMAIL}", f"{filler} {EMAIL} {filler}"):
            scrubbed = pii.filter_string(text)
            assert EMAIL not in scrubbed
            assert len(scrubbed) < LONGEST + 100


def test_no_half_of_a_secret_is_left_where_a_text_is_cut() -> None:
    # Each half alone would be too short, or lack the prefix, to be known as a token.
    token = "ghp_" + "QwErTyUiOpAsDfGhJkLz1234567890XcVb"
    parts = [token[start : start + 8] for start in range(4, len(token) - 8)]
    edges = (LONGEST - 4096, 30_000 - 4096)
    for edge in edges:
        for before in range(edge - len(token) - 2, edge + 2, 3):
            text = ("w " * 20_000)[:before] + " " + token + " " + "w " * 20_000
            scrubbed = pii.filter_string(text[:30_000])
            assert not any(part in scrubbed for part in parts)


@pytest.mark.parametrize(
    "unit",
    [
        *("a", "1", "a@", "@a.", "[", '{"a":', "password=", "\\", '\\"', "%41", "/home/", "::"),
        *("1.", "1:", "-----BEGIN A-----", "eyJ", "://", "://a:", "a:b@", "1-", "Bearer ", "a.b"),
        *("AB12 ", "C:\\", "input_value=", "[parameters:", ")=(", "token='", "4111 ", "%25", "<a"),
    ],
)
def test_a_text_made_to_confuse_is_scrubbed_all_the_same(unit: str) -> None:
    # A rule that takes more than linear time would hold this up for all to see.
    text = (unit * LONGEST)[: LONGEST - 100]
    scrubbed = scrub_string(f"{text} mail {EMAIL} {text}")
    assert EMAIL not in scrubbed


def test_many_different_names_and_texts_fill_no_memory() -> None:
    for number in range(20_000):
        pii.filter_dict({f"field_{number}": f"plain text {number}"})
    assert len(names.verdicts) <= names._MOST_VERDICTS
    assert len(texts_of.known_clean) <= texts_of._MOST_REMEMBERED


def test_what_was_private_is_not_remembered() -> None:
    pii.filter_string(f"mail {EMAIL}")
    assert not any(EMAIL in each for each in texts_of.known_clean)
