"""Pairs: values that stand beside their names in free text, as in `password=…` or `"token": "…"`."""

import re
from typing import Final

from app.privacy.names import CONTAINER, SECONDS, SENSITIVE, STEMS, Verdict, alternatives, judge
from app.privacy.patterns import FILTERED, REPLACEMENTS

_KEY = re.compile(
    r"(?<![\w.\-])(?P<name>[\w.\-]++)(?:\])?(?:\\{0,7}[\"'])?(?:\[?\])?(?: (?:is|was|ist|est"
    r"|es))?\s{0,4}"
    r"(?:=>|:=|=(?!=)|::(?= [\w+/]{8,}+=*(?:\s|\Z))|:(?!:|//))(?:\+(?=[\"']))?[ \t]{0,4}\n?[ \t]{0,8}(?:@(?=\"))?"
)
_TUPLE = re.compile(
    r"[(\[]\s?[bu]?(?P<quote>\\{0,7}[\"'])(?P<name>[\w.\-]{2,64}+)(?P=quote),[\s+]?"
    r"(?=[bu]?(?P<other>\\{0,7}[\"'])(?!(?:[a-z]+_)?(?:email|id|login|name|required|user"
    r"|username)\b)"
    r"[^\"'\\]{1,512}+(?P=other)\s?[)\]])"
)
"""A name before the value with which it stands alone in brackets: `('x-api-key', '...')`."""

_NEIGHBOUR = re.compile(
    r"(?<![\w.\-])(?i:name|key|field|header|param|type|-H)\\{0,7}[\"']?\s{0,2}[=:]?\s{0,2}"
    r"\\{0,7}[\"']?(?P<name>[\w.\-]{2,64}+)(?:\\{0,7}[\"'])?(?:[\s,;/]{1,12}(?:\\{0,7}[\"'])?"
    r"(?:(?i:value|val|content|default)\\{0,7}[\"']?\s?[=:]\s?|-V\s)|\s{0,4}/?>\s{0,12}<(?:string"
    r"|val|value)>|(?:\r?\n|(?:\\r)?\\n){2})"
)
"""A name and a value with names of their own, as YAML, attributes, options and forms have them."""

_STEMS = re.compile(alternatives(STEMS))
_NOT_LETTER = re.compile(r"[\W_]")
_WORD_BEFORE = re.compile(r"(?<![\w.\-])([\w-]{2,20}+) \Z")
_SCHEME = re.compile(r"(?i:bearer|basic|digest|negotiate|token|apikey|oauth|hawk|ntlm)\s{1,4}")
_ESCAPED_QUOTE = re.compile(r"(?P<quote>\\{1,7}[\"']).*?(?:(?P=quote)|\Z)", re.DOTALL)
_QUOTED = re.compile(
    r"[bBrRuUfF]{0,2}(?:\"(?:[^\"\\]++|\\.)*+(?:\"|\\?\Z)|'(?:[^'\\]++|\\.)*+(?:'|\\?\Z))",
    re.DOTALL,
)
_BARE = re.compile(
    r"[|>][+-]?[ \t]*\n[ \t]+[^\n]+"  # a block of YAML
    r"|-[ \t]+[^\s,;&\"'<>\\]+"  # the first of a list
    r"|(?:[^\s,;&\"'<>\\]|\\(?![\"']))++|<[^>]{0,512}>"
)
_PARAMETERS = re.compile(
    r"[\w-]{1,32}[ \t]{1,4}(?:[\w-]{1,32}=(?!=|\s|\Z)[^\r\n]*|[^\s\"'<>,;]{6,}+)"
)
_LINE = re.compile(r"[^\r\n\"'\\]*+")
_OPEN: Final = "([{"
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
    r"|\{\w{0,32}\})(?=[\s,;)\]}&\"']|\Z)"
)

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
    r"<(?P<name>[\w:.-]{1,128}+)(?P<rest>[^<>]{0,256}+>)"
    r"(?:<!\[CDATA\[[^\]]{0,1024}+\]\]>|[^<]++)(?=</)"
)


_ATTRIBUTE = re.compile(r"\s(?i:name|key)=[\"'](?P<name>[\w:.-]{2,128}+)[\"']")


def _element(match: re.Match[str]) -> str:
    named = _ATTRIBUTE.search(match["rest"])
    if judge(match["name"]) is not SENSITIVE and not (named and judge(named["name"]) is SENSITIVE):
        return match[0]
    return f"<{match['name']}{match['rest']}{FILTERED}"


def scrub_elements(text: str, fired: list[str]) -> str:
    """Replace what the elements of XML with sensitive names hold."""
    if "</" not in text:
        return text
    scrubbed = _ELEMENT.sub(_element, text)
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
        if verdict is not SENSITIVE and (
            verdict is not CONTAINER or text[position : position + 1] not in tuple(_OPEN)
        ):
            continue
        end = _end_of_value(text, position, name)
        value = text[position:end]
        if not value or value.strip("\"'\\") in REPLACEMENTS or _HARMLESS.match(text, position):
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
    scrubbed = _scrub_after(_KEY, text) if "=" in text or ":" in text else text
    if ("(" in text or "[" in text) and ("'," in text or '",' in text):
        scrubbed = _scrub_after(_TUPLE, scrubbed)
    if "value" in lower or "form-data" in lower or " -V " in text:
        scrubbed = _scrub_after(_NEIGHBOUR, scrubbed)
    if scrubbed != text:
        fired.append("name")
    return scrubbed
