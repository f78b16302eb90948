"""The input of W_O, what the heads of a block send onwards: where it can be seen and changed.

Most models call W_O as a module, and a pre-hook on it sees its input. Others compute with its weights; they are
made to pass by here for as long as someone wants to look.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
    undo, way = ExitStack(), block.layout.context
    if way == "post_attention":
        undo.callback(_on_post_attention(block.module, hook))
        return undo.close
    if way == "multihead":
        undo.callback(step_by_step(block.module))

    def turned(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        changed = hook(module, (args[0].transpose(0, 1), *args[1:]))
        return None if changed is None else (changed[0].transpose(0, 1), *changed[1:])

    undo.callback(block.output.module.register_forward_pre_hook(turned if way == "batch second" else hook).remove)
    return undo.close


def _on_post_attention(module: nn.Module, hook: Hook) -> Callable[[], None]:
    """The module's `post_attention` (XLNet) takes the heads' output as `(tokens, batch, n_heads, head_dim)`."""
    before: Any = module.post_attention
    outer = vars(module).get("post_attention")  # of another hook

    def after_hook(h: Tensor, attn_vec: Tensor, residual: bool = True) -> Any:
        changed = hook(module, (attn_vec.transpose(0, 1).flatten(-2),))
        if changed is not None:
            attn_vec = changed[0].unflatten(-1, attn_vec.shape[-2:]).transpose(0, 1)
        return before(h, attn_vec, residual)

    def remove() -> None:
        del module.__dict__["post_attention"]
        if outer is not None:
            module.__dict__["post_attention"] = outer

    module.__dict__["post_attention"] = after_hook
    return remove


_LOCK = Lock()
_STANCES: list[Any] = []
"""One a with-block. The stance belongs to the process: the first block sets it, the last one restores it."""


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run whatever is compiled as it is written, for the length of a with-block.

    Compiled code does not check whether hooks were added or removed since (`skip_nnmodule_hook_guards`). Code compiled
    while a hook is there would also keep it for good.

    Raises:
        MaskNotAppliedError: Inside code that is being compiled, where this cannot be changed.
    """
    with _LOCK:
        try:
            _STANCES.append(_STANCES[-1] if _STANCES else torch.compiler.set_stance("force_eager"))
        except RuntimeError as error:
            raise MaskNotAppliedError(
                "gates and hooks must be set outside of compiled code, which would keep them or pass them by; "
                "got a compiled function that sets them. Compile the model alone"
            ) from error
    try:
        yield
    finally:
        with _LOCK:
            stance = _STANCES.pop()
            if not _STANCES:
                stance.__exit__(None, None, None)
