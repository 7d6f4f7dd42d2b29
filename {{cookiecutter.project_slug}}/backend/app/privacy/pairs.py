"""Pairs: values that stand beside their names in free text, as in `password=…` or `"token": "…"`."""

import re
from typing import Final

from app.privacy.names import (
    CONTAINER,
    COUNTED,
    SECONDS,
    SENSITIVE,
    STEMS,
    Verdict,
    alternatives,
    is_sensitive,
    judge,
)
from app.privacy.patterns import FILTERED, REPLACEMENTS

_KEY = re.compile(
    r"(?<![\w.\-])(?P<name>[\w.\-]++)(?:\])?(?:\\{0,7}[\"'])?(?:\[?\])?(?: (?:is|was|ist|est"
    r"|es))?\s{0,16}"
    r"(?:(?:string|str|String|char|text|bytes)(?= ?=\s?[\"']))?\s?"  # the type of a variable, in front or behind a colon
    r"(?:: (?:Any|bytes|object|Optional|SecretBytes|SecretStr|str|String|string|Text)"
    r"(?:\[[\w.\[\], |]{0,32}\])?(?: \| \w{1,16})?\s?(?==\s?[bru]?[\"']))?"
    r"(?:=>|(?::{1,3}|[+.?]|\|\|)?=(?!=)|,(?=[^\s,\"']{0,64}\d)(?=[^\s,\"']{16,}(?:[,\r\n]|\Z))|[-=]>(?=\s?[\"']|\s?\w{0,64}\d)|::(?= [\w+/]{8,}+=*(?:\s|\Z))"
    r"|\[(?=[^\]\s\"']{0,64}\d)(?=[^\]\s\"']{0,64}[A-Za-z])(?=[^\]\s\"']{8,64}\])|:(?!:|//))"
    r"(?:\+(?=[\"']))?\*{0,2}[ \t]{0,4}(?:\n(?!\s*[\w.-]+\s?[=:]))?[ \t]{0,8}(?:@(?=\"))?"
)
_TUPLE = re.compile(
    r"(?:[(\[]|\bsetattr\([\w.]{1,64},)\s?[bu]?(?P<quote>\\{0,7}[\"'])(?P<name>[\w.\-]{2,64}+)(?P=quote),[\s+]?"
    r"(?=[bu]?(?P<other>\\{0,7}[\"'])(?!(?:[a-z]+_)?(?:email|id|login|name|required|user"
    r"|username)\b)"
    r"[^\"'\\]{1,512}+(?P=other)\s?[)\]])"
)
"""A name before the value with which it stands alone in brackets: `('x-api-key', '...')`."""

_NEIGHBOUR = re.compile(
    r"(?<![\w.\-])(?i:name|key|field|header|param|type|label|-H|s:\d{1,4})\\{0,7}[\"']?"
    r"\s{0,2}[=:>]?\s{0,2}\\{0,7}[\"']?(?P<name>[\w.\-]{2,64}+)(?:\\{0,7}[\"'])?"
    r"(?:\s[a-z-]{1,16}=[\"'][^\"'<>]{0,64}[\"']){0,3}"  # other attributes
    r"(?:[\s,;/]{1,12}(?:\\{0,7}[\"'])?"
    r"(?:(?i:value|val|content|default|text)\\{0,7}[\"']?\s?[=:]\s?|-V\s|s:\d{1,4}:)"
    r"|(?:</key|\s{0,4}/?)>\s{0,12}<(?:string|val|value)>|(?:\r?\n|(?:\\r)?\\n){2})"
)
"""A name and a value with names of their own, as YAML, attributes, options and forms have them."""

_CALL = re.compile(r"(?<![\w.\-])(?P<name>\w{2,64}+)\((?:value|val|raw|data|text)\s?=\s?")
"""The name of a class, before the value that it holds: `Token(value='...')`."""

_KEYWORD = re.compile(
    r"(?<![\w:]):(?P<name>[\w-]{3,64}+)[ \t]{1,4}"
    r"(?=\S*\d|\S*[a-z][A-Z]\S{0,24}[a-z][A-Z])(?=[^\s:=]{6,})"
)
"""A name as some languages write them, before its value: `:password a1b2c3`."""

_SEPARATING: Final = ("=", ":", ">", "[", ",")
_MARKS: Final = ("value", "form-data", " -v ", "content", "text", "</key>", ";s:", "data=", "raw=")
"""What stands in each text that one of the last two patterns finds."""

_STEMS = re.compile(alternatives(STEMS))
_NOT_LETTER = re.compile(r"[\W_]")
_WORD_BEFORE = re.compile(r"(?<![\w.\-])([\w-]{2,20}+) \Z")
_SCHEME = re.compile(r"(?i:bearer|basic|digest|negotiate|token|apikey|oauth|hawk|ntlm)\s{1,4}")
_ESCAPED_QUOTE = re.compile(r"(?P<quote>\\{1,7}[\"']).*?(?:(?<!\\)(?P=quote)|\Z)", re.DOTALL)
_QUOTED = re.compile(
    r"[bBrRuUfF]{0,2}(?:\"(?:[^\"\\]++|\\.)*(?:\"|\\?\Z)|'(?:[^'\\]++|\\.|'')*(?:'(?!')|\\?\Z)"
    r"|«[^»]*+(?:»|\Z)|“[^”]*+(?:”|\Z)|„[^“”]*+(?:[“”]|\Z))",
    re.DOTALL,
)
_BARE = re.compile(
    r"[|>][+-]?[ \t]*\n[ \t]+[^\n]+"  # a block of YAML
    r"|-[ \t]+(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&\"'<>\\]+)"  # a list of YAML
    r"(?:\n[ \t]+-[ \t]+(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&\"'<>\\]+))*"
    r"|(?:[^\s,;&\"'<>\\]|\\(?![\"']))+|<[^>]{0,512}>"
)
_PARAMETERS = re.compile(
    r"[\w-]{1,32}[ \t]{1,4}(?:[\w-]{1,32}=(?!=|\s|\Z)[^\r\n]*|[^\s\"'<>,;]{6,}+)"
)
_LINE = re.compile(r"[^\r\n\"'\\]*+")
_OPEN: Final = "([{"
_CONSTRUCTED = re.compile(r"(?i:new(?:-object)? )?[A-Za-z_][\w.]{0,64}[(\[](?=[bru]?[\"'])")
_BRACKETS = re.compile(r"\\.|[()\[\]{}]")
_REPLACED = re.compile("|".join(map(re.escape, sorted(REPLACEMENTS))))
_LINES: Final = frozenset(
    {"codes", "cookie", "cookies", "mnemonic", "passphrase", "phrase", "seed"}
)
"""Last words of names whose value reaches to the end of its line."""

_DATE = re.compile(r"\d{1,4}(?:st|nd|rd|th)?[ ./-](?:\d{1,2}|[^\W\d_]{3,10}),?[ ./-]\d{2,4}(?!\w)")
_PERSON = re.compile(
    r"[^\W\d_a-z][\w'\u2019-]*+(?: (?:[a-z]{2,3} )?[^\W\d_a-z][\w'\u2019-]*+){1,3}"
)
_PERSONS: Final = ("holder", "name")
"""Last words of names whose value may be the whole name of a person."""

_IN_LIST = re.compile(r"[^;\"'\s{][^;\"'\r\n]{0,127}(?=;[ \t]?[A-Za-z][\w .-]{0,31}=)")
"""A value among those of a connection, between semicolons: it may hold spaces and commas."""

_HARMLESS = re.compile(
    r"(?:None|null|nil|undefined|[Tt]rue|[Ff]alse|YES|NO|yes|no|[Oo][Kk]|[Ff]ailed|[Ff]ailure"
    r"|[Ss]uccess|[Ii]nvalid|[Ee]xpired|[Mm]issing|[Rr]equired|\*+|str|int|bytes|bool|\?|%s|%r"
    r"|%\(\w+\)s|\$\d{1,3}"
    r"|\$?\{{1,2} ?[A-Za-z_.]{0,32} ?\}{1,2}|\$[A-Za-z_]{2,32}|<[A-Z_]{3,32}>|(?:accept|chang|clos|deni|disabl|enabl|encrypt|expir|fail|filter|hash|mask"
    r"|omitt|redact|refus|reject|remov|requir|revok|updat|verifi)ed|none|missing|must|should|cannot"
    r"|[Ff]ield|not)"
    r"(?=[\s,;)\]}&\"']|\Z)"
    r"|:[a-z_]{2,32}(?=[\s,;)]|\Z)|This (?=field|value)|<(?:[a-z]{4,10}ed|unset|missing|none|empty|secret|hidden)>|\[(?:[a-z]{4,10}ed|[A-Z]{4,10}ED)\]"
    r"|[\"']{2}(?![\w\"'])"
)

_COUNT = re.compile(r"\d{1,7}(?![\w.-])")
_EXPRESSION = re.compile(
    r"(?:(?:await )?[a-z_]\w{0,32}(?:\.[A-Za-z_]\w{0,32}){1,5}"
    r"(?:[\[(][\"']?[A-Za-z_-]{0,40}[\"']?(?:, None)?[\])])?"
    r"|(?:await )?[a-z_]\w{0,40}\([A-Za-z_.,= ]{0,80}\)|\((?:[a-z_]{1,32}\.[a-z_]{1,32}(?:, )?){1,4}\))"
    r"(?=\s*(?:[,);\n]|\Z))"
)
"""Code that fetches a value: `os.environ["DB_PASSWORD"]`, `settings.secret_key`."""

_MODULE = re.compile(r"(?:[a-z_][a-z0-9_]*\.)+(?:auth|cookies|credentials|secrets|session|tokens)")
_FUNCTION = re.compile(r"[a-z]+(?:_[a-z]+)+(?![\w-])")
"""With a colon between them, a place in code: `app.auth:require_scopes`."""


def _end_of_brackets(text: str, start: int) -> int:
    depth = 0
    for match in _BRACKETS.finditer(text, start):
        bracket = match[0]
        if bracket in _OPEN:
            depth += 1
        elif bracket[0] != "\\":
            depth -= 1
            if depth == 0:
                return match.end()
    return len(text)


def _end_of_value(text: str, start: int, name: str) -> int:
    """Find where the value ends that begins at `start`; `start` if there is none."""
    for pattern in (_ESCAPED_QUOTE, _QUOTED):
        if quoted := pattern.match(text, start):
            return quoted.end()
    if placed := _REPLACED.match(text, start):
        return _end_of_bare(text, placed.end())
    if text[start : start + 1] in tuple(_OPEN):
        return _end_of_brackets(text, start)
    if constructed := _CONSTRUCTED.match(text, start):
        return _end_of_brackets(text, constructed.end() - 1)
    return _end_of_line(text, start, name) or _end_of_bare(text, start)


def _end_of_line(text: str, start: int, name: str) -> int:
    """Find the end of a value that may hold spaces; 0 if it is none."""
    last = _NOT_LETTER.split(name.lower())[-1]
    if last in _LINES:
        line = _LINE.match(text, start)
    elif name.lower().endswith("authorization"):
        line = _PARAMETERS.match(text, start)  # of a scheme such as Digest or OAuth
    elif last.endswith(_PERSONS) and (person := _PERSON.match(text, start)):
        return person.end()
    elif date := _DATE.match(text, start):
        return date.end()
    elif text[start - 1] == "=":
        line = _IN_LIST.match(text, start)
    else:
        line = None
    return line.end() if line else 0


def _end_of_bare(text: str, start: int) -> int:
    scheme = _SCHEME.match(text, start)
    after = scheme.end() if scheme else start
    bare = _BARE.match(text, after)
    # A bracket or a full stop at the end belongs to the sentence around the value.
    return after + len(bare[0].rstrip(")]}.")) if bare else start


_ELEMENT = re.compile(
    r"<\s?(?P<name>[\w:.-]{1,128}+)(?P<rest>[^<>]{0,256}+>)"
    r"(?:<!\[CDATA\[[^\]]{0,1024}+\]\]>|[^<]++)(?=</(?P<end>[\w:.-]{1,128}+))"
)


_ATTRIBUTE = re.compile(r"\s(?i:name|key)\s?=[\"'](?P<name>[\w:.-]{2,128}+)[\"']")


def _element(match: re.Match[str]) -> str:
    named = _ATTRIBUTE.search(match["rest"])
    names = [match["name"], match["end"], named["name"] if named else ""]
    if not any(map(is_sensitive, names)):
        return match[0]
    return f"{match[0][: match.end('rest') - match.start()]}{FILTERED}"


_VALUED = re.compile(
    r"<\s?(?P<name>[\w:.-]{1,128}+)(?P<before>[^<>]{0,128}?\svalue\s?=\s?)(?P<quote>[\"'])"
    r"(?!\[Filtered\])[^\"'\n]{1,256}+(?P=quote)(?P<after>[^<>]{0,128})"
)
"""An element with a value among its attributes, and its name or that of the attribute."""


def _valued(match: re.Match[str]) -> str:
    named = _ATTRIBUTE.search(match["before"] + match["after"])
    if not is_sensitive(match["name"]) and not (named and is_sensitive(named["name"])):
        return match[0]
    before = match[0][: match.end("quote") - match.start()]
    return f"{before}{FILTERED}{match['quote']}{match['after']}"


def scrub_elements(text: str, fired: list[str]) -> str:
    """Replace what the elements of XML with sensitive names hold."""
    if "<" not in text or ">" not in text:
        return text
    scrubbed = _VALUED.sub(_valued, _ELEMENT.sub(_element, text) if "</" in text else text)
    if scrubbed != text:
        fired.append("name")
    return scrubbed


def _verdict(match: re.Match[str]) -> Verdict:
    """Say what a name tells of its value, with the word before it where it needs one."""
    name = match["name"]
    verdict = judge(name)
    if name.lower() in SECONDS and verdict not in (SENSITIVE, CONTAINER):
        start = match.start("name")
        before = _WORD_BEFORE.search(match.string, max(start - 24, 0), start)
        if before:
            return judge(f"{before[1]} {name}")
    return verdict


def _tells_nothing(text: str, start: int, name: str) -> bool:
    """Whether a value is none, or is code that fetches one, or the name of one."""
    for pattern in (_HARMLESS, _EXPRESSION):
        if pattern.match(text, start):
            return True
    if text[start] in "\"'" and _HARMLESS.match(text, start + 1):
        return True
    word = _NOT_LETTER.split(name)[-1]
    return text.startswith(word, start) and not text[
        start + len(word) : start + len(word) + 1
    ].strip(",)")


def _scrub_after(pattern: re.Pattern[str], text: str) -> str:
    """Replace the values that begin where a pattern ends, which finds their names."""
    pieces = []
    done = position = 0
    while match := pattern.search(text, position):
        position = match.end()
        name = match["name"]
        start = match.start("name")
        if f"[{name}]" in REPLACEMENTS and text[start - 1 : start] == "[":
            continue
        if (
            text[position - 1] == ":"
            and _MODULE.fullmatch(name)
            and _FUNCTION.match(text, position)
        ):
            continue
        verdict = _verdict(match)
        if verdict is COUNTED:
            verdict = verdict if _COUNT.match(text, position) else SENSITIVE
        if verdict is not SENSITIVE and (
            verdict is not CONTAINER or text[position : position + 1] not in tuple(_OPEN)
        ):
            continue
        end = _end_of_value(text, position, name)
        value = text[position:end]
        if (
            not value
            or value.strip("\"'\\") in REPLACEMENTS
            or _tells_nothing(text, position, name)
        ):
            continue
        quote = value[: len(value) - len(value.lstrip("\\\"'"))] if value[0] in "\\\"'" else ""
        pieces += [text[done:position], quote, FILTERED, quote]
        done = position = end
    return "".join(pieces) + text[done:] if pieces else text


def scrub_named(text: str, fired: list[str]) -> str:
    """Replace the values of sensitive names: `name=value`, `name: value`, `"name": "value"`."""
    lower = text.lower()
    if not _STEMS.search(lower):
        return text
    scrubbed = _scrub_after(_KEY, text) if any(map(text.__contains__, _SEPARATING)) else text
    if ":" in text:
        scrubbed = _scrub_after(_KEYWORD, scrubbed)
    if ("(" in text or "[" in text) and ("'," in text or '",' in text):
        scrubbed = _scrub_after(_TUPLE, scrubbed)
    if any(mark in lower for mark in _MARKS):
        scrubbed = _scrub_after(_NEIGHBOUR, scrubbed)
        scrubbed = _scrub_after(_CALL, scrubbed)
    if scrubbed != text:
        fired.append("name")
    return scrubbed
