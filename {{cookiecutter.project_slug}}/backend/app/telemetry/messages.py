"""Messages: the parts of a message that a programmer wrote, without the values put into it.

The words of a message stand in the code that made it. What is found among the constants of that
code is kept, and all between is a value: `card declined for […] after […] tries`. A module's own
constants count for nothing, because settings and secrets are written there.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import CodeType, FrameType
from typing import Final

VALUE: Final = "[…]"
"""Stands for whatever a programmer did not write."""

_LONGEST = 16_384
_MOST_EXCEPTIONS = 50
_MOST_FRAMES = 60
_LEAST_LETTERS = 3
_PLACEHOLDER = re.compile(r"%(?:\(\w*\))?[#0\- +]*[\d*.]*[a-zA-Z%]|\{[^{}]*\}")


class Template(str):
    """A text that is known to hold nothing but what a programmer wrote; its type is the proof."""

    __slots__ = ()


def keep_constants(message: str, codes: Iterable[CodeType]) -> Template:
    """Replace all of a message but the constants of the given code by `[…]`."""
    message = message[:_LONGEST]
    kept = bytearray(len(message))
    for fragment in _fragments(tuple(dict.fromkeys(codes))):
        start = message.find(fragment)
        while start >= 0:
            end = start + len(fragment)
            if not any(kept[start:end]) and _stands_alone(message, start, end):
                kept[start:end] = b"\1" * len(fragment)
            start = message.find(fragment, end)
    pieces: list[str] = []
    position = 0
    while position < len(message):
        end = kept.find(0 if kept[position] else 1, position)
        end = len(message) if end < 0 else end
        piece = message[position:end]
        pieces.append(piece if kept[position] else _blank(piece))
        position = end
    return Template("".join(pieces))


def _blank(gap: str) -> str:
    """Replace a gap between constants, but for the spaces around it and for mere punctuation."""
    value = gap.strip()
    return gap.replace(value, VALUE) if re.search(r"\w", value) else gap


def _stands_alone(message: str, start: int, end: int) -> bool:
    """Whether a fragment ends where words do, and so is not a part of a value such as `my-word`."""
    before = message[start - 1 : start].strip() and message[start].isalnum()
    after = message[end : end + 1].strip() and message[end - 1].isalnum()
    return not before and not after


@lru_cache(maxsize=256)
def _fragments(codes: tuple[CodeType, ...]) -> tuple[str, ...]:
    """Collect the constant texts of code, split where values are put in, the longest first."""
    fragments = set()
    for code in codes:
        if code.co_name == "<module>":
            continue
        for constant in code.co_consts:
            if isinstance(constant, str):
                fragments.update(_PLACEHOLDER.split(constant[:_LONGEST]))
    worded = [each for each in fragments if sum(map(str.isalpha, each)) >= _LEAST_LETTERS]
    return tuple(sorted(worded, key=lambda each: (-len(each), each)))


def codes_of(exception: BaseException | None) -> list[CodeType]:
    """Return the code that raised an exception, and those that it came from or contains."""
    codes: list[CodeType] = []
    for each in _related(exception):
        traceback = each.__traceback__
        while traceback is not None:
            codes.append(traceback.tb_frame.f_code)
            traceback = traceback.tb_next
        # A class may word its own message, and has returned when it is raised.
        for method in ("__init__", "__str__"):
            code = getattr(getattr(type(each), method, None), "__code__", None)
            if isinstance(code, CodeType):
                codes.append(code)
    return codes


def _related(exception: BaseException | None) -> Iterator[BaseException]:
    waiting = [exception]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_EXCEPTIONS:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def call_site(path: str, line: int) -> list[CodeType]:
    """Return the code of the call that is being made at a line of a file; nothing if it is over.

    The path may lack its beginning.
    """
    return [
        frame.f_code
        for frame in _live_frames()
        if frame.f_lineno == line and frame.f_code.co_filename.endswith(path)
    ][:1]


def written_nearby(text: str) -> bool:
    """Whether a function that is being run has the text as a constant."""
    return any(
        frame.f_code.co_name != "<module>" and text in frame.f_code.co_consts
        for frame in _live_frames()
    )


def _live_frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return
        yield frame
        frame = frame.f_back
