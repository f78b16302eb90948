"""All files from outside are read here, and all files are written here, whole or not at all.

What is read is a value or one of our errors, whatever is in the file. Every reader raises the class `error` that it is
given; `what` says what a file should be, `is_not` begins a message. Content that is too long, too deep, in another
encoding, or not a finite number is refused by name and line, before it reaches a parser that could hang or end the
process.

What is written gets a temporary name in the same folder first, and is then renamed. JSON that is the same for equal
values, and its hash, name what is kept by its content.
"""

import codecs
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

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
_LONGEST_NAME = 255  # bytes, on every common file system
_SHOWN_NAME = 50  # characters of a name in that of the temporary folder beside it, which must not be too long either
_ATTEMPTS = 10  # times that others may remove the folder under a writer before it gives up


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


def canonical(value: Mapping[str, Any]) -> str:
    """JSON that is the same for equal values, in whatever order their keys stand."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def file_digest(file: Path) -> str:
    """SHA-256 (hex) of a file, which may be larger than memory; an `OSError` if it cannot be read."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def writing_into(what: str, folder: Path) -> Iterator[None]:
    """Tell that a folder must be writable where the system does not let the block write, or the disk is full.

    A `RunError` then takes the place of the system's error; `what` names the folder.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors wraps a full disk into an error of its own
        said = getattr(error, "strerror", None) or error
        raise RunError(f"{what} must be writable; got {folder} ({said})") from error


def check_place(target: Path) -> None:
    """Refuse, before any work, a folder that `new_directory` could not make.

    A `RunError` if it cannot have this name, or its parent is not there and cannot be made, or not writable.
    """
    try:
        if any(len(os.fsencode(part)) > _LONGEST_NAME for part in target.parts):
            raise RunError(f"the name of the output folder must have at most {_LONGEST_NAME} bytes; got {target}")
        target = target.resolve()
        if os.path.ismount(target):
            raise RunError(f"the output must be a folder that can be replaced; {target} is a whole disk")
        nearest = next(folder for folder in target.parents if folder.exists())
        if not nearest.is_dir():
            raise RunError(f"the output folder must be in a folder that can be written to; {nearest} is a file")
        with writing_into("the folder of the output", target.parent):
            os.rmdir(_temporary(nearest / target.name, ".partial"))
    except RunError as error:
        raise RunError(f"{error}. Name another --output") from error
    except (OSError, RuntimeError) as error:  # pathlib has RuntimeError for a loop of links
        raise RunError(f"the output folder must have a path; got {target} ({error}). Name another --output") from error


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` when the block ends well and vanishes when it does not.

    What is at `target` is replaced only then. Nothing half-written stays, also after Ctrl-C, nor a folder made for it.
    A `RunError` if the system does not let us write, or the disk is full.
    """
    target = target.resolve()
    missing = [parent for parent in target.parents if not parent.exists()]
    temporary = old = None
    with writing_into(f"the folder of {target.name}", target.parent):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = _temporary(target, ".partial")
            yield temporary
            mask = os.umask(0)
            os.umask(mask)
            for path in (temporary, *temporary.rglob("*")):  # temporary files are for their owner only
                path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
            if target.exists():
                old = _temporary(target, ".old")
                os.replace(target, old / target.name)
            os.replace(temporary, target)
        finally:
            if old is not None:
                if not target.exists():
                    os.replace(old / target.name, target)
                shutil.rmtree(old, ignore_errors=True)
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            for parent in missing:
                with suppress(OSError):  # the target is there, or someone else has put something there
                    parent.rmdir()


def clear_left_over(target: Path) -> None:
    """Remove what a process that was killed in `new_directory(target)` has left; nobody may be writing there now."""
    for name in os.listdir(target.parent) if target.parent.is_dir() else ():
        if name.startswith(f".{target.name[:_SHOWN_NAME]}.") and name.endswith((".partial", ".old")):
            shutil.rmtree(target.parent / name, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    r"""Write a text file at once, half a surrogate pair as `\udce9`, which JSON reads back; see `write_bytes`."""
    write_bytes(target, text.encode(errors="backslashreplace"))


def write_bytes(target: Path, content: bytes) -> None:
    """Write a file at once. Many may write the same one: it holds the content of the last, never a mixture.

    A process that clears the folder meanwhile, temporary file and all, does no harm: it is made again. Nothing
    is flushed to the disk before the renaming: content that must survive a power cut needs a checksum. An OSError if
    the system does not let us write, or the disk is full; no temporary file stays.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(content)
            return os.replace(temporary, target)
        except (FileNotFoundError, FileExistsError):  # mkdir says 'exists' of what has just gone
            if attempt == _ATTEMPTS:
                raise
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_json(target: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object; numbers that JSON cannot hold (NaN) are refused."""
    write_text(target, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _temporary(target: Path, suffix: str) -> Path:
    """A new folder beside `target`, named after it; see `clear_left_over`."""
    return Path(tempfile.mkdtemp(prefix=f".{target.name[:_SHOWN_NAME]}.", suffix=suffix, dir=target.parent))
