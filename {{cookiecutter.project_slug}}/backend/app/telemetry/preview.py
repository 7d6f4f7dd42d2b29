"""The preview: what of a sample error would leave, told side by side for a person to judge."""

from collections.abc import Iterator, Mapping
from typing import Final

from app.core import config
from app.telemetry.event_filter import Event, EventFilter, PrivacyMode
from app.telemetry.messages import Template

MODES: Final[tuple[PrivacyMode, ...]] = ("balanced", "strict")

_WIDTH: Final = 96
_SHOWN: Final[tuple[tuple[str, tuple[str | int, ...]], ...]] = (
    ("exception", ("exception", "values", 0, "value")),
    ("where", ("exception", "values", 0, "stacktrace", "frames", 0, "abs_path")),
    ("breadcrumb", ("breadcrumbs", "values", 0, "message")),
    ("query", ("request", "query_string")),
    ("authorization", ("request", "headers", "Authorization")),
    ("cookie", ("request", "headers", "Cookie")),
    ("forwarded for", ("request", "headers", "X-Forwarded-For")),
    ("content type", ("request", "headers", "Content-Type")),
    ("user", ("user",)),
    ("tags", ("tags",)),
    ("host", ("server_name",)),
)


# All of it is made up; the card is the networks' own test number. It stands outside of the
# functions, as values do: what is written in the code that raises, `strict` takes for its words.
_CARD: Final = "4111 1111 1111 1111"
_CUSTOMER: Final = "jane.doe@example.com"
_API_KEY: Final = "not-a-real-key-0123456789"
_REQUEST: Final = {
    "method": "POST",
    "query_string": "page=2&reset_token=not-a-real-token-42",
    "headers": {
        "Authorization": "Bearer not-a-real-bearer-token-42",
        "Cookie": "sessionid=not-a-real-session-42; theme=dark",
        "X-Forwarded-For": "203.0.113.7",
        "Content-Type": "application/json",
    },
}


def _charge(card: str, customer: str, api_key: str) -> None:
    raise ValueError(f"charge declined for {customer}: card {card}, api_key={api_key}")


def _sample() -> tuple[Event, dict[str, object]]:
    """Raise an error as a route might, and describe it as the SDK would."""
    try:
        _charge(_CARD, _CUSTOMER, _API_KEY)
    except ValueError as error:
        value = str(error)
        hint: dict[str, object] = {"exc_info": (type(error), error, error.__traceback__)}
    frame = {"abs_path": "/home/jane.doe/shop/app/billing.py", "function": "charge", "lineno": 42}
    event: Event = {
        "level": "error",
        "server_name": "ip-192-0-2-10.internal",
        "exception": {
            "values": [{"type": "ValueError", "value": value, "stacktrace": {"frames": [frame]}}]
        },
        "breadcrumbs": {
            "values": [{"category": "custom", "message": Template("payment provider answered")}]
        },
        "request": _REQUEST,
        "user": {"id": "user-42", "email": _CUSTOMER, "ip_address": "203.0.113.7"},
        "tags": {
            "tenant_id": "acme",
            "request_id": "3f2b8c1d9e7a4056b1c2d3e4f5a6b7c8",
            "customer": _CUSTOMER,
        },
    }
    return event, hint


def _find(event: object, path: tuple[str | int, ...]) -> str:
    for step in path:
        if isinstance(event, Mapping):
            event = event.get(str(step))
        elif isinstance(event, list) and isinstance(step, int) and step < len(event):
            event = event[step]
        else:
            return "-"
    if isinstance(event, Mapping):
        return ", ".join(f"{key}={value}" for key, value in event.items()) or "-"
    return "-" if event is None else str(event)


def _lines() -> Iterator[str]:
    event, hint = _sample()
    rules = {mode: EventFilter(mode, config.settings.SENTRY_USER_CONTEXT) for mode in MODES}
    clean = {mode: each.filter_event(event, hint) for mode, each in rules.items()}
    yield "A sample error, and what of it would leave in each privacy mode (- is nothing)."
    yield (
        f"Now set: SENTRY_PRIVACY_MODE={config.settings.SENTRY_PRIVACY_MODE}, "
        f"SENTRY_USER_CONTEXT={config.settings.SENTRY_USER_CONTEXT}."
    )
    columns: list[tuple[str, Event]] = [("before", event), *clean.items()]
    for label, path in _SHOWN:
        yield ""
        for title, each_event in columns:
            found = _find(each_event, path)[:_WIDTH]
            yield f"{label if title == 'before' else '':<14} {title:<9} {found}"


def render_preview() -> str:
    """Return the preview as plain text for a terminal."""
    return "\n".join(_lines())
