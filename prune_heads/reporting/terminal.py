"""Rich tables for the terminal, made from the same objects that `--json` prints."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.style import Style

from prune_heads.descriptors import HeadCounts
from prune_heads.heads import HeadMask
from prune_heads.reporting.layout import Grid, layer_names, line, spans, titled
from prune_heads.reporting.rows import curve_rows, share

# Five colours of viridis, dark to light, each with the colour of the letters that can be read on it.
_SHADES = (
    ("#3b528b", "white"),
    ("#2c728e", "white"),
    ("#21918c", "white"),
    ("#5ec962", "black"),
    ("#fde725", "black"),
)


def score_table(report: Mapping[str, Any], pruned: list[str] | None = None) -> RenderableType:
    """One row a layer, one column a head, shaded by score; pruned heads struck out."""
    rows: list[list[float]] = report["scores"]
    gone = HeadMask.parse(" ".join(pruned or []), HeadCounts.described(report["blocks"]))
    flat = sorted(value for row in rows for value in row)
    table = Grid(gap=1)  # twelve heads must fit into 80 columns
    table.add_column("layer", "right", style="bold")
    for head in range(max(map(len, rows))):
        table.add_column(str(head + 1), "right")
    scale, digits = _scale(flat)
    for layer, (name, row) in enumerate(zip(layer_names(report), rows, strict=True)):
        cells = [
            line(f"{value / scale:.{digits}f}", style=_shade(value, flat, (layer, head) in gone))
            for head, value in enumerate(row)
        ]
        table.add_row(name, *cells)
    unit = "" if scale == 1 else f"in units of {scale:.0e}; "
    caption = f"{unit}columns are heads; bright = important{'; struck out = pruned' if gone else ''}"
    return Group(titled(_title(report)), table, line(caption, style="dim"))


def run_report(record: Mapping[str, Any], report: Mapping[str, Any] | None) -> RenderableType:
    """What pruning did: the scores, the metric before and after with its interval, heads, parameters, seconds."""
    parts: list[RenderableType] = [score_table(report, record["heads_pruned"]), line("")] if report else []
    data = Grid(("split", "metric"), ("base", "pruned", "difference (95% interval)"))
    for row in record["rows"]:
        clear = row["low"] > 0 or row["high"] < 0
        interval = f"({row['low']:+.4f} to {row['high']:+.4f})"
        data.add_row(
            row["split"],
            row["metric"],
            f"{row['base']:.4f}",
            f"{row['pruned']:.4f}",
            spans((f"{row['difference']:+.4f}", "bold" if clear else ""), f" {interval}"),
        )
    parts += [titled(f"{record['model']['name']} on {record['task']}: {share(record)}"), data]
    if record["curve"]:
        parts += [line(""), curve_table(record)]
    total = sum(record["seconds"].values())
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in record["seconds"].items())
    examples = ", ".join(f"{data['n_examples']} of {data['split']}" for data in record["data"])
    parts += [line(""), line(f"examples      {examples}")]
    return Group(*parts, pruned_table(record), line(f"seconds       {total:.1f} ({stages})"))


def pruned_table(record: Mapping[str, Any]) -> RenderableType:
    """Which heads are pruned, and how many parameters that is."""
    before, pruned = record["parameters"]["before"], record["parameters"]["pruned"]
    verb = "removed" if record["mode"] == "remove" else "set to zero"
    return Group(
        line(
            f"heads pruned  {record['n_pruned']} of {record['n_heads']}: {' '.join(record['heads_pruned']) or 'none'}"
        ),
        line(f"parameters    {pruned:,} of {before:,} {verb} ({pruned / before:.1%})"),
    )


def curve_table(record: Mapping[str, Any]) -> RenderableType:
    """The metric by share of heads pruned, a column a split."""
    heading, rows = curve_rows(record)
    table = Grid((), heading)
    for row in rows:
        table.add_row(*row)
    return Group(titled(f"{record['headline']} by heads pruned, lowest score first"), table)


def evaluation_table(report: Mapping[str, Any]) -> RenderableType:
    """Metrics of one split under a mask."""
    pruned = report["heads_pruned"]
    title = f"{report['task']} {report['split']}, {report['n_examples']} examples, "
    title += f"pruned: {' '.join(pruned)}" if pruned else "no head pruned"
    table = Grid(("metric",), ("value",))
    for name, value in report["metrics"].items():
        table.add_row(name, f"{value:.4f}")
    return Group(titled(title), table)


def _shade(value: float, ordered: list[float], pruned: bool) -> Style:
    """By rank, so that one outlying head does not make all others dark."""
    rank = sum(other < value for other in ordered) / max(len(ordered) - 1, 1)
    background, letters = _SHADES[min(int(rank * len(_SHADES)), len(_SHADES) - 1)]
    return Style(color=letters, bgcolor=background, strike=pruned)


def _scale(flat: list[float]) -> tuple[float, int]:
    """A power of ten and the digits behind the point that show the largest score as 9.99, 99.9 or so."""
    largest = max(map(abs, flat), default=0.0)
    exponent = int(f"{largest:e}".partition("e")[2]) if largest else 0
    if 0 <= exponent < 3:
        return 1.0, 2 - exponent
    return 10.0**exponent, 2


def _title(report: Mapping[str, Any]) -> str:
    made = " / ".join(part for part in (report["criterion"], report["estimator"]) if part)
    on = f" on {report['n_examples']} examples of {report['split']}" if report["split"] else ""
    norm = "" if report["normalize"] == "none" else f", normalised: {report['normalize']}"
    return f"importance by {made}{on}{norm}"
