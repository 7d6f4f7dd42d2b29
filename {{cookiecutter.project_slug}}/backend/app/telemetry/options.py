"""Options: what the SDK is told. Collection is off first; what is not collected can't leak."""

import logging
import re
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.argv import ArgvIntegration
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.excepthook import ExcepthookIntegration
from sentry_sdk.integrations.modules import ModulesIntegration

from app.core.environment import Process, detect_environment, release_of
from app.telemetry.instruments import Calls, Queries, Records, Requests, Tasks, Threads

# `Any` because the SDK's options have no common type.
Options = dict[str, Any]

COLLECTION_OFF: Final[Mapping[str, object]] = {
    "send_default_pii": None,  # False would only make the SDK warn that the option is old
    "data_collection": None,  # any value of it would switch the SDK's own scrubber off
    "max_request_body_size": "never",  # and so bodies are not even read
    "include_local_variables": False,
    "include_source_context": False,  # lines of source hold literals
    "server_name": "",  # the host's name, unless something is given
    "auto_session_tracking": False,  # sessions carry addresses and agents
    "enable_logs": False,
    "enable_db_query_source": False,
    "enable_http_request_source": False,
    "trace_propagation_targets": [],  # no trace header, and no baggage, to any other host
    "strict_trace_continuation": True,  # the trace of another organisation is not continued
    "spotlight": False,  # SENTRY_SPOTLIGHT=1 would send past the transport, with PII
    "debug": False,  # SENTRY_DEBUG=1 would have the SDK log what it does
}

COLLECTION_ON: Final[Mapping[str, Callable[[], Options]]] = {
    "SENTRY_INCLUDE_REQUEST_BODIES": lambda: {"max_request_body_size": "medium"},
    "SENTRY_INCLUDE_LOCAL_VARIABLES": lambda: {"include_local_variables": True},
    "SENTRY_INCLUDE_SOURCE_CONTEXT": lambda: {"include_source_context": True},
    "SENTRY_INCLUDE_SERVER_NAME": lambda: {"server_name": socket.gethostname()},
    "SENTRY_INCLUDE_SESSIONS": lambda: {"auto_session_tracking": True},
    "SENTRY_INCLUDE_LOGS": lambda: {"enable_logs": True},
}
"""The options that turn a thing back on, by its setting. Three more settings add integrations."""

RATES: Final[Mapping[str, tuple[float, float]]] = {
    "development": (1.0, 0.0),
    "test": (1.0, 0.0),
    "staging": (0.5, 0.1),
    "production": (0.1, 0.01),
}
"""Shares of traced and of profiled requests by environment, for SENTRY_SAMPLING=environment.

In development the SDK tells in the log what it does, too.
"""


SAFE_TO_PROFILE: Final = sys.version_info >= (3, 12)
"""Before, the SDK's profiler now and then kills the process while it looks at another thread's
stack (SIGSEGV; getsentry/sentry-python#6119, which is not going to be mended)."""


def is_on(settings: object, name: str) -> bool:
    """Whether a setting is True: what is misspelt was meant to let out less."""
    return getattr(settings, name, False) is True


def sdk_options(settings: object) -> Options:
    """Translate the service's settings; any object will do that has the `SENTRY_*` ones."""
    environment = _environment(settings)
    traces = float(getattr(settings, "SENTRY_TRACES_SAMPLE_RATE", 0.0))
    profiles = float(getattr(settings, "SENTRY_PROFILES_SAMPLE_RATE", 0.0))
    is_debugging = False
    if getattr(settings, "SENTRY_SAMPLING", "explicit") == "environment":
        traces, profiles = RATES.get(environment, RATES["production"])
        is_debugging = environment == "development"
    options: Options = {
        "dsn": settings.SENTRY_DSN,  # type: ignore[attr-defined]  # the caller has looked
        "environment": environment,
        # Where there is none the SDK would ask git.
        "release": release_of(
            getattr(settings, "SENTRY_RELEASE", ""), getattr(settings, "APP_VERSION", "")
        ),
        # None switches a machinery off, zero leaves it in place.
        "traces_sample_rate": traces or None,
        "profiles_sample_rate": profiles or None if traces else None,
        # The default ones read the command line, list all packages, and patch http.client and
        # subprocess to record URLs and arguments.
        "default_integrations": False,
        "auto_enabling_integrations": False,
        "integrations": _integrations(settings),
        # It would draw lots on what another service has decided, once Sentry has refused a report.
        "enable_backpressure_handling": False,
        **COLLECTION_OFF,
        "debug": is_debugging,
    }
    for name, turned_on in COLLECTION_ON.items():
        if is_on(settings, name):
            options |= turned_on()
    options["trace_propagation_targets"] = [_requests_to(host) for host in _targets(settings)]
    return options


def _environment(settings: object) -> str:
    """Return the first label that is set; where none is, what the process looks like."""
    names = ("SENTRY_ENVIRONMENT", "ENVIRONMENT")
    explicit = getattr(settings, "model_fields_set", names)
    told = (getattr(settings, name, "") for name in names if name in explicit)
    return next(filter(None, told), None) or detect_environment(Process.current())


def _targets(settings: object) -> list[str]:
    return list(getattr(settings, "SENTRY_TRACE_PROPAGATION_TARGETS", []))


def _requests_to(host: str) -> str:
    """Match the URLs of one host. The SDK would look for a mere name anywhere in them."""
    return rf"(?i)^https?://(?:[^/?#\\]*@)?{re.escape(host)}(?::\d+)?(?:[/?#]|$)"


def _integrations(settings: object) -> list[Integration]:
    logs = logging.INFO if is_on(settings, "SENTRY_INCLUDE_LOGS") else None
    details = getattr(settings, "SENTRY_PRIVACY_MODE", "strict") == "balanced"
    integrations: list[Integration] = [
        Requests(details, bodies=is_on(settings, "SENTRY_INCLUDE_REQUEST_BODIES")),
        Queries(),
        Tasks(),
        Records(details, logs),
        DedupeIntegration(),  # the log of an exception that is reported already
        ExcepthookIntegration(),
        Threads(),
        AtexitIntegration(callback=lambda pending, timeout: None),  # its default one prints
    ]
    if is_on(settings, "SENTRY_INCLUDE_ARGV"):
        integrations.append(ArgvIntegration())
    if is_on(settings, "SENTRY_INCLUDE_MODULES"):
        integrations.append(ModulesIntegration())
    if _targets(settings):
        integrations.append(Calls())
    return integrations
