"""Factors of kept heads: those of numpy's least squares over all tokens, in float64; folded as gates; and refusals."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_types import VOCABULARY, inputs_for, tiny_model

from prune_heads import attention_blocks, gated, gates_of, remove_heads, zero_heads
from prune_heads.anatomy import FAMILIES, on_context
from prune_heads.errors import OptionError, UnsupportedModelError
from prune_heads.evaluation import predict
from prune_heads.objectives.batches import Batches, Field, Ragged, loaded
from prune_heads.objectives.classifiers import SingleLabel
from prune_heads.options import Choice, RunOptions, Scoring, Setup
from prune_heads.progress import Reporter
from prune_heads.recovery import RIDGE, rescale
from prune_heads.reporting.terminal import run_page
from prune_heads.studies.pruning import run, run_alone
from prune_heads.studies.scoring import Lab

HEADS = "1:3,4 2:1,2,3,4 3:1,2"  # by whole groups, where heads share keys
OF_BART = "E:1:3,4 E:2:1,2,3,4 D:2:1"
LENGTHS = (9, 5, 12, 5, 3)


def batches_for(model):
    draw, labels = np.random.default_rng(0), np.arange(len(LENGTHS)) % 3
    ids = Ragged.of([draw.integers(5, VOCABULARY, n).astype(np.int32) for n in LENGTHS])
    if model.config.model_type == "bart":  # it reads the last of its end tokens
        ids.values[ids.offsets[1:] - 1] = model.config.eos_token_id
    inputs = {"input_ids": ids, "attention_mask": replace(ids, values=np.ones_like(ids.values))}
    return Batches(SingleLabel("accuracy", None, (0, 1, 2)), inputs, Field(labels), labels, 3)


@torch.no_grad()
def sent(model, batches, place):
    """What goes into W_O of a block, `(tokens, n_heads, head_dim)`, each example alone."""
    block, seen = attention_blocks(model)[place], []
    if not block.n_heads:
        return None
    with on_context(block, lambda module, args: seen.append(args[0][0])):
        for i in range(batches.n_examples):
            model(**batches.batch(np.array([i])).inputs)
    return torch.cat(seen).unflatten(-1, (block.n_heads, block.head_dim)).numpy()


def by_least_squares(was, other, sent, wanted):
    """Factors and bias of a block, from a row for each token and each of its outputs."""
    wide = other.output.weight.detach().numpy().reshape(-1, *wanted.shape[1:])
    y = np.einsum("thd,ohd->to", wanted, wide)
    narrow = was.output.weight.detach().numpy().reshape(len(wide), was.n_heads, was.head_dim)
    parts = np.zeros((*y.shape, 0)) if sent is None else np.einsum("thd,ohd->toh", sent, narrow)
    n, bias = was.n_heads, was.output.bias
    around = parts if bias is None else parts - parts.mean(axis=0)
    pull = np.sqrt(RIDGE * (around**2).sum(axis=(0, 1)))
    pull[pull == 0] = 1  # of heads of zeros
    ones = np.tile(np.eye(y.shape[1]), (len(y), 1))[:, : 0 if bias is None else None]
    rows = np.block([[parts.reshape(y.size, n), ones], [np.diag(pull), np.zeros((n, ones.shape[1]))]])
    found = np.linalg.lstsq(rows, np.concatenate([y.ravel(), pull]), rcond=None)[0]
    return found[:n], None if bias is None else found[n:] + other.output.bias.detach().numpy()


CASES = [
    *(("bert", zero_heads), ("bert", remove_heads), ("gpt2", remove_heads), ("llama", zero_heads)),
    *(("llama", remove_heads), ("bart", remove_heads), ("xlnet", zero_heads)),
]


@pytest.mark.parametrize(("model_type", "take"), CASES)
def test_factors_are_those_of_least_squares_given_the_layers_before(model_type, take):
    whole = tiny_model(model_type, num_labels=3).double()
    batches, heads = batches_for(whole), OF_BART if model_type == "bart" else HEADS
    pruned = take(copy.deepcopy(whole), heads)
    before = copy.deepcopy(pruned)
    found = rescale(pruned, whole, batches)
    for i, blocks in enumerate(zip(*map(attention_blocks, (pruned, before, whole)), strict=True)):
        block, was, other = blocks
        factors, bias = by_least_squares(was, other, sent(pruned, batches, i), sent(whole, batches, i))
        np.testing.assert_allclose(found[i].numpy(), factors, rtol=0, atol=1e-8)
        scaled = was.output.weight.detach().numpy() * np.repeat(factors, was.head_dim)
        np.testing.assert_allclose(block.output.weight.detach().numpy(), scaled, rtol=0, atol=1e-8)
        if bias is not None:
            np.testing.assert_allclose(block.output.bias.detach().numpy(), bias, rtol=0, atol=1e-8)
    assert max(float((each - 1).abs().max()) for each in found if len(each)) > 0.01


@torch.no_grad()
def logits(model):
    return model(**inputs_for(model)).logits


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_what_is_folded_is_what_gates_of_these_values_give(model_type):
    whole = tiny_model(model_type, num_labels=3).double()
    gates = gates_of(whole, HEADS)
    zeroed, removed = (take(copy.deepcopy(whole), HEADS) for take in (zero_heads, remove_heads))
    found = rescale(zeroed, whole, batches_for(whole))
    others = rescale(removed, whole, batches_for(whole))
    for gate, of, few in zip(gates, found, others, strict=True):
        torch.testing.assert_close(of[gate > 0], few, rtol=0, atol=1e-9)
        assert (of[gate == 0] == 1).all()  # zeros are not rescaled
    by_gates = copy.deepcopy(whole)
    for block, fitted in zip(attention_blocks(by_gates), attention_blocks(zeroed), strict=True):
        if block.output.bias is not None:
            block.output.bias.data = fitted.output.bias.data
    with gated(by_gates, [gate.double() * of for gate, of in zip(gates, found, strict=True)]):
        expected = logits(by_gates)
    for model in (zeroed, removed):
        torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-10)
    assert (logits(zeroed) - logits(zero_heads(copy.deepcopy(whole), HEADS))).abs().max() > 1e-3


EXPERTS = {"gpt_oss", "hunyuan_v1_moe", "jamba", "minimax", "mixtral", "phimoe", "qwen2_moe", "qwen3_moe", "qwen3_next"}
SINGLE = EXPERTS | {"canine"}
"""Types that do not run in float64, or give NaN there."""


@pytest.mark.thorough
@pytest.mark.parametrize("model_type", sorted(set(FAMILIES) - {"albert"}))
@torch.no_grad()
def test_so_it_is_of_every_type(model_type):
    dtype, atol = (torch.float32, 1e-4) if model_type in SINGLE else (torch.float64, 1e-8)
    whole = tiny_model(model_type).to(dtype)
    given = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs_for(whole).items()}

    def said(model):
        torch.manual_seed(0)  # some types draw which tokens attend
        return model(**given).logits

    zeroed, by_gates = zero_heads(copy.deepcopy(whole), {0: [0]}), copy.deepcopy(whole)
    batches = loaded([{**given, "labels": torch.arange(3)}], whole, SingleLabel("accuracy", None, (0, 1, 2)))
    found = rescale(zeroed, whole, batches)
    for block, fitted in zip(attention_blocks(by_gates), attention_blocks(zeroed), strict=True):
        if block.output.bias is not None:
            block.output.bias.data = fitted.output.bias.data
    gates = zip(gates_of(whole, {0: [0]}), found, strict=True)
    with gated(by_gates, [gate.double() * of for gate, of in gates]):
        expected = said(by_gates)
    torch.testing.assert_close(said(zeroed), expected, rtol=0, atol=atol)


def test_of_two_like_heads_one_does_the_work_of_both():
    whole = tiny_model("bert", num_labels=3).double()
    block = attention_blocks(whole)[1]
    with torch.no_grad():
        for each, of in zip(block.owned([1]), block.owned([0]), strict=True):
            index = torch.tensor(of.indices)
            each.tensor.index_copy_(each.dim, torch.tensor(each.indices), of.tensor.index_select(of.dim, index))
    pruned = remove_heads(copy.deepcopy(whole), "2:2")
    lost = (logits(pruned) - logits(whole)).abs().max()
    first, found, last = rescale(pruned, whole, batches_for(whole))
    assert first is None
    assert float(found[0]) == pytest.approx(2, abs=0.01)
    torch.testing.assert_close(last, torch.ones(4).double(), rtol=0, atol=0.01)
    assert (logits(pruned) - logits(whole)).abs().max() < 0.02 * lost


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_head_that_sends_the_same_for_all_tokens_keeps_its_factor(dtype):
    """The bias of W_O takes it; what is left of it is rounding, by which nothing is divided."""
    whole = tiny_model("bert", num_labels=3).to(dtype)
    with torch.no_grad():
        for layer in whole.bert.encoder.layer[:2]:
            layer.attention.self.value.weight[:8] = 0  # of head 1, which sends its bias
    pruned = remove_heads(copy.deepcopy(whole), "1:3,4 2:3")
    found = rescale(pruned, whole, batches_for(whole))
    assert [float(each[0]) for each in found[:2]] == pytest.approx([1, 1], abs=1e-4)
    assert max(float((each - 1).abs().max()) for each in found) < 1


def test_layers_before_the_first_change_keep_their_bits():
    whole = tiny_model("bert", num_labels=3)
    assert rescale(copy.deepcopy(whole), whole, batches_for(whole)) == [None] * 3
    pruned = remove_heads(copy.deepcopy(whole), "2:1")
    found = rescale(pruned, whole, batches_for(whole))
    assert [each is None for each in found] == [True, False, False]
    pairs = zip(pruned.bert.encoder.layer[0].parameters(), whole.bert.encoder.layer[0].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_layers_that_share_their_output_take_no_factors():
    whole = tiny_model("albert")
    with pytest.raises(
        UnsupportedModelError, match=r"to take factors of its heads; layers share their weights\. Prune"
    ):
        rescale(copy.deepcopy(whole), whole, batches_for(whole))


SETUP = Setup("mini", "mini-sentiment", max_examples=120)


@pytest.mark.slow
def test_a_run_wins_back_loss_and_says_on_what():
    asked = Choice(fraction=0.5), Scoring(), RunOptions(rescale=True)
    lab = Lab(SETUP, Reporter())
    found = run(lab, *asked)
    record = json.loads(json.dumps(found.record, allow_nan=False))
    rescaled = record["rescaled"]
    assert (rescaled["split"], rescaled["n_examples"]) == ("train", 120)
    assert record["rescaled_on"]["fingerprint"] == record["scored_on"]["fingerprint"]
    assert rescaled["loss"]["rescaled"] < rescaled["loss"]["pruned"]
    gone = {(i, head) for i, heads in enumerate(found.mask.by_block()) for head in heads}
    shown = {(i, head) for i, row in enumerate(rescaled["factors"]) for head, of in enumerate(row) if of is None}
    assert shown == gone != set()
    (each,) = lab.reported(())
    assert each.metric_of(predict(found.checkpoint.model, each.batches)) == record["rows"][0]["pruned"]
    assert any(
        str(part).startswith("Kept heads rescaled on 120 examples of train: loss") for part in run_page(record).parts
    )


def test_what_changes_no_weight_is_not_rescaled():
    with pytest.raises(OptionError, match="--rescale must be with --replace zero or mean; resample changes no weight"):
        run_alone(replace(SETUP, replace="resample"), Choice(), Scoring(), RunOptions(rescale=True), Reporter())
