"""`prune-heads`: the commands. Each parses, calls one function below and prints; heavy imports wait inside."""

import sys
from typing import Any, NoReturn

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
from prune_heads.cli.examples import add_examples
from prune_heads.cli.export import export
from prune_heads.cli.finetune import finetune
from prune_heads.cli.guide import guide
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
from prune_heads.errors import PruneHeadsError

UsageError: type[Any] = typer.BadParameter.__mro__[1]  # typer exports its subclass alone

MISUSED = 2


class _Commands(TyperGroup):
    """The one place where errors become a red line and an exit code."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False}) or 0
        except PruneHeadsError as error:
            fail(str(error))
            code = 1
        except UsageError as error:
            fail(error.format_message())
            code = error.exit_code
        if code == signals.INTERRUPTED:
            fail("interrupted; nothing half-written was left")
        sys.exit(code)


app = typer.Typer(
    cls=_Commands,
    name="prune-heads",
    help="How important is each attention head? Score heads on a task, prune them, and re-evaluate "
    "(after Michel, Levy and Neubig, 2019).",
    context_settings={"help_option_names": ["-h", "--help"]},
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
    ("guide", guide),
):
    app.command(_name)(_command)
app.add_typer(store, name="store")
app.add_typer(sweep, name="sweep")
add_examples(app)


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
    app()
