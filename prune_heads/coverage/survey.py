"""The table of model types, made by trying each: its defaults, its variants, and random ones."""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import combinations
from typing import Any

import torch
from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto

from prune_heads.anatomy import FAMILIES, UNKNOWN
from prune_heads.checkpoints.quiet import quiet_transformers
from prune_heads.coverage.cases import Case, random_case
from prune_heads.coverage.trial import Outcome, try_case
from prune_heads.coverage.variants import variants
from prune_heads.progress import Progress, silent

CAN = ("gate", "zero", "remove")


@dataclass(frozen=True)
class Survey:
    """What the trials of a type found."""

    row: dict[str, Any]
    """`type`; whether it is a `classifier` of texts; whether `gate`, `zero` and `remove` are exact, and the `reason`
    where not; the `variants` that were tried, by the fields of the configuration; those of them that are `refused`, and
    why; the `mixers`, by which tokens see each other beside the heads."""
    faults: list[str] = field(default_factory=list)
    """Each case that gave wrong logits or an error of none of our classes."""


def all_types() -> list[str]:
    """Those with a sequence classifier in the installed transformers, and whatever else has a row."""
    known = {*modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, *FAMILIES}
    return sorted(name for name in known if name in CONFIG_MAPPING)


def try_all(types: Iterable[str], progress: Progress = silent) -> dict[str, Any]:
    """The table for the installed transformers."""
    rows = []
    for model_type in types:
        rows.append(survey(model_type).row)
        progress(1)
    return {"transformers": version("transformers"), "models": rows}


def survey(model_type: str, *, n_random: int = 0) -> Survey:
    """Try a type: its defaults and each of its variants, which make the row, and `n_random` random models."""
    if model_type not in FAMILIES:
        return Survey(_row(model_type, {}, UNKNOWN.get(model_type, "it is not in the table")))
    base = try_case(Case(model_type))
    if base is None:
        return Survey(_row(model_type, {}, "transformers does not build or run a tiny model of it"))
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
    cannot = {**base.refused, **base.faults}
    can = {name: name not in cannot for name in CAN}
    row = _row(model_type, can, "; ".join(dict.fromkeys(cannot.values())))
    return Survey(
        {**row, "variants": sorted(tried), "refused": refused, "mixers": beside},
        [*_told(Case(model_type), base), *faults],
    )


def _cases(model_type: str, switches: list[dict[str, Any]], tried: set[str]) -> Iterator[Case]:
    """Other masks; each switch; then each two of the Boolean ones that have made a difference by then."""
    yield from (Case(model_type, seed=seed) for seed in range(1, 5))
    yield from (Case(model_type, changes) for changes in switches)
    turned = [
        change for change in switches for name, x in change.items() if isinstance(x, bool) and name in tried
    ]
    yield from (Case(model_type, one | other) for one, other in combinations(turned, 2))


def _told(case: Case, outcome: Outcome) -> list[str]:
    return [f"{name}: {why} ({case})" for name, why in outcome.faults.items()]


def _row(model_type: str, can: Mapping[str, bool], reason: str) -> dict[str, Any]:
    abilities = {name: can.get(name, False) for name in CAN}
    classifier = model_type in modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    about = {"classifier": classifier, "reason": reason, "variants": [], "refused": {}, "mixers": []}
    return {"type": model_type, **abilities, **about}


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
