"""Pairs: values that stand beside their names in free text, as in `password=…` or `"token": "…"`."""

import re
from typing import Final

from app.privacy.names import CONTAINER, SENSITIVE, STEMS, alternatives, judge
from app.privacy.patterns import FILTERED, REPLACEMENTS

_KEY = re.compile(
    r"(?<![\w.\-])(?P<name>[\w.\-]++)(?:\])?(?P<close>\\{0,7}[\"'])?\s{0,4}"
    r"(?P<sep>=>|:=|=(?!=)|:(?!:|//))[ \t]{0,4}\n?[ \t]{0,8}"
)
_STEMS = re.compile(alternatives(STEMS))
_SCHEME = re.compile(r"(?i:bearer|basic|digest|negotiate|token|apikey|oauth|hawk|ntlm)\s{1,4}")
_ESCAPED_QUOTE = re.compile(r"(?P<quote>\\{1,7}[\"']).*?(?:(?P=quote)|\Z)", re.DOTALL)
_QUOTED = re.compile(
    r"[bBrRuUfF]{0,2}(?:\"(?:[^\"\\]++|\\.)*+(?:\"|\\?\Z)|'(?:[^'\\]++|\\.)*+(?:'|\\?\Z))",
    re.DOTALL,
)
_BARE = re.compile(
    r"[|>][+-]?[ \t]*\n[ \t]+[^\n]+"  # a block of YAML
    r"|(?:[^\s,;&\"'<>\\]|\\(?![\"']))++|<[^>]{0,512}>"
)
_PARAMETERS = re.compile(r"[\w-]{1,32}[ \t]+[\w-]{1,32}=[^\r\n]*")
_LINE = re.compile(r"[^\r\n\"'\\]*+")
_OPEN: Final = "([{"
_BRACKETS = re.compile(r"\\.|[()\[\]{}]")
_REPLACED = re.compile("|".join(map(re.escape, sorted(REPLACEMENTS))))
_LINES: Final = frozenset({"cookie", "cookies"})
_HARMLESS = re.compile(
    r"(?:None|null|nil|undefined|[Tt]rue|[Ff]alse|str|int|bytes|bool|\?|%s|%r|%\(\w+\)s|\$\d{1,3}"
    r"|\{\w{0,32}\})(?=[\s,;)\]}&\"']|\Z)"
)


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
    return _end_of_header(text, start, name) or _end_of_bare(text, start)


def _end_of_header(text: str, start: int, name: str) -> int:
    """Find the end of a header's value that may hold spaces; 0 if it is none."""
    header = name.lower()
    if header.rpartition("-")[2] in _LINES:
        line = _LINE.match(text, start)
    elif header.endswith("authorization"):
        line = _PARAMETERS.match(text, start)  # of a scheme such as Digest or OAuth
    else:
        line = None
    return line.end() if line else 0


def _end_of_bare(text: str, start: int) -> int:
    scheme = _SCHEME.match(text, start)
    after = scheme.end() if scheme else start
    bare = _BARE.match(text, after)
    # A bracket or a full stop at the end belongs to the sentence around the value.
    return after + len(bare[0].rstrip(")]}.")) if bare else start


_ELEMENT = re.compile(r"<(?P<name>[\w:.-]{1,128}+)(?P<rest>[^<>]{0,256}+>)[^<]++(?=</)")


def _element(match: re.Match[str]) -> str:
    if judge(match["name"]) is not SENSITIVE:
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


def scrub_named(text: str, fired: list[str]) -> str:
    """Replace the values of sensitive names: `name=value`, `name: value`, `"name": "value"`."""
    if ("=" not in text and ":" not in text) or not _STEMS.search(text.lower()):
        return text
    pieces = []
    done = position = 0
    while match := _KEY.search(text, position):
        position = match.end()
        name = match["name"]
        if f"[{name}]" in REPLACEMENTS and text[match.start() - 1 : match.start()] == "[":
            continue
        verdict = judge(name)
        if verdict not in (SENSITIVE, CONTAINER):
            continue
        if verdict is CONTAINER and text[position : position + 1] not in tuple(_OPEN):
            continue
        end = _end_of_value(text, position, name)
        value = text[position:end]
        if not value or value.strip("\"'\\") in REPLACEMENTS or _HARMLESS.match(text, position):
            continue
        quote = value[: len(value) - len(value.lstrip("\\\"'"))] if value[0] in "\\\"'" else ""
        pieces += [text[done:position], quote, FILTERED, quote]
        done = position = end
    if not pieces:
        return text
    fired.append("name")
    return "".join(pieces) + text[done:]
