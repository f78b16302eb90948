"""Gated, zeroed and removed heads send what a from-scratch NumPy attention says; and that attention is right."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from reference_attention import Weights, attend, causal_mask, padding_mask
from tiny_types import tiny_inputs, tiny_model
from transformers import BertConfig, BertForSequenceClassification

from prune_heads import attention_blocks, gated, remove_heads, zero_heads
from prune_heads.budget import head_parameters, n_parameters

# Separate, fused (Conv1D) and grouped projections; causal, cross and two-way attention. None has rotary positions.
TYPES = {
    "bert": [4] * 3,
    "gpt2": [4] * 3,
    "opt": [4] * 3,
    "bart": [4] * 9,  # encoder, encoder-decoder and decoder attention
    "gpt_bigcode": [1] * 3,  # all heads share one head of keys and values; fused
    "jamba": [2],  # two groups; no biases; two of the three layers do not attend
}
ZEROED = [0, 1, 3]  # with groups of two: a whole group and a half
close = partial(np.testing.assert_allclose, rtol=0, atol=1e-5)


@pytest.fixture(scope="module", params=[(t, a) for t in TYPES for a in ("eager", "sdpa")], ids="-".join)
def model(request):
    model_type, attention = request.param
    built = tiny_model(model_type, attention=attention)
    assert built.config._attn_implementation == attention
    return built


def inputs():
    """Padding on the right and, which causal attention would see too, a hole at the third token."""
    batch = tiny_inputs()
    batch["attention_mask"][:, 2] = 0
    return batch


def double(tensor):
    return tensor.detach().double().numpy()


def weights_of(block):
    """The block's weights, put in order head by head."""

    def linear(projection):
        dims = projection.dimensions(range(len(projection.heads)))
        weight, bias = projection.weight[dims], projection.bias
        return double(weight), np.zeros(len(dims)) if bias is None else double(bias[dims])

    (w_q, b_q), (w_k, b_k), (w_v, b_v) = map(linear, (block.query, block.key, block.value))
    w_o = double(block.output.weight[:, block.output.dimensions(range(block.n_heads))])
    bias = block.output.bias
    b_o = np.zeros(len(w_o)) if bias is None else double(bias)
    return Weights(block.head_dim, w_q, b_q, w_k, b_k, w_v, b_v, w_o, b_o)


@torch.no_grad()
def seen(model):
    """One pass: for each block the arguments of `attend` that the real module got, and the output of its W_O."""
    blocks, hooks = attention_blocks(model), []
    arguments, sent = [{"allowed": allowed(block, model.config)} for block in blocks], {}

    def before(i, module, args, kwargs):
        x = args[0] if args else kwargs["hidden_states"]
        arguments[i] |= {"x": double(x), "source": double(kwargs.get("key_value_states", x))}

    def after_output(i, module, args, output):
        sent[i] = double(output)

    def after_block(i, module, args, output):
        sent.setdefault(i, double(output[0]))  # a Conv1D without inputs is not called; the block sends the bias

    for i, block in enumerate(blocks):
        hooks.append(block.module.register_forward_pre_hook(partial(before, i), with_kwargs=True))
        hooks.append(block.output.module.register_forward_hook(partial(after_output, i)))
        hooks.append(block.module.register_forward_hook(partial(after_block, i)))
    model(**inputs())
    for hook in hooks:
        hook.remove()
    return [(arguments[i], sent[i]) for i in range(len(blocks))]


def allowed(block, config):
    padding = padding_mask(inputs()["attention_mask"].numpy())
    causal = causal_mask(padding.shape[-1])
    if block.kind == "cross" or block.stack == "encoder":
        return padding
    return causal if config.is_encoder_decoder else causal & padding  # BART's decoder gets its inputs unpadded


def all_weights(model):
    return [weights_of(block) for block in attention_blocks(model)]


def pruned(prune, model, heads):
    """A copy of the model without these heads in any block; what its blocks saw, their weights before and after."""
    copied = copy.deepcopy(model)
    copied = prune(copied, {i: list(heads) for i in range(len(attention_blocks(model)))})
    return [(*row, *both) for row, *both in zip(seen(copied), all_weights(model), all_weights(copied), strict=True)]


def every_other_group(model):
    """Heads 1 and 3 of four, or the first of two groups, or the only one."""
    size = 4 // TYPES[model.config.model_type][0]
    return [i for i in range(4) if i // size % 2 == 0]


def gates_without(heads):
    return np.array([float(i not in heads) for i in range(4)])


def test_every_kind_of_block_is_tried(model):
    weights = all_weights(model)
    assert [(w.n_heads, w.head_dim) for w in weights] == [(4, 8)] * len(weights)
    assert [w.n_kv_heads for w in weights] == TYPES[model.config.model_type]
    kinds = {(block.kind, block.stack) for block in attention_blocks(model)}
    assert len(kinds) == (3 if model.config.is_encoder_decoder else 1)


def test_blocks_agree_with_the_reference(model):
    for (arguments, sent), weights in zip(seen(model), all_weights(model), strict=True):
        close(sent, attend(**arguments, weights=weights))
        unmasked = attend(**arguments | {"allowed": None}, weights=weights)
        assert np.abs(sent - unmasked).max() > 1e-3  # or the masks would have been tried by nobody


def test_gated_blocks_agree_with_the_reference(model):
    gates = np.random.default_rng(0).uniform(-0.5, 2, (len(attention_blocks(model)), 4))
    with gated(model, list(torch.tensor(gates))):
        passes = seen(model)
    for (arguments, sent), weights, gate in zip(passes, all_weights(model), gates, strict=True):
        close(sent, attend(**arguments, weights=weights, gates=gate))


def test_zeroed_blocks_agree_with_the_reference(model):
    for arguments, sent, before, after in pruned(zero_heads, model, ZEROED):
        close(sent, attend(**arguments, weights=before, gates=gates_without(ZEROED)))
        close(sent, attend(**arguments, weights=after))
        assert np.abs(sent - attend(**arguments, weights=before)).max() > 1e-3


def test_zeroed_values_and_zeroed_columns_each_suffice(model):
    gone = every_other_group(model)
    for arguments, sent, before, after in pruned(zero_heads, model, gone):
        close(sent, attend(**arguments, weights=before, gates=gates_without(gone)))
        close(sent, attend(**arguments, weights=replace(before, w_o=after.w_o)))
        close(sent, attend(**arguments, weights=replace(before, w_v=after.w_v, b_v=after.b_v)))
        lost = after.take(gone)
        assert not any(x.any() for x in (lost.w_q, lost.b_q, lost.w_k, lost.b_k))


def test_removed_blocks_agree_with_the_reference(model):
    gone = every_other_group(model)
    kept = [i for i in range(4) if i not in gone]
    for arguments, sent, before, after in pruned(remove_heads, model, gone):
        close(sent, attend(**arguments, weights=before, gates=gates_without(gone)))
        close(sent, attend(**arguments, weights=before.take(kept)))
        close(sent, attend(**arguments, weights=after))
        assert after.n_heads == len(kept)
        assert np.abs(sent - attend(**arguments, weights=before)).max() > 1e-3


def test_without_heads_the_bias_of_the_output_is_left(model):
    for arguments, sent, before, after in pruned(remove_heads, model, range(4)):
        assert (after.n_heads, after.n_weights) == (0, 0)
        np.testing.assert_array_equal(sent, np.broadcast_to(before.b_o, sent.shape))
        np.testing.assert_array_equal(sent, attend(**arguments, weights=after))
        assert before.b_o.any() == (model.config.model_type != "jamba")  # which has no biases


def test_attention_has_four_squares_of_weights(model):
    """W_Q and W_O are d by d; W_K and W_V are smaller by the size of a group."""
    shares = TYPES[model.config.model_type]
    expected = [2 * 32 * 32 + 2 * 32 * 32 * n // 4 for n in shares]
    assert [weights.n_weights for weights in all_weights(model)] == expected


def test_bert_base_has_28_of_its_110_million_parameters_in_attention():
    with torch.device("meta"):
        model = BertForSequenceClassification(BertConfig())
    d, ff, layers, vocabulary, positions, segments, labels = 768, 3072, 12, 30522, 512, 2, 2
    blocks = attention_blocks(model)
    maps = [(b.query, b.key, b.value, b.output) for b in blocks]
    weights = [sum(p.weight.numel() for p in four) for four in maps]
    biases = [sum(p.bias.numel() for p in four) for four in maps]
    assert weights == [4 * d**2] * layers
    assert biases == [4 * d] * layers
    assert sum(weights) == 28_311_552

    attention, norm = 4 * d**2 + 4 * d, 2 * d
    layer = attention + norm + (d * ff + ff) + (ff * d + d) + norm
    embeddings = (vocabulary + positions + segments) * d + norm
    head = (d * d + d) + (d * labels + labels)  # pooler and classifier
    assert n_parameters(model) == embeddings + layers * layer + head == 109_483_778

    owned = sum(head_parameters(block, range(block.n_heads)) for block in blocks)
    assert owned == layers * (4 * d**2 + 3 * d)  # the bias of W_O belongs to no head
