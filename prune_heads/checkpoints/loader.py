"""A checkpoint with its tokenizer: loaded with the head that it has, or with a new one to be fine-tuned."""

import copy
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from prune_heads.anatomy import attention_blocks, on_context
from prune_heads.checkpoints import tokenizer
from prune_heads.checkpoints.exported import exported_file, stand_in
from prune_heads.checkpoints.fit import check_class, read_config
from prune_heads.checkpoints.head import Head, HeadOf, Objective, objective_of
from prune_heads.checkpoints.linear_maps import use_onednn
from prune_heads.checkpoints.loading import find, folder_of, reading
from prune_heads.checkpoints.pruned import Draw, read_model, write_pruned
from prune_heads.errors import CheckpointError, first_line


class Checkpoint(NamedTuple):
    """A loaded checkpoint. Its identity is the `fingerprint` of its model; the name is for people."""

    model: PreTrainedModel  # in evaluation mode
    tokenizer: Any  # its tokenizer; of a model of images its image processor
    name: str  # without the path that led to it: records must not depend on where a folder is
    revision: str | None  # the hub's commit, if the files came from there
    notes: tuple[str, ...] = ()  # what was decided because the checkpoint does not say it
    drawn: tuple[str, ...] = ()  # weights that the checkpoint lacks and that were drawn at random, for fine-tuning

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

        Texts of random tokens: three of different lengths, or one where model or tokenizer cannot pad; or one image.
        """
        generator = np.random.default_rng(0)
        if not self.reads_texts:
            config = getattr(self.model.config, "vision_config", self.model.config)  # CLIP's also has one of texts
            size = config.image_size
            height, width = (size, size) if isinstance(size, int) else size
            pixels = generator.standard_normal((1, config.num_channels, height, width))
            return {"pixel_values": torch.from_numpy(pixels).to(self.model.device, self.model.dtype)}
        can_pad = None not in (self.tokenizer.pad_token, getattr(self.model.config, "pad_token_id", None))
        inputs = tokenizer.random_texts(self.tokenizer, (8, 6, 4) if can_pad else (8,), generator)
        if self.objective == "seq2seq":
            inputs["decoder_input_ids"] = inputs["input_ids"]
        return {name: value.to(self.model.device) for name, value in inputs.items()}

    def write(self, folder: Path) -> None:
        """Write model and tokenizer into a folder, which is made if it is not there."""
        folder.mkdir(exist_ok=True)
        write_pruned(self.model, folder)
        tokenizer.write_tokenizer(self.tokenizer, folder)

    @torch.no_grad()
    def usual_length(self) -> int:
        """Tokens that are counted by default: of a model of images those of its first block, which runs for this."""
        blocks = [block for block in attention_blocks(self.model) if block.n_heads]
        if self.reads_texts or not blocks:
            return 128
        sizes: list[int] = []
        with on_context(blocks[0], lambda module, args: sizes.append(args[0].shape[:-1].numel())):
            self.model(**self.probe_inputs())
        return sizes[0]


Learned = tuple[Sequence[str] | None, str]  # labels by name (None for a score), and their `problem_type`


# long: one checkpoint from its name to its last check
def load_checkpoint(
    name: str,
    head: Head | HeadOf,
    *,
    task: str | None = None,
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
    learned: Learned | None = None,
    exported: bool = False,
) -> Checkpoint:
    """Load a model that has a trained head, or one to be fine-tuned.

    A `CheckpointError` says what the checkpoint lacks and what to do.

    Args:
        name: A local folder (also one that `save_pruned` has written), a repository on the hub, or `mini`.
        head: The head that the checkpoint must have; or a function that chooses one by the configuration.
        task: The task's name, by which `mini` finds its checkpoint.
        dtype: Half-precision checkpoints are computed in float32 unless asked otherwise.
        trust_remote_code: Run code that a hub repository brings along.
        learned: What the model is to be fine-tuned for. A head that it has for the same labels by name, in whatever
            order, is kept; any other is drawn anew from PyTorch's generator, which the caller seeds. So is a pooler
            that the checkpoint lacks.
        exported: Whether the folder may be an exported one: the model is then an `Exported`, which can only be run.
    """
    source, shown = find(name, task)
    if (file := exported_file(source)) and not exported:
        must = f"a checkpoint must hold weights that can be read; {shown} holds {file}, which can only be evaluated"
        raise CheckpointError(f"{must}. Name the checkpoint that it was exported from")
    with reading(source, shown, trust_remote_code=trust_remote_code) as where:
        config, raw = read_config(source, shown, where)
        head = under = head if isinstance(head, Head) else head(config, shown)
        draw = None
        if learned is not None:
            under, draw = _new_head(config, head, learned)
        elif head.prepare is None:
            check_class(config, raw, shown, head)
        reader = _read_preprocessor(source, shown, head, where)
        if file:
            model, drawn = stand_in(Path(source), shown, config, file), set[str]()
        else:
            model, drawn = read_model(source, shown, config, under, dtype, where, draw=draw)
    folder, notes = folder_of(source), tokenizer.settle(model, reader, raw, pads=head.token is not None)
    if head.reads == "text":
        tokenizer.check_tokenizer(reader, model, shown, folder, head.token)
    if learned is None:
        use_onednn(model)
        if head.prepare is not None:
            head.prepare(model)
        elif not config.architectures:
            notes = (f"config.json names no class in 'architectures'; {type(model).__name__} is taken", *notes)
    revision = folder.name if folder is not None and isinstance(source, str) else None
    return Checkpoint(model.eval(), reader, shown, revision, notes, tuple(sorted(drawn)))


def _read_preprocessor(source: Path | str, name: str, head: Head, where: dict[str, Any]) -> Any:
    """The tokenizer or image processor, as it is."""
    is_image = head.reads == "image"
    kind = transformers.AutoImageProcessor if is_image else transformers.AutoTokenizer
    files = ("preprocessor_config.json",) if is_image else tokenizer.TOKENIZER_FILES
    try:
        return kind.from_pretrained(source, **where)
    except Exception as error:
        if is_image and isinstance(error, ImportError):
            said = f"the image processor of {name} must be one that can run here; got: {first_line(error)}"
            raise CheckpointError(f"{said}. Install the torchvision that is made for your torch") from error
        if not isinstance(source, Path) or any((source / file).exists() for file in files):
            raise
        raise tokenizer.lacking(name, f"image processor, {files[0]}" if is_image else tokenizer.TOKENIZER) from error


def _new_head(config: Any, head: Head, learned: Learned) -> tuple[Head, Draw]:
    """What must be there under a head that is fine-tuned, and what draws it; the configuration is set to its labels."""
    labels, problem = learned[0], "regression" if learned[0] is None else learned[1]
    classes = config.architectures or ()
    names = sorted(str(name).casefold() for name in config.id2label.values())
    fits = config.num_labels == 1 if labels is None else names == sorted(label.casefold() for label in labels)
    has_head = not classes or any(head.suffix in name for name in classes)
    keeps_head = has_head and fits and config.problem_type in (None, problem)
    if not keeps_head:
        config.id2label = dict(enumerate(labels or ("score",)))
        config.label2id = {label: index for index, label in config.id2label.items()}
        config.problem_type = None if problem == "single_label_classification" else problem
    left_out = []  # the head that the checkpoint has for what it was trained on
    for other in (getattr(transformers, name, None) for name in classes):
        if isinstance(other, type) and issubclass(other, PreTrainedModel):
            with torch.device("meta"):  # names alone
                model = other(copy.deepcopy(config))
            if model.base_model is not model:
                keys = [key for key in model.state_dict() if not key.startswith(f"{model.base_model_prefix}.")]
                left_out += [f"^{re.escape(key)}$" for key in keys]
    pretrained = objective_of(config) or any("PreTraining" in name for name in classes)
    under = replace(head, name="model under its head", unused=(*head.unused, *left_out))
    return under, partial(_draw, anew=not (keeps_head or pretrained))


@torch.no_grad()
def _draw(model: PreTrainedModel, info: dict[str, Any], *, anew: bool) -> set[str]:
    """What the checkpoint lacks outside the model proper or in its pooler, and the head, if that is drawn anew."""
    base = f"{model.base_model_prefix}."
    lacking = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    drawn = {key for key in lacking if not key.startswith(base) or ".pooler." in key}
    for name, module in model.named_modules():
        own = {f"{name}.{key}": weight for key, weight in module.named_parameters(recurse=False)}
        if anew and name and not f"{name}.".startswith(base) and not own.keys() <= drawn:
            for weight in own.values():
                weight._is_hf_initialized = False  # transformers guards what it has loaded
            model._init_weights(module)
            drawn |= own.keys()
    return drawn


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 (hex) of all weights: names, types, shapes and bytes. Independent of file and folder."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
