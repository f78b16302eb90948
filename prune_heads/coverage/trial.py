"""The table of model types, made by trying a tiny random model of each: what is exact, and what is refused and why."""

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS

from prune_heads.anatomy import FAMILIES, UNKNOWN, attention_blocks
from prune_heads.checkpoints.loading import quiet_transformers
from prune_heads.coverage.mixing import mixers
from prune_heads.coverage.tiny import inputs_for, tiny_model
from prune_heads.errors import UnsupportedModelError, first_line
from prune_heads.gating import gated, gates_of
from prune_heads.progress import Progress, silent
from prune_heads.verification import outputs, some_heads, try_heads

CAN = ("gate", "zero", "remove")


class Outcome(NamedTuple):
    """What a model showed."""

    logits: Tensor
    """Of the model as it is."""
    refused: Mapping[str, str]
    """One of `CAN` -> why the package does not do it; a type that is refused whole refuses all three."""
    faults: Mapping[str, str]
    """The same for what it does and should not: a wrong result or an error that is none of its own."""
    mixers: tuple[str, ...]
    """Where tokens see each other beside the heads."""


def all_types() -> list[str]:
    """Those with a sequence classifier in the installed transformers, and whatever else has a row."""
    return sorted(name for name in {*CLASSIFIERS, *FAMILIES} if name in CONFIG_MAPPING)


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
        return Outcome(plain, dict.fromkeys(CAN, first_line(error).rsplit(": ", 1)[-1]), {}, ())
    tried = try_heads(model, inputs, heads, load=False)
    faults = dict(tried.faults)
    with gated(model, gates_of(model, {})):
        if not torch.equal(outputs(model, inputs)[0], plain):
            faults["gate"] = "gates of 1 change the logits"
    return Outcome(plain, tried.refused, faults, tuple(mixers(model, inputs) or ()))


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
        cannot = dict.fromkeys(CAN, reason)
    else:
        cannot = {**outcome.refused, **outcome.faults}
    reason = "; ".join(dict.fromkeys(cannot.values()))
    about = {"classifier": model_type in CLASSIFIERS, "reason": reason, "variants": [], "refused": {}}
    can = {name: name not in cannot for name in CAN}
    return {"type": model_type, **can, **about, "mixers": list(outcome.mixers) if outcome else []}
