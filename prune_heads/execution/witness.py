"""A process beside a worker that tells if that dies alone, of its trial: then the next one knows (see claims).

python -m prune_heads.execution.witness CLAIMS PID    # until its stdin ends, which that process holds open
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prune_heads.execution.claims import Claims


@contextmanager
def witness(claims: Claims) -> Iterator[int]:
    """One beside this process; its number."""
    words = [sys.executable, "-m", __name__, str(claims.folder), str(claims.owner.pid)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet) as beside:
        try:
            yield beside.pid
        finally:  # what ends well, or by an exception, has given back its claims
            beside.kill()


def main(folder: str, pid: str) -> None:
    """Wait for the end of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all
    sys.stdin.buffer.read()
    Claims(Path(folder)).tell_of_death(int(pid))


if __name__ == "__main__":
    main(*sys.argv[1:])
