"""Telemetry: what keeps private data out of reports; `app.sentry` wires it in."""

from app.telemetry.event_filter import EventFilter

__all__ = ["EventFilter"]
