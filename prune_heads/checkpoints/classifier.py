"""Load a sequence classifier and its tokenizer: from a folder, the hub, or the package itself.

Whatever would make a result wrong without a word is refused: weights that are missing and would be drawn at
random, weights of another shape, NaN, pickles that hold more than tensors.
"""

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from prune_heads.checkpoints.linear_maps import use_onednn
from prune_heads.checkpoints.pruned import has_removed_heads, load_pruned
from prune_heads.checkpoints.quiet import quiet_transformers
from prune_heads.errors import CheckpointError, PruneHeadsError, first_line
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
    shown = BUILT_IN if name == BUILT_IN else source.name if isinstance(source, Path) else source
    where: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    offline = None
    if isinstance(source, str):
        try:
            revision_of(source, "model")
        except Exception as error:  # the kinds vary with the HTTP library below; the cures are the same
            offline, where["local_files_only"] = error, True
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source, **where)
            if isinstance(source, Path) and has_removed_heads(source):
                model, info = load_pruned(source, dtype=dtype), {}
            else:
                model, info = AutoModelForSequenceClassification.from_pretrained(
                    source, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **where
                )
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
    _check_weights(model, info, shown)
    _check_tokenizer(tokenizer, model, shown)
    use_onednn(model)
    return Classifier(model.eval(), tokenizer, shown, _revision(source))


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 (hex) of all weights: names, types, shapes and bytes. Independent of file and folder."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _check_weights(model: PreTrainedModel, info: Mapping[str, Any], name: str) -> None:
    """`info` is what transformers reports of loading; empty for a checkpoint that was checked before."""
    if missing := sorted(info.get("missing_keys", ())):
        raise CheckpointError(
            f"a checkpoint must have a trained classification head; {name} lacks {_some(missing)}. "
            "Fine-tune it on the task first, or name one that is"
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


def _revision(source: Path | str) -> str | None:
    """The commit of the hub's files that were read; None for a local folder."""
    if isinstance(source, Path):
        return None
    config = try_to_load_from_cache(source, "config.json")  # .../snapshots/<commit>/config.json
    return Path(config).parent.name if isinstance(config, str) else None


def _check_tokenizer(tokenizer: Tokenizer, model: PreTrainedModel, name: str) -> None:
    n_embeddings = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > n_embeddings:
        raise CheckpointError(
            f"the tokenizer must be the model's own; that of {name} knows {len(tokenizer)} tokens, the model "
            f"{n_embeddings}. Save the tokenizer that the model was trained with into the folder"
        )
    if tokenizer.pad_token is None:
        raise CheckpointError(
            f"the tokenizer must have a padding token, for batches; that of {name} has none. Set pad_token in "
            "its tokenizer_config.json"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


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
            raise CheckpointError(
                f"a checkpoint folder must hold config.json; {folder.resolve().name} does not"
            )
        return folder.resolve()
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(
            f"a checkpoint must be an existing folder or a hub name; there is no folder {name}"
        )
    return name
