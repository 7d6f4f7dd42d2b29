"""Who is calling, for routes: `CurrentUser`, and the scopes that a route requires."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.auth import TokenError
from app.auth.verifier import Principal
from app.core.context import tell_consent, tell_tenant
from app.core.errors import TENANT_NOT_ACTIVE, Problem
from app.observability import metrics
# {% if cookiecutter.include_sentry == "yes" %}
from app.sentry import set_user_context
# {% endif %}
from app.tenancy import admit_operator, identify, standing_of

TENANT_HEADER = "X-Tenant-ID"
SYSTEM_SCOPE = "tenants:admin"  # the one that opens the system's door to the database

log = logging.getLogger("app.auth")

_bearer = HTTPBearer(auto_error=False, description="An access token of the issuer.")


async def get_current_user(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    _: Annotated[
        str | None, Header(alias=TENANT_HEADER, description="One of the tenants of the token.")
    ] = None,
) -> Principal:
    """Return the caller, in the tenant that the request selects.

    401 without a good token, 403 where the tenant is not active or not the caller's to select.
    """
    caller = await _verified(request, credentials)
    principal = _in_selected_tenant(request, caller)
    tell_tenant(principal.tenant_id)  # a request that is refused from here on is the tenant's too
    # The token of a suspended tenant opens nothing, whatever it selects: no other tenant either.
    for tenant in dict.fromkeys((caller.tenant_id, principal.tenant_id)):
        await request.app.state.rate_limits.hit(tenant)
        standing = await standing_of(tenant)
        if standing is None or not standing.is_active:
            raise TenantNotActive
        consent = standing.telemetry_consent
    tell_consent(consent)  # the selected one's, which came last
    identify(principal.tenant_id, principal.user_id)
    # {% if cookiecutter.include_sentry == "yes" %}
    set_user_context(principal.user_id, principal.tenant_id, principal.email, principal.username)
    # {% endif %}
    return principal


async def get_identified_user(
    user: Annotated[Principal, Depends(get_current_user)],
) -> Principal:
    """Return the caller, also where a test has put somebody else in `get_current_user`'s place."""
    identify(user.tenant_id, user.user_id)
    return user


CurrentUser = Annotated[Principal, Depends(get_identified_user)]


def require_scopes(*scopes: str) -> Callable[[Principal], Awaitable[Principal]]:
    """Return a dependency that lets callers pass who have all of these scopes; others get 403."""

    async def check(user: CurrentUser) -> Principal:
        if not user.scopes.issuperset(scopes):
            raise Problem(403, f"This needs the scope {' '.join(scopes)}.")
        if SYSTEM_SCOPE in scopes:
            admit_operator()
        return user

    return check


async def _verified(
    request: Request, credentials: HTTPAuthorizationCredentials | None
) -> Principal:
    try:
        if credentials is None:
            raise TokenError("missing")
        if len(request.headers.getlist("Authorization")) > 1:
            raise TokenError("several")
        principal: Principal = await request.app.state.verifier.verify(credentials.credentials)
    except TokenError as error:
        metrics.TOKEN_FAILURES.labels(error.reason).inc()
        log.info("token refused: %s", error.reason)
        raise Unauthenticated from None
    return principal


def _in_selected_tenant(request: Request, caller: Principal) -> Principal:
    """Return the caller in the tenant that the request names; 403 unless the token lists it."""
    by_header = request.headers.getlist(TENANT_HEADER)
    selected = {*by_header, *_subdomains(request)}
    if not selected:
        return caller
    choices = {caller.tenant_id, *caller.memberships}
    if len(by_header) > 1 or len(selected) > 1 or not choices.issuperset(selected):
        log.info("tenant refused: the token does not list it, or the request names several")
        raise TenantNotActive
    return replace(caller, tenant_id=selected.pop())


def _subdomains(request: Request) -> Iterator[str]:
    """Yield what stands before the tenants' domain in the request's host; nothing elsewhere."""
    domain = request.app.state.settings.TENANT_DOMAIN
    for host in request.headers.getlist("Host") if domain else []:
        name = host.partition(":")[0].removesuffix(".").lower()
        if name.endswith(f".{domain}"):
            yield name.removesuffix(f".{domain}")


class TenantNotActive(Problem):
    """A tenant that is suspended, unknown or not the caller's: one answer, so that none is told."""

    def __init__(self) -> None:
        super().__init__(403, TENANT_NOT_ACTIVE)


class Unauthenticated(Problem):
    """A missing or refused token: one answer for all reasons, so that it can't be probed."""

    def __init__(self) -> None:
        super().__init__(401, "A valid bearer token is needed.", {"WWW-Authenticate": "Bearer"})
