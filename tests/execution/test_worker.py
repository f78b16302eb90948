"""Workers finish every trial once, tell what happens, and go on after failures and kills."""

import os
import subprocess
import sys
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from null_trial import begin, no_trials, no_trials_at_first
from null_work import bytes_of, here, kinds, started, sweep, work

from prune_heads.errors import RunError
from prune_heads.execution.claims import DEAD_AFTER_SECONDS, Claims, Owner, machine
from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.pool import MOST_DEATHS, Pool
from prune_heads.execution.worker import Worker, begin_trials, processes, turned
from prune_heads.reporting.sweep import status_report


def test_every_trial_is_run_once_and_kept(grid, log, tmp_path):
    folder, events = work(tmp_path / "s", grid)
    assert kinds(events) == ["started", "done"] * 12
    assert set(folder.done()) == {trial.digest for trial in grid.trials}
    assert set(started(log).values()) == {1}
    for trial in grid.trials:
        assert folder.record(trial.digest)["configuration"] == dict(trial.values)
    assert not list((tmp_path / "s" / "claims").rglob("*.*"))
    assert work(tmp_path / "s", grid)[1] == []
    assert set(started(log).values()) == {1}


def test_a_failure_is_kept_and_stops_nothing(log, tmp_path):
    some = sweep(log=str(log), grid={"fail": [0, 9], "model": ["a", "b"]})
    folder, events = work(tmp_path / "s", some)
    assert sorted(kinds(events)) == ["done"] * 2 + ["failed"] * 2 + ["started"] * 4
    for digest in folder.failed():
        failure = folder.failure(digest)
        assert failure["error"] == "ValueError: not yet"
        assert "null_trial.py" in failure["traceback"]
        assert failure["values"]["fail"] == 9
    assert work(tmp_path / "s", some)[1] == []
    assert folder.forget_failures() == 2
    assert kinds(work(tmp_path / "s", some)[1]) == ["started", "failed"] * 2


def test_new_attempts_wait_longer_each_time_and_do_not_hold_up_others(log, tmp_path):
    now, slept = [0.0], []

    def sleep(seconds):
        now[0] += seconds
        slept.append(seconds)

    some = sweep(
        log=str(log), grid={"model": ["a", "b"]}, include=[{"fail": 3, "model": "c"}], exclude=[{"model": "b"}]
    )
    folder, events = work(tmp_path / "s", some, retries=3, sleep=sleep, clock=lambda: now[0])
    of_c = [event.kind for event in events if event.values["model"] == "c"]
    assert of_c == ["started", "retried"] * 3 + ["started", "done"]
    assert 1 + 2 + 4 <= sum(slept) <= 1 + 2 + 4 + 4 * 0.5
    assert len(list(folder.done())) == 2
    assert list(folder.failed()) == []


def test_enough_failures_stop_it(log, tmp_path):
    some = sweep(log=str(log), fail=9, seeds=list(range(9)))
    _, events = work(tmp_path / "s", some, stop_after=3)
    assert kinds(events) == ["started", "failed"] * 3


def test_being_told_to_stop_lets_the_running_trial_finish(grid, tmp_path):
    told = []
    folder = SweepFolder.open(tmp_path / "s", grid)
    Worker(folder, grid.trials, begin, here, told.append, lambda: len(told) >= 3).work()
    assert kinds(told) == ["started", "done", "started", "done"]
    assert work(tmp_path / "s", grid)[1][-1].kind == "done"
    assert len(list(folder.done())) == 12


def test_a_trial_that_someone_else_finishes_is_not_run(grid, log, tmp_path):
    """Another process holds the first claim, finishes while we wait, and gives back."""
    folder = SweepFolder.open(tmp_path / "s", grid)
    other, first = Claims(tmp_path / "s" / "claims", Owner("elsewhere", 1, "x")), grid.trials[0]
    assert other.take(first.digest)

    def sleep(seconds):
        folder.finish(first, {"by": "another"}, 0.0)
        other.give_back(first.digest)

    _, events = work(tmp_path / "s", grid, sleep=sleep)
    assert kinds(events).count("taken") == 1
    assert folder.record(first.digest) == {"by": "another"}
    assert len(started(log)) == 11


@pytest.mark.parametrize("is_alive", [True, False])
def test_who_does_not_wait_leaves_trials_to_the_living_and_takes_those_of_the_dead(is_alive, grid, log, tmp_path):
    """Another machine holds the first claim; whether it beats is seen in time, by a clock that jumps."""
    folder, first, now = SweepFolder.open(tmp_path / "s", grid), grid.trials[0].digest, [0.0]
    other = Claims(tmp_path / "s" / "claims", Owner("elsewhere", 1, "x"))
    assert other.take(first)

    def sleep(seconds):
        now[0] += 5.0
        if is_alive:
            other.beat()

    events = []
    worker = Worker(folder, grid.trials, begin, here, events.append, waits=False, sleep=sleep)
    worker.claims.clock = lambda: now[0]
    worker.work()
    assert other.holds(first) == is_alive
    assert folder.is_done(first) != is_alive
    assert now[0] <= 10.0 if is_alive else now[0] > DEAD_AFTER_SECONDS
    assert kinds(events).count("done") == 12 - is_alive


@pytest.mark.slow
def test_who_does_not_wait_runs_the_new_attempts_of_its_own_trials(log, tmp_path):
    some = sweep(log=str(log), fail=1)
    folder, events = work(tmp_path / "s", some, retries=1, waits=False)
    assert kinds(events) == ["started", "retried", "started", "done"]
    assert len(list(folder.done())) == 1


@given(st.integers(1, 400), st.integers(0, 10**9))
def test_neighbours_begin_far_apart_and_each_has_all_trials(n, number):
    a, b = turned(range(n), number), turned(range(n), number + 1)
    assert sorted(a) == sorted(b) == list(range(n))
    apart = (b[0] - a[0]) % n
    assert min(apart, n - apart) >= int(n * 0.38)


@pytest.fixture(scope="module")
def gone():
    """The number of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    return int(done.stdout)


def dies_of(folder, trial, pid):
    """What a process leaves that is killed after its worker has died of a trial."""
    claims = Claims(folder.root / "claims", Owner(machine(), pid, os.urandom(4).hex()))
    assert claims.take(trial.digest)
    claims.count_death(trial.digest)


@pytest.mark.parametrize("waits", [True, False])
def test_a_trial_that_has_killed_three_workers_fails_whoever_comes_next(waits, grid, log, tmp_path, gone):
    """Also workers that know nothing of each other, as those of --jobs 1 and of an array job."""
    folder, first, second = SweepFolder.open(tmp_path / "s", grid), *grid.trials[:2]
    for _ in range(MOST_DEATHS - 1):
        dies_of(folder, first, gone)
        dies_of(folder, second, gone)
    dies_of(folder, first, gone)
    assert status_report(folder)["running"] == 0
    _, events = work(tmp_path / "s", grid, waits=waits)
    assert list(folder.failed()) == [first.digest]
    assert folder.failure(first.digest)["error"].startswith("3 workers have died of it")
    assert kinds(events).count("failed") == 1
    assert len(list(folder.done())) == len(started(log)) == 11
    assert work(tmp_path / "s", grid)[1] == []
    assert folder.forget_failures() == 1
    assert kinds(work(tmp_path / "s", grid)[1]) == ["started", "done"]


@pytest.mark.slow
def test_three_deaths_are_one_failure_of_those_that_are_tried_again(log, tmp_path, gone):
    some = sweep(log=str(log))
    folder = SweepFolder.open(tmp_path / "s", some)
    for _ in range(MOST_DEATHS):
        dies_of(folder, some.trials[0], gone)
    _, events = work(tmp_path / "s", some, retries=1)
    assert kinds(events) == ["retried", "started", "done"]


def local(root, some, jobs=2):
    return work(root, some, workers=processes(jobs, threads=2))


@pytest.mark.parametrize("jobs", [1, 3])
def test_processes_share_the_trials(jobs, grid, log, tmp_path):
    folder, events = local(tmp_path / "s", grid, jobs)
    assert set(started(log).values()) == {1}
    assert kinds(events).count("done") == len(list(folder.done())) == 12
    alone, _ = work(tmp_path / "alone", grid)
    assert bytes_of(alone.root) == bytes_of(folder.root)


def test_a_trial_that_kills_its_workers_fails_and_the_others_finish(log, tmp_path):
    some = sweep(log=str(log), grid={"criterion": ["a", "dies"], "model": ["a", "b"]})
    folder, events = local(tmp_path / "s", some)
    assert len(list(folder.done())) == 2
    failed = list(folder.failed())
    assert {folder.failure(digest)["values"]["criterion"] for digest in failed} == {"dies"}
    assert "3 workers have died of it" in folder.failure(failed[0])["error"]
    assert kinds(events).count("failed") == len(failed) == 2
    assert {n for name, n in started(log).items() if "dies" in name} == {3}
    assert {n for name, n in started(log).items() if "dies" not in name} == {1}


def test_workers_that_do_not_start_end_the_sweep_with_one_line(grid, tmp_path):
    folder = SweepFolder.open(tmp_path / "s", grid)
    with pytest.raises(
        RunError, match=r"workers must start; worker \d died 3 times in a row while it loaded \(exit code 3\)"
    ):
        Worker(folder, grid.trials, no_trials, processes(2)).work()


def test_workers_that_die_as_they_start_are_replaced(grid, log, tmp_path):
    (tmp_path / "starts").mkdir()
    folder = SweepFolder.open(tmp_path / "s", grid)
    Worker(folder, grid.trials, partial(no_trials_at_first, tmp_path / "starts"), processes(2)).work()
    assert len(list(folder.done())) == 12
    assert set(started(log).values()) == {1}
    assert len(list((tmp_path / "starts").iterdir())) == 3


def test_a_worker_that_dies_with_nothing_to_do_is_replaced():
    with Pool(partial(begin_trials, begin, None, ()), 1) as pool:
        while not pool.has_room:
            assert pool.wait(1) == []
        (first,) = pool.doing
        first.process.kill()
        while first in pool.doing or not pool.has_room:
            assert pool.wait(1) == []


@pytest.mark.parametrize(
    ("jobs", "n_threads", "shared"), [(1, None, ["7"]), (2, "2", ["7", "gpu-5"]), (3, "1", ["7", "gpu-5"])]
)
def test_jobs_share_threads_and_the_gpus_that_may_be_used(jobs, n_threads, shared, monkeypatch):
    """One job alone has the threads that it would have without a sweep."""
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    pool = processes(jobs, threads=4, gpus=["7", "gpu-5"])(lambda: dict(os.environ), 9)
    for number in range(pool.n):
        there = pool.begin(number)
        assert there.get("OMP_NUM_THREADS") == n_threads
        assert there["CUDA_VISIBLE_DEVICES"] == shared[number % len(shared)]
    assert pool.n == jobs
