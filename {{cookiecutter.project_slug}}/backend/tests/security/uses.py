"""What is never refused: the ways to work with one's own rows, and what each must answer.

Acme has one project, `acme project`, with one task, `acme task`; globex has as many of its own.
"""

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    CTE,
    Date,
    Executable,
    Float,
    Integer,
    Select,
    String,
    and_,
    any_,
    bindparam,
    case,
    column,
    delete,
    distinct,
    exists,
    extract,
    func,
    insert,
    inspect,
    lambda_stmt,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
    type_coerce,
    union_all,
    update,
    values,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    aliased,
    contains_eager,
    defer,
    joinedload,
    load_only,
    raiseload,
    selectinload,
    subqueryload,
    undefer,
    with_loader_criteria,
)
from sqlalchemy.sql.selectable import LateralFromClause

from app.projects.models import Project, Task
from app.tenancy import Tenant
from tests.security.attacks import OWN, core

Use = Callable[[AsyncSession], Awaitable[object]]

OTHER = aliased(Project)
NAMES = select(Project.name)
TITLES = select(Task.title)
COUNT = select(func.count()).select_from(Project)
FOUND_IDS = select(Project.id).where(Project.version == 1).cte("found")
TASKS = select(func.count(Task.id)).where(Task.project_id == Project.id)

# One value: that of the first column of the only row.
VALUES: dict[str, tuple[Callable[[], Executable], object]] = {
    "count(*)": (lambda: COUNT, 1),
    "count of a column": (lambda: select(func.count(Project.id)), 1),
    "count of what differs": (lambda: select(func.count(distinct(Project.name))), 1),
    "exists around a select": (lambda: select(select(Project).exists()), True),
    "exists of a condition": (lambda: select(exists().where(Project.name == "acme project")), True),
    "not exists": (lambda: NAMES.where(~exists().where(Task.title == "none")), "acme project"),
    "a correlated exists": (
        lambda: NAMES.where(exists().where(Task.project_id == Project.id)),
        "acme project",
    ),
    "a scalar sub-query": (lambda: select(TASKS.scalar_subquery()).select_from(Project), 1),
    "a sub-query in the list": (lambda: select(select(Task.title).scalar_subquery()), "acme task"),
    "a sub-query in an order": (
        lambda: NAMES.order_by(TASKS.scalar_subquery().desc()),
        "acme project",
    ),
    "in a sub-query": (
        lambda: NAMES.where(Project.id.in_(select(Task.project_id))),
        "acme project",
    ),
    "not in a sub-query": (
        lambda: NAMES.where(Project.id.not_in(select(Task.id))),
        "acme project",
    ),
    "in an empty list": (lambda: COUNT.where(Project.name.in_([])), 0),
    "in a long list": (
        lambda: COUNT.where(Project.id.in_([OWN.project, *(uuid.uuid4() for _ in range(500))])),
        1,
    ),
    "a tuple in a list": (
        lambda: NAMES.where(tuple_(Project.name, Project.version).in_([("acme project", 1)])),
        "acme project",
    ),
    "one's own key in a list": (
        lambda: NAMES.where(tuple_(Project.tenant_id, Project.id).in_([("acme", OWN.project)])),
        "acme project",
    ),
    "one's own tenant": (lambda: NAMES.where(Project.tenant_id == "acme"), "acme project"),
    "one's own tenant in a list": (
        lambda: NAMES.where(Project.tenant_id.in_(["acme"])),
        "acme project",
    ),
    "one's own tenant's row": (lambda: select(Tenant.status), "active"),
    "after a key": (
        lambda: NAMES.where(tuple_(Project.version, Project.id) > (0, uuid.UUID(int=0))),
        "acme project",
    ),
    "case": (lambda: select(case((Project.version == 1, "first"), else_="later")), "first"),
    "coalesce": (lambda: select(func.coalesce(Project.name, "none")), "acme project"),
    "lower": (lambda: select(func.lower(Project.name)), "acme project"),
    "a concatenation": (lambda: select(Project.name + "!"), "acme project!"),
    "like": (lambda: NAMES.where(Project.name.like("acme%")), "acme project"),
    "ilike": (lambda: NAMES.where(Project.name.ilike("ACME%")), "acme project"),
    "like with an escape": (lambda: COUNT.where(Project.name.like("acme/%", escape="/")), 0),
    "contains": (lambda: NAMES.where(Project.name.contains("me")), "acme project"),
    "contains with an escape": (
        lambda: COUNT.where(Project.name.contains("%", autoescape=True)),
        0,
    ),
    "starts and ends": (
        lambda: NAMES.where(Project.name.startswith("ac"), Project.name.iendswith("PROJECT")),
        "acme project",
    ),
    "an operator": (lambda: NAMES.where(Project.name.op("LIKE")("acme%")), "acme project"),
    "between": (lambda: NAMES.where(Project.version.between(1, 2)), "acme project"),
    "and, or, not": (
        lambda: NAMES.where(and_(or_(Project.version == 1, true()), not_(Project.version == 2))),
        "acme project",
    ),
    "arithmetic": (lambda: select((Project.version + 1) * 3 - 2), 4),
    "distinct": (NAMES.distinct, "acme project"),
    "a filtered aggregate": (lambda: select(func.count().filter(Project.version == 1)), 1),
    "names in one": (lambda: select(func.aggregate_strings(Project.name, ", ")), "acme project"),
    "an average": (lambda: select(cast_to(func.avg(Project.version), Float)), 1.0),
    "nulls last": (lambda: NAMES.order_by(Project.name.desc().nulls_last()), "acme project"),
    "an order by a label": (
        lambda: select(func.upper(Project.name).label("n")).order_by("n"),
        "ACME PROJECT",
    ),
    "a group by a label": (
        lambda: select(func.upper(Project.name).label("n"), func.count()).group_by("n"),
        "ACME PROJECT",
    ),
    "having": (
        lambda: (
            NAMES.join(Task, Task.project_id == Project.id)
            .group_by(Project.name)
            .having(func.count(Task.id) == 1)
        ),
        "acme project",
    ),
    "limit and offset": (lambda: NAMES.order_by(Project.id).limit(1).offset(0), "acme project"),
    "a union with an order": (
        lambda: union_all(NAMES, TITLES).order_by("name").limit(1),
        "acme project",
    ),
    "a CTE": (lambda: select(NAMES.cte("c").c.name), "acme project"),
    "a CTE that is joined": (
        lambda: NAMES.join(FOUND_IDS, FOUND_IDS.c.id == Project.id),
        "acme project",
    ),
    "a recursive CTE": (lambda: select(func.max(counted().c.n)), 3),
    "a join": (lambda: select(Task.title).join(Task.project), "acme task"),
    "an outer join": (
        lambda: NAMES.outerjoin(Task, Task.project_id == Project.id),
        "acme project",
    ),
    "a self join": (
        lambda: select(OTHER.name).join(Project, Project.id == OTHER.id),
        "acme project",
    ),
    "has": (lambda: TITLES.where(Task.project.has(name="acme project")), "acme task"),
    "row_number": (lambda: select(func.row_number().over(order_by=Project.id)), 1),
    "a window's frame": (
        lambda: select(
            func.sum(Project.version).over(
                partition_by=Project.name, order_by=Project.id, rows=(None, 0)
            )
        ),
        1,
    ),
    "a part of an instant": (
        lambda: select(extract("year", Project.created_at)),
        datetime.now(UTC).year,
    ),
    "an instant compared": (
        lambda: NAMES.where(Project.created_at > datetime.now(UTC) - timedelta(days=1)),
        "acme project",
    ),
    "a date": (lambda: COUNT.where(func.date(Project.created_at) >= func.date("2020-01-01")), 1),
    "a cast": (lambda: select(cast_to(Project.version, String)), "1"),
    "a cast to a number": (lambda: select(cast_to(literal("7"), Integer)), 7),
    "a coerced type": (lambda: select(type_coerce(Project.version, String)), 1),
    "a literal in SQL": (
        lambda: NAMES.where(
            Project.name == bindparam("n", "acme project", String, literal_execute=True)
        ),
        "acme project",
    ),
    "a quote in a literal in SQL": (
        lambda: select(bindparam("q", "it's", String, literal_execute=True)),
        "it's",
    ),
    "a named parameter": (
        lambda: NAMES.where(Project.version == bindparam("v")).params(v=1),
        "acme project",
    ),
    "a label with spaces": (lambda: select(Project.name.label("Name of it (%)")), "acme project"),
    "a label like a system column": (
        lambda: select(select(Project.name.label("ctid")).subquery().c.ctid),
        "acme project",
    ),
    "values": (
        lambda: select(func.count()).select_from(
            values(column("x", Integer), name="v").data([(1,), (2,)]).cte()
        ),
        2,
    ),
    "a lambda": (lambda: lambda_stmt(lambda: NAMES), "acme project"),
    "populate_existing": (lambda: NAMES.execution_options(populate_existing=True), "acme project"),
    "a lock": (lambda: NAMES.with_for_update(skip_locked=True), "acme project"),
    "a lock of one table": (
        lambda: NAMES.join(Task, Task.project_id == Project.id).with_for_update(of=Task),
        "acme project",
    ),
    "an update that returns": (
        lambda: update(Project).values(name="renamed").returning(Project.name),
        "renamed",
    ),
    "an update from another table": (
        lambda: (
            update(Task)
            .where(Task.project_id == Project.id)
            .values(title=Project.name)
            .returning(Task.title)
            .execution_options(synchronize_session=False)
        ),
        "acme project",
    ),
    "a delete that returns": (lambda: delete(Task).returning(Task.title), "acme task"),
    "a delete by a sub-query": (
        lambda: (
            delete(Task)
            .where(Task.project_id.in_(select(Project.id)))
            .returning(Task.title)
            .execution_options(synchronize_session=False)
        ),
        "acme task",
    ),
    "an insert that returns": (
        lambda: insert(Project).values(name="new").returning(Project.name),
        "new",
    ),
    "an insert with one's own tenant": (
        lambda: insert(Project).values(tenant_id="acme", name="new").returning(Project.tenant_id),
        "acme",
    ),
    "an insert of a sub-query's value": (
        lambda: (
            insert(Project)
            .values(name=select(Task.title).scalar_subquery())
            .returning(Project.name)
        ),
        "acme task",
    ),
    "an insert from a select": (
        lambda: (
            insert(Task)
            .from_select(
                [
                    "tenant_id",
                    "id",
                    "project_id",
                    "title",
                    "done",
                    "version",
                    "created_at",
                    "updated_at",
                ],
                select(
                    Project.tenant_id,
                    Project.id,
                    Project.id,
                    Project.name,
                    literal(value=False),
                    Project.version,
                    Project.created_at,
                    Project.updated_at,
                ),
            )
            .returning(Task.title)
        ),
        "acme project",
    ),
}


def beside(change: Any) -> Executable:
    """Select what a change returns that stands in a CTE, with a CTE of its own inside it."""
    inner = select(Task.project_id).cte("inner_rows", nesting=True)
    changed = change.where(Project.id.in_(select(inner.c.project_id))).returning(Project.name)
    return select(changed.cte("changed").c.name)


def copied() -> Any:
    """Insert a project for each task, which are read from a CTE inside the statement."""
    inner = select(Task.title, Task.created_at).cte("inner_rows", nesting=True)
    rows = select(inner.c.title, literal(1), inner.c.created_at, inner.c.created_at)
    columns = ["name", "version", "created_at", "updated_at"]
    return insert(Project).from_select(columns, rows).returning(Project.name)


VALUES_OF: dict[str, dict[str, tuple[Callable[[], Executable], object]]] = {
    "sqlite": {
        "JSON": (
            lambda: select(func.json_extract(func.json_object("n", Project.name), "$.n")),
            "acme project",
        ),
        "JSON from rows": (
            lambda: select(
                func.json_each(select(func.json_group_array(Project.name)).scalar_subquery())
                .table_valued("value")
                .c.value
            ),
            "acme project",
        ),
        "group_concat": (lambda: select(func.group_concat(Project.name, ";")), "acme project"),
        "strftime": (lambda: COUNT.where(func.strftime("%Y", Project.created_at) > "2020"), 1),
    },
    "postgresql": {
        "JSON": (
            lambda: select(
                func.jsonb_build_object("n", Project.name, type_=postgresql.JSONB)["n"].astext
            ),
            "acme project",
        ),
        "a whole row as JSON": (
            lambda: select(
                func.row_to_json(core.table_valued(), type_=postgresql.JSON)["name"].astext
            ),
            "acme project",
        ),
        "an interval of fields": (
            lambda: select(
                cast_to(
                    timedelta(hours=3), postgresql.INTERVAL(fields="DAY TO SECOND", precision=0)
                )
            ),
            timedelta(hours=3),
        ),
        "an update with a CTE in one": (lambda: beside(update(Project).values(name="b")), "b"),
        "a delete with a CTE in one": (lambda: beside(delete(Project)), "acme project"),
        "an insert with a CTE in one": (lambda: select(copied().cte("added").c.name), "acme task"),
        "a JSON key": (
            lambda: COUNT.where(
                func.jsonb_build_object("n", Project.name, type_=postgresql.JSONB).has_key("n")
            ),
            1,
        ),
        "array_agg": (lambda: select(func.array_agg(Project.name)), ["acme project"]),
        "string_agg": (lambda: select(func.string_agg(Project.name, ";")), "acme project"),
        "an array": (
            lambda: NAMES.where(
                Project.name == any_(literal(["acme project"], postgresql.ARRAY(String)))
            ),
            "acme project",
        ),
        "unnest": (
            lambda: select(func.count()).select_from(
                func.unnest(literal([1, 2], postgresql.ARRAY(Integer))).table_valued("x")
            ),
            2,
        ),
        "distinct on": (
            lambda: NAMES.ext(postgresql.distinct_on(Project.name)),
            "acme project",
        ),
        "a lateral join": (lambda: select(each_task().c.title, Project.id), "acme task"),
        "a span of time": (
            lambda: NAMES.where(Project.created_at + timedelta(days=1) > datetime.now(UTC)),
            "acme project",
        ),
        "a time zone": (
            lambda: select(func.count(Project.created_at.op("AT TIME ZONE")("UTC"))),
            1,
        ),
        "date_trunc": (lambda: select(func.count(func.date_trunc("day", Project.created_at))), 1),
        "a cast to a date": (
            lambda: COUNT.where(
                cast_to(Project.created_at, Date) > datetime(2020, 1, 1, tzinfo=UTC).date()
            ),
            1,
        ),
        "a search": (
            lambda: NAMES.where(func.to_tsvector("english", Project.name).match("acme")),
            "acme project",
        ),
        "a lock of the key": (
            lambda: NAMES.with_for_update(key_share=True, nowait=True),
            "acme project",
        ),
        "an update in a CTE": (
            lambda: select(update(Project).values(version=2).returning(Project.name).cte().c.name),
            "acme project",
        ),
    },
}


def counted() -> CTE:
    """Return a CTE that counts from a row's value."""
    found = select(Project.version.label("n")).cte("counted", recursive=True)
    return found.union_all(select(found.c.n + 1).where(found.c.n < 3))


def each_task() -> LateralFromClause:
    """Return what is found of each project's tasks."""
    return select(Task.title).where(Task.project_id == Project.id).lateral()


USES: dict[str, tuple[Use, object]] = {}


def use(expected: object) -> Callable[[Use], Use]:
    """Add a function to the uses, with what it must answer."""

    def add(function: Use) -> Use:
        USES[function.__name__.replace("_", " ")] = function, expected
        return function

    return add


async def names(session: AsyncSession) -> object:
    """Return the names of the projects, in their order."""
    return (await session.scalars(NAMES.order_by(Project.name))).all()


@use("acme project")
async def get_by_ones_own_key(session: AsyncSession) -> object:
    found = await session.get(Project, ("acme", OWN.project))
    return found and found.name


@use("acme project")
async def get_one_and_lock_it(session: AsyncSession) -> object:
    key = {"tenant_id": "acme", "id": OWN.project}
    return (await session.get_one(Project, key, with_for_update=True)).name


@use(None)
async def get_what_is_not_there(session: AsyncSession) -> object:
    return await session.get(Project, ("acme", uuid.uuid4()))


LOADS = (
    joinedload(Task.project),
    joinedload(Task.project, innerjoin=True),
    selectinload(Task.project),
    subqueryload(Task.project),
    selectinload(Task.project).load_only(Project.name),
    joinedload(Task.project.and_(Project.version == 1)),
)


async def loaded(session: AsyncSession, query: Select[Task]) -> object:
    """Return the name of the project that is loaded with its task."""
    task = (await session.scalars(query)).unique().one()
    return "project" in inspect(task).dict and task.project.name


@use(["acme project"] * len(LOADS))
async def load_eagerly(session: AsyncSession) -> object:
    seen = []
    for option in LOADS:
        session.expunge_all()
        seen.append(await loaded(session, select(Task).options(option)))
    return seen


@use("acme project")
async def load_what_is_joined(session: AsyncSession) -> object:
    return await loaded(
        session, select(Task).join(Task.project).options(contains_eager(Task.project))
    )


@use("acme project")
async def load_lazily(session: AsyncSession) -> object:
    task = (await session.scalars(select(Task))).one()
    return await session.run_sync(lambda _: task.project.name)


@use("acme task")
async def forbid_to_load_lazily(session: AsyncSession) -> object:
    return (await session.scalars(select(Task).options(raiseload(Task.project)))).one().title


@use("acme task")
async def load_a_column_later(session: AsyncSession) -> object:
    task = (await session.scalars(select(Task).options(defer(Task.title)))).one()
    return await session.run_sync(lambda _: task.title)


@use("acme task")
async def load_some_columns(session: AsyncSession) -> object:
    options = load_only(Task.title), undefer(Task.done)
    return (await session.scalars(select(Task).options(*options))).one().title


@use(0)
async def add_criteria(session: AsyncSession) -> object:
    criteria = with_loader_criteria(Project, Project.version > 1)
    return len((await session.scalars(select(Project).options(criteria))).all())


@use("acme project")
async def refresh_a_row(session: AsyncSession) -> object:
    project = (await session.scalars(select(Project))).one()
    project.name = "forgotten"
    await session.refresh(project)
    return project.name


@use("acme project")
async def expire_and_load_again(session: AsyncSession) -> object:
    project = (await session.scalars(select(Project))).one()
    session.expire_all()
    return await session.run_sync(lambda _: project.name)


@use(["merged"])
async def merge_a_detached_row(session: AsyncSession) -> object:
    project = (await session.scalars(select(Project))).one()
    session.expunge(project)
    project.name = "merged"
    await session.merge(project)
    await session.flush()
    return await names(session)


@use(["acme project", "b", "c"])
async def add_rows(session: AsyncSession) -> object:
    session.add_all([Project(name="b"), Project(name="c")])
    await session.flush()
    return await names(session)


@use("acme")
async def add_a_row_with_ones_own_tenant(session: AsyncSession) -> object:
    session.add(project := Project(tenant_id="acme", name="b"))
    await session.flush()
    return project.tenant_id


@use(("acme", "acme"))
async def add_a_row_with_its_parent(session: AsyncSession) -> object:
    session.add(task := Task(title="b", project=Project(name="b")))
    await session.flush()
    return task.tenant_id, task.project.tenant_id


@use((2, "changed"))
async def change_a_row(session: AsyncSession) -> object:
    project = (await session.scalars(select(Project))).one()
    project.name = "changed"
    await session.flush()
    return project.version, project.name


@use(([], 0))
async def delete_a_row_with_what_is_below(session: AsyncSession) -> object:
    await session.delete((await session.scalars(select(Project))).one())
    await session.flush()
    return await names(session), await session.scalar(select(func.count(Task.id)))


@use(1001)
async def insert_a_thousand_rows(session: AsyncSession) -> object:
    await session.execute(insert(Project), [{"name": str(number)} for number in range(1000)])
    return await session.scalar(COUNT)


@use([f"n{number}" for number in range(1000)])
async def insert_a_thousand_rows_and_return_them(session: AsyncSession) -> object:
    rows = [{"name": f"n{number}"} for number in range(1000)]
    returning = insert(Project).returning(Project.name, sort_by_parameter_order=True)
    return (await session.scalars(returning, rows)).all()


@use(["acme project", "b", "c"])
async def insert_several_rows(session: AsyncSession) -> object:
    await session.execute(insert(Project).values([{"name": "b"}, {"name": "c"}]))
    return await names(session)


@use(["b"])
async def update_by_key(session: AsyncSession) -> object:
    row = {"tenant_id": "acme", "id": OWN.project, "name": "b", "version": 1}
    await session.execute(update(Project), [row])
    return await names(session)


@use(["acme project!"])
async def update_in_the_database(session: AsyncSession) -> object:
    await session.execute(update(Project).values(name=Project.name + "!"))
    return await names(session)


@use([])
async def delete_by_a_condition(session: AsyncSession) -> object:
    await session.execute(delete(Task).where(Task.title.like("acme%")))
    return (await session.scalars(TITLES)).all()


def upsert(session: AsyncSession, **row: object) -> Any:
    """Return an INSERT that knows ON CONFLICT."""
    kinds: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
    return kinds[session.get_bind().dialect.name](Project).values(**row)


@use(2)
async def upsert_by_name(session: AsyncSession) -> object:
    statement = upsert(session, name="acme project")
    statement = statement.on_conflict_do_update(
        index_elements=["tenant_id", "name"],
        set_={"version": Project.version + 1, "name": statement.excluded.name},
        where=Project.version == 1,
    )
    return await session.scalar(statement.returning(Project.version))


@use(None)
async def insert_unless_it_is_there(session: AsyncSession) -> object:
    statement = upsert(session, name="acme project").on_conflict_do_nothing()
    return await session.scalar(statement.returning(Project.id))


@use(["acme project"])
async def undo_savepoints(session: AsyncSession) -> object:
    async with session.begin_nested() as outer:
        session.add(Project(name="outer"))
        async with session.begin_nested() as inner:
            session.add(Project(name="inner"))
            await session.flush()
            await inner.rollback()
        assert await names(session) == ["acme project", "outer"]
        await outer.rollback()
    return await names(session)


@use(["acme project", "b"])
async def write_at_the_highest_level(session: AsyncSession) -> object:
    await session.connection(execution_options={"isolation_level": "Serializable"})
    session.add(Project(name="b"))
    return await names(session)


@use(["acme project", "b"])
async def keep_a_savepoint(session: AsyncSession) -> object:
    async with session.begin_nested():
        session.add(Project(name="b"))
    return await names(session)


@use(["acme project"])
async def undo_what_a_savepoint_kept(session: AsyncSession) -> object:
    async with session.begin_nested():
        session.add(Project(name="undone"))
    await session.rollback()
    return await names(session)


@use([[(1, 2)], [(1, 2)], [(1, 2)]])
async def group_by_what_is_no_key(session: AsyncSession) -> object:
    session.add(Project(name="b"))
    await session.flush()
    chosen = select(Project.version, Project.name).subquery()
    named = Project.version.label("told")
    queries = (
        select(Project.version, func.count()).group_by(Project.version),
        select(chosen.c.version, func.count()).group_by(chosen.c.version),
        select(named, func.count()).group_by(column("told")),
    )
    return [[tuple(row) for row in await session.execute(query)] for query in queries]


@use(["acme project", "b"])
async def commit_and_go_on(session: AsyncSession) -> object:
    session.add(Project(name="b"))
    await session.commit()
    return await names(session)


@use(["acme project"])
async def roll_back_and_go_on(session: AsyncSession) -> object:
    session.add(Project(name="undone"))
    await session.flush()
    await session.rollback()
    return await names(session)


@use([["acme project"], ["b"], ["c"]])
async def stream_in_parts(session: AsyncSession) -> object:
    session.add_all([Project(name="b"), Project(name="c")])
    rows = await session.stream_scalars(NAMES.order_by(Project.name).execution_options(yield_per=1))
    return [list(part) async for part in rows.partitions()]


@use(["acme project"])
async def stream_rows(session: AsyncSession) -> object:
    return [project.name async for project in await session.stream_scalars(select(Project))]


@use([(1, ["acme project"]), (0, [])])
async def execute_one_statement_with_many_values(session: AsyncSession) -> object:
    query = NAMES.where(Project.name == bindparam("name"))
    seen = []
    for name in ("acme project", "globex-only project"):
        found = (await session.scalars(query, {"name": name})).all()
        seen.append((len(found), found))
    return seen


@use(["acme project"])
async def use_the_connection(session: AsyncSession) -> object:
    return (await (await session.connection()).execute(NAMES)).scalars().all()


@use([("acme project", "acme project", 1)])
async def group_by_keys(session: AsyncSession) -> object:
    query = select(Project, OTHER, func.count(Task.id)).join(Task.project)
    query = query.join(OTHER, OTHER.id == Project.id)
    keys = (Project.tenant_id, Project.id, OTHER.tenant_id, OTHER.id)
    found = (await session.execute(query.group_by(*keys))).all()
    return [(project.name, other.name, count) for project, other, count in found]


def uses(dialect: str) -> dict[str, tuple[Use, object]]:
    """Return what must work, by name: each use with what it must answer."""

    def of(build: Callable[[], Executable]) -> Use:
        return lambda session: session.scalar(build())

    built = {**VALUES, **VALUES_OF[dialect]}
    return {name: (of(build), expected) for name, (build, expected) in built.items()} | USES
