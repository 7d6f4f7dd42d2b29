"""Finds a PostgreSQL for the tests: one that is told of, or one started from its binaries."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL, make_url

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
        reason = "no PostgreSQL: set TEST_DATABASE_URL, or install Debian's postgresql"
        # In CI a missing server is a fault, not an excuse.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with tempfile.TemporaryDirectory(prefix="postgresql-") as directory:
        yield from _start(binaries, Path(directory))


def _binaries() -> Path | None:
    """Return the directory of the newest PostgreSQL on this machine."""
    packaged = Path("/usr/lib/postgresql").glob("*/bin")
    if newest := max(packaged, key=lambda each: int(each.parent.name), default=None):
        return newest
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def _start(binaries: Path, directory: Path) -> Iterator[Cluster]:
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(directory, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

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
