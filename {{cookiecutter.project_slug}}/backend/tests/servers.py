"""Real servers for the tests: PostgreSQL, a PgBouncer in front of it, and Redis.

Each is one that is told of, or one that is started from its binaries; where there is none, a test
that needs it is skipped, and says so.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import asyncpg
import pytest
from sqlalchemy import URL, make_url


def missing(what: str) -> NoReturn:
    """Skip a test for want of a server. In CI that is a fault, not an excuse."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def give_to_nobody(directory: Path) -> str | None:
    """Return an account that a server may run under which refuses root, and give it its files."""
    if os.geteuid() != 0:
        return None
    shutil.chown(directory, "nobody")
    return "nobody"


# PostgreSQL

ROLES = {
    "DATABASE_URL": "app",
    "SYSTEM_DATABASE_URL": "app_system",
    "MIGRATION_DATABASE_URL": "app_owner",
}


class Cluster:
    """A PostgreSQL server, as its superuser knows it."""

    def __init__(self, url: URL) -> None:
        self._url = url
        # A server that is used again, or by others, has roles of other runs.
        self._run = uuid.uuid4().hex[:8]
        for role in ROLES.values():
            self._execute(f"CREATE ROLE {role}_{self._run} LOGIN PASSWORD '{self._run}'")

    def create_database(self) -> str:
        """Create a database that the owner's role owns; return its name."""
        name = f"test_{uuid.uuid4().hex}"
        owner = f"{ROLES['MIGRATION_DATABASE_URL']}_{self._run}"
        self._execute(f"CREATE DATABASE {name} OWNER {owner}")
        return name

    def urls(self, database: str) -> dict[str, str]:
        """Return the three settings that name a database, each with a role of its own."""
        return {
            setting: self._url.set(
                database=database, username=f"{role}_{self._run}", password=self._run
            ).render_as_string(hide_password=False)
            for setting, role in ROLES.items()
        }

    def superuser_url(self, database: str) -> str:
        """Return a URL that signs in as the superuser: what no setting may name."""
        return self._url.set(database=database).render_as_string(hide_password=False)

    def version(self) -> str:
        """Return the server's version, as it writes it."""
        return str(self._ask("fetchval", "SHOW server_version"))

    def execute(self, database: str, statement: str) -> None:
        """Run a statement as the superuser."""
        self._ask("execute", statement, database)

    def _execute(self, statement: str) -> None:
        self._ask("execute", statement)

    def _ask(self, method: str, statement: str, database: str | None = None) -> object:
        url = self._url.set(drivername="postgresql", database=database or self._url.database)

        async def run() -> object:
            connection = await asyncpg.connect(url.render_as_string(hide_password=False))
            try:
                return await getattr(connection, method)(statement)
            finally:
                await connection.close()

        return asyncio.run(run())


@contextmanager
def find_cluster() -> Iterator[Cluster]:
    """Yield the server that TEST_DATABASE_URL names, or start one; skip where there is none."""
    if told := os.environ.get("TEST_DATABASE_URL"):
        yield Cluster(make_url(told))
        return
    if (binaries := _binaries()) is None:
        missing("no PostgreSQL: set TEST_DATABASE_URL, or install Debian's postgresql")
    with tempfile.TemporaryDirectory(prefix="postgresql-") as directory:
        yield from _start_postgresql(binaries, Path(directory))


def _binaries() -> Path | None:
    """Return the directory of the newest PostgreSQL on this machine."""
    packaged = Path("/usr/lib/postgresql").glob("*/bin")
    if newest := max(packaged, key=lambda each: int(each.parent.name), default=None):
        return newest
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def _start_postgresql(binaries: Path, directory: Path) -> Iterator[Cluster]:
    user, port = give_to_nobody(directory), free_port()

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [binaries / program, "-D", "data", *arguments],
            user=user,
            cwd=directory,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    run("initdb", "-U", "postgres", "-A", "trust", "--no-sync")
    options = f"-p {port} -k {directory} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "start", "-w", "-l", "log", "-o", options)
    try:
        yield Cluster(make_url(f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"))
    finally:
        # Nothing is kept, so nothing need be written.
        run("pg_ctl", "stop", "-w", "-m", "immediate")


# PgBouncer, in transaction mode

# Nothing is logged later, for nobody reads it.
CONFIGURATION = """
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = users.txt
pool_mode = transaction
default_pool_size = {servers}
log_connections = 0
log_disconnections = 0
log_pooler_errors = 0
log_stats = 0
"""


@contextmanager
def start_pgbouncer(urls: Mapping[str, str], servers: int) -> Iterator[dict[str, str]]:
    """Yield the settings of a database so that they lead through a pooler.

    It has that many connections to the server for each role. Skip where there is no PgBouncer.
    """
    # Debian keeps it where only an administrator looks.
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    if (binary := shutil.which("pgbouncer", path=path)) is None:
        missing("no PgBouncer: install Debian's pgbouncer")
    listen = free_port()
    parsed = {setting: make_url(url) for setting, url in urls.items()}
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as directory:
        _configure_pgbouncer(Path(directory), list(parsed.values()), listen, servers)
        process = _start_pgbouncer(binary, Path(directory))
        try:
            yield {
                setting: url.set(host="127.0.0.1", port=listen).render_as_string(
                    hide_password=False
                )
                for setting, url in parsed.items()
            }
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _configure_pgbouncer(directory: Path, urls: list[URL], listen: int, servers: int) -> None:
    text = CONFIGURATION.format(
        host=urls[0].host, port=urls[0].port or 5432, listen=listen, servers=servers
    )
    (directory / "pgbouncer.ini").write_text(text)
    # It signs in to the server with the passwords that it is itself signed in to with.
    users = "".join(f'"{url.username}" "{url.password}"\n' for url in urls)
    (directory / "users.txt").write_text(users)


def _start_pgbouncer(binary: str, directory: Path) -> subprocess.Popen[str]:
    user = give_to_nobody(directory)
    process = subprocess.Popen(
        [binary, "pgbouncer.ini"], user=user, cwd=directory, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "process up" in line:
            return process
    raise RuntimeError(f"PgBouncer did not start: {''.join(said)}")


# Redis

PASSWORD = "planted-password"


class RedisServer:
    """A Redis server of the tests' own, which may die, hang and come back."""

    def __init__(self, binary: str, directory: Path) -> None:
        port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{port}"
        self._command = [binary, "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
        self._command += ["--requirepass", PASSWORD, "--dir", str(directory)]
        self.start()

    def start(self) -> None:
        """Start it, with nothing in it; return when it can be used."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if not any("Ready to accept connections" in line for line in self._process.stdout):
            raise RuntimeError("redis-server did not start")

    def kill(self) -> None:
        """End it at once; what it had is gone."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def hang(self) -> None:
        """Let it keep its connections, and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it answer again, first of all what it was asked meanwhile."""
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def find_redis() -> Iterator[str]:
    """Yield the URL of the server that TEST_REDIS_URL names, or of one that is started."""
    if told := os.environ.get("TEST_REDIS_URL"):
        yield told
        return
    with start_redis() as server:
        yield server.url


@contextmanager
def start_redis() -> Iterator[RedisServer]:
    """Yield a server of the tests' own; skip where there is no binary."""
    if (binary := shutil.which("redis-server")) is None:
        missing("no Redis: install Debian's redis-server (or, for most tests, set TEST_REDIS_URL)")
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        server = RedisServer(binary, Path(directory))
        try:
            yield server
        finally:
            server.kill()
