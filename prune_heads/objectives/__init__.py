"""What can be predicted: a kind a file, a kind a row. Nothing else in the package asks which kind it is.

An objective says how rows become a batch, the loss of each example, what is kept of it, the metrics over any weighting
of examples, and what a model must have. Importing this table imports nothing heavy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from prune_heads.errors import LabelError, PruneHeadsError, TaskError

if TYPE_CHECKING:
    from prune_heads.checkpoints import Checkpoint
    from prune_heads.objectives.base import Objective
    from prune_heads.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Row:
    """Where an objective is, and which tasks it is for."""

    at: str
    """Module in this package and class."""
    kind: str
    """Of the tasks it is for."""
    summary: str

    def load(self) -> "type[Objective]":
        """The class."""
        module, name = self.at.split(":")
        found: type[Objective] = getattr(import_module(f"{__name__}.{module}"), name)
        return found


OBJECTIVES: Mapping[str, Row] = MappingProxyType(
    {
        "single-label": Row("single_label:SingleLabel", "labelled", "one label an example"),
        "regression": Row("regression:Regression", "labelled", "a score an example"),
        "causal-lm": Row("causal_lm:CausalLM", "lm", "each token of a text, from those before it"),
        "masked-lm": Row("masked_lm:MaskedLM", "lm", "tokens of a text that are hidden"),
        "seq2seq": Row("seq2seq:Seq2Seq", "seq2seq", "the tokens of a target, given its source"),
        "translation": Row(
            "translation:Translation", "translation", "a target that is written for its source"
        ),
    }
)
"""`--objective` -> the objective; of those that serve a task and fit a model, the first is its default."""


def serving(spec: "TaskSpec", name: str | None = None) -> "list[type[Objective]]":
    """The objectives for a task, of which the model's head decides; with a name, that one alone."""
    rows = [row for key, row in OBJECTIVES.items() if row.kind == spec.kind and name in (None, key)]
    return [cls for cls in (row.load() for row in rows) if cls.serves(spec)]


def check_options(spec: "TaskSpec", options: Mapping[str, Any]) -> None:
    """Refuse an option that no objective for the task takes; None counts as not given.

    Raises:
        PruneHeadsError: Naming the option.
    """
    taken = {option for cls in serving(spec) for option in cls.options}
    for name, value in options.items():
        if value is not None and name not in taken:
            refused, why = _REFUSED.get(name, (TaskError, "is for other tasks"))
            raise refused(f"{spec.name}: --{name.replace('_', '-')} {why}; got {value}")


_REFUSED: Mapping[str, tuple[type[PruneHeadsError], str]] = {
    "label_order": (LabelError, "must not be given, for texts have no labels"),
    "beams": (TaskError, "must be given for translations only"),
}


def bound(checkpoint: "Checkpoint", spec: "TaskSpec", name: str | None = None, **options: Any) -> "Objective":
    """The objective of a model on a task.

    Args:
        checkpoint: The model, loaded with its head.
        spec: The task.
        name: Key of `OBJECTIVES`; None for the one that the checkpoint's head names.
        options: Of the objective; None counts as not given.

    Raises:
        TaskError: If no objective fits both, or it does not take an option.
        PruneHeadsError: See `Objective.bind`.
    """
    check_options(spec, options)
    for cls in serving(spec, name):
        if cls.fits(checkpoint):
            return cls.bind(checkpoint, spec, **{k: v for k, v in options.items() if v is not None})
    of_model = next(row.kind for row in OBJECTIVES.values() if row.load().fits(checkpoint))
    raise TaskError(
        f"{spec.name}: model and task must be of one kind, got {of_model} and {name or spec.kind}. Name a checkpoint "
        "whose head is for this task, or another task"
    )
