"""What `score`, `evaluate`, `run`, `prune`, `export` and `finetune` found."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.descriptors import HeadCounts
from prune_heads.heads import HeadMask
from prune_heads.reporting.curves import lines_of, splits, values_of
from prune_heads.reporting.words import layer_names, share
from prune_heads.tables import Cell, Column, Page, Table, columns, number
from prune_heads.tables.terminal import line

# Five colours of viridis, dark to light, each with the colour of the letters that can be read on it.
_SHADES = (("#3b528b", "white"), ("#2c728e", "white"), ("#21918c", "white"), ("#5ec962", "black"), ("#fde725", "black"))
_WITHOUT = {"dense": "zero", "onnx": "removed"}
"""Form of an export -> what stands for the heads that are gone."""


def score_table(report: Mapping[str, Any], pruned: list[str] | None = None) -> Table:
    """One row a layer, one column a head, shaded by score; pruned heads struck out."""
    rows: list[list[float]] = report["scores"]
    gone = HeadMask.parse(" ".join(pruned or []), HeadCounts.described(report["blocks"]))
    flat = sorted(value for row in rows for value in row)
    width = max(map(len, rows))
    scale, digits = _scale(flat)
    body = [
        (
            name,
            *(
                Cell(f"{value / scale:.{digits}f}", style=_shade(value, flat, (layer, head) in gone))
                for head, value in enumerate(row)
            ),
            *[None] * (width - len(row)),
        )
        for layer, (name, row) in enumerate(zip(layer_names(report), rows, strict=True))
    ]
    heads = columns(right=[str(head + 1) for head in range(width)])
    return Table(
        _title(report),
        (Column("layer", align="right", style="bold"), *heads),
        tuple(body),
        ("columns are heads" if scale == 1 else f"in units of {scale:.0e}; columns are heads",),
        gap=1,  # twelve heads must fit into 80 columns
        colour_note=f"bright = important{'; struck out = pruned' if gone else ''}",
    )


def run_report(record: Mapping[str, Any], report: Mapping[str, Any] | None) -> RenderableType:
    """What pruning did: the scores, the metric before and after with its interval, heads, parameters, seconds."""
    parts: list[RenderableType] = [score_table(report, record["heads_pruned"]), line("")] if report else []
    rows = [
        (
            row["split"],
            row["metric"],
            f"{row['base']:.4f}",
            f"{row['pruned']:.4f}",
            Cell(
                f"{row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})",
                style="bold" if row["low"] > 0 or row["high"] < 0 else "",
            ),
        )
        for row in record["rows"]
    ]
    heading = columns(["split", "metric"], ["base", "pruned", "difference (95% interval)"])
    parts.append(Table(_run_title(record), heading, tuple(rows)))
    if record["curve"]:
        parts += [line(""), _curve(record)]
    total = sum(record["seconds"].values())
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in record["seconds"].items())
    examples = ", ".join(f"{data['n_examples']} of {data['split']}" for data in record["data"])
    parts += [line(""), line(f"examples      {examples}")]
    return Group(*parts, pruned_table(record), line(f"seconds       {total:.1f} ({stages})"))


def run_page(record: Mapping[str, Any]) -> Page:
    """The metrics before and after, and the curve if there is one: for a file."""
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
    heading = columns(["split", "metric"], ["examples", "base", "pruned", "difference", "95% interval"])
    curve = [_curve(record)] if record["curve"] else []
    heads = f"Heads pruned (layer:heads, from 1): {' '.join(record['heads_pruned']) or 'none'}"
    return Page(_run_title(record), (Table("", heading, tuple(rows)), *curve, heads))


def pruned_table(record: Mapping[str, Any]) -> RenderableType:
    """Which heads are pruned, and how many parameters that is."""
    before, pruned = record["parameters"]["before"], record["parameters"]["pruned"]
    verb = "removed" if record["mode"] == "remove" else "set to zero"
    heads = " ".join(record["heads_pruned"]) or "none"
    return Group(
        line(f"heads pruned  {record['n_pruned']} of {record['n_heads']}: {heads}"),
        line(f"parameters    {pruned:,} of {before:,} {verb} ({pruned / before:.1%})"),
    )


def evaluation_table(report: Mapping[str, Any]) -> Table:
    """Metrics of one split under a mask."""
    pruned = report["heads_pruned"]
    title = f"{report['task']} {report['split']}, {report['n_examples']} examples, "
    title += f"pruned: {' '.join(pruned)}" if pruned else "no head pruned"
    rows = tuple((name, f"{value:.4f}") for name, value in report["metrics"].items())
    return Table(title, columns(["metric"], ["value"]), rows)


def finetuning_table(record: Mapping[str, Any]) -> Table:
    """The mean training loss and the metrics of each epoch."""
    epochs = record["epochs"]
    measured = [(split, metric) for split, values in epochs[-1]["metrics"].items() for metric in values]
    several = len({split for split, _ in measured}) > 1
    names = [f"{metric} ({split})" if several else metric for split, metric in measured]
    heading = ["epoch", "step", "loss", *(name.replace("_", " ") for name in names)]
    rows = [
        (
            str(epoch["epoch"]),
            str(epoch["step"]),
            f"{epoch['loss']:.4f}",
            *(f"{epoch['metrics'][split][metric]:.4f}" for split, metric in measured),
        )
        for epoch in epochs
    ]
    return Table(_training_title(record), columns(right=heading), tuple(rows))


def export_table(record: Mapping[str, Any]) -> RenderableType:
    """The files with their sizes; heads and parameters; the largest difference of each batch that was compared."""
    files = tuple((name, f"{size:,}") for name, size in record["files"].items())
    checks = tuple(
        (f"{row['n_examples']}", f"{row['n_tokens']}", f"{row['largest_logit']:.3g}", f"{row['difference']:.1e}")
        for row in record["checks"]
    )
    pruned, parameters = record["heads_pruned"], record["parameters"]
    heads = sum(descriptor.count(",") + 1 for descriptor in pruned)
    return Group(
        Table(
            f"{record['model']['name']} --to {record['to']}: {heads} of {record['n_heads']} heads "
            f"{_WITHOUT[record['to']]}",
            columns(["file"], ["bytes"]),
            files,
        ),
        line(""),
        Table(
            "against the model, on random texts",
            columns(right=["texts", "tokens", "largest logit", "largest difference"]),
            checks,
        ),
        line(""),
        line(f"heads       {' '.join(pruned) or 'none pruned'}"),
        line(f"parameters  {parameters['before']:,} before, {parameters['after']:,} written"),
        line(
            f"logits      {record['largest_difference']:.1e} apart at most; allowed are "
            f"{record['tolerance']:.0e} of the largest"
        ),
    )


def _curve(record: Mapping[str, Any]) -> Table:
    """One row a point: percent, heads, and the headline metric of each split."""
    (line,) = lines_of(record)
    values = {split: values_of(line, split) for split in splits(record)}
    counts = {point["percent"]: point["n_pruned"] for point in line["points"]}
    rows = [(f"{percent}%", n, *(of[percent] for of in values.values())) for percent, n in counts.items()]
    heading = (Column("pruned", align="right"), Column("heads"), *(Column(name, number(4)) for name in values))
    return Table(f"{record['headline']} by heads pruned, lowest score first", heading, tuple(rows))


def _run_title(record: Mapping[str, Any]) -> str:
    return f"{record['model']['name']} on {record['task']}: {share(record)}"


def _training_title(record: Mapping[str, Any]) -> str:
    trained_on, *measured_on = record["data"]
    measured = ", ".join(f"{data['n_examples']} of {data['split']}" for data in measured_on)
    return (
        f"{record['model']['name']} fine-tuned on {record['task']}: {trained_on['n_examples']} examples of "
        f"{trained_on['split']}, measured on {measured}"
    )


def _shade(value: float, ordered: list[float], pruned: bool) -> str:
    """By rank, so that one outlying head does not make all others dark."""
    rank = sum(other < value for other in ordered) / max(len(ordered) - 1, 1)
    background, letters = _SHADES[min(int(rank * len(_SHADES)), len(_SHADES) - 1)]
    return f"{letters} on {background}{' strike' if pruned else ''}"


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
