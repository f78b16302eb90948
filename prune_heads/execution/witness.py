"""A process beside one that runs trials itself: it notes if that process dies alone, of its trial (see claims).

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
def witness(claims: Claims) -> Iterator[None]:
    """One beside this process, for the length of the block."""
    words = [sys.executable, "-m", __name__, str(claims.folder), str(claims.owner.pid)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet) as beside:
        try:
            claims.witness = beside.pid
            yield
        finally:  # a process that ends well, or by an exception, has given back its claims
            beside.kill()


def main(folder: str, pid: str) -> None:
    """Wait for the end of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all
    sys.stdin.buffer.read()
    Claims(Path(folder)).tell_of_death(int(pid))


if __name__ == "__main__":
    main(*sys.argv[1:])
