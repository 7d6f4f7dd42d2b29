"""Patterns: the named rules that find private data in free text by its shape.

The rules stand in the order in which they are applied: what is long and certain first, what is
short and needs arithmetic last. Each says which literals a text must hold before it is searched,
and none can take more than linear time: repeats are possessive or bounded.
"""

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.privacy.checks import IBAN_LENGTHS, is_address, is_card, is_iban
from app.privacy.tokens import TOKEN_PREFIXES

FILTERED: Final = "[Filtered]"
EMAIL: Final = "[EMAIL]"
IP: Final = "[IP]"
CARD: Final = "[CARD]"
IBAN: Final = "[IBAN]"
SSN: Final = "[SSN]"
PHONE: Final = "[PHONE]"
TOKEN: Final = "[TOKEN]"  # noqa: S105 (what stands in for a token)
KEY: Final = "[KEY]"

REPLACEMENTS: Final = frozenset({FILTERED, EMAIL, IP, CARD, IBAN, SSN, PHONE, TOKEN, KEY})

_TELLING: Final = (
    r"pass(?:word|wd|phrase|code)|pwd|secrets?|tokens?|credentials?|api[ _-]?key|"
    r"(?:access|secret|private|signing|encryption)[ _-]?key|session(?:[ _-]?id)?|signature|nonce"
)
"""Words beside which a run of letters and digits is a secret."""

_ROOTS: Final = (
    "home|Users|root|var|etc|tmp|usr|opt|srv|mnt|private/var|Volumes|Library|proc|nix|Applications"
)
"""First directories of a path in a file system, not in a URL."""

_ABSOLUTE = re.compile(r"[/\\~]|[A-Za-z]:[/\\]")
_HOMES: Final = frozenset({"home", "Users"})

Replacement = str | Callable[[re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class Rule:
    """A named rule: each match of `pattern` is replaced.

    A text is searched only where it has one of the literals in `needs`, written in lower case,
    and at least so many `digits`; to see that is cheaper than to search.
    """

    name: str
    needs: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: Replacement
    digits: int = 0


def apply_rules(rules: tuple[Rule, ...], text: str) -> str:
    """Return the text without what the rules find in it, one after the other."""
    lower = text.lower()
    digits = len(_DIGIT.findall(text))
    for rule in rules:
        if digits < rule.digits:
            continue
        for literal in rule.needs:
            if literal in lower:
                break
        else:
            if rule.needs:
                continue
        text = rule.pattern.sub(rule.replacement, text)
    return text


_LONG_NUMBER = 8
_LONG_RUN = 24
_LEAST_PHONE_DIGITS = 7
_DIGIT = re.compile(r"\d")
_CAMEL = re.compile(r"[a-z][A-Z]")


def _url(match: re.Match[str]) -> str:
    if "@" not in match[0]:
        return match[0]
    return "://".join(map(_without_userinfo, match[0].split("://")))


def _without_userinfo(rest: str) -> str:
    """Replace the credentials in what follows a URL's scheme."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return f"{FILTERED}@{rest[authority.rindex('@') + 1 :]}"
    # A slash in a password that nobody encoded; a port is no password.
    user, colon, password = authority.partition(":")
    if colon and user and not password.isdigit() and "@" in rest:
        return f"{FILTERED}@{rest.rpartition('@')[2]}"
    return rest


def _looks_secret(run: str) -> bool:
    """Whether a run of characters mixes its kinds as no word of a language does."""
    has_digit = any(map(str.isdigit, run))
    has_letter = any(map(str.isalpha, run))
    return (has_digit and has_letter) or (has_digit and len(run) >= _LONG_NUMBER)


def _credential(match: re.Match[str]) -> str:
    run = match["run"]
    if run in REPLACEMENTS or not (
        any(map(str.isdigit, run)) or _CAMEL.search(run) or len(run) >= _LONG_RUN
    ):
        return match[0]
    return f"{match['scheme']}{TOKEN}"


def _beside_telling_word(match: re.Match[str]) -> str:
    if _looks_secret(match["run"]):
        return f"{match['word']}{TOKEN}"
    return match[0]


def _vendor(match: re.Match[str]) -> str:
    return _VENDOR.sub(TOKEN, match[0])


def _encoded(match: re.Match[str]) -> str:
    """Replace Base64 of a text in which another rule finds something."""
    run = match[0]
    if _ONLY_ID.fullmatch(run):
        return run
    padded = run.rstrip("=").replace("-", "+").replace("_", "/")
    padded += "=" * (-len(padded) % 4)
    try:
        plain = b64decode(padded, validate=True).decode()
    except ValueError:
        return run
    if not plain.isprintable() or (
        ":" not in plain and "=" not in plain and scrub_shapes(plain) == plain
    ):
        return run
    return TOKEN


def _address(match: re.Match[str]) -> str:
    run = match[0]
    return IP if is_address(run) else run


def _version_6(match: re.Match[str]) -> str:
    run = match[0].rstrip(":") if not match[0].endswith("::") else match[0]
    bare = run.partition("%")[0]
    # Without a digit it is code (`dead::beef`), with single colons only a time or a ratio.
    if not any(map(str.isdigit, bare)) or not is_address(bare):
        return match[0]
    return IP + match[0][len(run) :]


def _card(match: re.Match[str]) -> str:
    if match["id"]:
        return match[0]
    digits = re.sub(r"\D", "", match[0])
    return CARD if is_card(digits) else match[0]


def _iban(match: re.Match[str]) -> str:
    run = match[0]
    if match["id"]:
        return run
    wanted = IBAN_LENGTHS.get(run[:2].upper(), 0)
    seen = 0
    for end, char in enumerate(run, 1):
        seen += char.isalnum()
        if seen == wanted:
            compact = re.sub(r"[ .-]", "", run[:end]).upper()
            if is_iban(compact):
                return IBAN + run[end:]
            break
    return run


def _phone(match: re.Match[str]) -> str:
    digits = sum(map(str.isdigit, match["number"]))
    if digits < _LEAST_PHONE_DIGITS:
        return match[0]
    return match[0].replace(match["number"], PHONE)


def _last_component(match: re.Match[str]) -> str:
    return last_component(match["path"])


def is_absolute(path: str) -> bool:
    """Whether a path starts at a root, a drive, a share or a home directory."""
    return _ABSOLUTE.match(path) is not None


def last_component(path: str) -> str:
    """Cut a file path of any system down to its last component; a home directory to `~`."""
    parts = [part for part in re.split(r"[/\\]+", path) if part]
    if len(parts) > 1 and parts[-2] in _HOMES:
        return "~"
    return parts[-1] if parts else path


_VENDOR = re.compile(
    r"(?<![A-Za-z0-9])(?:" + "|".join(TOKEN_PREFIXES) + r")[\w\-.=+/~%]{8,}", re.ASCII
)

_LOCAL = r"[\w.!#$%&*+?^`|~-]"
_HOST = r"(?:[^\W_](?:[\w-]{0,62})\.){1,8}(?:xn--[\w-]{1,59}|[^\W\d_]{2,63})"

_ID: Final = (
    r"(?P<id>(?<![A-Za-z0-9])(?i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?=[0-9]{0,31}[a-f])(?:[0-9a-f]{32}|(?!be[0-9]{14})[0-9a-f]{16}))(?![A-Za-z0-9]))"
)
"""A UUID, or the id of a trace or a span. The rules for accounts, cards and Base64 step over it:
among ids made at random, one in some thousands would pass for one of these. A letter tells an id
of 16 digits from a card; and a Belgian account, alone among accounts, has the form of an id."""

_ONLY_ID = re.compile(_ID)

PEM: Final = (
    Rule(
        "pem",
        ("-----begin",),
        re.compile(
            r"-----BEGIN (?!CERTIFICATE|PUBLIC)[A-Z0-9 ]{1,40}-----.*?"
            r"(?:-----END [A-Z0-9 ]{1,40}-----|\Z)",
            re.DOTALL,
        ),
        KEY,
    ),
)

NUMBERS: Final = (
    Rule(
        "iban",
        (),
        re.compile(_ID + r"|(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ .-]?[A-Za-z0-9]){11,40}"),
        _iban,
        digits=10,
    ),
    Rule(
        "card",
        (),
        re.compile(
            rf"{_ID}|"
            r"(?<![\d.+])(?:\d{13,19}|\d{4}(?P<a>[ .-])\d{4}(?P=a)\d{4}(?P=a)\d{1,7}|"
            r"\d{4}(?P<b>[ .-])\d{6}(?P=b)\d{4,5})(?![\d])"
        ),
        _card,
        digits=13,
    ),
    Rule(
        "ssn",
        (),
        re.compile(
            r"(?<![\w-])(?!000|666)\d{3}([- ])(?!00)\d{2}\1(?!0000)\d{4}(?![\w-])"
            r"|(?<=\b[Ss][Ss][Nn] )\d{9}\b|(?<=\b[Ss][Ss][Nn] is )\d{9}\b"
        ),
        SSN,
        digits=9,
    ),
    Rule(
        "phone",
        (),
        re.compile(
            r"(?P<number>(?<![\w+])\+\d(?:[ ().-]{0,2}\d){6,15}(?![\w])"
            r"|(?<![\w.-])\(\d{3}\) ?\d{3}[ .-]\d{4}(?![\w-])"
            r"|(?<![\w.-])\(0\d{1,5}\) ?\d{3,4}[ -]?\d{3,6}(?![\w-])"
            r"|(?<![\w.-])(?:1[ .-])?\d{3}([ .-])\d{3}\2\d{4}(?![\w-])(?!\.\d))"
        ),
        _phone,
        digits=7,
    ),
    Rule(
        "phone-beside-word",
        ("tel", "phone", "mobile", "cell", "call", "fax", "whatsapp", "sms", "dial"),
        re.compile(
            r"(?i:\b(?:tel|phone|mobile|cell|call|fax|whatsapp|sms|dial)\b)"
            r"[ .:#=]{1,3}(?P<number>\(?\d(?:[ ()/.-]{0,2}\d){6,14})(?!\w)"
        ),
        _phone,
        digits=7,
    ),
)
"""The rules for numbers that may be written with spaces, which end a value beside its name."""

SHAPES: Final = (
    Rule("url-credentials", ("://",), re.compile(r"://[^\s\"'<>]{3,}+"), _url),
    Rule(
        "bare-credentials",
        ("@",),
        re.compile(
            r"(?<![\w/.:-])[A-Za-z][\w.-]{0,63}:[^\s:@/\"'<>]{3,64}@(?!sha\d)(?=[\w-]+[.:])"
        ),
        f"{FILTERED}@",
    ),
    Rule(
        "url-code",
        ("code=",),
        re.compile(r"(?<=[?&])(code=)[^\s&#\"']{8,}"),
        rf"\1{FILTERED}",
    ),
    Rule(
        "webhook-url",
        ("hooks.slack.com/", "/api/webhooks/", "webhook.office.com/"),
        re.compile(r"(hooks\.slack\.com/|/api/webhooks/|webhook\.office\.com/)[^\s\"'<>]+"),
        rf"\1{TOKEN}",
    ),
    Rule(
        "sql-parameters",
        ("[parameters:",),
        re.compile(r"\[parameters:.*?(?:\](?=\n|\Z|\s*\()|\Z)", re.DOTALL),
        f"[parameters: {FILTERED}]",
    ),
    Rule(
        "constraint-detail",
        (")=(", "row contains ("),
        re.compile(
            r"(\)=\(|row contains \()(?!\[Filtered\]\)).*?(?:\)(?=[\s.,]|\Z)|\Z)", re.DOTALL
        ),
        rf"\1{FILTERED})",
    ),
    Rule(
        "validation-input",
        ("input_value=",),
        re.compile(r"(input_value=).*?(?=, input_type=|\Z)", re.DOTALL),
        rf"\1{FILTERED}",
    ),
    Rule(
        "sql-values",
        ("values",),
        re.compile(r"(?<=[(, ])'(?!\[Filtered\]')(?:[^']|'')*+'(?=[,)\s])"),
        f"'{FILTERED}'",
    ),
    Rule("digest", ("digest ",), re.compile(r"\b([Dd]igest\s{1,4})\w{1,32}=.*"), rf"\1{TOKEN}"),
    Rule(
        "command-line",
        ("-u ", "--user ", " -p"),
        re.compile(
            r"((?<!\S)-u |(?<!\S)--user )(?!\[Filtered\])[^\s:]{1,64}:\S++"
            r"|\b((?:mysql|mysqldump|mariadb) -p)\S++"
        ),
        rf"\1\2{FILTERED}",
    ),
    Rule(
        "credential",
        ("bearer", "basic", "negotiate", "token", "digest", "apikey"),
        re.compile(
            r"\b(?P<scheme>(?i:bearer|basic|negotiate|token|digest|apikey)\s{1,4})"
            r"(?P<run>[\w\-.=+/~:%]{8,}+)"
        ),
        _credential,
    ),
    Rule(
        "jwt",
        ("eyj",),
        re.compile(r"(?<![\w-])eyJ[\w-]{6,}+\.[\w-]{4,}+(?:\.[\w-]*+){0,3}", re.ASCII),
        TOKEN,
    ),
    Rule("vendor-token", (), re.compile(r"[\w\-.=+/~%]{12,}+", re.ASCII), _vendor, digits=1),
    Rule(
        "bot-token",
        (),
        re.compile(
            r"(?<!\d)\d{8,10}:AA[\w-]{32,36}"
            r"|(?<![\w.-])[A-Za-z0-9_-]{23,28}\.[\w-]{6,7}\.[\w-]{27,64}(?![\w.-])",
            re.ASCII,
        ),
        TOKEN,
        digits=3,
    ),
    Rule(
        "encoded", (), re.compile(r"(?<![\w+/-])[\w+/-]{16,}+={0,2}", re.ASCII), _encoded, digits=1
    ),
    Rule(
        "email",
        ("@", "\uff20"),
        re.compile(rf"(?:(?<!{_LOCAL}){_LOCAL}++|\"[^\"\n]" + r"{1,64}\")" + rf"[@\uff20]{_HOST}"),
        EMAIL,
    ),
    Rule(
        "ipv6",
        (":",),
        re.compile(
            r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}"
            r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4})(?:%[\w.-]{1,16})?(?![\w:])",
            re.ASCII,
        ),
        _version_6,
        digits=1,
    ),
    Rule(
        "ipv4",
        (".",),
        re.compile(
            r"(?<![\w.])(?<![=~<>]=)(?<!(?i:version)[ =:/])(?<!(?i:version): )(?<!\bv)"
            r"(?<!(?i:release) )(?<![A-Za-z]/(?=\d{1,3}\.0\.0))"
            r"\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d|-\w)",
            re.ASCII,
        ),
        _address,
        digits=4,
    ),
    Rule(
        "short-code",
        ("pin", "otp", "cv", "passcode", " code"),
        re.compile(
            r"(?P<word>\b(?i:pin|otp|cvv|cvc|passcode|(?:verification|security|access) code)"
            r"(?: is| was|:)?[ \t]{1,3})(?P<run>\d{3,8})(?![\w.])"
        ),
        rf"\g<word>{TOKEN}",
        digits=3,
    ),
    Rule(
        "beside-telling-word",
        ("pass", "pwd", "secret", "token", "credential", "key", "session", "signature", "nonce"),
        re.compile(
            rf"(?P<word>\b(?i:{_TELLING})(?: (?:is|was|of|for|with))?[ \t]+[\"'`(<]?)"
            r"(?P<run>[^\s\"'`<>()\[\],;]{6,}+)"
        ),
        _beside_telling_word,
        digits=1,
    ),
    Rule(
        "windows-path",
        ("\\",),
        re.compile(
            r"(?P<path>(?<![A-Za-z])(?:[A-Za-z]:\\{1,4}|\\{2,4}(?=[\w.$-]{1,64}\\))"
            r"(?:[^\\/:*?\"'<>|\r\n]{1,128}\\{1,4}){0,32}[^\\/:*?\"'<>|\s]*+)"
        ),
        _last_component,
    ),
    Rule(
        "path",
        ("/",),
        re.compile(rf"(?P<path>(?<![\w.\-])(?:~[\w.-]*+/|/(?:{_ROOTS})/)[^\s\"'<>,;:()|]*+)"),
        _last_component,
    ),
)
"""The rules by shape, in the order in which they are applied."""


def scrub_keys(text: str) -> str:
    """Replace keys in PEM blocks."""
    return apply_rules(PEM, text) if "-----" in text else text


def scrub_numbers(text: str) -> str:
    """Replace the numbers of people, cards and accounts."""
    return apply_rules(NUMBERS, text) if _DIGIT.search(text) else text


def scrub_shapes(text: str) -> str:
    """Replace what any rule but those for numbers finds by its shape."""
    return apply_rules(SHAPES, text)
