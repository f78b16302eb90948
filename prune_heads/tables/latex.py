r"""Tables in LaTeX that needs no package: a `table` float with its caption, to be `\input` into a document."""

from collections.abc import Sequence

from prune_heads.tables.table import Cell, Table
from prune_heads.visible import visible

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "*": "$^{*}$",
    "|": "$|$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def latex(table: Table) -> str:
    """The table with its title and notes as the caption; what is bold in the terminal is bold."""
    caption = " ".join([f"{table.title}.", *table.notes])
    heading = [escaped(name) for name in table.heading]
    body = [
        [_cell(cell, is_absent=value is None) for cell, value in zip(cells, values, strict=True)]
        for cells, values in zip(table.cells(), table.rows, strict=True)
    ]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escaped(caption)}}}",
            r"\centering\small\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{r|{'r' * (len(heading) - 1)}}}",
            _row(heading),
            r"\hline",
            *map(_row, body),
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """The text with every character that LaTeX would read as a command made into one that it prints."""
    return "".join(_ESCAPES.get(character, character) for character in visible(text))


def _row(cells: Sequence[str]) -> str:
    """A bracket that begins a row would be an argument of the one before."""
    return f"{'{}' if cells[0].startswith('[') else ''}{' & '.join(cells)} \\\\"


def _cell(cell: Cell, *, is_absent: bool) -> str:
    if is_absent:
        return escaped(cell.value)
    text = escaped(cell.value).replace("-", "$-$").replace("+", "$+$")  # a minus as long as the plus
    mark = cell.mark if cell.mark == "*" else escaped(cell.mark)
    return (rf"\textbf{{{text}}}" if cell.is_bold else text) + (f"$^{{{mark}}}$" if mark else "")
