"""What older scripts rely on and transformers 5 no longer has."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding

from prune_heads.tables import Table, columns
from prune_heads.tables.terminal import line, titled


def doctor_table(report: Mapping[str, Any]) -> RenderableType:
    """For the terminal: the lines of each file, what to write instead, and how many there are, last."""
    findings, unreadable = report["findings"], report["unreadable"]
    parts: list[RenderableType] = []
    if findings:
        parts.append(titled("what transformers 5 does"))
        width = max(len(row["use"]) for row in findings)
        for file, rows in groupby(findings, key=itemgetter("file")):
            cells = ((f"{_place(row):>6}", f"{row['use']:<{width}}", row["effect"]) for row in rows)
            parts += [line(file), Table("", columns(["", "", ""]), tuple(cells))]
        texts: dict[str, dict[str, None]] = {}  # each once, under all uses that it is for
        for row in findings:
            texts.setdefault(row["instead"], {})[row["use"]] = None
        parts += [line(""), titled("what to write instead")]
        parts += [*_indented((", ".join(of), text) for text, of in texts.items()), line("")]
    if unreadable:
        places = (file["file"] + ("" if file["cell"] is None else f" cell {file['cell']}") for file in unreadable)
        parts.append(titled("mention it, but cannot be read"))
        parts += [*_indented(zip(places, (file["reason"] for file in unreadable), strict=True)), line("")]
    n_files = _count(report["n_files"], "file")
    n_with, n_broken = (len({row["file"] for row in rows}) for rows in (findings, unreadable))
    summary = f"{_count(len(findings), 'use')} in {n_with} of {n_files}" if findings else f"nothing in {n_files}"
    if n_broken:
        summary += f"; {_count(n_broken, 'file')} cannot be read in whole"
    return Group(*parts, line(summary))


def _place(row: Mapping[str, Any]) -> str:
    return str(row["line"]) if row["cell"] is None else f"cell {row['cell']}:{row['line']}"


def _indented(rows: Iterable[tuple[str, str]]) -> Iterator[RenderableType]:
    """What it is about, and below it what there is to say."""
    for about, text in rows:
        yield line(about)
        yield Padding.indent(line(text), 4)


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"
