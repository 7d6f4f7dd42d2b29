"""A request that is given up midway leaves no connection, no transaction and no lock behind."""

import asyncio
import gc
import uuid
from collections.abc import Callable

import httpx

from app.core.config import Settings
from app.main import create_app
from app.tenancy import lifecycle

URL = "/api/v1/projects"
MOMENTS = range(0, 360, 3)  # turns of the event loop after which requests are given up
Headers = Callable[..., dict[str, str]]


async def make_and_delete(client: httpx.AsyncClient) -> list[int]:
    made = await client.post(URL, json={"name": str(uuid.uuid4())})
    deleted = await client.delete(made.headers.get("Location", URL))
    return [made.status_code, deleted.status_code]


async def give_up(client: httpx.AsyncClient, moment: int) -> None:
    requests = [asyncio.create_task(make_and_delete(client)) for _ in range(2)]
    for _ in range(moment):
        await asyncio.sleep(0)
    for each in requests:
        each.cancel()
    await asyncio.gather(*requests, return_exceptions=True)


async def serve_after(settings: Settings, headers: dict[str, str]) -> list[list[int]]:
    """Give up requests at all moments; return how others are served then."""
    # One connection, and one more in need.
    few = {"DATABASE_POOL_SIZE": 1, "DATABASE_POOL_OVERFLOW": 1, "DATABASE_TIMEOUT": 3.0}
    app = create_app(settings.model_copy(update=few))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://service.test", headers=headers
        ) as client,
    ):
        await lifecycle.create("acme")
        for moment in MOMENTS:
            await give_up(client, moment)
        return await asyncio.gather(*(make_and_delete(client) for _ in range(4)))


def test_what_is_given_up_midway_is_in_nobodys_way(settings: Settings, as_user: Headers) -> None:
    # What is left behind would be found and closed sooner or later, by chance.
    gc.disable()
    try:
        served = asyncio.run(serve_after(settings, as_user("acme")))
    finally:
        gc.enable()
    assert served == [[201, 204]] * 4
    gc.collect()  # which warns of connections that nobody has closed
