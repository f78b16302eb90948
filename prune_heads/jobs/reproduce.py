"""The job of `prune-heads reproduce`: run what a table or figure needs, once, and show it from its records."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prune_heads.checkpoints import folder_name
from prune_heads.errors import HeadDescriptorError, RunError, UnfitError
from prune_heads.files import read_json, write_json, write_text, writing_into
from prune_heads.jobs.bench import timed
from prune_heads.progress import Reporter
from prune_heads.reporting.figures import save
from prune_heads.reporting.michel2019 import REPRODUCTIONS, Records, Shown, is_translation
from prune_heads.reporting.sheet import sheet_csv, sheet_latex, sheet_markdown
from prune_heads.runs import identity_hash
from prune_heads.studies.ablating import ablate
from prune_heads.studies.bench import Bench
from prune_heads.studies.curves import Curves, curves
from prune_heads.studies.estimators import Comparison, compare_estimators
from prune_heads.studies.measuring import CHOOSE_EXAMPLES, Ablation
from prune_heads.studies.pruning import Choice
from prune_heads.studies.scoring import Scoring
from prune_heads.studies.setup import Setup
from prune_heads.tasks.spec import TASKS, TaskSpec
from prune_heads.tasks.task import load_task

RECORDS_FOLDER = "records"
Record = dict[str, Any]
Admit = Callable[[Record], None]


@dataclass(frozen=True)
class Conditions:
    """How a subject is studied."""

    seed: int = 0
    steps: int = 10
    """Of a curve."""
    score_examples: int | None = None
    """Training examples that importance is estimated on; None for all."""
    choose_examples: int = CHOOSE_EXAMPLES
    """Training examples that table 6 chooses heads on."""
    criteria: tuple[str, ...] = ("gradient", "ablation")
    """Orders that figure 3 compares."""
    runs: int = 6
    """Of each side that is timed."""


def _without_one(setup: Setup, asked: Conditions, reporter: Reporter, admit: Admit) -> Record:
    return ablate(setup, Ablation("without-one", seed=asked.seed), reporter, admit=admit)


def _only_one(setup: Setup, asked: Conditions, reporter: Reporter, admit: Admit) -> Record:
    """Of a translation, heads are chosen on the first split, and measured there and on the last: tables 2 and 5."""
    options = Ablation("only-one", seed=asked.seed, choose_examples=asked.choose_examples)
    spec = _spec(setup)
    if spec.kind == "translation":
        splits = _splits("only-one", spec)
        options = replace(options, splits=splits, choose_split=splits[0], choose_examples=None)
    return ablate(setup, options, reporter, admit=admit)


def _curve(setup: Setup, asked: Conditions, reporter: Reporter, admit: Admit) -> Record:
    return curves(setup, _curves(setup, asked, "gradient"), reporter, admit=admit)


def _orders(setup: Setup, asked: Conditions, reporter: Reporter, admit: Admit) -> Record:
    return curves(setup, _curves(setup, asked, *asked.criteria), reporter, admit=admit)


def _curve_of(kind: str) -> Callable[[Setup, Conditions, Reporter, Admit], Record]:
    """Of the heads of one kind of block, by its letter."""

    def study(setup: Setup, asked: Conditions, reporter: Reporter, admit: Admit) -> Record:
        options = replace(_curves(setup, asked, "gradient"), blocks=(kind,))
        try:
            return curves(setup, options, reporter, admit=admit)
        except HeadDescriptorError as error:  # raised before the long work
            raise UnfitError(
                f"the curve of one kind of attention must be of an encoder-decoder, which has blocks E, A and D; "
                f"got {setup.model}: {error}"
            ) from error

    return study


def _curves(setup: Setup, asked: Conditions, *criteria: str) -> Curves:
    """On the first split of the task's own."""
    spec = TASKS.get(setup.task)
    return Curves(
        criteria,
        Scoring(seed=asked.seed, max_examples=asked.score_examples),
        n_steps=asked.steps,
        splits=() if spec is None else spec.eval_splits[:1],
    )


def _bench(setup: Setup, asked: Conditions, reporter: Reporter, admit: Admit) -> Record:
    half = Choice(0.5)
    return timed(setup, half, Bench(runs=asked.runs), reporter, seed=asked.seed, admit=admit)[0]


def _estimators(setup: Setup, asked: Conditions, reporter: Reporter, admit: Admit) -> Record:
    options = Comparison(asked.steps, asked.score_examples, asked.seed)
    return compare_estimators(setup, options, reporter, admit=admit)


STUDIES: Mapping[str, Callable[[Setup, Conditions, Reporter, Admit], Record]] = {
    "without-one": _without_one,
    "only-one": _only_one,
    "curve": _curve,
    "orders": _orders,
    "curve-E": _curve_of("E"),
    "curve-A": _curve_of("A"),
    "curve-D": _curve_of("D"),
    "bench": _bench,
    "estimators": _estimators,
}
"""What a reproduction may need; keys of `Reproduction.studies`."""


class _DoneBefore(Exception):
    """The way out of work that is done."""


def reproduce_job(
    name: str,
    subjects: Sequence[tuple[Setup, Conditions]],
    output: Path,
    new_reporter: Callable[[], Reporter],
    *,
    from_records: bool = False,
) -> Shown:
    """Reproduce a table or figure: `NAME.md`, `.tex`, `.csv`, `.png` and `.svg` in `output`, its records in `records`.

    Args:
        name: Key of `REPRODUCTIONS`.
        subjects: Models on tasks, and how each is studied.
        output: A folder, which may hold the others too. A record that is there, of the same model, data and
            settings, is not computed again; a study that was killed goes on by the store.
        new_reporter: Makes who is told about stages and notes, for each study anew: records keep their own notes.
        from_records: Compute nothing and load no model.

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
        if from_records and (setup.own is not None or setup.task not in TASKS):
            continue  # its files need not be there, and its records tell
        spec = _spec(setup)
        n_splits = min(len(_splits(study, spec)) for study in what.studies)
        _check_fit(name, spec.name, spec.kind == "translation", n_splits)
    if what.over_epochs:
        subjects = [
            (each, asked) for setup, asked in subjects for each in _epochs(setup, output, from_records)
        ]
    records: Records = {
        study: [
            _record(
                output / RECORDS_FOLDER / record_name(setup, study),
                study,
                setup,
                asked,
                new_reporter(),
                from_records,
            )
            for setup, asked in subjects
        ]
        for study in what.studies
    }
    for record in (record for each in records.values() for record in each):
        _check_fit(name, record["task"], is_translation(record), len(record.get("tables", [None])))
    shown = what.show(records)
    with writing_into("the output folder", output):
        output.mkdir(parents=True, exist_ok=True)
        write_text(output / f"{name}.md", sheet_markdown(shown.sheet))
        write_text(output / f"{name}.tex", sheet_latex(shown.sheet))
        write_text(output / f"{name}.csv", sheet_csv(shown.sheet))
        for ending, figure in shown.figures.items():
            save(figure, output, name + ending)
    return shown


def _spec(setup: Setup) -> TaskSpec:
    return load_task(setup.task, data_dir=setup.data_dir, own=setup.own).spec


def _splits(study: str, spec: TaskSpec) -> tuple[str, ...]:
    """Where a study measures."""
    if study == "only-one" and spec.kind == "translation":
        every = (*spec.eval_splits, *spec.more_splits)
        return tuple(dict.fromkeys((every[0], every[-1])))
    return spec.eval_splits


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


def record_name(setup: Setup, study: str) -> str:
    """The file of a study: model, task and study, no path."""
    task = Path(setup.task).stem
    return re.sub(r"[^\w.-]+", "--", f"{model_name(setup)}.{task}.{study}.json")


def model_name(setup: Setup) -> str:
    """What records call the model, which need not be there any more."""
    is_path = setup.model.startswith((".", "/", "~")) or setup.model.count("/") > 1
    return folder_name(Path(setup.model)) if is_path or Path(setup.model).is_dir() else setup.model


def _epochs(setup: Setup, output: Path, from_records: bool) -> list[Setup]:
    """The checkpoints that were kept in a fine-tuning, in order; those of which there are records."""
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
    numbers = sorted(int(name.rpartition("-")[2]) for name in kept)
    return [replace(setup, model=str(Path(setup.model) / f"epoch-{n}")) for n in numbers]


def _record(
    file: Path, study: str, setup: Setup, asked: Conditions, reporter: Reporter, from_records: bool
) -> Record:
    """The record that is there, or a new one."""
    if from_records:
        if not file.exists():
            raise UnfitError(
                f"{file.name} must be a readable file in {file.parent}, for nothing is to be computed; leave "
                "--from-records out, or name the model and task of the records"
            )
        return read_json(file, "the record of a study that is not to be run again")

    def admit(identity: Record) -> None:
        there = read_json(file, "the record of an earlier run") if file.exists() else {}
        if there.get("identity_hash") == identity_hash(identity):
            raise _DoneBefore
        with writing_into("the output folder", file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)

    try:
        record = STUDIES[study](setup, asked, reporter, admit)
    except _DoneBefore:
        reporter.note(f"{file.name} is there and is not computed again")
        return read_json(file, "the record of an earlier run")
    with writing_into("the output folder", file.parent):
        write_json(file, record)
    return record
