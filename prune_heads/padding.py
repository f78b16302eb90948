"""How long texts may be for a model's positions, and padding that does not change any example.

The side of the padding is tried on the model, never assumed.

On the right an absolute position is that of the example alone, and nearly every model agrees. XLNet reads its last
place, so it is padded on the left. Some see the padding on either side (the convolutions of MobileBERT and CANINE,
the landmarks of Nyströmformer), or one example through another (routers of limited capacity): these are given one
example at a time.
"""

import inspect
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from prune_heads.anatomy.locate import models_inside
from prune_heads.errors import UnsupportedModelError, first_line
from prune_heads.gating import evaluating
from prune_heads.objectives.batches import Batches, Ragged

EACH_ALONE = "positions and attention of each example as if it were alone"
"""What `unseen` guarantees. These words are part of every key, so keys do not depend on batches and padding."""

_TRIED = 3
"""Examples of a batch, from the longest to the shortest; all but the longest are run alone too."""

_POSITIONS = ("position_embeddings", "embed_positions", ".wpe")
"""How the names of position embeddings end."""


def n_positions(model: nn.Module) -> int:
    """Tokens that a model, or each model inside it, has positions for: by its configuration and its embeddings.

    RoBERTa's begin after the padding's index, BART's after 2.
    """
    rooms = [
        module.num_embeddings
        - (0 if module.padding_idx is None else module.padding_idx + 1)
        - int(getattr(module, "offset", 0))
        for name, module in model.named_modules()
        if name.endswith(_POSITIONS) and isinstance(module, nn.Embedding)
    ]
    for part in models_inside(model).values():
        config = part.config.get_text_config()
        said = [getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len")]
        rooms += [n for n in said if isinstance(n, int) and n > 0]  # XLNet says -1, for it has no limit
    return min(rooms, default=sys.maxsize)


@torch.no_grad()
def unseen(model: nn.Module, batches: Batches) -> Batches:
    """The same examples, padded so that the logits of each are those of it alone; if need be in batches of one.

    Raises:
        UnsupportedModelError: If the model does not run on an example alone, or says something else of it afterwards.
    """
    ids = batches.inputs.get("input_ids")
    if not isinstance(ids, Ragged):
        return batches  # nothing is padded
    batches = _for_model(model, batches, ids)
    there = np.flatnonzero(batches.n_tokens)
    by_length = there[np.argsort(-batches.n_tokens[there], kind="stable")]
    few = by_length[np.unique(np.linspace(0, len(by_length) - 1, min(_TRIED, len(by_length))).astype(int))]
    if len(few) < 2:
        return batches
    device = next(model.parameters()).device

    def logits(batches: Batches, index: np.ndarray) -> Tensor:
        """What one forward pass says of these examples."""
        batch = batches.batch(index).to(device)
        try:
            return batches.objective.read(model(**batch.inputs), batch)
        except torch.OutOfMemoryError:
            raise
        except (IndexError, RuntimeError, ValueError) as error:
            raise UnsupportedModelError(
                f"a model must run on each example alone; {type(model).__name__} says: {first_line(error)}"
            ) from error

    def alone() -> Tensor:
        return torch.cat([logits(batches, few[i : i + 1]) for i in range(1, len(few))])

    with evaluating(model):
        expected = alone()
        for side in ("right", "left"):
            padded = replace(batches, side=side)
            with suppress(UnsupportedModelError):  # it refuses such a batch, so the other side is tried
                if _near(logits(padded, few)[1:], expected):
                    return padded
        if not _near(alone(), expected):
            raise UnsupportedModelError(
                f"the logits of an example must be a function of the example; those of {type(model).__name__} depend "
                "on what the model was given before. Where its configuration names another kind of attention, take that"
            )
    return replace(batches, batch_size=1, side="none")


def _for_model(model: nn.Module, batches: Batches, ids: Ragged) -> Batches:
    """Filled with the token that the model takes for padding, by which some find the last token of a text."""
    config = getattr(model, "config", None)
    said = getattr(config, "pad_token_id", None)
    n_embedded = getattr(config, "vocab_size", sys.maxsize)  # CANINE has none
    takes = inspect.signature(model.forward).parameters.values()
    inputs = dict(batches.inputs)
    if not any(p.name == "attention_mask" or p.kind is p.VAR_KEYWORD for p in takes):
        del inputs["attention_mask"]
    if isinstance(said, int) and 0 <= said < n_embedded:
        inputs["input_ids"] = replace(ids, fill=said)
    return replace(batches, inputs=inputs)


def _near(found: Tensor, expected: Tensor) -> bool:
    """Up to rounding, of the size of the logits. What is not finite is found where it is used."""
    tolerance = 1e-4 if expected.dtype == torch.float32 else 5e-2
    size = float(expected.nan_to_num(0, 0, 0).abs().max())
    return torch.allclose(found.float(), expected.float(), rtol=0, atol=tolerance * size, equal_nan=True)
