"""What telemetry may tell of a tenant."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not in a batch: other tables refer to this one, which SQLite would make anew.
    op.add_column(
        "tenants",
        sa.Column(
            "telemetry_consent",
            sa.String(length=16),
            sa.CheckConstraint(
                "telemetry_consent IN ('full', 'anonymous', 'none')",
                name=op.f("ck_tenants_telemetry_consent"),
            ),
            nullable=False,
            server_default="full",
        ),
    )


def downgrade() -> None:
    op.drop_column("tenants", "telemetry_consent")
