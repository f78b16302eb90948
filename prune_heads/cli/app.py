"""`prune-heads`: the commands. Each parses, calls one function below and prints; heavy imports wait inside."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from prune_heads.cli import signals
from prune_heads.cli.examples import add_examples
from prune_heads.cli.groups import help_alone
from prune_heads.cli.listings import criteria, doctor, guide, info, models, tasks
from prune_heads.cli.measuring import ablate, bench, correlate, curve
from prune_heads.cli.output import fail
from prune_heads.cli.pruning import evaluate, export, finetune, prune, run, score, train_mini
from prune_heads.cli.reproduce import reproduce
from prune_heads.cli.store import store
from prune_heads.cli.sweep import sweep
from prune_heads.errors import PipeClosedError, PruneHeadsError, first_line
from prune_heads.tables.terminal import speaking

UsageError: type[Any] = typer.BadParameter.__mro__[1]  # typer exports its subclass alone

_MOVED = {
    "benchmark": "prune-heads benchmark is now a script of the repository: python -m experiments.benchmark. "
    "'bench' times a model without some of its heads"
}
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


class _Commands(TyperGroup):
    """The one place where errors become a red line and an exit code."""

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
        try:
            _check_surroundings()
            code = run()
        except PruneHeadsError as error:
            code = _failed(str(error))
        except UsageError as error:
            code = _failed(error.format_message(), error.exit_code)
        except PipeClosedError:
            code = signals.PIPE_CLOSED
        except OSError as error:
            named = "" if error.filename is None else f" for {os.fsdecode(error.filename)}"
            code = _failed(f"a file cannot be used: {error.strerror or first_line(error)}{named}. Check its path")
        except (MemoryError, RuntimeError) as error:
            said = first_line(error)
            if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
                code = _failed(f"the memory must be enough; got: {said}. Take a smaller --batch-size, or --memory")
            elif "Symlink loop" in said or "home directory" in said:  # of pathlib
                code = _failed(f"a path must lead somewhere; got: {said}")
            else:
                raise
        if code == signals.INTERRUPTED:
            fail("interrupted; nothing half-written was left")
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


def _failed(message: str, code: int = 1) -> int:
    fail(message)
    return code


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


app = typer.Typer(
    cls=_Commands,
    name="prune-heads",
    help="How important is each attention head? Score heads on a task, prune them, and re-evaluate "
    "(after Michel, Levy and Neubig, 2019).",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
for _pruning in (run, score, prune, evaluate, export, info, ablate, curve, correlate, finetune, reproduce):
    app.command()(_pruning)
for _other in (tasks, criteria, models, train_mini, bench, doctor, guide):
    app.command()(_other)
app.add_typer(store, name="store")
app.add_typer(sweep, name="sweep")
add_examples(app)


@app.callback(invoke_without_command=True)
def _without_command(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version and stop.")
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"prune-heads {installed('prune-heads')}")
        raise typer.Exit
    help_alone(context)


def main() -> None:
    """Entry point of the console script."""
    signals.install()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know no umlauts
    app()
