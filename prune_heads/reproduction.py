"""Reproducing the paper: run the studies that a table or figure needs, once, and show it from their records."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from prune_heads.checkpoints import folder_name
from prune_heads.errors import HeadDescriptorError, RunError, UnfitError
from prune_heads.files import read_bytes, read_json, text_of, write_json, write_text, writing_into
from prune_heads.objectives import TASKS, TaskSpec
from prune_heads.options import Ablation, Bench, Choice, Curves, Setup
from prune_heads.options.studies import Conditions, Kind
from prune_heads.progress import Reporter
from prune_heads.reporting.figures import save
from prune_heads.reporting.michel2019 import REPRODUCTIONS, Shown, is_translation
from prune_heads.runs import FORMATS, DoneBefore, is_of
from prune_heads.studies.ablating import ablate
from prune_heads.studies.bench import bench
from prune_heads.studies.curves import compare_estimators, curves, renewed
from prune_heads.studies.repeated import curves_of_seeds
from prune_heads.tasks.task import load_task

Record = dict[str, Any]

_TIMED = "bench"  # the study that must have the machine for itself

_MARKED = re.compile(r"(<!-- table: ([^\s>]+)(?: (\d+))? -->\n).*?(?=<!-- end -->)", re.S)
_TABLE = re.compile(r"(?:^\|.*\n?)+", re.M)


def _ablations(kind: Kind, setup: Setup, asked: Conditions, reporter: Reporter) -> Record:
    """Of a translation, heads are chosen on the first split, and measured there and on the last: tables 2 and 5."""
    margin = asked.margin if kind == "without-one" else None
    options = Ablation(kind, seed=asked.seed, choose_examples=asked.choose_examples, margin=margin)
    if kind == "only-one" and (spec := spec_of(setup)).kind == "translation":
        splits = splits_of(kind, spec)
        options = replace(options, split=splits, choose_split=splits[0], choose_examples=0)
    return ablate(setup, options, reporter).record


def _curves(
    criteria: tuple[str, ...], blocks: tuple[str, ...] | None, setup: Setup, asked: Conditions, reporter: Reporter
) -> Record:
    """On the task's first split, by these criteria, or those that are asked for; of all heads, or those of blocks."""
    split = TASKS[setup.task].eval_splits[:1] if setup.task in TASKS else ()
    options = Curves(criteria or asked.criterion, seed=asked.seed, steps=asked.steps, split=split, blocks=blocks)
    if blocks is None:
        options = replace(options, margin=asked.margin, score_samples=None if criteria else asked.score_samples)
    try:
        return curves(setup, replace(options, score_examples=asked.score_examples), reporter)
    except HeadDescriptorError as error:  # raised before the long work
        if blocks is None:
            raise
        must = "the curve of one kind of attention must be of an encoder-decoder, which has blocks E, A and D"
        raise UnfitError(f"{must}; got {setup.model}: {error}") from error


STUDIES: Mapping[str, Callable[[Setup, Conditions, Reporter], Record]] = {
    "without-one": partial(_ablations, "without-one"),
    "only-one": partial(_ablations, "only-one"),
    "curve": partial(_curves, ("gradient",), None),
    "orders": partial(_curves, (), None),
    **{f"curve-{kind}": partial(_curves, ("gradient",), (kind,)) for kind in "EAD"},
    "bench": lambda setup, asked, to: bench(setup, Choice(0.5), Bench(runs=asked.runs, seed=asked.seed), to).record,
    "estimators": compare_estimators,
}
"""What a reproduction may need; keys of `Reproduction.studies`."""


def spec_of(setup: Setup) -> TaskSpec:
    """The task, without its data."""
    return load_task(setup.task, data_dir=setup.data_dir, own=setup.own).spec


def splits_of(study: str, spec: TaskSpec) -> tuple[str, ...]:
    """Where a study measures."""
    if study == "only-one" and spec.kind == "translation":
        every = (*spec.eval_splits, *spec.more_splits)
        return tuple(dict.fromkeys((every[0], every[-1])))
    return spec.eval_splits


def reproduce_job(
    name: str,
    subjects: Sequence[tuple[Setup, Conditions]],
    output: Path,
    new_reporter: Callable[[], Reporter],
    *,
    from_records: bool = False,
    forms: Collection[str] = ("md", "png"),
    seeds: Sequence[Sequence[Setup]] = (),
) -> Shown:
    """Reproduce a table or figure: files `NAME.FORM` in `output`, its records in `records`.

    A record that is there, of the same model, data and settings, is not computed again; a study that was killed goes on
    by the store. With `from_records` nothing is computed and no model is loaded. Each study has a reporter of its own,
    as records keep their own notes. `seeds` are subjects that are fine-tunings of one checkpoint: what can be said of
    them together is one more record. Where that is not there, or one of them, and nothing is computed, it is left out.
    Tables that a README.md in `output` or beside it names between markers are written anew (`fill`). An `UnfitError` if
    a model or a task is not one that it can be of, before anything is computed, or there is no record of it where
    nothing is to be computed; `all` goes on without it; a `RunError` if a record cannot be read, or the folder cannot
    be written to; a `PruneHeadsError` if a study fails.
    """
    what = REPRODUCTIONS[name]
    if len(subjects) > 1 and not what.several:
        raise RunError(f"{name} must be given one model on one task; got {len(subjects)}")
    records: dict[str, list[Record]] = {study: [] for study in what.studies}
    of_setup = dict[Setup, Record]()
    for setup, _ in subjects if not from_records else ():
        _check_task(name, setup)
    for setup, asked in subjects:
        try:
            found = list(_records(name, setup, asked, output / "records", None if from_records else new_reporter))
        except UnfitError as error:
            is_last = setup == subjects[-1][0] and not of_setup
            if is_last or not from_records or not any(setup in same for same in seeds):
                raise
            new_reporter().note(f"{name} is of fewer seeds: {error}")
            continue
        for study, record in found:
            _check_fit(name, record["task"], is_translation(record), len(record.get("tables", [None])))
            records[study].append(record)
            of_setup[setup] = record
    for same in (same for same in seeds if what.of_seeds and of_setup.keys() >= {*same}):
        run = partial(curves_of_seeds, same, [of_setup[each] for each in same], subjects[0][1])
        file = output / "records" / record_name(same[0], "seeds")
        with suppress(*([UnfitError] if from_records else [])):
            records.setdefault("seeds", []).append(_record(run, file, None if from_records else new_reporter))
    shown = what.show(records)
    with writing_into("the output folder", output):
        texts: dict[str, Callable[[], str]] = {"md": shown.page.to_markdown, "tex": shown.table.to_latex}
        texts["csv"] = partial(shown.table.to_csv, digits=12)
        for form in texts.keys() & forms:
            write_text(output / f"{name}.{form}", texts[form]())
        for ending, figure in shown.figures.items():
            save(figure, output, name + ending, forms)
        for folder in (output, output.resolve().parent):
            fill(folder / "README.md")
    return shown


def prepare(name: str, setup: Setup, asked: Conditions, output: Path, new_reporter: Callable[[], Reporter]) -> None:
    """Have the records of one subject ready before a table or figure is made; not those of what is timed.

    A `PruneHeadsError` as of `reproduce_job`, which says by itself where model and task do not fit.
    """
    with suppress(UnfitError):
        _check_task(name, setup)
        if _TIMED not in REPRODUCTIONS[name].studies:
            list(_records(name, setup, asked, output / "records", new_reporter))


def _check_task(name: str, setup: Setup) -> None:
    """Before anything is computed; of records, each tells."""
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
        must = f"{name} must be of a task with {what.n_splits} splits to measure on"
        raise UnfitError(f"{must}; got {task}, which has {n_splits}. Take a task that has more, or files of one's own")


def _records(
    name: str, setup: Setup, asked: Conditions, folder: Path, new_reporter: Callable[[], Reporter] | None
) -> Iterator[tuple[str, Record]]:
    """Each study and its record, of one subject or of the epochs that it stands for."""
    what = REPRODUCTIONS[name]
    models = _epochs(setup, folder, from_records=new_reporter is None) if what.over_epochs else [setup.model]
    for study in what.studies:
        for each in (replace(setup, model=model) for model in models):
            run = partial(STUDIES[study], each, asked)
            yield study, _record(run, folder / record_name(each, study), new_reporter)


def _record(run: Callable[[Reporter], Record], file: Path, new_reporter: Callable[[], Reporter] | None) -> Record:
    """The record of a study, in its file; not run again if it is there. Without a reporter nothing is computed."""
    there = _readable(read_json(file, "the record of an earlier study")) if file.exists() else None
    if new_reporter is None:
        if there is not None:
            return there
        must, cure = f"a readable file in {file.parent}, for nothing is to be computed", "or name its model and task"
        if file.exists():
            must = f"of format {FORMATS['estimators']}, as its intervals cannot be had from a record of an older one"
            cure = "and the study is run again"
        raise UnfitError(f"{file.name} must be {must}; leave --from-records out, {cure}")
    reporter = new_reporter()

    def admit(identity: Record) -> None:
        if there is not None and is_of(there, identity):
            raise DoneBefore
        with writing_into("the output folder", file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)

    reporter.admit = admit
    try:
        record = run(reporter)
    except DoneBefore:
        assert there is not None
        reporter.note(f"{file.name} is there and is not computed again")
        record = there
    with writing_into("the output folder", file.parent):
        write_json(file, record)
    return record


def record_name(setup: Setup, study: str) -> str:
    """The file of a study: model, task and study, no path."""
    return re.sub(r"[^\w.-]+", "--", f"{_model_name(setup)}.{Path(setup.task).stem}.{study}.json")


def _model_name(setup: Setup) -> str:
    """What records call the model, which need not be there any more."""
    is_path = setup.model.startswith((".", "/", "~")) or setup.model.count("/") > 1
    return folder_name(Path(setup.model)) if is_path or Path(setup.model).is_dir() else setup.model


def _epochs(setup: Setup, folder: Path, *, from_records: bool) -> list[str]:
    """The checkpoints that were kept in a fine-tuning, in order; or those of which there are records."""
    if from_records:
        of_none = record_name(replace(setup, model=f"./{_model_name(setup)}/epoch-0"), "curve")
        kept = folder.glob("epoch-*".join(of_none.rsplit("epoch-0", 1)))
    else:
        kept = Path(setup.model).expanduser().glob("epoch-*")
    numbers = sorted(int(found[1]) for file in kept if (found := re.search(r"epoch-(\d+)(?:\.|$)", file.name)))
    if not numbers:
        must = f"{_model_name(setup)} must be a folder in which checkpoints of epochs were kept (epoch-1, epoch-2, ...)"
        raise UnfitError(f"{must}; there are none. 'prune-heads finetune --keep-epochs' keeps them")
    return [str(Path(setup.model) / f"epoch-{n}") for n in numbers]


def _readable(record: Record) -> Record | None:
    """A record in today's format; None for an older one whose study must be run again.

    Areas of curves follow from their points; the intervals of differences of areas need the predictions.
    """
    command, made = str(record.get("command")), record.get("format")
    today = FORMATS.get(command, 1)
    if made != today and (command, made) != ("curve", 1):
        return None
    try:
        return record if made == today else renewed(record)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise RunError(f"a record must be whole; one of 'curve' is not ({type(error).__name__}: {error})") from error


def fill(page: Path) -> None:
    """Write the tables of a page that people write: between two markers stands what a file beside the page says.

        <!-- table: michel2019/figure6 -->
        ...
        <!-- end -->

    It is the first table of `michel2019/figure6.md`; `figure6 2` names the second one. What is in no file stays as it
    is, and so does a page without markers. A `RunError` if a file that it names cannot be read; an `OSError` if it
    cannot be written.
    """

    def text(file: Path) -> str:
        return text_of(read_bytes(file, "a page with tables"), file.name)

    def marked(found: re.Match[str]) -> str:
        file, number = page.parent / f"{found[2]}.md", int(found[3] or 1)
        tables = _TABLE.findall(text(file)) if file.is_file() else []
        return f"{found[1]}\n{tables[number - 1].rstrip()}\n\n" if len(tables) >= number else found[0]

    if not page.is_file():
        return
    try:
        there = text(page)
    except RunError:  # no text, so that it has no markers either
        return
    filled = _MARKED.sub(marked, there)
    if filled != there:
        write_text(page, filled)
