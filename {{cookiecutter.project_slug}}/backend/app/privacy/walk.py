"""Walk: any nesting of plain data, scrubbed by the names on the way and the shapes at its leaves.

The input is never changed. Depth is bounded, a cycle is cut, and what is shared is scrubbed once,
so that no structure takes more than linear time. Texts are gathered on the way and looked at
together at its end, because that costs a fraction of looking at each.
"""

import json
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import pairwise
from pathlib import PurePath
from typing import Any, Final, TypeGuard
from uuid import UUID

from app.privacy.checks import is_card
from app.privacy.names import (
    CLEAN,
    CONTAINER,
    COUNTED,
    NAMED,
    NAMED_KEYS,
    NUMBER,
    PATH,
    PHONE_NUMBER,
    SENSITIVE,
    VERSION,
    Verdict,
    is_sensitive,
    judge,
)
from app.privacy.patterns import CARD, FILTERED, PHONE, SSN, is_absolute, last_component
from app.privacy.text import LONGEST, known_clean, rules_for, scrub_text, scrub_together, suspects

DEEPEST: Final = 100
"""Levels of nesting that are kept; what lies deeper is replaced as a whole."""

_VERSION = re.compile(r"v?\d{1,4}(?:\.\d{1,5}){1,3}")
_IDENTIFIER = re.compile(r"[A-Za-z_]{1,40}+(?:[.-][A-Za-z_]{1,40}+){0,3}-?\d{0,3}")
"""A key that can not be private itself."""

_MOST_KEYS = 4096
_LONGEST_KEY = 256
_MOST_KEPT = 4096
_LONGEST_KEPT = 1024
_LEAST_CARD = 10**12
_MOST_CARD = 10**19
_LEAST_DIGITS = {PHONE_NUMBER: 7, NUMBER: 5}
_MOST_COUNTED = 10**7
_PAIR = 2
_LONG_WORD = 18
_LONG_RUN = 7
"""Letters from which on a word may be a token, and letters and digits from which on a run may be
private; a shorter one, alone, can not be."""

_PLAIN: Final = frozenset({bool, type(None)})
_HARMLESS = float | date | time | timedelta | UUID | Enum
_GLUING = re.compile(r"(?:\S*/)?(?:mysql\w{0,8}|mariadb\S{0,8})")
_USER_OPTIONS: Final = frozenset({"-u", "--user", "-a", "--auth"})
_SECRET: Final = frozenset({SENSITIVE, COUNTED})
_NAME_KEYS: Final = (
    *("name", "key", "field", "header", "label", "param", "parameter", "variable"),
    *("Name", "Key", "Label", "ParameterKey"),
)

# The walk dispatches on exact types, which narrow nothing for a type checker: hence `Any`.
Holder = dict[Any, Any] | list[Any]


def scrub(value: object, name: str = "") -> object:
    """Return plain data, seen under a name, without what is private in it.

    What is known to hold nothing private is returned itself, at any depth; the rest is a copy.
    Mappings, lists and tuples keep their kind as far as JSON can tell, bytes become text, and an
    object that is no plain data becomes the scrubbed text of its `repr`.
    """
    walk = _Walk()
    scrubbed = walk.value(value, judge(name) if name else CLEAN, 0)
    walk.settle()
    return scrubbed


class _Scrubbed(dict[int, str]):
    """What became of texts, by their hashes: a text that is private is not kept for later.

    Its hash is keyed by a random number of the process. Where two texts share one, the second
    becomes what the first did, which holds nothing private of either.
    """

    def keep(self, text: str, scrubbed: str) -> str:
        """Remember a scrubbed text, and return it."""
        if len(scrubbed) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[hash(text)] = scrubbed
        return scrubbed


_scrubbed: Final = _Scrubbed()


def scrub_string(text: str) -> str:
    """Return a scrubbed text; one that holds JSON is scrubbed by the names in it as well."""
    if text in known_clean:
        return text
    known = _scrubbed.get(hash(text))
    if known is not None:
        return known
    scrubbed = _scrub_json(text) or scrub_text(text)
    if scrubbed == text and text in known_clean:
        return text
    return _scrubbed.keep(text, scrubbed)


_JSON = re.compile(r"[\[{][\[{]?\s?\"")
_decoder: Final = json.JSONDecoder()


def _json_in(text: str) -> re.Match[str] | None:
    return _JSON.search(text) if text[-1:] in {"}", "]"} else None


def _scrub_json(text: str) -> str | None:
    """Scrub JSON at the end of a text by its names; None where there is none, or none is private."""
    begin = _json_in(text) if len(text) <= LONGEST else None
    if begin is None:
        return None
    start = begin.start()
    try:
        decoded, end = _decoder.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    scrubbed = scrub(decoded)
    if end < len(text) or scrubbed == decoded:
        return None  # what holds nothing private keeps its own spacing
    return scrub_text(text[:start]) + json.dumps(scrubbed, ensure_ascii=False)


class _Components(dict[str, str]):
    """What is shown of paths: mostly of code, and so the same ones again and again."""

    def __missing__(self, path: str) -> str:
        shown = last_component(path) if is_absolute(path) else path
        if len(path) <= _LONGEST_KEY:
            if len(self) >= _MOST_KEYS:
                self.clear()
            self[path] = shown
        return shown


_components: Final = _Components()
_UNKNOWN: Final = object()
"""Stands for a text that is to be looked at in the end."""

_harmless_names: Final[set[str]] = set()
"""Keys that are not private themselves and tell nothing of their values."""


_telling_names: Final[dict[str, Verdict]] = {}
"""Keys that are not private themselves and tell something of their values."""


def _verdict(key: object) -> Verdict | None:
    """Say what a key tells of its value; None for a key that is private itself."""
    if key in _telling_names:
        return _telling_names[key]
    name = key if isinstance(key, str) else _text(key)
    if not _IDENTIFIER.fullmatch(name) and scrub_text(name) != name:
        return None
    verdict = judge(name)
    if type(key) is str and len(key) <= _LONGEST_KEY:
        if len(_harmless_names) + len(_telling_names) >= _MOST_KEYS:
            _harmless_names.clear()
            _telling_names.clear()
        if verdict is CLEAN:
            _harmless_names.add(key)
        else:
            _telling_names[key] = verdict
    return verdict


_STRICTEST: Final = (
    *(SENSITIVE, COUNTED, CONTAINER, NUMBER, PHONE_NUMBER, PATH, NAMED),
    *(VERSION, CLEAN),
)


def _of_text(name: str) -> Verdict:
    """Say what a name tells that may be private itself: as it is, or as it leaves."""
    return min(judge(name), judge(scrub_text(name)), key=_STRICTEST.index)


class _Walk:
    """One pass over one structure."""

    def __init__(self) -> None:
        self._seen: Final[dict[int, object]] = {}
        """What was made of each container, by its identity."""
        self._listed: Final[list[object]] = []
        """What was made on the way, kept so that its identity is not given to another."""
        self._waiting: Final[list[tuple[Holder, Any, str]]] = []
        """Texts to look at in the end: what holds each one now, under which key, and itself."""

    def settle(self) -> None:
        """Scrub the texts that were met."""
        texts = [text for _, _, text in self._waiting]
        unknown = [text for text in texts if hash(text) not in _scrubbed]
        private = suspects(unknown) if unknown else set()
        plain = [text for text in private if not _json_in(text)]
        found = scrub_together(plain) if plain else {}
        for text, scrubbed in found.items():
            _scrubbed.keep(text, scrubbed)
        if len(unknown) < len(texts):
            private.update(set(texts).difference(unknown))
        for holder, key, text in [each for each in self._waiting if each[2] in private]:
            # Another name in the same mapping may have hidden it by now.
            if holder[key] is text:
                holder[key] = found[text] if text in found else scrub_string(text)
        self._waiting.clear()

    def value(self, value: object, verdict: Verdict, depth: int) -> object:
        """Return what stands for any value, by what its name tells of it."""
        if verdict is not CLEAN:
            named = _by_name(value, verdict)
            if named is not None:
                return named
        if isinstance(value, str):
            return scrub_string(str(value))
        if value is None or isinstance(value, _HARMLESS | int | Decimal):
            return CARD if _is_card(value) else value
        if isinstance(value, dict | Mapping):
            return self._mapping(value, depth)
        if isinstance(value, list):
            return self._sequence(value, depth)
        return self._fixed(value, depth) if isinstance(value, tuple | Set) else _other(value)

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> object:  # noqa: C901, PLR0912 - calls would cost as much again
        seen = self._seen
        identity = id(mapping)
        if identity in seen:
            return seen[identity]
        if depth >= DEEPEST:
            return FILTERED
        # Met again on the way down, a structure holds itself.
        seen[identity] = FILTERED
        clean: Any = mapping
        telling = False
        for key, value in mapping.items():
            # What a usual event is made of comes first, by exact type: it has thousands of them.
            kind = type(value)
            if key not in _harmless_names:
                verdict = _telling_names.get(key) or _verdict(key)
                telling = telling or verdict is NAMED or verdict is None
                if kind is str and (verdict is PATH or verdict is NAMED or verdict is CLEAN):
                    shown = _components[value] if verdict is PATH else value
                    if shown is value and value in known_clean:
                        continue
                    if clean is mapping:
                        clean = dict(mapping)
                    clean[key] = shown
                    self._waiting.append((clean, key, shown))
                    continue
                scrubbed: object = self.value(value, verdict or _of_text(_text(key)), depth + 1)
            elif kind is str:
                if (
                    (value.isalpha() and len(value) < _LONG_WORD)
                    or value in known_clean
                    or (len(value) < _LONG_RUN and value.isalnum())
                ):
                    continue
                scrubbed = _UNKNOWN
            elif kind is int:
                if value < _LEAST_CARD:
                    continue
                scrubbed = self.value(value, CLEAN, depth)
            elif kind is dict:
                scrubbed = self._mapping(value, depth + 1)
            elif kind is list:
                scrubbed = self._sequence(value, depth + 1)
            elif kind in _PLAIN or (kind is float and value < _LEAST_CARD):
                continue
            else:
                scrubbed = self.value(value, CLEAN, depth + 1)
            if scrubbed is value:
                continue
            if clean is mapping:
                clean = dict(mapping)
            if scrubbed is _UNKNOWN:
                self._waiting.append((clean, key, value))
            else:
                clean[key] = scrubbed
        if telling:
            clean = self._after_names(mapping, clean)
        seen[identity] = clean
        return clean

    def _after_names(self, mapping: Mapping[Any, Any], clean: Any) -> object:
        """Hide the values that are named elsewhere in the mapping, and rename private keys."""
        hidden = mapping.keys() & _hidden_keys(mapping)
        if hidden:
            # The same one, if it is a copy already: texts that wait know it as their holder.
            clean = dict(mapping) if clean is mapping else clean
            clean.update(dict.fromkeys(hidden, FILTERED))
        if any(key not in _harmless_names and _verdict(key) is None for key in mapping):
            self.settle()
            clean = _rename(clean)
        return clean

    def _sequence(self, items: list[Any], depth: int) -> object:  # noqa: C901, PLR0912 - as above
        seen = self._seen
        identity = id(items)
        if identity in seen:
            return seen[identity]
        if depth >= DEEPEST:
            return FILTERED
        seen[identity] = FILTERED
        clean = items
        option = ""
        for index, item in enumerate(items):
            kind = type(item)
            if option and _is_secret_of(option, item):
                scrubbed: object = FILTERED
                option = ""
            elif kind is str:
                if (
                    (item.isalpha() and len(item) < _LONG_WORD)
                    or item in known_clean
                    or (len(item) < _LONG_RUN and item.isalnum())
                ):
                    option = ""
                    continue
                option = item if item[:1] == "-" else ""
                scrubbed = FILTERED if item[:2] == "-p" and _takes_glued(items[0]) else _UNKNOWN
            elif kind is dict:
                scrubbed = self._mapping(item, depth + 1)
            elif _is_pair(item):
                scrubbed = self._pair(item, depth + 1)
            else:
                scrubbed = self.value(item, CLEAN, depth + 1)
            if scrubbed is item:
                continue
            if clean is items:
                clean = list(items)
            if scrubbed is _UNKNOWN:
                self._waiting.append((clean, index, item))
            else:
                clean[index] = scrubbed
        seen[identity] = clean
        return clean

    def _fixed(self, items: tuple[object, ...] | Set[object], depth: int) -> object:
        """Return a tuple, which can not be changed later and so is settled now, or a set's items."""
        if id(items) not in self._seen:
            self._seen[id(items)] = FILTERED
            listed = list(items)
            scrubbed = self._sequence(listed, depth)
            if isinstance(items, tuple) and isinstance(scrubbed, list):
                self.settle()
                scrubbed = items if scrubbed is listed else tuple(scrubbed)
            self._listed.append(listed)
            self._seen[id(items)] = scrubbed
        return self._seen[id(items)]

    def _pair(self, pair: list[object] | tuple[object, ...], depth: int) -> object:
        """Return a scrubbed `[name, value]`."""
        name, value = pair
        scrubbed = [
            self.value(name, CLEAN, depth),
            self.value(value, _of_text(_text(name)), depth),
        ]
        return tuple(scrubbed) if isinstance(pair, tuple) else scrubbed


def _is_card(value: object) -> bool:
    if isinstance(value, Decimal) and not value.is_finite():
        return False
    if not isinstance(value, int | float | Decimal):
        return False
    whole = _LEAST_CARD <= value < _MOST_CARD and value == int(value)
    return whole and is_card(str(int(value)))


def _is_secret_of(option: str, value: object) -> bool:
    """Whether an item follows its option, as in a command line that is split into its words.

    For `--password hunter2` any item does, for `-u user:password` one with a colon.
    """
    if not isinstance(value, str | bytes | int):
        return False
    return is_sensitive(option) or (option in _USER_OPTIONS and ":" in _text(value)[1:-1])


def _takes_glued(program: object) -> bool:
    """Whether a password is glued to the option `-p` of a program."""
    return isinstance(program, str) and _GLUING.match(program) is not None


def _is_pair(item: object) -> TypeGuard[list[object] | tuple[object, ...]]:
    return (
        isinstance(item, list | tuple) and len(item) == _PAIR and isinstance(item[0], str | bytes)
    )


def _rename(mapping: Mapping[object, object]) -> dict[object, object]:
    """Return a mapping under keys of which none is private, and no two are the same."""
    renamed: dict[object, object] = {}
    for key, value in mapping.items():
        kept: object = key
        if _verdict(key) is None:
            kept = scrub_text(_text(key))
            while kept in renamed or kept in mapping:
                kept = f"{kept}+"
        renamed[kept] = value
    return renamed


def _by_name(value: object, verdict: Verdict) -> str | None:
    """Return what stands in for a value because of its name."""
    if verdict is NAMED or value is None or isinstance(value, bool):
        # That there is none, or whether there is one, tells nothing.
        return None
    if verdict is SENSITIVE or verdict is COUNTED:
        counted = verdict is COUNTED and isinstance(value, int | float) and value < _MOST_COUNTED
        return None if counted or value == "" else FILTERED
    if verdict is CONTAINER:
        return FILTERED if isinstance(value, Mapping | list | tuple | Set) else None
    return _by_digits(value, verdict) if verdict in _LEAST_DIGITS else _by_form(value, verdict)


def _by_digits(value: object, verdict: Verdict) -> str | None:
    digits = sum(map(str.isdigit, str(value))) if isinstance(value, str | int) else 0
    if digits < _LEAST_DIGITS[verdict]:
        return None
    return PHONE if verdict is PHONE_NUMBER else SSN


def _by_form(value: object, verdict: Verdict) -> str | None:
    if not isinstance(value, str):
        return None
    if verdict is VERSION:
        return value if _VERSION.fullmatch(value) else None
    return scrub_string(last_component(value)) if is_absolute(value) else None


def _other(value: object) -> object:
    if isinstance(value, PurePath):
        return last_component(str(value))
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {scrub_string(_text(value))}"
    return scrub_string(_text(value))


def _hidden_keys(mapping: Mapping[object, object]) -> Set[object]:
    """Find the keys of a mapping that hold a value named elsewhere in it."""
    if "loc" in mapping and "input" in mapping:  # a validation error
        return NAMED_KEYS
    names = map(mapping.get, _NAME_KEYS)
    sensitive = any(isinstance(name, str) and _of_text(name) in _SECRET for name in names)
    return NAMED_KEYS if sensitive else frozenset()


def _text(value: object) -> str:
    """Return the text of any object; an object that cannot say what it is has none."""
    if isinstance(value, bytes | bytearray | memoryview):
        # Without the zeros of another encoding, whose letters can be read all the same.
        return bytes(value[: 4 * LONGEST]).decode("utf-8", "replace").replace("\0", "")
    try:
        return str(value) if isinstance(value, str | int | BaseException) else repr(value)
    except Exception:
        return FILTERED


# What was taken out, for those who want to know.

_BY_NAME = {
    CONTAINER: "container",
    COUNTED: "name",
    NUMBER: "national-number",
    PATH: "path",
    PHONE_NUMBER: "phone",
    SENSITIVE: "name",
}
"""What to call the rule where a name alone decides."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Redaction:
    """What was replaced: its place in what is left, and the name of the rule that did it."""

    path: Path
    rule: str


def explain(value: object, name: str = "") -> list[Redaction]:
    """Say which rules take what out of plain data that is seen under a name."""
    return list(_compare(value, scrub(value, name), name, ()))


def _compare(raw: object, clean: object, name: str, path: Path) -> Iterator[Redaction]:
    if raw is clean:
        return
    if isinstance(raw, Mapping) and isinstance(clean, dict):
        for (key, value), (kept, left) in zip(raw.items(), clean.items(), strict=True):
            place = (*path, str(kept))
            if kept != key:
                yield from (Redaction(place, rule) for rule in rules_for(str(key)))
            yield from _compare(value, left, str(key), place)
    elif isinstance(raw, list | tuple) and isinstance(clean, list | tuple):
        # What follows its name in a pair is seen under it.
        names = (
            ["", *(str(first) for first, _ in pairwise(raw))] if len(raw) == 2 else [""] * len(raw)
        )
        for index, (value, left) in enumerate(zip(raw, clean, strict=True)):
            yield from _compare(value, left, names[index], (*path, index))
    elif raw != clean:
        yield from (Redaction(path, rule) for rule in _rules(raw, name))


def _rules(raw: object, name: str) -> list[str]:
    if (rule := _BY_NAME.get(judge(name))) is not None:
        return [rule]
    if not isinstance(raw, str):
        return ["name" if scrub(raw) == raw else "object"]
    try:
        nested = json.loads(raw) if raw[:1] in ("{", "[") else None
    except (ValueError, RecursionError):
        nested = None
    inside = [each.rule for each in explain(nested)] if nested is not None else []
    # Where no rule of its own explains it, a name beside it does.
    return list(dict.fromkeys(inside or rules_for(raw))) or ["name"]
