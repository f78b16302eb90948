"""Maps are what transformers gives, values and outputs what a hand computes; a map is proved before it is believed."""

from functools import partial

import pytest
import torch
from loading import load_classifier
from tiny_types import all_types, inputs_for, tiny_model
from torch import nn
from torch.nn import functional
from transformers import AutoModelForSequenceClassification

from prune_heads import attention_blocks, describe_attention, gated, remove_heads
from prune_heads.anatomy import FAMILIES
from prune_heads.attention import observing, unproved_maps
from prune_heads.attention.reading import _of_fused
from prune_heads.errors import UnsupportedModelError

NO_MAP = {
    "funnel": "shortens the text between layers: two of its blocks",
    "longformer": "attends in windows",
    "yoso": "hashes its queries",
    "t5gemma2": "attends to two texts in one product: the decoder",
}
NO_VALUES = {
    "nystromformer": "a convolution beside",
    **dict.fromkeys(("qwen3_5", "qwen3_5_text", "qwen3_next"), "a gate after"),
}
SINKS = {"gpt_oss"}
NOT_SAID = {
    "canine": "transformers gives those of layers without heads of ours too",
    "funnel": "the same",
    "longformer": "windows",
    "minimax": "linear attention too",
    "nystromformer": "transformers has no causal map",
    "perceiver": "cross-attention too",
    "swin": "one of each stage's layers",
    "t5gemma": "the decoder's only",
    "t5gemma2": "the decoder's are merged",
    "yoso": "no map",
}
"""Where `output_attentions` gives other things, and why."""
TYPES = [name for name in all_types() if name in FAMILIES]
COMMON = [
    "bert",
    "distilbert",
    "gpt2",
    "llama",
    "t5",
    "bart",
    "albert",
    "deberta-v2",
    "bloom",
    "gemma2",
    "xlnet",
    "vit",
]
ODD = sorted({*NO_MAP, *NO_VALUES, *SINKS})


def of_transformers(output):
    """In our order: E, A, D."""
    names = ("encoder_attentions", "cross_attentions", "decoder_attentions", "attentions")
    return [each for name in names for each in getattr(output, name, None) or ()]


@torch.no_grad()
def observed(model, inputs, changed=None):
    torch.manual_seed(0)  # some types draw
    with observing(model, changed or {}) as observe:
        return observe(**inputs)


def near(a, b, tolerance=1e-6):
    return a.shape == b.shape and float((a - b).abs().max()) <= tolerance * max(1.0, float(b.abs().max()))


def check_type(model_type):
    """A batch with padding, in both kernels: the same maps, those of transformers; values that give W_O's input."""
    eager, fused = (tiny_model(model_type, attention=kernel) for kernel in ("eager", None))
    inputs = inputs_for(eager)
    one = {name: value[:1] for name, value in inputs.items()}
    _, seen = observed(eager, inputs)
    _, with_fused = observed(fused, inputs)
    assert [each.block.name for each in seen] == [block.name for block in attention_blocks(eager)]
    real = ... if "attention_mask" not in inputs else inputs["attention_mask"].bool()
    for each, other in zip(seen, with_fused, strict=True):
        assert (each.map is None) == (other.map is None)
        if each.map is not None:
            rows, others = each.map.transpose(1, 2), other.map.transpose(1, 2)
            whole = real if real is not ... and rows.shape[:2] == real.shape else ...  # padded queries may be anything
            assert near(rows[whole].float(), others[whole].float(), 2e-6)
        if each.values is not None:
            assert near((each.map.to(each.values.dtype) @ each.values).transpose(1, 2), each.context, 1e-4)
    lacking = {each.block.name for each in seen if each.map is None}
    assert bool(lacking) == (model_type in NO_MAP)
    assert any(each.values is None for each in seen if each.map is not None) == (model_type in NO_VALUES)
    faults = unproved_maps(eager, one)
    assert set(faults) == ({each.block.name for each in seen} if model_type in SINKS else lacking)
    assert set(unproved_maps(fused, one)) == set(faults)
    if model_type in NOT_SAID:
        return
    torch.manual_seed(0)
    with torch.no_grad():
        wanted = of_transformers(eager(**inputs, output_attentions=True))
    assert len(wanted) == len(seen)
    assert all(near(each.map.float(), map.float()) for each, map in zip(seen, wanted, strict=True))


@pytest.mark.parametrize("model_type", COMMON)
def test_maps_of_a_type(model_type):
    check_type(model_type)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ODD)
def test_what_types_lack(model_type):
    check_type(model_type)


@pytest.mark.thorough
@pytest.mark.parametrize("model_type", sorted(set(TYPES) - {*COMMON, *ODD}))
def test_maps_of_every_type(model_type):
    check_type(model_type)


def test_the_guide_lists_what_cannot_be_looked_at():
    from prune_heads.guide import page

    for model_type in (*NO_MAP, *NO_VALUES, *SINKS):
        assert model_type in page("heads"), model_type


def by_hand(block, map, values):
    """|a_ij| |(x_j W_V + b_V) W_O| in float64 (Kobayashi et al., 2020), and the outputs of the heads."""
    weight = block.output.weight.double()
    sent = [values[:, h].double() @ weight[:, list(block.output.heads[h])].T for h in range(block.n_heads)]
    weighted = [map[:, h].double().abs() * each.norm(dim=-1)[:, None] for h, each in enumerate(sent)]
    return torch.stack(weighted, 1), torch.stack([map[:, h].double() @ each for h, each in enumerate(sent)], 2)


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama", "t5", "xlnet"])
@torch.no_grad()
def test_lengths_and_outputs_are_those_of_a_hand(model_type):
    model = tiny_model(model_type)
    inputs, given = inputs_for(model), {}
    blocks = attention_blocks(model)
    hooks = [
        block.output.module.register_forward_hook(lambda m, args, out, b=block: given.update({b.name: out}))
        for block in blocks
        if not block.layout.context
    ]
    _, seen = observed(model, inputs)
    for hook in hooks:
        hook.remove()
    for each in seen:
        weighted, outputs = by_hand(each.block, each.map, each.values)
        assert near(each.weighted.double(), weighted, 1e-5)
        assert near(each.sent(each.context).double(), outputs, 1e-5)
        if (found := given.get(each.block.name)) is not None:
            bias = 0 if each.block.output.bias is None else each.block.output.bias
            assert near(each.sent(each.context).sum(dim=2) + bias, found, 1e-5)


@torch.no_grad()
def test_a_text_alone_is_seen_as_in_a_batch():
    model = tiny_model("bert")
    inputs = inputs_for(model)
    n = int(inputs["attention_mask"][2].sum())
    _, batch = observed(model, inputs)
    _, alone = observed(model, {name: value[2:, :n] for name, value in inputs.items()})
    for a, b in zip(batch, alone, strict=True):
        assert near(a.map[2:, :, :n, :n], b.map)
        assert not a.map[2:, :, :, n:].any()


def test_layers_that_share_weights_have_a_map_each():
    model = tiny_model("albert")
    _, seen = observed(model, inputs_for(model))
    assert len({each.block.name for each in seen}) == 1
    assert not near(seen[0].map, seen[1].map, 1e-3)


def test_heads_that_are_gone_are_not_there():
    model, inputs = tiny_model("bert"), inputs_for(tiny_model("bert"))
    _, before = observed(model, inputs)
    remove_heads(model, "1:2 2:1,2,3,4")
    _, after = observed(model, inputs)
    assert [each.block.original_heads for each in after] == [(0, 2, 3), (0, 1, 2, 3)]  # a layer without heads runs none
    assert near(after[0].map, before[0].map[:, [0, 2, 3]])
    assert not unproved_maps(model, {name: value[:1] for name, value in inputs.items()})


@pytest.mark.parametrize("first", ["gated", "observing"])
@torch.no_grad()
def test_a_gated_model_is_seen_as_it_runs(first):
    """Values are times the gate where the gate is set before; where it is set after, W_O's input was seen before it."""
    model, inputs = tiny_model("llama"), inputs_for(tiny_model("llama"))
    gates = [torch.full((block.n_heads,), 1.0) for block in attention_blocks(model)]
    gates[0][:] = torch.tensor([0.0, 0.5, 1.0, -2.0])
    _, plain = observed(model, inputs)
    if first == "gated":
        with gated(model, gates):
            output, seen = observed(model, inputs)
    else:
        with observing(model) as observe, gated(model, gates):
            output, seen = observe(**inputs)
    with gated(model, gates):
        assert torch.equal(output.logits, model(**inputs).logits)
    scale = gates[0] if first == "gated" else torch.ones(4)
    assert near(seen[0].map, plain[0].map)
    assert near(seen[0].values, plain[0].values * scale[:, None, None], 1e-5)
    assert near(seen[0].sent(seen[0].context), plain[0].sent(plain[0].context) * scale[:, None], 1e-5)
    assert all(each.values is not None for each in seen)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_half_precision(dtype, kernel):
    model = tiny_model("llama", attention=kernel)
    inputs = inputs_for(model)
    _, exact = observed(model, inputs)
    _, seen = observed(model.to(dtype), inputs)
    assert near(seen[0].map.float(), exact[0].map, 3e-2)
    assert all(each.values is not None for each in seen)
    assert seen[0].weighted.dtype in (dtype, torch.float32)


@pytest.mark.parametrize("need_weights", [True, False])
@torch.no_grad()
def test_attention_of_torch(need_weights):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    x = torch.randn(2, 5, 16)
    output, seen = observed(model, {"src": x})
    assert near(output, model(x), 1e-5)
    _, wanted = model.layers[0].self_attn(x, x, x, need_weights=True, average_attn_weights=False)
    assert near(seen[0].map, wanted)
    assert seen[0].values is not None
    alone = model.layers[0].self_attn
    with observing(alone) as observe:
        _, found = observe(query=x, key=x, value=x, need_weights=need_weights)
    assert near(found[0].map, wanted)


def test_a_model_inside_a_module_whose_kernel_cannot_be_read():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = tiny_model("llama")
            self.inner.set_attn_implementation("flex_attention")

        def forward(self, **inputs):
            return self.inner(**inputs).logits

    model, plain = Whole(), tiny_model("llama")
    inputs = inputs_for(plain)
    output, seen = observed(model, inputs)
    assert model.inner.config._attn_implementation == "flex_attention"
    assert near(output, observed(plain, inputs)[0].logits)
    assert near(seen[0].map, observed(plain, inputs)[1][0].map)
    assert seen[0].block.name.startswith("inner.")


@pytest.mark.slow
def test_a_compiled_model_is_seen():
    model = tiny_model("bert")
    inputs = inputs_for(model)
    _, plain = observed(model, inputs)
    model.bert.encoder.layer[0].compile(backend="eager")
    with torch.no_grad():
        model(**inputs)
    _, seen = observed(model, inputs)
    assert [near(a.map, b.map) for a, b in zip(seen, plain, strict=True)] == [True] * 3


def hooks_of(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def test_nothing_is_left_behind_also_after_an_error():
    model = tiny_model("bert")
    inputs = inputs_for(model)
    before = hooks_of(model)
    with (
        pytest.raises(ZeroDivisionError),
        observing(model, {attention_blocks(model)[1].module: lambda map: 1 / 0}) as look,
    ):
        look(**inputs)
    assert hooks_of(model) == before
    assert torch.overrides._get_current_function_mode() is None
    spoiled = {"on": True}
    hook = model.bert.encoder.layer[1].output.register_forward_pre_hook(lambda *_: 1 / 0 if spoiled["on"] else None)
    with observing(model) as observe:  # a pass that is broken off leaves nothing to the next
        with pytest.raises(ZeroDivisionError):
            observe(**inputs)
        spoiled["on"] = False
        _, seen = observe(**inputs)
    hook.remove()
    assert [near(a.map, b.map) for a, b in zip(seen, observed(model, inputs)[1], strict=True)] == [True] * 3


class Planted(nn.Module):
    """Attention with a fault: its map is not used, or a factor of another matrix alone, or has heads before texts."""

    def __init__(self, fault):
        super().__init__()
        self.fault, self.n_heads = fault, 2
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x):
        q, k, v = (map_(x).unflatten(-1, (2, 4)).transpose(1, 2) for map_ in (self.q, self.k, self.v))
        if self.fault == "heads first":
            q, k, v = (each.transpose(0, 1) for each in (q, k, v))
        map = (q @ k.transpose(-2, -1)).softmax(dim=-1)
        context = (map * 0.5 if self.fault == "sink" else map) @ v
        if self.fault == "deaf":
            context = functional.tanh(v)
        if self.fault == "factor":
            context = (k @ q.transpose(-2, -1)) @ context
        if self.fault == "copy":
            context = (map + 0) @ v
        if self.fault == "heads first":
            context = context.transpose(0, 1)
        return self.o(context.transpose(1, 2).flatten(-2))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("", ""),
        ("deaf", "must be of one query"),
        ("copy", "another attention map must change the output"),
        ("factor", "changes what other queries get"),
        ("sink", "must sum to one"),
        ("heads first", "must be computed by a softmax"),
    ],
)
@torch.no_grad()
def test_a_map_that_is_not_what_is_computed_with_is_refused(fault, said):
    describe_attention(Planted, query="q", key="k", value="v", output="o", n_heads="n_heads")
    torch.manual_seed(0)
    model = Planted(fault).eval()
    inputs = {"x": torch.randn(1, 5, 8)}
    faults = unproved_maps(model, inputs)
    assert list(faults) == [block.name for block in attention_blocks(model) if said]
    assert all(said in why for why in faults.values())


@pytest.mark.parametrize("model_type", ["bert", "gpt2"])
def test_a_text_of_two_tokens_has_proved_maps(model_type):
    """A decoder's classifier reads the second of two tokens: its last map too must be seen to count."""
    model = tiny_model(model_type, attention="eager")
    assert unproved_maps(model, {"input_ids": torch.tensor([[7, 9]])}) == {}


class _Coarse(nn.Module):
    """Whether a logit is above an edge: most changes are not seen, as with few digits."""

    def __init__(self, logits, of, edge):
        super().__init__()
        self.logits, self.of, self.edge = logits, of, edge

    def forward(self, x):
        return (self.logits(x)[:, self.of : self.of + 1] > self.edge).float()


@torch.no_grad()
def test_a_map_counts_though_the_answer_of_one_other_map_is_rounded_to_the_same():
    model = tiny_model("bert", attention="eager", num_labels=9)
    inputs = {"input_ids": torch.tensor([[7, 9, 4, 3, 8, 5]])}
    block = attention_blocks(model)[0]

    def logits(shifts):
        with observing(model, {block.module: partial(torch.roll, shifts=shifts, dims=-1)}) as observe:
            return observe(**inputs)[0].logits[0]

    nearer = torch.maximum(*map(logits, (0, 1)))
    of = int((logits(2) - nearer).argmax())
    edge = float((logits(2) + nearer)[of]) / 2
    assert float(nearer[of]) < edge < float(logits(2)[of])
    model.classifier = _Coarse(model.classifier, of, edge)
    assert block.name not in unproved_maps(model, inputs)
    model.classifier.edge = 1e9
    assert [*unproved_maps(model, inputs)] == [each.name for each in attention_blocks(model)]


@torch.no_grad()
def test_landmarks_are_no_map():
    """With as many landmarks as tokens it attends as others do; with fewer, its kernels are not over tokens."""
    model = tiny_model("nystromformer", segment_means_seq_len=8, num_landmarks=4)
    inputs = {name: value[:1] for name, value in inputs_for(model, n_tokens=8).items()}
    assert len(unproved_maps(model, inputs)) == 3
    with pytest.raises(UnsupportedModelError, match="so it has no map to look at"):
        _ = observed(model, inputs)[1][0].probabilities


def test_what_cannot_be_given_is_refused_by_name():
    model = tiny_model("nystromformer")
    _, seen = observed(model, inputs_for(model))
    with pytest.raises(UnsupportedModelError, match=r"layer.0.attention is not, so the values have no lengths"):
        _ = seen[0].weighted


@pytest.mark.parametrize("is_causal", [True, False])
def test_probabilities_are_those_of_the_fused_kernel(is_causal):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 4) for n in (5, 5, 5))
    mask = None if is_causal else torch.rand(2, 1, 5, 5) > 0.5
    if mask is not None:
        mask[0, 0, 1] = False  # a query that may look at nothing
    wanted = functional.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, scale=0.7)
    assert near(_of_fused(q, k, v, mask, is_causal=is_causal, scale=0.7)[0] @ v, wanted.nan_to_num())


@pytest.mark.real
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "albert", "bart", "gpt2", "xlm"])
def test_checkpoints_of_the_oracle(family, shared):
    model = AutoModelForSequenceClassification.from_pretrained(shared / "oracle" / family, attn_implementation="eager")
    ids = torch.tensor([[5, 9, 7, 11, 2]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    _, seen = observed(model.eval(), inputs)
    with torch.no_grad():
        wanted = of_transformers(model(**inputs, output_attentions=True))
    assert [near(each.map, map) for each, map in zip(seen, wanted, strict=True)] == [True] * len(wanted)
    assert not unproved_maps(model, inputs)


@pytest.mark.real
@pytest.mark.slow
def test_a_real_model(shared):
    checkpoint = load_classifier(str(shared / "models" / "minilm-sst2"))
    inputs = dict(checkpoint.tokenizer("a film without a single dull moment", return_tensors="pt"))
    _, seen = observed(checkpoint.model, inputs)
    checkpoint.model.set_attn_implementation("eager")
    with torch.no_grad():
        wanted = checkpoint.model(**inputs, output_attentions=True).attentions
    assert all(near(each.map, map, 1e-5) for each, map in zip(seen, wanted, strict=True))  # float32, two kernels
    assert not unproved_maps(checkpoint.model, inputs)
