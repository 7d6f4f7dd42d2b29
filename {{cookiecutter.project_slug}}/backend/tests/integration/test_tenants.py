"""The life of a tenant, by the operators' API and as its people see it."""

from collections.abc import Callable

import httpx
import pytest

pytestmark = pytest.mark.anyio

URL = "/api/v1/tenants"
Headers = Callable[..., dict[str, str]]


@pytest.fixture
def operator(as_user: Headers) -> dict[str, str]:
    return as_user("acme", "olga", scope="tenants:admin")


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
    assert first.json() == again.json() == {"name": "initech", "status": "active"}
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
    assert suspended.json() == {"name": "globex", "status": "suspended"}
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


async def test_what_is_unknown_is_not_found_and_what_is_malformed_is_refused(
    client: httpx.AsyncClient, operator: dict[str, str]
) -> None:
    assert (await client.get(f"{URL}/nobody", headers=operator)).status_code == 404
    assert (await client.post(f"{URL}/nobody/suspend", headers=operator)).status_code == 404
    for name in ("Acme", "a", "1acme", "a" * 64, "ac me"):
        response = await client.post(URL, json={"name": name}, headers=operator)
        assert response.status_code == 422
