"""Items: logs, metrics and streamed spans, which the SDK sends in batches of their own form."""

from collections.abc import Mapping
from typing import Final

from app.privacy import scrub, scrub_string
from app.telemetry.event_filter import EventFilter
from app.telemetry.messages import VALUE, call_site, keep_constants, written_nearby
from app.telemetry.structure import ATTRIBUTES, IDS, LOG, METRIC, STREAMED_SPAN

Item = dict[str, object]

FORMS: Final = {"log": LOG, "trace_metric": METRIC, "span": STREAMED_SPAN}
"""The fields of an item that leave in strict mode, by the type of its envelope item."""

_IDENTITY: Final = {
    "id": ("user.id",),
    "anonymous": (),
    "full": ("user.id", "user.name", "user.email"),
}


def _attributes(item: Mapping[str, object]) -> Mapping[str, object]:
    attributes = item.get("attributes")
    return attributes if isinstance(attributes, Mapping) else {}


def clean_attributes(plain: Mapping[str, object], rules: EventFilter) -> Item:
    """Return what may leave of attributes, by the mode."""
    told = _IDENTITY[rules.user_context]
    if rules.mode == "balanced":
        hidden = {name for names in _IDENTITY.values() for name in names} - set(told)
        return {
            scrub_string(str(name)): scrub(value, str(name))
            for name, value in plain.items()
            if name not in hidden
        }
    checked = {name: check(plain[name]) for name, check in ATTRIBUTES.items() if name in plain} | {
        name: scrub(plain[name]) for name in told if name in plain
    }
    return {name: value for name, value in checked.items() if value is not None}


def filter_log(log: Mapping[str, object], rules: EventFilter) -> Item:
    """Return a clean log, as the hook for logs has to."""
    attributes = _attributes(log)
    clean = {**log, "attributes": clean_attributes(attributes, rules)}
    body = str(log.get("body", ""))
    if rules.mode == "strict":
        line = attributes.get("code.line.number")
        path = str(attributes.get("code.file.path", ""))
        codes = call_site(path, line) if path and isinstance(line, int) else []
        body = keep_constants(body, codes)
    clean["body"] = scrub_string(body)
    return clean


def filter_metric(metric: Mapping[str, object], rules: EventFilter) -> Item | None:
    """Return a clean metric; in strict mode none whose name no programmer wrote."""
    name = str(metric.get("name", ""))
    if rules.mode == "strict" and not written_nearby(name):
        return None
    attributes = clean_attributes(_attributes(metric), rules)
    return {**metric, "name": scrub_string(name), "attributes": attributes}


def filter_span(span: Mapping[str, object], rules: EventFilter) -> Item:
    """Return a clean streamed span: its name and its attributes, all that a hook may change."""
    name = VALUE if rules.mode == "strict" else scrub_string(str(span.get("name", "")))
    return {**span, "name": name, "attributes": clean_attributes(_attributes(span), rules)}


def clean_batch(kind: str, payload: object, rules: EventFilter) -> Item:
    """Rebuild the payload of an envelope item that holds a batch, once more and on its own."""
    items = payload.get("items") if isinstance(payload, Mapping) else None
    if not isinstance(items, list):
        raise TypeError("a batch without items")
    return {"version": 2, "items": [_clean_wired(kind, each, rules) for each in items]}


def _clean_wired(kind: str, item: Mapping[str, object], rules: EventFilter) -> Item:
    """Clean an item as it goes over the wire, where each attribute says its type."""
    plain = {
        name: wired.get("value") if isinstance(wired, Mapping) else wired
        for name, wired in _attributes(item).items()
    }
    attributes = {
        name: {"value": value, "type": _type(value)}
        for name, value in clean_attributes(plain, rules).items()
    }
    if rules.mode == "balanced":
        rest = scrub({key: value for key, value in item.items() if key != "attributes"})
        ids = IDS(item)
        if not isinstance(rest, dict) or not isinstance(ids, dict):
            return {}
        return {**rest, **ids, "attributes": attributes}
    kept = FORMS[kind](item)
    # The hooks proved these: what a span is called is no longer known to be written in code.
    texts = {key: scrub_string(str(item[key])) for key in ("body", "name") if key in item}
    if kind == "span":
        texts["name"] = VALUE
    return {**(kept if isinstance(kept, dict) else {}), **texts, "attributes": attributes}


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
