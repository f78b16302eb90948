"""`prune-heads`: the commands, and the one place where errors become a red line and an exit code."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import version as installed
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from prune_heads.cli import signals
from prune_heads.cli.groups import grouped
from prune_heads.cli.output import say
from prune_heads.errors import OptionError, PipeClosedError, PruneHeadsError, first_line
from prune_heads.files import read_toml
from prune_heads.tables.terminal import speaking

UsageError: type[Any] = typer.BadParameter.__mro__[1]  # typer exports its subclass alone
MISUSED = 2
COMMANDS = read_toml(Path(__file__).with_name("commands.toml"), "the table of commands")
"""Command -> `at`, `help`, `examples`; of a group of commands its `help` alone."""

_MOVED = {
    "benchmark": "prune-heads benchmark is now a script of the repository: python -m experiments.benchmark. "
    "'bench' times a model without some of its heads"
}
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


class _Commands(TyperGroup):
    def main(self, *args: Any, **extra: Any) -> NoReturn:
        options = {**extra, "standalone_mode": False}
        code = self._code(lambda: super(_Commands, self).main(*args, **options) or 0) or self._code(_flush)
        for stream in (sys.stdout, sys.stderr):
            _give_up(stream)
        sys.exit(code)

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _to_readers():
            return super().make_context(*args, **extra)

    def invoke(self, context: Any) -> Any:
        with _to_readers():
            return super().invoke(context)

    def resolve_command(self, context: Any, args: list[str]) -> Any:
        if args and args[0] in _MOVED:
            raise UsageError(_MOVED[args[0]], context)
        return super().resolve_command(context, args)

    def _code(self, run: Callable[[], int]) -> int:
        code, said = 1, ""
        try:
            _check_surroundings()
            code = run()
        except PruneHeadsError as error:
            code, said = MISUSED if isinstance(error, OptionError) else 1, str(error)
        except UsageError as error:
            code, said = error.exit_code, error.format_message()
        except PipeClosedError:
            code = signals.PIPE_CLOSED
        except OSError as error:
            named = "" if error.filename is None else f" for {os.fsdecode(error.filename)}"
            said = f"a file cannot be used: {error.strerror or first_line(error)}{named}. Check its path"
        except (MemoryError, RuntimeError) as error:
            got = first_line(error)
            if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
                said = f"the memory must be enough; got: {got}. Take a smaller --batch-size, or --memory"
            elif "Symlink loop" in got or "home directory" in got:  # of pathlib
                said = f"a path must lead somewhere; got: {got}"
            else:
                raise
        if code == signals.INTERRUPTED:
            said = "interrupted; nothing half-written was left"
        if said:
            say(f"error: {said}", "red")
        return code


@contextmanager
def _to_readers() -> Iterator[None]:
    """Tell a stdout that is closed from other pipes: click and Rich would end the process with exit code 1."""
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise PipeClosedError from end
        raise
    except BrokenPipeError as error:
        with suppress(OSError, ValueError):
            watch = select.poll()
            watch.register(sys.stdout.fileno(), 0)
            if watch.poll(0):
                raise PipeClosedError from error
        raise OSError(error.strerror or "Broken pipe") from error


def _check_surroundings() -> None:
    """Refuse, before any work, to run where nothing can be said or no path leads from."""
    if sys.stdout is None:
        raise PruneHeadsError("stdout must be open; got a closed one. Send it to a file, or to /dev/null")
    try:
        os.getcwd()
    except OSError as error:
        raise PruneHeadsError("the working directory must be there; it was removed. Change to another") from error


def _flush() -> int:
    with speaking():
        sys.stdout.flush()
    return 0


def _give_up(stream: TextIO | None) -> None:
    """Let the interpreter write what is left of a stream that takes nothing to nowhere, instead of complaining."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _help_alone(context: typer.Context) -> None:
    """The help of a group of commands that is called without one of them, which is misuse."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(MISUSED)


app = typer.Typer(
    cls=_Commands,
    name="prune-heads",
    help="How important is each attention head? Score heads on a task, prune them, and re-evaluate "
    "(after Michel, Levy and Neubig, 2019).",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
_groups = {"": app}
for _words, _about in COMMANDS.items():
    _first, *_rest = (" ".join(each.split()) for each in _about["help"].split("\n\n"))
    if "at" not in _about:
        _groups[_words] = typer.Typer(help=_first)
        _groups[_words].callback(invoke_without_command=True)(_help_alone)
        app.add_typer(_groups[_words], name=_words)
        continue
    _group, _, _name = _words.rpartition(" ")
    _module, _, _function = _about["at"].partition(":")
    _called = getattr(import_module(f"prune_heads.cli.{_module}"), _function)
    _groups[_group].command(_name, help="\n\n".join([_first, "\n".join(_about["examples"]), *_rest]))(grouped(_called))


@app.callback(invoke_without_command=True)
def _without_command(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version and stop.")
) -> None:
    if version:
        print(f"prune-heads {installed('prune-heads')}")
        raise typer.Exit
    _help_alone(context)


def main() -> None:
    """Entry point of the console script."""
    signals.install()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know no umlauts
    app()
