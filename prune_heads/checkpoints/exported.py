"""Exported models, evaluated as they are: a file computes, and the model around it tells no more than the shapes."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from prune_heads.checkpoints.loading import EXPORTED, ONNX_FILE
from prune_heads.checkpoints.onnx import open_onnx
from prune_heads.checkpoints.pruned import built, load_pruned
from prune_heads.files import read_bytes


class Exported:
    """Of a model that computes by a file: no weight can be read here, and no head gated or removed."""

    folder: Path
    file: str  # one of `EXPORTED`

    @cached_property
    def compute(self) -> Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]:
        """Inputs by name -> outputs by name; opened at first use, when it is settled how many threads there are."""
        if self.file == ONNX_FILE:
            return open_onnx(self.folder)
        model = load_pruned(self.folder)
        return lambda inputs: {name: x for name, x in model(**inputs).items() if isinstance(x, Tensor)}

    def forward(self, **inputs: Any) -> SimpleNamespace:
        """The outputs as attributes, `(batch, ...)` each."""
        return SimpleNamespace(**self.compute({name: x for name, x in inputs.items() if isinstance(x, Tensor)}))

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Tensor]:
        """The bytes of the files, by which it is known."""
        files = sorted(self.folder.glob(f"{self.file}*"))  # a large one has its weights beside it
        return {x.name: torch.frombuffer(bytearray(read_bytes(x, "a model")), dtype=torch.uint8) for x in files}


def exported_file(source: Path | str) -> str | None:
    """The exported file of a folder that holds no weights of transformers' own; None for any other."""
    if not isinstance(source, Path) or [*source.glob("model.safetensors*"), *source.glob("pytorch_model.bin*")]:
        return None
    return next((file for file in EXPORTED if (source / file).is_file()), None)


def stand_in(folder: Path, name: str, config: PreTrainedConfig, file: str) -> PreTrainedModel:
    """A model of the class and the shapes of an exported one, which takes no memory and computes by the file."""
    with torch.device("meta"):
        model: Any = built(folder, name, config)
    model._apply(lambda x: torch.zeros((), dtype=x.dtype).expand(x.shape))
    kind = type(model)
    model.__class__ = type(kind.__name__, (Exported, kind), {"__module__": kind.__module__})
    model.folder, model.file = folder, file
    return cast(PreTrainedModel, model)
