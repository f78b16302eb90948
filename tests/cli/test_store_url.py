"""`--store URL`: the same results, kills and crowds included, from an object store in another process."""

import json
import os
import signal
import time

import pytest
from forked import Forked

from prune_heads import predictions
from prune_heads.ablation import ManyMasks
from prune_heads.store import PredictionStore, objects_at, unfinished


def bytes_of(place):
    """Every entry with its bytes."""
    store = PredictionStore(place)
    return {entry.name: store.objects.read(entry.name) for entry in store.entries(thorough=True)}


@pytest.fixture
def words(on_sst2):
    """An ablation of eight batches."""
    return ("ablate", *on_sst2, "--batch-size", 4, "--json", "--store")


@pytest.mark.slow
def test_a_killed_ablation_goes_on_and_ends_in_the_same_bytes(words, url, tmp_path, invoke, monkeypatch):
    log, original = tmp_path / "batches", ManyMasks.logits

    def logged(self, batch):
        with log.open("ab") as file:
            file.write(b".")
        time.sleep(0.05)
        return original(self, batch)

    log.touch()
    monkeypatch.setattr(ManyMasks, "logits", logged)
    for kill in range(3):
        begun, process = log.stat().st_size, Forked(tmp_path / str(kill), *words, url)
        while log.stat().st_size < begun + 3 and not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG):
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait().code == -signal.SIGKILL
    (left,) = unfinished(objects_at(url))
    assert left.n_steps >= 3
    last = Forked(tmp_path / "last", *words, url).wait()
    assert last.code == 0, last.stderr
    assert log.stat().st_size <= 8 + 3  # at most the batch in flight each time
    monkeypatch.undo()
    assert last.stdout == invoke(*words, tmp_path / "undisturbed").stdout
    assert bytes_of(url) == bytes_of(tmp_path / "undisturbed")
    assert unfinished(objects_at(url)) == []


@pytest.mark.slow
def test_three_at_once_lose_nothing(words, url, tmp_path, invoke):
    alone = invoke(*words, tmp_path / "alone")
    processes = [Forked(tmp_path / str(i), *words, url) for i in range(3)]
    for ended in [process.wait() for process in processes]:
        assert (ended.code, ended.stdout) == (0, alone.stdout), ended.stderr
        assert "note" not in ended.stderr
    assert bytes_of(url) == bytes_of(tmp_path / "alone")
    assert unfinished(objects_at(url)) == []


def test_a_second_run_computes_nothing_and_no_record_says_where(on_sst2, url, invoke, tmp_path, monkeypatch):
    outs = [tmp_path / name for name in ("first", "second", "third")]
    run = ("run", *on_sst2, "--score-examples", 20)
    assert invoke(*run, "--output", outs[0], "--store", url).exit_code == 0
    assert invoke(*run, "--output", outs[2]).exit_code == 0

    def never(*words, **more):
        raise AssertionError("the store has it")

    monkeypatch.setattr(predictions, "predict", never)
    assert invoke(*run, "--output", outs[1], "--store", url).exit_code == 0
    records = [(out / "record.json").read_text() for out in outs]
    assert results(records[0]) == results(records[1]) == results(records[2])
    for path in outs[0].rglob("*"):
        assert path.is_dir() or url.rpartition("/")[2].encode() not in path.read_bytes(), path


def results(record):
    """Of a record, all that does not depend on the moment."""
    return {key: value for key, value in json.loads(record).items() if key not in ("provenance", "seconds")}


@pytest.mark.slow
def test_list_verify_and_clear_take_a_url(words, url, invoke, json_of):
    assert invoke(*words, url).exit_code == 0
    listed = json_of(invoke("store", "list", "--store", url, "--json"))
    assert (listed["n_entries"], listed["unfinished"]) == (13, [])
    assert listed["n_bytes"] == sum(map(len, bytes_of(url).values()))
    assert url not in str(listed)
    store = PredictionStore(url)
    name = listed["entries"][0]["name"]
    store.objects.write(name, store.objects.read(name)[:-1] + b"\xff")
    assert invoke("store", "verify", "--store", url).exit_code == 1
    assert json_of(invoke("store", "clear", "--damaged", "--store", url, "--json"))["n_entries"] == 1
    assert json_of(invoke("store", "verify", "--json", PRUNE_HEADS_STORE=url))["n_entries"] == 12
    assert json_of(invoke("store", "clear", "--store", url, "--json"))["n_entries"] == 12
    assert store.objects.find(".*/.*") == {}


@pytest.mark.slow
def test_the_url_in_a_file_stays_what_it_is(on_sst2, url, invoke, tmp_path):
    (tmp_path / "options.toml").write_text(f'store = "{url}"\n')
    assert invoke("ablate", *on_sst2, "--config", tmp_path / "options.toml").exit_code == 0
    assert len(bytes_of(url)) == 13
    assert [path.name for path in tmp_path.iterdir()] == ["options.toml"]


def test_the_url_of_a_folder_is_that_folder_for_any_process(forked, on_sst2, tmp_path):
    done = forked("evaluate", *on_sst2, "--store", f"file://{tmp_path}/kept")
    assert done.code == 0, done.stderr
    assert len(bytes_of(tmp_path / "kept")) == 1


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("oci://me:hidden@b/c", "the package for the store's file system must be installed; got oci://***@b/c ("),
        ("nowhere://x", "the store must be a folder, or a URL that fsspec can open; got nowhere://x (Protocol not"),
        ("https://127.0.0.1:1/x", "the store of predictions must be readable; got https://127.0.0.1:1/x ("),
    ],
)
@pytest.mark.parametrize("by", ["option", "environment"])
def test_what_cannot_be_is_one_red_line(words, refused, monkeypatch, place, said, by):
    if by == "environment":
        monkeypatch.setenv("PRUNE_HEADS_STORE", place)
    assert refused(*words[:-1], *(("--store", place) if by == "option" else ())).startswith(said)
