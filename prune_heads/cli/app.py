"""`prune-heads`: the commands. Each parses, calls one function below and prints; heavy imports wait inside."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from prune_heads.cli import signals
from prune_heads.cli.ablate import ablate
from prune_heads.cli.bench import bench
from prune_heads.cli.benchmark import benchmark
from prune_heads.cli.correlate import correlate
from prune_heads.cli.curve import curve
from prune_heads.cli.doctor import doctor
from prune_heads.cli.evaluate import evaluate
from prune_heads.cli.export import export
from prune_heads.cli.finetune import finetune
from prune_heads.cli.info import info
from prune_heads.cli.listings import criteria, models, tasks
from prune_heads.cli.output import fail
from prune_heads.cli.prune import prune
from prune_heads.cli.reproduce import reproduce
from prune_heads.cli.run import run
from prune_heads.cli.score import score
from prune_heads.cli.store import store
from prune_heads.cli.sweep import sweep
from prune_heads.cli.train_mini import train_mini
from prune_heads.errors import PruneHeadsError, first_line

UsageError: type[Any] = typer.BadParameter.__mro__[1]  # typer exports its subclass alone

MISUSED = 2
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


class _Commands(TyperGroup):
    """The one place where errors become a red line and an exit code."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        code = self._code(
            lambda: super(_Commands, self).main(*args, **{**extra, "standalone_mode": False}) or 0
        )
        code = code or self._code(_flush)
        for stream in (sys.stdout, sys.stderr):
            _give_up(stream)
        sys.exit(code)

    def invoke(self, context: Any) -> Any:
        """A command and what it says; click would end the process where a pipe is closed."""
        try:
            result = super().invoke(context)
            _flush()
            return result
        except BrokenPipeError as error:
            if _is_writable(sys.stdout):  # it is another pipe
                raise OSError(error.errno, error.strerror) from error
            raise typer.Exit(signals.PIPE_CLOSED) from error

    def _code(self, run: Callable[[], int]) -> int:
        try:
            _check_surroundings()
            code = run()
        except PruneHeadsError as error:
            code = _failed(str(error))
        except UsageError as error:
            code = _failed(error.format_message(), error.exit_code)
        except BrokenPipeError:
            code = signals.PIPE_CLOSED
        except OSError as error:
            code = _failed(_refusal(error))
        except (MemoryError, RuntimeError) as error:
            said = first_line(error)
            if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
                code = _failed(
                    f"the memory must be enough; got: {said}. Take a smaller --batch-size, or --memory"
                )
            elif "Symlink loop" in said:  # of pathlib, until Python 3.13
                code = _failed(f"a path must lead somewhere; got: {said}")
            else:
                raise
        if code == signals.INTERRUPTED:
            fail("interrupted; nothing half-written was left")
        return code


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
        raise PruneHeadsError(
            "the working directory must be there; it was removed. Change to another"
        ) from error


def _flush() -> int:
    sys.stdout.flush()
    return 0


def _is_writable(stream: TextIO) -> bool:
    try:
        stream.flush()
    except OSError:
        return False
    return True


def _give_up(stream: TextIO | None) -> None:
    """Let the interpreter write what is left of a stream that takes nothing to nowhere, instead of complaining."""
    if stream is not None and not _is_writable(stream):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _refusal(error: OSError) -> str:
    said = error.strerror or first_line(error)
    if not _is_writable(sys.stdout):
        return f"stdout must be writable; got: {said}"
    named = "" if error.filename is None else f" for {os.fsdecode(error.filename)}"
    return f"the system must let us work; got: {said}{named}"


app = typer.Typer(
    cls=_Commands,
    name="prune-heads",
    help="How important is each attention head? Score heads on a task, prune them, and re-evaluate "
    "(after Michel, Levy and Neubig, 2019).",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _name, _command in (
    ("run", run),
    ("score", score),
    ("prune", prune),
    ("evaluate", evaluate),
    ("export", export),
    ("info", info),
    ("ablate", ablate),
    ("curve", curve),
    ("correlate", correlate),
    ("finetune", finetune),
    ("reproduce", reproduce),
    ("tasks", tasks),
    ("criteria", criteria),
    ("models", models),
    ("train-mini", train_mini),
    ("bench", bench),
    ("benchmark", benchmark),
    ("doctor", doctor),
):
    app.command(_name)(_command)
app.add_typer(store, name="store")
app.add_typer(sweep, name="sweep")


@app.callback(invoke_without_command=True)
def _without_command(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"prune-heads {installed('prune-heads')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(MISUSED)


def main() -> None:
    """Entry point of the console script."""
    signals.install()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know no umlauts
    app()
