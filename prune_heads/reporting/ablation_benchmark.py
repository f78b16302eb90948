"""The benchmark of ablations in the terminal: the engine beside the two protocols that it replaces."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.reporting.layout import Grid, line, titled

_SIDES = {
    "engine": "engine",
    "one_at_a_time": "one masked evaluation at a time",
    "published": "published: padded to 128, a process a head",
}


def ablation_benchmark_table(report: Mapping[str, Any]) -> RenderableType:
    """Seconds of each side, its ratio to the engine, the floor of the machine, and bfloat16."""
    title = f"{report['model']['name']} on {report['n_examples']:,} examples of {report['task']}: "
    title += f"{report['n_variants']} masks, batch {report['batch_size']}, {report['threads']} threads"
    table = Grid(("side",), ("seconds", "ratio", "each repeat"))
    notes = []
    for name, label in _SIDES.items():
        side, ratio = report["sides"][name], report["ratios"].get(name, 1.0)
        source = side.get("extrapolated_from")
        each = ", ".join(f"{value:.1f}" for value in report["each"].get(name, ()))
        table.add_row(f"{label}{' ~' if source else ''}", f"{side['seconds']:.1f}", f"{ratio:.1f}x", each)
        if source:
            notes.append(f"~ extrapolated from {source}")
    reduced = report["bfloat16"]
    table.add_row("engine in bfloat16", f"{reduced['seconds']:.1f}", "", "")
    against = (f"{ratio:.1f}x over {name.replace('_', ' ')}" for name, ratio in reduced["ratios"].items())
    notes.append(f"bfloat16: {', '.join(against)}")
    if "n_flipped" in reduced:
        notes[-1] += f"; {reduced['n_flipped']:,} of {reduced['n_predictions']:,} predictions flip"
    if (library := report["linear_maps"][report["dtype"]]) != "PyTorch":
        notes.append(f"linear maps by {library}, in the published protocol by PyTorch")
    return Group(titled(title), table, *map(line, dict.fromkeys(notes)), line(_floor(report)))


def _floor(report: Mapping[str, Any]) -> str:
    floor = report["floor"]
    return (
        f"floor: {floor['multiply_adds']:.2e} multiply-adds at {floor['matrix_rate']:.2e} a second are "
        f"{floor['seconds']:.1f} s; the engine in {report['dtype']} reaches {floor['share']:.0%} of that rate"
    )
