"""What can be predicted: objectives, a kind a row, and tasks, as data. Nothing else asks which kind one is.

An objective says how rows become a batch, the loss of each example, what is kept of it, the metrics over any weighting
of examples, and what a model must have. Importing these tables imports nothing heavy.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

from prune_heads.errors import TaskError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from prune_heads.checkpoints import Checkpoint, Head, HeadOf
    from prune_heads.objectives.base import Objective


@dataclass(frozen=True)
class Row:
    """Where an objective is, which tasks it is for, and what their files hold."""

    at: str  # module in this package and class
    kind: str  # of the tasks it is for: `--task` of files of one's own, or `labelled`, whose files need no name
    metrics: Mapping[str, tuple[str, ...]]  # metric of a task -> the values it gives, the one that tables show first
    columns: tuple[str, ...] = ("text",)  # what files of one's own call the columns that the model is given, by default
    n_columns: tuple[int, ...] = (1,)  # how many of them there may be
    label: str | None = None  # what they call the column of labels, by default; None where there is none
    separator: str | None = None  # stands between the labels of a row in one text, as CSV holds them
    options: tuple[str, ...] = ()  # options of `Objective.bind` that it takes
    classes: Literal["one", "many"] | None = None
    """Whether a label names one class, or many in a list, so that names, order and metric may be chosen."""

    summary: str = ""  # of the task for files of one's own, where `--task` names it
    response: str = "likelihood"  # key of `RESPONSES`: a number an example beside the metric
    clustered: str | None = None  # column that examples share which are alike, if it is there and no other is named

    @property
    def fixed(self) -> tuple[str, ...]:
        """What may not be said of files of one's own, for the kind leaves no choice."""
        column = () if self.label else ("label_column",)
        return () if self.classes else (*column, "labels", "label_order", "metric")

    def load(self) -> "type[Objective]":
        """The class."""
        return resolve_name(f"{__name__}.{self.at}")


def table_of(file: str) -> dict[str, dict[str, Any]]:
    """A TOML table of this package: name -> fields of its row, lists as tuples."""

    def frozen(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: frozen(each) for key, each in value.items()}
        return tuple(value) if isinstance(value, list) else value

    return frozen(tomllib.loads((resources.files(__name__) / file).read_text("utf-8")))


OBJECTIVES: Mapping[str, Row] = {name: Row(**row) for name, row in table_of("objectives.toml").items()}
"""`--objective` -> the objective; of those that serve a task and fit a model, the first is its default."""

METRIC_NAMES: Mapping[str, tuple[str, ...]] = {k: v for row in OBJECTIVES.values() for k, v in row.metrics.items()}
"""Metric -> the values it gives; the first is the one that tables and curves show."""


@dataclass(frozen=True)
class TaskSpec:
    """What a task is, without its data."""

    name: str  # `mnli`, `mini-inference`, or the name in one's own TOML
    text_columns: tuple[str, ...]  # what the model is given, as the hub or one's own files name it; see `Row.columns`
    metric: str  # key of `METRIC_NAMES`
    labels: tuple[str, ...] | None = None  # in the hub's order; None for scores, and where texts alone are modelled
    summary: str = ""  # one line for a list of tasks
    kind: str = "labelled"  # `Row.kind` of its objectives
    score_split: str = "train"  # the split that importance is estimated on
    eval_splits: tuple[str, ...] = ("validation",)  # the splits that results are reported on; the first is the default
    more_splits: tuple[str, ...] = ()  # splits that are reported on when they are named
    digit_labels: bool = False  # whether the official files write label i as the digit i, so that checkpoints may too
    label_column: str = "label"  # where there are labels
    cluster_column: str = ""  # examples that share it are alike, so that they are resampled together; empty: none are
    official: Mapping[str, Any] | None = None  # how the official files of a GLUE task look; see tasks.toml

    @property
    def is_own(self) -> bool:
        """Whether it stands for files of one's own, which must be named."""
        return self.name == self.kind

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits whose answers are known."""
        return (self.score_split, *self.eval_splits, *self.more_splits)


TASKS: Mapping[str, TaskSpec] = {name: TaskSpec(name=name, **row) for name, row in table_of("tasks.toml").items()} | {
    row.kind: TaskSpec(row.kind, row.columns, next(iter(row.metrics)), summary=row.summary, kind=row.kind)
    for row in OBJECTIVES.values()
    if row.summary
}
"""Name -> task, for the tasks that `--task` names; those that are `is_own` need files."""

MINI = tuple(name for name in TASKS if name.startswith("mini-"))  # built-in tasks, whose data `mini` holds

_CHOSEN = (row.metrics for row in OBJECTIVES.values() if row.classes or row.kind == "labelled")
OWN_METRICS = tuple(dict.fromkeys(metric for metrics in _CHOSEN for metric in metrics))
"""Metrics that may be chosen for files of one's own."""

_BY_LETTERS = {re.sub(r"\W", "", name): name for name in TASKS}


def task_name(written: str) -> str:
    """The name of a task as `TASKS` has it, however it is written: `SST-2`, `STS_B`; any other as it is."""
    return _BY_LETTERS.get(re.sub(r"[\W_]", "", written).lower(), written)


def known_task(written: str, said: str = "the task ", error: type[Exception] = TaskError) -> str:
    """The name of a task, or of a TOML file; an `error` of another, which begins as is `said` and names the nearest."""
    name = task_name(written)
    if name in TASKS or name.endswith(".toml"):
        return name
    near = difflib.get_close_matches(written.lower(), TASKS, n=1, cutoff=0.5)
    hint = f". Did you mean {near[0]}?" if near else ""
    raise error(f"{said}must be one of {', '.join(TASKS)}, or a .toml file of one's own data; got {written!r}{hint}")


def rows_for(kind: str, metric: str | None = None, name: str | None = None) -> list[Row]:
    """The rows of a kind of tasks, with a metric that they have, or of a name alone."""
    found = [row for key, row in OBJECTIVES.items() if row.kind == kind and name in (None, key)]
    return [row for row in found if metric is None or metric in row.metrics]


def serving(spec: TaskSpec, name: str | None = None, **options: Any) -> "list[type[Objective]]":
    """The objectives for a task, of which the model's head decides; with a name, that one alone.

    A `TaskError` if the one of that name is not for the task, naming those that are; or none for the task takes an
    option that is not None, naming those that do.
    """
    taken = {option for row in rows_for(spec.kind, spec.metric) for option in row.options}
    for option, value in options.items():
        if value is not None and option not in taken:
            those = ", ".join(key for key, row in OBJECTIVES.items() if option in row.options)
            if not those:
                every = sorted({each for row in OBJECTIVES.values() for each in row.options})
                raise TaskError(f"an option of an objective must be one of {', '.join(every)}; got {option}")
            raise TaskError(f"{spec.name}: --{option.replace('_', '-')} must be given for {those} only; got {value}")
    if not (rows := rows_for(spec.kind, spec.metric, name)):
        fitting = ", ".join(key for key in OBJECTIVES if rows_for(spec.kind, spec.metric, key))
        raise TaskError(f"{spec.name}: the objective must be one of {fitting}, got {name}")
    return [row.load() for row in rows]


def head_for(kind: str | None, objective: str | None = None) -> "HeadOf":
    """The head to load for a kind of tasks, or one objective of it; None: as the checkpoint says, or a classifier's."""

    def choose(config: "PreTrainedConfig", name: str) -> "Head":
        named = (config.architectures or [""])[0]
        for row in OBJECTIVES.values() if kind is None else ():
            if row.kind != "lm" and f"For{row.load().head.suffix}" in named:
                return row.load().head_of(config, name)
        return rows_for(kind or "labelled", name=objective)[0].load().head_of(config, name)

    return choose


def bound(checkpoint: "Checkpoint", spec: TaskSpec, name: str | None = None, **options: Any) -> "Objective":
    """The objective of a model on a task, without a name that of the checkpoint's head; an option of None is not given.

    A `TaskError` if no objective fits both, or it does not take an option; a `PruneHeadsError` as of `Objective.bind`.
    """
    for cls in serving(spec, name, **options):
        if cls.fits(checkpoint):
            return cls.bind(checkpoint, spec, **{k: v for k, v in options.items() if v is not None})
    of_model = next(row.kind for row in OBJECTIVES.values() if row.load().fits(checkpoint))
    got = f"got {of_model} and {name or spec.kind}; name another checkpoint, or another task"
    raise TaskError(f"{spec.name}: model and task must be of one kind, {got}")
