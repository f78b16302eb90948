"""GLUE and WMT from the Hugging Face hub, and no more pairs of WMT than are asked for."""

from itertools import islice
from typing import TYPE_CHECKING

from prune_heads.errors import DataError, first_line
from prune_heads.hub import revision_of
from prune_heads.objectives.rows import Table
from prune_heads.tasks.spec import TaskSpec

if TYPE_CHECKING:
    import datasets

REPOSITORY = "nyu-mll/glue"
WMT = "wmt/wmt14"

CONFIGURATIONS = {"wmt14-en-fr": "fr-en"}
"""Task -> what the hub calls its pair of languages, in which it is read in both directions."""

N_TRAIN = 5000
"""Training pairs that are read where no number is asked for; of English and French there are 40 million."""


def read_glue(spec: TaskSpec, split: str) -> Table:
    """Read one split of a GLUE task from the hub; without the hub, from the local cache of `datasets`.

    Raises:
        DataError: Neither can be had, which takes seconds to find, or the data are not those of GLUE.
    """
    from datasets.packaged_modules.cache.cache import Cache

    try:
        builder = _builder(REPOSITORY, spec.name)
        builder.download_and_prepare()
    except Exception as reason:  # of what kind depends on the HTTP library below; the cures are the same
        try:
            # Not load_dataset in offline mode: that is a constant, read when its module is imported.
            builder = Cache(repo_id=REPOSITORY, dataset_name="glue", config_name=spec.name, version="auto", hash="auto")
        except ValueError:
            raise DataError(
                f"{spec.name}: {REPOSITORY} must be in reach or in the cache of this machine, "
                f"got {type(reason).__name__}: {first_line(reason)}; "
                "pass --data-dir FOLDER with the official GLUE files (train.tsv, dev.tsv) instead"
            ) from reason
    where = f"{REPOSITORY}/{spec.name}@{builder.hash}"
    # The hub's rows are the official ones: two questions of QQP are empty, and that is known.
    table = Table(where, may_be_empty=True)
    columns = (*spec.text_columns, spec.label_column)
    table.add_dataset(builder.as_dataset(split=split), columns, f"{where} {split} row")
    for column in columns:
        table.require(column, "the data must be those of GLUE")
    return table


def read_wmt(spec: TaskSpec, split: str, n: int | None = None) -> Table:
    """Read the first rows of a split from the hub, as a stream: what follows them is not fetched.

    Args:
        spec: Key of `CONFIGURATIONS`; its text columns are the languages, source and target.
        split: `train`, `validation` (newstest2013) or `test` (newstest2014).
        n: How many; None for all, of the training split for `N_TRAIN`.

    Raises:
        DataError: The hub is not in reach, which takes seconds to find, or its rows are not such pairs.
    """
    config = CONFIGURATIONS[spec.name]
    if n is None and split == spec.score_split:
        n = N_TRAIN
    try:
        builder = _builder(WMT, config)
        pairs = [row.get("translation") for row in islice(builder.as_streaming_dataset(split=split), n)]
    except Exception as reason:
        raise DataError(
            f"{spec.name}: {WMT} must be in reach, got {type(reason).__name__}: {first_line(reason)}; pass "
            "--task translation with --train-file and --validation-file, pairs of your own, instead"
        ) from reason
    # The training pairs are as they were found on the web and in books: a few have an empty side.
    table = Table(f"{WMT}/{config}@{builder.hash}", spec.text_columns, may_be_empty=True)
    for i, pair in enumerate(pairs, 1):
        place = f"{table.source} {split} row {i}"
        if not isinstance(pair, dict) or not set(spec.text_columns) <= set(pair):
            raise DataError(f"{place}: the translation must hold {' and '.join(spec.text_columns)}, got {pair!r:.100}")
        table.add(place, pair)
    there = (builder.info.splits or {}).get(split)
    table.n_there = None if there is None else there.num_examples  # what the data card says
    return table


def _builder(repository: str, config: str) -> "datasets.DatasetBuilder":
    """Of the data at their present revision, whose commit is `hash`."""
    import datasets  # takes a second

    revision = revision_of(repository, "dataset")  # first, for `datasets` itself retries for minutes
    return datasets.load_dataset_builder(repository, config, revision=revision)
