"""`prune-heads export`: what it prints and leaves in its folder, and what is refused."""

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny import tiny_inputs, tiny_tokenizer
from tiny_types import tiny_config, tiny_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from prune_heads import load_pruned, zero_heads
from prune_heads.checkpoints import fingerprint
from prune_heads.checkpoints.onnx import ONNX_FILE, run_onnx
from prune_heads.studies import exporting

HEADS = "1:2 2:1,2,3,4 3:1,4"


@pytest.fixture
def pruned(invoke, checkpoint, tmp_path):
    """A checkpoint whose heads have been removed."""
    words = ("--heads", HEADS, "--mode", "remove", "--output", tmp_path / "pruned")
    assert invoke("prune", "--model", checkpoint, *words).exit_code == 0
    return tmp_path / "pruned" / "checkpoint"


def test_a_dense_folder_is_an_ordinary_checkpoint(invoke, json_of, pruned, on_sst2, tmp_path):
    report = json_of(invoke("export", pruned, "--to", "dense", "--output", tmp_path / "out", "--json"))
    assert (report["command"], report["to"], report["notes"]) == ("export", "dense", [])
    assert (report["n_heads"], report["heads_pruned"]) == (12, HEADS.split())
    assert report["parameters"]["after"] - report["parameters"]["before"] == 7 * 8 * (4 * 32 + 3)
    assert report["largest_difference"] == max(row["difference"] for row in report["checks"])
    assert report["largest_difference"] <= report["tolerance"] == 1e-5
    files = {file.name: file.stat().st_size for file in (tmp_path / "out").iterdir()}
    assert files.pop("record.json")
    assert files.pop("README.md")
    assert report["files"] == files
    for name, expected in report["sha256"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == expected
    assert report["sha256"].keys() == files.keys()
    assert (report["n_answers"], report["n_changed"], report["made_from"]["command"]) == (15, 0, "prune")
    assert set(files) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert json.loads((tmp_path / "out" / "record.json").read_text()) == report

    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    narrow = load_pruned(pruned)
    with torch.no_grad():
        assert torch.allclose(plain(**tiny_inputs()).logits, narrow(**tiny_inputs()).logits, rtol=0, atol=1e-5)
    again = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again("a good film").input_ids == tiny_tokenizer()("a good film").input_ids
    metrics = [
        json_of(invoke("evaluate", "--model", folder, *on_sst2[2:], "--json"))["metrics"]
        for folder in (pruned, tmp_path / "out")
    ]
    assert metrics[0] == metrics[1]


@pytest.mark.slow
def test_an_onnx_folder_runs_without_torch(invoke, json_of, pruned, snapshot, tmp_path):
    out = tmp_path / "out"
    report = json_of(invoke("export", pruned, "--to", "onnx", "--heads", "1:1", "--output", out, "--json"))
    assert report["heads_pruned"] == ["1:1,2", "2:1,2,3,4", "3:1,4"]
    assert report["parameters"]["before"] - report["parameters"]["after"] == 8 * (4 * 32 + 3)
    assert report["largest_difference"] <= report["tolerance"] == 1e-4
    assert len({(row["n_examples"], row["n_tokens"]) for row in report["checks"]}) == 5
    assert set(report["libraries"]) == {"onnx", "onnxruntime", "onnxscript"}
    assert set(report["files"]) == {"config.json", ONNX_FILE, "tokenizer.json", "tokenizer_config.json"}
    encoded = tiny_tokenizer()(["a good film", "the dog was not very red"], padding=True, return_tensors="pt")
    ((logits,),) = run_onnx(out, [dict(encoded)])
    assert logits.shape == (2, 2)
    assert json.loads((out / "config.json").read_text())["id2label"] == {"0": "negative", "1": "positive"}
    for name, content in snapshot(out).items():
        assert not [
            path for path in (tmp_path, Path.home(), Path(torch.__file__).parent) if str(path).encode() in content
        ], name


@pytest.mark.parametrize(
    ("model_type", "task", "heads", "auto"),
    [
        ("gpt2", "lm", "1:1,3", AutoModelForCausalLM),
        ("bert", "lm", "1:1,3 3:1,2,3,4", AutoModelForMaskedLM),
        ("t5", "seq2seq", "E:1:1,3 A:3:2", AutoModelForSeq2SeqLM),
    ],
)
def test_language_models(model_type, task, heads, auto, invoke, json_of, tmp_path):
    torch.manual_seed(0)
    model, tokenizer = auto.from_config(tiny_config(model_type)).eval(), tiny_tokenizer()
    tokenizer.eos_token = "[SEP]"
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    words = ("--task", task, "--heads", heads, "--mode", "remove", "--output", tmp_path / "pruned")
    assert invoke("prune", "--model", tmp_path / "model", *words).exit_code == 0
    words = ("--task", task, "--to", "dense", "--output", tmp_path / "out", "--json")
    report = json_of(invoke("export", tmp_path / "pruned" / "checkpoint", *words))
    assert report["heads_pruned"] == heads.split()
    plain = auto.from_pretrained(tmp_path / "out")
    assert type(plain) is type(model)
    assert fingerprint(plain) == fingerprint(zero_heads(model, heads))


@pytest.mark.parametrize("model_type", ["gpt2", "t5"])
def test_other_kinds_of_models(model_type, invoke, json_of, tmp_path):
    model, tokenizer = tiny_model(model_type), tiny_tokenizer()
    tokenizer.eos_token = "[SEP]"
    model.config.eos_token_id = tokenizer.sep_token_id
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    heads = "1:1,3" if model_type == "gpt2" else "E:1:1,3 D:2:4"
    words = ("--heads", heads, "--mode", "remove", "--output", tmp_path / "pruned")
    assert invoke("prune", "--model", tmp_path / "model", *words).exit_code == 0
    words = ("--to", "dense", "--output", tmp_path / "out", "--json")
    report = json_of(invoke("export", tmp_path / "pruned" / "checkpoint", *words))
    assert report["heads_pruned"] == heads.split()
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert fingerprint(plain) == fingerprint(zero_heads(model, heads))


def test_the_terminal_fits_into_80_columns(invoke, pruned, tmp_path):
    done = invoke("export", pruned, "--to", "dense", "--output", tmp_path / "out", COLUMNS="80")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"{pruned.parent.name}/checkpoint --to dense: 7 of 12 heads zero"
    assert f"heads       {HEADS}" in lines
    sizes = {file.name: f"{file.stat().st_size:,}" for file in (tmp_path / "out").iterdir()}
    assert ["model.safetensors", sizes["model.safetensors"]] in [line.split() for line in lines]


def test_named_heads_of_an_intact_checkpoint_are_zeroed_as_prune_does(invoke, checkpoint, tmp_path):
    words = ("--heads", "1:2 3:1", "--output")
    assert invoke("export", checkpoint, "--to", "dense", *words, tmp_path / "out").exit_code == 0
    assert invoke("prune", "--model", checkpoint, *words, tmp_path / "zeroed").exit_code == 0
    folders = (tmp_path / "out", tmp_path / "zeroed" / "checkpoint")
    one, other = ((folder / "model.safetensors").read_bytes() for folder in folders)
    assert one == other


def test_a_copy_is_said_to_be_one(invoke, checkpoint, tmp_path):
    done = invoke("export", checkpoint, "--to", "dense", "--output", tmp_path / "out")
    assert done.exit_code == 0
    assert "note: the checkpoint has all its heads and none are named" in done.stderr
    assert "0 of 12 heads zero" in done.stdout


@pytest.mark.parametrize("target", ["dense", "onnx"])
def test_what_differs_is_refused_and_nothing_is_left(target, refused, pruned, out, monkeypatch):
    if target == "dense":
        dense = exporting.dense_model

        def spoilt(model):
            wide = dense(model)
            wide.classifier.weight.data *= 1.01
            return wide

        monkeypatch.setattr(exporting, "dense_model", spoilt)
    else:

        def fail(*args, **options):
            raise RuntimeError("no operator for this")

        monkeypatch.setattr(torch.onnx, "export", fail)
    said = refused("export", pruned, "--to", target, *out)
    assert ("must give the logits of the model" if target == "dense" else "no operator for this") in said


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_the_extra_is_asked_for_before_any_work(library, refused, tmp_path, out, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == library else find(name))
    assert f"not installed: {library}. pip install 'prune-heads[onnx]'" in refused(
        "export", tmp_path / "no", "--to", "onnx", *out
    )
    assert "there is no folder" in refused("export", tmp_path / "no", "--to", "dense", *out)


def test_what_cannot_be_removed_is_refused(refused, invoke, tmp_path, out):
    tiny_model("llama").save_pretrained(tmp_path / "llama")
    tiny_tokenizer().save_pretrained(tmp_path / "llama")
    words = ("export", tmp_path / "llama", "--heads", "1:1")
    assert "are removed by whole groups" in refused(*words, "--to", "onnx", *out)
    assert invoke(*words, "--to", "dense", *out).exit_code == 0
    assert "layer 9 must be between 1 and 3" in refused(*words[:-1], "9:1", "--to", "dense", *out)


def test_a_head_of_layers_that_share_their_weights_goes_from_all(invoke, json_of, tmp_path):
    model = tiny_model("albert")
    model.save_pretrained(tmp_path / "albert")
    tiny_tokenizer().save_pretrained(tmp_path / "albert")
    words = ("--heads", "2:3", "--to", "dense", "--output", tmp_path / "out")
    done = invoke("export", tmp_path / "albert", *words, "--json")
    assert json_of(done)["heads_pruned"] == ["1:3", "2:3", "3:3"]
    assert "note: layers of this model share their weights" in done.stderr
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert fingerprint(plain) == fingerprint(zero_heads(model, "1:3 2:3 3:3"))


def test_a_folder_of_something_else_is_not_replaced(refused, invoke, pruned, checkpoint, tmp_path):
    words = ("--to", "dense", "--output", tmp_path / "out")
    assert invoke("export", pruned, *words).exit_code == 0
    assert invoke("export", pruned, *words).exit_code == 0
    assert "holds a different run" in refused("export", checkpoint, *words)
    assert invoke("export", checkpoint, *words, "--overwrite").exit_code == 0
    shutil.copytree(checkpoint, tmp_path / "mine")
    assert "holds no record.json of ours" in refused("export", pruned, *words[:-1], tmp_path / "mine")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mini", "--to", "dense"), "'--output'"),
        (("mini", "--output", "out"), "'--to'"),
        (("mini", "--to", "tflite", "--output", "out"), "'tflite' is not one of"),
        (("mini", "--to", "onnx", "--dtype", "bfloat16", "--output", "out"), "ONNX is written in float32"),
        (("mini", "--model", "m", "--to", "dense", "--output", "out"), "must name one model, got mini and m"),
    ],
)
def test_misuse(words, said, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what is not refused must not be written here
    assert said in refused("export", *words, code=2)
