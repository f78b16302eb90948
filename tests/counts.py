"""Drawn counts of n-grams, as of translations of some words."""

import numpy as np


def drawn_counts(rng, n, *, quality=0.6):
    """`(n, 10)`: translations of 0 to 12 words, whose n-grams are right by chance."""
    length = rng.integers(0, 13, n)
    total = np.maximum(length[:, None] - np.arange(4), 0)
    right = rng.binomial(total, quality ** np.arange(1, 5))
    return np.column_stack([right, total, length, rng.integers(1, 13, n)]).astype(np.float32)
