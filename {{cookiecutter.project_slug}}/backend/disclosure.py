"""The disclosure: PRIVACY.md, which tells a privacy officer what is sent, field by field.

It is made from the tables that the code works by, so that it says what they say. What the tables
do not know, the reasons, stands here; a table that grows beyond its reasons stops the making.
"""

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from app.core.config import Settings
from app.privacy import names, patterns
from app.privacy.text import LONGEST
from app.telemetry import FORMS, structure
from app.telemetry.structure import ELEMENTS, KEYS, WORDS, Check
from app.tenancy.models import TelemetryConsent

_HEAD: Final = """\
# Privacy: what this service tells Sentry

This page is made from the code that does it, and a test fails when the two differ. It is for
those who answer for what leaves: each setting, each field, each rule.

## In short

- **Without `SENTRY_DSN` nothing leaves.** Nothing is started, and nothing is kept for later.
- **Each tenant has a say of its own**: all of what follows, without its name and its users, or
  nothing. See [what a tenant consents to](#what-a-tenant-consents-to).
- **By default, in the mode `strict`, a report holds what the code says and not what it was given:**
  the type of an error, its stack as names of functions and lines, the words of messages that
  stand in the source, the release, the tenant, the id of the user and of the request. A value that
  was put into a message is cut out of it.
- **In the mode `balanced` a report also holds values**, each of them looked at: what is private by
  its name or by its shape is replaced.
- **In no mode** what the rules below recognise: passwords, tokens, keys, cookies, the numbers of
  cards, accounts and people, e-mail addresses, IP addresses, directories. The one exception is a
  user's e-mail address and name where `SENTRY_USER_CONTEXT` asks for them.
- **Nor, in any mode**, attachments, kinds of items that a later SDK may invent, and what other
  services put into their baggage.
- **What can't be scrubbed is not sent.** Where the filter fails, the report is lost, not the data.

See for yourself: the first command shows a sample error before and after, with the rule that took
each value; the second writes the same as a page; the third makes this document anew.

```sh
make install
cd backend
.venv/bin/python -m app privacy preview
.venv/bin/python -m app privacy preview --html preview.html
.venv/bin/python -m disclosure > ../PRIVACY.md
```

It is proved in `backend/tests`: in `unit` for each field and each rule, and in `wire` with a real
process and a listener in Sentry's place, which looks for planted values in every byte that arrives.
`unit/test_preview.py` holds this page to the code. How to turn reporting on and off, and to set what
is set out here, is in the [README](README.md#sentry).
"""

_COLLECTION: Final[Mapping[str, str]] = {
    "send_default_pii": "Addresses, cookies and users that the SDK finds by itself",
    "data_collection": "What a newer option of the SDK would add to these",
    "max_request_body_size": "Bodies of requests: they are not even read",
    "include_local_variables": "Variables of the functions on a stack",
    "include_source_context": "Lines of source around those of a stack, which hold literals",
    "server_name": "The host's name",
    "auto_session_tracking": "Sessions, which carry addresses and browsers",
    "enable_logs": "Log lines, apart from those that are breadcrumbs or errors",
    "enable_db_query_source": "The place in the code of a slow query",
    "enable_http_request_source": "The place in the code of a slow request",
    "trace_propagation_targets": "Trace headers on requests to other hosts",
    "strict_trace_continuation": "Traces that other organisations began and ask to have continued",
    "spotlight": "The SDK's viewer for developers, which gets what nobody has filtered",
    "debug": "What the SDK does, which only the service's own log is told, filtered",
}
"""What each option of the SDK holds back."""

_SETTING_OF: Final[Mapping[str, str]] = {
    "max_request_body_size": "SENTRY_INCLUDE_REQUEST_BODIES",
    "include_local_variables": "SENTRY_INCLUDE_LOCAL_VARIABLES",
    "include_source_context": "SENTRY_INCLUDE_SOURCE_CONTEXT",
    "server_name": "SENTRY_INCLUDE_SERVER_NAME",
    "auto_session_tracking": "SENTRY_INCLUDE_SESSIONS",
    "enable_logs": "SENTRY_INCLUDE_LOGS",
    "debug": "SENTRY_SAMPLING",
    "trace_propagation_targets": "SENTRY_TRACE_PROPAGATION_TARGETS",
}

_PARTS: Final[Mapping[str, Check]] = {
    "An exception": structure.EXCEPTION,
    "A frame of a stack": structure.FRAME,
    "A thread": structure.THREAD,
    "The contexts": structure.CONTEXTS,
    "A span": structure.SPAN,
    "A breadcrumb": structure.CRUMB,
    "The SDK": structure.SDK,
}
"""Parts of reports that have a table of their own."""

_WORDED: Final[Mapping[str, str]] = {
    "`exception.values[].value`, `logentry.message`, `message`, `breadcrumbs.values[].message`": (
        "the words that stand in the code which raised, logged or called, and the sentences that "
        "the interpreter and well-known libraries are known to have, with error codes, positions "
        "and the names of tables, columns and constraints that the models declare; `[…]` for each value"
    ),
    "`tags.tenant_id`, `tags.request_id`": "the service's own tags, and no other",
    "`transaction`, `transaction_info.source`": (
        "the template of a route that the service has, or the name of a function or a class"
    ),
    "`breadcrumbs.values[]`": "see “A breadcrumb”",
    "`breadcrumbs.values[].category`": "a known *crumb category*, or the name of a logger",
    "`monitor_slug`": "of a check-in, a text that stands in the code",
    "`user`": "what `SENTRY_USER_CONTEXT` says: see below",
}
"""What of an event leaves in strict mode because of where its words stand, and not of its form."""

_BALANCED: Final[Mapping[str, str]] = {
    "`exception`, `logentry`, `message`, `request`, `breadcrumbs`, `spans`, `extra`, `contexts`": (
        "what is there, each name and each value through the rules below"
    ),
    "`tags`": "the same; `tenant_id` and `request_id` stay as the log has them",
    "`modules`": "names and versions of packages, by the rules for texts alone",
    "`event_id`, and the ids of traces and spans": "as they are, where they have the form of one",
    "`user`": "what `SENTRY_USER_CONTEXT` says: see below",
    "`server_name`": "nothing, unless `SENTRY_INCLUDE_SERVER_NAME` asks for it",
}

_CONSENT: Final[Mapping[TelemetryConsent, str]] = {
    TelemetryConsent.FULL: "what the settings say; unless set, this",
    TelemetryConsent.ANONYMOUS: (
        "what `strict` lets out, whatever the mode. In the place of the tenant's name stands "
        "`anonymous-` and a pseudonym, and in the place of the user their `session_id`"
    ),
    TelemetryConsent.NONE: "nothing: its errors and traces are counted in `/metrics`, and not sent",
}

_HEADER: Final[Mapping[str, str]] = {
    "`event_id`, `sent_at`": "the event's id, and the time",
    "`trace.trace_id`, `trace.sample_rate`, `trace.sample_rand`, `trace.sampled`": (
        "the trace and how it was sampled, in the form that these have"
    ),
    "`trace.public_key`, `trace.org_id`": "the public half of the DSN",
    "`trace.release`, `trace.environment`, `trace.transaction`": "as in the event",
}


def render_document() -> str:
    """Return the text of PRIVACY.md."""
    # Imported here because they need the SDK, which the other commands do without.
    from app.telemetry.options import COLLECTION_OFF  # noqa: PLC0415
    from app.telemetry.transport import EVENTS, REBUILT  # noqa: PLC0415

    sections = [
        _HEAD,
        "## What decides\n",
        _table(("setting", "unless set", "meaning"), _settings()),
        *_consent(),
        "## What is not collected\n\nWhat is not there can't leave. Off, unless the setting says "
        "otherwise:\n",
        _table(("what", "setting"), _not_collected(COLLECTION_OFF)),
        *_strict(EVENTS, REBUILT.values()),
        *_balanced(),
        *_both(REBUILT),
        *_rules(),
    ]
    return "\n".join(sections).rstrip()


def _settings() -> Iterator[tuple[str, str, str]]:
    for name, field in Settings.model_fields.items():
        if name.startswith("SENTRY_"):
            default = field.default if isinstance(field.default, str) else json.dumps(field.default)
            yield f"`{name}`", f"`{default}`" if default else "", str(field.description)


def _consent() -> Iterator[str]:
    yield (
        "## What a tenant consents to\n\nOperators set it for each tenant, and the tenant's next "
        "request heeds it, in every process:\n"
    )
    yield _table(
        ("consent", "what may be told of the tenant"),
        ((f"`{consent}`", _CONSENT[consent]) for consent in TelemetryConsent),
    )
    yield (
        "What fails before the consent is known, as when the database can't be asked, is told as if "
        "it were `anonymous`; so is what a route does that knows its tenant by other means than a "
        "token. What goes on after its request keeps the consent of that request. A pseudonym is made with the key that makes a `session_id`: see [the "
        "user](#the-user). The id of the request is told all the same: with it, operators find the "
        "tenant in the service's own log, and Sentry does not.\n"
    )


def _not_collected(options: Iterable[str]) -> Iterator[tuple[str, str]]:
    for option in options:
        setting = _SETTING_OF.get(option)
        yield _COLLECTION[option], f"`{setting}`" if setting else "none: always off"
    yield "The command line", "`SENTRY_INCLUDE_ARGV`"
    yield "Names and versions of packages", "`SENTRY_INCLUDE_MODULES`"


def _strict(events: Iterable[str], rebuilt: Iterable[Check]) -> Iterator[str]:
    heads = ("field", "what may leave")
    yield (
        "## In the mode `strict`, field by field\n\nA field that is not here does not leave, nor "
        "does a value that is not of the form which is told here. What stands in *italics* is told "
        "under [the forms](#the-forms) and [known words](#the-lists-of-known-words).\n"
    )
    yield f"### Errors, transactions and check-ins ({_listed(sorted(events))})\n"
    yield _table(heads, [*_WORDED.items(), *_fields(structure.EVENT)])
    for title, part in _PARTS.items():
        yield f"### {title}\n"
        yield _table(heads, _fields(part))
    for kind, form in FORMS.items():
        yield f"### {_ITEM_TITLES[kind]} (`{kind}`)\n"
        yield _table(heads, [_ITEM_TEXTS[kind], *_fields(form)])
    yield "### Attributes of logs, metrics and streamed spans\n"
    yield _table(heads, [_ITEM_USER, *_grouped(_walk_keys(structure.ATTRIBUTES, ""))])
    yield "### The forms\n"
    parts = [structure.EVENT, *_PARTS.values(), *FORMS.values(), *rebuilt]
    forms = dict.fromkeys(form for part in parts for form in _forms(part))
    yield _table(("form", "what has it"), map(_form, forms))
    yield "### The lists of known words\n"
    yield _table(
        ("list", "words"),
        ((f"*{name}*", _words(check)) for name, check in _vocabularies()),
    )


def _balanced() -> Iterator[str]:
    yield (
        "## In the mode `balanced`\n\nAll that the SDK collects leaves, changed as follows. It "
        "holds for events, transactions and check-ins as for logs, metrics and streamed spans.\n"
    )
    yield _table(("field", "what leaves"), _BALANCED.items())


def _both(rebuilt: Mapping[str, Check]) -> Iterator[str]:
    yield (
        "## In both modes\n\n### The envelope around it all\n\nNothing of what other services "
        "put into their baggage is passed on.\n"
    )
    yield _table(("field", "what may leave"), _HEADER.items())
    yield "### The user\n"
    yield _table(
        ("`SENTRY_USER_CONTEXT`", "what is told of a user"),
        ((f"`{mode}`", _listed(fields)) for mode, fields in structure.USER.items()),
    )
    yield (
        "A `session_id` is made from the user's id and the tenant with a key that only the running "
        "process has: nobody can find the user from it. Another worker process, or the same service "
        "after a restart, has another key, and so the user another `session_id` there.\n"
    )
    kinds: dict[int, list[str]] = {}
    for kind, check in rebuilt.items():
        kinds.setdefault(id(check), []).append(kind)
    for same in kinds.values():
        yield f"### {_ITEM_TITLES[same[0]]} ({_listed(same)})\n"
        yield _table(("field", "what may leave"), _fields(rebuilt[same[0]]))
    yield "Any other kind of item, attachments among them, is dropped and counted.\n"


def _rules() -> Iterator[str]:
    yield (
        "## The rules\n\n### By name\n\n`[Filtered]` takes the place of a value, whatever it is, "
        "because of its name: of a field, a header, a cookie, a parameter, or what stands before a "
        "`=` or a `:` in a text. Names are read as words in any spelling (`apiKey`, `API_KEY`, "
        "`x-api-key`); the preview calls the rule `name`. Such a name\n"
    )
    pairs = (" ".join(pair) for pair in names.SENSITIVE_PAIRS)
    yield (
        f"- holds one of these words: {_plainly(names.SENSITIVE_WORDS)};\n"
        f"- or two of these side by side: {_plainly(pairs)};\n"
        f"- or ends in one of these: {_plainly(names.SENSITIVE_HEADS)}.\n\n"
        f"Under {_plainly(names.CONTAINERS)} all that is inside is replaced as a whole "
        "(`container`). Names that count or ask, such as `max_tokens` and `token_type`, are left "
        "alone.\n"
    )
    yield "### By shape\n\nIn any text, wherever it stands:\n"
    by_stand_in: dict[str, list[str]] = {}
    for rule in (*patterns.PEM, *patterns.NUMBERS, *patterns.SHAPES):
        by_stand_in.setdefault(_stand_in(rule.replacement), []).append(rule.name)
    yield _table(
        ("what is put in its place", "by the rules"),
        ((stand_in, _listed(dict.fromkeys(rules))) for stand_in, rules in by_stand_in.items()),
    )
    yield (
        f"A text of more than {LONGEST:,} characters loses its middle (`cut`). What is no plain data "
        "is told as a text, and that is looked at (`object`).\n"
    )


_ITEM_TITLES: Final[Mapping[str, str]] = {
    "log": "Logs",
    "trace_metric": "Metrics",
    "span": "Streamed spans",
    "client_report": "Counts of what was not sent",
    "profile": "Profiles",
    "session": "Sessions",
    "sessions": "Counts of sessions",
}
_ITEM_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "log": ("`body`", "the words that stand in the code of the log call"),
    "trace_metric": ("`name`", "a name that stands in the code that measured; else none is sent"),
    "span": ("`name`", "nothing: `[…]`"),
}
_ITEM_USER: Final = (
    "`user.id`, `user.name`, `user.email`",
    "what `SENTRY_USER_CONTEXT` says: see below",
)


# From tables to words


def _fields(part: Check) -> Iterator[tuple[str, str]]:
    """Yield the fields of a part, those of one form together, and what form that is."""
    return _grouped(_walk_keys(KEYS[part], ""))


def _grouped(fields: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    by_form: dict[str, list[str]] = {}
    for path, form in fields:
        by_form.setdefault(form, []).append(path)
    for form, paths in by_form.items():
        yield _listed(paths), form


def _walk_keys(keys: Mapping[str, Check], path: str) -> Iterator[tuple[str, str]]:
    for key, check in keys.items():
        yield from _walk(check, f"{path}.{key}" if path else key)


def _walk(check: Check, path: str) -> Iterator[tuple[str, str]]:
    for title, part in _PARTS.items():
        if check is part:
            yield path, f"see “{title}”"
            return
    if check in KEYS:
        yield from _walk_keys(KEYS[check], path)
    elif check in ELEMENTS:
        yield from _walk(ELEMENTS[check], f"{path}[]")
    else:
        yield path, _named(check)


def _named(check: Check) -> str:
    for name, vocabulary in _vocabularies():
        if check is vocabulary:
            return f"a known *{name}*"
    return f"one of {_words(check)}" if check in WORDS else _form(check)[0]


def _forms(check: Check) -> Iterator[Check]:
    """Yield the checks of the plain values in a part, but for lists of words."""
    if check in KEYS:
        for each in KEYS[check].values():
            yield from _forms(each)
    elif check in ELEMENTS:
        yield from _forms(ELEMENTS[check])
    elif check not in WORDS:
        yield check


def _words(check: Check) -> str:
    return _listed(sorted(WORDS[check]))


def _vocabularies() -> Iterator[tuple[str, Check]]:
    """Yield the lists of words that have a name of their own."""
    for name, value in vars(structure).items():
        if inspect.isfunction(value) and value in WORDS:
            yield name.lower().replace("_", " "), value


def _form(check: Check) -> tuple[str, str]:
    """Return the name of a form, and what has it: the first sentence that documents its check."""
    name = getattr(check, "__name__", "").replace("_", " ")
    first = (inspect.getdoc(check) or "").partition("\n")[0]
    return f"*{name}*", first.removeprefix("Keep ").removesuffix(".")


def _stand_in(replacement: patterns.Replacement) -> str:
    """Return what a rule puts in the place of what it finds."""
    texts = [replacement] if isinstance(replacement, str) else list(_constants(replacement))
    found = {each for each in patterns.REPLACEMENTS for text in texts if each in text}
    return ", ".join(f"`{each}`" for each in sorted(found)) or "the last part of a path"


def _constants(function: Callable[..., object]) -> Iterator[str]:
    """Yield the texts that a function of the rules puts in, itself or by another."""
    for value in inspect.getclosurevars(function).globals.values():
        if isinstance(value, str):
            yield value
        elif inspect.isfunction(value) and value.__module__ == patterns.__name__:
            yield from _constants(value)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _plainly(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay out a table of Markdown."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(f"{render_document()}\n")
