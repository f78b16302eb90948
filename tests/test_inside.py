"""Models of transformers inside a module of one's own: one, two, beside other attention, or none that is found."""

import copy

import pytest
import torch
from tiny import tiny_inputs
from tiny_types import tiny_config, tiny_model
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel

from prune_heads import (
    Evaluator,
    attention_blocks,
    gated,
    gates_of,
    load_pruned,
    prove_gates,
    remove_heads,
    save_pruned,
    zero_heads,
)
from prune_heads.checkpoints import fingerprint
from prune_heads.errors import UnsupportedModelError
from prune_heads.surgery import removed_heads

INPUTS = {name: x for name, x in tiny_inputs().items() if name != "labels"}
N = len(INPUTS["input_ids"])


def encoder(model_type="bert", seed=0):
    return tiny_model(model_type, seed=seed).base_model


class Towers(nn.Module):
    """Models side by side, and a head over what they give; no configuration of its own."""

    def __init__(self, **models):
        super().__init__()
        for name, model in models.items():
            self.add_module(name, model)
        self.names = tuple(models)
        torch.manual_seed(0)
        self.head = nn.Linear(32 * len(models), 3)

    def forward(self, input_ids, attention_mask, labels=None):
        states = [getattr(self, name)(input_ids, attention_mask)[0][:, 0] for name in self.names]
        logits = self.head(torch.cat(states, dim=-1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


def without(model, heads):
    """The truth: a copy whose W_O columns are zeroed by hand; (path of a layer's attention) -> heads from 0."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for path, chosen in heads.items():
            for head in chosen:
                model.get_submodule(f"{path}.output.dense").weight[:, head * 8 : (head + 1) * 8] = 0
    return model


@torch.no_grad()
def logits(model):
    return model(**INPUTS)["logits"]


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


CASES = {
    "one": lambda: Towers(bert=encoder()).eval(),
    "two": lambda: Towers(left=encoder(), right=encoder(seed=1)).eval(),
    "two of one configuration": lambda: shared_configuration(),
}


def shared_configuration():
    left, right = encoder(), encoder(seed=1)
    for module in right.modules():
        if hasattr(module, "config"):
            module.config = left.config
    return Towers(left=left, right=right).eval()


@pytest.mark.parametrize("name", CASES)
def test_blocks_are_found_with_names_and_numbers_of_their_own(name):
    model = CASES[name]()
    blocks = attention_blocks(model)
    assert [block.name for block in blocks] == [
        f"{tower}.encoder.layer.{i}.attention" for tower in model.names for i in range(3)
    ]
    assert [block.layer for block in blocks] == list(range(len(blocks)))
    assert [block.describe()["layer"] for block in blocks] == list(range(1, len(blocks) + 1))


@pytest.mark.parametrize("name", CASES)
def test_they_are_gated_proved_zeroed_and_removed(name, tmp_path):
    model = CASES[name]()
    last = len(attention_blocks(model))  # from 1: the last layer of the last tower
    heads, tower = f"1:2,3 {last}:1,2,3,4", model.names[-1]
    truth = without(
        model, {f"{model.names[0]}.encoder.layer.0.attention": [1, 2], f"{tower}.encoder.layer.2.attention": range(4)}
    )
    expected, plain = logits(truth), logits(model)
    assert (expected - plain).abs().max() > 1e-3
    prove_gates(model, INPUTS)
    with gated(model, gates_of(model, heads)):
        same(logits(model), expected)
    same(logits(zero_heads(copy.deepcopy(model), heads)), expected)
    same(logits(remove_heads(model, heads)), expected)
    assert str(removed_heads(model)) == heads
    noted = getattr(model, tower).config.pruned_heads  # numbered within the model that is saved
    assert noted == ({0: [1, 2], 2: [0, 1, 2, 3]} if len(model.names) == 1 else {2: [0, 1, 2, 3]})
    save_pruned(getattr(model, tower), tmp_path / "tower")
    assert fingerprint(load_pruned(tmp_path / "tower")) == fingerprint(getattr(model, tower))


def test_gradients_of_gates_are_those_of_finite_differences():
    """A head of each tower."""
    model, labels = CASES["two"](), torch.arange(N) % 3
    gates = [torch.ones(block.n_heads, requires_grad=True) for block in attention_blocks(model)]
    with gated(model, gates):
        model(**INPUTS, labels=labels)["loss"].backward()
    for block, head in ((0, 1), (5, 3)):
        losses = []
        for step in (1e-2, -1e-2):
            moved = [torch.ones(len(gate)) for gate in gates]
            moved[block][head] += step
            with torch.no_grad(), gated(model, moved):
                losses.append(float(model(**INPUTS, labels=labels)["loss"].double()))
        assert float(gates[block].grad[head]) == pytest.approx((losses[0] - losses[1]) / 2e-2, rel=2e-2, abs=1e-4)


def test_the_evaluator_ablates_each_head_of_both():
    model, labels = CASES["two"](), torch.arange(24) % 3
    inputs = {name: torch.cat([x] * 6)[:24].clone() for name, x in INPUTS.items()}
    inputs["input_ids"][:, 1] = torch.arange(24) + 5
    rows = [{"labels": label, **{name: x[i] for name, x in inputs.items()}} for i, label in enumerate(labels)]
    evaluator = Evaluator(model, DataLoader(rows, batch_size=8))
    assert evaluator.score("gradient").n_heads == (4,) * 6
    found = evaluator.ablate("without-one").value
    for block in range(6):
        for head in range(4):
            with torch.no_grad(), gated(model, gates_of(model, {block: [head]})):
                right = model(**inputs)["logits"].argmax(dim=-1) == labels
            assert found[block][head] == pytest.approx(float(right.float().mean()))


def test_letters_where_the_models_are_of_two_kinds():
    model = Towers(bert=encoder(), gpt=encoder("gpt2"), other=encoder()).eval()
    blocks = attention_blocks(model)
    assert "".join(block.letter for block in blocks) == "EEEDDDEEE"
    assert str(removed_heads(remove_heads(model, "E:4:1 D:1:2"))) == "D:1:2 E:4:1"
    assert [b.name for b in attention_blocks(model) if b.n_heads == 3] == [
        "gpt.h.0.attn",
        "other.encoder.layer.0.attention",
    ]


def test_attention_of_the_module_itself_comes_after():
    model = nn.ModuleDict({"cross": nn.MultiheadAttention(32, 4), "bert": encoder()})
    assert [block.name for block in attention_blocks(model)] == [
        *(f"bert.encoder.layer.{i}.attention" for i in range(3)),
        "cross",
    ]
    assert attention_blocks(model)[-1].layer == 3


def test_a_model_that_is_used_twice_is_found_once():
    bert = encoder()
    assert len(attention_blocks(Towers(left=bert, right=bert))) == 3


def test_a_model_without_attention_is_no_hindrance():
    resnet = AutoModel.from_config(tiny_config("resnet", embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1]))
    model = nn.ModuleDict({"image": resnet, "text": encoder()})
    assert len(attention_blocks(model)) == 3
    with pytest.raises(UnsupportedModelError, match="hold one as a submodule; got 'resnet'"):
        attention_blocks(nn.ModuleDict({"image": resnet}))


def test_what_is_not_understood_inside_is_refused():
    model = nn.ModuleDict({"text": encoder(), "other": AutoModel.from_config(tiny_config("fnet"))})
    with pytest.raises(UnsupportedModelError, match="heads of a 'fnet' model are not understood"):
        attention_blocks(model)


def test_a_model_in_a_list_is_no_submodule_and_the_cure_is_named():
    model = nn.Linear(2, 2)
    model.towers = [encoder()]
    with pytest.raises(UnsupportedModelError, match="hold one as a submodule; got 'Linear'"):
        attention_blocks(model)
