"""Generates and installs a project, and runs programs of this folder in its environment."""

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
        return max([run(backend, program, words) for program in programs])


def run(backend: Path, program: str, words: list[str]) -> int:
    """Run a program of this folder in the environment of an installed project."""
    command: list[str | Path] = [backend / ".venv" / "bin" / "python", HERE / program, *words]
    variables = environment(
        PYTHONPATH=f"{backend}:{HERE}", ENV_FILE="", LOG_LEVEL="WARNING", PYTHONUNBUFFERED="1"
    )
    return subprocess.run(command, cwd=backend, env=variables, check=False).returncode


def generate(directory: Path) -> Path:
    """Generate and install a project with the default answers; return its backend."""
    template = copy_template(directory / "template")
    settings = directory / "cookiecutter.yaml"
    settings.write_text(f"replay_dir: {directory / 'replay'}\n")
    cookiecutter = Path(sys.executable).with_name("cookiecutter")
    words: list[str | Path] = [
        template,
        "--no-input",
        "project_name=Measured",
        "--config-file",
        settings,
    ]
    subprocess.run([cookiecutter, *words, "-o", directory], check=True, capture_output=True)
    install(directory / "measured")
    return directory / "measured" / "backend"


if __name__ == "__main__":
    sys.exit(main())
