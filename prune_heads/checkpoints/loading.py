"""Where a checkpoint is, what goes wrong in reading it, and what its weights and tokenizer must be.

Whatever would make a result wrong without a word is refused: weights that are missing and would be drawn at
random, weights of another shape, NaN, pickles that hold more than tensors.
"""

import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from prune_heads.checkpoints.quiet import quiet_transformers
from prune_heads.errors import CheckpointError, PruneHeadsError, first_line
from prune_heads.hub import revision_of

BUILT_IN = "mini"
"""`--model mini`: the checkpoints that come with the package, one for each of the mini tasks."""

_KEPT = re.compile(r"(epoch|step)-\d+")
"""Checkpoints that `prune-heads finetune` keeps on its way."""


@contextmanager
def reading(source: Path | str, shown: str, *, trust_remote_code: bool) -> Iterator[dict[str, Any]]:
    """Gives what `from_pretrained` needs beside the name; what goes wrong inside the block becomes ours.

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
    except Exception as error:  # the libraries raise whatever they stumble over in a damaged file
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
                f"the built-in model knows the built-in tasks only, not {task!r}; name a checkpoint fine-tuned on "
                f"it with --model, or take one of {', '.join(sorted(p.name for p in folder.parent.glob('mini-*')))}"
            )
        return folder
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise CheckpointError(
                f"a checkpoint folder must hold config.json; {folder.resolve().name} does not"
            )
        return folder.resolve()
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(
            f"a checkpoint must be an existing folder or a hub name; there is no folder {name}"
        )
    return name


def check_weights(
    model: PreTrainedModel,
    info: Mapping[str, Any],
    name: str,
    *,
    head: str = "classification head",
    cure: str = "Fine-tune it on the task first, or name one that is",
) -> None:
    """Refuse weights that are not there, of another shape, or not finite; and have the model compute in one piece.

    Args:
        model: As loaded.
        info: What transformers reports of loading; empty for a checkpoint that was checked before.
        name: Of the checkpoint.
        head: What is trained on top of the model.
        cure: For a checkpoint that lacks it.

    Raises:
        CheckpointError: Naming the weights.
    """
    for module in model.modules():  # feed-forward layers in chunks refuse texts that are no multiple of these
        if hasattr(module, "chunk_size_feed_forward"):
            module.chunk_size_feed_forward = 0
    if missing := sorted(info.get("missing_keys", ())):
        raise CheckpointError(
            f"a checkpoint must have a trained {head}; {name} lacks {_some(missing)}. {cure}"
        )
    for key, there, wanted in sorted(info.get("mismatched_keys", ())):
        raise CheckpointError(
            f"the weights of {name} must have the shapes of its config.json; {key} has {tuple(there)}, not "
            f"{tuple(wanted)}. Name a checkpoint whose files belong together"
        )
    if broken := [key for key, weights in model.named_parameters() if not weights.isfinite().all()]:
        raise CheckpointError(
            f"the weights of a checkpoint must be finite; {name} has NaN or infinity in {_some(broken)}. "
            "Try --dtype float32, or save the checkpoint anew"
        )


def check_tokenizer(tokenizer: Tokenizer, model: PreTrainedModel, name: str, *, token: str | None) -> None:
    """Refuse a tokenizer of another model, or one without the special token that is needed (`pad` or `mask`).

    Raises:
        CheckpointError: Saying which.
    """
    n_embeddings = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > n_embeddings:
        raise CheckpointError(
            f"the tokenizer must be the model's own; that of {name} knows {len(tokenizer)} tokens, the model "
            f"{n_embeddings}. Save the tokenizer that the model was trained with into the folder"
        )
    uses = {"pad": "a padding token, for batches", "mask": "a mask token, for the tokens to predict"}
    if token is not None and getattr(tokenizer, f"{token}_token") is None:
        raise CheckpointError(
            f"the tokenizer must have {uses[token]}; that of {name} has none. Set {token}_token in "
            "its tokenizer_config.json"
        )


def revision_in_cache(source: Path | str) -> str | None:
    """The commit of the hub's files that were read; None for a local folder."""
    if isinstance(source, Path):
        return None
    config = try_to_load_from_cache(source, "config.json")  # .../snapshots/<commit>/config.json
    return Path(config).parent.name if isinstance(config, str) else None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
