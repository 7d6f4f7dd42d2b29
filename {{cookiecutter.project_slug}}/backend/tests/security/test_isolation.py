"""Every way to another tenant's rows that a tired colleague might write, on both databases.

An attack may be refused or find nothing; what it must not do is show a foreign row or change one.
That the attacks are real is tested too: without the layers each of them succeeds.
"""

import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import (
    ColumnElement,
    Engine,
    Row,
    column,
    delete,
    exists,
    extract,
    func,
    insert,
    literal,
    literal_column,
    select,
    table,
    text,
    union_all,
    update,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import aliased, make_transient_to_detached, selectinload

from app.core.config import Settings
from app.db import engines
from app.db.base import Base
from app.projects.models import Project, Task
from app.tenancy import TenancyError, Tenant, lifecycle, system_session, tenant_session

pytestmark = pytest.mark.anyio

MARK = "globex-only"


@dataclass(frozen=True)
class Foreign:
    """Rows of the tenant under attack."""

    project: uuid.UUID
    task: uuid.UUID


Attack = Callable[[AsyncSession, Foreign], Awaitable[object]]
ATTACKS: dict[str, Attack] = {}


def attack(function: Attack) -> Attack:
    """Add a function to the attacks."""
    ATTACKS[function.__name__] = function
    return function


@attack
async def select_an_entity(session: AsyncSession, foreign: Foreign) -> object:
    return [row.name for row in await session.scalars(select(Project))]


@attack
async def select_a_column(session: AsyncSession, foreign: Foreign) -> object:
    return (await session.execute(select(Project.name))).all()


@attack
async def select_by_the_foreign_id(session: AsyncSession, foreign: Foreign) -> object:
    return await session.scalar(select(Project.name).where(Project.id == foreign.project))


@attack
async def select_by_the_foreign_tenant(session: AsyncSession, foreign: Foreign) -> object:
    return await session.scalar(select(Project.name).where(Project.tenant_id == "globex"))


@attack
async def get_by_the_foreign_key(session: AsyncSession, foreign: Foreign) -> object:
    project = await session.get(Project, ("globex", foreign.project))
    return project and project.name


@attack
async def probe_with_exists(session: AsyncSession, foreign: Foreign) -> object:
    found = await session.scalar(select(exists().where(Project.name == f"{MARK} project")))
    return MARK if found else None


@attack
async def count_by_the_foreign_id(session: AsyncSession, foreign: Foreign) -> object:
    count = select(func.count()).select_from(Project).where(Project.id == foreign.project)
    return MARK if await session.scalar(count) else None


@attack
async def select_the_core_table(session: AsyncSession, foreign: Foreign) -> object:
    return (await session.execute(select(Project.__table__))).all()


@attack
async def select_an_alias(session: AsyncSession, foreign: Foreign) -> object:
    return (await session.execute(select(aliased(Project).name))).all()


@attack
async def select_from_a_cte(session: AsyncSession, foreign: Foreign) -> object:
    rows = select(Project.name).cte("rows")
    return (await session.execute(select(rows.c.name))).all()


@attack
async def select_from_a_subquery(session: AsyncSession, foreign: Foreign) -> object:
    rows = select(Project.__table__).subquery()
    return (await session.execute(select(rows))).all()


@attack
async def select_a_union(session: AsyncSession, foreign: Foreign) -> object:
    return (await session.execute(union_all(select(Project.name), select(Task.title)))).all()


@attack
async def select_by_an_outer_join(session: AsyncSession, foreign: Foreign) -> object:
    other = aliased(Project)
    query = select(Project.name, other.name).outerjoin(other, literal(1) == 1)
    return (await session.execute(query)).all()


@attack
async def select_in_a_condition(session: AsyncSession, foreign: Foreign) -> object:
    inner = select(Task.title).where(Task.id == foreign.task).scalar_subquery()
    return (await session.execute(select(inner))).all()


@attack
async def load_eagerly(session: AsyncSession, foreign: Foreign) -> object:
    tasks = await session.scalars(select(Task).options(selectinload(Task.project)))
    return [task.project.name for task in tasks]


@attack
async def stream(session: AsyncSession, foreign: Foreign) -> object:
    return [name async for name in await session.stream_scalars(select(Project.name))]


@attack
async def use_text(session: AsyncSession, foreign: Foreign) -> object:
    return (await session.execute(text("SELECT name FROM projects"))).all()


@attack
async def load_entities_from_text(session: AsyncSession, foreign: Foreign) -> object:
    query = select(Project).from_statement(text("SELECT * FROM projects"))
    return [project.name for project in await session.scalars(query)]


@attack
async def slip_text_into_a_condition(session: AsyncSession, foreign: Foreign) -> object:
    condition = text("1 = 1 OR EXISTS (SELECT name FROM projects)")
    return (await session.execute(select(Project.name).where(condition))).all()


@attack
async def slip_a_literal_column_in(session: AsyncSession, foreign: Foreign) -> object:
    name: ColumnElement[str] = literal_column("(SELECT max(name) FROM projects)")
    return (await session.execute(select(name))).all()


@attack
async def slip_a_subselect_into_an_operator(session: AsyncSession, foreign: Foreign) -> object:
    operator = "IN (SELECT name FROM projects) OR '' <>"
    found = select(literal(1)).where(literal(f"{MARK} project").op(operator)(""))
    return MARK if await session.scalar(found) else None


@attack
async def slip_a_join_into_an_operator(session: AsyncSession, foreign: Foreign) -> object:
    joined = Task.title.op("IS NOT NULL JOIN projects AS other ON other.name LIKE")(f"{MARK}%")
    query = select(func.count()).select_from(Project).join(Task, joined).where(literal(1) == 1)
    return MARK if await session.scalar(query) else None


@attack
async def slip_a_union_in_as_a_suffix(session: AsyncSession, foreign: Foreign) -> object:
    query = select(Project.name).suffix_with("UNION SELECT name FROM projects")
    return (await session.execute(query)).all()


@attack
async def name_the_table_anew(session: AsyncSession, foreign: Foreign) -> object:
    query = select(table("projects", column("name")))
    return (await session.execute(query)).all()


@attack
async def use_driver_sql(session: AsyncSession, foreign: Foreign) -> object:
    connection = await session.connection()
    return (await connection.exec_driver_sql("SELECT name FROM projects")).all()


@attack
async def update_everything(session: AsyncSession, foreign: Foreign) -> object:
    await session.execute(update(Project).values(name=Project.name + "!"))
    return None


@attack
async def update_the_core_table(session: AsyncSession, foreign: Foreign) -> object:
    change = update(Base.metadata.tables["projects"]).values(name="x")
    await session.execute(change)
    return None


@attack
async def update_from_another_table(session: AsyncSession, foreign: Foreign) -> object:
    change = update(Task).where(Task.project_id == Project.id).values(title="x")
    await session.execute(change, execution_options={"synchronize_session": False})
    return None


@attack
async def delete_everything(session: AsyncSession, foreign: Foreign) -> object:
    await session.execute(delete(Task))
    return None


@attack
async def insert_for_the_other_tenant(session: AsyncSession, foreign: Foreign) -> object:
    await session.execute(insert(Project).values(tenant_id="globex", name="planted"))
    return None


@attack
async def insert_in_bulk(session: AsyncSession, foreign: Foreign) -> object:
    await session.execute(insert(Project), [{"tenant_id": "globex", "name": "planted"}])
    return None


@attack
async def insert_mappings(session: AsyncSession, foreign: Foreign) -> object:
    rows = [{"tenant_id": "globex", "name": "planted"}]
    await session.run_sync(lambda sync: sync.bulk_insert_mappings(Project, rows))
    return None


@attack
async def insert_a_computed_tenant(session: AsyncSession, foreign: Foreign) -> object:
    await session.execute(insert(Project).values(tenant_id=func.lower("GLOBEX"), name="planted"))
    return None


@attack
async def insert_from_a_select(session: AsyncSession, foreign: Foreign) -> object:
    names = ["tenant_id", "id", "name", "version", "created_at", "updated_at"]
    columns = (Project.version, Project.created_at, Project.updated_at)
    rows = select(literal("globex"), literal(uuid.uuid4()), literal("planted"), *columns).limit(1)
    await session.execute(insert(Project).from_select(names, rows))
    return None


@attack
async def add_a_row_of_the_other_tenant(session: AsyncSession, foreign: Foreign) -> object:
    session.add(Project(tenant_id="globex", name="planted"))
    await session.flush()
    return None


@attack
async def add_a_task_to_the_foreign_project(session: AsyncSession, foreign: Foreign) -> object:
    session.add(Task(tenant_id="globex", project_id=foreign.project, title="planted"))
    await session.flush()
    return None


@attack
async def merge_a_forged_row(session: AsyncSession, foreign: Foreign) -> object:
    await session.merge(Project(tenant_id="globex", id=foreign.project, name="merged"))
    await session.flush()
    return None


@attack
async def refresh_a_forged_row(session: AsyncSession, foreign: Foreign) -> object:
    forged = Project(tenant_id="globex", id=foreign.project)
    make_transient_to_detached(forged)
    session.add(forged)
    await session.refresh(forged)
    return forged.name


@attack
async def delete_a_forged_row(session: AsyncSession, foreign: Foreign) -> object:
    forged = Task(tenant_id="globex", id=foreign.task, version=1)
    make_transient_to_detached(forged)
    session.add(forged)
    await session.delete(forged)
    await session.flush()
    return None


@attack
async def give_a_row_away(session: AsyncSession, foreign: Foreign) -> object:
    await session.execute(
        update(Task)
        .where(Task.tenant_id == "acme")
        .values(tenant_id="globex", project_id=foreign.project)
    )
    return None


@attack
async def give_an_object_away(session: AsyncSession, foreign: Foreign) -> object:
    task = (await session.scalars(select(Task).where(Task.title == "acme task"))).one()
    task.tenant_id, task.project_id = "globex", foreign.project
    await session.flush()
    return None


@pytest.fixture
async def foreign(settings: Settings) -> Foreign:
    """Make acme, which attacks, and globex, whose rows carry a mark."""
    for name, prefix in (("acme", "acme"), ("globex", MARK)):
        await lifecycle.create(name)
        async with tenant_session(name) as session:
            project = Project(name=f"{prefix} project")
            task = Task(title=f"{prefix} task", project=project)
            session.add(task)
    return Foreign(project.id, task.id)


@pytest.fixture(autouse=True)
async def no_connection_is_left(settings: Settings) -> AsyncIterator[None]:
    yield
    await engines.dispose()


async def rows_of_globex() -> list[Row[tuple[object, ...]]]:
    async with system_session("a test looks at what was changed") as session:
        return [
            row
            for entity in (Project, Task)
            for row in await session.execute(
                select(entity.__table__).where(entity.tenant_id == "globex").order_by(entity.id)
            )
        ]


@pytest.mark.parametrize("name", ATTACKS)
async def test_no_attack_reaches_a_foreign_row(name: str, foreign: Foreign) -> None:
    before = await rows_of_globex()
    seen: object = None
    try:
        async with tenant_session("acme") as session:
            seen = await ATTACKS[name](session, foreign)
    except (TenancyError, SQLAlchemyError):
        pass  # refused
    assert MARK not in repr(seen)
    assert await rows_of_globex() == before


NAMES_THE_OTHER_TENANT = [
    "select_by_the_foreign_tenant",
    "get_by_the_foreign_key",
    "insert_for_the_other_tenant",
    "insert_in_bulk",
    "insert_a_computed_tenant",
    "insert_from_a_select",
    "add_a_row_of_the_other_tenant",
    "merge_a_forged_row",
    "refresh_a_forged_row",
    "give_an_object_away",
]


@pytest.mark.parametrize("name", NAMES_THE_OTHER_TENANT)
async def test_the_guard_refuses_before_the_database_hears_of_it(
    name: str, foreign: Foreign
) -> None:
    with pytest.raises(TenancyError):
        async with tenant_session("acme") as session:
            await ATTACKS[name](session, foreign)


@pytest.mark.parametrize("name", ATTACKS)
async def test_every_attack_succeeds_without_the_layers(name: str, foreign: Foreign) -> None:
    before = await rows_of_globex()
    async with system_session("a test attacks without the layers") as session:
        seen = await ATTACKS[name](session, foreign)
    assert MARK in repr(seen) or await rows_of_globex() != before


Use = Callable[[AsyncSession], Awaitable[object]]


async def stream_names(session: AsyncSession) -> object:
    return [name async for name in await session.stream_scalars(select(Project.name))]


async def commit_and_go_on(session: AsyncSession) -> object:
    session.add(Project(name="second"))
    await session.commit()
    return await session.scalar(select(func.count()).select_from(Project))


async def undo_a_savepoint(session: AsyncSession) -> object:
    async with session.begin_nested() as savepoint:
        session.add(Project(name="undone"))
        await session.flush()
        await savepoint.rollback()
    return (await session.scalars(select(Project.name))).all()


async def roll_back_and_go_on(session: AsyncSession) -> object:
    session.add(Project(name="undone"))
    await session.flush()
    await session.rollback()
    return (await session.scalars(select(Project.name))).all()


async def add_rows(session: AsyncSession) -> object:
    session.add_all([Project(name="b"), Project(name="c")])
    await session.flush()
    return (await session.scalars(select(Project.name).order_by(Project.name))).all()


async def insert_rows(session: AsyncSession) -> object:
    await session.execute(insert(Project), [{"name": "b"}, {"name": "c"}])
    return await session.scalar(select(func.count(Project.id)))


async def update_rows(session: AsyncSession) -> object:
    await session.execute(update(Project).values(name="renamed"))
    return (await session.scalars(select(Project.name))).all()


async def delete_rows(session: AsyncSession) -> object:
    await session.execute(delete(Task).where(Task.title.like("acme%")))
    return await session.scalar(select(func.count()).select_from(Task))


async def group_rows(session: AsyncSession) -> object:
    query = select(Project.name, func.count(Task.id)).join(Task.project).group_by(Project.name)
    return [tuple(row) for row in await session.execute(query)]


async def group_whole_rows(session: AsyncSession) -> object:
    other = aliased(Project)
    query = select(Project, other, func.count(Task.id)).join(Task.project)
    query = query.join(other, other.id == Project.id)
    keys = (Project.tenant_id, Project.id, other.tenant_id, other.id)
    found = (await session.execute(query.group_by(*keys))).all()
    return [(project.name, also.name, count) for project, also, count in found]


async def lock_rows(session: AsyncSession) -> object:
    return [row.name for row in await session.scalars(select(Project).with_for_update())]


USES: Mapping[str, tuple[Use, object]] = {
    "count": (lambda s: s.scalar(select(func.count()).select_from(Project)), 1),
    "exists around a select": (lambda s: s.scalar(select(select(Project).exists())), True),
    "join": (lambda s: s.scalar(select(Task.title).join(Task.project)), "acme task"),
    "own tenant in a condition": (
        lambda s: s.scalar(select(Project.name).where(Project.tenant_id == "acme")),
        "acme project",
    ),
    "contains": (
        lambda s: s.scalar(select(Project.name).where(Project.name.contains("me"))),
        "acme project",
    ),
    "ends with": (
        lambda s: s.scalar(select(Task.title).where(Task.title.iendswith("TASK"))),
        "acme task",
    ),
    "part of an instant": (
        lambda s: s.scalar(select(func.count(extract("year", Project.created_at)))),
        1,
    ),
    "window": (lambda s: s.scalar(select(func.row_number().over(order_by=Project.id))), 1),
    "limit and offset": (lambda s: s.scalar(select(Project.name).limit(1).offset(1)), None),
    "stream": (stream_names, ["acme project"]),
    "commit and go on": (commit_and_go_on, 2),
    "savepoint": (undo_a_savepoint, ["acme project"]),
    "rollback": (roll_back_and_go_on, ["acme project"]),
    "add_all": (add_rows, ["acme project", "b", "c"]),
    "bulk insert": (insert_rows, 3),
    "criteria update": (update_rows, ["renamed"]),
    "criteria delete": (delete_rows, 0),
    "group by": (group_rows, [("acme project", 1)]),
    "group by keys": (group_whole_rows, [("acme project", "acme project", 1)]),
    "for update": (lock_rows, ["acme project"]),
}


@pytest.mark.parametrize("name", USES)
async def test_legitimate_use_is_not_refused(name: str, foreign: Foreign) -> None:
    use, expected = USES[name]
    async with tenant_session("acme") as session:
        assert await use(session) == expected


async def test_no_option_changes_the_tenant_of_a_session(foreign: Foreign) -> None:
    async with tenant_session("acme") as session:
        await session.connection(execution_options={"tenant": "globex", "tenant_id": "globex"})
        assert (await session.scalars(select(Project.name))).all() == ["acme project"]


async def test_a_connection_that_no_session_opened_has_no_tenant(foreign: Foreign) -> None:
    async with tenant_session("acme") as session:
        engine = session.get_bind()
        assert isinstance(engine, Engine)
        async with AsyncSession(AsyncEngine(engine)) as other:
            with pytest.raises(TenancyError, match="no tenant"):
                await other.execute(select(Project.name))


async def test_a_tenant_does_not_write_what_is_known_of_it(foreign: Foreign) -> None:
    for statement in (update(Tenant).values(status="suspended"), delete(Tenant)):
        with pytest.raises(DBAPIError):
            async with tenant_session("acme") as session:
                await session.execute(statement)
    with pytest.raises(DBAPIError):
        async with tenant_session("newcomer") as session:
            session.add(Tenant(tenant_id="newcomer", status="active"))


async def test_two_sessions_side_by_side_keep_apart(foreign: Foreign) -> None:
    async with tenant_session("acme") as acme, tenant_session("globex") as globex:
        for _ in range(3):
            assert (await acme.scalars(select(Project.name))).all() == ["acme project"]
            assert (await globex.scalars(select(Project.name))).all() == [f"{MARK} project"]


async def test_a_pooled_connection_takes_no_tenant_along(foreign: Foreign) -> None:
    for name, expected in (("acme", "acme project"), ("globex", f"{MARK} project")) * 3:
        async with tenant_session(name) as session:
            assert (await session.scalars(select(Project.name))).all() == [expected]


async def beneath(session: AsyncSession) -> Any:
    """Return the driver's own connection, which knows nothing of the guard."""
    return (await (await session.connection()).get_raw_connection()).driver_connection


READ = "SELECT name FROM projects"
WRITE = "UPDATE projects SET name = 'x'"
GIVE = "UPDATE tasks SET tenant_id = 'globex'"


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
async def test_beneath_the_guard_sqlite_admits_nothing(foreign: Foreign) -> None:
    async with tenant_session("acme") as session:
        driver = await beneath(session)
        for statement in (READ, WRITE, GIVE, "ATTACH ':memory:' AS other", "PRAGMA user_version"):
            with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
                await driver.execute(statement)


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
async def test_beneath_the_guard_postgresql_shows_and_changes_own_rows_only(
    foreign: Foreign,
) -> None:
    before = await rows_of_globex()
    async with tenant_session("acme") as session:
        driver = await beneath(session)
        assert [row["name"] for row in await driver.fetch(READ)] == ["acme project"]
        assert await driver.execute(WRITE) == "UPDATE 1"
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await driver.execute(GIVE)
        await session.rollback()
    assert await rows_of_globex() == before


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
async def test_a_trigger_of_sqlite_refuses_what_the_guard_lets_through(foreign: Foreign) -> None:
    async with tenant_session("acme") as session:
        connection = await session.connection()
        gate = await connection.run_sync(lambda sync: sync.info["gate"])
        gate.open = True  # as if the guard had approved
        driver = await beneath(session)
        for statement in (WRITE, GIVE, "DELETE FROM tasks"):
            with pytest.raises(sqlite3.IntegrityError, match="may not write"):
                await driver.execute(statement)


@pytest.mark.parametrize("name", ["", "Acme", "1acme", "a", "a" * 64, "acme\n", "acme;--", None])
async def test_a_malformed_tenant_opens_no_session(name: str) -> None:
    with pytest.raises(ValueError, match="tenant's name"):
        async with tenant_session(name):
            pass


async def test_a_system_session_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="reason"):
        async with system_session(" "):
            pass


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
async def test_an_instant_may_be_computed_with(foreign: Foreign) -> None:
    tomorrow = Project.created_at + timedelta(days=1)
    async with tenant_session("acme") as session:
        assert await session.scalar(select(Project.name).where(tomorrow > datetime.now(UTC)))
        assert await session.scalar(select(Project.created_at.op("AT TIME ZONE")("UTC")))


FOREIGN_SQL = (
    lambda: func.ts_stat("SELECT to_tsvector('simple', name) FROM projects"),
    lambda: func.table_to_xml("projects", True, True, ""),
    lambda: func.set_config("app.tenant_id", "globex", True),
    lambda: func.pg_read_file("/etc/passwd"),
)


@pytest.mark.parametrize("function", FOREIGN_SQL)
async def test_functions_that_run_sql_are_refused(
    function: Callable[[], ColumnElement[object]], foreign: Foreign
) -> None:
    async with tenant_session("acme") as session:
        with pytest.raises(TenancyError, match="not for tenant sessions"):
            await session.execute(select(function()))


async def test_a_field_of_extract_is_a_word(foreign: Foreign) -> None:
    async with tenant_session("acme") as session:
        with pytest.raises(TenancyError, match="no field"):
            await session.execute(select(extract("epoch FROM now()), (SELECT 1", func.now())))
