"""The examples whose answers change most without a head, or without all that are pruned: `examples.json`.

The file holds `splits`, an object each:

- `split`: its name;
- `examples`: those that are named below, `{"index", "inputs": {column: text}, "label", "before"}`: the place in the
  split (from 0), what the model was given, the right answer, and its answer with all heads;
- `heads`, of an ablation: rows of cells, one row a block, one cell a head in the original numbering, each a list of
  changes, the largest first; None for a head that was not closed. A change is `{"example": place in `examples`,
  "after": the answer without the head, "delta": change of the log-likelihood of the right answer in nats, "map"}`. The
  map is that of the head with all heads open, `{"queries": [...], "keys": [...], "values"}` or None: tokens, and
  base64 of zlib of a byte an attention probability, 255 for 1, row by row;
- `pruned`, of a run: one such list, without maps.

Answers are names of labels, lists of names or scores; None where only their likelihood is known. The largest changes
are those that change the answer; among these, and among the others, those of the likelihood.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prune_heads.attention import observing_proved
from prune_heads.attention.records import packed, queries_and_keys, tokens_of
from prune_heads.descriptors import Head
from prune_heads.objectives.base import Kept
from prune_heads.objectives.classifiers import MultiLabel, SingleLabel
from prune_heads.predictions import Predictions

EXAMPLES_FILE = "examples.json"
MAX_BYTES = 1_500_000
MAX_TOKENS = 48  # of a map, each way
SIZES = ((5, 2, 50, 2000), (4, 1, 40, 1000), (3, 0, 30, 500), (1, 0, 10, 200), (1, 0, 10, 50))
"""Changes and maps a head, changes of a run, characters of a text: the first of which the file is small enough."""

Change = dict[str, Any]
Changes = Mapping[Any, list[Change]]  # head, or None for all that are pruned -> the largest without it


def changed(every: Iterable[tuple[Predictions, Kept, Mapping[Head, Kept] | Mapping[None, Kept]]]) -> str:
    """The file: of each split what is kept with all heads, and without each head, or (None) without all pruned."""
    found = []
    for predictions, base, without in every:
        n = SIZES[0][2 if None in without else 0]
        changes: Changes = {head: _largest(predictions, base, kept, n) for head, kept in without.items()}
        if None not in without:
            _add_maps(predictions, changes)
        found.append((predictions, base, changes))
    for size in SIZES:
        splits = [_split(*each, *size) for each in found]
        text = json.dumps({"splits": splits}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if len(text.encode("utf-8", "replace")) < MAX_BYTES:
            break
    return f"{text}\n"


def _split(
    predictions: Predictions, base: Kept, changes: Changes, n: int, n_maps: int, n_pruned: int, n_characters: int
) -> dict[str, Any]:
    """A split as the file holds it; its examples stand in the order in which changes name them."""
    places, cells = dict[int, int](), dict[Any, list[Change]]()
    for head, largest in changes.items():
        cells[head] = []
        for rank, change in enumerate(largest[: n_pruned if head is None else n]):
            place = places.setdefault(change["example"], len(places))
            cells[head].append({**change, "example": place, "map": change["map"] if rank < n_maps else None})
    columns, labels = predictions.split.columns, predictions.subject.task.spec.labels
    given = [name for name in predictions.objective.inputs if name in columns]
    examples = [
        {
            "index": i,
            "inputs": {name: _text(columns[name][i])[:n_characters] for name in given},
            "label": _label(columns["label"][i], labels) if "label" in columns else None,
            "before": _answer(predictions, base[i : i + 1]),
        }
        for i in places
    ]
    shown = {"pruned": cells[None]} if None in cells else {"heads": predictions.gone.n_heads.rows(cells)}
    return {"split": predictions.split.name, "examples": examples, **shown}


def _largest(predictions: Predictions, before: Kept, after: Kept, n: int) -> list[Change]:
    """The `n` largest changes; the example is its place in the split."""
    answers = [predictions.answers(kept) for kept in (before, after)]
    differs = (answers[0] != answers[1]).reshape(len(before), -1).any(axis=1)
    old, new = (predictions.objective.log_likelihood(kept, predictions.references) for kept in (before, after))
    change: NDArray[Any] = answers[1] - answers[0] if old is None or new is None else new - old
    order = np.lexsort((-np.abs(change).reshape(len(differs), -1).max(axis=1), ~differs))[:n]
    return [
        {
            "example": int(i),
            "after": _answer(predictions, after[i : i + 1]),
            "delta": None if old is None else round(float(change[i]), 4),
            "map": None,
        }
        for i in order
    ]


def _answer(predictions: Predictions, kept: Kept) -> Any:
    """What is predicted of one example, `kept` of it being `(1, width)`, for people."""
    objective, labels = predictions.objective, predictions.subject.task.spec.labels
    if not isinstance(objective, SingleLabel):
        return None
    (answer,) = objective.predictions(kept)
    if isinstance(objective, MultiLabel):
        return [label for label, i in zip(labels or (), objective.model_index, strict=True) if answer[i]]
    return round(float(answer), 4) if labels is None else labels[answer]


def _label(value: Any, labels: Sequence[str] | None) -> Any:
    """The right answer for people."""
    if isinstance(value, Mapping):  # of a question
        return list(value["text"])
    if labels is None:
        return value
    return [labels[i] for i in value] if isinstance(value, Sequence) else labels[value]


def _text(value: Any) -> str:
    """What the model was given, in words; an image by the name of its file."""
    source = getattr(value, "source", value)
    if isinstance(source, bytes):
        return "image"
    return source.name if isinstance(source, Path) else source if isinstance(source, str) else " ".join(source)


@torch.no_grad()
def _add_maps(predictions: Predictions, changes: Changes) -> None:
    """Give the first changes of each head its map for their example, which runs alone, so without padding."""
    subject, wanted = predictions.subject, defaultdict[int, list[tuple[Head, Change]]](list)
    for head, found in changes.items():
        for change in found[: SIZES[0][1]]:
            wanted[change["example"]].append((head, change))

    def inputs_of(i: int) -> dict[str, Any]:
        return predictions.batches.batch(np.asarray([i])).to(subject.device).inputs

    with observing_proved(subject.model, inputs_of(0)) as (observe, _):
        for i, of_example in wanted.items():
            inputs = inputs_of(i)
            seen = {each.place: each for each in observe(**inputs) if each.map is not None}
            tokens = tokens_of(subject.classifier.tokenizer, subject.model.config, inputs)
            for (block, head), change in of_example:
                if (each := seen.get(block)) is not None:
                    (place,) = each.block.places([head])
                    queries, keys = (names[:MAX_TOKENS] for names in queries_and_keys(each, *tokens))
                    values = packed(each.probabilities[0, place, :MAX_TOKENS, :MAX_TOKENS])
                    change["map"] = {"queries": queries, "keys": keys, "values": values}
