"""Tasks with their data: one interface for the built-in tasks, GLUE folders, the hub, one's own files and rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.errors import DataError, TaskError, first_line
from prune_heads.objectives import rows_for
from prune_heads.objectives.rows import Split as Split
from prune_heads.objectives.rows import Table, fingerprint
from prune_heads.tasks.own import OwnData, read_own, read_toml, spec_of
from prune_heads.tasks.sources import CONFIGURATIONS, GLUE, read_glue, read_mini, read_tsv, read_wmt
from prune_heads.tasks.spec import TASKS, TaskSpec, nearest, task_name

if TYPE_CHECKING:
    import datasets

NAME = "own"  # of a task of rows in memory, and of a split that has no name


@dataclass(frozen=True)
class Task:
    """A task and where its data come from."""

    spec: TaskSpec
    read: Callable[[str, int | None], Table]  # split and how many rows are needed, None for all -> these or more
    splits: tuple[str, ...]  # the splits there are

    def load(self, split: str, max_examples: int | None = None, *, seed: int | None = None) -> Split:
        """Load one split.

        Args:
            split: Its name, as the hub writes it.
            max_examples: Take so many, in file order; all for None.
            seed: Take them at random; None for the first ones.

        Raises:
            TaskError: There is no such split, or it has no labels.
            DataError: The data cannot be read, are malformed or empty, or none are wanted.
        """
        if split not in self.splits:
            raise TaskError(self._no_such_split(split))
        if max_examples is not None and max_examples < 1:
            raise DataError(f"the number of examples must be at least 1, got {max_examples}")
        table = self.read(split, max_examples if seed is None else None)
        columns = self._checked(table)
        n = len(next(iter(columns.values())))
        places = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
        there = n if table.n_there is None else table.n_there
        every = Split(split, columns, table.source, "", there, tuple(table.left_out or ()))
        chosen = every.at(sorted(places[:max_examples].tolist()))
        return replace(chosen, fingerprint=fingerprint(self.spec.labels, chosen.columns))

    def _checked(self, table: Table) -> dict[str, list[Any]]:
        """The columns of a split, each cell as the task's objective says.

        Raises:
            DataError: No row; or a row is at fault, unless it may be left out.
        """
        spec, row = self.spec, rows_for(self.spec.kind, self.spec.metric)[0]
        objective, n_given = row.load(), len(self.spec.text_columns)
        codes = table.codes or {name: i for i, name in enumerate(spec.labels or ())}
        labels = (
            table.labels(spec.label_column) if row.classes else [each.get(spec.label_column) for each in table.rows]
        )
        kept: list[tuple[Any, ...]] = []
        for place, given, label in zip(table.places, table.rows, labels, strict=True):
            try:
                texts = [
                    objective.input_of(given.get(name), may_be_empty=table.may_be_empty) for name in spec.text_columns
                ]
                cells = (*texts, *([objective.label_of(label, codes)] if row.label else []))
                objective.check_row(cells)
                kept.append(cells)
            except ValueError as fault:
                table.fault(f"{place}: {fault}")
        if not kept:
            out = table.left_out
            why = f"; {len(out)} rows were left out, the first: {out[0]}" if out else ""
            raise DataError(f"{table.source}: at least one example must be there, got none{why}")
        names = [*objective.inputs[:n_given], *(["label"] if row.label else [])]
        return dict(zip(names, map(list, zip(*kept, strict=True)), strict=True))

    def _no_such_split(self, split: str) -> str:
        there = f"{self.spec.name}: the split must be one of {', '.join(self.splits)}, got {split!r}"
        if self.spec.name in GLUE and split.startswith("test"):
            return f"{there}; GLUE publishes no labels for its test splits"
        if split in self.spec.splits:
            return f"{there}; name a file for it (--{split}-file, or {split} = ... under [files])"
        return there


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
    task = task_name(task)
    if task.endswith(".toml"):
        if own is not None:
            raise TaskError(f"one's own data must be described once, got {task} and files beside it")
        own = read_toml(Path(task))
    if data_dir is not None and (own is not None or task not in GLUE):
        raise TaskError(
            f"{own.name if own else task}: a data folder must be given only for a GLUE task: {', '.join(GLUE)}"
        )
    if own is not None:
        described = replace(own, skip_invalid=skip_invalid)
        return Task(spec_of(described), lambda split, n: read_own(described, split), tuple(own.files))
    if skip_invalid:
        raise TaskError(f"{task}: --skip-invalid must be given for files of one's own only")
    if task not in TASKS:
        near = f"; did you mean {nearest(task)}?" if nearest(task) else ""
        raise TaskError(
            f"the task must be one of {', '.join(TASKS)}, or a path to a .toml file that describes one's own data, got "
            f"{task!r}{near}"
        )
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


def task_of_rows(
    data: "datasets.Dataset | Sequence[Mapping[str, Any]]",
    *,
    kind: str,
    metric: str,
    labels: Sequence[str] | None,
    columns: Mapping[str, str] | None = None,
) -> Task:
    """A task with one split, the rows; `DataError` if a column is not there.

    Args:
        data: Rows with the objective's inputs, such as `text` and `text_pair`, and where there are labels `label`: a
            name, an index, or a score.
        kind: Of the task.
        metric: Key of `METRIC_NAMES`.
        labels: Names, in the order of the model's outputs, unless the Dataset has a `ClassLabel`; None for others.
        columns: How the inputs and `label` are called in the rows, where they are called otherwise.
    """
    import datasets  # with pyarrow, takes a second

    row = rows_for(kind, metric)[0]
    objective = row.load()
    names = {**{role: role for role in objective.inputs}, "label": row.label or "label", **(columns or {})}
    if not isinstance(data, datasets.Dataset):
        try:
            inputs = [names[role] for role in objective.inputs]
            stored = ({name: objective.stored(each[name]) for name in inputs if name in each} for each in data)
            data = datasets.Dataset.from_list([{**each, **some} for each, some in zip(data, stored, strict=True)])
        except DataError:
            raise
        except Exception as error:  # pyarrow raises errors of any class
            raise DataError(
                f"data must be a list of dicts, the values of each column of one type; got {first_line(error)}"
            ) from error
    there = [n for n in row.n_columns if names[objective.inputs[n - 1]] in data.column_names]
    texts = objective.inputs[: max([row.n_columns[0], *there])]
    table = Table(NAME)
    table.add_dataset(data, list(names.values()), "example")
    for role in (*texts, *(["label"] if row.label else [])):
        table.require(names[role], f"name yours with columns={{{role!r}: ...}}")
    label = names["label"]
    if labels is not None and row.label:
        if label in table.classes:
            labels = table.classes[label]
        else:
            table.rows = [{**each, label: objective.named(each[label], labels)} for each in table.rows]
    split = NAME if data.split is None else str(data.split)
    spec = TaskSpec(
        NAME,
        tuple(names[role] for role in texts),
        metric,
        None if labels is None else tuple(labels),
        kind=kind,
        score_split=split,
        eval_splits=(split,),
        label_column=label,
    )
    return Task(spec, lambda split, n: table, (split,))


def task_of_labels(values: NDArray[Any], metric: str) -> tuple[Task, Split]:
    """A task of examples that the model is given as they are, of which labels or scores alone are known here."""
    labels = None if values.dtype.kind == "f" else tuple(map(str, range(int(values.max()) + 1)))
    spec = TaskSpec(NAME, (), metric, labels, score_split=NAME, eval_splits=(NAME,))
    columns = {"text": [""] * len(values), "label": values.tolist()}
    split = Split(NAME, columns, NAME, fingerprint(labels, columns), len(values))
    return Task(spec, lambda split, n: Table(NAME), (NAME,)), split
