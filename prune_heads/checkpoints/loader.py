"""A checkpoint with its tokenizer: loaded by one function, whatever head its model has."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from prune_heads.anatomy import attention_blocks
from prune_heads.anatomy.context import on_context
from prune_heads.checkpoints.fit import check_class, check_weights, read_config
from prune_heads.checkpoints.head import Head, HeadOf
from prune_heads.checkpoints.language_model import Objective, objective_of
from prune_heads.checkpoints.linear_maps import use_onednn
from prune_heads.checkpoints.loading import find, folder_of, reading, revision_in_cache
from prune_heads.checkpoints.pruned import has_removed_heads, load_pruned
from prune_heads.checkpoints.random_texts import random_texts
from prune_heads.checkpoints.tokenizer import check_tokenizer, load_tokenizer, settle
from prune_heads.checkpoints.weight_files import check_weight_files
from prune_heads.errors import CheckpointError, first_line

_PROBE_LENGTHS = (8, 6, 4)
"""Tokens of the texts of a proof, special ones included."""


class Checkpoint(NamedTuple):
    """A loaded checkpoint. Its identity is the `fingerprint` of its model; the name is for people."""

    model: PreTrainedModel
    """In evaluation mode."""
    tokenizer: Any
    """Its tokenizer; of a model of images its image processor."""
    name: str
    """Without the path that led to it: records must not depend on where a folder is."""
    revision: str | None
    """The hub's commit, if the files came from there."""
    notes: tuple[str, ...] = ()
    """What was decided because the checkpoint does not say it."""
    drawn: tuple[str, ...] = ()
    """Weights that the checkpoint lacks and that were drawn at random, for fine-tuning."""

    @property
    def objective(self) -> Objective | None:
        """What a language model was trained to predict; None for a classifier."""
        return objective_of(getattr(self.model, "config", None), type(self.model).__name__)

    @property
    def reads_texts(self) -> bool:
        """Whether what prepares its inputs is a tokenizer, and no image processor."""
        return hasattr(self.tokenizer, "pad_token")

    def probe_inputs(self) -> dict[str, Tensor]:
        """Random inputs, always the same, for which the model gives its logits: `(n_examples, ...)` a field.

        Texts of random tokens: three of different lengths, or one where model or tokenizer cannot pad. Or one image.
        """
        generator = np.random.default_rng(0)
        if not self.reads_texts:
            size = self.model.config.image_size
            height, width = (size, size) if isinstance(size, int) else size
            pixels = generator.standard_normal((1, self.model.config.num_channels, height, width))
            return {"pixel_values": torch.from_numpy(pixels).to(self.model.device, self.model.dtype)}
        can_pad = None not in (self.tokenizer.pad_token, getattr(self.model.config, "pad_token_id", None))
        inputs = random_texts(self.tokenizer, _PROBE_LENGTHS if can_pad else _PROBE_LENGTHS[:1], generator)
        if self.objective == "seq2seq":
            inputs["decoder_input_ids"] = inputs["input_ids"]
        return {name: value.to(self.model.device) for name, value in inputs.items()}

    @torch.no_grad()
    def usual_length(self) -> int:
        """Tokens that are counted by default: of a model of images those of its first block, which runs for this."""
        blocks = [block for block in attention_blocks(self.model) if block.n_heads]
        if self.reads_texts or not blocks:
            return 128
        sizes: list[int] = []
        remove = on_context(blocks[0], lambda module, args: sizes.append(args[0].shape[:-1].numel()))
        try:
            self.model(**self.probe_inputs())
        finally:
            remove()
        return sizes[0]


def load_checkpoint(
    name: str,
    head: Head | HeadOf,
    *,
    task: str | None = None,
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
) -> Checkpoint:
    """Load a model that has a trained head.

    Args:
        name: A local folder (also one that `save_pruned` has written), a repository on the hub, or `mini`.
        head: The head that the checkpoint must have; or a function that chooses one by the configuration.
        task: The task's name, by which `mini` finds its checkpoint.
        dtype: Half-precision checkpoints are computed in float32 unless asked otherwise.
        trust_remote_code: Run code that a hub repository brings along.

    Raises:
        CheckpointError: Saying what the checkpoint lacks and what to do.
    """
    source, shown = find(name, task)
    with reading(source, shown, trust_remote_code=trust_remote_code) as where:
        config, raw = read_config(source, shown, where)
        wanted = head if isinstance(head, Head) else head(config, shown)
        if wanted.prepare is None:
            check_class(config, raw, shown, wanted.suffix, wanted.name)
        reader = read_preprocessor(source, shown, wanted, where)
        if isinstance(source, Path) and has_removed_heads(source):
            model = load_pruned(source, dtype=dtype)
        else:
            model, info, stored = read_model(source, shown, config, wanted, dtype, where)
            check_weights(model, info, shown, stored=stored, unused=wanted.unused, head=wanted.name, cure=wanted.cure)
    loaded = finished(model, reader, source, shown, raw, wanted)
    use_onednn(model)
    if wanted.prepare is not None:
        wanted.prepare(model)
    elif not config.architectures:
        note = f"config.json names no class in 'architectures'; {type(model).__name__} is taken"
        loaded = loaded._replace(notes=(note, *loaded.notes))
    return loaded


def read_preprocessor(source: Path | str, name: str, head: Head, where: dict[str, Any]) -> Any:
    """The tokenizer or image processor, as it is."""
    if head.reads == "image":
        return _image_processor(source, name, where)
    return load_tokenizer(source, name, where)


def _image_processor(source: Path | str, name: str, where: dict[str, Any]) -> Any:
    try:
        return transformers.AutoImageProcessor.from_pretrained(source, **where)
    except ImportError as error:
        raise CheckpointError(
            f"the image processor of {name} must be one that the installed packages can run; transformers says: "
            f"{first_line(error)}. Install the torchvision that is made for your torch"
        ) from error
    except (OSError, ValueError) as error:
        if isinstance(source, Path) and not (source / "preprocessor_config.json").is_file():
            raise CheckpointError(
                f"a checkpoint must hold its image processor, preprocessor_config.json; {name} holds none. Copy the "
                "file of the checkpoint that the model was trained from into the folder"
            ) from error
        raise


def read_model(
    source: Path | str, name: str, config: PreTrainedConfig, head: Head, dtype: torch.dtype, where: dict[str, Any]
) -> tuple[PreTrainedModel, dict[str, Any], dict[str, str]]:
    """The model, what transformers reports of loading it, and the types of the tensors in the files: unchecked."""
    stored = check_weight_files(source if isinstance(source, Path) else None, name)
    model, info = getattr(transformers, head.auto).from_pretrained(
        source, config=config, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **where
    )
    return model, info, stored or check_weight_files(folder_of(source), name)


def finished(
    model: PreTrainedModel, reader: Any, source: Path | str, name: str, raw: Mapping[str, Any], head: Head
) -> Checkpoint:
    """The checkpoint in evaluation mode, with its tokenizer checked and what was left open settled."""
    notes = settle(model, reader, raw, pads=head.token is not None)
    if head.reads == "text":
        check_tokenizer(reader, model, name, folder=folder_of(source), token=head.token)
    return Checkpoint(model.eval(), reader, name, revision_in_cache(source), notes)


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 (hex) of all weights: names, types, shapes and bytes. Independent of file and folder."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
