"""A journal gives back the steps that were recorded whole, however its writer ended and wherever it is kept."""

import subprocess
import sys

import numpy as np
import pytest

from prune_heads.store import objects_at
from prune_heads.store.arrays import Journal, clear_journals, unfinished
from prune_heads.store.objects import Folder

JOB = {"model": "m1", "masks": ["1:1", "1:2"], "n_batches": 3}
VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7
MANIFEST = b'{"job":{"masks":["1:1","1:2"],"model":"m1","n_batches":3}}'


@pytest.fixture
def objects(place):
    return objects_at(place)


@pytest.fixture
def journal(objects):
    return Journal(objects, JOB)


def everything(objects):
    return [name for depth in range(1, 6) for name in objects.find("/".join([".*"] * depth))]


def test_another_process_reads_what_was_recorded(objects, journal):
    assert journal.read(0) is None
    journal.write(0, VALUES)
    journal.write(2, VALUES[:0])
    again = Journal(objects, dict(reversed(JOB.items())))
    assert again.read(0).tobytes() == VALUES.tobytes()
    assert (again.read(0).shape, again.read(2).shape) == ((2, 3, 4), (0, 3, 4))
    assert again.read(1) is None


@pytest.mark.parametrize("other", [{"model": "m2"}, {"masks": ["1:2", "1:1"]}, {"n_batches": 4}])
def test_another_job_has_a_journal_of_its_own(objects, journal, other):
    journal.write(0, VALUES)
    assert Journal(objects, JOB | other).read(0) is None


@pytest.mark.parametrize("spoil", [lambda c: c[:-1], lambda c: c[:-1] + b"\xff", lambda c: b"", lambda c: c * 2])
def test_a_damaged_step_is_done_again(objects, journal, spoil):
    journal.write(0, VALUES)
    step = f"journals/{journal.name}/0/0.safetensors"
    objects.write(step, spoil(objects.read(step)))
    assert journal.read(0) is None
    journal.write(0, VALUES)
    assert np.array_equal(journal.read(0), VALUES)


def test_the_step_of_another_number_or_job_does_not_pass(objects, journal):
    other = Journal(objects, {"job": "other"})
    other.write(0, VALUES)
    journal.write(0, VALUES)
    steps = f"journals/{journal.name}/0/"
    objects.write(steps + "1.safetensors", objects.read(steps + "0.safetensors"))
    assert journal.read(1) is None
    objects.write(steps + "0.safetensors", objects.read(f"journals/{other.name}/0/0.safetensors"))
    assert journal.read(0) is None


def test_no_folder_gets_more_than_a_thousand_files(objects, journal):
    for step in (0, 999, 1000, 123456):
        journal.write(step, VALUES)
    steps = {name.split("/", 2)[2] for name in everything(objects)} - {"manifest.json"}
    assert steps == {"0/0.safetensors", "0/999.safetensors", "1/1000.safetensors", "123/123456.safetensors"}


def test_two_processes_of_one_job_may_end_one_after_the_other(objects, journal):
    second = Journal(objects, JOB)
    journal.write(0, VALUES)
    second.write(0, VALUES)
    journal.close()
    assert second.read(0) is None
    second.write(1, VALUES)
    assert [job.job for job in unfinished(objects)] == [JOB]
    second.close()
    journal.close()
    assert everything(objects) == unfinished(objects) == []


@pytest.mark.parametrize("look", [unfinished, clear_journals, lambda objects: Journal(objects, JOB).close()])
@pytest.mark.parametrize("method", ["find", "read"])
def test_a_journal_may_go_while_another_process_looks_at_it(objects, journal, monkeypatch, look, method):
    journal.write(0, VALUES)
    original, other = getattr(objects, method), objects_at(objects.place)

    def removed_after(*words):
        done = original(*words)
        clear_journals(other)
        return done

    monkeypatch.setattr(objects, method, removed_after)
    look(objects)
    clear_journals(other)
    assert everything(other) == []


def test_unfinished_jobs_say_what_they_are(objects):
    assert unfinished(objects) == []
    journal = Journal(objects, JOB)
    for step in range(3):
        journal.write(step, VALUES)
    (job,) = unfinished(objects)
    n_bytes = sum(len(objects.read(name)) for name in everything(objects))
    assert (job.name, job.job, job.n_steps, job.n_bytes) == (journal.name, JOB, 3, n_bytes)
    manifest = f"journals/{journal.name}/manifest.json"
    assert objects.read(manifest) == MANIFEST
    for unreadable in (b"[]", b"{"):
        objects.write(manifest, unreadable)
        (job,) = unfinished(objects)
        assert (job.job, job.n_steps) == (None, 3)
    assert clear_journals(objects) == n_bytes - len(MANIFEST) + 1
    assert everything(objects) == []


def test_nothing_is_left_in_a_folder(tmp_path):
    journal = Journal(Folder(tmp_path / "store"), JOB)
    journal.write(0, VALUES)
    (tmp_path / "store" / "journals" / ("0" * 64) / "0").mkdir(parents=True)  # of one killed while it removed
    assert [job.name for job in unfinished(journal.objects)] == [journal.name]
    clear_journals(journal.objects)
    assert not list((tmp_path / "store").iterdir())


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from prune_heads.store import Journal
from prune_heads.store.objects import Folder

N_STEPS, store = 10_000, Folder(Path(sys.argv[1]))
values = lambda step: np.random.default_rng(step).standard_normal((50_000,), dtype=np.float32)
todo = lambda journal: next(step for step in range(N_STEPS) if journal.read(step) is None)
reached = []
for moment in range(10):
    worker = os.fork()
    if not worker:
        journal = Journal(store, {"job": 1})
        for step in range(todo(journal), N_STEPS):
            journal.write(step, values(step))
        os._exit(0)
    time.sleep(random.Random(moment).uniform(0.02, 0.1))
    os.kill(worker, signal.SIGKILL)
    assert os.waitpid(worker, 0)[1] == signal.SIGKILL
    journal = Journal(store, {"job": 1})
    reached.append(todo(journal))
    for step in range(reached[-1]):
        assert journal.read(step).tobytes() == values(step).tobytes(), step
    assert all(journal.read(step) is None for step in range(reached[-1], reached[-1] + 5))
assert reached == sorted(reached), reached
assert 0 < reached[0] < reached[-1], reached
journal.close()
assert not list(store.root.rglob("*"))
"""


@pytest.mark.slow
def test_ten_kills_in_the_middle_of_writing_lose_at_most_the_step_in_flight(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
