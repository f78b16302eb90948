"""Which logit of a checkpoint stands for which label of a task: matched by name, never by position unsaid."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune_heads.errors import LabelError

if TYPE_CHECKING:
    from prune_heads.objectives.base import Asked


@dataclass(frozen=True)
class LabelMap:
    """How to read a checkpoint's logits as the task's labels."""

    model_index: tuple[int, ...]
    """`model_index[t]` is the index of the logit that stands for the task's label t."""
    note: str | None
    """Said to the user where the names say nothing and an order had to be taken."""


# long: the rules of matching, in their order
def match_labels(
    task: Asked, id2label: Mapping[int, str], *, label_order: Sequence[str] | None = None, some: bool = False
) -> LabelMap:
    """Match the labels of a task with those of a checkpoint.

    Names are compared without regard to case, spaces, hyphens and underscores. A task whose official files
    code labels by digits also matches by these digits. Names that say nothing (`LABEL_0`, digits elsewhere)
    are taken in the hub's order, with a note.

    Args:
        task: The task; a regression task needs a checkpoint with one output.
        id2label: Logit index -> label name, from the checkpoint's configuration.
        label_order: Label names in the order of the logits, instead of those of the checkpoint.
        some: Whether the task may have only some of the labels, as files hold few of rare ones.

    Raises:
        LabelError: The names or their number do not match; the message shows both lists and the cure.
    """
    names = [str(id2label[i]) for i in sorted(id2label)]
    if sorted(id2label) != list(range(len(id2label))):
        raise LabelError(f"the checkpoint's id2label must count 0, 1, 2, ..., got {sorted(id2label)}")
    if task.labels is None:
        if label_order is not None:
            raise LabelError(f"{task.name}: --label-order must not be given, for the label is a score")
        if len(names) != 1:
            raise LabelError(
                f"{task.name}: the checkpoint must have one output, a score, got {len(names)} "
                f"({', '.join(names)}); use a checkpoint fine-tuned for regression"
            )
        return LabelMap((0,), None)
    if some and (found := _some(task.labels, names, label_order or names)) is not None:
        return LabelMap(found, None)
    if some and label_order is not None:
        raise LabelError(
            f"{task.name}: --label-order must name a label for each of the {len(names)} outputs of the checkpoint, "
            f"{', '.join(task.labels)} among them, got {', '.join(label_order)}"
        )
    if some and (len(names) != len(task.labels) or _by_number(names) is None):
        lacking = [label for label in task.labels if _by_name([label], names, some=True) is None]
        raise LabelError(_mismatch(task, names, f"must have all labels of the data, and lacks {', '.join(lacking)}"))
    if len(names) != len(task.labels):
        raise LabelError(_mismatch(task, names, f"must have {len(task.labels)} labels, got {len(names)}"))
    if label_order is not None:
        index = _by_name(task.labels, label_order)
        if index is None:
            raise LabelError(
                f"{task.name}: --label-order must name each of {', '.join(task.labels)} once, "
                f"in the order of the checkpoint's outputs, got {', '.join(label_order)}"
            )
        return LabelMap(index, None)
    index = _by_name(task.labels, names)
    if index is not None:
        return LabelMap(index, None)
    index = _by_number(names)
    if index is None:
        raise LabelError(_mismatch(task, names, "must name the same labels"))
    if task.digit_labels and all(name.strip().isdigit() for name in names):
        return LabelMap(index, None)
    return LabelMap(index, _note(task, names, index))


def _some(labels: Sequence[str], names: Sequence[str], order: Sequence[str]) -> tuple[int, ...] | None:
    """The index of each label in the order, or by its number where the checkpoint has numbers alone."""
    if len(order) != len(names):
        return None
    numbered = _by_number(order)
    if numbered and all(label.isdecimal() and int(label) < len(names) for label in labels):
        return tuple(numbered[int(label)] for label in labels)
    return _by_name(labels, order, some=True)


def _by_name(labels: Sequence[str], names: Sequence[str], *, some: bool = False) -> tuple[int, ...] | None:
    """The index of each label among the names; None unless they are the same set, or `some` of it, each once."""
    fold = _fold if all(len(set(map(_fold, each))) == len(each) for each in (labels, names)) else str
    folded = [fold(name) for name in names]
    if (set(map(fold, labels)) - set(folded)) if some else (sorted(folded) != sorted(map(fold, labels))):
        return None
    return tuple(folded.index(fold(label)) for label in labels)


def _by_number(names: Sequence[str]) -> tuple[int, ...] | None:
    """The same for names that are only numbers, `LABEL_0` or `0`; None unless they count 0, 1, 2, ..."""
    matches = [re.fullmatch(r"(?:label)?([0-9]+)", _fold(name)) for name in names]
    numbers = [int(match[1]) for match in matches if match]
    if sorted(numbers) != list(range(len(names))):
        return None
    return tuple(numbers.index(label) for label in range(len(names)))


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _mismatch(task: Asked, names: Sequence[str], what: str) -> str:
    return (
        f"{task.name}: the checkpoint {what}: the task has {', '.join(task.labels or ())}; "
        f"the checkpoint has {', '.join(names)}; use a checkpoint fine-tuned for this task, "
        "or give --label-order with the task's names in the order of the checkpoint's outputs"
    )


def _note(task: Asked, names: Sequence[str], index: tuple[int, ...]) -> str:
    taken = ", ".join(f"{names[i]} = {label}" for label, i in zip(task.labels or (), index, strict=True))
    return (
        f"the checkpoint's label names say nothing, so they are taken in the order of the task: {taken}; "
        "if that is wrong, give --label-order with the task's names in the order of the checkpoint's outputs"
    )
