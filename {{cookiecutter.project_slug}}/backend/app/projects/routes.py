"""Projects and tasks over HTTP."""

import uuid

from fastapi import APIRouter, Response

from app.api import VersionRead, etag
from app.api.dependencies.database import Database
from app.api.dependencies.pagination import Page, PageWanted
from app.core.errors import problems
from app.projects import service
from app.projects.schemas import (
    ProjectChange,
    ProjectIn,
    ProjectOut,
    TaskChange,
    TaskIn,
    TaskOut,
)

router = APIRouter(
    prefix="/api/v1/projects",
    tags=["projects"],
    responses=problems(400, 401, 403, 413, 422, 429, 503),
)


@router.get("")
async def list_projects(db: Database, wanted: PageWanted) -> Page[ProjectOut]:
    """List the projects, oldest first."""
    rows, following = await service.list_projects(db, wanted)
    return Page(items=[ProjectOut.model_validate(row) for row in rows], next=following)


@router.post("", status_code=201, responses=problems(409))
async def create_project(db: Database, project: ProjectIn, response: Response) -> ProjectOut:
    """Make a project. Its name must be new to the tenant."""
    created = await service.create_project(db, project.model_dump())
    response.headers["Location"] = f"{router.prefix}/{created.id}"
    return _project(created, response)


@router.get("/{project_id}", responses=problems(404))
async def get_project(db: Database, project_id: uuid.UUID, response: Response) -> ProjectOut:
    """Show a project."""
    return _project(await service.get_project(db, project_id), response)


@router.patch("/{project_id}", responses=problems(404, 409, 412, 428))
async def change_project(
    db: Database,
    project_id: uuid.UUID,
    version: VersionRead,
    change: ProjectChange,
    response: Response,
) -> ProjectOut:
    """Change a project, if nobody else did since it was read."""
    values = change.model_dump(exclude_none=True)
    return _project(await service.change_project(db, project_id, version, values), response)


@router.delete("/{project_id}", status_code=204, responses=problems(404))
async def delete_project(db: Database, project_id: uuid.UUID) -> None:
    """Delete a project with its tasks."""
    await service.delete_project(db, project_id)


@router.get("/{project_id}/tasks", responses=problems(404))
async def list_tasks(db: Database, project_id: uuid.UUID, wanted: PageWanted) -> Page[TaskOut]:
    """List the tasks of a project, oldest first."""
    rows, following = await service.list_tasks(db, project_id, wanted)
    return Page(items=[TaskOut.model_validate(row) for row in rows], next=following)


@router.post("/{project_id}/tasks", status_code=201, responses=problems(404))
async def create_task(
    db: Database, project_id: uuid.UUID, task: TaskIn, response: Response
) -> TaskOut:
    """Make a task of a project."""
    created = await service.create_task(db, project_id, task.model_dump())
    response.headers["Location"] = f"{router.prefix}/{project_id}/tasks/{created.id}"
    return _task(created, response)


@router.get("/{project_id}/tasks/{task_id}", responses=problems(404))
async def get_task(
    db: Database, project_id: uuid.UUID, task_id: uuid.UUID, response: Response
) -> TaskOut:
    """Show a task."""
    return _task(await service.get_task(db, project_id, task_id), response)


@router.patch("/{project_id}/tasks/{task_id}", responses=problems(404, 412, 428))
async def change_task(
    db: Database,
    project_id: uuid.UUID,
    task_id: uuid.UUID,
    version: VersionRead,
    change: TaskChange,
    response: Response,
) -> TaskOut:
    """Change a task, if nobody else did since it was read."""
    values = change.model_dump(exclude_none=True)
    return _task(await service.change_task(db, project_id, task_id, version, values), response)


@router.delete("/{project_id}/tasks/{task_id}", status_code=204, responses=problems(404))
async def delete_task(db: Database, project_id: uuid.UUID, task_id: uuid.UUID) -> None:
    """Delete a task."""
    await service.delete_task(db, project_id, task_id)


def _project(project: object, response: Response) -> ProjectOut:
    shown = ProjectOut.model_validate(project)
    response.headers["ETag"] = etag(shown.version)
    return shown


def _task(task: object, response: Response) -> TaskOut:
    shown = TaskOut.model_validate(task)
    response.headers["ETag"] = etag(shown.version)
    return shown
