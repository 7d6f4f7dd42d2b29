"""Text: a string of any kind, scrubbed by the names and the shapes in it.

Long texts are cut, never skipped. Percent-encoded runs are looked at decoded. What was found
clean is remembered, so that the texts which every report repeats cost one look-up; what was not
is never kept.
"""

import re
import unicodedata
from typing import Final
from urllib.parse import unquote

from app.privacy.pairs import scrub_elements, scrub_named
from app.privacy.patterns import scrub_keys, scrub_numbers, scrub_shapes

LONGEST: Final = 16_384
"""Characters of a text that are looked at and kept; the middle of a longer one is cut out."""

CUT: Final = "…[cut]…"
"""Stands for the middle of a text that was too long."""

_LONGEST_REMEMBERED = 256
_MOST_REMEMBERED = 8192
_MOST_DECODINGS = 3
_MOST_PASSES = 4
_TAIL = 4096

_SPACED_HEAD = re.compile(r"(?<=\s)\S{0,512}\Z|\S{512}\Z")
_SPACED_TAIL = re.compile(r"\A\S{0,512}(?=\s)|\A\S{512}")

_SUSPECT = re.compile(r"[\d@\uff20=:%/\\]|-----|[\w\-]{12}|(?i:bearer|basic|negotiate|pass|secret)")
"""A text without any of these cannot match a rule: each rule needs one of them."""

_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_RUN = re.compile(r"[^\s\"'<>]+")

known_clean: set[str] = set()
"""Texts in which nothing was found, and which hold no JSON to look into."""


def shorten(text: str) -> str:
    """Cut out the middle of a text that is too long, at spaces, so that no half secret is left."""
    if len(text) <= LONGEST:
        return text
    head, tail = text[: LONGEST - _TAIL], text[-_TAIL:]
    return _SPACED_HEAD.sub("", head) + CUT + _SPACED_TAIL.sub("", tail)


def _decode(run: str) -> str:
    for _ in range(_MOST_DECODINGS):
        decoded = unquote(run, errors="replace")
        if decoded == run:
            break
        run = decoded
    return run


def _apply(text: str) -> str:
    return scrub_shapes(scrub_elements(scrub_named(scrub_numbers(scrub_keys(text)))))


def _settle(text: str) -> str:
    """Apply the rules until they find no more: what one leaves may be complete for another."""
    for _ in range(_MOST_PASSES):
        scrubbed = _apply(text)
        if scrubbed == text:
            break
        text = scrubbed
    return text


def _scrub_encoded(match: re.Match[str]) -> str:
    run = match[0]
    if not _PERCENT.search(run):
        return run
    decoded = _decode(run)
    scrubbed = _settle(decoded)
    return run if scrubbed == decoded else scrubbed


def _scrub_compatible(text: str) -> str:
    """Scrub what is written in other forms of the usual letters and signs, such as full-width ones.

    The usual forms stand in only for a text in which they show something private.
    """
    # The dots stand for what was cut out, here and elsewhere, and are no form of anything.
    usual = "…".join(unicodedata.normalize("NFKC", each) for each in text.split("…"))
    if usual == text:
        return text
    usual = shorten(usual)
    scrubbed = _settle(usual)
    return text if scrubbed == usual else scrubbed


def scrub_text(text: str) -> str:
    """Replace all that is private in a text by what its kind is called, such as `[EMAIL]`."""
    if text in known_clean:
        return text
    scrubbed = shorten(text)
    if _SUSPECT.search(scrubbed):
        if "%" in scrubbed and _PERCENT.search(scrubbed):
            scrubbed = _RUN.sub(_scrub_encoded, scrubbed)
        scrubbed = _settle(scrubbed)
    if not scrubbed.isascii():
        scrubbed = _scrub_compatible(scrubbed)
    if scrubbed == text and len(text) <= _LONGEST_REMEMBERED and not text.startswith(("{", "[")):
        if len(known_clean) >= _MOST_REMEMBERED:
            known_clean.clear()
        known_clean.add(text)
    return scrubbed
