"""Options in groups: a command takes a dataclass of options, Typer sees its fields."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any

from typer import Argument, BadParameter, Context

Checkpoint = Annotated[
    str | None, Argument(metavar="CHECKPOINT", help="The model, as --model names it.", show_default=False)
]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Spread each dataclass parameter of a command into one option per field, so that groups are written once.

    A command that has `--model` then takes the model as its argument, too.
    """
    groups: dict[str, type] = {}
    spread: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            for field in fields(parameter.annotation):
                default = inspect.Parameter.empty if field.default is MISSING else field.default
                spread.append(_keyword(field.name, field.type, default))
        else:
            spread.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def run(context: Context, checkpoint: str | None = None, **values: Any) -> None:
        if checkpoint is not None:
            values["model"] = one_model(context, checkpoint, values["model"])
        gathered = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**gathered, **values)

    spread.append(_keyword("context", Context))
    if any(parameter.name == "model" for parameter in spread):
        spread.append(_keyword("checkpoint", Checkpoint, None))
    run.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
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


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
