"""A bad answer gets one sentence and exit code 1, and leaves nothing on disk."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from bakery import OPTIONS, QUESTIONS, Bakery, files_of

REFUSED = {
    "a slug with capitals": ("project_slug=Acme", "project_slug must be lower-case letters"),
    "a slug with an underscore": ("project_slug=acme_api", "project_slug must be lower-case"),
    "a slug with a digit first": ("project_slug=9lives", "project_slug must be lower-case"),
    "a slug with a hyphen last": ("project_slug=acme-", "project_slug must be lower-case"),
    "a slug with two hyphens": ("project_slug=a--b", "project_slug must be lower-case"),
    "a slug with a space": ("project_slug=acme api", "project_slug must be lower-case"),
    "a slug with a line break": ("project_slug=acme\n", "project_slug must be lower-case"),
    "a slug of one letter": ("project_slug=a", "two characters at least"),
    "a slug of 41 letters": ("project_slug=" + "a" * 41, "project_slug must be at most 40"),
    "a slug that a dependency has": ("project_slug=fastapi", "project_slug must not be fastapi"),
    "a name that gives no slug": ("project_name=123", "project_slug must be lower-case"),
    "no name": ("project_name=", "project_name must not be empty."),
    "a blank name": ("project_name= ", "project_name must not be empty."),
    "a name of 61 characters": ("project_name=" + "n" * 61, "project_name must be at most 60"),
    "a name with quotes": (
        'project_name=O\'Brien & Søn "Ltd"',
        'project_name must not contain ", which files and shells would mistake.',
    ),
    "a name with a backslash": ("project_name=Acme\\n", "project_name must not contain \\,"),
    "a name with a dollar": ("project_name=Ca$h", "project_name must not contain $,"),
    "a name with a backtick": ("project_name=`id`", "project_name must not contain `,"),
    "a name with a line break": ("project_name=Acme\nInc", "project_name must not contain control"),
    "a name with an escape": ("project_name=Acme\x1b[31m", "project_name must not contain control"),
    "a name written backwards": ("project_name=Acme \u202eInc", "other invisible ones."),
    "a name with a space last": ("project_name=Acme ", "project_name must not begin or end"),
    "an empty description": ("project_description=", "project_description must not be empty."),
    "a description of two lines": ("project_description=A\nB", "project_description must not"),
    "a description of 201": ("project_description=" + "d" * 201, "must be at most 200 characters"),
    "an author with quotes": ('author_name=Jo "J" Doe', 'author_name must not contain ",'),
    "an e-mail without at": ("author_email=me.example.com", "author_email must be an address"),
    "an e-mail without domain": ("author_email=me@example", "author_email must be an address"),
    "an e-mail with a name": ("author_email=Me <me@example.com>", "author_email must be an"),
    "an unknown name": (
        "database=postgres",
        "database is not a question of this template: it asks",
    ),
    "a private name": ("__description=x", "__description is not a question of this template"),
    "a misspelled name": (
        "include_sentri=no",
        "include_sentri is not a question of this template: did you mean include_sentry?",
    ),
}

# What cookiecutter refuses by itself, before any hook runs.
REFUSED_BY_COOKIECUTTER = {
    "neither yes nor no": ("include_sentry=maybe", "the choices are ['yes', 'no']"),
    "a license not offered": ("license=GPL-3.0", "the choices are ['MIT',"),
    "an expression": ("project_description=${{ secrets.X }}", "'secrets' is undefined"),
    "half an expression": ("project_description=${{ }}", "Expected an expression"),
    "half a condition": ("project_description=# {% if %}", "Expected an expression"),
    "no slug at all": ("project_slug=", "directory already exists"),
}


@pytest.mark.parametrize(("answer", "sentence"), REFUSED.values(), ids=REFUSED)
def test_is_refused_in_a_sentence(
    bakery: Bakery, tmp_path: Path, answer: str, sentence: str
) -> None:
    if "question" in sentence and not sys.platform.startswith("linux"):
        pytest.skip("only Linux shows a hook the names that cookiecutter drops")
    refused = bakery.command(bakery.template, "--no-input", answer, "-o", tmp_path)
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert re.fullmatch(r"(?:[a-z_]+ (must|is not) .+[.?]\n)+", refused.stderr), "sentences only"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "sentence"), REFUSED_BY_COOKIECUTTER.values(), ids=REFUSED_BY_COOKIECUTTER
)
def test_is_refused_by_cookiecutter(
    bakery: Bakery, tmp_path: Path, answer: str, sentence: str
) -> None:
    refused = bakery.command(bakery.template, "--no-input", answer, "-o", tmp_path)
    assert refused.returncode == 1
    assert sentence in refused.stdout + refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_each_bad_answer_gets_its_own_sentence(bakery: Bakery, tmp_path: Path) -> None:
    words = ("project_name=A\\B", "project_slug=A", "author_email=nobody")
    refused = bakery.command(bakery.template, "--no-input", *words, "-o", tmp_path)
    assert [line.split()[0] for line in refused.stderr.splitlines()] == [
        "project_name",
        "project_slug",
        "author_email",
    ]


@pytest.mark.parametrize("typed", ["Use {{ x }}", "Use ${{ secrets.X }}", "# {% if %}", "a # {# b"])
def test_a_template_typed_at_the_prompt_is_refused(
    bakery: Bakery, tmp_path: Path, typed: str
) -> None:
    answers = ["", "", typed, *[""] * (len(OPTIONS) + 3)]
    refused = bakery.command(bakery.template, "-o", tmp_path, typed=answers)
    assert refused.returncode == 1
    assert "which an update would read as a template." in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("include_sentry", "maybe", "include_sentry must be one of yes, no, and not 'maybe'."),
        ("license", "GPL-3.0", "license must be one of MIT, BSD-3-Clause, Apache-2.0, Proprietary"),
        ("include_sentri", "no", "include_sentri is not a question of this template"),
        ("author_name", 7, "author_name must not be empty."),
    ],
)
def test_a_replayed_file_is_read_as_carefully(
    bakery: Bakery, tmp_path: Path, name: str, value: object, sentence: str
) -> None:
    bakery.bake(output=tmp_path / "first")
    replayed = json.loads((bakery.kitchen / "replay" / f"{bakery.template.name}.json").read_text())
    replayed["cookiecutter"][name] = value
    (tmp_path / "answers.json").write_text(json.dumps(replayed))
    (tmp_path / "second").mkdir()
    refused = bakery.command(
        bakery.template,
        "--replay-file",
        tmp_path / "answers.json",
        "-o",
        tmp_path / "second",
    )
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert list((tmp_path / "second").iterdir()) == []


def test_a_refusal_spares_what_a_person_has(bakery: Bakery, tmp_path: Path) -> None:
    (tmp_path / "acme-platform" / "deploy").mkdir(parents=True)
    (tmp_path / "acme-platform" / "deploy" / "mine.txt").write_text("mine")
    words = ("author_email=nobody", "-f", "-o", tmp_path)
    assert bakery.command(bakery.template, "--no-input", *words).returncode == 1
    assert files_of(tmp_path) == {"acme-platform/deploy/mine.txt": b"mine"}


def test_a_slug_with_slashes_leaves_no_directory(bakery: Bakery, tmp_path: Path) -> None:
    words = ("project_slug=acme/api/v1", "-o", tmp_path)
    refused = bakery.command(bakery.template, "--no-input", *words)
    assert refused.returncode == 1
    # cookiecutter complains after it, for it finds nothing to remove.
    assert refused.stderr.startswith("project_slug must be lower-case letters")
    assert list(tmp_path.iterdir()) == []


def test_a_slash_spares_what_a_person_has(bakery: Bakery, tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "mine.txt").write_text("mine")
    words = ("project_slug=acme/api", "-o", tmp_path)
    assert bakery.command(bakery.template, "--no-input", *words).returncode == 1
    assert files_of(tmp_path) == {"acme/mine.txt": b"mine"}
    assert not (tmp_path / "acme" / "api").exists()


@pytest.mark.parametrize("word", ["-o", "--output-dir"])
def test_a_directory_with_an_equals_sign_is_no_answer(
    bakery: Bakery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = bakery.command(bakery.template, "--no-input", word, "out=1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out=1" / "acme-platform" / "LICENSE").is_file()


# Odd answers that must work: each character has broken some file format, shell or linter.
ODD = {
    "project_name": "O'Brien & Søn: #1 – 100% <b> {x} Zoë’s @ [a] *!|>, - ?",
    "project_slug": "odd-1",
    "project_description": r"""Say "hi" \ 'yo' \n \u00e9 {x} }} # {x} $HOME `id` %(x)s ün’ï – 👩‍🚀 <b>""",
    "author_name": "Søren O'Neil, #2: {y} 100% & Co.",
    "author_email": "s.o'neil+api@mail.example.com",
    "license": "BSD-3-Clause",
}


def test_odd_answers_arrive_unharmed(bakery: Bakery, tmp_path: Path) -> None:
    defaults = [*[""] * (len(OPTIONS)), str(QUESTIONS["license"].index(ODD["license"]) + 1)]
    done = bakery.command(
        bakery.template, "-o", tmp_path, typed=[*list(ODD.values())[:5], *defaults]
    )
    assert done.returncode == 0, done.stderr
    project = tmp_path / "odd-1"
    described = tomllib.loads((project / "backend" / "pyproject.toml").read_text())["project"]
    assert described["description"] == ODD["project_description"]
    assert described["authors"] == [{"name": ODD["author_name"], "email": ODD["author_email"]}]
    assert ODD["author_name"] in (project / "LICENSE").read_text()
    assert ODD["project_name"] in (project / "README.md").read_text()
    for path in project.rglob("*.py"):
        compile(path.read_bytes(), path, "exec")
    for path in [*project.rglob("*.yaml"), *project.rglob("*.yml")]:
        list(yaml.safe_load_all(path.read_text()))


def test_every_question_has_a_prompt_and_none_asks_for_a_secret() -> None:
    asked = [name for name in QUESTIONS if not name.startswith("_")]
    prompts = QUESTIONS["__prompts__"]
    assert list(prompts) == asked
    assert len(asked) <= 12
    assert OPTIONS[0] == "include_sentry"
    assert not re.search(
        r"secret|password|token|dsn|key\b", json.dumps([asked, prompts]), re.IGNORECASE
    )
    for option in OPTIONS:
        assert set(prompts[option]) == {"__prompt__", "yes", "no"}


def test_the_hook_knows_every_question_and_every_dependency(bakery: Bakery) -> None:
    hook = (bakery.template / "hooks" / "pre_gen_project.py").read_text()
    assert all(f'"{name}"' in hook for name in QUESTIONS if not name.startswith("_"))
    path = bakery.project({}) / "backend" / "pyproject.toml"
    project = tomllib.loads(path.read_text())["project"]
    extras = project["optional-dependencies"].values()
    needs = [need for needs in (project["dependencies"], *extras) for need in needs]
    names = {re.split(r"[^A-Za-z0-9_-]", need)[0].lower().replace("_", "-") for need in needs}
    reserved = re.search(r"RESERVED_SLUGS = frozenset\((.*?)\.split", hook, re.DOTALL)
    assert reserved
    assert names - set(re.findall(r"[a-z0-9-]+", reserved[1])) == set()
