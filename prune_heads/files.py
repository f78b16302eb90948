"""Files are written whole or not at all: under a temporary name in the same folder, then renamed.

JSON that is the same for equal values, and its hash, name what is kept by its content.
"""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from prune_heads.errors import RunError
from prune_heads.reading import read_json as read_json

_LONGEST_NAME = 255  # bytes, on every common file system
_SHOWN_NAME = 50  # characters of a name in that of the temporary folder beside it, which must not be too long either
_ATTEMPTS = 10  # times that others may remove the folder under a writer before it gives up


def canonical(value: Mapping[str, Any]) -> str:
    """JSON that is the same for equal values, in whatever order their keys stand."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


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
            if not target.exists():
                for parent in missing:
                    with suppress(OSError):  # someone else may have put something there
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
