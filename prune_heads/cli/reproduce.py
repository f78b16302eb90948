"""`prune-heads reproduce`: a table or figure of the paper, published numbers beside one's own."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, get_args

from typer import Argument, Option

from prune_heads.cli.groups import Json, Words, grouped
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.cli.subjects import chains, planned, to_finetune
from prune_heads.errors import UnfitError
from prune_heads.execution.chains import run_chains
from prune_heads.execution.holding import held
from prune_heads.options import Conditions, Reproducing, Setup
from prune_heads.options.choices import Reproduction

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

    Nothing is computed twice: after a kill the same command goes on. One process at a time works on a folder.
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
                    each,
                    studied,
                    output,
                    TerminalReporter,
                    from_records=options.from_records,
                    forms=options.form,
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
