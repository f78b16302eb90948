"""What a model costs before and after heads are removed."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.budget import Budget, Parts
from prune_heads.tables import Cell, Table, columns
from prune_heads.tables.terminal import line, spans


def info_report(name: str, budget: Budget, beside: Sequence[str] = ()) -> dict[str, Any]:
    """Heads a layer, counts by part before and after, the highest speed-ups, and what they do not hold.

    Args:
        name: Of the model.
        budget: What it costs.
        beside: Modules by which tokens see each other and which have no heads here.
    """
    stages = {"before": budget.before, "after": budget.after, "without_heads": budget.without_heads}
    gone = budget.removed.by_block()
    return {
        "model": name,
        "n_tokens": budget.n_tokens,
        "heads_removed": budget.removed.descriptors(),
        "n_heads": budget.removed.n_total,
        "n_heads_left": budget.removed.n_total - len(budget.removed),
        "blocks": [
            {**block.describe(), "n_heads_left": block.n_heads - len(heads)}
            for block, heads in zip(budget.blocks, gone, strict=True)
        ],
        "parameters": {stage: _counts(costs.parameters) for stage, costs in stages.items()},
        "multiply_adds": {stage: _counts(costs.multiply_adds) for stage, costs in stages.items()},
        "lower_bound": bool(budget.uncounted) and not budget.not_counted_because,
        "speedup": budget.speedup,
        "speedup_without_heads": budget.ceiling,
        "notes": _notes(budget, beside),
    }


def info_table(report: Mapping[str, Any]) -> RenderableType:
    """The same for the terminal."""
    parts: list[RenderableType] = [_heads(report), line(""), _count_table("parameters", report["parameters"])]
    if report["multiply_adds"]["before"] is not None:
        what = "multiply-adds, at least" if report["lower_bound"] else "multiply-adds"
        parts += [line(""), _count_table(what, report["multiply_adds"]), line(""), _speedups(report)]
    notes = [line(f"note: {note}", style="yellow") for note in report["notes"]]
    return Group(*parts, *([line("")] if notes else []), *notes)


def _counts(parts: Parts | None) -> dict[str, int] | None:
    return None if parts is None else {**parts._asdict(), "total": parts.total}


def _notes(budget: Budget, beside: Sequence[str]) -> list[str]:
    notes = []
    if budget.not_counted_because:
        notes.append(f"multiply-adds and speed-ups are not known: {budget.not_counted_because}")
    elif budget.uncounted:
        notes.append(
            f"multiply-adds are a lower bound and speed-ups an upper one; not counted: {'; '.join(budget.uncounted)}"
        )
    if budget.not_removed:
        notes.append(f"heads of this model can be gated or zeroed, not removed: {budget.not_removed}")
    if beside:
        notes.append(f"tokens also see each other in {', '.join(beside)}, which have no heads here")
    return notes


def _heads(report: Mapping[str, Any]) -> RenderableType:
    """Runs of layers with the same numbers share a row."""
    removed = report["n_heads"] - report["n_heads_left"]
    title = f"{report['model']}: {removed} of {report['n_heads']} heads removed; {report['n_tokens']} tokens"
    rows = []
    for (stack, kind, n_heads, n_left), run in groupby(
        report["blocks"], key=itemgetter("stack", "kind", "n_heads", "n_heads_left")
    ):
        first, *others = (block["layer"] for block in run)
        layers = f"{first} to {others[-1]}" if others else str(first)
        rows.append((f"{stack}{' to encoder' if kind == 'cross' else ''} {layers}", str(n_heads), str(n_left)))
    return Table(title, columns(["layers"], ["heads", "left"]), tuple(rows))


def _count_table(title: str, counts: Mapping[str, Mapping[str, int]]) -> RenderableType:
    rows = []
    for name in counts["before"]:
        cells = (name.replace("_", "-"), *(f"{counts[stage][name]:,}" for stage in counts))
        rows.append(tuple(Cell(text, style="bold" if name == "total" else "") for text in cells))
    return Table("", columns([title], ["before", "after", "no heads"]), tuple(rows))


def _speedups(report: Mapping[str, Any]) -> RenderableType:
    now, ceiling = report["speedup"], report["speedup_without_heads"]
    these: list[str | tuple[str, str]] = []
    if report["heads_removed"]:
        these = [(f"{now:.2f}x", "bold"), " without these heads, "]
    return spans("highest speed-up: ", *these, f"{ceiling:.2f}x without any head")
