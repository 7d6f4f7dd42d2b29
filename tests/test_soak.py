"""The search for leaks, in its smallest size."""

import sys
from pathlib import Path

import pytest

from environments import Environment, run
from template_source import REPOSITORY

SOAK = REPOSITORY / "benchmarks" / "soak.py"
MODULES = f"{REPOSITORY}:{REPOSITORY / 'demo'}"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as on Linux")
def test_a_few_seconds_of_failing_requests_leak_nothing(environment: Environment) -> None:
    options: list[str | Path] = ["--minutes", "0.1", "--backend", environment.bin.parents[1]]
    said = run([sys.executable, SOAK, *options], REPOSITORY, PYTHONPATH=MODULES)
    assert "All of it holds." in said
