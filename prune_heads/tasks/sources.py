"""Where the rows of tasks that are not one's own come from: GLUE's official files, the hub, the package.

The official files are `train.tsv`, `dev.tsv`, ..., unquoted. Of WMT no more pairs are fetched than are asked for.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_heads import mini
from prune_heads.errors import DataError, first_line
from prune_heads.hub import revision_of
from prune_heads.objectives import TASKS, TaskSpec
from prune_heads.objectives.rows import Table, text_at

if TYPE_CHECKING:
    import datasets

REPOSITORY = "nyu-mll/glue"
WMT = "wmt/wmt14"
CONFIGURATIONS = {"wmt14-en-fr": "fr-en"}  # task -> what the hub calls its languages, read in both directions
N_TRAIN = 5000  # training pairs that are read where no number is asked for; of English and French there are 40 million

GLUE: Mapping[str, Mapping[str, Any]] = {name: spec.official for name, spec in TASKS.items() if spec.official}
"""Task name, which is also the hub's configuration -> its official files."""


def read_tsv(spec: TaskSpec, split: str, data_dir: Path, parses: Sequence[str] = ()) -> Table:
    """One split of a GLUE task from its official file, in the task's own folder or in the one that holds it.

    Columns of parses that are asked for are read as well, by their own name.

    Raises:
        DataError: The folder or the file is missing, or something in it is not as in the official file; the
            message gives the line, from 1, the header counted.
    """
    if not data_dir.is_dir():
        raise DataError(f"the data folder must be there, got {data_dir}, which is no folder")
    files = GLUE[spec.name]
    inner = data_dir / files["folder"]
    path = (inner if inner.is_dir() else data_dir) / f"{split.replace('validation', 'dev')}.tsv"
    name = f"{path.parent.resolve().name}/{path.name}"
    if not path.exists():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.tsv"))) or "none"
        must = f"{name}: the file must be there, got a folder with these .tsv files: {there}"
        raise DataError(f"{must}; the data folder must be the task's own, or the one that holds it")
    if not (text := text_at(path, name)).strip():
        raise DataError(f"{name}: at least one example must be there, got an empty file")
    # Not splitlines(): texts may hold other characters that it takes for line ends.
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    codes = {str(i) if spec.digit_labels else label: i for i, label in enumerate(spec.labels or ())}
    first = 0 if "header" in files else 1
    header, may_be_empty = files.get("header") or lines[0].split("\t"), files.get("empty_texts", False)
    table = Table(name, header, codes=codes, may_be_empty=may_be_empty)
    official = f"the file must be the official GLUE file of {files['folder']}, unquoted TSV"
    columns = (*files["text_columns"], files["label_column"])
    table.require(columns, official)
    table.require(parses, "--parses needs columns of parses, such as sentence1_parse. Try --conllu")
    ours = dict(zip((*columns, *parses), (*spec.text_columns, spec.label_column, *parses), strict=True))
    n_broken = files.get("broken_lines", 0)
    for number, line in enumerate(lines[first:], first + 1):
        fields = line.split("\t")
        if len(fields) < len(header) and n_broken:
            n_broken -= 1
        else:
            table.add_fields(f"{name} line {number}", fields, ours, f"; {official}")
    table.names = tuple(ours.get(column, column) for column in header)
    return table


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
            must = f"{REPOSITORY} must be in reach or in the cache of this machine, got {first_line(reason)}"
            cure = "pass --data-dir FOLDER with the official GLUE files instead"
            raise DataError(f"{spec.name}: {must}; {cure}") from reason
    where = f"{REPOSITORY}/{spec.name}@{builder.hash}"
    table = Table(where, may_be_empty=True)  # as the official files are: two questions of QQP are empty
    columns = (*spec.text_columns, spec.label_column)
    table.add_dataset(builder.as_dataset(split=split), columns, f"{where} {split} row")
    table.require(columns, "the data must be those of GLUE")
    return table


def read_wmt(spec: TaskSpec, split: str, n: int | None = None) -> Table:
    """The first `n` rows of a split from the hub, as a stream: what follows them is not fetched.

    None stands for all, of the training split for `N_TRAIN`. The text columns are the languages, source and target.

    Raises:
        DataError: The hub is not in reach, which takes seconds to find, or its rows are not such pairs.
    """
    config = CONFIGURATIONS[spec.name]
    if n is None and split == spec.score_split:
        n = N_TRAIN
    try:
        builder = _builder(WMT, config)
        pairs = [row.get("translation") or {} for row in islice(builder.as_streaming_dataset(split=split), n)]
    except Exception as reason:
        must = f"{spec.name}: {WMT} must be in reach, got {type(reason).__name__}: {first_line(reason)}"
        raise DataError(f"{must}; pass --task translation with --train-file and --validation-file instead") from reason
    # The training pairs are as they were found on the web and in books: a few have an empty side.
    table = Table(f"{WMT}/{config}@{builder.hash}", spec.text_columns, may_be_empty=True)
    table.fill(pairs, f"{table.source} {split} row")
    there = (builder.info.splits or {}).get(split)
    table.n_there = None if there is None else there.num_examples  # what the data card says
    return table


def _builder(repository: str, config: str) -> "datasets.DatasetBuilder":
    """Of the data at their present revision, whose commit is `hash`."""
    import datasets  # takes a second

    revision = revision_of(repository, "dataset")  # first, for `datasets` itself retries for minutes
    return datasets.load_dataset_builder(repository, config, revision=revision)


def read_mini(spec: TaskSpec, split: str) -> Table:
    """Read one split of a built-in task from the package."""
    columns = mini.read(spec.name, split)
    table = Table("mini grammar", list(columns), classes={"label": spec.labels or ()})
    cells = zip(*columns.values(), strict=True)
    table.fill((dict(zip(columns, each, strict=True)) for each in cells), f"{spec.name} {split} row")
    return table
