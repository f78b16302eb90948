"""Many masks at once give what one masked evaluation at a time gives, on every family; no gain is taken unproved."""

import pytest
import torch
from tiny import ENCODERS, model_class, tiny_inputs, tiny_model

from prune_heads import attention_blocks, gated, gates_of, remove_heads
from prune_heads.ablation import KINDS, ablations
from prune_heads.ablation.forward import Plan, VariantForward
from prune_heads.ablation.plan import TOLERANCE, plan
from prune_heads.heads import HeadMask
from prune_heads.surgery import removed_heads

TYPES = [
    (model_type, attention)
    for model_type in ENCODERS
    for attention in ("eager", "sdpa")
    if attention == "eager" or model_class(model_type)._supports_sdpa
]


@torch.no_grad()
def one_at_a_time(model, inputs, masks):
    rows = []
    for mask in masks:
        with gated(model, gates_of(model, mask)):
            rows.append(model(**inputs).logits)
    return torch.stack(rows)


@torch.no_grad()
def together(model, inputs, masks, proposal):
    """All masks of a first gated block in one pass."""
    forward = VariantForward(proposal, model)
    recording = forward.record(inputs)
    gates = [torch.stack(rows) for rows in zip(*(gates_of(model, mask) for mask in masks), strict=True)]
    logits = recording.outputs.logits
    rows = logits.new_empty(len(masks), *logits.shape)
    for first in range(len(gates)):
        group = [i for i, mask in enumerate(masks) if min(block for block, _ in mask) == first]
        if group:
            outputs = forward.outputs(recording, [gate[group] for gate in gates], first)
            rows[group] = torch.stack([each.logits for each in outputs])
    return rows


def masks_of(model):
    """Both kinds of ablation, and masks over several layers."""
    gone = removed_heads(model)
    masks = [mask for kind in KINDS for mask in ablations(kind, gone).values() if mask != gone]
    n = gone.n_heads
    several = ("1:1,2 3:4", "2:1,2,3,4 3:1", "1:1,2,3,4 2:1,2,3,4 3:1,2,3,4")
    return [*masks, *(HeadMask.parse(text, n) for text in several)]


@pytest.mark.parametrize(
    ("model_type", "attention"),
    [
        pytest.param(*each, marks=() if each[0] in ("bert", "distilbert", "roberta") else pytest.mark.slow)
        for each in TYPES
    ],
)
def test_every_family_is_exact(model_type, attention):
    model, inputs = tiny_model(model_type, attention), tiny_inputs()
    proposal = plan(model, inputs)
    assert proposal is not None
    assert proposal.position == "first"
    assert proposal.attentions is not None
    masks, others = masks_of(model), tiny_inputs(5, 14, seed=3)  # not the batch of the proof
    expected = one_at_a_time(model, others, masks)
    assert (together(model, others, masks, proposal) - expected).abs().max() <= TOLERANCE
    # The masks do differ, or the comparison would show nothing.
    assert (expected[0] - expected[1]).abs().max() > 100 * TOLERANCE


@pytest.mark.parametrize("position", ["first", None])
@pytest.mark.parametrize(
    ("model_type", "layers", "attention"),
    [
        ("bert", "bert.encoder.layer", "attention.self"),  # gives W_O's input
        ("distilbert", "distilbert.transformer.layer", "attention"),  # gives W_O's output
        ("bert", "bert.encoder.layer", None),
    ],
)
def test_every_way_is_exact(position, model_type, layers, attention):
    model, inputs = tiny_model(model_type), tiny_inputs()
    masks = masks_of(model)
    shared = attention and tuple(f"{layers}.{i}.{attention}" for i in range(3))
    way = Plan(position, None, shared)
    got = together(model, inputs, masks, way)
    assert (got - one_at_a_time(model, inputs, masks)).abs().max() <= TOLERANCE


def test_a_model_is_left_as_it_was():
    model, inputs = tiny_model(), tiny_inputs()
    with torch.no_grad():
        before = model(**inputs).logits
        together(model, inputs, masks_of(model), plan(model, inputs))
        assert torch.equal(model(**inputs).logits, before)
    assert not any("forward" in vars(module) for module in model.modules())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_a_model_that_reads_all_positions_gets_no_short_cut():
    model, inputs = tiny_model(), tiny_inputs()
    pooler = model.bert.pooler
    pooler.forward = lambda hidden: torch.tanh(pooler.dense(hidden.mean(dim=1)))
    proposal = plan(model, inputs)
    assert proposal is not None
    assert proposal.position is None
    masks = masks_of(model)
    got = together(model, inputs, masks, proposal)
    assert (got - one_at_a_time(model, inputs, masks)).abs().max() <= TOLERANCE


def test_a_model_that_reads_the_last_token_gets_the_short_cut():
    model = tiny_model()
    inputs = {name: value[:1].repeat(3, 1) for name, value in tiny_inputs().items()}  # no padding
    pooler = model.bert.pooler
    pooler.forward = lambda hidden: torch.tanh(pooler.dense(hidden[:, -1]))
    proposal = plan(model, inputs)
    assert proposal is not None
    assert proposal.position == "last"
    masks = masks_of(model)
    got = together(model, inputs, masks, proposal)
    assert (got - one_at_a_time(model, inputs, masks)).abs().max() <= TOLERANCE


def test_another_scale_of_attention_loses_only_the_short_cut():
    model, inputs = tiny_model(attention="sdpa"), tiny_inputs()
    attention_blocks(model)[-1].module.self.scaling *= 2
    proposal = plan(model, inputs)
    assert proposal is not None
    assert proposal.position is None


def test_layers_that_speak_behind_our_back_are_not_shared():
    model, inputs = tiny_model(), tiny_inputs()
    first, last = model.bert.encoder.layer[0], model.bert.encoder.layer[2]
    first_forward, last_forward, kept = first.forward, last.forward, {}

    def remember(hidden, *args, **kwargs):
        kept["sum"] = hidden.sum()
        return first_forward(hidden, *args, **kwargs)

    first.forward = remember
    last.forward = lambda hidden, *args, **kwargs: last_forward(hidden + kept.pop("sum"), *args, **kwargs)
    assert plan(model, inputs) is None


def test_a_model_that_has_lost_heads():
    model, inputs = tiny_model(), tiny_inputs()
    remove_heads(model, "1:2 3:1,4")
    proposal = plan(model, inputs)
    assert proposal is not None
    masks = [mask for mask in masks_of(model) if len(mask) > 3][:12]
    masks = [mask for mask in masks if mask != removed_heads(model)]
    gates = [gates_of(model, mask) for mask in masks]
    firsts = [next(b for b, gate in enumerate(rows) if (gate == 0).any()) for rows in gates]
    forward = VariantForward(proposal, model)
    with torch.no_grad():
        recording = forward.record(inputs)
        for mask, rows, first in zip(masks, gates, firsts, strict=True):
            got = forward.outputs(recording, [gate[None] for gate in rows], first)[0].logits
            assert (got - one_at_a_time(model, inputs, [mask])).abs().max() <= TOLERANCE


def test_an_emptied_layer_is_not_shared():
    model = tiny_model()
    remove_heads(model, "2:1,2,3,4")
    assert plan(model, tiny_inputs()) is None


def test_half_precision_takes_the_plan_of_float32():
    model, inputs = tiny_model().bfloat16(), tiny_inputs()
    proposal = plan(model, inputs)
    assert proposal == plan(tiny_model(), inputs)
    masks = masks_of(model)
    got, expected = together(model, inputs, masks, proposal), one_at_a_time(model, inputs, masks)
    scale = expected.float().abs().max()
    assert (got - expected).float().abs().max() < 0.05 * scale
