"""Bakes the template: through the command line that is documented, and inside this process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from cookiecutter.main import cookiecutter

from template_source import REPOSITORY, copy_template

PROJECT = "{{cookiecutter.project_slug}}"
QUESTIONS = json.loads((REPOSITORY / "cookiecutter.json").read_text())
OPTIONS = [name for name in QUESTIONS if name.startswith("include_")]
LICENSES: list[str] = QUESTIONS["license"]

Answers = Mapping[str, str]
COMBINATIONS: list[Answers] = [
    dict(zip(OPTIONS, chosen, strict=True))
    for chosen in product(("yes", "no"), repeat=len(OPTIONS))
]
ALL_CHOSEN: Answers = dict.fromkeys(OPTIONS, "yes")


def name_of(answers: Answers) -> str:
    """Return a test's name for these answers: what was chosen."""
    chosen = [name.removeprefix("include_") for name in OPTIONS if answers.get(name) == "yes"]
    return "-".join([*chosen, answers.get("license", "")]).strip("-") or "bare"


def copy_of_the_template(target: Path) -> Path:
    """Copy the template as a repository of one commit."""
    copy_template(target)
    git(target, "init", "--quiet", "--initial-branch=main")
    commit_all(target, "A template")
    return target


def git(directory: Path, *words: str) -> str:
    """Run git as a person of no configuration, and return what it prints."""
    identity = ["-c", "user.name=A Baker", "-c", "user.email=baker@example.com"]
    command = ["git", *identity, "-c", "commit.gpgsign=false", *words]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


def commit_all(directory: Path, message: str) -> None:
    """Commit all that is in a directory."""
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message", message)


def files_of(project: Path) -> dict[str, bytes]:
    """Return every file of a project by its path, but for what cruft keeps about it."""
    return {
        path.relative_to(project).as_posix(): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file() and ".git" not in path.parts and path.name != ".cruft.json"
    }


@dataclass
class Bakery:
    """A copy of the template, a kitchen to bake it in, and the projects baked so far."""

    template: Path
    kitchen: Path
    _baked: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kitchen.mkdir(parents=True, exist_ok=True)
        self.settings = self.kitchen / "cookiecutter.yaml"
        self.settings.write_text(
            f"cookiecutters_dir: {self.kitchen / 'clones'}\nreplay_dir: {self.kitchen / 'replay'}\n"
        )

    def project(self, answers: Answers) -> Path:
        """Bake in this process, once for the same answers; nobody may change the result."""
        key = json.dumps(answers, sort_keys=True)
        if key not in self._baked:
            self._baked[key] = self.fresh_project(
                answers, self.kitchen / f"baked-{len(self._baked)}"
            )
        return self._baked[key]

    def fresh_project(self, answers: Answers, output: Path) -> Path:
        """Bake in this process into a directory, for a test that changes what it gets."""
        result = cookiecutter(
            str(self.template),
            no_input=True,
            extra_context=dict(answers),
            output_dir=str(output),
            config_file=str(self.settings),
        )
        return Path(result)

    def command(
        self, *words: str | Path, program: str = "cookiecutter", typed: Iterable[str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run cookiecutter or cruft as a person does, with the answers that they type."""
        return subprocess.run(
            [Path(sys.executable).with_name(program), *words],
            env=os.environ | {"COOKIECUTTER_CONFIG": str(self.settings), "COLUMNS": "200"},
            input=None if typed is None else "".join(f"{line}\n" for line in typed),
            stdin=subprocess.DEVNULL if typed is None else None,
            capture_output=True,
            text=True,
            check=False,
        )

    def bake(self, *words: str | Path, output: Path) -> Path:
        """Bake the template through its documented command line, and return the project."""
        done = self.command(self.template, "--no-input", *words, "-o", output)
        assert done.returncode == 0, done.stdout + done.stderr
        (project,) = output.iterdir()
        return project
