"""Random configurations of a type, and what is tried with each: its sizes, padding, attention and masks."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from prune_heads.anatomy import AttentionBlock, head_counts, units
from prune_heads.coverage.tiny import Padding, Sizes, inputs_for, tiny_model
from prune_heads.heads import HeadMask

_PADDINGS: tuple[Padding, ...] = ("right", "left", "none", "hole")


@dataclass(frozen=True)
class Case:
    """A tiny model of a type and what is done with it, a pure function of its fields."""

    type: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the configuration that are not the type's own defaults."""
    sizes: Sizes = field(default_factory=Sizes)
    padding: Padding = "right"
    n_tokens: int = 9
    attention: str | None = None
    seed: int = 0

    def model(self) -> PreTrainedModel:
        """The model, drawn."""
        return tiny_model(
            self.type, attention=self.attention, seed=self.seed, sizes=self.sizes, **self.changes
        )

    def inputs(self, model: PreTrainedModel) -> dict[str, Tensor]:
        """A batch for it."""
        return inputs_for(model, seed=self.seed, padding=self.padding, n_tokens=self.n_tokens)

    def mask(self, blocks: Sequence[AttentionBlock]) -> HeadMask:
        """Half of all heads at random, all of some block; what shares keys, values or weights goes together."""
        draw = random.Random(self.seed)
        empty = draw.randrange(len(blocks))
        chosen = [
            unit
            for unit in units(blocks, groups=True)
            if draw.random() < 0.5 or empty in {block for block, _ in unit}
        ]
        return HeadMask(head_counts(blocks), frozenset().union(*chosen))


def random_case(model_type: str, seed: int, changes: Mapping[str, Any] | None = None) -> Case:
    """Sizes, padding and kind of attention are drawn; whether the type takes them is for the trial to find."""
    draw = random.Random(f"{model_type} {seed}")
    heads, kv_heads = draw.choice([(4, 2), (4, 4), (6, 2), (6, 3), (3, 3), (3, 1), (2, 2), (5, 5), (8, 2)])
    head_dim = draw.choice([4, 6, 8, 10, 16, 5, 7])
    width = heads * head_dim if draw.random() < 0.6 else draw.choice([24, 32, 40, 48])
    layers = Sizes().layers if changes else draw.choice([2, 3, 4])  # a change may be a list, one item a layer
    sizes = Sizes(width, layers, heads, kv_heads, head_dim, draw.choice([20, 33, 48]))
    padding, n_tokens, attention = (
        draw.choice(_PADDINGS),
        draw.choice([5, 9, 24]),
        draw.choice([None, "eager"]),
    )
    return Case(model_type, changes or {}, sizes, padding, n_tokens, attention, seed)
