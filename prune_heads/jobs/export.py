"""The job of `prune-heads export`."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from prune_heads.checkpoints import write_tokenizer
from prune_heads.files import new_directory, write_json
from prune_heads.heads import HeadMask
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, check_output, record_of
from prune_heads.studies.clock import Clock
from prune_heads.studies.exporting import export, require
from prune_heads.studies.pruning import Choice, going_together
from prune_heads.studies.setup import Setup, identify_model
from prune_heads.surgery import removed_heads


def export_job(
    setup: Setup, heads: str, target: str, reporter: Reporter, *, output: Path, overwrite: bool = False
) -> dict[str, Any]:
    """Write a checkpoint for other software into `output`, with its tokenizer, its configuration and a record.

    Args:
        setup: The model.
        heads: To prune besides those that are gone, as a descriptor or the path of a heads.json.
        target: Key of `TARGETS`.
        reporter: Told about notes.
        output: A new folder, or one of an earlier run; there whole or not at all.
        overwrite: Replace a different run.

    Raises:
        ExportError: If the extra is missing, or what was written does not compute what the model computes.
        PruneHeadsError: If the model or the heads cannot be read, or `output` holds something else.
    """
    require(target)
    clock = Clock()
    classifier = setup.load_model(reporter)
    gone = removed_heads(classifier.model)
    named = _named(classifier.model, heads, gone, target, reporter)
    if not gone and not named:
        reporter.note(
            "the checkpoint has all its heads and none are named: what is written is the model as it was"
        )
    identity = {
        "configuration": {
            "model": classifier.name,
            "heads": named.descriptors(),
            "to": target,
            "dtype": setup.dtype,
        },
        **identify_model(classifier),
    }
    check_output(output, identity, overwrite=overwrite)
    device = classifier.model.device
    clock.lap("load")
    with new_directory(output) as folder:
        exported = export(classifier, named, target, folder)
        write_tokenizer(classifier.tokenizer, folder)
        clock.lap("export")
        record = record_of(
            "export",
            identity,
            reporter,
            clock.seconds,
            device,
            to=target,
            n_heads=gone.n_total,
            heads_pruned=(gone | named).descriptors(),
            **exported,
            files={file.name: file.stat().st_size for file in sorted(folder.iterdir())},
        )
        write_json(folder / RECORD_FILE, record)
    return record


def _named(model: PreTrainedModel, heads: str, gone: HeadMask, target: str, reporter: Reporter) -> HeadMask:
    """The heads that go besides those that are gone; of layers that share their weights at every depth."""
    if not heads:
        return HeadMask(gone.n_heads)
    choice = Choice(heads=heads)
    together = going_together(model, choice, "zero" if target == "dense" else "remove", reporter)
    return choice.mask(gone, None, together) - gone
