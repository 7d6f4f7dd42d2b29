"""Errors as callers see them: `application/problem+json` (RFC 9457), with the request's id.

A problem never repeats what the caller sent: a rejected value may be a secret.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from app.core.context import HEADER, current_request_id

MEDIA_TYPE = "application/problem+json"

# Of every response. The edge adds them, but to a failure's, which is made outside of it.
SAFE_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

# One answer for what is suspended, erased, unknown or not the caller's, so that none is told.
TENANT_NOT_ACTIVE = "The tenant is not active."

# What a validation message may be filled in with: limits that the schema sets, never input.
_LIMITS = frozenset(
    {"ge", "gt", "le", "lt", "min_length", "max_length", "multiple_of", "expected", "field_type"}
)


class Problem(HTTPException):
    """An error that the caller is told about: a status, and one sentence on what to do."""


class NotFound(Problem):
    """There is no such thing, or none that the caller may know of: the two read the same."""

    def __init__(self) -> None:
        super().__init__(404, "There is nothing under this address.")


class ProblemOut(BaseModel):
    """A problem document. What else it says depends on the problem."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    request_id: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what the API's document says of the problems that a route may answer."""
    content = {MEDIA_TYPE: {"schema": ProblemOut.model_json_schema()}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def problem_response(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    **members: object,
) -> Response:
    """Make the response of a problem; `members` are RFC 9457 extension members."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **members,
        "request_id": current_request_id(),
    }
    return JSONResponse(content, status, dict(headers or {}), media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of an application with a problem document."""
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(Exception, _on_failure)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows the type for the checker
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _methods_of(request)
    return problem_response(error.status_code, str(error.detail), headers)


def _methods_of(request: Request) -> str:
    """Return what a path can be asked: the router itself names the methods of one route only."""
    return ", ".join(
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    )


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - narrows the type
    errors = [
        {
            # A name that the schema does not have is the caller's, and not repeated.
            "location": each["loc"][: -1 if each["type"] == "extra_forbidden" else None],
            "type": each["type"],
            "message": each["msg"] if _LIMITS.issuperset(each.get("ctx", ())) else "Invalid input",
        }
        for each in error.errors()
    ]
    return problem_response(422, "The request does not fit the API's schema.", errors=errors)


async def _on_failure(request: Request, error: Exception) -> Response:
    # This runs outside of every middleware, so the headers are not added elsewhere. The exception
    # goes on to the server, which hangs up: a caller who is not told would lose the next request.
    return problem_response(
        500,
        "The service failed. Its operators find the failure by the request's id.",
        {HEADER: current_request_id(), "Connection": "close", **SAFE_HEADERS},
    )
