"""The life of a tenant, by the operators' API and as its people see it."""

from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app.api.dependencies.auth import CurrentUser
from app.core.context import current_consent, current_session, current_tenant
from app.tenancy import system_session
from app.tenancy.models import AuditEntry

pytestmark = pytest.mark.anyio

URL = "/api/v1/tenants"
Headers = Callable[..., dict[str, str]]


@pytest.fixture
def operator(as_user: Headers) -> dict[str, str]:
    return as_user("acme", "olga", scope="tenants:admin")


def shown(name: str, status: str, consent: str = "full") -> dict[str, str]:
    return {"name": name, "status": status, "telemetry_consent": consent}


async def test_only_operators_may_ask(client: httpx.AsyncClient, as_user: Headers) -> None:
    assert (await client.get(URL)).status_code == 401
    for scope in ("", "tenants", "tenants:admins", "admin"):
        assert (await client.get(URL, headers=as_user("acme", scope=scope))).status_code == 403


async def test_a_tenant_is_created_once(
    client: httpx.AsyncClient, operator: dict[str, str], as_user: Headers
) -> None:
    assert (await client.get("/api/v1/projects", headers=as_user("initech"))).status_code == 403
    first = await client.post(URL, json={"name": "initech"}, headers=operator)
    again = await client.post(URL, json={"name": "initech"}, headers=operator)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == shown("initech", "active")
    assert (await client.get("/api/v1/projects", headers=as_user("initech"))).status_code == 200


async def test_tenants_are_listed_by_name(
    client: httpx.AsyncClient, operator: dict[str, str]
) -> None:
    first = (await client.get(URL, params={"limit": 1}, headers=operator)).json()
    assert [item["name"] for item in first["items"]] == ["acme"]
    query = {"limit": 1, "cursor": first["next"]}
    second = (await client.get(URL, params=query, headers=operator)).json()
    assert ([item["name"] for item in second["items"]], second["next"]) == (["globex"], None)


async def test_a_suspended_tenant_is_refused_at_once_and_others_are_served(
    client: httpx.AsyncClient, operator: dict[str, str], as_user: Headers
) -> None:
    globex = as_user("globex")
    suspended = await client.post(f"{URL}/globex/suspend", headers=operator)
    assert suspended.json() == shown("globex", "suspended")
    assert (await client.get("/api/v1/projects", headers=globex)).status_code == 403
    assert (await client.get("/api/v1/projects", headers=as_user("acme"))).status_code == 200
    await client.post(f"{URL}/globex/resume", headers=operator)
    assert (await client.get("/api/v1/projects", headers=globex)).status_code == 200


async def test_creating_a_suspended_tenant_does_not_resume_it(
    client: httpx.AsyncClient, operator: dict[str, str]
) -> None:
    await client.post(f"{URL}/globex/suspend", headers=operator)
    again = await client.post(URL, json={"name": "globex"}, headers=operator)
    assert again.status_code == 409
    shown = await client.get(f"{URL}/globex", headers=operator)
    assert shown.json()["status"] == "suspended"


@pytest.mark.parametrize("consent", ["anonymous", "none", "full"])
async def test_a_tenants_consent_is_set_and_heeded_from_its_next_request_on(
    app: FastAPI,
    client: httpx.AsyncClient,
    operator: dict[str, str],
    as_user: Headers,
    consent: str,
) -> None:
    told: list[tuple[str, str, str]] = []

    @app.get("/told")
    async def tell(user: CurrentUser) -> None:
        told.append((current_tenant(), current_consent(), current_session()))

    url = f"{URL}/globex/telemetry-consent"
    answer = await client.put(url, json={"consent": consent}, headers=operator)
    assert answer.json() == shown("globex", "active", consent)
    assert (await client.get(f"{URL}/globex", headers=operator)).json() == answer.json()
    for tenant in ("globex", "acme"):
        assert (await client.get("/told", headers=as_user(tenant))).is_success
    (globex, acme) = told
    assert globex[:2] == ("globex", consent)
    assert acme[:2] == ("acme", "full")
    assert bool(globex[2]) is (consent != "none")


async def test_a_consent_is_one_of_three_and_of_a_tenant_that_there_is(
    client: httpx.AsyncClient, operator: dict[str, str], as_user: Headers
) -> None:
    url = f"{URL}/globex/telemetry-consent"
    for refused in ({"consent": "some"}, {"consent": "FULL"}, {"consent": None}, {}):
        assert (await client.put(url, json=refused, headers=operator)).status_code == 422
    unknown = f"{URL}/nobody/telemetry-consent"
    body = {"consent": "none"}
    assert (await client.put(unknown, json=body, headers=operator)).status_code == 404
    assert (await client.put(url, json=body, headers=as_user("globex"))).status_code == 403
    unchanged = await client.get(f"{URL}/globex", headers=operator)
    assert unchanged.json() == shown("globex", "active")


async def test_a_change_of_consent_is_in_the_audit_log(
    client: httpx.AsyncClient, operator: dict[str, str]
) -> None:
    url = f"{URL}/globex/telemetry-consent"
    await client.put(url, json={"consent": "none"}, headers=operator)
    async with system_session("a test reads the audit log") as session:
        entries = select(AuditEntry).where(AuditEntry.tenant_id == "globex")
        actions = [entry.action for entry in await session.scalars(entries)]
    assert actions[-1] == "tenant globex: telemetry consent none"


async def test_what_is_unknown_is_not_found_and_what_is_malformed_is_refused(
    client: httpx.AsyncClient, operator: dict[str, str]
) -> None:
    assert (await client.get(f"{URL}/nobody", headers=operator)).status_code == 404
    assert (await client.post(f"{URL}/nobody/suspend", headers=operator)).status_code == 404
    for name in ("Acme", "a", "1acme", "a" * 64, "ac me"):
        response = await client.post(URL, json={"name": name}, headers=operator)
        assert response.status_code == 422
