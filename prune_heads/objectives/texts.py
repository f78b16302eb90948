"""A task's terms in those of a checkpoint: texts, pairs and lists of words as tokens, contexts as windows, and labels.

Labels are matched with logits by name, never by position unsaid.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor
from torch.nn import functional
from transformers import BatchEncoding

from prune_heads.errors import CheckpointError, LabelError
from prune_heads.objectives import TaskSpec
from prune_heads.objectives.batches import IGNORED, Ragged
from prune_heads.objectives.rows import Split
from prune_heads.visible import brief

CHUNK = 1000  # texts that are given to a tokeniser at once
CONTEXT, START, END, NONE = 1, 2, 4, 8
"""Bits of a target: a token of the context; the first and the last of the answer; the one that stands for none."""
LONGEST_ANSWER = 30  # tokens of an answer, at most: the default of BERT's `run_squad.py` and transformers' `run_qa.py`
Index = tuple[int, ...]  # of the logit that stands for each of some labels
_CURE = "give --label-order with the task's names in the order of the checkpoint's outputs"


def tokenize(
    split: Split, tokenizer: Any, *, n_max: int, of: Mapping[str, str], words: bool = False
) -> tuple[dict[str, Ragged], NDArray[np.bool_]]:
    """The tokenizer's fields of each example, and which examples were longer, `(n_examples,)`, and are cut.

    A `CheckpointError` if the tokenizer does not say which words its tokens are of.

    Args:
        split: With columns of texts.
        tokenizer: The checkpoint's own; the longer text of a pair is cut first.
        n_max: Tokens, at most.
        of: The tokenizer's argument -> column, such as `{"text": "text"}`; columns that are not there are left out.
        words: Whether texts are lists of words. The field `word_ids` is then the word of each token, -1 for none.
    """
    n_max = min(n_max, tokenizer.model_max_length)
    options = {"return_attention_mask": True, **({"is_split_into_words": True} if words else {})}
    space = " " if words and _glues(tokenizer) else ""
    fields: dict[str, list[NDArray[np.int32]]] = defaultdict(list)
    cut: list[bool] = []
    for start in range(0, len(split), CHUNK):
        places = slice(start, start + CHUNK)
        texts = {argument: list(split.columns[name][places]) for argument, name in of.items() if name in split.columns}
        if space:
            texts = {argument: [[f"{space}{word}" for word in each] for each in texts[argument]] for argument in texts}
        # verbose=False: it warns of texts that are too long, though none of them reaches the model whole.
        encoded = tokenizer(**texts, **options, verbose=False)
        longer = [len(ids) > n_max for ids in encoded["input_ids"]]
        if any(longer):
            encoded = tokenizer(**texts, **options, truncation=True, max_length=n_max)
        found = dict(encoded)
        if words:
            of_words = map(encoded.word_ids, range(len(longer)))
            found["word_ids"] = [[-1 if word is None else word for word in each] for each in of_words]
        for name, rows in found.items():
            fields[name] += [np.asarray(row, dtype=np.int32) for row in rows]
        cut += longer
    return {name: Ragged.of(rows, fill(tokenizer, name)) for name, rows in fields.items()}, np.asarray(cut)


def fill(tokenizer: Any, name: str) -> int:
    """What stands in the padding of a field."""
    token = {"input_ids": "pad_token_id", "token_type_ids": "pad_token_type_id"}.get(name, "")
    return getattr(tokenizer, token, None) or 0


def _glues(tokenizer: Any) -> bool:
    """Whether words that are given one by one become one long word, unless a space begins each (GPT-2, RoBERTa)."""
    if not tokenizer.is_fast:
        must = "the tokenizer must say of which word each token is, as fast tokenizers do"
        raise CheckpointError(f"{must}; this one is a {type(tokenizer).__name__}. Save it with its tokenizer.json")
    forms = ("a a", ["a", " a"], ["a", "a"])
    text, spaced, apart = (
        tokenizer(form, is_split_into_words=form != "a a", add_special_tokens=False)["input_ids"] for form in forms
    )
    return bool(text == spaced != apart)


def windows_of(tokenizer: Any, question: str, context: str, n_max: int, stride: int) -> BatchEncoding:
    """The question with each part of its context; `ValueError` if the question leaves no room."""
    whole = tokenizer([question], [context], return_attention_mask=True, verbose=False)
    n, n_context = len(whole.input_ids[0]), whole.sequence_ids(0).count(1)
    if n <= n_max:
        return whole
    room = n_max - n + n_context
    if room < 1:
        got = f"{n - n_context} of its own. Raise --max-length, or leave it out"
        raise ValueError(f"the question must leave room for the context in {n_max} tokens, got {got}")
    cut = {"truncation": "only_second", "max_length": n_max, "stride": min(stride, room // 2)}
    return tokenizer([question], [context], return_attention_mask=True, return_overflowing_tokens=True, **cut)


def offsets_of(window: Encoding) -> NDArray[np.int64]:
    """Where in the context each token of a window begins and ends, `(tokens, 2)`; -1 for one that is not of it."""
    return np.where([[of == 1] for of in window.sequence_ids], window.offsets, -1)


def targets_of(
    windows: Sequence[Encoding], none_ids: Sequence[int | None], answer: Mapping[str, Any]
) -> list[NDArray[np.int32]]:
    """What is right in each window, in bits a token; `ValueError` if no token is of the answer."""
    offsets = [offsets_of(window) for window in windows]
    marked = [np.where(each[:, 0] < 0, 0, CONTEXT).astype(np.int32) for each in offsets]
    for window, bits in zip(windows, marked, strict=True):
        none = next((window.ids.index(each) for each in none_ids if each in window.ids), 0)
        bits[none] |= NONE if answer["text"] else NONE | START | END
    if not answer["text"]:
        return marked
    begin = answer["answer_start"][0]
    end = begin + len(answer["text"][0])
    inside = [np.where((each[:, :1] < end) & (each[:, 1:] > begin), each, -1) for each in offsets]
    within = np.concatenate(inside)
    if (end := within[:, 1].max()) < 0:
        raise ValueError(f"the answer must have a token, got {brief(answer['text'][0])}, and the tokenizer has none")
    begin = within[within[:, 0] >= 0, 0].min()  # a token may be more than the answer
    ends = [(np.flatnonzero(each[:, 0] == begin)[:1], np.flatnonzero(each[:, 1] == end)[-1:]) for each in inside]
    whole = [len(starts) and len(stops) for starts, stops in ends]
    for bits, (starts, stops), is_whole in zip(marked, ends, whole, strict=True):
        # An answer may be longer than what windows share; then its start and its end are in different ones.
        if is_whole or not any(whole):
            bits[starts] |= START
            bits[stops] |= END
    return marked


def best_spans(starts: Tensor, ends: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best span of each row, of all that have at most `LONGEST_ANSWER` tokens.

    Returns:
        Its first and last token, its score, and that of no answer; `(rows,)` each.
    """
    there = targets != IGNORED
    inside = there & (targets & CONTEXT > 0)
    opens, closes = (each.masked_fill(~inside, -torch.inf) for each in (starts, ends))
    closes = functional.pad(closes, (0, LONGEST_ANSWER - 1), value=-torch.inf).unfold(1, LONGEST_ANSWER, 1)
    best, place = (opens[:, :, None] + closes).flatten(1).max(dim=1)
    first = place // LONGEST_ANSWER
    none = torch.where(there & (targets & NONE > 0), starts + ends, -torch.inf).amax(dim=1)
    return first, first + place % LONGEST_ANSWER, best, none


def match_labels(
    task: TaskSpec, id2label: Mapping[int, str], *, label_order: Sequence[str] | None = None, some: bool = False
) -> tuple[Index, str | None]:
    """The logit that stands for each label of a task, and what people must know of it.

    The first rule that fits is taken. Names are the same: case, spaces, hyphens, underscores and `label` before a
    number do not count. Names are numbers alone (`LABEL_0` or `0`): they count the labels in the order of the task,
    which is noted unless the official files of the task write digits too.

    Args:
        task: The task; a regression task needs a checkpoint with one output.
        id2label: Logit index -> label name, from the checkpoint's configuration.
        label_order: Label names in the order of the logits, instead of those of the checkpoint.
        some: Whether the task may have only some of the labels, as files hold few of rare ones.

    Raises:
        LabelError: The names or their number do not match; the message shows both lists and the cure.
    """
    if sorted(id2label) != list(range(len(id2label))):
        raise LabelError(f"the checkpoint's id2label must count 0, 1, 2, ..., got {sorted(id2label)}")
    names, labels = [str(id2label[i]) for i in sorted(id2label)], task.labels
    shown = ", ".join(names)
    if labels is None:
        if label_order is not None:
            raise LabelError(f"{task.name}: --label-order must not be given, for the label is a score")
        if len(names) != 1:
            must = f"{task.name}: the checkpoint must have one output, a score, got {len(names)} ({shown})"
            raise LabelError(f"{must}; use a checkpoint fine-tuned for regression")
        return (0,), None
    wanted = ", ".join(labels)
    both = f"the task has {wanted}; the checkpoint has {shown}; use a checkpoint fine-tuned for this task, or {_CURE}"
    if len(names) != len(labels) and not some:
        raise LabelError(f"{task.name}: the checkpoint must have {len(labels)} labels, got {len(names)}: {both}")
    order, numbers = label_order or names, _numbers(label_order or names)
    if len(order) == len(names) and (index := _by_name(labels, order, some=some)) is not None:
        return index, None
    if label_order is not None:
        must = f"a label for each of the {len(names)} outputs of the checkpoint, and each of {wanted} once"
        raise LabelError(f"{task.name}: --label-order must name {must}, got {', '.join(label_order)}")
    if numbers is None or len(names) != len(labels):
        lacking = ", ".join(label for label in labels if _by_name([label], names, some=True) is None)
        said = f"have all labels of the data, and lacks {lacking}" if some else "name the same labels"
        raise LabelError(f"{task.name}: the checkpoint must {said}: {both}")
    if task.digit_labels and all(name.strip().isdigit() for name in names):
        return numbers, None
    taken = ", ".join(f"{names[i]} = {label}" for label, i in zip(labels, numbers, strict=True))
    said = "the checkpoint's label names say nothing, so they are taken in the order of the task"
    return numbers, f"{said}: {taken}; if that is wrong, {_CURE}"


def _by_name(labels: Sequence[str], names: Sequence[str], *, some: bool) -> Index | None:
    """None unless labels and names are the same set, or the labels are `some` of the names, each once."""
    fold = _fold if all(len(set(map(_fold, each))) == len(each) for each in (labels, names)) else str
    folded = [fold(name) for name in names]
    if (set(map(fold, labels)) - set(folded)) if some else (sorted(folded) != sorted(map(fold, labels))):
        return None
    return tuple(folded.index(fold(label)) for label in labels)


def _numbers(names: Sequence[str]) -> Index | None:
    """The place of each number, of names that are numbers alone; None unless they count 0, 1, 2, ..."""
    numbers = [int(name) for name in map(_fold, names) if re.fullmatch("[0-9]+", name)]
    places = range(len(names))
    return tuple(map(numbers.index, places)) if sorted(numbers) == list(places) else None


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]|^label(?=[\s_-]*[0-9]+$)", "", name.casefold())
