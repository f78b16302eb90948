"""`prune-heads reproduce`: a table or figure of the paper, published numbers beside one's own."""

import difflib
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, BadParameter, Option

from prune_heads.cli.config import read_toml
from prune_heads.cli.names import DeviceName, DtypeName, ReproductionName
from prune_heads.cli.options import Json, SetupOptions
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.cli.places import Store
from prune_heads.cli.trial import setup_of
from prune_heads.errors import UnfitError

_CONDITIONS = ("seed", "steps", "score_examples", "choose_examples", "runs")
_SUBJECT = "subject"


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
    from prune_heads.jobs.reproduce import Conditions, reproduce_job
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
        "runs": runs,
    }
    given = {key: value for key, value in options.items() if value is not None}
    plans = {each.value: _plan(each.value, config, given) for each in names}
    shown = {}
    for each, (subjects, conditions, folder) in plans.items():
        setups = [_setup(each, values, folder, store) for values in subjects]
        asked = Conditions(**conditions)
        reporter = TerminalReporter()
        try:
            shown[each] = reproduce_job(each, setups, asked, output, reporter, from_records=from_records)
        except UnfitError as error:
            if name is not ReproductionName.all:
                raise
            reporter.note(f"left out: {error}")
            continue
        if not as_json:
            show({}, sheet_table(shown[each].sheet), as_json=False)
    if as_json:
        show({each: sheet_report(one.sheet) for each, one in shown.items()}, None, as_json=True)


def _plan(
    name: str, config: Path | None, given: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any], Path]:
    """Options of each subject, what all studies share, and the folder that paths in the file are relative to."""
    from prune_heads.paper.subjects import default_subjects

    file = config / f"{name}.toml" if config is not None and config.is_dir() else config
    values = {} if file is None else read_toml(file)
    subjects = values.pop(_SUBJECT, [{}])
    shown = "the command line" if file is None else file.name
    if not isinstance(subjects, list) or not all(isinstance(each, dict) for each in subjects):
        raise BadParameter(f"{shown}: subject must be tables, written [[subject]].")
    known = [field.name for field in fields(SetupOptions)]
    for key in [*values, *(key for each in subjects for key in each)]:
        if key not in (*known, *_CONDITIONS):
            near = difflib.get_close_matches(key, [*known, *_CONDITIONS, _SUBJECT], n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise BadParameter(f"{shown}: there is no option {key!r}{hint}.")
    if subjects == [{}] and not {"model", "task"} & {*values, *given}:
        subjects = [dict(each) for each in default_subjects(name)]
    every = [{**values, **each, **given} for each in subjects]
    conditions = {key: value for key, value in every[0].items() if key in _CONDITIONS}
    plain = [{key: value for key, value in each.items() if key not in _CONDITIONS} for each in every]
    return plain, conditions, Path() if file is None else file.parent


def _setup(name: str, values: dict[str, Any], folder: Path, store: str | None) -> Any:
    from prune_heads.paper.subjects import default_task

    try:
        return setup_of({"task": default_task(name), **values}, folder, store)
    except ValueError as error:
        raise BadParameter(f"{name}: {error}.") from error
