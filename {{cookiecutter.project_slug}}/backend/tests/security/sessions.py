"""The ways to another tenant's rows through what a session hands out: its objects and its connection.

Each is tried as the statements of `attacks` are, from acme's session.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from contextvars import Context
from functools import partial
from io import BytesIO
from typing import Any, cast

import asyncpg
from sqlalchemy import (
    Connection,
    Engine,
    String,
    bindparam,
    delete,
    event,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import (
    Session,
    column_property,
    make_transient,
    make_transient_to_detached,
    registry,
    relationship,
)
from sqlalchemy.orm import foreign as referring

from app.db.base import Base
from app.projects.models import Project, Task
from app.tenancy import TenancyError
from tests.security.attacks import (
    EXISTS,
    FOREIGN,
    FOUND,
    MARK,
    NAME,
    OWN,
    READ,
    Attack,
    Raw,
    core,
    described,
    dialect_of,
    planted,
    statements,
)

DIALECTS = ("sqlite", "postgresql")
ATTACKS = {dialect: statements(dialect) for dialect in DIALECTS}


def attack(function: Attack) -> Attack:
    """Add a function to the attacks on both databases."""
    for each in ATTACKS.values():
        each[function.__name__.replace("_", " ")] = function
    return function


def forged(tenant: str = "globex") -> Task:
    """Return the foreign task as if it had been loaded."""
    task = Task(tenant_id=tenant, id=FOREIGN.task, project_id=FOREIGN.project, version=1)
    make_transient_to_detached(task)
    return task


@attack
async def refresh_a_forged_row(session: AsyncSession) -> object:
    session.add(task := forged())
    await session.refresh(task)
    return task.title


@attack
async def load_what_a_forged_row_refers_to(session: AsyncSession) -> object:
    session.add(task := forged())
    return described(await session.run_sync(lambda _: task.project))


@attack
async def merge_a_forged_row(session: AsyncSession) -> object:
    await session.merge(Project(tenant_id="globex", id=FOREIGN.project, name="merged"))
    await session.flush()
    return None


@attack
async def merge_a_forged_row_unseen(session: AsyncSession) -> object:
    task = await session.merge(forged(), load=False)
    return await session.run_sync(lambda _: task.title)


@attack
async def change_a_forged_row(session: AsyncSession) -> object:
    session.add(task := forged())
    task.title = "changed"
    await session.flush()
    return None


@attack
async def delete_a_forged_row(session: AsyncSession) -> object:
    await session.delete(forged())
    await session.flush()
    return None


@attack
async def add_a_row(session: AsyncSession) -> object:
    session.add_all(
        [Project(tenant_id="globex", name="planted"), Project(tenant_id="acme", name="own")]
    )
    await session.flush()
    return None


@attack
async def add_a_row_of_the_foreign_project(session: AsyncSession) -> object:
    session.add(Task(tenant_id="globex", project_id=FOREIGN.project, title="planted"))
    await session.flush()
    return None


@attack
async def add_a_row_below_a_forged_one(session: AsyncSession) -> object:
    parent = Project(tenant_id="globex", id=FOREIGN.project)
    make_transient_to_detached(parent)
    session.add(Task(title="planted", project=parent))
    await session.flush()
    return None


@attack
async def give_an_object_away(session: AsyncSession) -> object:
    task = (await session.scalars(select(Task).where(Task.id == OWN.task))).one()
    task.tenant_id, task.project_id = "globex", FOREIGN.project
    await session.flush()
    return None


@attack
async def give_an_object_away_by_an_expression(session: AsyncSession) -> object:
    task = (await session.scalars(select(Task).where(Task.id == OWN.task))).one()
    vars(task)  # loaded
    setattr(task, "tenant_id", func.lower("GLOBEX"))  # noqa: B010 - which the type forbids
    task.project_id = FOREIGN.project
    await session.flush()
    return None


@attack
async def add_a_row_that_was_another(session: AsyncSession) -> object:
    task = (await session.scalars(select(Task).where(Task.id == OWN.task))).one()
    make_transient(task)
    task.tenant_id, task.project_id = "globex", FOREIGN.project
    session.add(task)
    await session.flush()
    return None


@attack
async def insert_many_and_return(session: AsyncSession) -> object:
    rows = [planted(), planted() | {"name": "second"}]
    returning = insert(Project).returning(Project.id, sort_by_parameter_order=True)
    return (await session.execute(returning, rows)).all()


@attack
async def update_many(session: AsyncSession) -> object:
    named = update(core).where(core.c.id == bindparam("which")).values(name="changed")
    await (await session.connection()).execute(named, [{"which": FOREIGN.project}] * 2)
    return None


@attack
async def pass_the_guards_own_parameter(session: AsyncSession) -> object:
    return (await session.execute(select(Project.name), {"guarded_tenant_1": "globex"})).all()


@attack
async def pass_the_guards_own_parameters(session: AsyncSession) -> object:
    other = {"guarded_tenant_1": "globex", "name": "changed"}
    await (await session.connection()).execute(update(core), [other, other])
    return None


@attack
async def stream(session: AsyncSession) -> object:
    return [name async for name in await session.stream_scalars(select(Project.name))]


@attack
async def stream_partitions(session: AsyncSession) -> object:
    rows = await session.stream(select(Project.name).execution_options(yield_per=1))
    return [described(each) async for each in rows.partitions()]


@attack
async def compile_without_a_cache(session: AsyncSession) -> object:
    await session.connection(execution_options={"compiled_cache": None})
    return (await session.execute(select(Project.name))).all()


@attack
async def commit_each_statement(session: AsyncSession) -> object:
    await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
    return (await session.execute(select(Project.name))).all()


@attack
async def replace_a_part_of_an_escape(session: AsyncSession) -> object:
    never = {"sqlite": "1 != ", "postgresql": "$$a$$ != "}[dialect_of(session)]
    text_of_it = f" UNION SELECT name FROM projects WHERE {never}"
    placed = bindparam("p", text_of_it, String, literal_execute=True)
    like = Project.name.like("x", escape="!__[POSTCOMPILE_p]")
    return (await session.execute(select(Project.name).where(like, placed != "y"))).all()


@attack
async def name_the_schema(session: AsyncSession) -> object:
    schema = {"sqlite": "main", "postgresql": "public"}[dialect_of(session)]
    await session.connection(execution_options={"schema_translate_map": {None: schema}})
    return (await session.execute(select(Project.name))).all()


@attack
async def name_a_tenant_in_options(session: AsyncSession) -> object:
    other = {"tenant": "globex", "tenant_id": "globex"}
    session.sync_session.info.update(other)
    await session.connection(execution_options=other)
    return (await session.execute(select(Project.name), execution_options=other)).all()


@attack
async def execute_in_an_empty_context(session: AsyncSession) -> object:
    execution = session.execute(select(Project.name))
    return (await asyncio.create_task(execution, context=Context())).all()


def upsert(session: AsyncSession, values: Mapping[str, object]) -> Any:
    """Return an INSERT that knows ON CONFLICT."""
    kinds = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
    return kinds[dialect_of(session)](Project).values(**values)


CONFLICT = ["tenant_id", "id"]


@attack
async def upsert_the_foreign_row(session: AsyncSession) -> object:
    statement = upsert(session, planted() | {"id": FOREIGN.project})
    await session.execute(
        statement.on_conflict_do_update(index_elements=CONFLICT, set_={"name": "x"})
    )
    return None


@attack
async def upsert_a_foreign_value(session: AsyncSession) -> object:
    statement = upsert(session, planted("acme") | {"id": OWN.project})
    await session.execute(
        statement.on_conflict_do_update(index_elements=CONFLICT, set_={"name": NAME})
    )
    return None


@attack
async def upsert_where_a_foreign_row_is(session: AsyncSession) -> object:
    statement = upsert(session, planted("acme") | {"id": OWN.project})
    statement = statement.on_conflict_do_update(
        index_elements=CONFLICT, set_={"version": 9}, where=EXISTS
    )
    return (await session.execute(statement.returning(FOUND))).all()


@attack
async def upsert_and_give_away(session: AsyncSession) -> object:
    await session.execute(delete(Task).where(Task.id == OWN.task))
    statement = upsert(session, planted("acme") | {"id": OWN.project})
    away = {"tenant_id": "globex"}
    await session.execute(statement.on_conflict_do_update(index_elements=CONFLICT, set_=away))
    return None


@attack
async def upsert_and_give_away_by_an_expression(session: AsyncSession) -> object:
    await session.execute(delete(Task).where(Task.id == OWN.task))
    statement = upsert(session, planted("acme") | {"id": OWN.project})
    away = {core.c.tenant_id: func.lower("GLOBEX")}
    await session.execute(statement.on_conflict_do_update(index_elements=CONFLICT, set_=away))
    return None


@attack
async def ignore_a_conflict_with_the_foreign_row(session: AsyncSession) -> object:
    statement = upsert(session, planted() | {"id": FOREIGN.project}).on_conflict_do_nothing()
    made = (await session.execute(statement.returning(Project.id))).all()
    return made or MARK


async def related(session: AsyncSession, lazy: str) -> object:
    """Load what a relationship of one's own finds, which forgets the tenant."""
    projects, tasks, own = core, Task.__table__, registry(metadata=Base.metadata)
    project, task = type("OwnProject", (), {}), type("OwnTask", (), {})
    forgetful: Any = relationship(
        task,
        primaryjoin=referring(tasks.c.version) == projects.c.version,
        viewonly=lazy != "write_only",
        lazy=cast(Any, lazy),
    )
    own.map_imperatively(task, tasks, primary_key=[tasks.c.id])
    own.map_imperatively(
        project, projects, primary_key=[projects.c.id], properties={"tasks": forgetful}
    )
    try:
        found: Any = (await session.scalars(select(project))).unique().first()
        match lazy:
            case "dynamic":
                titles = await session.run_sync(lambda _: found.tasks.all())
            case "write_only":
                titles = (await session.scalars(found.tasks.select())).all()
            case _:
                titles = await session.run_sync(lambda _: list(found.tasks))
        return [each.title for each in titles]
    finally:
        own.dispose()


@attack
async def read_a_property_of_ones_own(session: AsyncSession) -> object:
    own, project = registry(metadata=Base.metadata), type("OwnProject", (), {})
    own.map_imperatively(project, core, properties={"found": column_property(Raw(READ))})
    try:
        found: Any = (await session.scalars(select(project))).first()
        return found.found
    finally:
        own.dispose()


LAZY = ("select", "joined", "selectin", "subquery", "immediate", "dynamic", "write_only")

SQL = "SELECT name FROM projects"
SESSION_WIDE = "SELECT set_config('app.tenant_id', 'globex', false)"


async def driver_of(session: AsyncSession) -> Any:
    """Return the driver's own connection."""
    return (await (await session.connection()).get_raw_connection()).driver_connection


async def read(driver: Any) -> object:
    """Read by a driver; on PostgreSQL, in the name of the other tenant."""
    if hasattr(driver, "fetch"):
        await driver.fetch(SESSION_WIDE)
        return await driver.fetch(SQL)
    cursor = await driver.execute(SQL)
    return await cursor.fetchall()


def read_by(cursor: Any) -> object:
    """Read by a cursor of SQLAlchemy's, in the name of the other tenant on PostgreSQL."""
    for sql in [SESSION_WIDE, SQL] if "asyncpg" in type(cursor).__name__ else [SQL]:
        cursor.execute(sql)
    return cursor.fetchall()


@attack
async def execute_driver_sql(session: AsyncSession) -> object:
    connection = await session.connection()
    if dialect_of(session) == "postgresql":
        await connection.exec_driver_sql(SESSION_WIDE)
    return (await connection.exec_driver_sql(SQL)).all()


@attack
async def read_by_the_driver(session: AsyncSession) -> object:
    return await read(await driver_of(session))


@attack
async def read_by_a_coroutine_of_the_driver(session: AsyncSession) -> object:
    def run(sync: Session) -> object:
        adapted: Any = sync.connection().connection.dbapi_connection
        return adapted.run_async(read)

    return await session.run_sync(run)


@attack
async def read_by_a_raw_connection_of_the_engine(session: AsyncSession) -> object:
    def run(sync: Session) -> object:
        with closing(cast(Engine, sync.get_bind()).raw_connection()) as raw:
            return read_by(raw.cursor())

    return await session.run_sync(run)


@attack
async def read_by_another_pool(session: AsyncSession) -> object:
    def run(sync: Session) -> object:
        pool = cast(Engine, sync.get_bind()).pool.recreate()
        try:
            with closing(pool.connect()) as raw:
                return read_by(raw.cursor())
        finally:
            pool.dispose()

    return await session.run_sync(run)


@attack
async def read_by_a_detached_connection(session: AsyncSession) -> object:
    def run(sync: Session) -> object:
        (connection := sync.connection()).detach()
        return read_by(connection.connection.cursor())

    return await session.run_sync(run)


@attack
async def read_by_another_connection_of_the_engine(session: AsyncSession) -> object:
    async with AsyncEngine(cast(Engine, session.get_bind())).connect() as connection:
        return (await connection.execute(select(core))).all()


@attack
async def read_by_another_session_of_the_engine(session: AsyncSession) -> object:
    async with AsyncSession(AsyncEngine(cast(Engine, session.get_bind()))) as other:
        return (await other.execute(select(Project.name))).all()


@attack
async def read_by_another_session_of_the_connection(session: AsyncSession) -> object:
    async with AsyncSession(await session.connection()) as other:
        return (await other.execute(select(Project.name))).all()


@attack
async def bind_the_session_anew(session: AsyncSession) -> object:
    await session.commit()
    session.sync_session.bind = cast(Engine, session.get_bind()).execution_options()
    return (await session.execute(select(Project.name))).all()


@attack
async def empty_the_connections_info(session: AsyncSession) -> object:
    (connection := await session.connection()).info.clear()
    try:
        return (await session.execute(select(Project.name))).all()
    finally:
        await connection.invalidate()
        await session.rollback()


@attack
async def rewrite_the_connections_info(session: AsyncSession) -> object:
    connection = await session.connection()
    for found in list(connection.info.values()):
        for name in dir(found):
            if not name.startswith("_"):
                with suppress(AttributeError, TypeError):
                    setattr(found, name, SQL if name == "approved" else "globex")
    driver = await driver_of(session)
    with suppress(TenancyError, sqlite3.Error):
        return await read(driver)
    return (await session.execute(select(Project.name))).all()


@attack
async def call_what_the_connections_info_offers(session: AsyncSession) -> object:
    for found in list((await session.connection()).info.values()):
        for name in ("leave", "close", "clear", "reset"):
            getattr(found, name, object)()
        for name in ("enter", "open", "approve"):
            with suppress(TenancyError):
                getattr(found, name, str)("globex")
    return (await session.execute(select(Project.name))).all()


@attack
async def rewrite_the_drivers_attributes(session: AsyncSession) -> object:
    driver = await driver_of(session)
    for name, value in {
        "gate": None,
        "is_sealed": False,
        "approved": SQL,
        "tenant": "globex",
    }.items():
        with suppress(AttributeError):
            setattr(driver, name, value)
    return await read(driver)


@contextmanager
def listening(target: Any, name: str, listener: Any, **how: bool) -> Iterator[None]:
    event.listen(target, name, listener, **how)
    try:
        yield
    finally:
        event.remove(target, name, listener)


async def rewritten(session: AsyncSession, target: Any) -> object:
    """Execute a statement that a listener replaces."""
    seen: object = None
    for sql in [SESSION_WIDE, SQL] if dialect_of(session) == "postgresql" else [SQL]:

        def replace(*told: Any, sql: str = sql) -> tuple[str, tuple[()]]:
            told[4].statement = sql  # in the context, which others may look at
            return sql, ()

        with listening(target, "before_cursor_execute", replace, retval=True):
            seen = (await session.execute(select(literal("")))).all()
    return seen


@attack
async def rewrite_by_a_listener_of_the_connection(session: AsyncSession) -> object:
    return await rewritten(session, (await session.connection()).sync_connection)


@attack
async def rewrite_by_a_listener_of_the_engine(session: AsyncSession) -> object:
    return await rewritten(session, session.get_bind())


@attack
async def rewrite_by_a_listener_of_all_engines(session: AsyncSession) -> object:
    return await rewritten(session, Engine)


@attack
async def execute_more_in_a_listener(session: AsyncSession) -> object:
    seen: list[object] = []

    def execute(connection: Connection, *_: object) -> None:
        seen.append(read_by(connection.connection.cursor()))

    with listening((await session.connection()).sync_connection, "before_cursor_execute", execute):
        await session.execute(select(Project.name))
    return seen


@attack
async def execute_another_in_a_listener(session: AsyncSession) -> object:
    seen: list[object] = []

    def execute(cursor: object, *_: object) -> bool:
        seen.append(read_by(cursor))
        return False

    await session.execute(select(literal(1)))  # the connection is there, and set up
    with listening(session.get_bind(), "do_execute", execute):
        await session.execute(select(Project.name))
    return seen


@attack
async def read_by_the_driver_at_the_same_time(session: AsyncSession) -> object:
    driver = await driver_of(session)
    await session.execute(select(Project.name))

    async def race() -> list[object]:
        seen: list[object] = []
        for _ in range(20):
            with suppress(TenancyError, sqlite3.Error, asyncpg.InterfaceError):
                seen.append(await read(driver))
            await asyncio.sleep(0)
        return seen

    async def work() -> None:
        for _ in range(5):
            await session.execute(select(Project.name))

    return await asyncio.gather(race(), work(), race(), return_exceptions=True)


async def dump(driver: Any) -> object:
    return [line async for line in driver.iterdump()]


async def back_up(driver: Any) -> object:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as copy:
        await driver.backup(copy)
        return copy.execute(SQL).fetchall()


async def unauthorized(driver: Any) -> object:
    await driver.set_authorizer(None)
    return await read(driver)


async def trusted(driver: Any) -> object:
    await driver.create_function("may_write", 1, lambda _: True)
    await driver.execute("UPDATE projects SET version = 9")
    return None


async def script(driver: Any) -> object:
    await driver.executescript("UPDATE projects SET version = 9")
    return None


async def copied_out(driver: Any, method: str, source: str) -> object:
    await driver.execute(SESSION_WIDE)
    await getattr(driver, method)(source, output=(into := BytesIO()))
    return into.getvalue()


async def prepared(driver: Any) -> object:
    await (await driver.prepare(SESSION_WIDE)).fetch()
    return await (await driver.prepare(SQL)).fetch()


async def by_a_cursor(driver: Any) -> object:
    async with driver.transaction():
        await driver.execute(SESSION_WIDE)
        return [row async for row in driver.cursor(SQL)]


async def set_before(driver: Any) -> object:
    await driver.execute("SET app.tenant_id = 'globex'")
    return await driver.fetch(SQL)


async def set_with_begin(driver: Any) -> object:
    await driver.execute("BEGIN; SET LOCAL app.tenant_id = 'globex'")
    found = await driver.fetch(SQL)
    await driver.execute("ROLLBACK")
    return found


async def write_many(driver: Any) -> object:
    await driver.execute(SESSION_WIDE)
    await driver.executemany("UPDATE projects SET version = $1", [(9,)])
    return None


CALLS: dict[str, dict[str, Callable[[Any], Awaitable[object]]]] = {
    "sqlite": {
        "execute_fetchall": lambda driver: driver.execute_fetchall(SQL),
        "iterdump": dump,
        "backup": back_up,
        "set_authorizer": unauthorized,
        "create_function": trusted,
        "executescript": script,
    },
    "postgresql": {
        "copy_from_query": partial(copied_out, method="copy_from_query", source=SQL),
        "copy_from_table": partial(copied_out, method="copy_from_table", source="projects"),
        "prepare": prepared,
        "cursor": by_a_cursor,
        "SET": set_before,
        "BEGIN": set_with_begin,
        "executemany": write_many,
    },
}


KEY = {"tenant_id": "globex", "id": FOREIGN.project}
FOREIGN_TASK = {"tenant_id": "globex", "id": FOREIGN.task, "title": "changed", "version": 1}

# What is written in one line with a session that is not asynchronous.
IN_SYNC: dict[str, Callable[[Session], object]] = {
    "get by key": lambda sync: described(sync.get(Project, ("globex", FOREIGN.project))),
    "get one anew": lambda sync: described(sync.get_one(Project, KEY, populate_existing=True)),
    "get and lock": lambda sync: described(sync.get(Project, KEY, with_for_update=True)),
    "query as of old": lambda sync: sync.query(Project.name).all(),
    "query by id as of old": lambda sync: sync.query(Task.title).filter_by(id=FOREIGN.task).first(),
    "update as of old": lambda sync: sync.query(Project).update({"version": 9}),
    "delete as of old": lambda sync: sync.query(Task).filter_by(id=FOREIGN.task).delete(),
    "insert mappings": lambda sync: sync.bulk_insert_mappings(Project, [planted()]),
    "update mappings": lambda sync: sync.bulk_update_mappings(Task, [FOREIGN_TASK]),
    "save objects": lambda sync: sync.bulk_save_objects([Project(tenant_id="globex", name="x")]),
    "update by primary key": lambda sync: sync.execute(update(Task), [FOREIGN_TASK]),
    "execute text on the connection": lambda sync: sync.connection().execute(text(SQL)).all(),
    "read by a cursor": lambda sync: read_by(sync.connection().connection.cursor()),
}


def in_sync(work: Callable[[Session], object]) -> Attack:
    return lambda session: session.run_sync(work)


async def called(session: AsyncSession, call: Callable[[Any], Awaitable[object]]) -> object:
    return await call(await driver_of(session))


for _dialect, _calls in CALLS.items():
    ATTACKS[_dialect] |= {name: in_sync(work) for name, work in IN_SYNC.items()}
    ATTACKS[_dialect] |= {
        f"a relationship of one's own: {lazy}": partial(related, lazy=lazy) for lazy in LAZY
    }
    ATTACKS[_dialect] |= {
        f"the driver's {name}": partial(called, call=call) for name, call in _calls.items()
    }
