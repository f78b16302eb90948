"""Tasks with their data: one interface for the built-in tasks, GLUE folders, the hub and one's own files."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_heads import mini
from prune_heads.errors import DataError, TaskError
from prune_heads.tasks.glue import GLUE
from prune_heads.tasks.hub import read_hub
from prune_heads.tasks.own import OwnData, read_own, spec_of
from prune_heads.tasks.own_toml import read_toml
from prune_heads.tasks.rows import Rows, assemble
from prune_heads.tasks.spec import TASKS, TaskSpec, task_name
from prune_heads.tasks.tsv import read_tsv
from prune_heads.tasks.wmt import CONFIGURATIONS, read_wmt

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Split:
    """The examples of one split, as a model can be asked about them."""

    name: str
    columns: Mapping[str, Sequence[Any]]
    """As in `Rows`, in file order; a label is the index of the task's label, or a score."""
    source: str
    """For records: `SST-2/dev.tsv`, `nyu-mll/glue/sst2@<revision>`, `mini grammar`, or the file's name."""
    fingerprint: str
    """SHA-256 over label names, texts and labels: the same for the same examples from whatever source."""
    n_available: int
    """Examples that the source has, of which these may be some."""
    left_out: tuple[str, ...] = ()
    """What is wrong with each row of the source that is no example; see `load_task`."""
    n_cut: int = 0
    """Examples that were longer than the model is given, once that is known."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @cached_property
    def dataset(self) -> "datasets.Dataset":
        """The columns as a data set in memory; no file is written."""
        import datasets  # takes a second

        kinds = {"text": "string", "text_pair": "string"}
        first = next(iter(self.columns.get("label", ())), None)
        if isinstance(first, int | float):
            kinds["label"] = "float32" if isinstance(first, float) else "int64"
        features = {name: datasets.Value(kinds[name]) for name in self.columns if name in kinds}
        whole = features.keys() == self.columns.keys()
        return datasets.Dataset.from_dict(dict(self.columns), features=datasets.Features(features) if whole else None)

    def at(self, places: Sequence[int]) -> "Split":
        """The examples at these places alone."""
        return replace(self, columns={name: [c[i] for i in places] for name, c in self.columns.items()})


@dataclass(frozen=True)
class Task:
    """A task and where its data come from."""

    spec: TaskSpec
    read: Callable[[str, int | None], Rows]
    """Split name and how many rows are needed, None for all -> these rows or more."""
    splits: tuple[str, ...]
    """The splits there are."""

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
        rows = self.read(split, max_examples if seed is None else None)
        chosen = rows.first(max_examples) if seed is None or max_examples is None else rows.sample(max_examples, seed)
        there = len(rows) if rows.n_there is None else rows.n_there
        fingerprint = chosen.fingerprint(self.spec.labels)
        return Split(split, chosen.columns, rows.source, fingerprint, there, rows.left_out)

    def _no_such_split(self, split: str) -> str:
        there = f"the split must be one of {', '.join(self.splits)}, got {split!r}"
        if self.spec.name in GLUE and split.startswith("test"):
            return f"{self.spec.name}: {there}; GLUE publishes no labels for its test splits"
        if split in self.spec.splits:
            cure = f"name a file for it (--{split}-file, or {split} = ... under [files])"
            return f"{self.spec.name}: {there}; {cure}"
        return f"{self.spec.name}: {there}"


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
    if skip_invalid and own is None:
        raise TaskError(f"{task}: --skip-invalid must be given for files of one's own only")
    if own is not None:
        own = replace(own, skip_invalid=skip_invalid)
        spec = spec_of(own)
        return Task(spec, partial(_whole, partial(read_own, own, spec)), tuple(own.files))
    if task not in TASKS:
        raise TaskError(_unknown(task))
    spec = TASKS[task]
    if spec.is_own:
        raise TaskError(f"{task}: files with texts must be named (--train-file, --validation-file), got none")
    if task in CONFIGURATIONS:
        return Task(spec, partial(read_wmt, spec), spec.splits)
    if task not in GLUE:
        read = partial(_read_mini, spec)
    elif data_dir is None:
        read = partial(read_hub, spec)
    else:
        read = partial(read_tsv, spec, data_dir=data_dir)
    return Task(spec, partial(_whole, read), spec.splits)


def _whole(read: Callable[[str], Rows], split: str, n: int | None) -> Rows:
    """Of sources that are small."""
    return read(split)


def _unknown(task: str) -> str:
    near = difflib.get_close_matches(task.lower(), TASKS, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return (
        f"the task must be one of {', '.join(TASKS)}, "
        f"or a path to a .toml file that describes one's own data, got {task!r}{hint}"
    )


def _read_mini(spec: TaskSpec, split: str) -> Rows:
    columns, names = mini.read(spec.name, split), spec.labels
    return assemble(
        [columns[name] for name in spec.text_columns],
        None if names is None else [names[label] for label in columns["label"]],
        spec=spec,
        codes={name: i for i, name in enumerate(names or ())},
        place=lambda i: f"{spec.name} {split} row {i + 1}",
        source="mini grammar",
    )
