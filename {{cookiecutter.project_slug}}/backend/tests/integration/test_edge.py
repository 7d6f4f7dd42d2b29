"""The edge: request ids, limits, hosts and origins, and errors that tell nothing they shouldn't."""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import AfterValidator

from app.core.config import Settings
from app.main import create_app
from app.observability.logging import ScrubbingFormatter

# What the edge does is the same on every database.
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("settings", ["sqlite"], indirect=True),
]

LIVE = "/health/live"
PROJECTS = "/api/v1/projects"
TENANTS = "/api/v1/tenants"
PROBLEM = "application/problem+json"

AsUser = Callable[..., dict[str, str]]


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
        yield client


def app_with(settings: Settings, **changes: object) -> FastAPI:
    return create_app(settings.model_copy(update=changes))


async def in_chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    """A body whose length nobody is told in advance."""
    for chunk in chunks:
        yield chunk


def log_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in caplog.text.splitlines()]


def closing(lines: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    """Return what the last lines of requests tell."""
    return [
        (line["request_id"], line["operation"], line["status"])
        for line in lines
        if line["logger"] == "app.request"
    ]


@pytest.fixture
def service_log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log as the service writes it."""
    caplog.handler.setFormatter(ScrubbingFormatter())
    caplog.set_level(logging.INFO)
    return caplog


WELL_FORMED = ["x", "4711", "a-b_c.d", "A" * 128, "-", "..", str(uuid.UUID(int=7))]

ILL_FORMED = [
    b"",
    b"A" * 129,
    b"two words",
    b"id\nINFO forged line",
    b"id\r\nSet-Cookie: a=b",
    b"id\x00",
    b"<script>",
    b"id;drop",
    b"a/b",
    b"%0a",
    "id\u00e9".encode(),
    b"\xff",
    "\uff11".encode(),
]


@pytest.mark.parametrize("offered", WELL_FORMED)
async def test_a_well_formed_request_id_is_kept(client: httpx.AsyncClient, offered: str) -> None:
    response = await client.get(LIVE, headers={"X-Request-ID": offered})
    assert response.headers["X-Request-ID"] == offered


@pytest.mark.parametrize("offered", ILL_FORMED)
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, offered: bytes) -> None:
    response = await client.get(LIVE, headers={b"X-Request-ID": offered})
    assert uuid.UUID(response.headers["X-Request-ID"]).version == 4
    assert "Set-Cookie" not in response.headers


async def test_each_request_has_an_id_of_its_own(client: httpx.AsyncClient) -> None:
    ids = {(await client.get(LIVE)).headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


async def test_requests_at_the_same_time_keep_their_ids_apart(
    client: httpx.AsyncClient,
) -> None:
    async def ask(name: str) -> bool:
        response = await client.get(PROJECTS, headers={"X-Request-ID": name})
        return bool(response.headers["X-Request-ID"] == response.json()["request_id"] == name)

    assert all(await asyncio.gather(*(ask(f"request-{number}") for number in range(20))))


@pytest.mark.parametrize("path", [PROJECTS, "/nowhere", f"{TENANTS}/Bad Name"])
async def test_a_problem_its_response_and_the_log_have_one_request_id(
    client: httpx.AsyncClient, service_log: pytest.LogCaptureFixture, path: str
) -> None:
    response = await client.get(path, headers={"X-Request-ID": "trace-4711"})
    assert response.headers["X-Request-ID"] == "trace-4711"
    assert response.json()["request_id"] == "trace-4711"
    (last,) = closing(log_lines(service_log))
    assert last[0] == "trace-4711"


async def test_a_failure_tells_its_request_id_and_nothing_else(
    app: FastAPI, client: httpx.AsyncClient, service_log: pytest.LogCaptureFixture
) -> None:
    @app.get("/failing/{name}")
    async def fail(name: str) -> None:
        raise RuntimeError(f"planted in {name}")

    response = await client.get("/failing/planted?planted=1", headers={"X-Request-ID": "trace-1"})
    assert response.status_code == 500
    assert response.headers["Content-Type"] == PROBLEM
    assert response.headers["X-Request-ID"] == "trace-1"
    assert response.json() == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "The service failed. Its operators find the failure by the request's id.",
        "request_id": "trace-1",
    }
    assert closing(log_lines(service_log)) == [("trace-1", "GET /failing/{name}", 500)]


async def test_a_failure_has_the_headers_of_every_other_answer(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    @app.get("/failing")
    async def fail() -> None:
        raise RuntimeError

    for path in ("/failing", LIVE, "/nowhere"):
        response = await client.get(path)
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_failure_in_debug_tells_no_more(settings: Settings) -> None:
    app = app_with(settings, DEBUG=True)

    @app.get("/failing")
    async def fail() -> None:
        raise RuntimeError("planted")

    async with client_of(app) as client:
        response = await client.get("/failing")
    assert response.status_code == 500
    assert "planted" not in response.text
    assert "RuntimeError" not in response.text


async def test_a_log_line_cannot_be_forged(
    app: FastAPI, client: httpx.AsyncClient, service_log: pytest.LogCaptureFixture
) -> None:
    @app.get("/logging")
    async def log(text: str) -> None:
        logging.getLogger("app.example").info("said: %s", text)

    await client.get("/logging", params={"text": "x\nforged line\r\nanother"})
    assert "said: x\\nforged line\\r\\nanother" in [
        line["message"] for line in log_lines(service_log)
    ]


ORIGIN = "https://app.example.com"


def preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,if-match",
    }


async def test_no_other_origin_may_read_answers_by_default(client: httpx.AsyncClient) -> None:
    plain = await client.get(LIVE, headers={"Origin": ORIGIN})
    asked = await client.options(PROJECTS, headers=preflight(ORIGIN))
    for response in (plain, asked):
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_a_listed_origin_may_read_answers(settings: Settings) -> None:
    app = app_with(settings, CORS_ORIGINS=[ORIGIN])
    async with client_of(app) as client:
        plain = await client.get(LIVE, headers={"Origin": ORIGIN})
        asked = await client.options(PROJECTS, headers=preflight(ORIGIN))
        refused = await client.get(PROJECTS, headers={"Origin": ORIGIN})
    assert asked.status_code == 200
    used = {method.upper() for path in app.openapi()["paths"].values() for method in path}
    assert used <= set(asked.headers["Access-Control-Allow-Methods"].split(", "))
    for response in (plain, asked, refused):
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Access-Control-Allow-Credentials" not in response.headers
    assert "X-Request-ID" in plain.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    "other",
    [
        "https://evil.example",
        "http://app.example.com",
        f"{ORIGIN}.evil.example",
        f"{ORIGIN}:8443",
        "null",
    ],
)
async def test_an_origin_that_is_not_listed_may_not(settings: Settings, other: str) -> None:
    async with client_of(app_with(settings, CORS_ORIGINS=[ORIGIN])) as client:
        plain = await client.get(LIVE, headers={"Origin": other})
        asked = await client.options(PROJECTS, headers=preflight(other))
    assert "Access-Control-Allow-Origin" not in plain.headers
    assert "Access-Control-Allow-Origin" not in asked.headers
    assert (asked.status_code, asked.headers["Content-Type"]) == (400, PROBLEM)


@pytest.mark.parametrize("host", ["evil.example", "api.example.com.evil.example", "", "a b"])
async def test_a_host_that_is_not_trusted_is_refused(settings: Settings, host: str) -> None:
    async with client_of(app_with(settings, TRUSTED_HOSTS=["api.example.com"])) as client:
        response = await client.get(LIVE, headers={"Host": host})
    assert (response.status_code, response.headers["Content-Type"]) == (400, PROBLEM)
    assert response.json()["request_id"] == response.headers["X-Request-ID"]
    assert "evil" not in response.text


@pytest.mark.parametrize("host", ["api.example.com", "api.example.com:8443"])
async def test_a_trusted_host_is_served(settings: Settings, host: str) -> None:
    async with client_of(app_with(settings, TRUSTED_HOSTS=["api.example.com"])) as client:
        assert (await client.get(LIVE, headers={"Host": host})).status_code == 200


async def test_an_unknown_path_is_a_problem(client: httpx.AsyncClient) -> None:
    response = await client.get("/planted")
    assert (response.status_code, response.headers["Content-Type"]) == (404, PROBLEM)
    assert "planted" not in response.text


async def test_a_method_that_a_path_does_not_have_is_a_problem_that_lists_those_it_has(
    client: httpx.AsyncClient,
) -> None:
    response = await client.delete(LIVE)
    assert (response.status_code, response.headers["Content-Type"]) == (405, PROBLEM)
    assert response.headers["Allow"] == "GET"


async def test_a_body_that_says_it_is_too_large_is_refused(
    settings: Settings, as_user: AsUser
) -> None:
    async with client_of(app_with(settings, MAX_BODY_BYTES=100)) as client:
        response = await client.post(PROJECTS, content=b" " * 101, headers=as_user("acme"))
    assert (response.status_code, response.headers["Content-Type"]) == (413, PROBLEM)
    assert response.json()["detail"] == "A request body may have at most 100 bytes."


async def test_such_a_body_is_not_even_read(settings: Settings) -> None:
    read: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(b"x" * 101)
        yield read[0]

    async with client_of(app_with(settings, MAX_BODY_BYTES=100)) as client:
        response = await client.post(PROJECTS, content=body(), headers={"Content-Length": "101"})
    assert (response.status_code, read) == (413, [])


@pytest.mark.parametrize("length", ["9" * 5000, "0" * 30 + "101"])
async def test_an_announcement_of_any_length_is_no_way_around_the_limit(
    settings: Settings, length: str
) -> None:
    async with client_of(app_with(settings, MAX_BODY_BYTES=100)) as client:
        headers = {"Content-Length": length, "Content-Type": "application/json"}
        response = await client.post(PROJECTS, content=b" " * 101, headers=headers)
    assert response.status_code == 413


async def test_a_body_in_chunks_is_refused_once_it_is_too_large(
    app: FastAPI, settings: Settings, as_user: AsUser
) -> None:
    headers = {**as_user("acme"), "Content-Type": "application/json"}
    async with client_of(app_with(settings, MAX_BODY_BYTES=100)) as client:
        body = in_chunks(b'{"name": "', *[b"x" * 10] * 10, b'"}')
        response = await client.post(PROJECTS, content=body, headers=headers)
    assert "Content-Length" not in response.request.headers
    assert (response.status_code, response.headers["Content-Type"]) == (413, PROBLEM)


@pytest.mark.usefixtures("app")
async def test_a_body_of_just_the_limit_is_accepted(settings: Settings, as_user: AsUser) -> None:
    headers = {**as_user("acme"), "Content-Type": "application/json"}
    body = b'{"name": "Apollo"}'
    async with client_of(app_with(settings, MAX_BODY_BYTES=len(body))) as client:
        whole = await client.post(PROJECTS, content=body, headers=headers)
        again = await client.post(PROJECTS, content=in_chunks(body), headers=headers)
    assert (whole.status_code, again.status_code) == (201, 409)


UNDECODABLE = [
    b"\xff\xfe\xff",
    b'{"name": "\xff"}',
    b'{"name": ',
    b'{"name": "a"} b',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"name": "\\ud800"}',
    b'{"name": "\\u0000"}',
    b"\x00",
    b"NaN",
    b"9" * 10_000,
]


@pytest.mark.parametrize("body", UNDECODABLE, ids=range(len(UNDECODABLE)))
async def test_a_body_that_cannot_be_decoded_is_the_callers_fault(
    client: httpx.AsyncClient, as_user: AsUser, body: bytes
) -> None:
    headers = {**as_user("acme"), "Content-Type": "application/json"}
    response = await client.post(PROJECTS, content=body, headers=headers)
    assert response.status_code in {400, 422}
    assert response.headers["Content-Type"] == PROBLEM


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "", "application/json; x="])
async def test_a_body_of_another_kind_is_the_callers_fault_or_read_as_json(
    client: httpx.AsyncClient, as_user: AsUser, kind: str
) -> None:
    headers = {**as_user("acme"), "Content-Type": kind}
    response = await client.post(PROJECTS, content=b'{"name": "Apollo"}', headers=headers)
    assert response.status_code in {201, 415, 422}


async def test_a_request_that_takes_too_long_is_given_up(settings: Settings) -> None:
    app = app_with(settings, REQUEST_TIMEOUT=0.05)
    given_up = asyncio.Event()

    @app.get("/endless")
    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    async with client_of(app) as client, asyncio.timeout(20):
        response = await client.get("/endless")
    assert (response.status_code, response.headers["Content-Type"]) == (503, PROBLEM)
    assert response.json()["detail"] == "The request took longer than 0.05 seconds."
    assert response.json()["request_id"] == response.headers["X-Request-ID"]
    assert given_up.is_set()


async def test_a_time_limit_of_the_route_itself_is_its_own_failure(settings: Settings) -> None:
    app = app_with(settings)

    @app.get("/impatient")
    async def impatient() -> None:
        raise TimeoutError("planted")

    async with client_of(app) as client:
        response = await client.get("/impatient")
    assert response.status_code == 500


PLANTED = {"planted": "planted"}
NOT_A_PROJECT: dict[str, object] = {
    "a number": {"name": 4711_4711},
    "a list": {"name": ["planted"]},
    "an object": {"name": PLANTED},
    "too long": {"name": "planted" * 100},
    "a line break": {"name": "planted\nplanted"},
    "only space": {"name": " "},
    "null": {"name": None},
    "nothing": {},
    "a name too many": {"name": "Apollo", "planted": 1},
    "only a name too many": PLANTED,
    "a value too many": {"name": "Apollo", "note": "planted"},
    "a string": "planted",
    "a list of objects": [{"name": "planted"}],
}


@pytest.mark.parametrize("body", NOT_A_PROJECT.values(), ids=NOT_A_PROJECT)
async def test_a_body_that_does_not_fit_is_not_repeated(
    client: httpx.AsyncClient, as_user: AsUser, body: object
) -> None:
    response = await client.post(PROJECTS, json=body, headers=as_user("acme"))
    assert (response.status_code, response.headers["Content-Type"]) == (422, PROBLEM)
    assert response.json()["errors"]
    assert "planted" not in response.text
    assert "47114711" not in response.text


@pytest.mark.parametrize(
    "path",
    [
        f"{PROJECTS}/planted",
        f"{PROJECTS}/planted/tasks",
        f"{PROJECTS}/018f0000-0000-7000-8000-00000planted",
        f"{PROJECTS}?limit=planted",
        f"{PROJECTS}?limit=47114711",
        f"{PROJECTS}?cursor=planted",
        f"{PROJECTS}?cursor={'planted' * 100}",
        f"{PROJECTS}?cursor=cGxhbnRlZA",
        f"{PROJECTS}?cursor=MDE4RjAwMDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAw",  # a UUID in upper case
        f"{TENANTS}/Planted",
        f"{TENANTS}/planted%00",
        f"{TENANTS}?cursor=AA",
        f"{TENANTS}?cursor=planted",
    ],
)
async def test_an_address_that_does_not_fit_is_not_repeated(
    client: httpx.AsyncClient, as_user: AsUser, path: str
) -> None:
    response = await client.get(path, headers=as_user("acme", scope="tenants:admin"))
    assert response.status_code in {400, 422}
    assert response.headers["Content-Type"] == PROBLEM
    assert "planted" not in response.text.lower()
    assert "47114711" not in response.text


async def test_json_that_is_broken_is_not_repeated(
    client: httpx.AsyncClient, as_user: AsUser
) -> None:
    headers = {**as_user("acme"), "Content-Type": "application/json"}
    response = await client.post(PROJECTS, content=b'{"name": planted}', headers=headers)
    assert response.status_code == 422
    assert "planted" not in response.text


async def test_a_rule_of_a_teams_own_repeats_nothing_either(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    def refuse(value: str) -> str:
        raise ValueError(f"{value} will not do")

    @app.get("/strict")
    async def strict(value: Annotated[str, AfterValidator(refuse)]) -> None: ...

    response = await client.get("/strict?value=planted")
    assert response.status_code == 422
    assert response.json()["errors"] == [
        {"location": ["query", "value"], "type": "value_error", "message": "Invalid input"}
    ]


async def test_what_does_not_fit_is_told_by_place_and_rule(
    client: httpx.AsyncClient, as_user: AsUser
) -> None:
    response = await client.post(PROJECTS, json={"name": "x" * 201}, headers=as_user("acme"))
    assert response.json()["errors"] == [
        {
            "location": ["body", "name"],
            "type": "string_too_long",
            "message": "String should have at most 200 characters",
        }
    ]


@pytest.mark.usefixtures("app")
async def test_a_page_is_no_larger_than_the_settings_allow(
    settings: Settings, as_user: AsUser
) -> None:
    headers = as_user("acme")
    async with client_of(app_with(settings, MAX_PAGE_SIZE=2)) as client:
        for name in ("a", "b", "c"):
            await client.post(PROJECTS, json={"name": name}, headers=headers)
        first = (await client.get(f"{PROJECTS}?limit=100", headers=headers)).json()
        rest = await client.get(f"{PROJECTS}?cursor={first['next']}", headers=headers)
        unasked = (await client.get(PROJECTS, headers=headers)).json()
    assert [project["name"] for project in first["items"]] == ["a", "b"]
    assert [project["name"] for project in rest.json()["items"]] == ["c"]
    assert rest.json()["next"] is None
    assert len(unasked["items"]) == 2


@pytest.mark.parametrize("limit", ["0", "-1", "101", "1.5", ""])
async def test_a_page_of_no_possible_size_is_refused(
    client: httpx.AsyncClient, as_user: AsUser, limit: str
) -> None:
    response = await client.get(f"{PROJECTS}?limit={limit}", headers=as_user("acme"))
    assert (response.status_code, response.headers["Content-Type"]) == (422, PROBLEM)


async def test_no_redirect_is_made_of_what_the_caller_sent(
    client: httpx.AsyncClient, as_user: AsUser
) -> None:
    headers = as_user("acme") | {"Host": "evil.example"}
    response = await client.get(f"{PROJECTS}/?token=planted", headers=headers)
    assert response.status_code == 404
    assert "Location" not in response.headers
