"""Generates and installs a project, and runs a program of this folder in its environment."""

import subprocess
import sys
import tempfile
from pathlib import Path

from service import environment, install
from template_source import copy_template

HERE = Path(__file__).parent


def main() -> int:
    """Run `generated.py [--backend PATH] PROGRAM WORD …`; return what the program returns."""
    words = sys.argv[1:]
    if words[0] == "--backend":
        return run_in(Path(words[1]), *words[2:])
    with tempfile.TemporaryDirectory(prefix="generated-") as directory:
        return run_in(generate(Path(directory)), *words)


def run_in(backend: Path, program: str, *words: str) -> int:
    """Run a program of this folder with the environment of an installed project."""
    command: list[str | Path] = [backend / ".venv" / "bin" / "python", HERE / program, *words]
    variables = environment(PYTHONPATH=f"{backend}:{HERE}", ENV_FILE="")
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
