"""Finds a checkpoint, and turns errors of reading it (unsafe pickles, damage, no hub) into a `CheckpointError`."""

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from transformers.utils import logging

from prune_heads.errors import CheckpointError, PruneHeadsError, TaskError, first_line
from prune_heads.hub import revision_of

ONNX_FILE, INT8_FILE = EXPORTED = ("model.onnx", "int8.safetensors")  # in place of weights for transformers
BUILT_IN = "mini"  # `--model mini`: the checkpoints that come with the package, one for each of the mini tasks


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' bars, warnings and load reports: what it found is checked and said by us."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def reading(source: Path | str, shown: str, *, trust_remote_code: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the arguments of `from_pretrained` besides the name; turn errors inside the block into our own."""
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
    except (CheckpointError, TaskError):
        raise
    except pickle.UnpicklingError as error:
        must = f"a pickled checkpoint must hold tensors only; {shown} holds more, and loading it could run any code"
        raise CheckpointError(f"{must}. Convert it to safetensors on a machine where you trust it") from error
    except Exception as error:  # damaged files raise errors of any class
        cause = str(error) if isinstance(error, PruneHeadsError) else f"{type(error).__name__}: {first_line(error)}"
        said = f"the checkpoint {shown} cannot be loaded: {cause}"
        if offline is not None and not isinstance(error, PruneHeadsError):
            must = f"the model must be a local folder, or be on the hub or in its cache; there is no folder {shown}"
            said = f"{must}, it is not in the cache, and the hub says {type(offline).__name__}: {first_line(offline)}"
        raise CheckpointError(said) from error


def folder_at(name: str) -> Path:
    """The folder that a name stands for; also by an exported file in it, such as `out/model.onnx`."""
    path = Path(name).expanduser()
    return path.parent if path.name in EXPORTED and path.is_file() else path


def folder_name(folder: Path) -> str:
    """What records call a checkpoint folder: its name; of one that a run kept `RUN/checkpoint`, or `MODEL/epoch-3`."""
    is_kept = re.fullmatch(r"checkpoint|(epoch|step)-\d+", folder.name)
    return f"{folder.parent.name}/{folder.name}" if is_kept else folder.name


def find(name: str, task: str | None) -> tuple[Path | str, str]:
    """The folder, or the hub's repository; and the name of the checkpoint for records, without a path."""
    if name == BUILT_IN:
        folder = Path(str(resources.files("prune_heads.mini") / "checkpoints" / str(task)))
        if not folder.is_dir():
            tasks = ", ".join(sorted(each.name for each in folder.parent.glob("mini-*")))
            cure = f"name a checkpoint fine-tuned on it with --model, or take one of {tasks}"
            raise CheckpointError(f"the built-in model is for the built-in tasks only, not {task!r}; {cure}")
        return folder, BUILT_IN
    folder = folder_at(name)
    if folder.is_dir():
        folder = folder.resolve()
        if not (folder / "config.json").exists():
            cure = "Name that of a whole model; merge an adapter into its own first (merge_and_unload of PEFT)"
            if (folder / "checkpoint" / "config.json").exists():  # in the output of `run` and `prune`
                cure = f"Name {Path(name) / 'checkpoint'}"
            raise CheckpointError(f"a checkpoint folder must hold config.json; {folder.name} does not. {cure}")
        return folder, folder_name(folder)
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(f"a checkpoint must be an existing folder or a hub name; there is no folder {name}")
    return name, name


def folder_of(source: Path | str) -> Path | None:
    """Where the files are that have been read: the folder itself, or the hub's in the cache, named by its commit."""
    if isinstance(source, Path):
        return source
    config = try_to_load_from_cache(source, "config.json")  # .../snapshots/<commit>/config.json
    return Path(config).parent if isinstance(config, str) else None
