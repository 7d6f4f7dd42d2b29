"""The preview: a sample error before and after, and the rule that took each value out of it.

It is told as text, side by side for a terminal, or written as a page that needs nothing but a
browser.
"""

import json
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from itertools import groupby, zip_longest
from pathlib import Path
from string import Template as Page
from traceback import walk_tb
from types import TracebackType
from typing import Final, TypeAlias, get_args

from app.core import config
from app.privacy import Redaction, explain, is_sensitive, scrub_string
from app.privacy.patterns import REPLACEMENTS
from app.telemetry import Event, EventFilter, Hint, PrivacyMode
from app.telemetry.messages import VALUE, Template
from app.telemetry.structure import describe_user

MODES: Final[tuple[PrivacyMode, ...]] = get_args(PrivacyMode)

Where: TypeAlias = tuple[str | int, ...]
"""The keys and positions that lead to a value."""

# All of it is made up: addresses and numbers are those set aside for documents, the card is the
# networks' own test number. It stands outside of the functions, as values do: what is written in
# the code that raises, `strict` takes for its words.
_CARD: Final = "4111 1111 1111 1111"
_CUSTOMER: Final = "zoë.müller@example.com"
_ACCOUNT: Final = "DE89 3704 0044 0532 0130 00"
_ADDRESS: Final = "203.0.113.7"
_API_KEY: Final = "not-a-real-key-0123456789"
_TRACE: Final = "7f3c9ad2b1e84c5f9a60d2e4b8c1f037"

_INNERMOST: Final = {
    "context_line": f'gateway.login("{_API_KEY}")',
    "vars": {"card": f"'{_CARD}'", "customer": f"'{_CUSTOMER}'", "api_key": f"'{_API_KEY}'"},
}
_REQUEST: Final = {
    "method": "POST",
    "url": "https://shop.example.com/api/v1/orders/1042/pay",
    "query_string": "notify=zoe%40example.com&reset_token=not-a-real-token-42",
    "headers": {
        "Authorization": "Bearer not-a-real-bearer-token-42",
        "Cookie": "sessionid=not-a-real-session-42; theme=dark",
        "X-Forwarded-For": _ADDRESS,
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)",
        "Content-Type": "application/json",
    },
    "cookies": {"sessionid": "not-a-real-session-42", "theme": "dark"},
    "data": {"card": {"number": _CARD, "cvc": "737"}, "gift": "<b>for Zoë</b>", "amount": 49.9},
    "env": {"REMOTE_ADDR": _ADDRESS},
}
_BREADCRUMBS: Final = [
    {
        "type": "log",
        "category": __name__,
        "level": "info",
        "message": Template("payment provider answered […] after […] tries"),
    },
    {
        "type": "http",
        "category": "httpx",
        "data": {
            "method": "POST",
            "url": "https://pay.example.com/v2/charges?signature=not-a-real-signature-42",
            "status_code": 402,
        },
    },
    {
        "category": "query",
        "message": "SELECT id FROM customers WHERE email = 'zoe@example.com'",
        "data": {"db.params": [_CUSTOMER]},
    },
]
_EVENT: Final[Event] = {
    "event_id": "c1b2a3d4e5f60718293a4b5c6d7e8f90",
    "timestamp": "2026-03-14T09:26:53.589Z",
    "platform": "python",
    "level": "error",
    "environment": "production",
    "release": "1.4.2",
    "server_name": "ip-192-0-2-10.internal",
    "transaction": f"{__name__}.sample",
    "transaction_info": {"source": "component"},
}
_SURROUNDINGS: Final[Event] = {
    "request": _REQUEST,
    "breadcrumbs": {"values": _BREADCRUMBS},
    "tags": {"tenant_id": "acme", "request_id": _TRACE, "plan": "gold", "customer": _CUSTOMER},
    "contexts": {
        "trace": {"trace_id": _TRACE, "span_id": "a1b2c3d4e5f60718", "op": "http.server"},
        "runtime": {"name": "CPython", "version": "3.13.2"},
        "order": {"iban": _ACCOUNT, "phone": "+44 20 7946 0958", "discount": float("nan")},
    },
    "extra": {
        "sys.argv": ["worker", "--password", "not-a-real-password-42"],
        "receipt": "/home/zoe/receipts/march.pdf",
        "basket": ["tea"],
    },
    "modules": {"fastapi": "0.136.0"},
}


class CannotWriteError(ValueError):
    """The page can't be written where it is wanted; the message says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is left of a value in one mode, and the rules that took the rest; None is nothing."""

    left: str | None
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One value of an event: where it stands, before, and after in each mode."""

    where: Where
    before: str
    after: Mapping[PrivacyMode, Outcome]

    @property
    def field(self) -> str:
        """The value's place as a person writes it: `request.headers.Cookie`."""
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.where)
        whole = "".join(map(_printable, steps)).removeprefix(".")
        return whole.replace(".values[", "[", 1).replace("exception[0]", "exception", 1)

    @property
    def section(self) -> str:
        """The part of an event that the value belongs to."""
        return "stack" if "stacktrace" in self.where else _SECTIONS.get(str(self.where[0]), "event")

    @property
    def is_kept(self) -> bool:
        """Whether the value leaves unchanged in every mode."""
        return all(outcome.left == self.before for outcome in self.after.values())


_SECTIONS: Final = {
    "exception": "error",
    "request": "request",
    "user": "user",
    "tags": "tags",
    "breadcrumbs": "breadcrumbs",
    "stacktrace": "stack",
    "contexts": "contexts",
    "extra": "extra",
    "modules": "modules",
}
"""Sections in their order, by the part of an event; whatever else there is comes last."""

_ORDER: Final = (*_SECTIONS.values(), "event")


# What happens to the sample


def _charge(card: str, customer: str, api_key: str) -> None:
    raise ValueError(f"charge declined for {customer}: card {card}, api_key={api_key}")


def sample() -> tuple[Event, Hint]:
    """Raise an error as a route might, and describe it as the SDK would if nothing held it back."""
    try:
        _charge(_CARD, _CUSTOMER, _API_KEY)
    except ValueError as error:
        raised = {
            "type": "ValueError",
            "value": str(error),
            "mechanism": {"type": "fastapi", "handled": False},
            "stacktrace": {"frames": _frames(error.__traceback__)},
        }
        hint = {"exc_info": (type(error), error, error.__traceback__)}
    told = describe_user(config.settings.SENTRY_USER_CONTEXT, "user-42", "acme", _CUSTOMER, "zoe")
    user = {"id": "user-42", "email": _CUSTOMER, "username": "zoe", "ip_address": _ADDRESS} | told
    return {"exception": {"values": [raised]}, **_SURROUNDINGS, "user": user, **_EVENT}, hint


def _frames(traceback: TracebackType | None) -> list[dict[str, object]]:
    """Describe a stack, without the path to this project, which is not made up."""
    path = f"{__name__.replace('.', '/')}.py"
    frames: list[dict[str, object]] = [
        {
            "module": __name__,
            "function": frame.f_code.co_name,
            "filename": path,
            "lineno": line,
            "in_app": True,
        }
        for frame, line in walk_tb(traceback)
    ]
    frames[-1] |= _INNERMOST
    return frames


def compare(event: Event, hint: Hint) -> list[Row]:
    """Put each value of an event beside what is left of it in each mode, as the settings are."""
    by_rule = explain(event)
    clean = {
        mode: EventFilter(mode, config.settings.SENTRY_USER_CONTEXT).filter_event(event, hint)
        for mode in MODES
    }
    if "server_name" in event:  # which no filter lets out, and the hook puts back
        clean["balanced"]["server_name"] = scrub_string(str(event["server_name"]))
    rows = []
    for where, value in _leaves(event):
        if setting := _missing_setting(where):
            after = dict.fromkeys(MODES, Outcome(None, (f"{NOT_COLLECTED}: {setting}",)))
        else:
            rules = [_named(each) for each in by_rule if _covers(each.path, where)]
            after = {mode: _outcome(mode, where, value, clean[mode], rules) for mode in MODES}
        rows.append(Row(where, _text(value), after))
    return sorted(rows, key=lambda row: _ORDER.index(row.section))


NOT_COLLECTED: Final = "not collected"
NOT_ALLOWED: Final = "not in the allow-list"
CUT: Final = "value cut from the message"
BY_PLACE: Final = "withheld wherever it stands"

_ABSENT: Final = object()
_COLLECTED_BY: Final[Mapping[frozenset[str], str]] = {
    frozenset({"stacktrace", "vars"}): "SENTRY_INCLUDE_LOCAL_VARIABLES",
    frozenset({"stacktrace", "context_line"}): "SENTRY_INCLUDE_SOURCE_CONTEXT",
    frozenset({"request", "data"}): "SENTRY_INCLUDE_REQUEST_BODIES",
    frozenset({"sys.argv"}): "SENTRY_INCLUDE_ARGV",
    frozenset({"server_name"}): "SENTRY_INCLUDE_SERVER_NAME",
    frozenset({"modules"}): "SENTRY_INCLUDE_MODULES",
}
"""Steps to what is collected only where a setting asks for it."""


def _missing_setting(where: Where) -> str:
    """Return the setting without which a value is not even collected, if it is off."""
    for steps, setting in _COLLECTED_BY.items():
        if steps.issubset(where) and not getattr(config.settings, setting):
            return setting
    return ""


def _leaves(value: object, where: Where = ()) -> Iterator[tuple[Where, object]]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _leaves(each, (*where, key))
    elif isinstance(value, list | tuple) and value:
        for index, each in enumerate(value):
            yield from _leaves(each, (*where, index))
    else:
        yield where, value


def _find(event: object, where: Where) -> object:
    """Return what stands at a place, or what stands in for all that was there."""
    for step in where:
        if isinstance(event, Mapping):
            event = event.get(step, _ABSENT)
        elif isinstance(event, list | tuple) and isinstance(step, int):
            event = event[step] if step < len(event) else _ABSENT
    return event


def _outcome(
    mode: PrivacyMode, where: Where, value: object, clean: Event, rules: list[str]
) -> Outcome:
    found = _find(clean, where)
    left = None if found is _ABSENT else _text(found)
    if left == _text(value):
        return Outcome(left)
    if where[0] == "user":
        return Outcome(left, (f"user context: {config.settings.SENTRY_USER_CONTEXT}",))
    if mode == "strict" and left is None:
        return Outcome(None, (NOT_ALLOWED,))
    told = tuple(dict.fromkeys(rules))
    if left is not None and VALUE in left:
        # A rule found something in what the cuts left, or there is nothing but cuts.
        return Outcome(left, (CUT, *told) if any(map(left.__contains__, REPLACEMENTS)) else (CUT,))
    return Outcome(left, told or (BY_PLACE,))


def _covers(path: Where, where: Where) -> bool:
    """Whether what was done at a path, above a place or inside of it, was done to the place."""
    shorter = min(len(path), len(where))
    return path[:shorter] == where[:shorter]


def _named(redaction: Redaction) -> str:
    """Say a rule's name, and the field's where that is what the rule went by."""
    field = next((step for step in reversed(redaction.path) if isinstance(step, str)), "")
    if redaction.rule == "name" and is_sensitive(field):
        return f"name: {field.lower()}"
    return redaction.rule


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return _printable(text)


def _printable(text: str) -> str:
    """Write what no terminal and no page may be given (controls, half characters) as escapes."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


# As text


NOT_SENT: Final = "not sent"

_NARROWEST: Final = 40
_WIDEST: Final = 160
_PIPED: Final = 100
_GAP: Final = "  "


def render_text(rows: Iterable[Row], width: int) -> str:
    """Return the rows as text, in lines of at most `width` columns (40 to 160)."""
    width = min(max(width, _NARROWEST), _WIDEST)
    lines = [*_wrapped(_INTRODUCTION, width), "", *_wrapped(_settings_now(), width)]
    for section, members in groupby(rows, lambda row: row.section):
        lines += ["", section.upper(), *_section(list(members), width)]
    return "\n".join(line.rstrip() for line in lines)


def _section(rows: list[Row], width: int) -> Iterator[str]:
    changed = [row for row in rows if not row.is_kept]
    if changed:
        heads = ("before", *(f"{mode} (now set)" if _is_set(mode) else mode for mode in MODES))
        yield from _side_by_side([[head] for head in heads], width)
    for row in changed:
        yield from _wrapped(row.field, width)
        yield from _side_by_side([[row.before], *map(_told, row.after.values())], width)
    if kept := ", ".join(row.field for row in rows if row.is_kept):
        yield from _wrapped(f"kept as it is: {kept}", width)


def _told(outcome: Outcome) -> list[str]:
    rules = [f"← {', '.join(outcome.rules)}"] if outcome.rules else []
    return [NOT_SENT if outcome.left is None else outcome.left, *rules]


def _side_by_side(cells: list[list[str]], width: int) -> Iterator[str]:
    column = (width - len(_GAP) * len(cells)) // len(cells)
    wrapped = [[line for text in cell for line in _wrapped(text, column)] for cell in cells]
    for line in zip_longest(*wrapped, fillvalue=""):
        yield "".join(_GAP + each + " " * (column - _columns(each)) for each in line)


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Break a text into lines, where it has a space or a sign that addresses are made of."""
    line = ""
    for piece in re.findall(r"[^\s/&?=_]*[\s/&?=_]+|[^\s/&?=_]+", text):
        if line and _columns(line + piece.rstrip()) > width:
            yield line.rstrip()
            line = ""
        for each in piece:
            if _columns(line + each) > width and not each.isspace():
                yield line
                line = ""
            line += each
    yield line.rstrip()


def _columns(text: str) -> int:
    """Count the columns that a text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


_INTRODUCTION: Final = (
    "A sample error, made up: each value as it is before, and what of it would leave in each "
    "privacy mode, with the rule (←) that took the rest."
)


def _is_set(mode: PrivacyMode) -> bool:
    return mode == config.settings.SENTRY_PRIVACY_MODE


def _settings_now() -> str:
    names = ("SENTRY_PRIVACY_MODE", "SENTRY_USER_CONTEXT")
    return "Now set: " + ", ".join(f"{name}={getattr(config.settings, name)}" for name in names)


# As a page


def render_page(rows: Iterable[Row]) -> str:
    """Return the rows as a page of HTML that loads nothing and runs nothing."""
    rows = list(rows)
    page = Page(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    sections = groupby(rows, lambda row: row.section)
    return page.substitute(
        settings=escape(_settings_now()),
        cards="\n".join(_card(mode, rows) for mode in MODES),
        heads="\n".join(
            f'<th role="columnheader" scope="col">After: {_heading(mode)}</th>' for mode in MODES
        ),
        sections="\n".join(_table_section(title, members) for title, members in sections),
    )


def _heading(mode: PrivacyMode) -> str:
    return f'{mode} <span class="now">now set</span>' if _is_set(mode) else mode


def _card(mode: PrivacyMode, rows: list[Row]) -> str:
    """Sum up what a mode does to the sample."""
    counts = Counter(_kind(row, row.after[mode]) for row in rows)
    told = {kind: (words, counts[kind]) for kind, words in _KINDS.items()}
    bar = "".join(
        f'<span class="{kind}" style="flex:{count}"></span>' for kind, (_, count) in told.items()
    )
    items = "".join(
        f'<li style="--dot: var(--{kind}-bar)">{count} {words}</li>'
        for kind, (words, count) in told.items()
    )
    return (
        f'<section class="card{" set" if _is_set(mode) else ""}"><h2>{_heading(mode)}</h2>'
        f"<p>{escape(_MEANING[mode])}</p>"
        f'<div class="bar" aria-hidden="true">{bar}</div><ul>{items}</ul></section>'
    )


def _table_section(title: str, rows: Iterable[Row]) -> str:
    heading = (
        '<tr role="row"><th class="section" role="rowheader" scope="rowgroup" '
        f'colspan="{len(MODES) + 2}">{title.capitalize()}</th></tr>'
    )
    body = "\n".join(map(_table_row, rows))
    return f'<tbody role="rowgroup">\n{heading}\n{body}\n</tbody>'


def _table_row(row: Row) -> str:
    cells = "".join(
        f'<td role="cell" data-label="{mode}"><div>{_cell(row, outcome)}</div></td>'
        for mode, outcome in row.after.items()
    )
    return (
        f'<tr role="row"><th class="field" role="rowheader" scope="row">{_breakable(row.field)}</th>'
        f'<td role="cell" data-label="before"><span class="value">{escape(row.before)}</span></td>'
        f"{cells}</tr>"
    )


def _cell(row: Row, outcome: Outcome) -> str:
    kind = _kind(row, outcome)
    shown = '<span class="none">not sent</span>'
    if outcome.left is not None:
        marked = escape(outcome.left)
        if kind == "changed":
            marked = _STAND_IN.sub(r"<mark>\g<0></mark>", marked)
        shown = f'<span class="value">{marked}</span>'
    rules = outcome.rules or ("kept",)
    listed = "".join(f'<li class="{kind}">{_breakable(rule)}</li>' for rule in rules)
    return f'{shown} <ul class="rules">{listed}</ul>'


def _breakable(name: str) -> str:
    """Let a long name break where its words end."""
    return re.sub(r"[._](?=\w)", r"\g<0><wbr>", escape(name))


def _kind(row: Row, outcome: Outcome) -> str:
    if outcome.left == row.before:
        return "kept"
    return "gone" if outcome.left is None else "changed"


_KINDS: Final = {"kept": "kept", "changed": "cut or replaced", "gone": "not sent"}
_MEANING: Final[Mapping[PrivacyMode, str]] = {
    "strict": "Sends only what is known to be safe.",
    "balanced": "Sends what is sensitive neither by its name nor by its shape.",
}
_STAND_IN: Final = re.compile("|".join(map(re.escape, sorted({*REPLACEMENTS, VALUE}))))


# For the command line


def render_preview(page: Path | None = None) -> str:
    """Return the sample as text; given a file, write the page there and say so.

    Raises `CannotWriteError`, after which the file is as it was.
    """
    rows = compare(*sample())
    if page is None:
        return render_text(rows, shutil.get_terminal_size((_PIPED, 0)).columns)
    _write(page, render_page(rows))
    return f"The preview is in {_printable(str(page))}."


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, by way of another one beside it."""
    draft: Path | None = None
    try:
        target = path.resolve()  # what a link leads to, so that it stays a link
        # Anything else that bears the name, such as a device, would be replaced by a file.
        if target.exists() and not (target.is_file() and os.access(target, os.W_OK)):
            raise CannotWriteError(_cannot(path, "it is not a file that may be written"))
        draft = target.with_name(f".preview-{os.getpid()}")
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
        draft.replace(target)
    except OSError as error:
        if draft is not None:
            with suppress(OSError):
                draft.unlink()
        reason = (error.strerror or type(error).__name__).lower()
        raise CannotWriteError(_cannot(path, reason)) from None


def _cannot(path: Path, reason: str) -> str:
    return f"the page can't be written to {_printable(str(path))}: {reason}"
