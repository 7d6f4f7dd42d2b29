"""Starts the service as a process of its own, for tests over real sockets."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.servers import free_port

BACKEND = Path(__file__).parents[2]
# The command line's `run`, with an application of the tests in place of the service's.
RUN = """
import sys
import uvicorn
from app import __main__
app, run = sys.argv.pop(), uvicorn.run
uvicorn.run = lambda _, **options: run(app, **options)
sys.exit(__main__.main(["run"]))
"""
PATIENCE = 30.0  # seconds for a process to start, or to stop


@dataclass(frozen=True)
class Server:
    """A process that serves HTTP."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        """What it has written to standard error so far."""
        return self.log_file.read_text("utf-8")

    def workers(self, number: int) -> list[int]:
        """Wait until so many workers have started, and return their ids in the order of that."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            started = re.findall(r"Started server process \[(\d+)\]", self.log)
            if len(started) == number:
                return [int(pid) for pid in started]
            time.sleep(0.02)
        raise TimeoutError(f"there are not {number} workers:\n{self.log}")

    def stop(self) -> int:
        """Ask it to end, as an orchestrator does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextmanager
def serve(
    environment: dict[str, str], app: str = "app.main:app", within: Sequence[str] = ()
) -> Iterator[Server]:
    """Yield a server that has these settings and no others, once it answers; stop it after.

    `within` is a command that runs the server's, as its last words.
    """
    port = free_port()
    variables = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": "",  # nothing from the developer's own .env file
        "PORT": str(port),
        **environment,
    }
    with tempfile.NamedTemporaryFile(prefix="server-", suffix=".log") as log:
        command = [*within, *_command(app)]
        process = subprocess.Popen(
            command, cwd=BACKEND, env=variables, stdout=subprocess.DEVNULL, stderr=log
        )
        server = Server(f"http://127.0.0.1:{port}", process, Path(log.name))
        try:
            _wait_until_live(server)
            yield server
            if process.poll() is None:
                server.stop()
        finally:
            process.kill()
            process.wait()


def command_line(environment: dict[str, str], *arguments: str) -> str:
    """Run the service's command line and return what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=BACKEND,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def _command(app: str) -> Sequence[str]:
    if app == "app.main:app":
        return [sys.executable, "-m", "app", "run"]
    return [sys.executable, "-c", RUN, app]


def _wait_until_live(server: Server) -> None:
    deadline = time.monotonic() + PATIENCE
    with httpx.Client(base_url=server.url) as client:
        while time.monotonic() < deadline:
            if server.process.poll() is not None:
                raise RuntimeError(f"the server ended at its start:\n{server.log}")
            try:
                if client.get("/health/live").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
    raise TimeoutError(f"the server does not answer:\n{server.log}")
