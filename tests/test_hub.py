"""Models from a hub on this machine, and from the cache."""

import json
import time
from contextlib import nullcontext
from importlib import resources
from pathlib import Path

import pytest

from prune_heads.paper import default_subjects, published
from prune_heads.tasks.task import load_task

pytestmark = pytest.mark.xdist_group("hub")  # one process asks it
SHA = "c" * 40
NAME = "lab/tiny"


def files_of(checkpoint):
    return {path.name: path.read_bytes() for path in checkpoint.iterdir()}


@pytest.mark.slow
def test_a_model_comes_from_the_hub_at_its_commit_then_from_the_cache(hub, online, invoke, checkpoint, sst2, tmp_path):
    words = ("evaluate", "--model", NAME, "--task", "sst2", "--data-dir", sst2, "--json")
    with hub.serve(files_of(checkpoint), SHA, name=NAME, kind="models"):
        first = online.run(*words, "--output", tmp_path / "run", home=tmp_path / "hf")
    assert first.code == 0, first.stderr
    model = json.loads((tmp_path / "run" / "record.json").read_text())["model"]
    assert (model["name"], model["revision"]) == (NAME, SHA)
    cached = online.run(*words, home=tmp_path / "hf")
    local = invoke("evaluate", "--model", checkpoint, *words[3:])
    assert cached.stdout == first.stdout == local.stdout
    assert cached.code == 0


@pytest.fixture(scope="module")
def mnli(tmp_path_factory):
    """Pairs of the built-in task in MNLI's official layout."""
    folder, task = tmp_path_factory.mktemp("glue") / "MNLI", load_task("mini-inference")
    folder.mkdir()
    names = {"train": "train", "validation_matched": "dev_matched", "validation_mismatched": "dev_mismatched"}
    for split, name in names.items():
        data = task.load(split, 48).dataset
        pairs = zip(data["text"], data["text_pair"], data["label"], strict=True)
        lines = [f"{first}\t{second}\t{task.spec.labels[label]}" for first, second, label in pairs]
        (folder / f"{name}.tsv").write_text("\n".join(["sentence1\tsentence2\tgold_label", *lines]) + "\n")
    return folder


@pytest.mark.slow
def test_two_commands_from_a_hub_model_and_a_glue_download_to_table_3(hub, online, mnli, tmp_path):
    """The README's; the second one knows no hub."""
    built_in = Path(str(resources.files("prune_heads.mini"))) / "checkpoints" / "mini-inference"
    words = ("--data-dir", mnli)
    with hub.serve(files_of(built_in), SHA, name=NAME, kind="models"):
        tuning = ("--model", NAME, "--task", "mnli", *words, "--epochs", 1, "--output", tmp_path / "tuned")
        tuned = online.run("finetune", *tuning, home=tmp_path / "hf")
    assert tuned.code == 0, tuned.stderr
    assert json.loads((tmp_path / "tuned/record.json").read_text())["model"]["revision"] == SHA
    shown = ("--model", tmp_path / "tuned", *words, "--choose-examples", 20, "--output", tmp_path / "out", "--json")
    done = online.run("reproduce", "table3", *shown, home=tmp_path / "hf")
    assert done.code == 0, done.stderr
    rows = json.loads(done.stdout)["table3"]["rows"]
    assert [row["published"][0] for row in rows] == published()["table3"]["delta"][""]
    assert [row["here"] is None for row in rows] == 6 * [False] + 6 * [True]


@pytest.mark.slow
def test_without_a_model_the_default_comes_from_the_hub(hub, online, mnli, tmp_path):
    built_in = Path(str(resources.files("prune_heads.mini"))) / "checkpoints" / "mini-inference"
    (default,) = default_subjects("table3")
    with hub.serve(files_of(built_in), SHA, name=default["model"], kind="models"):
        words = ("--data-dir", mnli, "--choose-examples", 20, "--output", tmp_path / "out")
        done = online.run("reproduce", "table3", *words, home=tmp_path / "hf")
    assert done.code == 0, done.stderr
    (record,) = (json.loads(file.read_text()) for file in (tmp_path / "out/records").iterdir())
    assert record["model"]["name"] == default["model"]
    assert record["model"]["revision"] == SHA


@pytest.mark.slow
@pytest.mark.parametrize("is_silent", [False, True])
def test_a_hub_out_of_reach_is_told_within_seconds(is_silent, hub, online, sst2, tmp_path):
    start = time.perf_counter()
    with hub.silent() if is_silent else nullcontext():
        words = ("evaluate", "--model", NAME, "--task", "sst2", "--data-dir", sst2)
        done = online.run(*words, home=tmp_path / "hf")
    assert time.perf_counter() - start < 45
    assert done.code == 1
    assert done.stderr.startswith("error: the model must be a local folder, or be on the hub")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
