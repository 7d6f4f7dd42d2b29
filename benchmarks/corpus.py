"""The strings: what must not leave an event, and what must come through it unchanged.

`strings.json` was made up for this benchmark, and independently of the rules that it measures.
Whatever looks like a person, a token or an account in it is invented; numbers that carry a check
digit carry a right one.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STRINGS = Path(__file__).with_name("strings.json")

KEY = object()  # in a path below: the string's own key
PLACES: dict[str, tuple[object, ...]] = {
    "argv": ("extra", "sys.argv"),
    "body": ("request", "data", KEY),
    "breadcrumb": ("breadcrumbs", "values", 0, "message"),
    "breadcrumb_data": ("breadcrumbs", "values", 0, "data", KEY),
    "context": ("contexts", "details", KEY),
    "cookie": ("request", "cookies", KEY),
    "env": ("request", "env", KEY),
    "exception": ("exception", "values", 0, "value"),
    "extra": ("extra", KEY),
    "header": ("request", "headers", KEY),
    "log": ("logentry", "formatted"),
    "message": ("message",),
    "query": ("request", "query_string"),
    "sql": ("breadcrumbs", "values", 1, "message"),
    "tag": ("tags", KEY),
    "url": ("request", "url"),
    "user": ("user", KEY),
    "vars": ("exception", "values", 0, "stacktrace", "frames", 0, "vars", KEY),
}
FRAME = {"module": "app.orders", "function": "place", "filename": "app/orders.py", "vars": {}}
EVENT: dict[str, object] = {
    "event_id": "f" * 32,
    "platform": "python",
    "level": "error",
    "exception": {
        "values": [{"type": "OrderError", "value": "", "stacktrace": {"frames": [FRAME]}}]
    },
    "request": {"method": "POST", "url": "https://api.example.com/orders"},
    "breadcrumbs": {
        "values": [
            {"type": "default", "category": "app", "message": ""},
            {"type": "default", "category": "query", "message": ""},
        ]
    },
}


@dataclass(frozen=True)
class Planted:
    """A value of some kind, and where in an event it stands."""

    kind: str
    place: str
    value: object
    key: str = "note"
    leaks: tuple[str, ...] = ()  # none of these may be left; empty for what must survive

    @property
    def path(self) -> list[object]:
        """Return the keys and indices that lead to the value."""
        return [self.key if step is KEY else step for step in PLACES[self.place]]

    def event(self) -> dict[str, object]:
        """Return an event that holds the value, and otherwise nothing private."""
        event = deepcopy(EVENT)
        *steps, last = self.path
        inner: Any = event
        for step in steps:
            inner = inner.setdefault(step, {}) if isinstance(inner, dict) else inner[step]
        inner[last] = deepcopy(self.value)
        return event

    def has_leaked(self, scrubbed: object) -> bool:
        """Say whether anything of the value is readable in what a scrubber returned."""
        text = "\n".join(texts(scrubbed))
        return any(fragment in text for fragment in self.leaks)

    def has_survived(self, scrubbed: object) -> bool:
        """Say whether the value is where it was and as it was."""
        for step in self.path:
            scrubbed = plain(at(scrubbed, step))
        return scrubbed == self.value


@dataclass(frozen=True)
class Corpus:
    """All strings of the benchmark."""

    leaks: list[Planted]
    survivors: list[Planted]


def read(path: Path = STRINGS) -> Corpus:
    """Read a file of strings."""
    parts = json.loads(path.read_text(encoding="utf-8"))
    return Corpus(*([planted(each) for each in parts[name]] for name in ("leaks", "survivors")))


def planted(entry: dict[str, object]) -> Planted:
    """Build one entry of the file, whose leaks are a list."""
    leaks = entry.get("leaks", ())
    assert isinstance(leaks, list | tuple)
    return Planted(**{**entry, "leaks": tuple(leaks)})  # type: ignore[arg-type]


def plain(value: object) -> object:
    """Unwrap what the SDK's scrubber puts around a value that it annotates."""
    return value.value if type(value).__name__ == "AnnotatedValue" else value  # type: ignore[attr-defined]


def at(value: object, step: object) -> object:
    """Return what stands under a key or an index; headers and tags may be lists of pairs."""
    match value:
        case dict():
            return value.get(step)
        case list() if isinstance(step, int):
            return value[step] if step < len(value) else None
        case list():
            return next((pair[1] for pair in value if is_pair(pair) and pair[0] == step), None)
        case _:
            return None


def is_pair(value: object) -> bool:
    """Say whether this is a name and a value."""
    return isinstance(value, list | tuple) and len(value) == len(("name", "value"))


def texts(value: object) -> Iterator[str]:
    """Yield every key and every value, as it would be readable on the wire."""
    value = plain(value)
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)
    else:
        yield str(value)
