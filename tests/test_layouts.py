"""What is special about some families: heads that share keys, layers that share weights, biases that layers share."""

import ast
import copy
from pathlib import Path

import pytest
import torch
from tiny_types import inputs_for, tiny_inputs, tiny_model

import prune_heads
from prune_heads import attention_blocks, gated, gates_of, remove_heads, zero_heads
from prune_heads.anatomy import FAMILIES, UNKNOWN
from prune_heads.errors import UnsupportedModelError
from prune_heads.verification import outputs


@torch.no_grad()
def logits(model):
    return model(**tiny_inputs()).logits


def gated_logits(model, heads):
    with gated(model, gates_of(model, heads)):
        return logits(model)


def close(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-5 * max(1.0, float(b.abs().max())))


def test_a_query_head_of_a_group_is_gated_alone():
    model = tiny_model("llama")
    plain, first, second = logits(model), gated_logits(model, "2:1"), gated_logits(model, "2:2")
    assert min((first - plain).abs().max(), (second - plain).abs().max(), (first - second).abs().max()) > 1e-3


def test_keys_and_values_are_zeroed_with_the_last_head_of_their_group():
    model = tiny_model("llama")
    expected = gated_logits(model, "2:1"), gated_logits(model, "2:1,2")
    block = attention_blocks(model)[1]
    own = (block.query.dimensions([0]), block.key.dimensions([0]))
    zero_heads(model, "2:1")
    assert close(logits(model), expected[0])
    assert not block.query.weight[own[0]].any()
    assert block.key.weight[own[1]].all()
    zero_heads(model, "2:1,2")
    assert close(logits(model), expected[1])
    assert not block.key.weight[own[1]].any()
    assert not block.value.weight[own[1]].any()


def test_a_part_of_a_group_is_not_removed():
    with pytest.raises(UnsupportedModelError, match=r"by groups \(1,2; 3,4\).*got 2,3"):
        remove_heads(tiny_model("llama"), "2:2,3")
    model = remove_heads(tiny_model("llama"), "2:1,2")
    with pytest.raises(UnsupportedModelError, match=r"by groups \(3,4\).*got 4"):  # numbered as before
        remove_heads(model, "2:4")


def test_layers_that_share_weights_are_gated_apart_and_pruned_together():
    model = tiny_model("albert")
    plain, first, third = logits(model), gated_logits(model, "1:2"), gated_logits(model, "3:2")
    assert min((first - plain).abs().max(), (first - third).abs().max()) > 1e-3
    everywhere = "1:2 2:2 3:2"
    expected = gated_logits(model, everywhere)
    for prune in (zero_heads, remove_heads):
        with pytest.warns(UserWarning, match="go at every depth: 1:2 2:2 3:2, where 1:2 were named"):
            pruned = prune(copy.deepcopy(model), "1:2")
        assert close(logits(pruned), expected)
    assert close(logits(zero_heads(copy.deepcopy(model), everywhere)), expected)
    assert close(logits(remove_heads(model, everywhere)), expected)


@pytest.mark.parametrize(
    "heads", ["E:1:1,4", "E:1:1,2,3,4", "E:2:2 E:3:1", "A:1:1 A:2:3", "D:1:1,2 D:3:4", "D:1:1,2,3,4 A:1:1,2,3,4"]
)
@pytest.mark.parametrize("model_type", ["t5", "umt5"])
def test_relative_biases_go_to_the_heads_that_are_left(model_type, heads):
    """Also when the first layer, which computes them for all, loses heads."""
    model = tiny_model(model_type)
    expected = gated_logits(model, heads)
    assert close(logits(remove_heads(model, heads)), expected)


def test_a_second_removal_of_heads_with_relative_biases():
    model = tiny_model("t5")
    expected = gated_logits(model, "E:1:1,3,4 E:2:2")
    assert close(logits(remove_heads(remove_heads(model, "E:1:3"), "E:1:1,4 E:2:2")), expected)


@pytest.mark.parametrize("model_type", ["albert", "bert", "gpt2", "llama", "bart", "modernbert", "t5", "swin", "vit"])
def test_a_model_without_any_head_still_runs(model_type):
    model = tiny_model(model_type)
    inputs, blocks = inputs_for(model), attention_blocks(model)
    with gated(model, [torch.zeros(block.n_heads) for block in blocks]):
        [expected] = outputs(model, inputs)
    everything = {i: range(block.n_heads) for i, block in enumerate(blocks)}
    [found] = outputs(remove_heads(model, everything), inputs)
    assert close(found, expected)


def test_the_blocks_of_an_image_classifier_are_in_order():
    assert [block.n_heads for block in attention_blocks(tiny_model("vit"))] == [4, 4, 4]
    assert [block.n_heads for block in attention_blocks(tiny_model("swin"))] == [2, 2, 4, 4]


def test_the_layers_of_albert_are_in_the_order_of_their_calls():
    model = tiny_model("albert", num_hidden_groups=2, inner_group_num=2)  # its groups run twice and once
    blocks, called = attention_blocks(model), []
    for module in {block.output.module for block in blocks}:
        module.register_forward_hook(lambda module, args, output: called.append(module))
    logits(model)
    assert [block.output.module for block in blocks] == called
    assert [(block.layer, block.depth, block.n_depths) for block in blocks] == [
        *((0, 0, 2), (1, 0, 2), (2, 1, 2), (3, 1, 2), (4, 0, 1), (5, 0, 1))
    ]


def test_facts_of_a_family_are_in_its_row_alone():
    """No other file names a type: a new family is a row. Beside it, sizes of tiny models, and data of the paper."""
    root, types = Path(prune_heads.__file__).parent, {*FAMILIES, *UNKNOWN}
    named = {
        (file.relative_to(root).parts[0], node.value)
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in types
    }
    assert {room for room, _ in named} <= {"coverage", "reporting"}
