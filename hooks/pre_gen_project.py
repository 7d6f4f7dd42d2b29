"""Refuse answers that would generate a broken project, before a file is written.

cookiecutter renders this file and runs it in the new, still empty project directory. Each
refusal is one sentence on standard error; the exit code 1 makes cookiecutter remove the directory.
"""

import difflib
import itertools
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePath

# JSON, encoded once more, is one string literal that no quote or backslash of an answer can end.
ANSWERS: dict[str, object] = json.loads({{cookiecutter | jsonify | jsonify}})

# The longest answer, in characters, and what it must not contain: names stand in quotes in TOML,
# YAML and Python, and where Make, a shell or Compose would expand a dollar or a backtick.
TEXTS = {
    "project_name": (60, '"\\`$'),
    "project_slug": (40, ""),
    "project_description": (200, ""),
    "author_name": (80, '"\\`$'),
    "author_email": (254, ""),
}
CHOICES = {
    "include_sentry": ("yes", "no"),
    "include_docker": ("yes", "no"),
    "include_github_actions": ("yes", "no"),
    "include_kubernetes": ("yes", "no"),
    "license": ("MIT", "BSD-3-Clause", "Apache-2.0", "Proprietary"),
}
QUESTIONS = (*TEXTS, *CHOICES)

# Good as a directory, a distribution, an image, a Compose project and a Kubernetes name alike.
SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
SHORTEST_SLUG = 2
# Taken: no distribution may depend on its own name, and these are what the service needs, plus
# what PostgreSQL and Kubernetes keep for themselves.
RESERVED_SLUGS = frozenset(
    "aiosqlite alembic asyncpg default fastapi httpx hypothesis import-linter kube-public "
    "kube-system limits mypy postgres prometheus-client psycopg pydantic-settings pytest python-jose "
    "redis ruff sentry-sdk sqlalchemy structlog types-python-jose uv uvicorn".split()
)
EMAIL = re.compile(r"[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")

# cruft renders the answers again at each update, so one that looks like a template would change.
TAGS = ("{" * 2, "# {" + "%", "# {" + "#")
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode's control, format and line separator classes
JOINER = "\u200d"  # invisible as well, and a part of many emoji

# Options of cookiecutter's command line that take the next word as their value.
VALUED = (
    *("-c", "--checkout", "-o", "--output-dir", "--directory"),
    *("--config-file", "--debug-file", "--replay-file", "--accept-hooks"),
)


def refusals() -> Iterator[str]:
    """Yield a sentence for each answer that cannot be used."""
    for name, (longest, forbidden) in TEXTS.items():
        answer = ANSWERS.get(name)
        if isinstance(answer, str) and answer.strip():
            yield from _refused_text(name, answer, longest, forbidden)
        else:
            yield f"{name} must not be empty."
    for name, offered in CHOICES.items():
        if ANSWERS.get(name) not in offered:
            yield f"{name} must be one of {', '.join(offered)}, and not {ANSWERS.get(name)!a}."
    for name in _names_given():
        if name not in QUESTIONS:
            nearest = difflib.get_close_matches(name, QUESTIONS, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"it asks {', '.join(QUESTIONS)}."
            yield f"{name} is not a question of this template: {hint}"


def _refused_text(name: str, answer: str, longest: int, forbidden: str) -> Iterator[str]:
    if len(answer) > longest:
        yield f"{name} must be at most {longest} characters, and this one has {len(answer)}."
    if answer != answer.strip():
        yield f"{name} must not begin or end with a space."
    if any(unicodedata.category(c) in INVISIBLE and c != JOINER for c in answer):
        yield f"{name} must not contain control characters or other invisible ones."
    if found := [c for c in forbidden if c in answer]:
        yield f"{name} must not contain {' or '.join(found)}, which files and shells would mistake."
    if found := [tag for tag in TAGS if tag in answer]:
        yield f"{name} must not contain {found[0]}, which an update would read as a template."
    if name == "project_slug" and not (len(answer) >= SHORTEST_SLUG and SLUG.fullmatch(answer)):
        yield (
            "project_slug must be lower-case letters and digits in words joined by single hyphens, "
            f"two characters at least, a letter first, such as acme-api, and not {answer!a}."
        )
    if name == "project_slug" and answer in RESERVED_SLUGS:
        yield f"project_slug must not be {answer}, a name that the service itself relies on."
    if name == "author_email" and not EMAIL.fullmatch(answer):
        yield f"author_email must be an address such as you@example.com, and not {answer!a}."


def _names_given() -> Iterator[str]:
    """Yield the names that were answered, as far as they can be seen from here.

    A replayed file hands on all its names, but cookiecutter drops the unknown ones of its command
    line in silence. Where the system shows the parent's command line (Linux), they are read there.
    """
    yield from (name for name in ANSWERS if not name.startswith("_"))
    try:
        words = Path(f"/proc/{os.getppid()}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return
    if "cookiecutter" not in {PurePath(word).name for word in words[:3]}:
        return  # another program uses cookiecutter as a library
    for before, word in itertools.pairwise(words):
        name, equals, _ = word.partition("=")
        if equals and name.isidentifier() and before not in VALUED:
            yield name


def _remove_parents(slug: str) -> None:
    """Remove the directories that a slug with slashes made; cookiecutter knows only the last."""
    project = Path.cwd()
    for directory in (project, *project.parents)[: len(PurePath(slug).parts)]:
        try:
            directory.rmdir()
        except OSError:  # not empty: someone else's
            return


if found := list(refusals()):
    if "/" in (slug := str(ANSWERS.get("project_slug"))):
        _remove_parents(slug)
    sys.exit("\n".join(found))
