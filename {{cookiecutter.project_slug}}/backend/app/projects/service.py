"""What can be done with projects and tasks, in a session of their tenant.

No tenant is named here, and none can be: the session has one, and refuses the rest.
"""

import uuid
from collections.abc import Mapping, Sequence

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.exc import StaleDataError

from app.api import Outdated
from app.api.dependencies.pagination import Paging
from app.core.errors import NotFound, Problem
from app.observability import error_boundary
from app.projects.models import Project, Task


# A failure in here and below is the database's, as answers like 404 are none. No fallback can take the
# place of its rows, so the error goes on, logged and counted under the name of the operation.
@error_boundary("list projects")
async def list_projects(db: AsyncSession, page: Paging) -> tuple[Sequence[Project], str | None]:
    """Return a page of projects, oldest first, and the cursor of the next one."""
    return await page.read(db, select(Project), Project.id)


@error_boundary("get project")
async def get_project(db: AsyncSession, project_id: uuid.UUID) -> Project:
    """Return a project; raise NotFound."""
    return await _find_project(db, project_id)


@error_boundary("create project")
async def create_project(db: AsyncSession, values: Mapping[str, object]) -> Project:
    """Make a project; raise a Problem (409) if the tenant has one of this name."""
    project = Project(**values)
    db.add(project)
    await _store_name(db)
    return project


@error_boundary("change project")
async def change_project(
    db: AsyncSession, project_id: uuid.UUID, version: int, values: Mapping[str, object]
) -> Project:
    """Change a project as it was read; raise NotFound, Outdated, or a Problem (409)."""
    project = await _find_project(db, project_id)
    _change(project, version, values)
    await _store_name(db)
    return project


@error_boundary("delete project")
async def delete_project(db: AsyncSession, project_id: uuid.UUID) -> None:
    """Delete a project with its tasks; raise NotFound."""
    found = delete(Project).where(Project.id == project_id).returning(Project.id)
    if await db.scalar(found) is None:
        raise NotFound


@error_boundary("list tasks")
async def list_tasks(
    db: AsyncSession, project_id: uuid.UUID, page: Paging
) -> tuple[Sequence[Task], str | None]:
    """Return a page of a project's tasks, oldest first, and the cursor of the next one."""
    await _find_project(db, project_id)
    return await page.read(db, select(Task).where(Task.project_id == project_id), Task.id)


@error_boundary("get task")
async def get_task(db: AsyncSession, project_id: uuid.UUID, task_id: uuid.UUID) -> Task:
    """Return a task of a project; raise NotFound."""
    return await _find_task(db, project_id, task_id)


@error_boundary("create task")
async def create_task(
    db: AsyncSession, project_id: uuid.UUID, values: Mapping[str, object]
) -> Task:
    """Make a task of a project; raise NotFound if there is no such project."""
    task = Task(project=await _find_project(db, project_id), **values)
    db.add(task)
    try:
        await db.flush()
    except IntegrityError:  # the project was deleted since it was read above
        raise NotFound from None
    return task


@error_boundary("change task")
async def change_task(
    db: AsyncSession,
    project_id: uuid.UUID,
    task_id: uuid.UUID,
    version: int,
    values: Mapping[str, object],
) -> Task:
    """Change a task as it was read; raise NotFound or Outdated."""
    task = await _find_task(db, project_id, task_id)
    _change(task, version, values)
    await _store(db)
    return task


@error_boundary("delete task")
async def delete_task(db: AsyncSession, project_id: uuid.UUID, task_id: uuid.UUID) -> None:
    """Delete a task; raise NotFound."""
    found = delete(Task).where(Task.project_id == project_id, Task.id == task_id)
    if await db.scalar(found.returning(Task.id)) is None:
        raise NotFound


async def _find_project(db: AsyncSession, project_id: uuid.UUID) -> Project:
    project = await db.scalar(select(Project).where(Project.id == project_id))
    if project is None:
        raise NotFound
    return project


async def _find_task(db: AsyncSession, project_id: uuid.UUID, task_id: uuid.UUID) -> Task:
    task = await db.scalar(select(Task).where(Task.project_id == project_id, Task.id == task_id))
    if task is None:
        raise NotFound
    return task


def _change(row: Project | Task, version: int, values: Mapping[str, object]) -> None:
    if row.version != version:
        raise Outdated
    for name, value in values.items():
        setattr(row, name, value)


async def _store(db: AsyncSession) -> None:
    try:
        await db.flush()
    except StaleDataError:  # changed since it was read above
        raise Outdated from None


async def _store_name(db: AsyncSession) -> None:
    try:
        await _store(db)
    except IntegrityError:  # the name is unique within the tenant, and says nothing of others
        raise Problem(409, "There is a project of this name already.") from None
