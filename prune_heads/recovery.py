"""Win back what pruning lost, without training: a factor for each kept head, and another bias of W_O.

This is the mask tuning of Kwon et al. (2022, section 4.3), for attention. Layer by layer from the first, over the
tokens t of some examples, least squares finds the factors m and the bias b that make smallest

    sum_t |sum_h m_h W_O^h c_h(t) + b - W_O C(t) - b_O|^2 + ridge sum_h g_h (m_h - 1)^2

where c_h(t) is what a head of the pruned model sends, given the layers before as they are rescaled already, and C(t)
what all heads of the whole model send; g_h is the sum of |W_O^h c_h(t)|^2, around the mean if W_O has a bias. m and b
fold into W_O, so the model stays an ordinary one.

Kwon et al. compare after the residual connection, which each family has elsewhere; W_O's output is the same in all. In
place of their bounds of +-10 the ridge pulls towards 1. They keep the bias, and fit feed-forward neurons beside.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from prune_heads.anatomy import AttentionBlock, attention_blocks, on_context, stay_dense, uncompiled
from prune_heads.errors import UnsupportedModelError
from prune_heads.gating import evaluating
from prune_heads.objectives.batches import Batches
from prune_heads.objectives.replacing import by_row, of_one_length
from prune_heads.progress import Progress, silent
from prune_heads.surgery import why_not_plain

RIDGE = 1e-3
_TOKENS = 512  # at once in float64, so that memory stays flat


@torch.no_grad()
def rescale(
    pruned: nn.Module, whole: nn.Module, batches: Batches, *, progress: Progress = silent
) -> list[Tensor | None]:
    """Rescale the heads of a model in place, so that its attention gives what the whole model's gives.

    No label is looked at. Two forward passes for each block, each as far as the block, over rows of one length, so that
    no padding enters.

    Args:
        pruned: After `zero_heads` or `remove_heads`; heads of zeros keep the factor 1.
        whole: The same model before.
        batches: A few hundred examples.
        progress: Told the rows that are done, of as many as there are for each block.

    Returns:
        The factors of each block, `(n_heads,)` in float64, of the heads that it has; None where there is nothing to
        fit: it and those before it are not changed, or it does not run.

    Raises:
        UnsupportedModelError: See `check_rescalable`.
    """
    check_rescalable(pruned)
    blocks, others, rows = attention_blocks(pruned), attention_blocks(whole), by_row(batches)
    found, is_changed = list[Tensor | None]([None] * len(blocks)), False

    def contexts(block: AttentionBlock, other: AttentionBlock) -> Iterator[tuple[Tensor | None, Tensor | None]]:
        for index in of_one_length(rows):
            inputs = rows.batch(index).to(next(pruned.parameters()).device).inputs
            yield _context(pruned, block, inputs), _context(whole, other, inputs)
            progress(len(index))

    def turn(i: int) -> tuple[bool, int, bool]:
        """As blocks run: the encoder's first, and in a layer of a decoder self-attention."""
        return blocks[i].stack == "decoder", blocks[i].layer, blocks[i].kind == "cross"

    with evaluating(pruned), evaluating(whole), uncompiled():
        for i in sorted(range(len(blocks)), key=turn):
            is_changed |= not torch.equal(blocks[i].output.weight, others[i].output.weight)
            if is_changed:
                found[i] = _fit(blocks[i], others[i], contexts(blocks[i], others[i]))
            else:
                progress(len(rows.n_tokens))
    return found


def check_rescalable(model: nn.Module) -> None:
    """An `UnsupportedModelError` if W_O takes no factors: layers share it, or it is computed from other weights."""
    for block in attention_blocks(model):
        names = block.output.names[: 1 + (block.output.bias is not None)]
        reasons = (why_not_plain(block.output.module, name) for name in names)
        why = "layers share their weights" if block.n_depths > 1 else next(filter(None, reasons), "")
        if why:
            must = f"W_O of {block.name} must be its own, as plain parameters, to take factors of its heads; {why}"
            raise UnsupportedModelError(f"{must}. Prune without --rescale, and fine-tune")


class _Reached(Exception):
    """Ends a forward pass."""


def _context(model: nn.Module, block: AttentionBlock, inputs: dict[str, Any]) -> Tensor | None:
    """`(tokens, n_heads * head_dim)`: what the heads of a block send into W_O; None where it is not called."""
    seen: list[Tensor] = []

    def see(module: nn.Module, args: tuple[Any, ...]) -> None:
        seen.append(args[0].flatten(0, -2))
        raise _Reached

    if block.n_heads:
        with stay_dense(model), on_context(block, see), suppress(_Reached):
            model(**inputs)
    return seen[0] if seen else None


def _fit(
    block: AttentionBlock, other: AttentionBlock, contexts: Iterator[tuple[Tensor | None, Tensor | None]]
) -> Tensor | None:
    """Solve the normal equations over all tokens, and fold; gives the factors, None where the other sends nothing."""
    weight, target = (each.output.weight.cpu().double() for each in (block, other))
    n, width = block.n_heads, len(target)
    by_head = weight.unflatten(1, (n, block.head_dim))
    products, sums, n_tokens = target.new_zeros(n + 1, n + 1), target.new_zeros(n + 1, width), 0
    for sent, wanted in contexts:
        if wanted is None:
            return None
        sent = wanted.new_zeros(len(wanted), 0) if sent is None else sent
        for ours, theirs in zip(sent.split(_TOKENS), wanted.split(_TOKENS), strict=True):
            of_heads = ours.cpu().double().unflatten(-1, (n, block.head_dim))
            parts = torch.einsum("thd,ohd->hto", of_heads, by_head), (theirs.cpu().double() @ target.T)[None]
            every = torch.cat(parts)  # `(n + 1, tokens, width)`: of each head, and of all heads of the other
            products += every.flatten(1) @ every.flatten(1).T
            sums += every.sum(dim=1)
            n_tokens += len(theirs)
    size, least = products.diagonal()[:n].clone(), 1e-12 + 100 * torch.finfo(block.output.weight.dtype).eps ** 2
    if block.output.bias is not None:  # which takes what is the same for all tokens
        products -= sums @ sums.T / n_tokens
    squares, ones = products[:n, :n], target.new_ones(n)
    # Heads of zeros, and those of which the bias takes all but rounding, keep the factor 1.
    ridge = torch.where(squares.diagonal() > least * size, RIDGE * squares.diagonal(), size + (size == 0))
    factors = ones + torch.linalg.solve(squares + torch.diag(ridge), products[:n, n] - squares @ ones)
    for place, factor in enumerate(factors.tolist()):
        for each in block.output.owned([place], inputs=True):
            each.tensor.index_copy_(each.dim, each.where, each.tensor.index_select(each.dim, each.where) * factor)
    if block.output.bias is not None and other.output.bias is not None:
        block.output.bias.copy_(other.output.bias.cpu().double() + (sums[n] - factors @ sums[:n]) / n_tokens)
    return factors
