"""One label a word, such as named entities or parts of speech."""
# ruff: noqa: D102 -- `Objective` says what each method gives

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from prune_heads.checkpoints import Checkpoint, Head
from prune_heads.gating import logits_of
from prune_heads.objectives import TaskSpec
from prune_heads.objectives.base import Objective
from prune_heads.objectives.batches import IGNORED, Batch, Batches, Ragged
from prune_heads.objectives.rows import Split, Table, index, text, text_at
from prune_heads.objectives.texts import match_labels, tokenize
from prune_heads.statistics.metrics import Numbers, mean_of, unless
from prune_heads.visible import brief

N_COUNTS = 5  # right words, words, right entities, predicted entities, true entities

_GAP = re.compile(r"\s*$|-DOCSTART-")  # lines between sentences


def _sum(*columns: int) -> Numbers:
    return lambda counts, references: counts[:, columns].sum(axis=1)


_SOME_ENTITY = unless(np.any, "entities, and none of the {} examples has one")
_METRICS = (
    mean_of("entity_f1", _sum(2, 2), _sum(3, 4), width=N_COUNTS, undefined=_SOME_ENTITY),
    mean_of("entity_precision", _sum(2), _sum(3), width=N_COUNTS),
    mean_of("entity_recall", _sum(2), _sum(4), width=N_COUNTS),
    mean_of("token_accuracy", _sum(0), _sum(1), width=N_COUNTS),
)


@cache
def _boundaries(tags: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Whether an entity begins at the second of two tags, whether one ends at the first, and the type of each tag.

    Behind the tags, whose form is `B-PER` or `O`, stand the start of a text and its end.
    """
    parts = [(tag[0], tag[1:].split("-", maxsplit=1)[-1] or "_") for tag in tags]
    every = [*parts, ("O", ""), ("O", "_")]
    begins = [
        [tag in "BS" or (old in "ESO" and tag in "EI") or (tag not in "O." and was != kind) for tag, kind in every]
        for old, was in every
    ]
    ends = [
        [old in "ES" or (old in "BI" and tag in "BSO") or (old not in "O." and was != kind) for tag, kind in every]
        for old, was in every
    ]
    kinds = sorted({kind for _, kind in parts})
    return torch.tensor(begins), torch.tensor(ends), torch.tensor([kinds.index(kind) for _, kind in parts])


def entities(labels: Tensor, rows: Tensor, tags: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """The entities of some texts, each found as if it were alone, as seqeval's `get_entities` says.

    Its default mode reads IOB1, IOB2, IOE and IOBES alike (https://github.com/chakki-works/seqeval).

    Args:
        labels: `(n_words,)` indices of tags, text after text.
        rows: `(n_words,)` the text of each word, ascending.
        tags: By index.

    Returns:
        `(n_words,)` each: whether an entity ends at the word, at which word it began, and its type.
    """
    begins, ends, kinds = (table.to(labels.device) for table in _boundaries(tags))
    places = torch.arange(len(labels), device=labels.device)
    is_first = torch.ones_like(labels, dtype=torch.bool)
    is_first[1:] = rows[1:] != rows[:-1]
    before = labels.roll(1).masked_fill(is_first, len(tags))
    after = labels.roll(-1).masked_fill(is_first.roll(-1), len(tags) + 1)
    since = places.where(begins[before, labels] | is_first, 0).cummax(0).values
    return ends[labels, after], since, kinds[labels]


def read_conll(path: Path, table: Table, wanted: Sequence[str]) -> None:
    """Sentences of a CoNLL file: a word a line, blank lines between sentences, lines of `-DOCSTART-` left out.

    Columns are separated by tabs where the first line has one, else by white space. They are called by their number,
    from 1; `tokens` is the first too, and `tags` the last. Lines that begin with `# ` and have another number of
    columns are comments. A `DataError` if a line has more or fewer columns than the first, unless its sentence may be
    left out.
    """
    lines = [line.removesuffix("\r").strip(" ") for line in text_at(path).split("\n")]
    first = min((each for each in lines if not _GAP.match(each)), key=lambda each: each.startswith("# "), default="")
    separator = r"\t" if "\t" in first else "[ \t]+"
    n = len(re.split(separator, first)) if first else 0
    table.names = [*map(str, range(1, n + 1)), "tokens", *(["tags"] if n != 1 else [])]
    rows = [(f"{path.name} line {i}", line, re.split(separator, line)) for i, line in enumerate(lines, 1)]
    rows = [(place, line, cells) for place, line, cells in rows if len(cells) == n or not line.startswith("# ")]
    for is_between, sentence in groupby(rows, lambda row: bool(_GAP.match(row[1]))):
        words = [] if is_between else list(sentence)
        if wrong := [(place, len(cells)) for place, _, cells in words if len(cells) != n]:
            table.fault(f"{wrong[0][0]}: {n} columns must be there, as before, got {wrong[0][1]}")
        elif words:
            columns = [list(column) for column in zip(*(cells for _, _, cells in words), strict=True)]
            table.rows[words[0][0]] = dict(zip(table.names, [*columns, columns[0], columns[-1]], strict=False))


@dataclass(frozen=True)
class TokenClassification(Objective):
    """Cross-entropy, summed over the words of an example; the first token of a word carries its label.

    Kept are the `N_COUNTS` counts of an example, of which all metrics are made, and the log-likelihood of its labels.
    Words that are cut, and words of which the tokenizer makes no token, have no label and are not counted.
    References are the numbers of true entities.
    """

    tags: tuple[str, ...] = ()  # of the model's outputs, as the task writes them, else as the checkpoint does
    model_index: tuple[int, ...] = ()  # the output of each label of the task

    name = "token-classification"
    head = Head("AutoModelForTokenClassification", "token classification head")
    inputs = ("tokens",)
    compared = slice(N_COUNTS)
    likely = N_COUNTS
    chooses = True
    trains = True
    readers = MappingProxyType({".conll": read_conll, ".txt": read_conll})
    own_metrics = MappingProxyType({metric.name: metric for metric in _METRICS})

    @classmethod
    def input_of(cls, value: object, *, may_be_empty: bool = False) -> list[str]:
        return _each(value, "words", text)

    @classmethod
    def label_of(cls, value: object, codes: Mapping[str, int]) -> list[int]:
        return _each(value, "labels", lambda label: index(label, codes))

    @classmethod
    def check_row(cls, row: tuple[Any, ...]) -> None:
        words, *labels = row
        for each in labels:
            if len(each) != len(words):
                raise ValueError(f"there must be a label for each word, got {len(words)} words, {len(each)} labels")

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: TaskSpec, **options: Any) -> Self:
        """Match the labels by name, of which the task may have some; see `match_labels`."""
        id2label = checkpoint.model.config.id2label
        model_index, note = match_labels(spec, id2label, label_order=options.get("label_order"), some=True)
        tags = [str(id2label[i]) for i in sorted(id2label)]
        for label, i in zip(spec.labels or (), model_index, strict=True):
            tags[i] = label
        notes = [note] if note else []
        if others := [tag for tag in tags if not re.fullmatch("[BIES]-.+|[BIESO]", tag)]:
            such = f"{others[0]}: entity_f1 counts runs of them as seqeval does; or take --metric token_accuracy"
            those = f"{len(others)} of {len(tags)} labels are no tags of entities (B-, I-, E-, S- and a type, or O)"
            notes.append(f"{those}, such as {such}")
        return cls(spec.metric, "; ".join(notes) or None, tuple(tags), model_index)

    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        inputs, cut = tokenize(split, tokenizer, n_max=n_max, of={"text": "tokens"}, words=True)
        of_task = np.asarray(self.model_index)
        targets, counts = [], []
        for places, labels in zip(inputs.pop("word_ids"), split.columns["label"], strict=True):  # -1: of no word
            is_first = (places >= 0) & (places != np.concatenate([[-1], places[:-1]]))
            targets.append(np.where(is_first, of_task[labels][places], IGNORED).astype(np.int32))
            true = torch.from_numpy(targets[-1][is_first].astype(np.int64))
            counts.append(int(entities(true, torch.zeros_like(true), self.tags)[0].sum()))
        return Batches(self, inputs, Ragged.of(targets, IGNORED), np.asarray(counts), batch_size, n_cut=int(cut.sum()))

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        logits = logits_of(outputs).float().transpose(1, 2)
        return functional.cross_entropy(logits, batch.targets, ignore_index=IGNORED, reduction="none").sum(dim=1)

    def read(self, outputs: Any, batch: Batch) -> Tensor:
        rows, places = (batch.targets != IGNORED).nonzero(as_tuple=True)
        true = batch.targets[rows, places]
        made = logits_of(outputs)[rows, places].argmax(dim=-1)
        ends, since, kind = entities(true, rows, self.tags)
        also_ends, also_since, also_kind = entities(made, rows, self.tags)
        same = ends & also_ends & (since == also_since) & (kind == also_kind)
        each = torch.stack([made == true, torch.ones_like(same), same, also_ends, ends], dim=1).float()
        counts = each.new_zeros(len(batch.targets), N_COUNTS).index_add(0, rows, each)
        return torch.cat([counts, -self.losses(outputs, batch)[:, None]], dim=1)

    def settings(self, model: Any) -> dict[str, Any]:
        """Entities depend on how the labels are called."""
        return {"tags": list(self.tags)}


def _each(value: object, what: str, read: Callable[[object], Any]) -> list[Any]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"a list of {what} must be there, as JSONL, Parquet and CoNLL hold, got {brief(value)}")
    made = []
    for i, each in enumerate(value, 1):
        try:
            made.append(read(each))
        except ValueError as fault:
            raise ValueError(f"word {i}: {fault}") from None
    return made
