"""GLUE from a hub on this machine, and from the cache."""

import io
import json
import os
import subprocess
import sys
import textwrap
import time
from contextlib import nullcontext

import datasets
import pytest

from prune_heads.objectives import TASKS
from prune_heads.tasks.task import load_task

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hub")]  # one process asks it
SHA, NEWER = "a" * 40, "b" * 40
SPLITS = {"train": [("good ", 1), ("bad", 0), ("fine", 1)], "validation": [("dull", 0), ("great", 1)]}
NAMES = ["negative", "positive"]

LOAD = textwrap.dedent("""
    import json, sys, time
    from prune_heads.errors import DataError
    from prune_heads.tasks.task import load_task

    told = []
    for name, split in zip(sys.argv[1::2], sys.argv[2::2]):
        start = time.perf_counter()
        try:
            split = load_task(name).load(split)
            answer = {"data": split.dataset.to_dict(), "source": split.source, "fingerprint": split.fingerprint}
        except DataError as error:
            answer = {"error": str(error)}
        told.append(answer | {"seconds": time.perf_counter() - start})
    print(json.dumps(told))
""")


def parquet(rows: dict[str, list[object]], label: object) -> bytes:
    kinds = {name: datasets.Value("string") for name in rows if name != "label"} | {"label": label}
    file = io.BytesIO()
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(rows, features=datasets.Features(kinds)).to_parquet(file)
    return file.getvalue()


def repository(**configs: dict[str, bytes]) -> dict[str, bytes]:
    """Its files, of configurations that have a file a split."""
    lines, files = ["---", "configs:"], {}
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, content in splits.items():
            lines += [f"  - split: {split}", f"    path: {config}/{split}-*"]
            files[f"{config}/{split}-00000-of-00001.parquet"] = content
    return {"README.md": "\n".join([*lines, "---", ""]).encode(), **files}


def sst2(splits=SPLITS, names=NAMES, column="sentence", **others: dict[str, bytes]) -> dict[str, bytes]:
    label = datasets.ClassLabel(names=names)
    columns = {
        split: {column: [text for text, _ in rows], "label": [label for _, label in rows]}
        for split, rows in splits.items()
    }
    return repository(sst2={split: parquet(rows, label) for split, rows in columns.items()}, **others)


@pytest.fixture
def load(online, tmp_path):
    """What a process is given, of the hub or of the cache of the earlier ones."""

    def load(name="sst2", split="validation"):
        (answer,) = online.answer(LOAD, name, split, home=tmp_path / "hf")
        return answer

    return load


@pytest.fixture(scope="module")
def answers(hub, online, tmp_path_factory):
    """What one process is given, of a hub whose label names are in another order than ours."""
    rows = {"sentence1": ["a", "c"], "sentence2": ["b", "d"], "label": [3.8, 0.0]}
    files = sst2(names=NAMES[::-1], stsb={"validation": parquet(rows, datasets.Value("float32"))})
    asked = [("sst2", "train"), ("sst2", "validation"), ("stsb", "validation")]
    with hub.serve(files, SHA):
        words = [word for each in asked for word in each]
        return dict(zip(asked, online.answer(LOAD, *words, home=tmp_path_factory.mktemp("hf")), strict=True))


def test_splits_come_from_the_hub_then_from_the_cache(tmp_path, hub, load):
    with hub.serve(sst2(), SHA) as requests:
        first = load()
        assert any(request.endswith("validation-00000-of-00001.parquet") for request in requests)
        requests.clear()
        again = load(split="train")
        assert not any(request.endswith(".parquet") for request in requests)
    assert first["data"] == {"text": ["dull", "great"], "label": [0, 1]}
    assert first["source"] == f"nyu-mll/glue/sst2@{SHA}"
    assert again["data"] == {"text": ["good ", "bad", "fine"], "label": [1, 0, 1]}
    settings = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", LOAD, "sst2", "validation"]
    offline = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
    for cached in (load(), *json.loads(offline.stdout)):
        assert {**cached, "seconds": 0} == {**first, "seconds": 0}


def test_records_name_the_revision_that_was_read(hub, load):
    with hub.serve(sst2(), SHA):
        load()
    changed = sst2({**SPLITS, "validation": [("new", 1)]})
    with hub.serve(changed, NEWER):
        newer = load()
    assert newer["data"] == {"text": ["new"], "label": [1]}
    assert newer["source"] == f"nyu-mll/glue/sst2@{NEWER}"
    assert load()["source"] == f"nyu-mll/glue/sst2@{NEWER}"


def test_the_hub_and_the_official_file_give_one_fingerprint(tmp_path, answers):
    folder = tmp_path / "SST-2"
    folder.mkdir()
    lines = [f"{text}\t{1 - label}\n" for text, label in SPLITS["train"]]
    (folder / "train.tsv").write_text("".join(["sentence\tlabel\n", *lines]))
    official = load_task("sst2", data_dir=folder).load("train")
    assert answers["sst2", "train"]["fingerprint"] == official.fingerprint
    assert answers["sst2", "train"]["source"] == f"nyu-mll/glue/sst2@{SHA}"


def test_scores_of_the_hub_and_of_the_official_file_are_one(tmp_path, answers):
    folder = tmp_path / "STS-B"
    folder.mkdir()
    (folder / "dev.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t3.8\nc\td\t0.000\n")
    official = load_task("stsb", data_dir=folder).load("validation")
    assert answers["stsb", "validation"]["fingerprint"] == official.fingerprint


def test_labels_are_matched_by_name(answers):
    assert answers["sst2", "validation"]["data"] == {"text": ["dull", "great"], "label": [1, 0]}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (lambda: sst2(names=["bad", "good"]), "row 1: the label must be one of negative, positive, got 'bad'"),
        (lambda: sst2({"validation": [("x", -1), ("y", -1)]}), "the label must be one of negative, positive, got -1"),
        (lambda: sst2(column="text"), "the column sentence must be there once, got the columns text, label"),
        (lambda: {"README.md": b""}, "pass --data-dir FOLDER"),
    ],
)
def test_what_is_not_glue_is_refused(hub, load, files, message):
    with hub.serve(files(), SHA):
        assert message in load()["error"]


def test_a_hub_out_of_reach_is_told_within_seconds_with_the_cure(hub, load):
    for reached in (nullcontext, hub.silent):
        start = time.perf_counter()
        with reached():
            told = load()
        assert time.perf_counter() - start < 20
        assert told["seconds"] < 12
        assert told["error"].startswith("sst2: nyu-mll/glue must be in reach or in the cache of this machine, got ")
        assert "pass --data-dir FOLDER with the official GLUE files" in told["error"]


def test_every_task_names_its_columns_as_the_hub_does():
    """The columns of nyu-mll/glue, from its data card."""
    pairs = {"mrpc": "sentence1 sentence2", "qqp": "question1 question2", "stsb": "sentence1 sentence2"}
    pairs |= {"mnli": "premise hypothesis", "qnli": "question sentence", "rte": "sentence1 sentence2"}
    pairs |= {"wnli": "sentence1 sentence2", "cola": "sentence", "sst2": "sentence"}
    assert {name: " ".join(TASKS[name].text_columns) for name in pairs} == pairs
