"""The table of model types, made by trying a tiny random model of each: what is exact, and what is refused and why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedModel
from transformers.models.auto import modeling_auto

from prune_heads.anatomy import FAMILIES, UNKNOWN, attention_blocks
from prune_heads.checkpoints.loading import quiet_transformers
from prune_heads.coverage.mixing import mixers
from prune_heads.coverage.tiny import inputs_for, tiny_model
from prune_heads.errors import UnsupportedModelError, first_line
from prune_heads.gating import gated, gates_of
from prune_heads.progress import Progress, silent
from prune_heads.verification import outputs, some_heads, try_heads

CAN = ("gate", "zero", "remove")


@dataclass(frozen=True)
class Outcome:
    """What a model showed."""

    logits: Tensor
    """Of the model as it is."""
    refused: dict[str, str] = field(default_factory=dict)
    """One of `CAN` -> why the package does not do it; a type that is refused whole refuses all three."""
    faults: dict[str, str] = field(default_factory=dict)
    """The same for what it does and should not: a wrong result or an error that is none of its own."""
    mixers: tuple[str, ...] = ()
    """Where tokens see each other beside the heads."""


def all_types() -> list[str]:
    """Those with a sequence classifier in the installed transformers, and whatever else has a row."""
    known = {*modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, *FAMILIES}
    return sorted(name for name in known if name in CONFIG_MAPPING)


def try_all(types: Iterable[str], progress: Progress = silent) -> dict[str, Any]:
    """The table for the installed transformers, of the default configuration of each type."""
    rows = []
    for model_type in types:
        rows.append(row_of(model_type, try_type(model_type)))
        progress(1)
    return {"transformers": version("transformers"), "models": rows}


def try_type(model_type: str) -> Outcome | None:
    """What a tiny model of the type shows; None where transformers cannot build or run it, or the table has no row."""
    if model_type not in FAMILIES:
        return None
    with quiet_transformers():
        try:
            model = tiny_model(model_type)
            inputs = inputs_for(model)
        except Exception:  # whatever a model class raises on what it does not take
            return None
        return try_model(model, inputs)


def try_model(model: PreTrainedModel, inputs: Mapping[str, Tensor], *, seed: int = 0) -> Outcome | None:
    """What a model shows, heads chosen by a seed; None where it cannot be run, or gives other logits each time."""
    try:
        (plain,), (again,) = outputs(model, inputs), outputs(model, inputs)
    except Exception:
        return None
    if not torch.equal(plain, again) or not torch.isfinite(plain).all():
        return None
    try:
        heads = some_heads(attention_blocks(model), seed)
    except UnsupportedModelError as error:
        return Outcome(plain, dict.fromkeys(CAN, first_line(error).rsplit(": ", 1)[-1]))
    trial = try_heads(model, inputs, heads, load=False)
    with gated(model, gates_of(model, {})):
        if not torch.equal(outputs(model, inputs)[0], plain):
            trial.faults["gate"] = "gates of 1 change the logits"
    return Outcome(plain, trial.refused, trial.faults, tuple(mixers(model, inputs) or ()))


def row_of(model_type: str, outcome: Outcome | None) -> dict[str, Any]:
    """A row of the table.

    Returns:
        `type`; whether `gate`, `zero` and `remove` are exact; whether it is a `classifier` of texts; the `reason` for
        what is not exact; the `variants` of the configuration that were tried, by their fields, here none; those of
        them that are `refused`, and why; the `mixers`, by which tokens see each other beside the heads.
    """
    if outcome is None:
        unbuilt = "transformers does not build or run a tiny model of it"
        reason = unbuilt if model_type in FAMILIES else UNKNOWN.get(model_type, "it is not in the table")
        can, beside = dict.fromkeys(CAN, False), []
    else:
        cannot = {**outcome.refused, **outcome.faults}
        can, beside = {name: name not in cannot for name in CAN}, list(outcome.mixers)
        reason = "; ".join(dict.fromkeys(cannot.values()))
    is_classifier = model_type in modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    about = {"classifier": is_classifier, "reason": reason, "variants": [], "refused": {}, "mixers": beside}
    return {"type": model_type, **can, **about}
