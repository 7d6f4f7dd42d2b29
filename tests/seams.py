"""Reads the template's tags, by its own rules and not by Jinja's, to tell seams from the rest."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bakery import Answers

# A tag stands alone on its line, one space after the hash, and tests one answer for one value.
CONDITION = re.compile(r'cookiecutter\.(?P<name>\w+) (?P<sign>==|!=) "(?P<value>[^"]*)"')
TAG = re.compile(r"\s*# \{% (?P<word>if|elif|else|endif)(?: (?P<condition>[^%]+))? %\}\n")
# One that has very many places for an answer, each of which takes its time, has a word there.
FILTER = re.compile(
    r'# \{% filter replace\("(?P<word>[\w-]+)", (?P<answer>cookiecutter\.\w+)\) %\}\n'
)
END_OF_FILTER = "# {% endfilter %}\n"
LOOKS_LIKE_A_TAG = re.compile(r"#\s*\{[%#]")


@dataclass(frozen=True)
class Line:
    """A line that is generated for some answers, and whether only some of them have it."""

    number: int
    text: str
    in_seam_of: frozenset[str]


class UnreadableTagError(Exception):
    """A tag that is not written as the template's tags are."""


def lines_for(source: str, answers: Answers) -> Iterator[Line]:
    """Yield the lines of a template's file that these answers generate, tags left out."""
    open_blocks: list[tuple[frozenset[str], bool, bool]] = []  # names, now true, was true
    for number, text in enumerate(without_filter(source).splitlines(keepends=True), 1):
        tag = TAG.fullmatch(text)
        if tag is None:
            if LOOKS_LIKE_A_TAG.search(text):
                raise UnreadableTagError(f"line {number}: {text.strip()}")
            if all(now for _, now, _ in open_blocks):
                seams = frozenset[str]().union(*(names for names, _, _ in open_blocks))
                yield Line(number, text, seams)
            continue
        word, condition = tag["word"], tag["condition"]
        if word == "if":
            name, holds = _read(condition, answers)
            open_blocks.append((frozenset({name}), holds, holds))
            continue
        if not open_blocks:
            raise UnreadableTagError(f"line {number}: nothing is open here")
        names, _, was = open_blocks.pop()
        if word == "elif":
            name, holds = _read(condition, answers)
            open_blocks.append((names | {name}, holds and not was, holds or was))
        elif word == "else":
            open_blocks.append((names, not was, True))
    if open_blocks:
        raise UnreadableTagError("a block is never closed")


def without_filter(source: str) -> str:
    """Return a file with its answers in their places, where a filter puts them around all of it."""
    if (begun := FILTER.match(source)) is None or not source.endswith(END_OF_FILTER):
        return source
    body = source[begun.end() : -len(END_OF_FILTER)]
    return body.replace(begun["word"], f"{{{{ {begun['answer']} }}}}")


def _read(condition: str | None, answers: Answers) -> tuple[str, bool]:
    parts = CONDITION.fullmatch(condition or "")
    if parts is None:
        raise UnreadableTagError(f"a condition that compares no answer with a value: {condition}")
    equal = answers[parts["name"]] == parts["value"]
    return parts["name"], equal if parts["sign"] == "==" else not equal


def count_blocks(source: str) -> int:
    """Return how many conditional blocks a file has."""
    return sum(tag["word"] == "if" for tag in map(TAG.fullmatch, source.splitlines(True)) if tag)
