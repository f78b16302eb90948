"""The batches of a DataLoader, as they come: nothing is tokenised, sorted or padded anew."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from prune_heads.errors import DataError
from prune_heads.objectives.base import Objective
from prune_heads.objectives.batches import Batch, Batches, Fixed
from prune_heads.objectives.regression import Regression
from prune_heads.objectives.single_label import SingleLabel

_LABELS = ("labels", "label")


@dataclass(frozen=True)
class _Lengths:
    """Where rows are held elsewhere: how long each is."""

    sizes: NDArray[np.int64]

    def batch(self, rows: NDArray[np.int64], **_: Any) -> Tensor:
        """Nobody asks: see `LoadedBatches.batch`."""
        raise NotImplementedError

    def arrays(self) -> Iterator[NDArray[Any]]:
        """See `Field`."""
        yield self.sizes


@dataclass(frozen=True)
class LoadedBatches(Batches):
    """Batches that somebody else has made, held in memory with the padding that they have."""

    parts: tuple[Batch, ...] = ()

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """See `Batches`; padding is part of it, since it is not known which it is."""
        yield "references", self.references
        for i, part in enumerate(self.parts):
            yield from ((f"{i} {name}", tensor.numpy()) for name, tensor in sorted(part.inputs.items()))

    def __len__(self) -> int:
        return len(self.parts)

    def numbered(self, steps: Iterable[int]) -> Iterator[Batch]:
        """Some of the batches, by their places in the DataLoader's order, from 0."""
        return (self.parts[step] for step in steps)

    def batch(self, index: NDArray[np.int64], *, pad_to: int | None = None) -> Batch:
        """The examples at these places; where they are of different lengths, with zeros behind the shorter ones."""
        edges = np.cumsum([0, *(len(part.index) for part in self.parts)])
        places = [(int(p), int(i - edges[p])) for i in index for p in [edges.searchsorted(i, "right") - 1]]

        def stacked(name: str) -> Tensor:
            rows = [self.parts[part].inputs[name][i] for part, i in places]
            return pad_sequence(rows, batch_first=True) if rows[0].ndim else torch.stack(rows)

        inputs = {name: stacked(name) for name in self.parts[0].inputs}
        targets = torch.stack([self.parts[part].targets[i] for part, i in places])
        return Batch(index, inputs, targets)


def loaded(loader: Iterable[Any], model: nn.Module, objective: Objective | None = None) -> LoadedBatches:
    """Read a DataLoader once, to its end.

    Args:
        loader: Each batch is a mapping with `labels` beside what the model's forward takes, such as a `BatchEncoding`,
            or a pair of inputs and labels. Inputs are a mapping, or the tensor that is the first argument of the
            forward. Labels are the model's own label indices, or scores: one an example.
        model: Whose forward they are for.
        objective: What is predicted; None: single labels, or scores where the labels are real numbers.

    Raises:
        DataError: Naming the batch, from 1, if it is something else, or there is none.
    """
    first = next(iter(inspect.signature(model.forward).parameters), "input")
    parts: list[Batch] = []
    n = 0
    for number, given in enumerate(loader, 1):
        try:
            inputs, labels = _parts(given, first)
            if not inputs or {len(value) for value in inputs.values()} != {len(labels)} or labels.ndim != 1:
                shapes = {name: tuple(value.shape) for name, value in {**inputs, "labels": labels}.items()}
                raise ValueError(f"inputs and labels must have a row an example, got {shapes}")
            if parts and inputs.keys() != parts[0].inputs.keys():
                raise ValueError(f"the inputs must be those of the first batch, got {', '.join(inputs)}")
        except (TypeError, ValueError) as error:
            raise DataError(
                f"batch {number} of the DataLoader must be a mapping of tensors with 'labels', or a pair (inputs, "
                f"labels); {error}"
            ) from error
        parts.append(Batch(np.arange(n, n + len(labels)), dict(inputs), labels))
        n += len(labels)
    if not n:
        raise DataError(
            "the DataLoader must give a batch; got none. One that was a generator can be read once only"
        )
    labels = torch.cat([part.targets for part in parts])
    if objective is None:
        objective = Regression("pearson") if labels.is_floating_point() else SingleLabel("accuracy")
    lengths = np.asarray([length for part in parts for length in _lengths(part)])
    return LoadedBatches(
        objective,
        {next(iter(parts[0].inputs)): _Lengths(lengths)},
        Fixed(labels.numpy()),
        labels.double().numpy() if labels.is_floating_point() else labels.numpy(),
        max(len(part.index) for part in parts),
        parts=tuple(parts),
    )


def read_as(batches: LoadedBatches, n_labels: int) -> LoadedBatches:
    """The same where the model tells so many labels apart, which are the task's own."""
    if not isinstance(batches.objective, SingleLabel):
        return batches
    return replace(batches, objective=replace(batches.objective, model_index=tuple(range(n_labels))))


def _parts(given: Any, first: str) -> tuple[dict[str, Tensor], Tensor]:
    if isinstance(given, Mapping):
        inputs = dict(given)
        names = [name for name in _LABELS if name in inputs]
        if len(names) != 1:
            raise ValueError(f"got the fields {', '.join(map(str, inputs))}")
        labels = inputs.pop(names[0])
    elif isinstance(given, Sequence) and len(given) == 2:
        inputs, labels = given
        inputs = dict(inputs) if isinstance(inputs, Mapping) else {first: inputs}
    else:
        raise ValueError(f"got {type(given).__name__}")
    for name, value in {**inputs, "labels": labels}.items():
        if not isinstance(value, Tensor) or not value.ndim:
            raise ValueError(f"{name} is a {type(value).__name__}")
    inputs = {name: value.detach().cpu() for name, value in inputs.items()}
    labels = labels.detach().cpu()
    labels = labels.squeeze(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    return inputs, labels.float() if labels.is_floating_point() else labels.long()


def _lengths(part: Batch) -> list[int]:
    """Tokens of each example: by the mask of padding, or all of them; 1 where an example is no sequence."""
    mask = part.inputs.get("attention_mask")
    if mask is not None and mask.ndim == 2:
        return [int(n) for n in mask.sum(dim=1)]
    first = next(iter(part.inputs.values()))
    return [first.shape[1] if first.ndim > 1 else 1] * len(part.index)
