"""The folder of a sweep: another sweep, a full disk, damaged records, strange files and older versions."""

import errno
import json
import os
import shutil

import pytest
from null_trial import begin
from null_work import bytes_of, here, kinds, started, sweep, work

from prune_heads.errors import RunError
from prune_heads.execution import folder as folder_module
from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.worker import Worker
from prune_heads.reporting.sweep import status_report


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


def test_a_full_disk_stops_it_and_blames_no_trial(grid, tmp_path, monkeypatch):
    folder = SweepFolder.open(tmp_path / "s", grid)

    def full(target, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module, "write_json", full)
    with pytest.raises(RunError, match="No space left on device"):
        Worker(folder, grid.trials, begin, here).work()
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


DAMAGE = {
    "gone": lambda folder: (folder / "record.json").unlink(),
    "cut": lambda folder: (folder / "record.json").write_bytes((folder / "record.json").read_bytes()[:-9]),
    "empty": lambda folder: (folder / "record.json").write_bytes(b""),
    "bytes": lambda folder: (folder / "record.json").write_bytes(bytes(range(256))),
    "of another kind": lambda folder: (folder / "record.json").write_text("[]"),
    "a folder": lambda folder: ((folder / "record.json").unlink(), (folder / "record.json").mkdir()),
    "a file in its place": lambda folder: (shutil.rmtree(folder), folder.touch()),
    "a loop": lambda folder: (shutil.rmtree(folder), folder.symlink_to(folder)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_trial_whose_record_is_gone_or_damaged_is_run_again(damage, grid, log, tmp_path):
    folder, _ = work(tmp_path / "s", grid)
    before, first = bytes_of(folder.root), grid.trials[0].digest
    DAMAGE[damage](folder.trial(first))
    with pytest.raises(RunError, match=r"the record of a trial.*sweep run' runs the trial again"):
        folder.record(first)
    assert kinds(work(tmp_path / "s", grid)[1]) == ["started", "done"]
    assert bytes_of(folder.root) == before
    assert sum(started(log).values()) == 13


def test_what_does_not_belong_to_a_sweep_is_passed_over(grid, log, tmp_path):
    """The files of a desktop, links, folders and what else people leave."""
    root = tmp_path / "s"
    root.mkdir()
    (root / ".DS_Store").touch()  # before there is a sweep
    folder, _ = work(root, grid)
    first = grid.trials[0].digest
    for kind in ("trials", "failures", "claims", "shared", "shared_claims"):
        for place in (root / kind, root / kind / first[:2]):
            place.mkdir(parents=True, exist_ok=True)
            for name in (".DS_Store", "notes.txt", "Thumbs.db", "zz", f"{first} copy", f"{first}x.json"):
                (place / name).touch()
            (place / "a folder").mkdir()
            (place / "loop").symlink_to(place / "loop")
            pairs = (f"{i:02x}" for i in range(256))
            spare = next(name for name in pairs if name != first[:2] and not (place / name).exists())
            (place / spare).symlink_to(place / spare)
    assert work(root, grid)[1] == []
    report = status_report(folder)
    assert (report["done"], report["failed"], report["running"], report["left"]) == (12, 0, 0, 0)
    assert folder.forget_failures() == 0
    assert sum(started(log).values()) == 12


def test_a_damaged_failure_is_tried_again_and_one_folder_is_known_by_its_file(log, tmp_path):
    some = sweep(log=str(log), fail=1)
    folder, _ = work(tmp_path / "s", some)
    for content in ("{", "[]", '{"n_failures": "many"}'):
        (tmp_path / "s" / "failures" / some.trials[0].digest[:2] / f"{some.trials[0].digest}.json").write_text(content)
        assert status_report(folder)["failed"] == 1
        assert folder.n_failures(some.trials[0].digest) == 0
    assert kinds(work(tmp_path / "s", some)[1]) == ["started", "done"]
    assert status_report(folder)["failed"] == 0
    (tmp_path / "s" / "sweep.json").write_text('{"name": "s", "n_trials": "1"}')
    with pytest.raises(RunError, match=r"sweep\.json must be what .* writes; it lacks digest, n_trials, axes"):
        status_report(folder)


def test_what_trials_share_is_computed_once_and_again_if_it_is_damaged(tmp_path):
    folder, asked = SweepFolder(tmp_path), []

    def how():
        asked.append(True)
        return {"scores": [0.1]}

    for damage in (None, "{", "[]", '{"what": {}}'):
        if damage is not None:
            next((tmp_path / "shared").rglob("*.json")).write_text(damage)
        asked.clear()
        for _ in range(2):
            assert folder.shared({"a": 1}, how) == {"scores": [0.1]}
        assert len(asked) == 1


def test_what_trials_share_is_no_running_trial(tmp_path, grid):
    folder = SweepFolder.open(tmp_path / "s", grid)
    assert folder.claims().take(grid.trials[0].digest)
    running = []

    def how():
        running.append(status_report(folder)["running"])
        return {}

    folder.shared({"a": 1}, how)
    assert running == [1]


def test_a_folder_of_an_older_version_is_read_and_its_refusal_says_why(grid, tmp_path):
    folder, _ = work(tmp_path / "s", grid)
    about = json.loads((tmp_path / "s" / "sweep.json").read_text())
    (tmp_path / "s" / "sweep.json").write_text(json.dumps(about | {"format": 1}))
    assert work(tmp_path / "s", grid)[1] == []  # the same trials
    (tmp_path / "s" / "sweep.json").write_text(json.dumps(about | {"format": 1, "digest": "x", "n_trials": 24}))
    with pytest.raises(RunError, match=r"24 trials, not these 12\. An earlier version made it, which ran every"):
        SweepFolder.open(tmp_path / "s", grid)
    assert status_report(folder)["n_trials"] == 24
