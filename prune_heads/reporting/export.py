"""What `prune-heads export` wrote, and how far it is from the model, in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.tables import Table, columns
from prune_heads.tables.terminal import line

_WITHOUT = {"dense": "zero", "onnx": "removed"}


def export_table(record: Mapping[str, Any]) -> RenderableType:
    """The files with their sizes; heads and parameters; the largest difference of each batch that was compared."""
    files = tuple((name, f"{size:,}") for name, size in record["files"].items())
    checks = tuple(
        (
            f"{row['n_examples']}",
            f"{row['n_tokens']}",
            f"{row['largest_logit']:.3g}",
            f"{row['difference']:.1e}",
        )
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
