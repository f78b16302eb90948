"""`verify` proves what the package promises of a model, leaves the model alone, and finds what does not hold."""

import copy
import json

import pytest
import torch
from tiny_types import inputs_for, tiny_inputs, tiny_model
from torch import nn

import prune_heads
from prune_heads import attention_blocks, remove_heads, verification, verify
from prune_heads.errors import MaskNotAppliedError, NotExactError, UnsupportedModelError
from prune_heads.surgery import removed_heads

WAYS = ["gate", "zero", "remove", "load"]


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("model_type", ["bert", "albert", "llama", "gpt2", "bart", "vit"])
def test_all_is_proved_and_the_model_stays_as_it_is(model_type):
    model = tiny_model(model_type).train()
    before, inputs = state(model), inputs_for(model)
    found = verify(model, inputs)
    assert list(found.differences) == WAYS
    assert all(0 <= apart <= verification.TOLERANCE for apart in found.differences.values())
    assert not found.refused
    blocks = attention_blocks(model)
    assert any(len(heads) == block.n_heads for heads, block in zip(found.heads.by_block(), blocks, strict=True))
    assert (len(found.heads) < found.heads.n_total) == (model_type != "albert")  # one layer, three times
    assert model.training
    assert not removed_heads(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_what_is_proved_is_a_record_and_is_readable():
    found = verify(tiny_model("bert"), tiny_inputs(), "3:1,2 1:1,2,3,4")
    said = json.loads(json.dumps(found.to_json()))
    assert list(said) == ["heads", "n_heads", "differences", "tolerance", "refused"]
    assert (said["heads"], said["n_heads"]) == (["1:1,2,3,4", "3:1,2"], 12)
    assert repr(found).startswith("Verification(heads 1:1,2,3,4 3:1,2; exact: gate (0e+00), zero (")


def test_a_seed_chooses_other_heads():
    model, inputs = tiny_model("bert"), tiny_inputs()
    assert verify(model, inputs).heads == verify(model, inputs, seed=0).heads
    assert len({verify(model, inputs, seed=seed).heads for seed in range(3)}) > 1


def test_heads_that_share_keys_or_weights_go_together():
    assert verify(tiny_model("llama"), tiny_inputs(), "1:1").heads.descriptors() == ["1:1,2"]
    assert verify(tiny_model("albert"), tiny_inputs(), "2:3").heads.descriptors() == ["1:3", "2:3", "3:3"]


def test_what_a_type_does_not_allow_is_said():
    found = verify(tiny_model("big_bird"), tiny_inputs())
    assert list(found.refused) == ["remove"]
    assert "attention anew" in found.refused["remove"]
    assert list(found.differences) == ["gate", "zero", "load"]  # of zeroed heads
    assert "remove: " in repr(found)


def test_a_model_in_reduced_precision_that_has_lost_heads():
    model = remove_heads(tiny_model("bert"), "2:1,2,3,4 3:2").to(torch.bfloat16)
    found = verify(model, tiny_inputs(), "1:1 3:2,3")
    assert list(found.differences) == WAYS
    assert removed_heads(model).descriptors() == ["2:1,2,3,4", "3:2"]


def test_pytorchs_own_modules_are_proved_but_not_saved():
    layer = nn.TransformerEncoderLayer(24, 4, 32, 0.0, batch_first=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
        x = torch.randn(3, 7, 24)
    padding = torch.arange(7)[None] >= torch.tensor([7, 4, 6])[:, None]
    found = verify(model, {"src": x, "src_key_padding_mask": padding})
    assert list(found.differences) == WAYS[:3]
    assert "only models of transformers" in found.refused["load"]
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("way", ["zero_heads", "remove_heads"])
def test_a_way_that_does_something_else_is_found(way, monkeypatch):
    monkeypatch.setattr(verification, way, lambda model, heads: model)
    with pytest.raises(NotExactError, match=f"{way.removesuffix('_heads')} is not as zeroed columns of W_O"):
        verify(tiny_model("bert"), tiny_inputs())


def test_a_checkpoint_that_comes_back_otherwise_is_found(monkeypatch):
    def damaged(folder):
        model = prune_heads.load_pruned(folder)
        model.classifier.weight.data *= 2
        return model

    monkeypatch.setattr(verification, "load_pruned", damaged)
    with pytest.raises(NotExactError, match="load is not as zeroed columns"):
        verify(tiny_model("bert"), tiny_inputs())


def test_gates_that_are_not_applied_are_found():
    model = tiny_model("bert")
    del model.bert.encoder.layer[1:]
    for layer in model.bert.encoder.layer:
        nn.init.zeros_(layer.output.LayerNorm.weight)  # nothing of the layer arrives
    model.config.num_hidden_layers = 1
    with pytest.raises(MaskNotAppliedError):
        verify(model, tiny_inputs())


def test_an_unknown_type_is_refused():
    with pytest.raises(UnsupportedModelError):
        verify(nn.Linear(2, 2), {"input": torch.zeros(1, 2)})


def test_labels_are_not_needed_and_do_no_harm():
    model, inputs = tiny_model("bert"), tiny_inputs()
    found = verify(copy.deepcopy(model), {**inputs, "labels": torch.zeros(3, dtype=torch.long)})
    assert found == verify(model, inputs)
