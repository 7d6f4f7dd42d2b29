"""The hook's manifest says what an option owns: it is there when chosen, and gone when not."""

import ast
import re
from pathlib import Path

import pytest

from bakery import (
    ALL_CHOSEN,
    COMBINATIONS,
    OPTIONS,
    PROJECT,
    QUESTIONS,
    Answers,
    Bakery,
    copy_of_the_template,
    files_of,
    name_of,
)
from template_source import REPOSITORY

HOOK = REPOSITORY / "hooks" / "post_gen_project.py"


def manifest() -> dict[str, list[str]]:
    for statement in ast.parse(HOOK.read_text()).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="MANIFEST")], value=value):
                paths: dict[str, list[str]] = ast.literal_eval(value)
                return paths
    raise AssertionError("the hook has no manifest")


@pytest.mark.parametrize("answers", COMBINATIONS, ids=name_of)
def test_a_path_is_there_exactly_when_its_option_is_chosen(
    bakery: Bakery, answers: Answers
) -> None:
    project = bakery.project(answers)
    for option, paths in manifest().items():
        for path in paths:
            assert (project / path).exists() == (answers[option] == "yes"), path
    empty = [path for path in project.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert empty == []


def test_the_options_of_the_manifest_are_those_asked() -> None:
    assert list(manifest()) == OPTIONS


def test_no_file_mentions_an_option_that_nobody_asks(bakery: Bakery) -> None:
    for name, content in files_of(bakery.template / PROJECT).items():
        text = f"{name}\n{content.decode()}"
        variables = set(re.findall(r"cookiecutter\.(\w+)", text))
        assert variables <= QUESTIONS.keys() | {"json"}, name
        assert {v for v in variables if v.startswith("include_")} <= manifest().keys(), name
        if not name.endswith((".py", ".toml")):  # where it may be the name of something else
            assert set(re.findall(r"\binclude_\w+", text)) <= manifest().keys(), name


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("chosen", ["yes", "no"])
def test_a_path_that_does_not_exist_is_fatal(tmp_path: Path, option: str, chosen: str) -> None:
    template = copy_of_the_template(tmp_path / "template")
    hook = template / "hooks" / HOOK.name
    misspelled = re.sub(rf'("{option}": \[)', r'\1"no/such/path",', hook.read_text())
    hook.write_text(misspelled)
    bakery = Bakery(template, tmp_path / "kitchen")
    failed = bakery.command(template, "--no-input", f"{option}={chosen}", "-o", tmp_path / "out")
    assert failed.returncode == 1
    assert failed.stderr == (
        "The template's manifest names what it does not generate: no/such/path.\n"
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_generating_twice_gives_the_same(bakery: Bakery, tmp_path: Path) -> None:
    words = ("include_sentry=no", "include_docker=no")
    first = files_of(bakery.bake(*words, output=tmp_path))
    again = bakery.command(bakery.template, "--no-input", *words, "-f", "-o", tmp_path)
    assert again.returncode == 0
    assert files_of(tmp_path / "acme-platform") == first


def test_a_persons_own_files_survive_generating_again(bakery: Bakery, tmp_path: Path) -> None:
    project = bakery.bake(output=tmp_path)
    own = [project / "backend" / name for name in ("app/mine.py", "tests/unit/test_mine.py")]
    for path in own:
        path.write_text("mine")
    assert bakery.command(bakery.template, "--no-input", "-f", "-o", tmp_path).returncode == 0
    assert [path.read_text() for path in own] == ["mine", "mine"]


def test_the_hook_says_what_is_true_for_the_answers(bakery: Bakery, tmp_path: Path) -> None:
    said = bakery.command(bakery.template, "--no-input", "-o", tmp_path / "with").stdout
    project = tmp_path / "with" / "acme-platform"
    assert said.startswith("Acme Platform is ready. What now:\n")
    assert f"  cd {project}\n" in said
    assert "docker compose up" in said
    targets = set(re.findall(r"^([\w-]+):", (project / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^  make (\w+)", said, re.MULTILINE)) <= targets
    words = ("include_docker=no", "-o", tmp_path / "without")
    assert "docker" not in bakery.command(bakery.template, "--no-input", *words).stdout


def test_the_hook_is_short() -> None:
    assert len(HOOK.read_text().splitlines()) <= 100


def test_the_options_default_to_what_the_prompt_offers_first() -> None:
    assert all(QUESTIONS[option][0] == next(iter(QUESTIONS[option])) for option in OPTIONS)
    assert [QUESTIONS[option][0] for option in OPTIONS] == ["yes", "yes", "yes", "no"]
    assert ALL_CHOSEN.keys() == set(OPTIONS)
