"""The guard: within a tenant session every statement is scoped to its tenant, or refused.

It works where SQL is written, in the compiler of the application role's engine: no way of
building a statement goes around it, and it costs nothing once a statement is cached.

- A tenant's table in a FROM clause becomes a sub-select of that tenant's rows.
- UPDATE and DELETE get the tenant as a condition.
- A value that is bound to a `tenant_id` must be the session's own tenant.
- What can't be proved scoped is refused: text, unknown tables, computed tenants, driver SQL.

The drivers' connections ask the same `Gate`: they run the statement that the guard has compiled,
and no other.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
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
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.ext import compiler as custom
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import IdentifierPreparer, SQLCompiler
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from app.db.base import Base

COLUMN = "tenant_id"

# What functions begin with that read rows, run SQL or change the tenant behind the guard's back.
REFUSED_FUNCTIONS = (
    "changes",
    "cursor_to_xml",
    "currtid",
    "database_to_xml",
    "dblink",
    "last_insert_rowid",
    "lo_",
    "load_extension",
    "pg_",
    "query_to_xml",
    "schema_to_xml",
    "set_config",
    "table_to_xml",
    "total_changes",
    "ts_rewrite",
    "ts_stat",
)

# The text that may reach SQL as it is: what SQLAlchemy writes for count(*), EXISTS and contains(),
# the operators that op() is for, and the fields of extract(). The words of operators are listed,
# because a few others make a join or a sub-select.
FRAGMENT = re.compile(
    r"\d+|'%'|(?!.*(--|/\*|\*/))[-+*/<>=~!@#%^&|?]+"
    r"|OVERLAPS|(NOT )?(LIKE|ILIKE|SIMILAR TO|REGEXP|MATCH|GLOB)|IS (NOT )?DISTINCT FROM|AT TIME ZONE",
    re.IGNORECASE,
)

FIELD = re.compile(r"[a-z_]+", re.IGNORECASE)
NAME = re.compile(r"[a-z_][a-z0-9_]*", re.IGNORECASE)

# What a cast may name: a type, maybe of a schema, with fields, a length or a precision, or an array
# of it.
TYPE = re.compile(
    r'(\w+|"[^"]+")(\.(\w+|"[^"]+"))?( (PRECISION|VARYING))?'
    r"( (YEAR|MONTH|DAY|HOUR|MINUTE|SECOND)( TO (MONTH|HOUR|MINUTE|SECOND))?)?( ?\(\d+(, ?\d+)?\))?"
    r'( WITH(OUT)? TIME ZONE)?( COLLATE "[\w.-]+")?(\[\])*',
    re.IGNORECASE,
)

# What a value may look like that is written into SQL, and not sent beside it.
LITERAL = re.compile(r"NULL|TRUE|FALSE|[-+]?\d+(\.\d+)?(E[-+]?\d+)?|X?'([^']|'')*'", re.IGNORECASE)

# What SQLAlchemy leaves in SQL to be replaced later: no name may look like it.
PLACEHOLDERS = ("__[", "~~", "%(")

# Where PostgreSQL has a row, and since when: among those of all tenants.
SYSTEM_COLUMNS = frozenset({"cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"})

DML = TypeVar("DML", Update, Delete)


class TenancyError(DontWrapMixin, Exception):
    """A statement that the guard refuses. The message says what to write instead."""


class Gate:
    """What a connection may do at the moment: for which tenant, and which statement."""

    __slots__ = ("_approved", "_inserted_into", "_parameters", "_tenant")

    def __init__(self) -> None:
        self._tenant: str | None = None
        self._approved: str | None = None
        self._parameters: object = None
        self._inserted_into: set[str] = set()

    @property
    def tenant(self) -> str | None:
        """The tenant that the connection belongs to until it goes back to the pool."""
        return self._tenant

    @property
    def approved(self) -> str | None:
        """The SQL that the guard has compiled and the driver may run; None between statements."""
        return self._approved

    @property
    def parameters(self) -> object:
        """The values that the approved SQL is run with: the tenant is one of them."""
        return self._parameters

    @property
    def inserted_into(self) -> Set[str]:
        """The tables that the transaction has inserted into since it was last checked."""
        return self._inserted_into

    @classmethod
    def hang(cls, entry: ConnectionPoolEntry) -> "Gate":
        """Give a new connection its gate."""
        gate = entry.info[_GATE] = cls()
        return gate

    @staticmethod
    def of(owner: Connection | ConnectionPoolEntry) -> "Gate":
        """Return the gate of a connection; raise TenancyError where somebody has taken it away."""
        gate: Gate | None = owner.info.get(_GATE)
        if gate is None:
            raise TenancyError("this connection's info was emptied: leave what is not yours in it")
        return gate


_GATE: Any = object()  # a name that no other code has

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
    gate: Gate | None = context.root_connection.info.get(_GATE)  # the system's have none
    return gate.tenant if gate else None


def install(engine: Engine) -> None:
    """Guard an engine: every statement that it executes belongs to its connection's tenant."""
    dialect = engine.dialect
    dialect.statement_compiler = type("TenantCompiler", (_Guard, dialect.statement_compiler), {})
    preparer = type("TenantPreparer", (_Quoting, type(dialect.identifier_preparer)), {})
    dialect.identifier_preparer = preparer(dialect)
    event.listen(engine, "before_execute", _enter)
    event.listen(engine, "before_cursor_execute", _open)
    event.listen(engine, "after_cursor_execute", _close)
    event.listen(engine, "handle_error", _close_after_error)
    event.listen(engine, "checkin", _leave)
    event.listen(engine, "set_connection_execution_options", _refuse_autocommit)
    event.listen(engine, "set_engine_execution_options", _refuse_autocommit)


def release(engine: Engine) -> None:
    """Mark an engine as the system's: what it executes belongs to no tenant."""
    event.listen(engine, "before_execute", _forget)


def enter(connection: Connection, tenant: str, *, begins: bool) -> None:
    """Give a connection to a tenant, and to no other until it goes back to the pool."""
    gate = Gate.of(connection)
    if gate.tenant not in (None, tenant):
        raise TenancyError("this connection belongs to another tenant")
    gate._tenant = tenant
    if begins:
        gate._inserted_into.clear()


def admit_commit(connection: Connection) -> None:
    """Let the driver commit: the rows that the transaction has inserted have been checked."""
    Gate.of(connection)._inserted_into.clear()


@contextmanager
def approving(connection: Connection, statement: str) -> Iterator[None]:
    """Let the driver run a statement of the layers' own."""
    gate = Gate.of(connection)
    gate._approved = statement
    try:
        yield
    finally:
        gate._approved = None


def _enter(connection: Connection, *_: object) -> None:
    tenant = Gate.of(connection).tenant
    if tenant is None:
        raise TenancyError("no tenant, no query: use tenant_session(tenant)")
    _executing.set(tenant)


def _forget(connection: Connection, *_: object) -> None:
    _executing.set(None)


def _open(
    connection: Connection,
    cursor: object,
    statement: str,
    parameters: object,
    context: DefaultExecutionContext | None,
    executemany: bool,
) -> None:
    compiled = getattr(context, "compiled", None)
    if not isinstance(compiled, _Guard):
        raise TenancyError(
            "driver SQL can't be scoped: write select(), insert(), update(), delete()"
        )
    if not isinstance(statement, _Written):
        raise TenancyError("a listener has changed this statement, which can't be scoped: leave it")
    gate = Gate.of(connection)
    if _executing.get() != gate.tenant:
        raise TenancyError("another session was used while this statement was made: use it before")
    gate._inserted_into |= compiled.inserted_into
    gate._approved, gate._parameters = statement, parameters


def _refuse_autocommit(_: Connection | Engine, options: Mapping[str, Any]) -> None:
    # Without a transaction PostgreSQL is told no tenant, and nothing looks at rows before they stay.
    if str(options.get("isolation_level")).upper() == "AUTOCOMMIT":
        raise TenancyError("a tenant's session needs its transaction: leave AUTOCOMMIT out")


def _close(connection: Connection, *_: object) -> None:
    Gate.of(connection)._approved = None


def _close_after_error(context: ExceptionContext) -> None:
    if context.connection is not None:
        _close(context.connection)


def _leave(connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    if _GATE not in entry.info:  # somebody has emptied it: the driver asks a gate that is lost
        entry.invalidate()
        return
    gate = Gate.of(entry)
    gate._tenant = gate._approved = None


# Evaluated at each execution, so that one cached statement serves all tenants.
_TENANT = bindparam("guarded_tenant", callable_=_executing.get, type_=TenantKey(), unique=True)


class _Written(str):
    """SQL that the guard has written, and no listener has changed."""

    __slots__ = ()


def _is_replaced(text: str) -> bool:
    """Tell whether SQLAlchemy would replace a part of a text that is SQL already."""
    return any(each in text for each in PLACEHOLDERS)


class _Quoting(IdentifierPreparer):
    """What the guard changes in how a dialect writes names."""

    def quote(self, ident: str) -> str:
        """Refuse a name that asks to be written as it is, if it is not plainly a name."""
        plain = getattr(ident, "quote", None) is not False or NAME.fullmatch(ident)
        if not plain or _is_replaced(ident):
            raise TenancyError(f"{ident!r} is text, which can't be scoped: let it be quoted")
        return super().quote(ident)


class _Guard(SQLCompiler):
    """What the guard changes in a dialect's own compiler."""

    inserted_into: frozenset[str] = frozenset()

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        if self.statement is not None:
            self.string = _Written(self.string)

    def _process_parameters_for_postcompile(self, *args: Any, **kw: Any) -> Any:
        state = super()._process_parameters_for_postcompile(*args, **kw)
        return state._replace(statement=_Written(state.statement))

    def _deliver_insertmanyvalues_batches(self, *args: Any, **kw: Any) -> Any:
        for batch in super()._deliver_insertmanyvalues_batches(*args, **kw):
            yield batch._replace(replaced_statement=_Written(batch.replaced_statement))

    def visit_table(self, table: Any, asfrom: Any = False, *args: Any, **kw: Any) -> Any:
        text = super().visit_table(table, asfrom, *args, **kw)
        if not asfrom:
            return text
        _refuse_unknown(table)
        if kw.get("iscrud"):
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
        self.inserted_into |= {insert_stmt.table.name}
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
        # Where parameters are told by their place, a question mark would be one.
        is_parameter = "?" in name and self.dialect.paramstyle == "qmark"
        if is_parameter or not FRAGMENT.fullmatch(name.strip()):
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

    def visit_typeclause(self, *args: Any, **kw: Any) -> Any:
        written = super().visit_typeclause(*args, **kw)
        _refuse_unless_type(written)
        return written

    def visit_on_conflict_do_update(self, on_conflict: Any, *args: Any, **kw: Any) -> Any:
        if any(name == COLUMN for name, _ in _named(on_conflict.update_values_to_set)):
            raise TenancyError("a row can't change its tenant: leave tenant_id out")
        dialects: Any = super()
        return dialects.visit_on_conflict_do_update(on_conflict, *args, **kw)

    def render_bind_cast(self, type_: Any, dbapi_type: Any, sqltext: Any) -> Any:
        written = super().render_bind_cast(type_, dbapi_type, sqltext)
        _refuse_unless_type(written.removeprefix(sqltext).removeprefix("::"))
        return written

    def render_literal_value(self, *args: Any, **kw: Any) -> Any:
        written = super().render_literal_value(*args, **kw)
        # What is written later, at the execution, is not looked through for what is to be replaced.
        is_later = isinstance(getattr(self, "string", None), _Written)
        if (not is_later and _is_replaced(written)) or not LITERAL.fullmatch(written):
            raise TenancyError("this literal is text, which can't be scoped: bind the value")
        return written

    def visit_bindparam(self, bindparam: Any, *args: Any, **kw: Any) -> Any:
        if any(each in bindparam.key for each in PLACEHOLDERS[:2]):
            raise TenancyError(f"{bindparam.key!r} is no name for a parameter")
        return super().visit_bindparam(bindparam, *args, **kw)

    def visit_tablesample(self, *args: Any, **kw: Any) -> Any:
        raise TenancyError("a sample is of all tenants' rows: order by func.random(), with a limit")

    def visit_fromclause(self, *args: Any, **kw: Any) -> Any:
        raise TenancyError("this can't be scoped: select from models, aliases and sub-queries")

    def visit_index(self, *args: Any, **kw: Any) -> Any:
        raise TenancyError("this can't be scoped: select from models, aliases and sub-queries")

    def visit_tstring_text(self, *args: Any, **kw: Any) -> Any:
        raise TenancyError("tstring() can't be scoped: write select(), or func and operators")

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> Any:
        if column.table is None and column.name.lower() in SYSTEM_COLUMNS:
            raise TenancyError(f"{column.name} would tell of other rows: leave it out")
        return super().visit_column(column, *args, **kw)

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
    return statement.where(statement.table.c[COLUMN] == _TENANT)


def _refuse_unknown(table: object) -> None:
    if not isinstance(table, Table) or table.metadata is not Base.metadata:
        raise TenancyError(f"{table} is not a model's table: declare a model for it")
    if COLUMN not in table.c:
        raise TenancyError(f"{table} has no tenant: inherit TenantScoped, or use system_session()")


def _refuse_unless_type(written: str) -> None:
    if not TYPE.fullmatch(written) or _is_replaced(written):
        raise TenancyError(f"{written!r} is text, which can't be scoped: cast to a plain type")


def _refusing(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return what calls the functions of @compiles, but not for the guard: it can't see inside."""

    def dispatch(self: Any, element: Any, compiler: Any, **kw: Any) -> Any:
        if issubclass(compiler.dialect.statement_compiler, _Guard):
            name = type(element).__name__
            raise TenancyError(f"{name} can't be scoped: use SQLAlchemy's own elements")
        return call(self, element, compiler, **kw)

    return dispatch


custom._dispatcher.__call__ = _refusing(custom._dispatcher.__call__)  # type: ignore[method-assign]


def _refuse_computed_tenant(statement: Insert | Update) -> None:
    """Refuse an INSERT or UPDATE whose tenant is an expression: only a value can be checked."""
    values = [value for name, value in _assigned(statement) if name == COLUMN]
    computed = [each for each in values if isinstance(each, ClauseElement)]
    # A bind without a type gets that of its column; one that is selected keeps what it has.
    proved = all(
        isinstance(each, BindParameter) and _is_checked(each, NullType) for each in computed
    )
    if statement.select is not None:
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
