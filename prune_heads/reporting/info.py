"""What a model costs before and after heads are removed."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.budget import Budget
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

    def counts(kind: str) -> dict[str, dict[str, int] | None]:
        parts = {stage: getattr(costs, kind) for stage, costs in stages.items()}
        return {name: None if each is None else {**each._asdict(), "total": each.total} for name, each in parts.items()}

    return {
        "model": name,
        "n_tokens": budget.n_tokens,
        "heads_removed": budget.removed.descriptors(),
        "n_heads": budget.removed.n_total,
        "n_heads_left": budget.removed.n_total - len(budget.removed),
        "blocks": [
            {**block.describe(), "n_heads_left": block.n_heads - len(heads)}
            for block, heads in zip(budget.blocks, budget.removed.by_block(), strict=True)
        ],
        "parameters": counts("parameters"),
        "multiply_adds": counts("multiply_adds"),
        "lower_bound": bool(budget.uncounted) and not budget.not_counted_because,
        "speedup": budget.speedup,
        "speedup_without_heads": budget.ceiling,
        "notes": _notes(budget, beside),
    }


def info_table(report: Mapping[str, Any]) -> RenderableType:
    """The same for the terminal; runs of layers with the same numbers share a row."""
    removed = report["n_heads"] - report["n_heads_left"]
    title = f"{report['model']}: {removed} of {report['n_heads']} heads removed; {report['n_tokens']} tokens"
    rows = []
    for (stack, kind, *counts), run in groupby(
        report["blocks"], key=itemgetter("stack", "kind", "n_heads", "n_heads_left")
    ):
        first, *others = (block["layer"] for block in run)
        layers = f"{first} to {others[-1]}" if others else str(first)
        rows.append((f"{stack}{' to encoder' if kind == 'cross' else ''} {layers}", *map(str, counts)))
    parts: list[RenderableType] = [Table(title, columns(["layers"], ["heads", "left"]), tuple(rows))]
    parts += [line(""), _counts("parameters", report["parameters"])]
    if report["multiply_adds"]["before"] is not None:
        what = "multiply-adds, at least" if report["lower_bound"] else "multiply-adds"
        these = [(f"{report['speedup']:.2f}x", "bold"), " without these heads, "] if report["heads_removed"] else []
        most = f"{report['speedup_without_heads']:.2f}x without any head"
        parts += [line(""), _counts(what, report["multiply_adds"])]
        parts += [line(""), spans("highest speed-up: ", *these, most)]
    notes = [line(f"note: {note}", style="yellow") for note in report["notes"]]
    return Group(*parts, *([line("")] if notes else []), *notes)


def _notes(budget: Budget, beside: Sequence[str]) -> list[str]:
    why, uncounted = budget.not_counted_because, "; ".join(budget.uncounted)
    said = {
        f"multiply-adds and speed-ups are not known: {why}": why,
        f"multiply-adds are a lower bound and speed-ups an upper one; not counted: {uncounted}": uncounted and not why,
        f"heads of this model can be gated or zeroed, not removed: {budget.not_removed}": budget.not_removed,
        f"tokens also see each other in {', '.join(beside)}, which have no heads here": beside,
    }
    return [note for note, holds in said.items() if holds]


def _counts(title: str, counts: Mapping[str, Mapping[str, int]]) -> Table:
    rows = []
    for name in counts["before"]:
        cells = (name.replace("_", "-"), *(f"{counts[stage][name]:,}" for stage in counts))
        rows.append(tuple(Cell(text, style="bold" if name == "total" else "") for text in cells))
    return Table("", columns([title], ["before", "after", "no heads"]), tuple(rows))
