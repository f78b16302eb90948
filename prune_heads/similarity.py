"""How alike heads are: by their attention maps, by their outputs, and by what the others of a layer can say of them.

All sums are over tokens and of fixed size, so that memory does not grow with the number of texts. Heads are those of
blocks that see the same tokens; what a head sends is its output through W_O, without the bias, which is no head's.

- `js`: Jensen-Shannon divergence of two maps, in nats, the mean over the tokens that look (Clark et al. 2019, section
  6, sum it over tokens). It is the squared length of a Euclidean distance (Endres and Schindelin 2003).
- `cka`: linear CKA of two outputs, ||Y'X||^2 / (||X'X|| ||Y'Y||), columns centred (Kornblith et al. 2019, equation 5).
- `cosine`: of two outputs, the mean over tokens.
- `reconstructed`: R^2 of a head's output by a ridge regression on what the other heads of its layer send into W_O,
  fitted on one half of the examples and measured on the other; the penalty is `RIDGE` times their mean variance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prune_heads.attention import Attention

RIDGE = 1e-3
CHUNK = 128  # tokens at once
MEASURES = ("js", "cka", "cosine")

Matrix = NDArray[np.float64]


@dataclass
class Moments:
    """Sums over tokens of vectors and of their products."""

    n: int
    total: Matrix
    products: Matrix

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(self.n - other.n, self.total - other.total, self.products - other.products)

    def of(self, dims: slice) -> "Moments":
        """Of some of the dimensions."""
        return Moments(self.n, self.total[dims], self.products[dims, dims])

    @property
    def mean(self) -> Matrix:
        """`(dimensions,)`."""
        return np.asarray(self.total / self.n)

    def around(self, point: Matrix) -> Matrix:
        """`(dimensions, dimensions)`: the mean of products of vectors less a point; around their mean, covariances."""
        crossed = np.outer(point, self.mean)
        return np.asarray(self.products / self.n - crossed - crossed.T + np.outer(point, point))


@dataclass
class Sums:
    """What is known of the heads of some blocks after any number of batches."""

    blocks: Sequence[Attention]  # as they were first seen, for their shapes and their W_O
    n_tokens: int = 0
    n_held_out: int = 0
    _sums: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = [block.context.shape[-1] for block in self.blocks for _ in range(block.context.shape[-2])]
        edges = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        self.heads = [slice(*ends) for ends in pairwise(edges)]
        self.layers = [i for i, block in enumerate(self.blocks) for _ in range(block.context.shape[-2])]
        self.mapped = [i for i, layer in enumerate(self.layers) if self.blocks[layer].map is not None]
        device = self.blocks[0].context.device
        where = torch.device("cpu") if device.type == "mps" else device  # which has no float64
        n, d = len(self.heads), edges[-1]
        shapes = {"total": (d,), "held total": (d,), "cosine": (n, n), "js": (n, n)}
        # Of products of two layers the one half; of what is held out, those within a layer.
        shapes |= {f"products {i}": (self._of_layer(i).stop - self._of_layer(i).start, d) for i in set(self.layers)}
        shapes |= {f"held {i}": (self._of_layer(i).stop - self._of_layer(i).start,) * 2 for i in set(self.layers)}
        self._sums = {name: torch.zeros(shape, dtype=torch.float64, device=where) for name, shape in shapes.items()}

    def _of_layer(self, layer: int) -> slice:
        own = [dims for dims, of in zip(self.heads, self.layers, strict=True) if of == layer]
        return slice(own[0].start, own[-1].stop)

    @torch.no_grad()
    def add(self, seen: Sequence[Attention], tokens: Tensor, held_out: Tensor) -> None:
        """Add a batch.

        Args:
            seen: The same blocks.
            tokens: `(batch, queries)`: which queries are tokens, not padding.
            held_out: `(batch,)`: which examples no regression is fitted on.
        """
        sums, where = self._sums, self._sums["total"].device
        contexts = [each.context[tokens] for each in seen]
        sent = torch.cat([context.flatten(1).to(where, torch.float64) for context in contexts], dim=1)
        held = sent[held_out[:, None].expand_as(tokens)[tokens].to(where)]
        self.n_tokens, self.n_held_out = self.n_tokens + len(sent), self.n_held_out + len(held)
        sums["total"] += sent.sum(dim=0)
        sums["held total"] += held.sum(dim=0)
        for layer in set(self.layers):
            own = self._of_layer(layer)
            sums[f"products {layer}"][:, own.start :] += sent[:, own].T @ sent[:, own.start :]
            sums[f"held {layer}"] += held[:, own].T @ held[:, own]
        maps = [each.map.transpose(1, 2)[tokens] for each in seen if each.map is not None]
        for start in range(0, len(sent), CHUNK):
            some = slice(start, start + CHUNK)
            outputs = torch.cat([each.sent(c[some]) for each, c in zip(seen, contexts, strict=True)], dim=1)
            unit = torch.nn.functional.normalize(outputs.to(where, torch.float64), dim=-1).transpose(0, 1).flatten(1)
            sums["cosine"] += unit @ unit.T
            if maps:
                self._add_divergences(torch.cat([map[some] for map in maps], dim=1).to(where))

    def _add_divergences(self, maps: Tensor) -> None:
        """Maps are `(tokens, heads, keys)`, of the heads that show theirs."""
        entropies = torch.special.entr(maps).sum(dim=-1)
        for i, head in enumerate(self.mapped):
            mixed = torch.special.entr((maps[:, i : i + 1] + maps[:, i + 1 :]) / 2).sum(dim=-1)
            divergences = mixed - (entropies[:, i : i + 1] + entropies[:, i + 1 :]) / 2
            self._sums["js"][head, self.mapped[i + 1 :]] += divergences.double().sum(dim=0)

    def moments(self, which: str = "") -> Moments:
        """Of all tokens; of those `held out`, only products within a layer are known."""
        d = len(self._sums["total"])
        products = np.zeros((d, d))
        for layer in set(self.layers):
            own = self._of_layer(layer)
            found = self._sums[f"held {layer}" if which else f"products {layer}"].cpu().numpy()
            columns = own if which else slice(own.start, d)
            products[own, columns] = found if which else found[:, own.start :]
        if not which:
            products = np.triu(products) + np.triu(products, 1).T
        total = self._sums["held total" if which else "total"].cpu().numpy()
        return Moments(self.n_held_out if which else self.n_tokens, total, products)

    @torch.no_grad()
    def weights(self) -> list[Matrix]:
        """Of each head W'W, `(head_dim, head_dim)`, W being its slice of W_O: lengths of outputs by what is sent."""
        found: list[Matrix] = []
        for each in self.blocks:
            eye = torch.eye(each.context.shape[-1], dtype=torch.float64)[:, None].expand(-1, each.context.shape[-2], -1)
            out = each.sent(eye.to(each.context.device, each.context.dtype)).double().cpu().numpy()
            found += [part @ part.T for part in out.transpose(1, 0, 2)]
        return found

    def similarities(self) -> dict[str, Matrix]:
        """`js`, `cka` and `cosine`, `(heads, heads)`; NaN in `js` where a kernel shows no map."""
        js = self._sums["js"].cpu().numpy() / self.n_tokens
        js = np.maximum(js + js.T, 0)
        blind = [i for i in range(len(self.heads)) if i not in self.mapped]
        js[blind, :] = js[:, blind] = np.nan
        cosine = self._sums["cosine"].cpu().numpy() / self.n_tokens
        return {"js": js, "cka": self.cka(), "cosine": cosine}

    def cka(self) -> Matrix:
        """`(heads, heads)`; 0 beside a head that sends nothing, or always the same."""
        whole = self.moments()
        found = whole.around(whole.mean)
        for dims, weight in zip(self.heads, self.weights(), strict=True):
            values, vectors = np.linalg.eigh(weight)
            root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
            found[dims] = root @ found[dims]
            found[:, dims] = found[:, dims] @ root.T
        starts = [dims.start for dims in self.heads]
        products = np.add.reduceat(np.add.reduceat(found**2, starts, axis=0), starts, axis=1)
        lengths = np.sqrt(np.outer(np.diag(products), np.diag(products)))
        return np.asarray(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0))

    def reconstructed(self) -> list[float | None]:
        """Of each head R^2 by the others of its layer; None where there are none, or it says always the same."""
        whole, held_out, weights = self.moments(), self.moments("held out"), self.weights()
        found: list[float | None] = []
        for i, layer in enumerate(self.layers):
            own, dims = self._of_layer(layer), self.heads[i]
            here = np.arange(dims.start - own.start, dims.stop - own.start)
            others = np.setdiff1d(np.arange(own.stop - own.start), here)
            held, fit = held_out.of(own), whole.of(own) - held_out.of(own)
            if not (len(others) and held.n and fit.n):
                found.append(None)
                continue
            covariance, error = fit.around(fit.mean), held.around(fit.mean)
            penalty = RIDGE * np.trace(covariance[np.ix_(others, others)]) / len(others)
            among = covariance[np.ix_(others, others)] + max(penalty, 1e-30) * np.eye(len(others))
            by = np.zeros((len(covariance), len(here)))
            by[here], by[others] = np.eye(len(here)), -np.linalg.solve(among, covariance[np.ix_(others, here)])
            there = np.sum(weights[i] * held.around(held.mean)[np.ix_(here, here)])
            left = np.sum(weights[i] * (by.T @ error @ by))
            found.append(float(1 - left / there) if there > 0 else None)
        return found


def placed(squares: Matrix) -> tuple[Matrix, float]:
    """Places in a plane, `(n, 2)`, and the share of the squared distances that it shows (classical scaling).

    Args:
        squares: `(n, n)` squared distances.
    """
    centre = np.eye(len(squares)) - 1 / len(squares)
    values, vectors = np.linalg.eigh(-centre @ squares @ centre / 2)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), range(len(vectors))])  # eigenvectors have none
    found = np.zeros((len(squares), 2))
    found[:, : len(values)] = (vectors * signs * np.sqrt(values))[:, :2]
    return found, float(values[:2].sum() / values.sum()) if values.sum() > 0 else 0.0


def clustered(squares: Matrix, n: int) -> list[int]:
    """The cluster of each, from 1 in the order in which they first come: at most `n`, by Ward's method.

    Args:
        squares: `(heads, heads)` squared distances that are Euclidean.
        n: Clusters.
    """
    import scipy.cluster.hierarchy
    from scipy.spatial.distance import squareform

    if len(squares) < 2:
        return [1] * len(squares)
    tree = scipy.cluster.hierarchy.ward(np.sqrt(squareform(squares, checks=False)))
    labels = scipy.cluster.hierarchy.fcluster(tree, n, "maxclust").tolist()
    order = list(dict.fromkeys(labels))
    return [order.index(label) + 1 for label in labels]
