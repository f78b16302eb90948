"""How far two models agree on the same batches: their logits, and what they choose by them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Batches = Sequence[Mapping[str, Tensor]]
Logits = list[list[NDArray[np.float32]]]  # of each batch all outputs, `(examples, ...)`


def compared_logits(batches: Batches, expected: Logits, got: Logits) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `export` says of two models, and the row of the batch on which they are most apart."""
    rows = []
    for batch, wanted, came in zip(batches, expected, got, strict=True):
        sizes = dict(zip(("n_examples", "n_tokens"), next(iter(batch.values())).shape, strict=True))
        largest = float(np.max([np.abs(each).max() for each in wanted]))
        difference = float(np.max([np.abs(a - b).max() for a, b in zip(came, wanted, strict=True)]))
        chosen = [_answers(each, batch) for each in (wanted, came)]
        answers = {"n_answers": len(chosen[0]), "n_changed": int((chosen[0] != chosen[1]).sum())}
        rows.append({**sizes, "largest_logit": largest, "difference": difference, **answers})
    worst = max(rows, key=lambda row: np.nan_to_num(row["difference"] / max(1.0, row["largest_logit"]), nan=np.inf))
    sums = {name: sum(row[name] for row in rows) for name in ("n_answers", "n_changed")}
    return {"largest_difference": max(row["difference"] for row in rows), **sums, "checks": rows}, worst


def _answers(outputs: Sequence[NDArray[np.float32]], batch: Mapping[str, Tensor]) -> NDArray[np.int64]:
    """The place of the largest of the logits, of each text or of each token that is no padding; none of one score."""
    mask, found = batch.get("attention_mask"), [np.empty(0, dtype=np.int64)]
    for x in outputs:
        if x.shape[-1] > 1:
            is_by_token = mask is not None and x.ndim == 3 and x.shape[:2] == mask.shape
            found.append((x[mask.numpy() > 0] if is_by_token else x).argmax(-1).ravel())  # type: ignore[union-attr]
    return np.concatenate(found)
