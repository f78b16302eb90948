"""The records that the tables and figures of the paper are made of: one a model, task and study; computed once."""

import re
from dataclasses import replace
from pathlib import Path

from prune_heads.checkpoints import folder_name
from prune_heads.errors import RunError, UnfitError
from prune_heads.files import read_json, write_json, writing_into
from prune_heads.options import Conditions, Setup
from prune_heads.progress import Reporter
from prune_heads.reproduction.studies import STUDIES, Record
from prune_heads.runs import FORMATS, DoneBefore, identity_hash
from prune_heads.studies.curves import renewed

RECORDS_FOLDER = "records"


def record_name(setup: Setup, study: str) -> str:
    """The file of a study: model, task and study, no path."""
    task = Path(setup.task).stem
    return re.sub(r"[^\w.-]+", "--", f"{model_name(setup)}.{task}.{study}.json")


def model_name(setup: Setup) -> str:
    """What records call the model, which need not be there any more."""
    is_path = setup.model.startswith((".", "/", "~")) or setup.model.count("/") > 1
    return folder_name(Path(setup.model)) if is_path or Path(setup.model).is_dir() else setup.model


def epochs_of(setup: Setup, output: Path, from_records: bool) -> list[Setup]:
    """The checkpoints that were kept in a fine-tuning, in order; or those of which `output` has records.

    Raises:
        UnfitError: If there are none.
    """
    if from_records:
        name = record_name(replace(setup, model=f"./{model_name(setup)}/epoch-0"), "curve")
        before, _, after = name.rpartition("epoch-0")
        records = (output / RECORDS_FOLDER).glob(f"{before}epoch-*{after}")
        kept = [file.name.removesuffix(after) for file in records]
    else:
        kept = [folder.name for folder in Path(setup.model).expanduser().glob("epoch-*")]
    if not kept:
        raise UnfitError(
            f"{model_name(setup)} must be a folder in which checkpoints of epochs were kept (epoch-1, epoch-2, ...); "
            "there are none. 'prune-heads finetune --keep-epochs' keeps them"
        )
    numbers = sorted(int(n) for n in (name.rpartition("-")[2] for name in kept) if n.isdecimal())
    return [replace(setup, model=str(Path(setup.model) / f"epoch-{n}")) for n in numbers]


def study_record(
    output: Path, study: str, setup: Setup, asked: Conditions, reporter: Reporter, from_records: bool
) -> Record:
    """The record that is there, or a new one.

    Raises:
        UnfitError: If there is none and nothing is to be computed.
        RunError: If it cannot be read or written.
        PruneHeadsError: If the study fails.
    """
    file = output / RECORDS_FOLDER / record_name(setup, study)
    there = _readable(read_json(file, "the record of an earlier study")) if file.exists() else None
    if from_records:
        if not file.exists():
            raise UnfitError(
                f"{file.name} must be a readable file in {file.parent}, for nothing is to be computed; leave "
                "--from-records out, or name the model and task of the records"
            )
        if there is None:
            raise UnfitError(
                f"{file.name} must be of format {FORMATS['estimators']}, as its intervals cannot be had from a record "
                "of an older one; leave --from-records out, and the study is run again"
            )
        return there

    def admit(identity: Record) -> None:
        if there is not None and there.get("identity_hash") == identity_hash(identity):
            raise DoneBefore
        with writing_into("the output folder", file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)

    try:
        reporter.admit = admit
        record = STUDIES[study](setup, asked, reporter)
    except DoneBefore:
        assert there is not None
        reporter.note(f"{file.name} is there and is not computed again")
        record = there
    with writing_into("the output folder", file.parent):
        write_json(file, record)
    return record


def _readable(record: Record) -> Record | None:
    """A record in today's format; None for an older one whose study must be run again.

    Areas of curves follow from their points; the intervals of differences of areas need the predictions.
    """
    command = record.get("command")
    if record.get("format") == FORMATS.get(str(command), 1):
        return record
    if command != "curve" or record.get("format") != 1:
        return None
    try:
        return renewed(record)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise RunError(f"a record must be whole; one of 'curve' is not ({type(error).__name__}: {error})") from error
