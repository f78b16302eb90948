"""Multi-head attention from scratch, in NumPy and double precision: what the pruned models must agree with.

Vaswani et al. (2017), section 3.2, and heads gated as in Michel et al. (2019), equation 1. It shares no code with the
package. Written to be read beside the formulas, not to be fast. Letters in the shapes: b examples, q queries, k keys,
h heads, g key and value heads, e dimensions of a head, d width of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Weights:
    """Weights of one attention block, each a map from inputs to outputs: `y = W x + b`.

    With grouped-query attention g < h: heads `i * h / g` to `(i + 1) * h / g - 1` share keys and values i.
    """

    head_dim: int
    w_q: Array
    """`(h * e, d)`"""
    b_q: Array
    """`(h * e,)`"""
    w_k: Array
    """`(g * e, d)`"""
    b_k: Array
    """`(g * e,)`"""
    w_v: Array
    """`(g * e, d)`"""
    b_v: Array
    """`(g * e,)`"""
    w_o: Array
    """`(d, h * e)`"""
    b_o: Array
    """`(d,)`; belongs to no head."""

    @property
    def n_heads(self) -> int:
        return len(self.w_q) // self.head_dim

    @property
    def n_kv_heads(self) -> int:
        return len(self.w_k) // self.head_dim

    @property
    def n_weights(self) -> int:
        """Weights of the four maps, without their biases."""
        return sum(w.size for w in (self.w_q, self.w_k, self.w_v, self.w_o))

    def take(self, heads: Sequence[int]) -> "Weights":
        """A block of these heads (from 0) alone, in this order, each with a copy of its keys and values."""
        size = self.n_heads // self.n_kv_heads
        own = self._rows(heads)
        shared = self._rows([head // size for head in heads])
        return replace(
            self,
            w_q=self.w_q[own],
            b_q=self.b_q[own],
            w_k=self.w_k[shared],
            b_k=self.b_k[shared],
            w_v=self.w_v[shared],
            b_v=self.b_v[shared],
            w_o=self.w_o[:, own],
        )

    def _rows(self, heads: Sequence[int]) -> NDArray[np.intp]:
        return (np.asarray(heads, np.intp)[:, None] * self.head_dim + np.arange(self.head_dim)).reshape(-1)


def attend(
    x: Array, weights: Weights, *, source: Array | None = None, allowed: Mask | None = None, gates: Array | None = None
) -> Array:
    """What a block of attention heads sends on: `sum_h gate_h W_O,h head_h(x) + b_o`.

    Args:
        x: `(b, q, d)`, where the queries come from.
        weights: Of the block; it may have no heads.
        source: `(b, k, d)`, where keys and values come from; by default `x`.
        allowed: `(b, q, k)` or what broadcasts to it; True where the query may look at the key. By default everywhere.
        gates: `(h,)`, a factor on each head's output; by default 1.

    Returns:
        `(b, q, d)`
    """
    source = x if source is None else source
    size = weights.n_heads // weights.n_kv_heads if weights.n_heads else 1
    queries = split(x @ weights.w_q.T + weights.b_q, weights.head_dim)
    keys = split(source @ weights.w_k.T + weights.b_k, weights.head_dim).repeat(size, axis=1)
    values = split(source @ weights.w_v.T + weights.b_v, weights.head_dim).repeat(size, axis=1)
    heads = attention_weights(queries, keys, allowed) @ values
    if gates is not None:
        heads = heads * gates[:, None, None]
    return merge(heads) @ weights.w_o.T + weights.b_o


def attention_weights(queries: Array, keys: Array, allowed: Mask | None = None) -> Array:
    """How much each query takes from each key, `softmax(Q K^T / sqrt(e))`: `(b, h, q, k)`, rows that sum to 1.

    Args:
        queries: `(b, h, q, e)`
        keys: `(b, h, k, e)`
        allowed: As in `attend`.
    """
    scores = queries @ keys.swapaxes(-1, -2) / np.sqrt(queries.shape[-1])
    return softmax(scores, None if allowed is None else np.asarray(allowed)[..., None, :, :])


def softmax(scores: Array, allowed: Mask | None = None) -> Array:
    """`exp(s) / sum(exp(s))` over the last axis; the greatest score is subtracted first, so nothing overflows.

    Args:
        scores: `(..., k)`
        allowed: Broadcasts to it; where False the weight is exactly 0.

    Raises:
        ValueError: If nothing is allowed in a row: its softmax is not defined.
    """
    if allowed is not None:
        if not allowed.any(axis=-1).all():
            raise ValueError("every query must be allowed at least one key; a row of the mask has none")
        scores = np.where(allowed, scores, -np.inf)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def split(x: Array, head_dim: int) -> Array:
    """`(b, q, h * e)` to `(b, h, q, e)`."""
    return x.reshape(*x.shape[:-1], x.shape[-1] // head_dim, head_dim).swapaxes(1, 2)


def merge(x: Array) -> Array:
    """`(b, h, q, e)` to `(b, q, h * e)`: `split` undone."""
    b, h, q, e = x.shape
    return x.swapaxes(1, 2).reshape(b, q, h * e)


def padding_mask(is_token: NDArray[np.integer] | Mask) -> Mask:
    """`(b, k)`, 0 for padding, to `(b, 1, k)`: no query looks at padding."""
    return np.asarray(is_token, bool)[:, None, :]


def causal_mask(n_tokens: int) -> Mask:
    """`(1, n_tokens, n_tokens)`: no query looks at a later token."""
    return np.tri(n_tokens, dtype=bool)[None]
