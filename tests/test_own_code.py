"""The template's own Python is as clean as what it generates."""

import sys
from pathlib import Path

import pytest

from bakery import PROJECT
from environments import run

TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--no-cache"], ["mypy"]],
    ids=" ".join,
)
def test_is_clean(template: Path, tmp_path: Path, command: list[str]) -> None:
    program, *words = command
    run([TOOLS / program, *words], template, MYPY_CACHE_DIR=tmp_path)


def test_no_fixer_reaches_the_unrendered_files(template: Path) -> None:
    seen = run([TOOLS / "ruff", "check", "--show-files"], template)
    assert "generation.py" in seen
    assert PROJECT not in seen
