"""The input of W_O, what the heads of a block send onwards: where it can be seen and changed.

Most models call W_O as a module, and a pre-hook on it sees its input. Others compute with its weights; they are
made to pass by here for as long as someone wants to look.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.anatomy.multihead import step_by_step
from prune_heads.errors import MaskNotAppliedError

Hook = Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...] | None]
"""As a forward pre-hook of W_O; the first argument is its input, `(batch, tokens, n_heads * head_dim)`."""


def on_context(block: AttentionBlock, hook: Hook) -> Callable[[], None]:
    """Call the hook with the input of W_O at every forward pass, until the function that is returned is called."""
    return _WAYS[block.layout.context](block, hook)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run whatever is compiled as it is written, for the length of a with-block.

    Compiled code does not check whether hooks were added or removed since (`skip_nnmodule_hook_guards`). Code compiled
    while a hook is there would also keep it for good.

    Raises:
        MaskNotAppliedError: Inside code that is being compiled, where this cannot be changed.
    """
    with _LOCK:
        if not _STANCES:
            try:
                stance: Any = torch.compiler.set_stance("force_eager")
            except RuntimeError as error:
                raise MaskNotAppliedError(
                    "gates and hooks must be set outside of compiled code, which would keep them or pass them by; "
                    "got a compiled function that sets them. Compile the model alone"
                ) from error
        _STANCES.append(_STANCES[-1] if _STANCES else stance)
    try:
        yield
    finally:
        with _LOCK:
            stance = _STANCES.pop()
            if not _STANCES:
                stance.__exit__(None, None, None)


_LOCK = Lock()
_STANCES: list[Any] = []
"""One a with-block. The stance belongs to the process: the first block sets it, the last one restores it."""


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


def _on_post_attention(block: AttentionBlock, hook: Hook) -> Callable[[], None]:
    """The module's `post_attention` (XLNet) takes the heads' output as `(tokens, batch, n_heads, head_dim)`."""
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
    "post_attention": _on_post_attention,
}
"""`Layout.context` -> how the input of W_O is reached."""
