"""What an encoder-decoder writes for a batch of sources: greedy, or by beams."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers import PreTrainedTokenizerBase as Tokenizer

from prune_heads.checkpoints.quiet import quiet_transformers
from prune_heads.errors import UnsupportedModelError


def how_it_writes(model: nn.Module) -> str:
    """The `GenerationConfig` of a checkpoint as JSON; translations depend on it.

    Raises:
        UnsupportedModelError: If the model cannot write.
    """
    if not isinstance(model, GenerationMixin):
        raise UnsupportedModelError(
            f"a translation must be written by a model that has generate(); {type(model).__name__} has none. Take "
            "--task seq2seq, which asks how likely it finds the target"
        )
    said: str = model.generation_config.to_json_string(ignore_metadata=True)
    return said


@torch.no_grad()
def translate(
    model: nn.Module, tokenizer: Tokenizer, inputs: Mapping[str, Tensor], *, beams: int, n_max: int
) -> list[str]:
    """The targets that a model writes, as it is gated now.

    Which tokens begin and end a text, and which are forbidden, the checkpoint says; how to choose among the others, we
    say: nothing is drawn.

    Args:
        model: An encoder-decoder in evaluation mode.
        tokenizer: Its own.
        inputs: `input_ids` and `attention_mask`, `(batch, tokens)`, padded on the right.
        beams: Hypotheses kept at every token; 1 is greedy.
        n_max: Tokens of a target, at most, the one that ends it included.

    Raises:
        UnsupportedModelError: See `how_it_writes`.
    """
    how_it_writes(model)
    with quiet_transformers():  # it warns of each setting of the checkpoint that has no part in ours
        ids = cast(Any, model).generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            num_beams=beams,
            do_sample=False,
            max_length=None,
            max_new_tokens=n_max,
            use_cache=True,
        )
    texts: list[str] = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return texts
