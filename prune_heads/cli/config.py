"""`--config FILE`: the options of a command from a TOML file; those on the command line go first."""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import BadParameter, Context, Option, Typer
from typer.main import get_command

from prune_heads import reading
from prune_heads.errors import RunError
from prune_heads.execution.spec import RESERVED
from prune_heads.options.fields import Opt
from prune_heads.visible import brief


def _load(context: Context, file: Path | None) -> Path | None:
    if file is None:
        return None
    known = [each.name for each in context.command.params if each.name not in (None, "checkpoint")]  # --model
    values = read_toml(file)
    if context.command.name == "run":  # a sweep's file runs one trial: what stands at its top
        values = {key: value for key, value in values.items() if key not in RESERVED}
    unknown = (key for key in values if key not in known or key in ("config", "help"))
    faults = [no_option(key, known) for key in unknown]
    options: Mapping[str, Opt] = context.command.callback.options  # type: ignore[union-attr]
    for key, value in values.items():
        if key in options and options[key].is_text and not isinstance(value, str):
            faults.append(f"{key} must be a text, got {brief(value)}")
        elif key in options:
            values[key] = options[key].placed(value, file.parent)
    if faults:
        raise BadParameter(f"{file.name}: {'; '.join(faults)}.")
    context.default_map = values
    return file


def read_toml(file: Path) -> dict[str, Any]:
    """What a TOML file holds; one that cannot be read is misuse."""
    try:
        return reading.read_toml(file, "a file of options")
    except RunError as error:
        raise BadParameter(f"{error}.") from error


def no_option(key: str, known: list[str]) -> str:
    """That a key names no option, and the option that it may mean."""
    near = difflib.get_close_matches(key, known, n=1)
    return f"there is no option {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")


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
