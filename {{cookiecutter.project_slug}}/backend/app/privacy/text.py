"""Text: a string of any kind, scrubbed by the names and the shapes in it.

Most texts hold nothing private, and are told by a glance at their form: their letters and digits
made alike, thousands of texts share a few hundred forms, and each form is judged once. Only what
is left is searched by the rules. Long texts are cut, never skipped; what is written in an encoding
is looked at decoded. What was found clean is remembered; what was not is never kept.
"""

import html
import re
import string
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import unquote

from app.privacy.names import (
    CONTAINER,
    COUNTED,
    GLUED,
    GLUED_ENDS,
    SENSITIVE,
    STEMS,
    alternatives,
    in_usual_signs,
    judge,
)
from app.privacy.pairs import scrub_elements, scrub_named
from app.privacy.patterns import (
    FILTERED,
    ONLY_ID,
    REPLACEMENTS,
    ROOTS,
    RULES,
    TELLING_WORDS,
    Rule,
    scrub_keys,
    scrub_numbers,
    scrub_shapes,
)

LONGEST: Final = 8_192
"""Characters of a text that are looked at and kept; the middle of a longer one is cut out."""

CUT: Final = "…[cut]…"
"""Stands for the middle of a text that was too long."""

_WINDOW = 520
_SPACED_HEAD = re.compile(r"(?<=\s)\S{0,512}\Z|\S{512}\Z")
_SPACED_TAIL = re.compile(r"\A\S{0,512}(?=\s)|\A\S{512}")

known_clean: set[str] = set()
"""Texts in which nothing was found, and which hold no JSON to look into."""

_LONGEST_REMEMBERED = 256
_MOST_REMEMBERED = 16_384
_STARTS: Final = ("{", "[", "-")
"""Begin what is looked at elsewhere as well: JSON, and the options of a command line."""


def _remember(texts: list[str]) -> None:
    if max(map(len, texts), default=0) > _LONGEST_REMEMBERED:
        texts = [text for text in texts if len(text) <= _LONGEST_REMEMBERED]
    if len(known_clean) + len(texts) > _MOST_REMEMBERED:
        known_clean.clear()
    known_clean.update(texts[:_MOST_REMEMBERED])


# The form of a text.

_LONGEST_FORM = 128
_MOST_FORMS = 8192
_MANY_DIGITS = 4
_BETWEEN = "\0"
_FORM = bytes.maketrans(
    (string.digits + string.ascii_uppercase + string.ascii_lowercase + "_").encode(),
    b"0" * 10 + b"A" * 26 + b"a" * 27,
)
_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,16}(?!\w)")
"""What `repr` says of where an object is: it would give each text a form of its own."""

_INSTANT = re.compile(rb"0000-00-00[A ]00:00:00(?:[.,]0{1,9})?(?:A|[+-]00:00)?(?![\w-])")
_ORDINARY = re.compile(
    rb"""
      (?!A{18}|AAa{32}(?![Aa0-])|A*(?:a++A++){5}) [Aa]++ (?:-(?!A*(?:a++A++){4}) [Aa]++)* (?![Aa0-])      # words
    | [ .,;!?()<>*\#+$|^\n\t'"]++ | (?<!\))= | -(?=[ >0]) | &(?!\#?[Aa0]{1,8};)
    | (?<=[Aa0.-])/ | (?<!<)/(?!/) | ://(?=[a-z]) | :(?=[ \n)]|\Z)
    | (?<![Aa0-]) (?!(?:[Aa-]*0){7})
      (?!(?:A{5}0000A|(?:AA|aa)000000[Aa]|AA00AA0000|A00AA0000A|0[Aa0]{3}-?[Aa0]{3}-?[Aa]{2}00)(?![Aa0-])) (?:
          (?=[Aa0-]{1,11}+(?![Aa0-])) [Aa-]*+ (?:0{1,6}+[Aa-]*+){1,2}
        | a++ (?:-a++)* -?0{1,6}+ a*+
      ) (?![Aa0-]) (?![ .()/-]{1,3}0)                                 # names with few digits
    | (?<![Aa0.-]) (?:0{1,4}\.0{1,9} | (?!(?:\.?0){9}) 0+\.0+\.0+)
      (?![Aa0.-]) (?![ .()/-]{1,3}0)                                  # decimals and versions
    | \[(?:A{2,5}|Aaaaaaaa)\]                                         # for something private
    """,
    re.VERBOSE,
)
"""What an ordinary form is made of, in which no rule finds anything, but for the words and names
that `_questions` ask for."""


_SUSPICIOUS = re.compile(
    rb"""
      <<<< | \$\$ | \(aa\) | \?[Aa]\?       # a passport, a text of SQL, `bo (at) x`, `=?utf-8?q?`
    | (?<![Aa0])(?:[Aa][ ]){6}[Aa](?![Aa0])  # a word that is spaced out
    | AA00(?:[ ][A0]{4}){3}                  # an account in groups
    """,
    re.VERBOSE,
)
"""A form that is not ordinary, though each part of it is."""

_WORDS = bytes(
    byte | 32 if chr(byte) in string.ascii_letters else byte if byte >= 128 or not byte else 32
    for byte in range(256)
)
"""Makes words of a text: small letters, between spaces."""


_EXTRAORDINARY = re.compile(r"[@\[\]{}\\%~\u0080-\uffff]|(?<!\w)-|/.*:|:[:\w]|\(at|\b\w \w ")
"""Signs of literals that no ordinary form has."""


def _words_of(rules: Iterable[Rule]) -> set[str]:
    """Return a word of each of the literals that rules need and that an ordinary form may have."""
    needs = {need for rule in rules for need in rule.needs if not _EXTRAORDINARY.search(need)}
    return {max(re.findall(r"[a-z]+", need), key=len, default="") for need in needs} - {""}


def _any_of(words: Iterable[str]) -> re.Pattern[bytes]:
    return re.compile(alternatives(words).encode())


def _encoded(words: set[str]) -> frozenset[bytes]:
    return frozenset(word.encode() for each in words for word in (each, f"{each}s"))


_ROOT = re.compile(rf"(?<!\w)/(?:{ROOTS})/|/(?:home|Users|user/\w)/|(?:sftp|scp|smb)://")
_NAME = re.compile(
    r"(?<![\w.-])([\w-]{2,20} )?([\w.-]++)\]?[\"'\\]*+(?: (?:is|was|ist|est|es))?\s{0,4}[=:,]"
)
_NAMED: Final = frozenset({SENSITIVE, COUNTED, CONTAINER})

_ROOTING = set(re.findall(r"\w+", ROOTS.lower())) | {"scp", "sftp", "smb", "user"}
_LINKING = _words_of(rule for rule in RULES if rule.name == "url-token") | {
    *("activate", "activation", "confirmation", "invite", "invitation", "magiclink"),
    *("resetlink", "verification", "verify"),
}
_QUOTING = _words_of(rule for rule in RULES if rule.signs)
_NEEDED = _words_of(rule for rule in RULES if not rule.signs and not rule.digits) | {"cn", "ou"}
_CODING = _words_of(rule for rule in RULES if 0 < rule.digits < _MANY_DIGITS)
_NUMBERING = _words_of(rule for rule in RULES if rule.digits) | TELLING_WORDS
_SAID = {
    *("attendee", "cn", "dot", "identified", "organizer", "ou", "password", "sender", "username"),
    *("bssid", "hardware", "mac", "physical"),
}
"""Words that tell of something private even where there is no digit and no name of a value."""


_linking, _quoting, _said, _needed = map(_encoded, (_LINKING, _QUOTING, _SAID, _NEEDED))
_coding, _telling = _encoded(_NEEDED | _CODING), _encoded(_NEEDED | _NUMBERING)
_naming = _encoded(STEMS)
_glued = _any_of({*GLUED, *GLUED_ENDS})
_within = _any_of(_NEEDED | _NUMBERING | STEMS)
_GLUED_PARTS: Final = (
    *(b"pw", b"pass", b"token", b"secret", b"key", b"cre", b"card", b"ses", b"ofbirth", b"social"),
)
"""What some of which is in each name that is written as one word."""

_ANY: Final = _telling | _naming | _quoting | _linking | _encoded(_ROOTING)

Question = Callable[[str, bytes], object]
"""Is asked of a text and of its words."""


def _is_no_id(text: str, _words: bytes) -> bool:
    return ONLY_ID.fullmatch(text) is None


def _has_word_within(_text: str, words: bytes) -> object:
    """Ask of words that are written together."""
    return _within.search(words)


class _HasWord:
    """Asks for some words, and for those that tell of a secret where they are written together."""

    def __init__(self, words: frozenset[bytes]) -> None:
        self._words: Final = words

    def __call__(self, _text: str, words: bytes) -> bool:
        return not self._words.isdisjoint(words.split()) or _glued.search(words) is not None


_has_needed_word, _has_coding_word, _has_telling_word, _has_quoting_word = map(
    _HasWord, (_needed, _coding, _telling, _quoting)
)


def _has_said_word(_text: str, words: bytes) -> bool:
    # Behind the last word stands nothing that it could tell of.
    return not _said.isdisjoint(words.split()[:-1])


def _has_name(text: str, words: bytes) -> bool:
    if _naming.isdisjoint(words.split()) and not _glued.search(words):
        return False
    return any(
        judge(name) in _NAMED or judge(before + name) in _NAMED
        for before, name in _NAME.findall(text)
    )


def _has_path(text: str, words: bytes) -> object:
    return not _linking.isdisjoint(words.split()) or _ROOT.search(text)


_WITH_WORDS = re.compile(rb"[ \n\t]|[Aa](?:[^0]*+0){4}")
_WITH_WRITTEN_TOGETHER = re.compile(rb"aA|AAa|[Aa]{24}")
_WITH_NAMES = re.compile(rb"[=:]|\([Aa]?['\"]")
_WITH_QUOTES = re.compile(rb"['\"]")


def _questions(form: bytes) -> Iterator[Question]:
    """Find out what to ask of the texts of a form."""
    rest = _INSTANT.sub(b"", form) if len(form) <= LONGEST else b"\\"
    if _ORDINARY.sub(b"", rest) or _SUSPICIOUS.search(rest):
        yield _is_no_id
        return
    named = _WITH_NAMES.search(rest)
    if named or _WITH_WORDS.search(rest):
        if _WITH_WRITTEN_TOGETHER.search(rest):
            yield _has_word_within
        elif b"0" in rest:
            yield _has_telling_word if rest.count(b"0") >= _MANY_DIGITS else _has_coding_word
        else:
            yield _has_needed_word if named else _has_said_word
    if named:
        yield _has_name
    if _WITH_QUOTES.search(rest):
        yield _has_quoting_word
    if b"/" in rest:
        yield _has_path


class _Forms(dict[bytes, tuple[Question, ...]]):
    """What to ask of a text of some form; it is suspect where an answer is yes."""

    def __missing__(self, form: bytes) -> tuple[Question, ...]:
        questions = tuple(_questions(form))
        if len(form) <= _LONGEST_FORM:
            if len(self) >= _MOST_FORMS:
                self.clear()
            self[form] = questions
        return questions


_forms: Final = _Forms()
_AT_ONCE: Final = frozenset({_is_no_id, _has_word_within})
"""First questions about more than whole words."""


def suspects(texts: list[str]) -> set[str]:
    """Return those of the texts that have to be searched, and remember the others as clean."""
    if not texts:
        return set()
    joined = _BETWEEN.join(texts)
    if " at 0x" in joined:
        joined = _ADDRESS.sub("", joined)
    # What can not be encoded gets a backslash, which is not ordinary.
    encoded = joined.encode("utf-8", "backslashreplace")
    forms = encoded.translate(_FORM).split(b"\0")
    if len(forms) != len(texts):
        odd = {text for text in texts if _BETWEEN in text}
        return odd | suspects([text for text in texts if text not in odd])
    words = encoded.translate(_WORDS).split(b"\0")
    asked = [
        each for each in zip(texts, words, map(_forms.__getitem__, forms), strict=True) if each[2]
    ]
    # Of most texts no question has to be asked, because they have none of the words.
    told = [
        each for each in asked if each[2][0] in _AT_ONCE or not _ANY.isdisjoint(each[1].split())
    ]
    together = b" ".join([each for _, each, _ in asked])
    if any(part in together for part in _GLUED_PARTS):
        told += [each for each in asked if _glued.search(each[1])]
    suspect = {
        text for text, each, questions in told if any(holds(text, each) for holds in questions)
    }
    _remember([text for text in texts if text not in suspect] if suspect else texts)
    return suspect


# What is suspect is searched.

_STEPS: Final = (scrub_keys, scrub_numbers, scrub_named, scrub_elements, scrub_shapes)
_REPLACED = re.compile("|".join(map(re.escape, sorted(REPLACEMENTS))))
"""What was put in: it ends what stands before it, and begins what stands behind."""

_FREQUENT: Final = tuple(rule for rule in RULES if rule.name in {"email", "ipv4"})
_APART: Final = "\n\0\n"
"""No match of a frequent rule reaches over it."""
_QUICK_PASSES = 1
_MOST_KINDS = 4
_LONGEST_UNSETTLED = 1024
_LONGEST_READ_TWICE = 1024
_MOST_PASSES = 8
_MOST_DECODINGS = 3
_ENCODES: Final = frozenset("%&\\")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}|&#?\w{1,8};|\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2})")
_FORM_SPACE = re.compile(r"\+(?!\d)")
_UNICODE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2}))")


def shorten(text: str, longest: int = LONGEST) -> str:
    """Cut out the middle of a text that is too long, at spaces, so that no half secret is left."""
    if len(text) <= longest:
        return text
    end, start = longest - longest // 4, len(text) - longest // 4
    head = text[: end - _WINDOW] + _SPACED_HEAD.sub("", text[end - _WINDOW : end])
    return head + CUT + _SPACED_TAIL.sub("", text[start:])


def scrub_together(texts: Iterable[str]) -> dict[str, str]:
    """Scrub those texts that hold nothing private but what most such texts hold; leave out others.

    To search many at once takes a fraction of the time.
    """
    # In a URL, what looks like an address may be a part of the credentials.
    plain = [text for text in texts if "://" not in text and len(text) <= LONGEST]
    joined = _APART.join(plain)
    for rule in _FREQUENT:
        joined = rule.pattern.sub(rule.replacement, joined)
    parts = joined.split(_APART)
    if len(parts) != len(plain):
        return {}
    scrubbed = {text: part for text, part in zip(plain, parts, strict=True) if part != text}
    left = {text: _REPLACED.split(part) for text, part in scrubbed.items()}
    unsettled = suspects([piece for pieces in left.values() for piece in pieces])
    return {text: part for text, part in scrubbed.items() if unsettled.isdisjoint(left[text])}


def _settle(text: str, fired: list[str]) -> str:
    """Apply the rules until they find no more: what one leaves may be complete for another.

    A text that holds private data of many kinds, or does not settle soon, is made to be searched
    for long: it is cut short, and hidden in the end.
    """
    for passed in range(_MOST_PASSES):
        before = text
        for step in _STEPS:
            text = step(text, fired)
        if text == before or not suspects(_REPLACED.split(text)):
            return text
        if passed >= _QUICK_PASSES or len(fired) > _MOST_KINDS:
            text = shorten(text, _LONGEST_UNSETTLED)
    return FILTERED


def _decode(text: str) -> str:
    """Undo the encodings of URLs, HTML and JSON, as often as they were applied."""
    for _ in range(_MOST_DECODINGS):
        if _ENCODES.isdisjoint(text) or not _ENCODED.search(text):
            break
        if "%" in text:
            # A space in a form; before a digit it may belong to a phone number.
            text = unquote(_FORM_SPACE.sub(" ", text), errors="replace")
        text = html.unescape(text)
        text = _UNICODE.sub(lambda match: chr(int(match[1] or match[2], 16)), text)
    return text


def _search(text: str, fired: list[str]) -> str:
    """Scrub a text as it is, and as it reads: that stands in for it only where it is private."""
    scrubbed = shorten(text)
    if scrubbed != text:
        fired.append("cut")
    if len(scrubbed) > _LONGEST_READ_TWICE:
        read = shorten(in_usual_signs(_decode(scrubbed)))
        found = _settle(read, fired)
        return found if found != read or read == scrubbed else _settle(scrubbed, fired)
    for reading in (in_usual_signs, str, _decode):
        read = reading(scrubbed)
        if read != scrubbed or reading is str:
            found = _settle(shorten(read), fired)
            scrubbed = scrubbed if found == read else found
    return scrubbed


def scrub_text(text: str) -> str:
    """Replace all that is private in a text by what its kind is called, such as `[EMAIL]`."""
    if text in known_clean or not suspects([text]):
        return text
    if known := scrub_together([text]):
        return known[text]
    scrubbed = _search(text, [])
    if scrubbed == text and text[:1] not in _STARTS:
        _remember([text])
    return scrubbed


def rules_for(text: str) -> list[str]:
    """Return the names of the rules that find something in a text, in the order they are tried."""
    fired: list[str] = []
    if suspects([text]):
        _search(text, fired)
    return list(dict.fromkeys(fired))
