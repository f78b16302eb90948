"""Attention outside transformers: PyTorch's own modules, and a class of one's own that is described by names."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional

from prune_heads import attention_blocks, describe_attention, gated, gates_of, prove_gates, remove_heads, zero_heads
from prune_heads.budget import head_parameters, n_parameters
from prune_heads.errors import UnsupportedModelError
from prune_heads.surgery import removed_heads

pytestmark = [  # of PyTorch, about what nn.Transformer does by default
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]
D, HEADS, BATCH, SOURCE, TARGET = 24, 4, 3, 7, 5


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def drawn(module):
    """Biases begin at zero in PyTorch, which would hide what they do."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.eval()


def same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def differs(a, b):
    return bool((a - b).abs().max() > 1e-3)


def encoder(batch_first, norm_first=False, nested=True):
    layer = nn.TransformerEncoderLayer(D, HEADS, 32, 0.0, batch_first=batch_first, norm_first=norm_first)
    return drawn(nn.TransformerEncoder(layer, 3, enable_nested_tensor=nested and batch_first))


def texts(batch_first, n=SOURCE):
    x = torch.randn(BATCH, n, D)
    return x if batch_first else x.transpose(0, 1)


PADDING = torch.arange(SOURCE)[None] >= torch.tensor([SOURCE, 4, 6])[:, None]
CAUSAL = torch.ones(TARGET, TARGET, dtype=torch.bool).triu(1)


def run_encoder(batch_first, norm_first=False):
    model, x = encoder(batch_first, norm_first, nested=not norm_first), texts(batch_first)

    def call(model):
        found = model(x, src_key_padding_mask=PADDING)
        return (found if batch_first else found.transpose(0, 1))[~PADDING]

    return model, call


def run_transformer(batch_first):
    model = drawn(nn.Transformer(D, HEADS, 2, 2, 32, 0.0, batch_first=batch_first))
    x, y = texts(batch_first), texts(batch_first, TARGET)

    def call(model):
        return model(
            x, y, tgt_mask=CAUSAL, src_key_padding_mask=PADDING, memory_key_padding_mask=PADDING, tgt_is_causal=True
        )

    return model, call


def run_attention(batch_first, need_weights=False):
    model, x = drawn(nn.MultiheadAttention(D, HEADS, batch_first=batch_first)), texts(batch_first)
    return model, lambda model: model(x, x, x, key_padding_mask=PADDING, need_weights=need_weights)[0]


CASES = {
    "encoder": lambda: run_encoder(True),
    "encoder, norm first": lambda: run_encoder(True, norm_first=True),
    "encoder, batch second": lambda: run_encoder(False),
    "transformer": lambda: run_transformer(True),
    "transformer, batch second": lambda: run_transformer(False),
    "attention": lambda: run_attention(True),
    "attention, batch second, weights": lambda: run_attention(False, need_weights=True),
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return CASES[request.param]()


@pytest.fixture(params=[True, False], ids=["no_grad", "grad"])
def grad(request):
    """Without gradients the fast path of PyTorch is taken in evaluation, with them it is not."""
    with torch.set_grad_enabled(not request.param):
        yield not request.param


def some(model):
    """One head of the first block, two of the last, and all of the second where there is one."""
    blocks = attention_blocks(model)
    heads = {0: [1], len(blocks) - 1: [0, 3]}
    return heads | ({1: list(range(HEADS))} if len(blocks) > 2 else {})


def test_open_gates_change_nothing_and_closed_ones_equal_zeroed_and_removed_heads(case, grad):
    model, call = case
    plain, heads = call(model), some(model)
    with gated(model, gates_of(model, {})):
        same(call(model), plain)
    with gated(model, gates_of(model, heads)):
        under = call(model)
    assert differs(under, plain)
    assert torch.equal(call(model), plain)
    same(call(zero_heads(copy.deepcopy(model), heads)), under)
    narrow = remove_heads(copy.deepcopy(model), heads)
    same(call(narrow), under)
    assert removed_heads(narrow) == removed_heads(remove_heads(copy.deepcopy(narrow), heads))
    with gated(narrow, gates_of(narrow, {0: [2]})):
        twice = call(narrow)
    same(call(remove_heads(narrow, {0: [2]})), twice)
    assert differs(twice, under)


def test_each_block_bites_alone(case):
    model, call = case
    plain = call(model)
    for i in range(len(attention_blocks(model))):
        with torch.no_grad(), gated(model, gates_of(model, {i: range(HEADS)})):
            closed = call(model)
        assert differs(closed, plain)
        with torch.no_grad():
            same(call(remove_heads(copy.deepcopy(model), {i: range(HEADS)})), closed)


def test_no_hook_and_no_forward_of_ours_survives(case):
    model, call = case
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    packs = [m.use_nested_tensor for m in model.modules() if isinstance(m, nn.TransformerEncoder)]

    def fail():
        with gated(model, gates_of(model, {0: [1]})):
            call(model)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert [m.use_nested_tensor for m in model.modules() if isinstance(m, nn.TransformerEncoder)] == packs


def test_the_fast_path_is_what_a_plain_hook_would_miss():
    """What our own forward is for: a pre-hook on W_O alone is never called."""
    model, call = run_encoder(True)
    called = []
    for layer in model.layers:
        layer.self_attn.out_proj.register_forward_pre_hook(lambda module, args: called.append(module))
    with torch.no_grad():
        call(model)
    assert not called
    with torch.no_grad(), gated(model, gates_of(model, {})):
        call(model)
    assert len(called) == 3


def test_letters_of_a_transformer():
    model = nn.Transformer(D, HEADS, 2, 2, 32)
    assert [(b.letter, b.layer, b.n_heads) for b in attention_blocks(model)] == [
        (letter, layer, HEADS) for letter in "EAD" for layer in (0, 1)
    ]
    assert str(removed_heads(remove_heads(model, "E:2:1 A:1:2,3 D:2:4"))) == "E:2:1 A:1:2,3 D:2:4"


def test_gradients_of_gates_are_those_of_finite_differences(case):
    model, call = case
    gates = [torch.ones(HEADS, requires_grad=True) for _ in attention_blocks(model)]
    with gated(model, gates):
        call(model).square().sum().backward()
    moved = [torch.ones(HEADS) for _ in gates]
    values = []
    for step in (1e-2, -1e-2):
        moved[-1][2] = 1 + step
        with torch.no_grad(), gated(model, moved):
            values.append(float(call(model).double().square().sum()))
    assert float(gates[-1].grad[2]) == pytest.approx((values[0] - values[1]) / 2e-2, rel=2e-2, abs=1e-2)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("average", [True, False])
def test_weights_and_masks_are_those_of_pytorch(batch_first, batched, average):
    model = drawn(nn.MultiheadAttention(D, HEADS, batch_first=batch_first, bias=batched))
    q, k = texts(batch_first, TARGET), texts(batch_first)
    padding = PADDING
    if not batched:
        q, k, padding = (q[0], k[0], PADDING[1]) if batch_first else (q[:, 0], k[:, 0], PADDING[1])
    by_head = torch.randn(HEADS * (BATCH if batched else 1), TARGET, SOURCE)
    for mask in (None, torch.rand(TARGET, SOURCE) < 0.2, by_head):
        pad = padding if mask is None or mask.dtype == torch.bool else padding.float() * -9.0
        arguments = {"key_padding_mask": pad, "attn_mask": mask, "average_attn_weights": average}
        expected = model(q, k, k, **arguments)
        with gated(model, gates_of(model, {})):
            for found, wanted in zip(model(q, k, k, **arguments), expected, strict=True):
                same(found, wanted)
                assert found.shape == wanted.shape
            assert model(q, k, k, need_weights=False, **arguments)[1] is None
    narrow = remove_heads(copy.deepcopy(model), {0: [0, 2]})
    with gated(model, gates_of(model, {0: [0, 2]})):
        expected = model(q, k, k, attn_mask=by_head, average_attn_weights=False)
    output, weights = narrow(q, k, k, attn_mask=by_head, average_attn_weights=False)
    same(output, expected[0])
    same(weights, expected[1].index_select(-3, torch.tensor([1, 3])))


def test_a_removed_transformer_trains_on_and_has_fewer_parameters():
    model, call = run_transformer(True)
    block = attention_blocks(model)[0]
    assert head_parameters(block, [1]) == D // HEADS * (4 * D + 3)
    before = n_parameters(model)
    remove_heads(model, "E:1:2").train()
    assert before - n_parameters(model) == head_parameters(block, [1]) == D // HEADS * (4 * D + 3)
    first = call(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    first.square().mean().backward()
    optimizer.step()
    assert differs(call(model), first)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (lambda: nn.MultiheadAttention(D, HEADS, kdim=8, vdim=8), "another width than its queries"),
        (lambda: nn.MultiheadAttention(D, HEADS, add_bias_kv=True), "keys and values that no token has"),
        (lambda: nn.MultiheadAttention(D, HEADS, add_zero_attn=True), "keys and values that no token has"),
        (lambda: type("Mine", (nn.MultiheadAttention,), {})(D, HEADS), "got the subclass Mine"),
        (lambda: nn.Sequential(nn.Linear(D, D)), "describe_attention"),
    ],
)
def test_what_is_not_handled_is_refused(module, says):
    with pytest.raises(UnsupportedModelError, match=says):
        attention_blocks(nn.Sequential(module()))


class Attention(nn.Module):
    """Grouped-query attention as someone might write it."""

    def __init__(self, n_kv=HEADS):
        super().__init__()
        self.count, self.kv_count, self.size = HEADS, n_kv, D // HEADS
        self.W_Q, self.W_O = nn.Linear(D, D), nn.Linear(D, D)
        self.W_K, self.W_V = nn.Linear(D, n_kv * self.size), nn.Linear(D, n_kv * self.size)

    def forward(self, x):
        q = self.W_Q(x).unflatten(-1, (self.count, self.size)).transpose(1, 2)
        k, v = (w(x).unflatten(-1, (self.kv_count, self.size)).transpose(1, 2) for w in (self.W_K, self.W_V))
        context = functional.scaled_dot_product_attention(q, k, v, enable_gqa=True) if self.count else q
        return self.W_O(context.transpose(1, 2).flatten(-2))


class Fixed(Attention):
    """The same, with the number of heads written into its code."""


@pytest.fixture
def described():
    names = {"query": "W_Q", "key": "W_K", "value": "W_V", "output": "W_O"}
    describe_attention(Attention, **names, n_heads="count", n_kv_heads="kv_count")
    describe_attention(Fixed, **names, n_heads=HEADS)


@pytest.mark.parametrize(("n_kv", "group"), [(HEADS, [1]), (2, [2, 3])])
def test_a_class_of_ones_own(described, n_kv, group):
    model, x = drawn(nn.Sequential(Attention(n_kv), nn.Tanh(), Attention(n_kv))), texts(True)
    assert [(b.name, b.n_heads, b.n_kv_heads, b.layer) for b in attention_blocks(model)] == [
        ("0", HEADS, n_kv, 0),
        ("2", HEADS, n_kv, 1),
    ]
    plain = model(x)
    with gated(model, gates_of(model, {})):
        assert torch.equal(model(x), plain)
    for heads in ({0: group}, {1: group}, {0: range(HEADS), 1: group}):
        with gated(model, gates_of(model, heads)):
            under = model(x)
        assert differs(under, plain)
        same(zero_heads(copy.deepcopy(model), heads)(x), under)
        same(remove_heads(copy.deepcopy(model), heads)(x), under)


def test_a_number_that_cannot_follow_is_not_removed(described):
    model, x = drawn(Fixed()), texts(True)
    with gated(model, gates_of(model, "1:2")):
        under = model(x)
    same(zero_heads(copy.deepcopy(model), "1:2")(x), under)
    with pytest.raises(UnsupportedModelError, match="given as a number, which no attribute can follow"):
        remove_heads(model, "1:2")


def test_a_description_that_does_not_fit_is_refused():
    class Other(Attention):
        pass

    for wrong in ({"query": "W_X"}, {"n_heads": "size_of"}, {"n_heads": 5}):
        names = {"query": "W_Q", "key": "W_K", "value": "W_V", "output": "W_O", "n_heads": "count"} | wrong
        describe_attention(Other, **names)
        with pytest.raises(
            UnsupportedModelError, match=str(next(iter(wrong.values()))) if "query" in wrong else "divides"
        ):
            attention_blocks(Other())


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("side", ["right", "left"])
def test_what_gates_of_1_leave_as_it_was_beside_the_fast_path(nested, side, norm):
    """Tokens agree up to rounding; padded places do where PyTorch does not write zeros there."""
    model = encoder(True, nested=nested)
    model.norm = drawn(nn.LayerNorm(D)) if norm else None
    x, padding = texts(True), PADDING if side == "right" else PADDING.flip(1)
    with torch.no_grad():
        fast = model(x, src_key_padding_mask=padding)
        with gated(model, gates_of(model, {})):
            under = model(x, src_key_padding_mask=padding)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            slow = model(x, src_key_padding_mask=padding)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    same(under, slow)
    same(under[~padding], fast[~padding])
    if nested and side == "right":
        zeros = torch.zeros(D) if model.norm is None else model.norm(torch.zeros(D))
        same(fast[padding], zeros.expand(int(padding.sum()), D))
        assert differs(under[padding], fast[padding])
    else:
        same(under[padding], fast[padding])


@dataclass
class Result:
    """What the attention below gives: the output, the weights, and how many heads they are of."""

    output: torch.Tensor
    weights: torch.Tensor
    n_heads: int


class Rigid(nn.Module):
    """Attention that cannot run without heads: it divides by their number and reshapes with -1."""

    def __init__(self, n_kv, fused):
        super().__init__()
        self.n_heads, self.n_kv, self.fused = HEADS, n_kv, fused
        size = D // HEADS
        self.q, self.o = nn.Linear(D, D * 3 if fused else D), nn.Linear(D, D)
        if not fused:
            self.k, self.v = nn.Linear(D, n_kv * size, bias=False), nn.Linear(D, n_kv * size)

    def forward(self, x):
        if self.fused:
            q, k, v = self.q(x).chunk(3, -1)
        else:
            q, k, v = self.q(x), self.k(x), self.v(x)
        q, k, v = (
            y.reshape(*x.shape[:2], n, -1).transpose(1, 2)
            for y, n in ((q, self.n_heads), (k, self.n_kv), (v, self.n_kv))
        )
        k, v = (y.repeat_interleave(self.n_heads // self.n_kv, 1) for y in (k, v))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        output = self.o((weights @ v).transpose(1, 2).flatten(-2))
        return Result(output, weights.sum(1) / self.n_heads, self.n_heads)


class RigidStack(nn.Module):
    """Two of them."""

    def __init__(self, *shape):
        super().__init__()
        self.first, self.second = Rigid(*shape), Rigid(*shape)

    def forward(self, x):
        x = x + self.first(x).output
        return x + self.second(x).output


@pytest.mark.parametrize("shape", [(HEADS, False), (2, False), (1, False), (HEADS, True)], ids=str)
@pytest.mark.parametrize("steps", [["1:1,2,3,4"], ["2:1,2,3,4"], ["1:3,4", "1:1,2", "2:1,2,3,4"]], ids=str)
def test_a_described_class_without_heads_runs_as_with_its_columns_zeroed(shape, steps):
    if shape[0] == 1:  # all heads share keys and values, and go together
        steps = [step for step in steps if step.endswith(":1,2,3,4")]
    paths = "qqq" if shape[1] else "qkv"
    names = dict(zip(("query", "key", "value"), paths, strict=True))
    describe_attention(Rigid, **names, output="o", n_heads="n_heads", n_kv_heads="n_kv")
    model, x = drawn(RigidStack(*shape)), texts(True)
    truth = copy.deepcopy(model)
    with torch.no_grad():
        for step in steps:
            if ":1,2" in step:  # the last heads of the block
                (truth.first if step[0] == "1" else truth.second).o.weight.zero_()
    full = n_parameters(model)
    gone = sum(head_parameters(b, range(HEADS)) for b in attention_blocks(model)) / 2
    for step in steps:
        remove_heads(model, step)
    same(model(x), truth(x))
    again = copy.deepcopy(model)
    same(again(x), truth(x))
    n_empty = sum(block.n_heads == 0 for block in attention_blocks(model))
    assert full - n_parameters(model) == gone * n_empty
    assert model.state_dict().keys() == truth.state_dict().keys()
    with gated(model, gates_of(model, {})):
        same(model(x), truth(x))
    prove_gates(model, {"x": x})
    model(x).sum().backward()
    for attention in (model.first, model.second):
        assert attention.o.bias.grad is not None
        assert attention.o.weight.shape[1] in (0, D)
    same(zero_heads(model, "1:1,2,3,4")(x), model(x))


def test_a_traced_model_is_refused_by_name():
    with pytest.deprecated_call():
        traced = torch.jit.trace(nn.Linear(4, 4), (torch.zeros(1, 4),))
    with pytest.raises(UnsupportedModelError, match="TopLevelTracedModule"):
        attention_blocks(traced)
