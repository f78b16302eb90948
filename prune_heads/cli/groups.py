"""Options in groups: a command takes a dataclass of options, Typer sees its fields."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, replace
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any, get_args

from typer import Argument, BadParameter, Context, Exit, Option

from prune_heads.errors import OptionError
from prune_heads.options import Group, options_of
from prune_heads.options.fields import Opt

Json = Annotated[bool, Option("--json", help="Print one JSON object and nothing else to stdout.")]
Checkpoint = Annotated[
    str | None, Argument(metavar="CHECKPOINT", help="The model; the same as --model.", show_default=False)
]
MISUSED = 2


@dataclass(frozen=True)
class Without:
    """Stands beside a group: an option that the command lacks."""

    name: str


@dataclass(frozen=True)
class Words:
    """Stands in the annotation of a mapping: which options of a group are taken as they are given, without defaults."""

    group: type[Group]
    said: Mapping[str, str | None] = field(default_factory=dict)
    """Name -> another help, or None for the group's; nothing for all options as they are."""

    def parameters(self) -> list[inspect.Parameter]:
        """The options as Typer takes them; what their defaults are is said in their help."""
        every = options_of(self.group)
        return [_without_default(every[name], self.said.get(name)) for name in self.said or every]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Spread each group of a command into one option per field, so that groups are written once.

    A command that has `--model` then takes the model as its argument, too.
    """
    groups: dict[str, tuple[type, list[str]]] = {}
    options: dict[str, Opt] = {}
    spread: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        group, *beside = get_args(parameter.annotation) or (parameter.annotation,)
        if words := [each for each in beside if isinstance(each, Words)]:
            of_words = [option for each in words for option in each.parameters()]
            groups[parameter.name] = dict, [each.name for each in of_words]
            spread += of_words
            continue
        if not (isinstance(group, type) and issubclass(group, Group)):
            spread.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        lacking = {each.name for each in beside if isinstance(each, Without)}
        of_group = [typer_option(option) for name, option in options_of(group).items() if name not in lacking]
        groups[parameter.name] = group, [each.name for each in of_group]
        options |= options_of(group)
        spread += of_group

    @wraps(command)
    def run(context: Context, checkpoint: str | None = None, **values: Any) -> None:
        if checkpoint is not None:
            values["model"] = one_model(context, checkpoint, values["model"])
        gathered = {
            parameter: _gathered(group, {name: values.pop(name) for name in names})
            for parameter, (group, names) in groups.items()
        }
        command(**gathered, **values)

    spread.append(_keyword("context", Context))
    if any(parameter.name == "model" for parameter in spread):
        spread.append(_keyword("checkpoint", Checkpoint, None))
    run.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    run.options = options  # type: ignore[attr-defined]  # for files of options
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    return run


def one_model(context: Context, checkpoint: str, model: str | None) -> str:
    """The model that argument and `--model` name; that of a file of options gives way, as to `--model`.

    Raises:
        BadParameter: If they name two.
    """
    source = context.get_parameter_source("model")
    if source is not None and source.name == "COMMANDLINE" and model != checkpoint:
        raise BadParameter(f"CHECKPOINT and --model must name one model, got {checkpoint} and {model}.")
    return checkpoint


def typer_option(option: Opt) -> inspect.Parameter:
    """An option of a group as Typer takes it."""
    say, default = option.say, inspect.Parameter.empty if option.default is MISSING else option.word
    kind: Any = option.kind
    if option.choices:  # an enumeration, for Typer takes no list of literals
        of_choices: Any = StrEnum
        kind = of_choices(option.name, {choice: choice for choice in option.choices})
        default = kind(default) if isinstance(default, str) else default
    kind = list[kind] if option.is_many else kind
    about = Option(
        *([option.flag] if say.flag or say.short or option.kind is bool else []),
        *([say.short] if say.short else []),
        help=say.help,
        min=say.low,
        max=say.high,
        metavar=say.metavar,
        rich_help_panel=say.panel,
        callback=None if say.read is None else _checked(option),
    )
    return _keyword(option.name, Annotated[kind if default is not None else kind | None, about], default)


def _without_default(option: Opt, said: str | None) -> inspect.Parameter:
    if said is None:
        said = option.say.help if option.word is None else f"{option.say.help} (default: {option.word})"
    return typer_option(replace(option, default=None, say=replace(option.say, help=said)))


def _gathered(group: Any, words: dict[str, Any]) -> Any:
    if group is dict:
        return {name: word for name, word in words.items() if word not in (None, [])}
    try:
        return group.of(words)
    except OptionError as error:
        raise BadParameter(str(error)) from error


def _checked(option: Opt) -> Callable[[Any], Any]:
    """Refuses a text that cannot be read, where Typer names the option."""

    def callback(value: Any) -> Any:
        try:
            if value is not None:
                option.read(value)
        except OptionError as error:
            said = str(error)
            raise BadParameter(said if said.endswith((".", "?")) else f"{said}.") from error
        return value

    return callback


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def help_alone(context: Context) -> None:
    """The help of a group of commands that is called without one of them, which is misuse."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise Exit(MISUSED)
