"""What is generated proves itself: `make test`, in an environment of its own making."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from bakery import Bakery
from environments import path_without_uv, run, uv

Record = Callable[[str, object], None]
DEAD_END = "http://127.0.0.1:9"  # nobody listens there
NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), DEAD_END)


def test_the_suite_with_sentry(bakery: Bakery, tmp_path: Path, record_property: Record) -> None:
    """Where there is no uv yet: pip fetches it."""
    project = bakery.fresh_project({"include_sentry": "yes"}, tmp_path)
    said = run(["make", "test"], project, PATH=path_without_uv())
    record_property("generated suite with Sentry", summary(said))
    assert (project / "backend" / "uv.lock").is_file()
    run(["make", "install"], project, PATH=path_without_uv(), **NO_NETWORK)


def test_the_suite_without_sentry(bakery: Bakery, tmp_path: Path, record_property: Record) -> None:
    """Where uv is on the path."""
    project = bakery.fresh_project({"include_sentry": "no"}, tmp_path)
    said = run(["make", "test"], project)
    record_property("generated suite without Sentry", summary(said))
    lock = (project / "backend" / "uv.lock").read_text()
    assert "sentry" not in lock.lower()
    run(["make", "install"], project, **NO_NETWORK)
    installed = [path.name.lower() for path in (project / "backend" / ".venv").rglob("*")]
    assert "fastapi" in installed
    assert "sentry_sdk" not in installed


def test_the_suite_of_processes(bakery: Bakery, tmp_path: Path, record_property: Record) -> None:
    """What a service reports is looked for in a real server, which is installed for it."""
    project = bakery.fresh_project({"include_sentry": "yes"}, tmp_path)
    said = summary(run(["make", "e2e"], project, CI="true"))
    record_property("generated suite of processes", said)
    assert "skipped" not in said


def test_the_suite_with_the_lowest_versions_allowed(
    bakery: Bakery, tmp_path: Path, record_property: Record
) -> None:
    backend = bakery.fresh_project({}, tmp_path) / "backend"
    python = backend / ".venv" / "bin" / "python"
    run([uv(), "venv", "--quiet", "--python", sys.executable, ".venv"], backend)
    lowest = ["--resolution", "lowest-direct", "-r", "pyproject.toml", "--extra", "test"]
    run([uv(), "pip", "install", "--quiet", "--python", python, *lowest], backend)
    # Not the attacks, which take half of the time: SQLAlchemy is held to one minor version.
    suites = ("tests/unit", "tests/integration", "tests/wire")
    said = run([python, "-m", "pytest", *suites], backend)
    record_property("generated suite, lowest versions", summary(said))


def summary(said: str) -> str:
    """Return the last line of a suite, which has to say how many tests passed."""
    closing = said.strip().splitlines()[-1]
    assert re.search(r"\b[1-9]\d* passed\b", closing), said
    return closing.strip("= ")
