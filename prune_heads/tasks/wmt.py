"""Pairs of sentences of WMT from the Hugging Face hub, and no more of them than are asked for."""

from itertools import islice
from typing import TYPE_CHECKING, Any

from prune_heads.errors import DataError, first_line
from prune_heads.hub import revision_of
from prune_heads.tasks.rows import Rows, assemble
from prune_heads.tasks.spec import TaskSpec

if TYPE_CHECKING:
    import datasets

REPOSITORY = "wmt/wmt14"

CONFIGURATIONS = {"wmt14-en-fr": "fr-en"}
"""Task -> what the hub calls its pair of languages, in which it is read in both directions."""

N_TRAIN = 5000
"""Training pairs that are read where no number is asked for; of English and French there are 40 million."""


def read_wmt(spec: TaskSpec, split: str, n: int | None = None) -> Rows:
    """Read the first rows of a split from the hub, as a stream: what follows them is not fetched.

    Args:
        spec: Key of `CONFIGURATIONS`; its text columns are the languages, source and target.
        split: `train`, `validation` (newstest2013) or `test` (newstest2014).
        n: How many; None for all, of the training split for `N_TRAIN`.

    Raises:
        DataError: The hub is not in reach, which takes seconds to find, or its rows are not such pairs.
    """
    import datasets  # takes a second

    config = CONFIGURATIONS[spec.name]
    if n is None and split == spec.score_split:
        n = N_TRAIN
    try:
        revision = revision_of(REPOSITORY, "dataset")  # first, for `datasets` itself retries for minutes
        builder = datasets.load_dataset_builder(REPOSITORY, config, revision=revision)
        pairs = [row.get("translation") for row in islice(builder.as_streaming_dataset(split=split), n)]
    except Exception as reason:  # of what kind depends on the HTTP library below; the cures are the same
        raise DataError(
            f"{spec.name}: {REPOSITORY} must be in reach, got {type(reason).__name__}: {first_line(reason)}; pass "
            "--task translation with --train-file and --validation-file, pairs of your own, instead"
        ) from reason
    where = f"{REPOSITORY}/{config}@{revision}"
    languages = spec.text_columns
    for i, pair in enumerate(pairs):
        if not isinstance(pair, dict) or not set(languages) <= set(pair):
            raise DataError(
                f"{where} {split} row {i + 1}: the translation must hold {' and '.join(languages)}, got {pair!r:.100}"
            )
    rows = assemble(
        [[pair[language] for pair in pairs] for language in languages],
        None,
        spec=spec,
        codes={},
        place=lambda i: f"{where} {split} row {i + 1}",
        source=where,
        # The training pairs are as they were found on the web and in books: a few have an empty side.
        may_be_empty=True,
    )
    return rows.of(_n_rows(builder.info, split))


def _n_rows(info: "datasets.DatasetInfo", split: str) -> int | None:
    """How many the data card says that there are; None if it does not."""
    there: Any = (info.splits or {}).get(split)
    return None if there is None else there.num_examples
