"""W_Q, W_K, W_V and W_O: linear maps, or parameters of the attention module itself."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from prune_heads.errors import UnsupportedModelError


class Owned(NamedTuple):
    """What some heads own of one weight or bias."""

    module: nn.Module
    name: str
    """Of the tensor in the module."""
    dim: int
    """Dimension of the tensor, as it is stored, along which heads share it."""
    indices: list[int]
    """What is the heads' in that dimension."""

    @property
    def tensor(self) -> Tensor:
        """The whole weight."""
        return cast(Tensor, getattr(self.module, self.name))

    @property
    def n_parameters(self) -> int:
        """Elements of the weight that are these heads'."""
        return len(self.indices) * self.tensor.numel() // self.tensor.shape[self.dim] if self.indices else 0


@dataclass(frozen=True)
class Projection:
    """W_Q, W_K, W_V or W_O of a block: a linear map, and the dimensions of it that each head owns.

    Several projections may be one module, where a model fuses them.
    """

    module: nn.Module
    heads: tuple[range, ...]
    """For each head its outputs of W_Q, W_K and W_V, its inputs of W_O. W_K and W_V: for each key and value head."""
    names: tuple[str, str] = ("weight", "bias")
    """Of its weight and its bias in the module."""
    turned: bool = False
    """Whether the weight is kept as `(inputs, outputs)`."""

    @classmethod
    def of(cls, module: nn.Module) -> "Projection":
        """A linear map as a whole, whoever owns its dimensions."""
        return cls(module, (), turned=isinstance(module, Conv1D))

    @property
    def weight(self) -> Tensor:
        """`(outputs, inputs)`; a view, also of one that is kept the other way round, or head by head."""
        weight = cast(Tensor, getattr(self.module, self.names[0])).flatten(1)
        return weight.T if self.turned else weight

    @property
    def bias(self) -> Tensor | None:
        """`(outputs,)`, where there is one."""
        return cast(Tensor | None, getattr(self.module, self.names[1], None))

    @property
    def is_own(self) -> bool:
        """Whether the module is this projection and nothing else, head after head."""
        size = self.heads[0].stop if self.heads else 0
        in_turn = all(dims == range(i * size, (i + 1) * size) for i, dims in enumerate(self.heads))
        return isinstance(self.module, nn.Linear) and in_turn and len(self.heads) * size in self.weight.shape

    def dimensions(self, heads: Iterable[int]) -> Tensor:
        """What these heads (places, from 0) own together, in order: `(n,)` indices."""
        return torch.tensor(self._indices(heads), dtype=torch.long, device=self.weight.device)

    def owned(self, heads: Collection[int], *, inputs: bool = False) -> Iterator[Owned]:
        """What these heads own: outputs with their biases; inputs of W_O."""
        weight, bias = self.names
        stored, dims = cast(Tensor, getattr(self.module, weight)), self._indices(heads)
        # A weight of three dimensions is `(width, heads, dimensions)`.
        yield Owned(self.module, weight, int(inputs ^ self.turned), list(heads) if stored.ndim == 3 else dims)
        if not inputs and self.bias is not None:
            yield Owned(self.module, bias, 0, dims)

    def _indices(self, heads: Iterable[int]) -> list[int]:
        return [i for head in heads for i in self.heads[head]]


def find_projection(block: nn.Module, path: str, name: str, *, gives_output: bool = False) -> Projection:
    """What stands at a path of an attention module, without the heads that own it.

    Args:
        block: The attention module.
        path: A linear map, or a parameter: a matrix with its bias beside it (`in_proj_weight`, `in_proj_bias`), or
            `(width, heads, dimensions)`.
        name: Of the attention module, for errors.
        gives_output: Whether it is W_O, whose inputs are the heads' dimensions.

    Raises:
        UnsupportedModelError: If there is something else, or nothing.
    """
    thing = _get(block, path)
    thing = written(thing) if isinstance(thing, nn.Module) else thing
    if isinstance(thing, Tensor) and thing.ndim in (2, 3):
        holder, _, own = path.rpartition(".")
        names = (own, own.replace("weight", "bias") if "weight" in own else "")
        return Projection(block.get_submodule(holder), (), names, turned=thing.ndim == 3 and not gives_output)
    weight = getattr(thing, "weight", None)
    if not isinstance(thing, nn.Linear | Conv1D) or not isinstance(weight, Tensor):
        came = "nothing" if thing is None else f"{type(thing).__module__}.{type(thing).__name__}"
        raise UnsupportedModelError(
            f"{name}.{path} must be a torch.nn.Linear or a Conv1D; got {came}. Merge adapters into the model, and "
            "load it without quantisation"
        )
    if weight.ndim != 2 or not weight.is_floating_point():
        raise UnsupportedModelError(
            f"{name}.{path} must have a plain matrix as its weight; got {type(weight).__name__} of {weight.dtype}, "
            f"{tuple(weight.shape)}. Load the model without quantisation"
        )
    return Projection.of(thing)


def written(module: nn.Module) -> nn.Module:
    """The module that torch.compile has put a wrapper around; the module itself where there is none."""
    # Not getattr: a missing attribute of a module takes longer than all else that is done with it here.
    return cast(nn.Module, module._orig_mod if "_orig_mod" in vars(module).get("_modules", ()) else module)


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a model under the names that they have before anything is compiled; wrappers are left out."""
    for name, module in model.named_modules():
        if written(module) is module:
            yield ".".join(part for part in name.split(".") if part != "_orig_mod"), module


def has(module: nn.Module, path: str) -> bool:
    """Whether the path leads to a module."""
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


def there(module: nn.Module, paths: str) -> str:
    """The first of the alternatives that is there; the last where none is."""
    *first, last = paths.split("|")
    return next((path for path in first if has(module, path)), last)


def _get(module: nn.Module, path: str) -> object:
    """The module or parameter at a path; None where there is nothing."""
    holder, _, own = path.rpartition(".")
    return getattr(module.get_submodule(holder), own, None) if not holder or has(module, holder) else None
