"""What is another's answers as what is not there: same status, same headers, same bytes.

Both requests of a pair have one request id, the only thing that might differ for a good reason.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence

import httpx
import pytest

from app.api.dependencies.auth import TENANT_HEADER
from app.core.context import HEADER
from app.db.base import uuid7
from app.tenancy import lifecycle
from tests.security.calls import MALFORMED, OPERATIONS, UNKNOWN_TENANT
from tests.security.document import Kind, Operation

pytestmark = pytest.mark.anyio

Headers = dict[str, str]
Ids = Mapping[str, str]  # by collection
Sign = Callable[..., Headers]

OF_ROWS = [
    each for each in OPERATIONS if each.kind is not Kind.PUBLIC and not each.is_about_tenants
]
OF_TENANTS = [each for each in OPERATIONS if each.is_about_tenants]
WITH_IDS = [each for each in OF_ROWS if each.parameters]
CREATING = sorted(
    (each for each in OF_ROWS if each.kind is Kind.CREATE), key=lambda each: len(each.parameters)
)
CHANGING = [each for each in OF_ROWS if each.kind is Kind.CHANGE]


async def send(
    client: httpx.AsyncClient,
    operation: Operation,
    keys: Sequence[str],
    headers: Mapping[str, str],
    content: bytes | None = None,
) -> httpx.Response:
    return await client.request(
        operation.method,
        operation.address(keys),
        headers={"Content-Type": "application/json", HEADER: "one-of-two", **headers},
        content=content,
    )


def read(answer: httpx.Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return all that a caller gets."""
    return answer.status_code, answer.headers.raw, answer.content


def encoded(operation: Operation, text: str) -> bytes | None:
    return json.dumps(operation.body(text)).encode() if operation.fields else None


async def fill(client: httpx.AsyncClient, headers: Headers, text: str = "A plan") -> dict[str, str]:
    """Make a row of each collection; return their ids by collection."""
    made: dict[str, str] = {}
    for operation in CREATING:
        keys = [made[collection] for collection in operation.parameters]
        answer = await send(client, operation, keys, headers, encoded(operation, text))
        made[operation.collection] = answer.raise_for_status().json()["id"]
    return made


def named(
    operation: Operation, own: Ids, foreign: Ids, unknown: Ids
) -> Iterator[tuple[list[str], list[str]]]:
    """Yield ids for a path, of which some are foreign, and the same with unknown ones there."""
    for chosen in itertools.product((True, False), repeat=len(operation.parameters)):
        if any(chosen):
            places = list(zip(chosen, operation.parameters, strict=True))
            yield (
                [(foreign if is_chosen else own)[each] for is_chosen, each in places],
                [(unknown if is_chosen else own)[each] for is_chosen, each in places],
            )


def variants(operation: Operation) -> Iterator[tuple[Headers, bytes | None]]:
    """Yield what may be sent along: headers and bodies, good and bad."""
    contents = [encoded(operation, "Another plan")]
    if operation.fields:
        contents += [None, b"{", b"[]", b"{}", b'{"tenant_id": "globex"}']
    etags = [{}, *({"If-Match": tag} for tag in ('"1"', '"2"', "*", "x"))]
    yield from itertools.product(etags if operation.kind is Kind.CHANGE else [{}], contents)


@pytest.mark.parametrize("operation", WITH_IDS, ids=repr)
async def test_a_foreign_id_reads_as_one_that_is_not_there(
    client: httpx.AsyncClient, as_user: Sign, operation: Operation
) -> None:
    acme, globex = as_user("acme"), as_user("globex")
    own, foreign = await fill(client, acme), await fill(client, globex)
    unknown = {collection: str(uuid7()) for collection in foreign}
    answered = set()
    for keys, others in named(operation, own, foreign, unknown):
        for headers, content in variants(operation):
            one = await send(client, operation, keys, acme | headers, content)
            other = await send(client, operation, others, acme | headers, content)
            assert read(one) == read(other)
            answered.add(one.status_code)
    assert 404 in answered
    # Its own tenant does reach it, unharmed.
    keys = [foreign[each] for each in operation.parameters]
    headers, content = {**globex, "If-Match": '"1"'}, encoded(operation, "Another plan")
    assert (await send(client, operation, keys, headers, content)).is_success


@pytest.mark.parametrize("operation", CREATING + CHANGING, ids=repr)
async def test_what_another_tenant_has_taken_is_free(
    client: httpx.AsyncClient, as_user: Sign, operation: Operation
) -> None:
    acme, globex = as_user("acme"), as_user("globex")
    own, foreign = await fill(client, acme), await fill(client, globex)
    content, headers = encoded(operation, "Taken"), {"If-Match": '"1"'}
    for person, ids in ((globex, foreign), (acme, own)):
        keys = [ids[each] for each in operation.parameters]
        assert (await send(client, operation, keys, person | headers, content)).is_success


@pytest.mark.parametrize("operation", OF_TENANTS, ids=repr)
async def test_who_may_not_see_tenants_is_not_told_which_there_are(
    client: httpx.AsyncClient, as_user: Sign, operation: Operation
) -> None:
    acme = as_user("acme")
    answers = [
        await send(client, operation, [name] if operation.parameters else [], acme, content)
        for name in ("acme", "globex", UNKNOWN_TENANT)
        for content in [encoded(operation, name)]
    ]
    assert answers[0].status_code == 403
    assert read(answers[0]) == read(answers[1]) == read(answers[2])


@pytest.mark.parametrize("operation", OF_ROWS, ids=repr)
async def test_a_tenant_that_may_not_be_selected_reads_as_one_that_is_not_there(
    client: httpx.AsyncClient, as_user: Sign, operation: Operation
) -> None:
    await lifecycle.create("initech")
    await lifecycle.suspend("initech")
    foreign = await fill(client, as_user("globex"))
    keys = [foreign[each] for each in operation.parameters]
    answers = [
        await send(client, operation, keys, as_user("acme") | {TENANT_HEADER: name})
        for name in ("globex", "initech", UNKNOWN_TENANT, MALFORMED)
    ]
    answers += [
        await send(client, operation, keys, as_user(name)) for name in ("initech", UNKNOWN_TENANT)
    ]
    assert {each.status_code for each in answers} == {403}
    assert len({each.content for each in answers}) == 1
    assert all(each.headers == answers[0].headers for each in answers)
