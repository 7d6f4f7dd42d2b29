"""The PII filter takes out what is private, keeps what is not, and survives any input."""

import ast
import copy
import json
import random
import re
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path, PurePosixPath
from uuid import UUID

import pytest

from app import privacy
from app.privacy import (
    checks,
    get_pii_filter,
    names,
    scrub,
    scrub_string,
    scrub_text,
    tokens,
)
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
        *(
            "password_policy",
            "tokens_used",
            "secret_rotation_days",
            "two_factor_enabled",
            "author",
            "monkey",
            "primary_key",
            "sort_key",
            "passenger",
            "compass",
        ),
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


WORD = "owlfeather"
RUN = f"9xQ{WORD}7Kq2Zx4b{WORD}"
CLASSES = {
    "names of two words": [
        f"wallet seed: {WORD} b",
        f"security answer: {WORD}",
        f"API key: {WORD}",
    ],
    "whole lines": [f"recovery codes: 8f3k-99ab, {WORD}", f"mnemonic: apple brick {WORD} dragon"],
    "odd assignments": [
        *(f'd["secret"] = {WORD}', f'apikey[] = "{WORD}"', f'apikey = @"{WORD}"'),
        *(f"passwd is: {WORD}", f"Password=a {WORD};Encrypt=True", f"map[password:{WORD} user:bo]"),
    ],
    "pairs": [
        *(f"[('x-api-key', '{WORD}')]", f'["--db-password", "{WORD}"]', f"(b'cookie', b'{WORD}')"),
        *(f"- name: API_TOKEN\n  value: {WORD}", f'<add key="ApiKey" value="{WORD}"/>'),
        *(f"-H x-auth-token -V {WORD}", f'form-data; name="password"\r\n\r\n{WORD}\r\n--x'),
        *(f"<Password><![CDATA[{WORD}]]></Password>", f'<s name="Secret"><value>{WORD}</value>'),
    ],
    "schemes": [f"Authorization: Api-Token {WORD}99", f"authorization: x-scheme {WORD}"],
    "command lines": [
        *(f"docker login r.io -u ci -p {WORD}", f"sshpass -p {WORD} ssh h", f"mysql -p{WORD} db"),
        *(f"['redis-cli', '-a', '{WORD}']", f"http --auth user:{WORD} GET x", f"-u ':{WORD}'"),
        *(f"net use z: x /user:svc {WORD}", f"gpg --passphrase {WORD} -d x", f"--api-key '{WORD}'"),
    ],
    "dialogues": [
        *(f"AUTH PLAIN {WORD}=", f"334 UGFzc3dvcmQ6\n{WORD}=", f"USER bo\r\nPASS {WORD}\r\n"),
        *(f"requirepass {WORD}9", f"C: a1 LOGIN bo {WORD}9", f"sqlplus bo/{WORD}@ORCL"),
        *(f"login with bo / {WORD}9 failed", f"db.x:5432:orders:app:{WORD}9"),
        f"machine h login bo password {WORD}",
    ],
    "statements": [
        *(f"CREATE USER x IDENTIFIED BY '{WORD}'", f"EXEC sp_addlogin 'svc', '{WORD}'"),
        *(f"select crypt('{WORD}', gen_salt('bf'))", f"ALTER USER bo WITH PASSWORD '{WORD}'"),
    ],
    "sentences": [
        *(f"the password {WORD} was rejected", f"username root\npassword {WORD}"),
        *(f"wrong password: '{WORD}9'", f"secret changed to {WORD}9", f"密码是 {WORD}9"),
        *(f"la contraseña es {WORD}9", f"le mdp est {WORD}9", f'passphrase "my {WORD}" refused'),
    ],
    "hashes of passwords": [
        *(f"$2y$10${RUN}", f"$argon2id$v=19$m=65536,t=3,p=4${RUN}"),
        *(f"svc:$apr1$8eKox5Lw${RUN}", f"pbkdf2_sha256$600000$salt${WORD}9=", "{SSHA}" + RUN),
    ],
    "codes": [f"recovery code 83920-{WORD[:8]}", f"license key ABCD-1234-{WORD[:4]}"],
    "sentences of other kinds": [
        *(f"{WORD}9 is the password", f"typed {WORD}9 as password", f"vault pass {WORD.upper()}x9"),
        *("login failed, password was ZowLftQRtyUb", f"login bo password was {WORD}"),
        *(f"kodeord: {WORD}", f"mật khẩu: {WORD}", f"kata sandi: {WORD}", f"passord {WORD}9"),
        *(f"p a s s w o r d = {WORD}", f"P A S S W O R D {WORD}", f"badDeviceToken {WORD}9"),
    ],
    "build files": [
        *(f"ENV PGPASSWORD {WORD}9", f"setenv DB_PASS {WORD}9", f"export API_KEY '{WORD}9'"),
        *(f"echo {WORD} | sudo -S ls", f"::add-mask::{WORD}", f"echo '{WORD}' | x --pass-stdin"),
    ],
    "servers": [
        *(
            f"AUTH {WORD}9 called without any password",
            f"AUTH bo {WORD}9: invalid username-password",
        ),
        *(
            f"sasl_username={WORD}",
            f"(Authenticated sender: {WORD})",
            f"user=<{WORD}>, method=PLAIN",
        ),
        *(f"userPassword:: {WORD}9", f"parameters: $1 = '{WORD}', $2 = 'it''s {WORD}'"),
        *(f'IDENTIFIED BY "{WORD}"', f"IDENTIFIED WITH x BY {WORD}", f"wifi psk '{WORD}'"),
        *(f"https://fcm.googleapis.com/fcm/send/{WORD}", f"https://{WORD}:pw9@host.example/x"),
    ],
    "attributes": [
        *(f'<property name="secret">{WORD}</property>', f"<e key='api_key' x='1'>{WORD}</e>"),
    ],
    "persons": [
        *(
            f"card holder: Bo {WORD.title()}",
            f"MSH|^~\\&|x\nPID|1||{WORD}^BO|".replace("\\n", "\n"),
        ),
        *(f"SRDOCS HK1-P-FRA-{WORD}", f"salary: {WORD}", f"patient name: Bo van {WORD.title()}"),
    ],
    "links": [
        *(f"/password-reset/{RUN}", f"https://x.io/magic/{RUN}/login"),
        *(f"https://x.io/reset?uid=1&t={RUN}", f"https://hooks.zapier.com/hooks/{WORD}"),
    ],
    "records": [
        *(f"BEGIN:VCARD\nFN:Bo {WORD}\nEND:VCARD", f"WIFI:S:Guest;T:WPA;P:{WORD};;"),
        *(f"P<GBR{WORD.upper()}<<BO<<<<<<<<<<<<<<<<<<<<<", f"uid={WORD},ou=people,dc=acme"),
        *(f"ATTENDEE;CN={WORD}:mailto:x", f"10.1.2.3 - {WORD} [10/Oct/2000:13:55:36 -0700]"),
        f"PuTTY-User-Key-File-2: ssh-rsa\nPrivate-Lines: 4\n{WORD}",
    ],
    "look-alikes": [f"pass\u200bword={WORD}", f"p\u0430ssword={WORD}", f"api\u00adkey: {WORD}"],
    "addresses": [
        *(f"{WORD} (at) acme (dot) io", f"=?utf-8?q?{WORD}=2Ex=40example=2Ecom?="),
        *(f"bounce+{WORD}=example.org@list.example.org", f"//x//bo:{WORD}@host.example"),
    ],
    "assignments of other languages": [
        *(f'var apiToken string = "{WORD}"', f'$apiToken .= "{WORD}"', f"API_TOKEN ::= {WORD}"),
        *(f"API_TOKEN ?= {WORD}", f"API_TOKEN += {WORD}", f"apiToken,{WORD}1234567,"),
        *(f"password        => '{WORD}'", f"password: str = '{WORD}'", f":password {WORD}9"),
        *(f"'X-Api-Key' -> '{WORD}'", f"secret -> {WORD}9", f"secret[{WORD}9]"),
        *(f'password: Some("{WORD}")', f"token=SecretBytes(b'{WORD}')", f"Token(value='{WORD}')"),
        *(f's:8:"password";s:11:"{WORD}"', f"setattr(u, 'password', '{WORD}')"),
        *(f"BasicAuth('bo', '{WORD}')", f'new NetworkCredential("bo", "{WORD}")'),
        *(f"PWD={{{WORD}9}};", f"SELECT $${WORD}$$ AS x", f"password = 'ab''{WORD}'"),
        *(
            f'{{\\"password\\": \\"ab\\\\\\"{WORD}\\"}}',
            f"passwords:\n  - \"{WORD}\"\n  - '{WORD}'",
        ),
        *(f"mot de passe : « {WORD} »", f"**Password:** {WORD}", f"\x1b[31mpassword\x1b[0m={WORD}"),
    ],
    "markup": [
        *(f"<key>password</key><string>{WORD}</string>", f'<x value="{WORD}" name="password"/>'),
        *(f'<input name="csrf" type="hidden" value="{WORD}">', f"<a secret> {WORD} </mysecret>"),
        *(f'<meta name="csrf-token" content="{WORD}">', f'<the_password value="{WORD}"/>'),
    ],
    "what a person is told": [
        *(f"Incorrect API key provided: {WORD}9.", f"csrf token mismatch: {WORD}9 != x"),
        *(f"the default Password is '{WORD}'", f"password for user 'bo' is '{WORD}'"),
        *(f"login with bo/{WORD}9 failed", f"otp was {WORD}9", f"SecureString '{WORD}'"),
    ],
    "JSON behind words": [
        'got {"loc": ["body", "password"], "input": "' + WORD + '"}',
        'x: [{"Key": "DbPassword", "Value": "' + WORD + '"}]',
    ],
    "log lines": [
        *(f'step 2: secret="{WORD}"', f'ValueError: token="{WORD}"', f"x: password='{WORD}' y"),
        *(f'1 [0 x] "AUTH" "{WORD}9"', f'"CONFIG" "SET" "requirepass" "{WORD}9"'),
        *(f'LOGIN "bo" "{WORD}9" failed', f"near 'IDENTIFIED BY '{WORD}'' at line 1"),
        *(f"PDO->__construct('x', 'svc', '{WORD}')", f'SecureString -String "{WORD}"'),
        *(f"Unseal Key 1: {WORD}9xQ7Kq2Zx4bA", f"the password for the new box is {WORD}9 now"),
        *(f'Hawk id="x", mac="{WORD}"', f"NTLM {WORD}9", f"AUTH PLAIN {WORD}/9xQ7Kq2Zx"),
    ],
    "runs of letters": [
        *(f"glpat-NkRJnKKUgOfeUHq{WORD}", f"AUTH LOGIN NkRJn{WORD}KKUgOf", f"bindpw {WORD}9"),
        *(f"/verify-email/NkRJn{WORD}KKUgOfeUHq", f"AUTH default NkRJn{WORD}KKUgOfeUHq"),
        *(f"acme_live_7Kq2Zx4b{WORD}9xQ2Zx4b", f"AC{'0a' * 16}:{WORD}{WORD}"),
    ],
    "places of people": [
        *(f"lives at 12 {WORD.title()} Street", f"12 {WORD} boulevard", f"/data/home/{WORD}/x"),
        *(f"sftp://host/home/{WORD}/f", f"/cygdrive/c/Users/{WORD}/x"),
    ],
    "homes": [
        f"-I/home/{WORD}/include",
        f"./home/{WORD}/x",
        f"/export/home/{WORD}",
        f"/var/mail/{WORD}",
    ],
}
"""A word that must not pass, in what a class of tools, formats or people makes of it."""


@pytest.mark.parametrize("texts", CLASSES.values(), ids=CLASSES)
def test_a_secret_does_not_pass_in_any_of_the_usual_forms(texts: list[str]) -> None:
    for text in texts:
        assert WORD[:4] not in pii.filter_string(text).lower(), text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("user 1234 4111 1111 1111 1111", "user 1234 [CARD]"),
        ("MT86MALT01100ABCDEFGHIJKLMNOPQR", "[IBAN]"),
        *(("cc_4111111111111111", "cc_[CARD]"), ("4111  1111  1111  1111", "[CARD]")),
        *(("%B4111111111111111^", "%B[CARD]^"), ("4111_1111_1111_1111", "[CARD]")),
        ("IBAN: DE89\xa03704\xa00044\xa00532\xa00130\xa000", "IBAN: [IBAN]"),
        *(
            ("for o'brien{x}@example.com", "for [EMAIL]"),
            ("https://x.io/@bo.roe", "https://x.io/[EMAIL]"),
        ),
        *(("x 64:ff9b:::", "x [IP]:"), ("4000 0000 02 4000-0000-0000-0002", "4000 0000 02 [CARD]")),
        ("got RO66 JDCL GM8W J4VR GGZI SGOY and", "got [IBAN] and"),
        ("fødselsnummer 130989 44308", "fødselsnummer [SSN]"),
        *(
            ("여권번호는 M789C1234입니다", "여권번호는 [SSN]입니다"),
            ("Pass-Nr.: F12345671", "Pass-Nr.: [SSN]"),
        ),
        *(("user_203.0.113.7", "user_[IP]"), ("电话 13853522601", "电话 [PHONE]")),
        *(("(523)222-8888x623", "[PHONE]x623"), ("SMS to 07922651558", "SMS to [PHONE]")),
        *(("d.o.b. is 4 June 1976", "d.o.b. is [Filtered]"), ("PO Box 123456", "[Filtered]")),
        ("bo\\x40example.com", "[EMAIL]"),
        ("login from ip-192-0-2-175", "login from ip-[IP]"),
        ("geo POINT(13.4050 52.5200)", "geo POINT([Filtered])"),
        ("VIN 1HGCM82633A004352", "VIN [SSN]"),
        ("IMSI 310150123456789", "IMSI [SSN]"),
        ("WIF L1aW4aubDFB7yfras2S1mN3bqg9nwySY8nkoLmJebSLD5BWv3ENZ", "WIF [TOKEN]"),
        ("né le 03/02/1980", "né le [Filtered]"),
        ("peer 192.168.001.001", "peer [IP]"),
        ("payload 7b2270617373776f7264223a2268756e74657232227d", "payload [TOKEN]"),
        ("0x656d61696c3d6b617465406578616d706c652e6f7267", "[TOKEN]"),
        ("data 4445383933373034303034343035333230313330303021", "data [TOKEN]"),
        ("arp 0ad3.ed8f.b668 incomplete", "arp [IP] incomplete"),
        ("unlock code 76117091", "unlock code [TOKEN]"),
        ("482913 is your Acme code", "[TOKEN] is your Acme code"),
        ("Your Acme code is 482913.", "Your Acme code is [TOKEN]."),
        ("teudat zehut 831054895", "teudat zehut [SSN]"),
        ("マイナンバー 243011804977", "マイナンバー [SSN]"),
        ("frequent flyer number 992003456789", "frequent flyer number [SSN]"),
        ("kate@[192.0.2.44]", "[EMAIL]"),
        ("kate@[IPv6:2001:db8::1]", "[EMAIL]"),
        ("kate.o\u200bwl@example.com", "[EMAIL]"),
        ("code=a1B2c3D4e5F6g7H8&state=x", "code=[Filtered]&state=x"),
        ("code=a1B2c3D4e5F6g7H8i9J0", "code=[Filtered]"),
    ],
)
def test_a_number_is_found_beside_others_and_in_its_rarer_forms(text: str, clean: str) -> None:
    assert pii.filter_string(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        *("password reset sent", "password is required", "the password policy was updated"),
        *("Wrong password or username", "using password: YES", "auth: failed", "Enter password:"),
        *(
            "password requires uppercase",
            "no password supplied",
            "password expired",
            "token: missing",
        ),
        *("('name', 'color')", "fields=('password', 'email')", "['password', 'username']"),
        *("PASS 12 tests", "GET /token/refresh 200", "/invitations/accept", "total (42) 10000"),
        *(
            "node-1-2-3-4",
            "ip-10-0-12-34.ec2.internal",
            "main.py:120:5:F401:unused",
            "x=1.25, y=3.7",
        ),
        "invalid literal for int() with base 10: 'abc'",
        "https://api.example.com/v1/reset/orders",
        *("login refused, password is required", "the username and password is valid"),
        *(
            "app.api.dependencies.auth:require_scopes",
            "code=INVALID_ARGUMENT_TYPE_12",
            "user code 404",
        ),
        *(
            "sha256 as password hash",
            "user_1234 is the token owner",
            "token is NotImplementedError",
        ),
        *("upgrade 1.2.3.4 -> 1.2.3.5", "OpenSSL 1.1.1.23", "foo-1.2.3.4.tar.gz", "sdk 3.4.5.6"),
        *("password: must not be empty", "credentials: none", "password=''", "token=<missing>"),
        *("tokens: 1742", "token_type=bearer expires_in=3600", "RFC 3339 2026-11-21T10:15:30Z"),
        *("    token = request.headers.get('Authorization')", "secret = settings.secret_key"),
        *("revision identified by 'a1b2c3d4e5f6'", "digest " + "9f86d081884c7d65" * 4),
        *('token: "" and then shelf A3', "API_KEY=\nLOG_LEVEL=debug", "password: ${PASSWORD}"),
        *(
            "pod payments-worker-5f7c9d8b6d-9xk2p",
            "evt_1NG8Du2eZvKYlo2CUI79vXWy",
            "sha384-" + "oqVuAfXR" * 8,
        ),
        *("s3://bucket/home/part-1.parquet", "user_01h2xcejqtf2nbrexx3vqjhp41"),
        *("private_key = load_key(data, password=None)", "auth = (self.username, self.password)"),
        *("const token = await getToken();", "SET password = :password WHERE", "secret: <unset>"),
        *("auth:: header", "identified by user_id 42", "export PATH 3", "parameters: 1"),
    ],
)
def test_what_only_speaks_of_secrets_is_kept(text: str) -> None:
    assert pii.filter_string(text) == text


def test_a_private_key_is_replaced_whole_even_without_its_end() -> None:
    begin = "-----BEGIN RSA " + "PRIVATE KEY-----\n"
    assert pii.filter_string(f"key {begin}MIIEow\n-----END RSA PRIVATE KEY-----.") == "key [KEY]."
    assert pii.filter_string(f"key {begin}MIIEow") == "key [KEY]"


NATIONAL = [
    ("argentina", "20-12345678-6", "20-12345678-0"),
    ("australia-abn", "51 824 753 556", "51 824 753 550"),
    ("australia-acn", "004 085 616", "204 085 616"),
    ("australia-medicare", "2123 45670 1", "2123 45671 1"),
    ("australia-tfn", "123 456 782", "123 456 781"),
    ("austria", "1237 010180", "1237 010181"),
    ("belgium", "85.07.30-033.28", "85.07.30-033.20"),
    ("brazil-cpf", "111.444.777-35", "111.444.777-30"),
    ("brazil-cnpj", "11.222.333/0001-81", "11.222.333/0001-80"),
    ("canada", "046 454 286", "346 454 286"),
    ("chile", "12.345.678-5", "12.345.678-0"),
    ("china", "11010519491231002X", "11010519491231002A"),
    ("czechia", "736028/5163", "736028/5160"),
    ("denmark", "211062-5629", "211362-5629"),
    ("dominican-republic", "001-1391820-5", "000-1391820-5"),
    ("egypt", "29001011234567", "29001014234567"),
    ("estonia", "37605030299", "37605030290"),
    ("finland", "131052-308T", "131052-308A"),
    ("france", "2 55 08 14 168 025 38", "2 55 08 14 168 025 30"),
    ("germany-tax", "36574261809", "36574261800"),
    ("germany-pension", "15070649C103", "15070649C100"),
    ("germany-health", "A123456780", "A123456781"),
    ("greece", "01013099997", "01013099990"),
    ("hong-kong", "A123456(3)", "A123456(0)"),
    ("india-aadhaar", "3123 4567 8909", "3123 4567 8900"),
    ("india-pan", "ABCPD1234Z", "ABCP1234DZ"),
    ("india-gstin", "27AAPFU0939F1ZV", "27AAPFU0939F1YV"),
    ("ireland", "1234567T", "1234567A"),
    ("italy", "RSSMRA85T10A562S", "RSSMRA85F10A562S"),
    ("mexico", "BOXW310820HNERXN09", "BOXW310820HNERXN00"),
    ("malaysia", "770305-02-1234", "770300-02-1234"),
    ("netherlands", "111.222.333", "111.222.330"),
    ("norway", "01010750160", "01010750161"),
    ("pakistan", "42201-0397640-8", "42201-397640-88"),
    ("poland-pesel", "44051401359", "44051401350"),
    ("poland-nip", "526-000-12-46", "526-000-12-40"),
    ("romania", "1800101221144", "1800101221140"),
    ("russia", "112-233-445-95", "112-233-445-90"),
    ("serbia", "0101006500006", "0101006500000"),
    ("singapore", "S1234567D", "A1234567D"),
    ("singapore-business", "53125226D", "53125226C"),
    ("singapore-company", "201434292D", "201434292C"),
    ("singapore-others", "T16RF0037C", "T16RF0037D"),
    ("south-africa", "8001015009087", "8001015009080"),
    ("south-korea", "820701-2409184", "820701-0409184"),
    ("south-korea-business", "104-86-56659", "104-86-56650"),
    ("south-korea-licence", "11-22-123456-12", "91-22-123456-12"),
    ("spain-dni", "12345678Z", "12345678A"),
    ("spain-nie", "X2482300W", "X2482300A"),
    ("sweden", "811218-9876", "811318-9876"),
    ("sweden-century", "19811218-9876", "19811218-9870"),
    ("switzerland", "756.9217.0769.85", "756.9217.0769.80"),
    ("taiwan", "A123456789", "A123456781"),
    ("thailand", "1-2345-67890-12-1", "1-2345-67890-12-0"),
    ("turkey", "10000000146", "10000000140"),
    ("uae", "784-1980-1234567-8", "784-1980-1234567-9"),
    ("uk-nino", "AB123456C", "AB123456E"),
    ("uk-licence", "MORGA657054SM9IJ", "MORGA657004SM9IJ"),
    ("us-dea", "BE1234563", "BE1234560"),
    ("us-mbi", "1EG4-TE5-MK73", "1EG4-TE5-MB73"),
    ("us-npi", "1234-567-893", "1234-567-890"),
    ("us-routing", "1210-0035-8", "1210-0035-0"),
    ("us-ssn", "078-05-1123", "078-00-1123"),
    ("brazil-cnpj-run", "11222333000181", "11222333000180"),
    ("chile-k", "11.111.112-K", "11.111.113-K"),
    ("india-vehicle", "KA53ME3456", "KA53ME345X"),
    ("italy-licence", "AA0123456B", "AA01234567BB"),
    ("south-korea-run", "8207012409181", "8207012409182"),
    ("imei-groups", "35-693803-564380-9", "35-693803-564380-0"),
    ("imei", "356938035643809", "356938035643800"),
]
"""A number of each kind, made up or published as a sample, and one that can not be of the kind."""


@pytest.mark.parametrize(
    ("valid", "wrong"), [each[1:] for each in NATIONAL], ids=[each[0] for each in NATIONAL]
)
def test_the_number_of_a_person_is_known_by_its_form_and_its_check(valid: str, wrong: str) -> None:
    assert pii.filter_string(f"number {valid} seen") == "number [SSN] seen"
    assert pii.filter_string(valid) == "[SSN]"
    assert pii.filter_string(f"number {wrong} seen") == f"number {wrong} seen"


def test_every_kind_of_number_has_a_sample() -> None:
    known = {name for _, valid, _ in NATIONAL for name in checks.national_numbers(valid)}
    assert known == {number.name for number in checks.NATIONAL_NUMBERS}


@pytest.mark.parametrize(
    ("length", "share"),
    [(9, 0), (10, 0), (11, 0.09), *((length, 0.01) for length in (12, 13, 14, 15, 17, 18))],
)
def test_a_run_of_digits_is_seldom_the_number_of_a_person(length: int, share: float) -> None:
    seeded = random.Random(4711)
    runs = ["".join(seeded.choices("0123456789", k=length)) for _ in range(2000)]
    assert sum("[SSN]" in scrub_text(f"id {run}") for run in runs) <= share * len(runs)


@pytest.mark.parametrize(
    "text",
    [
        *("my passport number is X1234567", "Passport: C01234567", "driver's license D1234567"),
        *("vehicle registration number AB12345", "tax file number: 123456789", "ssn 078051121"),
        *("NHS 9434765919", "Steuernummer 93815/08152", "bank account number 912803456"),
        *("BSN: 111222333", "IMEI 490154203237510", "MBI is 1EG4TE5MK70", "NPI: 1234567890"),
    ],
)
def test_beside_its_name_a_number_needs_no_check(text: str) -> None:
    digits = max(re.findall(r"[\w/]*\d[\w/]*", text), key=len)
    scrubbed = pii.filter_string(text)
    assert "[SSN]" in scrubbed
    assert digits not in scrubbed


def sample(rest: str) -> str:
    """Write what follows the prefix of a token, in the alphabet and the length that it has."""
    uuid = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"
    parts = ["a1B2c3D4e5" * 16, "0a1b2c3d4e" * 16, "A1B2C3D4G5" * 16, "1234567890" * 16]
    whole = [uuid, "AgE" + "a1B2c3D4e5" * 4]
    whole += [
        f"{'a1B2c3D4e5f6'[:2] * 12}.a1B2c3.{'d4E5f6g7h8' * 3}",
        "1234567890123456:" + "0a" * 16,
    ]
    whole += ["A1" * 7 + "." + "0a" * 20, "0a" * 12 + "-" + "0a" * 60, "a1B2c3D4_" + "a1B2" * 6]
    whole += [f"{'a1' * 11}.{'0a' * 12}.{'a1B2' * 5}", "a1B2c3D4e5f6g7." + "a1B2c3D4e5" * 7]
    whole += ["123456789012-112126-" + "0a" * 16]
    made = [part[:size] for size in range(10, 120) for part in parts] + whole
    return next(each for each in made if re.fullmatch(rest, each, re.ASCII))


@pytest.mark.parametrize(
    ("prefix", "rest"),
    [
        pytest.param(prefix, rest, id=f"{service}: {prefix}")
        for service, prefixes, rest in tokens.PREFIXED
        for prefix in prefixes.split()
    ],
)
def test_the_token_of_a_service_is_known_by_its_prefix(prefix: str, rest: str) -> None:
    secret = sample(rest)
    for text in (
        f"{prefix}{secret}",
        f"using {prefix}{secret} at host",
        f"/x/{prefix}{secret}?a=1",
    ):
        scrubbed = pii.filter_string(text)
        assert "[TOKEN]" in scrubbed or "[Filtered]" in scrubbed
        assert secret[-12:] not in scrubbed


@pytest.mark.parametrize(
    "token",
    [
        "ABSK" + "a1B2c3D4e/" * 8,
        "A" * 21 + "a1B2c3D4e5" * 3 + "%3D" + "a1B2c3D4e5" * 3,
        "ext_a1b2c3.a1b2.acc_" + "a1b2c3d4e5" * 5,
        "access_token$production$a1b2c3d4e5f6a7b8$" + "0a1b2c3d" * 4,
        "abc8Q~" + "a1B2c3D4e5" * 3 + "f",
        "a1" * 37 + "b" + "AZDO" + "abcd",
        "AAAA0a1b2c3:APA91b" + "a1B2c3D4e5" * 12,
        "a1B2c3D4e5F6g7.atlasv1." + "a1B2c3D4e5" * 6,
        "0a1b2c3d" * 4 + "-us12",
        "snyk_uat.a1B2c3D4." + "a1B2c3D4e5" * 4,
        "1102015430:AA" + "a1B2c3D4e5" * 3 + "f6g7h",
        "a1B2c3D4e5/+" * 7 + "ab==",
    ],
)
def test_the_token_of_a_service_is_known_by_a_mark_within(token: str) -> None:
    assert pii.filter_string(f"using {token} at host") == "using [TOKEN] at host"


def test_no_pattern_repeats_a_group_possessively() -> None:
    for module in ("names", "pairs", "patterns", "text", "tokens", "walk"):
        source = Path(import_module(f"app.privacy.{module}").__file__ or "").read_text("utf-8")
        assert not re.search(r"(?<!\\)\)(?:[*+?]|\{[\d,]+\})\+", source), module


def test_each_name_that_is_written_as_one_word_is_looked_for() -> None:
    parts = [part.decode() for part in texts_of._GLUED_PARTS]
    for glued in (*names.GLUED, *names.GLUED_ENDS):
        assert any(part in glued for part in parts), glued


@pytest.mark.parametrize("name", sorted(names.COUNTS))
def test_what_can_be_counted_is_hidden_where_it_is_no_count(name: str) -> None:
    assert scrub({name: 12}) == {name: 12}
    assert scrub({name: "abcdefgh"}) == {name: "[Filtered]"}
    assert scrub_text(f"{name}: 12 of 40") == f"{name}: 12 of 40"
    assert scrub_text(f"{name}: abcdefgh") == f"{name}: [Filtered]"


def test_there_are_tokens_of_many_services() -> None:
    assert len({service for service, *_ in (*tokens.PREFIXED, *tokens.MARKED)}) >= 80


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("datadog key a1b2c3d4g5f6a7b8", "a1b2c3d4g5f6a7b8"),
        ('"ibm-iam_key" := "ukYEEX38RiGgq1BPf2m-nIeTM"', "ukYEEX"),
        ('some_key = "a1B2c3D4e5F6g7H8i9J0"', "a1B2c3"),
        ("credentials: bob / pw77", "pw77"),
        ("https://x.example/i?invite_code=ZX81QL99", "ZX81QL99"),
        ("errors [{'loc': ['email'], 'msg': 'bad', 'input': 'kate-in'}]", "kate-in"),
        ("“kate11” is not a valid choice.", "kate11"),
        ("'kate7' is not one of ['a', 'b']", "kate7"),
        ("WHERE name LIKE '%kate%'", "kate"),
        ("proxy bob:pw987@proxy:3128 down", "pw987"),
        ("sent to https://hooks.slack.com/services/T0/B0/xyz", "xyz"),
        ('sent Digest username="kate", response="abc1"', "kate"),
        ("Passwort fuer bob: x7", "x7"),
        ("password for user bob is hunter2", "hunter2"),
        ("the token was abcd1234", "abcd1234"),
        ("ref AB12 3456 DE89 3704 0044 0532 0130 00", "3704"),
        (
            "https://cdn.example.com/v?Expires=1&Key-Pair-Id=KABCDEFGHIJ&Policy=eyJTdGF0ZW1",
            "KABCDEF",
        ),
        ("https://app.example.com/cb?code=a1B2c3D4e5&state=z9Y8x7W6", "a1B2c3"),
        ("SharedAccessKeyName=Root;SharedAccessKey=a1B2c3D4=", "a1B2c3"),
        ("jdbc:oracle:thin:scott/tigerPw@//ora:1521/x", "tigerPw"),
        ("SELECT id FROM users WHERE email = 'kate' LIMIT 1", "kate"),
        ("UPDATE t SET name='Kate' WHERE id=4", "Kate"),
        ("Duplicate entry 'kate.s' for key 'users.name'", "kate.s"),
        ('invalid input syntax for type uuid: "kate-9"', "kate-9"),
        ("invalid literal for int() with base 10: 'kate12'", "kate12"),
        ("could not convert string to float: 'kate'", "kate"),
        ("invalid input for query argument $1: 'kate-arg' (expected int)", "kate-arg"),
        ('E11000 duplicate key error dup key: { email: "kate-em" }', "kate-em"),
        ("'kate-value' is not a valid UUID", "kate-value"),
        ("'kate' is not of type 'integer'", "kate"),
        ("time data '1990-13-45' does not match format '%Y'", "1990-13"),
        ("born on 12 March 1988", "1988"),
        ("Geburtsdatum: 03.04.1985", "1985"),
        ("kate [at] example [dot] org", "kate"),
        ("curl --user 'kate:pw1234' https://x", "pw1234"),
        ("mysql -uroot -pS3cret db", "S3cret"),
        ("wget --password hunter33 url", "hunter33"),
        ("2FA code: 554433", "554433"),
        ("call me at 0171 2345678", "2345678"),
        ("fon +49 (0)30 1234567", "1234567"),
        ("06 12 34 56 78", "12 34"),
        ("0044 20 7946 0958", "7946"),
        ("(020) 7946 0958", "7946"),
        ("09-7625400", "7625400"),
        ("joined 3c:22:fb:12:34:56", "3c:22"),
        ("MAC address 00-1A-2B-3C-4D-5E", "00-1A"),
        ("2001:db8::/32", "db8"),
        ("64:ff9b::198.51.100.1", "198.51"),
        ("pay 16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ", "16Yeky"),
        ("pay bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "w508d6"),
        ("pay 0x52908400098527886E0F7030069857D2E4169EE7", "529084"),
        ('apikey "a{h}o)p$-_thisone";', "thisone"),
    ],
)
def test_a_secret_does_not_leak_from_free_text(text: str, secret: str) -> None:
    scrubbed = pii.filter_string(text)
    assert secret not in scrubbed
    assert pii.filter_string(scrubbed) == scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3.4 released",
        "2.0.0.1 is the version",
        "order 4111111111111112, order 12345678901 and order 123456789012",
        "at 1795305011 or 1795305011831",
        "ISBN 978-3-16-148410-0 and EAN 4006381333931",
        "password has expired, token is invalid, secret not found",
        "invalid token '<' at position 0",
        "UPDATE projects SET name=? WHERE projects.id = ?",
        "SELECT 'x' IS NULL",
        "'NoneType' object has no attribute 'split'",
        "cache_key=projects:list:acme:page:2",
        "partition_key=tenant-acme-2026-11-21-a1",
        "s3_key=uploads/2026/11/21/report-final.pdf",
        "pypi-attestations-models-and-more 0.0.24",
        "sha512-" + "z4PhNX7vuL3xVChQ" * 5 + "z4PhNX==",
        "checkout-7d9f8b6c5d-x2kqv on ip-10-0-12-34.ec2.internal",
        "01HCZ5V3M8J2K4N6P8R0T2V4X6",
        "Mozilla/5.0 (X11; Linux x86_64) Chrome/131.0.0.0",
        "https://example.com/a?state=processing&code=E1001",
        "00:11:22 and 12:34:56.789 and 16:9",
        "1024x768, 12,345.67 EUR, 99.95 %",
        "ABC-12345, INV-2026-001234, PO-4711",
        "passenger 1234567 on flight LH 1234",
        "2026-11-21 23:41:57,123 10 of 12 took 1234 ms",
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
