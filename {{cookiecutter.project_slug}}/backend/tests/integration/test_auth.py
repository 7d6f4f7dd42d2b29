"""Authentication over HTTP: who is let in, and what everybody else is told."""

import base64
import json
import logging
from collections.abc import Callable

import httpx
import pytest
from fastapi import Depends, FastAPI

from app.api.dependencies.auth import CurrentUser, require_scopes
from app.auth import issuer
from app.core.config import Settings
from app.tenancy import lifecycle

pytestmark = pytest.mark.anyio

PROJECTS = "/api/v1/projects"
TENANTS = "/api/v1/tenants"

AsUser = Callable[..., dict[str, str]]
on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def tampered(token: str, **changes: object) -> str:
    """The same token with other claims, and so with a signature that does not fit."""
    header, claims, signature = token.split(".")
    read = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    written = base64.urlsafe_b64encode(json.dumps({**read, **changes}).encode())
    return ".".join([header, written.decode().rstrip("="), signature])


def without_request_id(response: httpx.Response) -> bytes:
    return response.content.replace(response.headers["X-Request-ID"].encode(), b"")


async def test_a_good_token_lets_its_caller_in(client: httpx.AsyncClient, as_user: AsUser) -> None:
    assert (await client.get(PROJECTS, headers=as_user("acme"))).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@on_sqlite
async def test_the_scheme_is_read_in_any_case(
    client: httpx.AsyncClient, settings: Settings, scheme: str
) -> None:
    token = issuer.issue(settings, "acme", "alice")
    response = await client.get(PROJECTS, headers={"Authorization": f"{scheme} {token}"})
    assert response.status_code == 200


async def test_without_a_token_the_caller_is_told_what_is_needed(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get(PROJECTS)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json() == {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "detail": "A valid bearer token is needed.",
        "request_id": response.headers["X-Request-ID"],
    }


@on_sqlite
async def test_every_bad_token_gets_the_very_same_answer(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    good = issuer.issue(settings, "acme", "alice")
    other_claim = settings.model_copy(update={"AUTH_TENANT_CLAIM": "other"})
    other_audience = settings.model_copy(update={"AUTH_AUDIENCE": "other"})
    bad: list[dict[str, str]] = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic YWxpY2U6c2VjcmV0"},
        {"Authorization": good},
        bearer("nonsense"),
        bearer(good + "x"),
        bearer(good[:-1]),
        bearer("x" * 10_000),
        bearer(tampered(good, tenant_id="globex")),
        bearer(tampered(good, exp=0)),
        bearer(issuer.issue(other_claim, "acme", "alice")),
        bearer(issuer.issue(other_audience, "acme", "alice")),
        bearer(issuer.issue(settings, "ACME", "alice")),
        bearer(issuer.issue(settings, "", "alice")),
        bearer(issuer.issue(settings, "acme", "")),
        bearer(issuer.issue(settings, "acme", "alice", "two  spaces")),
    ]
    answers = [await client.get(PROJECTS, headers=headers) for headers in bad]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}
    assert len({without_request_id(answer) for answer in answers}) == 1
    assert len({tuple(answer.headers.keys()) for answer in answers}) == 1


@on_sqlite
@pytest.mark.parametrize("value", [b"Bearer \xff\xfe", "Bearer \u00e9".encode(), b"\xff"])
async def test_bytes_that_are_no_text_are_no_token(client: httpx.AsyncClient, value: bytes) -> None:
    response = await client.get(PROJECTS, headers={b"Authorization": value})
    assert response.status_code == 401


async def test_a_tenant_that_does_not_exist_is_not_served(
    client: httpx.AsyncClient, as_user: AsUser
) -> None:
    response = await client.get(PROJECTS, headers=as_user("initech"))
    assert response.status_code == 403
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_a_suspended_tenant_is_not_served_from_that_moment_on(
    client: httpx.AsyncClient, as_user: AsUser
) -> None:
    token = as_user("acme")
    assert (await client.get(PROJECTS, headers=token)).status_code == 200
    await lifecycle.suspend("acme")
    assert (await client.get(PROJECTS, headers=token)).status_code == 403
    assert (await client.get(PROJECTS, headers=as_user("globex"))).status_code == 200
    await lifecycle.resume("acme")
    assert (await client.get(PROJECTS, headers=token)).status_code == 200


async def test_an_unknown_tenant_and_a_suspended_one_read_the_same(
    client: httpx.AsyncClient, as_user: AsUser
) -> None:
    await lifecycle.suspend("acme")
    suspended = await client.get(PROJECTS, headers=as_user("acme"))
    unknown = await client.get(PROJECTS, headers=as_user("initech"))
    assert without_request_id(suspended) == without_request_id(unknown)


@on_sqlite
async def test_a_suspended_operator_administers_nothing(
    client: httpx.AsyncClient, as_user: AsUser
) -> None:
    await lifecycle.suspend("acme")
    response = await client.get(TENANTS, headers=as_user("acme", scope="tenants:admin"))
    assert response.status_code == 403


@pytest.mark.parametrize(
    "scope", ["", "read", "tenants", "tenants:admin2", "TENANTS:ADMIN", "tenants:admin,read"]
)
@on_sqlite
async def test_a_missing_scope_is_named(
    client: httpx.AsyncClient, as_user: AsUser, scope: str
) -> None:
    response = await client.get(TENANTS, headers=as_user("acme", scope=scope))
    assert response.status_code == 403
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["detail"] == "This needs the scope tenants:admin."
    assert response.json()["request_id"] == response.headers["X-Request-ID"]


@pytest.mark.parametrize("scope", ["tenants:admin", "read tenants:admin", "tenants:admin read"])
async def test_the_right_scope_passes(
    client: httpx.AsyncClient, as_user: AsUser, scope: str
) -> None:
    response = await client.get(TENANTS, headers=as_user("acme", scope=scope))
    assert response.status_code == 200
    assert [tenant["name"] for tenant in response.json()["items"]] == ["acme", "globex"]


@on_sqlite
async def test_a_route_that_requires_two_scopes_wants_both(
    app: FastAPI, client: httpx.AsyncClient, as_user: AsUser
) -> None:
    @app.get("/both", dependencies=[Depends(require_scopes("read", "write"))])
    async def both() -> None: ...

    one = await client.get("/both", headers=as_user("acme", scope="read"))
    two = await client.get("/both", headers=as_user("acme", scope="write read"))
    assert (one.status_code, two.status_code) == (403, 200)
    assert one.json()["detail"] == "This needs the scope read write."


@on_sqlite
async def test_a_route_learns_who_is_calling(
    app: FastAPI, client: httpx.AsyncClient, as_user: AsUser
) -> None:
    @app.get("/me")
    async def me(user: CurrentUser) -> dict[str, object]:
        return {"user": user.user_id, "tenant": user.tenant_id, "scopes": sorted(user.scopes)}

    response = await client.get("/me", headers=as_user("globex", "bob", "b a"))
    assert response.json() == {"user": "bob", "tenant": "globex", "scopes": ["a", "b"]}


@on_sqlite
async def test_the_log_has_the_reason_by_name_and_no_part_of_the_token(
    client: httpx.AsyncClient, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    good = issuer.issue(settings, "acme", "alice")
    forged = tampered(good, sub="planted-subject")
    for token in (good, forged, "planted-nonsense"):
        await client.get(PROJECTS, headers=bearer(token))
    refusals = [line for line in caplog.messages if line.startswith("token refused")]
    assert refusals == ["token refused: bad_signature", "token refused: malformed"]
    assert "planted" not in caplog.text
    for segment in {*good.split("."), *forged.split(".")}:
        assert segment not in caplog.text


@on_sqlite
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PROJECTS),
        ("POST", PROJECTS),
        ("GET", f"{PROJECTS}/018f0000-0000-7000-8000-000000000000"),
        ("PATCH", f"{PROJECTS}/018f0000-0000-7000-8000-000000000000"),
        ("DELETE", f"{PROJECTS}/018f0000-0000-7000-8000-000000000000"),
        ("GET", f"{PROJECTS}/018f0000-0000-7000-8000-000000000000/tasks"),
        ("GET", TENANTS),
        ("POST", TENANTS),
        ("POST", f"{TENANTS}/acme/suspend"),
    ],
)
async def test_no_route_answers_without_a_token(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    # The body and the parameters are not even looked at.
    response = await client.request(method, path, json={"surprise": True})
    assert response.status_code == 401


@on_sqlite
async def test_every_route_but_the_health_checks_needs_a_token(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    open_routes = set()
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            response = await client.request(method, path)
            if response.status_code != 401:
                open_routes.add((method, path))
    assert open_routes == {("get", "/health/live"), ("get", "/health/ready")}
