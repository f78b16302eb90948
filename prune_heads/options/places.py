"""Options whose text may be a path: which texts are one."""

from collections.abc import Callable
from pathlib import Path

IsPath = Callable[[str, Path], bool]
"""Of a text in a file, and the folder of the file."""


def json_file(text: str, folder: Path) -> bool:
    """Heads, or the file that names them."""
    return text.endswith(".json")


def of_file(text: str, folder: Path) -> bool:
    """A function, or the file that it stands in."""
    return ".py:" in text


def toml_file(text: str, folder: Path) -> bool:
    """A task, or the file that describes it."""
    return text.endswith(".toml")


def folder_or_name(text: str, folder: Path) -> bool:
    """A model. What no folder beside the file is called is a name on the hub, or a path from the working directory."""
    return text.startswith((".", "~")) or (text != "mini" and (folder / text).is_dir())


def folder_or_url(text: str, folder: Path) -> bool:
    """A store."""
    from prune_heads.store import is_url  # reads and writes arrays too, which takes a while to import

    return not is_url(text)
