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
from itertools import accumulate, pairwise

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from prune_heads.anatomy import AttentionBlock
from prune_heads.attention import Attention
from prune_heads.errors import UnfitError

RIDGE = 1e-3
CHUNK = 128  # tokens at once
MOST = 16_384  # numbers that heads send for a token; their covariances take 8 bytes for each two of them
MEASURES = ("js", "cka", "cosine")

Matrix = NDArray[np.float64]


class Sums:
    """What is known of the heads of some blocks after any number of batches.

    An `UnfitError` if the heads are too many to be compared.

    Args:
        blocks: What they did in the first batch, for their shapes and their W_O.
    """

    def __init__(self, blocks: Sequence[Attention]) -> None:
        self.blocks, device = blocks, blocks[0].context.device
        sizes = [each.context.shape[2:].numel() for each in blocks]
        if sum(sizes) > MOST:
            must = f"heads that are compared may send {MOST:,} numbers a token"
            why = f"whose covariances take {8 * MOST**2 / 2**30:.0f} GiB; these send {sum(sizes):,}"
            raise UnfitError(f"{must}, {why}. Name fewer layers with --blocks")
        # The vectors of a layer are followed by a 1, so that their sum and their number are among the products.
        edges = accumulate((size + 1 for size in sizes), initial=0)
        self.layers = [slice(*ends) for ends in pairwise(edges)]
        self.mapped = np.repeat([each.map is not None for each in blocks], [each.context.shape[2] for each in blocks])
        where = torch.device("cpu") if device.type == "mps" else device  # which has no float64
        shapes = (self.mapped.sum(), len(self.mapped), self.layers[-1].stop, *(size + 1 for size in sizes))
        zeros = (torch.zeros(int(n), int(n), dtype=torch.float64, device=where) for n in shapes)
        self.js, self.cosine, self.products, *self.held_out = zeros  # of what is held out, those within a layer

    @property
    def n_tokens(self) -> int:
        """Of all batches."""
        return int(self.products[-1, -1])

    @torch.no_grad()
    def add(self, seen: Sequence[Attention], tokens: Tensor, held_out: Tensor) -> None:
        """Add a batch.

        Args:
            seen: The same blocks.
            tokens: `(batch, queries)`: which queries are tokens, not padding.
            held_out: `(batch,)`: which examples no regression is fitted on.
        """
        contexts = [each.context[tokens] for each in seen]
        sent = torch.cat([functional.pad(each.flatten(1), (0, 1), value=1) for each in contexts], dim=1)
        sent = sent.to(self.products)  # in its precision, where it is
        held = sent[held_out.repeat_interleave(tokens.sum(dim=1)).to(sent.device)]
        for own, products in zip(self.layers, self.held_out, strict=True):
            self.products[own, own.start :] += sent[:, own].T @ sent[:, own.start :]  # those of two layers once
            products += held[:, own].T @ held[:, own]
        maps = [each.map.transpose(1, 2)[tokens] for each in seen if each.map is not None]
        for start in range(0, len(sent), CHUNK):
            some = slice(start, start + CHUNK)
            outputs = torch.cat([each.sent(c[some]) for each, c in zip(seen, contexts, strict=True)], dim=1)
            unit = functional.normalize(outputs.to(self.cosine), dim=-1)
            self.cosine += torch.einsum("thw,tgw->hg", unit, unit)
            if maps:
                shown = torch.cat([each[some] for each in maps], dim=1).to(self.js.device)  # `(tokens, heads, keys)`
                entropies = torch.special.entr(shown).sum(dim=-1)
                for i in range(len(self.js)):
                    mixed = torch.special.entr((shown[:, i : i + 1] + shown[:, i + 1 :]) / 2).sum(dim=-1)
                    divergences = mixed - (entropies[:, i : i + 1] + entropies[:, i + 1 :]) / 2
                    self.js[i, i + 1 :] += divergences.double().sum(dim=0)

    def similarities(self) -> dict[str, Matrix]:
        """`js`, `cka` and `cosine`, `(heads, heads)`.

        `js` is NaN where a kernel shows no map, `cka` 0 beside a head that sends nothing, or always the same.
        """
        cosine, divergences = (sums.cpu().numpy() / self.n_tokens for sums in (self.cosine, self.js))
        js = np.full_like(cosine, np.nan)
        js[np.ix_(self.mapped, self.mapped)] = np.maximum(divergences + divergences.T, 0)
        # Of outputs XV and YW, X and Y being what is sent, ||(YW)'XV||^2 is the sum of (WW' Y'X) * (Y'X VV').
        upper = self.products.cpu().triu()
        _, sent = _moments(upper + upper.triu(1).T)
        starts = list[int]()
        for own, each in zip(self.layers, self.blocks, strict=True):
            for i, gram in enumerate(_grams(each.block)):
                starts.append(own.start + i * len(gram))
                dims = slice(starts[-1], starts[-1] + len(gram))
                sent[dims] = gram @ sent[dims]
        products = np.add.reduceat(np.add.reduceat(sent * sent.T, starts, axis=0), starts, axis=1).clip(min=0)
        lengths = np.sqrt(np.outer(np.diag(products), np.diag(products)))
        cka = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
        return {"js": js, "cka": cka, "cosine": cosine}

    def reconstructed(self) -> list[float | None]:
        """Of each head R^2 by the others of its layer; None where there are none, or it says always the same."""
        found = list[float | None]()
        for own, each, products in zip(self.layers, self.blocks, self.held_out, strict=True):
            n_heads = each.context.shape[2]
            if n_heads == 1 or not 0 < products[-1, -1] < self.n_tokens:
                found += [None] * n_heads
                continue
            fitted, held_out = _moments(self.products[own, own] - products), _moments(products)
            found += [_r_squared(fitted, held_out, i, gram) for i, gram in enumerate(_grams(each.block))]
        return found


def _moments(products: Tensor) -> tuple[Matrix, Matrix]:
    """Mean and covariances of vectors that are followed by a 1, from the sums of their products."""
    found = (products / products[-1, -1]).cpu().numpy()
    return found[-1], found - np.outer(found[-1], found[-1])


def _grams(block: AttentionBlock) -> Matrix:
    """`(n_heads, head_dim, head_dim)`: WW' of each head's slice W of W_O; ||xW||^2 is xWW'x'."""
    weight = block.output.weight.detach().cpu().double().unflatten(1, (block.n_heads, block.head_dim))
    return torch.einsum("whd,whe->hde", weight, weight).numpy()


def _r_squared(fitted: tuple[Matrix, Matrix], held_out: tuple[Matrix, Matrix], head: int, gram: Matrix) -> float | None:
    """Of a head's output by what the others of its layer send; the moments are of all that the layer sends."""
    (mean, covariance), (held_mean, held) = fitted, held_out
    here = slice(head * len(gram), (head + 1) * len(gram))
    others = np.delete(np.arange(len(mean) - 1), here)
    among = covariance[np.ix_(others, others)]
    penalty = max(RIDGE * np.trace(among) / len(others), 1e-30)
    left = np.eye(len(mean))[:, here]  # of the head, less what the others say of it
    left[others] -= np.linalg.solve(among + penalty * np.eye(len(others)), covariance[others, here])
    shift = (held_mean - mean) @ left
    error = left.T @ held @ left + np.outer(shift, shift)
    there = np.sum(gram * held[here, here])
    return float(1 - np.sum(gram * error) / there) if there > 0 else None


def placed(squares: Matrix) -> tuple[Matrix, float]:
    """Places in a plane, `(n, 2)`, and the share of the squared distances that it shows (classical scaling).

    Args:
        squares: `(n, n)` squared distances.
    """
    centre = np.eye(len(squares)) - 1 / len(squares)
    values, vectors = np.linalg.eigh(-centre @ squares @ centre / 2)
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), range(len(vectors))])  # eigenvectors have none
    lengths = np.sqrt(np.maximum(values, 0))
    found = np.pad(vectors * signs * lengths, [(0, 0), (1, 0)])[:, :-3:-1]  # the largest come last; one point has one
    return found, float(np.sum(found**2) / (np.sum(lengths**2) or 1))


def clustered(squares: Matrix, n: int) -> list[int]:
    """The cluster of each, from 1 in the order in which they first come: at most `n`, by Ward's method.

    Args:
        squares: `(heads, heads)` squared distances that are Euclidean.
        n: Clusters.
    """
    if len(squares) < 2:
        return [1] * len(squares)
    tree = scipy.cluster.hierarchy.ward(np.sqrt(scipy.spatial.distance.squareform(squares, checks=False)))
    labels = scipy.cluster.hierarchy.fcluster(tree, n, "maxclust").tolist()
    order = list(dict.fromkeys(labels))
    return [order.index(label) + 1 for label in labels]
