"""Finds a checkpoint, and turns errors of reading it (unsafe pickles, damage, no hub) into our own."""

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from prune_heads.checkpoints.quiet import quiet_transformers
from prune_heads.errors import CheckpointError, PruneHeadsError, first_line
from prune_heads.hub import revision_of

BUILT_IN = "mini"
"""`--model mini`: the checkpoints that come with the package, one for each of the mini tasks."""

_KEPT = re.compile(r"(epoch|step)-\d+")
"""Checkpoints that `prune-heads finetune` keeps on its way."""


@contextmanager
def reading(source: Path | str, shown: str, *, trust_remote_code: bool) -> Iterator[dict[str, Any]]:
    """Yield the arguments of `from_pretrained` besides the name; turn errors inside the block into our own.

    Raises:
        CheckpointError: Saying what the checkpoint lacks and what to do.
    """
    where: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    offline = None
    if isinstance(source, str):
        try:
            revision_of(source, "model")
        except Exception as error:  # the kinds vary with the HTTP library below; the cures are the same
            offline, where["local_files_only"] = error, True
    try:
        with quiet_transformers():
            yield where
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"a pickled checkpoint must hold tensors only; {shown} holds more, and loading it could run any "
            "code. Convert it to safetensors on a machine where you trust it"
        ) from error
    except PruneHeadsError:
        raise
    except Exception as error:  # damaged files raise errors of any class
        if offline is not None:
            raise CheckpointError(
                f"the model must be a local folder, or be on the hub or in its cache; there is no folder {shown}, "
                f"it is not in the cache, and the hub says {type(offline).__name__}: {first_line(offline)}"
            ) from error
        raise CheckpointError(
            f"the checkpoint {shown} cannot be loaded: {type(error).__name__}: {first_line(error)}"
        ) from error


def folder_name(folder: Path) -> str:
    """What records call a checkpoint folder: its name; of one that was kept in training, `MODEL/epoch-3`."""
    return f"{folder.parent.name}/{folder.name}" if _KEPT.fullmatch(folder.name) else folder.name


def find(name: str, task: str | None) -> tuple[Path | str, str]:
    """The folder, or the hub's repository; and the name of the checkpoint for records, without a path.

    Raises:
        CheckpointError: If there is no such folder, or it holds no checkpoint.
    """
    source = _source(name, task)
    if name == BUILT_IN:
        return source, BUILT_IN
    return source, folder_name(source) if isinstance(source, Path) else source


def _source(name: str, task: str | None) -> Path | str:
    if name == BUILT_IN:
        folder = Path(str(resources.files("prune_heads.mini") / "checkpoints" / str(task)))
        if not folder.is_dir():
            raise CheckpointError(
                f"the built-in model is for the built-in tasks only, not {task!r}; name a checkpoint fine-tuned on it "
                f"with --model, or take one of {', '.join(sorted(p.name for p in folder.parent.glob('mini-*')))}"
            )
        return folder
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            adapter = (folder / "adapter_config.json").exists()
            cure = ": it is an adapter. Merge it into its model (merge_and_unload of PEFT) and save the result"
            raise CheckpointError(
                f"a checkpoint folder must hold config.json; {folder.resolve().name} does not{cure if adapter else ''}"
            )
        return folder.resolve()
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(f"a checkpoint must be an existing folder or a hub name; there is no folder {name}")
    return name


def folder_of(source: Path | str) -> Path | None:
    """Where the files are that have been read: the folder itself, or the hub's in the cache."""
    if isinstance(source, Path):
        return source
    config = try_to_load_from_cache(source, "config.json")
    return Path(config).parent if isinstance(config, str) else None


def revision_in_cache(source: Path | str) -> str | None:
    """The commit of the hub's files that were read; None for a local folder."""
    folder = None if isinstance(source, Path) else folder_of(source)  # .../snapshots/<commit>
    return None if folder is None else folder.name
