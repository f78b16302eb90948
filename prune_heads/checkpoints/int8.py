"""Models in 8 bits for PyTorch on a CPU: weights as whole numbers with a scale an output; nothing is calibrated.

Rows that come into a map are rounded while it runs, each by its own largest value, so that examples of a batch do not
matter to each other. One scale for all rows, as `quantize_dynamic` has, was three times as far off (results/LOG.md).
"""

from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from prune_heads.checkpoints.linear_maps import OneDnnLinear
from prune_heads.checkpoints.loading import INT8_FILE
from prune_heads.errors import CheckpointError, first_line


class _Int8(nn.Module):
    """A matrix W in 8 bits: W[i] is `scale[i] * codes[i]`, up to half a scale."""

    codes: Tensor  # `(n_outputs, n_inputs)`, or `(n_vectors, width)`
    scale: Tensor  # `(n_outputs, 1)`

    def __init__(self, of: Any) -> None:
        super().__init__()
        self.is_turned, self.bias = isinstance(of, Conv1D), getattr(of, "bias", None)
        codes, scale = rounded(of.weight.detach().T if self.is_turned else of.weight.detach())
        self.register_buffer("codes", codes.contiguous())
        self.register_buffer("scale", scale)

    @property
    def weight(self) -> Tensor:
        """The matrix, for models that read it past the forward."""
        return (self.codes * self.scale).T if self.is_turned else self.codes * self.scale


class Int8Linear(_Int8):
    """`x W^T + b`."""

    def forward(self, input: Tensor) -> Tensor:  # nn.Linear's own name
        """`(..., n_inputs)` -> `(..., n_outputs)`."""
        codes, scale = rounded(input.reshape(-1, input.shape[-1]))
        mapped = torch._int_mm(codes, self.codes.T).float().mul_(scale)  # whole numbers times others are slow
        mapped = mapped * self.scale.T if self.bias is None else torch.addcmul(self.bias, mapped, self.scale.T)
        return mapped.reshape(*input.shape[:-1], -1)


class Int8Embedding(_Int8):
    """A table of vectors."""

    def forward(self, input: Tensor) -> Tensor:  # nn.Embedding's own name
        """`(...)` numbers -> `(..., width)`."""
        return self.codes[input] * self.scale[input]


def rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows `(n, width)` as codes from -127 to 127 and their scales `(n, 1)`: x is about code times scale."""
    scale = (x.abs().amax(1, keepdim=True) / 127).clamp(min=torch.finfo(torch.float32).tiny)  # that of a row of zeros
    return (x / scale).round_().to(torch.int8), scale


_MADE = {nn.Linear: Int8Linear, OneDnnLinear: Int8Linear, Conv1D: Int8Linear, nn.Embedding: Int8Embedding}


def to_int8(model: nn.Module) -> None:
    """Turn the linear maps and embeddings of a model into 8 bits, in place; those of other classes stay as they are."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) in _MADE and cast(Tensor, child.weight).numel():  # a layer may have no heads
                setattr(module, name, _MADE[type(child)](child))


def write_int8(model: PreTrainedModel, folder: Path) -> None:
    """Write a model whose maps are in 8 bits already, and its configuration, for `read_int8`."""
    save_file({name: x.detach().clone() for name, x in model.state_dict().items()}, folder / INT8_FILE)
    model.config.save_pretrained(folder)


def read_int8(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Fill a float32 model of these shapes with what `write_int8` wrote; a `CheckpointError` if that does not fit."""
    to_int8(model)
    try:
        with safe_open(folder / INT8_FILE, "pt") as file:
            model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except Exception as error:  # safetensors' own, or of a weight that is lacking or of another shape
        must = f"{INT8_FILE} of {folder.name} must hold the weights of its config.json"
        raise CheckpointError(f"{must}; {first_line(error)}. Export the model again") from error
    return model.eval()
