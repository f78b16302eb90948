"""gate = zeroed = removed, in detail, with both attention implementations and padding; all types: test_coverage."""

import copy
import json

import pytest
import torch
from tiny import tiny_inputs, tiny_model

import prune_heads
from prune_heads import HeadMask, attention_blocks, gated, gates_of, prove_gates, remove_heads, zero_heads
from prune_heads.budget import head_parameters, n_parameters, pruned_parameters
from prune_heads.errors import HeadDescriptorError, MaskNotAppliedError, UnsupportedModelError
from prune_heads.surgery import removed_heads

CASES = [(model_type, attention) for model_type in ("bert", "distilbert") for attention in ("eager", "sdpa")]
MASKS = ["1:1", "3:4", "1:2 2:1,2,3,4 3:1,4", "1:1,2,3,4 2:1,2,3,4 3:1,2,3,4"]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def model(request):
    return tiny_model(*request.param)


@torch.no_grad()
def logits(model):
    return model(**tiny_inputs()).logits


@torch.no_grad()
def gated_logits(model, heads):
    with gated(model, gates_of(model, heads)):
        return logits(model)


def test_the_attention_asked_for_is_the_attention_used(model, request):
    assert (model.config.model_type, model.config._attn_implementation) == request.node.callspec.params["model"]


def test_blocks_are_all_found_in_order(model):
    blocks = attention_blocks(model)
    assert [block.layer for block in blocks] == [0, 1, 2]
    assert {(block.kind, block.stack) for block in blocks} == {("self", "encoder")}
    assert {(block.n_heads, block.n_kv_heads, block.head_dim) for block in blocks} == {(4, 4, 8)}
    assert all(model.get_submodule(block.name) is block.module for block in blocks)


def test_gates_of_one_change_no_bit(model):
    assert torch.equal(gated_logits(model, ""), logits(model))


@pytest.mark.parametrize("heads", MASKS)
def test_gated_equals_zeroed_equals_removed(model, heads):
    under_gates = gated_logits(model, heads)
    zeroed = logits(zero_heads(copy.deepcopy(model), heads))
    removed = logits(remove_heads(copy.deepcopy(model), heads))
    assert torch.allclose(zeroed, under_gates, rtol=0, atol=1e-6)
    assert torch.allclose(removed, under_gates, rtol=0, atol=1e-6)
    assert (under_gates - logits(model)).abs().max() > 1e-3  # or the three would agree on nothing


@pytest.mark.parametrize("heads", MASKS)
def test_parameters_fall_by_what_the_formula_says(model, heads):
    blocks, before = attention_blocks(model), n_parameters(model)
    assert {head_parameters(block, [i]) for block in blocks for i in range(4)} == {8 * (4 * 32 + 3)}
    mask = HeadMask.parse(heads, [4, 4, 4])
    removed = remove_heads(copy.deepcopy(model), mask)
    assert before - n_parameters(removed) == len(mask) * 8 * (4 * 32 + 3) == pruned_parameters(blocks, mask)


def test_second_removal_uses_the_original_numbering(model):
    at_once = remove_heads(copy.deepcopy(model), "1:1,3,4 2:2")
    in_steps = remove_heads(remove_heads(copy.deepcopy(model), "1:1 2:2"), "1:1,3,4")
    assert removed_heads(in_steps) == HeadMask.parse("1:1,3,4 2:2", [4, 4, 4])
    assert torch.equal(logits(in_steps), logits(at_once))


def test_zeroing_and_gating_a_removed_model_use_the_original_numbering(model):
    removed = remove_heads(copy.deepcopy(model), "1:1 2:2")
    expected = gated_logits(model, "1:1,3 2:2")
    assert torch.allclose(gated_logits(removed, "1:1,3"), expected, rtol=0, atol=1e-6)
    assert torch.allclose(logits(zero_heads(removed, "1:3")), expected, rtol=0, atol=1e-6)


def test_zeroed_weights_are_zero_and_no_others(model):
    zeroed = zero_heads(copy.deepcopy(model), "2:3")
    block, original = attention_blocks(zeroed)[1], attention_blocks(model)[1]
    for projection, before in zip(
        (block.query, block.key, block.value), (original.query, original.key, original.value), strict=True
    ):
        assert not projection.weight[16:24].any()
        assert not projection.bias[16:24].any()
        assert torch.equal(projection.weight[:16], before.weight[:16])
        assert torch.equal(projection.weight[24:], before.weight[24:])
    assert not block.output.weight[:, 16:24].any()
    assert torch.equal(block.output.bias, original.output.bias)


def test_gates_of_an_example_touch_no_other(model):
    gates = [torch.ones(4, 4) for _ in range(3)]
    gates[1][2] = 0
    with gated(model, gates), torch.no_grad():
        mixed = logits(model)
    assert torch.equal(mixed[[0, 1, 3]], logits(model)[[0, 1, 3]])
    assert torch.allclose(mixed[2], gated_logits(model, "2:1,2,3,4")[2], rtol=0, atol=1e-6)


def test_the_probe_accepts_the_model_also_when_pruned(model):
    prove_gates(model, tiny_inputs())
    prove_gates(zero_heads(copy.deepcopy(model), "1:1,2,3,4 2:2"), tiny_inputs())
    prove_gates(remove_heads(copy.deepcopy(model), "1:1,2,3,4 2:2"), tiny_inputs())


def n_hooks(model):
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules())


def test_no_hook_survives():
    model = tiny_model()
    gates = [torch.ones(4) for _ in range(3)]
    with gated(model, gates):
        assert n_hooks(model) == 6  # one on each W_O, one on the attention around it
    assert n_hooks(model) == 0
    with pytest.raises(RuntimeError, match="inside"), gated(model, gates):
        raise RuntimeError("inside")
    assert n_hooks(model) == 0
    with pytest.raises(ValueError, match="gates of"), gated(model, [*gates[:2], torch.ones(5)]):
        pass
    assert n_hooks(model) == 0


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ([torch.ones(4)] * 2, "one tensor per block"),
        ([torch.ones(4)] * 2 + [torch.ones(3)], "n_heads=4"),
        ([torch.ones(4)] * 2 + [torch.tensor(1.0)], "n_heads=4"),
    ],
)
def test_gates_that_do_not_fit_are_refused(gates, message):
    with pytest.raises(ValueError, match=message), gated(tiny_model(), gates):
        pass


def test_gates_for_another_batch_are_refused():
    model = tiny_model()
    with pytest.raises(ValueError, match="batch of 3"), gated(model, [torch.ones(3, 4)] * 3):
        logits(model)


def test_gates_carry_gradients():
    model = tiny_model()
    gates = [torch.ones(4, 4, requires_grad=True) for _ in range(3)]
    with gated(model, gates):
        model(**tiny_inputs()).logits.sum().backward()
    assert all(gate.grad.abs().min() > 0 for gate in gates)


def test_head_mask_of_transformers_is_ignored_which_is_why_we_are_here():
    model = tiny_model()
    with torch.no_grad():
        masked = model(**tiny_inputs(), head_mask=torch.zeros(3, 4)).logits
    assert torch.equal(masked, logits(model))


def test_the_probe_notices_gates_that_do_nothing(monkeypatch):
    monkeypatch.setattr("prune_heads.gating._Gates.__call__", lambda self, module, args: args)
    with pytest.raises(MaskNotAppliedError, match=r"layer\.0\.attention"):
        prove_gates(tiny_model(), tiny_inputs())


def test_the_probe_notices_one_deaf_block():
    model = tiny_model()
    output = attention_blocks(model)[1].output.module
    # A forward that no longer calls W_O as a module: its pre-hooks are passed by.
    original = output.forward
    output._forward_pre_hooks = NoHooks()
    with pytest.raises(MaskNotAppliedError, match=r"that of bert\.encoder\.layer\.1\.attention ran"):
        prove_gates(model, tiny_inputs())
    assert output.forward == original


class NoHooks(dict):
    """Takes hooks and forgets them."""

    def __setitem__(self, key, value):
        pass


def test_the_probe_asks_the_next_example_where_the_logits_of_one_are_too_coarse():
    model, inputs = tiny_model().to(torch.bfloat16), tiny_inputs()
    first = inputs["input_ids"][:1]

    def coarse(module, args, kwargs, output):
        if torch.equal(kwargs["input_ids"][:1], first):
            output.logits = torch.full_like(output.logits, 300)
        return output

    model.register_forward_hook(coarse, with_kwargs=True)
    prove_gates(model, inputs)
    with pytest.raises(MaskNotAppliedError, match=r"bfloat16 is too coarse: try --dtype float32"):
        prove_gates(model, {name: value[:1] for name, value in inputs.items()})


def test_the_probe_notices_a_model_that_is_not_deterministic():
    model = tiny_model().train()
    with pytest.raises(MaskNotAppliedError, match="training mode"):
        prove_gates(model, tiny_inputs())


def test_unknown_types_are_refused_by_name():
    with pytest.raises(UnsupportedModelError, match=r"got 'Linear'.*'prune-heads models' lists"):
        attention_blocks(torch.nn.Linear(2, 2))


def test_cross_attention_is_refused():
    model = tiny_model()
    model.config.add_cross_attention = True
    with pytest.raises(UnsupportedModelError, match="self-attention only"):
        attention_blocks(model)


def test_a_block_of_another_shape_is_refused():
    model = tiny_model()
    model.bert.encoder.layer[0].attention.self.key = torch.nn.Linear(32, 18)
    with pytest.raises(UnsupportedModelError, match=r"W_K \(18\) cannot be shared by 4 key heads"):
        attention_blocks(model)
    model = tiny_model()
    model.bert.encoder.layer[0].attention.self.query = torch.nn.Identity()
    with pytest.raises(UnsupportedModelError, match=r"must be a torch.nn.Linear or a Conv1D .*; got torch.*Identity"):
        attention_blocks(model)
    model = tiny_model()
    del model.bert.encoder.layer[1].attention
    with pytest.raises(UnsupportedModelError, match="numbered from 0"):
        attention_blocks(model)


@pytest.mark.parametrize("act", [zero_heads, remove_heads, gates_of])
def test_heads_out_of_range_are_refused_and_nothing_is_touched(act):
    model = tiny_model()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(HeadDescriptorError, match="head 5 must be between 1 and 4"):
        act(model, "1:1 2:5")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_heads_may_come_in_three_forms():
    forms = ["2:1,3", {1: [0, 2]}, HeadMask.parse("2:1,3", [4, 4, 4])]
    first, *others = [logits(remove_heads(tiny_model(), heads)) for heads in forms]
    assert all(torch.equal(other, first) for other in others)


def test_a_removed_model_trains_on():
    model = remove_heads(tiny_model(), "1:1,2,3,4 2:2")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = logits(model)
    model(**tiny_inputs()).logits.square().sum().backward()
    optimizer.step()
    assert not torch.equal(logits(model), before)


def test_public_names_are_there_and_others_are_not():
    for name in prune_heads.__all__:
        assert getattr(prune_heads, name) is not None
        assert name in dir(prune_heads)
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = prune_heads.nothing_like_this
    json.dumps(prune_heads.__version__)


def test_a_wrapped_model_is_refused_with_the_cure():
    with pytest.raises(UnsupportedModelError, match=r"got DataParallel around it\. Take model\.module"):
        attention_blocks(torch.nn.DataParallel(tiny_model()))


@pytest.mark.slow
def test_a_compiled_model_works():
    model = tiny_model()
    expected = gated_logits(model, "2:3")
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad(), gated(compiled, gates_of(compiled, "2:3")):
        assert torch.allclose(compiled(**tiny_inputs()).logits, expected, rtol=0, atol=1e-6)


def test_adapters_and_quantised_weights_are_refused_with_the_cure():
    class Adapter(torch.nn.Module):
        """As LoRA's: a linear map around a linear map."""

        def __init__(self, base_layer):
            super().__init__()
            self.base_layer = base_layer

        @property
        def weight(self):
            return self.base_layer.weight

    model = tiny_model()
    attention = model.bert.encoder.layer[1].attention.self
    attention.value = Adapter(attention.value)
    with pytest.raises(UnsupportedModelError, match=r"Adapter .*\. Merge adapters into the model"):
        attention_blocks(model)
    model = tiny_model()
    packed = torch.nn.Parameter(torch.zeros(512, 1, dtype=torch.uint8), requires_grad=False)
    model.bert.encoder.layer[0].attention.self.query.weight = packed  # as 4-bit weights are kept
    with pytest.raises(UnsupportedModelError, match=r"torch\.uint8.*load it without quantisation"):
        attention_blocks(model)
