"""All files from outside are read here: the result is a value or one of our errors, whatever is in them.

Every function raises the class `error` that it is given; `what` says what a file should be, `is_not` begins a message.
Content that is too long, too deep, in another encoding, or not a finite number is refused by name and line, before it
reaches a parser that could hang or end the process.
"""

import codecs
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prune_heads.errors import RunError

_LARGEST_JSON = 1 << 28
_LARGEST_TOML = 1 << 20
_DEEPEST = 64
_MOST_DOTS = 100  # between two separators of TOML: the time tomllib takes grows with the square of a dotted key's parts
# In this order, for one of UTF-32 begins as that of UTF-16 does.
_MARKS = {"UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)}
_LONG = re.compile(r"[0-9][0-9_]{4000,}")  # more digits than Python turns into a number; it does not say where they are
_KEY = re.compile(r"^\s*([^\s=#\[\]]+)\s*=", re.MULTILINE)
SURROGATE = re.compile(r"[\ud800-\udfff]")  # half of a pair, which no file and no tokenizer takes
_CONVERT = "convert it (iconv -t utf-8)"
Error = type[Exception]


def read_bytes(source: Path, what: str, error: Error = RunError, most: int = -1) -> bytes:
    """The content of a file; an `error` if it cannot be read, or has more than `most` bytes."""
    try:
        with source.open("rb") as file:
            content = file.read(most + 1 if most >= 0 else -1)
    except (OSError, ValueError) as fault:  # ValueError: a path with a null byte
        said = getattr(fault, "strerror", None) or fault
        raise error(f"{what} must be a readable file; got {source} ({said})") from fault
    if 0 <= most < len(content):
        raise error(f"{what} must have at most {most:,} bytes; {source} has more")
    return content


def text_of(content: bytes, name: str, error: Error = RunError) -> str:
    """The text in UTF-8, without a byte order mark; an `error` names line and encoding of another one, or no text."""
    for encoding, marks in _MARKS.items():
        if content.startswith(marks):
            raise error(f"{name}: the file must be UTF-8, got {encoding} by its byte order mark; {_CONVERT}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        at = fault.start + (len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0)
        said = f"got the byte {content[at]:#04x}, as in Latin-1; {_CONVERT}"
        if fault.reason == "unexpected end of data":
            said = "it ends within a character: it is cut, or Latin-1"
        line = content.count(b"\n", 0, at) + 1
        raise error(f"{name} line {line}: the file must be UTF-8, {said}") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise error(f"{name} line {line}: the file must be text in UTF-8, got a null byte (is it UTF-16?)")
    return text


def json_of(text: str, is_not: str, error: Error = RunError) -> Any:
    """The value of a JSON text, with any numbers."""
    return _parsed(json.loads, text, is_not, error)


def toml_of(text: str, is_not: str, error: Error = RunError) -> Any:
    """The table of a TOML text, with any numbers."""
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > _MOST_DOTS and any(part.count(".") > _MOST_DOTS for part in re.split(r"[=,{\[]", line)):
            raise error(f"{is_not}: line {number} has more than {_MOST_DOTS} dots in a row")
    if long := _LONG.search(text):
        keys = _KEY.findall(text[: long.start()])
        raise error(f"{is_not}: {keys[-1] if keys else 'a value'} must be a number of at most 64 bits")
    return _parsed(tomllib.loads, text, is_not, error)


def value_of(content: bytes, what: str, error: Error = RunError) -> Any:
    """A JSON value of finite numbers, whole ones of at most 64 bits, and texts that can be written again."""
    return _checked(json_of(text_of(content, what, error), what, error), what, error)


def read_json(source: Path, what: str, error: Error = RunError) -> dict[str, Any]:
    """One JSON object, of finite numbers, whole ones of at most 64 bits; an `error` for anything else, or no file."""
    value = _read(source, what, error, _LARGEST_JSON, json_of, f"{what} must be a JSON file; {source} is not")
    if not isinstance(value, dict):
        raise error(f"{what} must hold a JSON object; {source} holds a {type(value).__name__}")
    return value


def read_toml(source: Path, what: str, error: Error = RunError) -> dict[str, Any]:
    """A TOML file of texts, truth values and finite numbers, in lists and tables; for all else, or none, an `error`."""
    return _read(source, what, error, _LARGEST_TOML, toml_of, f"{what} must be a TOML file; {source.name} is not")


def _read(source: Path, what: str, error: Error, most: int, parse: Callable[..., Any], is_not: str) -> Any:
    name = f"{what}: {source.name}"
    text = text_of(read_bytes(source, what, error, most), name, error)
    return _checked(parse(text, is_not, error), name, error)


def _parsed(parse: Callable[[str], Any], text: str, is_not: str, error: Error) -> Any:
    try:
        return parse(text)
    except RecursionError:
        raise error(f"{is_not}: it is nested too deeply") from None
    except ValueError as fault:
        said = str(fault).partition(";")[0]  # without Python's advice to raise its limit of digits
        raise error(f"{is_not}: {said}") from fault


def _checked(value: Any, name: str, error: Error) -> Any:
    """The value, without what JSON or TOML let through and nobody can compute with or write down.

    A fault is raised with its path: `a.b[2].c`. It does not recurse, since Python's depth is limited.
    """
    left, fault = [("", value, 0)], ""
    while left and not fault:
        at, each, depth = left.pop()
        if depth > _DEEPEST:
            fault = f"must be nested at most {_DEEPEST} deep"
        elif isinstance(each, dict):
            left += [(at, key, depth) for key in each]
            left += [(f"{at}.{key}".strip(".")[-80:], item, depth + 1) for key, item in each.items()]
        elif isinstance(each, list):
            left += [(f"{at}[{i}]", item, depth + 1) for i, item in enumerate(each, start=1)]
        elif isinstance(each, str):
            if "\0" in each or SURROGATE.search(each):
                fault = f"must be text; got {each[:80]!r}"
        elif isinstance(each, int):
            if not -(2**63) <= each < 2**64:
                fault = f"must be a number of at most 64 bits; got one of {each.bit_length()}"
        elif isinstance(each, float):
            if each - each != 0:
                fault = f"must be a finite number; got {each}"
        elif each is not None:
            fault = f"must be a text, a number, true or false; got a {type(each).__name__}, {each}"
    if fault:
        raise error(f"{name}: {at}{' ' if at else ''}{fault}")
    return value
