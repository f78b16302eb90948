"""Random configurations of a type, and what is tried with each: its sizes, padding, attention and masks."""

import random
from collections.abc import Iterator, Mapping, Sequence
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
    attention: str | None = None
    seed: int = 0

    def model(self) -> PreTrainedModel:
        """The model, drawn."""
        return tiny_model(
            self.type, attention=self.attention, seed=self.seed, sizes=self.sizes, **self.changes
        )

    def inputs(self, model: PreTrainedModel) -> dict[str, Tensor]:
        """A batch for it."""
        return inputs_for(model, seed=self.seed, padding=self.padding)

    def masks(self, blocks: Sequence[AttentionBlock]) -> Iterator[HeadMask]:
        """One group of heads of each block, all heads of the second; and a random half of all groups, one block empty.

        What shares keys, values or weights is pruned together, so that it can be removed.
        """
        draw, counts = random.Random(self.seed), head_counts(blocks)
        together = units(blocks, groups=True)
        first = {min(block for block, _ in unit): unit for unit in reversed(together)}
        second = [unit for unit in together if len(blocks) > 2 and {1} == {block for block, _ in unit}]
        yield HeadMask(counts, frozenset().union(*first.values(), *second))
        empty = draw.randrange(len(blocks))
        chosen = [
            unit for unit in together if draw.random() < 0.5 or any(block == empty for block, _ in unit)
        ]
        yield HeadMask(counts, frozenset().union(*chosen))


def random_case(model_type: str, seed: int, changes: Mapping[str, Any] | None = None) -> Case:
    """Sizes, padding and kind of attention are drawn; whether the type takes them is for the trial to find."""
    draw = random.Random(f"{model_type} {seed}")
    heads, kv_heads = draw.choice([(4, 2), (4, 4), (6, 2), (6, 3), (3, 3), (3, 1), (2, 2), (5, 5), (8, 2)])
    head_dim = draw.choice([4, 6, 8, 10, 16, 5, 7])
    width = heads * head_dim if draw.random() < 0.6 else draw.choice([24, 32, 40, 48])
    sizes = Sizes(width, draw.choice([2, 3, 4]), heads, kv_heads, head_dim, draw.choice([20, 33, 48]))
    attention = draw.choice([None, "eager"])
    return Case(model_type, changes or {}, sizes, draw.choice(_PADDINGS), attention, seed)
