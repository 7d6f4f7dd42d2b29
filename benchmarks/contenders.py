"""The contenders: each takes an event, which it may change, and returns what would be sent."""

import json
import sys
from collections.abc import Callable
from importlib import import_module

from events import Event
from measures import Scrub
from template_source import REPOSITORY

# Sentry's default settings leave exceptions' messages and paths alone: these selectors do not.
RELAY_SELECTORS = ("**", "$string || $number || $array || $object")
RELAY_RULES = [
    "@common",
    "@bearer",
    "@iban",
    "@imei",
    "@mac",
    "@pemkey",
    "@urlauth",
    "@userpath",
    "@usssn",
]

BASELINE = "json.dumps"
SDK = "sentry-sdk, recursive"
BALANCED = "this template, balanced"
STRICT = "this template, strict"


def json_dumps() -> Scrub:
    """Serialise and nothing else: the unit of time, and what leaks without a scrubber."""

    def scrub(event: Event) -> object:
        json.dumps(event)
        return event

    return scrub


def sdk() -> Scrub:
    """The scrubber of sentry-sdk, with its own lists, told to look at every depth."""
    from sentry_sdk.scrubber import EventScrubber

    scrubber = EventScrubber(recursive=True)

    def scrub(event: Event) -> object:
        scrubber.scrub_event(event)
        return event

    return scrub


def relay() -> Scrub:
    """Sentry's own engine, written in Rust: its default settings, and all its rules besides."""
    from sentry_relay.processing import convert_datascrubbing_config, pii_strip_event

    config = convert_datascrubbing_config(
        {"scrubData": True, "scrubDefaults": True, "scrubIpAddresses": True}
    )
    config["applications"].update(dict.fromkeys(RELAY_SELECTORS, RELAY_RULES))

    def scrub(event: Event) -> object:
        scrubbed = pii_strip_event(config, event)
        if "message" in event:  # Relay normalises as well, and has moved it
            scrubbed["message"] = scrubbed["logentry"].get("formatted")
        return scrubbed

    return scrub


def logfire() -> Scrub:
    """The scrubber of Pydantic Logfire, with its own patterns, over the event as attributes."""
    from logfire._internal.scrubbing import Scrubber

    scrubber = Scrubber(None)
    return lambda event: scrubber.scrub_value(("attributes",), event)[0]


def this_template(mode: str) -> Scrub:
    """What a service of this template hands to the SDK, in one of its two privacy modes."""
    backend = str(REPOSITORY / "{{cookiecutter.project_slug}}" / "backend")
    if backend not in sys.path:
        sys.path.insert(0, backend)
    event_filter = import_module("app.telemetry").EventFilter(mode)
    return lambda event: event_filter.filter_event(event, hint(event))


def hint(event: Event) -> dict[str, object]:
    """Return what the SDK hands to a hook beside such an event: its exception, as it was raised."""
    match event:
        case {"exception": {"values": [{"value": str() as message}]}}:
            try:
                raise RuntimeError(message)
            except RuntimeError as error:
                return {"exc_info": (type(error), error, error.__traceback__)}
    return {}


MAKERS: dict[str, Callable[[], Scrub]] = {
    BASELINE: json_dumps,
    SDK: sdk,
    "sentry-relay, every rule": relay,
    "logfire": logfire,
    BALANCED: lambda: this_template("balanced"),
    STRICT: lambda: this_template("strict"),
}
