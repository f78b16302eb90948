"""What `prune-heads export` wrote, and how far it is from the model, in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from prune_heads.reporting.layout import plain_table, titled

_WITHOUT = {"dense": "zero", "onnx": "removed"}


def export_table(record: Mapping[str, Any]) -> RenderableType:
    """The files with their sizes; heads and parameters; the largest difference of each batch that was compared."""
    files = plain_table(("file",), ("bytes",))
    for name, size in record["files"].items():
        files.add_row(name, f"{size:,}")
    checks = plain_table((), ("texts", "tokens", "largest logit", "largest difference"))
    for row in record["checks"]:
        cells = (f"{row['n_examples']}", f"{row['n_tokens']}", f"{row['largest_logit']:.3g}")
        checks.add_row(*cells, f"{row['difference']:.1e}")
    pruned, parameters = record["heads_pruned"], record["parameters"]
    heads = sum(descriptor.count(",") + 1 for descriptor in pruned)
    return Group(
        titled(
            f"{record['model']['name']} --to {record['to']}: {heads} of {record['n_heads']} heads "
            f"{_WITHOUT[record['to']]}"
        ),
        files,
        Text(),
        titled("against the model, on random texts"),
        checks,
        Text(),
        Text(f"heads       {' '.join(pruned) or 'none pruned'}"),
        Text(f"parameters  {parameters['before']:,} before, {parameters['after']:,} written"),
        Text(
            f"logits      {record['largest_difference']:.1e} apart at most; allowed are "
            f"{record['tolerance']:.0e} of the largest"
        ),
    )
