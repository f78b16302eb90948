"""One process at a time writes into a folder: by a claim, as for the trial of a sweep."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prune_heads.errors import RunError
from prune_heads.execution.claims import DEAD_AFTER_SECONDS, Claims
from prune_heads.progress import Reporter

NAME = "0" * 64
"""Of the claim; a trial's claim has its digest."""
_BEAT_SECONDS = 1.0
"""So that a second process soon sees that the first is alive."""
_LOOK_SECONDS = 0.25


@contextmanager
def held(folder: Path, reporter: Reporter) -> Iterator[None]:
    """Reserve a folder, which need not exist, for this process. The claim lies beside it until the block ends.

    The claim of a process that was killed is taken over: at once if it ran on this machine, else after a while without
    a heartbeat.

    Raises:
        RunError: If another process holds the folder and is alive, or nothing can be written beside it.
    """
    claims = Claims(folder.resolve().with_name(f".{folder.resolve().name}.held"))
    made = [each for each in (claims.folder, *claims.folder.parents) if not each.exists()]
    waited = 0
    while not claims.take(NAME):
        if claims.has_beaten(NAME) or waited > 2 * DEAD_AFTER_SECONDS / _LOOK_SECONDS:
            raise RunError(
                f"one process alone can work on {folder}; another one does so now. Wait for it, or name another "
                "--output"
            )
        waited += 1
        if waited == 20:
            reporter.note(f"waiting to see whether the process that worked on {folder.name} is still alive")
        time.sleep(_LOOK_SECONDS)
    try:
        with claims.beating(_BEAT_SECONDS):
            yield
    finally:
        claims.give_back(NAME)
        for each in (claims.folder / NAME[:2], *(made or [claims.folder])):
            with suppress(OSError):  # someone else may have put something there
                each.rmdir()
