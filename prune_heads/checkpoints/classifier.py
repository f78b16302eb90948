"""Load a sequence classifier and its tokenizer: from a folder, the hub, or the package itself.

Whatever would make a result wrong without a word is refused: weights that are missing and would be drawn at
random, weights of another shape, pickles that hold more than tensors.
"""

import hashlib
import pickle
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from prune_heads.checkpoints.pruned import HEADS_FILE, load_pruned
from prune_heads.checkpoints.quiet import quiet_transformers
from prune_heads.errors import CheckpointError
from prune_heads.hub import revision_of

BUILT_IN = "mini"
"""`--model mini`: the checkpoints that come with the package, one for each of the mini tasks."""


class Classifier(NamedTuple):
    """A loaded checkpoint."""

    model: PreTrainedModel
    """In evaluation mode."""
    tokenizer: Tokenizer
    name: str
    """Without the path that led to it: records must not depend on where a folder stands."""
    revision: str | None
    """The hub's commit, when it came from there."""


def load_classifier(
    name: str,
    *,
    task: str | None = None,
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
) -> Classifier:
    """Load a model with a sequence classification head.

    Args:
        name: A local folder (also one that `save_pruned` has written), a repository on the hub, or `mini`.
        task: The task's name, by which `mini` finds its checkpoint.
        dtype: Half-precision checkpoints are computed in float32 unless asked otherwise.
        trust_remote_code: Run code that a hub repository brings along.

    Raises:
        CheckpointError: Saying what the checkpoint lacks and what to do.
    """
    source = _source(name, task)
    shown = f"{BUILT_IN}/{task}" if name == BUILT_IN else source.name if isinstance(source, Path) else source
    where: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    revision = offline = None
    if isinstance(source, str):
        try:
            revision = where["revision"] = revision_of(source, "model")
        except Exception as error:  # the kinds vary with the HTTP library below; the cures are the same
            offline, where["local_files_only"] = error, True
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source, **where)
            if isinstance(source, Path) and (source / HEADS_FILE).exists():
                return Classifier(load_pruned(source, dtype=dtype), tokenizer, shown, None)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                source, dtype=dtype, output_loading_info=True, **where
            )
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"a pickled checkpoint must hold tensors only; {shown} holds more, and loading it could run any "
            "code. Convert it to safetensors on a machine where you trust it"
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        if offline is not None:
            raise CheckpointError(
                f"the model must be a local folder, or be on the hub or in its cache; there is no folder {shown}, "
                f"it is not in the cache, and the hub says {type(offline).__name__}: {_first_line(offline)}"
            ) from error
        raise CheckpointError(f"the checkpoint {shown} cannot be loaded: {_first_line(error)}") from error
    if missing := sorted(info["missing_keys"]):
        raise CheckpointError(
            f"a checkpoint must have a trained classification head; {shown} lacks {', '.join(missing[:4])}"
            f"{', ...' if len(missing) > 4 else ''}. Fine-tune it on the task first, or name one that is"
        )
    return Classifier(model.eval(), tokenizer, shown, revision)


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 (hex) of all weights: names, types, shapes and bytes. Independent of file and folder."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _source(name: str, task: str | None) -> Path | str:
    """The folder, or the hub's repository."""
    if name == BUILT_IN:
        folder = Path(str(resources.files("prune_heads.mini") / "checkpoints" / str(task)))
        if not folder.is_dir():
            raise CheckpointError(
                f"the built-in model knows the built-in tasks only, not {task!r}; name a checkpoint fine-tuned on "
                f"it with --model, or take one of {', '.join(sorted(p.name for p in folder.parent.glob('mini-*')))}"
            )
        return folder
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise CheckpointError(f"a checkpoint folder must hold config.json; {folder.name} does not")
        return folder.resolve()
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(
            f"a checkpoint must be an existing folder or a hub name; there is no folder {name}"
        )
    return name


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
