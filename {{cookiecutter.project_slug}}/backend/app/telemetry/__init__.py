"""The event filter: the PII filter for what the SDK sends, which knows how an event is built."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, get_args

from app.privacy import PIIFilter, scrub, scrub_string
from app.privacy.patterns import FILTERED
from app.telemetry import strict
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
    USER_CHECKS,
    Check,
    UserContext,
    identifier,
    keep_user,
    own_tag,
    release,
    transaction_name,
)

PrivacyMode = Literal["strict", "balanced"]

Event = dict[str, object]
Item = dict[str, object]
"""A log, a metric or a streamed span, which the SDK sends in batches of their own form."""
Hint = Mapping[str, object]


class Clean(dict[str, object]):
    """An event that went through a filter, which is the proof that the transport asks for."""

    def __init__(self, event: Event, rules: "EventFilter") -> None:
        super().__init__(event)
        self.rules: Final = rules


class EventFilter(PIIFilter):
    """Takes what is private out of events and their parts, in one of the two privacy modes."""

    def __init__(self, mode: PrivacyMode = "balanced", user_context: UserContext = "id") -> None:
        # Neither may be guessed: what is misspelt was meant to let out less.
        if mode not in get_args(PrivacyMode) or user_context not in get_args(UserContext):
            raise ValueError("unknown privacy mode or user context")
        self.mode: Final = mode
        self.user_context: Final = user_context

    def filter_event(self, event: Mapping[str, object], hint: Hint | None = None) -> Clean:
        """Return a clean copy of an event, a transaction or a check-in.

        The hint is what the SDK hands to a hook beside the event: `strict` finds in it the code
        whose own words a message may keep. What is clean already is returned as it is.
        """
        if type(event) is Clean and event.rules in (self, ANONYMOUS):
            return event
        filtered = strict.event(event, hint or {}) if self.mode == "strict" else _balanced(event)
        clean = Clean(filtered, self)
        user = event.get("user")
        if isinstance(user, Mapping):
            clean["user"] = self.filter_user_context(user)
        return clean

    def filter_user_context(self, user: Mapping[str, object]) -> dict[str, str]:
        """Keep of a user what `SENTRY_USER_CONTEXT` lets out."""
        return keep_user(self.user_context, user)

    def filter_breadcrumbs(
        self, breadcrumbs: Mapping[str, object] | list[object]
    ) -> dict[str, object] | list[object]:
        """Return clean copies of breadcrumbs, in a list or as an event holds them."""
        if self.mode == "strict":
            values = breadcrumbs if isinstance(breadcrumbs, list) else breadcrumbs.get("values")
            kept: list[object] = list(strict.crumbs(values))
            return kept if isinstance(breadcrumbs, list) else {"values": kept}
        scrubbed = scrub(breadcrumbs)
        return scrubbed if isinstance(scrubbed, dict | list) else []


ANONYMOUS: Final = EventFilter("strict", "anonymous")
"""What lets out least: for tenants whose consent is to be told of without their name."""


def _balanced(event: Mapping[str, object]) -> Event:
    """Scrub an event by its names and shapes, and mend what the filter can not know of events."""
    scrubbed = scrub({key: value for key, value in event.items() if key not in _WITHHELD})
    clean: Event = dict(scrubbed) if isinstance(scrubbed, dict) else {}
    for key, mend in _MENDED.items():
        # What was not touched is the same object still.
        if key in clean and clean[key] is not event[key]:
            clean[key] = mend(clean[key], event[key])
    return clean


def _hide_params(clean: object, entry: object) -> object:
    """Hide those parameters of a log record that its scrubbed text no longer shows."""
    if isinstance(clean, dict) and isinstance(clean.get("params"), list | tuple):
        shown = clean.get("formatted")
        if isinstance(shown, str):
            params = [each if str(each) in shown else FILTERED for each in clean["params"]]
            return {**clean, "params": params}
    return clean


def _keep_versions(clean: object, modules: object) -> object:
    """Keep the versions of packages, whatever these are called: `python-jose`, `tokenizers`."""
    if not isinstance(clean, dict) or not isinstance(modules, Mapping):
        return clean
    versions = {
        name: version
        for name, version in modules.items()
        if isinstance(version, str)
        and _VERSION.fullmatch(version)
        and scrub_string(version) == version
    }
    return {name: versions.get(name, left) for name, left in clean.items()}


def _keep_event_id(clean: object, event_id: object) -> object:
    return identifier(event_id) or clean


def _keep_ids(clean: object, raw: object) -> object:
    """Put well-formed ids back: a rule may have taken their digits for an account or a card."""
    ids = IDS(raw)
    return {**clean, **ids} if isinstance(clean, dict) and isinstance(ids, dict) else clean


def _keep_trace_ids(clean: object, contexts: object) -> object:
    if not isinstance(clean, dict) or not isinstance(contexts, Mapping):
        return clean
    trace, raw = _keep_ids(clean.get("trace"), contexts.get("trace")), contexts.get("trace")
    sampling = "dynamic_sampling_context"
    if isinstance(trace, dict) and isinstance(raw, Mapping) and sampling in trace:
        trace[sampling] = _keep_ids(trace[sampling], raw[sampling])
    return {**clean, "trace": trace} if "trace" in clean else clean


def _keep_span_ids(clean: object, spans: object) -> object:
    if isinstance(clean, list) and isinstance(spans, list):
        return [_keep_ids(span, raw) for span, raw in zip(clean, spans, strict=True)]
    return clean


def _keep_own_tags(clean: object, tags: object) -> object:
    """Keep the service's own tags, which must be found again as the log has them."""
    if isinstance(clean, dict) and isinstance(tags, Mapping):
        own = {name: own_tag(name, value) for name, value in tags.items()}
        return clean | {name: value for name, value in own.items() if value is not None}
    if isinstance(clean, list) and isinstance(tags, list):
        return [_own_pair(raw) or pair for pair, raw in zip(clean, tags, strict=True)]
    return clean


def _own_pair(pair: object) -> list[object] | None:
    match pair:
        case [name, value] if (own := own_tag(name, value)) is not None:
            return [name, own]
    return None


_VERSION = re.compile(
    r"\d{1,4}(?:\.\d{1,6}){0,4}(?:[.+-]?(?:a|alpha|b|beta|dev|post|rc)\.?\d{0,6}){0,3}"
)
"""A version as PEP 440 writes it."""
_WITHHELD: Final = frozenset({"server_name", "user"})
_MENDED: Final[Mapping[str, Callable[[object, object], object]]] = {
    "contexts": _keep_trace_ids,
    "event_id": _keep_event_id,
    "logentry": _hide_params,
    "modules": _keep_versions,
    "release": lambda clean, raw: release(raw) or clean,
    "spans": _keep_span_ids,
    "tags": _keep_own_tags,
}
"""Parts of an event of which the filter sees less than is known; given what it made, and the raw."""

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
    told = dict.fromkeys(_IDENTITY[rules.user_context], USER_CHECKS[rules.user_context])
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
