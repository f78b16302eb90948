"""The hub's client in processes of its own, against hubs on this machine: its settings are read at import."""

import io
import textwrap
import time
from pathlib import Path

import datasets
import pytest
from hub_stub import answer_of

from prune_heads.tasks.spec import TASKS
from prune_heads.tasks.task import load_task

SHA, NEWER = "a" * 40, "b" * 40
SPLITS = {"train": [("good ", 1), ("bad", 0), ("fine", 1)], "validation": [("dull", 0), ("great", 1)]}
NAMES = ["negative", "positive"]

LOAD = textwrap.dedent("""
    import json, sys, time
    from prune_heads.errors import DataError
    from prune_heads.tasks.task import load_task

    name, split = sys.argv[1:]
    start = time.perf_counter()
    try:
        split = load_task(name).load(split)
        told = {"data": split.dataset.to_dict(), "source": split.source, "fingerprint": split.fingerprint}
    except DataError as error:
        told = {"error": str(error)}
    print(json.dumps(told | {"seconds": time.perf_counter() - start}))
""")


def parquet(rows: dict[str, list[object]], label: object) -> bytes:
    kinds = {name: datasets.Value("string") for name in rows if name != "label"} | {"label": label}
    file = io.BytesIO()
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(rows, features=datasets.Features(kinds)).to_parquet(file)
    return file.getvalue()


def repository(config: str, splits: dict[str, bytes]) -> dict[str, bytes]:
    lines = ["---", "configs:", f"- config_name: {config}", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: {config}/{split}-*"]
    files = {f"{config}/{split}-00000-of-00001.parquet": content for split, content in splits.items()}
    return {"README.md": "\n".join([*lines, "---", ""]).encode(), **files}


def sst2(splits=SPLITS, names=NAMES, column="sentence") -> dict[str, bytes]:
    label = datasets.ClassLabel(names=names)
    columns = {
        split: {column: [text for text, _ in rows], "label": [label for _, label in rows]}
        for split, rows in splits.items()
    }
    return repository("sst2", {split: parquet(rows, label) for split, rows in columns.items()})


def load(home: Path, endpoint: str, name: str = "sst2", split: str = "validation", **settings: str):
    return answer_of(LOAD, name, split, home=home, endpoint=endpoint, timeout=60, **settings)


def test_splits_come_from_the_hub_then_from_the_cache(tmp_path, serve, refusing):
    with serve(sst2(), SHA) as (endpoint, requests):
        first = load(tmp_path / "hf", endpoint)
        assert any(request.endswith("validation-00000-of-00001.parquet") for request in requests)
        requests.clear()
        again = load(tmp_path / "hf", endpoint, split="train")
        assert not any(request.endswith(".parquet") for request in requests)
    assert first["data"] == {"text": ["dull", "great"], "label": [0, 1]}
    assert first["source"] == f"nyu-mll/glue/sst2@{SHA}"
    assert again["data"] == {"text": ["good ", "bad", "fine"], "label": [1, 0, 1]}
    for endpoint, settings in ((refusing, {}), (refusing, {"HF_HUB_OFFLINE": "1"})):
        cached = load(tmp_path / "hf", endpoint, **settings)
        assert {**cached, "seconds": 0} == {**first, "seconds": 0}


@pytest.mark.slow
def test_records_name_the_revision_that_was_read(tmp_path, serve, refusing):
    with serve(sst2(), SHA) as (endpoint, _):
        load(tmp_path / "hf", endpoint)
    changed = sst2({**SPLITS, "validation": [("new", 1)]})
    with serve(changed, NEWER) as (endpoint, _):
        newer = load(tmp_path / "hf", endpoint)
    assert newer["data"] == {"text": ["new"], "label": [1]}
    assert newer["source"] == f"nyu-mll/glue/sst2@{NEWER}"
    assert load(tmp_path / "hf", refusing)["source"] == f"nyu-mll/glue/sst2@{NEWER}"


def test_the_hub_and_the_official_file_give_one_fingerprint(tmp_path, serve):
    folder = tmp_path / "SST-2"
    folder.mkdir()
    lines = [f"{text}\t{label}\n" for text, label in SPLITS["train"]]
    (folder / "train.tsv").write_text("".join(["sentence\tlabel\n", *lines]))
    with serve(sst2(), SHA) as (endpoint, _):
        from_hub = load(tmp_path / "hf", endpoint, split="train")
    assert from_hub["fingerprint"] == load_task("sst2", data_dir=folder).load("train").fingerprint


def test_scores_of_the_hub_and_of_the_official_file_are_one(tmp_path, serve):
    folder = tmp_path / "STS-B"
    folder.mkdir()
    (folder / "dev.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t3.8\nc\td\t0.000\n")
    rows = {"sentence1": ["a", "c"], "sentence2": ["b", "d"], "label": [3.8, 0.0]}
    files = repository("stsb", {"validation": parquet(rows, datasets.Value("float32"))})
    with serve(files, SHA) as (endpoint, _):
        from_hub = load(tmp_path / "hf", endpoint, "stsb")
    assert from_hub["fingerprint"] == load_task("stsb", data_dir=folder).load("validation").fingerprint


def test_labels_are_matched_by_name(tmp_path, serve):
    with serve(sst2(names=NAMES[::-1]), SHA) as (endpoint, _):
        assert load(tmp_path / "hf", endpoint)["data"]["label"] == [1, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "message"),
    [
        (lambda: sst2(names=["bad", "good"]), "the labels must be negative, positive, got ['bad', 'good']"),
        (lambda: sst2({"validation": [("x", -1), ("y", -1)]}), "every row must have a label, got -1"),
        (lambda: sst2(column="text"), "the column sentence must be there, got the columns text, label"),
        (lambda: {"README.md": b""}, "pass --data-dir FOLDER"),
    ],
)
def test_what_is_not_glue_is_refused(tmp_path, serve, files, message):
    with serve(files(), SHA) as (endpoint, _):
        assert message in load(tmp_path / "hf", endpoint)["error"]


@pytest.mark.slow
def test_a_hub_out_of_reach_is_told_within_seconds_with_the_cure(tmp_path, refusing, silent):
    for endpoint in (refusing, silent):
        start = time.perf_counter()
        told = load(tmp_path / "hf", endpoint)
        assert time.perf_counter() - start < 20
        assert told["seconds"] < 12
        assert told["error"].startswith(
            "sst2: nyu-mll/glue must be in reach or in the cache of this machine, got "
        )
        assert "pass --data-dir FOLDER with the official GLUE files" in told["error"]


def test_every_task_names_its_columns_as_the_hub_does():
    """The columns of nyu-mll/glue, from its data card."""
    pairs = {"mrpc": "sentence1 sentence2", "qqp": "question1 question2", "stsb": "sentence1 sentence2"}
    pairs |= {"mnli": "premise hypothesis", "qnli": "question sentence", "rte": "sentence1 sentence2"}
    pairs |= {"wnli": "sentence1 sentence2", "cola": "sentence", "sst2": "sentence"}
    assert {name: " ".join(TASKS[name].text_columns) for name in pairs} == pairs
