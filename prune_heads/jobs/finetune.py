"""The job of `prune-heads finetune`: a checkpoint folder with its record; a killed one goes on."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prune_heads.checkpoints import write_pruned, write_tokenizer
from prune_heads.errors import RunError
from prune_heads.execution.holding import held
from prune_heads.files import new_directory, read_json, write_json, write_text, writing_into
from prune_heads.jobs.folder import TABLE_FILE
from prune_heads.progress import Reporter
from prune_heads.reporting.finetuning import finetuning_table
from prune_heads.runs import RECORD_FILE, DoneBefore, check_output, identity_hash
from prune_heads.studies.finetuning import finetune
from prune_heads.studies.saves import KEPT_FOLDER
from prune_heads.studies.setup import Setup
from prune_heads.studies.training import Recipe

WEIGHTS_FILE = "model.safetensors"
_IDENTITY_FILE = "identity.json"


def finetune_job(
    setup: Setup,
    recipe: Recipe,
    reporter: Reporter,
    *,
    output: Path,
    save_seconds: float,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Fine-tune into `output`: model, tokenizer, record, table, and checkpoints to be kept (`epoch-1`, `step-50`).

    Work in progress stands beside it, in `OUTPUT.training`, and one process at a time does it. What is done already is
    not done again.

    Raises:
        PruneHeadsError: If the study fails, or `output` or the work beside it belongs to something else.
    """
    output = output.resolve()
    work = output.with_name(f"{output.name}.training")

    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts for one training

    def check(identity: dict[str, Any]) -> None:
        check_output(output, identity, overwrite=overwrite)
        if (output / WEIGHTS_FILE).exists() and not overwrite:
            raise DoneBefore

    with ExitStack() as stack:

        def admit(identity: dict[str, Any]) -> None:
            check(identity)
            if is_first:
                stack.enter_context(held(output, reporter))
            check(identity)  # again, for who held it before may have done it
            _claim(work, identity, overwrite)

        try:
            found = finetune(setup, recipe, work, reporter, save_seconds=save_seconds, admit=admit)
        except DoneBefore:
            reporter.note("this was done before and is not done again; --overwrite asks for it")
            return read_json(output / RECORD_FILE, "the record of an earlier run")
        if not is_first:
            return found.record
        with new_directory(output) as folder:
            if (work / KEPT_FOLDER).is_dir():
                shutil.copytree(work / KEPT_FOLDER, folder, dirs_exist_ok=True)
            write_pruned(found.classifier.model, folder)
            write_tokenizer(found.classifier.tokenizer, folder)
            write_json(folder / RECORD_FILE, found.record)
            write_text(folder / TABLE_FILE, finetuning_table(found.record).to_markdown())
        shutil.rmtree(work, ignore_errors=True)
    return found.record


def _claim(work: Path, identity: dict[str, Any], overwrite: bool) -> None:
    """Make the folder of the work, or take that of a killed process up again.

    Raises:
        RunError: If it holds other work, or cannot be written to.
    """
    name = identity_hash(identity)
    if overwrite:
        shutil.rmtree(work, ignore_errors=True)
    if (work / _IDENTITY_FILE).exists():
        there = read_json(work / _IDENTITY_FILE, "the work of a killed fine-tuning").get("identity_hash")
        if there != name:
            raise RunError(
                f"{work.name} holds the work of a different fine-tuning that did not end; name another --output, or "
                "replace it with --overwrite"
            )
        return
    with writing_into("the folder of the output", work.parent):
        write_json(work / _IDENTITY_FILE, {"identity_hash": name})
