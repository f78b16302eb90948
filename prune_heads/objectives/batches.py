"""Examples as a model takes them: in batches, sorted by length, padded per batch, with their place in the file.

Sorting keeps padding small (GLUE sentences have 10 to 40 tokens, the published protocol pads all to 128). Padding is
on the right, whatever the tokenizer says: there an absolute position is that of the example alone. See `padding`.
Whoever consumes the batches puts results back into file order by `Batch.index`. Those of a DataLoader stay as they
come (`loaded`).
"""
# ruff: noqa: D102 -- `Field` says what each method of a field gives

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from prune_heads.errors import DataError
from prune_heads.gating import evaluating, logits_of
from prune_heads.objectives import OBJECTIVES

if TYPE_CHECKING:
    from prune_heads.objectives.base import Objective
    from prune_heads.objectives.replacing import Replacement

Side = Literal["right", "left", "none"]
"""Where padding stands; none: examples run alone, and a batch that is made nevertheless is filled on the right."""

IGNORED = -100  # stands in targets where nothing is predicted, as everywhere in transformers


@dataclass(frozen=True)
class Field:
    """One input of the model, or what it is to predict, for all rows; these have one shape, such as a class each."""

    values: Any  # `(n_rows, ...)`

    @property
    def sizes(self) -> NDArray[np.int64]:
        """`(n_rows,)`: positions of each row, padding not counted; 0 where nothing is padded."""
        return np.zeros(len(self.values), dtype=np.int64)

    def batch(self, rows: NDArray[np.int64], *, pad_to: int | None = None, side: Side = "right") -> Tensor:
        """`(len(rows), ...)`, padded to the longest of these rows, or to `pad_to` positions."""
        return torch.from_numpy(self.values[rows])

    def arrays(self) -> Iterator[NDArray[Any]]:
        """All that it holds, for keys."""
        yield self.values


@dataclass(frozen=True)
class Ragged(Field):
    """Rows of different lengths, held as one flat array `(all positions,)` in int32, row after row."""

    offsets: NDArray[np.int64]  # `(n_rows + 1,)`: row i has positions `offsets[i]:offsets[i + 1]`
    fill: int = 0  # what stands in the padding

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | NDArray[np.int32]], fill: int = 0) -> Ragged:
        """From the rows themselves."""
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        return cls(np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]), offsets, fill)

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def row(self, i: int) -> NDArray[np.int32]:
        """`(positions,)` of row i."""
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return map(self.row, range(len(self.offsets) - 1))

    def batch(self, rows: NDArray[np.int64], *, pad_to: int | None = None, side: Side = "right") -> Tensor:
        found = [self.row(i) for i in rows]
        filled = np.full((len(found), max([pad_to or 0, *map(len, found)])), self.fill, dtype=np.int64)
        for line, values in zip(filled, found, strict=True):
            start = len(line) - len(values) if side == "left" else 0
            line[start : start + len(values)] = values
        return torch.from_numpy(filled)

    def arrays(self) -> Iterator[NDArray[Any]]:
        yield self.values
        yield self.offsets


@dataclass(frozen=True)
class Given(Field):
    """Tensors of a DataLoader, a row each, with the padding that they have."""

    lengths: NDArray[np.int64]  # `(n_rows,)`

    @property
    def sizes(self) -> NDArray[np.int64]:
        return self.lengths

    def batch(self, rows: NDArray[np.int64], *, pad_to: int | None = None, side: Side = "right") -> Tensor:
        """Of rows of several batches, with zeros behind the shorter ones."""
        found = [self.values[i] for i in rows]
        return pad_sequence(found, batch_first=True) if found[0].ndim else torch.stack(found)

    def arrays(self) -> Iterator[NDArray[Any]]:
        """With the padding, for it is not known which it is."""
        return (row.numpy() for row in self.values)


@dataclass(frozen=True)
class Batch:
    """Some examples on a device."""

    index: NDArray[np.int64]  # `(batch,)`: places of the examples in file order, from 0
    inputs: dict[str, Any]  # what the model's forward takes: tensors `(rows, ...)`, and options such as `use_cache`
    targets: Tensor  # `(rows, ...)`: what is to be predicted, as the objective's losses take it
    owner: Tensor | None = None  # `(rows,)`: the example of the batch that each row is of; None where each is one row
    beside: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # what answers are compared with, one an example

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        inputs = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.inputs.items()}
        owner = None if self.owner is None else self.owner.to(device)
        return replace(self, inputs=inputs, targets=self.targets.to(device), owner=owner)

    def by_example(self, rows: Tensor) -> Tensor:
        """`(batch, ...)`: the sum over the rows of each example, of `(rows, ...)`."""
        if self.owner is None:
            return rows
        return rows.new_zeros(len(self.index), *rows.shape[1:]).index_add(0, self.owner, rows)

    def repeated(self, n: int) -> Batch:
        """The whole batch `n` times over."""
        owner = None if self.owner is None else torch.cat([self.owner + i * len(self.index) for i in range(n)])
        inputs = {name: repeat(value, n) for name, value in self.inputs.items()}
        beside = {name: [*items] * n for name, items in self.beside.items()}
        return Batch(np.tile(self.index, n), inputs, repeat(self.targets, n), owner, beside)


def repeat(value: Any, n: int) -> Any:
    """`(rows, ...)` -> `(n * rows, ...)`, all rows n times over; what is no tensor stays."""
    return value.repeat(n, *[1] * (value.ndim - 1)) if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class Batches:
    """The examples of a split, prepared once for a model."""

    objective: Objective  # what is predicted; as it is bound to model, task and lengths
    inputs: Mapping[str, Field]  # what the model's forward takes, by name; the first says how long a row is
    targets: Field  # what is to be predicted
    references: NDArray[Any]  # `(n_examples[, width])`: what the metrics compare answers with, in the task's own terms
    batch_size: int
    options: Mapping[str, Any] = field(default_factory=dict)  # what the forward takes besides, the same for all rows
    beside: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # as in `Batch`, for all examples
    rows: NDArray[np.int64] | None = None  # `(n_examples + 1,)`: example i has `rows[i]:rows[i + 1]`; None: a row each
    side: Side = "right"  # where padding stands
    n_cut: int = 0  # examples that were longer than they may be
    replacement: Replacement | None = None  # what stands in for masked heads
    edges: tuple[int, ...] | None = None
    """Batch i has the examples `edges[i]` to `edges[i + 1]`; None: longest first, `batch_size` of them."""

    @property
    def n_examples(self) -> int:
        """Examples in all."""
        return len(self.references)

    @property
    def n_tokens(self) -> NDArray[np.int64]:
        """`(n_examples,)`: tokens of each example, special ones included, padding not; targets not counted."""
        return self._summed(next(iter(self.inputs.values())).sizes)

    @property
    def n_decoded(self) -> NDArray[np.int64] | None:
        """`(n_examples,)`: tokens that a decoder is given, beside those of the encoder; None where there are none."""
        names = [name for name in ("decoder_input_ids", "labels") if name in self.inputs]
        return self._summed(self.inputs[names[0]].sizes) if names else None

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """All that the model is given of the examples, and what it is to predict, by name; for fingerprints."""
        for name, given in [*sorted(self.inputs.items()), ("targets", self.targets)]:
            yield from ((name, array) for array in given.arrays())
        yield "references", self.references
        if self.rows is not None:
            yield "rows", self.rows

    def rows_of(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """`(rows,)`: those of the examples at these places."""
        return index if self.rows is None else np.concatenate([np.arange(*self.rows[i : i + 2]) for i in index])

    def _summed(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        return sizes if self.rows is None else np.add.reduceat(sizes, self.rows[:-1])

    def __len__(self) -> int:
        return -(-self.n_examples // self.batch_size) if self.edges is None else len(self.edges) - 1

    def __iter__(self) -> Iterator[Batch]:
        """Longest first, so that what does not fit into memory fails at once."""
        return self.numbered(range(len(self)))

    def numbered(self, steps: Iterable[int]) -> Iterator[Batch]:
        """Some of the batches, by their places among all, from 0."""
        order, edges = np.arange(self.n_examples), self.edges
        if edges is None:
            order = np.argsort(-(self.n_tokens + self._summed(self.targets.sizes)), kind="stable")
            edges = tuple(range(0, self.n_examples + self.batch_size, self.batch_size))
        return (self.batch(order[edges[step] : edges[step + 1]]) for step in steps)

    def batch(self, index: NDArray[np.int64], *, pad_to: int | None = None) -> Batch:
        """The examples at these places, padded to the longest of them or to `pad_to` tokens."""
        rows, owner = self.rows_of(index), None
        if self.rows is not None:
            owner = torch.from_numpy(np.repeat(np.arange(len(index)), np.diff(self.rows)[index]))
        inputs = {name: given.batch(rows, pad_to=pad_to, side=self.side) for name, given in self.inputs.items()}
        targets = self.targets.batch(rows, pad_to=pad_to, side=self.side)
        beside = {name: [items[i] for i in index] for name, items in self.beside.items()}
        return Batch(index, {**inputs, **self.options}, targets, owner, beside)


_MUST = "must be a mapping of tensors with 'labels', or a pair (inputs, labels)"
_ROWS = "For question answering or labels of words give a list of dicts or a Dataset, with the model's tokenizer"


def loaded(loader: Iterable[Any], model: nn.Module, objective: Objective | None = None) -> Batches:
    """Read a DataLoader once, to its end.

    A `DataError` names the batch, from 1, if it is something else, or there is none; an `UnsupportedModelError` if
    the model does not give logits.

    Args:
        loader: Each batch is a mapping with `labels` beside what the model's forward takes, such as a `BatchEncoding`,
            or a pair of inputs and labels. Inputs are a mapping, or the tensor that is the first argument of the
            forward. Labels are the model's own label indices or scores, one an example, or a 0 or 1 for each output.
        model: Whose forward they are for; it runs on one example.
        objective: What is predicted; None: what the first batch of labels is of, see `Objective.of_labels`.
    """
    first = next(iter(inspect.signature(model.forward).parameters), "input")
    inputs: list[dict[str, Tensor]] = []
    labels: list[Tensor] = []
    for number, given in enumerate(loader, 1):
        try:
            made, wanted = _parts(given, first)
            if labels and (wanted.shape[1:] != labels[0].shape[1:] or made.keys() != inputs[0].keys()):
                raise ValueError(f"they must be as in the first, got {', '.join(made)}, labels {tuple(wanted.shape)}")
        except (TypeError, ValueError) as error:
            raise DataError(f"batch {number} of the DataLoader {_MUST}; {error}. {_ROWS}") from error
        inputs.append(made)
        labels.append(wanted)
    if not labels:
        raise DataError("the data must hold at least one example; got none. A generator can be read once only")
    if objective is None:
        device = next(model.parameters()).device
        with evaluating(model), torch.inference_mode():
            logits = logits_of(model(**{name: value[:1].to(device) for name, value in inputs[0].items()}))
        made_of = (row.load().of_labels(labels[0], logits.shape[-1]) for row in OBJECTIVES.values())
        if (objective := next(filter(None, made_of), None)) is None:
            must = f"an index or a score an example, or a 0 or 1 for each of the model's {logits.shape[-1]} outputs"
            raise DataError(f"labels must be {must}; got {tuple(labels[0].shape)} in the first batch. {_ROWS}")
    truth, sizes = torch.cat(labels).numpy(), np.concatenate([_lengths(part) for part in inputs])
    fields = {name: Given([row for part in inputs for row in part[name]], sizes) for name in inputs[0]}
    edges = tuple(np.cumsum([0, *map(len, labels)]).tolist())
    return Batches(objective, fields, Field(truth), truth, max(map(len, labels)), edges=edges)


def _parts(given: Any, first: str) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs by name and labels, a row an example each; `ValueError` of anything else."""
    if isinstance(given, Mapping):
        if len(names := given.keys() & {"labels", "label"}) != 1:
            raise ValueError(f"got the fields {', '.join(map(str, given))}")
        parts = {"labels" if name in names else name: value for name, value in given.items()}
    elif isinstance(given, Sequence) and len(given) == 2:
        parts = {**(given[0] if isinstance(given[0], Mapping) else {first: given[0]}), "labels": given[1]}
    else:
        raise ValueError(f"got {type(given).__name__}")
    for name, value in parts.items():
        if not isinstance(value, Tensor) or not value.ndim:
            raise ValueError(f"{name} is a {type(value).__name__}")
    inputs = {name: value.detach().cpu() for name, value in parts.items()}
    labels = inputs.pop("labels")
    labels = labels.squeeze(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if not inputs or {len(value) for value in inputs.values()} != {len(labels)} or labels.ndim > 2:
        raise ValueError(f"they must have a row an example, got {[tuple(value.shape) for value in parts.values()]}")
    return inputs, labels.float() if labels.is_floating_point() else labels.long()


def _lengths(inputs: Mapping[str, Tensor]) -> NDArray[np.int64]:
    """`(batch,)`: tokens of each example, by the mask of padding, or all of them; 1 of no sequence, 0 of images."""
    mask, first = inputs.get("attention_mask"), next(iter(inputs.values()))
    if mask is not None and mask.ndim == 2:
        return np.asarray(mask.sum(dim=1), dtype=np.int64)
    n_tokens = first.shape[1] if first.ndim in (2, 3) else int(first.ndim == 1)
    return np.full(len(first), n_tokens)
