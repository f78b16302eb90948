"""Checkpoints: what is saved comes back; what would load wrong is refused."""

import json
import shutil

import pytest
import torch
from loading import load_classifier
from safetensors.torch import load_file, save_file
from tiny import save_tiny_checkpoint, tiny_inputs, tiny_model
from transformers import AutoModelForSequenceClassification

from prune_heads import load_pruned, remove_heads, save_pruned, zero_heads
from prune_heads.checkpoints import fingerprint
from prune_heads.errors import CheckpointError
from prune_heads.surgery import removed_heads

UNEVEN = "1:2 2:1,2,3,4 3:1,4"


@torch.no_grad()
def logits(model):
    return model(**tiny_inputs()).logits


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_uneven_layers_come_back_bit_for_bit(model_type, tmp_path):
    model = remove_heads(tiny_model(model_type), UNEVEN)
    save_pruned(model, tmp_path / "pruned")
    again = load_pruned(tmp_path / "pruned")
    assert not again.training
    assert str(removed_heads(again)) == UNEVEN
    assert fingerprint(again) == fingerprint(model)
    # The weights are the same bits; the attention implementation is transformers' default, not the test's.
    assert torch.allclose(logits(again), logits(model), rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_plain_from_pretrained_fails_loudly_and_the_folder_says_what_to_call(model_type, tmp_path):
    save_pruned(remove_heads(tiny_model(model_type), "2:3"), tmp_path / "pruned")
    with pytest.raises(RuntimeError, match="mismatch"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "pruned")
    assert "load_pruned" in (tmp_path / "pruned" / "README.md").read_text()
    assert json.loads((tmp_path / "pruned" / "heads.json").read_text())["heads_pruned"] == ["2:3"]


def test_a_zeroed_checkpoint_is_an_ordinary_one(tmp_path):
    model = zero_heads(tiny_model(), UNEVEN)
    save_pruned(model, tmp_path / "zeroed")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "zeroed").eval()
    assert fingerprint(plain) == fingerprint(model)
    assert fingerprint(load_pruned(tmp_path / "zeroed")) == fingerprint(model)


def test_a_removed_model_is_pruned_further_after_reloading(tmp_path):
    save_pruned(remove_heads(tiny_model(), "1:2"), tmp_path / "once")
    twice = remove_heads(load_pruned(tmp_path / "once"), "1:3 2:1")
    assert fingerprint(twice) == fingerprint(remove_heads(tiny_model(), "1:2,3 2:1"))
    save_pruned(twice, tmp_path / "twice")
    assert str(removed_heads(load_pruned(tmp_path / "twice"))) == "1:2,3 2:1"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept_or_computed_in_float32(dtype, tmp_path, checkpoint):
    save_pruned(remove_heads(tiny_model().to(dtype), "1:2"), tmp_path / "half")
    assert load_pruned(tmp_path / "half").dtype == dtype
    assert load_pruned(tmp_path / "half", dtype=torch.float32).dtype == torch.float32
    half = shutil.copytree(checkpoint, tmp_path / "classifier")
    weights = {name: tensor.to(dtype) for name, tensor in load_file(half / "model.safetensors").items()}
    save_file(weights, half / "model.safetensors", metadata={"format": "pt"})
    assert load_classifier(str(half)).model.dtype == torch.float32
    assert load_classifier(str(half), dtype=dtype).model.dtype == dtype


def test_a_folder_in_use_is_not_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match="new or empty folder"):
        save_pruned(tiny_model(), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_loading_draws_no_random_numbers(tmp_path):
    save_pruned(remove_heads(tiny_model(), "1:2"), tmp_path / "pruned")
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    load_pruned(tmp_path / "pruned")
    assert torch.equal(torch.rand(3), expected)


def edit_heads(**change):
    def edit(folder):
        value = json.loads((folder / "heads.json").read_text()) | change
        (folder / "heads.json").write_text(json.dumps(value))

    return edit


def edit_config(**change):
    def edit(folder):
        value = json.loads((folder / "config.json").read_text()) | change
        (folder / "config.json").write_text(json.dumps(value))

    return edit


def drop_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.bias"]
    save_file(weights, folder / "model.safetensors")


def truncate(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edit_heads(heads_pruned=["1:3"]), "cannot be loaded|must fit"),
        (edit_heads(heads_pruned=["1:2", "3:1"]), "must have the shapes of its config.json and heads.json"),
        (edit_heads(n_heads=[4, 4]), "is for"),
        (edit_heads(n_heads="4"), "must have 'n_heads'"),
        (edit_config(architectures=["os"]), "must name its class"),
        (edit_config(architectures=["AutoModel"]), "must name its class"),
        (edit_config(architectures=None), "must name its class"),
        (drop_a_weight, "trained classification head; pruned lacks classifier.bias"),
        (truncate, "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"must hold its weights .*; pruned has none\. Copy"),
        (lambda folder: (folder / "config.json").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "heads.json").write_text("{"), "must be a JSON file"),
        (shutil.rmtree, "must be an existing folder"),
    ],
)
def test_what_does_not_fit_is_refused(damage, message, tmp_path):
    save_pruned(remove_heads(tiny_model(), "1:2"), tmp_path / "pruned")
    damage(tmp_path / "pruned")
    if message.startswith("cannot be loaded|"):
        # Head 3 instead of 2: the shapes are the same, only the numbering is another. That is not damage.
        assert str(removed_heads(load_pruned(tmp_path / "pruned"))) == "1:3"
        return
    with pytest.raises(CheckpointError, match=message):
        load_pruned(tmp_path / "pruned")


def test_fingerprints_tell_weights_apart_and_nothing_else(tmp_path):
    one, same, other = tiny_model(), tiny_model(), tiny_model(seed=1)
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    with torch.no_grad():
        same.classifier.bias[0] += 1e-6
    assert fingerprint(one) != fingerprint(same)
    assert fingerprint(one) != fingerprint(tiny_model().double())


def test_a_name_is_no_path(tmp_path):
    folder = save_tiny_checkpoint(tmp_path / "deep" / "down" / "my-model")
    assert load_classifier(str(folder)).name == "my-model"


@pytest.mark.parametrize("pickled", [False, True])
def test_a_checkpoint_that_transformers_4_has_pruned(tmp_path, pickled):
    """Its configuration names the heads, layers and heads from 0, and its weights are narrower."""
    folder = save_tiny_checkpoint(tmp_path / "old")
    model = remove_heads(AutoModelForSequenceClassification.from_pretrained(folder), "1:2 3:1,4")
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    (folder / "model.safetensors").unlink()
    if pickled:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pruned_heads": {"0": [1], "2": [0, 3]}}))
    loaded = load_classifier(str(folder)).model
    assert str(removed_heads(loaded)) == "1:2 3:1,4"
    with torch.no_grad():
        assert torch.equal(loaded(**tiny_inputs()).logits, model.eval()(**tiny_inputs()).logits)
    save_pruned(loaded, tmp_path / "new")
    assert str(removed_heads(load_pruned(tmp_path / "new"))) == "1:2 3:1,4"


def test_an_old_checkpoint_with_no_heads_pruned_is_an_ordinary_one(tmp_path):
    folder = save_tiny_checkpoint(tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pruned_heads": {}}))
    assert not removed_heads(load_classifier(str(folder)).model)
