"""Changes the guard and the databases' layers in every place, and tells which changes no test sees.

Runs in the environment of a generated project, on a copy of it. `--sample 12` tries a few that are
always the same. A change that makes no difference stands in REASONS.
"""

import argparse
import ast
import asyncio
import importlib
import itertools
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
from prometheus_client import REGISTRY

# The generated project's own, which this repository's would be taken for.
find_cluster = importlib.import_module("tests.servers").find_cluster

BACKEND = Path.cwd()
ISOLATION, LAYERS = "tests/security/test_isolation.py", "tests/security/test_layers.py"
GATE = "tests/security/test_gate.py"
OTHERS = (
    "tests/security/test_append_only.py",
    "tests/security/test_catalogue.py",
    "tests/security/test_interleaving.py",
    "tests/integration/test_lifecycle.py",
    "tests/integration/test_quotas.py",
    "tests/integration/test_migrations.py",
    "tests/integration/test_tenants.py",
)
CONTEXT = 30  # characters that are told before and after what is changed

# Where to look, and which tests to ask, the quickest to answer first.
FILES = {
    "app/tenancy/guard.py": ("sqlite", "postgresql"),
    "app/tenancy/sqlite.py": ("sqlite",),
    "app/tenancy/postgresql.py": ("postgresql",),
}
PATIENCE = 180  # seconds; who is not done by then has changed enough to be noticed

# What is loaded already is not rewritten by pytest, which warns of it.
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")

# Changes that make no difference, as they are told, by the reason.
REASONS: dict[str, list[str]] = {
    "a name for people who debug": [
        "guard: 'DML' -> ''",
        "guard: 'executing_tenant' -> ''",
        "guard.install: 'TenantCompiler' -> ''",
        "guard.install: 'TenantPreparer' -> ''",
    ],
    "it saves memory": [
        "guard.Gate: __slots__ = ('_approved', '_inserted_into', '_parameters', '_tenant') -> pass",
        "guard._Written: __slots__ = () -> pass",
    ],
    "a cursor that nobody has is closed by itself": [
        "sqlite.install.connect: cursor.close() -> pass",
        "sqlite._begin: cursor.close() -> pass",
        "postgresql.lock: cursor.close() -> pass",
    ],
    "whoever calls it gives no such keywords, or they make no difference to SQL": [
        "guard._Guard._process_parameters_for_postcompile: "
        "rameters_for_postcompile(*args, **kw) -> rameters_for_postcompile(*args)",
        "guard._Guard._deliver_insertmanyvalues_batches: "
        "insertmanyvalues_batches(*args, **kw) -> insertmanyvalues_batches(*args)",
        "guard._Guard.visit_insert: "
        "isit_insert(insert_stmt, *args, **kw) -> isit_insert(insert_stmt, *args)",
        "guard._Guard.visit_update: "
        "(_own_rows(update_stmt), *args, **kw) -> (_own_rows(update_stmt), *args)",
        "guard._Guard.visit_delete: "
        "(_own_rows(delete_stmt), *args, **kw) -> (_own_rows(delete_stmt), *args)",
        "guard._Guard.visit_extract: "
        ").visit_extract(extract, *args, **kw) -> ).visit_extract(extract, *args)",
        "guard._Guard.visit_typeclause: "
        "super().visit_typeclause(*args, **kw) -> super().visit_typeclause(*args)",
        "guard._Guard.visit_on_conflict_do_update: "
        "t_do_update(on_conflict, *args, **kw) -> t_do_update(on_conflict, *args)",
        "guard._Guard.render_literal_value: "
        "r().render_literal_value(*args, **kw) -> r().render_literal_value(*args)",
        "sqlite._until_sealed.call: method(self, *args, **kw) -> method(self, *args)",
        "postgresql.GatedConnection.execute: "
        "super().execute(query, *args, **options) -> super().execute(query, *args)",
        "postgresql.GatedConnection.executemany: "
        "xecutemany(str(command), *args, **options) -> xecutemany(str(command), *args)",
        "postgresql.GatedConnection.prepare: "
        "er().prepare(str(query), *args, **options) -> er().prepare(str(query), *args)",
    ],
    "nobody looks at what the driver's transactions are told": [
        "postgresql.GatedConnection.execute: return status -> return None",
    ],
    "SET LOCAL outside of a transaction sets nothing": [
        "postgresql.GatedConnection.execute: 'BEGIN' -> ''",
    ],
    "SQLite takes what is no answer for a denial": [
        "sqlite._authorize: return sqlite3.SQLITE_DENY -> return None",
    ],
    "whoever executes a statement has set it": [
        "guard: ContextVar('executing_tenant', default=None) -> ContextVar('executing_tenant')",
    ],
    "SQLAlchemy always tells the operator": [
        "guard.TenantKey.coerce_compared_value: "
        "(None, operators.eq, operators.in_op) -> (operators.eq, operators.in_op)",
    ],
    "the bind gets the type of the column that it is compared with": [
        "guard: t', callable_=_executing.get, type_=TenantKey(), unique=True) -> "
        "t', callable_=_executing.get, unique=True)",
    ],
    "what a caller gives under the parameter's name is checked as any tenant is": [
        "guard: ecuting.get, type_=TenantKey(), unique=True) -> ecuting.get, type_=TenantKey())",
    ],
    "there is one table that the column can be of": [
        "guard._Guard.visit_table: "
        "ess(table.c[COLUMN] == _TENANT, include_table=False) -> ess(table.c[COLUMN] == _TENANT)",
        "guard._Guard.visit_table: False -> True",
    ],
    "SQLAlchemy has seen to it that they are as many": [
        "guard._refuse_computed_tenant: statement._select_names or () -> statement._select_names",
        "guard._refuse_computed_tenant: "
        "tement.select.selected_columns, strict=False) -> tement.select.selected_columns)",
        "guard._refuse_computed_tenant: False -> True",
        "guard._assigned: zip(statement.table.c, row, strict=False) -> zip(statement.table.c, row)",
        "guard._assigned: False -> True",
    ],
}
EQUIVALENT = set(itertools.chain.from_iterable(REASONS.values()))

OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}


class Mutant(NamedTuple):
    """A change of one place of a file."""

    file: str
    scope: str
    line: int
    start: int
    end: int
    before: str
    text: str

    def __str__(self) -> str:
        after = self.text.removeprefix("(").removesuffix(")")
        left = max(0, alike(self.before, after) - CONTEXT)
        right = max(0, alike(self.before[:left:-1], after[:left:-1]) - CONTEXT)
        told = (each[left : len(each) - right] for each in (self.before, after))
        where = f"{Path(self.file).stem}.{self.scope}".strip(".")
        return f"{where}: {' -> '.join(' '.join(each.split()) for each in told)}"

    def applied(self, source: bytes) -> bytes:
        """Return the file with this change."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def alike(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return len(list(pairs))


def mutants(file: str) -> Iterator[Mutant]:
    """Yield every change of a file."""
    source = (BACKEND / file).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for scope, node in relevant(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        for text in changes(node):
            yield Mutant(file, scope, node.lineno, start, end, ast.unparse(node), text)


def relevant(tree: ast.AST, scope: str = "") -> Iterator[tuple[str, ast.expr | ast.stmt]]:
    """Yield what can change how a module works: no imports, types, docstrings and messages."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.arguments | ast.JoinedStr):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.expr | ast.stmt):
            yield scope, node
        if isinstance(node, ast.AnnAssign):
            yield from relevant(ast.Tuple([node.value] if node.value else []), scope)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from relevant(ast.Module(node.body, []), f"{scope}.{node.name}".strip("."))
        elif not (isinstance(node, ast.Call) and "Error" in ast.unparse(node.func)):
            yield from relevant(node, scope)


def changes(node: ast.expr | ast.stmt) -> Iterator[str]:
    """Yield what may stand in a node's place."""
    for kind, change in CHANGES.items():
        if isinstance(node, kind):
            for made in change(node):
                yield made if isinstance(made, str) else f"({ast.unparse(made)})"


def of_comparison(node: ast.Compare) -> Iterator[ast.expr]:
    """Yield the opposite of a comparison."""
    if (opposite := OPPOSITES.get(type(node.ops[0]))) and len(node.ops) == 1:
        yield ast.Compare(node.left, [opposite()], node.comparators)


def of_condition(node: ast.BoolOp) -> Iterator[ast.expr]:
    """Yield a condition with the other operator, and each of its parts alone."""
    yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    yield from node.values


def of_negation(node: ast.UnaryOp) -> Iterator[ast.expr]:
    """Yield what is negated."""
    if isinstance(node.op, ast.Not):
        yield node.operand


def of_call(node: ast.Call) -> Iterator[ast.expr]:
    """Yield a call without each of its keywords, and the opposite of a test."""
    for keyword in node.keywords:
        rest = [each for each in node.keywords if each is not keyword]
        yield ast.Call(node.func, node.args, rest)
    if ast.unparse(node.func) in TESTS:
        yield ast.UnaryOp(ast.Not(), node)


def of_constant(node: ast.Constant) -> Iterator[str]:
    """Yield another value, and a pattern without each of its branches."""
    match node.value:
        case bool(value):
            yield str(not value)
        case int(value):
            yield str(value + 1)
        case str(value) if value:
            yield "''"
            parts = value.split("|")
            for each in range(len(parts) if len(parts) > 1 else 0):
                yield repr("|".join(parts[:each] + parts[each + 1 :]))


def of_elements(node: ast.Tuple | ast.List | ast.Set) -> Iterator[ast.expr]:
    """Yield a sequence without each of its elements."""
    if isinstance(node, ast.Set) or isinstance(node.ctx, ast.Load):
        for each in range(len(node.elts) if len(node.elts) > 1 else 0):
            (shorter := copy(node)).elts = node.elts[:each] + node.elts[each + 1 :]
            yield shorter


def of_mapping(node: ast.Dict) -> Iterator[ast.expr]:
    """Yield a mapping without each of its keys."""
    for each in range(len(node.keys)):
        keys = node.keys[:each] + node.keys[each + 1 :]
        yield ast.Dict(keys, node.values[:each] + node.values[each + 1 :])


def of_return(node: ast.Return) -> Iterator[str]:
    """Yield a function that returns nothing."""
    if node.value is not None:
        yield "return None"


def of_statement(node: ast.stmt) -> Iterator[str]:
    """Yield nothing in a statement's place."""
    if node.col_offset or isinstance(node, ast.Expr | ast.For):  # a module's names are needed
        yield "pass"


TESTS = {"any", "all", "hasattr", "isinstance", "callable"}
CHANGES: dict[type, Callable[[Any], Iterator[ast.expr | str]]] = {
    ast.Compare: of_comparison,
    ast.BoolOp: of_condition,
    ast.UnaryOp: of_negation,
    ast.Call: of_call,
    ast.Constant: of_constant,
    ast.Tuple: of_elements,
    ast.List: of_elements,
    ast.Set: of_elements,
    ast.Dict: of_mapping,
    ast.Return: of_return,
    ast.Expr: of_statement,
    ast.Assign: of_statement,
    ast.AugAssign: of_statement,
    ast.For: of_statement,
    ast.Raise: of_statement,
}


def survives(mutant: Mutant, copied: Path) -> bool:
    """Tell whether all tests pass with a change."""
    target = copied / mutant.file
    original = (BACKEND / mutant.file).read_bytes()
    target.write_bytes(mutant.applied(original))
    try:
        failed = next((each for each in stages(mutant.file) if not passes(copied, each)), None)
    finally:
        target.write_bytes(original)
    if failed and not passes_unchanged(copied, failed):
        sys.exit(f"without a change these do not pass: {' '.join(failed)}")
    return not failed


def stages(file: str) -> Iterator[Sequence[str]]:
    """Yield which tests to ask of a file's changes, one process after the other."""
    yield (GATE,)
    for dialect in FILES[file]:
        yield ISOLATION, "-k", f"{dialect} and legitimate"
        yield ISOLATION, LAYERS, "-k", f"{dialect} and not legitimate and not without_the_layers"
    yield from ((other,) for other in OTHERS)


def passes(copied: Path, arguments: Sequence[str]) -> bool:
    """Tell whether tests pass, in a process that has everything loaded but the code under test."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            signal.alarm(PATIENCE)
            os.chdir(copied)
            sys.path.insert(0, str(copied))
            sys.dont_write_bytecode = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.dup2(nowhere, sys.stderr.fileno())
            status = pytest.main([*OPTIONS, *arguments])
        finally:
            os._exit(status)  # what the parent has opened is the parent's to close
    return os.waitpid(child, 0)[1] == 0


@cache
def passes_unchanged(copied: Path, arguments: Sequence[str]) -> bool:
    """Tell whether tests pass where nothing is changed; what fails there proves nothing."""
    return passes(copied, arguments)


def load() -> None:
    """Load what the code under test needs, and forget that code."""
    importlib.import_module("tests.conftest")
    for name in list(sys.modules):
        if name.partition(".")[0] in ("app", "tests"):
            del sys.modules[name]
    for collector in list(REGISTRY._collector_to_names):  # it takes each name once
        REGISTRY.unregister(collector)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the changes; return 1 if no test sees one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, help="try as many, the same each time")
    parser.add_argument("--only", default="", help="try those that match a regular expression")
    options = parser.parse_args(arguments)
    found = [each for file in FILES for each in mutants(file) if str(each) not in EQUIVALENT]
    found = [each for each in found if re.search(options.only, str(each))]
    if options.sample:
        found = random.Random(4).sample(found, min(options.sample, len(found)))
    survivors = list(tried(found))
    tell(f"of {len(found)} changes no test sees {len(survivors)}")
    return bool(survivors)


def tried(found: Sequence[Mutant]) -> Iterator[Mutant]:
    """Yield the changes that all tests pass with."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which stops the server as well
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, find_cluster() as cluster:
        os.environ["TEST_DATABASE_URL"] = cluster.superuser_url("postgres")
        copied = Path(directory, "backend")
        shutil.copytree(BACKEND, copied, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        load()
        for number, mutant in enumerate(found, 1):
            if survives(mutant, copied):
                tell(f"no test sees line {mutant.line} of {mutant}")
                yield mutant
            asyncio.run(drop_databases(cluster.superuser_url("postgres")))
            if number % 10 == 0:
                tell(f"{number} of {len(found)} after {time.monotonic() - started:.0f} s")


async def drop_databases(url: str) -> None:
    """Drop what the tests have left on the server."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        for row in await connection.fetch(
            "SELECT datname FROM pg_database WHERE datname ~ '^test_'"
        ):
            await connection.execute(f'DROP DATABASE "{row[0]}" WITH (FORCE)')
    finally:
        await connection.close()


def tell(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
