"""A signal that arrives in a destructor, where Python swallows exceptions, comes again."""

import subprocess
import sys
import textwrap

import pytest

# The destructor sends the signal to its own process, so that its handler runs inside of it.
PROGRAM = textwrap.dedent("""
    import os, signal, sys, time
    from prune_heads.cli import signals

    class Collected:
        def __del__(self):
            os.kill(os.getpid(), int(sys.argv[1]))
            for _ in range(1000):
                pass

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signals.install()
    try:
        Collected()
        time.sleep(10)
        print("went on")
    except KeyboardInterrupt:
        sys.exit(signals.INTERRUPTED)
""")


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_a_signal_in_a_destructor_is_not_lost(number, code):
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(number)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
