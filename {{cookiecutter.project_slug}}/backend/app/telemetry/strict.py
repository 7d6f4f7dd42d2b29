"""Strict mode: an event rebuilt from its own structure and from what programmers wrote."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import CodeType

from app.privacy import scrub_string
from app.telemetry.messages import VALUE, Template, call_site, codes_of, keep_constants
from app.telemetry.structure import (
    CRUMB,
    CRUMB_CATEGORY,
    EVENT,
    EXCEPTION,
    JSON,
    TEMPLATED,
    module,
    own_tag,
)


def event(event: Mapping[str, object], hint: Mapping[str, object]) -> dict[str, object]:
    """Rebuild an event, a transaction or a check-in."""
    kept = EVENT(event)
    clean: dict[str, object] = dict(kept) if isinstance(kept, dict) else {}
    if tags := _tags(event.get("tags")):
        clean["tags"] = tags
    source = _get(event.get("transaction_info"), "source")
    if isinstance(source, str) and source in TEMPLATED and "transaction" in event:
        clean["transaction"] = scrub_string(str(event["transaction"]))
        clean["transaction_info"] = {"source": source}
    if "exception" in event:
        clean["exception"] = {"values": list(_exceptions(event["exception"], _raised(hint)))}
    if "logentry" in event:
        clean["logentry"] = {"message": _log_message(event["logentry"], hint)}
    if "message" in event:
        clean["message"] = _proven(event["message"])
    if "breadcrumbs" in event:
        clean["breadcrumbs"] = {"values": list(crumbs(_get(event["breadcrumbs"], "values")))}
    return clean


def crumbs(values: object) -> Iterator[dict[str, object]]:
    """Rebuild breadcrumbs; a message stays where `Template` proves that a programmer wrote it."""
    for value in values if isinstance(values, list) else []:
        kept = CRUMB(value)
        if not isinstance(kept, dict):
            continue
        clean: dict[str, object] = dict(kept)
        if isinstance(value.get("timestamp"), datetime):
            clean["timestamp"] = value["timestamp"]
        category = value.get("category")
        if kept_category := CRUMB_CATEGORY(category) or module(category):
            clean["category"] = kept_category
        if isinstance(value.get("message"), Template):
            clean["message"] = _proven(value["message"])
        yield clean


def template(record: logging.LogRecord) -> Template:
    """Cut the message of a log call that is being made down to what stands in its code."""
    return keep_constants(str(record.msg), call_site(record.pathname, record.lineno))


def _proven(message: object) -> Template:
    return Template(scrub_string(message)) if isinstance(message, Template) else Template(VALUE)


def _get(mapping: object, key: str) -> object:
    return mapping.get(key) if isinstance(mapping, Mapping) else None


def _raised(hint: Mapping[str, object]) -> BaseException | None:
    match hint.get("exc_info"):
        case (_, BaseException() as exception, _):
            return exception
    return None


def _exceptions(interface: object, raised: BaseException | None) -> Iterator[JSON]:
    values = _get(interface, "values")
    codes = codes_of(raised)
    for value in values if isinstance(values, list) else []:
        kept = EXCEPTION(value)
        if isinstance(kept, dict):
            yield kept | {"value": _cut(value.get("value"), codes)}


def _cut(message: object, codes: Iterable[CodeType]) -> str:
    if not isinstance(message, str):
        return VALUE
    return scrub_string(keep_constants(message, codes))


def _log_message(entry: object, hint: Mapping[str, object]) -> str:
    record = hint.get("log_record")
    if isinstance(record, logging.LogRecord):
        return scrub_string(template(record))
    return _proven(_get(entry, "message"))


def _tags(tags: object) -> dict[str, str]:
    pairs = tags.items() if isinstance(tags, Mapping) else tags
    kept = {}
    for pair in pairs if isinstance(pairs, Iterable) else ():
        match pair:
            case (str() as name, value) if (own := own_tag(name, value)) is not None:
                kept[name] = own
    return kept
