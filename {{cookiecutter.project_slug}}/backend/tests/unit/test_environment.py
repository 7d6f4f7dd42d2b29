"""What a process finds out about itself: every sign, every file, their order, and odd files."""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core import environment
from app.core.config import Settings
from app.core.environment import Process, detect_environment, detect_release, directories_of

# The environment


def variable(name: str, value: str = "1") -> Process:
    return Process({name: value})


def started(*argv: str) -> Process:
    return Process({}, argv)


# In the documented order: a sign of one group goes before all of the groups below it.
SIGNS: list[dict[str, tuple[Process, str]]] = [
    {
        "APP_ENV": (variable("APP_ENV", "prod"), "production"),
        "APP_ENVIRONMENT": (variable("APP_ENVIRONMENT", " Staging\n"), "staging"),
        "DEPLOYMENT_ENVIRONMENT": (variable("DEPLOYMENT_ENVIRONMENT", "QA"), "staging"),
        "DEPLOY_ENV": (variable("DEPLOY_ENV", "live"), "production"),
        "ENV": (variable("ENV", "local"), "development"),
    },
    {
        "pytest": (started("/srv/.venv/bin/pytest", "-q"), "test"),
        "py.test": (started("py.test"), "test"),
        "pytest on Windows": (started("pytest.exe"), "test"),
        "python -m pytest": (started("/x/site-packages/pytest/__main__.py"), "test"),
        "python -m unittest": (started("python3.14 -m unittest", "discover"), "test"),
        "tox": (started("/usr/bin/tox"), "test"),
        "nox": (started("nox"), "test"),
        "PYTEST_VERSION": (variable("PYTEST_VERSION", "9.0"), "test"),
        "PYTEST_CURRENT_TEST": (variable("PYTEST_CURRENT_TEST", "a.py::b (call)"), "test"),
        "TOX_ENV_NAME": (variable("TOX_ENV_NAME", "py314"), "test"),
        "NOX_CURRENT_SESSION": (variable("NOX_CURRENT_SESSION", "tests"), "test"),
        "CI": (variable("CI", "true"), "test"),
        "GITHUB_ACTIONS": (variable("GITHUB_ACTIONS", "true"), "test"),
        "GITLAB_CI": (variable("GITLAB_CI", "true"), "test"),
        "BUILDKITE": (variable("BUILDKITE", "true"), "test"),
        "JENKINS_URL": (variable("JENKINS_URL", "https://ci.example.com"), "test"),
        "TF_BUILD": (variable("TF_BUILD", "True"), "test"),
    },
    {
        "uvicorn": (started("/x/uvicorn/__main__.py", "app.main:app", "--reload"), "development"),
        "fastapi": (started("/srv/.venv/bin/fastapi", "dev", "app/main.py"), "development"),
    },
    {
        "Kubernetes": (variable("KUBERNETES_SERVICE_HOST", "10.0.0.1"), "production"),
        "ECS": (variable("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2"), "production"),
        "Cloud Run": (variable("K_SERVICE", "api"), "production"),
        "Azure Container Apps": (variable("CONTAINER_APP_NAME", "api"), "production"),
        "Heroku": (variable("DYNO", "web.1"), "production"),
        "Fly": (variable("FLY_APP_NAME", "api"), "production"),
        "Podman": (variable("container", "podman"), "production"),
        "a file of Docker's": (Process({}, has_container_file=True), "production"),
        "a frozen executable": (Process({}, is_frozen=True), "production"),
    },
    {
        "a server": (started("/srv/app/__main__.py", "run"), "development"),
        "another command of fastapi": (started("fastapi", "run", "dev"), "development"),
        "a name that nobody knows": (variable("APP_ENV", "island"), "development"),
        "the shell's own ENV": (variable("ENV", "/home/jane/.shrc"), "development"),
        "nothing": (Process({}), "development"),
    },
]


def both(one: Process, other: Process) -> Process:
    """Return a process that shows two signs."""
    return Process(
        {**other.variables, **one.variables},
        [*one.argv, *other.argv],
        one.is_frozen or other.is_frozen,
        one.has_container_file or other.has_container_file,
    )


@pytest.mark.parametrize(
    ("process", "label"),
    [case for group in SIGNS for case in group.values()],
    ids=[name for group in SIGNS for name in group],
)
def test_each_sign_alone_tells_the_environment(process: Process, label: str) -> None:
    assert detect_environment(process) == label


@pytest.mark.parametrize("place", range(len(SIGNS) - 1))
def test_of_two_signs_the_earlier_one_decides(place: int) -> None:
    for (name, (sign, label)), (other, (later, _)) in product(
        SIGNS[place].items(), SIGNS[place + 1].items()
    ):
        assert detect_environment(both(sign, later)) == label, (name, other)


@pytest.mark.parametrize(("first", "second"), list(pairwise(environment.NAMES)))
def test_of_two_variables_that_name_it_the_first_is_asked(first: str, second: str) -> None:
    assert detect_environment(Process({first: "stage", second: "prod"})) == "staging"
    assert detect_environment(Process({first: "island", second: "prod"})) == "production"
    assert detect_environment(Process({first: "", second: "prod"})) == "production"


@pytest.mark.parametrize("word", ["", "0", "false", "False", "NO", "off", " false "])
def test_a_variable_that_says_no_is_no_sign(word: str) -> None:
    names = (*environment.TEST_VARIABLES, *environment.CONTAINER_VARIABLES)
    assert detect_environment(Process(dict.fromkeys(names, word))) == "development"


def hide_the_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take from this process what tells its environment; pytest sets its variable for each test."""
    signs = (environment.NAMES, environment.TEST_VARIABLES, environment.CONTAINER_VARIABLES)
    for name in (*(name for names in signs for name in names), "ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["/srv/app/__main__.py", "run"])
    monkeypatch.setattr(environment, "CONTAINER_FILES", ())


def test_this_process_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hide_the_signs(monkeypatch)
    assert detect_environment(Process.current()) == "development"
    with monkeypatch.context() as changed:
        changed.setattr(sys, "frozen", True, raising=False)
        assert detect_environment(Process.current()) == "production"
    mark = tmp_path / ".dockerenv"
    monkeypatch.setattr(environment, "CONTAINER_FILES", (str(mark),))
    assert detect_environment(Process.current()) == "development"
    mark.touch()
    assert detect_environment(Process.current()) == "production"
    monkeypatch.setattr(sys, "argv", ["/x/uvicorn", "app.main:app", "--reload"])
    assert detect_environment(Process.current()) == "development"
    monkeypatch.setenv("CI", "true")
    assert detect_environment(Process.current()) == "test"
    monkeypatch.setenv("APP_ENV", "staging")
    assert detect_environment(Process.current()) == "staging"


@pytest.mark.parametrize("runner", ["pytest", "unittest"])
def test_a_test_runner_is_seen_in_its_own_process(runner: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "from app.core.environment import Process, detect_environment\n"
        "import unittest\n"
        "class Seen(unittest.TestCase):\n"
        "    def test_seen(self) -> None:\n"
        "        seen = Process({}, Process.current().argv)  # by its command line alone\n"
        "        self.assertEqual(detect_environment(seen), 'test')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", runner, "test_it.py"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(environment.BACKEND)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_detected_changes_nothing_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_the_signs(monkeypatch)
    for name in environment.NAMES:
        monkeypatch.setenv(name, "production")
    assert Settings().ENVIRONMENT == "development"
    for name in environment.NAMES:
        monkeypatch.setenv(name, "development")
    with pytest.raises(ValueError, match="AUTH_ISSUER must be set in production"):
        Settings(ENVIRONMENT="production")


# The release

VERSION = "0.1.0"  # what is returned where nothing is told

Logged = Callable[[], list[str]]


@pytest.fixture
def backend(tmp_path: Path) -> Path:
    """The directory `backend` of a project."""
    made = tmp_path / "project" / "backend"
    made.mkdir(parents=True)
    (made.parent / ".env.example").touch()
    return made


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """Return what was logged since the last time."""
    caplog.set_level(logging.DEBUG)

    def told() -> list[str]:
        messages = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return messages

    return told


def git(directory: Path, *words: str) -> str:
    """Run git without anybody's own settings, and return what it prints."""
    identity = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "A Test")
    mail = dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "test@example.com")
    nobodys = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    formats = {"GIT_DEFAULT_HASH": "sha1", "GIT_DEFAULT_REF_FORMAT": "files"}
    return subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *words],
        cwd=directory,
        env={"PATH": os.environ["PATH"], **identity, **mail, **nobodys, **formats},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.strip()


def commit(directory: Path) -> None:
    git(directory, "commit", "--quiet", "--allow-empty", "--message=A change")


def repository(directory: Path, *options: str) -> Path:
    """Make a repository with one commit."""
    directory.mkdir(parents=True, exist_ok=True)
    git(directory, "init", "--quiet", "--initial-branch=main", *options)
    commit(directory)
    return directory


def put(name: str, text: str) -> Callable[[Path], str]:
    def make(directory: Path) -> str:
        (directory / name).write_text(text, "utf-8")
        return "1.4.2"

    return make


def build(**told: object) -> Callable[[Path], str]:
    return put("build_info.json", json.dumps(told))


def checkout(directory: Path) -> str:
    return git(repository(directory), "rev-parse", "HEAD")


# Each of these is put into a directory, and returns the release that it tells.
TOLD: dict[str, Callable[[Path], str]] = {
    "a release": build(release="1.4.2", version="9", commit="9"),
    "a version": build(version="1.4.2", commit="9"),
    "a commit": build(commit="1.4.2", built=True),
    "an empty release": build(release="", version="1.4.2"),
    "no release": build(release=None, version="1.4.2"),
    "a build with a byte order mark": put("build_info.json", '\ufeff{"release": "1.4.2"}'),
    "a text": put("VERSION", "1.4.2"),
    "a line": put("VERSION", "1.4.2\r\n"),
    "a text with a byte order mark": put("VERSION", "\ufeff1.4.2\n"),
    "a checkout": checkout,
}


@pytest.mark.parametrize("place", ["backend", "project"])
@pytest.mark.parametrize("source", TOLD)
def test_each_source_tells_the_release(
    source: str, place: str, backend: Path, logged: Logged
) -> None:
    release = TOLD[source](backend if place == "backend" else backend.parent)
    assert detect_release(directories_of(backend), VERSION) == release
    assert logged() == []


@pytest.mark.parametrize("release", ["v1", "service@1.4.2+build.7", "2026-11-26_3", "a" * 200])
def test_a_release_may_be_written_in_many_ways(release: str, backend: Path) -> None:
    (backend / "VERSION").write_text(release)
    assert detect_release([backend], VERSION) == release


ORDER = ("build_info.json", "VERSION", ".git")


@pytest.mark.parametrize(("first", "second"), list(pairwise(ORDER)))
def test_of_two_sources_the_earlier_one_is_believed(first: str, second: str, backend: Path) -> None:
    make = {
        "build_info.json": build(release="1.4.2"),
        "VERSION": put("VERSION", "1.4.2"),
        ".git": checkout,
    }
    # The later one stands in the nearer directory, which counts less than the order does.
    other, release = make[second](backend), make[first](backend.parent)
    if second == "VERSION":
        (backend / "VERSION").write_text(other := "7")
    assert other != release
    assert detect_release(directories_of(backend), VERSION) == release


def test_of_two_files_of_one_name_that_of_the_backend_is_believed(backend: Path) -> None:
    (backend / "VERSION").write_text("1.4.2")
    (backend.parent / "VERSION").write_text("7")
    assert detect_release(directories_of(backend), VERSION) == "1.4.2"


def test_where_nothing_is_told_it_is_the_version(backend: Path, logged: Logged) -> None:
    assert detect_release(directories_of(backend), VERSION) == VERSION
    assert logged() == []


# Git


def packed(directory: Path) -> Path:
    git(repository(directory), "pack-refs", "--all", "--prune")
    assert not (directory / ".git/refs/heads/main").exists()
    return directory


def ahead_of_the_packed(directory: Path) -> Path:
    commit(packed(directory))
    return directory


def among_many(directory: Path) -> Path:
    for name in ("main2", "a/main", "zebra"):
        git(repository(directory), "branch", name)
        commit(directory)
    git(directory, "tag", "--annotate", "--message=A tag", "v1")
    git(directory, "pack-refs", "--all", "--prune")
    return directory


def oddly_named(directory: Path) -> Path:
    git(repository(directory), "checkout", "--quiet", "-b", "fix/#12-größe@1+x")
    commit(directory)
    return directory


def detached(directory: Path) -> Path:
    commit(repository(directory))
    git(directory, "checkout", "--quiet", "--detach", "HEAD~1")
    return directory


def worktree(directory: Path) -> Path:
    first = repository(directory / "first")
    git(first, "worktree", "add", "--quiet", "-b", "other", "../second")
    commit(directory / "second")
    return directory / "second"


def packed_worktree(directory: Path) -> Path:
    git(second := worktree(directory), "pack-refs", "--all", "--prune")
    assert not (directory / "first/.git/refs/heads/other").exists()
    return second


def submodule(directory: Path) -> Path:
    part, whole = repository(directory / "part"), repository(directory / "whole")
    commit(whole)
    git(whole, "submodule", "--quiet", "add", "../part", "inner")
    assert (whole / "inner/.git").is_file()
    assert git(whole, "rev-parse", "HEAD") != git(part, "rev-parse", "HEAD")
    return whole / "inner"


def with_longer_ids(directory: Path) -> Path:
    return repository(directory, "--object-format=sha256")


REPOSITORIES = [repository, packed, ahead_of_the_packed, among_many, oddly_named, detached]
REPOSITORIES += [worktree, packed_worktree, submodule, with_longer_ids]


@pytest.mark.parametrize("make", REPOSITORIES)
def test_the_commit_is_what_git_says(
    make: Callable[[Path], Path], tmp_path: Path, logged: Logged
) -> None:
    directory = make(tmp_path)
    expected = git(directory, "rev-parse", "HEAD")
    assert detect_release([directory], VERSION) == expected
    assert logged() == []


def test_a_repository_that_is_not_the_projects_is_not_asked(tmp_path: Path) -> None:
    repository(tmp_path)
    alone = tmp_path / "srv"  # as in an image, or copied into somebody's home
    alone.mkdir()
    assert detect_release(directories_of(alone), VERSION) == VERSION
    deep = tmp_path / "projects" / "acme" / "backend"
    deep.mkdir(parents=True)
    (deep.parent / ".env.example").touch()
    assert detect_release(directories_of(deep), VERSION) == VERSION


def test_the_files_of_this_project_are_looked_for_in_it() -> None:
    here = Path(__file__).parents[2]
    assert here == environment.BACKEND
    assert directories_of(environment.BACKEND) == (here, here.parent)


# Odd files

ABSURD = "planted 8fk2Lq"  # what may not be told of a file


def content(data: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(data)


def unreadable(file: Path) -> None:
    file.write_text("1.4.2")
    file.chmod(0)


ODD: dict[str, Callable[[Path], object]] = {
    "a directory": lambda file: file.mkdir(),
    "a pipe": os.mkfifo,
    "a loop": lambda file: file.symlink_to(file.name),
    "a link to nothing": lambda file: file.symlink_to("nowhere"),
    "a device": lambda file: file.symlink_to("/dev/zero"),
    "a fault of the disk": lambda file: file.symlink_to("/proc/self/mem"),
    "no permission": unreadable,
    "empty": content(b""),
    "blank": content(b" \n\t\n"),
    "huge": content(b"1" * 100_000),
    "binary": content(bytes(range(256))),
    "no UTF-8": content("1.4.2 größe".encode("latin-1")),
    "UTF-16": content("1.4.2".encode("utf-16")),
    "a sentence": content(ABSURD.encode()),
    "an escape sequence": content(b"1.4.2\x1b[2J"),
    "NUL": content(b"1.4.2\x001"),
}
ODD_TEXTS: dict[str, Callable[[Path], object]] = {
    "lines": content(b"1.4.2\n1.4.3\n"),
    "a path": content(b"../1.4.2"),
    "dots": content(b".."),
    "other digits": content("\N{ARABIC-INDIC DIGIT ONE}.4".encode()),
    "long": content(b"1" * 201),
}
ODD_BUILDS: dict[str, Callable[[Path], object]] = {
    "deep": content(b"[" * 60_000),
    "deep and closed": content(b'{"release":' * 5_000 + b"1" + b"}" * 5_000),
    "a list": content(b'["1.4.2"]'),
    "a string": content(b'"1.4.2"'),
    "a number": content(b"1"),
    "null": content(b"null"),
    "half": content(b'{"release": "1.4.2'),
    "without a release": content(b"{}"),
    "a release that is a number": content(b'{"release": 1.4}'),
    "a release that is a list": content(b'{"release": ["1.4.2"]}'),
    "a release that is true": content(b'{"release": true}'),
    "a long number": content(b'{"release": ' + b"1" * 5_000 + b"}"),
    "half a character": content(b'{"release": "\\ud800"}'),
    "lines": content(b'{"release": "1.4.2\\n1.4.3"}'),
    "a sentence": content(json.dumps({"release": ABSURD}).encode()),
}


def in_repository(name: str, odd: Callable[[Path], object]) -> Callable[[Path], object]:
    """Replace a file of a repository by an odd one."""

    def make(place: Path) -> None:
        repository(place.parent)
        file = place / name
        file.unlink(missing_ok=True)
        odd(file)

    return make


def without(name: str) -> Callable[[Path], object]:
    return in_repository(name, lambda file: None)


PIPE, BLANK = ODD["a pipe"], ODD["blank"]
ODD_CHECKOUTS: dict[str, Callable[[Path], object]] = {
    "no commit yet": lambda place: git(place.parent, "init", "--quiet"),
    "no head": without("HEAD"),
    "no branch": without("refs/heads/main"),
    "a head that is a pipe": in_repository("HEAD", PIPE),
    "a head that is blank": in_repository("HEAD", BLANK),
    "a head that is a sentence": in_repository("HEAD", content(ABSURD.encode())),
    "a head that leads elsewhere": in_repository("HEAD", content(b"ref: ../../../planted")),
    "a head that leads to itself": in_repository("HEAD", content(b"ref: HEAD")),
    "a head with NUL": in_repository("HEAD", content(b"ref: refs/heads/\x00")),
    "a head too long for a name": in_repository("HEAD", content(b"ref: " + b"a" * 5_000)),
    "a head that is in no list": lambda place: in_repository(
        "HEAD", content(b"ref: refs/heads/none")
    )(packed(place.parent) / ".git"),
    "a commit and more": in_repository("HEAD", content(b"0" * 40 + b" planted")),
    "a short commit": in_repository("HEAD", content(b"0123456789")),
    "a branch that is blank": in_repository("refs/heads/main", BLANK),
    "a branch that is huge": in_repository("refs/heads/main", ODD["huge"]),
    "no such directory": content(b"gitdir: nowhere-planted"),
    "a directory that is NUL": content(b"gitdir: \x00"),
}
ODD_FILES = [
    *(("VERSION", kind, make) for kind, make in {**ODD, **ODD_TEXTS}.items()),
    *(("build_info.json", kind, make) for kind, make in {**ODD, **ODD_BUILDS}.items()),
    *((".git", kind, make) for kind, make in {**ODD, **ODD_CHECKOUTS}.items()),
]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user may enter, with this process as one without privileges."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture
def promptly() -> Iterator[None]:
    """Fail a test that waits for ever."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for something"))
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def as_nobody(look: Callable[[], str]) -> str:
    """Look as a user whom permissions bind; root may read everything."""
    if os.geteuid() != 0:
        return look()
    os.seteuid(65534)
    try:
        return look()
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("name", "make"),
    [(name, make) for name, _, make in ODD_FILES],
    ids=[f"{name}: {kind}" for name, kind, _ in ODD_FILES],
)
def test_an_odd_file_is_skipped_with_one_line_in_the_log(
    name: str,
    make: Callable[[Path], object],
    open_directory: Path,
    promptly: None,
    logged: Logged,
) -> None:
    make(open_directory / name)
    assert as_nobody(lambda: detect_release([open_directory], VERSION)) == VERSION
    (line,) = logged()
    assert line.startswith(f"{name} is skipped: it tells no release (")
    for private in ("planted", str(open_directory), "1.4", "\n", "\x1b"):
        assert private not in line
    # What comes after it, in another directory, is believed.
    other = open_directory / "other"
    other.mkdir()
    (other / "VERSION").write_text("7")
    assert as_nobody(lambda: detect_release([open_directory, other], VERSION)) == "7"


def test_a_list_of_branches_that_is_a_pipe_is_skipped(
    tmp_path: Path, promptly: None, logged: Logged
) -> None:
    list_of_branches = packed(tmp_path) / ".git/packed-refs"
    list_of_branches.unlink()
    os.mkfifo(list_of_branches)
    assert detect_release([tmp_path], VERSION) == VERSION
    assert logged() == [".git is skipped: it tells no release (not a regular file)"]


FAULTS = {
    "VERSION: a directory": "not a regular file",
    "VERSION: a loop": "Too many levels of symbolic links",
    "VERSION: no permission": "Permission denied",
    "VERSION: huge": "too large",
    "VERSION: binary": "UnicodeDecodeError",
    "VERSION: empty": "not the form of a release",
    "build_info.json: half": "JSONDecodeError",
    "build_info.json: a list": "not a JSON object",
    ".git: no commit yet": "no commit",
}


@pytest.mark.parametrize("case", FAULTS)
def test_the_line_names_the_kind_of_fault(case: str, open_directory: Path, logged: Logged) -> None:
    ((name, make),) = [(name, make) for name, kind, make in ODD_FILES if f"{name}: {kind}" == case]
    make(open_directory / name)
    as_nobody(lambda: detect_release([open_directory], VERSION))
    assert logged() == [f"{name} is skipped: it tells no release ({FAULTS[case]})"]


texts = st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8"))
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["release", "x"]), inner),
    max_leaves=5,
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=100, deadline=None)
@given(
    data=texts
    | jsons
    | texts.map(lambda text: b"gitdir: " + text)
    | texts.map(lambda text: b"ref: " + text)
)
def test_whatever_stands_in_a_file_nothing_is_raised(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / ".git").mkdir()
        for file in ("build_info.json", "VERSION", ".git/HEAD", ".git/commondir"):
            (directory / file).write_bytes(data)
        found = detect_release([directory], VERSION)
        assert environment.RELEASE.fullmatch(found)


# The release of this process


@pytest.fixture
def own(backend: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This process as that of another project."""
    monkeypatch.setattr(environment, "BACKEND", backend)
    environment.release_of.cache_clear()
    yield backend
    environment.release_of.cache_clear()


def test_a_release_that_a_setting_tells_is_believed_unseen(own: Path, logged: Logged) -> None:
    (own / "VERSION").mkdir()
    assert environment.release_of("2.0.0", VERSION) == "2.0.0"
    assert logged() == []


def test_without_one_it_is_what_the_files_tell(own: Path) -> None:
    (own.parent / "VERSION").write_text("1.4.2")
    assert environment.release_of("", VERSION) == "1.4.2"


def test_without_any_it_is_the_version(own: Path) -> None:
    assert environment.release_of("", VERSION) == VERSION


def test_the_files_are_looked_at_once(own: Path, logged: Logged) -> None:
    (own / "build_info.json").mkdir()
    (own / "VERSION").write_text("1.4.2")
    assert environment.release_of("", VERSION) == "1.4.2"
    (own / "VERSION").write_text("1.4.3")
    assert environment.release_of("", VERSION) == "1.4.2"
    assert len(logged()) == 1
