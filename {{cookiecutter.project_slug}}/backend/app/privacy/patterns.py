"""Patterns: the named rules that find private data in free text by its shape.

The rules stand in the order in which they are applied: what is long and certain first, what is
short and needs arithmetic last. Each says which literals a text must hold before it is searched,
and none can take more than linear time: repeats are possessive or bounded.
"""

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from app.privacy.checks import (
    GROUP_LENGTHS,
    IBAN_LENGTHS,
    is_address,
    is_card,
    is_iban,
    is_wallet,
    national_numbers,
)
from app.privacy.tokens import BY_FIRST, LED, LED_BY, MARKED

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
    r"pass(?:word|wd|phrase|code|wort)|pwd|kennwort|contraseña|senha|wachtwoord|mot de passe|"
    r"secrets?|tokens?|credentials?|api[ _-]?key|"
    r"(?:access|secret|private|signing|encryption)[ _-]?key|session(?:[ _-]?id)?|signature|nonce"
)
"""Words beside which a run of letters and digits is a secret."""


def _table(text: str) -> list[str]:
    return text.split()


_NUMBER_WORDS: Final = frozenset(
    _table(
        """
    aadhaar aadhar aba abn acn ahv amka ausweisnummer beneficiary bsn bsnr cnp cnpj cpf cpr cuil
    cuit curp dea dni egn emso finn fødselsnummer führerschein henkilötunnus hetu idnr iin imei
    insee itin jmbg kennitala krankenversichertennummer kvnr lanr licence license mbi medicaid
    medicare mrn nhs nie nif nin nino nip nir npi nric oib pan passeport passport
    personalausweis personnummer pesel plate pps regon reisepass rfc rrn rtn rut sin
    sozialversicherungsnummer ssn steueridentifikationsnummer steuernummer svnr taxpayer tckn
    tfn tin tnin uen versichertennummer voter
        """
    )
)
"""Words beside which a run with digits is the number of a person."""

_NUMBERED_WORDS: Final = frozenset(
    _table(
        """
    account bank driver drivers driving health identification identity insurance national
    provider registration routing security social steuer tax vat vehicle
        """
    )
)
"""The same, where a word such as `number` stands between the two."""

_COUNTING_WORDS: Final = frozenset(
    {"card", "code", "file", "id", "identifier", "no", "nr", "num", "number", "nummer"}
)
_LINKING_WORDS: Final = frozenset(
    {"as", "at", "be", "for", "has", "is", "ist", "lautet", "me", "my", "of", "on", "the", "was"}
)

_PHONE_WORDS: Final = frozenset(
    _table(
        """
    call cell cellphone contact dial fax handy mobil mobile phone ring sms tel telefon telefone
    telefono telephone téléphone whatsapp
        """
    )
)
"""Words beside which a run of digits is a phone number."""

_SERVICE_WORDS: Final = frozenset(
    _table(
        """
    algolia amplitude artif artifactory asana bitly bittrex braintree cloudant codecov cohere
    coinbase confluent datadog deepgram docusign droneci dropbox dynatrace etsy facebook fastly
    finnhub flickr freshbooks ftp gitter heroku ibm instagram intercom jfrog kraken kucoin
    linkedin looker mattermost maxmind messagebird nytimes okta pagerduty paypal plaid rapidapi
    segment sendbird shodan softlayer spotify square squarespace sumologic travisci trello
    twilio twitch twitter zendesk zoom
        """
    )
)
"""Services whose tokens have no prefix: a run of letters and digits beside their names is one."""

ROOTS: Final = (
    "home|Users|root|var|etc|tmp|usr|opt|srv|mnt|private/var|Volumes|Library|proc|nix|Applications"
)
"""First directories of a path in a file system, not in a URL."""

_STARTS: Final = ("/", "\\", "~")
_AFTER_DRIVE: Final = (":/", ":\\")
_HOMES: Final = frozenset({"home", "Users"})

QUOTES: Final = "'\"“"

Replacement = str | Callable[[re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class Rule:
    """A named rule: each match of `pattern` is replaced.

    A text is searched only where it has one of the literals in `needs`, written in lower case, one
    of the `signs`, a sign as often as it is `repeated`, and at least so many `digits`; to see that
    is cheaper than to search.
    """

    name: str
    needs: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: Replacement
    digits: int = 0
    signs: str = ""
    repeated: str = ""


_LONG_NUMBER = 8
_LONG_RUN = 24
_LEAST_PHONE_DIGITS = 7
_MOST_PHONE_DIGITS = 15
_LEAST_NUMBER_DIGITS = 5
_LEAST_COLONS = 2
_MOST_ACCOUNTS = 4
_JOINED = str.maketrans("", "", " .-")
_DIGIT = re.compile(r"\d")
_CAMEL = re.compile(r"[a-z][A-Z]")
_WORD = re.compile(r"[^\W\d_]+")
_MIXED = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[\w+/-]+={0,2}", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9][\w-]{9,}+", re.ASCII)
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
_ACCOUNT = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}")
ONLY_ID = re.compile(
    r"(?<![A-Za-z0-9])(?i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?=[0-9]{0,31}[a-f])(?:[0-9a-f]{32}|(?!be[0-9]{14})[0-9a-f]{16}))(?![A-Za-z0-9])"
)
"""A UUID, or the id of a trace or a span. The rules for accounts, cards and Base64 step over it:
among ids made at random, one in some thousands would pass for one of these. A letter tells an id
of 16 digits from a card; and a Belgian account, alone among accounts, has the form of an id."""

_LONGEST_ID = 36


def _around(match: re.Match[str]) -> tuple[str, str]:
    """Return the characters before and after a match; none at the ends of the text."""
    start, end = match.span()
    return match.string[start - 1 : start] if start else "", match.string[end : end + 1]


def _within_id(text: str, start: int, end: int) -> bool:
    first = max(start - _LONGEST_ID, 0)
    return any(
        each.start() < end and start < each.end()
        for each in ONLY_ID.finditer(text, first, end + _LONGEST_ID)
    )


def _words_before(match: re.Match[str]) -> list[str]:
    """Return the last words before a match in lower case, the nearest first."""
    start = match.start()
    return _WORD.findall(match.string[max(start - 48, 0) : start].lower())[:-7:-1]


def _is_told(match: re.Match[str], words: frozenset[str], numbered: frozenset[str]) -> bool:
    """Whether the text before a match says what it is, with nothing but links between."""
    counted = False
    for word in _words_before(match):
        if word in words or (counted and word in numbered):
            return True
        # Of two such words, as in `driver license` or `bank account`, the first is enough.
        if word in _COUNTING_WORDS or word in numbered:
            counted = True
        elif word not in _LINKING_WORDS:
            return False
    return False


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


def _parameter(match: re.Match[str]) -> str:
    run = match["run"]
    if match["sure"] or _looks_secret(run) or len(run) >= _LONG_RUN:
        return f"{match['name']}{FILTERED}"
    return match[0]


def _key(match: re.Match[str]) -> str:
    run = match["run"]
    before = match.string[max(match.start() - 24, 0) : match.start()]
    if not _looks_secret(run) or _HARMLESS_KEY.search(before) or ONLY_ID.fullmatch(run):
        return match[0]
    return f"{match['name']}{FILTERED}"


def _vendor(match: re.Match[str]) -> str:
    """Replace what begins as the tokens of a service do, or stands beside the name of one."""
    text, (begin, end) = match.string, match.span()
    for part in _PART.finditer(text, begin, end):
        start = part.start()
        shape = BY_FIRST.get(text[start])
        token = shape.match(text, start, end) if shape else None
        if token is None and text[start - 2 : start] in LED_BY:
            token = LED.match(text, start, end)
        if token is not None:
            return f"{text[begin:start]}{TOKEN}{text[token.end() : end]}"
    run = match[0]
    if (
        _MIXED.fullmatch(run)
        and (len(run) >= _LONG_RUN or run.isalnum())
        and not ONLY_ID.fullmatch(run)
        and not _SERVICE_WORDS.isdisjoint(_words_before(match)[:4])
    ):
        return TOKEN
    return run


def _wallet(match: re.Match[str]) -> str:
    if _around(match)[0].isalnum() or not is_wallet(match[0]):
        return match[0]
    return TOKEN


def _encoded(match: re.Match[str]) -> str:
    """Replace Base64 of a text in which another rule finds something."""
    run = match[0]
    if _around(match)[0] in {"+", "/", "-"} or ONLY_ID.fullmatch(run):
        return run
    padded = run.rstrip("=").replace("-", "+").replace("_", "/")
    padded += "=" * (-len(padded) % 4)
    try:
        plain = b64decode(padded, validate=True).decode()
    except ValueError:
        return run
    if not plain.isprintable() or (
        ":" not in plain and "=" not in plain and scrub_shapes(plain, []) == plain
    ):
        return run
    return TOKEN


def _address(match: re.Match[str]) -> str:
    run = match[0]
    if not is_address(run):
        return run
    before, after = _around(match)
    start, end = match.span()
    lead = match.string[max(start - _LONGEST_LEAD, 0) : start]
    if (
        before.isalnum()
        or before in {"_", "."}
        or (before == "=" and lead[-2:-1] in _COMPARISONS)
        or lead.rstrip(" =:/").lower().endswith(_VERSION_WORDS)
        # The number of a browser, as in `Chrome/120.0.0.0`.
        or (before == "/" and lead[-2:-1].isalpha() and run.endswith(".0.0"))
        or (after and _GOES_ON.match(match.string, end))
    ):
        return run
    return IP


def _address_6(match: re.Match[str]) -> str:
    run = match[0]
    before, after = _around(match)
    run = run.rstrip(":.") if not run.endswith("::") else run
    bare = run.partition("%")[0]
    if (
        bare.count(":") < _LEAST_COLONS
        or (before and (before.isalnum() or before in "_:."))
        or (after.isalnum() and len(run) == len(match[0]))
    ):
        return match[0]
    if _MAC.fullmatch(bare):
        return IP + match[0][len(run) :]
    # Without a digit it is code (`dead::beef`), with single colons only a time or a ratio.
    if not any(map(str.isdigit, bare)) or not is_address(bare):
        return match[0]
    return IP + match[0][len(run) :]


def _card(match: re.Match[str]) -> str:
    before = _around(match)[0]
    if before.isalnum() or before in {".", "+", "_"}:
        return match[0]
    digits = re.sub(r"\D", "", match[0])
    return CARD if is_card(digits) and not _within_id(match.string, *match.span()) else match[0]


def _iban(match: re.Match[str]) -> str:
    text, (begin, end) = match.string, match.span()
    for account in islice(_ACCOUNT.finditer(text, begin, end), _MOST_ACCOUNTS):
        start = account.start()
        wanted = IBAN_LENGTHS.get(account[0][:2].upper(), 0)
        compact = text[start:end].translate(_JOINED)[:wanted].upper()
        if not wanted or not is_iban(compact):
            continue
        stop = start
        while wanted:
            wanted -= text[stop].isalnum()
            stop += 1
        if not _within_id(text, start, stop):
            return f"{text[begin:start]}{IBAN}{text[stop:end]}"
    return match[0]


def _national(match: re.Match[str]) -> str:
    run = match[0].rstrip("./+-")
    before, after = _around(match)
    if before and (before.isalnum() or before in "_.-+%$"):
        return match[0]
    if len(run) == len(match[0]) and (after.isalnum() or after == "_"):
        return match[0]
    if national_numbers(run) or (
        sum(map(str.isdigit, run)) >= _LEAST_NUMBER_DIGITS
        and not _DATE.match(run)
        and _is_told(match, _NUMBER_WORDS, _NUMBERED_WORDS)
    ):
        return SSN + match[0][len(run) :]
    return match[0]


def _national_spaced(match: re.Match[str]) -> str:
    before, after = _around(match)
    groups = match[0].split(" ")
    first = 1 if before and (before.isalnum() or before in "_.,:+-") else 0
    last = len(groups) - (after.isalnum() or after in {"_", "-", ":"})
    lengths = tuple(map(len, groups))
    for start in range(first, last):
        for end in range(last, start + 1, -1):
            if lengths[start:end] in GROUP_LENGTHS and national_numbers(
                " ".join(groups[start:end])
            ):
                return " ".join([*groups[:start], SSN, *groups[end:]])
    if not first and _is_told(match, _NUMBER_WORDS, _NUMBERED_WORDS):
        return SSN
    return match[0]


def _phone(match: re.Match[str]) -> str:
    before, after = _around(match)
    window = f"{before}{match[0]}{after}"
    digits = sum(map(str.isdigit, match[0]))
    if digits < _LEAST_PHONE_DIGITS:
        return match[0]
    scrubbed = window if match[0].isdigit() else _PHONE.sub(PHONE, window)
    if scrubbed != window:
        return scrubbed[len(before) : len(scrubbed) - len(after)]
    if (
        digits <= _MOST_PHONE_DIGITS
        and not before.isalnum()
        and not after.isalnum()
        and not _DATE.match(match[0])
        and _is_told(match, _PHONE_WORDS, _PHONE_WORDS)
    ):
        return PHONE
    return match[0]


def _last_component(match: re.Match[str]) -> str:
    return last_component(match["path"])


def is_absolute(path: str) -> bool:
    """Whether a path starts at a root, a drive, a share or a home directory."""
    return path[:1] in _STARTS or (path[1:3] in _AFTER_DRIVE and path[0].isalpha())


def last_component(path: str) -> str:
    """Cut a file path of any system down to its last component; a home directory to `~`."""
    parts = [part for part in path.replace("\\", "/").split("/") if part]
    if len(parts) > 1 and parts[-2] in _HOMES:
        return "~"
    return parts[-1] if parts else path


_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+[1-9](?:[ ().-]{0,2}[0-9]){6,15}(?!\w)"
    r"|\([0-9]{2,5}\) ?[0-9]{3,5}(?:[ .-]?[0-9]{2,5}){1,2}(?![\w-])"
    r"|00[1-9][0-9]{0,2}[ .-](?:[ ().-]{0,2}[0-9]){6,12}(?![\w-])"
    r"|0[1-9](?P<b>[ .-])[0-9]{2}(?:(?P=b)[0-9]{2}){3}(?![\w-])"
    r"|0[0-9]{1,4}(?:(?P<c>[ -])[0-9]{3,4}(?P=c)[0-9]{3,4}|[/-][0-9]{5,8})(?![\w-])"
    r"|0[1-9][0-9]{1,3} [0-9]{6,8}(?![\w-])"
    r"|(?:1[ .-])?[0-9]{3}(?P<a>[ .-])[0-9]{3}(?P=a)[0-9]{4}(?![\w-])(?!\.[0-9]))"
)
"""Phone numbers with the sign of their country, or in the usual groups of one."""

_DATE = re.compile(r"(?:19|20)[0-9]{2}[-./]?(?:0[1-9]|1[0-2])(?:[-./]|[0-3][0-9])")
_LONGEST_LEAD = 12
_COMPARISONS: Final = frozenset("=~<>!^")
_VERSION_WORDS: Final = ("version", "release", "build")
_GOES_ON = re.compile(
    r"\w|\.[0-9]|-[A-Za-z0-9]|,? is the (?:[\w-]{1,12} )?(?:version|release)", re.ASCII
)
"""What follows a version that looks like an address."""

_HARMLESS_KEY = re.compile(
    r"(?i:public|primary|foreign|cache|partition|routing|object|idempotency|sort|dedup\w*|row|lock"
    r"|group|ordering|s3|bucket|hash|range|unique|message|event|trace)[ _.-]?\Z"
)

_LOCAL = r"[\w.!#$%&*+?^`|~-]"
_HOST = r"(?:[^\W_](?:[\w-]{0,62})\.){1,8}(?:xn--[\w-]{1,59}|[^\W\d_]{2,63})"
_SINGLE = r"'(?!\[Filtered\]')(?:[^'\\]|''|\\.){0,1024}+(?:'|\Z)"
_CURLY = r"“[^”\n]{1,512}+”"
_DOUBLE = r'"(?!\[Filtered\]")(?:[^"\\]|\\.){0,1024}+(?:"|\Z)'

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
        "vendor-token",
        (),
        re.compile(r"[\w-]{13,}+(?:[.+/:=][\w-]++){0,16}+={0,2}", re.ASCII),
        _vendor,
    ),
    Rule(
        "vendor-token-marked",
        tuple(mark for _, mark, _ in MARKED),
        re.compile(
            rf"(?<![A-Za-z0-9])(?:bot)?(?:{'|'.join(shape for _, _, shape in MARKED)})", re.ASCII
        ),
        TOKEN,
        digits=1,
    ),
    Rule(
        "iban",
        (),
        re.compile(r"[A-Za-z]{2}[0-9]{2}(?:[ .-]?[A-Za-z0-9]){11,60}"),
        _iban,
        digits=10,
    ),
    Rule(
        "card",
        (),
        re.compile(
            r"[0-9]{4}(?:[0-9]{9,15}|(?P<a>[ .-])[0-9]{4}(?P=a)[0-9]{4}(?P=a)[0-9]{1,7}"
            r"|(?P<b>[ .-])[0-9]{6}(?P=b)[0-9]{4,5})(?![0-9])"
        ),
        _card,
        digits=13,
    ),
    Rule(
        "national-number",
        (),
        re.compile(
            r"[0-9A-Z](?:(?=[A-Z]{0,5}-?[0-9])[0-9A-Za-z./+-]{5,19}(?:\([0-9A]\))?"
            r"|[A-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b)"
        ),
        _national,
        digits=4,
    ),
    Rule(
        "national-number-in-groups",
        (" ",),
        re.compile(r"[0-9][0-9.-]{0,11}(?: [0-9]{1,9}){1,6}"),
        _national_spaced,
        digits=9,
    ),
    Rule(
        "phone",
        (),
        re.compile(r"[+(0-9][0-9 ()./-]{5,24}[0-9]"),
        _phone,
        digits=7,
    ),
)
"""The rules for numbers, which may be written with spaces, so that a name would hide one but in
part; and before them those for the tokens of services, which may hold such numbers."""

SHAPES: Final = (
    Rule("url-credentials", ("://",), re.compile(r"://[^\s\"'<>]{3,}+"), _url),
    Rule(
        "bare-credentials",
        ("@",),
        re.compile(
            r"(?<![\w/.:-])[A-Za-z][\w.-]{0,63}:[^\s:@/\"'<>]{3,64}@(?!sha\d)(?=[\w-]+[.:])"
        ),
        f"{FILTERED}@",
        signs=":",
    ),
    Rule(
        "oracle-credentials",
        (":thin:", ":oci:"),
        re.compile(r"(:(?:thin|oci):)[^\s/@]{1,64}/[^\s@]{1,64}@"),
        rf"\1{FILTERED}@",
    ),
    Rule(
        "url-code",
        ("code=", "state=", "policy=", "key-pair-id=", "saml", "ticket=", "assertion=", "nonce="),
        re.compile(
            r"(?P<name>(?<=[?&])(?i:[\w-]{0,24}code|state|ticket|nonce"
            r"|(?P<sure>policy|key-pair-id|saml\w{1,9}"
            r"|assertion))=)(?P<run>[^\s&#\"']{8,}+)"
        ),
        _parameter,
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
        "duplicate-document",
        ("dup key: {",),
        re.compile(r"(dup key: )\{(?! \[Filtered\] \}).*?(?:\}|\Z)", re.DOTALL),
        r"\1{ " + FILTERED + " }",
    ),
    Rule(
        "validation-input",
        ("input_value=",),
        re.compile(r"(input_value=).*?(?=, input_type=|\Z)", re.DOTALL),
        rf"\1{FILTERED}",
    ),
    Rule(
        "validation-item",
        ("input': ", 'input": '),
        re.compile(
            rf"(?P<before>\\?['\"]input\\?['\"]: )(?:{_SINGLE}|{_DOUBLE})" r"(?=[,\s}]|\Z)",
            re.DOTALL,
        ),
        rf"\g<before>'{FILTERED}'",
    ),
    Rule(
        "rejected-value",
        (
            *("duplicate entry", "invalid ", "incorrect ", "could not convert", "query argument"),
            *("out of range: ", "malformed ", "denied for user", "failed for user", "got "),
        ),
        re.compile(
            r"(?P<before>\b(?i:duplicate entry|could not convert string to \w{1,16}:"
            r"|query argument \$\d{1,5}:"
            r"|(?:invalid|incorrect)\b[\w ()]{0,48}:|malformed [\w ]{1,32}:|out of range:"
            r"|(?:denied|failed) for user|\bgot(?: value)?) ?)"
            rf"(?:{_SINGLE}|{_DOUBLE})",
            re.DOTALL,
        ),
        rf"\g<before>'{FILTERED}'",
        signs=QUOTES,
    ),
    Rule(
        "rejected-value-first",
        (
            "not of type",
            "one of",
            " valid",
            "not match",
            "not appear",
            " is too ",
            "was unexpected",
        ),
        re.compile(
            rf"(?:{_SINGLE}|{_DOUBLE}|{_CURLY})"
            r"(?= (?:is not (?:of type|one of|an? |valid)|does not (?:match|appear)"
            r"|is too (?:short|long)|was unexpected))"
        ),
        f"'{FILTERED}'",
        signs=QUOTES,
    ),
    Rule(
        "sql-literal",
        ("where ", "values", "update "),
        re.compile(
            r"(?P<before>(?:[=<>(,]|\b(?i:like|in|values|between|and|then|else)\b) ?)[eEnNbB]?"
            r"'(?!\[Filtered\]')(?:[^']|'')*+'(?=[,)\s;]|\Z)"
        ),
        rf"\g<before>'{FILTERED}'",
        signs="'",
    ),
    Rule("digest", ("digest ",), re.compile(r"\b([Dd]igest\s{1,4})\w{1,32}=.*"), rf"\1{TOKEN}"),
    Rule(
        "command-line",
        ("-u ", "--", " -p"),
        re.compile(
            r"((?<!\S)(?:-u|--user)[ =]{1,4})(?!\[Filtered\])[^\s:]{0,64}:\S++"
            r"|\b((?:mysql|mysqldump|mariadb)\b[^|;\n]{0,64}? -p)(?!\[Filtered\])\S++"
            r"|((?<!\S)--?[\w-]{0,40}(?:password|passwd|pass|pwd|token|secret|key) )"
            r"(?!\[Filtered\]|-)\S++"
        ),
        rf"\1\2\3{FILTERED}",
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
        "credential-pair",
        ("[filtered] /", "[filtered] |"),
        re.compile(r"(\[Filtered\]) [/|] (?!\[Filtered\])\S++"),
        rf"\1 / {FILTERED}",
    ),
    Rule(
        "secret-of-someone",
        ("pass", "pwd", "secret", "token", "credential", "key", "session", "kennwort", "pin "),
        re.compile(
            rf"(?P<word>\b(?i:{_TELLING}|pin) (?:for|of|für|fuer|von|pour|de|del)"
            r" [^\s:=]{1,64}+(?: [^\s:=]{1,64}+)?(?:\s?[:=]\s?| (?:is|was|ist) (?=\S*\d)))"
            r"(?!\[[A-Z])\S++"
        ),
        rf"\g<word>{FILTERED}",
    ),
    Rule(
        "jwt",
        ("eyj",),
        re.compile(r"(?<![\w-])eyJ[\w-]{6,}+\.[\w-]{4,}+(?:\.[\w-]*+){0,3}", re.ASCII),
        TOKEN,
    ),
    Rule(
        "wallet",
        (),
        re.compile(
            r"[013b](?<![0-9A-Za-z].)(?:(?<=b)c1[02-9ac-hj-np-z]{36,71}|(?<=0)x[0-9a-fA-F]{40}"
            r"|(?<=[13])[1-9A-HJ-NP-Za-km-z]{25,34})(?!\w)",
            re.ASCII,
        ),
        _wallet,
        digits=1,
    ),
    Rule("encoded", (), re.compile(r"[\w+/-]{16,}+={0,2}", re.ASCII), _encoded, digits=1),
    Rule(
        "email",
        ("@", "\uff20"),
        re.compile(rf"(?:(?<!{_LOCAL}){_LOCAL}++|\"[^\"\n]" + r"{1,64}\")" + rf"[@\uff20]{_HOST}"),
        EMAIL,
    ),
    Rule(
        "email-spelled-out",
        ("[at]",),
        re.compile(
            r"(?<![\w.+-])[\w.+-]{1,64}+ ?\[at\] ?(?:[\w-]{1,63}+ ?(?:\[dot\]|\.) ?){1,4}"
            r"[A-Za-z]{2,24}\b"
        ),
        EMAIL,
    ),
    Rule(
        "ipv6",
        (":",),
        re.compile(
            r"[0-9A-Fa-f:](?=[0-9A-Fa-f]{0,3}:)[0-9A-Fa-f:]{2,45}+(?:\.[0-9]{1,3}){0,3}"
            r"(?:%[\w.-]{1,16})?"
        ),
        _address_6,
        digits=1,
        repeated="::",
    ),
    Rule(
        "hardware-address",
        ("mac", "hardware", "physical", "ethernet", "bssid"),
        re.compile(
            r"(?<![\w-])(?:[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}"
            r"|[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2})"
            r"(?![\w-])"
        ),
        IP,
    ),
    Rule(
        "ipv4",
        (".",),
        re.compile(r"[0-9](?<![\w.][0-9])[0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"),
        _address,
        digits=4,
        repeated="...",
    ),
    Rule(
        "birth-date",
        ("born", "dob", "birth", "geb", "naissance", "nacimiento", "nascita", "nascimento"),
        re.compile(
            r"(?P<word>\b(?i:born|dob|d\.o\.b\.?|birth ?da(?:te|y)|date of birth"
            r"|geb(?:oren|urtsdatum)?\.?"
            r"|(?:date|fecha|data) d[ei] (?:naissance|nacimiento|nascita|nascimento))"
            r"(?: (?:on|is|was|am|le|el|il))?[ :=]{1,3})"
            r"(?:\d{1,4}(?:st|nd|rd|th)?[./ -]\s?(?:\d{1,2}|[^\W\d_]{3,10})[./ -]\s?\d{1,4}"
            r"|[A-Z][a-z]{2,8} \d{1,2},? \d{4}"
            r"|\d{8}\b)"
        ),
        rf"\g<word>{FILTERED}",
        digits=4,
    ),
    Rule(
        "short-code",
        ("pin", "otp", "cv", "passcode", " code"),
        re.compile(
            r"(?P<word>\b(?i:pin(?: code)?|otp|cvv|cvc|passcode|(?:verification|security|access|2fa|mfa|login"
            r"|sms|confirmation|auth|authentication|one[ -]time) (?:code|password))"
            r"(?: is| was|:)?[ \t]{1,3})(?P<run>\d{3,8})(?![\w.])"
        ),
        rf"\g<word>{TOKEN}",
        digits=3,
    ),
    Rule(
        "beside-telling-word",
        (
            *("pass", "pwd", "secret", "token", "credential", "key", "session", "signature"),
            *("nonce", "kennwort", "contraseña", "senha", "wachtwoord"),
        ),
        re.compile(
            rf"(?P<word>\b(?i:{_TELLING})(?: (?:is|was|of|for|with|ist|war|lautet|est|es))?"
            r"[ \t]+[\"'`(<]?)"
            r"(?P<run>[^\s\"'`<>()\[\],;]{6,}+)"
        ),
        _beside_telling_word,
        digits=1,
    ),
    Rule(
        "quoted-secret",
        ("api_key", "apikey", "private_key", "passw", "secret"),
        re.compile(
            r"(?P<word>(?i:api_?key|private_?key|passw(?:or)?d|secret)\w{0,16} ?)"
            r"(?P<quote>[\"'])(?!\[Filtered\])[^\s\"']{8,}+(?P=quote)"
        ),
        rf"\g<word>\g<quote>{FILTERED}\g<quote>",
        signs=QUOTES,
    ),
    Rule(
        "key-with-value",
        ("key",),
        re.compile(
            r"(?P<name>[kK](?i:ey)[\"'\]]{0,2} ?(?:=>|:=|[:=]) ?[\"']?)(?P<run>[\w+/=-]{20,}+)",
            re.ASCII,
        ),
        _key,
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
        re.compile(rf"(?P<path>(?<![\w.\-])(?:~[\w.-]*+/|/(?:{ROOTS})/)[^\s\"'<>,;:()|]*+)"),
        _last_component,
    ),
)
"""The rules by shape, in the order in which they are applied."""


TELLING_WORDS: Final = _NUMBER_WORDS | _NUMBERED_WORDS | _PHONE_WORDS | _SERVICE_WORDS
"""Words beside which a rule takes for private what it leaves elsewhere."""


def _signs(literal: str) -> frozenset[str]:
    return frozenset(char for char in literal if not char.isalnum() and not char.isspace())


RULES: Final = (*PEM, *NUMBERS, *SHAPES)
"""All rules, in the order in which they are applied."""

_SIGNS: Final = frozenset(QUOTES).union(*(_signs(need) for rule in RULES for need in rule.needs))
_MOST_DIGITS: Final = max(rule.digits for rule in RULES)
_MOST_MARKS = 1024
_AS_DIGIT: Final = bytes.maketrans(b"123456789?", b"0" * 10)

Marks = tuple[frozenset[str], int]
"""The signs and the number of digits in a text."""


class _Possible(dict[Marks, tuple[Rule, ...]]):
    """Which of some rules a text with certain marks has to be searched for."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        super().__init__()
        self._rules: Final = [(rule, [*map(_signs, rule.needs)]) for rule in rules]

    def __missing__(self, marks: Marks) -> tuple[Rule, ...]:
        signs, digits = marks
        possible = tuple(
            rule
            for rule, needs in self._rules
            if digits >= rule.digits
            and (not needs or any(need <= signs for need in needs))
            and (not rule.signs or not signs.isdisjoint(rule.signs))
        )
        if len(self) >= _MOST_MARKS:
            self.clear()
        self[marks] = possible
        return possible


_keys, _numbers, _shapes = map(_Possible, (PEM, NUMBERS, SHAPES))


def _apply(rules: _Possible, text: str, fired: list[str]) -> str:
    """Apply rules, one after the other, and note the names of those that found something."""
    # What is no ASCII may be a digit of another script.
    digits = text.encode("ascii", "replace").translate(_AS_DIGIT).count(b"0")
    lower = text.lower()
    for rule in rules[_SIGNS.intersection(text), min(digits, _MOST_DIGITS)]:
        for literal in rule.needs:
            if literal in lower:
                break
        else:
            if rule.needs:
                continue
        if rule.repeated and text.count(rule.repeated[0]) < len(rule.repeated):
            continue
        scrubbed = rule.pattern.sub(rule.replacement, text)
        if scrubbed != text:
            fired.append(rule.name)
            text = scrubbed
    return text


def scrub_keys(text: str, fired: list[str]) -> str:
    """Replace keys in PEM blocks; the rules that did are added to `fired`, as below."""
    return _apply(_keys, text, fired) if "-----" in text else text


def scrub_numbers(text: str, fired: list[str]) -> str:
    """Replace the numbers of people, cards and accounts."""
    return _apply(_numbers, text, fired)


def scrub_shapes(text: str, fired: list[str]) -> str:
    """Replace what any rule but those for numbers finds by its shape."""
    return _apply(_shapes, text, fired)
