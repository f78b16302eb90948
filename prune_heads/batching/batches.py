"""Tokenised examples in batches: sorted by length, padded per batch, with their place in the file.

Sorting keeps padding small (GLUE sentences have 10 to 40 tokens, the published protocol pads all to 128). Padding is
on the right, whatever the tokenizer says: there an absolute position is that of the example alone. See `padding`.
Whoever consumes the batches puts results back into file order by `Batch.index`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer

from prune_heads.batching.targets import Side, Targets, padded
from prune_heads.batching.translation import Translation
from prune_heads.tasks.task import Split

CHUNK = 1000
"""Texts that are given to a tokeniser at once."""


@dataclass(frozen=True)
class Batch:
    """Some examples on a device."""

    index: NDArray[np.int64]
    """`(batch,)`: places of the examples in file order, from 0."""
    inputs: dict[str, Tensor]
    """What the model's forward takes, each `(batch, tokens)`; of a language model `targets` too."""
    labels: Tensor
    """`(batch,)`: the model's own label indices, scores for regression, or how many tokens are predicted."""
    translation: Translation | None = None
    """Where the model is to write the targets when it is evaluated."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        return replace(self, inputs=inputs, labels=self.labels.to(device))

    def repeated(self, n: int) -> "Batch":
        """The whole batch `n` times over."""
        inputs = {name: value.repeat(n, *[1] * (value.ndim - 1)) for name, value in self.inputs.items()}
        index = np.tile(self.index, n)
        translation = self.translation and self.translation.of(np.tile(np.arange(len(self.index)), n))
        return Batch(index, inputs, self.labels.repeat(n), translation)


@dataclass(frozen=True)
class Batches:
    """The examples of a split, tokenised once and held as flat arrays (four bytes a token and field)."""

    tokenizer: Tokenizer | None
    """None where nothing is padded."""
    fields: dict[str, NDArray[np.int32]]
    """Each `(all tokens,)`, example after example."""
    offsets: NDArray[np.int64]
    """`(n_examples + 1,)`: example i has tokens `offsets[i]:offsets[i + 1]`."""
    labels: NDArray[np.int64] | NDArray[np.float32]
    """`(n_examples,)`, as in `Batch.labels`."""
    batch_size: int
    targets: Targets | None = None
    """What a language model is to predict; None for a classifier."""
    translation: Translation | None = None
    """Where the model is to write the targets when it is evaluated."""
    pad_id: int | None = None
    """The token that fills a batch; None for the tokenizer's."""
    side: Side = "right"
    """Where it stands."""
    n_cut: int = 0
    """Examples that were longer than they may be."""

    @property
    def n_examples(self) -> int:
        """Examples in all."""
        return len(self.labels)

    @property
    def n_tokens(self) -> NDArray[np.int64]:
        """`(n_examples,)`: tokens of each example, special ones included, padding not; targets not counted."""
        return np.diff(self.offsets)

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """All that the model is given of the examples, by name; for fingerprints."""
        yield from sorted(self.fields.items())
        yield "offsets", self.offsets
        yield "labels", self.labels
        if self.targets is not None:
            yield "targets", self.targets.tokens
            yield "target_offsets", self.targets.offsets

    def __len__(self) -> int:
        return -(-self.n_examples // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Longest first, so that what does not fit into memory fails at once."""
        return self.numbered(range(len(self)))

    def numbered(self, steps: Iterable[int]) -> Iterator[Batch]:
        """Some of the batches, by their places among all, from 0."""
        size = self.n_tokens if self.targets is None else self.n_tokens + self.targets.n_positions
        order = np.argsort(-size, kind="stable")
        for step in steps:
            yield self.batch(order[step * self.batch_size : (step + 1) * self.batch_size])

    def batch(self, index: NDArray[np.int64], *, pad_to: int | None = None) -> Batch:
        """The examples at these places, padded to the longest of them or to `pad_to` tokens."""
        pad_id = getattr(self.tokenizer, "pad_token_id", 0) if self.pad_id is None else self.pad_id
        values = {
            "input_ids": pad_id or 0,
            "token_type_ids": getattr(self.tokenizer, "pad_token_type_id", 0),
        }
        inputs = {
            name: padded(
                [flat[self.offsets[i] : self.offsets[i + 1]] for i in index],
                values.get(name, 0),
                pad_to,
                self.side,
            )
            for name, flat in self.fields.items()
        }
        if self.targets is not None:
            inputs["targets"] = self.targets.batch(index, pad_to=pad_to, side=self.side)
        translation = self.translation and self.translation.of(index)
        return Batch(index, inputs, torch.from_numpy(self.labels[index]), translation)


def tokenize(
    split: Split,
    tokenizer: Tokenizer,
    *,
    model_index: tuple[int, ...] | None,
    batch_size: int = 32,
    max_length: int = 128,
) -> Batches:
    """Tokenise a split, cutting examples at `max_length` tokens (the longer text of a pair first).

    Args:
        split: Texts and labels.
        tokenizer: The checkpoint's own.
        model_index: The model's label index of each label of the task; None for regression.
        batch_size: Examples a batch.
        max_length: Tokens an example, at most.
    """
    max_length = min(max_length, tokenizer.model_max_length)
    chunks: dict[str, list[NDArray[np.int32]]] = {}
    lengths: list[int] = []
    n_cut = 0
    for start in range(0, len(split.dataset), CHUNK):
        rows = split.dataset[start : start + CHUNK]
        encoded, longer = encode(tokenizer, max_length, text=rows["text"], text_pair=rows.get("text_pair"))
        n_cut += int(longer.sum())
        lengths += [len(ids) for ids in encoded["input_ids"]]
        for name, values in encoded.items():
            chunks.setdefault(name, []).append(
                np.concatenate([np.asarray(v, dtype=np.int32) for v in values])
            )
    labels: NDArray[np.int64] | NDArray[np.float32]
    if model_index is None:
        labels = np.asarray(split.dataset["label"], dtype=np.float32)
    else:
        labels = np.asarray(model_index, dtype=np.int64)[np.asarray(split.dataset["label"], dtype=np.int64)]
    return Batches(
        tokenizer=tokenizer,
        fields={name: np.concatenate(values) for name, values in chunks.items()},
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=labels,
        batch_size=batch_size,
        n_cut=n_cut,
    )


def encode(
    tokenizer: Tokenizer, max_length: int, **texts: list[str] | None
) -> tuple[dict[str, list[list[int]]], NDArray[np.bool_]]:
    """The tokenizer's fields, cut, and which texts or pairs were longer; the mask of padding is always among them."""
    # verbose=False: it warns of texts that are too long, though none of them reaches the model whole.
    whole = tokenizer(**texts, return_attention_mask=True, verbose=False)
    longer = np.asarray([len(ids) > max_length for ids in whole["input_ids"]])
    if longer.any():
        whole = tokenizer(**texts, return_attention_mask=True, truncation=True, max_length=max_length)
    return dict(whole), longer
