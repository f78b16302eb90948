"""Corpus BLEU and its bootstrap against sacrebleu's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from prune_heads.objectives.likelihood import bleu_counts, bleu_signature
from prune_heads.statistics import METRICS, N_COUNTS, compare_paired, metric_interval, paired_bootstrap
from prune_heads.statistics.metrics import sentence_bleu

WORDS = ["the", "cat", "sees", "a", "dog's", "ball,", "don't!", "3.14", "(again)", "now."]
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)


def corpus_bleu(counts):
    return METRICS["bleu"](counts, np.ones(len(counts)))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.one_of(st.just(""), SENTENCES), SENTENCES), min_size=1, max_size=6))
def test_the_counts_give_what_sacrebleu_gives_of_the_texts(pairs):
    translations, references = map(list, zip(*pairs, strict=True))
    expected = BLEU(force=True).corpus_score(translations, [references]).score / 100
    counts = bleu_counts(translations, references)
    assert counts.shape == (len(pairs), N_COUNTS)
    assert corpus_bleu(counts) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.one_of(st.just(""), SENTENCES), SENTENCES), min_size=1, max_size=6))
def test_the_response_of_each_translation_is_sacrebleus_sentence_score(pairs):
    translations, references = map(list, zip(*pairs, strict=True))
    metric = BLEU(effective_order=True)
    expected = [metric.sentence_score(made, [true]).score / 100 for made, true in pairs]
    assert sentence_bleu(bleu_counts(translations, references)) == pytest.approx(expected, abs=1e-12)


def test_known_translations():
    reference = ["The cat sat on the mat, today."]
    assert corpus_bleu(bleu_counts(reference, reference)) == pytest.approx(1.0)
    assert corpus_bleu(bleu_counts(["Nothing of it"], reference)) == 0.0
    assert corpus_bleu(bleu_counts([""], reference)) == 0.0
    (counts,) = bleu_counts(["the cat sat on a mat."], reference)  # 13a: 'The' is another word, '.' is one
    assert counts.tolist() == [6, 2, 1, 0, 7, 6, 5, 4, 7, 9]
    assert "tok:13a|smooth:exp" in bleu_signature()
    assert bleu_signature().startswith("nrefs:1|case:mixed|eff:no")


@pytest.fixture(scope="module")
def systems():
    """A reference, a good and a worse translation, of 120 sentences each."""
    rng = np.random.default_rng(0)

    def changed(sentence, rate):
        return " ".join(str(rng.choice(WORDS)) if rng.random() < rate else word for word in sentence.split())

    references = [" ".join(rng.choice(WORDS, size=rng.integers(4, 14))) for _ in range(120)]
    return references, *([changed(each, rate) for each in references] for rate in (0.15, 0.2))


def test_a_weight_is_how_often_a_sentence_is_drawn(systems):
    references, good, _ = systems
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, len(good), size=(20, len(good)))
    weights = np.stack([np.bincount(row, minlength=len(good)) for row in drawn]).astype(np.float64)
    got = METRICS["bleu"].weighted(bleu_counts(good, references), np.ones(120), weights)
    metric = BLEU(force=True)
    for value, row in zip(got, drawn, strict=True):
        texts = [good[i] for i in row], [[references[i] for i in row]]
        assert value == pytest.approx(metric.corpus_score(*texts).score / 100, abs=1e-12)


def test_the_paired_bootstrap_agrees_with_that_of_sacrebleu(systems):
    """Other draws of the same resampling: intervals within the error of a thousand draws, p within three of its own."""
    references, good, worse = systems
    named = [("good", good), ("worse", worse)]
    test = PairedTest(named, {"BLEU": BLEU(force=True)}, [references], test_type="bs", n_samples=1000)
    _, scores = test()
    theirs_good, theirs_worse = scores["BLEU"]
    first, second = bleu_counts(good, references), bleu_counts(worse, references)
    ones = np.ones(120)
    for counts, theirs in ((first, theirs_good), (second, theirs_worse)):
        low, high = metric_interval("bleu", counts, ones, seed=0, n_resamples=5000)
        assert (high - low) / 2 == pytest.approx(theirs.ci / 100, rel=0.08)
        assert (high + low) / 2 == pytest.approx(theirs.mean / 100, abs=0.05 * theirs.ci / 100 + 0.003)
    ours = compare_paired("bleu", first, second, ones, seed=0, n_resamples=5000)
    assert ours.test == "paired bootstrap"
    assert ours.value == pytest.approx((theirs_worse.score - theirs_good.score) / 100, abs=1e-9)
    assert ours.low < ours.value < ours.high < 0
    # sacrebleu counts both tails of |difference| less its mean, ours those of the difference less the observed one.
    assert ours.p_value < 0.02
    assert theirs_worse.p_value < 0.02
    short = paired_bootstrap("bleu", first, second, ones, seed=0, n_resamples=5000)
    assert (short.value, short.low, short.high) == (ours.value, ours.low, ours.high)


def test_no_difference_is_none_and_wrong_shapes_are_refused(systems):
    references, good, _ = systems
    counts, ones = bleu_counts(good, references), np.ones(120)
    same = compare_paired("bleu", counts, counts.copy(), ones, seed=0)
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    for wrong in (counts[:, :9], counts[:-1], counts[:, 0]):
        with pytest.raises(ValueError, match="of one length"):
            compare_paired("bleu", wrong, wrong, ones, seed=0)
