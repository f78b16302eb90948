"""What `prune-heads reproduce` is to be of: models and tasks, by its file and the command line."""

import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from typer import BadParameter

from prune_heads.cli.config import alone, read_toml
from prune_heads.cli.finetune import finetune
from prune_heads.cli.output import TerminalReporter
from prune_heads.errors import OptionError, UnfitError
from prune_heads.execution.chains import Chain
from prune_heads.options import Conditions, Setup, options_of
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
        from prune_heads.studies.finetune_folder import WEIGHTS_FILE

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


def planned(
    name: str, config: Path | None, given: Mapping[str, Any], store: str | None
) -> list[PlannedSubject]:
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
    for key in [*values, *(key for each in subjects for key in each)]:
        _check_known(key, shown)
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
        Chain(
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


def _check_known(key: str, shown: str) -> None:
    known = [*(field.name for field in fields(Setup) if field.name != "store"), *_CONDITIONS, _FINETUNE]
    if key not in known:
        near = difflib.get_close_matches(key, [*known, _SUBJECT], n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise BadParameter(f"{shown}: there is no option {key!r}{hint}.")


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
