"""Remove what was not chosen, and say what to do next.

cookiecutter and cruft run this in a freshly rendered project, also at each update, so that every
path below exists when it starts: one that does not is misspelled or was forgotten when moved.
"""

import json
import shlex
import shutil
import sys
from pathlib import Path

ANSWERS: dict[str, str] = json.loads({{cookiecutter | jsonify | jsonify}})

# What belongs to an option, and goes where the option is not chosen.
MANIFEST = {
    "include_sentry": [
        "PRIVACY.md",
        "backend/app/sentry.py",
        "backend/app/telemetry",
        "backend/disclosure.py",
        "backend/tests/e2e",
        "backend/tests/unit/test_event_filter_properties.py",
        "backend/tests/unit/test_preview.py",
        "backend/tests/unit/test_sampling.py",
        "backend/tests/unit/test_sentry.py",
        "backend/tests/unit/test_telemetry.py",
        "backend/tests/wire/backends.py",
        "backend/tests/wire/faulty_app.py",
        "backend/tests/wire/listener.py",
        "backend/tests/wire/places.py",
        "backend/tests/wire/test_canaries.py",
        "backend/tests/wire/test_envelopes.py",
        "backend/tests/wire/test_failures.py",
        "backend/tests/wire/test_faults.py",
        "backend/tests/wire/test_sdk_contract.py",
        "backend/tests/wire/test_tenants.py",
        "deploy/monitoring/telemetry.json",
    ],
    "include_docker": [
        "backend/.dockerignore",
        "backend/Dockerfile",
        "compose.yaml",
        "deploy/postgres",
    ],
    "include_github_actions": [".github"],
    "include_kubernetes": ["deploy/kubernetes"],
}


def prune() -> None:
    """Remove the paths of every option that was not chosen, and the directories left empty."""
    if missing := [
        path for paths in MANIFEST.values() for path in paths if not Path(path).exists()
    ]:
        sys.exit(f"The template's manifest names what it does not generate: {', '.join(missing)}.")
    for option, paths in MANIFEST.items():
        if ANSWERS[option] == "yes":
            continue
        for path in map(Path, paths):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            for parent in list(path.parents)[:-1]:  # the last one is the project itself
                if any(parent.iterdir()):
                    break
                parent.rmdir()


def what_now() -> str:
    """Return the next steps, true for these answers."""
    steps = [
        ("make test", "installs, and proves that all is well"),
        ("make run", "the API on http://127.0.0.1:8000, on SQLite"),
    ]
    if ANSWERS["include_docker"] == "yes":
        steps.append(("docker compose up", "the same on PostgreSQL"))
    steps.append(("git init", "and commit backend/uv.lock, which the first make writes"))
    lines = [f"  {command:<20}{meaning}" for command, meaning in steps]
    project = shlex.quote(str(Path.cwd()))
    return "\n".join(
        [f"{ANSWERS['project_name']} is ready. What now:", "", f"  cd {project}", *lines]
    )


prune()
# cruft says nothing of an output directory, and prints a patch around what a hook prints.
if "_output_dir" in ANSWERS:
    print(what_now())
