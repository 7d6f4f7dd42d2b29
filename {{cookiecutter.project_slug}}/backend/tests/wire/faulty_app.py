"""The service with routes that fail while they hold what is private, to see what is reported.

Run as a program, it is a process that fails in every way but that of a request, and ends so.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
from fastapi import Body, Depends, FastAPI, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.dependencies.auth import CurrentUser
from app.core.context import Work, work
from app.main import create_app
from app.sentry import add_breadcrumb, capture_message, init_sentry, set_context, set_tag
from app.telemetry import options
from tests.wire.backends import break_sdk
from tests.wire.places import PLACES, PROCESS, PROCESS_CANARIES, Canary, Order, planted

# What must not be reported comes from the environment, as it is no part of any code.
SECRETS = dict(
    pair.split("=", 1) for pair in os.environ.get("PLANTED_SECRETS", "").split("\n") if pair
)

log = logging.getLogger("app.billing")


def with_more_options(more: dict[str, object]) -> None:
    """Give the SDK options that the service has no settings for: it must be as clean with them."""
    usual = options.sdk_options

    def sdk_options(settings: object) -> options.Options:
        return usual(settings) | more

    options.sdk_options = sdk_options


with_more_options(json.loads(os.environ.get("MORE_OPTIONS", "{}")))
app = create_app()


@app.get("/faulty/charges/{charge}")
async def charge(request: Request, charge: str, user: CurrentUser) -> None:
    password = SECRETS["local"]
    api_key = {"nested": {"api_key": password}}
    log.info("charging with token=%s", SECRETS["logged"])
    add_breadcrumb(f"provider said password={SECRETS['crumb']}", data={"secret": SECRETS["crumb"]})
    set_tag("db_password", SECRETS["tag"])
    set_context("billing", {"client_secret": SECRETS["context"]})
    raise ValueError(
        f"charge failed for {SECRETS['email']} password={SECRETS['message']} {len(api_key)}"
    )


@app.get("/faulty/log")
async def log_an_error(user: CurrentUser) -> None:
    log.error("refund failed for %s, api_key=%s", SECRETS["email"], SECRETS["message"])


@app.get("/faulty/message")
async def report_a_message(user: CurrentUser) -> None:
    capture_message(f"refund is late, password={SECRETS['message']}", secret=SECRETS["context"])


@app.get("/faulty/slow/{charge}")
async def be_traced(charge: str, user: CurrentUser, seconds: float = 0) -> None:
    add_breadcrumb(f"token={SECRETS['crumb']}")
    await asyncio.sleep(seconds)


@app.get("/faulty/call")
async def call_another(url: str) -> None:
    async with httpx.AsyncClient() as client:
        await client.get(url)


@app.post("/faulty/dsn")
async def report_elsewhere(dsn: Annotated[str, Body()]) -> bool:
    """Start reporting anew, to another back end."""
    return init_sentry(app.state.settings.model_copy(update={"SENTRY_DSN": dsn}))


@app.post("/faulty/sdk")
async def break_the_sdk() -> None:
    """Have each function of the SDK raise from now on, in this process."""
    break_sdk()


# A canary for each place, and each of its stages.


async def plant(number: int) -> object:
    """Plant the canary of a place, and report something."""
    response = await planted(PLACES[number], Canary(number))
    log.error("this carries what was planted")
    return response if isinstance(response, Response) else None


async def plant_at_the_end(number: int) -> AsyncIterator[None]:
    yield
    await plant(number)


@app.api_route("/canaries/route/{number}", methods=["GET", "POST"])
async def in_a_route(number: int) -> Any:
    return await plant(number)


@app.get("/canaries/dependency/{number}", dependencies=[Depends(plant)])
async def in_a_dependency(number: int) -> None:
    """Not reached."""


@app.get("/canaries/teardown/{number}", dependencies=[Depends(plant_at_the_end)])
async def after_a_route(number: int) -> None:
    """Respond; then the dependency fails."""


@app.get("/canaries/sync/{number}")
def in_a_thread(number: int) -> None:
    made = PLACES[number].plant
    assert made is not None
    made(Canary(number))


@app.get("/canaries/handler/{number}")
async def in_a_handler(number: int) -> None:
    raise UnhandledError(number)


@app.api_route("/canaries/validation/{number}", methods=["GET", "POST"])
async def with_refused_input(number: int, order: Annotated[Order, Body()]) -> None:
    """Not reached."""


class UnhandledError(Exception):
    """An exception whose handler fails."""


@app.exception_handler(UnhandledError)
async def fail_to_handle(request: Request, error: UnhandledError) -> Response:
    await plant(error.args[0])
    raise error


@app.websocket_route("/canaries/websocket/{number}")
async def in_a_websocket(socket: Any) -> None:
    await socket.accept()
    await plant(int(socket.path_params["number"]))


@app.get("/canaries/connect/{number}")
async def connect(number: int, request: Request) -> None:
    """Open a websocket from inside: the server here speaks HTTP alone."""
    canary = Canary(number)
    headers = [*request.headers.raw, (b"x-api-key", canary.secret.encode())]
    scope = {
        **request.scope,
        "type": "websocket",
        "path": f"/canaries/websocket/{number}",
        "query_string": f"mail={canary.mail}&note={canary.plain}".encode(),
        "headers": headers,
        "subprotocols": [],
        "state": {},
    }

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        """Nobody listens."""

    await app(scope, receive, send)


async def by_any_method(scope: Scope, receive: Receive, send: Send) -> None:
    await plant(int(scope["path"].rpartition("/")[2]))


app.mount("/canaries/method", by_any_method)


class FailsOnItsWay:
    """A middleware that fails for the requests of its stage."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path.startswith("/canaries/middleware/"):
            await plant(int(path.rpartition("/")[2]))
        await self.app(scope, receive, send)


app.add_middleware(FailsOnItsWay)


def fail(app: FastAPI) -> None:
    """Fail in each way of a process; the last one ends it."""
    for name, plant_it in PROCESS.items():
        work.set(Work(f"place-{PROCESS_CANARIES[name].number}"))
        if name == list(PROCESS)[-1]:
            plant_it(PROCESS_CANARIES[name])
        try:
            plant_it(PROCESS_CANARIES[name])
        except Exception:
            log.exception("a process failed")
        log.error("this carries what was planted")


if __name__ == "__main__":
    fail(app)
