"""The from-scratch attention by itself, without PyTorch: what must hold of any attention."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference_attention import Weights, attend, attention_weights, causal_mask, merge, padding_mask, softmax, split


@st.composite
def attentions(draw):
    """Weights of a random block, plain or grouped, `(b, q, d)` queries' inputs, a `(b, k, d)` source and a mask."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_kv, size, e, b, q, k = (draw(st.integers(1, 3)) for _ in range(6))
    d, n = draw(st.integers(1, 8)), n_kv * size
    shapes = [(n * e, d), n * e, (n_kv * e, d), n_kv * e, (n_kv * e, d), n_kv * e, (d, n * e), d]
    weights = Weights(e, *(rng.normal(size=shape) for shape in shapes))
    may = rng.random((b, q, k)) < 0.6
    may[..., 0] = True
    return weights, {"x": rng.normal(size=(b, q, d)), "source": rng.normal(size=(b, k, d)), "allowed": may}


exactly = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11)
checked = settings(deadline=None, max_examples=50)
rows_of_scores = hnp.arrays(float, hnp.array_shapes(min_dims=1, max_dims=3), elements=st.floats(-1e4, 1e4))


@checked
@given(rows_of_scores)
def test_rows_of_softmax_sum_to_one_for_scores_of_any_size(scores):
    weights = softmax(scores)
    assert (weights >= 0).all()
    exactly(weights.sum(axis=-1), 1)


@checked
@given(hnp.arrays(float, (3, 5), elements=st.floats(-5, 5)), st.floats(-1e4, 1e4))
def test_softmax_is_its_definition_wherever_the_scores_lie(scores, shift):
    plain = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    exactly(softmax(scores), plain)
    exactly(softmax(scores + shift), plain)


def test_softmax_of_huge_scores():
    np.testing.assert_array_equal(softmax(np.array([1e4, -1e4, 1e4])), [0.5, 0, 0.5])
    exactly(softmax(np.array([-1e4, -1e4 - 1])), [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])


@checked
@given(attentions())
def test_masked_keys_get_no_weight_and_the_others_all(drawn):
    _, arguments = drawn
    may = arguments["allowed"]
    found = attention_weights(1e3 * arguments["x"][:, None], arguments["source"][:, None], may)
    assert not found[~may[:, None]].any()
    exactly(found.sum(axis=-1), 1)


def test_a_query_without_keys_is_refused():
    with pytest.raises(ValueError, match="at least one key"):
        softmax(np.zeros((2, 3)), np.array([[True, False, False], [False, False, False]]))


@checked
@given(attentions())
def test_what_is_masked_is_not_seen(drawn):
    weights, arguments = drawn
    n = arguments["source"].shape[1]
    is_token = np.arange(n)[None] < n - 1 if n > 1 else np.ones((1, 1), bool)
    changed = arguments["source"] + 1e3 * ~is_token[..., None]
    same = {"weights": weights, "x": arguments["x"], "allowed": padding_mask(is_token)}
    exactly(attend(**same, source=changed), attend(**same, source=arguments["source"]))


@checked
@given(attentions())
def test_causal_attention_does_not_see_the_future(drawn):
    weights, arguments = drawn
    x = np.repeat(arguments["x"], 2, axis=1)  # two tokens at least
    later = x.copy()
    later[:, -1] += 1e3
    allowed = causal_mask(x.shape[1])
    exactly(attend(later, weights, allowed=allowed)[:, :-1], attend(x, weights, allowed=allowed)[:, :-1])
    exactly(attend(x, weights, allowed=allowed)[:, :1], attend(x[:, :1], weights))


@checked
@given(attentions(), st.randoms(use_true_random=False))
def test_the_order_of_heads_does_not_matter(drawn, random):
    weights, arguments = drawn
    order = list(range(weights.n_heads))
    random.shuffle(order)
    whole = attend(**arguments, weights=weights)
    exactly(attend(**arguments, weights=weights.take(order)), whole)
    gates = np.linspace(-1, 2, weights.n_heads)
    exactly(
        attend(**arguments, weights=weights.take(order), gates=gates[order]),
        attend(**arguments, weights=weights, gates=gates),
    )


@checked
@given(attentions())
def test_heads_add_up(drawn):
    """Michel et al. (2019), equation 1: the whole is the sum over heads, each gated, and the bias of W_O."""
    weights, arguments = drawn
    heads = range(weights.n_heads)
    alone = [attend(**arguments, weights=replace(weights.take([i]), b_o=np.zeros_like(weights.b_o))) for i in heads]
    exactly(sum(alone) + weights.b_o, attend(**arguments, weights=weights))
    gates = np.linspace(-1, 2, weights.n_heads)
    scaled = sum(gate * one for gate, one in zip(gates, alone, strict=True))
    exactly(scaled + weights.b_o, attend(**arguments, weights=weights, gates=gates))


@checked
@given(attentions())
def test_heads_without_values_send_nothing(drawn):
    """A bias of W_V alone is sent on whole, since attention weights sum to 1: zeroing must take it too."""
    weights, arguments = drawn
    weights = weights.take(range(weights.n_heads))
    first, send = slice(0, weights.head_dim), partial(attend, **arguments)
    w_v, b_v = weights.w_v.copy(), weights.b_v.copy()
    w_v[first] = 0
    constant = weights.w_o[:, first] @ b_v[first] + weights.b_o
    sent = send(weights=replace(weights, w_v=w_v).take([0]))
    exactly(sent, np.broadcast_to(constant, sent.shape))
    b_v[first] = 0
    without = send(weights=replace(weights, w_v=w_v, b_v=b_v))
    exactly(without, send(weights=weights, gates=np.arange(weights.n_heads).clip(max=1)))
    exactly(without, send(weights=weights.take(range(1, weights.n_heads))))


@checked
@given(hnp.arrays(float, (2, 3, 8), elements=st.floats(-1, 1)), st.sampled_from([1, 2, 4, 8]))
def test_heads_are_split_in_order_and_merged_again(x, head_dim):
    by_head = split(x, head_dim)
    for head in range(8 // head_dim):
        np.testing.assert_array_equal(by_head[:, head], x[..., head * head_dim : (head + 1) * head_dim])
    np.testing.assert_array_equal(merge(by_head), x)
