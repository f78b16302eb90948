"""The tokens that a masked language model is to predict: a pure function of the text, in the shares of BERT."""

import random

import numpy as np
from tiny import WORDS
from tiny_texts import text_tokenizer, topic_texts

from prune_heads.objectives.batches import IGNORED
from prune_heads.objectives.likelihood import MaskedLM, masked
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task

TOKENIZER = text_tokenizer()


def ids_of(text):
    return np.asarray(TOKENIZER(text)["input_ids"], dtype=np.int32)


def test_a_mask_depends_on_the_text_and_on_nothing_else(tmp_path):
    """Neither on its place among others, nor on how many there are, nor on the batch."""
    texts = topic_texts(30, 0)
    orders = [texts, texts[::-1], texts[:7]]
    found = []
    for i, order in enumerate(orders):
        (tmp_path / f"{i}.txt").write_text("\n".join(order))
        split = load_task("lm", own=OwnData({"train": tmp_path / f"{i}.txt"}, kind="lm")).load("train")
        batches = MaskedLM("log_likelihood").batches(split, TOKENIZER, batch_size=1 + i, n_max=128)
        rows = [batches.batch(np.array([j])) for j in range(len(order))]
        found.append(
            {
                text: (row.inputs["input_ids"].tolist(), row.targets.tolist())
                for text, row in zip(order, rows, strict=True)
            }
        )
    assert found[0] == found[1]
    assert found[2].items() <= found[0].items()


def test_fifteen_percent_of_the_words_are_chosen_and_at_least_one():
    for n_words, n_chosen in ((1, 1), (2, 1), (9, 1), (10, 2), (20, 3), (40, 6)):
        ids = ids_of(" ".join(random.Random(n_words).choices(WORDS, k=n_words)))
        given, targets = masked(ids, TOKENIZER)
        chosen = targets != IGNORED
        assert chosen.sum() == n_chosen
        assert np.array_equal(targets[chosen], ids[chosen])
        assert np.array_equal(given[~chosen], ids[~chosen])
        assert not chosen[[0, -1]].any()  # [CLS] and [SEP]


def test_of_these_eighty_percent_are_hidden_ten_are_others_and_ten_stay():
    draw = random.Random(0)
    shares = np.zeros(3)
    places = []
    for _ in range(4000):
        ids = ids_of(" ".join(draw.choices(WORDS, k=8)))
        given, targets = masked(ids, TOKENIZER)
        (place,) = np.flatnonzero(targets != IGNORED)
        places.append(place)
        what = given[place]
        shares[0 if what == TOKENIZER.mask_token_id else 2 if what == ids[place] else 1] += 1
    by_chance = 0.1 / len(TOKENIZER)  # a token drawn at random may be the mask token, or the word itself
    assert np.allclose(shares / 4000, [0.8 + by_chance, 0.1 - 2 * by_chance, 0.1 + by_chance], atol=0.02)
    assert np.allclose(np.bincount(places, minlength=9)[1:] / 4000, 1 / 8, atol=0.02)


def test_a_text_of_unknown_words_has_nothing_to_predict():
    given, targets = masked(ids_of("zebra"), TOKENIZER)
    assert np.array_equal(given, ids_of("zebra"))
    assert (targets == IGNORED).all()
