"""A real PostgreSQL server of this machine, started for a test and gone after it."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SUPERUSER = "postgres"


@dataclass(frozen=True)
class Server:
    """A running server: it listens on loopback, and asks everyone for a password."""

    programs: Path
    port: int
    password: str

    @property
    def address(self) -> str:
        """Where it listens, as in a URL."""
        return f"127.0.0.1:{self.port}"

    def psql(
        self, *words: str | Path, user: str = SUPERUSER, database: str = "postgres"
    ) -> subprocess.CompletedProcess[str]:
        """Run psql, which stops at the first error, and return what it printed, unaligned."""
        url = f"postgresql://{user}:{self.password}@{self.address}/{database}"
        options = ["--no-psqlrc", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]
        return subprocess.run(
            [self.programs / "psql", *options, url, *words],
            capture_output=True,
            text=True,
            check=False,
        )


def programs() -> Path | None:
    """Return the directory with a server's programs, on PATH or where Debian keeps them."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    return newest.parent if newest else None


@contextmanager
def running(binaries: Path, password: str) -> Iterator[Server]:
    """Make a cluster, run it, and remove it."""
    # Not pytest's directory: the server refuses to run as root, and only root may go in there.
    directory = Path(tempfile.mkdtemp(prefix="postgresql-"))
    user = _unprivileged_user()
    if user:
        shutil.chown(directory, user)
    (directory / "password").write_text(password)
    (directory / "password").chmod(0o644)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(program: str, *words: str) -> None:
        # No pipe: the server would inherit it, and waiting for its end would be for ever.
        with (directory / "output").open("w") as output:
            done = subprocess.run(
                [binaries / program, f"--pgdata={directory / 'data'}", *words],
                cwd=directory,
                user=user,
                stdout=output,
                stderr=output,
                check=False,
            )
        assert done.returncode == 0, (directory / "output").read_text()

    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    try:
        secure = (f"--username={SUPERUSER}", "--auth=scram-sha-256", "--pwfile=password")
        run("initdb", "--no-sync", *secure)
        run("pg_ctl", "start", "--wait", f"--log={directory / 'log'}", f"--options={options}")
        try:
            yield Server(binaries, port, password)
        finally:
            run("pg_ctl", "stop", "--mode=immediate")
    finally:
        shutil.rmtree(directory)


def _unprivileged_user() -> str | None:
    if os.getuid():
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)
