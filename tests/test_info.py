"""What models cost with and without heads: against PyTorch's own counter, and models that have lost heads."""

import copy
import random

import pytest
import torch
from tiny_types import END, tiny_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForSequenceClassification

from prune_heads import attention_blocks, remove_heads
from prune_heads.budget import budget, head_costs, n_parameters
from prune_heads.coverage import committed_table
from prune_heads.errors import HeadDescriptorError
from prune_heads.heads import HeadMask

N_TOKENS = 16
ROWS = {row["type"]: row for row in committed_table()["models"] if row["gate"] and row["classifier"]}
UNCOUNTABLE = {"deberta", "deberta-v2", "perceiver"}
"""Their code has autograd functions that PyTorch's counter does not take."""
SHAPES = [
    *("albert", "bart", "bert", "deberta", "deberta-v2", "deepseek_v3", "distilbert", "electra", "gpt2"),
    *("gpt_bigcode", "gpt_oss", "llama", "luke", "modernbert", "mpnet", "phi3", "t5", "umt5", "xlm"),
]
FEW = {"bert", "deberta", "gpt2", "gpt_bigcode", "llama", "modernbert", "t5", "xlm"}
SHOWN = {*SHAPES, *UNCOUNTABLE, *sorted(ROWS)[::4]}


def mark_of(model_type):
    """`pytest` counts a few, `make test` the others that are shown, `make thorough` the rest."""
    return () if model_type in FEW else pytest.mark.slow if model_type in SHOWN else pytest.mark.thorough


def eager(model_type):
    try:
        return tiny_model(model_type, attention="eager")  # the fused kernel is not counted
    except ValueError:
        return tiny_model(model_type)  # a type that has one way to attend


def some_heads(model):
    """The first group of every block, and all heads of the second; the same ones where layers share weights."""
    blocks = attention_blocks(model)
    if blocks[0].n_depths > 1:
        return {i: [1, 3] for i in range(len(blocks))}
    groups = {i: range(block.n_heads // block.n_kv_heads) for i, block in enumerate(blocks)}
    return groups | {1: range(blocks[1].n_heads)}


@torch.no_grad()
def measured(model):
    ids = torch.arange(5, 5 + N_TOKENS)[None]
    ids[0, -1] = END
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return counter.get_total_flops() / 2


def total(found, stage):
    return found["parameters"][stage]["total"]


@pytest.fixture(scope="module")
def bert_base():
    with torch.device("meta"):
        return BertForSequenceClassification(BertConfig())


def test_bert_base_by_hand(bert_base):
    d, n = 768, 128
    found = budget(bert_base)
    parameters, multiply_adds = found["parameters"]["before"], found["multiply_adds"]["before"]
    assert parameters["attention"] == 12 * (4 * d * d + 4 * d) == 28_348_416
    assert parameters["feed_forward"] == 12 * (8 * d * d + 5 * d)
    assert parameters["embeddings"] == (30_522 + 512 + 2) * d
    assert parameters["rest"] == 25 * 2 * d + (d * d + d) + 2 * (d + 1)
    assert parameters["total"] == n_parameters(bert_base) == 109_483_778
    assert multiply_adds["attention"] == 12 * (n * 4 * d * d + 2 * n * n * d)
    assert multiply_adds["feed_forward"] == 12 * n * 8 * d * d
    assert (multiply_adds["embeddings"], multiply_adds["rest"]) == (0, d * d + 2 * d)
    assert (found["notes"], found["lower_bound"]) == ([], False)
    assert found["speedup"] == 1


def test_half_the_heads_of_bert_base_give_a_fifth(bert_base):
    half = {layer: range(6) for layer in range(12)}
    found = budget(bert_base, half)
    assert found["speedup"] == pytest.approx(1.213, abs=5e-4)
    assert found["speedup_without_heads"] == pytest.approx(1.5416, abs=5e-4)
    assert total(found, "before") - total(found, "after") == 12 * 6 * 64 * (4 * 768 + 3)
    assert budget(bert_base, half, 512)["speedup"] > found["speedup"]  # attention is more of a longer text


@pytest.mark.parametrize("model_type", [pytest.param(name, marks=mark_of(name)) for name in sorted(ROWS)])
def test_every_type_is_counted_exactly_or_says_why_not(model_type):
    model = eager(model_type)
    found = budget(model, n_tokens=N_TOKENS)
    assert total(found, "before") == n_parameters(model)
    if found["multiply_adds"]["before"] is None:
        assert "multiply-adds and speed-ups are not known: " in found["notes"][0]
        assert found["speedup"] is found["speedup_without_heads"] is None
        return
    assert model_type not in UNCOUNTABLE
    counted = found["multiply_adds"]["before"]["total"]
    assert counted <= measured(model) if found["lower_bound"] else counted == measured(model)


@pytest.mark.parametrize("model_type", [pytest.param(name, marks=mark_of(name)) for name in SHAPES])
def test_after_removal_the_counts_are_those_of_the_smaller_model(model_type):
    model = eager(model_type)
    heads = some_heads(model)
    expected = budget(model, heads, N_TOKENS)
    removed = remove_heads(copy.deepcopy(model), heads)
    assert total(expected, "after") == n_parameters(removed) < n_parameters(model)
    if expected["multiply_adds"]["after"] is not None and not expected["lower_bound"]:
        assert expected["multiply_adds"]["after"]["total"] == measured(removed)

    found = budget(removed, n_tokens=N_TOKENS)
    assert found == expected


def test_named_heads_go_beside_those_that_are_gone():
    model = tiny_model("bert")
    together = budget(model, "1:1,2 3:4")
    found = budget(remove_heads(model, "1:1"), "1:1,2 3:4")
    assert found == together


def test_a_model_without_any_head_still_has_its_feed_forward():
    model = tiny_model("bert")
    everything = HeadMask.all([4, 4, 4])
    found = budget(remove_heads(model, everything), n_tokens=N_TOKENS)
    for counts in (found["parameters"], found["multiply_adds"]):
        assert counts["after"] == counts["without_heads"]
    assert found["multiply_adds"]["after"]["attention"] == 0
    assert found["parameters"]["after"]["attention"] == 3 * 32  # the bias of W_O is no head's
    assert found["speedup"] == found["speedup_without_heads"] > 1


def test_keys_and_values_of_a_group_go_with_its_last_head():
    model, d, n = tiny_model("llama"), 32, N_TOKENS
    found = [budget(model, heads, n) for heads in ("", "2:1", "2:1,2")]
    whole, one, both = (counts["multiply_adds"]["after"]["attention"] for counts in found)
    products = 2 * n * n * 8
    assert whole - one == n * 2 * 8 * d + products
    assert one - both == n * 4 * 8 * d + products
    assert total(found[0], "after") - total(found[2], "after") == 6 * 8 * d


def test_layers_that_share_weights_have_them_once_and_use_them_often():
    model, d, n = tiny_model("albert"), 32, N_TOKENS
    found = budget(model, n_tokens=n)
    assert found["parameters"]["before"]["attention"] == 4 * d * d + 4 * d
    assert found["multiply_adds"]["before"]["attention"] == 3 * (n * 4 * d * d + 2 * n * n * d)
    assert budget(model, "1:1")["heads_removed"] == ["1:1", "2:1", "3:1"]


def test_experts_make_it_a_lower_bound():
    found = budget(tiny_model("mixtral"))
    assert found["lower_bound"]
    assert "not counted: weights of more than two dimensions in the layers (experts, conv" in found["notes"][0]
    assert found["parameters"]["before"]["feed_forward"] > 3 * 4 * 3 * 32 * 16  # their parameters are known


def test_heads_that_are_not_there():
    with pytest.raises(HeadDescriptorError, match="layer 9 must be between 1 and 3"):
        budget(tiny_model("bert"), "9:1")


@pytest.mark.parametrize("model_type", ["albert", "bert", "gpt2", "gpt_bigcode", "llama", "t5"])
def test_costs_of_single_heads_add_up_to_the_budget_of_any_mask(model_type):
    """Also where heads share keys and values, or layers their weights."""
    model = tiny_model(model_type)
    costs, blocks = head_costs(model, N_TOKENS), attention_blocks(model)
    rng = random.Random(0)
    n_heads = tuple(block.n_heads for block in blocks)
    drawn = [{i: rng.sample(range(n), rng.randint(0, n)) for i, n in enumerate(n_heads)} for _ in range(8)]
    if blocks[0].n_depths > 1:
        drawn = [dict.fromkeys(mask, mask[0]) for mask in drawn]
    for mask in ({}, *drawn, {i: range(n) for i, n in enumerate(n_heads)}):
        found = budget(model, HeadMask.from_mapping(mask, n_heads), N_TOKENS)
        for what in ("parameters", "multiply_adds"):
            gone = sum(cost_of(what, block, mask.get(i, ())) for i, block in enumerate(costs["blocks"]))
            assert costs[what] - gone == found[what]["after"]["total"]


def cost_of(what, block, heads):
    size, n = block["group_size"], block["n_heads"]
    whole = sum(set(range(g, g + size)) <= set(heads) for g in range(0, n, size))
    rest = block.get(f"block_{what}", 0) if len(heads) == n else 0
    return len(heads) * block[f"head_{what}"] + whole * block[f"group_{what}"] + rest


def test_costs_of_heads_are_those_of_the_whole_model_also_when_some_are_gone(tiny_bert_with_two_gone):
    whole, less = tiny_bert_with_two_gone
    assert head_costs(whole, N_TOKENS) == head_costs(less, N_TOKENS)


@pytest.fixture
def tiny_bert_with_two_gone():
    whole = tiny_model("bert")
    return whole, remove_heads(copy.deepcopy(whole), "1:1,2")
