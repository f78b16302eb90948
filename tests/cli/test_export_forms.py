"""Rounded exports: what they say of their error, what is refused, and that `evaluate` runs what was written."""

import importlib.util
import json
import re
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from tiny import tiny_model, tiny_tokenizer

from prune_heads import load_pruned, remove_heads
from prune_heads.checkpoints.loading import INT8_FILE, ONNX_FILE
from prune_heads.checkpoints.onnx import quantise_onnx, run_onnx, write_onnx
from prune_heads.errors import ExportError
from prune_heads.studies import exporting
from prune_heads.tasks.task import load_task

HEADS = "1:2 2:1,2,3,4 3:1,4"


@pytest.fixture(scope="module")
def written(checkpoint, tmp_path_factory):
    """The ONNX file of the tiny classifier without some heads, written once."""
    folder = tmp_path_factory.mktemp("onnx")
    model = remove_heads(load_pruned(checkpoint), HEADS)
    inputs = dict(tiny_tokenizer()(["a good film", "the dog was red"], padding=True, return_tensors="pt"))
    write_onnx(model, inputs, folder)
    return folder / ONNX_FILE


@pytest.fixture
def as_written(written, monkeypatch):
    """Exports to ONNX take that file: PyTorch's exporter takes seconds."""
    monkeypatch.setattr(exporting, "write_onnx", lambda model, inputs, folder: shutil.copy(written, folder))


@pytest.fixture
def sst2_texts(sst2):
    split = load_task("sst2", data_dir=sst2).load("validation", None)
    return list(split.columns["text"]), list(split.columns["label"])


def by_hand(run, texts, labels):
    """Accuracy and log-likelihood of the right label, each example alone, in float64."""
    tokenizer = tiny_tokenizer()
    rows = np.concatenate([run(dict(tokenizer([text], return_tensors="pt"))) for text in texts]).astype(float)
    likely = rows[np.arange(len(rows)), labels] - np.log(np.exp(rows).sum(axis=1))
    return {"accuracy": float((rows.argmax(1) == labels).mean()), "likelihood": float(likely.mean())}


def both(found):
    return pytest.approx({**found["metrics"], "likelihood": found["likelihood"]["value"]}, abs=1e-6)


def evaluated(invoke, json_of, folder, on_sst2, *words):
    return json_of(invoke("evaluate", "--model", folder, *on_sst2[2:], "--json", *words))


@pytest.mark.slow
def test_onnx_in_8_bits_says_its_error_and_is_what_is_evaluated(
    invoke, json_of, checkpoint, on_sst2, sst2_texts, as_written, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    words = ("export", checkpoint, "--to", "onnx", "--heads", HEADS, "--output")
    exact = json_of(invoke(*words, tmp_path / "float32", "--json"))
    report = json_of(invoke(*words, out, "--int8", "--json"))
    assert report["identity_hash"] != exact["identity_hash"]
    assert "rounding" not in exact
    assert (exact["n_answers"], exact["n_changed"]) == (15, 0)
    assert report["checks"] == exact["checks"]
    rounding = report["rounding"]
    assert rounding["form"] == "int8"
    assert 1e-4 < rounding["largest_difference"] == max(row["difference"] for row in rounding["checks"])
    assert rounding["n_changed"] <= rounding["n_answers"] / 2
    assert report["files"][ONNX_FILE] < 0.6 * exact["files"][ONNX_FILE]  # the tiny one is mostly graph
    done = invoke(*words, tmp_path / "again", "--int8", COLUMNS="80")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "tiny --to onnx --int8: 7 of 12 heads removed" in done.stdout
    assert f"of {rounding['n_answers']} answers change" in done.stdout

    monkeypatch.chdir(out)
    names = {}
    exec(re.findall(r"^```python\n(.*?)^```$", (out / "README.md").read_text(), re.M | re.S)[0], names)
    assert names["outputs"][0].shape == (1, 2)
    texts, labels = sst2_texts
    for folder in (tmp_path / "float32", out):
        found = evaluated(invoke, json_of, folder, on_sst2)
        assert by_hand(lambda inputs, of=folder: run_onnx(of, [inputs])[0][0], texts, labels) == both(found)
        assert found["heads_pruned"] == HEADS.split()
        named = evaluated(invoke, json_of, folder / ONNX_FILE, on_sst2)
        assert named == found
    wide = evaluated(invoke, json_of, checkpoint, on_sst2, "--heads", HEADS)
    narrow = evaluated(invoke, json_of, tmp_path / "float32", on_sst2)
    assert {**narrow["metrics"], "likelihood": narrow["likelihood"]["value"]} == both(wide)
    assert narrow["heads_pruned"] == wide["heads_pruned"]


@pytest.mark.slow
def test_an_exported_model_is_known_by_its_file_and_not_looked_into(
    invoke, refused, json_of, checkpoint, on_sst2, as_written, tmp_path
):
    folder = tmp_path / "out"
    assert invoke("export", checkpoint, "--to", "onnx", "--heads", HEADS, "--output", folder).exit_code == 0
    words = ("evaluate", "--model", folder, *on_sst2[2:])
    first = json_of(invoke(*words, "--output", tmp_path / "first", "--json"))
    record = json.loads((tmp_path / "first" / "record.json").read_text())
    assert "the answers are those of model.onnx, on the CPU" in record["notes"]
    assert record["configuration"]["model"] == "out"
    quantise_onnx(folder)
    assert invoke(*words, "--output", tmp_path / "first").exit_code == 1  # another model
    assert json_of(invoke(*words, "--json"))["n_heads"] == first["n_heads"]

    assert "an exported model (model.onnx) runs as it is: without --heads" in refused(*words, "--heads", "1:1", code=2)
    assert "runs as it is: without --heads and --replace" in refused(*words, "--replace", "mean", code=2)
    assert "runs on the CPU and in the precision of its file" in refused(*words, "--dtype", "bfloat16")
    for command in ("run", "ablate", "score", "bench"):
        said = refused(command, "--model", folder, *on_sst2[2:])
        assert "out holds model.onnx, which can only be evaluated" in said
    assert "can only be evaluated" in refused("prune", "--model", folder, "--heads", "1:1", "--output", tmp_path / "no")
    (folder / ONNX_FILE).write_bytes(b"no graph")
    assert "onnxruntime must be able to run what was written" in refused(*words)


def test_pytorch_in_8_bits_is_what_is_evaluated(invoke, json_of, refused, checkpoint, on_sst2, sst2_texts, tmp_path):
    out = tmp_path / "out"
    words = ("export", checkpoint, "--to", "torch-int8", "--heads", HEADS, "--output", out)
    report = json_of(invoke(*words, "--json"))
    assert report["largest_difference"] < 1e-5 < report["rounding"]["largest_difference"]
    assert set(report["files"]) == {"config.json", INT8_FILE, "tokenizer.json", "tokenizer_config.json"}
    assert {x.dtype for x in load_file(out / INT8_FILE).values()} == {torch.int8, torch.float32}
    model, (texts, labels) = load_pruned(out), sst2_texts
    with torch.no_grad():
        expected = by_hand(lambda inputs: model(**inputs).logits.numpy(), texts, labels)
    found = evaluated(invoke, json_of, out, on_sst2)
    assert expected == both(found)
    assert found["heads_pruned"] == HEADS.split()
    assert "int8.safetensors, which can only be evaluated" in refused("ablate", "--model", out, *on_sst2[2:])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_says_what_it_changes(dtype, invoke, json_of, checkpoint, tmp_path):
    words = ("export", checkpoint, "--to", "dense", "--heads", HEADS, "--output", tmp_path / "out", "--dtype", dtype)
    report = json_of(invoke(*words, "--json"))
    assert {str(x.dtype) for x in load_file(tmp_path / "out" / "model.safetensors").values()} == {f"torch.{dtype}"}
    rounding = report["rounding"]
    assert (rounding["form"], rounding["n_answers"]) == (dtype, 15)
    assert report["largest_difference"] < 1e-5 < rounding["largest_difference"] < 0.1


def test_what_answers_otherwise_is_refused_and_nothing_is_left(refused, checkpoint, out, monkeypatch):
    of_int8 = exporting.TARGETS["torch-int8"]

    def turned(written, batches, folder):
        return [[-each for each in outputs] for outputs in of_int8.rounded(written, batches, folder)]

    monkeypatch.setitem(exporting.TARGETS, "torch-int8", of_int8._replace(rounded=turned))
    said = refused("export", checkpoint, "--to", "torch-int8", *out)
    assert "must answer mostly as the model does in float32; in int8 15 of 15 answers on random texts change" in said

    def fails(written, batches, folder):
        raise AttributeError("no such weight")

    monkeypatch.setitem(exporting.TARGETS, "torch-int8", of_int8._replace(rounded=fails))
    assert "a 'bert' model must run in int8; it says no such weight" in refused(
        "export", checkpoint, "--to", "torch-int8", *out
    )


def test_of_many_labels_each_is_an_answer():
    """Of two texts the first has one label more in 8 bits, though its largest logit is the same."""
    batch = {"attention_mask": torch.ones(2, 5)}
    expected, got = (np.array([[2.0, second, -1.0], [-3.0, 1.0, -1.0]], dtype=np.float32) for second in (-0.1, 0.1))
    for many, counts in ((True, (6, 1)), (False, (2, 0))):
        found, _ = exporting._compared([batch], [[expected]], [[got]], many)
        assert (found["n_answers"], found["n_changed"]) == counts


@pytest.mark.parametrize("wrong", [np.nan, 50.0])
def test_a_score_has_no_answer_but_must_not_be_far_off(wrong, tmp_path, monkeypatch):
    from prune_heads.checkpoints import Checkpoint
    from prune_heads.heads import HeadMask

    subject = Checkpoint(tiny_model(n_labels=1), tiny_tokenizer(), "tiny", None)
    of_int8 = exporting.TARGETS["torch-int8"]
    found = exporting.export(subject, HeadMask((4, 4, 4)), "torch-int8", tmp_path)
    assert (found["n_answers"], found["rounding"]["n_answers"]) == (0, 0)

    def off(written, batches, folder):
        return [[each + wrong for each in outputs] for outputs in of_int8.rounded(written, batches, folder)]

    monkeypatch.setitem(exporting.TARGETS, "torch-int8", of_int8._replace(rounded=off))
    with pytest.raises(ExportError, match=r"answer mostly as the model does in float32; in int8 0 of 0 answers"):
        exporting.export(subject, HeadMask((4, 4, 4)), "torch-int8", tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "dense", "--int8"), "--int8 is for --to onnx; for PyTorch take --to torch-int8"),
        (("--to", "torch-int8", "--int8"), "--int8 is for --to onnx"),
        (("--to", "torch-int8", "--dtype", "float16"), "--dtype float16 is for --to dense"),
        (("--to", "onnx", "--int8", "--dtype", "float16"), "ONNX is written in float32"),
    ],
)
def test_misuse(words, said, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused("export", "mini", *words, "--output", "out", code=2)


def test_the_extra_is_asked_for_to_evaluate_too(refused, checkpoint, on_sst2, tmp_path, monkeypatch):
    folder = shutil.copytree(checkpoint, tmp_path / "folder")
    (folder / "model.safetensors").rename(folder / ONNX_FILE)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    said = refused("evaluate", "--model", folder, *on_sst2[2:])
    assert said.startswith("an ONNX file needs onnxruntime; not installed: onnxruntime. pip install")


def test_an_export_knows_what_its_checkpoint_came_from(invoke, json_of, refused, on_sst2, tmp_path):
    words = ("run", *on_sst2, "--heads", HEADS, "--mode", "remove", "--save-checkpoint", "--output", tmp_path / "run")
    run = json_of(invoke(*words, "--json"))
    source = tmp_path / "run" / "checkpoint"
    report = json_of(invoke("export", source, "--to", "dense", "--output", tmp_path / "out", "--json"))
    (row,) = run["rows"]
    numbers = [{"split": "validation", "metric": "accuracy", "before": row["base"], "after": row["pruned"]}]
    made = {"command": "run", "identity_hash": run["identity_hash"], "task": "sst2", "numbers": numbers}
    assert report["made_from"] == made
    again = json_of(invoke("export", tmp_path / "out", "--to", "torch-int8", "--output", tmp_path / "more", "--json"))
    assert again["made_from"] == {**made, "command": "export", "identity_hash": report["identity_hash"]}
    cards = exact, card = [ModelCard.load(tmp_path / name / "README.md") for name in ("out", "more")]
    (result,) = exact.data.eval_results
    assert card.data.eval_results is None  # they were measured before rounding; the table of the card says so
    assert f"| validation | accuracy | {row['base']:.4f} | {row['pruned']:.4f} |" in card.text
    assert (result.metric_type, result.metric_value, result.dataset_type) == ("accuracy", row["pruned"], "sst2")
    assert [card.data.library_name for card in cards] == ["transformers", "prune-heads"]
    words = ("export", source, "--to", "dense", "--heads", "1:1", "--output", tmp_path / "fewer")
    assert invoke(*words).exit_code == 0
    # In 8 bits or with fewer heads it computes something else than was measured.
    for card in (cards[1], ModelCard.load(tmp_path / "fewer" / "README.md")):
        assert card.data.eval_results is None
        assert f"| {row['pruned']:.4f} |" in card.text
        assert "Of the checkpoint that this was made from" in card.text
    (tmp_path / "run" / "record.json").write_text("{")
    said = refused("export", source, "--to", "dense", "--output", tmp_path / "third")
    assert "the record of the checkpoint must be a JSON file" in said
    (tmp_path / "run" / "record.json").write_text('{"of": "another program"}')
    done = invoke("export", source, "--to", "dense", "--output", tmp_path / "third", "--json")
    assert json_of(done)["made_from"] is None
