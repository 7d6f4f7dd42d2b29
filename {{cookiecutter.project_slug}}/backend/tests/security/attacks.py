"""The ways to another tenant's rows that a tired colleague might write, from acme's session.

Each finds or changes a row of globex where nothing stands in its way. Left out is what no layer
within a process can stop: to sign in anew, to call a driver's class around the connection's own
methods, and names that begin with an underscore.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    Executable,
    Function,
    MetaData,
    Result,
    Row,
    String,
    Table,
    UnaryExpression,
    any_,
    bindparam,
    case,
    collate,
    column,
    delete,
    except_,
    exists,
    extract,
    func,
    insert,
    intersect,
    lambda_stmt,
    literal,
    literal_column,
    null,
    select,
    table,
    tablesample,
    text,
    true,
    tuple_,
    type_coerce,
    union,
    union_all,
    update,
    values,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import (
    aliased,
    defer,
    immediateload,
    joinedload,
    selectinload,
    subqueryload,
    with_loader_criteria,
    with_polymorphic,
)
from sqlalchemy.sql import quoted_name
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.sql.selectable import FromClause, LateralFromClause
from sqlalchemy.types import UserDefinedType

from app.db.base import Base
from app.projects.models import Project, Task
from app.tenancy import Tenant
from app.tenancy.guard import TenantKey
from app.tenancy.models import AuditEntry

MARK = "globex-only"  # in every row of globex, and in none of acme's


class Rows(NamedTuple):
    """The rows of a tenant."""

    project: uuid.UUID
    task: uuid.UUID


OWN = Rows(uuid.UUID(int=1), uuid.UUID(int=2))
FOREIGN = Rows(uuid.UUID(int=3), uuid.UUID(int=4))

SPARE, SPARES = literal(uuid.UUID(int=5)), literal(uuid.UUID(int=6))

# For what shows nothing but whether something is there.
FOUND = literal(MARK)
LIKE = Project.name.like(f"{MARK}%")
EXISTS = exists().where(LIKE)
COUNT = select(func.count()).select_from(Project).where(LIKE).scalar_subquery()
NAME = select(Project.name).where(LIKE).scalar_subquery()
OTHER = aliased(Project)
PAIR = union_all(
    select(literal("no").label("x"), literal(1).label("y")), select(FOUND, literal(2))
).subquery("pair")

core = cast(Table, Project.__table__)
others = core.alias("others")
elsewhere = Table("projects", MetaData(), Column("tenant_id", TenantKey), Column("name", String))


NOW = datetime.now(UTC).isoformat(" ")


def modelled(name: str, *columns: Column[Any], schema: str | None = None) -> Table:
    """Return a table that passes for a model's."""
    made = Table(name, Base.metadata, *columns, schema=schema)
    Base.metadata.remove(made)
    return made


def planted(tenant: object = "globex") -> dict[str, object]:
    """Return the values of a new project."""
    now = datetime.now(UTC)
    return {
        "tenant_id": tenant,
        "id": uuid.uuid4(),
        "name": "planted",
        "version": 1,
        "created_at": now,
        "updated_at": now,
    }


def copied(tenant: ColumnElement[str]) -> Executable:
    """Return an INSERT of what is selected of every project."""
    made = {"tenant_id": tenant, "id": others.c.id, "name": others.c.name + "!"}
    rest = {each: others.c[each] for each in ("version", "created_at", "updated_at")}
    moved = {**made, **rest, "id": case((others.c.id == FOREIGN.project, SPARE), else_=SPARES)}
    return insert(Project).from_select(list(moved), select(*moved.values()))


READS: dict[str, Callable[[], Executable]] = {
    "an entity": lambda: select(Project),
    "a column": lambda: select(Project.name),
    "by id": lambda: select(Project.name).where(Project.id == FOREIGN.project),
    "by tenant": lambda: select(Project.name).where(Project.tenant_id == "globex"),
    "by a part of the tenant": lambda: select(Project.name).where(Project.tenant_id.like("glob%")),
    "by another tenant than one's own": lambda: select(Project.name).where(
        Project.tenant_id != "acme"
    ),
    "by a list of tenants": lambda: select(Project.name).where(
        Project.tenant_id.in_(["acme", "globex"])
    ),
    "by key": lambda: select(Project.name).where(
        tuple_(Project.tenant_id, Project.id).in_([("globex", FOREIGN.project)])
    ),
    "by a literal of another type": lambda: select(Project.name).where(
        Project.tenant_id == literal("globex", String)
    ),
    "whatever the tenant": lambda: select(Project.name).where(
        (Project.tenant_id == "acme") | true()
    ),
    "with the guard's own parameter": lambda: select(Project.name).params(
        guarded_tenant_1="globex"
    ),
    "with a parameter of the guard's name": lambda: select(Project.name).where(
        bindparam("guarded_tenant_1", "globex") == "globex"
    ),
    "with a parameter of the guard's own name": lambda: select(Project.name).where(
        bindparam("guarded_tenant", "globex", String) == "globex"
    ),
    "an aggregate": lambda: select(func.max(Project.name)),
    "all names in one": lambda: select(func.aggregate_strings(Project.name, ",")),
    "a count": lambda: select(FOUND).where(COUNT > 0),
    "count(*)": lambda: select(FOUND).where(
        select(func.count()).select_from(Project).scalar_subquery() > 1
    ),
    "the core table": lambda: select(core),
    "a core column": lambda: select(core.c.name),
    "an alias": lambda: select(OTHER.name),
    "an alias of an alias": lambda: select(core.alias("p").alias("q").c.name),
    "an inner join": lambda: select(Task.title).join(Project, Task.project_id == Project.id),
    "an outer join": lambda: select(Project.name, OTHER.name).outerjoin(OTHER, literal(1) == 1),
    "a full join": lambda: select(OTHER.name).join(Project, Project.id == OTHER.id, full=True),
    "a cross join": lambda: select(OTHER.name).select_from(Project).join(OTHER, true()),
    "a self join": lambda: select(OTHER.name).join(Project, Project.name != OTHER.name),
    "two tables": lambda: select(Project.name, Task.title).where(Project.id == Task.project_id),
    "a join of core tables": lambda: select(core.join(Task.__table__, true()).c.tasks_title),
    "a join through the relationship": lambda: select(Project.name).join_from(Task, Task.project),
    "a join through of_type()": lambda: select(OTHER.name).join_from(
        Task, Task.project.of_type(OTHER)
    ),
    "has()": lambda: select(Task.title).where(Task.project.has(LIKE)),
    "a CTE": lambda: select(select(Project.name).cte("c").c.name),
    "a nested CTE": lambda: select(
        select(select(Project.name).cte("c", nesting=True)).cte().c.name
    ),
    "a CTE that is added": lambda: select(FOUND).add_cte(select(Project).cte()).where(EXISTS),
    "a CTE named after a table": lambda: select(select(Project.name).cte("tasks").c.name),
    "a recursive CTE": lambda: select(walk()),
    "a union": lambda: union(select(Project.name), select(Task.title)),
    "a union of everything": lambda: union_all(select(Project.name), select(Task.title)),
    "an intersection": lambda: intersect(select(Project.name), select(OTHER.name)),
    "a difference": lambda: except_(select(Project.name), select(Task.title)),
    "entities from a union": lambda: select(
        aliased(Project, union_all(select(core), select(core)).subquery())
    ),
    "entities from a sub-select": lambda: select(aliased(Project, select(core).subquery())),
    "entities from a statement": lambda: select(Project).from_statement(select(core)),
    "a sub-select": lambda: select(select(core).subquery()),
    "a sub-select in the list": lambda: select(NAME),
    "a sub-select in the list, by key": lambda: select(
        select(Task.title).where(Task.id == FOREIGN.task).scalar_subquery()
    ),
    "a sub-select in a condition": lambda: select(FOUND).where(
        literal(f"{MARK} project").in_(select(Project.name))
    ),
    "a sub-select in an order": lambda: (
        select(PAIR.c.x).order_by(case((EXISTS, -PAIR.c.y), else_=PAIR.c.y)).limit(1)
    ),
    "a sub-select in HAVING": lambda: select(func.min(PAIR.c.x)).having(EXISTS),
    "a sub-select in GROUP BY": lambda: (
        select(func.min(PAIR.c.x))
        .group_by(case((EXISTS, PAIR.c.y), else_=0))
        .having(func.count() < 2)
    ),
    "a sub-select in LIMIT": lambda: select(FOUND).limit(COUNT),
    "a sub-select in OFFSET": lambda: select(FOUND).offset(1 - COUNT),
    "a sub-select in a join": lambda: select(FOUND).select_from(Project).join(OTHER, EXISTS),
    "a sub-select in CASE": lambda: select(case((EXISTS, FOUND), else_="")),
    "a sub-select in a function": lambda: select(func.coalesce(NAME, "")),
    "a sub-select in a filter": lambda: select(func.max(FOUND).filter(EXISTS)),
    "a sub-select in a window": lambda: select(
        func.first_value(PAIR.c.x).over(order_by=case((EXISTS, -PAIR.c.y), else_=PAIR.c.y))
    ).limit(1),
    "a sub-select in VALUES": lambda: select(
        values(column("x", String), name="v").data([(NAME,)]).cte().c.x
    ),
    "EXISTS around a select": lambda: select(FOUND).where(select(Project).where(LIKE).exists()),
    "EXISTS of a column": lambda: select(FOUND).where(exists(select(Project.id).where(LIKE))),
    "EXISTS of a table": lambda: select(FOUND).where(
        exists(core.c.id).where(core.c.name.like(MARK + "%"))
    ),
    "EXISTS in the list": lambda: select(case((select(EXISTS).scalar_subquery(), FOUND))),
    "NOT EXISTS": lambda: select(case((~EXISTS, literal("")), else_=FOUND)),
    "NOT IN": lambda: select(FOUND).where(literal(FOREIGN.project).in_(select(Project.id))),
    "a window": lambda: select(func.max(Project.name).over()),
    "a filtered aggregate": lambda: select(case((func.count(Project.id).filter(LIKE) > 0, FOUND))),
    "a lambda": lambda: lambda_stmt(lambda: select(Project.name)),
    "a polymorphic entity": lambda: select(with_polymorphic(Project, "*")),
    "a deferred column": lambda: select(Task).options(defer(Task.done)),
    "a locked row": lambda: select(Project.name).with_for_update(of=Project),
    "the tenants": lambda: select(Tenant.tenant_id + literal(MARK)).where(
        Tenant.tenant_id.like("glob%")
    ),
    "the audit log": lambda: select(AuditEntry.action + literal(MARK)).where(
        AuditEntry.tenant_id.like("glob%")
    ),
    "a table of no model": lambda: select(table("projects", column("name"))),
    "a table of other metadata": lambda: select(elsewhere.c.name),
    "a quoted table": lambda: select(table(quoted_name("projects", quote=True), column("name"))),
    "joined loading": lambda: select(Task).options(joinedload(Task.project)),
    "loading by IN": lambda: select(Task).options(selectinload(Task.project)),
    "loading by a sub-query": lambda: select(Task).options(subqueryload(Task.project)),
    "immediate loading": lambda: select(Task).options(immediateload(Task.project)),
    "without parameters": lambda: select(Project.name).execution_options(no_parameters=True),
    "populating anew": lambda: select(Project).execution_options(populate_existing=True),
}


def walk() -> CTE:
    """Return a CTE that walks from acme's project to the others."""
    found = select(Project.name).where(Project.id == OWN.project).cte("found", recursive=True)
    return found.union(select(OTHER.name).join(found, OTHER.name > found.c.name))


WRITES: dict[str, Callable[[], Executable]] = {
    "update everything": lambda: update(Project).values(name=Project.name + "!"),
    "update the core table": lambda: update(core).values(name=core.c.name + "!"),
    "update by id": lambda: update(Project).where(Project.id == FOREIGN.project).values(name="x"),
    "update from another table": lambda: (
        update(Task)
        .where(Task.project_id == Project.id)
        .values(title="x")
        .execution_options(synchronize_session=False)
    ),
    "update from an alias": lambda: (
        update(Project)
        .where(Project.id == OTHER.id)
        .values(name=OTHER.name + "!")
        .execution_options(synchronize_session=False)
    ),
    "update and return": lambda: update(Project).values(version=9).returning(Project.name),
    "update to a foreign value": lambda: update(Task).where(Task.id == OWN.task).values(title=NAME),
    "update by a sub-select": lambda: update(Task).where(EXISTS).values(title="x"),
    "update in a given order": lambda: update(Project).ordered_values(
        (Project.version, 9), (Project.name, Project.name + "!")
    ),
    "give rows away": lambda: update(Task).values(tenant_id="globex", project_id=FOREIGN.project),
    "give rows away by an expression": lambda: (
        update(Task)
        .where(Task.id == OWN.task)
        .values(tenant_id=func.lower("GLOBEX"), project_id=FOREIGN.project)
    ),
    "give rows away by a literal": lambda: (
        update(Task)
        .where(Task.id == OWN.task)
        .values({Task.tenant_id: literal("globex", String), Task.project_id: FOREIGN.project})
    ),
    "delete everything": lambda: delete(Task),
    "delete from the core table": lambda: delete(cast(Table, Task.__table__)),
    "delete by id": lambda: delete(Task).where(Task.id == FOREIGN.task),
    "delete using another table": lambda: (
        delete(Task)
        .where(Task.project_id.in_(select(Project.id)))
        .execution_options(synchronize_session=False)
    ),
    "delete and return": lambda: delete(Task).returning(Task.title),
    "suspend the other tenant": lambda: update(Tenant).values(status="suspended"),
    "insert for the other tenant": lambda: insert(Project).values(planted()),
    "insert by position": lambda: insert(core).values(tuple(planted().values())),
    "insert several rows": lambda: insert(Project).values([planted(), planted() | {"name": "2"}]),
    "insert a computed tenant": lambda: insert(Project).values(planted(func.lower("GLOBEX"))),
    "insert a selected tenant": lambda: insert(Project).values(
        planted(select(Tenant.tenant_id).where(Tenant.tenant_id.like("glob%")).scalar_subquery())
    ),
    "insert a literal tenant": lambda: insert(Project).values(planted(literal("globex", String))),
    "insert a literal tenant among several": lambda: insert(Project).values(
        [planted(literal("globex", String)), planted("acme") | {"name": "2"}]
    ),
    "insert a literal tenant into SQL": lambda: insert(Project).values(
        planted(bindparam("named", "globex", String, literal_execute=True))
    ),
    "insert a foreign value": lambda: insert(Project).values(planted("acme") | {"name": NAME}),
    "insert the other tenant's rows as one's own": lambda: copied(literal("acme")),
    "insert one's own rows as the other tenant's": lambda: copied(literal("globex")),
    "insert rows under the tenant that they have": lambda: copied(others.c.tenant_id),
    "insert rows under a computed tenant": lambda: copied(func.lower("GLOBEX")),
    "insert rows under a computed key": lambda: copied(func.lower("GLOBEX", type_=TenantKey())),
    "insert rows without the tenant's name": lambda: insert(core).from_select(
        ["tenant_id", *[each.name for each in core.c if each.name != "tenant_id"]],
        select(*[literal(value) for value in planted().values()]),
    ),
    "insert and return a foreign value": lambda: (
        insert(Project).values(planted("acme")).returning(NAME)
    ),
    "update and return a foreign value": lambda: (
        update(Task).where(Task.id == OWN.task).values(version=9).returning(NAME)
    ),
    "write an audit entry": lambda: (
        insert(AuditEntry)
        .values(tenant_id="globex", actor="acme/alice", action="nothing", request_id="")
        .returning(FOUND)
    ),
}


class Raw(ColumnElement[str]):
    """An element of one's own, that is compiled to what it is given."""

    inherit_cache = False
    type = String()

    def __init__(self, sql: str) -> None:
        self.sql = sql


@compiles(Raw)
def compile_raw(element: Raw, compiler: object, **kw: object) -> str:
    return element.sql


class RawTable(FromClause):
    """A table of one's own, whose name is written as it is."""

    inherit_cache = False

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def _from_objects(self) -> list[FromClause]:
        return [self]


def disguised(visit_name: str, sql: str) -> ColumnElement[str]:
    """Return an element of one's own, that passes for another kind."""
    names = {"__visit_name__": visit_name, "inherit_cache": False, "type": String()}
    made: Any = type("Disguised", (ColumnElement,), names)()
    made.text = made.name = sql
    return cast(ColumnElement[str], made)


class RawType(UserDefinedType[str]):
    """A type whose texts are one's own."""

    cache_ok = True

    def __init__(self, name: str = "TEXT", expression: str = "") -> None:
        self.name = name
        self.expression = expression

    def get_col_spec(self, **kw: object) -> str:
        return self.name

    def literal_processor(self, dialect: object) -> Callable[[str], str]:
        return str


class RawBind(RawType):
    """A type that binds its values as an expression."""

    cache_ok = True

    def bind_expression(self, bindvalue: object) -> ColumnElement[str]:
        return Raw(self.expression)


class RawColumn(RawType):
    """A type that reads its columns as an expression."""

    cache_ok = True

    def column_expression(self, column: object) -> ColumnElement[str]:
        return Raw(self.expression)


def as_it_is(name: str) -> quoted_name:
    """Return a name that asks not to be quoted."""
    return quoted_name(name, quote=False)


# What is done with a text: each gets a sub-select in brackets.
TEXTS: dict[str, Callable[[str], Executable]] = {
    "text()": lambda sql: text(f"SELECT {sql}"),
    "text() in the list": lambda sql: select(text(sql)),
    "text() in a condition": lambda sql: select(FOUND).where(text(f"{sql} LIKE 'globex%'")),
    "text() in an order": lambda sql: select(FOUND).order_by(
        text(f"1 LIMIT CASE WHEN {sql} LIKE 'globex%' THEN 1 ELSE 0 END")
    ),
    "text() in a group": lambda sql: select(FOUND).group_by(text(f"1 HAVING {sql} LIKE 'globex%'")),
    "text() as a table": lambda sql: select(literal_column("*")).select_from(text(f"{sql} AS t")),
    "text() in a join": lambda sql: (
        select(FOUND).select_from(Project).join(OTHER, text(f"{sql} LIKE 'globex%'"))
    ),
    "text() for entities": lambda sql: select(Project).from_statement(
        text(f"SELECT tenant_id, id, {sql} AS name FROM projects")
    ),
    "text() in VALUES": lambda sql: insert(Project).values(planted("acme") | {"name": text(sql)}),
    "text() in SET": lambda sql: update(Task).where(Task.id == OWN.task).values(title=text(sql)),
    "text() in RETURNING": lambda sql: (
        update(Task).where(Task.id == OWN.task).values(version=9).returning(text(sql))
    ),
    "literal_column()": lambda sql: select(literal_column(sql)),
    "a literal column": lambda sql: select(column(sql, is_literal=True)),
    "op()": lambda sql: select(literal("").op(f"|| {sql} ||")("")),
    "op() of a column": lambda sql: select(OTHER.name.op(f"|| {sql} ||")("")),
    "bool_op()": lambda sql: select(FOUND).where(literal(1).bool_op(f"= 1 AND {sql} LIKE")("g%")),
    "an operator before its operand": lambda sql: select(
        UnaryExpression(literal(""), operator=custom_op(f"{sql} ||"), type_=String())
    ),
    "an operator after its operand": lambda sql: select(
        UnaryExpression(literal(""), modifier=custom_op(f"|| {sql}"), type_=String())
    ),
    "a join in op()": lambda sql: (
        select(FOUND)
        .select_from(Project)
        .join(OTHER, OTHER.name.op(f"IS NOT NULL JOIN {sql} AS t ON 'x' <>")(""))
    ),
    "a prefix of SELECT": lambda sql: select(literal("")).prefix_with(f"{sql},"),
    "a suffix of SELECT": lambda sql: select(literal("")).suffix_with(f"UNION SELECT {sql}"),
    "a prefix of INSERT": lambda sql: (
        insert(core)
        .inline()
        .prefix_with(
            f"INTO projects SELECT 'acme', '{uuid.uuid4().hex}', {sql}, 1, '{NOW}', '{NOW}' --"
        )
        .values({each: null() for each in core.c})
    ),
    "a prefix of UPDATE": lambda sql: (
        update(core)
        .prefix_with(f"projects SET name = {sql} WHERE tenant_id = 'acme' --")
        .values(name=func.now(), updated_at=func.now())
    ),
    "a prefix of a CTE": lambda sql: select(
        select(literal("").label("n")).cte("c").prefix_with(f"(SELECT {sql} AS n), d AS").c.n
    ),
    "a suffix of a CTE": lambda sql: select(
        select(literal("").label("n")).cte("c").suffix_with(f", d (n) AS (SELECT {sql})"),
        literal_column("(SELECT n FROM d)"),
    ),
    "a hint": lambda sql: select(literal("")).with_statement_hint(f"UNION SELECT {sql}"),
    "a label": lambda sql: select(literal(1).label(as_it_is(f"a, {sql} AS b"))),
    "the name of a column": lambda sql: select(column(as_it_is(sql))),
    "the name of an alias": lambda sql: select(literal_column("*")).select_from(
        aliased(Project, name=as_it_is(f"a, {sql} AS b"))
    ),
    "the name of a function": lambda sql: select(Function(as_it_is(f"trim({sql}), lower"), "")),
    "a type": lambda sql: select(cast_to("", RawType(f"TEXT), {sql}, (SELECT 1"))),
    "a type's length": lambda sql: select(
        cast_to("", String(cast(int, f"1)), {sql}, (SELECT (1")))
    ),
    "a type's literal": lambda sql: select(
        bindparam("x", sql, type_=RawType(), literal_execute=True)
    ),
    "a type's literal in VALUES": lambda sql: select(
        values(column("x", RawType()), name="v", literal_binds=True).data([(sql,)]).cte()
    ),
    "a type's expression": lambda sql: select(literal("", RawBind(expression=sql))),
    "a type's column": lambda sql: select(type_coerce(OTHER.name, RawColumn(expression=sql))),
    "a literal in a label": lambda sql: select(
        bindparam("x", f'", {sql} AS "y', type_=String, literal_execute=True),
        literal(1).label("__[POSTCOMPILE_x]"),
    ),
    "a schema in a label": lambda sql: select(literal(1).label("a__[SCHEMA_x]b")).execution_options(
        schema_translate_map={"x": f", {sql} AS b, 1 AS "}
    ),
    "an element of one's own": lambda sql: select(Raw(sql)),
    "an element in criteria": lambda sql: (
        select(FOUND)
        .select_from(Project)
        .options(with_loader_criteria(Project, Raw(f"({sql} LIKE 'globex%')")))
    ),
    "an element in VALUES": lambda sql: select(
        values(column("x", String), name="v").data([(Raw(sql),)]).cte()
    ),
    "an element among several rows": lambda sql: insert(core).values(
        [planted("acme") | {"name": Raw(sql)}]
    ),
    "a table of one's own": lambda sql: select(literal_column("*")).select_from(
        RawTable(f"{sql} AS t")
    ),
    "an element that passes for a text": lambda sql: select(disguised("tstring_text", sql)),
    "an element that passes for an index": lambda sql: select(disguised("index", sql)),
    "an element that passes for a table": lambda sql: select(disguised("fromclause", sql)),
}

TEXTS_OF: Mapping[str, dict[str, Callable[[str], Executable]]] = {
    "sqlite": {
        "a collation": lambda sql: select(collate(literal(""), as_it_is(f"BINARY || {sql}"))),
    },
    "postgresql": {
        "a collation": lambda sql: select(collate(literal(""), as_it_is(f'"C" || {sql}'))),
        "the package of a function": lambda sql: select(
            Function("length", "", packagenames=(as_it_is(f"trim({sql}), pg_catalog"),))
        ),
        "the fields of an interval": lambda sql: select(
            cast_to(literal("1 day", String), postgresql.INTERVAL(fields=f"), {sql}, (SELECT 1"))
        ),
        "the field of extract()": lambda sql: select(
            extract(f"epoch FROM now()), {sql}, extract(epoch", func.now())
        ),
        "a query for XML": lambda sql: select(
            cast_to(func.query_to_xml(f"SELECT {sql} AS n", True, True, ""), String)
        ),
        "a query for statistics": lambda sql: select(
            func.ts_stat(f"SELECT to_tsvector('simple', {sql})").table_valued("word").c.word
        ),
    },
}

READS_OF: Mapping[str, dict[str, Callable[[], Executable]]] = {
    "sqlite": {
        "a table in capitals": lambda: select(modelled("PROJECTS", Column("name", String)).c.name),
        "a table of the main schema": lambda: select(
            modelled("projects", Column("name", String), schema="main").c.name
        ),
        "names as JSON": lambda: select(func.json_group_array(Project.name)),
        "names from JSON": lambda: select(
            func.json_each(select(func.json_group_array(Project.name)).scalar_subquery())
            .table_valued("value")
            .c.value
        ),
        "a comment in op()": lambda: delete(core).where(
            core.c.version.op(">=?--", precedence=100)(literal_column("0"))
        ),
        "a parameter in op()": lambda: select(
            OTHER.name, literal_column("1").op("<>?+")(literal_column("1"))
        ).where(literal_column("1").op("--")(literal("globex"))),
        "the name of a parameter": lambda: select(FOUND).where(
            literal("").in_(bindparam("p", [""], expanding=True))
            & literal(f"{MARK} project").in_(
                bindparam(
                    "p~~SELECT/**/name/**/FROM/**/projects/**/WHERE/**/name<>~~REPL~~~~",
                    [""],
                    expanding=True,
                )
            )
        ),
        "the catalogue": lambda: listed("sqlite_master"),
        "the catalogue by its new name": lambda: listed("sqlite_schema"),
        "the function dbstat": lambda: told(func.dbstat("main")),
        "the function pragma_table_info": lambda: told(func.pragma_table_info("projects")),
        "the function pragma_table_list": lambda: told(func.pragma_table_list()),
    },
    "postgresql": {
        "a table of the public schema": lambda: select(
            modelled("projects", Column("name", String), schema="public").c.name
        ),
        "a lateral join": lambda: select(each_task().c.title, Project.id),
        "a sample": lambda: select(tablesample(core, 100).c.name),
        "any()": lambda: select(FOUND).where(
            literal(f"{MARK} project") == any_(select(OTHER.name).scalar_subquery())
        ),
        "DISTINCT ON": lambda: select(Project.name).ext(postgresql.distinct_on(Project.name)),
        "whole rows": lambda: select(func.row_to_json(core.table_valued())),
        "a function of a table": lambda: select(
            cast_to(func.table_to_xml("projects", True, True, ""), String)
        ),
        "a function of a schema": lambda: select(
            cast_to(func.schema_to_xml("public", True, True, ""), String)
        ),
        "a type that is a table": lambda: select(
            column("name"), type_coerce("", RawCast("TEXT FROM projects"))
        ),
        "UPDATE in a CTE": lambda: select(
            update(Project).values(version=9).returning(Project.name).cte().c.name
        ),
        "DELETE in a CTE": lambda: select(delete(Task).returning(Task.title).cte().c.title),
        "INSERT in a CTE": lambda: select(
            insert(Project).values(planted()).returning(Project.name + literal(MARK)).cte()
        ),
        "the catalogue": lambda: listed("pg_class", "relname"),
        "the information schema": lambda: listed("tables", "table_name", "information_schema"),
        "the statistics": lambda: listed("pg_stat_user_tables", "relname"),
        "the place of a row": lambda: (
            insert(Project).values(planted("acme")).returning(column("ctid", String), FOUND)
        ),
        "the size of a table": lambda: select(FOUND).where(
            func.pg_relation_size(cast_to("projects", postgresql.REGCLASS)) > 0
        ),
    },
}


def listed(catalogue: str, name: str = "name", schema: str | None = None) -> Executable:
    """Return a SELECT that finds whether a catalogue lists the projects."""
    tables = table(catalogue, column(name), schema=schema).alias("listed")
    return select(FOUND).where(tables.c[name] == "projects")


def told(function: Function[Any]) -> Executable:
    """Return a SELECT that finds whether a function has rows."""
    return select(FOUND).where(exists(function.table_valued("name").c.name))


class RawCast(RawType):
    """A type that PostgreSQL is told of with each value."""

    cache_ok = True
    render_bind_cast = True


def each_task() -> LateralFromClause:
    """Return what is found of each project's tasks."""
    return select(Task.title).where(Task.project_id == Project.id).lateral()


# What a text asks for: on PostgreSQL first for the other tenant, in whose name it is then read.
SWITCH = "(SELECT set_config('app.tenant_id', 'globex', true))"
READ = "(SELECT max(name) FROM projects)"

Attack = Callable[[AsyncSession], Awaitable[object]]


def dialect_of(session: AsyncSession) -> str:
    return session.get_bind().dialect.name


def described(value: object) -> object:
    """Return what can be seen of a row or a value, without a query."""
    if isinstance(value, tuple | list | Row):
        return [described(each) for each in value]
    if isinstance(value, Base):
        return {name: described(each) for name, each in vars(value).items() if name[0] != "_"}
    return value


async def run(session: AsyncSession, statement: Executable) -> object:
    """Execute a statement; return what it shows."""
    result: Result[Any] = await session.execute(statement)
    with suppress(ResourceClosedError):  # which has no rows
        return described(result.all())
    return None


def of_statement(build: Callable[[], Executable]) -> Attack:
    return lambda session: run(session, build())


def of_text(build: Callable[[str], Executable]) -> Attack:
    async def attack(session: AsyncSession) -> object:
        if dialect_of(session) == "postgresql":
            with suppress(Exception):
                async with session.begin_nested():
                    await run(session, build(SWITCH))
        return await run(session, build(READ))

    return attack


def statements(dialect: str) -> dict[str, Attack]:
    """Return the attacks that are a statement, by their names."""
    built = {**READS, **WRITES, **READS_OF[dialect]}
    texts = {**TEXTS, **TEXTS_OF[dialect]}
    return {name: of_statement(build) for name, build in built.items()} | {
        name: of_text(build) for name, build in texts.items()
    }
