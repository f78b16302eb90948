"""`prune-heads export`: a checkpoint for software that knows nothing of removed heads."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter, Option

from prune_heads.cli.names import DtypeName
from prune_heads.cli.options import DEFAULT_TASK, Json, Overwrite
from prune_heads.cli.output import TerminalReporter, show


class TargetName(StrEnum):
    """Keys of `prune_heads.studies.exporting.TARGETS`."""

    dense = "dense"
    onnx = "onnx"


def export(
    checkpoint: Annotated[
        str,
        Argument(
            metavar="CHECKPOINT", help="A folder, also with removed heads; a model on the hub; or 'mini'."
        ),
    ],
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
    task: Annotated[
        str,
        Option(
            help="Which of the built-in checkpoints 'mini' stands for; or lm or seq2seq, for a language model."
        ),
    ] = DEFAULT_TASK,
    dtype: Annotated[
        DtypeName, Option(help="Of the weights of --to dense; ONNX is in float32.")
    ] = DtypeName.float32,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a checkpoint for plain transformers or as ONNX; its logits are compared first, or nothing is written."""
    from prune_heads.jobs.export import export_job
    from prune_heads.reporting.export import export_table
    from prune_heads.studies.setup import Setup

    if to is TargetName.onnx and dtype is not DtypeName.float32:
        raise BadParameter(f"--dtype {dtype.value} is for --to dense; ONNX is written in float32.")
    setup = Setup(checkpoint, task, dtype=dtype.value)
    record = export_job(setup, heads, to.value, TerminalReporter(), output=output, overwrite=overwrite)
    show(record, export_table(record), as_json=as_json)
