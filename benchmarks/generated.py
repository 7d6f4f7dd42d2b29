"""Generates and installs a project, and runs programs of this folder in its environment.

They find the backend of a second one, generated without Sentry, in the variable `WITHOUT_SENTRY`: what
it needs is a part of what the first one has installed.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from service import environment, install
from template_source import copy_template

HERE = Path(__file__).parent


def main() -> int:
    """Run `generated.py PROGRAM.py … WORD …`, each program with all words; 1 where one fails."""
    programs = [word for word in sys.argv[1:] if word.endswith(".py")]
    words = [word for word in sys.argv[1:] if word not in programs]
    with tempfile.TemporaryDirectory(prefix="generated-") as directory:
        backend = generate(Path(directory))
        without = bake(Path(directory), "Without", "include_sentry=no")
        return max([run(backend, without, program, words) for program in programs])


def run(backend: Path, without: Path, program: str, words: list[str]) -> int:
    """Run a program of this folder in the environment of an installed project."""
    command: list[str | Path] = [backend / ".venv" / "bin" / "python", HERE / program, *words]
    variables = environment(
        PYTHONPATH=f"{backend}:{HERE}:{HERE.parent / 'demo'}",
        WITHOUT_SENTRY=str(without),
        ENV_FILE="",
        LOG_LEVEL="WARNING",
        PYTHONUNBUFFERED="1",
    )
    return subprocess.run(command, cwd=backend, env=variables, check=False).returncode


def generate(directory: Path) -> Path:
    """Generate and install a project with the default answers; return its backend."""
    copy_template(directory / "template")
    backend = bake(directory, "Measured")
    install(backend.parent)
    return backend


def bake(directory: Path, name: str, *answers: str) -> Path:
    """Generate a project of the template that lies in a directory; return its backend."""
    settings = directory / "cookiecutter.yaml"
    settings.write_text(f"replay_dir: {directory / 'replay'}\n")
    cookiecutter = Path(sys.executable).with_name("cookiecutter")
    words = ["--no-input", f"project_name={name}", *answers]
    command: list[str | Path] = [cookiecutter, directory / "template", *words]
    command += ["--config-file", settings, "-o", directory]
    subprocess.run(command, check=True, capture_output=True)
    return directory / name.lower() / "backend"


if __name__ == "__main__":
    sys.exit(main())
