"""`prune-heads reproduce`: a table or figure of the paper, published numbers beside one's own."""

import difflib
import sys
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, BadParameter, Option

from prune_heads.cli.config import alone, read_toml, taken
from prune_heads.cli.finetune import finetune
from prune_heads.cli.names import CriterionName, DeviceName, DtypeName, ReproductionName
from prune_heads.cli.options import Json, SetupOptions
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.cli.places import Store
from prune_heads.cli.trial import setup_of
from prune_heads.errors import UnfitError

_CONDITIONS = ("seed", "steps", "score_examples", "choose_examples", "criterion", "runs")
_SUBJECT = "subject"
_FINETUNE = "finetune"
"""Key of a subject: the file by which `prune-heads finetune` makes its model where it is not there."""


def reproduce(
    name: Annotated[ReproductionName, Argument(metavar="NAME", help="table3, figure1, ..., or all.")],
    config: Annotated[
        Path | None,
        Option(
            help="TOML file with options, and a table [[subject]] for each model where there are several; or a folder "
            "with NAME.toml."
        ),
    ] = None,
    model: Annotated[
        str | None,
        Option(help="A folder or a model on the hub. (default: of the hub, as the paper's or like it)"),
    ] = None,
    task: Annotated[str | None, Option(help="Its task. (default: the paper's)")] = None,
    data_dir: Annotated[Path | None, Option(help="Folder with the task's official GLUE TSV files.")] = None,
    max_examples: Annotated[int | None, Option(min=1, help="The first N examples of every split.")] = None,
    batch_size: Annotated[int | None, Option(min=1, help="Examples a batch. (default: 32)")] = None,
    dtype: Annotated[DtypeName | None, Option(help="Precision. (default: float32)")] = None,
    device: Annotated[DeviceName | None, Option(help="Where to compute. (default: auto)")] = None,
    seed: Annotated[int | None, Option(min=0, help="Of draws and of the bootstrap. (default: 0)")] = None,
    steps: Annotated[int | None, Option(min=1, help="Of a curve. (default: 10)")] = None,
    score_examples: Annotated[
        int | None, Option(min=1, help="Examples that importance is estimated on. (default: all)")
    ] = None,
    choose_examples: Annotated[
        int | None, Option(min=1, help="Training examples that table 6 chooses heads on. (default: 5000)")
    ] = None,
    criterion: Annotated[
        list[CriterionName] | None,
        Option(help="Order that figure 3 compares; repeatable. (default: gradient, ablation)"),
    ] = None,
    runs: Annotated[int | None, Option(min=6, help="Of each side that is timed. (default: 6)")] = None,
    store: Store = None,
    output: Annotated[Path, Option(help="Folder for tables, figures and records.")] = Path("michel2019"),
    from_records: Annotated[
        bool, Option("--from-records", help="Write tables and figures anew from the records alone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Reproduce a table or figure of Michel, Levy and Neubig (2019) beside the published numbers.

    What is done is not done again: the same command goes on after a kill.
    """
    from prune_heads.jobs.paper_studies import Conditions
    from prune_heads.jobs.reproduce import reproduce_job
    from prune_heads.reporting.sheet import sheet_report, sheet_table

    every = [each for each in ReproductionName if each is not ReproductionName.all]
    names = every if name is ReproductionName.all else [name]
    options = {
        "model": model,
        "task": task,
        "data_dir": None if data_dir is None else str(data_dir.absolute()),
        "max_examples": max_examples,
        "batch_size": batch_size,
        "dtype": None if dtype is None else dtype.value,
        "device": None if device is None else device.value,
        "seed": seed,
        "steps": steps,
        "score_examples": score_examples,
        "choose_examples": choose_examples,
        "criterion": criterion or None,
        "runs": runs,
    }
    given = {key: value for key, value in options.items() if value is not None}
    if name is ReproductionName.all and config is not None and config.is_dir():
        for lacking in [each for each in names if not (config / f"{each.value}.toml").is_file()]:
            TerminalReporter().note(f"{lacking.value} is left out: {config.name} has no {lacking.value}.toml")
            names.remove(lacking)
    plans = {each.value: _plan(each.value, config, given) for each in names}
    shown = {}
    for each, (subjects, folder) in plans.items():
        studied = []
        for values in subjects:
            recipe = values.pop(_FINETUNE, None)
            if recipe is not None and not from_records and model is None:
                _finetune(folder / recipe, folder / values["model"])
            asked = Conditions(**_conditions(each, values))
            studied.append((_setup(each, values, folder, store), asked))
        try:
            shown[each] = reproduce_job(each, studied, output, TerminalReporter, from_records=from_records)
        except UnfitError as error:
            if name is not ReproductionName.all:
                raise
            TerminalReporter().note(f"{each} is left out: {error}")
            continue
        if not as_json:
            show({}, sheet_table(shown[each].sheet), as_json=False)
    if not shown:
        raise UnfitError("at least one table or figure must fit; the notes say why each is left out")
    if as_json:
        show({each: sheet_report(one.sheet) for each, one in shown.items()}, None, as_json=True)


def _plan(name: str, config: Path | None, given: dict[str, Any]) -> tuple[list[dict[str, Any]], Path]:
    """Options of each subject, and the folder that paths in the file are relative to."""
    from prune_heads.paper.subjects import default_subjects

    file = config / f"{name}.toml" if config is not None and config.is_dir() else config
    values = {} if file is None else read_toml(file)
    subjects = values.pop(_SUBJECT, [{}])
    shown = "the command line" if file is None else file.name
    if not isinstance(subjects, list) or not all(isinstance(each, dict) for each in subjects):
        raise BadParameter(f"{shown}: subject must be tables, written [[subject]].")
    known = [field.name for field in fields(SetupOptions)]
    for key in [*values, *(key for each in subjects for key in each)]:
        if key not in (*known, *_CONDITIONS, _FINETUNE):
            near = difflib.get_close_matches(key, [*known, *_CONDITIONS, _FINETUNE, _SUBJECT], n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise BadParameter(f"{shown}: there is no option {key!r}{hint}.")
    if subjects == [{}] and not {"model", "task"} & {*values, *given}:
        subjects = [dict(each) for each in default_subjects(name)]
    every = [{**values, **each, **given} for each in subjects]
    if any(_FINETUNE in each and "model" not in each for each in every):
        raise BadParameter(f"{shown}: what is fine-tuned must name the folder of its model, too.")
    return every, Path() if file is None else file.parent


def _finetune(recipe: Path, folder: Path) -> None:
    """Make a subject's model as `prune-heads finetune` does; what is done is not done again."""
    words = ["--config", str(recipe), "--output", str(folder)]
    with redirect_stdout(sys.stderr):  # the result on stdout is that of the reproduction
        alone(finetune).main(words, prog_name="finetune", standalone_mode=False)


def _conditions(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Takes what is not of the setup out of a subject's options; checked as on the command line."""
    command, found = alone(reproduce), {}
    for key in [key for key in _CONDITIONS if key in values]:
        try:
            found[key] = taken(command, key, values.pop(key))
        except ValueError as error:
            raise BadParameter(f"{name}: {key}: {error}") from error
    if "criterion" in found:
        found["criteria"] = tuple(each.value for each in found.pop("criterion"))
    return found


def _setup(name: str, values: dict[str, Any], folder: Path, store: str | None) -> Any:
    from prune_heads.paper.subjects import default_task

    try:
        return setup_of({"task": default_task(name), **values}, folder, store)
    except ValueError as error:
        raise BadParameter(f"{name}: {error}.") from error
