"""The service with routes that fail while they hold secrets, to see what is reported of them."""

import logging
import os

from fastapi import Request

from app.api.dependencies.auth import CurrentUser
from app.main import create_app
from app.sentry import add_breadcrumb, capture_message, set_context, set_tag

# What must not be reported comes from the environment, as it is no part of any code.
SECRETS = dict(
    pair.split("=", 1) for pair in os.environ.get("PLANTED_SECRETS", "").split("\n") if pair
)

log = logging.getLogger("app.billing")
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
async def be_traced(charge: str, user: CurrentUser) -> None:
    add_breadcrumb(f"token={SECRETS['crumb']}")
