"""Texts tokenised for a language model: what it is given, and what its logits are to predict.

Causal: each token after the first, from those before it; the last token is no input. Masked: the tokens that
`masking` chooses. Sequence to sequence: every token of the target.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase as Tokenizer

from prune_heads.batching.batches import CHUNK, Batches, encode
from prune_heads.batching.masking import masked
from prune_heads.batching.targets import Targets
from prune_heads.checkpoints import IGNORED, Objective
from prune_heads.tasks.task import Split

_Ids = NDArray[np.int32]


class _Example(NamedTuple):
    fields: dict[str, _Ids]
    """What the model's forward takes, `(tokens,)` each."""
    targets: _Ids
    """`(positions,)`, as in `Targets`."""
    is_cut: bool


def tokenize_texts(
    split: Split,
    tokenizer: Tokenizer,
    objective: Objective,
    *,
    batch_size: int = 32,
    max_length: int = 128,
) -> Batches:
    """Tokenise texts, cut at `max_length` tokens, source and target each.

    Args:
        split: Texts; of pairs the first is the source and the second the target.
        tokenizer: The checkpoint's own.
        objective: What is predicted.
        batch_size: Examples a batch.
        max_length: Tokens a text, at most.

    Returns:
        Batches whose inputs have `targets` and whose labels are the numbers of tokens to predict.
    """
    fields: dict[str, list[_Ids]] = {}
    targets: list[_Ids] = []
    n_cut = 0
    for example in _examples(split, tokenizer, objective, max_length):
        for name, values in example.fields.items():
            fields.setdefault(name, []).append(values)
        targets.append(example.targets)
        n_cut += example.is_cut
    return Batches(
        tokenizer=tokenizer,
        fields={name: np.concatenate(values) for name, values in fields.items()},
        offsets=_offsets(fields["input_ids"]),
        labels=np.asarray([_n_predicted(row) for row in targets], dtype=np.int64),
        batch_size=batch_size,
        targets=Targets(np.concatenate(targets), _offsets(targets)),
        n_cut=n_cut,
    )


def _examples(
    split: Split, tokenizer: Tokenizer, objective: Objective, max_length: int
) -> Iterator[_Example]:
    max_length = min(max_length, tokenizer.model_max_length)
    for start in range(0, len(split.dataset), CHUNK):
        rows = split.dataset[start : start + CHUNK]
        given, longer = encode(tokenizer, max_length, text=rows["text"])
        wanted, also_longer = (
            encode(tokenizer, max_length, text_target=rows["text_pair"])
            if objective == "seq2seq"
            else (given, longer)
        )
        for i, is_cut in enumerate(longer | also_longer):
            fields = {name: np.asarray(values[i], dtype=np.int32) for name, values in given.items()}
            yield _Example(*_posed(fields, wanted["input_ids"][i], tokenizer, objective), bool(is_cut))


def _posed(
    fields: dict[str, _Ids], wanted: list[int], tokenizer: Tokenizer, objective: Objective
) -> tuple[dict[str, _Ids], _Ids]:
    """The fields that the model is given, and the targets."""
    ids = fields["input_ids"]
    if objective == "causal":
        return {name: values[:-1] for name, values in fields.items()}, ids[1:]
    if objective == "masked":
        given, targets = masked(ids, tokenizer)
        return fields | {"input_ids": given}, targets
    return fields, np.asarray(wanted, dtype=np.int32)


def _n_predicted(targets: _Ids) -> int:
    return int((targets != IGNORED).sum())


def _offsets(rows: list[_Ids]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
