"""What older scripts rely on and transformers 5 no longer has."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
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
        parts += [titled("what transformers 5 does"), _by_file(findings), line("")]
        parts += [titled("what to write instead"), _instead(findings), line("")]
    if unreadable:
        places = (file["file"] + ("" if file["cell"] is None else f" cell {file['cell']}") for file in unreadable)
        reasons = zip(places, (file["reason"] for file in unreadable), strict=True)
        parts += [titled("mention it, but cannot be read"), _indented(reasons), line("")]
    return Group(*parts, line(_summary(report)))


def _by_file(findings: Sequence[Mapping[str, Any]]) -> RenderableType:
    width = max(len(row["use"]) for row in findings)
    parts: list[RenderableType] = []
    for file, rows in groupby(findings, key=lambda row: row["file"]):
        cells = ((f"{_place(row):>6}", f"{row['use']:<{width}}", row["effect"]) for row in rows)
        parts += [line(file), Table("", columns(["", "", ""]), tuple(cells))]
    return Group(*parts)


def _place(row: Mapping[str, Any]) -> str:
    return str(row["line"]) if row["cell"] is None else f"cell {row['cell']}:{row['line']}"


def _instead(findings: Iterable[Mapping[str, Any]]) -> RenderableType:
    """Each text once, under all uses that it is for."""
    texts: dict[str, dict[str, None]] = {}
    for row in findings:
        texts.setdefault(row["instead"], {})[row["use"]] = None
    return _indented((", ".join(of), text) for text, of in texts.items())


def _indented(rows: Iterable[tuple[str, str]]) -> RenderableType:
    """What it is about, and below it what there is to say."""
    return Group(*(part for about, text in rows for part in (line(about), Padding.indent(line(text), 4))))


def _summary(report: Mapping[str, Any]) -> str:
    findings = report["findings"]
    n_with = len({row["file"] for row in findings})
    n_files = _count(report["n_files"], "file")
    text = f"{_count(len(findings), 'use')} in {n_with} of {n_files}" if findings else f"nothing in {n_files}"
    if n_unreadable := len({row["file"] for row in report["unreadable"]}):
        text += f"; {_count(n_unreadable, 'file')} cannot be read in whole"
    return text


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"
