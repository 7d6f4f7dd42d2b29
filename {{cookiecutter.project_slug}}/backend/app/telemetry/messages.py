"""Messages: what a programmer wrote of them, without the values put in; and names of loaded code.

The words of a message stand in the code that made it. What is found among the constants of that
code is kept, and all between is a value: `card declined for […] after […] tries`. A module's own
constants count for nothing here, because settings and secrets are written there, and neither
does what a function keeps in a variable and puts into a message from there. Code counts where it
stands in the file of a loaded module: text that was compiled at run time may hold anything.
"""

import dis
import linecache
import re
import string
import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from types import CodeType, FrameType, FunctionType
from typing import Final, NamedTuple

from app.privacy import is_sensitive

VALUE: Final = "[…]"
"""Stands for whatever a programmer did not write."""

_LONGEST = 16_384
_LONGEST_NAME = 200
_LONGEST_PUNCTUATION = 3
_LONGEST_SPACE = 8
_MOST_EXCEPTIONS = 50
_MOST_FRAMES = 60
_MOST_REMEMBERED = 4096
_CALLERS = 3
_LEAST_LETTERS = 3
_PLACEHOLDER = re.compile(r"%(?:\(\w*\))?[#0\- +]*[\d*.]*[a-zA-Z%]|\{[^{}]*\}")
_DEFINED = re.compile(r"^[ \t]*(?:async )?(?:def|class) (\w+)", re.MULTILINE)
_TOKEN = re.compile(r"\S*\d\S*")
"""One word with a digit in it: written into code, it is a key, a number or a name of such."""
_FORMATTING = frozenset({"FORMAT_VALUE", "FORMAT_SIMPLE", "CONVERT_VALUE"})
_PUNCTUATION = frozenset(string.punctuation + string.whitespace)
_LIBRARIES = (
    "<frozen ",
    *(sysconfig.get_path(each) for each in ("stdlib", "platstdlib", "purelib", "platlib")),
)
_EXCEPTION_TEXTS = ("__init__", "__str__")


class Template(str):
    """A text that is known to hold nothing but what a programmer wrote; its type is the proof."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return the text itself, so that the proof is not lost where the SDK asks for a text."""
        return self


class _Texts(NamedTuple):
    """What stands in code, which is held so that its identity stays its own."""

    code: CodeType
    whole: frozenset[str] = frozenset()
    """Its texts, but for those that are values."""
    fragments: frozenset[str] = frozenset()
    """The same, split where values are put in."""
    words: frozenset[str] = frozenset()
    """The same where they are short, and all names."""


# Code is remembered by its identity, because its hash takes long.
_read: Final[dict[int, _Texts]] = {}
_functions: Final[set[str]] = {
    *("<module>", "<lambda>", "<locals>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
}
"""Names of functions that are known to stand in code. That one ran proves nothing of its name."""


# Parts of messages


def keep_constants(message: str, codes: Iterable[CodeType]) -> Template:
    """Replace all of a message but the constants of the given code by `[…]`."""
    message = message[:_LONGEST]
    kept = bytearray(len(message))
    found = {each for code in codes for each in _texts_of(code).fragments if each in message}
    for fragment in sorted(found, key=lambda each: (-len(each), each)):
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


def keep_template(text: str) -> Template:
    """Replace the places in a programmer's text where values are put in by `[…]`."""
    return Template(_PLACEHOLDER.sub(lambda found: "%" if found[0] == "%%" else VALUE, text))


def _blank(gap: str) -> str:
    """Replace a gap between constants, but for some spaces around it and a sign or two."""
    value = gap.strip()
    before, _, after = gap.partition(value) if value else (gap, "", "")
    if len(value) > _LONGEST_PUNCTUATION or not _PUNCTUATION.issuperset(value):
        value = VALUE
    return before[:_LONGEST_SPACE] + value + after[:_LONGEST_SPACE]


def _stands_alone(message: str, start: int, end: int) -> bool:
    """Whether a fragment ends where words do, and so is not a part of a value such as `my-word`."""
    before = message[start - 1 : start].strip() and message[start].isalnum()
    after = message[end : end + 1].strip() and message[end - 1].isalnum()
    return not before and not after


def _texts_of(code: CodeType) -> _Texts:
    """Return the texts and names that stand in code; none of what was made at run time."""
    known = _read.get(id(code))
    if known and known.code is code:
        return known
    if len(_read) >= _MOST_REMEMBERED:
        _read.clear()
    _read[id(code)] = texts = _read_texts(code) if _is_written(code) else _Texts(code)
    return texts


def _read_texts(code: CodeType) -> _Texts:
    words = {code.co_name, *code.co_names, *code.co_varnames, *code.co_freevars}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            words.update(constant.co_varnames[: constant.co_argcount])
    if code.co_name == "<module>":
        return _Texts(code, words=frozenset(words))
    whole = {each[:_LONGEST] for each in code.co_consts if isinstance(each, str)}
    whole -= _values_in(code)
    fragments = {part for each in whole for part in _PLACEHOLDER.split(each) if _is_worded(part)}
    words.update(_listed(code.co_consts), (each for each in whole if len(each) <= _LONGEST_NAME))
    return _Texts(code, frozenset(whole), frozenset(fragments), frozenset(words))


def _is_worded(fragment: str) -> bool:
    """Whether a fragment is no token, and more than the few letters that are found in any text."""
    return not _TOKEN.fullmatch(fragment) and sum(map(str.isalpha, fragment)) >= _LEAST_LETTERS


def _values_in(code: CodeType) -> set[str]:
    """Return the texts of variables that are called like a secret, or put into an f-string."""
    if code.co_filename.startswith(_LIBRARIES):
        return set()
    steps = list(pairwise(dis.get_instructions(code)))
    put_in = {step.argrepr for step, following in steps if following.opname in _FORMATTING}
    return {
        str(step.argval)
        for step, following in steps
        if step.opname == "LOAD_CONST" and following.opname.startswith("STORE_")
        if following.argrepr in put_in or is_sensitive(following.argrepr)
    }


# Names of code


def _is_written(code: CodeType) -> bool:
    """Whether code stands in the file of a loaded module: there, and by its name."""
    module = _files(len(sys.modules)).get(code.co_filename)
    return module is not None and is_function(code.co_name, module)


@lru_cache(maxsize=1)
def _files(count: int) -> Mapping[str, str]:
    """Collect the files of all modules and whose they are, anew when there are more of them."""
    files = {}
    for name in list(sys.modules):
        files[f"<frozen {name}>"] = name
        files[file_of(name)] = name
    files.pop("", None)
    return files


def is_source_file(path: str) -> bool:
    """Whether a loaded module's file has this name, or this path as its import has it."""
    return path in _imported_paths(len(sys.modules))


@lru_cache(maxsize=1)
def _imported_paths(count: int) -> frozenset[str]:
    paths: set[str] = set()
    for file, module in _files(count).items():
        steps = file.replace("\\", "/").split("/")
        depth = module.count(".") + (2 if steps[-1].startswith("__init__.") else 1)
        paths.update((steps[-1], "/".join(steps[-depth:])))
    return frozenset(paths)


def names_monitor(slug: str) -> bool:
    """Whether the service's own code, which is none of a library's, calls a monitor this."""
    files = [file for file in _files(len(sys.modules)) if not file.startswith(_LIBRARIES)]
    return any(_calls(file, r"(?:monitor|capture_checkin)", slug) for file in files)


def names_logger(file: str, name: str) -> bool:
    """Whether the source of a loaded module asks for a logger of this name."""
    return file in _files(len(sys.modules)) and _calls(file, "getLogger", name)


def _calls(file: str, function: str, text: str) -> bool:
    """Whether a source hands a text to a function. A text elsewhere may be anybody's name."""
    source = "".join(linecache.getlines(file))
    call = rf"""\b{function}\(\s*(?:\w+\s*=\s*)?["']{re.escape(text)}["']"""
    return text in source and re.search(call, source) is not None


def file_of(module: str) -> str:
    """Return the file of a loaded module, or nothing."""
    file = getattr(sys.modules.get(module), "__dict__", {}).get("__file__")
    return file if isinstance(file, str) else ""


def find(module: str, path: str) -> object:
    """Return what stands in a loaded module under a dotted path, without running any code."""
    found: object = sys.modules.get(module)
    for step in path.split("."):
        names = getattr(found, "__dict__", None)
        found = names.get(step) if isinstance(names, Mapping) else None
    return found


def find_anywhere(path: str) -> object:
    """Return the class or function that any loaded module has under a dotted path."""
    first = path.partition(".")[0]
    for name, module in list(sys.modules.items()):
        if first in getattr(module, "__dict__", ()):
            found = find(name, path)
            if isinstance(found, type | FunctionType):
                return found
    return None


def is_class(module: str, path: str) -> bool:
    """Whether a loaded module has a class of this name, or code that makes one in a function."""
    if isinstance(find(module, path), type):
        return True
    steps = set(path.split("."))
    return "<locals>" in steps and steps - {"<locals>"} <= names_in(module)


def is_function(path: str, module: str = "") -> bool:
    """Whether a function stands in a loaded module whose name or dotted path this is."""
    return all(step in _functions or _is_named(step, module) for step in path.split("."))


def _is_named(name: str, module: str) -> bool:
    # To look at the module is quicker than to read its source, which has the inner functions too.
    defined = getattr(sys.modules.get(module), "__dict__", {})
    classes = (each for each in list(defined.values()) if isinstance(each, type))
    live = name in defined or any(name in vars(each) for each in classes)
    if live or name in names_in(module):
        _functions.add(name)
        return True
    return False


@lru_cache(maxsize=512)
def names_in(module: str) -> frozenset[str]:
    """Return the names of all functions and classes in the source of a loaded module."""
    try:
        with tokenize.open(file_of(module)) as source:
            return frozenset(_DEFINED.findall(source.read()))
    except Exception:  # there is no source, or none of Python
        return frozenset()


def _listed(constants: Iterable[object]) -> Iterator[str]:
    """Yield the texts that stand in tuples and sets."""
    for constant in constants:
        if isinstance(constant, tuple | frozenset):
            yield from (each for each in constant if isinstance(each, str))
            yield from _listed(constant)


def words_of(codes: Iterable[CodeType]) -> set[str]:
    """Return the names and the texts that stand in code."""
    return set().union(*(_texts_of(code).words for code in codes))


# The code of what is happening


def codes_of(exceptions: Iterable[BaseException]) -> list[CodeType]:
    """Return the code on the tracebacks of exceptions, and of classes that word their messages."""
    codes: dict[int, CodeType] = {}
    for each in exceptions:
        traceback = each.__traceback__
        while traceback is not None:
            codes[id(traceback.tb_frame.f_code)] = traceback.tb_frame.f_code
            traceback = traceback.tb_next
        # A class may word its own message, and has returned when it is raised.
        for method in _EXCEPTION_TEXTS:
            code = getattr(getattr(type(each), method, None), "__code__", None)
            if isinstance(code, CodeType):
                codes[id(code)] = code
    return list(codes.values())


def related(exception: BaseException | None) -> list[BaseException]:
    """Return an exception, and those that it came from or contains."""
    waiting = [exception]
    found: dict[int, BaseException] = {}
    while waiting and len(found) < _MOST_EXCEPTIONS:
        each = waiting.pop(0)
        if each is None or id(each) in found:
            continue
        found[id(each)] = each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
    return list(found.values())


def call_site(path: str, line: int) -> list[CodeType]:
    """Return the code of the call that is being made at a line of a file, and of its callers.

    Nothing, if the call is over. The path may lack its beginning. A log call may stand in a
    function that is handed the message: its callers have the words.
    """
    frames = list(_live_frames())
    for index, frame in enumerate(frames):
        if frame.f_lineno == line and frame.f_code.co_filename.endswith(path):
            return [each.f_code for each in frames[index : index + _CALLERS]]
    return []


def written_nearby(text: str) -> bool:
    """Whether a function that is being run has the text as a constant."""
    return bool(text) and any(
        frame.f_code.co_name != "<module>"
        and text in frame.f_code.co_consts
        and text in _texts_of(frame.f_code).whole
        for frame in _live_frames()
    )


def _live_frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return
        yield frame
        frame = frame.f_back
