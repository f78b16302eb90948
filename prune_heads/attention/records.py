"""Maps in records: queries and keys by name, and shares as texts, base64 of zlib of a byte each, 255 for 1."""

import base64
import zlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from prune_heads.attention.reading import Attention


def packed(shares: Tensor) -> str:
    """Numbers from 0 to 1 as a text; see `unpacked`."""
    return base64.b64encode(zlib.compress((255 * shares.float()).round().byte().cpu().numpy().tobytes(), 9)).decode()


def unpacked(text: str, *shape: int) -> NDArray[np.float64]:
    """The numbers of `packed`, each up to 1/510."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8).reshape(shape) / 255


def token_name(tokenizer: Any, token: int) -> str:
    """A token as people read it; as the vocabulary has it where it is a space or a part of a character."""
    shown = str(tokenizer.decode([token])).strip()
    return shown if shown and "\ufffd" not in shown else tokenizer.convert_ids_to_tokens(token) or f"token {token}"


def tokens_of(tokenizer: Any, config: Any, inputs: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The tokens of the first text of a batch, and those that a decoder beside an encoder is given.

    A decoder that is given none has the labels, or the text, one place to the right. There are none of an image.
    """
    ids, decoded, labels = (
        inputs[name][0].tolist() if name in inputs else [] for name in ("input_ids", "decoder_input_ids", "labels")
    )
    if config.is_encoder_decoder and not decoded and (shifted := labels or ids):
        start = getattr(config, "decoder_start_token_id", None)
        decoded = [shifted[-1] if start is None else start, *shifted[:-1]]
    name = partial(token_name, tokenizer)
    return list(map(name, ids)), list(map(name, decoded))


def queries_and_keys(seen: Attention, tokens: list[str], decoded: list[str]) -> tuple[list[str], list[str]]:
    """Queries and keys of a block, by the tokens of `tokens_of`; by number, from 1, where they are others (latents)."""
    own = decoded if decoded and seen.block.stack == "decoder" else tokens
    sides = zip((own, own if seen.block.kind == "self" else tokens), seen.probabilities.shape[2:], strict=True)
    queries, keys = (names if len(names) == n else [str(i) for i in range(1, n + 1)] for names, n in sides)
    return queries, keys
