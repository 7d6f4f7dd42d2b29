"""Projects and their tasks."""

import uuid

from sqlalchemy import ForeignKeyConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base, Versioned
from app.tenancy import TenantScoped


class Project(TenantScoped, Versioned, Base):
    """Something that a tenant works on; its name is unique within the tenant."""

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    name: Mapped[str] = mapped_column(String(200))


class Task(TenantScoped, Versioned, Base):
    """A step of a project; it goes with it."""

    __tablename__ = "tasks"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "project_id"],
            ["projects.tenant_id", "projects.id"],
            ondelete="CASCADE",
        ),
        Index(None, "tenant_id", "project_id", "id"),  # a project's tasks, in the order of a list
    )

    project_id: Mapped[uuid.UUID]
    title: Mapped[str] = mapped_column(String(500))
    done: Mapped[bool] = mapped_column(default=False)

    project: Mapped[Project] = relationship()
