"""The same project comes out of every documented way to bake it."""

import json
import shutil
from pathlib import Path

import pytest

from bakery import OPTIONS, PROJECT, QUESTIONS, Bakery, commit_all, files_of, git

NEW_SENTENCE = "A sentence that the template did not have before.\n"


@pytest.fixture(scope="module")
def usual(bakery: Bakery, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a project with the default answers, from the template's directory."""
    return files_of(bakery.bake(output=tmp_path_factory.mktemp("usual")))


@pytest.mark.parametrize("option", OPTIONS)
def test_an_answer_on_the_command_line(bakery: Bakery, tmp_path: Path, option: str) -> None:
    other = QUESTIONS[option][1]
    project = bakery.bake(f"{option}={other}", output=tmp_path)
    assert files_of(project) == files_of(bakery.project({option: other}))


def test_answers_typed_at_the_prompt(bakery: Bakery, tmp_path: Path) -> None:
    typed = ["Typed Inc", "", "It types.", "T", "t@example.com", "2", "2", "1", "2", "4"]
    done = bakery.command(bakery.template, "-o", tmp_path, typed=typed)
    assert done.returncode == 0, done.stderr
    answers = {
        "project_name": "Typed Inc",
        "project_description": "It types.",
        "author_name": "T",
        "author_email": "t@example.com",
        "include_sentry": "no",
        "include_docker": "no",
        "include_github_actions": "yes",
        "include_kubernetes": "yes",
        "license": "Proprietary",
    }
    assert files_of(tmp_path / "typed-inc") == files_of(bakery.project(answers))


def test_a_git_repository(bakery: Bakery, tmp_path: Path, usual: dict[str, bytes]) -> None:
    done = bakery.command(f"file://{bakery.template}", "--no-input", "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "acme-platform") == usual


def test_a_zip_file(bakery: Bakery, tmp_path: Path, usual: dict[str, bytes]) -> None:
    archive = tmp_path / "template.zip"
    git(bakery.template, "archive", "--prefix=template/", f"--output={archive}", "HEAD")
    done = bakery.command(archive, "--no-input", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "out" / "acme-platform") == usual


def test_a_replay(bakery: Bakery, tmp_path: Path) -> None:
    words = ("project_name=Again & Again", "include_sentry=no", "license=Apache-2.0")
    first = files_of(bakery.bake(*words, output=tmp_path / "first"))
    done = bakery.command(bakery.template, "--replay", "-o", tmp_path / "second")
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "second" / "again-again") == first


def test_cruft_creates_and_updates(
    bakery: Bakery, tmp_path: Path, usual: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "template.git"
    shutil.copytree(bakery.template, template)
    created = bakery.command(
        "create", str(template), "--no-input", "--output-dir", str(tmp_path), program="cruft"
    )
    assert created.returncode == 0, created.stdout + created.stderr
    project = tmp_path / "acme-platform"
    assert files_of(project) == usual
    git(project, "init", "--quiet")
    commit_all(project, "Generated")
    monkeypatch.chdir(project)

    same = bakery.command("diff", program="cruft")
    assert same.returncode == 0
    assert same.stdout == "", "what a hook prints would spoil the patch"

    (project / "README.md").write_text((project / "README.md").read_text() + "Our own line.\n")
    commit_all(project, "Ours")
    source = template / PROJECT / "backend" / "app" / "__main__.py"
    source.write_text(source.read_text() + f"# {NEW_SENTENCE}")
    commit_all(template, "A newer template")
    update(bakery, project)
    assert NEW_SENTENCE in (project / "backend" / "app" / "__main__.py").read_text()
    assert (project / "README.md").read_text().endswith("Our own line.\n")

    update(bakery, project, "--variables-to-update", json.dumps({"include_sentry": "no"}))
    left = files_of(project)
    assert not [name for name, content in left.items() if b"sentry" in content.lower()]
    assert left.keys() == files_of(bakery.project({"include_sentry": "no"})).keys()


def update(bakery: Bakery, project: Path, *words: str) -> None:
    """Update a project, and commit what cruft did, once it is clear that nothing conflicts."""
    done = bakery.command("update", "--skip-apply-ask", *words, program="cruft")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(project.rglob("*.rej")) == []
    assert "UU " not in git(project, "status", "--porcelain")
    commit_all(project, "Updated")
