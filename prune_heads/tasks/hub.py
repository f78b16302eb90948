"""GLUE from the Hugging Face hub, or from what an earlier download left on this machine."""

from typing import TYPE_CHECKING

from prune_heads.errors import DataError, first_line
from prune_heads.hub import revision_of
from prune_heads.tasks.rows import Rows, assemble
from prune_heads.tasks.spec import TaskSpec

if TYPE_CHECKING:
    import datasets

REPOSITORY = "nyu-mll/glue"


def read_hub(spec: TaskSpec, split: str) -> Rows:
    """Read one split of a GLUE task from the hub; without the hub, from the local cache of `datasets`.

    Raises:
        DataError: Neither can be had, which takes seconds to find, or the data are not those of GLUE.
    """
    builder = _builder(spec.name)
    data = builder.as_dataset(split=split)
    where = f"{REPOSITORY}/{spec.name}@{builder.hash}"
    missing = [name for name in (*spec.text_columns, "label") if name not in data.column_names]
    if missing:
        there = ", ".join(data.column_names)
        raise DataError(f"{where}: the column {missing[0]} must be there, got the columns {there}")
    return assemble(
        [data[name][:] for name in spec.text_columns],
        _labels(data, spec, where),
        spec=spec,
        codes={label: i for i, label in enumerate(spec.labels or ())},
        place=lambda i: f"{where} {split} row {i + 1}",
        source=where,
        # The hub's rows are the official ones: two questions of QQP are empty, and that is known.
        may_be_empty=True,
    )


def _labels(data: "datasets.Dataset", spec: TaskSpec, where: str) -> list[object]:
    """Label names, or scores."""
    labels = data["label"][:]
    if spec.labels is None:
        return labels
    names = getattr(data.features["label"], "names", None)
    if names is None or set(names) != set(spec.labels):
        raise DataError(f"{where}: the labels must be {', '.join(spec.labels)}, got {names}")
    if -1 in labels:
        raise DataError(f"{where}: every row must have a label, got -1, the mark of a split without labels")
    return [names[label] for label in labels]


def _builder(config: str) -> "datasets.DatasetBuilder":
    """A prepared builder of one task: from the hub at its present revision, else from the cache."""
    import datasets  # takes a second
    from datasets.packaged_modules.cache.cache import Cache

    try:
        revision = revision_of(REPOSITORY, "dataset")  # first, for `datasets` itself retries for minutes
        builder = datasets.load_dataset_builder(REPOSITORY, config, revision=revision)
        builder.download_and_prepare()
        return builder
    except Exception as reason:  # of what kind depends on the HTTP library below; the cures are the same
        try:
            # Not load_dataset in offline mode: that is a constant, read when its module is imported.
            return Cache(repo_id=REPOSITORY, dataset_name="glue", config_name=config, version="auto", hash="auto")
        except ValueError:
            raise DataError(
                f"{config}: {REPOSITORY} must be in reach or in the cache of this machine, "
                f"got {type(reason).__name__}: {first_line(reason)}; "
                "pass --data-dir FOLDER with the official GLUE files (train.tsv, dev.tsv) instead"
            ) from reason
