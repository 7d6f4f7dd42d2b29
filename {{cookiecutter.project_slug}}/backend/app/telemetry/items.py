"""Items: logs, metrics and streamed spans, which the SDK sends in batches of their own form."""

import math
from collections.abc import Mapping
from typing import Final

from app.privacy import scrub, scrub_string
from app.privacy.patterns import FILTERED
from app.telemetry import EventFilter
from app.telemetry.identity import CHECKS, UserContext
from app.telemetry.messages import (
    VALUE,
    Template,
    call_site,
    keep_constants,
    keep_template,
    written_nearby,
)
from app.telemetry.structure import (
    ATTRIBUTES,
    IDS,
    LOG,
    LOG_RECORD,
    METRIC,
    STREAMED_SPAN,
    Check,
    transaction_name,
)

Item = dict[str, object]

NEEDED: Final = {
    "log": ("time_unix_nano", "severity_text", "severity_number"),
    "trace_metric": ("timestamp", "type", "value"),
}
"""Fields without which the SDK can not send an item, nor any other that waits with it."""

FORMS: Final = {"log": LOG, "trace_metric": METRIC, "span": STREAMED_SPAN}
"""The fields of an item that leave in strict mode, by the type of its envelope item."""

_PARAMETER = "sentry.message.parameter."
_IDENTITY: Final[Mapping[UserContext, tuple[str, ...]]] = {
    "id": ("user.id",),
    "anonymous": (),
    "full": ("user.id", "user.name", "user.email"),
}


def _attributes(item: Mapping[str, object]) -> Mapping[str, object]:
    attributes = item.get("attributes")
    return attributes if isinstance(attributes, Mapping) else {}


def clean_attributes(plain: Mapping[str, object], rules: EventFilter) -> Item:
    """Return what may leave of attributes, by the mode."""
    told = dict.fromkeys(_IDENTITY[rules.user_context], CHECKS[rules.user_context])
    checks: Mapping[str, Check] = {**ATTRIBUTES, **told} if rules.mode == "strict" else {**told}
    checked = {name: check(plain[name]) for name, check in checks.items() if name in plain}
    clean: Item = {name: value for name, value in checked.items() if value is not None}
    if rules.mode == "balanced":
        rest = [name for name in plain if name not in _IDENTITY["full"]]
        clean |= {scrub_string(str(name)): scrub(plain[name], str(name)) for name in rest}
    return clean


def _is_too_little(clean: Item, item: Mapping[str, object], kind: str) -> bool:
    return any(name in item and name not in clean for name in NEEDED[kind])


def filter_log(log: Mapping[str, object], rules: EventFilter) -> Item | None:
    """Return a clean log, as the hook for logs has to; nothing where too little of it is left."""
    attributes = _attributes(log)
    if rules.mode == "balanced":
        body: str = scrub_string(str(log.get("body", "")))
        shown = _hide_parameters(clean_attributes(attributes, rules), body)
        return {**log, "attributes": shown, "body": body}
    kept = LOG_RECORD(log)
    clean: Item = dict(kept) if isinstance(kept, dict) else {}
    if _is_too_little(clean, log, "log"):
        return None
    clean["attributes"] = clean_attributes(attributes, rules)
    clean["body"] = _filtered(_log_body(log.get("body"), attributes))
    return clean


def _hide_parameters(attributes: Item, body: str) -> Item:
    """Hide those parameters of a log that its scrubbed text no longer shows."""
    return {
        name: value if not name.startswith(_PARAMETER) or str(value) in body else FILTERED
        for name, value in attributes.items()
    }


def _log_body(body: object, attributes: Mapping[str, object]) -> Template:
    """Cut a log's text down to what stands in the code of the call that is being made."""
    if isinstance(body, Template):
        return body
    text = str(attributes.get("sentry.message.template", body))
    if written_nearby(text):
        return keep_template(text)
    line = attributes.get("code.line.number")
    path = str(attributes.get("code.file.path", ""))
    return keep_constants(text, call_site(path, line) if path and isinstance(line, int) else [])


def filter_metric(metric: Mapping[str, object], rules: EventFilter) -> Item | None:
    """Return a clean metric; none that is no number, and in strict mode none whose name no
    programmer wrote."""
    name = metric.get("name")
    attributes = clean_attributes(_attributes(metric), rules)
    value = scrub(metric.get("value"))
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if rules.mode == "balanced":
        return {**metric, "name": scrub_string(str(name)), "attributes": attributes}
    if not isinstance(name, str) or not (isinstance(name, Template) or written_nearby(name)):
        return None
    kept = METRIC(metric)
    clean: Item = dict(kept) if isinstance(kept, dict) else {}
    if _is_too_little(clean, metric, "trace_metric"):
        return None
    return {**clean, "name": _filtered(name), "attributes": attributes}


def filter_span(span: Mapping[str, object], rules: EventFilter) -> Item:
    """Return a clean streamed span: in strict mode with the name of a route, and with no other."""
    attributes = clean_attributes(_attributes(span), rules)
    if rules.mode == "balanced":
        return {**span, "name": scrub_string(str(span.get("name", ""))), "attributes": attributes}
    kept = STREAMED_SPAN(span)
    clean: Item = dict(kept) if isinstance(kept, dict) else {}
    named = transaction_name(span.get("name"), attributes.get("sentry.segment.name.source"))
    return {**clean, "name": Template(named or VALUE), "attributes": attributes}


def _filtered(text: str) -> Template:
    return Template(scrub_string(text))


def clean_batch(kind: str, payload: object, rules: EventFilter) -> Item:
    """Rebuild the payload of an envelope item that holds a batch, once more and on its own."""
    items = payload.get("items") if isinstance(payload, Mapping) else None
    if not isinstance(items, list):
        raise TypeError("a batch without items")
    clean = (_clean_wired(kind, each, rules) for each in items if isinstance(each, Mapping))
    return {"version": 2, "items": [each for each in clean if each]}


def _clean_wired(kind: str, item: Mapping[str, object], rules: EventFilter) -> Item:
    """Clean an item as it goes over the wire, where each attribute says its type."""
    plain = {
        name: wired.get("value") if isinstance(wired, Mapping) else wired
        for name, wired in _attributes(item).items()
    }
    shown = clean_attributes(plain, rules)
    if rules.mode == "balanced" and kind == "log":
        shown = _hide_parameters(shown, scrub_string(str(item.get("body", ""))))
    attributes = {name: {"value": each, "type": _type(each)} for name, each in shown.items()}
    if rules.mode == "balanced":
        rest = scrub({key: value for key, value in item.items() if key != "attributes"})
        ids = IDS(item)
        if not isinstance(rest, dict) or not isinstance(ids, dict):
            return {}
        return {**rest, **ids, "attributes": attributes}
    kept = FORMS[kind](item)
    clean: Item = {**(kept if isinstance(kept, dict) else {}), "attributes": attributes}
    # The hooks proved the texts, whose type says so: the calls that made them are over by now.
    key = "body" if kind == "log" else "name"
    text = item.get(key)
    if isinstance(text, Template):
        return {**clean, key: _filtered(text)}
    # A metric is nothing without its name.
    return {} if kind == "trace_metric" else {**clean, key: VALUE}


def _type(value: object) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "double"
        case list():
            return "array"
    return "string"
