"""The tenant, the mixin that makes a table a tenant's, and the audit log."""

import re
import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, utc_now, uuid7
from app.tenancy.guard import TenantKey, stamp

NAME = re.compile(r"[a-z][a-z0-9-]{1,62}")
EVERY_TENANT = "*"  # which is no tenant's name


class TenantStatus(StrEnum):
    """Where a tenant stands in its life; only an active one is served."""

    PROVISIONING = "provisioning"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    ERASING = "erasing"
    ERASED = "erased"


class TelemetryConsent(StrEnum):
    """What telemetry may tell of a tenant: all that the settings let out, its errors without
    its name and its users, or nothing."""

    FULL = "full"
    ANONYMOUS = "anonymous"
    NONE = "none"


class Tenant(Base):
    """A customer. Its id is its name: a lower-case letter, then 1 to 62 of `a-z`, `0-9`, `-`."""

    __tablename__ = "tenants"
    __table_args__ = (
        CheckConstraint(
            "status IN ('provisioning', 'active', 'suspended', 'erasing', 'erased')", name="status"
        ),
        CheckConstraint(
            "telemetry_consent IN ('full', 'anonymous', 'none')", name="telemetry_consent"
        ),
    )

    tenant_id: Mapped[str] = mapped_column(TenantKey, primary_key=True)
    status: Mapped[str] = mapped_column(String(16), default=TenantStatus.PROVISIONING)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    telemetry_consent: Mapped[str] = mapped_column(
        String(16), default=TelemetryConsent.FULL, server_default=TelemetryConsent.FULL
    )


class AuditEntry(Base):
    """Who opened the database for what, in other tenants' rows: written once, never changed.

    It holds no values: `action` is what the code gives as its reason, with a tenant's name at most.
    """

    __tablename__ = "audit_log"

    tenant_id: Mapped[str] = mapped_column(TenantKey, primary_key=True, default=EVERY_TENANT)
    """The tenant that it was about; `*` for all."""
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    at: Mapped[datetime] = mapped_column(default=utc_now)
    actor: Mapped[str] = mapped_column(String(320))
    """The caller of a request, as `tenant/user`, or who ran the process."""
    action: Mapped[str] = mapped_column(Text)
    request_id: Mapped[str] = mapped_column(String(128))


# The operators' record of the tenants: no tenant writes it, and it stays when one is erased.
RECORDS = frozenset({Tenant.__tablename__, AuditEntry.__tablename__})


class TenantScoped:
    """Mixin of every table that holds tenants' rows. Its key is `(tenant_id, id)`.

    The session fills in `tenant_id`. Let unique and foreign keys begin with it: a tenant must
    neither collide with another's row nor point at one.
    """

    tenant_id: Mapped[str] = mapped_column(
        TenantKey, ForeignKey("tenants.tenant_id"), primary_key=True, default=stamp, sort_order=-2
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7, sort_order=-1)


def checked_name(name: str) -> str:
    """Return the name if it can be a tenant's; raise ValueError if not."""
    if not isinstance(name, str) or not (found := NAME.fullmatch(name)):
        raise ValueError(
            "a tenant's name is a lower-case letter followed by 1 to 62 of a-z, 0-9 and '-'"
        )
    return found[0]  # a plain text, whatever the name was: some texts write themselves differently
