"""The commands that are a study: options in groups, one function, a record with its files, a table."""

import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from prune_heads import options
from prune_heads.cli import STARTED
from prune_heads.cli.groups import Config, Shown, Without
from prune_heads.cli.output import TerminalReporter, say
from prune_heads.errors import OptionError
from prune_heads.files import new_directory
from prune_heads.objectives import MINI, TASKS, task_name

if TYPE_CHECKING:
    from prune_heads.studies.scoring import Found


def _study(at: str, *groups: Any, folder: type[options.Folder] = options.Folder) -> Callable[..., Shown]:
    """A command: the module in `prune_heads.studies` and the function that it calls, with these groups and a reporter.

    The function gives `Found`, or a record alone.
    """

    def run(*, folder: Any, config: Any = None, **groups: Any) -> Shown:
        from prune_heads.runs import check_output
        from prune_heads.studies.scoring import Found

        module, _, name = at.partition(":")
        study = getattr(import_module(f"prune_heads.studies.{module}"), name)
        if getattr(folder, "save_checkpoint", False) and groups["group0"].replace in ("position-mean", "resample"):
            raise OptionError("--save-checkpoint must be with --replace zero or mean: others depend on the example")
        started = time.perf_counter()
        found = study(*groups.values(), TerminalReporter(partial(check_output, folder)))
        found = found if isinstance(found, Found) else Found(found)
        yield from _kept(found, folder)
        if found.record["command"] == "run":
            say(f"took {time.perf_counter() - STARTED:.1f} s, {started - STARTED:.1f} s of it to start")

    kinds = {**{f"group{i}": group for i, group in enumerate(groups)}, "folder": folder}
    spread = [Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in kinds.items()]
    config = Parameter("config", Parameter.KEYWORD_ONLY, annotation=Config, default=None)
    run.__signature__ = Signature([*spread, config])  # type: ignore[attr-defined]
    return run


def _kept(found: "Found", folder: options.Folder) -> Shown:
    """Write the files of a study, all of them or none, and show it."""
    from prune_heads.runs import RECORD_FILE, write_files

    if folder.output is not None:
        from prune_heads.reporting.folders import files_of  # all figures, which a run without a folder does not need

        files = files_of(found, checkpoint=getattr(folder, "save_checkpoint", True))
        with new_directory(folder.output) as made:
            write_files(made, {RECORD_FILE: found.record, **files})
    yield found.report or found.record, _table(found)


def _table(found: "Found") -> Any:
    from prune_heads.reporting import ablation, curves, fitting, looking, roles, similarity, terminal

    record, scores = found.record, None if found.scored is None else found.scored.report()
    singles = partial(ablation.ablation_page, details=found.details)
    ablations = {"pairs": similarity.pairs_page, "random": similarity.additivity_page}
    tables: dict[str, Callable[[], Any]] = {
        "run": lambda: terminal.run_report(record, scores),
        "fit": lambda: fitting.fit_page(record),
        "score": lambda: terminal.score_table(scores or {}),
        "prune": lambda: terminal.pruned_page(record),
        "evaluate": lambda: terminal.evaluation_table(record),
        "ablate": lambda: ablations.get(record["kind"], singles)(record, narrow=True),
        "curve": lambda: curves.curve_page(record),
        "correlate": lambda: curves.correlation_page(record),
        "bench": lambda: terminal.bench_page(record),
        "roles": lambda: roles.roles_page(record),
        "similar": lambda: similarity.similarity_page(record, narrow=True),
        "look": lambda: looking.look_report(record),
    }
    return tables[record["command"]]()


run = _study(
    "pruning:run_alone", options.Setup, options.Choice, options.Scoring, options.RunOptions, folder=options.RunFolder
)
fit = _study("fitting:fit", options.Setup, options.Fitting)
score = _study("scoring:score_heads", options.Masks, options.Scoring, options.Cluster)
prune = _study("pruning:prune_heads", options.WrittenModel, options.Choice, options.Surgery, folder=options.NewFolder)
evaluate = _study("measuring:evaluate_heads", options.Setup, options.Masked)
_masks = (options.Ablation, options.Pairs, options.RandomMasks)
ablate = _study("additivity:ablate_heads", options.Masks, options.Cluster, *_masks)
similar = _study("similarity:similar", Annotated[options.Setup, Without("replace")], options.Similarity)
curve = _study("curves:curves", options.Masks, options.Curves)
roles = _study("roles:roles", Annotated[options.Setup, Without("replace")], options.RoleSources)
look = _study("looking:look", options.Look)
_benched = Annotated[options.Setup, Without("store"), Without("replace")]
bench = _study("bench:bench", _benched, options.Choice, options.Bench)


def correlate(
    first: Annotated[Path, Argument(help="Folder or file of 'ablate --output' or 'score --output'.")],
    second: Annotated[Path, Argument(help="Another one.")],
    folder: options.Folder,
    more: Annotated[list[Path] | None, Argument(help="Any number of others.")] = None,
) -> Shown:
    """A study of files."""
    from prune_heads.runs import check_output
    from prune_heads.studies.correlating import correlate_files
    from prune_heads.studies.scoring import Found

    reporter = TerminalReporter(partial(check_output, folder))
    record = correlate_files([first, second, *(more or [])], reporter)
    yield from _kept(Found(record, {name: record[name] for name in ("series", "correlations")}), folder)


def export(asked: options.Export, folder: options.NewFolder) -> Shown:
    """A study that writes its folder by itself."""
    from prune_heads.reporting.card import card_of
    from prune_heads.reporting.terminal import export_page
    from prune_heads.studies.exporting import export_into

    record = export_into(asked, TerminalReporter(), folder, card_of)
    yield record, export_page(record)


def plant(
    setup: Annotated[options.Setup, Without("store"), Without("replace")],
    planting: options.Planting,
    folder: options.NewFolder,
    config: Config = None,
) -> Shown:
    """Another one that writes its folder by itself."""
    from prune_heads.reporting.terminal import planted_page
    from prune_heads.studies.planting import plant

    record = plant(setup, planting, TerminalReporter(), folder)
    yield record, planted_page(record)


def finetune(
    setup: Annotated[options.Start, Without("store"), Without("replace")],
    recipe: options.Recipe,
    folder: options.NewFolder,
    config: Config = None,
) -> Shown:
    """Another one; a killed run continues in its folder."""
    from prune_heads.reporting.card import card_of
    from prune_heads.reporting.folders import of_record
    from prune_heads.reporting.terminal import finetuning_table
    from prune_heads.studies.finetuning import finetune_into

    made = finetune_into(setup, recipe, TerminalReporter(), folder, lambda of: {**of_record(of), **card_of(of)})
    yield made, finetuning_table(made)


def train_mini(
    task: Annotated[str, Option(help=f"The built-in task: {', '.join(MINI)}.")],
    output: Annotated[Path, Option("--output", "-o", help="Folder for the checkpoint.", file_okay=False)],
    seed: Annotated[int, Option(help="Seed of the initial weights and of the order of the examples.")] = 0,
    epochs: Annotated[int | None, Option(min=1, help="Passes over the examples. (default: as shipped)")] = None,
) -> Shown:
    """No study: the recipe of the shipped models."""
    if (task := task_name(task)) not in MINI:
        raise OptionError(f"'--task' must be one of {', '.join(MINI)}; got {task!r}")
    from rich.console import Group

    from prune_heads.evaluator import Evaluator
    from prune_heads.studies.train_mini import N_EXAMPLES, RECIPES, train
    from prune_heads.tables.terminal import line

    n_epochs = epochs or RECIPES[task].epochs
    with TerminalReporter().stage("training", n_epochs * N_EXAMPLES) as progress:
        train(task, output, seed=seed, n_epochs=n_epochs, progress=progress)
    found = {split: Evaluator(str(output), task, split=split).evaluate().metrics for split in TASKS[task].eval_splits}
    said = (f"{split}: {', '.join(f'{name} {each:.4f}' for name, each in of.items())}" for split, of in found.items())
    yield found, Group(*map(line, said))
