"""Eight bits by hand: what is rounded, by how much, and that only the maps are."""

import copy
import logging

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file
from test_export import REMOVED, some_heads
from tiny import tiny_inputs, tiny_model, tiny_tokenizer
from tiny_types import tiny_model as of_type
from transformers.pytorch_utils import Conv1D

from prune_heads import load_pruned, remove_heads
from prune_heads.checkpoints import Checkpoint, fingerprint
from prune_heads.checkpoints.exported import exported_file, stand_in
from prune_heads.checkpoints.fit import read_config
from prune_heads.checkpoints.int8 import Int8Embedding, Int8Linear, rounded, to_int8, write_int8
from prune_heads.checkpoints.loading import INT8_FILE, ONNX_FILE
from prune_heads.checkpoints.onnx import quantise_onnx, run_onnx
from prune_heads.errors import CheckpointError, ExportError
from prune_heads.heads import HeadMask
from prune_heads.studies.exporting import export, random_batches
from prune_heads.surgery import removed_heads


@torch.no_grad()
def logits(model, inputs=None):
    return model(**(inputs or tiny_inputs())).logits


def by_hand(x):
    """Codes and scales of rows, in float64, value by value."""
    scales = [max(abs(float(value)) for value in row) / 127 for row in x]
    return [[round(float(value) / scale) for value in row] for row, scale in zip(x, scales, strict=True)], scales


@torch.no_grad()
def test_a_map_is_the_sum_of_whole_numbers():
    torch.manual_seed(0)
    linear, x = torch.nn.Linear(9, 4), torch.randn(2, 3, 9) * torch.tensor([1.0, 100.0])[:, None, None]
    codes, scales = by_hand(linear.weight)
    rows, row_scales = by_hand(x.reshape(6, 9))
    expected = [
        [
            float(bias) + a * b * sum(p * q for p, q in zip(row, column, strict=True))
            for column, b, bias in zip(codes, scales, linear.bias, strict=True)
        ]
        for row, a in zip(rows, row_scales, strict=True)
    ]
    got = Int8Linear(linear)(x)
    assert got.shape == (2, 3, 4)
    assert torch.allclose(got.double().reshape(6, 4), torch.tensor(expected).double(), rtol=1e-5, atol=1e-5)
    # Each of the nine products is off by half a step of the one side and half a step of the other, at most.
    a, b = torch.tensor(row_scales)[:, None], torch.tensor(scales)
    most = a * linear.weight.abs().sum(1) / 2 + x.reshape(6, 9).abs().sum(1)[:, None] * b / 2 + 9 * a * b / 4
    assert ((got - linear(x)).abs().reshape(6, 4) <= most).all()


@torch.no_grad()
def test_a_map_stored_the_other_way_round_and_one_without_a_bias():
    torch.manual_seed(0)
    conv, x = Conv1D(4, 9), torch.randn(5, 9)
    linear = torch.nn.Linear(9, 4)
    linear.weight, linear.bias = torch.nn.Parameter(conv.weight.T.contiguous()), conv.bias
    assert torch.equal(Int8Linear(conv)(x), Int8Linear(linear)(x))
    linear.bias = None
    assert torch.allclose(Int8Linear(linear)(x) + conv.bias, Int8Linear(conv)(x), atol=1e-6)


@torch.no_grad()
def test_rows_do_not_know_each_other_and_zeros_stay_zeros():
    torch.manual_seed(0)
    made, x = Int8Linear(torch.nn.Linear(9, 4)), torch.randn(5, 9)
    alone = made(x[:1])
    x[1:] *= 1e4
    x[2] = 0
    assert torch.equal(made(x)[:1], alone)
    assert torch.equal(made(x)[2], made.bias)
    assert rounded(x)[0].abs().amax(1).tolist() == [127, 127, 0, 127, 127]
    assert made(torch.full((1, 9), torch.nan)).isnan().all()


@torch.no_grad()
def test_an_embedding_is_off_by_half_a_step():
    torch.manual_seed(0)
    table = torch.nn.Embedding(7, 5)
    ids = torch.tensor([[0, 6], [3, 3]])
    steps = table.weight.abs().amax(1) / 127
    assert ((Int8Embedding(table)(ids) - table(ids)).abs() <= steps[ids][..., None] * 0.5001).all()


@pytest.mark.parametrize("model_type", ["bert", "gpt2"])
def test_a_model_comes_back_as_it_was_written(model_type, tmp_path):
    """With all heads of the second layer gone, whose maps are empty."""
    model = remove_heads(of_type(model_type), "1:2 2:1,2,3,4")
    expected, whole = logits(model), sum(p.numel() for p in model.parameters())
    made = copy.deepcopy(model)
    made.config.architectures = [type(made).__name__]
    to_int8(made)
    assert torch.equal(logits(model), expected)
    write_int8(made, tmp_path)
    again = load_pruned(tmp_path)
    assert not again.training
    assert torch.equal(logits(again), logits(made))
    assert 0 < (logits(again) - expected).abs().max() < 0.1 * expected.abs().max()
    assert sum(p.numel() for p in again.parameters()) < whole / 10  # norms and biases
    assert (tmp_path / INT8_FILE).stat().st_size < 1.6 * whole


@pytest.mark.parametrize("module", [torch.nn.Linear(9, 4), Conv1D(4, 9), torch.nn.Embedding(4, 9)])
def test_a_weight_that_is_read_past_the_forward_is_what_it_was_up_to_half_a_step(module):
    """As DeBERTa reads those of its fused projections and of its relative positions."""
    model = torch.nn.Sequential(module)
    to_int8(model)
    assert model[0].weight.shape == module.weight.shape
    dim = 0 if isinstance(module, Conv1D) else 1
    steps = module.weight.abs().amax(dim, keepdim=True) / 127
    assert ((model[0].weight - module.weight).abs() <= steps * 0.5001).all()


TYPES = ["albert", "deberta", "jamba", "t5"]


@pytest.mark.parametrize(
    "model_type", [name if name in TYPES else pytest.param(name, marks=pytest.mark.thorough) for name in REMOVED]
)
def test_every_type_in_8_bits_is_near_itself_and_stands_in_by_its_file(model_type, tmp_path):
    if model_type == "canine":
        pytest.skip("the tiny one does not run on texts of three characters, in no form")
    original = of_type(model_type)
    model = remove_heads(original, some_heads(original))
    checkpoint = Checkpoint(model, tiny_tokenizer(), "tiny", None)
    found = export(checkpoint, HeadMask(removed_heads(model).n_heads), "torch-int8", tmp_path)["rounding"]
    sizes = {row["largest_logit"] for row in found["checks"]}
    # One of several experts may be chosen otherwise, for a whole token.
    assert found["largest_difference"] < (1 if {"router", "gate"} & parts(model) else 0.12) * max(1, *sizes)
    config, _ = read_config(tmp_path, "tiny", {})
    inside = stand_in(tmp_path, "tiny", config, exported_file(tmp_path))
    assert removed_heads(inside) == removed_heads(model)
    inputs = random_batches(checkpoint)[2]
    assert torch.equal(logits(inside, inputs), logits(load_pruned(tmp_path), inputs))
    assert {x.untyped_storage().nbytes() for x in inside.parameters()} == {4}
    assert fingerprint(inside) != fingerprint(model)


def parts(model):
    return {part for name, _ in model.named_modules() for part in name.split(".")}


@pytest.mark.parametrize("fault", ["lacking", "narrow", "damaged"])
def test_a_file_that_is_not_the_models_is_refused(fault, tmp_path):
    made = tiny_model()
    made.config.architectures = [type(made).__name__]
    to_int8(made)
    write_int8(made, tmp_path)
    tensors = load_file(tmp_path / INT8_FILE)
    name = "bert.pooler.dense.codes"
    tensors[name] = tensors[name][:-1].clone() if fault == "narrow" else tensors[name]
    if fault == "lacking":
        del tensors[name]
    save_file(tensors, tmp_path / INT8_FILE)
    if fault == "damaged":
        (tmp_path / INT8_FILE).write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=r"int8.safetensors of .* must hold the weights of its config.json"):
        load_pruned(tmp_path)


def write_product(folder, weight):
    """An ONNX file of `x W`."""
    sizes = {"x": len(weight), "logits": 4}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n]) for name, n in sizes.items())
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "map"), helper.make_node("Identity", ["h"], ["logits"])]
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / ONNX_FILE)


def test_onnxruntime_in_8_bits_is_what_a_hand_computes(tmp_path):
    weight = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    write_product(tmp_path, weight)
    handlers = list(logging.getLogger().handlers)
    quantise_onnx(tmp_path)
    assert logging.getLogger().handlers == handlers
    x = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)
    ((got,),) = run_onnx(tmp_path, [{"x": torch.from_numpy(x)}])
    # Activations: 0 to 255 over the whole batch, 0 among them; weights: -127 to 127 an output, without an offset.
    step = (max(x.max(), 0) - min(x.min(), 0)) / 255
    zero = np.round(-min(x.min(), 0) / step)
    codes = np.clip(np.round(x / step) + zero, 0, 255) - zero
    scales = np.abs(weight).max(axis=0) / 127
    expected = (codes @ np.round(weight / scales)) * step * scales
    assert np.allclose(got, expected, rtol=0, atol=1e-5)
    assert 1e-4 < np.abs(got - x @ weight).max() < 0.1


def test_a_map_of_a_layer_without_heads_stays_as_it_is(tmp_path):
    """In 8 bits onnxruntime 1.32 gives whatever the memory held for a sum over nothing."""
    write_product(tmp_path, np.empty((0, 4), dtype=np.float32))
    quantise_onnx(tmp_path)
    assert [node.op_type for node in onnx.load(tmp_path / ONNX_FILE).graph.node] == ["MatMul", "Identity"]
    ((got,),) = run_onnx(tmp_path, [{"x": torch.empty(3, 0)}])
    assert got.tolist() == [[0] * 4] * 3


def test_what_onnxruntime_cannot_quantise_is_refused_in_a_line(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise ValueError("unsupported\nand more")

    write_product(tmp_path, np.ones((6, 4), dtype=np.float32))
    monkeypatch.setattr("onnxruntime.quantization.quantize_dynamic", refuse)
    with pytest.raises(ExportError, match=r"must be able to quantise the model; it says ValueError: unsupported\. Try"):
        quantise_onnx(tmp_path)
