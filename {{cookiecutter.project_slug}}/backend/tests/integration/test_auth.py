"""Authentication over HTTP: who is let in, and what everybody else is told."""

import base64
import json
import logging
from collections.abc import Awaitable, Callable

import httpx
import pytest
from fastapi import Depends, FastAPI

from app.api.dependencies.auth import (
    TENANT_HEADER,
    CurrentUser,
    get_current_user,
    require_scopes,
)
from app.auth import issuer
from app.auth.verifier import Principal
from app.core.config import Settings
from app.main import create_app
from app.tenancy import lifecycle, standing_of

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
async def test_a_test_may_put_somebody_else_in_the_callers_place(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    somebody = Principal("somebody", "acme")
    app.dependency_overrides[get_current_user] = lambda: somebody
    assert (await client.get(PROJECTS)).json()["items"] == []


@on_sqlite
async def test_every_bad_token_gets_the_very_same_answer(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    good = issuer.issue(settings, "acme", "alice")
    other_claim = settings.model_copy(update={"AUTH_TENANT_CLAIM": "other"})
    other_audience = settings.model_copy(update={"AUTH_AUDIENCE": "other"})
    bad: list[dict[str, str] | list[tuple[str, str]]] = [
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
        bearer(issuer.issue(settings, "acme", "alice", memberships=["globex", "*"])),
        bearer("nonsense") | {TENANT_HEADER: "globex"},
        [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")],
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


# Choosing among the tenants that a token lists

Member = Callable[..., dict[str, str]]
Headers = list[tuple[str, str]]


@pytest.fixture
def as_member(settings: Settings) -> Member:
    """Make the headers of a caller of acme, who may choose these tenants instead."""

    def headers(*memberships: str, scope: str = "") -> dict[str, str]:
        return bearer(issuer.issue(settings, "acme", "alice", scope, memberships))

    return headers


@pytest.fixture
def by_subdomain(app: FastAPI, settings: Settings) -> None:
    app.state.settings = settings.model_copy(update={"TENANT_DOMAIN": "example.com"})


async def names(client: httpx.AsyncClient, headers: dict[str, str]) -> list[str]:
    """The names of the projects that a caller sees."""
    response = await client.get(PROJECTS, headers=headers)
    assert response.status_code == 200
    return [project["name"] for project in response.json()["items"]]


async def test_the_header_chooses_whose_rows_are_read_and_written(
    client: httpx.AsyncClient, as_user: AsUser, as_member: Member
) -> None:
    at_home, abroad = as_member("globex"), as_member("globex") | {TENANT_HEADER: "globex"}
    for headers, name in ((at_home, "written at home"), (abroad, "written abroad")):
        assert (await client.post(PROJECTS, json={"name": name}, headers=headers)).is_success
    assert await names(client, as_user("acme")) == ["written at home"]
    assert await names(client, as_user("globex", "bob")) == ["written abroad"]
    assert await names(client, at_home) == ["written at home"]
    assert await names(client, abroad) == ["written abroad"]


@pytest.mark.usefixtures("by_subdomain")
async def test_the_subdomain_chooses_whose_rows_are_read_and_written(
    client: httpx.AsyncClient, as_user: AsUser, as_member: Member
) -> None:
    abroad = as_member("globex") | {"Host": "globex.example.com"}
    response = await client.post(PROJECTS, json={"name": "written abroad"}, headers=abroad)
    assert response.status_code == 201
    assert await names(client, abroad) == ["written abroad"]
    assert await names(client, as_member("globex")) == []
    assert await names(client, as_user("globex", "bob")) == ["written abroad"]


@pytest.fixture
async def tenant_of(app: FastAPI, client: httpx.AsyncClient) -> Callable[..., Awaitable[object]]:
    """Tell in which tenant a request is served, or else its status."""

    @app.get("/tenant")
    async def tenant(user: CurrentUser) -> str:
        return user.tenant_id

    async def ask(caller: dict[str, str], *chosen: tuple[str, str]) -> object:
        response = await client.get("/tenant", headers=[*caller.items(), *chosen])
        return response.json() if response.is_success else response.status_code

    return ask


def hosts(*values: str) -> list[Headers]:
    return [[("Host", value)] for value in values]


CHOOSES_GLOBEX = [
    [(TENANT_HEADER, "globex")],
    [("x-tenant-id", "globex")],
    [(TENANT_HEADER, "globex"), ("Host", "globex.example.com")],
    [(TENANT_HEADER, "globex"), ("Host", "example.com")],
    *hosts("globex.example.com", "globex.example.com:8443", "globex.example.com."),
    *hosts("GLOBEX.Example.COM", "globex.example.com.:443"),
]
CHOOSES_NOTHING = hosts(
    *("example.com", "example.com:8000", "EXAMPLE.com", "service.test", "localhost", "127.0.0.1"),
    *("[::1]:8000", "globex.example.org", "globex.notexample.com", "globexexample.com"),
    *("globex.example.com.evil.test", "globex", "globex.localhost", "globex.example.com@evil.test"),
    "",
)
CHOOSES_IN_VAIN: list[Headers] = [
    *(
        [(TENANT_HEADER, name)]
        for name in ("umbrella", "initech", "*", "", "GLOBEX", "globex,acme")
    ),
    *([(TENANT_HEADER, name)] for name in ("globex;", "glob%65x", "globex globex", "a" * 64)),
    *([(TENANT_HEADER, name)] for name in ("../globex", "globex/../acme", "null", '"globex"')),
    [(TENANT_HEADER, "globex"), (TENANT_HEADER, "globex")],
    [(TENANT_HEADER, "acme"), (TENANT_HEADER, "globex")],
    [(TENANT_HEADER, "globex"), (TENANT_HEADER, "")],
    [(TENANT_HEADER, "globex"), ("Host", "acme.example.com")],
    [(TENANT_HEADER, "acme"), ("Host", "globex.example.com")],
    [(TENANT_HEADER, "globex"), ("Host", "initech.example.com")],
    *hosts("umbrella.example.com", "initech.example.com", "www.example.com", ".example.com"),
    *hosts("a.globex.example.com", "globex..example.com", "evil@globex.example.com"),
    *hosts("globex%00.example.com", "*.example.com", "-globex.example.com"),
    [("Host", "globex.example.com"), ("Host", "acme.example.com")],
]


@on_sqlite
@pytest.mark.usefixtures("by_subdomain")
@pytest.mark.parametrize("chosen", CHOOSES_GLOBEX, ids=str)
async def test_this_chooses_the_other_tenant(
    tenant_of: Callable[..., Awaitable[object]], as_member: Member, chosen: Headers
) -> None:
    assert await tenant_of(as_member("globex"), *chosen) == "globex"
    assert await tenant_of(as_member(), *chosen) == 403


@on_sqlite
@pytest.mark.usefixtures("by_subdomain")
@pytest.mark.parametrize("chosen", CHOOSES_NOTHING, ids=str)
async def test_this_chooses_nothing(
    tenant_of: Callable[..., Awaitable[object]], as_member: Member, chosen: Headers
) -> None:
    assert await tenant_of(as_member("globex"), *chosen) == "acme"


@on_sqlite
@pytest.mark.usefixtures("by_subdomain")
@pytest.mark.parametrize("chosen", CHOOSES_IN_VAIN, ids=str)
async def test_a_choice_beyond_the_token_reads_like_a_tenant_that_is_not_active(
    client: httpx.AsyncClient, as_member: Member, as_user: AsUser, chosen: Headers
) -> None:
    await lifecycle.create("umbrella")  # is there, and active, and not in the token
    caller = as_member("globex", "initech")  # lists one that is not there
    refused = await client.get(PROJECTS, headers=[*caller.items(), *chosen])
    unknown = await client.get(PROJECTS, headers=as_user("initech"))
    assert refused.status_code == unknown.status_code == 403
    assert refused.json()["detail"] == "The tenant is not active."
    assert without_request_id(refused) == without_request_id(unknown)
    assert refused.headers.keys() == unknown.headers.keys()


@on_sqlite
async def test_ones_own_tenant_may_be_chosen(
    tenant_of: Callable[..., Awaitable[object]], as_member: Member
) -> None:
    assert await tenant_of(as_member(), (TENANT_HEADER, "acme")) == "acme"


@on_sqlite
async def test_without_a_domain_no_host_chooses(
    tenant_of: Callable[..., Awaitable[object]], as_member: Member
) -> None:
    for host in ("globex.example.com", "globex.", "globex..", "initech.service.test"):
        assert await tenant_of(as_member("globex"), ("Host", host)) == "acme"


async def test_a_suspended_tenant_cannot_be_chosen(
    tenant_of: Callable[..., Awaitable[object]], as_member: Member
) -> None:
    await lifecycle.suspend("globex")
    assert await tenant_of(as_member("globex"), (TENANT_HEADER, "globex")) == 403
    assert await tenant_of(as_member("globex")) == "acme"


async def test_the_token_of_a_suspended_tenant_opens_no_other(
    tenant_of: Callable[..., Awaitable[object]], as_member: Member
) -> None:
    await lifecycle.suspend("acme")
    assert await tenant_of(as_member("globex"), (TENANT_HEADER, "globex")) == 403


@on_sqlite
async def test_a_suspended_operator_does_not_come_back_through_another_tenant(
    client: httpx.AsyncClient, as_member: Member
) -> None:
    await lifecycle.suspend("acme")
    operator = as_member("globex", scope="tenants:admin") | {TENANT_HEADER: "globex"}
    assert (await client.post(f"{TENANTS}/acme/resume", headers=operator)).status_code == 403
    standing = await standing_of("acme")
    assert standing is not None
    assert not standing.is_active


@on_sqlite
async def test_the_scopes_are_the_tokens_in_every_tenant_that_it_lists(
    client: httpx.AsyncClient, as_member: Member
) -> None:
    for headers in ({}, {TENANT_HEADER: "globex"}):
        with_it = await client.get(
            TENANTS, headers=as_member("globex", scope="tenants:admin") | headers
        )
        assert [tenant["name"] for tenant in with_it.json()["items"]] == ["acme", "globex"]
        without = await client.get(TENANTS, headers=as_member("globex", scope="read") | headers)
        assert without.json()["detail"] == "This needs the scope tenants:admin."


@on_sqlite
async def test_the_system_scope_opens_no_tenant_that_the_token_does_not_list(
    tenant_of: Callable[..., Awaitable[object]], as_member: Member
) -> None:
    operator = as_member(scope="tenants:admin")
    assert await tenant_of(operator, (TENANT_HEADER, "globex")) == 403
    assert await tenant_of(operator) == "acme"


@on_sqlite
async def test_a_refused_choice_is_in_the_log_and_its_name_is_not(
    client: httpx.AsyncClient, as_member: Member, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "app")
    await client.get(PROJECTS, headers=as_member() | {TENANT_HEADER: "planted"})
    assert [line for line in caplog.messages if line.startswith("tenant refused")]
    assert "planted" not in caplog.text


@on_sqlite
async def test_a_page_of_another_origin_may_send_the_header(settings: Settings) -> None:
    origin = "https://app.example.com"
    app = create_app(settings.model_copy(update={"CORS_ORIGINS": [origin]}))
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": f"authorization,{TENANT_HEADER.lower()}",
    }
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
        assert (await client.options(PROJECTS, headers=asked)).status_code == 200
