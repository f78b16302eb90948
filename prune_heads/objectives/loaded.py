"""The batches of a DataLoader, as they come: nothing is tokenised, sorted or padded anew."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.errors import DataError
from prune_heads.gating import evaluating, logits_of
from prune_heads.objectives import OBJECTIVES
from prune_heads.objectives.base import Objective
from prune_heads.objectives.batches import Batches, Field, Given

_ROWS = "For question answering or labels of words give a list of dicts or a Dataset, with the model's tokenizer"


def loaded(loader: Iterable[Any], model: nn.Module, objective: Objective | None = None) -> Batches:
    """Read a DataLoader once, to its end.

    Args:
        loader: Each batch is a mapping with `labels` beside what the model's forward takes, such as a `BatchEncoding`,
            or a pair of inputs and labels. Inputs are a mapping, or the tensor that is the first argument of the
            forward. Labels are the model's own label indices or scores, one an example, or a 0 or 1 for each output.
        model: Whose forward they are for; it runs on one example.
        objective: What is predicted; None: what the first batch of labels is of, see `Objective.of_labels`.

    Raises:
        DataError: Naming the batch, from 1, if it is something else, or there is none.
        UnsupportedModelError: If the model does not give logits.
    """
    first = next(iter(inspect.signature(model.forward).parameters), "input")
    inputs: list[dict[str, Tensor]] = []
    labels: list[Tensor] = []
    for number, given in enumerate(loader, 1):
        try:
            made, wanted = _parts(given, first)
            if labels and (wanted.shape[1:] != labels[0].shape[1:] or made.keys() != inputs[0].keys()):
                got = f"{', '.join(made)} and labels {tuple(wanted.shape)}"
                raise ValueError(f"inputs and labels must be those of the first batch, a row an example, got {got}")
        except (TypeError, ValueError) as error:
            must = "must be a mapping of tensors with 'labels', or a pair (inputs, labels)"
            raise DataError(f"batch {number} of the DataLoader {must}; {error}. {_ROWS}") from error
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
    if isinstance(given, Mapping):
        inputs = dict(given)
        names = [name for name in ("labels", "label") if name in inputs]
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
    if not inputs or {len(value) for value in inputs.values()} != {len(labels)} or labels.ndim > 2:
        shapes = {name: tuple(value.shape) for name, value in {**inputs, "labels": labels}.items()}
        raise ValueError(f"inputs and labels must have a row an example, got {shapes}")
    return inputs, labels.float() if labels.is_floating_point() else labels.long()


def _lengths(inputs: Mapping[str, Tensor]) -> NDArray[np.int64]:
    """`(batch,)`: tokens of each example, by the mask of padding, or all of them; 1 of no sequence, 0 of images."""
    mask, first = inputs.get("attention_mask"), next(iter(inputs.values()))
    if mask is not None and mask.ndim == 2:
        return np.asarray(mask.sum(dim=1), dtype=np.int64)
    n_tokens = first.shape[1] if first.ndim in (2, 3) else int(first.ndim == 1)
    return np.full(len(first), n_tokens)
