"""The table of float32 for about the price of bfloat16: which answers run again, and how far off the others may be.

All masks run in bfloat16. The logits under a mask are then moved by a share of what float32 changes without one, for
most of the error is the same. The margin of an answer is how far its logits are from another one: the first less the
second, or of labels that are there or not the smallest distance from 0. An answer survives errors of the margin that
are smaller. So these errors are measured on a sample of pairs, each of a mask and an example. Every pair whose margin
is smaller than the largest error, times `FACTOR`, runs in float32. On another sample it is counted how many of the
others differ.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.errors import UnfitError
from prune_heads.evaluation import Subject
from prune_heads.objectives.base import Kept, Objective
from prune_heads.objectives.classifiers import SingleLabel
from prune_heads.predictions import Predictions

FACTOR = 2.0  # the bound over the largest error of the first sample; that of a hundred times as many was about twice it
SHARES, AT_LEAST, SEED = (0.01, 0.03), (500, 1000), 0  # of the pairs, in the first sample and in the second


def check_margins(subject: Subject) -> None:
    """Refuse what has no margin by which to say that an answer is that of float32: `UnfitError`."""
    objective, task = subject.objective, subject.task.spec.name
    if not (isinstance(objective, SingleLabel) and objective.chooses and len(objective.model_index) > 1):
        must = "--dtype mixed needs answers that are chosen by their logits, of one label or several"
        raise UnfitError(f"{must}; those of {task} are of {objective.name}. Take float32 or bfloat16")


def margins(objective: Any, kept: Kept, answers: NDArray[Any]) -> NDArray[np.float64]:
    """`(n,)`: how far logits, `(n, width)`, are from other answers than these; below 0 they give others."""
    logits = kept.astype(np.float64)
    if answers.ndim == 2:
        return np.where(answers == 1, logits, -logits).min(axis=1)
    choices, rows = logits[:, list(objective.model_index)], np.arange(len(logits))
    chosen = choices[rows, answers]
    choices[rows, answers] = -np.inf
    return np.asarray(chosen - choices.max(axis=1))


# long: one pass over the table, from the samples to what is said of it
def corrected(
    predictions: Predictions, low: NDArray[np.float32], run: Callable[[NDArray[np.bool_], Kept], None]
) -> NDArray[np.float32]:
    """What bfloat16 gives, made as good as float32; what was found is noted, and added to `Predictions.corrections`.

    `low` is `(n_masks, n_examples, width)` in bfloat16, without a mask first; `run` is `ManyMasks.pairs` in float32.
    If an error of the second sample is beyond the bound, the bound is widened by it.
    """
    objective, references, size, width = predictions.objective, predictions.references, low.shape[:2], low.shape[-1]
    fitted, checked = _samples(*size)
    known = fitted | checked | (np.arange(len(low))[:, None] == 0)
    run(known, exact := np.full_like(low, np.nan))
    moves, errors = (exact[0] - low[0])[fitted.nonzero()[1]], (exact - low)[fitted]
    share = float(np.clip(np.vdot(errors, moves) / max(np.vdot(moves, moves), 1e-30), 0, 1))
    moved = low + np.float32(share) * (exact[0] - low[0])
    answers = objective.predictions(moved.reshape(-1, width))
    margin, true = (margins(objective, each.reshape(-1, width), answers).reshape(size) for each in (moved, exact))
    error = np.abs(margin - true)  # NaN where float32 is not known
    largest = float(error[fitted].max(initial=0))
    tested = checked & (margin >= FACTOR * largest)
    n_beyond = int((error[tested] > FACTOR * largest).sum())
    n_flipped = n_different(objective, moved[tested], exact[tested])
    places = tested.nonzero()[1]
    of = [objective.log_likelihood(each[tested], references[places]) for each in (moved, exact)]
    left = of[0] - of[1] if of[0] is not None and of[1] is not None and len(places) else None
    if n_beyond:
        largest = float(error[fitted | checked].max())
    again = (margin < FACTOR * largest) & ~known
    run(again, exact)
    found = np.where((known | again)[..., None], exact, moved)
    split, n_float32 = predictions.split.name, int((known | again).sum())
    about: dict[str, Any] = {"dtype": "mixed", "split": split, "n_examples": low.shape[1], "n_masks": len(low)}
    about |= {"n_predictions": len(places), "n_flipped": n_flipped, "n_beyond": n_beyond, "share_moved": share}
    about |= {"bound": FACTOR * largest, "factor": FACTOR, "largest_error": largest}
    about |= {"n_pairs": known.size, "n_fitted": int(fitted.sum()), "n_float32": n_float32}
    about["n_repaired"] = n_different(objective, low.reshape(-1, width), found.reshape(-1, width))
    about["likelihood_error"] = None if left is None else {"mean": float(left.mean()), "spread": float(left.std())}
    predictions.corrections.append(about)
    ran = f"{split}: {n_float32 / known.size:.1%} of {known.size:,} answers are of float32, all with a margin below"
    wide = f", widened for {n_beyond} errors beyond it" if n_beyond else ""
    checked_others = f"of {len(places):,} others that were checked {n_flipped} differ"
    predictions.reporter.note(f"{ran} {FACTOR * largest:.2g}{wide}; {checked_others}")
    return found


def n_different(objective: Objective, first: Kept, second: Kept) -> int:
    """Examples of which two that are kept predict something else."""
    differs = objective.predictions(first) != objective.predictions(second)
    return int(np.sum(differs if differs.ndim == 1 else differs.any(axis=1)))


def _samples(n_masks: int, n: int) -> NDArray[np.bool_]:
    """`(2, n_masks, n)`: of each mask but the first as many examples, others in each; all where there are few."""
    found, rng = np.zeros((2, n_masks, n), dtype=bool), np.random.default_rng(SEED)
    sizes = [max(share * n, least / max(n_masks - 1, 1)) for share, least in zip(SHARES, AT_LEAST, strict=True)]
    first, second = (math.ceil(size * min(1, n / sum(sizes))) for size in sizes)
    for mask in range(1, n_masks):
        order = rng.permutation(n)
        found[0, mask, order[:first]] = found[1, mask, order[first : first + second]] = True
    return found
