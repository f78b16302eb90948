"""Run folders: what was asked, under which conditions, and what came out."""

import platform
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from prune_heads.checkpoints import kernels
from prune_heads.errors import RunError
from prune_heads.files import canonical, check_place, digest, read_json, write_json, write_text
from prune_heads.heads import NUMBERING
from prune_heads.options import Folder, Group
from prune_heads.progress import Reporter

RECORD_FILE = "record.json"
SCORES_FILE = "scores.json"
Files = Mapping[str, str | Mapping[str, Any] | Callable[[Path], None]]
"""What a run leaves beside its record: name -> text, JSON, or what writes it when it is given the path."""
_LIBRARIES = ("prune-heads", "torch", "transformers", "datasets", "evaluate", "numpy", "scipy", "scikit-learn")

FORMATS = {"curve": 2, "estimators": 2}
"""Command -> format of its records, where it is not 1. In 2 areas are over the share pruned, not the percent asked."""


class DoneBefore(Exception):
    """Raised by whoever admits a run, to leave a study before its long work."""


class Study:
    """A study on its way to its record: who it is, and how many seconds each of its stages takes."""

    def __init__(self, command: str, reporter: Reporter) -> None:
        self.command, self.reporter = command, reporter
        self.identity: dict[str, Any] = {}
        self._seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def begin(self, *asked: Group | Mapping[str, Any], **identity: Any) -> None:
        """Say what makes this run this run: what was asked, the last word on an option counting, model and data.

        Whoever admits runs may refuse it. The time until now is booked on `load`.
        """
        configuration: dict[str, Any] = {}
        for each in asked:
            configuration |= each.configuration() if isinstance(each, Group) else each
        self.identity = {"configuration": configuration, **identity} if asked else identity
        self.reporter.admit(self.identity)
        self.lap("load")

    def lap(self, stage: str) -> None:
        """Book the time since the last lap on `stage`."""
        now = time.perf_counter()
        self._seconds[stage] = round(now - self._last, 3)
        self._last = now

    def record(self, device: torch.device, **found: Any) -> dict[str, Any]:
        """Who the run is, what was found, under which conditions."""
        about = {"format": FORMATS.get(self.command, 1), "numbering": NUMBERING, "command": self.command}
        about |= {"identity_hash": digest(self.identity), **self.identity, **found}
        notes = list(self.reporter.notes)
        return {**about, "notes": notes, "seconds": self._seconds, "provenance": provenance(device)}


def provenance(device: torch.device) -> dict[str, Any]:
    """The conditions of a run: date, versions, commit, machine. No path and no host name.

    `commit` and `dirty` are of the project's own checkout; both are None for an installed package.
    """
    root, commit, dirty = Path(__file__).resolve().parents[1], None, None
    git = partial(subprocess.run, cwd=root, capture_output=True, text=True, check=True)
    if (root / ".git").exists():
        with suppress(OSError, subprocess.CalledProcessError):
            commit = git(["git", "rev-parse", "HEAD"]).stdout.strip()
            # A result does not make the next one dirty.
            dirty = bool(git(["git", "status", "--porcelain", "--", ".", ":!results"]).stdout.strip())
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "commit": commit,
        "dirty": dirty,
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "linear_maps": kernels(),
    }


def numbers_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The metrics of the model that a run has left: rows of split, metric, `after`, and `before` if it was pruned."""
    if "made_from" in record:
        return list((record["made_from"] or {}).get("numbers", ()))
    if rows := [row for row in record.get("rows", ()) if "pruned" in row]:
        return [{"split": x["split"], "metric": x["metric"], "before": x["base"], "after": x["pruned"]} for x in rows]
    every = ((split, of) for split, of in record.get("metrics", {}).items() if isinstance(of, dict))
    return [{"split": split, "metric": name, "after": value} for split, of in every for name, value in of.items()]


def is_of(record: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
    """Whether a record is of the run of this identity; older ones do not count the examples that were cut."""
    uncounted = re.sub(r'"n_cut":\d+,', "", canonical(identity))
    return record.get("identity_hash") in (digest(identity), sha256(uncounted.encode()).hexdigest())


def write_files(folder: Path, files: Files) -> None:
    """Write what a run leaves into a folder that is there."""
    for name, content in files.items():
        if callable(content):
            content(folder / name)
        elif isinstance(content, str):
            write_text(folder / name, content)
        else:
            write_json(folder / name, content)


def check_output(folder: Folder, identity: Mapping[str, Any]) -> None:
    """Refuse a folder that must not be replaced or cannot be made.

    A `RunError` if the folder holds another run and `overwrite` is not given, holds anything else, or its parent is not
    writable.
    """
    target = folder.output
    if target is None:
        return
    check_place(target)
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    is_run = (target / RECORD_FILE).is_file()
    there = read_json(target / RECORD_FILE, "the record of an earlier run") if is_run else {}
    if "identity_hash" not in there:
        must = f"the output must be a new folder or one of an earlier run; {target} is neither"
        raise RunError(f"{must} (it holds no {RECORD_FILE} of ours). Name another --output")
    if not is_of(there, identity) and not folder.overwrite:
        cure = "name another --output, or replace it with --overwrite"
        raise RunError(f"the output folder {target} holds a different run; {cure}")
