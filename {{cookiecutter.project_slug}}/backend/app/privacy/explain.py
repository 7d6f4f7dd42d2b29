"""Explain: which rule took what out of a structure, for those who want to know."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from app.privacy.names import CONTAINER, PATH, PHONE_NUMBER, SENSITIVE, judge
from app.privacy.text import rules_for
from app.privacy.walk import scrub

_BY_NAME = {CONTAINER: "container", PATH: "path", PHONE_NUMBER: "phone", SENSITIVE: "name"}
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
