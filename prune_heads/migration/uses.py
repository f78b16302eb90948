"""The uses that are looked for, what transformers 5 makes of each, and what to write instead.

tests/test_migration.py tries every row with the transformers that is installed: a row whose effect is another
fails there, and so does a row without a trial.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

MASKS = ("head_mask", "decoder_head_mask", "cross_attn_head_mask")
"""Keyword arguments of `forward`."""

PRUNED = "pruned_heads"
"""Keyword argument, attribute and key of a configuration."""

METHODS = ("prune_heads", "_prune_heads", "get_head_mask")
"""Methods of a model."""

FUNCTIONS = ("find_pruneable_heads_and_indices", "prune_linear_layer", "prune_conv1d_layer", "prune_layer")
"""Functions of transformers 4, in `pytorch_utils`, earlier in `modeling_utils`, one of them in the root."""

STILL_THERE = frozenset({"transformers.pytorch_utils.prune_linear_layer"})
"""Those of them that transformers 5 has kept."""

NAMES = re.compile("|".join({*MASKS, PRUNED, *METHODS, *FUNCTIONS}).encode())
"""A file in whose bytes this finds nothing has no use, and need not be parsed."""


class Use(NamedTuple):
    """One row."""

    effect: str
    """What transformers 5 does."""
    instead: str
    """What to write with prune-heads."""


_GATES = (
    "with gated(model, gates_of(model, '3:1,5')): model(...); 'prune-heads evaluate --heads', or 'prune-heads ablate' "
    "for every head on its own; 'prune-heads score' for the derivatives by the mask"
)
_DECODER_GATES = (
    "with gated(model, gates): model(...), one gate for each of attention_blocks(model), whose stack and kind tell "
    "decoder and cross-attention; 'prune-heads models' lists the types that are known"
)
_REMOVE = (
    "remove_heads(model, {2: [0, 4]}), then save_pruned and load_pruned, or zero_heads, which keeps the shapes; "
    "'prune-heads prune --heads \"3:1,5\"'"
)
_SURGERY = "remove_heads(model, {2: [0, 4]}), which narrows W_Q, W_K, W_V and W_O"

USES: Mapping[str, Use] = {
    "head_mask=": Use("ignored: no head is masked", _GATES),
    "decoder_head_mask=": Use("ignored: no head is masked", _DECODER_GATES),
    "cross_attn_head_mask=": Use("ignored: no head is masked", _DECODER_GATES),
    **{
        f"generate({mask}=)": Use(
            "ValueError: generate refuses it",
            "with gated(model, gates): model.generate(...), where 'prune-heads models' lists the type",
        )
        for mask in MASKS
    },
    ".prune_heads()": Use("AttributeError", _REMOVE),
    ".get_head_mask()": Use("AttributeError", "gates_of(model, heads), which makes all that gated needs"),
    "pruned_heads=": Use(
        "ignored by a configuration: no head is removed; TypeError in a model's from_pretrained", _REMOVE
    ),
    ".pruned_heads = ...": Use("ignored: no head is removed", _REMOVE),
    ".pruned_heads": Use(
        "AttributeError, unless a configuration still carries it",
        "original_heads of each of attention_blocks(model): the heads that are left",
    ),
    '"pruned_heads":': Use(
        "ignored: no head is removed; RuntimeError where the weights are of the smaller shape",
        'load_pruned("folder"), or --model folder of every command: both heed it',
    ),
    **{f"import {name}": Use("ImportError", _SURGERY) for name in FUNCTIONS},
    "import prune_linear_layer": Use("ImportError", f"{_SURGERY}; or import it from transformers.pytorch_utils"),
    **{f"{name}()": Use("AttributeError, or not reached: its import fails", _SURGERY) for name in FUNCTIONS},
}
"""From how a use is shown to what there is to say of it."""
