"""Checkpoints that are missing, damaged, dangerous or not for the task."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import save_tiny_checkpoint, tiny_model, tiny_tokenizer
from transformers import BertModel, FNetConfig, FNetForSequenceClassification
from transformers.models.bert.modeling_bert import BertOutput

from prune_heads.gating import _Gates
from prune_heads.studies.pruning import SURGERY


def rewrite(folder, change):
    """Change the weights of a checkpoint."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_missing_models(refused, on_sst2, out, tmp_path, monkeypatch):
    rest = (*on_sst2[2:], *out)
    assert f"there is no folder {tmp_path / 'no'}" in refused("run", "--model", tmp_path / "no", *rest)
    assert "there is no folder nobody/nothing, it is not in the cache" in refused(
        "run", "--model", "nobody/nothing", *rest
    )
    assert "there is no folder nothing, it is not in the cache" in refused("run", "--model", "nothing", *rest)
    (tmp_path / "empty").mkdir()
    assert "must hold config.json; empty does not" in refused("run", "--model", tmp_path / "empty", *rest)
    (tmp_path / "empty" / "checkpoint").mkdir()
    (tmp_path / "empty" / "checkpoint" / "config.json").touch()
    said = refused("run", "--model", tmp_path / "empty", *rest)
    assert f"must hold config.json; empty does not. Name {tmp_path / 'empty' / 'checkpoint'}" in said
    (tmp_path / "file").touch()
    assert "there is no folder" in refused("run", "--model", tmp_path / "file", *rest)
    monkeypatch.chdir(tmp_path / "empty")
    assert "must hold config.json; empty does not" in refused("run", "--model", ".", *rest)
    assert "is for the built-in tasks only, not 'sst2'" in refused("run", "--model", "mini", *rest)


@pytest.mark.parametrize("command", ["run", "score", "evaluate", "prune"])
def test_models_whose_heads_are_not_understood(command, refused, on_sst2, out, tmp_path):
    config = FNetConfig(
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=32,
        vocab_size=120,
        tpu_short_seq_length=64,
        pad_token_id=0,
    )
    FNetForSequenceClassification(config).save_pretrained(tmp_path / "other")
    tiny_tokenizer().save_pretrained(tmp_path / "other")
    options = ("--heads", "1:1") if command == "prune" else on_sst2[2:]
    said = refused(command, "--model", tmp_path / "other", *options, *out)
    assert "heads of a 'fnet' model are not understood: it has no attention heads" in said


def test_a_model_without_a_classification_head(refused, on_sst2, out, tmp_path):
    BertModel(tiny_model().config).save_pretrained(tmp_path / "body")
    tiny_tokenizer().save_pretrained(tmp_path / "body")
    said = refused("run", "--model", tmp_path / "body", *on_sst2[2:], *out)
    assert "must have a trained classification head; body lacks classifier.bias, classifier.weight" in said


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("negative", "neutral", "positive"), "must have 2 labels, got 3"),
        (("good", "bad"), "must name the same labels: the task has negative, positive; the checkpoint has good, bad"),
    ],
)
def test_labels_that_do_not_match(labels, said, refused, on_sst2, out, tmp_path):
    folder = save_tiny_checkpoint(tmp_path / "model", labels)
    assert said in refused("evaluate", "--model", folder, *on_sst2[2:], *out)


def test_label_order(refused, invoke, on_sst2, out, tmp_path):
    folder = save_tiny_checkpoint(tmp_path / "model", ("good", "bad"))
    words = ("evaluate", "--model", folder, *on_sst2[2:], "--label-order")
    assert "and each of negative, positive once, got good, bad" in refused(*words, "good,bad", *out)
    one, other = (
        json.loads(invoke(*words, order, "--json").stdout) for order in ("negative,positive", "positive, negative")
    )
    assert one["metrics"]["accuracy"] == pytest.approx(1 - other["metrics"]["accuracy"])


@pytest.mark.parametrize("command", ["run", "score", "evaluate", "prune"])
def test_nan_in_the_weights(command, refused, on_sst2, copy, out):
    where = "bert.encoder.layer.1.attention.self.query.weight"
    rewrite(copy, lambda weights: weights[where].view(-1)[0].fill_(float("nan")))
    options = ("--heads", "1:1") if command == "prune" else on_sst2[2:]
    said = refused(command, "--model", copy, *options, *out)
    assert f"the weights of a checkpoint must be finite; copy has NaN or infinity in {where}" in said


@pytest.mark.parametrize("command", ["run", "score", "evaluate", "prune"])
def test_logits_that_are_not_finite(command, refused, on_sst2, copy, out):
    rewrite(copy, lambda weights: weights["classifier.weight"].fill_(3e38))
    options = ("--heads", "1:1") if command == "prune" else on_sst2[2:]
    assert "logits must be finite" in refused(command, "--model", copy, *options, *out)


def test_weights_that_overflow_in_half_precision(refused, on_sst2, copy, out):
    rewrite(copy, lambda weights: weights["bert.pooler.dense.bias"].fill_(1e6))
    said = refused("run", "--model", copy, *on_sst2[2:], "--dtype", "float16", *out)
    assert "bert.pooler.dense.bias. Try --dtype float32" in said


def test_nan_in_gradients_alone(refused, on_sst2, out, monkeypatch):
    forward = BertOutput.forward

    def without_derivative(self, *states):
        result = forward(self, *states)
        return result + (result * 0).abs().sqrt()  # adds 0, but the root has no derivative there

    monkeypatch.setattr(BertOutput, "forward", without_derivative)
    said = refused("score", *on_sst2, *out)
    assert "gradients of the gates must be finite" in said
    assert "example " in said


@pytest.mark.parametrize("command", ["run", "score", "evaluate", "prune"])
def test_masks_that_are_not_applied(command, refused, on_sst2, out, monkeypatch):
    def met_and_without_effect(self, module, args):
        self.is_met = True
        return args

    monkeypatch.setattr(_Gates, "__call__", met_and_without_effect)
    options = (*on_sst2[:2], "--heads", "1:1") if command == "prune" else on_sst2
    said = refused(command, *options, *out)
    assert "bert.encoder.layer.0.attention, bert.encoder.layer.1.attention, bert.encoder.layer.2.attention" in said
    assert "masks are not applied in this model, so nothing is reported" in said


def narrow(attention):
    """Take rows out of W_V without the columns of W_O that belong to them."""
    value = attention.self.value
    value.weight = torch.nn.Parameter(value.weight[:24].detach())
    value.bias = torch.nn.Parameter(value.bias[:24].detach())


@pytest.mark.parametrize(
    ("surgery", "said"),
    [
        (lambda model, *_: model, "must give the logits that it gives under gates; they differ by"),
        (lambda model, *_: narrow(model.bert.encoder.layer[0].attention), "must still run; this one fails"),
    ],
)
@pytest.mark.parametrize("command", ["run", "prune"])
def test_surgery_that_does_not_do_what_gates_do(command, surgery, said, refused, on_sst2, out, monkeypatch):
    options = on_sst2[:2] if command == "prune" else on_sst2
    monkeypatch.setitem(SURGERY, "zero", surgery)
    assert said in refused(command, *options, "--heads", "1:1", *out)


class _Runs:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_pickles_are_read_for_tensors_and_never_run(refused, invoke, on_sst2, copy, out, tmp_path):
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    words = ("evaluate", "--model", copy, *on_sst2[2:])
    plain, pickled = (invoke("evaluate", *options, "--json") for options in (on_sst2, words[1:]))
    assert pickled.exit_code == 0
    assert pickled.stdout == plain.stdout
    torch.save({**weights, "more": _Runs(tmp_path / "owned")}, copy / "pytorch_model.bin")
    assert "a pickled checkpoint must hold tensors only; copy holds more" in refused(*words, *out)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("kept", [0, 4, 1000])
def test_damaged_safetensors(kept, refused, on_sst2, copy, out):
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[:kept])
    assert "the checkpoint copy cannot be loaded: " in refused("evaluate", "--model", copy, *on_sst2[2:], *out)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        *((file, text) for file in ("config.json", "tokenizer.json") for text in (None, "", "{", "[]", "{}")),
        ("config.json", '{"model_type": "bert", "num_labels": "two"}'),
        ("config.json", '{"model_type": "perceptron"}'),
        ("tokenizer.json", '{"model": {"type": "Guess"}}'),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[]"),
    ],
)
def test_damaged_or_missing_descriptions(file, text, refused, on_sst2, copy, out):
    (copy / file).unlink()
    if text is not None:
        (copy / file).write_text(text)
    said = refused("evaluate", "--model", copy, *on_sst2[2:], *out)
    lacks = "copy does not" if file == "config.json" else "copy holds none"
    assert "the checkpoint copy cannot be loaded: " in said or lacks in said


def test_tokenizers_of_another_model(refused, on_sst2, copy, out):
    words = ("evaluate", "--model", copy, *on_sst2[2:], *out)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"word{i}" for i in range(100)])
    tokenizer.save_pretrained(copy)
    assert "the tokenizer of copy has 125 tokens, the model 120" in refused(*words)
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(copy)
    assert "tokenizer of copy must have a padding token, for batches; it has none" in refused(*words)


def test_weights_of_another_shape(refused, on_sst2, copy, out):
    rewrite(copy, lambda weights: weights.update({"classifier.bias": torch.zeros(7)}))
    said = refused("evaluate", "--model", copy, *on_sst2[2:], *out)
    assert "the weights of copy must have the shapes of its config.json; classifier.bias has (7,), not (2,)" in said


def test_no_cuda(refused, on_sst2, out, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device must be one that this machine has" in refused("run", *on_sst2, "--device", "cuda", *out)
