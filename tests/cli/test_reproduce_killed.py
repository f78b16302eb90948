"""Reproductions that are killed again and again: the tables and figures are those of an undisturbed run."""

import json
import os
import random
import signal
import time

import pytest
from forked import Forked

KILLS = 2


@pytest.fixture
def words(tmp_path):
    """A fine-tuning, curves and ablations; the fine-tuned model of each run is its own."""
    tuning = 'model = "mini"\ntask = "mini-sentiment"\nmax_examples = 64\nepochs = 1\nlearning_rate = 1e-3\n'
    subject = '[[subject]]\nmodel = "./tuned"\ntask = "mini-sentiment"\nfinetune = "tuning.toml"\n'
    other = '[[subject]]\nmodel = "mini"\ntask = "mini-inference"\n'
    files = {
        "tuning.toml": tuning,
        "figure6.toml": "max_examples = 40\nsteps = 3\n" + subject + other,
        "table6.toml": "max_examples = 40\nchoose_examples = 30\n" + other,
    }

    def of(name):
        folder = tmp_path / name / "plans"
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file).write_text(text)
        return lambda what: ("reproduce", what, "--config", folder, "--output", tmp_path / name / "out")

    return of


def shown(folder):
    """All but the records, which say when they were made and how long it took."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def numbers(folder):
    records = {file.name: json.loads(file.read_text()) for file in (folder / "records").iterdir()}
    own = ("seconds", "provenance")
    return {(name, key): record[key] for name, record in records.items() for key in record if key not in own}


@pytest.mark.thorough
def test_kills_at_random_moments_end_in_the_same_bytes(words, invoke, tmp_path):
    names = ("figure6", "table6")
    quiet, begun = words("quiet"), time.monotonic()
    for name in names:
        assert Forked(tmp_path / f"quiet {name}", *quiet(name)).wait().code == 0
    whole = time.monotonic() - begun

    killed, moments = words("killed"), random.Random(0)
    n_killed = 0
    for name in names:
        for kill in range(KILLS // len(names)):
            jobs = ("--jobs", 2) if kill % 2 else ()
            process = Forked(tmp_path / f"{name} {kill}", *killed(name), "--store", tmp_path / "store", *jobs)
            time.sleep(moments.uniform(0, whole / len(names)))
            os.kill(process.pid, signal.SIGKILL)
            n_killed += process.wait().code == -signal.SIGKILL
        last = Forked(tmp_path / f"{name} last", *killed(name), "--store", tmp_path / "store").wait()
        assert last.code == 0, last.stderr
    assert n_killed >= KILLS // 2
    assert shown(tmp_path / "killed/out") == shown(tmp_path / "quiet/out")
    assert numbers(tmp_path / "killed/out") == numbers(tmp_path / "quiet/out")
    weights = [(tmp_path / run / "plans/tuned/model.safetensors").read_bytes() for run in ("killed", "quiet")]
    assert weights[0] == weights[1]
    again = invoke(*killed("figure6"), "--store", tmp_path / "store")
    assert again.stderr.count("is there and is not computed again") == 2
