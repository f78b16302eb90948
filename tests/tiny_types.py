"""Tiny random models of every type, and the table of what is exact and what is refused and why, made by trying them.

Unless asked otherwise they measure `SIZES`.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import partial, reduce
from importlib.metadata import version
from operator import or_
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto as auto

from prune_heads.anatomy import FAMILIES, UNKNOWN, attention_blocks
from prune_heads.checkpoints.loading import quiet_transformers
from prune_heads.coverage.mixing import mixers
from prune_heads.errors import UnsupportedModelError, first_line
from prune_heads.gating import gated, gates_of
from prune_heads.progress import Progress, silent
from prune_heads.verification import outputs, some_heads, try_heads

_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
PAD, END, VOCABULARY = (_TABLE["fixed"][name] for name in ("pad_token_id", "eos_token_id", "vocab_size"))
_TOO_LARGE = 10_000_000  # parameters beyond which a model is not built: some types' defaults are billions
_AUTO = (auto.AutoModelForSequenceClassification, auto.AutoModelForSeq2SeqLM, auto.AutoModelForImageClassification)
_CLASSIFIERS = auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

SIZES: Mapping[str, int] = {"width": 32, "layers": 3, "heads": 4, "kv_heads": 2, "head_dim": 8, "inner": 48}
"""What a tiny model measures, as far as its configuration can say so."""

EVERYWHERE: Mapping[str, Any] = {
    **{name: f"= {size}" for size, names in _TABLE["sizes"].items() for name in names.split()},
    **_TABLE["fixed"],
}
"""Field -> value or expression of sizes, for whichever a configuration has."""


def own_fields(model_type: str) -> dict[str, Any]:
    """The same of what a type needs besides."""
    return reduce(or_, (row for types, row in _TABLE["types"].items() if model_type in types.split()), {})


def worked_out(fields: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Fields with their expressions, which are those of the table alone, worked out."""
    names = {"__builtins__": {}, **sizes}
    return {name: eval(said[2:], names) if str(said).startswith("= ") else said for name, said in fields.items()}


def tiny_config(model_type: str, sizes: Mapping[str, int] = SIZES, **changes: Any) -> PreTrainedConfig:
    """The configuration, from the type's own defaults with every size made small, also in configurations inside.

    `changes` are fields that are to be otherwise, wherever a configuration has them.
    """
    config = _small(CONFIG_MAPPING[model_type], sizes, changes)
    for name, value in changes.items():  # what the code asks for with a default, no configuration class need name
        if not any(hasattr(each, name) for each in (config, *vars(config).values())):
            setattr(config, name, value)
    return config


def _small(kind: type[PreTrainedConfig], sizes: Mapping[str, int], changes: Mapping[str, Any]) -> PreTrainedConfig:
    base, aliases = kind(), getattr(kind, "attribute_map", {})
    known = {*base.to_dict(), *aliases, "num_labels", "pad_token_id", "eos_token_id", "bos_token_id"}
    every = reversed(worked_out(EVERYWHERE, sizes).items())  # of several names for one field the first counts
    small = {aliases.get(name, name): size for name, size in every if name in known}
    configs = {name: each for name, each in vars(base).items() if isinstance(each, PreTrainedConfig)}
    inside = {name: _small(type(config), sizes, changes) for name, config in configs.items()}
    changed = {aliases.get(name, name): value for name, value in changes.items() if name in known}
    return kind(**small | inside | worked_out(own_fields(kind.model_type), sizes) | changed)


def tiny_model(
    model_type: str, *, attention: str | None = None, seed: int = 0, sizes: Mapping[str, int] = SIZES, **changes: Any
) -> PreTrainedModel:
    """The type's sequence classifier where it has one, else what translates or classifies images, in evaluation mode.

    Everything in it that is learned is drawn at random: scales, which begin at 1, around 1, the rest around 0, so that
    every head matters, and that b_V and a head's own norm are seen to go.

    The implementation of its `attention` is `eager` or `sdpa`, `seed` is of its weights, `changes` are as above.

    Raises:
        UnsupportedModelError: If the type has no such model, or it would have more parameters than a tiny model has.
    """
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        config = tiny_config(model_type, sizes, **changes)
        kind = type(config)
        found: Any = next((each._model_mapping[kind] for each in _AUTO if kind in each._model_mapping), ())
        if not found:
            raise UnsupportedModelError(f"a tiny model must classify or translate; {model_type!r} does neither")
        build = (found[0] if isinstance(found, tuple) else found)._from_config
        with torch.device("meta"):
            n = sum(p.numel() for p in build(config).parameters())
        if n > _TOO_LARGE:
            raise UnsupportedModelError(f"a tiny model must be tiny; that of {model_type} has {n:,} parameters")
        torch.manual_seed(seed)
        model: PreTrainedModel = build(config, attn_implementation=attention)
        learned = {**dict(model.named_parameters()), **model.state_dict(keep_vars=True)}
        for tensor in dict.fromkeys(learned.values()):
            if tensor.is_floating_point():
                is_scale = tensor.numel() > 0 and bool((tensor == 1).all())
                torch.nn.init.normal_(tensor, float(is_scale), 0.15)
    return model.eval()


def tiny_inputs(n_examples: int = 3, n_tokens: int = 9, *, seed: int = 0) -> dict[str, Tensor]:
    """A padded batch, `(n_examples, n_tokens)`; every example has another length and ends with END."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(5, VOCABULARY, (n_examples, n_tokens), generator=generator)
    lengths, places = n_tokens - torch.arange(n_examples)[:, None], torch.arange(n_tokens)
    input_ids = input_ids.where(places != lengths - 1, END).where(places < lengths, PAD)
    return {"input_ids": input_ids, "attention_mask": (places < lengths).long()}


def inputs_for(model: PreTrainedModel, *, seed: int = 0, n_tokens: int = 9) -> dict[str, Tensor]:
    """What the model takes: a batch of texts, or of images."""
    size = getattr(getattr(model.config, "vision_config", model.config), "image_size", None)
    if model.main_input_name == "pixel_values" and size is not None:
        return {"pixel_values": torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(seed))}
    texts = tiny_inputs(seed=seed, n_tokens=n_tokens)
    if model.config.is_encoder_decoder and model.can_generate():
        texts["decoder_input_ids"] = tiny_inputs(seed=seed + 1, n_tokens=6)["input_ids"]
    return texts


CAN = ("gate", "zero", "remove")


class Outcome(NamedTuple):
    """What a model showed."""

    logits: Tensor  # of the model as it is
    refused: Mapping[str, str]
    """One of `CAN` -> why the package does not do it; a type that is refused whole refuses all three."""
    faults: Mapping[str, str]
    """The same for what it does and should not: a wrong result or an error that is none of its own."""
    mixers: tuple[str, ...]  # where tokens see each other beside the heads


def all_types() -> list[str]:
    """Those with a sequence classifier in the installed transformers, and whatever else has a row."""
    return sorted(name for name in {*_CLASSIFIERS, *FAMILIES} if name in CONFIG_MAPPING)


def try_all(types: Iterable[str], progress: Progress = silent) -> dict[str, Any]:
    """The table for the installed transformers, of the default configuration of each type."""
    rows = []
    for model_type in types:
        tried = try_model(partial(tiny_model, model_type)) if model_type in FAMILIES else None
        rows.append(row_of(model_type, tried))
        progress(1)
    return {"transformers": version("transformers"), "models": rows}


def try_model(
    build: Callable[[], PreTrainedModel],
    inputs_of: Callable[[PreTrainedModel], Mapping[str, Tensor]] = inputs_for,
    *,
    seed: int = 0,
) -> Outcome | None:
    """What a model shows, heads chosen by a seed; None where it cannot be built or run, or is not deterministic."""
    with quiet_transformers():
        try:
            model = build()
            inputs = inputs_of(model)
            (plain,), (again,) = outputs(model, inputs), outputs(model, inputs)
        except Exception:  # whatever a model class raises on what it does not take
            return None
        if not torch.equal(plain, again) or not torch.isfinite(plain).all():
            return None
        try:
            heads = some_heads(attention_blocks(model), seed)
        except UnsupportedModelError as error:
            return Outcome(plain, dict.fromkeys(CAN, first_line(error).rsplit(": ", 1)[-1]), {}, ())
        tried = try_heads(model, inputs, heads, load=False)
        with gated(model, gates_of(model, {})):
            if not torch.equal(outputs(model, inputs)[0], plain):
                tried.faults["gate"] = "gates of 1 change the logits"
        return Outcome(plain, tried.refused, tried.faults, tuple(mixers(model, inputs) or ()))


def row_of(model_type: str, outcome: Outcome | None) -> dict[str, Any]:
    """A row of the table: its `type`, and whether `gate`, `zero` and `remove` are exact.

    Further whether it is a `classifier` of texts; the `reason` for what is not exact; the `variants` of the
    configuration that were tried, by their fields, here none; those of them that are `refused`, and why; the `mixers`,
    by which tokens see each other beside the heads.
    """
    if outcome is None:
        unbuilt = "transformers does not build or run a tiny model of it"
        reason = unbuilt if model_type in FAMILIES else UNKNOWN.get(model_type, "it is not in the table")
        cannot = dict.fromkeys(CAN, reason)
    else:
        cannot = {**outcome.refused, **outcome.faults}
    reason = "; ".join(dict.fromkeys(cannot.values()))
    about = {"classifier": model_type in _CLASSIFIERS, "reason": reason, "variants": [], "refused": {}}
    can = {name: name not in cannot for name in CAN}
    return {"type": model_type, **can, **about, "mixers": list(outcome.mixers) if outcome else []}
