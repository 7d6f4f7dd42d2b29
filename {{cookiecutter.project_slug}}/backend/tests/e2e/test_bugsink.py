"""What an operator sees of a failure in a real server for reports, and what is nowhere in it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.auth import issuer
from app.core.config import Settings
from tests.e2e import bugsink
from tests.e2e.bugsink import Bugsink
from tests.wire.server import Server, command_line, serve

MISSING = "Bugsink is not installed: `make e2e` installs it"
pytestmark = pytest.mark.skipif(
    not bugsink.PYTHON.exists() and os.environ.get("CI") != "true", reason=MISSING
)

# Recognisable, and fake; put together here so that nothing takes them for real ones.
PLANTED = {
    "local": "fake-" + "local-8fk2Lq",
    "logged": "fake-" + "logged-9dk3Mw",
    "crumb": "fake-" + "crumb-7gh4Nx",
    "tag": "fake-" + "tag-6jk5Py",
    "context": "fake-" + "context-5lm6Qz",
    "message": "fake-" + "message-4np7Ra",
    "email": "planted.person" + "@planted-example.org",
    "card": "4242 4242" + " 4242 4242",
    "header": "fake-" + "header-3qr8Sb",
    "cookie": "fake-" + "cookie-2st9Tc",
    "query": "fake-" + "query-1uv0Ud",
    "baggage": "fake-" + "baggage-0wx1Ve",
    "body": "fake-" + "body-9yz2Wf",
    "address": "203.0.113" + ".57",
}
TENANTS = ("acme", "globex")


@dataclass(frozen=True)
class Service:
    """A running service that reports to Bugsink."""

    server: Server
    bugsink: Bugsink
    tokens: dict[str, str]

    def fail(self, tenant: str, path: str, request_id: str) -> int:
        """Call a route with a secret in every place that a request has; return the status."""
        headers = {
            "Authorization": f"Bearer {self.tokens[tenant]}",
            "Cookie": f"sessionid={PLANTED['cookie']}",
            "X-Api-Key": PLANTED["header"],
            "X-Forwarded-For": PLANTED["address"],
            "X-Request-ID": request_id,
            "baggage": f"sentry-transaction={PLANTED['baggage']},password={PLANTED['baggage']}",
        }
        response = httpx.post(
            f"{self.server.url}{path}/{PLANTED['email']}",
            params={"reset_token": PLANTED["query"]},
            headers=headers,
            json={"password": PLANTED["body"], "number": PLANTED["card"]},
        )
        return response.status_code


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert bugsink.PYTHON.exists(), MISSING
    directory = tmp_path_factory.mktemp("migrated")
    bugsink.migrate(directory)
    return directory


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("service")
    made = {
        "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/app.db",
        "AUTH_LOCAL_KEY_FILE": f"{directory}/issuer.json",
        "ENVIRONMENT": "staging",
        "SENTRY_TRACES_SAMPLE_RATE": "1",
        "PLANTED_SECRETS": "\n".join(f"{name}={value}" for name, value in PLANTED.items()),
    }
    command_line(made, "db", "upgrade")
    return made


@pytest.fixture(scope="module")
def tokens(variables: dict[str, str]) -> dict[str, str]:
    """A token of alice in each tenant."""
    for tenant in TENANTS:
        command_line(variables, "tenant", "create", tenant)
    return {
        tenant: issuer.issue(Settings.model_validate(variables), tenant, "alice-4711")
        for tenant in TENANTS
    }


@pytest.fixture(scope="module", params=["strict", "balanced"])
def service(
    request: pytest.FixtureRequest,
    migrated: Path,
    variables: dict[str, str],
    tokens: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    with bugsink.run(migrated, tmp_path_factory.mktemp("bugsink")) as running:
        reporting = {"SENTRY_DSN": running.dsn, "SENTRY_PRIVACY_MODE": request.param}
        with serve(variables | reporting, "tests.e2e.failing_app:app") as server:
            yield Service(server, running, tokens)


def test_a_failure_is_shown_with_all_that_explains_it(service: Service) -> None:
    assert service.fail("acme", "/billing/charges", "request-4711") == 500
    event = service.bugsink.wait_for_event("request-4711")
    assert event["issue"]["calculated_type"] == "ValueError"
    assert event["issue"]["calculated_value"].startswith("charge failed for ")
    assert "with password=" in event["issue"]["calculated_value"]
    assert event["issue"]["transaction"] == "/billing/charges/{charge}"
    assert event["data"]["tags"]["tenant_id"] == "acme"
    assert "in `charge`" in event["stacktrace_md"]
    assert "declined, api_key=" in event["stacktrace_md"]
    if file := os.environ.get("SCREENSHOT"):  # with Chromium, and with playwright in .venv
        service.bugsink.photograph(event, Path(file))


def test_each_failure_is_found_under_its_own_tenant(service: Service) -> None:
    service.fail("acme", "/billing/charges", "request-4712")
    service.fail("globex", "/billing/refunds", "request-4713")
    service.bugsink.wait_for_event("request-4712")
    service.bugsink.wait_for_event("request-4713")
    with service.bugsink.operator() as operator:
        of_acme = operator.get("/issues/1/", params={"q": "tenant_id:acme"}).text
        of_globex = operator.get("/issues/1/", params={"q": "tenant_id:globex"}).text
    assert "charge failed for" in of_acme
    assert "refund failed for" not in of_acme
    assert "refund failed for" in of_globex
    assert "charge failed for" not in of_globex


def test_nothing_that_was_planted_is_kept_anywhere(service: Service) -> None:
    service.fail("acme", "/billing/charges", "request-4714")
    service.fail("acme", "/billing/refunds", "request-4715")
    service.bugsink.wait_for_event("request-4714")
    service.bugsink.wait_for_event("request-4715")
    secrets = PLANTED | service.tokens
    kept = [
        f"{name} in {place}"
        for place, text in service.bugsink.stored()
        for name, secret in secrets.items()
        if secret in text
    ]
    assert kept == []
    # What did arrive is found in the same places.
    places = {place for place, text in service.bugsink.stored() if "request-4714" in text}
    assert places >= {"db.sqlite3", "events_event", "tags_tagvalue"}
