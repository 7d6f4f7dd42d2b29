"""Finds a Redis for the tests: one that is told of, or one started from its binary."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "planted-password"


class Server:
    """A Redis server of the tests' own, which may die, hang and come back."""

    def __init__(self, binary: str, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
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
def start_redis() -> Iterator[Server]:
    """Yield a server of the tests' own; skip where there is no binary."""
    if (binary := shutil.which("redis-server")) is None:
        reason = "no Redis: install Debian's redis-server (or, for most tests, set TEST_REDIS_URL)"
        # In CI a missing server is a fault, not an excuse.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        server = Server(binary, Path(directory))
        try:
            yield server
        finally:
            server.kill()
