"""What the benchmark says of the privacy filter can be believed."""

import json
import subprocess
import sys
from pathlib import Path

import corpus
from corpus import Corpus, Planted
from template_source import REPOSITORY


def test_every_string_is_readable_before_it_is_scrubbed() -> None:
    strings = corpus.read()
    assert not [each for each in strings.leaks if not each.has_leaked(each.event())]
    assert not [each for each in strings.survivors if not each.has_survived(each.event())]


def test_no_string_is_readable_where_it_was_not_planted() -> None:
    empty = Planted("nothing", "message", "").event()
    assert not [each for each in corpus.read().leaks if each.has_leaked(empty)]


def test_there_are_enough_of_every_sort() -> None:
    strings = corpus.read()
    assert len(strings.leaks) >= 500
    assert len(families(strings)) >= 60
    assert len(strings.survivors) >= 300


def families(strings: Corpus) -> set[str]:
    """Return the kinds of strings, all national numbers being one, and all tokens."""
    return {each.kind.partition(":")[0] for each in strings.leaks}


def test_a_missed_floor_is_an_error(tmp_path: Path) -> None:
    unnoticed = {"kind": "word", "place": "message", "value": "meadow", "leaks": ["meadow"]}
    strings = tmp_path / "strings.json"
    strings.write_text(json.dumps({"leaks": [unnoticed], "survivors": [unnoticed]}))
    program = REPOSITORY / "benchmarks" / "privacy.py"
    command: list[str | Path] = [sys.executable, program, "--size", "smallest"]
    done = subprocess.run(
        [*command, "--strings", strings], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    missed = [line.split()[:4] for line in done.stdout.splitlines() if "MISSED" in line]
    assert missed == [["MISSED", "this", "template,", "balanced"]]
