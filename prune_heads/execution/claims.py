"""Claims on trials: files that only one process can make, with a heartbeat that says that it is alive.

No lock is held and no clock is compared. A claim is the file `<trial>.<generation>`, made with O_EXCL. Its owner
writes another number into it every few seconds. A process that has watched a claim for a while by its own clock and
saw no beat makes the next generation, which again only one can. An owner on the same machine whose process is gone is
dead at once.

A claim also says how many workers have died of its trial; its owner, which starts them, counts them. If the owner
itself is killed, by a user or with its machine, no trial is to blame.
"""

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prune_heads.execution.owner import Owner, lives
from prune_heads.files import write_bytes, writing_into

BEAT_SECONDS = 5.0
DEAD_AFTER_SECONDS = 60.0
"""Without a beat. Twelve beats, so that a busy machine does not lose its trials."""

LATELY_SECONDS = 30.0
"""How long a beat counts as a sign of life."""

_LOOK_SECONDS = 0.2
_SHARD = re.compile("[0-9a-f]{2}")
_CLAIM = re.compile("[0-9a-f]{64}[.][1-9][0-9]{0,9}")


@dataclass(frozen=True)
class _Look:
    """The last look at the claim of another process, by our clock."""

    content: bytes
    since: float
    """When this content was first seen."""
    at: float
    is_beat: bool
    """Whether it was another content than at a look shortly before."""


@dataclass
class Claims:
    """The claims in a folder, as one process makes and watches them."""

    folder: Path
    owner: Owner = field(default_factory=Owner.me)
    clock: Callable[[], float] = time.monotonic
    _watched: dict[str, _Look] = field(default_factory=dict)
    """File name of a claim -> the last look at it."""
    _held: dict[str, Path] = field(default_factory=dict)
    _deaths: dict[str, int] = field(default_factory=dict)
    """Trial that is ours -> how many workers have died of it."""
    _beats: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, trial: str) -> bool:
        """Claim a trial (its digest); False if another process has it and is alive, as far as can be seen.

        Raises:
            RunError: If the folder cannot be written to.
        """
        there = self._generations(trial)
        n_deaths = 0
        if there:
            latest = there[max(there)]
            content = _content_of(latest)
            if not self._is_dead(latest.name, content):
                return False
            said = _parsed(content).get("n_deaths")
            n_deaths = said if isinstance(said, int) else 0
        mine = self._path(trial, max(there, default=0) + 1)
        with writing_into("the folder of a sweep", self.folder):
            mine.parent.mkdir(parents=True, exist_ok=True)
            try:
                with mine.open("xb") as file:
                    file.write(self._content(n_deaths))
            except FileExistsError:
                return False  # another was faster
        with self._lock:
            self._held[trial], self._deaths[trial] = mine, n_deaths
        for old in there.values():
            with suppress(OSError):  # gone, or nothing of ours
                old.unlink()
        return True

    def holds(self, trial: str) -> bool:
        """Whether the claim is still ours; it is not if another process took us for dead."""
        mine = self._held.get(trial)
        return mine is not None and mine.exists() and max(self._generations(trial), default=0) == _generation(mine)

    def n_deaths(self, trial: str) -> int:
        """Of a trial whose claim is ours: how many workers have died of it in a row."""
        return self._deaths[trial] if trial in self._held else 0

    def has_beaten(self, trial: str) -> bool:
        """Whether recent attempts to take it have shown that another process has it and is alive.

        That a process of that number lives on this machine proves nothing: the system reuses numbers.
        """
        there = self._generations(trial)
        look = self._watched.get(there[max(there)].name) if there else None
        return look is not None and look.is_beat and self.clock() - look.since < LATELY_SECONDS

    def give_back(self, trial: str) -> None:
        """End the claim; nothing happens if it is not ours any more."""
        with self._lock:
            mine = self._held.pop(trial, None)
        if mine is not None:
            mine.unlink(missing_ok=True)

    def give_back_all(self) -> None:
        """End all claims that are ours."""
        for trial in list(self._held):
            self.give_back(trial)

    def count_death(self, trial: str) -> None:
        """Note that one more worker has died of a trial whose claim is ours."""
        with self._lock:
            self._deaths[trial] += 1
        self.beat()

    @contextmanager
    def beating(self, seconds: float = BEAT_SECONDS) -> Iterator[None]:
        """Beat for all claims that are held, from a thread of its own, until the block ends."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(seconds):
                self.beat()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def beat(self) -> None:
        """Say once that we are alive."""
        self._beats += 1
        with self._lock:
            for trial, mine in self._held.items():
                with suppress(OSError):  # on a full disk the trial fails with the reason
                    if mine.exists():  # not if someone has taken us for dead
                        write_bytes(mine, self._content(self._deaths[trial]))

    def running(self) -> Iterator[str]:
        """Digests of the trials that are claimed by any process, alive or dead."""
        for shard in shards(self.folder):
            yield from sorted({path.name.partition(".")[0] for path in shard.iterdir() if _is_claim(path)})

    def alive(self, sleep: Callable[[float], None] = time.sleep) -> list[str]:
        """Digests of the trials whose owner is alive: a process of this machine that exists, or one that beats.

        Waits for the owners on other machines, for at most twice the time between two beats.
        """
        found: list[str] = []
        others: dict[str, tuple[Path, bytes]] = {}
        for claim, about in self._claims():
            trial = claim.name.partition(".")[0]
            if about.get("host") != self.owner.host:
                others[trial] = claim, _content_of(claim)
            elif lives(about.get("pid")):
                found.append(trial)
        end = self.clock() + 2 * BEAT_SECONDS
        while others and self.clock() < end:
            sleep(_LOOK_SECONDS)
            for trial, (claim, content) in list(others.items()):
                if (now := _content_of(claim)) != content:
                    del others[trial]
                    found += [trial] * bool(now)  # not if it was given back meanwhile
        return sorted(found)

    def _claims(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """The last claim of each trial, and what it says."""
        for trial in self.running():
            if there := self._generations(trial):
                claim = there[max(there)]
                yield claim, _parsed(_content_of(claim))

    def _generations(self, trial: str) -> dict[int, Path]:
        shard = self.folder / trial[:2]
        if not shard.is_dir():
            return {}
        return {
            _generation(path): path for path in shard.iterdir() if _is_claim(path) and path.name.startswith(f"{trial}.")
        }

    def _path(self, trial: str, generation: int) -> Path:
        return self.folder / trial[:2] / f"{trial}.{generation}"

    def _content(self, n_deaths: int) -> bytes:
        owner = {"host": self.owner.host, "pid": self.owner.pid, "token": self.owner.token}
        return json.dumps({**owner, "n_deaths": n_deaths, "beat": self._beats}).encode()

    def _is_dead(self, name: str, content: bytes) -> bool:
        about = _parsed(content)
        if about.get("host") == self.owner.host and not lives(about.get("pid")):
            return True
        now, before = self.clock(), self._watched.get(name)
        if before is None or before.content != content:
            is_beat = before is not None and now - before.at < LATELY_SECONDS
            self._watched[name] = _Look(content, now, now, is_beat)
            return False
        self._watched[name] = replace(before, at=now)
        return now - before.since > DEAD_AFTER_SECONDS


def shards(folder: Path) -> list[Path]:
    """The folders of two hexadecimal digits in a folder, in order; other files there are ignored."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else ()
    return [folder / name for name in names if _SHARD.fullmatch(name) and (folder / name).is_dir()]


def _content_of(claim: Path) -> bytes:
    """Empty if it cannot be read: it was just given back, or it is a stray folder, which never beats."""
    try:
        return claim.read_bytes()
    except OSError:
        return b""


def _parsed(content: bytes) -> dict[str, Any]:
    """Empty for a claim whose owner died while it wrote: it does not beat, and is taken over in time."""
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_claim(path: Path) -> bool:
    return _CLAIM.fullmatch(path.name) is not None


def _generation(path: Path) -> int:
    return int(path.name.partition(".")[2])
