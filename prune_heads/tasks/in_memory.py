"""A task from rows in memory: a `datasets.Dataset`, or a list of dicts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from prune_heads.errors import DataError, LabelError, first_line
from prune_heads.objectives import rows_for, values
from prune_heads.objectives.formats import encoded
from prune_heads.tasks.rows import Rows, assemble
from prune_heads.tasks.spec import TaskSpec
from prune_heads.tasks.task import Task

if TYPE_CHECKING:
    import datasets

NAME = "own"
"""Of the task, and of a split that has no name."""


# long: its arguments, and what columns may be called
def task_of_rows(
    data: "datasets.Dataset | Sequence[Mapping[str, Any]]",
    *,
    kind: str,
    metric: str,
    labels: Sequence[str] | None,
    columns: Mapping[str, str] | None = None,
) -> Task:
    """A task with one split, the rows.

    Args:
        data: Rows with `text`, for pairs of texts `text_pair`, and unless texts alone are modelled `label`: a name, an
            index, or a score.
        kind: What is measured.
        metric: Key of `METRIC_NAMES`.
        labels: Names, in the order of the model's outputs; None for scores and texts. Where the Dataset's own
            `ClassLabel` names them, indices are of those names.
        columns: How `text`, `text_pair` and `label` are called in the rows, where they are called otherwise.

    Raises:
        DataError: A column is not there, or a row is at fault.
        LabelError: A label is none of the model's.
    """
    row = rows_for(kind, metric)[0]
    objective = row.load()
    roles = objective.inputs
    names = {**{role: role for role in roles}, "label": row.label or "label", **(columns or {})}
    rows = encoded(_dataset(data))

    def column(role: str) -> list[Any]:
        if names[role] not in rows.column_names:
            raise DataError(
                f"the data must have a column {names[role]!r}; got {', '.join(rows.column_names) or 'no row'}. Name "
                f"yours with columns={{{role!r}: ...}}"
            )
        return list(rows[names[role]])

    n_given = max([*row.n_columns[:1], *(n for n in row.n_columns if names[roles[n - 1]] in rows.column_names)])
    roles = roles[:n_given]
    texts = [column(role) for role in roles]
    found = column("label") if row.label else None
    codes: dict[str, int] = {}
    if labels is not None and found is not None:
        feature = rows.features[names["label"]]
        feature = getattr(feature, "feature", feature)  # of a list of labels
        own = getattr(feature, "names", None)
        order = tuple(own or labels)
        name = values.by_name if own else objective.named
        for i, value in enumerate(found):
            try:
                found[i] = name(value, order)
            except ValueError as fault:
                raise LabelError(f"example {i + 1}: {fault}") from None
        labels = order
        codes = {name: i for i, name in enumerate(labels)}
    split = NAME if rows.split is None else str(rows.split)
    spec = TaskSpec(
        name=NAME,
        text_columns=tuple(names[role] for role in roles),
        labels=None if labels is None else tuple(labels),
        metric=metric,
        score_split=split,
        eval_splits=(split,),
        kind=kind,
    )

    def read(name: str, n: int | None) -> Rows:
        return assemble(texts, found, spec=spec, codes=codes, place=lambda i: f"example {i + 1}", source=NAME)

    return Task(spec, read, (split,))


def task_of_labels(values: NDArray[Any], metric: str) -> Task:
    """A task of examples that the model is given as they are, of which labels or scores alone are known here."""
    is_score = values.dtype.kind == "f"
    labels = None if is_score else tuple(map(str, range(int(values.max()) + 1)))
    spec = TaskSpec(NAME, (), labels, metric, NAME, (NAME,))
    rows = Rows({"text": [""] * len(values), "label": values.tolist()}, NAME)
    return Task(spec, lambda name, n: rows, (NAME,))


def _dataset(data: "datasets.Dataset | Sequence[Mapping[str, Any]]") -> "datasets.Dataset":
    """In memory; no file is written."""
    import datasets  # with pyarrow, takes a second
    import pyarrow as pa

    if isinstance(data, datasets.Dataset):
        return data
    try:
        return datasets.Dataset.from_list([dict(row) for row in data])
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"data must be a list of dicts, the values of each column of one type; got {first_line(error)}"
        ) from error
