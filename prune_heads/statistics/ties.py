"""Many things that are compared with each other: which of them are ties, and how far repeated rankings agree."""

import string
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from prune_heads.statistics.metrics import Array
from prune_heads.statistics.tables import correlate

Z = 1.96  # errors to each side of a 95% interval


def from_zero(found: Mapping[str, Any]) -> dict[str, float]:
    """Of `Crossed`, of 95%: the standard `error`, and the two-sided `p` of 0 by its t distribution; 0 or 1 without."""
    error = (found["high"] - found["value"]) / float(scipy.stats.t.isf(0.025, found["degrees"]))
    if error <= 0:
        return {"error": 0.0, "p": float(found["value"] == 0)}
    return {"error": error, "p": float(2 * scipy.stats.t.sf(abs(found["value"]) / error, found["degrees"]))}


def half_interval(parts: Sequence[tuple[float, float]]) -> float:
    """Half of the 95% interval of a sum of independent numbers, each with a variance and its degrees of freedom.

    Those of the sum are Satterthwaite's.
    """
    total = sum(variance for variance, _ in parts)
    if total <= 0:
        return 0.0
    degrees = total**2 / sum(variance**2 / of for variance, of in parts)
    return float(scipy.stats.t.isf(0.025, degrees)) * total**0.5


def letters(names: Sequence[str], differ: Collection[frozenset[str]]) -> dict[str, str]:
    """Name -> its letters; two names have one in common just where they are not among the pairs that differ.

    The insert-and-absorb algorithm of a compact letter display (Piepho, 2004, J. Comp. Graph. Stat. 13, 456-466), by
    the order of the names: those best first have `a`. A letter is one character, also after `Z`.
    """
    sets = [frozenset(names)]
    for pair in sorted(differ, key=sorted):
        parts = {part for each in sets for part in ((each - {n} for n in pair) if pair <= each else [each])}
        sets = [each for each in parts if not any(each < other for other in parts)]
    place = {name: i for i, name in enumerate(names)}
    sets.sort(key=lambda each: sorted(place[name] for name in each))
    found = [*string.ascii_letters, *filter(str.isalpha, map(chr, range(0xC0, 0x400 + 4 * len(sets))))]
    return {name: "".join(letter for letter, each in zip(found, sets, strict=False) if name in each) for name in names}


def foreseen(summed: Array, measured: Array, sizes: Array, *, is_disjoint: bool = True) -> dict[str, Any] | None:
    """Spearman's correlation over masks of what is foreseen with what is measured: its mean over samples and sizes.

    Its variance is that of the samples, and that of drawing other masks (`correlate`), which all samples share.

    Args:
        summed: `(n_samples, n_masks)`: what the scores of each sample give a mask.
        measured: `(n_masks,)`.
        sizes: `(n_masks,)`: how many heads each mask closes.
        is_disjoint: Else the samples are resamples, and their variance is that of the mean.

    Returns:
        `{"value", "low", "high"}`, of 95%; None where the correlation is undefined in a size.
    """
    of_size = [sizes == size for size in np.unique(sizes)]
    found = [[correlate(row[of], measured[of])["spearman"] for of in of_size] for row in summed]
    if not of_size or any(each["value"] is None for row in found for each in row):
        return None
    values, lows, highs = (np.array([[e[key] for e in row] for row in found]) for key in ("value", "low", "high"))
    means, n = values.mean(axis=1), len(summed)
    of_samples = float(np.var(means, ddof=1)) / (n if is_disjoint else 1) if n > 1 else 0.0
    of_masks = ((highs - lows) / (2 * Z)) ** 2
    half = Z * (of_samples + float(of_masks.mean(axis=0).sum()) / len(of_size) ** 2) ** 0.5
    return {"value": float(means.mean()), "low": float(means.mean()) - half, "high": float(means.mean()) + half}


def agreement(scores: Array) -> dict[str, Any] | None:
    """Spearman's correlation of each two of `(n_scorings, n_heads)`, their mean, with an interval of 95%.

    Its error is that of a jackknife that leaves out a scoring with all of its pairs; of two there is no interval.

    Returns:
        `{"value", "low", "high"}`; None with fewer than two scorings, four heads, or where all scores of one are alike.
    """
    k, n = scores.shape
    if k < 2 or n < 4 or not np.ptp(scores, axis=1).all():
        return None
    r = np.corrcoef(scipy.stats.rankdata(scores, axis=1))
    pairs = (r.sum() - k) / 2
    value = float(pairs / (k * (k - 1) / 2))
    if k == 2:
        return {"value": value, "low": None, "high": None}
    without = (pairs - (r.sum(axis=0) - 1)) / ((k - 1) * (k - 2) / 2)
    half = float(scipy.stats.t.isf(0.025, k - 1) * ((k - 1) * np.var(without)) ** 0.5)
    return {"value": value, "low": value - half, "high": value + half}
