"""The command line."""

import time

STARTED = time.perf_counter()
"""When the program imported the first of its modules; Python had started some hundredths of a second before."""
