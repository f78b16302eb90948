"""`--config FILE`: the options of a command from a TOML file; those on the command line go first."""

import difflib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from typer import BadParameter, Context, Option, Typer
from typer.main import get_command

from prune_heads.execution.spec import RESERVED
from prune_heads.objects import is_url

_PATHS = ("data_dir", "train_file", "validation_file", "output", "store")
"""Keys whose paths are relative to the TOML file."""


def _load(context: Context, file: Path | None) -> Path | None:
    if file is None:
        return None
    known = {parameter.name: parameter for parameter in context.command.params if parameter.name}
    known.pop("checkpoint", None)  # the argument, which stands for --model
    values = read_toml(file)
    if context.command.name == "run":  # a sweep's file runs one trial: what stands at its top
        values = {key: value for key, value in values.items() if key not in RESERVED}
    faults = [_fault(key, list(known)) for key in values if key not in known or key in ("config", "help")]
    if faults:
        raise BadParameter(f"{file.name}: {'; '.join(faults)}.")
    context.default_map = {key: path_of(key, value, file.parent) for key, value in values.items()}
    return file


def read_toml(file: Path) -> dict[str, Any]:
    """What a TOML file holds; one that cannot be read is misuse."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadParameter(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BadParameter(f"{file.name} is not TOML: {error}.") from error


def _fault(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"there is no option {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")


def path_of(key: str, value: Any, folder: Path) -> Any:
    """Paths that are relative are so to the file's folder; a model's name and a store's URL stay what they are."""
    if value is None or (key == "store" and is_url(str(value))):
        return value
    is_path = key in _PATHS or (key == "model" and str(value).startswith(".")) or str(value).endswith(".toml")
    return str(folder / value) if is_path else value


def alone(function: Callable[..., Any]) -> Any:
    """A function as a command of its own, outside the program."""
    app = Typer(add_completion=False)
    app.command()(function)
    return get_command(app)


def taken(command: Any, key: str, value: Any) -> Any:
    """What a command makes of the value of one of its options.

    Raises:
        ValueError: If it does not take it.
    """
    option = next(each for each in command.params if each.name == key)
    if value is None:
        return option.default
    try:
        return option.process_value(Context(command), value)
    except BadParameter as error:
        raise ValueError(error.message.removeprefix("Value error, ")) from error


Config = Annotated[
    Path | None,
    Option(
        is_eager=True,
        callback=_load,
        help="TOML file with options of this command (score_examples = 500); paths relative to it.",
    ),
]
