"""The event filter: the PII filter for what the SDK sends, which knows how an event is built."""

import re
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
        if type(event) is Clean and event.rules is self:
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
    "spans": _keep_span_ids,
    "tags": _keep_own_tags,
}
"""Parts of an event of which the filter sees less than is known; given what it made, and the raw."""
