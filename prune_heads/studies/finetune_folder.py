"""A fine-tuning in its folder: model, tokenizer, record and table; one that was killed goes on."""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prune_heads.checkpoints import write_pruned, write_tokenizer
from prune_heads.errors import RunError
from prune_heads.execution.holding import held
from prune_heads.files import new_directory, read_json, write_json, writing_into
from prune_heads.options import NewFolder, Recipe, Setup
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, DoneBefore, Files, check_output, identity_hash, write_files
from prune_heads.studies.finetuning import finetune
from prune_heads.studies.saves import KEPT_FOLDER

WEIGHTS_FILE = "model.safetensors"
_IDENTITY_FILE = "identity.json"

Record = dict[str, Any]


def finetune_into(
    setup: Setup, recipe: Recipe, reporter: Reporter, folder: NewFolder, files: Callable[[Record], Files]
) -> Record:
    """Fine-tune into a folder: model, tokenizer, record, and checkpoints to be kept (`epoch-1`, `step-50`).

    Work in progress stands beside it, in `OUTPUT.training`, and one process at a time does it. What is done already is
    not done again. `files` gives what is written beside the record.

    Raises:
        PruneHeadsError: If the study fails, or the folder or the work beside it belongs to something else.
    """
    output = folder.output.resolve()
    work = output.with_name(f"{output.name}.training")

    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts for one training

    def check(identity: dict[str, Any]) -> None:
        check_output(folder, identity)
        if (output / WEIGHTS_FILE).exists() and not folder.overwrite:
            raise DoneBefore

    with ExitStack() as stack:

        def admit(identity: dict[str, Any]) -> None:
            check(identity)
            if is_first:
                stack.enter_context(held(output, reporter))
            check(identity)  # again, for who held it before may have done it
            _claim(work, identity, folder.overwrite)

        try:
            found = finetune(setup, recipe, work, reporter, admit=admit)
        except DoneBefore:
            reporter.note("this was done before and is not done again; --overwrite asks for it")
            return read_json(output / RECORD_FILE, "the record of an earlier run")
        if not is_first:
            return found.record
        with new_directory(output) as made:
            if (work / KEPT_FOLDER).is_dir():
                shutil.copytree(work / KEPT_FOLDER, made, dirs_exist_ok=True)
            write_pruned(found.classifier.model, made)
            write_tokenizer(found.classifier.tokenizer, made)
            write_files(made, {RECORD_FILE: found.record, **files(found.record)})
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
