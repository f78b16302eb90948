r"""Tables of ablations in LaTeX that needs no package: significant differences bold, as in the paper.

Each is a `table` float with its caption, to be `\input` into a document.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prune_heads.reporting.cells import (
    ABSENT,
    BEST_HEADING,
    CORRECTED,
    Best,
    Cell,
    best_note,
    best_rows,
    best_title,
    counts,
    layers,
    legend,
    points,
    sentence,
    subtitle,
    title,
)
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


def ablation_latex(record: Mapping[str, Any]) -> str:
    """The table of each split, layers down and heads across, and under it that of the best heads if there is one."""
    parts = []
    for table in record["tables"]:
        rows = list(layers(table))
        heading = ["", *(str(head + 1) for head in range(max((len(row) for _, row in rows), default=0)))]
        body = [[layer, *map(_cell, row)] for layer, row in rows]
        words = f"{title(record)}; {subtitle(table)}. Layers down, heads across; bold and {legend(table)}. "
        parts.append(latex_float(words + sentence(counts(table)), heading, body))
        if table["best"]:
            words = f"{record['model']['name']} on {record['task']}: {best_title(table)}. "
            words += f"Bold and {best_note(table)}."
            parts.append(latex_float(words, map(escaped, BEST_HEADING), map(_best, best_rows(table))))
    return "\n".join(parts)


def escaped(text: str) -> str:
    """The text with every character that LaTeX would read as a command made into one that it prints."""
    return "".join(_ESCAPES.get(character, character) for character in visible(text))


def _best(best: Best) -> list[str]:
    texts = [signed(text) for text in best.texts()]
    texts[BEST_HEADING.index("difference")] = _cell(best.cell)
    return texts


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return ABSENT
    number = signed(points(cell.delta))
    mark = r"\#" if cell.mark == CORRECTED else cell.mark
    return rf"\textbf{{{number}}}$^{{{mark}}}$" if mark else number


def signed(number: str) -> str:
    """A minus as long as the plus."""
    return number.replace("-", "$-$").replace("+", "$+$")


def latex_float(caption: str, heading: Iterable[str], body: Iterable[Sequence[str]]) -> str:
    """A `table` with its caption; cells as they are, the caption made harmless."""
    lines = [[*heading], *body]
    # A bracket that begins a row would be an argument of the one before.
    rows = [f"{'{}' if line[0].startswith('[') else ''}{' & '.join(line)} \\\\" for line in lines]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escaped(caption)}}}",
            r"\centering\small\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{r|{'r' * (len(lines[0]) - 1)}}}",
            rows[0],
            r"\hline",
            *rows[1:],
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
