"""Every combination of answers generates a project that parses, lints and type-checks."""

import ast
import configparser
import json
import re
import tomllib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from bakery import COMBINATIONS, LICENSES, Answers, Bakery, files_of, name_of
from environments import Environment, run

EVERY = [*COMBINATIONS, *({"license": name} for name in LICENSES)]
LEFT_OVER = re.compile(rb"# \{[%#]|\{\{-?\s*cookiecutter|\bcookiecutter\.(?!json)\w")


def _ini(text: str) -> None:
    configparser.ConfigParser().read_string(text)


PARSERS: dict[str, Callable[[str], object]] = {
    ".ini": _ini,
    ".json": json.loads,
    ".py": ast.parse,
    ".toml": tomllib.loads,
    ".yaml": lambda text: list(yaml.safe_load_all(text)),
    ".yml": lambda text: list(yaml.safe_load_all(text)),
}


@pytest.mark.parametrize("answers", EVERY, ids=name_of)
def test_nothing_of_the_template_is_left_and_all_parses(bakery: Bakery, answers: Answers) -> None:
    for name, content in files_of(bakery.project(answers)).items():
        assert not (found := LEFT_OVER.search(content)), f"{name}: {found and found[0]!r}"
        text = content.decode()
        assert text == "" or text.endswith("\n"), f"{name} ends within a line"
        assert not re.search(r"[ \t]$", text, re.MULTILINE), (
            f"{name} has a line that ends with a space"
        )
        if parse := PARSERS.get(Path(name).suffix):
            parse(text)


CHECKS = {
    "ruff check": ["ruff", "check", "--no-cache"],
    "ruff format": ["ruff", "format", "--check", "--no-cache"],
    "mypy": ["mypy", "--strict"],
    "import-linter": ["lint-imports", "--no-cache"],
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answers", EVERY, ids=name_of)
def test_the_generated_code_is_clean(
    bakery: Bakery,
    environment: Environment,
    verdicts: dict[str, str],
    answers: Answers,
    check: str,
) -> None:
    """No fixer runs before. The same code, byte by byte, is looked at once."""
    backend = bakery.project(answers) / "backend"
    digest = sha256(check.encode())
    for name, content in files_of(backend).items():
        if name.endswith((".py", ".toml")):
            digest.update(f"{name} {len(content)} ".encode() + content)
    if verdict := verdicts.get(digest.hexdigest()):
        assert verdict == "clean"
        return
    verdicts[digest.hexdigest()] = f"fails as {name_of(answers)} does"
    program, *words = CHECKS[check]
    run([environment.bin / program, *words], backend, MYPY_CACHE_DIR=environment.mypy_cache)
    verdicts[digest.hexdigest()] = "clean"


@pytest.fixture(scope="module")
def verdicts() -> dict[str, str]:
    """What a check said of code, by the digest of both."""
    return {}
