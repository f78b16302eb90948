"""Kill a sweep again and again, and see that nothing is lost, run twice or changed.

    python -m tests.chaos SPEC.toml --output DIR --kills 20 [--jobs 2] [--seed 0] [--mean-seconds 5] [-- MORE OPTIONS]
    python -m tests.chaos SPEC.toml --output DIR --kills 0 --compare OTHER_DIR

Every kill is a SIGKILL of the command and all that it has started. Most fall a random time (uniform, of the mean
that is given) after the first trial of a run began, every fourth after the command was started. A run that has
nothing left to do before its kill ends the killing. Then the sweep finishes. Exit code 1 if there are faults.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "prune_heads")
LOOK_SECONDS = 0.5
OVER = ("done", "failed", "retried", "taken")


def records(root: Path) -> dict[str, bytes]:
    """Every record of a trial with its bytes, by the trial's digest."""
    return {path.parent.name: path.read_bytes() for path in _records(root)}


def _records(root: Path) -> list[Path]:
    """Not those in hidden folders, which a killed process was still writing."""
    return list(root.glob("trials/*/[!.]*/record.json"))


def compare(root: Path, other: Path) -> tuple[int, int]:
    """How many trials have the same record in both folders, and how many there are in either."""
    a, b = records(root), records(other)
    return sum(a[name] == b[name] for name in a.keys() & b.keys()), len(a.keys() | b.keys())


@dataclass
class Watch:
    """The records of a folder as they were when they appeared, and what has gone wrong since."""

    root: Path
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Trial -> inode of the record, and when it was written."""
    faults: list[str] = field(default_factory=list)

    def look(self) -> None:
        now = {}
        for path in _records(self.root):
            stat = path.stat()
            now[path.parent.name] = (stat.st_ino, stat.st_mtime_ns)
        for name, stamp in self.seen.items():
            if name not in now:
                self.faults.append(f"{name}: its record is gone")
            elif now[name] != stamp:
                self.faults.append(f"{name}: its record was written again")
        self.seen |= now

    def hear(self, events: Sequence[dict[str, Any]], before: set[str]) -> None:
        started = [event["trial"] for event in events if event["event"] == "started"]
        self.faults += [f"{name}: started again though it was done" for name in started if name in before]


@dataclass
class Summary:
    """What has come of it."""

    kills: int = 0
    starts: int = 0
    cut_off: int = 0
    """Trials that ran when the kill came."""
    trials: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.starts} starts, {self.trials} trials done, {self.cut_off} cut off, "
            f"{self.seconds:.0f} s, {len(self.faults)} faults"
        )


def run(command: Sequence[str], watch: Watch, seconds: float | None, *, of_trials: bool = True) -> Summary:
    """Run a sweep until it ends, or is killed so many seconds after its start or that of its first trial."""
    watch.look()
    before, start, looked = set(watch.seen), time.monotonic(), 0.0
    began: float | None = None if of_trials else start
    was_killed = False
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, start_new_session=True)
        try:
            while process.poll() is None:
                now = time.monotonic()
                if began is None and os.fstat(out.fileno()).st_size:
                    began = now
                if seconds is not None and began is not None and now - began >= seconds:
                    was_killed = True
                    break
                if now - looked >= LOOK_SECONDS:
                    watch.look()
                    looked = now
                time.sleep(0.01)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        events = [json.loads(line) for line in out if line.endswith("\n")]
    watch.hear(events, before)
    watch.look()
    end = events[-1] if events else {}
    is_whole = end.get("event") == "end" and end["done"] == end["n_trials"]
    if not was_killed and (process.returncode or not is_whole):
        watch.faults.append(f"a run that was not killed ended with exit code {process.returncode}, {end}")
    running: set[str] = set()
    for event in events:
        if event["event"] == "started":
            running.add(event["trial"])
        elif event["event"] in OVER:
            running.discard(event["trial"])
    return Summary(int(was_killed), 1, len(running - watch.seen.keys()) if was_killed else 0)


def chaos(command: Sequence[str], root: Path, kills: int, mean_seconds: float, seed: int) -> Summary:
    """Run a sweep (a command that ends in `sweep run ... --json`) with kills, then to its end."""
    draw, watch, whole = random.Random(seed), Watch(root), Summary()
    start = time.monotonic()
    for i in range(kills + 1):
        seconds = draw.uniform(0, 2 * mean_seconds) if i < kills else None
        one = run(command, watch, seconds, of_trials=i % 4 != 3)
        whole.kills += one.kills
        whole.starts += one.starts
        whole.cut_off += one.cut_off
        if not one.kills:
            break
    whole.trials, whole.seconds, whole.faults = len(watch.seen), time.monotonic() - start, watch.faults
    return whole


def main(words: Sequence[str]) -> int:
    """The command."""
    own, _, more = (
        (words, "", ()) if "--" not in words else (words[: words.index("--")], "--", words[words.index("--") + 1 :])
    )
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spec", type=Path, metavar="SPEC.toml")
    parser.add_argument("--output", type=Path, required=True, help="the folder of the sweep")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mean-seconds", type=float, default=5.0)
    parser.add_argument("--compare", type=Path, help="the folder of the same sweep, run elsewhere")
    asked = parser.parse_args(own)
    command = [*COMMAND, "sweep", "run", str(asked.spec), "--output", str(asked.output), "--json"]
    command += ["--jobs", str(asked.jobs), *more]
    done = chaos(command, asked.output, asked.kills, asked.mean_seconds, asked.seed)
    print(done)
    print("\n".join(done.faults), end="\n" if done.faults else "")
    is_same = True
    if asked.compare:
        same, n = compare(asked.output, asked.compare)
        is_same = same == n
        print(f"{same} of {n} records are identical to those of {asked.compare}")
    return 0 if is_same and not done.faults else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
