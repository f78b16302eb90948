"""A gate that is set is applied, or refused: compiled models, attention that passes W_O by, outputs of any class."""

import copy
from dataclasses import dataclass

import pytest
import torch
from tiny import tiny_inputs, tiny_model
from torch import nn
from torch.nn import functional

from prune_heads import attention_blocks, describe_attention, gated, gates_of, prove_gates, remove_heads, zero_heads
from prune_heads.anatomy.context import uncompiled
from prune_heads.errors import MaskNotAppliedError, UnsupportedModelError
from prune_heads.importance.gradient import _per_token
from prune_heads.objectives.batches import Batch
from prune_heads.objectives.classifiers import SingleLabel

INPUTS = tiny_inputs()
A, B = {0: [0, 1, 2, 3], 1: [2]}, {1: [0, 1], 2: [3]}


def same(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def without(model, heads):
    """The truth: a copy whose W_O columns of 8 dimensions a head are zeroed by hand."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for layer, chosen in heads.items():
            for head in chosen:
                dense = model.bert.encoder.layer[layer].attention.output.dense
                dense.weight[:, head * 8 : (head + 1) * 8] = 0
    return model


def whole(model, backend):
    return torch.compile(model, backend=backend)


def in_place(model, backend):
    model.compile(backend=backend)
    return model


def stack(model, backend):
    model.bert.encoder = torch.compile(model.bert.encoder, backend=backend)
    return model


def layers(model, backend):
    """Two ways to compile a layer, and one to compile a linear map."""
    first, second, third = model.bert.encoder.layer
    model.bert.encoder.layer[0] = torch.compile(first, backend=backend)
    second.attention.compile(backend=backend)
    third.attention.output.dense = torch.compile(third.attention.output.dense, backend=backend)
    return model


def forward(model, backend):
    model.forward = torch.compile(model.forward, backend=backend)
    return model


def holds(compiling, backend, tolerance, *, surgery=True):
    model = tiny_model("bert", "sdpa")
    plain = copy.deepcopy(model)
    truth = {name: without(plain, heads)(**INPUTS).logits for name, heads in (("A", A), ("B", B), ("", {}))}
    model = compiling(model, backend)

    def logits():
        return model(**INPUTS).logits

    same(logits(), truth[""], tolerance)
    for name, heads in (("A", A), ("B", B), ("", {})):
        with gated(model, gates_of(model, heads)):
            same(logits(), truth[name], tolerance)
    same(logits(), truth[""], tolerance)
    prove_gates(model, INPUTS)
    if not surgery:
        return
    assert [b.name for b in attention_blocks(model)] == [b.name for b in attention_blocks(plain)]
    with torch.enable_grad():
        gradients = [
            _per_token(m, attention_blocks(m), Batch(None, INPUTS, LABELS), SingleLabel("accuracy"))
            for m in (model, plain)
        ]
    for got, wanted in zip(*gradients, strict=True):
        same(got, wanted, tolerance)
    same(zero_heads(model, B)(**INPUTS).logits, truth["B"], tolerance)
    same(remove_heads(model, B)(**INPUTS).logits, truth["B"], tolerance)
    heads = {layer: {*A.get(layer, ()), *B.get(layer, ())} for layer in range(3)}
    same(remove_heads(model, A)(**INPUTS).logits, without(plain, heads)(**INPUTS).logits, tolerance)


LABELS = torch.tensor([0, 1, 2, 0])
SLOW = [(whole, "eager"), (in_place, "eager")]
THOROUGH = [(stack, "eager"), (forward, "eager"), (in_place, "inductor"), (stack, "inductor")]


@pytest.mark.slow
@pytest.mark.parametrize(("compiling", "surgery"), [(in_place, False), (layers, True)])
def test_a_compiled_model_has_the_numbers_of_a_plain_one(compiling, surgery):
    torch._dynamo.reset()
    with torch.no_grad():
        holds(compiling, "eager", 1e-6, surgery=surgery)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compiling", "backend"), [*SLOW, *(pytest.param(*each, marks=pytest.mark.thorough) for each in THOROUGH)]
)
@pytest.mark.filterwarnings("ignore")  # of the compiler's own modules
def test_however_it_is_compiled(compiling, backend):
    torch._dynamo.reset()
    with torch.no_grad():
        holds(compiling, backend, 1e-5)


@pytest.mark.slow
def test_a_model_that_is_compiled_under_gates_does_not_keep_them():
    torch._dynamo.reset()
    model = tiny_model("bert", "sdpa")
    plain = model(**INPUTS).logits
    call = torch.compile(lambda: model(**INPUTS).logits, backend="eager")
    with torch.no_grad():
        with gated(model, gates_of(model, A)):
            same(call(), without(model, A)(**INPUTS).logits)
        same(call(), plain)


def test_gates_that_are_set_in_compiled_code_are_refused():
    model = nn.MultiheadAttention(8, 2)
    gates, x = gates_of(model, "1:1"), torch.ones(3, 1, 8)

    @torch.compile(backend="eager")
    def call():
        with gated(model, gates):
            return model(x, x, x)

    with pytest.raises(MaskNotAppliedError, match="outside of compiled code"):
        call()


def test_blocks_that_end_in_any_order_leave_the_compiler_as_it_was():
    stance = torch._dynamo.eval_frame._stance
    first, second = uncompiled(), uncompiled()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch._dynamo.eval_frame._stance.stance == "force_eager"
    second.__exit__(None, None, None)
    assert torch._dynamo.eval_frame._stance is stance


class Attention(nn.Module):
    """Calls W_O as a module, or not: as a list of its coming calls says."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))
        self.n_heads = 4
        self.calls_w_o = []

    def forward(self, x):
        q, k, v = (w(x).unflatten(-1, (self.n_heads, 4)).transpose(-2, -3) for w in (self.q, self.k, self.v))
        context = functional.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2)
        if self.calls_w_o.pop(0) if self.calls_w_o else True:
            return self.o(context)
        return functional.linear(context, self.o.weight, self.o.bias)


class Net(nn.Module):
    """Two of them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Attention(), Attention()

    def forward(self, x, *, also_second=True):
        x = self.first(x)
        return self.second(x) if also_second else x


@pytest.fixture
def net():
    describe_attention(Attention, query="q", key="k", value="v", output="o", n_heads="n_heads")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().eval()


@pytest.fixture
def x():
    return torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))


CLOSED = {"first": [torch.zeros(4), torch.ones(4)], "second": [torch.ones(4), torch.tensor([1.0, 1.0, 0.5, 1.0])]}


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("calls", [[False], [True, False], [False, True], [True, False, True]], ids=str)
def test_attention_that_passes_w_o_by_is_named_when_its_gates_matter(net, x, name, calls):
    for gates in (CLOSED[name], [torch.ones(4)] * 2):
        getattr(net, name).calls_w_o = list(calls)

        def run(gates=gates):
            with gated(net, gates):
                for _ in calls:
                    net(x)

        if gates is CLOSED[name]:
            with pytest.raises(MaskNotAppliedError, match=f"that of {name} ran without it"):
                run()
        else:
            run()  # gates of 1 change nothing
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_gates_that_are_to_be_differentiated_matter_also_where_they_are_1(net, x):
    net.second.calls_w_o = [False]
    gates = [torch.ones(4, requires_grad=True) for _ in range(2)]
    with pytest.raises(MaskNotAppliedError, match="that of second ran"), gated(net, gates):
        net(x).sum().backward()


def test_attention_that_does_not_run_is_no_fault(net, x):
    with gated(net, CLOSED["second"]):
        net(x, also_second=False)
    with gated(net, CLOSED["second"]):
        pass


def test_another_error_is_not_hidden(net, x):
    net.second.calls_w_o = [False]
    with pytest.raises(ZeroDivisionError), gated(net, CLOSED["second"]):
        net(x).tolist()[0][0][0] / 0


def test_a_w_o_that_is_put_in_under_gates_is_noticed(net, x):
    other = copy.deepcopy(net.first.o)

    def run():
        with gated(net, CLOSED["first"]):
            net.first.o = other
            net(x)

    with pytest.raises(MaskNotAppliedError, match="that of first ran"):
        run()


@pytest.mark.parametrize("what", ["passed by", "does not run"])
def test_a_block_whose_w_o_never_ran_has_no_derivative_of_0(what):
    model = tiny_model()
    output = model.bert.encoder.layer[1].attention.output
    if what == "passed by":
        own = output.dense
        output.forward = lambda hidden, given: output.LayerNorm(functional.linear(hidden, own.weight, own.bias) + given)
    else:
        model.bert.encoder.layer[1].forward = lambda hidden, *args, **kwargs: hidden
    with pytest.raises(MaskNotAppliedError, match=r"layer\.1\.attention ran without it, or did not run"):
        _per_token(model, attention_blocks(model), Batch(None, INPUTS, LABELS), SingleLabel("accuracy"))


@dataclass
class Output:
    """As someone's model may return it."""

    text: str
    inside: object


class Slots:
    """Without a dictionary of attributes."""

    __slots__ = ("hidden",)

    def __init__(self, hidden):
        self.hidden = hidden


OUTPUTS = {
    "tensor": lambda y: y,
    "tuple": lambda y: (y, None, y.argmax(-1)),
    "dict": lambda y: {"logits": y, "n": 3},
    "nested": lambda y: Output("text", [Output("text", (y.mean(1),))]),
    "slots": Slots,
}


class Returning(nn.Module):
    """A stack of PyTorch's own, or of described classes, and what it returns."""

    def __init__(self, body, returns):
        super().__init__()
        self.body, self.returns = body, returns

    def forward(self, x, flag=True):
        return self.returns(self.body(x))


def stack_of(batch_first):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=batch_first)
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


@pytest.mark.parametrize("returns", OUTPUTS)
@pytest.mark.parametrize("body", ["described", "batch first", "batch second"])
def test_the_proof_takes_whatever_a_model_returns(net, x, returns, body, monkeypatch):
    body = net if body == "described" else stack_of(body == "batch first")
    model = Returning(body, OUTPUTS[returns])
    prove_gates(model, {"x": x, "flag": True})
    blocks = attention_blocks(model)
    deaf = blocks[-1].output.module

    def deafened(self, context, gates, instead=None):
        return context if self.output.module is deaf else context * gates.repeat_interleave(4)

    monkeypatch.setattr("prune_heads.anatomy.block.AttentionBlock.gated", deafened)
    with pytest.raises(MaskNotAppliedError, match=f"does not for {blocks[-1].name}:"):
        prove_gates(model, {"x": x})


def test_an_output_without_numbers_cannot_be_compared(net, x):
    with pytest.raises(UnsupportedModelError, match="got str"):
        prove_gates(Returning(net, lambda y: "text"), {"x": x})


def test_a_prediction_that_cannot_change_proves_nothing(net, x):
    with pytest.raises(MaskNotAppliedError, match=r"does not for body\.first, body\.second"):
        prove_gates(Returning(net, torch.zeros_like), {"x": x})
