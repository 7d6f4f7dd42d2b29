"""Every command that a document shows is run here as it is written."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from bakery import (
    ALL_CHOSEN,
    COMBINATIONS,
    Answers,
    Bakery,
    copy_of_the_template,
    name_of,
)
from environments import free_port, without_ours
from listener import Listener
from template_source import REPOSITORY

BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PROGRAM = re.compile(r"(?:make|cookiecutter|cruft|docker|git|uv|pip|python3?|alembic|curl) \S")
SHELL = {"sh"}
OTHER_LANGUAGES = {"json", "python", "sql", "text", "toml", "yaml"}  # nothing to run

WITHOUT_SENTRY: Answers = {**ALL_CHOSEN, "include_sentry": "no"}
DSN = "https://public@sentry.example.com/1"  # which stands for a reader's own

# What a block may hold and this file does not run, and what does instead.
RUN_ELSEWHERE = {
    "make pictures": "test_monitoring.py draws the same of a shorter run",
    "make e2e": "test_generated_suites.py, with a real server for reports",
    "make test": "the template's is this very run; test_generated_suites.py runs the generated",
    "docker compose up": "test_deploy.py runs what is in the file, without Docker",
}
COMMITTER = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A Reader"), ("EMAIL", "reader@example.com"))
}
NO_PROXY = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")


@dataclass(frozen=True)
class Block:
    """A fenced block of shell commands in a document."""

    document: str
    commands: list[str]

    def __str__(self) -> str:
        return f"{self.document}: {self.commands[0]}"


def blocks(document: str, text: str) -> Iterator[Block]:
    """Yield the shell blocks of a document, each command on one line, comments left out."""
    for found in BLOCK.finditer(text):
        assert found["language"] in SHELL | OTHER_LANGUAGES, f"{document}: say what {found[0]} is"
        if found["language"] in SHELL:
            lines = found["text"].replace("\\\n", " ").splitlines()
            stripped = [re.sub(r"(^|\s+)# .*", "", line).strip() for line in lines]
            yield Block(document, [line for line in stripped if line])


def mentioned(text: str) -> list[str]:
    """Return the commands that stand in a document's sentences."""
    prose = BLOCK.sub("", text)
    return [span for span in INLINE.findall(prose) if PROGRAM.match(span)]


def to_run(commands: Iterable[str]) -> list[str]:
    """Return the commands that this file has to run."""
    return [line for line in commands if line not in RUN_ELSEWHERE]


TEMPLATE_DOCUMENTS = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text()
    for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
}
TEMPLATE_BLOCKS = [b for name, text in TEMPLATE_DOCUMENTS.items() for b in blocks(name, text)]


def run_script(script: str, directory: Path, **variables: str | Path) -> None:
    """Run a script in a shell that stops at the first error, and end all that it started."""
    shell = subprocess.Popen(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=directory,
        env=without_ours() | NO_PROXY | {name: str(value) for name, value in variables.items()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = shell.communicate("\n" * 20, timeout=300)  # to each question, the default answer
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, said


@pytest.mark.parametrize("block", TEMPLATE_BLOCKS, ids=str)
def test_the_templates_documents(bakery: Bakery, block: Block, tmp_path: Path) -> None:
    template = copy_of_the_template(tmp_path / "template.git")
    (template / ".venv").symlink_to(REPOSITORY / ".venv")
    script = "\n".join(to_run(block.commands))
    run_script(
        script,
        template if "make " in script else tmp_path,
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        TEMPLATE=template,
        SIZE="smallest",
        COOKIECUTTER_CONFIG=bakery.settings,
        **COMMITTER,
    )


@pytest.mark.parametrize("document", TEMPLATE_DOCUMENTS)
def test_the_templates_sentences(document: str) -> None:
    """A sentence names no command that is not in some block, or begins one."""
    shown = [f"{line} " for block in TEMPLATE_BLOCKS for line in block.commands]
    for command in to_run(mentioned(TEMPLATE_DOCUMENTS[document])):
        assert any(line.startswith(f"{command} ") for line in shown), command


def commands_of(project: Path) -> list[list[str]]:
    """Return the commands of a project's documents in their order, each block's together."""
    found: list[list[str]] = []
    for path in sorted(project.rglob("*.md")):
        text, read = path.read_text(), 0
        for block in BLOCK.finditer(text):
            found += [[command] for command in mentioned(text[read : block.start()])]
            found += [each.commands for each in blocks(path.name, block[0])]
            read = block.end()
        found += [[command] for command in mentioned(text[read:])]
    return found


@pytest.mark.parametrize("answers", [ALL_CHOSEN, WITHOUT_SENTRY], ids=name_of)
def test_the_generated_documents(bakery: Bakery, answers: Answers, tmp_path: Path) -> None:
    """From the top, in one shell, as a person would who believes every word."""
    project = bakery.fresh_project(answers, tmp_path)
    port, listener = str(free_port()), Listener()
    lines: list[str] = []
    for commands in commands_of(project):
        new = [line for line in to_run(commands) if len(commands) > 1 or line not in lines]
        lines += [f"cd {shlex.quote(str(project))}", *new]
    script = "\n".join(in_background(lines)).replace(":8000", f":{port}")
    assert "make run" in script
    run_script(script.replace(DSN, listener.dsn), project, PORT=port, **COMMITTER)
    listener.close()
    assert reported_requests(listener) == ({"", "first-error"} if answers == ALL_CHOSEN else set())
    # Whoever has read to the end has turned everything off again.
    assert "SENTRY_DSN" not in (project / ".env").read_text()


def in_background(lines: Iterable[str]) -> Iterator[str]:
    """Let what serves go on in the background, until it is to be started once more."""
    runs = 0
    for line in lines:
        if not line.startswith("make run"):
            yield line
            continue
        if runs:
            yield STOP
        yield f"{line.replace('make run', 'make run >>run.log 2>&1')} &"
        yield WAIT_UNTIL_READY
        runs += 1


def reported_requests(listener: Listener) -> set[str]:
    """Return the ids of the requests whose errors have arrived, and nothing for one by hand."""
    found = set()
    for envelope in listener.received:
        _, *items = map(json.loads, filter(None, envelope.split(b"\n")))
        for header, payload in zip(items[::2], items[1::2], strict=True):
            if header["type"] == "event":
                assert payload["tags"]["tenant_id"] in ("acme", "globex")
                found.add(payload["tags"].get("request_id", ""))
    return found


STOP = r"""
kill "$(sed -n 's/.*Started server process \[\([0-9]*\)].*/\1/p' run.log service.log | tail -n 1)"
wait
"""
WAIT_UNTIL_READY = """
for attempt in $(seq 300); do
  backend/.venv/bin/python -c '
import urllib.request as web
web.urlopen("http://127.0.0.1:8000/health/ready")
' 2>/dev/null && break
  sleep 0.2
done
"""


LINK = re.compile(r"(?<=\]\()(?P<document>[\w.]*\.md)?#(?P<anchor>[\w-]+)(?=\))")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
RUNBOOK = re.compile(r"runbook\.md#([\w-]+)")


@pytest.mark.parametrize("answers", [ALL_CHOSEN, WITHOUT_SENTRY], ids=name_of)
def test_links_lead_somewhere(bakery: Bakery, answers: Answers) -> None:
    project = bakery.project(answers)
    texts = {path.name: path.read_text() for path in project.glob("*.md")}
    anchors = {name: set(map(anchor_of, HEADING.findall(text))) for name, text in texts.items()}
    for name, text in texts.items():
        for link in LINK.finditer(text):
            assert link["anchor"] in anchors[link["document"] or name], f"{name}: {link[0]}"
    for path in project.rglob("*"):
        if path.suffix in {".yaml", ".yml", ".json"}:
            assert anchors["runbook.md"].issuperset(RUNBOOK.findall(path.read_text())), path


def anchor_of(heading: str) -> str:
    """Return what a heading is linked by, as GitHub does."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("answers", COMBINATIONS, ids=name_of)
def test_other_answers_document_no_other_command(bakery: Bakery, answers: Answers) -> None:
    run = {line for lines in commands_of(bakery.project(ALL_CHOSEN)) for line in lines}
    assert {line for lines in commands_of(bakery.project(answers)) for line in lines} <= run
