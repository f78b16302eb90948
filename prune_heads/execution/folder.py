"""The folder of a sweep: what it is, what is done, what has failed. It holds all that a restart needs.

    sweep.json                    name, axes, the digest of all trials
    trials/ab/abcd.../            one folder a finished trial, which appears whole: record.json, timing.json
    failures/ab/abcd....json      the last failure of a trial, with its traceback, and how many there were
    claims/ab/abcd....1           the process that runs a trial now
    shared/ab/abcd....json        scores that trials share
    shared_claims/ab/abcd....1    the process that computes them now

256 folders each, so that none has more than a few hundred entries in a sweep of 100,000. Other files in them
(files of a desktop, links, folders) are ignored.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prune_heads.errors import RunError
from prune_heads.execution.claims import Claims, digests
from prune_heads.execution.spec import Sweep, Trial, Values
from prune_heads.files import digest, new_directory, read_json, write_json, writing_into

FORMAT = 3
_OLDER = {1: "ran every criterion once a seed", 2: "took two spellings of a task for two tasks"}  # so had other trials
_LOOK_SECONDS = 0.1
SWEEP_FILE = "sweep.json"
RECORD_FILE = "record.json"
TIMING_FILE = "timing.json"


@dataclass(frozen=True)
class SweepFolder:
    """A folder that belongs to one sweep."""

    root: Path

    @classmethod
    def open(cls, root: Path, sweep: Sweep) -> "SweepFolder":
        """The folder of this sweep; made if it is not there.

        A `RunError` if it holds another sweep or something else, or cannot be written to.
        """
        folder = cls(root)
        # What stands in a folder of a sweep that is being made, and a desktop's own files, are not strange.
        names = os.listdir(root) if root.is_dir() else [str(root)] * root.exists()
        is_strange = any(name != SWEEP_FILE and not name.startswith(".") for name in names)
        if not (root / SWEEP_FILE).exists():  # asked after the look: others may be making the folder of this sweep, too
            if is_strange:
                raise RunError(f"the folder of a sweep must be new or that of the sweep; {root} holds something else")
            about = {"format": FORMAT, "name": sweep.name, "digest": sweep.digest, "n_trials": len(sweep.trials)}
            folder._write(root / SWEEP_FILE, {**about, "axes": list(sweep.axes)})
        there = folder.about()
        if there["digest"] != sweep.digest:
            is_same = there["name"] == sweep.name
            same_name = " of the same name" if is_same else f" ({there['name']})"
            older = _OLDER.get(there.get("format", 0)) if is_same else None
            why = f" An earlier version made it, which {older}." if older else ""
            holds = f"{root.name} holds another sweep{same_name}: {there['n_trials']} trials, not these"
            cure = "Name another --output, or restore the file; what is there is kept"
            raise RunError(f"{holds} {len(sweep.trials)}.{why} {cure}")
        return folder

    def about(self) -> dict[str, Any]:
        """What `sweep.json` says; a `RunError` if this is no folder of a sweep."""
        file = self.root / SWEEP_FILE
        about = read_json(file, "the folder of a sweep must hold sweep.json, which")
        kinds = {"name": str, "digest": str, "n_trials": int, "axes": list}
        if wrong := [key for key, kind in kinds.items() if not isinstance(about.get(key), kind)]:
            raise RunError(f"{file} must be what 'prune-heads sweep run' writes; it lacks {', '.join(wrong)}")
        return about

    def trial(self, name: str) -> Path:
        """Where a finished trial is."""
        return self._place("trials", name, "")

    def record(self, digest: str) -> dict[str, Any]:
        """The record of a finished trial; a `RunError` if it is missing or damaged."""
        try:
            return read_json(self.trial(digest) / RECORD_FILE, "the record of a trial")
        except RunError as error:
            raise RunError(f"{error}. 'prune-heads sweep run' runs the trial again") from error

    def stages(self, digest: str) -> dict[str, float]:
        """Seconds of the stages of a finished trial; empty if it kept none."""
        return dict(_content(self.trial(digest) / TIMING_FILE).get("stages", {}))

    def is_done(self, digest: str) -> bool:
        """Whether a trial has finished and its record can be read."""
        return bool(_content(self.trial(digest) / RECORD_FILE))

    def finish(self, trial: Trial, record: Values, seconds: float) -> bool:
        """Keep the record of a trial, once: False if another process has done so; a `RunError` if it cannot be written.

        When and how long stands in a file of its own: the record of a trial is the same whenever it ran. So do the
        seconds of its stages, if the record has `seconds`.
        """
        target = self.trial(trial.digest)
        if self.is_done(trial.digest):
            return False
        if target.is_symlink():  # a folder cannot take its place
            target.unlink()
        with new_directory(target) as new:
            write_json(new / RECORD_FILE, {key: value for key, value in record.items() if key != "seconds"})
            timing = {"finished": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": round(seconds, 3)}
            stages = {"stages": record["seconds"]} if "seconds" in record else {}
            write_json(new / TIMING_FILE, timing | stages)
        self._place("failures", trial.digest).unlink(missing_ok=True)
        return True

    def fail(self, trial: Trial, error: str, traceback: str) -> int:
        """Note a failure; how many the trial has had. A `RunError` if it cannot be written."""
        n = 1 + self.n_failures(trial.digest)
        about = {"values": dict(trial.values), "error": error, "traceback": traceback, "n_failures": n}
        self._write(self._place("failures", trial.digest), about)
        return n

    def failure(self, digest: str) -> dict[str, Any]:
        """The last failure of a trial; empty if there is none, or it cannot be read: the trial is tried again."""
        return _content(self._place("failures", digest))

    def n_failures(self, digest: str) -> int:
        """How many attempts of a trial have failed."""
        n = self.failure(digest).get("n_failures")
        return n if isinstance(n, int) else 0

    def forget_failures(self) -> int:
        """Remove the failures, so that their trials run again; gives their number."""
        failed = self.failed()
        for name in failed:
            self._place("failures", name).unlink(missing_ok=True)
        return len(failed)

    def shared(self, what: Values, how: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What trials share: computed by the first process that asks; the others wait and read it.

        `what` it is (JSON) holds everything that it depends on; `how` computes it (JSON). A `RunError` if it cannot be
        written.
        """
        name, claims = digest(what), Claims(self.root / "shared_claims")
        file = self._place("shared", name)
        with claims.beating():
            while not isinstance(value := _content(file).get("value"), dict):  # not there, or damaged
                if claims.holds(name):
                    self._write(file, {"what": dict(what), "value": how()})
                elif not claims.take(name):
                    time.sleep(_LOOK_SECONDS)
        return value

    def done(self) -> list[str]:
        """Digests of the finished trials, in order."""
        return digests(self.root / "trials")

    def failed(self) -> list[str]:
        """Digests of the trials that have failed and not finished since, in order."""
        return digests(self.root / "failures", ".json")

    def claims(self) -> Claims:
        """The claims of this process on trials; it is another owner for each call."""
        return Claims(self.root / "claims")

    def _place(self, kind: str, digest: str, suffix: str = ".json") -> Path:
        return self.root / kind / digest[:2] / f"{digest}{suffix}"

    def _write(self, file: Path, content: Values) -> None:
        with writing_into("the folder of a sweep", self.root):
            write_json(file, content)


def _content(file: Path) -> dict[str, Any]:
    """Empty if it is not there, or damaged."""
    try:
        return read_json(file, "a file of a sweep")
    except RunError:
        return {}
