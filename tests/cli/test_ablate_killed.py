"""Ablations that are killed, and many of one store at once: the bytes are those of an undisturbed run."""

import json
import os
import random
import signal
import time
from collections import Counter

import pytest
from forked import Forked

from prune_heads.ablation import ManyMasks
from prune_heads.predictions import Predictions
from prune_heads.store import PredictionStore, unfinished
from prune_heads.store.objects import Folder

N_EXAMPLES, BATCH_SIZE = 64, 4
N_BATCHES = N_EXAMPLES // BATCH_SIZE
N_MASKS = 1 + 24
SPLITS = ("validation_matched", "validation_mismatched")


@pytest.fixture
def words():
    """The built-in model on its two splits."""
    return ("ablate", "--max-examples", N_EXAMPLES, "--batch-size", BATCH_SIZE, "--json")


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """A file that gets a byte for each batch that any process has computed."""
    log, original = tmp_path / "batches", ManyMasks.logits

    def logged(self, batch):
        logits = original(self, batch)
        with log.open("ab") as file:
            file.write(b".")
        return logits

    log.touch()
    monkeypatch.setattr(ManyMasks, "logits", logged)
    return log


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def done(root):
    """Batches of each split that are not to be computed again."""
    kept = Counter(entry.about["split"] for entry in PredictionStore(root).entries() if not entry.damaged)
    steps = {job.job["split"]: job.n_steps for job in unfinished(Folder(root)) if job.job is not None}
    return {split: N_BATCHES if kept[split] == N_MASKS else steps.get(split, 0) for split in SPLITS}


def wait_for(n_batches, log, process, seconds=60):
    """Until so many batches more are computed, the time is over, or the process has ended."""
    wanted, end = log.stat().st_size + n_batches, time.monotonic() + seconds
    while log.stat().st_size < wanted and time.monotonic() < end:
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.002)


@pytest.mark.slow
def test_four_kills_at_random_moments_end_in_the_same_bytes(words, batches, on_sst2, tmp_path, json_of, invoke):
    """Half of them while the program starts, half while it computes."""
    assert invoke("ablate", *on_sst2).exit_code == 0  # from now on everything is imported
    batches.write_bytes(b"")
    quiet, begun = tmp_path / "undisturbed", time.monotonic()
    process = Forked(tmp_path / "0", *words, "--store", quiet)
    wait_for(1, batches, process)
    start_up = time.monotonic() - begun
    undisturbed = process.wait()
    assert undisturbed.code == 0
    assert batches.stat().st_size == 2 * N_BATCHES

    root, moments, reached = tmp_path / "store", random.Random(0), [dict.fromkeys(SPLITS, 0)]
    for kill in range(4):
        process = Forked(tmp_path / f"killed {kill}", *words, "--store", root)
        if kill % 2:
            wait_for(moments.randint(1, 6), batches, process)
            time.sleep(moments.uniform(0, 0.03))
        else:
            wait_for(3, batches, process, seconds=moments.uniform(0, start_up))
        os.kill(process.pid, signal.SIGKILL)
        ended = process.wait()
        assert (ended.code, ended.stdout) == (-signal.SIGKILL, "")
        reached.append(done(root))
        assert all(reached[-1][split] >= reached[-2][split] for split in SPLITS)
    assert 2 <= sum(reached[-1].values()) < 2 * N_BATCHES

    last = Forked(tmp_path / "last", *words, "--store", root).wait()
    assert (last.code, last.stdout) == (0, undisturbed.stdout)
    assert batches.stat().st_size <= 2 * (2 * N_BATCHES) + 4  # at most the batch in flight each time
    assert {name: data for name, data in files(root).items() if name.suffix != ".partial"} == files(quiet)
    assert unfinished(Folder(root)) == []
    assert json_of(invoke("store", "verify", "--store", root, "--json")) == {"n_entries": 2 * N_MASKS, "damaged": []}
    json_of(invoke("store", "clear", "--store", root, "--json"))
    assert files(root) == {}


@pytest.mark.parametrize("n_removed", [0, 1, 3])
def test_a_kill_between_the_last_entry_and_the_end_of_the_journal(
    n_removed, on_sst2, tmp_path, invoke, json_of, monkeypatch
):
    """What is left of the journal goes with the next call, which computes nothing."""
    words = ("ablate", *on_sst2, "--batch-size", 4, "--json", "--store")
    before = json_of(invoke(*words, tmp_path / "undisturbed"))
    removed, unlink = [], type(tmp_path).unlink

    def killed(path, **options):
        if "journals" in path.parts and not path.name.endswith(".partial"):
            if len(removed) == n_removed:
                raise KeyboardInterrupt
            removed.append(path)
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "unlink", killed)
        assert invoke(*words, tmp_path / "store").exit_code == 130
    (left,) = unfinished(Folder(tmp_path / "store"))
    assert left.job is not None
    assert left.n_steps == 8 - n_removed
    again = invoke(*words, tmp_path / "store")
    assert json_of(again) == before
    assert "masks" not in again.stderr
    assert files(tmp_path / "store") == files(tmp_path / "undisturbed")


def test_the_journal_of_another_job_stays(on_sst2, tmp_path, invoke, monkeypatch):
    """Of other data, and of masks that are not stored."""
    words = ("ablate", *on_sst2, "--batch-size", 4, "--store", tmp_path / "store")
    kept, original = [], Predictions.keep

    def interrupted(self, mask, logits):
        if len(kept) == 2:
            raise KeyboardInterrupt
        kept.append(mask)
        original(self, mask, logits)

    with monkeypatch.context() as patch:
        patch.setattr(Predictions, "keep", interrupted)
        assert invoke(*words).exit_code == 130
    assert [job.n_steps for job in unfinished(Folder(tmp_path / "store"))] == [8]
    assert invoke(*words, "--max-examples", 10).exit_code == 0
    assert invoke(*words, "--blocks", "1").exit_code == 0
    assert [job.n_steps for job in unfinished(Folder(tmp_path / "store"))] == [8]
    assert "masks" in invoke(*words).stderr
    assert unfinished(Folder(tmp_path / "store")) == []


@pytest.mark.slow
def test_five_at_once_lose_nothing(on_sst2, tmp_path, invoke, json_of):
    words = ("ablate", *on_sst2, "--batch-size", 2, "--json", "--store")
    alone = invoke(*words, tmp_path / "alone")
    report = json_of(alone)
    processes = [Forked(tmp_path / str(i), *words, tmp_path / "store") for i in range(5)]
    for ended in [process.wait() for process in processes]:
        assert ended.code == 0, ended.stderr
        assert json.loads(ended.stdout) == report
        assert "note" not in ended.stderr
    entries = list(PredictionStore(tmp_path / "store").entries(thorough=True))
    assert len(entries) == 13
    assert not [entry for entry in entries if entry.damaged]
    assert files(tmp_path / "store").keys() == files(tmp_path / "alone").keys()
    assert unfinished(Folder(tmp_path / "store")) == []
    assert "masks" not in invoke(*words, tmp_path / "store").stderr
