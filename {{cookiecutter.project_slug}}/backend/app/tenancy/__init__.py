"""Keeping tenants apart: `tenant_session` and `system_session` are the doors to the database."""

from app.tenancy.guard import TenancyError
from app.tenancy.lifecycle import is_active, is_reachable
from app.tenancy.models import Tenant, TenantScoped, TenantStatus
from app.tenancy.session import system_session, tenant_session

__all__ = [
    "TenancyError",
    "Tenant",
    "TenantScoped",
    "TenantStatus",
    "is_active",
    "is_reachable",
    "system_session",
    "tenant_session",
]
