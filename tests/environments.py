"""Runs what a project documents, in the environment that the project makes for itself."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# What the run of these tests sets for itself, and a person's shell would not have.
OURS = {
    *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS"),
    *("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS", "SIZE"),
}


@dataclass(frozen=True)
class Environment:
    """Where the generated project's tools are, and a cache that its variants share."""

    bin: Path
    mypy_cache: Path


def run(command: Sequence[str | Path], directory: Path, **variables: str | Path) -> str:
    """Run a command as a person would, and return what it prints; it has to succeed."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=without_ours() | {name: str(value) for name, value in variables.items()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def without_ours() -> dict[str, str]:
    """Return the environment of the person who runs these tests."""
    return {name: value for name, value in os.environ.items() if name not in OURS}


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def path_without_uv() -> str:
    """Return a search path on which no uv is found, and all else is."""
    directories = os.environ["PATH"].split(os.pathsep)
    path = os.pathsep.join(d for d in directories if not (Path(d) / "uv").exists())
    assert shutil.which("make", path=path), "make and uv share a directory"
    return path


def uv() -> str:
    """Return uv's program: of the search path, or of the environment that these tests run in."""
    beside = Path(sys.executable).parent
    found = shutil.which("uv") or shutil.which("uv", path=beside)
    assert found, "make test installs uv"
    return found
