"""`--store`: a folder, or a URL that fsspec knows."""

from typing import Annotated

from typer import Option

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
    from prune_heads.objects import objects_at

    return objects_at(value).place


Store = Annotated[str | None, Option(callback=store_place, metavar="PLACE", help=STORE_HELP)]
