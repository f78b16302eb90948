"""One label an image."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig

from prune_heads.checkpoints import Checkpoint, Head
from prune_heads.objectives.base import Asked, Examples
from prune_heads.objectives.batches import Batches, Fixed
from prune_heads.objectives.images import IMAGE_READERS, Picture, Pixels, require_pillow
from prune_heads.objectives.single_label import SingleLabel


@dataclass(frozen=True)
class ImageClassification(SingleLabel):
    """As `SingleLabel`, of images."""

    processing: Mapping[str, Any] = field(default_factory=dict)
    """How images become pixels."""
    dtype: torch.dtype = torch.float32
    """Of the model."""

    name = "image-classification"
    head = Head("AutoModelForImageClassification", "image classification head", reads="image", token=None)
    inputs = ("image",)
    readers = IMAGE_READERS
    reads_one_token = False

    @classmethod
    def input_of(cls, value: object, *, may_be_empty: bool = False) -> Picture:
        """See `Objective`."""
        return Picture.of(value)

    @classmethod
    def head_of(cls, config: PreTrainedConfig, name: str) -> Head:
        """See `Objective`."""
        require_pillow()
        return cls.head

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> bool:
        """A classifier of images; DeiT's with a teacher is one too."""
        return f"For{cls.head.suffix}" in type(checkpoint.model).__name__

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: Asked, **options: Any) -> Self:
        """Match the labels by name; see `Objective` and `match_labels`."""
        bound = super().bind(checkpoint, spec, **options)
        processor = checkpoint.tokenizer
        processing = {"class": type(processor).__name__, **processor.to_dict()}
        return replace(bound, processing=processing, dtype=checkpoint.model.dtype)

    def batches(self, split: Examples, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """A row an image; `tokenizer` is the image processor; see `Objective`."""
        labels = np.asarray(split.columns["label"], dtype=np.int64)
        targets = Fixed(np.asarray(self.model_index, dtype=np.int64)[labels])
        pixels = Pixels(split.columns["image"], tokenizer, self.dtype, split.source)
        return Batches(self, {"pixel_values": pixels}, targets, labels, batch_size)

    def settings(self, model: nn.Module) -> dict[str, Any]:
        """The image processor; one of torchvision gives other pixels than one of Pillow, and has another class."""
        return {"processing": self.processing}
