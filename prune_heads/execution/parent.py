"""A process that another one started does not outlive it."""

import multiprocessing
import os
import threading
from collections.abc import Callable


def end_with_parent(before: Callable[[], None] = lambda: None) -> None:
    """From now on end this process when the one that started it has ended, even by a kill; first call `before`."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            try:
                before()
            finally:
                os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
