"""`prune-heads export`: a checkpoint for software that knows nothing of removed heads."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option

from prune_heads.cli.groups import grouped
from prune_heads.cli.names import DtypeName
from prune_heads.cli.options import Json, ModelOptions, Overwrite
from prune_heads.cli.output import TerminalReporter, show


class TargetName(StrEnum):
    """Keys of `prune_heads.studies.exporting.TARGETS`."""

    dense = "dense"
    onnx = "onnx"


@grouped
def export(
    setup: ModelOptions,
    to: Annotated[
        TargetName,
        Option(
            help="A folder of the original shapes with zeros where heads were, for plain transformers; or an ONNX "
            "file without the heads (needs the extra 'onnx')."
        ),
    ],
    output: Annotated[
        Path, Option("--output", "-o", help="Folder for the checkpoint or the file, tokenizer and record.")
    ],
    heads: Annotated[
        str,
        Option(
            help="Heads to prune besides those that are gone, from 1: '3:1,5 7:2'; or a heads.json. (default: none)"
        ),
    ] = "",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a checkpoint for plain transformers or as ONNX; its logits are compared first, or nothing is written."""
    from prune_heads.jobs.export import export_job
    from prune_heads.reporting.export import export_table

    if to is TargetName.onnx and setup.dtype is not DtypeName.float32:
        raise BadParameter(f"--dtype {setup.dtype.value} is for --to dense; ONNX is written in float32.")
    record = export_job(
        setup.resolve(), heads, to.value, TerminalReporter(), output=output, overwrite=overwrite
    )
    show(record, export_table(record), as_json=as_json)
