"""What a killed fine-tuning goes on from: saves that are whole, which their seals tell, or are not there."""

import hashlib
import json
import shutil
from pathlib import Path

from prune_heads.files import write_json
from prune_heads.progress import Reporter

KEPT_FOLDER = "kept"
SAVE = "checkpoint-"
"""Names of saves begin so; their steps follow."""
_SEAL_FILE = "seal.json"


def seal(save: Path) -> None:
    """Write down what a save consists of, file by file; it is whole as long as it still does."""
    write_json(save / _SEAL_FILE, {"sha256": {file.name: _digest(file) for file in save.iterdir()}})


def remove_but(save: Path | None, work: Path) -> None:
    """Remove all saves but one, and what a killed process has left half-written."""
    for each in (*work.glob(f"{SAVE}*"), *work.glob(".*"), *(work / KEPT_FOLDER).glob(".*")):
        if each != save:
            shutil.rmtree(each, ignore_errors=True)


def last_whole(work: Path, reporter: Reporter) -> Path | None:
    """The save with most steps that is whole; a later one that is damaged is named."""
    numbers = {save: save.name.removeprefix(SAVE) for save in work.glob(f"{SAVE}*")}
    saves = sorted((save for save, n in numbers.items() if n.isdecimal()), key=lambda save: int(numbers[save]))
    for save in reversed(saves):
        problem = _problem(save)
        if problem is None:
            reporter.note(f"went on from step {numbers[save]}, where an earlier process was stopped")
            return save
        reporter.note(f"what was saved at step {numbers[save]} is not used: {problem}")
    return None


def _problem(save: Path) -> str | None:
    try:
        sealed = json.loads((save / _SEAL_FILE).read_bytes())["sha256"]
        for name, wanted in sealed.items():
            if _digest(save / name) != wanted:
                return f"{name} is damaged"
    except OSError as error:
        return f"{Path(error.filename or save).name} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{_SEAL_FILE} is damaged"
    return None


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
