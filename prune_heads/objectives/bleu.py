"""What sacrebleu (Post, 2018, https://arxiv.org/abs/1804.08771) counts of each translation.

BLEU of any set of translations is a function of the sums of these counts, so a bootstrap needs no texts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prune_heads.statistics import N_COUNTS


def bleu_counts(translations: Sequence[str], references: Sequence[str]) -> NDArray[np.float32]:
    """What BLEU needs to know of each translation, `(n_examples, N_COUNTS)`, with sacrebleu's own tokenizer 13a."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(effective_order=True)  # as it wants to be asked for single sentences; the counts are the same
    counts = np.empty((len(translations), N_COUNTS), dtype=np.float32)
    for row, translation, reference in zip(counts, translations, references, strict=True):
        score = metric.sentence_score(translation, [reference])
        row[:] = (*score.counts, *score.totals, score.sys_len, score.ref_len)
    return counts


def bleu_signature() -> str:
    """What decides a BLEU beside the texts, as sacrebleu writes it: tokenizer, smoothing, version."""
    from sacrebleu.metrics import BLEU

    metric = BLEU()
    metric.corpus_score(["a"], [["a"]])  # it says how many references there are once it has seen some
    return str(metric.get_signature())
