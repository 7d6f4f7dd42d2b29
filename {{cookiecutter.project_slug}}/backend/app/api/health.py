"""What an operator's machines ask: does it live, can it do its work, what does it measure."""

import hmac
import logging
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from app.api.dependencies.auth import Unauthenticated
from app.core.errors import problem_response, problems
from app.observability import metrics
from app.tenancy import check_database

log = logging.getLogger("app.health")

router = APIRouter(tags=["health"])

_bearer = HTTPBearer(auto_error=False)


class Health(BaseModel):
    """A healthy answer."""

    status: str = "ok"


@router.get("/health/live")
async def live() -> Health:
    """Answer while the process lives: a failing answer means restart it."""
    return Health()


@router.get("/health/ready", response_model=Health, responses=problems(503))
async def ready() -> Health | Response:
    """Answer while the database answers: a failing answer means send no requests here."""
    try:
        await check_database()
    except Exception as error:  # whatever it is, the database can't be used
        # The log has the text, which may name hosts and users; the caller gets a name.
        is_usual = isinstance(error, SQLAlchemyError | OSError)
        stack = None if is_usual else error
        log.warning("not ready: %s: %s", type(error).__name__, error, exc_info=stack)
        detail = "The service can't do its work now."
        return problem_response(503, detail, reason="database_unavailable")
    return Health()


async def admit_scrape(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """Let whoever may read the metrics pass; 401 for others."""
    settings = request.app.state.settings
    if not settings.METRICS_TOKEN:
        if settings.METRICS_PUBLIC or settings.ENVIRONMENT != "production":
            return
        raise Unauthenticated
    offered = credentials.credentials if credentials else ""
    if not hmac.compare_digest(offered.encode(), settings.METRICS_TOKEN.encode()):
        raise Unauthenticated


# Not in the API's document, from which clients are made. Not async: it takes its time, and is
# given a thread, so that requests need not wait for it.
@router.get(metrics.PATH, include_in_schema=False, dependencies=[Depends(admit_scrape)])
def show_metrics(request: Request) -> Response:
    """Answer with what all worker processes have counted, in the format that is asked for."""
    body, content_type = metrics.expose(request.headers.get("Accept", ""))
    return Response(body, headers={"Content-Type": content_type})
