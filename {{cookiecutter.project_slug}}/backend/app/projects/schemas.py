"""What callers send and get of projects and tasks."""

import uuid
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

# Surrounding space is a slip of the keyboard; control characters are no part of a name.
_Line = StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")
Name = Annotated[str, _Line, StringConstraints(max_length=200)]
Title = Annotated[str, _Line, StringConstraints(max_length=500)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")  # a misspelt field is an error, not a silence


class _Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    version: int
    created_at: datetime
    updated_at: datetime


class ProjectIn(_In):
    """A project to be made."""

    name: Name


class ProjectChange(_In):
    """What may be changed of a project; what is left out stays."""

    name: Name | None = None


class ProjectOut(_Out):
    """A project."""

    name: str


class TaskIn(_In):
    """A task to be made."""

    title: Title
    done: bool = False


class TaskChange(_In):
    """What may be changed of a task; what is left out stays."""

    title: Title | None = None
    done: bool | None = None


class TaskOut(_Out):
    """A task of a project."""

    project_id: uuid.UUID
    title: str
    done: bool
