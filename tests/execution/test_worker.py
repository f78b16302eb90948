"""Workers finish every trial once, tell what happens, and go on after failures and kills."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from null_trial import KNOWN, begin, no_trials, run

from prune_heads.errors import RunError
from prune_heads.execution import folder as folder_module
from prune_heads.execution.claims import Claims, Owner
from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.local import Local
from prune_heads.execution.spec import sweep_of
from prune_heads.execution.worker import Policy, Worker


def sweep(**content):
    return sweep_of(content, KNOWN, name="s", shown="s.toml")


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    return folder


@pytest.fixture
def grid(log):
    return sweep(log=str(log), grid={"fraction": [0.0, 0.1, 0.2], "model": ["a", "b"]}, seeds=[0, 1])


def started(log):
    """Trial -> how often it was begun."""
    names = [path.name.rsplit(".", 2)[0] for path in log.iterdir()]
    return {name: names.count(name) for name in names}


def work(root, sweep, policy=None, stopping=lambda: False, **options):
    events = []
    folder = SweepFolder.open(root, sweep)
    worker = Worker(
        folder, Claims(root / "claims"), run, policy or Policy(), events.append, stopping, **options
    )
    worker.work(sweep.trials)
    return folder, events


def kinds(events):
    return [event.kind for event in events]


def bytes_of(root):
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "timing.json")
    return {path.relative_to(root): path.read_bytes() for path in files}


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
        log=str(log),
        grid={"model": ["a", "b"]},
        include=[{"fail": 3, "model": "c"}],
        exclude=[{"model": "b"}],
    )
    folder, events = work(tmp_path / "s", some, Policy(retries=3), sleep=sleep, clock=lambda: now[0])
    of_c = [event.kind for event in events if event.values["model"] == "c"]
    assert of_c == ["started", "retried"] * 3 + ["started", "done"]
    assert 1 + 2 + 4 <= sum(slept) <= 1 + 2 + 4 + 4 * 0.5
    assert len(list(folder.done())) == 2
    assert list(folder.failed()) == []


def test_enough_failures_stop_it(log, tmp_path):
    some = sweep(log=str(log), fail=9, seeds=list(range(9)))
    _, events = work(tmp_path / "s", some, Policy(stop_after=3))
    assert kinds(events) == ["started", "failed"] * 3


def test_being_told_to_stop_lets_the_running_trial_finish(grid, tmp_path):
    told = []
    folder = SweepFolder.open(tmp_path / "s", grid)
    Worker(
        folder, Claims(tmp_path / "s" / "claims"), run, Policy(), told.append, lambda: len(told) >= 3
    ).work(grid.trials)
    assert kinds(told) == ["started", "done", "started", "done"]
    assert work(tmp_path / "s", grid)[1][-1].kind == "done"
    assert len(list(folder.done())) == 12


def test_two_sweeps_of_one_name_are_not_mixed(grid, tmp_path):
    folder, _ = work(tmp_path / "s", grid)
    before = bytes_of(tmp_path / "s")
    with pytest.raises(RunError, match=r"holds another sweep of the same name: 12 trials, not these 1\."):
        SweepFolder.open(tmp_path / "s", sweep())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(RunError, match="holds something else"):
        SweepFolder.open(tmp_path / "other", grid)
    assert bytes_of(tmp_path / "s") == before
    with pytest.raises(RunError, match=r"must hold sweep\.json"):
        SweepFolder(tmp_path / "other").about()
    assert folder.about()["n_trials"] == 12


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


def test_a_full_disk_stops_it_and_blames_no_trial(grid, tmp_path, monkeypatch):
    folder = SweepFolder.open(tmp_path / "s", grid)

    def full(target, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module, "write_json", full)
    worker = Worker(folder, Claims(tmp_path / "s" / "claims"), run)
    with pytest.raises(RunError, match="No space left on device"):
        worker.work(grid.trials)
    monkeypatch.undo()
    assert list(folder.failed()) == list(folder.done()) == []
    assert not list((tmp_path / "s").rglob("*.partial"))
    work(tmp_path / "s", grid)
    assert len(list(folder.done())) == 12


def test_a_folder_that_may_only_be_read(grid, log, tmp_path):
    folder = SweepFolder.open(tmp_path / "s", grid)
    before = bytes_of(folder.root)
    folder.root.chmod(0o555)
    try:
        if os.access(folder.root, os.W_OK):  # root
            (folder.root / "claims").write_text("in the way")
        with pytest.raises(RunError, match="the folder of a sweep must be writable"):
            work(tmp_path / "s", grid)
    finally:
        folder.root.chmod(0o755)
        (folder.root / "claims").unlink(missing_ok=True)
    assert started(log) == {}
    assert bytes_of(folder.root) == before


def test_a_damaged_record_is_named_with_its_cure(grid, log, tmp_path):
    folder, _ = work(tmp_path / "s", grid)
    first = grid.trials[0].digest
    (folder.trial(first) / "record.json").write_bytes(b"{")
    with pytest.raises(RunError, match=r"must be a JSON file.*Remove its folder"):
        folder.record(first)
    shutil.rmtree(folder.trial(first))
    work(tmp_path / "s", grid)
    assert folder.record(first)["configuration"] == dict(grid.trials[0].values)
    assert sum(started(log).values()) == 13


def local(root, some, jobs=2, policy=None, stopping=lambda: False):
    events = []
    folder = SweepFolder.open(root, some)
    Local(jobs, threads=2).run(folder, some.trials, begin, policy or Policy(), events.append, stopping)
    return folder, events


@pytest.mark.parametrize("jobs", [1, 3])
def test_processes_share_the_trials(jobs, grid, log, tmp_path):
    folder, events = local(tmp_path / "s", grid, jobs)
    assert set(started(log).values()) == {1}
    assert kinds(events).count("done") == len(list(folder.done())) == 12
    alone, _ = work(tmp_path / "alone", grid)
    assert bytes_of(alone.root) == bytes_of(folder.root)


def test_a_trial_that_kills_its_workers_fails_and_the_others_finish(log, tmp_path):
    some = sweep(log=str(log), grid={"criterion": ["a", "dies"], "model": ["a", "b", "c"]})
    folder, events = local(tmp_path / "s", some)
    assert len(list(folder.done())) == 3
    failed = list(folder.failed())
    assert {folder.failure(digest)["values"]["criterion"] for digest in failed} == {"dies"}
    assert "3 workers have died of it (exit code -9" in folder.failure(failed[0])["error"]
    assert kinds(events).count("failed") == len(failed) == 3
    assert {n for name, n in started(log).items() if "dies" in name} == {3}
    assert {n for name, n in started(log).items() if "dies" not in name} == {1}


def test_workers_that_do_not_start(grid, tmp_path):
    folder = SweepFolder.open(tmp_path / "s", grid)
    with pytest.raises(RunError, match=r"workers must start; worker-\d ended with exit code 3"):
        Local(2).run(folder, grid.trials, no_trials, Policy(), lambda event: None, lambda: False)


def process(root, log, n_seeds):
    """A sweep in a process of its own, which can be killed."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from pathlib import Path\n"
        "from null_trial import KNOWN, begin\n"
        "from prune_heads.execution.folder import SweepFolder\n"
        "from prune_heads.execution.local import Local\n"
        "from prune_heads.execution.spec import sweep_of\n"
        "from prune_heads.execution.worker import Policy\n"
        f"content = {{'log': {str(log)!r}, 'sleep': 0.01, 'seeds': list(range({n_seeds}))}}\n"
        "some = sweep_of(content, KNOWN, name='s', shown='s.toml')\n"
        f"folder = SweepFolder.open(Path({str(root)!r}), some)\n"
        "Local(1).run(folder, some.trials, begin, Policy(), lambda event: None, lambda: False)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code])


def test_a_sweep_that_is_killed_twenty_times_ends_in_the_same_bytes(log, tmp_path):
    n_seeds, draw = 150, random.Random(0)
    for _ in range(20):
        child = process(tmp_path / "killed", log, n_seeds)
        time.sleep(draw.uniform(0.2, 0.6))
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert process(tmp_path / "killed", log, n_seeds).wait() == 0
    again = started(log)
    assert len(again) == n_seeds
    assert sum(n - 1 for n in again.values()) <= 20  # only what was running when it was killed
    other = tmp_path / "log2"
    other.mkdir()
    assert process(tmp_path / "whole", other, n_seeds).wait() == 0
    killed, whole = (
        {json.dumps(json.loads(b.read_bytes())["result"]) for b in (tmp_path / name).rglob("record.json")}
        for name in ("killed", "whole")
    )
    assert killed == whole


def test_two_sweeps_at_once_on_one_folder(log, tmp_path):
    both = [process(tmp_path / "s", log, 100) for _ in range(2)]
    assert [child.wait() for child in both] == [0, 0]
    assert set(started(log).values()) == {1}
    assert len(started(log)) == 100
    assert len({path.name.split(".")[-2] for path in log.iterdir()}) == 2  # both took part
    assert os.listdir(tmp_path / "s" / "claims")
