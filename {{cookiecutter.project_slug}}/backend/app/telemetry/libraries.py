"""Libraries: what of the messages of the interpreter and of well-known libraries may be kept.

Code that is not Python has no constants to be found in, so its sentences are listed here. What
stands in their slots is kept where it is proved to be no value: a position, a name that stands in
the code, a table that the models declare. Where an exception tells its parts by attributes, those
are used instead of its text.
"""

import encodings.aliases
import errno
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus
from types import CodeType
from typing import Any, Final

from app.telemetry.messages import (
    VALUE,
    Template,
    codes_of,
    find,
    find_anywhere,
    is_class,
    is_written,
    keep_constants,
    related,
    words_of,
)

_JSON_FAULTS = (
    *("Expecting value", "Expecting ',' delimiter", "Expecting ':' delimiter", "Extra data"),
    *("Expecting property name enclosed in double quotes", "Unterminated string starting at"),
    *("Invalid control character at", "Invalid \\escape", "Invalid \\uXXXX escape"),
    *("Illegal trailing comma before end of object", "Illegal trailing comma before end of array"),
    "Unexpected UTF-8 BOM (decode using utf-8-sig)",
)
_CODEC_FAULTS = (
    *("invalid start byte", "invalid continuation byte", "unexpected end of data"),
    *("ordinal not in range(128)", "ordinal not in range(256)", "character maps to <undefined>"),
    *("surrogates not allowed", "truncated data", "illegal encoding", "illegal UTF-16 surrogate"),
)
_CONNECTION_FAULTS = (
    *("timed out", "All connection attempts failed"),
    "Server disconnected without sending a response.",
)
_ARITHMETIC_FAULTS = (
    *("ConversionSyntax", "DivisionByZero", "DivisionImpossible", "DivisionUndefined"),
    *("InvalidContext", "InvalidOperation", "Overflow", "Subnormal", "Underflow"),
)

SENTENCES: Final[Mapping[str, tuple[str, ...]]] = {
    "builtins.ValueError": (
        "invalid literal for int() with base {number}: {value}",
        "could not convert string to float: {value}",
        "complex() arg is a malformed string",
        "not enough values to unpack (expected {number}, got {number})",
        "not enough values to unpack (expected at least {number}, got {number})",
        "too many values to unpack (expected {number})",
        "too many values to unpack (expected {number}, got {number})",
        "list.remove(x): x not in list",
        "tuple.index(x): x not in tuple",
        "{value} is not in list",
        "{value} is not a valid {class}",
        "substring not found",
        "empty separator",
        "max() arg is an empty sequence",
        "min() arg is an empty sequence",
        "max() iterable argument is empty",
        "min() iterable argument is empty",
        "range() arg 3 must not be zero",
        "slice step cannot be zero",
        "Invalid isoformat string: {value}",
        "year {value} is out of range",
        "month must be in 1..12",
        "month must be in 1..12, not {value}",
        "day is out of range for month",
        "day {value} must be in range 1..{number} for month {value} in year {value}",
        "hour must be in 0..23",
        "minute must be in 0..59",
        "second must be in 0..59",
        "microsecond must be in 0..999999",
        "chr() arg not in range(0x110000)",
        "byte must be in range(0, 256)",
        "non-hexadecimal number found in fromhex() arg at position {number}",
        "negative shift count",
        "negative seek value {value}",
        "math domain error",
        "cannot convert float NaN to integer",
        "embedded null byte",
        "embedded null character",
        "I/O operation on closed file.",
        "I/O operation on closed file",
        "read of closed file",
        "write to closed file",
        "zip() argument {number} is shorter than argument {number}",
        "zip() argument {number} is longer than argument {number}",
        "Exceeds the limit ({number} digits) for integer string conversion: value has {number} "
        "digits; use sys.set_int_max_str_digits() to increase the limit",
        "Exceeds the limit ({number} digits) for integer string conversion",
        "dictionary update sequence element #{number} has length {number}; 2 is required",
        "Invalid format specifier",
        "Invalid format specifier {value} for object of type '{class}'",
        "Single '{value}' encountered in format string",
        "Circular reference detected",
        "Out of range float values are not JSON compliant",
    ),
    "builtins.OverflowError": (
        "cannot convert float infinity to integer",
        "Python int too large to convert to C int",
        "Python int too large to convert to C long",
        "Python int too large to convert to C ssize_t",
        "Python int too large to convert to SQLite INTEGER",
        "int too large to convert to float",
        "int too big to convert",
        "integer division result too large for a float",
        "cannot fit 'int' into an index-sized integer",
        "date value out of range",
        "math range error",
        "(34, 'Numerical result out of range')",
    ),
    "builtins.ZeroDivisionError": (
        "division by zero",
        "float division by zero",
        "float division",
        "float modulo",
        "float floor division by zero",
        "float modulo by zero",
        "integer division or modulo by zero",
        "integer modulo by zero",
        "modulo by zero",
        "0.0 cannot be raised to a negative power",
        "zero to a negative power",
    ),
    "builtins.IndexError": (
        "list index out of range",
        "list assignment index out of range",
        "tuple index out of range",
        "string index out of range",
        "range object index out of range",
        "deque index out of range",
        "bytearray index out of range",
        "index out of range",
        "pop from empty list",
        "pop from an empty deque",
        "pop index out of range",
        "no such group",
        "Replacement index {value} out of range for positional args tuple",
    ),
    "builtins.KeyError": (
        "'pop from an empty set'",
        "'popitem(): dictionary is empty'",
        "'No time zone found with key {value}'",
        "'{name}'",
    ),
    "builtins.AttributeError": (
        "'{class}' object has no attribute '{name}'",
        "'{class}' object attribute '{name}' is read-only",
        "type object '{class}' has no attribute '{name}'",
        "module '{module}' has no attribute '{name}'",
        "property '{name}' of '{class}' object has no setter",
        "property '{name}' of '{class}' object has no deleter",
        "can't set attribute",
    ),
    "builtins.NameError": (
        "name '{name}' is not defined",
        "local variable '{name}' referenced before assignment",
        "cannot access local variable '{name}' where it is not associated with a value",
        "cannot access free variable '{name}' where it is not associated with a value in "
        "enclosing scope",
    ),
    "builtins.ImportError": (
        "No module named '{module}'",
        "cannot import name '{name}' from '{module}' ({value})",
    ),
    "builtins.TypeError": (
        "unsupported operand type(s) for {operator}: '{class}' and '{class}'",
        "bad operand type for unary {operator}: '{class}'",
        "bad operand type for abs(): '{class}'",
        "'{operator}' not supported between instances of '{class}' and '{class}'",
        "'{class}' object is not callable",
        "'{class}' object is not iterable",
        "'{class}' object is not reversible",
        "'{class}' object is not subscriptable",
        "'{class}' object is not an iterator",
        "'{class}' object is not an async iterator",
        "'{class}' object does not support item assignment",
        "'{class}' object does not support item deletion",
        "'{class}' object does not support the context manager protocol",
        "'{class}' object does not support the asynchronous context manager protocol",
        "'{class}' object cannot be interpreted as an integer",
        "'async for' requires an object with __aiter__ method, got {class}",
        "object {class} can't be used in 'await' expression",
        "object of type '{class}' has no len()",
        "argument of type '{class}' is not iterable",
        "argument of type '{class}' is not a container or iterable",
        "cannot unpack non-iterable {class} object",
        "unhashable type: '{class}'",
        "cannot use '{class}' as a dict key (unhashable type: '{class}')",
        "cannot use '{class}' as a set element (unhashable type: '{class}')",
        "{call}() missing {number} required positional argument: {arguments}",
        "{call}() missing {number} required positional arguments: {arguments}",
        "{call}() missing {number} required keyword-only argument: {arguments}",
        "{call}() missing {number} required keyword-only arguments: {arguments}",
        "{call}() takes {number} positional argument but {number} were given",
        "{call}() takes {number} positional arguments but {number} was given",
        "{call}() takes {number} positional arguments but {number} were given",
        "{call}() takes from {number} to {number} positional arguments but {number} were given",
        "{call}() takes no arguments",
        "{call}() takes no arguments ({number} given)",
        "{call}() takes no keyword arguments",
        "{call}() takes exactly one argument ({number} given)",
        "{call}() takes at most {number} argument ({number} given)",
        "{call}() takes at most {number} arguments ({number} given)",
        "{call}() got an unexpected keyword argument '{name}'",
        "{call}() got multiple values for argument '{name}'",
        "{call} expected {number} argument, got {number}",
        "{call} expected {number} arguments, got {number}",
        "{call} expected at least {number} argument, got {number}",
        "{call} expected at most {number} argument, got {number}",
        "{call} expected at most {number} arguments, got {number}",
        "{call}() argument {number} must be {class}, not {class}",
        "{call}() argument '{name}' must be {class}, not {class}",
        "int() argument must be a string, a bytes-like object or a real number, not '{class}'",
        "float() argument must be a string or a real number, not '{class}'",
        "must be real number, not {class}",
        "a bytes-like object is required, not '{class}'",
        'can only concatenate {class} (not "{class}") to {class}',
        "can't concat {class} to {class}",
        "can't multiply sequence by non-int of type '{class}'",
        "sequence item {number}: expected str instance, {class} found",
        "list indices must be integers or slices, not {class}",
        "tuple indices must be integers or slices, not {class}",
        "string indices must be integers, not '{class}'",
        "string indices must be integers",
        "expected string or bytes-like object, got '{class}'",
        "expected string or bytes-like object",
        "fromisoformat: argument must be str",
        "can't compare offset-naive and offset-aware datetimes",
        "can't subtract offset-naive and offset-aware datetimes",
        "not all arguments converted during string formatting",
        "not enough arguments for format string",
        "format requires a mapping",
        "%d format: a real number is required, not {class}",
        "%x format: an integer is required, not {class}",
        "%c requires int or char",
        "unsupported format string passed to {class}.__format__",
        "keys must be str, int, float, bool or None, not {class}",
        "Object of type {class} is not JSON serializable",
        "exceptions must derive from BaseException",
        "catching classes that do not inherit from BaseException is not allowed",
        "isinstance() arg 2 must be a type, a tuple of types, or a union",
        "issubclass() arg 1 must be a class",
        "Can't instantiate abstract class {class} with abstract method {arguments}",
        "Can't instantiate abstract class {class} with abstract methods {arguments}",
        "Can't instantiate abstract class {class} without an implementation for abstract method "
        "{arguments}",
        "Can't instantiate abstract class {class} without an implementation for abstract methods "
        "{arguments}",
    ),
    "builtins.RuntimeError": (
        "dictionary changed size during iteration",
        "dictionary keys changed during iteration",
        "Set changed size during iteration",
        "deque mutated during iteration",
        "generator raised StopIteration",
        "coroutine raised StopIteration",
        "async generator raised StopAsyncIteration",
        "cannot reuse already awaited coroutine",
        "can't start new thread",
        "no running event loop",
        "There is no current event loop in thread {value}.",
        "super(): no arguments",
        "release unlocked lock",
        "Task {value} got Future {value} attached to a different loop",
        "await wasn't used with future",
    ),
    "builtins.RecursionError": (
        "maximum recursion depth exceeded",
        "maximum recursion depth exceeded while calling a Python object",
        "maximum recursion depth exceeded in comparison",
        "maximum recursion depth exceeded in __instancecheck__",
        "maximum recursion depth exceeded while getting the repr of an object",
        "maximum recursion depth exceeded while getting the str of an object",
        "maximum recursion depth exceeded while encoding a JSON object",
        "maximum recursion depth exceeded while decoding a JSON object from a unicode string",
        "maximum recursion depth exceeded while decoding a JSON array from a unicode string",
    ),
    "builtins.EOFError": ("EOF when reading a line", "Ran out of input"),
    "builtins.LookupError": ("unknown encoding: {value}",),
    "builtins.SyntaxError": (
        "invalid syntax ({value}, line {number})",
        "invalid decimal literal ({value}, line {number})",
        "unexpected EOF while parsing ({value}, line {number})",
        "unterminated string literal (detected at line {number}) ({value}, line {number})",
        "unexpected indent ({value}, line {number})",
        "'{value}' was never closed ({value}, line {number})",
    ),
    "builtins.UnicodeDecodeError": tuple(
        "'{codec}' codec can't decode " + what + fault
        for fault in _CODEC_FAULTS
        for what in ("byte {value} in position {number}: ", "bytes in position {number}-{number}: ")
    ),
    "builtins.UnicodeEncodeError": tuple(
        "'{codec}' codec can't encode " + what + fault
        for fault in _CODEC_FAULTS
        for what in (
            "character {value} in position {number}: ",
            "characters in position {number}-{number}: ",
        )
    ),
    "builtins.OSError": (
        "timed out",
        "The read operation timed out",
        "The write operation timed out",
        "_ssl.c:{number}: The handshake operation timed out",
        "All connection attempts failed",
        "not readable",
        "not writable",
    ),
    "json.decoder.JSONDecodeError": tuple(
        fault + ": line {number} column {number} (char {number})" for fault in _JSON_FAULTS
    ),
    "decimal.InvalidOperation": tuple(
        f"[<class 'decimal.{fault}'>]" for fault in _ARITHMETIC_FAULTS
    ),
    "struct.error": (
        "required argument is not an integer",
        "bad char in struct format",
        "argument for 's' must be a bytes object",
        "int too large to convert",
        "unpack requires a buffer of {number} bytes",
        "pack expected {number} items for packing (got {number})",
        "ubyte format requires 0 <= number <= 255",
        "byte format requires -128 <= number <= 127",
        "'{name}' format requires {number} <= number <= {number}",
    ),
    "asyncio.exceptions.InvalidStateError": (
        "invalid state",
        "Result is not set.",
        "Exception is not set.",
    ),
    "binascii.Error": (
        "Incorrect padding",
        "Invalid base64-encoded string: number of data characters ({number}) cannot be 1 more "
        "than a multiple of 4",
        "Non-hexadecimal digit found",
        "Odd-length string",
    ),
    "httpcore.NetworkError": _CONNECTION_FAULTS,
    "httpcore.TimeoutException": _CONNECTION_FAULTS,
    "httpx.TransportError": _CONNECTION_FAULTS,
    "sqlalchemy.exc.TimeoutError": (
        "QueuePool limit of size {number} overflow {number} reached, connection timed out, "
        "timeout {value}",
    ),
    "sqlalchemy.exc.NoResultFound": ("No row was found when one was required",),
    "sqlalchemy.exc.MultipleResultsFound": (
        "Multiple rows were found when exactly one was required",
        "Multiple rows were found when one or none was required",
    ),
    "sqlalchemy.orm.exc.StaleDataError": (
        "UPDATE statement on table '{declared}' expected to update {number} row(s); {number} were "
        "matched.",
        "DELETE statement on table '{declared}' expected to delete {number} row(s); {number} were "
        "matched.",
    ),
    "sqlite3.Error": (
        "UNIQUE constraint failed: {declared}",
        "NOT NULL constraint failed: {declared}",
        "CHECK constraint failed: {declared}",
        "FOREIGN KEY constraint failed",
        "no such table: {declared}",
        "no such column: {declared}",
        "no such index: {declared}",
        "table {declared} has no column named {declared}",
        "table {declared} already exists",
        "index {declared} already exists",
        "ambiguous column name: {declared}",
        "access to {declared} is prohibited",
        "not authorized",
        "no such function: {value}",
        "near {value}: syntax error",
        "unrecognized token: {value}",
        "incomplete input",
        "datatype mismatch",
        "database is locked",
        "database table is locked",
        "database table is locked: {declared}",
        "database schema has changed",
        "database disk image is malformed",
        "database or disk is full",
        "disk I/O error",
        "file is not a database",
        "unable to open database file",
        "attempt to write a readonly database",
        "too many SQL variables",
        "interrupted",
        "cannot start a transaction within a transaction",
        "cannot commit - no transaction is active",
        "cannot rollback - no transaction is active",
        "Cannot operate on a closed database.",
        "Cannot operate on a closed cursor.",
        "You can only execute one statement at a time.",
        "Incorrect number of bindings supplied. The current statement uses {number}, and there "
        "are {number} supplied.",
        "Error binding parameter {number}: type '{class}' is not supported",
        "user-defined function raised exception",
    ),
    "asyncpg.exceptions._base.PostgresError": (
        'duplicate key value violates unique constraint "{declared}"',
        'conflicting key value violates exclusion constraint "{declared}"',
        'null value in column "{declared}" of relation "{declared}" violates not-null constraint',
        'insert or update on table "{declared}" violates foreign key constraint "{declared}"',
        'update or delete on table "{declared}" violates foreign key constraint "{declared}" on '
        'table "{declared}"',
        'new row for relation "{declared}" violates check constraint "{declared}"',
        'new row violates row-level security policy for table "{declared}"',
        'relation "{declared}" does not exist',
        'relation "{declared}" already exists',
        "invalid input for query argument ${number}: {value}",
        'column "{declared}" does not exist',
        "column {declared} does not exist",
        'column "{declared}" of relation "{declared}" does not exist',
        "permission denied for table {declared}",
        "permission denied for relation {declared}",
        "permission denied for schema {value}",
        'database "{value}" does not exist',
        'role "{value}" does not exist',
        'password authentication failed for user "{value}"',
        'syntax error at or near "{value}"',
        'unterminated quoted string at or near "{value}"',
        "operator does not exist: {value}",
        "function {value} does not exist",
        "invalid input syntax for type {value}: {value}",
        "value too long for type character varying({number})",
        "integer out of range",
        "bigint out of range",
        "numeric field overflow",
        "division by zero",
        "deadlock detected",
        "could not serialize access due to concurrent update",
        "could not serialize access due to concurrent delete",
        "could not serialize access due to read/write dependencies among transactions",
        'could not obtain lock on row in relation "{declared}"',
        'could not obtain lock on relation "{declared}"',
        "could not extend file {value}: No space left on device",
        "connection was closed in the middle of operation",
        "connection was closed in the middle of operation: terminating connection due to "
        "administrator command",
        "connection was closed in the middle of operation: {value}",
        "terminating connection because of crash of another server process",
        "the database system is in recovery mode",
        "the database system is not yet accepting connections",
        "canceling statement due to statement timeout",
        "canceling statement due to lock timeout",
        "canceling statement due to user request",
        "terminating connection due to administrator command",
        "terminating connection due to idle-in-transaction timeout",
        "sorry, too many clients already",
        "the database system is starting up",
        "the database system is shutting down",
        "current transaction is aborted, commands ignored until end of transaction block",
        "cannot execute {value} in a read-only transaction",
    ),
}
"""Messages that code outside of Python words, by the class that they are raised with."""

OPERATORS: Final = frozenset(
    {
        *("+", "-", "*", "/", "//", "%", "@", "&", "|", "^", "~", "<<", ">>", "<", "<=", ">", ">="),
        *("+=", "-=", "*=", "/=", "//=", "%=", "@=", "&=", "|=", "^=", "<<=", ">>="),
        *("** or pow()", "**=", "divmod()"),
    }
)
VERBS: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "SET"})
TLS_REASON: Final = re.compile(r"[A-Z][A-Z0-9_]{1,80}")
CERTIFICATE_FAULTS: Final = frozenset(
    {
        *("certificate has expired", "certificate is not yet valid", "self-signed certificate"),
        *("self-signed certificate in certificate chain", "certificate revoked"),
        *("unable to get local issuer certificate", "unable to get issuer certificate"),
    }
)
SQLSTATE: Final = re.compile(r"[0-9A-Z]{5}")

# What pydantic puts into its sentences out of the schema; all else is about the input.
SCHEMA_VALUES: Final = frozenset(
    {
        *("class", "class_name", "decimal_places", "discriminator", "expected"),
        *("expected_schemes", "expected_tags", "expected_version", "field_type"),
        *("max_digits", "max_length", "min_length", "pattern"),
        *("tz_expected", "whole_digits"),
    }
)
HTTP_PARTS: Final = frozenset({"body", "query", "path", "header", "cookie", "response"})
ASYNCIO_FAULTS: Final = frozenset(
    {
        *("Task exception was never retrieved", "Future exception was never retrieved"),
        "Task was destroyed but it is pending!",
    }
)
"""First lines of what `asyncio` logs, in code that is not Python; a task or a future follows."""

_LONGEST = 1000
_LONGEST_NUMBER = 7
_LARGEST_INDEX = 100
_MOST_ERRORS = 20
_QUOTED = re.compile(r"'\w+'(?:,? (?:and )?'\w+')*")
_SLOT = re.compile(r"\{(\w+)\}")
_LINK = re.compile(r"\(Background on this error at: https://(sqlalche\.me/e/\d\d/\w{4})\)")
_CODECS = frozenset(encodings.aliases.aliases) | frozenset(encodings.aliases.aliases.values())


@dataclass(frozen=True)
class Known:
    """What is known when a message is judged: the words of the code, and what tables declare."""

    words: Collection[str] = ()
    declared: Collection[str] = ()
    raised: bool = False
    """Whether the exception itself is at hand, and not only an event that tells of one."""


# Slots


def _is_class(text: str, known: Known) -> bool:
    module, dot, name = text.rpartition(".")
    if dot:
        return is_class(module, name)
    return is_class("builtins", text) or text == "NoneType" or isinstance(find_anywhere(text), type)


def _is_name(text: str, known: Known) -> bool:
    return text in known.words


def _is_call(text: str, known: Known) -> bool:
    steps = set(text.split(".")) - {"<locals>"}
    return (
        steps <= {*known.words}
        or find("builtins", text) is not None
        or find_anywhere(text) is not None
    )


def _are_arguments(text: str, known: Known) -> bool:
    return bool(_QUOTED.fullmatch(text)) and set(re.findall(r"\w+", text)) - {"and"} <= {
        *known.words
    }


def _is_number(text: str, known: Known) -> bool:
    return known.raised and len(text) <= _LONGEST_NUMBER


def _are_declared(text: str, known: Known) -> bool:
    names = re.split(r"[., ]+", text.removeprefix("index ").replace("'", ""))
    return all(name in known.declared for name in names)


@dataclass(frozen=True)
class Slot:
    """What may stand in a slot of a sentence, and the proof that it is no value."""

    pattern: str
    proves: Callable[[str, Known], bool]


SLOTS: Final[Mapping[str, Slot]] = {
    "arguments": Slot(r".+?", _are_arguments),
    "call": Slot(r"[\w.<>\[…\]]+?", _is_call),
    "class": Slot(r"[\w.<>\[…\]]+", _is_class),
    "codec": Slot(r"[^']+", lambda text, known: text.replace("-", "_").lower() in _CODECS),
    "declared": Slot(r".+?", _are_declared),
    "module": Slot(r"[^']+", lambda text, known: text in sys.modules or _is_name(text, known)),
    "name": Slot(r".*?", _is_name),
    "number": Slot(r"-?\d+|\[…\]", _is_number),
    "operator": Slot(r"[^:']+", lambda text, known: text in OPERATORS),
    "value": Slot(r".*?", lambda text, known: False),
}


@lru_cache(maxsize=1024)
def _compiled(sentence: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    parts = _SLOT.split(sentence)
    pattern = "".join(
        f"({SLOTS[part].pattern})" if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    )
    return re.compile(pattern, re.DOTALL), tuple(parts)


def phrase(kind: type, message: str, known: Known) -> Template | None:
    """Return a message of a known form, without the values in it; None for any other message."""
    message = message[:_LONGEST]
    for base in kind.__mro__:
        for sentence in SENTENCES.get(f"{base.__module__}.{base.__qualname__}", ()):
            # Most sentences are told apart by how they begin, which is quicker to compare.
            if not message.startswith(sentence.partition("{")[0]):
                continue
            pattern, parts = _compiled(sentence)
            if match := pattern.fullmatch(message):
                return _filled(parts, match.groups(), known)
    return None


def _filled(parts: tuple[str, ...], found: tuple[str, ...], known: Known) -> Template:
    pieces = list(parts)
    for index, text in enumerate(found):
        kind = parts[2 * index + 1]
        proven = SLOTS[kind].proves(text, known)
        pieces[2 * index + 1] = text if proven else VALUE
        called = getattr(find_anywhere(text), "__code__", None) if kind == "call" else None
        if isinstance(called, CodeType):
            known = replace(known, words={*known.words, *called.co_varnames})
    return Template("".join(pieces))


# Exceptions that tell their parts


def word(exception: BaseException, codes: Sequence[CodeType]) -> Template:
    """Word an exception by what is known of its class, else by the constants of the code."""
    return describe(exception, codes) or keep_constants(text_of(exception), codes)


def describe(exception: BaseException, codes: Sequence[CodeType]) -> Template | None:
    """Word an exception by what is known of its class; None where nothing is."""
    for base in type(exception).__mro__:
        if worder := _WORDERS.get(f"{base.__module__}.{base.__qualname__}"):
            try:
                return worder(exception, codes)
            except Exception:  # it has not the attributes that others of its class have
                return None
    return _phrased(exception, codes)


def _phrased(exception: BaseException, codes: Sequence[CodeType]) -> Template | None:
    return phrase(type(exception), text_of(exception), Known(words_of(codes), _declared(), True))


def text_of(exception: object) -> str:
    """Return the text of an exception, or nothing where it fails to say what it is."""
    try:
        # A text of another class may say that it is equal to any.
        return str.__str__(str(exception))
    except Exception:
        return ""


def _operating_system(error: BaseException, codes: Sequence[CodeType]) -> Template | None:
    """Word an error by its number: its text may hold addresses and names of files."""
    number = getattr(error, "errno", None)
    if not isinstance(number, int) or number not in errno.errorcode:
        return _phrased(error, codes)
    named = f": {VALUE}" if getattr(error, "filename", None) is not None else ""
    return Template(f"[Errno {number}] {os.strerror(number)}{named}")


def _tls(error: BaseException, codes: Sequence[CodeType]) -> Template | None:
    library, reason = getattr(error, "library", None), getattr(error, "reason", None)
    named = [each for each in (library, reason) if isinstance(each, str)]
    if not named or not all(map(TLS_REASON.fullmatch, named)):
        return _phrased(error, codes)
    told = getattr(error, "verify_message", None)
    why = f" {told}" if told in CERTIFICATE_FAULTS else ""
    return Template(f"[{': '.join(named)}]{why}")


def _connection(error: BaseException, codes: Sequence[CodeType]) -> Template | None:
    """Word a failed connection by the operating system's error, or that of TLS, which it hides."""
    for each in related(error):
        if isinstance(each, OSError) and each.errno is not None:
            return describe(each, codes)
    return _phrased(error, codes)


def _host_lookup(error: BaseException, codes: Sequence[CodeType]) -> Template:
    number = getattr(error, "errno", None)
    known = [name for name in dir(sys.modules.get("socket")) if name.startswith("EAI_")]
    names = {getattr(sys.modules["socket"], name): name for name in known}
    return Template(f"[{names.get(number, VALUE)}] the host's address was not found")


def _http_status(error: BaseException, codes: Sequence[CodeType]) -> Template:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status not in {each.value for each in HTTPStatus}:
        return Template(f"HTTP status {VALUE}")
    return Template(f"HTTP status '{status} {HTTPStatus(status).phrase}' for url {VALUE}")


def _database(error: BaseException, codes: Sequence[CodeType]) -> Template:
    """Word an error of SQLAlchemy: the driver's, the kind of the statement, and the link."""
    text = text_of(error)
    link = _LINK.search(text)
    pieces: list[str] = []
    driver = getattr(error, "orig", None)
    if isinstance(driver, BaseException):
        pieces.append(_driver(driver.__cause__ or driver, codes))
        verb = str(getattr(error, "statement", None)).lstrip().partition(" ")[0].upper()
        pieces.append(f"[SQL: {verb + ' ' if verb in VERBS else ''}{VALUE}]")
    else:
        head = text[: link.start()].rstrip() if link else text
        known = Known(words_of(codes), _declared(), True)
        pieces.append(phrase(type(error), head, known) or keep_constants(head, codes))
    if link:
        pieces.append(f"({link[1]})")
    return Template(" ".join(pieces))


def _driver(error: BaseException, codes: Sequence[CodeType]) -> Template:
    kind = type(error)
    module = kind.__module__
    name = f"{module}.{kind.__qualname__}" if is_class(module, kind.__qualname__) else VALUE
    return Template(f"({name}) {word(error, codes)}")


def _adapter(error: BaseException, codes: Sequence[CodeType]) -> Template | None:
    """Word what wraps a driver's error, which alone has the attributes."""
    return _driver(error.__cause__, codes) if error.__cause__ else None


def _postgresql(error: BaseException, codes: Sequence[CodeType]) -> Template:
    state = str(getattr(error, "sqlstate", ""))
    declared = set(_declared())
    if state.startswith("23"):
        # The server names what was violated out of its own catalogue.
        names = (getattr(error, f"{each}_name", None) for each in ("constraint", "table", "column"))
        declared.update(filter(None, names))
    text = text_of(error).partition("\nDETAIL:")[0].partition("\nHINT:")[0]
    told = phrase(type(error), text, Known(words_of(codes), declared, True)) or VALUE
    return Template(f"[{state}] {told}" if SQLSTATE.fullmatch(state) else told)


def _declared() -> frozenset[str]:
    """Collect the names of tables, columns and constraints that loaded models declare."""
    base: Any = find("sqlalchemy.orm", "DeclarativeBase")
    names: set[str] = set()
    for each in base.__subclasses__() if base else ():
        for table in each.metadata.tables.values():
            parts = (*table.columns, *table.constraints, *table.indexes)
            names.update(str(part.name) for part in (table, *parts) if part.name)
    return frozenset(names)


def _validation(error: BaseException, codes: Sequence[CodeType]) -> Template:
    """Word a validation error: each field that the models declare, and what was wrong with it."""
    errors = error.errors()  # type: ignore[attr-defined]  # pydantic's and FastAPI's have it
    title = getattr(error, "title", type(error).__name__)
    known = Known(words_of(codes))
    named = title if _is_class(title, known) or _is_name(title, known) else VALUE
    lines = [f"{len(errors)} validation error{'' if len(errors) == 1 else 's'} for {named}"]
    fields = _fields() | HTTP_PARTS
    sentences = _validation_sentences()
    for each in errors[:_MOST_ERRORS]:
        lines.append(".".join(_location(each.get("loc", ()), fields)))
        kind = each.get("type")
        if kind in sentences:
            told = _told(sentences[kind], each.get("ctx") or {})
            lines.append(f"  {told} [type={kind}]")
        else:
            lines.append(f"  {VALUE}")
    return Template("\n".join(lines))


def _location(steps: Iterable[object], fields: Collection[str]) -> Iterator[str]:
    for step in steps:
        index = isinstance(step, int) and 0 <= step < _LARGEST_INDEX
        yield str(step) if index or step in fields else VALUE


def _told(sentence: str, context: Mapping[str, object]) -> str:
    def fill(slot: re.Match[str]) -> str:
        value = context.get(slot[1], VALUE)
        if isinstance(value, BaseException):  # raised by a validator of the service
            return word(value, codes_of([value]))
        if slot[1] not in SCHEMA_VALUES:
            return VALUE
        # A schema may be made at run time, of what stands in a table.
        return str(value) if isinstance(value, int) or is_written(str(value)) else VALUE

    return _SLOT.sub(fill, sentence)


@lru_cache(maxsize=1)
def _validation_sentences() -> Mapping[str, str]:
    core = sys.modules.get("pydantic_core._pydantic_core")
    listed: list[dict[str, str]] = getattr(core, "list_all_errors", list)()
    return {
        each["type"]: each["message_template_python"].replace("{expected_plural}", "s")
        for each in listed
    }


def _fields() -> set[str]:
    """Collect the names of the fields that loaded models declare."""
    names: set[str] = set()
    waiting = [find("pydantic.main", "BaseModel")]
    while waiting:
        model = waiting.pop()
        if isinstance(model, type):
            waiting += model.__subclasses__()
            for name, field in getattr(model, "model_fields", {}).items():
                told = filter(None, (name, getattr(field, "alias", None)))
                names.update(each for each in told if is_written(each, model.__module__))
    return names


Worder = Callable[[BaseException, Sequence[CodeType]], Template | None]
_WORDERS: Final[Mapping[str, Worder]] = {
    "asyncpg.exceptions._base.PostgresError": _postgresql,
    "builtins.OSError": _operating_system,
    "fastapi.exceptions.ValidationException": _validation,
    "httpcore.NetworkError": _connection,
    "httpx.HTTPStatusError": _http_status,
    "httpx.NetworkError": _connection,
    "pydantic_core._pydantic_core.ValidationError": _validation,
    "socket.gaierror": _host_lookup,
    "sqlalchemy.connectors.asyncio.AsyncAdapt_Error": _adapter,
    "sqlalchemy.exc.SQLAlchemyError": _database,
    "ssl.SSLError": _tls,
}
"""Classes whose exceptions tell their parts by attributes, and what words them."""
