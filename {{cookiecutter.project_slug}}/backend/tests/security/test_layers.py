"""Four layers keep tenants apart, and each of them bites: alone, and where it is missing.

- The keys: no unique or foreign key can tell whether another tenant has a row.
- The guard: what SQLAlchemy writes is scoped, or refused.
- The gate: the driver's connection runs what the guard approves.
- The database: row-level security on PostgreSQL, triggers and an authorizer on SQLite.

Two doors lead in. The system's, which is without the layers, is shut in a request.
"""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from sqlalchemy import Connection, Engine, create_engine, event, make_url

from app.api.dependencies.auth import CurrentUser, require_scopes
from app.auth import issuer
from app.core.config import Settings
from app.db import current_settings, engines
from app.main import create_app
from app.tenancy import (
    TenancyError,
    admit_operator,
    guard,
    identify,
    postgresql,
    serving_request,
    sqlite,
    system_session,
    tenant_session,
)
from app.tenancy.guard import Gate
from tests.conftest import migrate
from tests.security.attacks import FOREIGN, MARK, OWN
from tests.security.sessions import ATTACKS, driver_of
from tests.security.test_isolation import (
    DIALECTS,
    NOT_THERE,
    ORACLES,
    THERE,
    is_reached,
    names,
    outcome,
    prepare,
    reaches,
)
from tests.servers import Cluster

pytestmark = pytest.mark.anyio

ALL = ("keys", "guard", "gate", "database")

PLAIN_KEYS = {
    "sqlite": """
        DROP TABLE tasks;
        DROP TABLE projects;
        CREATE TABLE projects (
            tenant_id VARCHAR NOT NULL, id CHAR(32) PRIMARY KEY, name VARCHAR NOT NULL UNIQUE,
            version INTEGER NOT NULL, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL
        );
        CREATE TABLE tasks (
            tenant_id VARCHAR NOT NULL, id CHAR(32) PRIMARY KEY,
            project_id CHAR(32) NOT NULL REFERENCES projects ON DELETE CASCADE,
            title VARCHAR NOT NULL, done BOOLEAN NOT NULL,
            version INTEGER NOT NULL, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL
        );
        """,
    "postgresql": """
        ALTER TABLE tasks
            DROP CONSTRAINT fk_tasks_tenant_id_project_id_projects,
            DROP CONSTRAINT pk_tasks, ADD PRIMARY KEY (id);
        ALTER TABLE projects
            DROP CONSTRAINT pk_projects, DROP CONSTRAINT uq_projects_tenant_id_name,
            ADD PRIMARY KEY (id), ADD UNIQUE (name);
        ALTER TABLE tasks ADD FOREIGN KEY (project_id) REFERENCES projects ON DELETE CASCADE;
        """,
}
TABLES = ("tenants", "projects", "tasks")


class Databases:
    """A database of each kind, with its keys and its own layer or without them."""

    def __init__(self, directory: Path, template: Path, cluster: Callable[[], Cluster]) -> None:
        self._directory = directory
        self._template = template
        self._cluster = cluster
        self._made: dict[tuple[str, bool, bool], Settings] = {}

    def get(self, dialect: str, *, keys: bool, protected: bool) -> Settings:
        """Return the settings of a database; it is made on first use."""
        wanted = (dialect, keys, protected)
        if wanted not in self._made:
            make = self._on_sqlite if dialect == "sqlite" else self._on_postgresql
            self._made[wanted] = make(keys, protected)
        return self._made[wanted]

    def _settings(self, urls: dict[str, str]) -> Settings:
        key_file = {"AUTH_LOCAL_KEY_FILE": str(self._directory / "issuer.json")}
        return Settings.model_validate(urls | key_file)

    def _on_sqlite(self, keys: bool, protected: bool) -> Settings:
        file = self._directory / f"{keys}-{protected}.db"
        file.write_bytes(self._template.read_bytes())
        engine = create_engine(f"sqlite:///{file}")
        with closing(sqlite3.connect(file)) as connection:
            if not keys:
                connection.executescript(PLAIN_KEYS["sqlite"])
            if not protected:
                triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
                for (name,) in connection.execute(triggers).fetchall():
                    connection.execute(f'DROP TRIGGER "{name}"')
        if protected:
            with engine.begin() as owner:
                for statement in sqlite.protection(owner):
                    owner.exec_driver_sql(statement)
        engine.dispose()
        return self._settings({"DATABASE_URL": f"sqlite+aiosqlite:///{file}"})

    def _on_postgresql(self, keys: bool, protected: bool) -> Settings:
        cluster = self._cluster()
        database = cluster.create_database()
        made = self._settings(cluster.urls(database))
        migrate(made)
        if not keys:
            cluster.execute(database, PLAIN_KEYS["postgresql"])
        if not protected:
            for table in TABLES:
                cluster.execute(database, f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        return made


@pytest.fixture(scope="module")
def databases(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Databases:
    directory = tmp_path_factory.mktemp("layers")
    return Databases(directory, sqlite_template, lambda: request.getfixturevalue("cluster"))


@pytest.fixture
def database(request: pytest.FixtureRequest, databases: Databases) -> str:
    """Switch off all layers but those that are named; return the dialect."""
    dialect, on = request.param
    made = databases.get(dialect, keys="keys" in on, protected="database" in on)
    engines.configure(made)
    patch = request.getfixturevalue("monkeypatch")
    for layer in ("guard", "gate", "database"):
        if layer not in on:
            SWITCHES[dialect, layer](patch)
    return str(dialect)


@pytest.fixture
async def dialect(database: str) -> AsyncIterator[str]:
    await prepare()
    yield database
    await engines.dispose()


def compile_freely(patch: pytest.MonkeyPatch) -> None:
    """Let SQLAlchemy write what it likes, and the driver run it."""

    def approve(
        connection: Connection, cursor: object, statement: str, parameters: object, *_: object
    ) -> None:
        gate = Gate.of(connection)
        gate._approved, gate._parameters = statement, parameters

    def install(engine: Engine) -> None:
        guard.release(engine)
        event.listen(engine, "before_cursor_execute", approve)
        event.listen(engine, "after_cursor_execute", guard._close)
        event.listen(engine, "checkin", guard._leave)

    patch.setattr(guard, "install", install)
    patch.setattr("app.tenancy.session._attach", lambda *_: None)


def free(patch: pytest.MonkeyPatch, gated: type, driver: type, kept: Collection[str] = ()) -> None:
    """Give a driver's connection its own methods back."""
    for name in vars(gated):
        if name not in kept and not name.startswith("_") and hasattr(driver, name):
            patch.setattr(gated, name, getattr(driver, name))


def free_sqlite(patch: pytest.MonkeyPatch) -> None:
    free(patch, sqlite.GatedConnection, sqlite3.Connection)
    patch.setattr(sqlite.GatedConnection, "refuse_unless_approved", lambda *_: None)


def free_postgresql(patch: pytest.MonkeyPatch) -> None:
    free(
        patch,
        postgresql.GatedConnection,
        asyncpg.Connection,
        kept=["execute", "executemany", "prepare"],
    )
    patch.setattr(postgresql.GatedConnection, "_refuse_unless_approved", lambda *_: None)
    gated = postgresql.GatedConnection.execute

    async def execute(self: Any, query: str, *args: object, **options: Any) -> object:
        telling = gated if query.startswith("BEGIN") else asyncpg.Connection.execute
        return await telling(self, query, *args, **options)

    patch.setattr(postgresql.GatedConnection, "execute", execute)


def authorize_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sqlite, "_authorize", lambda *_: sqlite3.SQLITE_OK)


SWITCHES: dict[tuple[str, str], Callable[[pytest.MonkeyPatch], None]] = {
    ("sqlite", "guard"): compile_freely,
    ("sqlite", "gate"): free_sqlite,
    ("sqlite", "database"): authorize_everything,
    ("postgresql", "guard"): compile_freely,
    ("postgresql", "gate"): free_postgresql,
    ("postgresql", "database"): lambda _: None,  # its tables have no row security
}


def cases(
    named: dict[str, dict[str, list[str]]], layers_on: Callable[[str], Collection[str]]
) -> pytest.MarkDecorator:
    """Run a test for each attack on each layer of each database."""
    found = [
        pytest.param((dialect, layers_on(layer)), name, id=f"{dialect}-{layer}-{name}")
        for layer, of in named.items()
        for dialect in DIALECTS
        for name in of[dialect]
    ]
    return pytest.mark.parametrize(("database", "name"), found, indirect=["database"])


BOTH_WITH_THE_GUARD = pytest.mark.parametrize(
    "database", [pytest.param((each, {"guard"}), id=each) for each in DIALECTS], indirect=True
)
BOTH = pytest.mark.parametrize(
    "database", [pytest.param((each, ALL), id=each) for each in DIALECTS], indirect=True
)


def on(dialect: str, layers: Collection[str]) -> pytest.MarkDecorator:
    """Run a test on one database."""
    return pytest.mark.parametrize(
        "database", [pytest.param((dialect, layers), id=dialect)], indirect=True
    )


READS = ["an entity", "a count", "EXISTS around a select", "the core table", "get by key", "stream"]
TEXTS = ["text()", "literal_column()", "op()", "a label", "a type's literal", "execute driver sql"]
WRITES = [
    "update everything",
    "update from another table",
    "delete everything",
    "insert for the other tenant",
    "insert one's own rows as the other tenant's",
    "give rows away",
    "change a forged row",
]
TELLING = [
    "refer to a project",
    "move a task to a project",
    "take the id of a project",
    "take a name",
]
BY_DRIVER = {
    "sqlite": ["the driver's backup", "the driver's set_authorizer"],
    "postgresql": [
        "read by the driver",
        "read by a cursor",
        "the driver's prepare",
        "the driver's copy_from_query",
        "the driver's SET",
        "execute another in a listener",
    ],
}

# What each layer stops when it is the only one.
STOPPED_ALONE = {
    "guard": {dialect: [*READS, *TEXTS, *WRITES] for dialect in DIALECTS},
    "gate": {
        "sqlite": [*BY_DRIVER["sqlite"], "read by the driver", "the driver's executescript"],
        "postgresql": BY_DRIVER["postgresql"],
    },
    "database": {
        "sqlite": [
            *WRITES,
            "read by the driver",
            "the driver's execute_fetchall",
            "the function dbstat",
        ],
        "postgresql": [*READS, *WRITES, "query as of old", "a relationship of one's own: select"],
    },
}

# What nothing stops when one layer is missing: what it is there for.
# Not the database: the keys, the guard and the gate stop all of it without that layer's help.
MISSED = {
    "guard": {"sqlite": [*READS, *TEXTS], "postgresql": TEXTS},
    "gate": BY_DRIVER,
}


@cases(STOPPED_ALONE, lambda layer: {layer})
async def test_a_layer_alone_stops_attacks(name: str, dialect: str) -> None:
    assert not await reaches(name, dialect)


@cases(STOPPED_ALONE, lambda _: ())
async def test_without_any_layer_they_succeed(name: str, dialect: str) -> None:
    assert await reaches(name, dialect)


# What goes beneath the guard: the gate stops it, or SQLite's authorizer.
BENEATH = re.compile(
    "driver|cursor|raw connection|another pool|detached|in a listener|connections info"
    "|listener of the engine|function dbstat|function pragma"
)


@BOTH_WITH_THE_GUARD
async def test_the_guard_alone_stops_every_attack_that_is_not_beneath_it(dialect: str) -> None:
    reached = []
    for name in ATTACKS[dialect]:
        if BENEATH.search(name):
            continue
        await prepare()
        if await reaches(name, dialect):
            reached.append(name)
    assert reached == []


@cases(MISSED, lambda layer: {*ALL} - {layer})
async def test_without_one_layer_attacks_succeed(name: str, dialect: str) -> None:
    assert await reaches(name, dialect)


async def tells(name: str) -> bool:
    """Tell whether an answer shows that the other tenant has a row."""
    there = await outcome(ORACLES[name], THERE)
    await prepare()
    return there != await outcome(ORACLES[name], NOT_THERE)


KEYS = {"keys": dict.fromkeys(DIALECTS, TELLING)}


@cases(KEYS, lambda _: {"keys"})
async def test_the_keys_alone_tell_nothing(name: str, dialect: str) -> None:
    assert not await tells(name)


@cases(KEYS, lambda _: {"guard", "gate", "database"})
async def test_without_the_keys_they_tell(name: str, dialect: str) -> None:
    assert await tells(name)


async def nothing(*_: object) -> None:
    """See what passes by."""


def assigned(name: str, value: object) -> Callable[[Any], Awaitable[None]]:
    async def assign(driver: object) -> None:
        setattr(driver, name, value)

    return assign


SPIES: dict[str, dict[str, Callable[[Any], Awaitable[object]]]] = {
    "sqlite": {
        "text_factory": assigned("text_factory", bytes),
        "row_factory": assigned("row_factory", sqlite3.Row),
        "trace": lambda driver: driver.set_trace_callback(print),
        "progress": lambda driver: driver.set_progress_handler(print, 1),
        "function": lambda driver: driver.create_function("length", 1, len),
        "a temporary table": lambda driver: driver.execute("CREATE TEMP TABLE projects (name)"),
    },
    "postgresql": {
        "query logger": lambda driver: driver.add_query_logger(nothing),
        "log listener": lambda driver: driver.add_log_listener(nothing),
        "listener": lambda driver: driver.add_listener("channel", nothing),
        "codec": lambda driver: driver.set_type_codec("text", encoder=str, decoder=str),
        "a setting": lambda driver: driver.execute("SET search_path = pg_temp"),
        "a temporary table": lambda driver: driver.execute(
            "CREATE TEMP TABLE projects (name text)"
        ),
    },
}


@cases({"all": {dialect: [*spies] for dialect, spies in SPIES.items()}}, lambda _: ALL)
async def test_nothing_is_left_on_a_connection_for_its_next_tenant(name: str, dialect: str) -> None:
    async with tenant_session("acme") as session:
        driver = await driver_of(session)
        with pytest.raises(TenancyError):
            await SPIES[dialect][name](driver)


@BOTH
async def test_a_driver_kept_from_before_shows_nothing_of_the_next_tenant(dialect: str) -> None:
    async with tenant_session("acme") as session:
        driver = await driver_of(session)
    async with tenant_session("globex") as globex:
        assert MARK in repr(await names(globex))
        with pytest.raises(TenancyError):
            await driver.execute("SELECT name FROM projects")


READ = "SELECT name FROM projects"
WRITE = "UPDATE projects SET name = 'x'"
GIVE = "UPDATE tasks SET tenant_id = 'globex'"


async def sign_in(run: Callable[[Any], Awaitable[None]]) -> None:
    """Run something by a connection of one's own, in the application's role and acme's name."""
    url = make_url(current_settings().DATABASE_URL).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        await connection.execute("SET app.tenant_id = 'acme'")
        await run(connection)
    finally:
        await connection.close()


@on("postgresql", ALL)
async def test_beneath_the_guard_postgresql_shows_and_changes_own_rows_only(dialect: str) -> None:
    async def work(connection: Any) -> None:
        assert [row["name"] for row in await connection.fetch(READ)] == ["acme project"]
        assert await connection.execute(WRITE) == "UPDATE 1"
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute(GIVE)
        for table in ("audit_log", "pg_authid"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                await connection.fetch(f"SELECT * FROM {table}")
        for change in (
            "DROP TABLE tasks",
            "CREATE TABLE more ()",
            "TRUNCATE tasks",
            "SET ROLE postgres",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(change)

    await sign_in(work)
    assert not await is_reached(None)


@on("postgresql", ALL)
async def test_beneath_the_guard_postgresql_shows_nothing_without_a_tenant(dialect: str) -> None:
    async def work(connection: Any) -> None:
        for nobody in ("RESET app.tenant_id", "SET app.tenant_id = ''", "SET app.tenant_id = '*'"):
            await connection.execute(nobody)
            assert await connection.fetch(READ) == []
            assert await connection.execute(WRITE) == "UPDATE 0"

    await sign_in(work)


@on("postgresql", {"guard", "gate", "keys"})
async def test_without_row_security_a_connection_of_one_s_own_reads_everything(
    dialect: str,
) -> None:
    async def work(connection: Any) -> None:
        assert MARK in repr(await connection.fetch(READ))
        assert await connection.execute(WRITE + " || name") == "UPDATE 2"

    await sign_in(work)


def connect(tenant: str | None, *, approved: str | None) -> sqlite3.Connection:
    """Return a connection of one's own, with the application's authorizer and function."""
    gate = Gate()
    gate._tenant, gate._approved = tenant, approved
    file = make_url(current_settings().DATABASE_URL).database
    connection = sqlite3.connect(file or "", isolation_level=None)
    connection.create_function(sqlite.FUNCTION, 1, lambda name: sqlite._may_write(gate, name))
    connection.set_authorizer(lambda *asked: sqlite._authorize(gate, *asked))
    return connection


CHANGES = (WRITE, GIVE, "DELETE FROM tasks", "UPDATE tenants SET status = 'active'")
SCHEMA = (
    "ATTACH ':memory:' AS other",
    "CREATE TABLE more (x)",
    "CREATE TEMP TABLE projects (x)",
    "DROP TABLE tasks",
    "DROP TRIGGER tasks_tenant_delete",
    "PRAGMA user_version",
    "PRAGMA writable_schema = 1",
    "SELECT sql FROM sqlite_master",
    "SELECT sql FROM sqlite_schema",
    "VACUUM INTO 'copy.db'",
)


@on("sqlite", ALL)
async def test_beneath_the_guard_sqlite_admits_nothing(dialect: str) -> None:
    with closing(connect("acme", approved=None)) as connection:
        for statement in (READ, *CHANGES, *SCHEMA):
            with pytest.raises(sqlite3.DatabaseError, match=r"authoriz|prohibited"):
                connection.execute(statement)


@on("sqlite", ALL)
async def test_while_a_statement_runs_sqlite_admits_reading_and_writing_own_rows(
    dialect: str,
) -> None:
    with closing(connect("acme", approved=READ)) as connection:
        assert (
            len(connection.execute(READ).fetchall()) == 2
        )  # that it reads own rows is the guard's
        for statement in CHANGES:
            with pytest.raises(sqlite3.IntegrityError, match="may not write"):
                connection.execute(statement)
        for statement in SCHEMA:
            with pytest.raises(sqlite3.DatabaseError, match=r"authoriz|prohibited"):
                connection.execute(statement)
        assert connection.execute(f"{WRITE} WHERE id = '{OWN.project.hex}'").rowcount == 1
        insert = "INSERT INTO tasks SELECT {}, '9', project_id, title, done, version, created_at, updated_at FROM tasks"
        for tenant in ("'globex'", "NULL"):
            with pytest.raises(sqlite3.IntegrityError, match="may not write"):
                connection.execute(insert.format(tenant))


@on("sqlite", ALL)
async def test_without_a_tenant_sqlite_writes_nothing(dialect: str) -> None:
    with closing(connect(None, approved=READ)) as connection:
        for row in (OWN, FOREIGN):
            with pytest.raises(sqlite3.IntegrityError, match="may not write"):
                connection.execute(f"DELETE FROM tasks WHERE id = '{row.task.hex}'")


@on("sqlite", {"guard", "gate", "keys"})
async def test_without_triggers_a_connection_of_one_s_own_writes_everything(dialect: str) -> None:
    with closing(connect("acme", approved=READ)) as connection:
        assert connection.execute(WRITE + " || id").rowcount == 2


async def look_at_everything() -> object:
    async with system_session("a test looks at everything") as session:
        return await names(session)


async def in_a_tenants_session() -> object:
    async with tenant_session("acme") as session:
        await names(session)
        return await look_at_everything()


async def in_a_task() -> object:
    return await asyncio.create_task(look_at_everything())


async def in_gathered_tasks() -> object:
    return await asyncio.gather(look_at_everything(), look_at_everything())


async def in_a_thread() -> object:
    async def look() -> object:
        try:
            return await look_at_everything()
        finally:
            await engines.dispose()

    return await asyncio.to_thread(asyncio.run, look())


async def beside_an_operator() -> object:
    async def serve() -> object:
        with serving_request():
            admit_operator()
            return await look_at_everything()

    await asyncio.create_task(serve())
    return await look_at_everything()


WAYS = (
    look_at_everything,
    in_a_tenants_session,
    in_a_task,
    in_gathered_tasks,
    in_a_thread,
    beside_an_operator,
)


@BOTH
@pytest.mark.parametrize("way", WAYS)
async def test_the_systems_door_is_shut_in_a_request(
    way: Callable[[], Coroutine[Any, Any, object]],
    dialect: str,
) -> None:
    with serving_request():
        identify("acme", "alice")
        with pytest.raises(TenancyError, match="may not see every tenant"):
            await way()


@BOTH
@pytest.mark.parametrize("way", WAYS)
async def test_an_operators_request_opens_the_systems_door(
    way: Callable[[], Coroutine[Any, Any, object]],
    dialect: str,
) -> None:
    with serving_request():
        identify("acme", "olga")
        admit_operator()
        assert MARK in repr(await way())


@BOTH
async def test_the_door_of_another_tenant_is_shut_in_a_request(dialect: str) -> None:
    with serving_request():
        identify("acme", "alice")
        with pytest.raises(TenancyError, match="CurrentUser"):
            async with tenant_session("globex"):
                pass


@pytest.fixture
async def client(dialect: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, with routes that a colleague has added."""
    app: FastAPI = create_app(current_settings())
    seen: list[object] = []

    async def later() -> None:
        try:
            seen.append(await look_at_everything())
        except TenancyError:
            seen.append("refused")

    @app.get("/now")
    async def now(user: CurrentUser) -> object:
        return await look_at_everything()

    @app.get("/later")
    async def background(user: CurrentUser, tasks: BackgroundTasks) -> None:
        tasks.add_task(later)

    @app.get("/seen")
    async def found() -> list[object]:
        return seen

    @app.get("/admin", dependencies=[Depends(require_scopes("tenants:admin"))])
    async def admin() -> object:
        return await look_at_everything()

    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as made:
            token = issuer.issue(current_settings(), "acme", "olga", "tenants:admin")
            made.headers["Authorization"] = f"Bearer {token}"
            yield made


@BOTH
async def test_the_scope_of_operators_opens_the_door_where_a_route_requires_it(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/now")).status_code == 500
    assert (await client.get("/later")).status_code == 200
    assert (await client.get("/seen")).json() == ["refused"]
    assert MARK in (await client.get("/admin")).text
