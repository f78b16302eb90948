"""A journal gives back the steps that were recorded whole, however its writer ended."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from prune_heads import journal as module
from prune_heads.journal import Journal, clear, unfinished

JOB = {"model": "m1", "masks": ["1:1", "1:2"], "n_batches": 3}
VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7


def test_another_process_reads_what_was_recorded(tmp_path):
    journal = Journal.open(tmp_path, JOB)
    assert journal.read(0) is None
    journal.write(0, VALUES)
    journal.write(2, VALUES[:0])
    again = Journal.open(tmp_path, dict(reversed(JOB.items())))
    assert again.read(0).tobytes() == VALUES.tobytes()
    assert (again.read(0).shape, again.read(2).shape) == ((2, 3, 4), (0, 3, 4))
    assert again.read(1) is None


@pytest.mark.parametrize("other", [{"model": "m2"}, {"masks": ["1:2", "1:1"]}, {"n_batches": 4}])
def test_another_job_has_a_journal_of_its_own(tmp_path, other):
    Journal.open(tmp_path, JOB).write(0, VALUES)
    assert Journal.open(tmp_path, JOB | other).read(0) is None


@pytest.mark.parametrize(
    "spoil", [lambda c: c[:-1], lambda c: c[:-1] + b"\xff", lambda c: b"", lambda c: c * 2]
)
def test_a_damaged_step_is_done_again(tmp_path, spoil):
    journal = Journal.open(tmp_path, JOB)
    journal.write(0, VALUES)
    (step,) = journal.folder.rglob("0.safetensors")
    step.write_bytes(spoil(step.read_bytes()))
    assert journal.read(0) is None
    journal.write(0, VALUES)
    assert np.array_equal(journal.read(0), VALUES)


def test_the_step_of_another_number_or_job_does_not_pass(tmp_path):
    journal, other = Journal.open(tmp_path, JOB), Journal.open(tmp_path, {"job": "other"})
    other.write(0, VALUES)
    journal.write(0, VALUES)
    (step,) = journal.folder.rglob("0.safetensors")
    shutil.copy(step, step.with_name("1.safetensors"))
    assert journal.read(1) is None
    (foreign,) = other.folder.rglob("0.safetensors")
    shutil.copy(foreign, step)
    assert journal.read(0) is None


def test_no_folder_gets_more_than_a_thousand_files(tmp_path):
    journal = Journal.open(tmp_path, JOB)
    for step in (0, 999, 1000, 123456):
        journal.write(step, VALUES)
    steps = {path.relative_to(journal.folder).as_posix() for path in journal.folder.glob("*/*")}
    assert steps == {"0/0.safetensors", "0/999.safetensors", "1/1000.safetensors", "123/123456.safetensors"}


def test_two_processes_of_one_job_may_end_one_after_the_other(tmp_path):
    first, second = Journal.open(tmp_path, JOB), Journal.open(tmp_path, JOB)
    first.write(0, VALUES)
    second.write(0, VALUES)
    first.close()
    assert second.read(0) is None
    second.write(1, VALUES)
    assert [job.job for job in unfinished(tmp_path)] == [JOB]
    second.close()
    first.close()
    assert not second.folder.exists()
    assert unfinished(tmp_path) == []


@pytest.mark.parametrize("look", [unfinished, clear, lambda root: Journal.open(root, JOB).close()])
def test_a_journal_may_go_while_another_process_looks_at_it(tmp_path, monkeypatch, look):
    journal = Journal.open(tmp_path, JOB)
    journal.write(0, VALUES)
    listed = module.listed

    def removed_first(folder):
        if folder == journal.folder:
            shutil.rmtree(folder, ignore_errors=True)
        return listed(folder)

    monkeypatch.setattr(module, "listed", removed_first)
    look(tmp_path)
    assert not journal.folder.exists()


def test_unfinished_jobs_say_what_they_are(tmp_path):
    assert unfinished(tmp_path / "absent") == []
    journal = Journal.open(tmp_path, JOB)
    for step in range(3):
        journal.write(step, VALUES)
    (job,) = unfinished(tmp_path)
    n_bytes = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert (job.name, job.job, job.n_steps, job.n_bytes) == (journal.folder.name, JOB, 3, n_bytes)
    (journal.folder / "manifest.json").write_text("{")
    (job,) = unfinished(tmp_path)
    assert (job.job, job.n_steps) == (None, 3)
    assert clear(tmp_path) == n_bytes - len(json.dumps({"job": JOB}, separators=(",", ":"))) + 1
    assert not list(tmp_path.iterdir())


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from prune_heads.journal import Journal

N_STEPS, root = 10_000, Path(sys.argv[1])
values = lambda step: np.random.default_rng(step).standard_normal((50_000,), dtype=np.float32)
todo = lambda journal: next(step for step in range(N_STEPS) if journal.read(step) is None)
reached = []
for moment in range(10):
    worker = os.fork()
    if not worker:
        journal = Journal.open(root, {"job": 1})
        for step in range(todo(journal), N_STEPS):
            journal.write(step, values(step))
        os._exit(0)
    time.sleep(random.Random(moment).uniform(0.02, 0.1))
    os.kill(worker, signal.SIGKILL)
    assert os.waitpid(worker, 0)[1] == signal.SIGKILL
    journal = Journal.open(root, {"job": 1})
    reached.append(todo(journal))
    for step in range(reached[-1]):
        assert journal.read(step).tobytes() == values(step).tobytes(), step
    assert all(journal.read(step) is None for step in range(reached[-1], reached[-1] + 5))
assert reached == sorted(reached), reached
assert 0 < reached[0] < reached[-1], reached
journal.close()
assert not journal.folder.exists()
"""


def test_ten_kills_in_the_middle_of_writing_lose_at_most_the_step_in_flight(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
