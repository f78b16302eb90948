"""Linear maps by oneDNN, on CPUs where they are faster than PyTorch's own.

In float32 `torch.nn.functional.linear` calls MKL, which takes its AVX2 path on all AMD processors;
oneDNN, which comes with PyTorch too, takes AVX-512. In bfloat16 both call oneDNN, but PyTorch copies the bias first.
The same products are summed in another order, so results differ by rounding: a loaded model keeps to one choice for
whatever is evaluated, and makes it by the machine alone, so that a run that is resumed there gives the same bytes.
"""

from functools import cache

import torch
from torch import Tensor, nn

_LARGE = 2**14
"""Weights of a map from which on oneDNN's start, 11 us a call, is worth it. By the map, not by the rows that it is
given, so that every evaluation of a model takes the same."""


class OneDnnLinear(nn.Linear):
    """`nn.Linear` that calls oneDNN where that is faster and no gradient is asked for. Its weights stay as they are."""

    def forward(self, input: Tensor) -> Tensor:  # nn.Linear's own name
        """`(..., in_features)` -> `(..., out_features)`."""
        is_faster = input.device.type == "cpu" and input.dtype in _faster_dtypes() and input.numel() > 0
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or not is_faster:
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")


def use_onednn(model: nn.Module) -> None:
    """Let the linear maps of a model call oneDNN where that is faster; elsewhere nothing changes."""
    for module in model.modules():
        # A subclass may compute something else, so it stays.
        if type(module) is nn.Linear and module.weight.numel() >= _LARGE:
            module.__class__ = OneDnnLinear


def use_pytorch(model: nn.Module) -> None:
    """Give a model PyTorch's own linear maps again."""
    for module in model.modules():
        if type(module) is OneDnnLinear:
            module.__class__ = nn.Linear  # type: ignore[assignment]


def kernels() -> dict[str, str]:
    """Which library computes large linear maps of a loaded model on this machine's CPU, by precision."""
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    return {name: "oneDNN" if dtype in _faster_dtypes() else "PyTorch" for name, dtype in dtypes.items()}


@cache
def _faster_dtypes() -> frozenset[torch.dtype]:
    """The precisions in which this machine's CPU is faster by oneDNN."""
    ours = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not hasattr(ours, "_linear_pointwise"):
        return frozenset()
    # The older versions of PyTorch cannot tell the name.
    about = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    is_amd = "AMD" in str(about.get("cpu_name", ""))
    takes_avx512 = is_amd and torch.backends.cpu.get_cpu_capability() == "AVX512"
    is_faster = {torch.bfloat16: ours._is_mkldnn_bf16_supported(), torch.float32: takes_avx512}
    return frozenset(dtype for dtype, faster in is_faster.items() if faster)
