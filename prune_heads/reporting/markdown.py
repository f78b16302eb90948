"""The tables of a record in Markdown."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prune_heads.reporting import cells, correlations, criteria
from prune_heads.reporting.rows import curve_rows, share
from prune_heads.visible import visible

_HTML = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")


def run_markdown(record: Mapping[str, Any]) -> str:
    """The metrics before and after, and the curve if there is one."""
    rows = [
        (
            row["split"],
            row["metric"],
            str(row["n_examples"]),
            f"{row['base']:.4f}",
            f"{row['pruned']:.4f}",
            f"{row['difference']:+.4f}",
            f"{row['low']:+.4f} to {row['high']:+.4f}",
        )
        for row in record["rows"]
    ]
    heading = ("split", "metric", "examples", "base", "pruned", "difference", "95% interval")
    parts = [
        f"# {record['model']['name']} on {record['task']}: {share(record)}",
        markdown_table(heading, rows),
    ]
    if record["curve"]:
        parts += [
            f"## {record['headline']} by heads pruned, lowest score first",
            markdown_table(*curve_rows(record)),
        ]
    parts.append(f"Heads pruned (layer:heads, from 1): {' '.join(record['heads_pruned']) or 'none'}")
    return document(parts)


def ablation_markdown(record: Mapping[str, Any]) -> str:
    """All tables of `prune-heads ablate`: layers down, heads across; best heads, correlations and flips."""
    parts = [f"# {cells.title(record)}"]
    for table in record["tables"]:
        rows = list(cells.layers(table))
        heading = ["layer", *(str(head + 1) for head in range(max((len(row) for _, row in rows), default=0)))]
        body = [[layer, *(str(cell or cells.ABSENT) for cell in row)] for layer, row in rows]
        parts += [f"## {cells.subtitle(table)}", markdown_table(heading, body)]
        parts += [cells.sentence(cells.legend(table)), cells.sentence(cells.counts(table))]
        if table["best"]:
            best = [row.texts() for row in cells.best_rows(table)]
            parts += [
                f"### {cells.sentence(cells.best_title(table))[:-1]}",
                markdown_table(cells.BEST_HEADING, best),
            ]
            parts.append(cells.sentence(cells.best_note(table)))
    notes = [note for note in (*cells.correlations(record), cells.flips(record)) if note]
    return document([*parts, *map(cells.sentence, notes)])


def criteria_markdown(record: Mapping[str, Any]) -> str:
    """The curves of `prune-heads curve`, a table a split: shares of heads down, criteria across, areas last.

    Below, how the scores of the criteria agree.
    """
    parts = [f"# {criteria.title(record)}"]
    for split in criteria.splits(record):
        parts += [
            f"## {split}",
            markdown_table(criteria.heading(record, split), criteria.rows(record, split)),
        ]
    parts.append(cells.sentence(criteria.notes(record)))
    if agreement := criteria.correlation_rows(record):
        parts += ["## Correlation of the scores before any head goes"]
        parts += [markdown_table(criteria.CORRELATION_HEADING, agreement)]
    return document(parts)


def correlation_markdown(record: Mapping[str, Any]) -> str:
    """The series and the pairs of `prune-heads correlate`."""
    series = markdown_table(correlations.SERIES_HEADING, correlations.series_rows(record))
    pairs = markdown_table(correlations.PAIR_HEADING, correlations.pair_rows(record))
    return document([f"# {correlations.TITLE}", series, pairs])


def document(parts: Iterable[str]) -> str:
    """Titles, tables and paragraphs; in all but tables, what others wrote is made harmless here."""
    return "\n\n".join(part if part.startswith("| ") else _harmless(part) for part in parts) + "\n"


def markdown_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A heading and its rows, cells as they are written: no character of theirs ends a cell or begins HTML."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(
        f"| {' | '.join(_harmless(cell).replace('|', BAR) for cell in line)} |" for line in lines
    )


BAR = r"\|"


def _harmless(text: str) -> str:
    return _HTML.sub(lambda begins: {"<": "&lt;", "&": "&amp;"}[begins[0]], visible(text))
