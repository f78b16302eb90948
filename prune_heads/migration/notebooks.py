"""The Python in a Jupyter notebook (format 4)."""

import re

from prune_heads.migration.syntax import describe, parse, uses_in
from prune_heads.migration.uses import NAMES
from prune_heads.reading import json_of, text_of

_LINE_MAGIC = re.compile(
    r"^([ \t]*+)(?:\w[\w, ]*+=[ \t]*+)?[%!?](?:\\\n|[^\n])*|^([ \t]*+)[^\n#]*\?[ \t]*$", re.M
)
"""Possessive where it can be, so that the time grows with the length of a line, not with its square."""
_CELL_MAGIC = re.compile(r"\s*%%(\w+)[^\n]*")
_PYTHON_MAGICS = {"time", "timeit", "capture", "prun"}


def uses_in_notebook(content: bytes) -> tuple[list[tuple[int, int, str]], list[tuple[int, str]]]:
    """Uses as (cell, line, use), and cells that cannot be parsed with the reason; cells from 1, of all kinds.

    All code cells are one module, since names that one imports are used in the next.

    Raises:
        ValueError: If the file is no notebook.
    """
    notebook = json_of(text_of(content, "notebook", ValueError), "no JSON", ValueError)
    try:
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    except (KeyError, TypeError) as error:
        raise ValueError("format 4 must have cells with cell_type and source") from error
    lines: list[str] = []
    places: list[tuple[int, int]] = []
    broken = []
    for number, (kind, source) in enumerate(cells, start=1):
        if kind != "code":
            continue
        try:
            own = _python(source).split("\n")
        except SyntaxError as error:
            if NAMES.search(source.encode(errors="replace")):
                broken.append((number, describe(error)))
            continue
        lines += own
        places += [(number, i) for i in range(1, len(own) + 1)]
    return [(*places[line - 1], use) for line, use in uses_in(parse("\n".join(lines)))], broken


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
