"""How a model is run: in evaluation mode for the length of a with-block, and what it says is read off its output.

What is measured must not depend on what somebody did before.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from prune_heads.errors import UnsupportedModelError


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode; after the block every module is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield model
    finally:
        for module in training:
            module.training = True  # not train(), which speaks for the modules inside too


def logits_of(output: Any) -> Tensor:
    """`(batch, ...)`: the logits that a model gives, as `output.logits`, as `output["logits"]` or as its output.

    One number an example is one logit.

    Raises:
        UnsupportedModelError: If there are none.
    """
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    if isinstance(found, Tensor):
        return found if found.ndim > 1 else found[:, None]
    raise UnsupportedModelError(
        f"a model must give its logits, as a tensor or as the field 'logits' of its output; got "
        f"{type(output).__name__}. Wrap it in a module whose forward returns them"
    )
