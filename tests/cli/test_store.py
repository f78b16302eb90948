"""`prune-heads store`: what people and scripts see of the predictions that are kept."""

import numpy as np
import pytest

from prune_heads.heads import HeadMask
from prune_heads.store import Journal, PredictionKey, PredictionStore
from prune_heads.store.objects import Folder


def put(root, heads="", *, model="bert", n_examples=5):
    key = PredictionKey(f"fingerprint of {model}", "d", HeadMask.parse(heads, (12, 12)), "float32")
    about = {"model": model, "task": "mnli", "split": "validation_matched"}
    PredictionStore(root).put(key, np.ones((n_examples, 3), np.float32), about=about)
    return root / key.digest[:2] / f"{key.digest}.safetensors"


@pytest.fixture
def root(tmp_path):
    """A store of three entries, the last by order damaged in its array alone."""
    root = tmp_path / "store"
    put(root, "1:1,2 2:3")
    put(root)
    spoilt = put(root, ",".join(["1:1", *map(str, range(2, 13))]), model="other")
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"\xff")
    return root


def words(text):
    return [line.split() for line in text.splitlines() if line.strip()]


def test_list_shows_entries_and_unfinished_jobs(invoke, root):
    Journal(Folder(root), {"model": "bert", "masks": ["1:1"], "n_batches": 7}).write(0, np.ones(3, np.float32))
    done = invoke("store", "list", "--store", root)
    assert (done.exit_code, done.stderr) == (0, "")
    lines = words(done.stdout)
    assert lines[0] == ["model", "task", "split", "heads", "pruned", "dtype", "examples", "size"]
    assert lines[2][:6] == ["bert", "mnli", "validation_matched", "none", "float32", "5"]
    assert lines[3][:7] == ["bert", "mnli", "validation_matched", "1:1,2", "2:3", "float32", "5"]
    assert lines[4][:6] == ["other", "mnli", "validation_matched", "1:1,2,3,4,5,6,...", "(12)", "float32"]
    assert "model bert, n_batches 7" in done.stdout
    assert lines[-1][:2] == ["3", "entries,"]
    assert lines[-1][-4:] == ["1", "unfinished", "job", "included"]


def test_list_as_json_has_every_row(invoke, root, json_of):
    for i in range(250):
        put(root, model=f"m{i}")
    Journal(Folder(root), {"model": "bert"})
    report = json_of(invoke("store", "list", "--store", root, "--json"))
    assert report["n_entries"] == len(report["entries"]) == 253
    files = [path for path in root.rglob("*") if path.is_file()]
    assert report["n_bytes"] == sum(path.stat().st_size for path in files)
    assert report["entries"][1]["heads_pruned"] == ["1:1,2", "2:3"]
    assert [job["job"] for job in report["unfinished"]] == [{"model": "bert"}]
    assert str(root) not in str(report)
    shown = invoke("store", "list", "--store", root).stdout
    assert "and 53 more entries; --json lists all" in shown
    assert shown.count("validation_matched") == 200


def test_list_shows_a_truncated_entry_first(invoke, root):
    put(root, model="zebra").write_bytes(b"12")
    lines = words(invoke("store", "list", "--store", root).stdout)
    assert lines[2][1:] == ["damaged", "2", "bytes"]


def test_verify_reads_everything(invoke, root, json_of):
    done = invoke("store", "verify", "--store", root)
    assert done.exit_code == 1
    assert "the checksum differs" in done.stdout
    assert done.stderr == (
        "error: every entry must be what was written; 1 of 3 are damaged. They are computed again when they are "
        "needed; 'prune-heads store clear --damaged' removes them now\n"
    )
    as_json = invoke("store", "verify", "--store", root, "--json")
    assert as_json.exit_code == 1
    assert as_json.stdout.count("\n") == 1

    removed = json_of(invoke("store", "clear", "--damaged", "--store", root, "--json"))
    assert removed["n_entries"] == 1
    done = invoke("store", "verify", "--store", root)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "2 entries, all sound\n", "")
    assert json_of(invoke("store", "verify", "--store", root, "--json")) == {"n_entries": 2, "damaged": []}


def test_clear_says_what_went(invoke, root):
    done = invoke("store", "clear", "--store", root)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("removed 3 entries, ")
    assert not list(root.iterdir())


def test_an_absent_store_is_an_empty_one(invoke, tmp_path, json_of):
    absent = tmp_path / "absent"
    empty = {"n_entries": 0, "n_bytes": 0, "entries": [], "unfinished": []}
    assert json_of(invoke("store", "list", "--store", absent, "--json")) == empty
    assert invoke("store", "list", "--store", absent).stdout == "0 entries, 0 bytes\n"
    assert invoke("store", "verify", "--store", absent).stdout == "0 entries, all sound\n"
    assert invoke("store", "clear", "--store", absent).stdout == "removed 0 entries, 0 bytes\n"
    assert not absent.exists()


def test_the_environment_names_the_store(invoke, root, json_of):
    done = invoke("store", "list", "--json", PRUNE_HEADS_STORE=str(root))
    assert json_of(done)["n_entries"] == 3


@pytest.mark.parametrize("command", ["list", "verify", "clear"])
def test_a_file_is_no_store(refused, tmp_path, command):
    (tmp_path / "file").write_text("1")
    message = refused("store", command, "--store", tmp_path / "file")
    assert message.startswith("the store of predictions must be a folder that can be read; got ")


def test_no_command_prints_the_help_and_is_misuse(invoke):
    done = invoke("store")
    assert (done.exit_code, done.stderr) == (2, "")
    assert all(f" {command} " in done.stdout for command in ("list", "verify", "clear"))
