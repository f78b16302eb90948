"""Which logit of a checkpoint stands for which label of a task: matched by name, never by position unsaid."""

import re
from collections.abc import Mapping, Sequence

from prune_heads.errors import LabelError
from prune_heads.objectives import TaskSpec

Index = tuple[int, ...]  # of the logit that stands for each of some labels
_CURE = "give --label-order with the task's names in the order of the checkpoint's outputs"


def match_labels(
    task: TaskSpec, id2label: Mapping[int, str], *, label_order: Sequence[str] | None = None, some: bool = False
) -> tuple[Index, str | None]:
    """The logit that stands for each label of a task, and what people must know of it.

    The first rule that fits is taken. Names are the same: case, spaces, hyphens and underscores do not count. Names
    are numbers alone (`LABEL_0` or `0`): they count the labels in the order of the task, which is noted unless the
    official files of the task write digits too.

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
            raise LabelError(
                f"{task.name}: the checkpoint must have one output, a score, got {len(names)} ({shown}); use a "
                "checkpoint fine-tuned for regression"
            )
        return (0,), None
    wanted = ", ".join(labels)
    both = f"the task has {wanted}; the checkpoint has {shown}; use a checkpoint fine-tuned for this task, or {_CURE}"
    if len(names) != len(labels) and not some:
        raise LabelError(f"{task.name}: the checkpoint must have {len(labels)} labels, got {len(names)}: {both}")
    order, numbers = label_order or names, _numbers(label_order or names)
    if len(order) == len(names):
        if (index := _by_name(labels, order, some=some)) is not None:
            return index, None
        if some and numbers and all(label.isdecimal() and int(label) < len(names) for label in labels):
            return tuple(numbers[int(label)] for label in labels), None
    if label_order is not None:
        raise LabelError(
            f"{task.name}: --label-order must name a label for each of the {len(names)} outputs of the checkpoint, and "
            f"each of {wanted} once, got {', '.join(label_order)}"
        )
    if numbers is None or len(names) != len(labels):
        lacking = ", ".join(label for label in labels if _by_name([label], names, some=True) is None)
        said = f"have all labels of the data, and lacks {lacking}" if some else "name the same labels"
        raise LabelError(f"{task.name}: the checkpoint must {said}: {both}")
    if task.digit_labels and all(name.strip().isdigit() for name in names):
        return numbers, None
    taken = ", ".join(f"{names[i]} = {label}" for label, i in zip(labels, numbers, strict=True))
    return numbers, (
        f"the checkpoint's label names say nothing, so they are taken in the order of the task: {taken}; if that is "
        f"wrong, {_CURE}"
    )


def _by_name(labels: Sequence[str], names: Sequence[str], *, some: bool) -> Index | None:
    """None unless labels and names are the same set, or the labels are `some` of the names, each once."""
    fold = _fold if all(len(set(map(_fold, each))) == len(each) for each in (labels, names)) else str
    folded = [fold(name) for name in names]
    if (set(map(fold, labels)) - set(folded)) if some else (sorted(folded) != sorted(map(fold, labels))):
        return None
    return tuple(folded.index(fold(label)) for label in labels)


def _numbers(names: Sequence[str]) -> Index | None:
    """The place of each number, of names that are numbers alone; None unless they count 0, 1, 2, ..."""
    matches = [re.fullmatch(r"(?:label)?([0-9]+)", _fold(name)) for name in names]
    numbers = [int(match[1]) for match in matches if match]
    if sorted(numbers) != list(range(len(names))):
        return None
    return tuple(map(numbers.index, range(len(names))))


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()
