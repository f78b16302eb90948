"""The job of `prune-heads reproduce`: run what a table or figure needs, once, and show it from its records."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from prune_heads.errors import RunError, UnfitError
from prune_heads.files import write_text, writing_into
from prune_heads.options import Conditions, Setup
from prune_heads.options.choices import Form
from prune_heads.progress import Reporter
from prune_heads.reporting.figures import save
from prune_heads.reporting.michel2019 import REPRODUCTIONS, Records, Shown, is_translation
from prune_heads.reproduction.pages import fill
from prune_heads.reproduction.records import epochs_of, study_record
from prune_heads.reproduction.studies import TIMED, spec_of, splits_of
from prune_heads.tasks.spec import TASKS

FORMS = get_args(Form)
"""Of tables, and of figures."""
DEFAULT_FORMS = ("md", "png")


def reproduce_job(
    name: str,
    subjects: Sequence[tuple[Setup, Conditions]],
    output: Path,
    new_reporter: Callable[[], Reporter],
    *,
    from_records: bool = False,
    forms: Collection[str] = DEFAULT_FORMS,
) -> Shown:
    """Reproduce a table or figure: files `NAME.FORM` in `output`, its records in `records`.

    Tables that a README.md in `output` or beside it names between markers are written anew (`pages`).

    Args:
        name: Key of `REPRODUCTIONS`.
        subjects: Models on tasks, and how each is studied.
        output: A folder, which may hold the others too. A record that is there, of the same model, data and
            settings, is not computed again; a study that was killed goes on by the store.
        new_reporter: Makes who is told about stages and notes, for each study anew: records keep their own notes.
        from_records: Compute nothing and load no model.
        forms: Some of `FORMS`.

    Raises:
        UnfitError: If a model or a task is not one that it can be of, before anything is computed, or there is no
            record of it where nothing is to be computed; `all` goes on without it.
        RunError: If a record cannot be read, or the folder cannot be written to.
        PruneHeadsError: If a study fails.
    """
    what = REPRODUCTIONS[name]
    if len(subjects) > 1 and not what.several:
        raise RunError(f"{name} must be given one model on one task; got {len(subjects)}")
    for setup, _ in subjects:
        _check_subject(name, setup, from_records)
    parts = [_records(name, setup, asked, output, new_reporter, from_records=from_records) for setup, asked in subjects]
    records: Records = {study: [record for part in parts for record in part[study]] for study in what.studies}
    for record in (record for each in records.values() for record in each):
        _check_fit(name, record["task"], is_translation(record), len(record.get("tables", [None])))
    shown = what.show(records)
    with writing_into("the output folder", output):
        output.mkdir(parents=True, exist_ok=True)
        table = shown.table
        writers: dict[str, Callable[[], str]] = {
            "md": shown.page.to_markdown,
            "tex": table.to_latex,
            "csv": partial(table.to_csv, digits=12),
        }
        for form, write in writers.items():
            if form in forms:
                write_text(output / f"{name}.{form}", write())
        for ending, figure in shown.figures.items():
            save(figure, output, name + ending, forms)
        for folder in (output, output.resolve().parent):
            fill(folder / "README.md")
    return shown


def prepare(name: str, setup: Setup, asked: Conditions, output: Path, new_reporter: Callable[[], Reporter]) -> None:
    """Have the records of one subject ready before a table or figure is made; not those of what is timed.

    Raises:
        PruneHeadsError: See `reproduce_job`.
    """
    _check_subject(name, setup)
    if not TIMED & set(REPRODUCTIONS[name].studies):
        _records(name, setup, asked, output, new_reporter)


def _records(
    name: str,
    setup: Setup,
    asked: Conditions,
    output: Path,
    new_reporter: Callable[[], Reporter],
    *,
    from_records: bool = False,
) -> Records:
    """Those of one subject, or of the epochs that it stands for."""
    what = REPRODUCTIONS[name]
    setups = epochs_of(setup, output, from_records) if what.over_epochs else [setup]
    return {
        study: [study_record(output, study, each, asked, new_reporter(), from_records) for each in setups]
        for study in what.studies
    }


def _check_subject(name: str, setup: Setup, from_records: bool = False) -> None:
    """Before anything is computed."""
    if from_records and (setup.own is not None or setup.task not in TASKS):
        return  # its files need not be there, and its records tell
    spec = spec_of(setup)
    n_splits = min(len(splits_of(study, spec)) for study in REPRODUCTIONS[name].studies)
    _check_fit(name, spec.name, spec.kind == "translation", n_splits)


def _check_fit(name: str, task: str, translates: bool, n_splits: int) -> None:
    what = REPRODUCTIONS[name]
    if what.translates not in (None, translates):
        needed = "a translation" if what.translates else "a task that is no translation"
        like = [key for key, each in REPRODUCTIONS.items() if each.translates is translates]
        raise UnfitError(f"{name} must be of {needed}; got {task}, of which there are {', '.join(like)}")
    if n_splits < what.n_splits:
        raise UnfitError(
            f"{name} must be of a task with {what.n_splits} splits to measure on; got {task}, which has {n_splits}. "
            "Take a task that has more, or files of one's own"
        )
