"""The command line, as a person or a job runs it: what it prints, and how it fails."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import make_url

from app.auth import parse
from app.auth.verifier import Verifier
from app.core.config import DEVELOPMENT_PASSWORD, Settings
from tests.servers import Cluster

BACKEND = Path(__file__).parents[2]

Run = subprocess.CompletedProcess[str]
Environment = dict[str, str]

# Each command is a process of its own: the dialect matters in few of them.
on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("settings", ["postgresql"], indirect=True)


@pytest.fixture
def environment(settings: Settings) -> Environment:
    """The variables of a service on the test's own database."""
    return {**settings.database_urls, "AUTH_LOCAL_KEY_FILE": settings.AUTH_LOCAL_KEY_FILE}


def app(environment: Environment, *arguments: str) -> Run:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=BACKEND,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def done(environment: Environment, *arguments: str) -> str:
    """Run a command that must succeed in silence, and return what it prints."""
    run = app(environment, *arguments)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.strip()


def refused(environment: Environment, *arguments: str) -> str:
    """Run a command that must fail, with one sentence and nothing else; return the sentence."""
    run = app(environment, *arguments)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.count("\n") == 1
    return run.stderr.strip()


@on_postgresql
def test_a_tenant_lives_from_creation_to_erasure(environment: Environment) -> None:
    assert done(environment, "tenant", "create", "acme") == "The tenant acme is active."
    assert done(environment, "tenant", "create", "acme") == "The tenant acme is active already."
    assert done(environment, "tenant", "suspend", "acme") == "The tenant acme is suspended."
    assert refused(environment, "tenant", "create", "acme") == "The tenant acme is suspended."
    told = "Telemetry may tell of the tenant acme: none."
    assert done(environment, "consent", "acme", "none") == told
    assert refused(environment, "consent", "nobody", "none") == "There is no tenant nobody."
    assert done(environment, "tenant", "resume", "acme") == "The tenant acme is active."
    assert done(environment, "tenant", "erase", "acme").endswith("The tenant acme is erased.")
    assert refused(environment, "tenant", "resume", "acme") == "The tenant acme is erased."


@on_sqlite
def test_what_a_tenant_has_is_exported_and_erased(environment: Environment) -> None:
    done(environment, "tenant", "create", "acme")
    done(environment, "tenant", "create", "globex")
    add_projects(environment, acme=["Apollo \u2764"], globex=["planted"])
    lines = done(environment, "tenant", "export", "acme").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["table"], row["row"]["name"]) for row in rows] == [("projects", "Apollo \u2764")]
    erased = done(environment, "tenant", "erase", "acme").splitlines()
    assert erased == [
        "tasks: 0 rows erased, 0 left",
        "projects: 1 rows erased, 0 left",
        "The tenant acme is erased.",
    ]
    assert done(environment, "tenant", "export", "acme") == ""
    assert "planted" in done(environment, "tenant", "export", "globex")


def add_projects(environment: Environment, **names: list[str]) -> None:
    """Store projects of some tenants, by a script such as a team may write."""
    script = (
        "import asyncio, json, sys\n"
        "from app.db import engines\n"
        "from app.projects.models import Project\n"
        "from app.tenancy import tenant_session\n"
        "async def add():\n"
        "    for tenant, names in json.loads(sys.argv[1]).items():\n"
        "        async with tenant_session(tenant) as session:\n"
        "            session.add_all([Project(name=name) for name in names])\n"
        "    await engines.dispose()\n"
        "asyncio.run(add())\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, json.dumps(names)],
        cwd=BACKEND,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", **environment},
        check=True,
    )


@on_sqlite
@pytest.mark.parametrize("action", ["suspend", "export", "erase"])
def test_a_tenant_that_does_not_exist_is_said_to(environment: Environment, action: str) -> None:
    assert refused(environment, "tenant", action, "initech") == "There is no tenant initech."


@on_sqlite
@pytest.mark.parametrize("name", ["Acme", "acme\n"])
def test_a_bad_name_is_refused_with_the_rule(environment: Environment, name: str) -> None:
    rule = "A tenant's name is a lower-case letter followed by 1 to 62 of a-z, 0-9 and '-'."
    assert refused(environment, "tenant", "create", name) == rule


def started(environment: Environment, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "app", *arguments],
        cwd=BACKEND,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@on_sqlite
def test_long_work_tells_how_far_it_is(environment: Environment) -> None:
    done(environment, "tenant", "create", "acme")
    add_projects(environment, acme=[f"{number:0255}" for number in range(500)])
    process = started(environment, "tenant", "export", "acme")
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(2)  # the export waits, because more is written than a pipe holds
    lines, told = process.communicate(timeout=60)
    assert (first + lines).count("\n") == 500
    assert re.fullmatch(r"(\d+ rows so far\n)+", told)


@on_sqlite
def test_a_reader_who_has_enough_is_no_fault(environment: Environment) -> None:
    done(environment, "tenant", "create", "acme")
    add_projects(environment, acme=["Apollo"])
    process = started(environment, "tenant", "export", "acme")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(60) == 0


@on_sqlite
def test_token_prints_a_token_and_nothing_else(
    environment: Environment, settings: Settings
) -> None:
    run = app(environment, "token", "--tenant", "acme", "--user", "alice", "--scope", "a b")
    assert (run.returncode, run.stderr) == (0, "")
    principal = asyncio.run(Verifier(settings).verify(run.stdout.removesuffix("\n")))
    assert (principal.tenant_id, principal.user_id) == ("acme", "alice")
    assert principal.scopes == {"a", "b"}
    claims = parse(run.stdout.strip()).claims
    assert int(str(claims["exp"])) - int(str(claims["iat"])) >= 3600


TOKENS_REFUSED = {
    "another issuer's": (
        {"AUTH_ISSUER": "https://issuer.example.com"},
        ["--tenant", "acme", "--user", "alice"],
        "AUTH_ISSUER is set: tokens come from that issuer, not from the local one.",
    ),
    "a bad tenant": (
        {},
        ["--tenant", "Acme", "--user", "alice"],
        "A tenant's name is a lower-case letter followed by 1 to 62 of a-z, 0-9 and '-'.",
    ),
    "a bad user": (
        {},
        ["--tenant", "acme", "--user", ""],
        "The service would refuse this token: bad_subject.",
    ),
    "a bad scope": (
        {},
        ["--tenant", "acme", "--user", "alice", "--scope", "a  b"],
        "The service would refuse this token: bad_scope.",
    ),
    "no place for the key": (
        {"AUTH_LOCAL_KEY_FILE": "/dev/null/issuer.json"},
        ["--tenant", "acme", "--user", "alice"],
        "AUTH_LOCAL_KEY_FILE names a file that can't be used (FileExistsError).",
    ),
    "a key file that holds none": (
        {"AUTH_LOCAL_KEY_FILE": "pyproject.toml"},
        ["--tenant", "acme", "--user", "alice"],
        "AUTH_LOCAL_KEY_FILE names a file that can't be used (JSONDecodeError).",
    ),
}


@on_sqlite
@pytest.mark.parametrize(
    ("changes", "arguments", "sentence"), TOKENS_REFUSED.values(), ids=TOKENS_REFUSED
)
def test_a_token_that_would_not_do_is_not_made(
    environment: Environment, changes: Environment, arguments: list[str], sentence: str
) -> None:
    assert refused({**environment, **changes}, "token", *arguments) == sentence


@on_sqlite
def test_the_database_is_upgraded_as_often_as_one_likes(environment: Environment) -> None:
    assert done(environment, "db", "upgrade") == "The database is up to date."
    assert done(environment, "db", "check") == "The database is ready."


NO_TABLES = "The database has no tables yet: run python -m app db upgrade."


def test_a_database_that_is_not_migrated_says_what_to_run(tmp_path: Path) -> None:
    empty = {"DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/made/here/empty.db"}
    assert refused(empty, "tenant", "create", "acme") == NO_TABLES
    assert refused(empty, "db", "check") == NO_TABLES
    done(empty, "db", "upgrade")
    assert done(empty, "tenant", "create", "acme") == "The tenant acme is active."


def test_a_postgresql_that_is_not_migrated_says_what_to_run(cluster: Cluster) -> None:
    empty = cluster.urls(cluster.create_database())
    assert refused(empty, "tenant", "create", "acme") == NO_TABLES
    assert refused(empty, "db", "check") == NO_TABLES


@on_sqlite
def test_a_database_of_a_newer_version_is_left_alone(
    environment: Environment, settings: Settings
) -> None:
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"
    )
    file = settings.DATABASE_URL.removeprefix("sqlite+aiosqlite:///")
    change = "UPDATE alembic_version SET version_num = 'newer'"
    subprocess.run([sys.executable, "-c", script, file, change], check=True)
    assert refused(environment, "db", "upgrade") == "Can't locate revision identified by 'newer'"


PRODUCTION = {
    "ENVIRONMENT": "production",
    "AUTH_ISSUER": "https://issuer.example.com",
    "DATABASE_URL": "postgresql+asyncpg://app:planted@127.0.0.1:1/service",
    "SYSTEM_DATABASE_URL": "postgresql+asyncpg://app_system:planted@127.0.0.1:1/service",
    "MIGRATION_DATABASE_URL": "postgresql+asyncpg://app_owner:planted@127.0.0.1:1/service",
}

NOT_TO_BE_RUN = {
    "debug": ({"DEBUG": "true"}, "DEBUG must be off in production."),
    "the local issuer": (
        {"AUTH_ISSUER": ""},
        "AUTH_ISSUER must be set in production: the local issuer is for development.",
    ),
    "an issuer over http": (
        {"AUTH_ISSUER": "http://issuer.example.com"},
        "AUTH_ISSUER must start with https:// in production.",
    ),
    "a development password": (
        {"SYSTEM_DATABASE_URL": f"postgresql+asyncpg://s:{DEVELOPMENT_PASSWORD}@127.0.0.1:1/x"},
        "SYSTEM_DATABASE_URL must not use the development password in production.",
    ),
    "two settings with one role": (
        {"SYSTEM_DATABASE_URL": PRODUCTION["DATABASE_URL"]},
        "SYSTEM_DATABASE_URL must name a role of its own: 'app' is the one of DATABASE_URL.",
    ),
    "no role of the system": (
        {"SYSTEM_DATABASE_URL": ""},
        "SYSTEM_DATABASE_URL must name a role of its own: 'app' is the one of DATABASE_URL.",
    ),
    "no database": (
        {},
        "The database can't be used: look at DATABASE_URL, SYSTEM_DATABASE_URL and "
        "MIGRATION_DATABASE_URL (ConnectionRefusedError).",
    ),
    "a port that is no number": (
        {"PORT": "x"},
        "PORT: Input should be a valid integer, unable to parse string as an integer",
    ),
    "a list that is no JSON": (
        {"CORS_ORIGINS": "https://app.example.com"},
        'error parsing value for field "CORS_ORIGINS" from source "EnvSettingsSource": '
        "a list or a map is written as JSON.",
    ),
    "a driver that nobody knows": (
        {"DATABASE_URL": "postgresql://app:planted@127.0.0.1:1/service"},
        "DATABASE_URL: the URL must start with one of sqlite+aiosqlite, postgresql+asyncpg",
    ),
}


@pytest.mark.parametrize(("changes", "sentence"), NOT_TO_BE_RUN.values(), ids=NOT_TO_BE_RUN)
def test_production_does_not_start_with(changes: Environment, sentence: str) -> None:
    # The port is taken: who got as far as listening would say that instead.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert refused({**PRODUCTION, "PORT": port, **changes}, "run") == sentence


@on_sqlite
def test_a_service_that_may_start_gets_as_far_as_listening(environment: Environment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        production = {"ENVIRONMENT": "production", "AUTH_ISSUER": PRODUCTION["AUTH_ISSUER"]}
        run = app({**environment, **production, "PORT": port}, "run")
    assert run.returncode != 0
    assert f"http://127.0.0.1:{port}/docs" in run.stdout
    assert "address already in use" in run.stderr
    assert "Traceback" not in run.stderr


@on_postgresql
def test_a_database_that_does_not_exist_is_told_in_one_sentence(environment: Environment) -> None:
    elsewhere = {name: value.replace("/test_", "/no_") for name, value in environment.items()}
    assert elsewhere["DATABASE_URL"] != environment["DATABASE_URL"]
    assert refused(elsewhere, "db", "check") == (
        "The database can't be used: look at DATABASE_URL, SYSTEM_DATABASE_URL and "
        "MIGRATION_DATABASE_URL (InvalidCatalogNameError)."
    )


@on_postgresql
def test_a_superuser_is_not_to_serve(environment: Environment, cluster: Cluster) -> None:
    database = environment["DATABASE_URL"].rpartition("/")[2]
    superuser = {**environment, "DATABASE_URL": cluster.superuser_url(database)}
    sentence = "DATABASE_URL must name a role of its own: this one is a superuser."
    assert refused(superuser, "run") == sentence


@on_postgresql
def test_the_owner_of_the_tables_is_not_to_serve(environment: Environment) -> None:
    owner, application = environment["MIGRATION_DATABASE_URL"], environment["DATABASE_URL"]
    swapped = {**environment, "DATABASE_URL": owner, "MIGRATION_DATABASE_URL": application}
    sentence = "DATABASE_URL must name a role of its own: this one owns the tables."
    assert refused(swapped, "run") == sentence


@on_postgresql
def test_the_system_is_not_to_own_the_tables_either(environment: Environment) -> None:
    owner, system = environment["MIGRATION_DATABASE_URL"], environment["SYSTEM_DATABASE_URL"]
    swapped = {**environment, "SYSTEM_DATABASE_URL": owner, "MIGRATION_DATABASE_URL": system}
    sentence = "SYSTEM_DATABASE_URL must name a role of its own: this one owns the tables."
    assert refused(swapped, "run") == sentence


BYPASS = "may bypass row-level security"
UNSAFE = {
    "may bypass": ("ALTER ROLE {role} BYPASSRLS", "ALTER ROLE {role} NOBYPASSRLS", BYPASS),
    "may make roles": ("ALTER ROLE {role} CREATEROLE", "ALTER ROLE {role} NOCREATEROLE", BYPASS),
    "reads files": (
        "GRANT pg_read_server_files TO {role}",
        "REVOKE pg_read_server_files FROM {role}",
        BYPASS,
    ),
    "is the owner too": (
        "GRANT {owner} TO {role}",
        "REVOKE {owner} FROM {role}",
        "owns the tables",
    ),
    "may truncate": (
        "GRANT TRUNCATE ON tasks TO {role}",
        "REVOKE TRUNCATE ON tasks FROM {role}",
        "may truncate tables, or put triggers or foreign keys on them",
    ),
    "owns the schema": (
        "ALTER SCHEMA public OWNER TO {role}",
        "ALTER SCHEMA public OWNER TO pg_database_owner",
        "owns the schema or the database, and may drop the tables",
    ),
    "meets no policy": (
        "ALTER TABLE tasks NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE tasks FORCE ROW LEVEL SECURITY",
        "reaches a table whose row-level security is not enabled and forced",
    ),
}


@pytest.mark.parametrize(("change", "undo", "fault"), UNSAFE.values(), ids=UNSAFE)
@on_postgresql
def test_a_role_that_can_go_around_row_security_is_not_to_serve(
    environment: Environment, cluster: Cluster, change: str, undo: str, fault: str
) -> None:
    names = {"role": "DATABASE_URL", "owner": "MIGRATION_DATABASE_URL"}
    urls = {each: make_url(environment[setting]) for each, setting in names.items()}
    roles = {each: url.username for each, url in urls.items()}
    database = str(urls["role"].database)
    cluster.execute(database, change.format(**roles))
    try:
        sentence = f"DATABASE_URL must name a role of its own: this one {fault}."
        assert refused(environment, "run") == sentence
    finally:
        cluster.execute(database, undo.format(**roles))


@on_postgresql
def test_migrations_are_refused_to_a_role_that_serves(environment: Environment) -> None:
    shared = {**environment, "MIGRATION_DATABASE_URL": environment["DATABASE_URL"]}
    told = refused(shared, "db", "upgrade")
    assert told.startswith("MIGRATION_DATABASE_URL must name a role of its own:")
    assert told.endswith("is the one of DATABASE_URL.")


@pytest.mark.parametrize("arguments", [[], ["tenant", "drop", "acme"]])
def test_a_command_that_nobody_knows_is_answered_with_the_usage(arguments: list[str]) -> None:
    run = app({}, *arguments)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("usage: python -m app")
