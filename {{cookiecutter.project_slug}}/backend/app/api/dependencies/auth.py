"""Who is calling, for routes: `CurrentUser`, and the scopes that a route requires."""

import logging
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.auth.token import TokenError
from app.auth.verifier import Principal
from app.core.errors import Problem
# {% if cookiecutter.include_sentry == "yes" %}
from app.sentry import set_user_context
# {% endif %}
from app.tenancy import is_active

log = logging.getLogger("app.auth")

_bearer = HTTPBearer(auto_error=False, description="An access token of the issuer.")


async def get_current_user(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Principal:
    """Return the caller. 401 without a good token, 403 where its tenant is not active."""
    try:
        if credentials is None:
            raise TokenError("missing")
        principal: Principal = await request.app.state.verifier.verify(credentials.credentials)
    except TokenError as error:
        log.info("token refused: %s", error.reason)
        raise Unauthenticated from None
    if not await is_active(principal.tenant_id):
        raise Problem(403, "The tenant is not active.")
    # {% if cookiecutter.include_sentry == "yes" %}
    set_user_context(principal.user_id, principal.tenant_id, principal.email, principal.username)
    # {% endif %}
    return principal


CurrentUser = Annotated[Principal, Depends(get_current_user)]


def require_scopes(*scopes: str) -> Callable[[Principal], Awaitable[Principal]]:
    """Return a dependency that lets callers pass who have all of these scopes; others get 403."""

    async def check(user: CurrentUser) -> Principal:
        if not user.scopes.issuperset(scopes):
            raise Problem(403, f"This needs the scope {' '.join(scopes)}.")
        return user

    return check


class Unauthenticated(Problem):
    """A missing or refused token: one answer for all reasons, so that it can't be probed."""

    def __init__(self) -> None:
        super().__init__(401, "A valid bearer token is needed.", {"WWW-Authenticate": "Bearer"})
