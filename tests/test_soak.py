"""The long searches, each in its smallest size."""

import sys
from pathlib import Path

import pytest

from environments import Environment, run
from template_source import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
MODULES = f"{REPOSITORY}:{REPOSITORY / 'demo'}"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as on Linux")
def test_a_few_seconds_of_failing_requests_leak_nothing(environment: Environment) -> None:
    options: list[str | Path] = ["--minutes", "0.1", "--backend", environment.bin.parents[1]]
    soak = BENCHMARKS / "soak.py"
    said = run([sys.executable, soak, *options], REPOSITORY, PYTHONPATH=MODULES)
    assert "All of it holds." in said


def test_a_few_steps_find_no_way_to_another_tenant(environment: Environment) -> None:
    said = in_generated(environment, "isolation_soak.py", "--minutes", "0.01")
    assert [line.split()[1] for line in said.splitlines()] == ["holds"] * 8


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as on Linux")
def test_a_few_requests_notice_no_fault(environment: Environment) -> None:
    requests = {"never_answers": "120", "a_worker_that_dies": "72"}
    options = ("--seconds", "0.5", "--errors", "100")
    said = in_generated(environment, "faults.py", *options, *requests)
    rows = [line.split()[:3] for line in said.splitlines() if line.startswith(tuple(requests))]
    assert rows[:2] == [[name, number, "0"] for name, number in requests.items()]


def test_a_change_of_the_layers_is_seen(environment: Environment) -> None:
    assert "of 1 changes no test sees 0" in in_generated(environment, "mutate.py", "--sample", "1")


def in_generated(environment: Environment, program: str, *options: str) -> str:
    """Run a program of the benchmarks in the environment of a generated project."""
    backend = environment.bin.parents[1]
    command: list[str | Path] = [environment.bin / "python", BENCHMARKS / program, *options]
    variables = {"PYTHONPATH": f"{backend}:{BENCHMARKS}", "ENV_FILE": "", "LOG_LEVEL": "WARNING"}
    return run(command, backend, **variables)
