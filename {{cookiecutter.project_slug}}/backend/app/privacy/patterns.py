"""Patterns: the named rules that find private data in free text by its shape.

The rules stand in the order in which they are applied: what is long and certain first, what is
short and needs arithmetic last. Each says which literals a text must hold before it is searched,
and none can take more than linear time: repeats are possessive or bounded. Those of groups are
never possessive: before Python 3.11.5 these match wrongly.
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
from app.privacy.names import NUMBER_WORDS
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
    r"[AaCcHhJjKkLlMmNnOoPpSsTtWwŞşПп密口パ暗비암ك](?:(?<![A-Za-z].)|(?<=[a-z][A-Z]))(?i:"
    r"(?<=p)(?:ass(?:word|wd|phrase|code|w?ort|ord)|wd?|arola(?: d'ordine)?|rivate[ _-]?key)"
    r"|(?<=s)(?:ecrets?|ecret[ _-]?key|igning[ _-]?key|ession(?:[ _-]?id)?|ignature|enha|alasana)"
    r"|(?<=t)okens?|(?<=c)(?:redentials?|ontraseña|lave)|(?<=o)tp|(?<=n)once|(?<=w)achtwoord"
    r"|(?<=a)(?:(?:uth|ccess|uth_)tokens?|pi[ _-]?key|ccess[ _-]?key)|(?<=k)(?:ennwort|ata sandi)"
    r"|(?<=m)(?:ot de passe|dp|ật khẩu)|(?<=h)(?:asło|eslo)|(?<=j)elszó|(?<=l)ösenord|(?<=ş)ifre"
    r"|(?<=п)арол[ья]?"
    r"|(?<=密)[码碼]|(?<=口)令|(?<=パ)スワード|(?<=暗)証番号|(?<=비)밀번호|(?<=암)호|(?<=ك)لمة (?:المرور|السر))"
    r"(?:[ _-](?i:access|hash|id|key|token)){0,3}"
)
"""Words beside which a run of letters and digits is a secret."""


def _table(text: str) -> list[str]:
    return text.split()


_NUMBERED_WORDS: Final = frozenset(
    _table(
        """
    account bank citizen document driver drivers driving health identification identity insurance national
    my provider registration routing security social sort steuer tax thai travel vat vehicle
    employee flyer loyalty membership patient pass visa
        """
    )
)
"""The same, where a word such as `number` stands between the two."""

_COUNTING_WORDS: Final = frozenset(
    {"card", "code", "file", "id", "identifier", "no", "nr", "num", "number", "nummer"}
)
_PARTICLES: Final = "는은이가를의"
"""What Korean puts behind a word."""

_LINKING_WORDS: Final = frozenset(
    {
        "as",
        "at",
        "be",
        "for",
        "has",
        "is",
        "ist",
        "lautet",
        "me",
        "my",
        "of",
        "on",
        "the",
        "to",
        "was",
    }
)

_PHONE_WORDS: Final = frozenset(
    _table(
        """
    call cell cellphone contact dial fax handy mobil mobile msisdn phone ring sms tel telefon telefone
    telefono telephone téléphone wa whatsapp 电话 手机号 手机
        """
    )
)
"""Words beside which a run of digits is a phone number."""

_SERVICE_WORDS: Final = frozenset(
    _table(
        """
    algolia amplitude artif artifactory asana azdo bitly bittrex braintree cloudant codecov cohere
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
    "|export"
)
"""First directories of a path in a file system, not in a URL."""

_STARTS: Final = ("/", "\\", "~")
_AFTER_DRIVE: Final = (":/", ":\\")
_HOMES: Final = frozenset({"crontabs", "home", "mail", "Users"})

QUOTES: Final = "'\"“"

_RANDOM: Final = r"(?=\S*(?:[\d=]|[a-z][A-Z]\S{0,24}[a-z][A-Z]))"
"""Before a run without spaces that no word of a language is."""

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
_LONG_KEY = 20
_LEAST_PHONE_DIGITS = 7
_MOST_PHONE_DIGITS = 15
_LEAST_NUMBER_DIGITS = 5
_LEAST_AFTER_SPACE = 4
_LEAST_BETWEEN_LETTERS = 2
_LEAST_COLONS = 2
_MOST_ACCOUNTS = 4
_MOST_SLASHES = 4
_LEAST_ENCODED = 16
_SLASH = re.compile("/")
_JOINED = str.maketrans("", "", " .-")
_LINES = str.maketrans("", "", "\r\n\t")
_UUID = re.compile(r"(?i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_ASSIGNED = re.compile(r"(?!id=|key=|token=)[a-z_]{1,32}=")
_BEFORE_CARD = re.compile(r"(?<![A-Za-z0-9])[xX]\Z|\\[nrt]\Z|%B\Z|=\+\Z")
_GRANTED = re.compile(r"(?:error\w{0,16}|expires?_\w{2,3}|max_age|realm|scope|token_type)=")
_CARD_GROUPS: Final[tuple[list[int], ...]] = ([4, 4, 4], [4, 6], [])
"""How many digits stand in the groups of a card's number before its last."""

_CASES = re.compile(r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])[^0-9]*[0-9]")
_CASE_CHANGE = re.compile(r"(?<=[a-z])[A-Z]|(?<=[A-Z])[a-z]")
_LEAST_CHANGES = 4
_LONGEST_SAME_CASE = 3
_CHECKSUM = re.compile(r"(?:sha\d{1,3}:)?(?:[0-9a-f]{32,64}|[0-9a-f]{128})")
_CAMEL = re.compile(r"[a-z][A-Z]")
_WORD = re.compile(r"(?<![^\W_])[^\W\d_]+")
_MIXED = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[\w+/-]+={0,2}", re.ASCII)
_PREFIXED = re.compile(
    r"(?P<kind>[A-Za-z][A-Za-z0-9]{1,11})(?:[_-](?:[a-z]{2,12}|v?\d{1,2})){0,2}[_-](?P<run>[\w-]{20,})",
    re.ASCII,
)
"""A token as most services make them today: a prefix of their own, before what is made by chance."""

_ID_PREFIXES: Final = frozenset(
    _table(
        """
    acct arn asst batch build call ch chatcmpl cs cus doc evt file fn i id il img in inv job layer ls
    md5 msg node obj ord order pi po pod price prod req resp row run seti sha sha1 sha256 sha384 sha512 si span step sub task
    thread trace txn user usr vol vpc vs
        """
    )
)
"""Prefixes of ids, which services make in the same way."""

_JOINED_WORDS = str.maketrans("", "", "-_")
_HEXADECIMAL_RUN = re.compile(r"[0-9a-fA-F]+")
_SORTABLE = re.compile(r"0[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{24}")  # ULID
_KIND_CHANGE = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[a-z0-9]|(?<=[0-9])[A-Za-z]")
_LEAST_CHANGE_SHARE = 3
_WORD_SIGNS = re.compile("[-_]")
_LEAST_RANDOM = 12
_LEAST_RANDOM_DIGITS = 2
_PART = re.compile(r"[A-Za-z0-9][\w-]{9,}+", re.ASCII)
_LETTERS = re.compile(r"[A-Fa-f]{4}:[A-Fa-f]{4}:[A-Fa-f]{4}")
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
_HEXADECIMAL = re.compile(r"(?:0?x)?((?:[0-9A-Fa-f]{2})+)")


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
    for said in _words_before(match):
        word = said if said.isascii() else said.rstrip(_PARTICLES)
        if word in words or word.removesuffix("nummer") in words or (counted and word in numbered):
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
    return "//".join(map(_without_userinfo, match[0].split("//")))


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


def _option(match: re.Match[str]) -> str:
    """Replace the value of an option that is secret, or is so for the program before it."""
    kind = match.lastgroup or ""
    programs = {"short": _WITH_SHORT_OPTION, "glued": _WITH_GLUED_OPTION}.get(kind)
    line = match.string[max(match.start() - _LONGEST_COMMAND, 0) : match.start()]
    value = match[0][match.end(kind) - match.start() :]
    told = kind == "short" and len(value) >= _LONG_SECRET and bool(_CASES.match(value))
    if (programs and not told and not programs.search(line)) or (kind == "net") != (
        match[0][0] == "/"
    ):
        return match[0]
    return f"{match[0][: match.end(kind) - match.start()]}{FILTERED}"


def _credential(match: re.Match[str]) -> str:
    run = match["run"]
    if (
        run in REPLACEMENTS
        or _GRANTED.match(run)
        or (match["scheme"][0] in "dD" and _CHECKSUM.fullmatch(run))
        or not (any(map(str.isdigit, run)) or _CAMEL.search(run) or len(run) >= _LONG_RUN)
    ):
        return match[0]
    return f"{match['scheme']}{TOKEN}"


def _beside_telling_word(match: re.Match[str]) -> str:
    run = match["run"]
    if match["of"]:
        return f"{match['word']}{FILTERED}"
    if (_looks_secret(run) and not _ASSIGNED.match(run)) or _is_shuffled(run):
        return f"{match['word']}{TOKEN}"
    return match[0]


def _is_shuffled(run: str) -> bool:
    """Whether letters change their case more often than the words of a name do."""
    changes = len(_CASE_CHANGE.findall(run))
    return changes >= _LEAST_CHANGES and changes * _LONGEST_SAME_CASE >= len(run)


def _parameter(match: re.Match[str]) -> str:
    run = match["run"]
    if match["sure"] or _looks_secret(run) or len(run) >= _LONG_RUN:
        return f"{match['name']}{FILTERED}"
    return match[0]


def _key(match: re.Match[str]) -> str:
    run = match["run"]
    before = match.string[max(match.start() - 24, 0) : match.start()]
    if len(run) < _LONG_KEY and not (_CASES.match(run) and run.isalnum()):
        return match[0]
    if not _looks_secret(run) or _HARMLESS_KEY.search(before) or _UUID.fullmatch(run):
        return match[0]
    return f"{match['name']}{FILTERED}"


def _url_token(match: re.Match[str]) -> str:
    end = match.end(match.lastgroup or 0) - match.start()
    return match[0] if _UUID.fullmatch(match[0], end) else f"{match[0][:end]}{TOKEN}"


def _is_random(token: re.Match[str]) -> bool:
    """Whether what follows a prefix was made by chance, and the prefix is not that of an id."""
    run = token["run"].translate(_JOINED_WORDS)
    if (
        len(run) < _LONG_KEY
        or sum(map(str.isdigit, run)) < _LEAST_RANDOM_DIGITS
        or _HEXADECIMAL_RUN.fullmatch(run)
        or _SORTABLE.fullmatch(run)
        or token["kind"].lower() in _ID_PREFIXES
        or max(map(len, _WORD_SIGNS.split(token["run"]))) < _LEAST_RANDOM
    ):
        return False
    return len(_KIND_CHANGE.findall(run)) * _LEAST_CHANGE_SHARE >= len(run)


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
            # Behind a colon stands what belongs to it, as after the id of an account.
            rest = "" if text[token.end() : token.end() + 1] == ":" else text[token.end() : end]
            return f"{text[begin:start]}{TOKEN}{rest}"
        if (made := _PREFIXED.match(text, start, end)) and _is_random(made):
            return f"{text[begin:start]}{TOKEN}{text[made.end() : end]}"
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
    """Replace Base64 of a text in which another rule finds something, also behind a path."""
    run = match[0]
    if _around(match)[0] in {"+", "/", "-"}:
        return run
    starts = [0, *(slash.end() for slash in islice(_SLASH.finditer(run), _MOST_SLASHES))]
    for start in starts:
        if _hides_something(run[start:]):
            return f"{run[:start]}{TOKEN}"
    return run


def _hides_something(run: str) -> bool:
    if len(run) < _LEAST_ENCODED or ONLY_ID.fullmatch(run):
        return False
    try:
        plain = _decoded(run).decode()
    except ValueError:
        return False
    return plain.translate(_LINES).isprintable() and (
        ":" in plain
        or "=" in plain
        or "-----" in plain
        or scrub_numbers(scrub_shapes(plain, []), []) != plain
    )


def _decoded(run: str) -> bytes:
    """Decode hexadecimal or Base64 of either alphabet."""
    if digits := _HEXADECIMAL.fullmatch(run):
        return bytes.fromhex(digits[1])
    padded = run.rstrip("=").replace("-", "+").replace("_", "/")
    padded += "=" * (-len(padded) % 4)
    return b64decode(padded, validate=True)


def _email(match: re.Match[str]) -> str:
    """Replace an address, but for a password before a URL's host: its rule takes the user too."""
    start = match.start()
    if match.string[start - 1 : start] == ":" and _USER.search(
        match.string, max(start - _LONGEST_USER, 0), start
    ):
        return match[0]
    before = match["before"] or ""
    return EMAIL if "+" in before else before + EMAIL


def _address(match: re.Match[str]) -> str:
    run = match[0]
    if not is_address(run):
        return run
    before, after = _around(match)
    start, end = match.span()
    lead = match.string[max(start - _LONGEST_LEAD, 0) : start]
    if (
        before.isalnum()
        or before == "."
        or (before == "_" and not _ADDRESSED.search(lead))
        or (before == "=" and lead[-2:-1] in _COMPARISONS)
        or _VERSIONED.search(lead)
        # The number of a browser, as in `Chrome/120.0.0.0`.
        or (before == "/" and lead[-2:-1].isalpha() and run.endswith(".0.0"))
        or (after and _GOES_ON.match(match.string, end))
    ):
        return run
    return IP


def _address_6(match: re.Match[str]) -> str:
    run = match[0]
    before, after = _around(match)
    # A colon behind an address belongs to the sentence.
    run = run.rstrip(":.") if not run.endswith("::") else f"{run.rstrip(':')}::"
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
    if not (any(map(str.isdigit, bare)) or _LETTERS.search(bare)) or not is_address(bare):
        return match[0]
    return IP + match[0][len(run) :]


def _card(match: re.Match[str]) -> str:
    before = _around(match)[0]
    start = match.start()
    if (before.isalnum() or before in {".", "+"}) and not _BEFORE_CARD.search(
        match.string, max(start - 3, 0), start
    ):
        return match[0]
    sign = match["a"]
    groups = match[0].split(sign) if sign else [match[0]]
    lengths = [*map(len, groups)]
    for start in range(len(groups)):
        for size in (4, 3, 1):
            end = start + size
            if (
                lengths[start : end - 1] in _CARD_GROUPS
                and is_card("".join(groups[start:end]))
                and not _within_id(match.string, *match.span())
            ):
                return (sign or "").join([*groups[:start], CARD, *groups[end:]])
    return match[0]


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
    if before and ((before.isascii() and before.isalnum()) or before in "_.-+%$"):
        return match[0]
    if len(run) == len(match[0]) and ((after.isascii() and after.isalnum()) or after == "_"):
        return match[0]
    least = _LEAST_NUMBER_DIGITS if before != " " else _LEAST_AFTER_SPACE
    if len(run) >= _LONG_NUMBER and run.isupper():
        least = _LEAST_BETWEEN_LETTERS
    if national_numbers(run) or (
        sum(map(str.isdigit, run)) >= least
        and not _DATE.match(run)
        and _is_told(match, NUMBER_WORDS, _NUMBERED_WORDS)
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
    if not first and _is_told(match, NUMBER_WORDS, _NUMBERED_WORDS):
        return SSN
    return match[0]


def _phone(match: re.Match[str]) -> str:
    before, after = _around(match)
    window = f"{before}{match[0]}{after}"
    digits = sum(map(str.isdigit, match[0]))
    if digits < _LEAST_PHONE_DIGITS:
        return match[0]
    whole = match[0].isdigit() and not match[0].startswith("00")
    scrubbed = window if whole else _PHONE.sub(PHONE, window)
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
    r"|\([0-9]{2,5}\) ?(?:[0-9]{3,5}(?:[ .-][0-9]{2,5}){1,2}|[0-9]{6,10})(?!(?!(?i:x|ext))[\w-])"
    r"|00(?:1|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|7|8[1246]|9[0-58])[1-9][0-9]{7,10}(?![\w-])"
    r"|00[1-9][0-9]{0,2}[ .-](?:[ ().-]{0,2}[0-9]){6,12}(?![\w-])"
    r"|0[1-9](?P<b>[ .-])[0-9]{2}(?:(?P=b)[0-9]{2}){3}(?![\w-])"
    r"|0[0-9]{1,4}(?:(?P<c>[ -])[0-9]{3,4}(?P=c)[0-9]{3,4}|[/-][0-9]{5,8})(?![\w-])"
    r"|0[1-9][0-9]{1,3} [0-9]{6,8}(?![\w-])"
    r"|(?:1[ .-])?[0-9]{3}(?P<a>[ .-])[0-9]{3}(?P=a)[0-9]{4}(?!(?!(?i:x|ext))[\w-])(?!\.[0-9]))"
)
"""Phone numbers with the sign of their country, or in the usual groups of one."""

_DATE = re.compile(r"(?:19|20)[0-9]{2}[-./]?(?:0[1-9]|1[0-2])(?:[-./]|[0-3][0-9])")
_LONGEST_LEAD = 40
_LONGEST_USER = 72
_USER = re.compile(r"://[^\s/@:\"'<>]{1,64}:\Z")
_COMPARISONS: Final = frozenset("=~<>!^")
_VERSIONED = re.compile(
    r"(?i:version|release|build|upgrad(?:ed?|ing)|sdk|section|chapter|firmware|driver|kernel|openssl"
    r"|package)(?:[ =:/-]{1,2}(?:from )?(?:\d{1,3}(?:\.\d{1,5}){2,3} (?:->|to|vs\.?|and) )?)\Z"
)
_ADDRESSED = re.compile(r"(?i:ip|addr|address|client|from|host|peer|remote|src|dst|user)_\Z")
_GOES_ON = re.compile(
    r"\w|\.(?:[0-9]|(?:tar|t?gz|zip|whl|jar|deb|rpm|exe|msi|dll|so|dmg|nupkg|log)\b)|-[A-Za-z0-9]|,? is the (?:[\w-]{1,12} )?(?:version|release)",
    re.ASCII,
)
"""What follows a version that looks like an address."""

_HARMLESS_KEY = re.compile(
    r"(?i:public|primary|foreign|cache|partition|routing|object|idempotency|sort|dedup\w*|row|lock"
    r"|group|ordering|s3|bucket|hash|range|unique|message|event|trace)[ _.-]?\Z"
)

_LOCAL = r"[\w.!#$%&*+?^`|~\u00ad\u200b-\u200f\u2060\ufeff-]"  # some of them are not seen
_HOST = (
    r"(?:(?:[^\W_](?:[\w-]{0,62})\.){1,32}(?:xn--[\w-]{1,59}|[^\W\d_]{2,63})"
    r"|\[(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|IPv6:[0-9A-Fa-f:.]{2,45})\])"
)
_SINGLE = r"'(?!\[Filtered\]')(?:[^'\\]|''|\\.){0,1024}(?:'(?!')|\Z)"
_CURLY = r"“[^”\n]{1,512}+”"
_DOUBLE = r'"(?!\[Filtered\]")(?:[^"\\]|\\.){0,1024}(?:"|\Z)'

_FOLLOWERS = (
    r"a|active|again|algorithms?|already|also|an|and|given|kept|known|sent|attempts?|authenticator|backend|being|but"
    r"|cannot|changer?|good|long|new|no|old|ok|same|secure|short|strong|too|valid|very|weak|your"
    r"|check(?:er)?|checks|class"
    r"|column|correct|database|default|differs?|does|empty|entry|fails?|failures?|fields?|file"
    r"|flow|form|for|from"
    r"|generator|grant|handler|hash(?:er|es)?|hint|history|illegal|in|incorrect|input|invalid|is"
    r"|left|link|list"
    r"|login|mail|manager|match(?:es)?|mismatch|missing|must|never|not|null|okay|on|only|or|page"
    r"|parameter"
    r"|params?|plugin|policies|policy|prompt|property|provider|quality|rejects?|reset|resets|reuse"
    r"|rules?|screen"
    r"|server|service|set|settings?|setter|store|string|succe\w+|syncs?|that|the|this|timeout|to"
    r"|twice|type|unknown"
    r"|unset|update|user|users|validator|value|values|vault|was|were|when|will|with|works|wrong"
    r"|correctly"
)
"""Words that come after `password` where it is not told."""

_DESCRIBING = r"[a-z]*(?:ed|ing|ion|ions|ment|ive|ble|th|ty)\b"
_LINKS = r"is|was|are|were|ist|war|lautet|est|était|es|era|är|er|var|on|oli|jest|è|é"

_OPTION_END = r"(?:[ =]{1,4}|['\"], ?|(?=['\"]))['\"]?"
_LONG_SECRET = 12
_LONGEST_COMMAND = 96
_WITH_SHORT_OPTION = re.compile(
    r"\b(?i:(?:docker|podman|helm|oc|az|nerdctl|crane|skopeo)\s(?:registry )?login|sshpass|redis-cli"
    r"|ldap\w{3,10}|mongo\w{0,8}|cqlsh|sqlcmd|sqlplus|bcp|mosquitto_\w+|htpasswd|smbclient|plink"
    r"|pscp"
    r"|psexec|winexe|7za?|zip|unzip|ipmitool|rabbitmqadmin|influx|vncserver|isql|snowsql|clickhouse-client"
    r"|openssl enc)"
    r"\b[^|;\n]*\Z"
)
"""Programs that take a password as one of the options `-p`, `-a`, `-w`, `-pw` and `-k`."""

_WITH_GLUED_OPTION = re.compile(r"\b(?:mysql\w{0,8}|mariadb)\b[^|;\n]*\Z")
"""Programs that take one right behind `-p`."""

PEM: Final = (
    Rule(
        "pem",
        ("-----begin",),
        re.compile(
            r"-----BEGIN[ +](?!CERTIFICATE|PUBLIC)[A-Z0-9 +]{1,40}-----.*?"
            r"(?:-----END[ +][A-Z0-9 +]{1,40}-----|\Z)",
            re.DOTALL,
        ),
        KEY,
    ),
    Rule(
        "pem-end",
        ("-----end",),
        re.compile(
            r"(?<![\w+/=])(?:[\w+/=]{16,}+[\s\\nr]{1,4}+){1,200}-----END (?!CERTIFICATE|PUBLIC)"
            r"[A-Z0-9 ]{1,40}-----"
        ),
        KEY,
    ),
)

NUMBERS: Final = (
    Rule(
        "jwt",
        ("eyj",),
        re.compile(r"(?<![\w-])eyJ[\w-]{6,}+\.[\w-]{4,}+(?:\.[\w-]*+){0,3}", re.ASCII),
        TOKEN,
    ),
    Rule(
        "vendor-token",
        (),
        re.compile(r"[\w-]{12,}+(?:[.+/:=][\w-]++){0,16}={0,2}", re.ASCII),
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
        digits=4,
    ),
    Rule(
        "card",
        (),
        re.compile(
            r"[0-9]{4}(?:[0-9]{9,15}|(?P<a>  ?|[._+\u2013-])[0-9]{4,6}(?:(?P=a)[0-9]{1,7}){1,4})(?![0-9]|[.-][0-9]{4})"
        ),
        _card,
        digits=13,
    ),
    Rule(
        "national-number-in-groups",
        (" ",),
        re.compile(r"[0-9][0-9.-]{0,11}(?: [0-9]{1,9}){1,6}"),
        _national_spaced,
        digits=9,
    ),
    Rule(
        "national-number",
        (),
        re.compile(
            r"[0-9A-Z](?:(?=[A-Z]{0,5}[.-]?[0-9]|[a-z]{1,2}[0-9])[0-9A-Za-z./+-]{5,19}(?:\([0-9A]\))?"
            r"|[A-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b)"
            r"|[a-z](?=[a-z] ?[0-9])[a-z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[a-d]\b"
            r"|[a-z]{1,3}[0-9]{6,9}\b"
        ),
        _national,
        digits=4,
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
            r"(?<![\w/.:-])[A-Za-z][\w.-]{0,63}:[^\s:@/\"'<>]{3,64}@(?!sha\d)"
            r"(?=[\w-]+[.:])"
            r"|(?<![\w/.:-])[A-Za-z][\w.-]{0,63}:(?=[^\s:@/\"'<>]*\d)[^\s:@/\"'<>]{3,64}@"
            r"(?=[\w-]+[\"'/)])"
        ),
        f"{FILTERED}@",
        signs=":",
    ),
    Rule(
        "oracle-credentials",
        (":thin:", ":oci:", "sqlplus ", "sqlldr ", "expdp ", "impdp "),
        re.compile(
            r"(:(?:thin|oci):|\b(?:sqlplus|sqlldr|expdp|impdp) (?:-\w{1,4} ){0,2}[\"']?)"
            r"[^\s/@]{1,64}/[^\s@]{1,64}(?:@|(?=\s|\Z))"
        ),
        rf"\1{FILTERED}@",
    ),
    Rule(
        "url-code",
        (
            "magic=",
            "invite=",
            "code=",
            "state=",
            "policy=",
            "key-pair-id=",
            "saml",
            "ticket=",
            "assertion=",
            "nonce=",
        ),
        re.compile(
            r"(?P<name>(?:(?<=[?&])|\A(?=\S{1,512}&[\w.-]{1,64}="
            r"|code=[A-Za-z-]{0,64}\d[A-Za-z0-9.~%/-]{12,512}\Z))(?i:[\w-]{0,24}(?:code|magic|invite)|state|ticket|nonce"
            r"|(?P<sure>policy|key-pair-id|saml\w{1,9}"
            r"|assertion))=)(?P<run>[^\s&#\"']{8,}+)"
        ),
        _parameter,
    ),
    Rule(
        "url-token",
        (
            *(
                "://hooks.",
                "/api/webhooks/",
                "office.com/webhook",
                "/hooks/catch/",
                "/fcm/",
                "/wpush/",
                "reset",
                "/magic",
            ),
            *("/verif", "/confirm", "/activat", "/invit", "/unsubscribe", "/token", "/login"),
        ),
        re.compile(
            r"/(?:(?P<before>(?:(?<=//)hooks\.[\w.-]{1,64}|api/webhooks"
            r"|hooks/catch|fcm/send|wpush/v\d)/)(?!\[TOKEN\])[^\s\"'<>]++"
            r"|(?P<path>[\w-]{0,24}(?:reset|magic|verif|confirm|activat|invit|unsubscribe|token"
            r"|login)[\w-]{0,24}"
            r"(?:/(?:[A-Za-z]{1,12}/)?|/?\?(?:[\w.-]{1,24}=[^\s&#\"'<>]{0,128}&){0,4}[\w-]{1,4}=))"
            r"(?=[\w.=~%-]{0,255}\d|[\w.=~%-]{0,64}[a-z][A-Z][\w.=~%-]{0,24}[a-z][A-Z])[\w.=~%-]{16,}+)"
            r"|(?P<office>office\.com/webhook\w{0,2}/)(?!\[TOKEN\])[^\s\"'<>]++"
        ),
        _url_token,
    ),
    Rule(
        "sql-parameters",
        ("[parameters:",),
        re.compile(r"\[parameters:.*?(?:\](?=\n|\Z|\s*\()|\Z)", re.DOTALL),
        f"[parameters: {FILTERED}]",
    ),
    Rule(
        "logged-parameters",
        ("parameters: $1",),
        re.compile(
            r"((?i:parameters): )\$1 = (?:'(?:[^']|'')*(?:'(?!')|\Z)|[^\s,']++)"
            r"(?:, \$\d{1,5} = (?:'(?:[^']|'')*(?:'(?!')|\Z)|[^\s,']++))*"
        ),
        rf"\1{FILTERED}",
        signs="'",
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
            *("duplicate entry", "invalid ", "incorrect", "could not convert", "query argument"),
            *("out of range: ", "malformed ", "denied for user", "failed for user", "got "),
        ),
        re.compile(
            r"(?P<before>\b(?i:duplicate entry|could not convert string to \w{1,16}:"
            r"|query argument \$\d{1,5}:"
            r"|(?:invalid|incorrect)\b[\w ()]{0,48}:|malformed [\w ]{1,32}:|out of range:"
            r"|(?:denied|failed) for user|\bgot(?: value)?) ?)"
            r"(?!(?<=base 10: )'[a-z]{1,4}')"
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
        (
            "where ",
            "values",
            "update ",
            "select ",
            "identified ",
            "password '",
            "set password",
            "crypt(",
            "sp_addlogin",
            "sp_password",
            "sp_add",
        ),
        re.compile(
            r"(?P<before>(?:[=<>(,]|\b(?i:i?like|in|values|between|and|then|else|by|password"
            r"|sp_\w+)\b)"
            r" ?)(?<!revision identified by )[eEnNbB]?"
            r"'(?!\[Filtered\]')(?:[^']|'')*'(?!')(?=[,)\s;]|\Z)"
        ),
        rf"\g<before>'{FILTERED}'",
        signs="'",
    ),
    Rule(
        "sql-dollars",
        ("$$",),
        re.compile(r"\$(\w{0,16})\$(?!\[Filtered\])[^$]{1,1024}+\$\1\$"),
        rf"$\1${FILTERED}$\1$",
    ),
    Rule(
        "call",
        (
            *("basicauth(", "digestauth(", "ntlmauth(", "networkcredential(", "directoryentry("),
            "pdo->__construct(",
        ),
        re.compile(
            r"\b(\w*(?i:basicauth|digestauth|ntlmauth|networkcredential|directoryentry|pdo->__construct)\()"
            r"(?!\[Filtered\]|\))[^()]{1,512}+\)"
        ),
        rf"\1{FILTERED})",
    ),
    Rule(
        "sql-password",
        ("identified ",),
        re.compile(
            r"(\b(?<!revision )(?:identified (?:with \S{1,64} )?by(?=[ ][\"'])"
            r"|IDENTIFIED (?:WITH \S{1,64} )?BY(?! VALUES)) )(?!\[Filtered|[\"']\[Filtered)"
            r"(?:\"[^\"\n]{1,256}(?:\"|\Z)|'[^'\n]{1,256}(?:'|\Z)|[^\s;,]++)"
        ),
        rf"\1{FILTERED}",
    ),
    Rule(
        "digest",
        ("digest ", "hawk "),
        re.compile(r"\b([Dd]igest\s{1,4}|[Hh]awk\s{1,4})\w{1,32}=.*"),
        rf"\1{TOKEN}",
    ),
    Rule(
        "command-line",
        (
            *("-u ", "-u'", '-u"', "--", "/user:", " -p", " -a", " -w", " -k"),
            *("'-p", "'-a", '"-p', '"-a'),
        ),
        re.compile(
            r"[-/](?<![\w-].)(?:"
            rf"(?P<user>(?:[ua]|-user|-auth|-proxy-user|-creds){_OPTION_END}"
            r"(?!\[)[^\s:%'\"]{0,64}[:%]['\"]?)"
            r"|(?P<named>-?[\w-]{0,40}(?:password|passwd|passphrase|pass|pwd|pw|token|secret|key)"
            rf"{_OPTION_END})"
            rf"|(?P<short>(?:[pPawk]|pw){_OPTION_END})|(?P<glued>p)"
            r"|(?P<net>user:\S{1,64} )"
            r")(?!\[Filtered\]|-)[^\s'\"]++"
        ),
        _option,
    ),
    Rule(
        "credential",
        ("bearer", "basic", "negotiate", "token", "digest", "apikey", "ntlm", "gssapi"),
        re.compile(
            r"\b(?P<scheme>(?i:bearer|basic|negotiate|token|digest|apikey|ntlm|gssapi)\s{1,4})"
            r"(?P<run>[\w\-.=+/~:%]{8,}+)"
        ),
        _credential,
    ),
    Rule(
        "environment",
        ("pass", "pwd", "secret", "token", "key "),
        re.compile(
            r"(?P<before>\b(?:ENV|ARG|export|(?i:set(?:env|x)?))[ \t]{1,4}\w{0,48}"
            r"(?i:pass(?:word|wd|phrase)?|pwd|secret|token"
            r"|(?:api|access|private|signing|encryption|auth)_?key)[ \t]{1,4}[\"']?)"
            r"(?=[^\s\"']*\d)(?!\[)[^\s\"'=]{4,}+"
        ),
        rf"\g<before>{FILTERED}",
    ),
    Rule(
        "piped-secret",
        ("sudo -s", "-stdin", "::add-mask::"),
        re.compile(
            r"(?P<mask>::add-mask::)(?!\[)\S++"
            r"|(?P<before>\becho (?:-n )?[\"']?)(?![\[$])[^\s\"'|]{4,}+"
            r"(?=[\"']?\s{0,4}\|[^|\n]{1,64}(?:sudo -S|-stdin))"
        ),
        rf"\g<mask>\g<before>{FILTERED}",
    ),
    Rule(
        "mail-login",
        ("sasl_username=", "ed sender:", "=plain", "session=<"),
        re.compile(r"(\bsasl_username=|Authenticated sender: |\buser=<)(?!\[)[^\s,;()<>]++"),
        rf"\1{FILTERED}",
    ),
    Rule(
        "redis",
        ("without any password", "username-password", "noauth"),
        re.compile(
            r"(\bAUTH (?:\w{1,64} (?=\S{6}))?)(?=[^\s\"']*\d)(?=[^\s\"']*[A-Za-z])[^\s\"'\[]{6,}+"
        ),
        rf"\1{FILTERED}",
    ),
    Rule(
        "login-dialogue",
        (
            "pass",
            "requirepass",
            "masterauth",
            "bindpw",
            "auth ",
            'auth" ',
            "xoauth2",
            "cram-md5",
            "login ",
            "334 ",
            "community",
        ),
        re.compile(
            r"(?P<before>[3ALPabelmrs](?<![\w-].)(?:(?:(?<=P)ASS"
            r"|(?<=A)UTH(?:ENTICATE)?(?: (?:PLAIN|LOGIN|XOAUTH2|CRAM-MD5|\w{1,32}(?= \S{8})))?"
            r"|(?<=b)indpw|(?<=r)equirepass|(?<=m)asterauth|(?<=a)uth-pass|(?<=s)nmp-server community"
            r"|(?<=e)nable (?:secret|password)(?: \d)?|(?<=L)OGIN \"?[^\s\"]{1,64}\"?)[\"']?[ \t]{1,4}[\"']?"
            r"|(?<=3)34 \S{4,64}\s{1,4}))"
            rf"(?!\[[A-Z])(?:{_RANDOM}|(?<=\r\nPASS ))(?:[^\s/()\"']{{3,}}+|[A-Za-z0-9+/]{{16,}}+={{0,2}})"
            r"(?=\s*(?:[\r\n\"'\\]|\Z))"
        ),
        rf"\g<before>{FILTERED}",
    ),
    Rule(
        "record",
        (
            "putty-user-key",
            "begin:vcard",
            "mecard:",
            "wifi:",
            "<<<<",
            ",ou=",
            ",cn=",
            "attendee;",
            "organizer;",
            "msh|",
            "srdocs",
            "sr docs",
        ),
        re.compile(
            r"PuTTY-User-Key-File-\d:.*|BEGIN:VCARD.*?(?:END:VCARD|\Z)|(?:MECARD"
            r"|WIFI):[^\n]{1,512}?;;"
            r"|(?<![A-Z0-9<])[PVIAC][A-Z<][A-Z<]{3}(?=[A-Z0-9<]{0,38}<<)[A-Z0-9<]{25,39}(?:\s[A-Z0-9<]{30,44}){0,2}"
            r"|\b(?:PID|NK1|GT1|IN1)\|[^\r\n]*+|\bSR ?DOCS\b[^\r\n]*+"
            r"|(?P<before>(?<![\w-])(?i:cn|uid|givenname|sn)=)[^,;:=.*\"\n]{1,64}(?=,\s?(?i:ou"
            r"|cn)=|:mailto)",
            re.DOTALL,
        ),
        rf"\g<before>{FILTERED}",
    ),
    Rule(
        "access-log",
        (" - ",),
        re.compile(r"( - )[^\s\-\[]\S{0,63}(?= \[\d{1,2}/[A-Z][a-z]{2}/\d{4}:)"),
        rf"\1{FILTERED}",
        digits=6,
        repeated="//",
    ),
    Rule(
        "login-line",
        (":",),
        re.compile(
            r":(?<=[\w*]:)(?:(?P<before>(?:\d{4,5}"
            r"|\*):[^:\s]{1,63}:[^:\s]{1,63}:)(?=[^\s:]*[G-Zg-z])"
            rf"{_RANDOM}[^\s:\[]\S{{5,}}+"
            r"|(?P<id>\d{1,10}:)[0-9A-Fa-f]{32}:[0-9A-Fa-f]{32})"
        ),
        rf":\g<before>\g<id>{FILTERED}",
        digits=4,
        repeated="::::",
    ),
    Rule(
        "credential-pair",
        ("[filtered] /", "[filtered] |", "login ", "creds ", "credentials "),
        re.compile(
            r"(\[Filtered\]) [/|] (?!\[Filtered\])\S++"
            r"|\b((?i:login|creds|credentials) (?:with |as |for )?[\w.@-]{1,64})(?: ?[/|] ?|:)"
            r"(?=[^\s:/]*\d)(?=[^\s:/]*[A-Za-z])[^\s:/]{6,}+"
        ),
        rf"\1\2 / {FILTERED}",
    ),
    Rule(
        "wallet",
        (),
        re.compile(
            r"[0135KLb](?<![0-9A-Za-z].)(?:(?<=b)c1[02-9ac-hj-np-z]{36,71}|(?<=0)x[0-9a-fA-F]{40}"
            r"|(?<=[13])[1-9A-HJ-NP-Za-km-z]{25,34}|(?<=[5KL])[1-9A-HJ-NP-Za-km-z]{50,51})(?!\w)",
            re.ASCII,
        ),
        _wallet,
        digits=1,
    ),
    Rule("encoded", (), re.compile(r"[\w+/-]{16,}+={0,2}", re.ASCII), _encoded, digits=1),
    Rule(
        "email",
        ("@", "\uff20"),
        re.compile(
            # What stands before `=` is its name, or whom a bounce is about.
            rf"(?:(?<!{_LOCAL})(?P<before>{_LOCAL}++=(?={_LOCAL}))?{_LOCAL}++(?:['{{}}|]{_LOCAL}*+){{0,4}}|\"[^\"\n]{{1,64}}\"|(?<=[/'{{}}|=]))"
            rf"[@\uff20]{_HOST}"
        ),
        _email,
    ),
    Rule(
        "email-spelled-out",
        ("[at]", "(at)", "{at}", " dot ", "=40"),
        re.compile(
            r"(?<![\w.+-])[\w.+-]{1,64}+(?:"
            r" ?[\[({](?i:at)[\])}] ?(?:[\w-]{1,63}+ ?(?:[\[({](?i:dot)[\])}]"
            r"|\.) ?){1,4}[A-Za-z]{2,24}\b"
            r"| (?i:at) [\w-]{1,63}+(?: (?i:dot) [\w-]{2,63}+){1,4}"
            r")"
            r"|(?<=[?])(?i:q)[?][\w.+=%-]{1,64}=40[\w.=-]{3,64}|[\w.+-]{1,64}=40[\w-]{1,63}(?:\.[\w-]{2,63}){1,4}"
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
        repeated="::",
    ),
    Rule(
        "position",
        (
            *("point(", "/@", "geo:", "coordinate", "coordinates", "gps", "lng", "longitude"),
            *("latitude", "location", "lat"),
        ),
        re.compile(
            r"(?P<before>(?i:\bpoint ?\(|/@|\bgeo:|\b(?:location|coordinates?|gps|lat(?:itude)?"
            r"|long?(?:itude)?|lng)"
            r"\W{1,4}))-?\d{1,3}\.\d{3,}(?:[ ,;]{1,3}-?\d{1,3}\.\d{3,})?"
        ),
        rf"\g<before>{FILTERED}",
        digits=4,
    ),
    Rule(
        "hardware-address",
        ("mac", "hardware", "physical", "ethernet", "bssid", "arp", "dhcp", "lladdr", "hwaddr"),
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
        re.compile(r"[0-9](?<![A-Za-z0-9.][0-9])[0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"),
        _address,
        digits=4,
        repeated="...",
    ),
    Rule(
        "address-in-name",
        ("ip-", "ec2-", "dhcp-", "static-", "dynamic-", "ppp-", "cpe-", "dsl-"),
        re.compile(
            r"(?<![A-Za-z0-9])((?:ip|ec2|dhcp|static|dynamic|ppp|cpe|dsl)-)(?!10-|192-168-|[\w-]{1,32}+\.internal\b)"
            r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)-){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w-])"
        ),
        rf"\1{IP}",
        digits=4,
        repeated="----",
    ),
    Rule(
        "street-address",
        ("street", "avenue", "boulevard", "road", "lane", " st", " ave", " blvd", " rd", "box "),
        re.compile(
            r"\b\d{1,5} (?:[A-Z][\w'.-]{1,24} ){1,3}(?:Street|St|Avenue|Ave|Boulevard|Blvd|Road|Rd"
            r"|Lane|Ln|Drive|Court|Square|Terrace)\b\.?"
            r"|\b\d{1,5} (?:[\w'.-]{2,24} ){1,2}(?:street|avenue|boulevard|blvd)\b"
            r"|\b[Pp]\.? ?[Oo]\.? [Bb]ox:? \d{1,8}\b"
        ),
        FILTERED,
        digits=1,
    ),
    Rule(
        "birth-date",
        (
            "d.o.b",
            *(
                "born",
                "dob",
                "birth",
                "geb",
                "geboren",
                "geburtsdatum",
                "naissance",
                "nacimiento",
                "nascita",
            ),
            *(
                "nascimento",
                "né",
                "nato il",
                "nata il",
                "nacid",
                "nacido",
                "nacida",
                "född",
                "født",
                "urodzon",
                "urodzona",
                "urodzony",
            ),
        ),
        re.compile(
            r"(?:19|20)\d\d-\d\d-\d\d(?= is (?:my|his|her|their) birth)"
            r"|(?P<word>\b(?i:born|dob|d\.o\.b\.?|birth ?da(?:te|y)|date of birth"
            r"|geb(?:oren|urtsdatum)?\.?|née?|nat[oa]|nacid[oa]|fød[td]|född|urodzon[aey]"
            r"|(?:date|fecha|data) d[ei] (?:naissance|nacimiento|nascita|nascimento))"
            r"(?: (?:on|is|was|am|op|le|el|il))?[ :=]{1,3})"
            r"(?:\d{1,4}(?:st|nd|rd|th)?[./ -]\s?(?:\d{1,2}|[^\W\d_]{3,10})[./ -]\s?\d{1,4}"
            r"|[A-Z][a-z]{2,8} \d{1,2},? \d{4}"
            r"|\d{8}\b)"
        ),
        rf"\g<word>{FILTERED}",
        digits=4,
    ),
    Rule(
        "short-code",
        ("pin", "otp", "cvv", "cvc", "puk", "passcode", " code", "-code", "e key", "product key"),
        re.compile(
            r"(?P<word>\b(?i:pin(?: code)?|otp|cvv|cvc|passcode|(?:verification|security|access"
            r"|2fa|mfa|login"
            r"|sms|confirmation|auth|authentication|one[ -]time|recovery|backup|reset|activation"
            r"|unlock|pairing|registration|device|door|gate|pickup|claim|redemption|gift[ -]card"
            r"|invit\w{1,5}"
            r"|scratch|licen[cs]e|product|serial|voucher)[ -](?:codes?|keys?|password)"
            r"|your code|puk)(?: is| was| sent)?:?[ \t]{1,3}"
            r"[(\"']?)(?:\d{3,8}(?![\w.]|-\w)(?: does not match \d{3,8})?"
            r"|(?=[\w-]{0,16}\d)[A-Za-z0-9]{2,8}(?:-[A-Za-z0-9]{2,8}){1,4}(?:[,;] [\w-]{4,24}){0,16})"
            r"|\b(?:[A-Z]-)?\d{4,8}(?= is your )"
            r"|(?P<whose>\b[Yy]our (?:[A-Z]\w{1,24} ){1,3}code is )\d{4,8}\b"
        ),
        rf"\g<word>\g<whose>{TOKEN}",
        digits=3,
    ),
    Rule(
        "beside-telling-word",
        (
            *(
                "pass",
                "passord",
                "passwort",
                "passwd",
                "passphrase",
                "passcode",
                "pw",
                "otp",
                "secret",
                "token",
                "credential",
                "key",
                "session",
                "signature",
            ),
            *(
                "nonce",
                "kennwort",
                "contraseña",
                "senha",
                "wachtwoord",
                "hasło",
                "heslo",
                "jelszo",
                "jelszó",
            ),
            *(
                "lösen",
                "parola",
                "salasana",
                "sifre",
                "ifre",
                "парол",
                "密",
                "口令",
                "パスワード",
                "暗証番号",
            ),
            *("비밀번호", "암호", "mdp", "clave ", "khẩu", "kata sandi", "كلمة"),
        ),
        re.compile(
            rf"(?P<word>{_TELLING}(?:"
            # Whose it is, or what for.
            r"(?P<of> (?:for|of|für|fuer|von|pour|de|del) [^\s:=]{1,64}+(?: [^\s:=]{1,64}+){0,3}?"
            r"(?:\s?[:=]\s?| (?:is|was|ist) (?=\S*\d)))(?!\[[A-Z])(?=\S)"
            r"|(?:'s|[\"']? (?:is|was|of|for|from|with|ist|war|lautet"
            r"|est|es|это|(?:must |does not )?match(?:es)?|(?:re|un)?set to|changed to|!=|==|vs)"
            r"|(?: (?:wrong|used|tried|given|rejected|provided|received|presented|supplied|found|expired"
            r"|mismatch|revoked|unknown|(?i:incorre|invalid|falsch)\w{0,4})){0,2}\s?:)?"
            r"(?:[ \t]+|[是は为為는은][ \t]?)[\"'`(<\[]?))"
            r"(?P<run>(?(of)\S++|[^\s\"'`<>()\[\],;]{6,}+(?: to [^\s\"'`<>()\[\],;]{6,}+)?))"
        ),
        _beside_telling_word,
    ),
    Rule(
        "spaced-out",
        ("s s w o r d",),
        re.compile(r"(\b(?i:p a s s w o r d)\s{0,4}(?:[:=]|is|was)?\s{0,4})(?!\[)[^\s:=]++"),
        rf"\1{FILTERED}",
    ),
    Rule(
        "secret-first",
        (" password", " passphrase", " secret", " token", " private key"),
        re.compile(
            r"(?<![^\s\"'(])(?!\[)(?=[^\s\d]{0,64}\d)(?=[^\sA-Za-z]{0,64}[A-Za-z])[^\s\"'<>]{6,64}+"
            r"(?=[\"']? (?:as|is|was) (?:(?:a|the|my|your|his|her|their) )?"
            r"(?:password|passphrase|secret|token)(?:[.,;:!?)\n]|\Z| for )| (?:private|secret) key\b)"
        ),
        TOKEN,
        digits=1,
    ),
    Rule(
        "password-said",
        ("assword ", "passphrase ", "passcode ", "pass "),
        re.compile(
            r"(?P<quoted>\b(?i:password|passphrase|passcode)(?: for (?:the )?(?:user )?[\"']?[\w.@-]{1,64}[\"']?)?"
            r" (?:is|was|to|=) )(?P<q>[\"'])(?!\[)[^\"'\n]{2,64}+(?P=q)"
            r"|(?P<pass>\b[Pp]ass )(?=[^\s\d]*\d)(?=[^\sa-z]*[a-z])(?=[^\sA-Z]*[A-Z])"
            r"[A-Za-z0-9]{8,}+(?!\S)|"
            r"(?P<before>\b(?i:user(?:name)?|login|account|machine)[ \t]\S{1,64}\s{1,4}(?:(?:and"
            r"|with)\s)?"
            rf"[Pp]assword[ \t](?:(?:{_LINKS})[ \t](?!(?:{_FOLLOWERS})\b|{_DESCRIBING}))?)"
            rf"(?!\[|(?:{_LINKS}|to)\b)[^\s:=]++"
            rf"|(?P<word>\b[Pp]assword )(?!(?:{_FOLLOWERS})\b)"
            rf"(?!{_DESCRIBING})"
            r"[a-z]{4,32}"
            r"(?=\s*\Z| (?:was|did|is|has|does)\b)"
        ),
        rf"\g<quoted>\g<pass>\g<before>\g<word>{FILTERED}",
    ),
    Rule(
        "quoted-secret",
        ("api_key", "apikey", "private_key", "pass", "psk", "secret", "securestring", "token("),
        re.compile(
            r"(?P<word>[APSTapst](?i:(?<=a)pi_?key|(?<=p)rivate_?key|(?P<phrase>(?<=p)ass(?:wd"
            r"|word|phrase))|(?<=s)ecret"
            r"|(?<=t)oken(?=\()|(?<=p)ass(?= )|(?<=p)sk|(?<=s)ecurestring(?: -String)?)\w{0,16}"
            r"(?: ?|\(b?))(?P<quote>[\"'])(?!\[Filtered\])(?:(?(phrase)[ ]|(?!))"
            r"|[^\s\"'*]){6,256}(?P=quote)"
            r"(?! (?:not found|is forbidden|(?:does not|already) exist|in namespace|field|key\b))"
        ),
        rf"\g<word>\g<quote>{FILTERED}\g<quote>",
        signs=QUOTES,
    ),
    Rule(
        "key-with-value",
        ("key",),
        re.compile(
            r"(?P<name>[kK](?i:ey)(?: \d{1,2}(?=:))?[\"'\]]{0,2}(?: ?(?:=>|:=|[:=]) ?"
            r"|[ \t])b?[\"']?)(?P<run>[\w+/=-]{10,}+)",
            re.ASCII,
        ),
        _key,
        digits=1,
    ),
    Rule(
        "windows-path",
        ("\\",),
        re.compile(
            r"(?P<path>(?<![A-Za-z])(?:[A-Za-z]:\\{1,4}|\\{2,4}(?=[\w.$-]{1,64}\\)"
            r"|\\{1,4}Users\\{1,4})"
            r"(?:[^\\/:*?\"'<>|\r\n]{1,128}\\{1,4}){0,32}[^\\/:*?\"'<>|\s]*+)"
        ),
        _last_component,
    ),
    Rule(
        "path",
        ("/",),
        re.compile(
            rf"(?P<path>[/~](?:(?<![\w.\-].)(?:(?<=~)[\w.-]*+/|(?<=/)(?:{ROOTS})/"
            r"|(?<=/)(?<![/:]/)(?:[\w.-]{1,64}/){1,4}(?:home|Users|user/\w)/)"
            r"|(?:(?<=-[A-Z]/)|(?<=[.\-]/))(?:home|Users)/)[^\s\"'<>,;:()|]*+"
            r"|(?<=s[fcm][tb]p:/)/[^\s\"'<>,;()|]++|(?<=sftp:/)/[^\s\"'<>,;()|]++)"
        ),
        _last_component,
    ),
)
"""The rules by shape, in the order in which they are applied."""


TELLING_WORDS: Final = NUMBER_WORDS | _NUMBERED_WORDS | _PHONE_WORDS | _SERVICE_WORDS
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
