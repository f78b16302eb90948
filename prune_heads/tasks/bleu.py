"""Corpus BLEU by sacrebleu (Post, 2018, https://arxiv.org/abs/1804.08771), from counts that add up over examples.

BLEU of any set of translations is a function of the sums of ten counts of each, so a bootstrap needs no texts.
Importing this module imports sacrebleu.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sacrebleu.metrics import BLEU

N_GRAMS = 4
"""N-grams of 1 to so many words are counted."""

N_COUNTS = 2 * N_GRAMS + 2
"""N-grams that are right, by their length; N-grams in all, likewise; words of the translation and of the reference."""


def bleu_counts(translations: Sequence[str], references: Sequence[str]) -> NDArray[np.float32]:
    """What BLEU needs to know of each translation, `(n_examples, N_COUNTS)`, with sacrebleu's own tokenizer 13a."""
    metric = BLEU(
        effective_order=True
    )  # as it wants to be asked for single sentences; the counts are the same
    counts = np.empty((len(translations), N_COUNTS), dtype=np.float32)
    for row, translation, reference in zip(counts, translations, references, strict=True):
        score = metric.sentence_score(translation, [reference])
        row[:] = (*score.counts, *score.totals, score.sys_len, score.ref_len)
    return counts


def corpus_bleu(counts: ArrayLike) -> float:
    """BLEU as a share, of translations with counts `(n_examples, N_COUNTS)`."""
    total = [int(n) for n in np.asarray(counts, dtype=np.float64).sum(axis=0)]
    score = BLEU.compute_bleu(
        total[:N_GRAMS],
        total[N_GRAMS : 2 * N_GRAMS],
        total[-2],
        total[-1],
        smooth_method=BLEU().smooth_method,
    )
    return float(score.score) / 100


def bleu_signature() -> str:
    """What decides a BLEU beside the texts, as sacrebleu writes it: tokenizer, smoothing, version."""
    metric = BLEU()
    metric.corpus_score(["a"], [["a"]])  # it says how many references there are once it has seen some
    return str(metric.get_signature())
