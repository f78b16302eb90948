"""Trials of a model type: random configurations of it, and each variant that its configuration can switch.

python tests/type_survey.py > prune_heads/coverage/table.json
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import combinations
from typing import Any

import torch
from tiny_types import SIZES, Outcome, all_types, inputs_for, row_of, tiny_inputs, tiny_model, try_model
from type_variants import variants

from prune_heads.anatomy import FAMILIES
from prune_heads.checkpoints.loading import quiet_transformers

PADDINGS = ("right", "left", "none", "hole")
"""Where a batch is padded; `hole`: on the right, and a token amid each text is not seen either."""


@dataclass(frozen=True)
class Case:
    """A tiny model of a type and what is done with it, a pure function of its fields."""

    type: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the configuration that are not the type's own defaults."""
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)
    padding: str = "right"
    n_tokens: int = 9
    attention: str | None = None
    seed: int = 0

    def model(self):
        return tiny_model(self.type, attention=self.attention, seed=self.seed, sizes=self.sizes, **self.changes)

    def inputs(self, model):
        inputs = inputs_for(model, seed=self.seed, n_tokens=self.n_tokens)
        if "input_ids" not in inputs:
            return inputs
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        if self.padding == "left":
            for row, n_padded in enumerate((mask == 0).sum(dim=1).tolist()):
                ids[row], mask[row] = ids[row].roll(n_padded), mask[row].roll(n_padded)
        elif self.padding == "none":
            whole = [tiny_inputs(1, self.n_tokens, seed=self.seed + i) for i in range(len(ids))]
            inputs |= {name: torch.cat([each[name] for each in whole]) for name in whole[0]}
        elif self.padding == "hole":
            mask[:, 2] = 0
        return inputs


def random_case(model_type: str, seed: int, changes: Mapping[str, Any] | None = None) -> Case:
    """Sizes, padding and kind of attention are drawn; whether the type takes them is for the trial to find."""
    draw = random.Random(f"{model_type} {seed}")
    heads, kv_heads = draw.choice([(4, 2), (4, 4), (6, 2), (6, 3), (3, 3), (3, 1), (2, 2), (5, 5), (8, 2)])
    head_dim = draw.choice([4, 6, 8, 10, 16, 5, 7])
    width = heads * head_dim if draw.random() < 0.6 else draw.choice([24, 32, 40, 48])
    layers = SIZES["layers"] if changes else draw.choice([2, 3, 4])  # a change may be a list, one item a layer
    sizes = dict(zip(SIZES, (width, layers, heads, kv_heads, head_dim, draw.choice([20, 33, 48])), strict=True))
    padding, n_tokens, attention = (draw.choice(PADDINGS), draw.choice([5, 9, 24]), draw.choice([None, "eager"]))
    return Case(model_type, changes or {}, sizes, padding, n_tokens, attention, seed)


def try_case(case: Case) -> Outcome | None:
    """None where transformers itself cannot build or run its model."""
    return try_model(case.model, case.inputs, seed=case.seed)


@dataclass(frozen=True)
class Survey:
    """What the trials of a type found."""

    row: dict[str, Any]
    """As `row_of` has it, with the variants."""
    faults: list[str] = field(default_factory=list)
    """Each case that gave wrong logits or an error of none of our classes."""


def survey(model_type: str, *, n_random: int = 0) -> Survey:
    """Try a type: its defaults and each of its variants, which make the row, and `n_random` random models."""
    base = try_case(Case(model_type)) if model_type in FAMILIES else None
    row = row_of(model_type, base)
    if base is None:
        return Survey(row)
    faults: list[str] = []
    tried: set[str] = set()
    refused: dict[str, str] = {}
    beside = list(base.mixers)
    with quiet_transformers():
        switches = list(variants(model_type))
    for case in _cases(model_type, switches, tried):
        outcome = try_case(case)
        if outcome is None or _same(outcome, base):
            continue
        tried |= case.changes.keys()
        faults += _told(case, outcome)
        beside += [name for name in outcome.mixers if name not in beside]
        why = _reason(outcome.refused)
        if outcome.refused != base.refused and not (len(case.changes) > 1 and why in refused.values()):
            refused[", ".join(f"{name}={_shown(value)}" for name, value in case.changes.items())] = why
    for seed in range(n_random):
        draw = random.Random(seed)
        chosen = draw.sample(switches, min(len(switches), draw.randrange(3)))
        case = random_case(model_type, seed, {name: value for each in chosen for name, value in each.items()})
        if outcome := try_case(case):
            faults += _told(case, outcome)
    return Survey(
        {**row, "variants": sorted(tried), "refused": refused, "mixers": beside},
        [*_told(Case(model_type), base), *faults],
    )


def _cases(model_type: str, switches: list[dict[str, Any]], tried: set[str]) -> Iterator[Case]:
    """Other masks; each switch; then each two of the Boolean ones that have made a difference by then."""
    yield from (Case(model_type, seed=seed) for seed in range(1, 5))
    yield from (Case(model_type, changes) for changes in switches)
    turned = [change for change in switches for name, x in change.items() if isinstance(x, bool) and name in tried]
    yield from (Case(model_type, one | other) for one, other in combinations(turned, 2))


def _told(case: Case, outcome: Outcome) -> list[str]:
    return [f"{name}: {why} ({case})" for name, why in outcome.faults.items()]


def _reason(refused: Mapping[str, str]) -> str:
    """In one line; what holds for gates holds for the type as a whole."""
    return refused.get("gate") or "; ".join(f"{name}: {why}" for name, why in refused.items())


def _same(outcome: Outcome, base: Outcome) -> bool:
    """Whether a variant makes no difference."""
    return not outcome.faults and outcome.refused == base.refused and torch.equal(outcome.logits, base.logits)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = next((x for x in value.values() if isinstance(x, Mapping)), value)
        return str(inner.get("rope_type"))
    return "/".join(dict.fromkeys(map(str, value))) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    rows = ",\n  ".join(json.dumps(survey(name).row) for name in all_types())
    print(f'{{"transformers": "{version("transformers")}", "models": [\n  {rows}\n]}}')
