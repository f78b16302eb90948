"""CoNLL files: a word a line, its labels in columns."""

import re
from pathlib import Path

from prune_heads.errors import DataError
from prune_heads.objectives.formats import Columns, Wanted
from prune_heads.reading import read_bytes, text_of


def read_conll(path: Path, wanted: Wanted, left_out: list[str] | None) -> Columns:
    """Sentences of a CoNLL file: a word a line, blank lines between sentences, lines of `-DOCSTART-` left out.

    Columns are separated by tabs where the first line has one, else by white space. `tokens` is the first, `tags` the
    last, and a number the one of that place, from 1.

    Raises:
        DataError: If a column that is wanted is not there, or a line has more or fewer columns than the first, unless
            its sentence may be left out.
    """
    lines = text_of(read_bytes(path, path.name, DataError), path.name, DataError).split("\n")
    found, n_columns, at = Columns([], left_out=left_out), 0, dict[str, int]()
    sentence: list[list[str]] = []
    separator, start, fault = None, 0, ""
    for number, line in enumerate([*lines, ""], 1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if fault:
                found.fault(fault)
            elif sentence:
                found.rows.append([[word[i] for word in sentence] for i in at.values()])
                found.places.append(f"{path.name} line {start}")
            sentence, fault = [], ""
            continue
        if not n_columns:
            separator = r"\t" if "\t" in line else "[ \t]+"
        columns = re.split(separator or "", line.removesuffix("\r").strip(" "))
        if not n_columns:
            n_columns = len(columns)
            at = {name: _place(name, option, n_columns, path) for name, option in wanted.items()}
            found.names = [str(i) for i in range(1, n_columns + 1)]
        if len(columns) != n_columns:
            fault = fault or (
                f"{path.name} line {number}: {n_columns} columns must be there, as before, got {len(columns)}"
            )
        start = start if sentence else number
        sentence.append(columns)
    return found


def _place(name: str, option: str, n_columns: int, path: Path) -> int:
    named = {"tokens": 1, "tags": n_columns}
    place = named.get(name) or (int(name) if name.isdecimal() and len(name) < 5 else 0)
    if not 1 <= place <= n_columns or (n_columns < 2 and "tags" in name):
        raise DataError(
            f"{path.name}: columns of a CoNLL file are named by their number, here 1 to {n_columns}, of which "
            f"there must be two, got {name}; {option} names another"
        )
    return place - 1
