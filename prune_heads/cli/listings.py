"""What can be read without running anything: tasks, criteria, models, the guide, scripts, and the store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from prune_heads.cli.groups import Shown
from prune_heads.cli.output import TerminalReporter
from prune_heads.errors import OptionError, StoreError
from prune_heads.guide import TOPICS, page, title
from prune_heads.options import Place, WrittenModel
from prune_heads.reporting import listings as tables

if TYPE_CHECKING:
    from prune_heads.store import PredictionStore


def info(
    model: WrittenModel,
    heads: Annotated[
        str, Option(help="Heads to count as removed, counted from 1: '3:1,5 7:2'; or a heads.json. (default: none)")
    ] = "",
    length: Annotated[
        int | None, Option(min=1, help="Number of tokens. (default: 128; for images, as many as in the first layer)")
    ] = None,
) -> Shown:
    """Count parameters and multiply-adds."""
    from prune_heads.anatomy import attention_blocks, head_counts
    from prune_heads.budget import budget
    from prune_heads.studies.reading import read_heads
    from prune_heads.studies.setup import load_model

    classifier = load_model(model, TerminalReporter())
    n_heads = head_counts(attention_blocks(classifier.model))
    counts = budget(classifier.model, read_heads(heads, n_heads), length or classifier.usual_length())
    report = {"model": classifier.name, **counts}
    yield report, tables.info_page(report)


def tasks() -> Shown:
    """List the tasks."""
    yield tables.task_listing()


def criteria() -> Shown:
    """List the criteria, the estimators and the normalisations."""
    yield tables.criterion_listing()


def models() -> Shown:
    """List the model types."""
    from prune_heads.coverage import committed_table

    table = committed_table()
    yield table, tables.model_page(table)


def report(
    run: Annotated[list[Path], Argument(metavar="RUN...", help="Folders that --output made, or their record.json.")],
    output: Annotated[Path, Option("--output", "-o", help="The HTML file.")] = Path("page.html"),
    overwrite: Annotated[bool, Option("--overwrite", help="Replace the file if it is there.")] = False,
) -> Shown:
    """Write a page of the heads of a model."""
    from prune_heads.reporting.page import write_page

    made = write_page(run, output, overwrite=overwrite)
    yield made, tables.page_summary(made)


def doctor(
    paths: Annotated[
        list[Path],
        Argument(metavar="PATH...", help="Scripts, notebooks, configurations (.py .ipynb .json .toml), or folders."),
    ],
) -> Shown:
    """Find head masks of transformers 4; exit code 1 where there are some."""
    from prune_heads.migration import examine

    report = examine(paths)
    yield report, tables.doctor_page(report)
    if report["findings"] or report["unreadable"]:
        raise typer.Exit(1)


def guide(topic: Annotated[str | None, Argument(metavar="TOPIC", help=f"One of {', '.join(TOPICS)}.")] = None) -> Shown:
    """Show a page, or list them."""
    from rich.markdown import Markdown

    from prune_heads.tables.terminal import console

    if topic is not None and topic not in TOPICS:
        raise OptionError(f"TOPIC must be one of {', '.join(TOPICS)}; got {topic!r}")
    listed = "\n".join(f"- `prune-heads guide {each}`: {title(each)}" for each in TOPICS)
    text = page(topic).rstrip() if topic else listed
    yield {"topic": topic, "text": text}, Markdown(text) if console().is_terminal else text


def list_entries(place: Place) -> Shown:
    """List the predictions that are kept, and the jobs that are not finished."""
    from prune_heads.store import unfinished

    opened = _opened(place)
    yield tables.stored(list(opened.entries()), unfinished(opened.objects))


def verify(place: Place) -> Shown:
    """Check every entry bit by bit."""
    report, table = tables.verified(list(_opened(place).entries(thorough=True)))
    yield report, table
    if report["damaged"]:
        got = f"{len(report['damaged'])} of {report['n_entries']} are damaged"
        cure = "They are computed again when they are needed; 'prune-heads store clear --damaged' removes them now"
        raise StoreError(f"every entry must be what was written; {got}. {cure}")


def clear(
    place: Place, damaged: Annotated[bool, Option("--damaged", help="Remove the damaged entries alone.")] = False
) -> Shown:
    """Remove what is kept."""
    yield tables.cleared(*_opened(place).clear(damaged_only=damaged))


def _opened(place: Place) -> "PredictionStore":
    from prune_heads.store import PredictionStore, default_root

    return PredictionStore(place.store or default_root())
