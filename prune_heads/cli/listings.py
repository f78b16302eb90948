"""`prune-heads info`, `tasks`, `criteria`, `models`, `doctor`, `guide`: what can be read without running anything."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, BadParameter, Option

from prune_heads.cli.groups import Json, grouped
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.guide import TOPICS, page, title
from prune_heads.options import NamedModel, WrittenModel

FOUND = 1


@grouped
def info(
    setup: NamedModel,
    heads: Annotated[
        str, Option(help="Heads to count as removed, counted from 1: '3:1,5 7:2'; or a heads.json. (default: none)")
    ] = "",
    length: Annotated[
        int | None,
        Option(min=1, help="Number of tokens to count for. (default: 128; for images, as many as in the first layer)"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Count parameters and multiply-adds before and after, and the highest speed-up that removing heads can give."""
    from prune_heads.anatomy import attention_blocks, head_counts
    from prune_heads.budget import budget
    from prune_heads.coverage import beside_heads
    from prune_heads.reporting.listings import info_report, info_table
    from prune_heads.studies.pruning import read_heads
    from prune_heads.studies.setup import load_model

    classifier = load_model(WrittenModel(setup.model, setup.task), TerminalReporter())
    n_heads = head_counts(attention_blocks(classifier.model))
    costs = budget(classifier.model, read_heads(heads, n_heads), length or classifier.usual_length())
    report = info_report(classifier.name, costs, beside_heads(classifier.model.config.model_type))
    show(report, info_table(report), as_json=as_json)


def tasks(as_json: Json = False) -> None:
    """List the tasks, their labels, metrics and splits."""
    from prune_heads.reporting.listings import task_rows, task_table

    show({"tasks": task_rows()}, task_table(), as_json=as_json)


def criteria(as_json: Json = False) -> None:
    """List the criteria of importance, the estimators and the normalisations."""
    from prune_heads.reporting.listings import criterion_rows, criterion_table

    show(criterion_rows(), criterion_table(), as_json=as_json)


def models(
    try_now: Annotated[
        bool,
        Option(
            "--try", help="Try the default configuration of each with the installed transformers; takes about a minute."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """List the model types whose heads can be gated, zeroed and removed, and why others cannot."""
    from prune_heads.coverage import committed_table
    from prune_heads.reporting.listings import model_table

    if try_now:
        from prune_heads.coverage.tiny import all_types, try_all

        types = all_types()
        with TerminalReporter().stage("trying types", len(types)) as progress:
            table = try_all(types, progress)
    else:
        table = committed_table()
    show(table, model_table(table), as_json=as_json)


Paths = Annotated[
    list[Path],
    typer.Argument(metavar="PATH...", help="Scripts, notebooks, configurations (.py .ipynb .json .toml), or folders."),
]


def doctor(paths: Paths, as_json: Json = False) -> None:
    """Find head masks and pruning of transformers 4 in scripts and configurations, without running them.

    Exit code 1 when something was found, or a file that mentions it cannot be read; 0 otherwise.
    """
    from prune_heads.migration import examine
    from prune_heads.reporting.listings import doctor_table

    report = examine(paths)
    show(report, doctor_table(report), as_json=as_json)
    if report["findings"] or report["unreadable"]:
        raise typer.Exit(FOUND)


def _topic(value: str | None) -> str | None:
    if value is not None and value not in TOPICS:
        raise BadParameter(f"{value!r} is not one of {', '.join(TOPICS)}.")
    return value


def guide(
    topic: Annotated[
        str | None, Argument(metavar="TOPIC", callback=_topic, help=f"One of {', '.join(TOPICS)}.")
    ] = None,
) -> None:
    """Read the guide in the terminal, a topic at a time; without a topic, list them."""
    from rich.markdown import Markdown

    from prune_heads.reporting.layout import console, speaking

    listed = (f"- `prune-heads guide {each}`: {title(each)}" for each in TOPICS)
    text = page(topic).rstrip() if topic else "\n".join(listed)
    terminal = console()
    with speaking():
        if terminal.is_terminal:
            terminal.print(Markdown(text))
        else:
            print(text)
