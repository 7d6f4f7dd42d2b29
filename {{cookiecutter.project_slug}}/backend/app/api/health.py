"""Whether the process lives, and whether it can do its work."""

import logging

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from app.core.errors import problem_response, problems
from app.tenancy import check_database

log = logging.getLogger("app.health")

router = APIRouter(prefix="/health", tags=["health"])


class Health(BaseModel):
    """A healthy answer."""

    status: str = "ok"


@router.get("/live")
async def live() -> Health:
    """Answer while the process lives: a failing answer means restart it."""
    return Health()


@router.get("/ready", response_model=Health, responses=problems(503))
async def ready() -> Health | Response:
    """Answer while the database answers: a failing answer means send no requests here."""
    try:
        await check_database()
    except Exception as error:  # whatever it is, the database can't be used
        # The log has the text, which may name hosts and users; the caller gets a name.
        log.warning("not ready: %s: %s", type(error).__name__, error)
        detail = "The service can't do its work now."
        return problem_response(503, detail, reason="database_unavailable")
    return Health()
