"""Projects and tasks over HTTP, as their tenant's people use them."""

import asyncio
import uuid
from collections.abc import Callable

import httpx
import pytest

pytestmark = pytest.mark.anyio

URL = "/api/v1/projects"
Headers = Callable[..., dict[str, str]]


@pytest.fixture(autouse=True)
def as_alice_of_acme(client: httpx.AsyncClient, as_user: Headers) -> None:
    client.headers.update(as_user("acme"))


async def make(client: httpx.AsyncClient, name: str, **headers: str) -> httpx.Response:
    return await client.post(URL, json={"name": name}, headers=headers)


async def test_a_project_is_made_and_read_back(client: httpx.AsyncClient) -> None:
    made = await make(client, "  Rocket ")
    assert made.status_code == 201
    assert made.json()["name"] == "Rocket"
    read = await client.get(made.headers["Location"])
    assert (read.status_code, read.json()) == (200, made.json())
    assert read.headers["ETag"] == made.headers["ETag"] == '"1"'


async def test_a_list_is_read_page_by_page_without_a_gap(client: httpx.AsyncClient) -> None:
    names = [f"project {number}" for number in range(5)]
    for name in names:
        await make(client, name)
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(URL, params=query)).json()
        seen += [item["name"] for item in page["items"]]
        cursor, pages = page["next"], pages + 1
    assert (seen, pages) == (names, 3)


@pytest.mark.parametrize("cursor", ["x", "", "!!!!", "Z2FyYmFnZQ", "é", "a" * 200])
async def test_a_cursor_of_ones_own_making_is_refused(
    client: httpx.AsyncClient, cursor: str
) -> None:
    response = await client.get(URL, params={"cursor": cursor})
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("limit", ["0", "101", "x"])
async def test_a_page_has_1_to_100_items(client: httpx.AsyncClient, limit: str) -> None:
    assert (await client.get(URL, params={"limit": limit})).status_code == 422


async def test_a_change_names_the_version_that_it_read(client: httpx.AsyncClient) -> None:
    made = await make(client, "Rocket")
    url, etag = made.headers["Location"], made.headers["ETag"]
    changed = await client.patch(url, json={"name": "Comet"}, headers={"If-Match": etag})
    assert (changed.status_code, changed.json()["name"]) == (200, "Comet")
    assert changed.headers["ETag"] == '"2"'


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 428), ({"If-Match": '"7"'}, 412), ({"If-Match": "*"}, 412), ({"If-Match": "1"}, 412)],
)
async def test_a_lost_update_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    made = await make(client, "Rocket")
    refused = await client.patch(made.headers["Location"], json={"name": "x"}, headers=headers)
    assert refused.status_code == status
    assert (await client.get(made.headers["Location"])).json() == made.json()


async def test_a_deleted_project_is_gone_with_its_tasks(client: httpx.AsyncClient) -> None:
    url = (await make(client, "Rocket")).headers["Location"]
    task = await client.post(f"{url}/tasks", json={"title": "Count down"})
    assert (await client.delete(url)).status_code == 204
    for gone in (url, f"{url}/tasks", f"{url}/tasks/{task.json()['id']}"):
        assert (await client.get(gone)).status_code == 404


async def test_a_name_is_taken_within_its_tenant_only(
    client: httpx.AsyncClient, as_user: Headers
) -> None:
    assert (await make(client, "Rocket", **as_user("globex"))).status_code == 201
    assert (await make(client, "Rocket")).status_code == 201
    again = await make(client, "Rocket")
    assert again.status_code == 409
    assert "globex" not in again.text


async def test_a_name_that_is_taken_cannot_be_changed_to(client: httpx.AsyncClient) -> None:
    await make(client, "Rocket")
    other = await make(client, "Comet")
    taken = await client.patch(
        other.headers["Location"], json={"name": "Rocket"}, headers={"If-Match": '"1"'}
    )
    assert taken.status_code == 409


async def test_the_tasks_of_a_project_are_its_own(client: httpx.AsyncClient) -> None:
    first, second = [(await make(client, name)).headers["Location"] for name in ("a", "b")]
    task = (await client.post(f"{first}/tasks", json={"title": "Count down"})).json()
    assert [item["id"] for item in (await client.get(f"{first}/tasks")).json()["items"]] == [
        task["id"]
    ]
    assert (await client.get(f"{second}/tasks")).json() == {"items": [], "next": None}
    assert (await client.get(f"{second}/tasks/{task['id']}")).status_code == 404


async def test_a_task_is_changed_and_deleted(client: httpx.AsyncClient) -> None:
    project = (await make(client, "Rocket")).headers["Location"]
    url = (
        f"{project}/tasks/"
        + (await client.post(f"{project}/tasks", json={"title": "Count down"})).json()["id"]
    )
    done = await client.patch(url, json={"done": True}, headers={"If-Match": '"1"'})
    assert (done.json()["done"], done.json()["title"]) == (True, "Count down")
    late = await client.patch(url, json={"done": False}, headers={"If-Match": '"1"'})
    assert late.status_code == 412
    assert (await client.delete(url)).status_code == 204
    assert (await client.get(url)).status_code == 404


async def test_a_foreign_id_answers_as_an_unknown_one(
    client: httpx.AsyncClient, as_user: Headers
) -> None:
    globex = as_user("globex")
    foreign = (await make(client, "Rocket", **globex)).headers["Location"]
    task = await client.post(f"{foreign}/tasks", json={"title": "Secret"}, headers=globex)
    unknown = f"{URL}/{uuid.uuid4()}"
    known_id = {"X-Request-ID": "same"}
    requests: list[tuple[str, str, dict[str, object]]] = [
        ("GET", "", {}),
        ("PATCH", "", {"json": {"name": "x"}, "headers": {"If-Match": '"1"'} | known_id}),
        ("DELETE", "", {}),
        ("GET", "/tasks", {}),
        ("POST", "/tasks", {"json": {"title": "x"}}),
        ("GET", f"/tasks/{task.json()['id']}", {}),
        ("DELETE", f"/tasks/{task.json()['id']}", {}),
    ]
    for method, path, arguments in requests:
        arguments.setdefault("headers", known_id)
        answers = []
        for project in (foreign, unknown):
            answer = await client.request(method, project + path, **arguments)  # type: ignore[arg-type] # a plain dict of its arguments
            answers.append((answer.status_code, answer.headers.items(), answer.content))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    assert (await client.get(foreign, headers=globex)).json()["version"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "  "},
        {"name": "x" * 201},
        {"name": "a\x00b"},
        {"name": "a\nb"},
        {"name": None},
        {"name": ["hunter2"]},
        {"name": "ok", "tenant_id": "globex"},
        {"name": "ok", "id": str(uuid.uuid4())},
    ],
)
async def test_a_body_that_does_not_fit_is_refused(
    client: httpx.AsyncClient, body: dict[str, object]
) -> None:
    response = await client.post(URL, json=body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in response.text
    assert (await client.get(URL)).json()["items"] == []


async def test_of_many_who_delete_one_succeeds_and_none_fails(client: httpx.AsyncClient) -> None:
    url = (await make(client, "Rocket")).headers["Location"]
    deletions = [client.delete(url) for _ in range(4)]
    tasks = [client.post(f"{url}/tasks", json={"title": "late"}) for _ in range(2)]
    answers = await asyncio.gather(*deletions, *tasks)
    assert sorted(answer.status_code for answer in answers[:4]) == [204, 404, 404, 404]
    assert {answer.status_code for answer in answers[4:]} <= {201, 404}
    assert (await client.get(url)).status_code == 404
