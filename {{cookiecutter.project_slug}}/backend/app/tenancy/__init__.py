"""Keeping tenants apart: `tenant_session` and `system_session` are the doors to the database."""

from app.tenancy.guard import TenancyError
from app.tenancy.lifecycle import check_database
from app.tenancy.models import Tenant, TenantScoped, TenantStatus
from app.tenancy.session import (
    admit_operator,
    identify,
    serving_request,
    standing_of,
    system_session,
    tenant_session,
)

__all__ = [
    "TenancyError",
    "Tenant",
    "TenantScoped",
    "TenantStatus",
    "admit_operator",
    "check_database",
    "identify",
    "serving_request",
    "standing_of",
    "system_session",
    "tenant_session",
]
