"""Ctrl-C, a kill or a full disk: the exit code says so, and nothing half-written is left."""

import errno
import os
import signal
import subprocess
import sys

import pytest
from tiny import write_sst2

import prune_heads.files
import prune_heads.reporting.folders
import prune_heads.runs


@pytest.fixture
def words(checkpoint, sst2, tmp_path):
    """A run into a folder of its own."""
    return ("run", "--model", checkpoint, "--task", "sst2", "--data-dir", sst2, "--output", tmp_path / "out")


@pytest.fixture(scope="module")
def much(tmp_path_factory):
    """20 000 examples, which take a quarter of a minute to score."""
    return write_sst2(tmp_path_factory.mktemp("much") / "SST-2", n_train=20_000)


@pytest.mark.slow  # processes that import everything
@pytest.mark.parametrize(
    ("sent", "code", "said"), [(signal.SIGINT, 130, "error: interrupted"), (signal.SIGTERM, 143, "")]
)
def test_a_signal_while_heads_are_scored_leaves_nothing(sent, code, said, checkpoint, much, tmp_path):
    """The signal comes when the base metric is there."""
    command = [sys.executable, "-m", "prune_heads", "run", "--model", checkpoint, "--task", "sst2"]
    process = subprocess.Popen(
        [*map(str, command), "--data-dir", str(much), "--output", str(tmp_path / "results" / "out"), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(sent)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == code
    assert stdout == ""
    rest = stderr.splitlines()
    assert first.startswith("base metric")
    assert len(rest) == bool(said)
    assert all(line.startswith(said) for line in rest)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "(No space left on device)"),
        (PermissionError(errno.EACCES, "Permission denied"), 1, "(Permission denied)"),
    ],
)
def test_when_writing_fails_the_earlier_run_stays_as_it_was(
    error, code, said, invoke, words, tmp_path, monkeypatch, snapshot
):
    assert invoke(*words).exit_code == 0
    before = snapshot(tmp_path)

    def fail(scores, gradients, path):
        path.write_text("half")
        raise error

    monkeypatch.setattr(prune_heads.reporting.folders, "_save_gradients", fail)
    done = invoke(*words)
    assert done.exit_code == code
    assert said in done.stderr.splitlines()[-1]
    assert snapshot(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_interrupt_between_the_two_renames_brings_the_earlier_run_back(
    invoke, words, tmp_path, monkeypatch, snapshot
):
    assert invoke(*words).exit_code == 0
    before = snapshot(tmp_path)
    replace = os.replace

    def interrupted(source, target):
        if str(source).endswith(".partial") and target == tmp_path / "out":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(prune_heads.files.os, "replace", interrupted)
    assert invoke(*words).exit_code == 130
    assert snapshot(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("command", ["score", "evaluate", "prune", "roles", "similar", "look"])
def test_every_command_that_writes_cleans_up(command, invoke, words, checkpoint, tmp_path, monkeypatch):
    def interrupted(target, value):
        raise KeyboardInterrupt

    monkeypatch.setattr(prune_heads.runs, "write_json", interrupted)
    if command == "prune":
        words = ("prune", "--model", checkpoint, "--heads", "1:1", "--output", tmp_path / "out")
    if command == "look":
        words = ("look", "the lawyer saw the doctor", "--model", checkpoint, "--output", tmp_path / "out")
    done = invoke(command, *words[1:])
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == "error: interrupted; nothing half-written was left"
    assert not list(tmp_path.iterdir())
