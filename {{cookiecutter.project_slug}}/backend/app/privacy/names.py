"""Names: which field names mean that the value beside them is private.

A name is split into words whatever its spelling (`apiKey`, `API_KEY`, `x-api-key`, `api.key`),
and judged by its words, its adjacent pairs of words and the whole of it written together. Safe
words at its ends (`token_count`, `max_tokens`) speak for a name, and win.
"""

import re
import unicodedata
from enum import Enum
from itertools import pairwise
from typing import Final

Verdict = Enum("Verdict", ["CLEAN", "CONTAINER", "PATH", "PHONE", "SENSITIVE", "VERSION"])
"""What a name says of its value: nothing, private if it holds other values, a file's path, a phone
number, private whatever it is, a version even where it looks like an address."""


def _table(text: str) -> list[str]:
    return text.split()


SENSITIVE_WORDS: Final = frozenset(
    _table(
        """
        apikey authorization baggage cookies creds credential credentials csrf cvc cvv dob iban jwt jwts
        otp passcode passcodes passphrase passport passwd password passwords passwort pw pwd secret
        secrets ssn token tokens totp xsrf adgangskode clave contrasena contraseña geheimnis hasło
        heslo jelszó jeton kennwort lösenord mdp parola salasana senha şifre wachtwoord пароль 密码
        密碼 口令 パスワード 비밀번호
        """
    )
)
"""A name is sensitive where one of these is among its words."""

SENSITIVE_HEADS: Final = frozenset(
    {
        "auth",
        "bearer",
        "cookie",
        "csc",
        "hmac",
        "pan",
        "pass",
        "passe",
        "pin",
        "session",
        "sid",
        "sig",
    }
    | {"signature"}
)
"""A name is sensitive where it ends in one of these, or in one of these and a word that adds
nothing: `session_id`."""

EMPTY_WORDS: Final = frozenset(
    {"code", "data", "hash", "header", "id", "ids", "key", "number", "str", "string", "value"}
)

SENSITIVE_PAIRS: Final = frozenset(
    tuple(pair.split("_"))
    for pair in _table(
        """
    access_key account_key account_number aes_key api_key auth_key auth_code authorization_code
    bank_account billing_address birth_date card_no card_num card_number client_key connection_string
    consumer_key credit_card date_birth debit_card decryption_key deploy_key driver_license
    drivers_license encryption_key first_name full_name gpg_key hmac_key home_address jwt_key
    last_name license_key mailing_address maiden_name master_key medical_record mot_passe
    national_id one_time pass_word pass_phrase pgp_key postal_address private_key recovery_code
    routing_number rsa_key secret_key service_key session_key shared_key shipping_address
    signing_key social_security sort_code ssh_key storage_key street_address subscription_key
    tax_id user_pass verification_code webhook_key
    """
    )
)
"""A name is sensitive where two of its words, side by side, are one of these."""

GLUED: Final = (
    *(
        "password",
        "passwrd",
        "passwd",
        "passphrase",
        "passcode",
        "apikey",
        "accesskey",
        "secretkey",
    ),
    *("privatekey", "signingkey", "accesstoken", "authtoken", "refreshtoken", "creditcard"),
    *("cardnumber", "socialsecurity", "sessionid", "sessid", "dateofbirth", "motdepasse"),
)
"""Written as one word (`csrfmiddlewaretoken`), a name is sensitive where it contains one of these
or ends in one of `GLUED_ENDS`."""

GLUED_ENDS: Final = ("token", "secret", "credentials", "passwort")

SAFE_FIRST: Final = frozenset(
    {"avg", "has", "is", "max", "maximum", "min", "minimum", "num", "total"}
)
"""A name that begins with one of these counts or asks: `max_tokens`, `has_password`."""

SAFE_LAST: Final = frozenset(
    _table(
        """
    algorithm allowed at attempts brand class count counts duration enabled endpoint ended error
    errors exceeded expired expires expiry format issuer kind length len level lifetime
    limit limits method mode module path policies policy provider reason required rotation scheme
    scope scopes size source started status strength supported timeout total ttl type types uri
    url usage version
    """
    )
)
"""A name that ends in one of these tells of a secret without telling it: `token_type`."""

SAFE_TOKENS: Final = frozenset({"cached", "completion", "input", "output", "prompt", "reasoning"})
"""Words beside `tokens` that make them those of a language model."""

CONTAINERS: Final = frozenset({"card", "cards", "keychain", "keyring", "vault", "wallet"})
"""Under these words a mapping or a list is private as a whole, a plain value is not."""

PHONES: Final = frozenset({"phone", "phones", "telephone", "mobile", "msisdn", "fax", "cellphone"})
"""Under these words a value with enough digits is a phone number, however it is written."""

PATHS: Final = frozenset({"abspath", "codefilepath", "filename", "filepath", "pathname"})
"""Written as one word, the names under which an absolute path is one of the file system."""

VERSIONS: Final = frozenset({"release", "version"})
"""A name that ends in one of these may hold `1.2.3.4`."""

HARMLESS_SIGNATURES: Final = frozenset({"call", "function", "method", "type"})
"""Words before `signature` that make it one of code."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")
_GLUED = re.compile("|".join(GLUED))
_LONGEST_NAME = 128
_MOST_VERDICTS = 4096


def words(name: str) -> list[str]:
    """Split a name in any spelling into its words, in lower case, without numbers at their ends."""
    normal = unicodedata.normalize("NFKC", name)
    if not normal.isascii():
        # The pattern splits camel case of ASCII; a word of another alphabet is kept whole.
        return [word for word in re.split(r"[\W\d_]+", normal.lower()) if word]
    return [word for word in map(str.lower, _WORD.findall(normal)) if not word.isdigit()]


def _is_safe(parts: list[str]) -> bool:
    if len(parts) == 1:
        return False
    return (
        parts[0] in SAFE_FIRST
        or parts[-1] in SAFE_LAST
        or ("tokens" in parts and not SAFE_TOKENS.isdisjoint(parts))
        or ("signature" in parts and not HARMLESS_SIGNATURES.isdisjoint(parts))
    )


def _judge(name: str) -> Verdict:
    # A name too long to be one is judged by its end, which is next to the value.
    parts = words(name[-_LONGEST_NAME:])
    glued = "".join(parts)
    if glued in PATHS:
        return Verdict.PATH
    if parts and parts[-1] in VERSIONS:
        return Verdict.VERSION
    if not parts or _is_safe(parts):
        return Verdict.CLEAN
    heads = parts[-1:] if parts[-1] not in EMPTY_WORDS else parts[-2:]
    if (
        not SENSITIVE_WORDS.isdisjoint(parts)
        or not SENSITIVE_HEADS.isdisjoint(heads)
        or any(pair in SENSITIVE_PAIRS for pair in pairwise(parts))
        or _GLUED.search(glued) is not None
        or parts[-1].endswith(GLUED_ENDS)
        or glued in SENSITIVE_WORDS
        or {"date", "birth"} <= set(parts)
    ):
        return Verdict.SENSITIVE
    if not CONTAINERS.isdisjoint(parts):
        return Verdict.CONTAINER
    return Verdict.CLEAN if PHONES.isdisjoint(parts) else Verdict.PHONE


class _Verdicts(dict[str, Verdict]):
    """Remembers the verdicts of a bounded number of names."""

    def __missing__(self, name: str) -> Verdict:
        if len(self) >= _MOST_VERDICTS:
            self.clear()
        verdict = _judge(name)
        if len(name) <= _LONGEST_NAME:
            self[name] = verdict
        return verdict


verdicts: Final = _Verdicts()
"""What names tell of their values, judged when first asked for."""


def judge(name: str) -> Verdict:
    """Say what a field's name tells of its value."""
    return verdicts[name]


def is_sensitive(name: str) -> bool:
    """Whether a value under this name is private whatever it looks like."""
    return verdicts[name] is Verdict.SENSITIVE
