"""`prune-heads reproduce`: a table or figure of the paper, published numbers beside one's own."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

from typer import Argument, BadParameter, Option

from prune_heads.cli.config import alone, no_option, read_toml
from prune_heads.cli.groups import Json, Words, grouped
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.cli.pruning import finetune
from prune_heads.errors import OptionError, UnfitError
from prune_heads.execution.claims import held
from prune_heads.execution.pool import Chain, run_chains
from prune_heads.options import Conditions, Reproducing, Setup, options_of
from prune_heads.options.choices import Reproduction
from prune_heads.options.trials import placed, setup_of

_CONDITIONS = tuple(options_of(Conditions))
_SUBJECT = "subject"
_FINETUNE = "finetune"
"""Key of a subject: the file by which `prune-heads finetune` makes its model where it is not there."""


@dataclass(frozen=True)
class PlannedSubject:
    """A model on a task, as options say it."""

    name: str
    """Of the table or figure."""
    folder: Path
    """That paths in the options are relative to."""
    model: str | None
    """As the options name it; None for the default."""
    setup: "Setup"
    conditions: "Conditions"
    recipe: str | None = None
    """The file by which its model is fine-tuned."""

    def finetune(self) -> None:
        """Make the model by its recipe, as `prune-heads finetune` does; what is done is not done again."""
        with redirect_stdout(sys.stderr):  # the result on stdout is that of the reproduction
            alone(finetune).main(list(self.words()), prog_name="finetune", standalone_mode=False)

    def lacks_model(self) -> bool:
        """Whether it must be fine-tuned still."""
        from prune_heads.studies.finetuning import WEIGHTS_FILE

        return self.recipe is not None and not (self.folder / str(self.model) / WEIGHTS_FILE).exists()

    def check_recipe(self) -> None:
        """Refuse a recipe that cannot be followed, before any work.

        Raises:
            BadParameter: If it cannot be read, or says what there is not.
        """
        if self.recipe is not None:
            alone(finetune).make_context("finetune", list(self.words()))

    def words(self) -> tuple[str, ...]:
        """The command line that makes the model by its recipe."""
        recipe, model = self.folder / str(self.recipe), self.folder / str(self.model)
        return "--config", str(recipe), "--output", str(model)


def planned(name: str, config: Path | None, given: Mapping[str, Any], store: str | None) -> list[PlannedSubject]:
    """The subjects of a table or figure.

    Args:
        name: `table3`, `figure1`, ...
        config: A file with options and tables `[[subject]]`, or a folder with `NAME.toml`; None for the paper's models.
        given: Options on the command line, which go first.
        store: Where predictions are kept.

    Raises:
        BadParameter: If the file cannot be read, or says what there is not.
    """
    from prune_heads.paper import default_subjects

    file = config / f"{name}.toml" if config is not None and config.is_dir() else config
    values = {} if file is None else read_toml(file)
    subjects = values.pop(_SUBJECT, [{}])
    shown = "the command line" if file is None else file.name
    if not isinstance(subjects, list) or not all(isinstance(each, dict) for each in subjects):
        raise BadParameter(f"{shown}: subject must be tables, written [[subject]].")
    known = [*(name for name in options_of(Setup) if name != "store"), *_CONDITIONS, _FINETUNE]
    for key in [*values, *(key for each in subjects for key in each)]:
        if key not in known:
            raise BadParameter(f"{shown}: {no_option(key, [*known, _SUBJECT])}.")
    if subjects == [{}] and not {"model", "task"} & {*values, *given}:
        subjects = [dict(each) for each in default_subjects(name)]
    folder = Path() if file is None else file.parent
    given = {**given, **placed(given, Path.cwd())}
    every = [{**values, **each, **given} for each in subjects]
    if "model" in given:
        for each in every:
            each.pop(_FINETUNE, None)
    if any(_FINETUNE in each and "model" not in each for each in every):
        raise BadParameter(f"{shown}: what is fine-tuned must name the folder of its model, too.")
    found = [_planned(name, folder, each, store) for each in every]
    for subject in found:
        subject.check_recipe()
    return found


def to_finetune(subjects: Iterable[PlannedSubject]) -> list[PlannedSubject]:
    """One subject for each model that has a recipe: what several tables want is made, or looked at, once."""
    return list({subject.words(): subject for subject in subjects if subject.recipe is not None}.values())


def chains(plans: Mapping[str, Sequence[PlannedSubject]], output: Path) -> list[Chain]:
    """What can be done side by side: each model with all that the tables and figures want of it, in their order.

    So each finds in the store what it would find there without others beside it, and the records are the same.
    """
    found: dict[tuple[str, str], list[PlannedSubject]] = {}
    for subject in (subject for subjects in plans.values() for subject in subjects):
        found.setdefault((subject.setup.model, subject.setup.task), []).append(subject)
    longest_first = sorted(found.items(), key=lambda each: not any(one.lacks_model() for one in each[1]))
    return [
        (
            f"{Path(model).name} on {Path(task).stem}",
            [
                *(subject.finetune for subject in to_finetune(subjects)),
                *(partial(_prepare, subject, output) for subject in subjects),
            ],
        )
        for (model, task), subjects in longest_first
    ]


def _prepare(subject: PlannedSubject, output: Path) -> None:
    from prune_heads.reproduction.reproduce import prepare

    with suppress(UnfitError):  # it is said when the table is made
        prepare(subject.name, subject.setup, subject.conditions, output, TerminalReporter)


def _planned(name: str, folder: Path, values: Mapping[str, Any], store: str | None) -> PlannedSubject:
    """Takes apart what is of the setup and what is not; checked as on the command line."""
    from prune_heads.paper import default_task

    words = {"task": default_task(name), **values}
    try:
        setup = setup_of({key: word for key, word in words.items() if key not in _CONDITIONS}, folder, store)
        conditions = Conditions.of(words)
    except OptionError as error:
        raise BadParameter(f"{name}: {error}") from error
    return PlannedSubject(name, folder, values.get("model"), setup, conditions, values.get(_FINETUNE))


_OF_A_SETUP = {
    "model": "A checkpoint folder or a model on the hub. (default: one on the hub that is like the paper's)",
    "task": "Task of the model. (default: the paper's)",
    **dict.fromkeys(("data_dir", "max_examples", "batch_size", "dtype", "device", "store")),
}
"""Options of a setup; with another help where the default is another."""


@grouped
def reproduce(
    name: Annotated[Reproduction, Argument(metavar="NAME", help="table3, figure1, ..., or all.")],
    given: Annotated[dict[str, Any], Words(Setup, _OF_A_SETUP), Words(Conditions)],
    options: Reproducing,
    config: Annotated[
        Path | None,
        Option(
            help="TOML file with options, and a table [\\[subject]] for each model where there are several; or a "
            "folder with NAME.toml."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Reproduce a table or figure of Michel, Levy and Neubig (2019) beside the published numbers.

    Nothing is computed twice: after a kill, start the same command again. Only one process at a time can work on a
    folder.
    """
    from prune_heads.reproduction.reproduce import reproduce_job

    names = [each for each in get_args(Reproduction) if each != "all"] if name == "all" else [name]
    store, output = given.pop("store", None), options.output
    if name == "all" and config is not None and config.is_dir():
        for lacking in [each for each in names if not (config / f"{each}.toml").is_file()]:
            TerminalReporter().note(f"{lacking} is left out: {config.resolve().name} has no {lacking}.toml")
            names.remove(lacking)
    plans = {each: planned(each, config, given, store) for each in names}
    shown = {}
    with nullcontext() if options.from_records else held(output, TerminalReporter()):
        if options.jobs > 1 and not options.from_records:
            run_chains(chains(plans, output), options.jobs)
        elif not options.from_records:
            for subject in to_finetune(subject for subjects in plans.values() for subject in subjects):
                subject.finetune()
        for each, subjects in plans.items():
            studied = [(subject.setup, subject.conditions) for subject in subjects]
            try:
                shown[each] = reproduce_job(
                    each, studied, output, TerminalReporter, from_records=options.from_records, forms=options.form
                )
            except UnfitError as error:
                if name != "all":
                    raise
                TerminalReporter().note(f"{each} is left out: {error}")
                continue
            if not as_json:
                show({}, shown[each].page, as_json=False)
    if not shown:
        raise UnfitError("at least one table or figure must fit; the notes say why each is left out")
    if as_json:
        show({each: one.table.to_json() for each, one in shown.items()}, None, as_json=True)
