"""One process at a time in a folder that it fills: by a claim, as for the trial of a sweep."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prune_heads.errors import RunError
from prune_heads.execution.claims import Claims
from prune_heads.progress import Reporter

_NAME = "folder"
_BEAT_SECONDS = 1.0
"""Who comes second hears so soon that the first is alive."""


@contextmanager
def held(folder: Path, reporter: Reporter) -> Iterator[None]:
    """Have a folder for this process alone; it need not be there. The claim stands beside it and is gone at the end.

    The claim of a process that was killed is taken over: at once if it ran on this machine, else when it has not beaten
    for a while, which is waited for.

    Raises:
        RunError: If another process holds the folder and is alive, or nothing can be written beside it.
    """
    claims = Claims(folder.resolve().with_name(f".{folder.resolve().name}.held"))
    made = [each for each in (claims.folder, *claims.folder.parents) if not each.exists()]
    waited = 0
    while not claims.take(_NAME):
        if claims.has_beaten(_NAME):
            raise RunError(
                f"one process alone can work on {folder}; another one does so now. Wait for it, or name another "
                "--output"
            )
        waited += 1
        if waited == 20:
            reporter.note(f"waiting to see whether the process that worked on {folder.name} is still alive")
        time.sleep(_BEAT_SECONDS / 4)
    try:
        with claims.beating(_BEAT_SECONDS):
            yield
    finally:
        claims.give_back(_NAME)
        for each in (claims.folder / _NAME[:2], *(made or [claims.folder])):
            with suppress(OSError):  # someone else may have put something there
                each.rmdir()
