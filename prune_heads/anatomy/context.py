"""The input of W_O, what the heads of a block send onwards: where it can be seen and changed.

Most models call W_O as a module, and a pre-hook on it sees its input. Others compute with its weights; they are
made to pass by here for as long as someone wants to look.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.anatomy.multihead import step_by_step

Hook = Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...] | None]
"""As a forward pre-hook of W_O; the first argument is its input, `(batch, tokens, n_heads * head_dim)`."""


def on_context(block: AttentionBlock, hook: Hook) -> Callable[[], None]:
    """Call the hook with the input of W_O at every forward pass, until the function that is returned is called."""
    return _WAYS[block.layout.context](block, hook)


def _on_module(block: AttentionBlock, hook: Hook) -> Callable[[], None]:
    return block.output.module.register_forward_pre_hook(hook).remove


def _on_batch_second(block: AttentionBlock, hook: Hook) -> Callable[[], None]:
    """W_O is called as a module, with `(tokens, batch, n_heads * head_dim)`."""

    def turned(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        changed = hook(module, (args[0].transpose(0, 1), *args[1:]))
        return None if changed is None else (changed[0].transpose(0, 1), *changed[1:])

    return block.output.module.register_forward_pre_hook(turned).remove


def _on_multihead(block: AttentionBlock, hook: Hook) -> Callable[[], None]:
    undo, handle = step_by_step(block.module), block.output.module.register_forward_pre_hook(hook)

    def remove() -> None:
        handle.remove()
        undo()

    return remove


def _on_xlnet(block: AttentionBlock, hook: Hook) -> Callable[[], None]:
    """XLNet's `post_attention` takes the heads' output as `(tokens, batch, n_heads, head_dim)`."""
    module = block.module
    before: Any = module.post_attention
    was_there = "post_attention" in vars(module)

    def after_hook(h: Tensor, attn_vec: Tensor, residual: bool = True) -> Any:
        changed = hook(module, (attn_vec.transpose(0, 1).flatten(-2),))
        if changed is not None:
            attn_vec = changed[0].unflatten(-1, attn_vec.shape[-2:]).transpose(0, 1)
        return before(h, attn_vec, residual)

    module.__dict__["post_attention"] = after_hook

    def remove() -> None:
        del module.__dict__["post_attention"]
        if was_there:
            module.__dict__["post_attention"] = before

    return remove


_WAYS: Mapping[str, Callable[[AttentionBlock, Hook], Callable[[], None]]] = {
    "": _on_module,
    "batch second": _on_batch_second,
    "multihead": _on_multihead,
    "xlnet": _on_xlnet,
}
"""`Layout.context` -> how the input of W_O is reached."""
