"""The event filter: the PII filter for what the SDK sends, which knows how an event is built."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, get_args

from app.privacy import PIIFilter, scrub, scrub_string
from app.privacy.patterns import FILTERED
from app.telemetry import strict
from app.telemetry.identity import UserContext, keep_user
from app.telemetry.structure import IDS, identifier, own_tag

PrivacyMode = Literal["strict", "balanced"]

Event = dict[str, object]
Hint = Mapping[str, object]


class Clean(dict[str, object]):
    """An event that went through the filter; its type is the proof that the transport asks for."""


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
        whose constants a message may keep.
        """
        clean = Clean(
            strict.event(event, hint or {}) if self.mode == "strict" else _balanced(event)
        )
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


def _balanced(event: Mapping[str, object]) -> Event:
    """Scrub each part of an event by what it is; what only identifies stays behind."""
    ordinary = {
        key: value for key, value in event.items() if key not in _WITHHELD and key not in _PARTS
    }
    scrubbed = scrub(ordinary)
    clean: Event = scrubbed if isinstance(scrubbed, dict) else {}
    for key, scrub_part in _PARTS.items():
        if key in event:
            clean[key] = scrub_part(event[key])
    return clean


def _log_entry(entry: object) -> object:
    """Scrub a log record, and those of its parameters that the scrubbed text no longer shows."""
    scrubbed = scrub(entry)
    if isinstance(scrubbed, dict) and isinstance(scrubbed.get("params"), list | tuple):
        shown = scrubbed.get("formatted")
        if isinstance(shown, str):
            scrubbed["params"] = [
                each if str(each) in shown else FILTERED for each in scrubbed["params"]
            ]
    return scrubbed


def _versions(modules: object) -> object:
    """Scrub a list of packages by its texts alone: `python-jose` and `tokenizers` are packages."""
    if not isinstance(modules, Mapping):
        return scrub(modules)
    return {scrub_string(str(key)): scrub_string(str(value)) for key, value in modules.items()}


def _event_id(value: object) -> object:
    return identifier(value) or scrub(value, "event_id")


def _put_back_ids(clean: object, raw: object) -> None:
    """Put well-formed ids back: a rule may have taken their digits for an account or a card."""
    ids = IDS(raw)
    if isinstance(clean, dict) and isinstance(ids, dict):
        clean.update(ids)


def _contexts(contexts: object) -> object:
    clean = scrub(contexts)
    if isinstance(clean, dict) and isinstance(contexts, Mapping):
        clean_trace, trace = clean.get("trace"), contexts.get("trace")
        _put_back_ids(clean_trace, trace)
        if isinstance(clean_trace, dict) and isinstance(trace, Mapping):
            sampling = "dynamic_sampling_context"
            _put_back_ids(clean_trace.get(sampling), trace.get(sampling))
    return clean


def _spans(spans: object) -> object:
    clean = scrub(spans)
    if isinstance(clean, list) and isinstance(spans, list):
        for clean_span, span in zip(clean, spans, strict=True):
            _put_back_ids(clean_span, span)
    return clean


def _tags(tags: object) -> object:
    """Scrub tags, but for the service's own, which must be found again as the log has them."""
    clean = scrub(tags)
    if isinstance(clean, dict) and isinstance(tags, Mapping):
        own = {name: own_tag(name, value) for name, value in tags.items()}
        clean.update({name: value for name, value in own.items() if value is not None})
    elif isinstance(clean, list) and isinstance(tags, list):
        for index, pair in enumerate(tags):
            match pair:
                case [name, value] if (own_value := own_tag(name, value)) is not None:
                    clean[index] = [name, own_value]
    return clean


_WITHHELD: Final = frozenset({"server_name", "user"})
_PARTS: Final[Mapping[str, Callable[[object], object]]] = {
    "contexts": _contexts,
    "event_id": _event_id,
    "logentry": _log_entry,
    "modules": _versions,
    "spans": _spans,
    "tags": _tags,
}
