"""Strict mode: an event rebuilt from its own structure and from what programmers wrote."""

import logging
from collections.abc import ItemsView, Iterator, Mapping, Sequence
from datetime import datetime
from types import CodeType
from uuid import uuid4

from app.privacy import scrub_string
from app.telemetry.libraries import ASYNCIO_FAULTS, Known, describe, phrase, text_of, word
from app.telemetry.messages import (
    VALUE,
    Template,
    call_site,
    codes_of,
    find,
    is_class,
    keep_constants,
    keep_template,
    names_logger,
    names_monitor,
    related,
    written_nearby,
)
from app.telemetry.structure import (
    CRUMB,
    CRUMB_CATEGORY,
    EVENT,
    EXCEPTION,
    JSON,
    logger,
    own_tag,
    timestamp,
    transaction_name,
)


def event(event: Mapping[str, object], hint: Mapping[str, object]) -> dict[str, object]:
    """Rebuild an event, a transaction or a check-in."""
    raised = _raised(hint)
    codes = codes_of(raised)
    record = hint.get("log_record")
    record = record if isinstance(record, logging.LogRecord) else None
    # The exceptions are rebuilt together with their messages, and once is enough.
    kept = EVENT({key: value for key, value in event.items() if key != "exception"})
    clean: dict[str, object] = dict(kept) if isinstance(kept, dict) else {}
    if "event_id" in event:
        clean.setdefault("event_id", uuid4().hex)  # without one the SDK raises
    clean.update(_names(event, record))
    if "exception" in event:
        values = _values(event["exception"])
        clean["exception"] = {"values": list(_exceptions(values, raised, codes))}
    if "logentry" in event:
        text = template(record) if record else _get(event["logentry"], "message")
        clean["logentry"] = {"message": _proven(text)}
    if "message" in event:
        clean["message"] = _proven(event["message"])
    if "breadcrumbs" in event:
        clean["breadcrumbs"] = {"values": list(crumbs(_values(event["breadcrumbs"])))}
    return clean


def _names(
    event: Mapping[str, object], record: logging.LogRecord | None
) -> Iterator[tuple[str, object]]:
    """Yield what an event is found by, where it is known to be no value."""
    if tags := _tags(event.get("tags")):
        yield "tags", tags
    source = _get(event.get("transaction_info"), "source")
    if name := transaction_name(event.get("transaction"), source):
        yield "transaction", name
        yield "transaction_info", {"source": source}
    if record and (name := logger_name(record)):
        yield "logger", name
    slug = event.get("monitor_slug")
    if isinstance(slug, str) and event.get("type") == "check_in" and names_monitor(slug):
        yield "monitor_slug", scrub_string(slug)


def crumbs(values: object) -> Iterator[dict[str, object]]:
    """Rebuild breadcrumbs; a message stays where `Template` proves that a programmer wrote it."""
    for value in values if isinstance(values, list | tuple) else ():
        kept = CRUMB(value)
        if not isinstance(kept, dict) or not isinstance(value, Mapping):
            continue
        clean: dict[str, object] = dict(kept)
        when = value.get("timestamp")
        if isinstance(when, datetime) and timestamp(when.timestamp()):
            clean["timestamp"] = when
        category = value.get("category")
        if isinstance(category, Template):
            clean["category"] = category
        elif kept_category := CRUMB_CATEGORY(category) or logger(category):
            clean["category"] = kept_category
        if isinstance(value.get("message"), Template):
            clean["message"] = _proven(value["message"])
        yield clean


def template(record: logging.LogRecord) -> Template:
    """Cut the message of a log call that is being made down to what stands in its code."""
    if isinstance(record.msg, BaseException):
        return word(record.msg, codes_of(related(record.msg)))
    text = text_of(record.msg)
    first = text.partition("\n")[0]
    if first in ASYNCIO_FAULTS:
        return Template(f"{first}\n{VALUE}")
    # A message that is handed on from function to function stands whole in one of them.
    if written_nearby(text):
        return keep_template(text)
    return keep_constants(text, call_site(record.pathname, record.lineno))


def logger_name(record: logging.LogRecord) -> Template | None:
    """Return the name of a record's logger, where its file asks for it or a module is it."""
    if names_logger(record.pathname, record.name) or logger(record.name):
        return _filtered(record.name)
    return None


def _filtered(message: str) -> Template:
    return Template(scrub_string(message))


def _proven(message: object) -> Template:
    return _filtered(message) if isinstance(message, Template) else Template(VALUE)


def _get(mapping: object, key: str) -> object:
    return mapping.get(key) if isinstance(mapping, Mapping) else None


def _values(interface: object) -> Sequence[object]:
    values = _get(interface, "values")
    return values if isinstance(values, list | tuple) else ()


def _raised(hint: Mapping[str, object]) -> list[BaseException]:
    match hint.get("exc_info"):
        case (_, BaseException() as exception, _):
            return related(exception)
    return []


def _exceptions(
    values: Sequence[object], raised: list[BaseException], codes: list[CodeType]
) -> Iterator[JSON]:
    for value in values:
        kept = EXCEPTION(value)
        if not isinstance(kept, dict) or not isinstance(value, Mapping):
            continue
        exception = _matching(value, raised)
        if exception is not None:
            kept |= _class_of(exception)
        kept.setdefault("type", VALUE)
        yield kept | {"value": _filtered(_message(value, exception, codes))}


def _matching(value: Mapping[str, object], raised: list[BaseException]) -> BaseException | None:
    """Find, and take out of the list, the exception that a part of an event tells of."""
    named = [each for each in raised if type(each).__qualname__ == value.get("type")]
    if len(named) > 1:
        told = str(value.get("value"))
        named.sort(key=lambda each: not told.startswith(text_of(each)))
    for each in named[:1]:
        # By identity: an exception may be equal to another.
        raised[:] = [other for other in raised if other is not each]
        return each
    return None


def _class_of(exception: BaseException) -> dict[str, JSON]:
    """Name the class of an exception, or the nearest above it that stands in code."""
    for kind in type(exception).__mro__:
        if is_class(kind.__module__, kind.__qualname__):
            names = {"type": kind.__qualname__, "module": kind.__module__}
            return {key: scrub_string(name) for key, name in names.items()}
    return {}


def _message(
    value: Mapping[str, object], exception: BaseException | None, codes: list[CodeType]
) -> str:
    message = value.get("value")
    if not isinstance(message, str):
        return VALUE
    if exception is None:
        return _phrased(value, message) or keep_constants(message, codes)
    notes = getattr(exception, "__notes__", None)
    listed = notes if isinstance(notes, list | tuple) else ()
    lines = "\n".join(each for each in listed if isinstance(each, str))
    told = message.removesuffix("\n" + lines) if lines else message
    worded = describe(exception, codes) or keep_constants(told, codes)
    return f"{worded}\n{keep_constants(lines, codes)}" if lines else worded


def _phrased(value: Mapping[str, object], message: str) -> Template | None:
    """Word a message by the name of its class alone, without the exception."""
    name, place = value.get("type"), value.get("module")
    if not isinstance(name, str):
        return None
    kind = find(place if isinstance(place, str) else "builtins", name)
    return phrase(kind, message, Known()) if isinstance(kind, type) else None


def _tags(tags: object) -> dict[str, str]:
    pairs = tags.items() if isinstance(tags, Mapping) else tags
    kept = {}
    for pair in pairs if isinstance(pairs, Sequence | ItemsView) else ():
        match pair:
            case (str() as name, value) if (own := own_tag(name, value)) is not None:
                kept[name] = own
    return kept
