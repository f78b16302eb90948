"""`prune-heads reproduce`: a table or figure of the paper, published numbers beside one's own."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from typer import Argument, Option

from prune_heads.cli.groups import Shown, words_of
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.cli.studies import finetune
from prune_heads.errors import OptionError, UnfitError
from prune_heads.execution.claims import held
from prune_heads.execution.pool import Chain, run_chains
from prune_heads.files import read_toml
from prune_heads.options import Group, NewFolder, Recipe, Setup, Start, options_of
from prune_heads.options.fields import option
from prune_heads.options.studies import Conditions, Reproducing
from prune_heads.paper import default_subjects, default_task

_Table = Literal["table1", "table2", "table3", "table4", "table5", "table6"]
_Figure = Literal["figure1", "figure2", "figure3", "figure4", "figure5", "figure6"]
Reproduction = Literal[_Table, _Figure, "estimators", "all"]
"""Keys of `prune_heads.reporting.michel2019.REPRODUCTIONS`, and all of them."""

_WHAT = "a file of options"
# Keys of a file: the models, the file by which `prune-heads finetune` makes one that is not there, and what stands for
# {seed} in both of several that differ by their seed.
_SUBJECT, _FINETUNE, _SEEDS = "subject", "finetune", "seeds"
_OF_SEEDS = "seeds must be a list of two or more, each once, for {seed} in the paths of model and finetune"


class Planned(NamedTuple):
    """A model on a task, as options say it."""

    setup: Setup
    conditions: Any  # a group: how it is studied
    recipe: tuple[Start, Recipe, NewFolder] | None  # by which its model is fine-tuned
    group: str = ""  # what fine-tunings by several seeds share


def planned(name: str, config: Path | None, given: Mapping[str, Any], asked: type[Group] = Conditions) -> list[Planned]:
    """The subjects of a table or figure; options that are given on the command line go first.

    They stand in a file with options and tables `[[subject]]`, or a folder with `NAME.toml`; or are the paper's models,
    unless other conditions than those of a reproduction are asked for.
    An `OptionError` if the file cannot be read, or says what there is not.
    """
    named = config / f"{name}.toml" if config is not None and config.is_dir() else config
    values = {} if named is None else read_toml(named, _WHAT, OptionError)
    file = named or Path("the command line")
    subjects = values.pop(_SUBJECT, [{}])
    if not isinstance(subjects, list) or not subjects or not all(isinstance(each, dict) for each in subjects):
        raise OptionError(f"{file.name}: subject must be tables, written [[subject]].")
    is_paper = asked is Conditions
    if is_paper and subjects == [{}] and not {"model", "task"} & {*values, *given}:
        subjects = [dict(each) for each in default_subjects(name)]
    usual = {"task": default_task(name)} if is_paper else {}
    every = [each for subject in subjects for each in _by_seed(file, {**values, **subject}, given)]
    for seeded in dict.fromkeys(group for group, _ in every if group):
        models = [each["model"] for group, each in every if group == seeded]
        if len({*models}) < max(2, len(models)):
            raise OptionError(f"{file.name}: {_OF_SEEDS}; got those of {', '.join(models)}.")
    return [_planned(file, each, usual, given, group, asked) for group, each in every]


def _by_seed(file: Path, values: dict[str, Any], given: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """A subject for each of its seeds, with what they share; one without seeds alone."""
    seeds, paths = values.pop(_SEEDS, None), {key: str(values.get(key, "")) for key in ("model", _FINETUNE)}
    if seeds is None or "model" in given:
        return [("", values)]
    paths = {key: path for key, path in paths.items() if key == "model" or path}
    if not isinstance(seeds, list) or not seeds or not all("{seed}" in path for path in paths.values()):
        raise OptionError(f"{file.name}: {_OF_SEEDS}; got {seeds} and {' and '.join(paths.values())!r}.")
    put = [{key: path.replace("{seed}", str(seed)) for key, path in paths.items()} for seed in seeds]
    return [(f"{paths['model']} {values.get('task')}", {**values, **each}) for each in put]


def _planned(
    file: Path, values: dict[str, Any], usual: dict[str, Any], given: Mapping[str, Any], group: str, asked: type[Group]
) -> Planned:
    setup = {key: option for key, option in options_of(Setup).items() if key != "store"}
    words = words_of(values, file, {**setup, **options_of(asked)}, others=(_FINETUNE,))
    words = {**usual, **words, **given}
    recipe = None
    if _FINETUNE in words and "model" not in given:
        if "model" not in values:
            raise OptionError(f"{file.name}: what is fine-tuned must name the folder of its model, too.")
        by = file.parent / words[_FINETUNE]
        known = {**options_of(Start), **options_of(Recipe), **options_of(NewFolder)}
        del known["store"]
        made = {**words_of(read_toml(by, _WHAT, OptionError), by, known), "output": file.parent / values["model"]}
        recipe = (Start.of(made), Recipe.of(made), NewFolder.of(made))
    return Planned(Setup.of(words), asked.of(words), recipe, group)


def _finetune(*recipe: Any) -> None:
    with redirect_stdout(sys.stderr):  # the result on stdout is that of the reproduction
        for record, table in finetune(*recipe):
            show(record, table, as_json=False)


def recipes(subjects: Iterable[Planned]) -> list[Callable[[], None]]:
    """What makes each model that has a recipe, as `prune-heads finetune` does: what several tables want, once."""
    return [partial(_finetune, *recipe) for recipe in dict.fromkeys(each.recipe for each in subjects) if recipe]


def chains(plans: Mapping[str, Sequence[Planned]], output: Path) -> list[Chain]:
    """What can be done side by side: each model with all that the tables and figures want of it, in their order.

    So each finds in the store what it would find there without others beside it, and the records are the same.
    """
    from prune_heads.reproduction import prepare

    found: dict[tuple[str, str], list[tuple[str, Planned]]] = {}
    for name, subjects in plans.items():
        for subject in subjects:
            found.setdefault((subject.setup.model, subject.setup.task), []).append((name, subject))
    longest_first = sorted(found.items(), key=lambda each: all(subject.recipe is None for _, subject in each[1]))
    made: list[Chain] = []
    for (model, task), wanted in longest_first:
        steps = recipes(subject for _, subject in wanted)
        steps += [partial(prepare, name, *subject[:2], output, TerminalReporter) for name, subject in wanted]
        made.append((f"{Path(model).name} on {Path(task).stem}", steps))
    return made


@dataclass(frozen=True)
class PaperSetup(Setup):
    """What `--help` says of a setup whose model and task are the paper's."""

    model: str = option("A checkpoint folder or a model on the hub. (default: one like the paper's)", "")
    task: str = option("Task of the model. (default: the paper's)", "")


def reproduce(
    name: Annotated[Reproduction, Argument(metavar="NAME", help="table3, figure1, ..., or all.")],
    setup: Annotated[dict[str, Any], PaperSetup],
    conditions: Annotated[dict[str, Any], Conditions],
    options: Reproducing,
    config: Annotated[
        Path | None, Option(help="TOML file of options, with a [\\[subject]] for each of several; or a folder of such.")
    ] = None,
) -> Shown:
    """Show a table or figure, or all, from records that are made where they are not there."""
    from prune_heads.reproduction import reproduce_job

    names = [each for each in get_args(Reproduction) if each != "all"] if name == "all" else [name]
    given, output = {**setup, **conditions}, options.output
    if name == "all" and config is not None and config.is_dir():
        for lacking in [each for each in names if not (config / f"{each}.toml").is_file()]:
            TerminalReporter().note(f"{lacking} is left out: {config.resolve().name} has no {lacking}.toml")
            names.remove(lacking)
    plans = {each: planned(each, config, given) for each in names}
    job, tables = partial(reproduce_job, from_records=options.from_records, forms=options.form), {}
    with nullcontext() if options.from_records else held(output, TerminalReporter()):
        if options.jobs > 1 and not options.from_records:
            run_chains(chains(plans, output), options.jobs)
        elif not options.from_records:
            for make in recipes(subject for subjects in plans.values() for subject in subjects):
                make()
        for each, subjects in plans.items():
            groups = dict.fromkeys(subject.group for subject in subjects if subject.group)
            seeds = [[subject.setup for subject in subjects if subject.group == group] for group in groups]
            try:
                found = job(each, [subject[:2] for subject in subjects], output, TerminalReporter, seeds=seeds)
            except UnfitError as error:
                if name != "all":
                    raise
                TerminalReporter().note(f"{each} is left out: {error}")
                continue
            tables[each] = found.table.to_json()
            yield None, found.page
    if not tables:
        raise UnfitError("at least one table or figure must fit; the notes say why each is left out")
    yield tables, None
