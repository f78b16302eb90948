"""`prune-heads info`: what a checkpoint costs, and what removing heads can save."""

from typing import Annotated

from typer import Option

from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.options import NamedModel


@grouped
def info(
    setup: NamedModel,
    heads: Annotated[
        str,
        Option(
            help="Heads to count as removed, counted from 1: '3:1,5 7:2'; or a heads.json. (default: none)"
        ),
    ] = "",
    length: Annotated[
        int | None,
        Option(
            min=1,
            help="Number of tokens that is counted. (default: 128; of images, those of the first layer)",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Count parameters and multiply-adds before and after, and the highest speed-up that removing heads can give."""
    from prune_heads.anatomy import attention_blocks, head_counts
    from prune_heads.budget import budget
    from prune_heads.coverage.table import beside_heads
    from prune_heads.options import WrittenModel
    from prune_heads.reporting.info import info_report, info_table
    from prune_heads.studies.pruning import read_heads
    from prune_heads.studies.setup import load_model

    classifier = load_model(WrittenModel(setup.model, setup.task), TerminalReporter())
    n_heads = head_counts(attention_blocks(classifier.model))
    costs = budget(classifier.model, read_heads(heads, n_heads), length or classifier.usual_length())
    report = info_report(classifier.name, costs, beside_heads(classifier.model.config.model_type))
    show(report, info_table(report), as_json=as_json)
