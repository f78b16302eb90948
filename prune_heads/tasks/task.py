"""Tasks with their data: one interface for the built-in tasks, GLUE folders, the hub, one's own files and rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prune_heads.errors import DataError, TaskError, UnsupportedModelError, first_line
from prune_heads.objectives import OBJECTIVES, TASKS, Row, TaskSpec, known_task, rows_for
from prune_heads.objectives.rows import Split as Split
from prune_heads.objectives.rows import Table, fingerprint
from prune_heads.statistics.groups import numbered
from prune_heads.tasks.own import OwnData, read_own, read_toml, spec_of
from prune_heads.tasks.sources import CONFIGURATIONS, GLUE, read_glue, read_mini, read_tsv, read_wmt
from prune_heads.visible import brief

if TYPE_CHECKING:
    import datasets

    from prune_heads.checkpoints import Checkpoint
    from prune_heads.objectives.base import Objective

NAME = "own"  # of a task of rows in memory, and of a split that has no name
HELD_OUT = "held-out"  # the split of the training examples that `finetune --hold-out` has set aside
HELD_OUT_ENTRY = "prune_heads_held_out"  # of a model's configuration, with the fields of `HeldOut`


class HeldOut(NamedTuple):
    """Training examples that a model was not trained on: whole groups, drawn from all of the training split."""

    task: str
    split: str  # of which they are
    n_examples: int
    seed: int
    fingerprint: str  # of these examples, as of a `Split`

    @classmethod
    def of(cls, config: Any) -> "HeldOut | None":
        """What a model's configuration says of it; a `TaskError` if it cannot be read."""
        said = getattr(config, HELD_OUT_ENTRY, None)
        try:
            return None if said is None else cls(**said)
        except TypeError as error:
            must = f"{HELD_OUT_ENTRY} in config.json must have {', '.join(cls._fields)}; got {brief(said)}"
            raise TaskError(f"{must}. Restore what 'prune-heads finetune' wrote") from error

    def places(self, groups: Sequence[str], n_examples: int) -> set[int]:
        """Which they are of so many examples, from 0; `groups` is empty where each is its own."""
        unit = numbered(np.asarray(groups)) if groups else np.arange(n_examples)
        order = np.random.default_rng(self.seed).permutation(int(unit.max()) + 1)
        n_units = int(np.searchsorted(np.cumsum(np.bincount(unit)[order]), self.n_examples)) + 1
        return set(np.flatnonzero(np.isin(unit, order[:n_units])).tolist())


@dataclass(frozen=True)
class Task:
    """A task and where its data come from."""

    spec: TaskSpec
    read: Callable[[str, int | None], Table]  # split and how many rows are needed, None for all -> these or more
    splits: tuple[str, ...]  # the splits there are
    held_out: HeldOut | None = None  # what the training split lacks, and the split `HELD_OUT` has

    def holding_out(self, n: int, seed: int) -> "Task":
        """The same with `n` training examples set aside; a `DataError` if none would be left."""
        whole = self._whole
        held = HeldOut(self.spec.name, whole.name, n, seed, "")
        places = sorted(held.places(whole.groups, len(whole)))  # more than `n`, by a part of a group
        if len(places) == len(whole):
            must = f"examples to train on must be left; --hold-out {n} takes all {len(whole)} of {whole.name}"
            raise DataError(f"{must}. Hold fewer out")
        found = fingerprint(self.spec.labels, whole.at(places).columns)
        made = self._lacking(held._replace(n_examples=len(places), fingerprint=found))
        vars(made)["_whole"] = whole
        return made

    def of_model(self, config: Any) -> "Task":
        """The same as a model may see it: without what was set aside of it when the model was trained."""
        held = None if self.held_out is not None else HeldOut.of(config)
        is_ours = held is not None and (held.task, held.split) == (self.spec.name, self.spec.score_split)
        return self._lacking(held) if held is not None and is_ours else self

    def _lacking(self, held: HeldOut) -> "Task":
        return replace(self, held_out=held, splits=(*self.splits, HELD_OUT))

    def load(self, split: str, max_examples: int | None = None, *, seed: int | None = None) -> Split:
        """Load one split.

        Args:
            split: Its name, as the hub writes it; or `HELD_OUT`.
            max_examples: Take so many, in file order; all for None.
            seed: Take them at random; None for the first ones.

        Raises:
            TaskError: There is no such split, or it has no labels.
            DataError: The data cannot be read, are malformed or empty, or none are wanted.
        """
        spec, row = self.spec, rows_for(self.spec.kind, self.spec.metric)[0]
        if split not in self.splits:
            cure = f"; name a file for it (--{split}-file, or under [files])" if split in spec.splits else ""
            if spec.name in GLUE and split.startswith("test"):
                cure = "; GLUE publishes no labels for its test splits"
            if split == HELD_OUT:
                cure = "; 'prune-heads finetune --hold-out' makes a model that has it"
            raise TaskError(f"{spec.name}: the split must be one of {', '.join(self.splits)}, got {split!r}{cure}")
        if max_examples is not None and max_examples < 1:
            raise DataError(f"the number of examples must be at least 1, got {max_examples}")
        if self.held_out is not None and split in (HELD_OUT, self.held_out.split):
            return self._part(self.held_out, split, max_examples, seed)
        table, objective = self.read(split, max_examples if seed is None else None), row.load()
        codes = table.codes or {name: i for i, name in enumerate(spec.labels or ())}
        by_name, kept, groups = table.labels(spec.label_column), [], []
        for (place, given), label in zip(table.rows.items(), by_name, strict=True):
            label = label if row.classes else given.get(spec.label_column)
            try:
                cells = [objective.input_of(given.get(n), may_be_empty=table.may_be_empty) for n in spec.text_columns]
                cells += [objective.label_of(label, codes)] if row.label else []
                objective.check_row(tuple(cells))
                group = given.get(spec.cluster_column)
                if group in (None, "") and spec.cluster_column in table.names and not table.may_be_empty:
                    raise ValueError(f"{spec.cluster_column} must say its group, got {brief(group)}")
                kept.append(cells)
                groups.append(str(group))
            except ValueError as fault:
                table.fault(f"{place}: {fault}")
        out = tuple(table.left_out or ())
        if not kept:
            why = f"; {len(out)} rows were left out, the first: {out[0]}" if out else ""
            raise DataError(f"{table.source}: at least one example must be there, got none{why}")
        order = range(len(kept)) if seed is None else np.random.default_rng(seed).permutation(len(kept)).tolist()
        places = sorted(order[:max_examples])
        chosen = [kept[i] for i in places]
        names = [*objective.inputs[: len(spec.text_columns)], *(["label"] if row.label else [])]
        columns = dict(zip(names, map(list, zip(*chosen, strict=True)), strict=True))
        n_there = table.n_there or len(kept)
        shared = tuple(groups[i] for i in places) if spec.cluster_column in table.names else ()
        return Split(split, columns, table.source, fingerprint(spec.labels, columns), n_there, out, shared)

    @cached_property
    def _whole(self) -> Split:
        """The split of which examples are set aside, with these; its parts are made of one reading."""
        return replace(self, held_out=None).load(self.spec.score_split)

    def _part(self, held: HeldOut, split: str, max_examples: int | None, seed: int | None) -> Split:
        """What was set aside, or the rest."""
        whole, labels = self._whole, self.spec.labels
        aside = held.places(whole.groups, len(whole))
        if fingerprint(labels, whole.at(sorted(aside)).columns) != held.fingerprint:
            must = f"{whole.source} must hold the {held.n_examples} examples that the model was not trained on"
            cure = "Give the data that it was trained on; call other data otherwise (name in a task's TOML file)"
            raise DataError(f"{must}, got other rows. {cure}")
        there = [i for i in range(len(whole)) if (i in aside) == (split == HELD_OUT)]
        order = range(len(there)) if seed is None else np.random.default_rng(seed).permutation(len(there)).tolist()
        part = whole.at([there[i] for i in sorted(order[:max_examples])])
        return replace(part, name=split, n_available=len(there), fingerprint=fingerprint(labels, part.columns))


def load_task(
    task: str, *, data_dir: Path | None = None, own: OwnData | None = None, skip_invalid: bool = False
) -> Task:
    """Find a task and its data; nothing is read before `Task.load`, except one's own labels if not named.

    Args:
        task: A name from `TASKS`, or a path to a TOML file that describes one's own data; unused beside `own`.
        data_dir: For a GLUE task, a folder with the official files; the hub is asked when it is None.
        own: One's own data, described by options instead of a TOML file.
        skip_invalid: Leave out the rows of one's own data that are at fault, and count them, instead of refusing.

    Raises:
        TaskError: The task is unknown, described inconsistently, or `data_dir` does not belong to it.
        DataError: One's own files cannot be read.
    """
    if own is not None and task.endswith(".toml"):
        raise TaskError(f"one's own data must be described once, got {task} and files beside it")
    task = known_task(task) if own is None else task
    if task.endswith(".toml"):
        own = read_toml(Path(task))
    if data_dir is not None and (own is not None or task not in GLUE):
        name = own.name if own else task
        raise TaskError(f"{name}: a data folder must be given only for a GLUE task: {', '.join(GLUE)}")
    if own is not None:
        described = replace(own, skip_invalid=skip_invalid)
        return Task(spec_of(described), lambda split, n: read_own(described, split), tuple(own.files))
    if skip_invalid:
        raise TaskError(f"{task}: --skip-invalid must be given for files of one's own only")
    spec = TASKS[task]
    if spec.is_own:
        raise TaskError(f"{task}: files with texts must be named (--train-file, --validation-file), got none")

    def read(split: str, n: int | None) -> Table:
        if task in CONFIGURATIONS:
            return read_wmt(spec, split, n)
        if task not in GLUE:
            return read_mini(spec, split)
        return read_glue(spec, split) if data_dir is None else read_tsv(spec, split, data_dir)

    return Task(spec, read, spec.splits)


def kind_of(objective: "str | Objective") -> str:
    """The kind of the tasks that an objective is for; `TaskError` if there is none of that name."""
    name = objective if isinstance(objective, str) else objective.name
    if name not in OBJECTIVES and isinstance(objective, str):
        raise TaskError(f"the objective must be one of {', '.join(OBJECTIVES)}, or your own; got {name!r}")
    return OBJECTIVES[name].kind if name in OBJECTIVES else "labelled"


def kind_of_head(checkpoint: "Checkpoint") -> str:
    """The kind of the tasks that the model's head is for."""
    return kind_of(next(key for key, row in OBJECTIVES.items() if row.load().is_named_by(checkpoint)))


def of_head(checkpoint: "Checkpoint", kind: str) -> tuple[Row, tuple[str, ...] | None]:
    """What data for this kind of head hold, and the names of the model's outputs; None where they have none."""
    row, config = rows_for(kind)[0], checkpoint.model.config
    labels = tuple(str(config.id2label[i]) for i in sorted(config.id2label)) if row.classes else None
    if kind == "labelled" and labels is not None and len(labels) < 2:
        return OBJECTIVES["regression"], None
    return row, labels


def task_of_rows(
    data: "datasets.Dataset | Sequence[Mapping[str, Any]]",
    checkpoint: "Checkpoint",
    objective: "str | Objective | None" = None,
    columns: Mapping[str, str] | None = None,
) -> Task:
    """A task with one split, the rows, of what the model's head gives, or of what is asked.

    A `DataError` if a column is not there; an `UnsupportedModelError` if the model has no config.

    Args:
        data: Rows with the objective's inputs, such as `text` and `text_pair`, and where there are labels `label`: a
            name, an index, or a score.
        checkpoint: Whose outputs are named by the labels, unless the Dataset has a `ClassLabel`.
        objective: What is asked; None: what the head gives.
        columns: How the inputs and `label` are called in the rows, where they are called otherwise; and `cluster`, what
            examples share that are alike.
    """
    import datasets  # with pyarrow, takes a second

    config: Any = getattr(checkpoint.model, "config", None)
    if config is None:
        must = f"texts need a model of transformers with its config; got {type(checkpoint.model).__name__}"
        raise UnsupportedModelError(f"{must}. Give a DataLoader of its inputs with labels")
    kind = kind_of(objective) if objective else kind_of_head(checkpoint)
    row, labels = of_head(checkpoint, kind)
    asked = row.load()
    names = {**{role: role for role in asked.inputs}, "label": row.label or "label", **(columns or {})}
    shared = names.get("cluster", names.get(row.clustered or "", row.clustered or ""))
    if not isinstance(data, datasets.Dataset):
        inputs = {names[role] for role in asked.inputs}
        try:
            kept = [{key: asked.stored(cell) if key in inputs else cell for key, cell in each.items()} for each in data]
            data = datasets.Dataset.from_list(kept)
        except DataError:
            raise
        except Exception as error:  # pyarrow raises errors of any class
            raise DataError(f"data must be dicts, each column of one type; got {first_line(error)}") from error
    there = [n for n in row.n_columns if names[asked.inputs[n - 1]] in data.column_names]
    texts = asked.inputs[: max([row.n_columns[0], *there])]
    table = Table(NAME)
    table.add_dataset(data, [*names.values(), shared], "example")
    for role in (*texts, *(["label"] if row.label else []), *(["cluster"] if "cluster" in names else [])):
        table.require([names[role]], f"name yours with columns={{{role!r}: ...}}")
    label = names["label"]
    if labels is not None and label in table.classes:
        labels = tuple(table.classes[label])
    elif labels is not None:
        table.change(label, lambda cell: asked.named(cell, labels))
    split = NAME if data.split is None else str(data.split)
    given, metric = tuple(names[role] for role in texts), next(iter(row.metrics))
    told: dict[str, Any] = {"kind": kind, "label_column": label, "cluster_column": shared}
    spec = TaskSpec(NAME, given, metric, labels, score_split=split, eval_splits=(split,), **told)
    return Task(spec, lambda split, n: table, (split,))


def task_of_labels(values: NDArray[Any], metric: str) -> tuple[Task, Split]:
    """A task of examples that the model is given as they are, of which labels or scores alone are known here."""
    labels = None if values.dtype.kind == "f" else tuple(map(str, range(int(values.max()) + 1)))
    spec = TaskSpec(NAME, (), metric, labels, score_split=NAME, eval_splits=(NAME,))
    columns = {"text": [""] * len(values), "label": values.tolist()}
    split = Split(NAME, columns, NAME, fingerprint(labels, columns), len(values))
    return Task(spec, lambda split, n: Table(NAME), (NAME,)), split
