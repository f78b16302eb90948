"""Commands take dataclasses of options; Typer sees their fields, and shows what the commands give."""

import difflib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from typer import Argument, Context, Option

from prune_heads.cli.output import show
from prune_heads.errors import OptionError
from prune_heads.execution.spec import RESERVED
from prune_heads.files import read_toml
from prune_heads.options import Group, Opt, options_of

if TYPE_CHECKING:
    from rich.console import RenderableType

Shown = Iterator[tuple[Mapping[str, Any] | None, "RenderableType | str | None"]]
"""What a command gives: the object that `--json` prints, and the table that stands for it without; None for nothing."""


class Without(str):
    """Stands beside a group: an option that the command lacks."""


def grouped(command: Callable[..., Any]) -> Callable[..., None]:
    """Spread each group of a command into one option per field, so that groups are written once.

    A command that has `--model` then takes the model as its argument, too, unless another option is one. Of a group
    beside a mapping, as in `Annotated[dict[str, Any], Group]`, it is given the words that were typed, without the
    defaults. What it yields is shown, unless it prints by itself, which a parameter `as_json` says.
    """
    groups: dict[str, tuple[type[Group], bool]] = {}
    options: dict[str, Opt] = {}
    spread = [_keyword("context", Context)]
    taken = inspect.signature(command).parameters
    for parameter in taken.values():
        group, *beside = get_args(parameter.annotation) or (parameter.annotation,)
        if is_given := get_origin(group) is dict:
            group = beside[0]
        if isinstance(group, type) and issubclass(group, Group):
            groups[parameter.name] = group, is_given
            of_group = {name: option for name, option in options_of(group).items() if name not in beside}
            spread += map(_as_parameter, of_group.values())
            options |= of_group
        else:
            spread.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    if "model" in options and not any(option.is_argument for option in options.values()):
        about = Argument(metavar="CHECKPOINT", help="The model; the same as --model.", show_default=False)
        spread.append(_keyword("checkpoint", Annotated[str | None, about], None))
    if "as_json" not in taken:
        about = Option("--json", help="Print one JSON object and nothing else to stdout.")
        spread.append(_keyword("as_json", Annotated[bool, about], False))

    @wraps(command)
    def run(context: Context, checkpoint: str | None = None, **values: Any) -> None:
        sources = {name: context.get_parameter_source(name) for name in values}
        typed = {name: values[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}
        if checkpoint is not None:  # that of a file of options gives way, as to --model
            if typed.get("model", checkpoint) != checkpoint:
                raise OptionError(f"CHECKPOINT and --model must name one model, got {checkpoint} and {typed['model']}.")
            values["model"] = typed["model"] = checkpoint
        own = {name: values[name] for name in taken if name in values}
        for name, (group, is_given) in groups.items():
            own[name] = {key: typed[key] for key in options_of(group) if key in typed} if is_given else group.of(values)
        for report, table in command(**own) or ():
            show(report, table, as_json=values["as_json"])

    run.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    run.options = options  # type: ignore[attr-defined]  # for files of options
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    return run


def _as_parameter(option: Opt) -> inspect.Parameter:
    """An option of a group as Typer takes it; it takes no list of literals, whose values the group checks."""
    choices = option.choices if not option.is_many else ()
    kind: Any = Literal[choices] if choices else option.kind
    kind = list[kind] if option.is_many else kind
    default = inspect.Parameter.empty if option.default is MISSING else option.word
    if option.is_argument:
        return _keyword(option.name, Annotated[kind, Argument(metavar=option.metavar, help=option.help)], default)
    about = Option(
        option.flag,
        *([option.short] if option.short else []),
        help=option.help,
        min=option.low,
        max=option.high,
        metavar=option.metavar or (f"<{' | '.join(option.choices)}>" if option.choices else None),
        rich_help_panel=option.panel,
    )
    return _keyword(option.name, Annotated[kind if default is not None else kind | None, about], default)


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def words_of(
    words: Mapping[str, Any], file: Path, known: Mapping[str, Opt], others: Collection[str] = ()
) -> dict[str, Any]:
    """Words of a file as they are seen from the working directory: its paths are relative to its folder.

    An `OptionError` names all faults: what is neither known nor one of the others, and what an option does not take.
    """
    placed, faults = {**words}, []
    for key, word in words.items():
        if key in known:
            placed[key] = known[key].placed(word, file.parent)
            try:
                known[key].value(placed[key])
            except OptionError as error:
                faults.append(f"'{known[key].flag}' {error}")
        elif key not in others:
            near = difflib.get_close_matches(key, [*known, *others], n=1)
            faults.append(f"there is no option {key!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    if faults:
        raise OptionError(f"{file.name}: {'; '.join(faults)}.")
    return placed


def _load(context: Context, file: Path | None) -> Path | None:
    """`--config FILE`: those on the command line go first."""
    if file is not None:
        # A file of a sweep runs one trial: what stands at its top.
        left_out = RESERVED if context.command.name == "run" else ()
        words = read_toml(file, "a file of options", OptionError)
        words = {key: word for key, word in words.items() if key not in left_out}
        options: Mapping[str, Opt] = context.command.callback.options  # type: ignore[union-attr]
        context.default_map = words_of(words, file, options, others=("as_json",))
    return file


Config = Annotated[
    Path | None,
    Option(
        is_eager=True,
        callback=_load,
        help="TOML file with options of this command (score_examples = 500); paths relative to it.",
    ),
]
