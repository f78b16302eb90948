"""`prune-heads store list`, `verify`, `clear`: the predictions that are kept."""

from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from prune_heads.cli.groups import Json, grouped, help_alone
from prune_heads.cli.output import show
from prune_heads.errors import StoreError
from prune_heads.options import Place

if TYPE_CHECKING:
    from prune_heads.store import PredictionStore

store = typer.Typer(help="List, verify or clear the predictions that are kept.")
store.callback(invoke_without_command=True)(help_alone)


@store.command("list")
@grouped
def list_entries(place: Place, as_json: Json = False) -> None:
    """List the predictions that are kept, and the jobs that are not finished."""
    from prune_heads.reporting.store import store_report, store_table
    from prune_heads.store import unfinished

    opened = _opened(place)
    report = store_report(list(opened.entries()), unfinished(opened.objects))
    show(report, store_table(report), as_json=as_json)


@store.command("verify")
@grouped
def verify(place: Place, as_json: Json = False) -> None:
    """Check every entry bit by bit; exit code 1 if one is damaged."""
    from prune_heads.reporting.store import verify_report, verify_table

    report = verify_report(list(_opened(place).entries(thorough=True)))
    show(report, verify_table(report), as_json=as_json)
    if report["damaged"]:
        raise StoreError(
            f"every entry must be what was written; {len(report['damaged'])} of {report['n_entries']} are damaged. "
            "They are computed again when they are needed; 'prune-heads store clear --damaged' removes them now"
        )


@store.command("clear")
@grouped
def clear(
    place: Place,
    damaged: Annotated[bool, Option("--damaged", help="Remove the damaged entries alone.")] = False,
    as_json: Json = False,
) -> None:
    """Remove all that is kept: entries, journals of unfinished jobs, and left-over temporary files."""
    from prune_heads.reporting.store import cleared

    n_entries, n_bytes = _opened(place).clear(damaged_only=damaged)
    show({"n_entries": n_entries, "n_bytes": n_bytes}, cleared(n_entries, n_bytes), as_json=as_json)


def _opened(place: Place) -> "PredictionStore":
    from prune_heads.store import PredictionStore, default_root

    return PredictionStore(place.store or default_root())
