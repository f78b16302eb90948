"""`prune-heads reproduce`: a table or figure of the paper, published numbers beside one's own."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option

from prune_heads.cli.config import alone, path_of, types_of
from prune_heads.cli.groups import Checkpoint, one_model
from prune_heads.cli.names import CriterionName, DeviceName, DtypeName, FormName, ReproductionName
from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.cli.places import FOLDER_OR_NAME, TOML_FILE, Store
from prune_heads.cli.subjects import chains, planned, to_finetune
from prune_heads.errors import UnfitError
from prune_heads.execution.chains import run_chains
from prune_heads.execution.holding import held


def reproduce(
    context: Context,
    name: Annotated[ReproductionName, Argument(metavar="NAME", help="table3, figure1, ..., or all.")],
    checkpoint: Checkpoint = None,
    config: Annotated[
        Path | None,
        Option(
            help="TOML file with options, and a table [\\[subject]] for each model where there are several; or a "
            "folder with NAME.toml."
        ),
    ] = None,
    model: Annotated[
        str | None,
        Option(help="A folder or a model on the hub. (default: of the hub, as the paper's or like it)"),
        FOLDER_OR_NAME,
    ] = None,
    task: Annotated[str | None, Option(help="Its task. (default: the paper's)"), TOML_FILE] = None,
    data_dir: Annotated[Path | None, Option(help="Folder with the task's official GLUE TSV files.")] = None,
    max_examples: Annotated[int | None, Option(min=1, help="The first N examples of every split.")] = None,
    batch_size: Annotated[int | None, Option(min=1, help="Examples a batch. (default: 32)")] = None,
    dtype: Annotated[DtypeName | None, Option(help="Precision. (default: float32)")] = None,
    device: Annotated[DeviceName | None, Option(help="Where to compute. (default: auto)")] = None,
    seed: Annotated[
        int | None, Option(min=0, help="Seed of draws and of the bootstrap. (default: 0)")
    ] = None,
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
    jobs: Annotated[
        int, Option(min=1, help="Models that are fine-tuned and studied at a time, each in a process.")
    ] = 1,
    output: Annotated[Path, Option("--output", "-o", help="Folder for tables, figures and records.")] = Path(
        "michel2019"
    ),
    from_records: Annotated[
        bool, Option("--from-records", help="Write tables and figures anew from the records alone.")
    ] = False,
    form: Annotated[
        list[FormName] | None, Option(help="Form of the files; repeatable. (default: md, png)")
    ] = None,
    as_json: Json = False,
) -> None:
    """Reproduce a table or figure of Michel, Levy and Neubig (2019) beside the published numbers.

    What is done is not done again: the same command goes on after a kill. One process at a time works on a folder.
    """
    from prune_heads.reproduction.reproduce import DEFAULT_FORMS, reproduce_job

    if checkpoint is not None:
        model = one_model(context, checkpoint, model)
    every = [each for each in ReproductionName if each is not ReproductionName.all]
    names = every if name is ReproductionName.all else [name]
    options = {
        "model": model,
        "task": task,
        "data_dir": None if data_dir is None else str(data_dir),
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
    types = types_of(alone(reproduce))
    given = {
        key: path_of(types[key], value, Path.cwd()) for key, value in options.items() if value is not None
    }
    if name is ReproductionName.all and config is not None and config.is_dir():
        for lacking in [each for each in names if not (config / f"{each.value}.toml").is_file()]:
            TerminalReporter().note(
                f"{lacking.value} is left out: {config.resolve().name} has no {lacking.value}.toml"
            )
            names.remove(lacking)
    plans = {each.value: planned(each.value, config, given, store, alone(reproduce)) for each in names}
    forms = tuple(each.value for each in form) if form else DEFAULT_FORMS
    shown = {}
    with nullcontext() if from_records else held(output, TerminalReporter()):
        if jobs > 1 and not from_records:
            run_chains(chains(plans, output), jobs)
        elif not from_records:
            for subject in to_finetune(subject for subjects in plans.values() for subject in subjects):
                subject.finetune()
        for each, subjects in plans.items():
            studied = [(subject.setup, subject.conditions) for subject in subjects]
            try:
                shown[each] = reproduce_job(
                    each, studied, output, TerminalReporter, from_records=from_records, forms=forms
                )
            except UnfitError as error:
                if name is not ReproductionName.all:
                    raise
                TerminalReporter().note(f"{each} is left out: {error}")
                continue
            if not as_json:
                show({}, shown[each].page, as_json=False)
    if not shown:
        raise UnfitError("at least one table or figure must fit; the notes say why each is left out")
    if as_json:
        show({each: one.table.to_json() for each, one in shown.items()}, None, as_json=True)
