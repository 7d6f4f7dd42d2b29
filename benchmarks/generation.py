"""Measures what generating costs: the whole command, beside a template of one file.

Both have two hooks, run by turns in one go, so that whatever slows the machine slows both. What
counts is the ratio; the milliseconds are of this machine and this moment.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from template_source import copy_template

ROUNDS = {"smallest": 5, "full": 25}
MOST = 2.2  # times the one-file template: a slower generation is a fault
HOOKS = ("pre_gen_project.py", "post_gen_project.py")


def main() -> int:
    """Measure, print a table, and return 1 where generation costs too much, at full size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=ROUNDS, default="full")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        template = copy_template(Path(directory) / "template")
        ratio = compare(Path(directory), template, ROUNDS[arguments.size])
    if ratio > MOST:
        print(f"\nGeneration may cost {MOST} times a one-file template at most.", file=sys.stderr)
    return int(ratio > MOST and arguments.size == "full")


def compare(directory: Path, template: Path, rounds: int) -> float:
    """Generate both templates by turns, and return the median ratio of what they took."""
    smallest = one_file_template(directory / "one-file")
    pairs = []
    for number in range(rounds + 1):
        output = directory / f"round-{number}"
        pairs.append((generate(smallest, output / "one"), generate(template, output / "this")))
    del pairs[0]  # the first round reads everything from disk
    ratio = median(this / one for one, this in pairs)
    files = sum(path.is_file() for path in (directory / f"round-{rounds}" / "this").rglob("*"))

    print(f"Generation, the whole command, median of {rounds} interleaved rounds\n")
    print(f"{'template':<36}{'files':>6}{'median':>12}{'ratio':>8}")
    one, this = (median(times) * 1000 for times in zip(*pairs, strict=True))
    print(f"{'one file, two empty hooks':<36}{1:>6}{one:>9.0f} ms{1:>8.2f}")
    print(f"{'this template, default answers':<36}{files:>6}{this:>9.0f} ms{ratio:>8.2f}")
    return ratio


def one_file_template(template: Path) -> Path:
    """Write the least that cookiecutter can generate with both hooks."""
    project = template / "{{cookiecutter.project_slug}}"
    project.mkdir(parents=True)
    (project / "README.md").write_text("# {{ cookiecutter.project_slug }}\n")
    (template / "cookiecutter.json").write_text('{"project_slug": "one-file"}\n')
    (template / "hooks").mkdir()
    for name in HOOKS:
        (template / "hooks" / name).write_text("")
    return template


def generate(template: Path, output: Path) -> float:
    """Run the whole command once, and return the seconds it took."""
    output.mkdir(parents=True)
    settings = output.parent / "cookiecutter.yaml"
    settings.write_text(f"replay_dir: {output.parent / 'replay'}\n")
    program = Path(sys.executable).with_name("cookiecutter")
    words: list[str | Path] = [
        program,
        template,
        "--no-input",
        "--config-file",
        settings,
        "-o",
        output,
    ]
    started = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
