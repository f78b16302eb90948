"""Texts for proofs: tokens differ whatever the vocabulary, between the special tokens of any tokenizer."""

import copy

import numpy as np
import pytest
import torch
from tiny import tiny_tokenizer
from tiny_types import tiny_model
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from prune_heads.checkpoints import Checkpoint
from prune_heads.checkpoints.tokenizer import random_texts
from prune_heads.errors import MaskNotAppliedError
from prune_heads.studies import pruning
from prune_heads.studies.exporting import random_batches
from prune_heads.surgery import remove_heads

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def of_numbers(single, *, unknown="[UNK]", pad="[PAD]"):
    """A vocabulary of numbers, in which every word of English is unknown, with these special tokens around a text."""
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *map(str, range(100, 200))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if single:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, unk_token="[UNK]", cls_token="[CLS]")


TOKENIZERS = {
    "framed": (lambda: of_numbers("[CLS] $A [SEP]"), [2], [3]),
    "ended": (lambda: of_numbers("$A [SEP]"), [], [3]),
    "begun": (lambda: of_numbers("[CLS] $A"), [2], []),
    "bare": (lambda: of_numbers(None), [], []),
    "words": (tiny_tokenizer, [2], [3]),
    "bytes": (ByT5Tokenizer, [], [1]),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokens_differ_between_the_special_ones_and_are_padded_on_the_right(name):
    make, before, after = TOKENIZERS[name]
    tokenizer = make()
    tokenizer.padding_side = "left"
    lengths = (12, 8, 5)
    batch, again = (random_texts(tokenizer, lengths, np.random.default_rng(0)) for _ in range(2))
    assert batch.keys() == dict(tokenizer("100")).keys()
    assert all(torch.equal(value, again[field]) for field, value in batch.items())
    for length, ids, mask in zip(lengths, batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True):
        assert mask == [1] * length + [0] * (12 - length)
        text = ids[len(before) : length - len(after)]
        assert ids == [*before, *text, *after, *[tokenizer.pad_token_id] * (12 - length)]
        assert len(set(text)) == len(text)
        assert not set(text) & set(tokenizer.all_special_ids)


def test_a_tokenizer_that_cannot_pad_gives_texts_of_one_length():
    tokenizer = of_numbers("[CLS] $A [SEP]", pad=None)
    assert random_texts(tokenizer, (5, 5), np.random.default_rng(0))["input_ids"].shape == (2, 5)
    model = tiny_model("llama")
    model.config.pad_token_id = None
    assert Checkpoint(model, tokenizer, "tiny", None).probe_inputs()["input_ids"].shape == (1, 8)
    assert {b["input_ids"].shape[1] for b in random_batches(Checkpoint(model, tokenizer, "tiny", None))} == {3, 33, 64}


def test_a_vocabulary_of_one_word_is_eked_out():
    tokenizer = of_numbers("$A [SEP]")
    tokenizer.add_special_tokens({"extra_special_tokens": [str(i) for i in range(101, 200)]})
    ids = random_texts(tokenizer, (6,), np.random.default_rng(0))["input_ids"][0]
    assert set(ids[:-1].tolist()) == {4}


@pytest.mark.parametrize("wrong", ["query", "key"])
def test_a_wrong_removal_is_seen_with_a_vocabulary_that_knows_no_word(wrong, monkeypatch):
    """A rotary model of equal tokens: whatever it attends to, it reads the same."""
    subject = Checkpoint(tiny_model("llama"), of_numbers(None), "tiny", None)

    @torch.no_grad()
    def wrongly(model, mask, means):
        remove_heads(model, mask)
        for layer in model.model.layers:
            getattr(layer.self_attn, f"{wrong[0]}_proj").weight.mul_(-1)
        return model

    monkeypatch.setitem(pruning.SURGERY, "remove", wrongly)
    mask = pruning.HeadMask.parse("1:1,2", (4, 4, 4))
    blind = {"input_ids": torch.tensor([[1, 1, 1, 1]])}  # what a sentence of unknown words becomes
    pruning.prune(copy.deepcopy(subject.model), mask, "remove", blind)
    with pytest.raises(MaskNotAppliedError, match="that it gives under gates; they differ"):
        pruning.prune(subject.model, mask, "remove", subject.probe_inputs())
