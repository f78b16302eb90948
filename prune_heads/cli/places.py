"""Options whose text may be a path say so beside their type; and `--store`."""

from dataclasses import dataclass
from typing import Annotated

from typer import Option

from prune_heads.options.places import IsPath, folder_or_url
from prune_heads.options.setup import STORE_HELP, store_place


@dataclass(frozen=True)
class OrPath:
    """Stands in the annotation of an option whose type is text: which texts are paths."""

    is_path: IsPath


def _place(value: str | None) -> str | None:
    return None if value is None else store_place(value)


Store = Annotated[
    str | None, Option(callback=_place, metavar="PLACE", help=STORE_HELP), OrPath(folder_or_url)
]
