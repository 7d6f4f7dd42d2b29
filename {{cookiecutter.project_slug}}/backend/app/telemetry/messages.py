"""Messages: what a programmer wrote of them, without the values put in; and names of loaded code.

The words of a message stand in the code that made it. What that code says is kept, and all between is
a value: `card declined for […] after […] tries`. The constants of a module count for nothing here,
because settings and secrets are written there, and neither do those of a function that are handed
on, compared or kept: by its source is told which of them it says. Code counts where it stands in
the file of a loaded module: text that was compiled at run time may hold anything.
"""

import ast
import linecache
import re
import string
import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
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
_DEFINED = re.compile(
    r"^(?:[ \t]*(?:async )?(?:def|class) |(?=\w+(?:: [^=\n]+)? = ))(\w+)", re.MULTILINE
)
_TOKEN = re.compile(r"\S*\d\S*")
"""One word with a digit in it: written into code, it is a key, a number or a name of such."""
_MESSAGES: Final = frozenset(
    {
        *("description", "detail", "details", "error", "fmt", "format", "hint", "message"),
        *("messages", "msg", "note", "reason", "template", "text", "title"),
    }
)
"""Words in the names of what holds a message."""
_SAYING: Final = frozenset(
    {
        *("debug", "info", "warning", "warn", "error", "exception", "critical", "fatal"),
        *("add_note", "add_breadcrumb", "capture_message", "__init__", "_", "gettext"),
        *("count", "distribution", "gauge", "start_span", "fail", "abort"),
    }
)
"""Functions whose first argument is said to people."""
_SAYING_SECOND: Final = frozenset({"log"})
_LOOKING_UP: Final = frozenset({"get", "getattr", "getenv", "hasattr", "pop", "setdefault"})
"""Functions that are given a name."""
_LIST = re.compile(r"'?(?:, | or )'?|^'|'\Z")
"""What stands between the parts of a list in words."""
_EXCEPTION = re.compile(
    r"(?:Denied|Error|Exception|Exit|Failed|Failure|Fault|Group|Invalid|NotFound|Problem|Refused"
    r"|Timeout|Warning)\Z"
)
"""How the names of exceptions end."""
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
    _read[id(code)] = texts = _read_texts(code) if _stands_in_file(code) else _Texts(code)
    return texts


def _read_texts(code: CodeType) -> _Texts:
    words = {code.co_name, *code.co_names, *code.co_varnames, *code.co_freevars}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            words.update(constant.co_varnames[: constant.co_argcount])
    if code.co_name == "<module>":
        return _Texts(code, words=frozenset(words))
    if code.co_filename.startswith(_LIBRARIES):
        # Nobody keeps a secret in a library; and to parse one takes long.
        whole = {each[:_LONGEST] for each in code.co_consts if isinstance(each, str)}
        words.update(_listed(code.co_consts))
    else:
        source = _source_of(code.co_filename)
        read = _Reader(source.takers)
        for node in source.nodes.get((code.co_name, code.co_firstlineno), ()):
            read.code(node)
        whole = {each[:_LONGEST] for each in read.said}
        words |= read.named
    fragments = {part for each in whole for part in _PLACEHOLDER.split(each) if _is_worded(part)}
    words.update(each for each in whole if len(each) <= _LONGEST_NAME)
    return _Texts(code, frozenset(whole), frozenset(fragments), frozenset(words))


def _is_worded(fragment: str) -> bool:
    """Whether a fragment is no token, and more than the few letters that are found in any text."""
    return not _TOKEN.fullmatch(fragment) and sum(map(str.isalpha, fragment)) >= _LEAST_LETTERS


# What code says, by its source


class _Source(NamedTuple):
    """What stands in the source of a module."""

    nodes: Mapping[tuple[str, int], Sequence[ast.AST]] = {}
    """What became code of its own, by the name and the line of that."""
    takers: frozenset[str] = frozenset()
    """Functions that take a message first."""


_APART: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_UNNAMED: Final[Mapping[type, str]] = {
    ast.Lambda: "<lambda>",
    ast.ListComp: "<listcomp>",
    ast.SetComp: "<setcomp>",
    ast.DictComp: "<dictcomp>",
    ast.GeneratorExp: "<genexpr>",
}


def _text_of(file: str) -> str:
    return "".join(linecache.getlines(file))


@lru_cache(maxsize=256)
def _source_of(file: str) -> _Source:
    try:
        tree = ast.parse(_text_of(file))
    except (SyntaxError, ValueError, RecursionError):  # there is none, or it was replaced by now
        return _Source()
    nodes: dict[tuple[str, int], list[ast.AST]] = {}
    takers = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            nodes.setdefault((node.name, first), []).append(node)
            taken = [each.arg for each in node.args.args if each.arg not in {"self", "cls"}]
            if taken and _is_message(taken[0]):
                takers.add(node.name)
        elif name := _UNNAMED.get(type(node)):
            nodes.setdefault((name, getattr(node, "lineno", 0)), []).append(node)
    return _Source(nodes, frozenset(takers))


def _is_message(name: str) -> bool:
    return not _MESSAGES.isdisjoint(name.lower().split("_"))


def _texts_in(node: ast.expr | None) -> Iterator[str]:
    """Yield the texts of an expression that makes a message, but not what is put into them."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            for part in parts:
                yield from _texts_in(part)
        case ast.BinOp(left=left, op=ast.Add(), right=right) | ast.IfExp(body=left, orelse=right):
            yield from _texts_in(left)
            yield from _texts_in(right)
        case ast.BinOp(left=left, op=ast.Mod()):
            yield from _texts_in(left)
        case ast.Call(func=ast.Attribute(value=template, attr="format" | "format_map")):
            yield from _texts_in(template)


class _Reader(ast.NodeVisitor):
    """Reads in code what it says to people, and what it calls things: its values are neither.

    Said is what values are put into or added to, and the text that is given to an exception, a log
    call or a function that takes a message, or kept under the name of one.
    """

    def __init__(self, takers: frozenset[str]) -> None:
        self.said: set[str] = set()
        self.named: set[str] = set()
        self._takers: Final = takers

    def code(self, node: ast.AST) -> None:
        """Read a function, a lambda or a comprehension, but for the code inside of it."""
        body = getattr(node, "body", None)
        for each in body if isinstance(body, list) else [body or node]:
            if isinstance(each, ast.Return) and getattr(node, "name", "") in _EXCEPTION_TEXTS:
                self.said.update(_texts_in(each.value))
            if each is node:
                self.generic_visit(node)
            else:
                self.visit(each)

    def _name(self, *nodes: ast.expr | None) -> None:
        texts = (each.value for each in nodes if isinstance(each, ast.Constant))
        self.named.update(text for text in texts if isinstance(text, str))

    def visit(self, node: ast.AST) -> None:
        """Read on, but not in what is code of its own; what is put together is said anywhere."""
        if isinstance(node, ast.JoinedStr | ast.BinOp):
            self.said.update(_texts_in(node))
        if not isinstance(node, _APART):
            super().visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        self.said.update(_texts_in(node.msg))
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        if isinstance(node.exc, ast.Call):
            self._say_first(node.exc.args)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = [each.id for each in node.targets if isinstance(each, ast.Name)]
        if any(map(is_sensitive, names)):
            return
        if any(map(_is_message, names)):
            self.said.update(_texts_in(node.value))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in _LOOKING_UP:
            self._name(*node.args[:2])
        if name in _SAYING or name in self._takers:
            self._say_first(node.args[:1])
        elif name in _SAYING_SECOND:
            self._say_first(node.args[1:2])
        elif _EXCEPTION.search(name):
            self._say_first(node.args)
        self.said.update(_texts_in(node))
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        name = node.arg or ""
        self.named.add(name)
        if _is_message(name):
            self.said.update(_texts_in(node.value))
        if not is_sensitive(name):
            self.generic_visit(node)

    def _say_first(self, arguments: Iterable[ast.expr]) -> None:
        for argument in arguments:
            if texts := [*_texts_in(argument)]:
                self.said.update(texts)
                return

    def visit_Dict(self, node: ast.Dict) -> None:
        self._name(*node.keys)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._name(node.slice)
        self.generic_visit(node)


# Names of code


@lru_cache(maxsize=4096)
def is_written(text: str, module: str = "") -> bool:
    """Whether a text stands in the source of a module, or in parts in that of the service's own."""
    files = [file_of(module)] if module else _own_files(len(sys.modules))
    sources = [_text_of(file) for file in files]
    parts = [text] if module else _LIST.split(text)
    return all(any(part in source for source in sources) for part in parts)


@lru_cache(maxsize=1)
def _own_files(count: int) -> tuple[str, ...]:
    return tuple(file for file in _files(count) if not file.startswith(_LIBRARIES))


def _stands_in_file(code: CodeType) -> bool:
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
    files = _own_files(len(sys.modules))
    return any(_calls(file, r"(?:monitor|capture_checkin)", slug) for file in files)


def names_logger(file: str, name: str) -> bool:
    """Whether the source of a loaded module asks for a logger of this name."""
    return _asks_for_logger(file, name, len(sys.modules))


@lru_cache(maxsize=512)
def _asks_for_logger(file: str, name: str, count: int) -> bool:
    return file in _files(count) and _calls(file, "getLogger", name)


def _calls(file: str, function: str, text: str) -> bool:
    """Whether a source hands a text to a function. A text elsewhere may be anybody's name."""
    source = _text_of(file)
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
    steps = set(path.split("."))
    if not isinstance(find(module, path), type) and "<locals>" not in steps:
        return False
    # What was put into a module of the service's own at run time may be called anything.
    file = file_of(module)
    trusted = "<locals>" not in steps and (not file or file.startswith(_LIBRARIES))
    return trusted or steps - {"<locals>"} <= names_in(module)


def is_function(path: str, module: str = "") -> bool:
    """Whether a function stands in a loaded module whose name or dotted path this is."""
    return all(step in _functions or _is_named(step, module) for step in path.split("."))


def _is_named(name: str, module: str) -> bool:
    # To look at a library is quicker than to read its source, which has the inner functions too.
    defined = getattr(sys.modules.get(module), "__dict__", {})
    classes = (each for each in list(defined.values()) if isinstance(each, type))
    live = name in defined or any(name in vars(each) for each in classes)
    if (live and file_of(module).startswith(_LIBRARIES)) or name in names_in(module):
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
