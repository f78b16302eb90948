"""Models from the hub, in processes of their own against a hub on this machine."""

import json
import time
from importlib import resources
from pathlib import Path

import pytest

from prune_heads.paper import default_subjects, published
from prune_heads.tasks.task import load_task

SHA = "c" * 40
NAME = "lab/tiny"
# The client reads its settings when it is imported; nothing of the test's own setting may reach it.
ONLINE = {"HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}


def files_of(checkpoint):
    return {path.name: path.read_bytes() for path in checkpoint.iterdir()}


@pytest.mark.slow
def test_a_model_comes_from_the_hub_at_its_commit_then_from_the_cache(
    cli, invoke, checkpoint, sst2, serve, refusing, tmp_path
):
    words = ("evaluate", "--model", NAME, "--task", "sst2", "--data-dir", sst2, "--json")
    with serve(files_of(checkpoint), SHA, name=NAME, kind="models") as (endpoint, _):
        settings = ONLINE | {"HF_HOME": str(tmp_path / "hf")}
        online = cli(*words, "--output", tmp_path / "run", HF_ENDPOINT=endpoint, **settings)
    assert online.returncode == 0, online.stderr
    model = json.loads((tmp_path / "run" / "record.json").read_text())["model"]
    assert (model["name"], model["revision"]) == (NAME, SHA)
    cached = cli(*words, HF_ENDPOINT=refusing, **settings)
    local = invoke("evaluate", "--model", checkpoint, *words[3:])
    assert cached.stdout == online.stdout == local.stdout
    assert cached.returncode == 0


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
def test_two_commands_from_a_hub_model_and_a_glue_download_to_table_3(cli, mnli, serve, refusing, tmp_path):
    """The README's; the second one knows no hub."""
    built_in = Path(str(resources.files("prune_heads.mini"))) / "checkpoints" / "mini-inference"
    settings = ONLINE | {"HF_HOME": str(tmp_path / "hf")}
    words = ("--data-dir", mnli)
    with serve(files_of(built_in), SHA, name=NAME, kind="models") as (endpoint, _):
        tuning = ("--model", NAME, "--task", "mnli", *words, "--epochs", 1, "--output", tmp_path / "tuned")
        tuned = cli("finetune", *tuning, HF_ENDPOINT=endpoint, **settings)
    assert tuned.returncode == 0, tuned.stderr
    assert json.loads((tmp_path / "tuned/record.json").read_text())["model"]["revision"] == SHA
    shown = ("--model", tmp_path / "tuned", *words, "--choose-examples", 20, "--output", tmp_path / "out", "--json")
    done = cli("reproduce", "table3", *shown, HF_ENDPOINT=refusing, **settings)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["table3"]["rows"]
    assert [row["published"][0] for row in rows] == published()["table3"]["delta"][""]
    assert [row["here"] is None for row in rows] == 6 * [False] + 6 * [True]


@pytest.mark.slow
def test_without_a_model_the_default_comes_from_the_hub(cli, mnli, serve, tmp_path):
    built_in = Path(str(resources.files("prune_heads.mini"))) / "checkpoints" / "mini-inference"
    (default,) = default_subjects("table3")
    settings = ONLINE | {"HF_HOME": str(tmp_path / "hf")}
    with serve(files_of(built_in), SHA, name=default["model"], kind="models") as (endpoint, _):
        words = ("--data-dir", mnli, "--choose-examples", 20, "--output", tmp_path / "out")
        done = cli("reproduce", "table3", *words, HF_ENDPOINT=endpoint, **settings)
    assert done.returncode == 0, done.stderr
    (record,) = (json.loads(file.read_text()) for file in (tmp_path / "out/records").iterdir())
    assert record["model"]["name"] == default["model"]
    assert record["model"]["revision"] == SHA


@pytest.mark.slow
@pytest.mark.parametrize("hub", ["refusing", "silent"])
def test_a_hub_out_of_reach_is_told_within_seconds(hub, cli, sst2, request, tmp_path):
    settings = ONLINE | {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": request.getfixturevalue(hub)}
    start = time.perf_counter()
    done = cli("evaluate", "--model", NAME, "--task", "sst2", "--data-dir", sst2, **settings)
    assert time.perf_counter() - start < 45
    assert done.returncode == 1
    assert done.stderr.startswith("error: the model must be a local folder, or be on the hub")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
