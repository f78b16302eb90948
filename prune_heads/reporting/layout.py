"""The one printer: consoles that obey nothing in what they show."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from prune_heads.errors import PipeClosedError, PruneHeadsError
from prune_heads.visible import masked

_PIPED = 100_000


def console(*, stderr: bool = False) -> Console:
    """A console that obeys nothing in what it is given; a pipe has no width, unless `COLUMNS` says so."""
    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal and not os.environ.get("COLUMNS"):
        made.width = _PIPED
    return made


@contextmanager
def speaking() -> Iterator[None]:
    """For what is written to stdout.

    Raises:
        PipeClosedError: If nobody reads it any more.
        PruneHeadsError: If it cannot be written, e.g. to a full disk.
    """
    try:
        yield
    except BrokenPipeError as error:
        raise PipeClosedError from error
    except OSError as error:
        raise PruneHeadsError(f"stdout must be writable; got: {error.strerror}") from error


def print_json(value: Mapping[str, Any]) -> None:
    """One line on stdout, at once: in ASCII, which every terminal and pipe can take."""
    with speaking():
        print(masked(json.dumps(value, allow_nan=False)), flush=True)
