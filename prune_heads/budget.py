"""What a model costs with and without heads, counted from shapes alone: it may be on the meta device.

A linear map takes tokens * weights; attention tokens^2 * (dimensions of the queries + dimensions of the values),
causal or not, as PyTorch computes it. Layers that share weights have them once, and use them at every depth.
"""

import copy
import re
from collections.abc import Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy import AttentionBlock, attention_blocks, gone_from, units
from prune_heads.coverage import committed_table
from prune_heads.heads import HeadMask, Heads, as_mask

_PARTS = ("attention", "feed_forward", "embeddings", "rest")
_LINEAR = (nn.Linear, Conv1D)

_READ_ALL = ("ForTokenClassification", "ForQuestionAnswering")  # ends of classes whose head reads every token

_EMBEDDING_MAPS = ("embeddings_project", "embedding_hidden_mapping_in", "embedding_transformation", "map_inputs_layer")
"""Names of linear maps from embeddings to layers, which every token goes through."""


def budget(model: PreTrainedModel, heads: Heads = "", n_tokens: int = 128) -> dict[str, Any]:
    """What the model costs with all its heads, without those that are gone already or named, and without any.

    Args:
        model: Of a known type, also one that has lost heads; never run.
        heads: Counted as if `remove_heads` had taken them, in the original numbering.
        n_tokens: Of the one example; a decoder beside an encoder gets as many.

    Returns:
        Heads a layer; `parameters` and `multiply_adds` of one example, `before`, `after` and `without_heads`, by part:
        *attention* is the matrices in the blocks, whatever else heads own, and products between tokens; *feed_forward*
        all other matrices in the layers; *embeddings* tables, which take no multiply-add; the *rest* norms, pooler,
        classifier. The highest `speedup` that removing these heads, or all, can give: multiply-adds before over those
        after. None where another kind of attention leaves multiply-adds unknown; what else does not hold: `notes`.

    Raises:
        UnsupportedModelError: If the type is unknown.
        HeadDescriptorError: If `heads` cannot be read or names a head that the model never had.
    """
    gone = gone_from(attention_blocks(model))
    model = _whole(model)
    blocks = attention_blocks(model)
    removed = (as_mask(heads, gone.n_heads) | gone).with_whole(units(blocks))
    parameters, multiply_adds, uncounted = _counts(model, blocks, n_tokens)
    found: dict[str, dict[str, Any]] = {"parameters": {}, "multiply_adds": {}}
    why = next((block.layout.other_attention for block in blocks if block.layout.other_attention), "")
    stays = next((block.layout.stays for block in blocks if block.layout.stays), "")
    masks = {"before": gone - gone, "after": removed, "without_heads": HeadMask.all(gone.n_heads)}
    for stage, mask in masks.items():
        left = {**parameters, "attention": parameters["attention"] - pruned_parameters(blocks, mask)}
        of_blocks = (_multiply_adds(*pair, n_tokens) for pair in zip(blocks, mask.by_block(), strict=True))
        used = {**multiply_adds, "attention": sum(of_blocks)}
        found["parameters"][stage] = {**left, "total": sum(left.values())}
        found["multiply_adds"][stage] = None if why else {**used, "total": sum(used.values())}
    before, after, without_heads = (counts and counts["total"] for counts in found["multiply_adds"].values())
    mixers = {row["type"]: row["mixers"] for row in committed_table()["models"]}
    beside, left_out = ", ".join(mixers.get(model.config.model_type, ())), "; ".join(uncounted)
    notes = {
        f"multiply-adds and speed-ups are not known: {why}": why,
        f"multiply-adds are a lower bound and speed-ups an upper one; not counted: {left_out}": left_out and not why,
        f"heads of this model can be gated or zeroed, not removed: {stays}": stays,
        f"tokens also see each other in {beside}, which have no heads here": beside,
    }
    by_block = zip(blocks, removed.by_block(), strict=True)
    return {
        "n_tokens": n_tokens,
        "heads_removed": removed.descriptors(),
        "n_heads": removed.n_total,
        "n_heads_left": removed.n_total - len(removed),
        "blocks": [{**each.describe(), "n_heads_left": each.n_heads - len(places)} for each, places in by_block],
        **found,
        "lower_bound": bool(uncounted) and not why,
        "speedup": None if why else before / after,
        "speedup_without_heads": None if why else before / without_heads,
        "notes": [note for note, holds in notes.items() if holds],
    }


def head_costs(model: PreTrainedModel, n_tokens: int = 128) -> dict[str, Any]:
    """What each head of each block costs, from which the costs under any mask follow without the model.

    Arguments and words as for `budget`.

    Returns:
        `parameters` and `multiply_adds` (None where they are unknown) of the model with all its heads. Of each of its
        `blocks`, for both: what goes with a head (`head_`), with the last head of those that share keys and values
        (`group_`; `group_size` heads are a group), and with the last head of all (`block_multiply_adds`).

    Raises:
        UnsupportedModelError: If the type is unknown.
    """
    model = _whole(model)
    blocks = attention_blocks(model)
    parameters, multiply_adds, uncounted = _counts(model, blocks, n_tokens)
    is_known = not any(block.layout.other_attention for block in blocks)
    costs = []
    for block in blocks:
        size = block.group_size
        is_last = size == block.n_heads  # of one group, whose last head is that of the block
        owned = [head_parameters(block, range(n)) if block.depth == 0 else 0 for n in (1, size)]
        whole, without_one, without_group = (_multiply_adds(block, range(n), n_tokens) for n in (0, 1, size))
        of_head = whole - without_one
        of_group = 0 if is_last else whole - without_group - size * of_head
        rest = whole - block.n_heads * of_head - block.n_heads // size * of_group
        about = {**block.describe(), "group_size": size}
        about |= {"head_parameters": owned[0], "group_parameters": owned[1] - size * owned[0]}
        counts = {"head_multiply_adds": of_head, "group_multiply_adds": of_group, "block_multiply_adds": rest}
        costs.append(about | (counts if is_known else dict.fromkeys(counts)))
    used = sum(_multiply_adds(block, (), n_tokens) for block in blocks)
    return {
        "n_tokens": n_tokens,
        "parameters": sum(parameters.values()),
        "multiply_adds": sum(multiply_adds.values()) + used if is_known else None,
        "lower_bound": bool(uncounted) and is_known,
        "blocks": costs,
    }


def _whole(model: PreTrainedModel) -> PreTrainedModel:
    """With all heads that it was made with: the shapes of a block without heads do not tell what they were."""
    if not gone_from(attention_blocks(model)):
        return model
    with torch.device("meta"):
        return type(model)(copy.deepcopy(model.config))


def _multiply_adds(block: AttentionBlock, removed: Collection[int], n_tokens: int) -> int:
    """Those of a block without the heads at these places (from 0); without heads the whole block is skipped."""
    if not (n_left := block.n_heads - len(removed)):
        return 0
    dims = len(block.query.heads[0]) + len(block.value.heads[0])
    besides = {id(owned.tensor) for owned in block.besides()}  # these see no tokens
    maps = (cast(Tensor, module.weight) for module in block.module.modules() if isinstance(module, _LINEAR))
    gone = (owned for owned in block.owned(removed) if owned.tensor.ndim > 1)
    n_weights = sum(weight.numel() for weight in maps if id(weight) not in besides)
    n_weights -= sum(owned.n_parameters for owned in gone if id(owned.tensor) not in besides)
    return n_tokens**2 * n_left * dims + n_tokens * n_weights


def _counts(
    model: PreTrainedModel, blocks: Sequence[AttentionBlock], n_tokens: int
) -> tuple[dict[str, int], dict[str, int], list[str]]:
    """All parameters, each weight once; multiply-adds of all but attention; in words what these leave out."""
    parameters, multiply_adds = dict.fromkeys(_PARTS, 0), dict.fromkeys(_PARTS, 0)
    unknown = []
    calls = {m: block.n_depths for block in blocks for m in block.layer_module.modules()}
    attention = {module for block in blocks for module in block.module.modules()}
    owned = {id(each.tensor) for block in blocks for each in block.besides()}
    # What is in a layer is a part of something numbered, below what holds the layers of the blocks.
    stacks = {re.escape(re.split(r"\.\d+(?:\.|$)", block.name)[0].rpartition(".")[0]) for block in blocks}
    in_layers = re.compile(rf"(?:{'|'.join(stacks)})\.(?:.*\.)?\d+(?:\.|$)").match
    late = getattr(model.config, "classifier_pooling", None) == "late"
    of_tokens = type(model).__name__.endswith(_READ_ALL)
    reads_all = of_tokens or late or all(block.stack == "decoder" for block in blocks)  # which then take one
    seen: set[int] = set()
    for name, module in model.named_modules():
        weights = [weight for weight in module.parameters(recurse=False) if id(weight) not in seen]
        if not weights:
            continue
        seen.update(map(id, weights))
        matrix = isinstance(module, _LINEAR) or any(weight.ndim > 1 for weight in weights)
        read = n_tokens if reads_all or name.startswith("score") else 1
        kinds = (  # the first that holds: part, and tokens that a linear map works on; 0 where that is not known
            (any(id(weight) in owned for weight in weights), "attention", 0),  # a linear map of positions or entities
            (isinstance(module, nn.Embedding), "embeddings", 0),
            (matrix and module in attention, "attention", 0),  # by head
            (matrix and in_layers(name), "feed_forward", n_tokens),
            (name.endswith(_EMBEDDING_MAPS), "rest", n_tokens),
            ("pooler" in name, "rest", 1),
            (not name.startswith(f"{model.base_model_prefix}."), "rest", read),
            (True, "rest", 0),
        )
        _, part, positions = next(kind for kind in kinds if kind[0])
        parameters[part] += sum(weight.numel() for weight in weights)
        if isinstance(module, _LINEAR) and part != "attention":
            multiply_adds[part] += positions * calls.get(module, 1) * weights[0].numel()
            unknown += [] if positions else [name]
    many = any(weight.ndim > 2 and in_layers(name) for name, weight in model.named_parameters())
    uncounted = {
        "weights of more than two dimensions in the layers (experts, convolutions)": many,
        "what layers without heads do beside their linear maps": any(block.layout.some_layers for block in blocks),
        f"linear maps outside the layers, whose use is not known ({len(unknown)}, the first {unknown[:1]})": unknown,
    }
    return parameters, multiply_adds, [what for what, holds in uncounted.items() if holds]


def n_parameters(model: nn.Module) -> int:
    """All parameters of the model."""
    return sum(parameter.numel() for parameter in model.parameters())


def head_parameters(block: AttentionBlock, places: Collection[int]) -> int:
    """Parameters that the heads at these places (from 0) own: rows of W_Q, W_K, W_V with biases, columns of W_O.

    With d the width of the model, `head_dim * (4 d + 3)` a head where all three have biases. W_K and W_V of a group
    of heads count with the last of them. Further what the layout names besides, such as position projections.
    """
    return sum(owned.n_parameters for owned in block.owned(places))


def pruned_parameters(blocks: Sequence[AttentionBlock], mask: HeadMask) -> int:
    """Parameters owned by the heads of the mask that are still in the model."""
    pairs = zip(blocks, mask.by_block(), strict=True)
    return sum(head_parameters(block, block.places(pruned)) for block, pruned in pairs if block.depth == 0)
