"""Options whose text may be a path: those that say so beside their type, and `--store`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option


@dataclass(frozen=True)
class OrPath:
    """Stands in the annotation of an option whose type is text: which texts are paths."""

    is_path: Callable[[str, Path], bool]
    """Of a text in a file, and the folder of the file."""


def _is_folder(text: str, folder: Path) -> bool:
    from prune_heads.store import is_url  # reads and writes arrays too, which takes a while to import

    return not is_url(text)


JSON_FILE = OrPath(lambda text, folder: text.endswith(".json"))
TOML_FILE = OrPath(lambda text, folder: text.endswith(".toml"))
FOLDER_OR_URL = OrPath(_is_folder)
FOLDER_OR_NAME = OrPath(
    lambda text, folder: text.startswith((".", "~")) or (text != "mini" and (folder / text).is_dir())
)
"""A model: what no folder beside the file is called is a name on the hub, or a path from the working directory."""

STORE_HELP = (
    "Folder where predictions are kept, or a URL such as s3://bucket/prefix. "
    "(default: $PRUNE_HEADS_STORE, else prune-heads/predictions in $XDG_CACHE_HOME, else in ~/.cache)"
)


def store_place(value: str | None) -> str | None:
    """What `--store` names: a URL that can be opened, or the absolute path of a folder.

    Raises:
        StoreError: If it is a URL of no known kind, or the package for its kind is not installed.
    """
    if value is None:
        return None
    from prune_heads.store import objects_at

    return objects_at(value).place


Store = Annotated[str | None, Option(callback=store_place, metavar="PLACE", help=STORE_HELP), FOLDER_OR_URL]
