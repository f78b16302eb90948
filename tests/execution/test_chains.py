"""Chains of work side by side: order, errors, and processes that do not outlive who started them."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from chain_steps import append, die, fail, fail_after, say, stay, wait_for

from prune_heads.errors import DataError, RunError
from prune_heads.execution.pool import run_chains

TESTS = Path(__file__).resolve().parents[1]


def gone(pid: int) -> bool:
    """Whether the process ends soon; a zombie has ended."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] == b"Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_a_chain_keeps_its_order_and_each_line_its_name(tmp_path, capfd):
    files = [tmp_path / name for name in "abc"]
    run_chains(
        [
            (
                file.name,
                [*(partial(append, file, f"{n} ") for n in range(5)), partial(say, "done\nso\n"), partial(say, "well")],
            )
            for file in files
        ],
        2,
        share_threads=False,
    )
    assert [file.read_text() for file in files] == ["0 1 2 3 4 "] * 3
    said = capfd.readouterr().err.splitlines()
    for file in files:
        assert [line for line in said if line.startswith(file.name)] == [
            f"{file.name}: {word}" for word in ("done", "so", "well")
        ]


def test_nothing_to_do():
    run_chains([], 2)


def test_an_error_ends_the_others(tmp_path):
    with pytest.raises(DataError, match="the data must be there"):
        run_chains(
            [("a", [partial(stay, tmp_path / "pid")]), ("b", [partial(fail_after, tmp_path / "pid")])],
            2,
            share_threads=False,
        )
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_process_that_is_killed_is_an_error_with_its_cure(tmp_path):
    with pytest.raises(RunError, match=r"one was killed, often for memory.*take fewer --jobs"):
        run_chains(
            [("a", [partial(stay, tmp_path / "pid")]), ("b", [partial(die, tmp_path / "pid")])], 2, share_threads=False
        )
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_who_started_them(number, tmp_path):
    script = (
        "import signal, sys; from functools import partial; from pathlib import Path\n"
        "from prune_heads.cli import signals\n"
        "from chain_steps import stay; from prune_heads.execution.pool import run_chains\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it\n"
        "    signals.install()\n"
        "    run_chains([(n, [partial(stay, Path(sys.argv[1]) / n)]) for n in 'ab'], 2, share_threads=False)\n"
    )
    (tmp_path / "parent.py").write_text(script)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])},
        stderr=subprocess.DEVNULL,
    )
    for name in "ab":
        wait_for(tmp_path / name)
    os.kill(parent.pid, number)
    assert parent.wait(30) != 0
    assert all(gone(int((tmp_path / name).read_text())) for name in "ab")


def test_a_failure_in_the_first_step_leaves_the_rest(tmp_path):
    with pytest.raises(DataError):
        run_chains([("a", [fail, partial(append, tmp_path / "file", "x")])], 1, share_threads=False)
    assert not (tmp_path / "file").exists()
