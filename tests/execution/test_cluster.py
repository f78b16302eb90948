"""Ray places the trials: on a local cluster of two nodes, with a worker killed and a node lost in mid-sweep."""

import os
import signal
import sys
import threading
import time

import pytest
from clusters import on_ray
from null_trial import KNOWN, begin, broken

from prune_heads.errors import RunError
from prune_heads.execution.cluster import connected
from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.spec import sweep_of
from prune_heads.execution.worker import Worker, actors

pytestmark = on_ray
SECONDS = 180


def test_every_trial_is_done_once_though_a_worker_and_a_node_are_lost(nodes, lose, tmp_path):
    second = lose(2)
    (tmp_path / "log").mkdir()
    some = sweep_of(
        {"log": str(tmp_path / "log"), "sleep": 0.1, "seeds": list(range(80))}, KNOWN, name="s", shown="s.toml"
    )
    folder, events = SweepFolder.open(tmp_path / "s", some), []

    end = time.monotonic() + SECONDS

    def disturb():
        while len(list((tmp_path / "log").iterdir())) < 8 and time.monotonic() < end:
            time.sleep(0.05)
        pid = int(next((tmp_path / "log").iterdir()).name.rsplit(".", 2)[1])
        os.kill(pid, signal.SIGKILL)
        while len(list(folder.done())) < 25 and time.monotonic() < end:
            time.sleep(0.05)
        second()

    disturber = threading.Thread(target=disturb)
    disturber.start()
    Worker(folder, some.trials, begin, actors(nodes.address, jobs=4), events.append).work()
    disturber.join()
    assert {trial.digest for trial in some.trials} == set(folder.done())
    assert list(folder.failed()) == []
    done = [event.digest for event in events if event.kind == "done"]
    assert len(done) == len(set(done))
    starts = [path.name.rsplit(".", 2)[0] for path in (tmp_path / "log").iterdir()]
    assert len(starts) - len(set(starts)) <= 1 + 2  # what the killed worker and the lost node were at
    assert {folder.record(trial.digest)["configuration"]["seed"] for trial in some.trials} == set(range(80))


def test_a_trial_that_kills_its_workers_fails_after_three_and_the_others_finish(nodes, tmp_path):
    (tmp_path / "log").mkdir()
    some = sweep_of(
        {"log": str(tmp_path / "log"), "grid": {"criterion": ["dies", "a"]}}, KNOWN, name="s", shown="s.toml"
    )
    folder, events = SweepFolder.open(tmp_path / "s", some), []
    Worker(folder, some.trials, begin, actors(nodes.address, jobs=2), events.append).work()
    assert [folder.failure(digest)["values"]["criterion"] for digest in folder.failed()] == ["dies"]
    assert [event.kind for event in events].count("failed") == 1
    assert sorted(path.name[:3] for path in (tmp_path / "log").iterdir()) == ["m-a", "m-d", "m-d", "m-d"]


def test_workers_that_do_not_start(nodes, tmp_path):
    some = sweep_of({}, KNOWN, name="s", shown="s.toml")
    folder = SweepFolder.open(tmp_path / "s", some)
    with pytest.raises(RunError, match=r"^workers must start; one says ValueError: no trials here$"):
        Worker(folder, some.trials, broken, actors(nodes.address, jobs=1), print).work()


@pytest.fixture
def asked(monkeypatch):
    """Addresses that Ray was asked for, and did not find, by a process that is not connected yet."""
    ray, asked = pytest.importorskip("ray"), []

    def init(address, **options):
        asked.append(address)
        raise ConnectionError(f"Could not find any running Ray instance at {address}")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    return asked


def test_without_an_address_no_cluster_of_others_is_joined(asked):
    with pytest.raises(RunError), connected(None):
        pass
    assert asked == ["local"]


def test_a_cluster_that_is_not_there(tmp_path, asked):
    some = sweep_of({}, KNOWN, name="s", shown="s.toml")
    folder = SweepFolder.open(tmp_path / "s", some)
    with pytest.raises(RunError, match="must be that of a running Ray cluster; got auto: Could not find any"):
        Worker(folder, some.trials, begin, actors("auto"), lambda event: None).work()


def test_without_ray(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    some = sweep_of({}, KNOWN, name="s", shown="s.toml")
    with pytest.raises(RunError, match=r"pip install 'prune-heads\[ray\]'"):
        Worker(SweepFolder.open(tmp_path, some), some.trials, begin, actors(), print).work()
