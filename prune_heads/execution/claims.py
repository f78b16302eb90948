"""Who works on a trial: files that only one process can make, with a beat that says that it is alive.

No lock is held and no clock is compared. A claim is the file `<trial>.<generation>`, made with O_EXCL. Its owner
writes another number into it every few seconds; who has watched a claim for a while by his own clock and saw no beat
makes the next generation, which again only one can. An owner on the same machine whose process is gone is
dead at once.
"""

import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prune_heads.files import write_bytes, writing_into

BEAT_SECONDS = 5.0
DEAD_AFTER_SECONDS = 60.0
"""Without a beat. Twelve beats, so that a machine that is short of breath does not lose its trials."""


LATELY_SECONDS = 30.0
"""For which a beat is taken as a sign of life."""


@dataclass(frozen=True)
class Owner:
    """A process, told apart from all others on all machines."""

    host: str
    pid: int
    token: str

    @classmethod
    def me(cls) -> "Owner":
        """This process."""
        return cls(platform.node(), os.getpid(), secrets.token_hex(8))


@dataclass(frozen=True)
class _Look:
    """The last look at a claim of another, by our clock."""

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
    _beats: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, trial: str) -> bool:
        """Claim a trial (its digest); False if someone else has it and is alive, as far as can be seen.

        Raises:
            RunError: If the folder cannot be written to.
        """
        there = self._generations(trial)
        if there:
            latest = there[max(there)]
            if not self._is_dead(latest):
                return False
        mine = self._path(trial, max(there, default=0) + 1)
        with writing_into("the folder of a sweep", self.folder):
            mine.parent.mkdir(parents=True, exist_ok=True)
            try:
                with mine.open("xb") as file:
                    file.write(self._content())
            except FileExistsError:
                return False  # another was faster
        with self._lock:
            self._held[trial] = mine
        for old in there.values():
            old.unlink(missing_ok=True)
        return True

    def holds(self, trial: str) -> bool:
        """Whether the claim is still ours: not if we were taken for dead."""
        mine = self._held.get(trial)
        return (
            mine is not None
            and mine.exists()
            and max(self._generations(trial), default=0) == _generation(mine)
        )

    def is_inherited(self, trial: str) -> bool:
        """Whether a claim of ours was another's, who died."""
        mine = self._held.get(trial)
        return mine is not None and _generation(mine) > 1

    def has_beaten(self, trial: str) -> bool:
        """Whether attempts to take it have shown lately that someone else has it and is alive.

        A living process of that number on this machine would prove nothing: numbers are given again.
        """
        there = self._generations(trial)
        look = self._watched.get(there[max(there)].name) if there else None
        return look is not None and look.is_beat and self.clock() - look.since < LATELY_SECONDS

    def is_claimed(self, trial: str) -> bool:
        """Whether there is a claim, by whomever, alive or dead."""
        return bool(self._generations(trial))

    def give_back(self, trial: str) -> None:
        """End the claim; nothing happens if it is not ours any more."""
        with self._lock:
            mine = self._held.pop(trial, None)
        if mine is not None:
            mine.unlink(missing_ok=True)

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
            held = list(self._held.values())
            for mine in held:
                with suppress(OSError):  # of a full disk the trial itself will tell
                    if mine.exists():  # not if someone has taken us for dead
                        write_bytes(mine, self._content())

    def running(self) -> Iterator[str]:
        """Digests of the trials that are claimed, by whomever, alive or dead."""
        for shard in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            yield from sorted({path.name.partition(".")[0] for path in shard.iterdir() if _is_claim(path)})

    def _generations(self, trial: str) -> dict[int, Path]:
        shard = self.folder / trial[:2]
        if not shard.is_dir():
            return {}
        return {
            _generation(path): path
            for path in shard.iterdir()
            if _is_claim(path) and path.name.startswith(f"{trial}.")
        }

    def _path(self, trial: str, generation: int) -> Path:
        return self.folder / trial[:2] / f"{trial}.{generation}"

    def _content(self) -> bytes:
        about = {
            "host": self.owner.host,
            "pid": self.owner.pid,
            "token": self.owner.token,
            "beat": self._beats,
        }
        return json.dumps(about).encode()

    def _is_dead(self, claim: Path) -> bool:
        try:
            content = claim.read_bytes()
        except FileNotFoundError:
            return False  # given back this moment: it is for the next look
        about = _parsed(content)
        if about.get("host") == self.owner.host and not _lives(about.get("pid")):
            return True
        now, before = self.clock(), self._watched.get(claim.name)
        if before is None or before.content != content:
            is_beat = before is not None and now - before.at < LATELY_SECONDS
            self._watched[claim.name] = _Look(content, now, now, is_beat)
            return False
        self._watched[claim.name] = replace(before, at=now)
        return now - before.since > DEAD_AFTER_SECONDS


def _parsed(content: bytes) -> dict[str, Any]:
    """Empty for a claim whose owner died while it wrote: it does not beat, and is taken over in time."""
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _lives(pid: object) -> bool:
    if not isinstance(pid, int):
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # on Linux; who was killed stays there as a zombie where nobody waits for it, as in many a container
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return True


def _is_claim(path: Path) -> bool:
    name, _, generation = path.name.partition(".")
    return bool(name) and generation.isdecimal()


def _generation(path: Path) -> int:
    return int(path.name.partition(".")[2])
