"""The guard: within a tenant session every statement is scoped to its tenant, or refused.

It works where SQL is written, in the compiler of the application role's engine: no way of
building a statement goes around it, and it costs nothing once a statement is cached.

- A tenant's table in a FROM clause becomes a sub-select of that tenant's rows.
- UPDATE and DELETE get the tenant as a condition.
- A value that is bound to a `tenant_id` must be the session's own tenant.
- What can't be proved scoped is refused: text, unknown tables, computed tenants, driver SQL.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from copy import copy
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    Column,
    ColumnClause,
    ColumnElement,
    Connection,
    Delete,
    Dialect,
    Engine,
    Insert,
    String,
    Table,
    Update,
    bindparam,
    event,
)
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from app.db.base import Base

COLUMN = "tenant_id"
TENANT = "tenant"  # under which a connection's info has its tenant while a session uses it

# What functions begin with that read rows, run SQL or change the tenant behind the guard's back.
REFUSED_FUNCTIONS = (
    "cursor_to_xml",
    "database_to_xml",
    "dblink",
    "lo_",
    "load_extension",
    "pg_",
    "query_to_xml",
    "schema_to_xml",
    "set_config",
    "table_to_xml",
    "ts_rewrite",
    "ts_stat",
)

# The text that may reach SQL as it is: what SQLAlchemy writes for count(*), EXISTS and contains(),
# the operators that op() is for, and the fields of extract(). The words of operators are listed,
# because a few others make a join or a sub-select.
FRAGMENT = re.compile(
    r"\*|\d+|'%'|[-+*/<>=~!@#%^&|?]+"
    r"|(NOT )?(LIKE|ILIKE|SIMILAR TO|REGEXP|MATCH|GLOB)|IS (NOT )?DISTINCT FROM|AT TIME ZONE",
    re.IGNORECASE,
)

FIELD = re.compile(r"[a-z_]+", re.IGNORECASE)

DML = TypeVar("DML", Update, Delete)


class TenancyError(DontWrapMixin, Exception):
    """A statement that the guard refuses. The message says what to write instead."""


# The tenant of the statement being executed, set from its connection just before. Sessions do not
# read it: it only carries the connection's tenant to the binds of the same statement.
_executing: ContextVar[str | None] = ContextVar("executing_tenant", default=None)


class TenantKey(TypeDecorator[str]):
    """The type of `tenant_id`: in a tenant session it binds no other tenant's name."""

    impl = String(63)
    cache_ok = True

    @property
    def python_type(self) -> type[str]:
        """Return the type of a tenant's name."""
        return str

    def coerce_compared_value(self, op: OperatorType | None, value: object) -> TypeEngine[Any]:
        """Check what is compared for equality; a pattern or a suffix is no tenant's name."""
        return self if op in (None, operators.eq, operators.in_op) else String()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Pass the session's own tenant, or anything in a system session; else refuse."""
        tenant = _executing.get()
        if tenant is not None and value is not None and value != tenant:
            raise TenancyError(
                "this session belongs to another tenant than the row: "
                "open tenant_session() for the tenant that you mean"
            )
        return value


def stamp(context: DefaultExecutionContext) -> str | None:
    """Return the tenant of the connection that inserts: the default of every `tenant_id`."""
    return context.root_connection.info.get(TENANT)


def install(engine: Engine) -> None:
    """Guard an engine: every statement that it executes belongs to its connection's tenant."""
    base = engine.dialect.statement_compiler
    engine.dialect.statement_compiler = type("TenantCompiler", (_Guard, base), {})
    event.listen(engine, "before_execute", _enter)
    event.listen(engine, "before_cursor_execute", _refuse_uncompiled)
    event.listen(engine, "checkin", _forget)


def release(engine: Engine) -> None:
    """Mark an engine as the system's: what it executes belongs to no tenant."""
    event.listen(engine, "before_execute", _leave)


def enter(connection: Connection, tenant: str) -> None:
    """Give a connection to a tenant until it goes back to the pool."""
    connection.info[TENANT] = tenant


def _enter(connection: Connection, *_: object) -> None:
    tenant = connection.info.get(TENANT)
    if tenant is None:
        raise TenancyError("no tenant, no query: use tenant_session(tenant)")
    _executing.set(tenant)


def _leave(connection: Connection, *_: object) -> None:
    _executing.set(None)


def _forget(connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    entry.info.pop(TENANT, None)


def _refuse_uncompiled(
    connection: Connection,
    cursor: object,
    statement: str,
    parameters: object,
    context: DefaultExecutionContext | None,
    executemany: bool,
) -> None:
    if not isinstance(getattr(context, "compiled", None), _Guard):
        raise TenancyError(
            "driver SQL can't be scoped: write select(), insert(), update(), delete()"
        )


# Evaluated at each execution, so that one cached statement serves all tenants.
_TENANT = bindparam("guarded_tenant", callable_=_executing.get, type_=TenantKey(), unique=True)


class _Guard(SQLCompiler):
    """What the guard changes in a dialect's own compiler."""

    def visit_table(self, table: Any, asfrom: Any = False, *args: Any, **kw: Any) -> Any:
        text = super().visit_table(table, asfrom, *args, **kw)
        if not asfrom:
            return text
        _refuse_unknown(table)
        if not _is_scoped(table) or kw.get("iscrud"):
            return text
        condition = self.process(table.c[COLUMN] == _TENANT, include_table=False)
        rows = f"(SELECT * FROM {self.preparer.format_table(table)} WHERE {condition})"  # noqa: S608
        alias = kw.get("enclosing_alias")
        if alias is not None and alias.element is table:
            return rows
        return rows + self.get_render_as_alias_suffix(text)

    def visit_insert(self, insert_stmt: Insert, *args: Any, **kw: Any) -> Any:
        _refuse_unknown(insert_stmt.table)
        _refuse_computed_tenant(insert_stmt)
        return super().visit_insert(insert_stmt, *args, **kw)

    def visit_update(self, update_stmt: Update, *args: Any, **kw: Any) -> Any:
        _refuse_computed_tenant(update_stmt)
        return super().visit_update(_own_rows(update_stmt), *args, **kw)

    def visit_delete(self, delete_stmt: Delete, *args: Any, **kw: Any) -> Any:
        return super().visit_delete(_own_rows(delete_stmt), *args, **kw)

    def group_by_clause(self, select: Any, **kw: Any) -> Any:
        # PostgreSQL knows that a key determines its row: of a table, but not of a sub-select.
        if determined := _determined_by(select._group_by_clauses):
            select = copy(select)
            select._group_by_clauses += determined
        return super().group_by_clause(select, **kw)

    def escape_literal_column(self, name: str) -> Any:
        # literal_column() and op() come through here: text that would reach SQL as it is.
        if not FRAGMENT.fullmatch(name.strip()):
            raise TenancyError(f"{name!r} is text, which can't be scoped: use columns and func")
        return super().escape_literal_column(name)

    def visit_function(self, func: Any, *args: Any, **kw: Any) -> Any:
        if func.name.lower().startswith(REFUSED_FUNCTIONS):
            raise TenancyError(f"{func.name}() is not for tenant sessions: use system_session()")
        return super().visit_function(func, *args, **kw)

    def get_statement_hint_text(self, hint_texts: Any) -> Any:
        raise TenancyError("a statement hint is text, which can't be scoped: leave it out")

    def visit_extract(self, extract: Any, *args: Any, **kw: Any) -> Any:
        if not FIELD.fullmatch(extract.field):
            raise TenancyError(f"{extract.field!r} is no field of extract()")
        return super().visit_extract(extract, *args, **kw)

    def visit_on_conflict_do_update(self, on_conflict: Any, *args: Any, **kw: Any) -> Any:
        if any(name == COLUMN for name, _ in _named(on_conflict.update_values_to_set)):
            raise TenancyError("a row can't change its tenant: leave tenant_id out")
        dialects: Any = super()
        return dialects.visit_on_conflict_do_update(on_conflict, *args, **kw)

    def visit_textclause(self, *args: Any, **kw: Any) -> Any:
        raise TenancyError("text() can't be scoped: write select(), or func and operators")

    def visit_tstring(self, *args: Any, **kw: Any) -> Any:
        raise TenancyError("tstring() can't be scoped: write select(), or func and operators")

    def visit_textual_select(self, *args: Any, **kw: Any) -> Any:
        raise TenancyError("text().columns() can't be scoped: write select()")


def _plain(clause: ClauseElement) -> ClauseElement:
    """Return a clause without what the ORM notes on it, so that it equals the table's own."""
    plain: ClauseElement = clause._deannotate()
    return plain


def _determined_by(clauses: Iterable[ClauseElement]) -> tuple[ColumnElement[Any], ...]:
    """Return the other columns of every row whose whole key is grouped by."""
    grouped = {each for each in map(_plain, clauses) if isinstance(each, ColumnClause)}
    sources = dict.fromkeys(each.table for each in grouped)
    return tuple(
        column
        for source in sources
        if source is not None and source.primary_key and grouped.issuperset(source.primary_key)
        for column in source.c
        if not column.primary_key
    )


def _own_rows(statement: DML) -> DML:
    """Add the tenant to the condition of an UPDATE or DELETE."""
    _refuse_unknown(statement.table)
    if not _is_scoped(statement.table):
        return statement
    return statement.where(statement.table.c[COLUMN] == _TENANT)


def _is_scoped(table: object) -> bool:
    return isinstance(table, Table) and COLUMN in table.c


def _refuse_unknown(table: object) -> None:
    if not isinstance(table, Table) or table.metadata is not Base.metadata:
        raise TenancyError(f"{table} is not a model's table: declare a model for it")


def _refuse_computed_tenant(statement: Insert | Update) -> None:
    """Refuse an INSERT or UPDATE whose tenant is an expression: only a value can be checked."""
    values = [value for name, value in _assigned(statement) if name == COLUMN]
    computed = [each for each in values if isinstance(each, ClauseElement)]
    # A bind without a type gets that of its column; one that is selected keeps what it has.
    proved = all(
        isinstance(each, BindParameter) and _is_checked(each, NullType) for each in computed
    )
    if isinstance(statement, Insert) and statement.select is not None:
        names = statement._select_names or ()
        selected = dict(zip(names, statement.select.selected_columns, strict=False))
        if (chosen := selected.get(COLUMN)) is not None:
            proved &= isinstance(chosen, BindParameter | Column) and _is_checked(chosen)
    if not proved:
        raise TenancyError("tenant_id can't be computed: leave it out, the session fills it in")


def _is_checked(element: ColumnElement[Any], *others: type[TypeEngine[Any]]) -> bool:
    return isinstance(element.type, (TenantKey, *others))


def _assigned(statement: Insert | Update) -> Iterator[tuple[object, object]]:
    """Yield the name of each column that a statement gives a value, with the value."""
    rows: list[Any] = [statement._values or ()]
    if isinstance(statement, Insert):
        rows += chain.from_iterable(statement._multi_values)
    for row in rows:
        # A row may be given by position.
        yield from _named(
            row if isinstance(row, Mapping) else zip(statement.table.c, row, strict=False)
        )


def _named(pairs: Any) -> Iterator[tuple[object, object]]:
    for column, value in dict(pairs).items():
        yield getattr(column, "key", column), value
