"""The Python in a Jupyter notebook (format 4)."""

import re
from dataclasses import dataclass

from prune_heads.migration.syntax import describe, parse, uses_in
from prune_heads.migration.uses import NAMES
from prune_heads.reading import json_of, text_of

_LINE_MAGIC = re.compile(
    r"^([ \t]*+)(?:\w[\w, ]*+=[ \t]*+)?[%!?](?:\\\n|[^\n])*|^([ \t]*+)[^\n#]*\?[ \t]*$", re.M
)
"""Possessive where it can be, so that the time grows with the length of a line, not with its square."""
_CELL_MAGIC = re.compile(r"\s*%%(\w+)[^\n]*")
_PYTHON_MAGICS = {"time", "timeit", "capture", "prun"}


@dataclass
class Cells:
    """Uses by cell and line, and cells that cannot be parsed; cells from 1, of all kinds."""

    uses: list[tuple[int, int, str]]
    broken: list[tuple[int, str]]


def uses_in_notebook(content: bytes) -> Cells:
    """All code cells as one module, since names that one imports are used in the next.

    Raises:
        ValueError: If the file is no notebook.
    """
    lines: list[str] = []
    places: list[tuple[int, int]] = []
    broken = []
    for number, source in _code(content):
        try:
            python = _python(source)
        except SyntaxError as error:
            if NAMES.search(source.encode(errors="replace")):
                broken.append((number, describe(error)))
            continue
        own = python.split("\n")
        lines += own
        places += [(number, i) for i in range(1, len(own) + 1)]
    uses = [(*places[line - 1], use) for line, use in uses_in(parse("\n".join(lines)))]
    return Cells(uses, broken)


def _code(content: bytes) -> list[tuple[int, str]]:
    """Number and source of each code cell."""
    notebook = json_of(text_of(content, "notebook", ValueError), "no JSON", ValueError)
    try:
        return [
            (number, "".join(cell["source"]))
            for number, cell in enumerate(notebook["cells"], start=1)
            if cell["cell_type"] == "code"
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(
            "not a notebook of format 4: cells with cell_type and source must be there"
        ) from error


def _python(source: str) -> str:
    """The cell with as many lines, and without what IPython alone understands.

    Raises:
        SyntaxError: If that is not Python 3 either.
    """
    if magic := _CELL_MAGIC.match(source):
        if magic[1] not in _PYTHON_MAGICS:
            return ""
        source = source[: magic.start(1) - 2] + source[magic.end() :]
    try:
        parse(source)
    except SyntaxError:
        source = _LINE_MAGIC.sub(lambda m: f"{m[1] or m[2] or ''}pass" + "\n" * m[0].count("\n"), source)
        parse(source)
    return source
