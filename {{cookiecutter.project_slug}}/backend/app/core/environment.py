"""What a process finds out about itself: the environment it runs in, and the release that it is.

Both are labels, of log lines and reports, where no setting gives them; they allow and forbid
nothing.
"""

import json
import logging
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

BACKEND: Final = Path(__file__).parents[2]

NAMES: Final = ("APP_ENV", "APP_ENVIRONMENT", "DEPLOYMENT_ENVIRONMENT", "DEPLOY_ENV", "ENV")
"""Variables in which others name an environment, in the order in which they are asked."""
SPELLINGS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("development", "develop", "dev", "local"), "development"),
    **dict.fromkeys(("test", "testing", "ci"), "test"),
    **dict.fromkeys(("staging", "stage", "preproduction", "preprod", "uat", "qa"), "staging"),
    **dict.fromkeys(("production", "prod", "live"), "production"),
}
TEST_RUNNERS: Final = frozenset({"pytest", "py.test", "unittest", "tox", "nox"})
TEST_VARIABLES: Final = (
    *("PYTEST_VERSION", "PYTEST_CURRENT_TEST", "TOX_ENV_NAME", "NOX_CURRENT_SESSION"),
    # continuous integration
    *("CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "JENKINS_URL", "TF_BUILD"),
)
CONTAINER_VARIABLES: Final = (
    "KUBERNETES_SERVICE_HOST",
    "ECS_CONTAINER_METADATA_URI_V4",
    "K_SERVICE",  # Cloud Run and Knative
    "CONTAINER_APP_NAME",  # Azure Container Apps
    "DYNO",  # Heroku
    "FLY_APP_NAME",
    "container",  # Podman and systemd-nspawn
)
CONTAINER_FILES: Final = ("/.dockerenv", "/run/.containerenv")
OFF: Final = frozenset({"", "0", "false", "no", "off"})


class Process(NamedTuple):
    """What is known of a process that may tell its environment."""

    variables: Mapping[str, str]
    argv: Sequence[str] = ()
    is_frozen: bool = False
    """Whether it is an executable that holds its own Python, as PyInstaller makes them."""
    has_container_file: bool = False
    """Whether a file is there that Docker or Podman puts into each container."""

    @classmethod
    def current(cls) -> "Process":
        """Return this process."""
        is_contained = any(map(os.path.exists, CONTAINER_FILES))
        return cls(os.environ, sys.argv, bool(getattr(sys, "frozen", False)), is_contained)

    @property
    def program(self) -> str:
        """The name of the program, or of the module that Python was told to run."""
        started = Path(self.argv[0] if self.argv else "")
        name = started.parent.name if started.name == "__main__.py" else started.name
        return name.removesuffix(".exe").rpartition(" -m ")[2]  # unittest writes `python -m …`


def detect_environment(process: Process) -> str:
    """Return `development`, `test`, `staging` or `production`, by the first sign that is seen.

    1. A variable in which others name an environment: what it names.
    2. A test runner, or continuous integration: `test`; it may well be in a container.
    3. A server that reloads changed code: `development`; in a container it is a developer's.
    4. A container, or a frozen executable: `production`.
    5. None of these: `development`.
    """
    if named := _named(process.variables):
        return named
    if process.program in TEST_RUNNERS or _is_on(process.variables, TEST_VARIABLES):
        return "test"
    if "--reload" in process.argv or (process.program, *process.argv[1:2]) == ("fastapi", "dev"):
        return "development"
    is_contained = process.has_container_file or _is_on(process.variables, CONTAINER_VARIABLES)
    return "production" if is_contained or process.is_frozen else "development"


def _named(variables: Mapping[str, str]) -> str | None:
    told = (variables.get(name, "").strip().lower() for name in NAMES)
    return next((SPELLINGS[word] for word in told if word in SPELLINGS), None)


def _is_on(variables: Mapping[str, str], names: Iterable[str]) -> bool:
    """Tell whether one of some variables is set, and not to a word for no."""
    return any(variables.get(name, "").strip().lower() not in OFF for name in names)


RELEASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@:-]{0,199}")
"""What a release may look like: a version, a commit, `service@1.4.2+build.7`."""
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LARGEST = 64 * 1024
_LARGEST_LIST = 16 * 1024 * 1024  # of the references of a repository, which can be very many


@cache
def release_of(told: str, version: str) -> str:
    """Return the release of this service: `told` by a setting, else what its files tell.

    Files are looked at once in a process's life. Where they tell nothing it is `version`.
    """
    return told or detect_release(directories_of(BACKEND), version)


def directories_of(backend: Path) -> tuple[Path, ...]:
    """Return where a release may be told: in `backend`, and in the project that it is part of.

    An image holds the content of `backend` alone. What stands above it there, or above a copy
    that was put elsewhere, may be anything, also somebody else's git repository.
    """
    project = backend.parent
    return (backend, project) if os.path.isfile(project / ".env.example") else (backend,)


def detect_release(directories: Sequence[Path], version: str) -> str:
    """Return the release that files tell: `build_info.json`, else `VERSION`, else the git commit.

    Each is looked for in one directory after the other. `build_info.json` is an object that has
    it as `release`, else as `version`, else as `commit`. What is there and tells no release is
    skipped, with a warning. Where nothing is told it is `version`.
    """
    for name, read in _SOURCES.items():
        for directory in directories:
            if not os.path.lexists(directory / name):
                continue
            try:
                return read(directory / name)
            except (OSError, ValueError, RecursionError) as error:
                log.warning("%s is skipped: it tells no release (%s)", name, _fault(error))
    return version


class _NoRelease(ValueError):  # noqa: N818 - no error of the program
    """Says what is wrong with a file, in words that hold nothing of it."""


def _fault(error: Exception) -> str:
    """Name a fault, but neither what the file holds nor where it is."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, _NoRelease) else type(error).__name__


def _from_build(file: Path) -> str:
    told = json.loads(_read(file))
    if not isinstance(told, dict):
        raise _NoRelease("not a JSON object")
    return _checked(next(filter(None, map(told.get, ("release", "version", "commit"))), None))


def _from_text(file: Path) -> str:
    return _checked(_read(file))


def _checked(told: object) -> str:
    if not isinstance(told, str) or not RELEASE.fullmatch(told):
        raise _NoRelease("not the form of a release")
    return told


def _from_git(place: Path) -> str:
    """Read which commit is checked out; git itself may not be installed.

    Of a repository that keeps its references in git's `reftable` format it tells no commit.
    """
    # In a worktree and in a submodule it is a file, which names the directory.
    directory = place if place.is_dir() else place.parent / _read(place).removeprefix("gitdir: ")
    head = _read(directory / "HEAD")
    reference = head.removeprefix("ref: ")
    commit = head if reference == head else _commit_of(directory, reference)
    if not _COMMIT.fullmatch(commit):
        raise _NoRelease("no commit")
    return commit


def _commit_of(directory: Path, reference: str) -> str:
    """Return what a branch points to, if anything: in a file of its own, else in the list."""
    common = directory / "commondir"  # worktrees share the branches of their repository
    shared = directory / _read(common) if common.exists() else directory
    if (own := shared / reference).is_file():
        return _read(own)
    if not (packed := shared / "packed-refs").exists():
        return ""
    lines = (line.partition(" ") for line in _read(packed, _LARGEST_LIST).splitlines())
    return next((commit for commit, _, name in lines if name == reference), "")


def _read(file: Path, most: int = _LARGEST) -> str:
    """Return the text of a file, without the white space around it."""
    if not stat.S_ISREG(file.stat().st_mode):  # to open a pipe would wait for ever
        raise _NoRelease("not a regular file")
    with file.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise _NoRelease("too large")
    return content.decode("utf-8-sig").strip()


_SOURCES: Final[Mapping[str, Callable[[Path], str]]] = {
    "build_info.json": _from_build,
    "VERSION": _from_text,
    ".git": _from_git,
}
