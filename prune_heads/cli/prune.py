"""`prune-heads prune`: write a checkpoint without some heads."""

from typer import BadParameter

from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.options import Choice, NewFolder, Surgery, WrittenModel


@grouped
def prune(
    model: WrittenModel, choice: Choice, options: Surgery, folder: NewFolder, as_json: Json = False
) -> None:
    """Zero or remove the heads that --heads names or --scores chooses, and save the checkpoint."""
    from prune_heads.reporting.folders import pruned_files
    from prune_heads.reporting.terminal import pruned_table
    from prune_heads.runs import admission, keep
    from prune_heads.studies.steps import prune_heads

    if (options.scores is None) == (choice.heads is None):
        raise BadParameter("Heads must be named by --heads or chosen by --scores, one of the two.")
    record, mask, pruned = prune_heads(model, choice, options, TerminalReporter(), admit=admission(folder))
    keep(folder, record, lambda: pruned_files(mask, pruned.model, pruned.tokenizer))
    show(record, pruned_table(record), as_json=as_json)
