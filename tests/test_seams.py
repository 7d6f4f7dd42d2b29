"""An option changes what it marks, and not one byte besides."""

import re
from pathlib import Path

import pytest

from bakery import ALL_CHOSEN, OPTIONS, PROJECT, QUESTIONS, Answers, Bakery, files_of
from seams import count_blocks, lines_for

DEFAULT_LICENSE = QUESTIONS["license"][0]


def sources_of(bakery: Bakery) -> dict[str, bytes]:
    return files_of(bakery.template / PROJECT)


def complete(answers: Answers) -> Answers:
    return {"license": DEFAULT_LICENSE} | dict(answers)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changes_its_seams_only(bakery: Bakery, option: str) -> None:
    with_it, without = complete(ALL_CHOSEN), complete({**ALL_CHOSEN, option: "no"})
    present, absent = (files_of(bakery.project(answers)) for answers in (with_it, without))
    assert absent.keys() <= present.keys()
    for name, source in sources_of(bakery).items():
        if name not in absent:
            continue
        common = []
        for answers, rendered in ((with_it, present[name]), (without, absent[name])):
            lines = list(lines_for(source.decode(), answers))
            generated = rendered.decode().splitlines(keepends=True)
            assert len(lines) == len(generated), f"{name}: a line has no origin"
            common.append(
                [
                    text
                    for line, text in zip(lines, generated, strict=True)
                    if option not in line.in_seam_of
                ]
            )
        assert common[0] == common[1], f"{name} differs outside its seams"


def test_lines_without_an_answer_are_generated_as_they_stand(bakery: Bakery) -> None:
    answers = complete(ALL_CHOSEN)
    generated = files_of(bakery.project(answers))
    for name, source in sources_of(bakery).items():
        lines = lines_for(source.decode(), answers)
        for line, text in zip(lines, generated[name].decode().splitlines(True), strict=True):
            assert line.text == text or "{{" in line.text, f"{name}:{line.number}"


def test_without_it_no_trace_of_sentry_is_left(bakery: Bakery) -> None:
    for name, content in files_of(bakery.project({**ALL_CHOSEN, "include_sentry": "no"})).items():
        assert "sentry" not in name.lower()
        assert b"sentry" not in content.lower(), name


def test_the_python_files_have_few_seams(bakery: Bakery) -> None:
    blocks = {
        name: count_blocks(source.decode())
        for name, source in sources_of(bakery).items()
        if name.endswith(".py")
    }
    assert sum(blocks.values()) <= 10, {name: n for name, n in blocks.items() if n}


def test_an_answer_stands_only_in_strings_and_prose(bakery: Bakery) -> None:
    """The template's Python compiles as it stands, so that editors and linters can read it."""
    for path in (bakery.template / PROJECT).rglob("*.py"):
        compile(path.read_bytes(), path, "exec")
        for line in path.read_text().splitlines():
            for before in re.findall(r"^(.*?)\{\{ cookiecutter", line):
                assert re.search(r"[\"'#]", before), f"{path}: {line}"


@pytest.mark.parametrize("license_name", QUESTIONS["license"])
def test_a_license_changes_its_seams_only(bakery: Bakery, license_name: str) -> None:
    usual, other = complete(ALL_CHOSEN), complete({**ALL_CHOSEN, "license": license_name})
    first, second = files_of(bakery.project(usual)), files_of(bakery.project(other))
    assert first.keys() == second.keys()
    changed = {name for name in first if first[name] != second[name]}
    assert changed == (set() if license_name == DEFAULT_LICENSE else {"LICENSE"})
    assert len(second["LICENSE"].splitlines()) == len(
        list(lines_for(sources_of(bakery)["LICENSE"].decode(), other))
    )


def test_each_license_is_the_one_asked_for(bakery: Bakery) -> None:
    opening = {
        "MIT": "Permission is hereby granted, free of charge",
        "BSD-3-Clause": "Redistribution and use in source and binary forms",
        "Apache-2.0": "Apache License",
        "Proprietary": "All rights reserved",
    }
    assert list(opening) == QUESTIONS["license"]
    for name, words in opening.items():
        path: Path = bakery.project({**ALL_CHOSEN, "license": name}) / "LICENSE"
        assert words in path.read_text()
