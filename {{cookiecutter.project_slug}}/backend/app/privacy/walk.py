"""Walk: any nesting of plain data, scrubbed by the names on the way and the shapes at its leaves.

The input is never changed. Depth is bounded, a cycle is cut, and what is shared is scrubbed once,
so that no structure takes more than linear time.
"""

import json
import re
from collections.abc import Mapping, Set
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Final
from uuid import UUID

from app.privacy.checks import is_card
from app.privacy.names import Verdict, is_sensitive, judge, verdicts
from app.privacy.patterns import CARD, FILTERED, PHONE, is_absolute, last_component
from app.privacy.text import LONGEST, known_clean, scrub_text

DEEPEST: Final = 100
"""Levels of nesting that are kept; what lies deeper is replaced as a whole."""

_VERSION = re.compile(r"v?\d{1,4}(?:\.\d{1,5}){1,3}")
_LEAST_CARD = 10**12
_LEAST_PHONE_DIGITS = 7
_PAIR = 2
_HARMLESS = (bool, float, date, time, timedelta, UUID, Enum)
_NAME_KEYS: Final = ("name", "key", "field", "header", "param", "parameter")
_VALUE_KEYS: Final = frozenset({"value", "values", "val", "content"})


def scrub(value: object, name: str = "") -> object:
    """Return a scrubbed copy of plain data, seen under a name.

    Mappings, lists, tuples and sets keep their kind as far as JSON can tell, bytes become text,
    and an object that is no plain data becomes the scrubbed text of its `repr`.
    """
    return _Walk().value(value, name, 0)


def scrub_string(text: str) -> str:
    """Return a scrubbed text; one that holds JSON is scrubbed by the names in it as well."""
    if text[:1] in ("{", "[") and text[-1:] in ("}", "]") and len(text) <= LONGEST:
        try:
            decoded = json.loads(text)
        except (ValueError, RecursionError):
            return scrub_text(text)
        scrubbed = scrub(decoded)
        # What holds nothing private keeps its own spacing.
        if scrubbed != decoded:
            return json.dumps(scrubbed, ensure_ascii=False)
        return scrub_text(text)
    return scrub_text(text)


class _Walk:
    """One pass over one structure; remembers by identity what it has seen."""

    def __init__(self) -> None:
        self._seen: dict[int, object] = {}

    def value(self, value: object, name: str, depth: int) -> object:
        named = self._by_name(value, name) if name else None
        if named is not None:
            return named
        # What JSON is made of comes first, by its exact type: an event has thousands of them.
        kind = type(value)
        if kind is dict or kind is list:
            return self._nested(value, depth)
        if isinstance(value, str):
            return value if value in known_clean else scrub_string(str(value))
        if value is None or isinstance(value, _HARMLESS):
            return value
        if isinstance(value, int | Decimal):
            return CARD if value >= _LEAST_CARD and is_card(str(value)) else value
        nested = isinstance(value, Mapping | list | tuple | Set)
        return self._nested(value, depth) if nested else self._other(value)

    def _by_name(self, value: object, name: str) -> str | None:
        """Return what stands in for a value because of its name."""
        verdict = judge(name)
        if verdict is Verdict.CLEAN or value is None or isinstance(value, bool):
            # That there is none, or whether there is one, tells nothing.
            return None
        if verdict is Verdict.SENSITIVE:
            return FILTERED
        if verdict is Verdict.CONTAINER:
            return FILTERED if isinstance(value, Mapping | list | tuple | Set) else None
        if verdict is Verdict.VERSION:
            return value if isinstance(value, str) and _VERSION.fullmatch(value) else None
        if verdict is Verdict.PATH:
            absolute = isinstance(value, str) and is_absolute(value)
            return scrub_string(last_component(str(value))) if absolute else None
        digits = sum(map(str.isdigit, str(value))) if isinstance(value, str | int) else 0
        return PHONE if digits >= _LEAST_PHONE_DIGITS else None

    def _nested(self, value: object, depth: int) -> object:
        if depth >= DEEPEST:
            return FILTERED
        if id(value) in self._seen:
            return self._seen[id(value)]
        # Met again on the way down, a structure holds itself.
        self._seen[id(value)] = FILTERED
        if type(value) is dict or isinstance(value, Mapping):
            scrubbed: object = self._mapping(value, depth + 1)
        else:
            items = self._sequence(list(value), depth + 1)  # type: ignore[call-overload] # a list of some kind
            scrubbed = tuple(items) if isinstance(value, tuple) else items
        self._seen[id(value)] = scrubbed
        return scrubbed

    def _mapping(self, mapping: Mapping[object, object], depth: int) -> dict[object, object]:
        scrubbed: dict[object, object] = {}
        hidden = _hidden_keys(mapping)
        for key, value in mapping.items():
            name = key if type(key) is str else _text(key)
            if (
                # The way that most of a usual event takes, made short.
                type(value) is str
                and value in known_clean
                and name in known_clean
                and verdicts[name] is Verdict.CLEAN
                and not hidden
                and name not in scrubbed
            ):
                scrubbed[key] = value
                continue
            clean = scrub_text(name)
            if clean == name:
                kept = key
            else:
                kept = clean
                while kept in scrubbed:
                    kept += "+"
            scrubbed[kept] = FILTERED if key in hidden else self.value(value, name, depth)
        return scrubbed

    def _sequence(self, items: list[object], depth: int) -> list[object]:
        scrubbed: list[object] = []
        hide_next = False
        for item in items:
            if not hide_next and type(item) is str and item in known_clean and item[:1] != "-":
                scrubbed.append(item)
                continue
            if hide_next and isinstance(item, str | bytes | int):
                scrubbed.append(FILTERED)
                hide_next = False
                continue
            # `--password hunter2` of a command line, split into its words.
            hide_next = isinstance(item, str) and item[:1] == "-" and is_sensitive(item)
            if isinstance(item, list | tuple) and len(item) == _PAIR and _is_name(item[0]):
                pair = [self.value(item[0], "", depth), self.value(item[1], _text(item[0]), depth)]
                scrubbed.append(tuple(pair) if isinstance(item, tuple) else pair)
            else:
                scrubbed.append(self.value(item, "", depth))
        return scrubbed

    def _other(self, value: object) -> object:
        if isinstance(value, PurePath):
            return last_component(str(value))
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {scrub_string(_text(value))}"
        return scrub_string(_text(value))


def _is_name(value: object) -> bool:
    return isinstance(value, str | bytes)


def _hidden_keys(mapping: Mapping[object, object]) -> Set[object]:
    """Find the keys of a mapping that hold a value named elsewhere in it."""
    if "loc" in mapping and "input" in mapping:
        return {"input", "ctx"}
    for key in _NAME_KEYS:
        if key in mapping:
            name = mapping[key]
            if isinstance(name, str) and is_sensitive(name):
                return _VALUE_KEYS
    return frozenset()


def _text(value: object) -> str:
    """Return the text of any object; an object that cannot say what it is has none."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value[: 4 * LONGEST]).decode("utf-8", "replace")
    try:
        return str(value) if isinstance(value, str | int | BaseException) else repr(value)
    except Exception:
        return FILTERED
