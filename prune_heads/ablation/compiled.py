"""Compiled layers: the same arithmetic with weights packed for the machine and element-wise steps fused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from prune_heads.ablation.forward import VariantForward
from prune_heads.errors import PruneHeadsError, first_line

_SHAPES = 8
"""Times that a layer may be compiled anew for other shapes, torch's own default for a function."""


def with_compiled_layers(forward: VariantForward) -> VariantForward:
    """The same forward with each layer compiled by torch.compile on its first call.

    The weights are taken as constants (`freezing`), so the model must not change while it is used.
    """
    n_layers = len(forward.blocks)

    def compiled(layer: torch.nn.Module) -> Callable[..., Any]:
        run = torch.compile(layer.forward, dynamic=True, options={"freezing": True})

        def call(*args: Any, **kwargs: Any) -> Any:
            # All layers share one code object, and torch counts compilations by that.
            with (
                torch.compiler.set_stance("default"),  # the model around the layers runs as it is written
                torch._dynamo.config.patch(recompile_limit=_SHAPES * n_layers),
            ):
                try:
                    return run(*args, **kwargs)
                except torch._dynamo.exc.TorchDynamoException as error:
                    raise PruneHeadsError(
                        f"--compile needs a C++ compiler (g++ or clang) that torch can call; got: {first_line(error)}. "
                        "Leave the option out, or install one"
                    ) from error

        return call

    return replace(forward, compiled=[compiled(block.layer_module) for block in forward.blocks])
