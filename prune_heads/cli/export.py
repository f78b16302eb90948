"""`prune-heads export`: a checkpoint for software that cannot read removed heads."""

from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.options import Export, NewFolder


@grouped
def export(options: Export, folder: NewFolder, as_json: Json = False) -> None:
    """Write a checkpoint for plain transformers, or an ONNX file.

    Its logits are compared with the model's. If they differ, nothing is kept.
    """
    from prune_heads.reporting.terminal import export_table
    from prune_heads.studies.exporting import export_into

    record = export_into(options, TerminalReporter(), folder)
    show(record, export_table(record), as_json=as_json)
