"""The service with two routes that fail, as routes do, while they hold what is private."""

import logging
import os

from fastapi import Request

from app.api.dependencies.auth import CurrentUser
from app.main import create_app
from app.sentry import add_breadcrumb, set_context, set_tag

# What must not be reported comes from the environment, as it is no part of any code.
PLANTED = dict(pair.split("=", 1) for pair in os.environ["PLANTED_SECRETS"].splitlines())

log = logging.getLogger("app.billing")
app = create_app()


class CardDeclined(Exception):  # noqa: N818 - named for what has happened
    """What a payment provider's library raises."""


@app.post("/billing/charges/{charge}")
async def charge(request: Request, charge: str, user: CurrentUser) -> None:
    api_key = PLANTED["local"]
    body = await request.json()
    log.info("charging %s with token=%s", PLANTED["email"], PLANTED["logged"])
    add_breadcrumb(f"provider said password={PLANTED['crumb']}", data={"secret": PLANTED["crumb"]})
    set_tag("db_password", PLANTED["tag"])
    set_context("billing", {"client_secret": PLANTED["context"], "card": body})
    try:
        raise CardDeclined(f"card {PLANTED['card']} declined, api_key={api_key}")
    except CardDeclined as declined:
        raise ValueError(
            f"charge failed for {PLANTED['email']} with password={PLANTED['message']}"
        ) from declined


@app.post("/billing/refunds/{refund}")
async def refund(refund: str, user: CurrentUser) -> None:
    log.error("refund failed for %s, api_key=%s", PLANTED["email"], PLANTED["message"])
