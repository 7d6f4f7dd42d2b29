"""Starts a real PgBouncer in front of the tests' PostgreSQL, in transaction mode."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

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
        reason = "no PgBouncer: install Debian's pgbouncer"
        # In CI a missing server is a fault, not an excuse.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = free.getsockname()[1]
    parsed = {setting: make_url(url) for setting, url in urls.items()}
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as directory:
        _configure(Path(directory), list(parsed.values()), listen, servers)
        process = _start(binary, Path(directory))
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


def _configure(directory: Path, urls: list[URL], listen: int, servers: int) -> None:
    text = CONFIGURATION.format(
        host=urls[0].host, port=urls[0].port or 5432, listen=listen, servers=servers
    )
    (directory / "pgbouncer.ini").write_text(text)
    # It signs in to the server with the passwords that it is itself signed in to with.
    users = "".join(f'"{url.username}" "{url.password}"\n' for url in urls)
    (directory / "users.txt").write_text(users)


def _start(binary: str, directory: Path) -> subprocess.Popen[str]:
    # PgBouncer refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(directory, user)
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
