"""`--config FILE`: the options of a command from a TOML file; those on the command line go first."""

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args

from typer import BadParameter, Context, Option, Typer
from typer.main import get_command

from prune_heads import reading
from prune_heads.cli.places import OrPath
from prune_heads.errors import RunError
from prune_heads.execution.spec import RESERVED
from prune_heads.visible import brief


def _load(context: Context, file: Path | None) -> Path | None:
    if file is None:
        return None
    known = {parameter.name: parameter for parameter in context.command.params if parameter.name}
    known.pop("checkpoint", None)  # the argument, which stands for --model
    values = read_toml(file)
    if context.command.name == "run":  # a sweep's file runs one trial: what stands at its top
        values = {key: value for key, value in values.items() if key not in RESERVED}
    faults = [_fault(key, list(known)) for key in values if key not in known or key in ("config", "help")]
    types = types_of(context.command)
    faults += [
        f"{key} must be a text, got {brief(value)}"
        for key, value in values.items()
        if key in known and _is_text(types[key]) and not isinstance(value, str)
    ]
    if faults:
        raise BadParameter(f"{file.name}: {'; '.join(faults)}.")
    context.default_map = {key: path_of(types[key], value, file.parent) for key, value in values.items()}
    return file


def read_toml(file: Path) -> dict[str, Any]:
    """What a TOML file holds; one that cannot be read is misuse."""
    try:
        return reading.read_toml(file, "a file of options")
    except RunError as error:
        raise BadParameter(f"{error}.") from error


def _fault(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"there is no option {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")


def types_of(command: Any) -> dict[str, Any]:
    """The annotations of a command's options, by name."""
    return {name: each.annotation for name, each in inspect.signature(command.callback).parameters.items()}


def _is_text(annotation: Any) -> bool:
    """Whether an option takes one text, of which Typer would make anything."""
    kind = (get_args(annotation) or (annotation,))[0]
    return kind is str or set(get_args(kind)) == {str, NoneType}


def path_of(annotation: Any, value: Any, folder: Path) -> Any:
    """Of an option's value in a file: a path that is relative is so to the file's folder, what is no path stays.

    What is a path is said by the option's type, `Path`, or by an `OrPath` beside it.
    """
    if isinstance(value, list):
        return [path_of(annotation, each, folder) for each in value]
    if not isinstance(value, str):
        return value
    kind, *beside = get_args(annotation) or (annotation,)
    is_path = Path in (kind, *get_args(kind)) or list[Path] in get_args(kind)
    is_path |= any(isinstance(each, OrPath) and each.is_path(value, folder) for each in beside)
    return str(folder / Path(value).expanduser()) if is_path else value


def alone(function: Callable[..., Any]) -> Any:
    """A function as a command of its own, outside the program."""
    app = Typer(add_completion=False)
    app.command()(function)
    return get_command(app)


Config = Annotated[
    Path | None,
    Option(
        is_eager=True,
        callback=_load,
        help="TOML file with options of this command (score_examples = 500); paths relative to it.",
    ),
]
