"""What stands in for a masked head: nothing, its mean, its mean at each position, or its output for another example.

At the input of W_O a head gives `gate * output + (1 - gate) * r`. `zero` has r = 0. `mean` has the head's mean over all
tokens of some examples (Wang et al., 2023). `position-mean` has the mean over the tokens at the same position, from the
example's start; positions that no example reaches have the mean over all tokens. `resample` has what the head gives for
another example at that position, modulo its length (Chan et al., 2022). The choice decides results: Miller, Chughtai
and Saunders, 2024; Li and Janson, 2024.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from prune_heads.anatomy import attention_blocks
from prune_heads.anatomy.families import Stack
from prune_heads.errors import OptionError, UnfitError
from prune_heads.files import canonical
from prune_heads.gating import evaluating, gated
from prune_heads.objectives.batches import Batches
from prune_heads.progress import Progress, silent

KINDS = ("mean", "position-mean", "resample")
_Seen = tuple[Tensor, Tensor | None, Tensor | None]
"""Of a block and some rows what its heads give, `(rows, places, width)`; the position of each token from its row's
start, `(rows, places)`, and the tokens of each row, `(rows, 1)`, outside of which all is padding; None for images."""


@dataclass(frozen=True, eq=False)
class Replacement:
    """What stands in for masked heads of one model, as `measure` has found it."""

    kind: str  # `mean`, `position-mean` or `resample`
    rows: Batches  # what it was measured on, a row an example; of `resample` those that stand in
    means: Sequence[Tensor | None] = ()
    """A block, heads side by side, in float64: `(width,)`, or `(positions + 1, width)`, the mean over all tokens last;
    None for a block without heads, or that did not run."""
    seed: int = 0  # of `resample`

    @cached_property
    def identity(self) -> str:
        """For keys: what it was made of, but for the model; JSON."""
        digest = hashlib.sha256()
        for name, array in self.rows.arrays():
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + np.ascontiguousarray(array).tobytes())
        return canonical({"kind": self.kind, "data": digest.hexdigest(), "seed": self.seed})

    def of(self, model: nn.Module, batches: Batches, index: NDArray[np.int64]) -> list[Tensor | None]:
        """What stands in at the W_O of each block, as `gated` takes it, for the batch of these examples.

        `resample` runs the model once more, on as many rows. Each row of the batch has one that stands in for all
        heads, drawn from all but the one at its own place, by the seed and this place alone.

        An `UnfitError` if the tokens of a block are not those of the texts.
        """
        weight, rows = next(model.parameters()), batches.rows_of(index)
        if self.kind == "mean":
            return [None if mean is None else mean.to(weight) for mean in self.means]
        inputs, n = batches.batch(index).to(weight.device).inputs, len(self.rows.n_tokens)
        own = [positions(block.stack, batches, rows, inputs)[0] for block in attention_blocks(model)]
        found = list[Tensor | None]()
        if self.kind == "position-mean":
            for mean, position in zip(self.means, own, strict=True):
                table = None if mean is None else mean.to(weight)
                if table is not None and position is not None and bool((position < 0).any()):  # padded on the left
                    table = table[position.clamp(0, len(table) - 1)]
                found.append(table)
            return found
        drawn = [int(np.random.default_rng([self.seed, i]).integers(n - (i < n))) for i in rows.tolist()]
        others = np.asarray([other + (i <= other) for i, other in zip(rows.tolist(), drawn, strict=True)])
        seen, row = _seen(model, self.rows, others, self.kind), torch.arange(len(rows), device=weight.device)[:, None]
        for i, position in enumerate(own):
            context, theirs, length = seen.get(i, (None, None, None))
            if context is not None and position is not None and theirs is not None and length is not None:
                context = context[row, position % length - theirs[:, :1]]
            found.append(context)
        return found


def stand_in(model: nn.Module, batches: Batches, index: NDArray[np.int64]) -> list[Tensor | None] | None:
    """What stands in for masked heads in the batch of these examples; None for nothing."""
    return None if batches.replacement is None else batches.replacement.of(model, batches, index)


def measure(
    model: nn.Module, batches: Batches, kind: str, seed: int = 0, *, progress: Progress = silent
) -> Replacement:
    """What stands in for masked heads, `mean`, `position-mean` or `resample`, by what heads give for these examples.

    For means one forward pass over them, those of one length together: no padding enters, and batches of another size
    change the rounding alone. The decoder of a model that writes texts is given the right ones. The seed is of
    `resample`; progress is told how many rows are done. An `UnfitError` if positions are not defined: texts are written
    token by token, or the tokens of a block are not those of the texts; or if there is no other example to draw.
    """
    if kind not in KINDS:
        raise OptionError(f"what stands in for a masked head must be one of zero, {', '.join(KINDS)}; got {kind!r}")
    if kind != "mean" and batches.objective.generates:
        must = f"--replace {kind} needs all tokens of a text at once"
        raise UnfitError(f"{must}; {batches.objective.name} writes them one by one. Take --replace zero or mean")
    rows = by_row(batches)
    if kind == "resample":
        if (n := len(rows.n_tokens)) < 2:
            raise UnfitError(f"--replace resample needs two examples that can stand in for each other; got {n}")
        return Replacement(kind, rows, seed=seed)
    sums = dict[int, Tensor]()  # `(positions, width + 1)` a block, in float64; the last column counts
    for index in of_one_length(rows):
        for i, (context, position, length) in _seen(model, rows, index, kind).items():
            values = pad(context.cpu().double(), (0, 1), value=1.0)
            every = torch.arange(context.shape[-2]).expand(context.shape[:-1]) if position is None else position.cpu()
            there = every >= 0 if length is None else (every >= 0) & (every < length.cpu())
            place, values = every[there], values[there]
            table = values.new_zeros(int(place.max()) + 1, values.shape[-1]).index_add_(0, place, values)
            sums[i] = pad_sequence([table, sums.get(i, table[:0])], batch_first=True).sum(dim=0)
        progress(len(index))
    means = list[Tensor | None]([None] * len(attention_blocks(model)))
    for i, table in sums.items():
        whole = table.sum(dim=0, keepdim=True)
        table = whole[0] if kind == "mean" else torch.cat([table, whole])
        means[i] = table[..., :-1] / table[..., -1:]
    return Replacement(kind, rows, means)


def by_row(batches: Batches) -> Batches:
    """The rows of some examples, each as an example of its own, for `of_one_length`."""
    return replace(batches, objective=cast(Any, None), rows=None, beside={}, edges=None, replacement=None)


def of_one_length(rows: Batches) -> Iterator[NDArray[np.int64]]:
    """The places of all rows, the longest first, in batches of as many tokens, also as a decoder is given."""
    lengths = np.stack([each for each in (rows.n_tokens, rows.n_decoded) if each is not None], axis=1)
    kinds, kind = np.unique(lengths, axis=0, return_inverse=True)
    for i in reversed(range(len(kinds))):
        places = np.flatnonzero(kind.reshape(-1) == i)
        yield from np.split(places, range(rows.batch_size, len(places), rows.batch_size))


@torch.no_grad()
def _seen(model: nn.Module, rows: Batches, index: NDArray[np.int64], kind: str) -> dict[int, _Seen]:
    """Of the blocks that have heads and run, by their places."""
    blocks, contexts, found = attention_blocks(model), dict[int, Tensor](), dict[int, _Seen]()
    inputs = rows.batch(index).to(next(model.parameters()).device).inputs

    def see(i: int, context: Tensor) -> Tensor:
        contexts[i] = context
        return context.new_ones(blocks[i].n_heads)

    with evaluating(model), gated(model, [partial(see, i) for i in range(len(blocks))]):
        model(**inputs)
    for i, context in contexts.items():
        position, length = positions(blocks[i].stack, rows, index, inputs)
        wanted, shape = (len(index),) if position is None else tuple(position.shape), tuple(context.shape[:-1])
        fits = context.ndim == 3 and shape[: len(wanted)] == wanted
        if not fits and kind != "mean":
            must = f"--replace {kind} needs blocks whose tokens are those of the texts"
            raise UnfitError(f"{must}; {blocks[i].name} has {shape} for {wanted}. Take --replace zero or mean")
        found[i] = (context, position, length) if fits else (context, None, None)
    return found


def positions(
    stack: Stack, batches: Batches, rows: NDArray[np.int64], inputs: dict[str, Any]
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """As in `_Seen`, of the tokens that a stack is given for these rows."""
    by_row, mask = replace(batches, rows=None), inputs.get("attention_mask")
    name, lengths, decoded = next(iter(batches.inputs)), by_row.n_tokens, by_row.n_decoded
    if decoded is not None and stack == "decoder":
        name, lengths, mask = "decoder_input_ids" if "decoder_input_ids" in inputs else "labels", decoded, None
    n_places, length = inputs[name].shape[1:2], torch.from_numpy(lengths[rows]).to(inputs[name].device)[:, None]
    if not n_places or not lengths.any():
        return None, None
    left = (n_places[0] - length) * (batches.side == "left")
    start = left if mask is None or mask.ndim != 2 else mask.argmax(dim=1, keepdim=True)
    return torch.arange(n_places[0], device=length.device) - start, length
