"""Weights that are not what they seem: heads are gated, and zeroed or removed only where that would last."""

import copy

import pytest
import torch
from tiny import tiny_inputs, tiny_model
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from prune_heads import describe_attention, gated, gates_of, prove_gates, remove_heads, zero_heads
from prune_heads.checkpoints.linear_maps import OneDnnLinear
from prune_heads.errors import UnsupportedModelError

INPUTS = tiny_inputs()
HEADS = {0: [1], 2: [0, 3]}
SURGERY = [zero_heads, remove_heads]
PARTS = ["self.query", "self.key", "self.value", "output.dense"]


class Adapted(nn.Linear):
    """A low-rank map beside the weight, as in loralib."""

    def forward(self, x):
        return super().forward(x) + x @ self.lora.T @ self.lora.new_ones(self.out_features, 2).T


class Scaled(nn.Linear):
    """A weight that is not used as it is."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight / self.weight.norm(), self.bias)


class Halved(nn.Linear):
    """A weight that is a property of another."""

    @property
    def weight(self):
        return self.doubled / 2


class Product(nn.Linear):
    """As Falcon's: another way to write the same map."""

    def forward(self, x):
        return x @ self.weight.T + self.bias


class Square(nn.Module):
    """A parametrisation."""

    def forward(self, x):
        return x * x.abs()


def of_class(linear, cls):
    linear.__class__ = cls
    return linear


def adapted(linear):
    linear.lora = nn.Parameter(torch.full((2, linear.in_features), 0.1))
    return of_class(linear, Adapted)


def halved(linear):
    linear.doubled = nn.Parameter(linear.weight * 2)  # and the old weight is still there, read by nobody
    return of_class(linear, Halved)


def offloaded(linear):
    hooks = pytest.importorskip("accelerate.hooks")
    hooks.add_hook_to_module(linear, hooks.AlignDevicesHook(execution_device="cpu", offload=True))
    return linear


DERIVED = {
    "prune": (lambda m: prune.l1_unstructured(m, "weight", 0.2), "the weight of a Linear is computed anew"),
    "prune bias": (lambda m: prune.l1_unstructured(m, "bias", 0.2), "bias_mask|the bias of a Linear"),
    "weight_norm, old": (weight_norm, "computed anew"),
    "weight_norm": (parametrizations.weight_norm, "computed anew"),
    "spectral_norm, old": (spectral_norm, "computed anew"),
    "spectral_norm": (parametrizations.spectral_norm, "computed anew"),
    "parametrised bias": (
        lambda m: parametrize.register_parametrization(m, "bias", Square()),
        r"original0?|the bias of a Param",
    ),
    "adapter": (adapted, "Adapted also computes with lora"),
    "scaled": (lambda m: of_class(m, Scaled), "forward of a Scaled is not that of its weights"),
    "property": (halved, "the weight of a Halved is computed anew"),
    "offloaded": (offloaded, "kept elsewhere"),
}
PLAIN = {
    "another forward": lambda m: of_class(m, Product),
    "oneDNN": lambda m: of_class(m, OneDnnLinear),
    "a mask made permanent": lambda m: prune.remove(prune.l1_unstructured(m, "weight", 0.2), "weight"),
}


def changed(way, part, layer=2):
    """The tiny model with one of its maps changed in place."""
    model = tiny_model("bert", "sdpa").requires_grad_(False)
    parent, _, name = f"bert.encoder.layer.{layer}.attention.{part}".rpartition(".")
    holder = model.get_submodule(parent)
    setattr(holder, name, way(getattr(holder, name)))
    return model


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if not tensor.is_meta}


@pytest.mark.parametrize("part", PARTS[2:])
@pytest.mark.parametrize("name", DERIVED)
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@torch.no_grad()
def test_derived_weights_are_gated_and_refused_before_anything_is_written(name, part):
    way, says = DERIVED[name]
    model = changed(way, part)
    plain, before = model(**INPUTS).logits, state(model)
    with gated(model, gates_of(model, HEADS)):
        assert (model(**INPUTS).logits - plain).abs().max() > 1e-3
    for surgery in SURGERY:
        with pytest.raises(UnsupportedModelError, match=rf"layer\.2\.attention must hold its weights.*({says})"):
            surgery(model, HEADS)
    after = state(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(model(**INPUTS).logits, plain)


@torch.no_grad()
def test_a_pruning_mask_is_gated_as_the_weights_that_it_leaves():
    masked, flat = tiny_model("bert", "sdpa").requires_grad_(False), tiny_model("bert", "sdpa")
    for layer, other in zip(masked.bert.encoder.layer, flat.bert.encoder.layer, strict=True):
        prune.l1_unstructured(layer.attention.output.dense, "weight", 0.3)
        other.attention.output.dense.weight.copy_(layer.attention.output.dense.weight)
    for layer, heads in HEADS.items():
        for head in heads:
            flat.bert.encoder.layer[layer].attention.output.dense.weight[:, head * 8 : (head + 1) * 8] = 0
    with gated(masked, gates_of(masked, HEADS)):
        torch.testing.assert_close(masked(**INPUTS).logits, flat(**INPUTS).logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("surgery", SURGERY)
@pytest.mark.parametrize("part", PARTS[::3])
@pytest.mark.parametrize("name", PLAIN)
@torch.no_grad()
def test_what_computes_by_its_weights_alone_is_zeroed_and_removed(name, part, surgery):
    model = changed(PLAIN[name], part)
    with gated(model, gates_of(model, HEADS)):
        under = model(**INPUTS).logits
    torch.testing.assert_close(surgery(model, HEADS)(**INPUTS).logits, under, rtol=0, atol=1e-5)


@pytest.mark.parametrize("part", PARTS[:3])
@torch.no_grad()
def test_a_weight_of_two_blocks_is_refused(part):
    model = tiny_model("bert", "sdpa")
    first, last = (model.bert.encoder.layer[i].attention.get_submodule(part) for i in (0, 2))
    last.weight = first.weight
    before = state(model)
    for surgery in SURGERY:
        with pytest.raises(UnsupportedModelError, match="weights of its own to be zeroed or removed; its weight"):
            surgery(model, {0: [1]})
        surgery(copy.deepcopy(model), {1: [1]})
    assert all(torch.equal(before[key], tensor) for key, tensor in state(model).items())


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("name", ["in_proj_weight", "in_proj_bias", "out_proj.weight"])
@torch.no_grad()
def test_masks_on_the_attention_of_pytorch(name):
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2).eval()
    x, attention = (torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0)), model.layers[0].self_attn)
    path, _, own = name.rpartition(".")
    nn.init.normal_(attention.in_proj_bias)
    prune.l1_unstructured(attention.get_submodule(path), own, 0.3)
    flat = copy.deepcopy(model)
    prune.remove(flat.layers[0].self_attn.get_submodule(path), own)
    flat.layers[0].self_attn.out_proj.weight[:, 4:8] = 0
    with gated(model, gates_of(model, "1:2")):
        torch.testing.assert_close(model(x), flat(x), rtol=0, atol=1e-5)
    for surgery in SURGERY:
        with pytest.raises(UnsupportedModelError, match=f"the {own} of a|also computes with"):
            surgery(model, "1:2")


@torch.no_grad()
def test_a_described_class_that_is_parametrised_is_found():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
            self.n, self.scale = 2, nn.Parameter(torch.ones(1))

    describe_attention(Attention, query="q", key="k", value="v", output="o", n_heads="n")
    model = nn.Sequential(Attention(), Attention())
    parametrize.register_parametrization(model[1], "scale", Square())
    assert [len(gate) for gate in gates_of(model, "2:1")] == [2, 2]


@torch.no_grad()
def test_an_offloaded_model_is_gated_as_one_in_memory():
    accelerate = pytest.importorskip("accelerate")
    model = tiny_model("bert", "sdpa")
    with gated(model, gates_of(model, HEADS)):
        expected = model(**INPUTS).logits
    accelerate.cpu_offload(model, execution_device="cpu")
    with gated(model, gates_of(model, HEADS)):
        assert torch.equal(model(**INPUTS).logits, expected)
    prove_gates(model, INPUTS)
    with pytest.raises(UnsupportedModelError, match="kept elsewhere"):
        zero_heads(model, HEADS)


@pytest.mark.slow
@pytest.mark.parametrize("surgery", SURGERY)
def test_weights_that_may_not_be_written(surgery):
    with torch.inference_mode():
        model = tiny_model("bert", "sdpa")
    with pytest.raises(UnsupportedModelError, match="made in inference mode"):
        surgery(model, HEADS)
    with torch.inference_mode():
        surgery(model, HEADS)
