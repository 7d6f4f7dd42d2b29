"""A slice that reaches past the two doors to the database is named by `make lint`."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bakery import Bakery
from environments import Environment

ROUNDABOUT = {
    "the engines": "from app.db.engines import engine",
    "the package": "from app.db import open_session",
    "a way to make one": "from app.db.roles import create",
}


@pytest.mark.parametrize("statement", ROUNDABOUT.values(), ids=ROUNDABOUT)
def test_no_slice_reaches_an_engine(
    bakery: Bakery, environment: Environment, statement: str, tmp_path: Path
) -> None:
    backend = tmp_path / "backend"
    shutil.copytree(bakery.project({}) / "backend", backend)
    (backend / "app" / "projects" / "shortcut.py").write_text(f"{statement}\n")
    said = subprocess.run(
        [environment.bin / "lint-imports", "--no-cache"],
        cwd=backend,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert "app.projects.shortcut" in said.stdout
