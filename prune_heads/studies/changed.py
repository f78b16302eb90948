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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prune_heads.attention import Attention, observing, unproved_maps
from prune_heads.attention.packing import packed
from prune_heads.descriptors import Head
from prune_heads.gating import evaluating
from prune_heads.heads import HeadMask
from prune_heads.objectives.base import Kept
from prune_heads.objectives.classifiers import MultiLabel, SingleLabel
from prune_heads.predictions import Predictions

EXAMPLES_FILE = "examples.json"
MAX_BYTES = 1_500_000
MAX_TOKENS = 48  # of a map, each way
SIZES = ((5, 2, 2000), (4, 1, 1000), (3, 0, 500), (1, 0, 200), (1, 0, 50))
"""Changes a head, maps a head, characters of a text: the first of which the file is small enough."""
N_PRUNED = 50  # changes of a run

Change = dict[str, Any]
Maps = Mapping[tuple[int, int], tuple[NDArray[np.uint8], list[str], list[str]]]
"""Example and block -> bytes `(n_heads, queries, keys)` of the heads that are there, names of queries and of keys."""


def changed_by_heads(every: Iterable[tuple[Predictions, Mapping[HeadMask, Kept], Mapping[Head, HeadMask]]]) -> str:
    """The file of an ablation, of each split: predictions, what is kept under masks, and the mask of each head."""
    found = []
    for predictions, kept, masks in every:
        base = kept[predictions.gone]
        largest = {head: _largest(predictions, base, kept[mask], SIZES[0][0]) for head, mask in masks.items()}
        wanted = {change["example"] for changes in largest.values() for change in changes[: SIZES[0][1]]}
        found.append((predictions, base, largest, _maps(predictions, sorted(wanted))))

    def of_size(n: int, n_maps: int, n_characters: int) -> Iterator[dict[str, Any]]:
        for predictions, base, largest, maps in found:
            examples = _Examples(predictions, base, n_characters)
            cells: dict[Head, list[Change]] = {}
            for (block, head), changes in largest.items():
                seen = [_map(predictions, maps, each["example"], block, head) for each in changes[:n_maps]]
                cell = zip_longest(changes[:n], seen)
                cells[block, head] = [examples.placed(change) | {"map": map} for change, map in cell if change]
            yield {
                "split": predictions.split.name,
                "examples": examples.rows,
                "heads": predictions.gone.n_heads.rows(cells),
            }

    return _fitting(of_size)


def changed_by_pruning(every: Sequence[Predictions], base: Sequence[Kept], pruned: Sequence[Kept]) -> str:
    """The file of a run: what is kept of each split before and after."""

    def of_size(n: int, n_maps: int, n_characters: int) -> Iterator[dict[str, Any]]:
        for predictions, before, after in zip(every, base, pruned, strict=True):
            examples = _Examples(predictions, before, n_characters)
            changes = map(examples.placed, _largest(predictions, before, after, N_PRUNED * n // SIZES[0][0]))
            rows = [{**change, "map": None} for change in changes]
            yield {"split": predictions.split.name, "examples": examples.rows, "pruned": rows}

    return _fitting(of_size)


def _fitting(of_size: Callable[[int, int, int], Iterator[Any]]) -> str:
    for size in SIZES:
        text = json.dumps({"splits": list(of_size(*size))}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if len(text.encode("utf-8", "replace")) < MAX_BYTES:
            break
    return f"{text}\n"


class _Examples:
    """The examples that are named, in the order in which they first were."""

    def __init__(self, predictions: Predictions, base: Kept, n_characters: int) -> None:
        self.predictions, self.base, self.n_characters = predictions, base, n_characters
        self.places: dict[int, int] = {}
        self.rows: list[dict[str, Any]] = []

    def placed(self, change: Change) -> Change:
        """A change with the place of its example among those that are named, in place of that in the split."""
        i = change["example"]
        if i not in self.places:
            self.places[i] = len(self.rows)
            columns, spec = self.predictions.split.columns, self.predictions.subject.task.spec
            given = [name for name in self.predictions.objective.inputs if name in columns]
            inputs = {name: _text(columns[name][i])[: self.n_characters] for name in given}
            label = _label(columns["label"][i], spec.labels) if "label" in columns else None
            before = _answer(self.predictions, self.base[i : i + 1])
            self.rows.append({"index": i, "inputs": inputs, "label": label, "before": before})
        return {**change, "example": self.places[i]}


def _largest(predictions: Predictions, before: Kept, after: Kept, n: int) -> list[Change]:
    """The `n` largest changes; the example is its place in the split."""
    answers = [predictions.answers(kept) for kept in (before, after)]
    differs = answers[0] != answers[1]
    differs = differs.reshape(len(differs), -1).any(axis=1)
    of, references = predictions.objective.log_likelihood, predictions.references
    old, new = of(before, references), of(after, references)
    has_likelihood = old is not None and new is not None
    change: NDArray[Any] = new - old if old is not None and new is not None else answers[1] - answers[0]
    order = np.lexsort((-np.abs(change).reshape(len(differs), -1).max(axis=1), ~differs))[:n]
    return [
        {
            "example": int(i),
            "after": _answer(predictions, after[i : i + 1]),
            "delta": round(float(change[i]), 4) if has_likelihood else None,
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
def _maps(predictions: Predictions, examples: Sequence[int]) -> Maps:
    """The maps of each block for each of these examples, which runs alone, so without padding."""
    subject, found = predictions.subject, dict[tuple[int, int], Any]()
    with evaluating(subject.model):
        unproved = unproved_maps(subject.model, predictions.batches.batch(np.arange(1)).to(subject.device).inputs)
    with evaluating(subject.model), observing(subject.model) as observe:
        for i in examples:
            batch = predictions.batches.batch(np.asarray([i])).to(subject.device)
            for each in observe(**batch.inputs)[1]:
                if each.map is not None and each.block.name not in unproved:
                    shown = each.map[0, :, :MAX_TOKENS, :MAX_TOKENS].float().cpu().numpy()
                    queries, keys = (_tokens(predictions, batch.inputs, each, of_keys) for of_keys in (False, True))
                    found[i, each.place] = np.rint(255 * shown).astype(np.uint8), queries, keys
    return found


def _tokens(predictions: Predictions, inputs: Mapping[str, Any], seen: Attention, of_keys: bool) -> list[str]:
    """What the queries or the keys of a block are called; by their numbers, from 1, where they are no tokens."""
    assert seen.map is not None
    n = seen.map.shape[3 if of_keys else 2]
    decodes = seen.block.stack == "decoder" and "encoder" in {block.stack for block in predictions.subject.blocks}
    ids = inputs.get("decoder_input_ids" if decodes and not (of_keys and seen.block.kind == "cross") else "input_ids")
    if ids is None or ids.shape[1:] != (n,):
        return [str(i + 1) for i in range(min(n, MAX_TOKENS))]
    tokenizer = predictions.subject.classifier.tokenizer
    return [str(token) for token in tokenizer.convert_ids_to_tokens(ids[0, :MAX_TOKENS].tolist())]


def _map(predictions: Predictions, maps: Maps, example: int, block: int, head: int) -> dict[str, Any] | None:
    """The map of a head (original numbering) for an example, in bytes."""
    if (example, block) not in maps:
        return None
    shown, queries, keys = maps[example, block]
    (place,) = predictions.subject.blocks[block].places([head])
    return {"queries": queries, "keys": keys, "values": packed(shown[place] / 255)}
