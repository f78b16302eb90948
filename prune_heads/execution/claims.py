"""Claims on trials and folders: files that only one process can make, with a heartbeat that says that it is alive.

No lock is held and no clock is compared. A claim is the file `<trial>.<generation>`, made with O_EXCL. Its owner
writes another number into it every few seconds. A process that has watched a claim for a while by its own clock and
saw no beat makes the next generation, which again only one can. An owner on the same machine whose process is gone is
dead at once.

A claim also says how many workers have died of its trial; its owner, which starts them, counts them. If the owner
itself is killed, by a user or with its machine, no trial is to blame.
"""

import glob
import json
import os
import platform
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from prune_heads.errors import RunError
from prune_heads.files import write_bytes, writing_into
from prune_heads.progress import Reporter

BEAT_SECONDS = 5.0
DEAD_AFTER_SECONDS = 60.0  # Without a beat. Twelve beats, so that a busy machine does not lose its trials.

LATELY_SECONDS = 30.0  # how long a beat counts as a sign of life

NAME = "0" * 64  # of the claim on a folder; a trial's claim has its digest

_LOOK_SECONDS = 0.2
_UNSEEN = None, 0.0, False  # see `Claims._watched`
_HEX = "[0-9a-f]"
_CLAIM = re.compile(f"{_HEX}{{64}}[.][1-9][0-9]{{0,9}}")


class Owner(NamedTuple):
    """A process, told apart from all others on all machines."""

    host: str  # processes with the same host can see whether the others are alive; see `machine`
    pid: int
    token: str


@cache
def machine() -> str:
    """Where process numbers mean the same; two hosts or containers of one name differ in boot or namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return f"{platform.node()} {uuid.getnode():x}"


def lives(pid: object) -> bool:
    """Whether this machine has a process of that number that has not ended."""
    try:
        os.kill(pid, 0)  # type: ignore[arg-type]
        # On Linux; a killed process that nobody waits for stays as a zombie, as in many containers.
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] != b"Z"
    except ProcessLookupError:
        return False
    except (OSError, OverflowError, TypeError):  # it is another user's, this is not Linux, or it is no such number
        return True


@dataclass
class Claims:
    """The claims in a folder, as one process makes and watches them."""

    folder: Path
    owner: Owner = field(default_factory=lambda: Owner(machine(), os.getpid(), secrets.token_hex(8)))
    clock: Callable[[], float] = time.monotonic
    _watched: dict[str, tuple[bytes | None, float, bool]] = field(default_factory=dict)
    """File name of another's claim -> its content, when that was first seen, and whether another was shortly before."""
    _held: dict[str, tuple[Path, int]] = field(default_factory=dict)  # trial -> our claim, and the deaths of it
    _beats: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, trial: str) -> bool:
        """Claim a trial (its digest); False if another process has it and is alive, as far as can be seen.

        A `RunError` if the folder cannot be written to.
        """
        there = self._on(trial)
        content, about = _read(there)
        if there and not self._is_dead(there[-1].name, content, about):
            return False
        n_deaths = about["n_deaths"] if isinstance(about.get("n_deaths"), int) else 0
        mine = self.folder / trial[:2] / f"{trial}.{max(map(_generation, there), default=0) + 1}"
        with writing_into("the folder of a sweep", self.folder):
            mine.parent.mkdir(parents=True, exist_ok=True)
            try:
                with mine.open("xb") as file:
                    file.write(self._content(n_deaths))
            except FileExistsError:
                return False  # another was faster
        with self._lock:
            self._held[trial] = mine, n_deaths
        for old in there:
            with suppress(OSError):  # gone, or nothing of ours
                old.unlink()
        return True

    def holds(self, trial: str) -> bool:
        """Whether the claim is still ours; it is not if another process took us for dead."""
        return trial in self._held and self._on(trial)[-1:] == [self._held[trial][0]]

    def n_deaths(self, trial: str) -> int:
        """Of a trial whose claim is ours: how many workers have died of it in a row."""
        return self._held[trial][1] if trial in self._held else 0

    def has_beaten(self, trial: str) -> bool:
        """Whether recent attempts to take it have shown that another process has it and is alive.

        That a process of that number lives on this machine proves nothing: the system reuses numbers.
        """
        there = self._on(trial)
        _, since, has_beaten = self._watched.get(there[-1].name if there else "", _UNSEEN)
        return has_beaten and self.clock() - since < LATELY_SECONDS

    def give_back(self, trial: str) -> None:
        """End the claim; nothing happens if it is not ours any more."""
        with self._lock:
            mine = self._held.pop(trial, None)
        if mine is not None:
            mine[0].unlink(missing_ok=True)

    def count_death(self, trial: str) -> None:
        """Note that one more worker has died of a trial whose claim is ours."""
        with self._lock:
            claim, n_deaths = self._held[trial]
            self._held[trial] = claim, n_deaths + 1
        self.beat()

    @contextmanager
    def beating(self, seconds: float = BEAT_SECONDS) -> Iterator[None]:
        """Beat for all claims that are held, from a thread of its own; when the block ends, give them back."""
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
            for trial in list(self._held):
                self.give_back(trial)

    def beat(self) -> None:
        """Say once that we are alive."""
        self._beats += 1
        with self._lock:
            for claim, n_deaths in self._held.values():
                with suppress(OSError):  # on a full disk the trial fails with the reason
                    if claim.exists():  # not if someone has taken us for dead
                        write_bytes(claim, self._content(n_deaths))

    def alive(self, sleep: Callable[[float], None] = time.sleep) -> list[str]:
        """Digests of the trials whose owner is alive: a process of this machine that exists, or one that beats.

        Waits for the owners on other machines, for at most twice the time between two beats.
        """
        first = {trial: _read(self._on(trial)) for trial in digests(self.folder, ".*")}
        end = self.clock() + 2 * BEAT_SECONDS

        def is_alive(content: bytes, about: dict[str, Any], trial: str) -> bool:
            if about.get("host") == self.owner.host or not content:  # it was just given back
                return bool(content) and lives(about.get("pid"))
            while (now := _read(self._on(trial))[0]) == content and self.clock() < end:
                sleep(_LOOK_SECONDS)
            return now not in (content, b"")

        return [trial for trial, claim in first.items() if is_alive(*claim, trial)]

    def _on(self, trial: str) -> list[Path]:
        """The claims on a trial by generation; the last one counts."""
        paths = (self.folder / trial[:2]).glob(f"{trial}.*")
        return sorted((path for path in paths if _CLAIM.fullmatch(path.name)), key=_generation)

    def _content(self, n_deaths: int) -> bytes:
        return json.dumps({**self.owner._asdict(), "n_deaths": n_deaths, "beat": self._beats}).encode()

    def _is_dead(self, name: str, content: bytes, about: dict[str, Any]) -> bool:
        if about.get("host") == self.owner.host and not lives(about.get("pid")):
            return True
        now, (before, since, _) = self.clock(), self._watched.get(name, _UNSEEN)
        if before != content:
            self._watched[name] = content, now, before is not None and now - since < LATELY_SECONDS
            return False
        return now - since > DEAD_AFTER_SECONDS


def digests(folder: Path, ending: str = "") -> list[str]:
    """The digests in the 256 folders of a folder, in order, whose names end so (a pattern); other files are ignored.

    There is one listing for each folder, so that 100,000 take a fraction of a second.
    """
    return sorted({name[3:67] for name in glob.glob(f"{_HEX * 2}/{_HEX * 64}{ending}", root_dir=folder)})


def _read(claims: list[Path]) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the last of some claims, and what they say; empty if there is none, or it cannot be read.

    It was just given back, or is a stray folder, or its owner died while it wrote: it does not beat, and is taken over.
    """
    content, about = b"", None
    with suppress(OSError, ValueError, IndexError):
        content = claims[-1].read_bytes()
        about = json.loads(content)
    return content, about if isinstance(about, dict) else {}


def _generation(claim: Path) -> int:
    return int(claim.suffix[1:])


@contextmanager
def held(folder: Path, reporter: Reporter) -> Iterator[None]:
    """Reserve a folder, which need not exist, for this process. The claim lies beside it until the block ends.

    The claim of a process that was killed is taken over: at once if it ran on this machine, else after a while without
    a heartbeat. A `RunError` if another process holds the folder and is alive, or nothing can be written beside it.
    """
    claims = Claims(folder.resolve().with_name(f".{folder.resolve().name}.held"))
    made = [each for each in (claims.folder, *claims.folder.parents) if not each.exists()]
    start = claims.clock()
    while not claims.take(NAME):
        if claims.has_beaten(NAME) or claims.clock() > start + 2 * DEAD_AFTER_SECONDS:
            raise RunError(f"another process works on {folder} now. Wait for it, or name another --output")
        if claims.clock() > start + BEAT_SECONDS:
            reporter.note(f"waiting to see whether the process that worked on {folder.name} is still alive")
        time.sleep(_LOOK_SECONDS)
    try:
        with claims.beating(seconds=1):  # so that a second process soon sees that the first is alive
            yield
    finally:
        for each in (claims.folder / NAME[:2], *(made or [claims.folder])):
            with suppress(OSError):  # someone else may have put something there
                each.rmdir()
