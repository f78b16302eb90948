"""Translations that a model writes under gates: the same text whatever the batch, the padding, the way and the mask."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import sacrebleu
import torch

from prune_heads import attention_blocks, gates_of, load_pruned, remove_heads, save_pruned, zero_heads
from prune_heads.ablation import ManyMasks, ablations, predict_masks
from prune_heads.checkpoints.head import translate
from prune_heads.errors import TaskError
from prune_heads.evaluation import predict
from prune_heads.gating import gated
from prune_heads.heads import HeadMask
from prune_heads.importance import gate_gradients
from prune_heads.objectives import TASKS, bound
from prune_heads.options import Setup
from prune_heads.progress import Reporter
from prune_heads.studies.setup import identify, load_split, load_subject, predictions_of

HEADS = "E:2:4 A:2:2 A:3:1 D:1:1,3"
"""Of the built-in model, heads that matter."""


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    store = tmp_path_factory.mktemp("kept") / "store"
    return Setup("mini", "mini-translation", max_examples=9, batch_size=5, max_length=28, store=store)


@pytest.fixture(scope="module")
def subject(setup):
    return load_subject(setup, Reporter())


@pytest.fixture(scope="module")
def split(setup, subject):
    """Long sentences, which the model does not know well."""
    return load_split(setup, subject, "mismatched", Reporter())


@pytest.fixture(scope="module")
def predictions(setup, subject, split):
    return predictions_of(setup, subject, split, Reporter())


@pytest.fixture
def fresh(setup, subject, split, tmp_path):
    """The same with an empty store."""
    return predictions_of(replace(setup, store=tmp_path / "store"), subject, split, Reporter())


def together(subject, split, heads=""):
    """The translations of all sources, padded to the longest."""
    model, tokenizer = subject.model, subject.classifier.tokenizer
    with gated(model, gates_of(model, heads)):
        ids = tokenizer(split.dataset["text"][:], padding=True, return_tensors="pt")
        return translate(model, tokenizer, ids, beams=1, n_max=subject.n_max)


def of_block(gone, block):
    """Masks of each head of a block, from 0."""
    return [mask for head, mask in ablations("without-one", gone).items() if head[0] == block]


def written(subject, split, heads=""):
    """The translation of one source at a time, hence without any padding."""
    model, tokenizer = subject.model, subject.classifier.tokenizer
    texts = []
    with gated(model, gates_of(model, heads)):
        for source in split.dataset["text"][:]:
            ids = tokenizer(source, return_tensors="pt")
            texts += translate(model, tokenizer, ids, beams=1, n_max=subject.n_max)
    return texts


@pytest.mark.parametrize("heads", ["", HEADS])
def test_bleu_is_that_of_sacrebleu_on_texts_written_one_at_a_time(subject, split, predictions, heads):
    texts = written(subject, split, heads)
    mask = HeadMask.parse(heads, subject.n_heads)
    expected = sacrebleu.corpus_bleu(texts, [split.dataset["text_pair"][:]], force=True).score / 100
    assert texts == together(subject, split, heads)
    assert predictions.metric_of(predictions.of(mask)) == pytest.approx(expected, abs=1e-12)
    assert 0.1 < expected < 0.9
    assert not any(" ." in text or "[" in text for text in texts)
    assert set(texts).isdisjoint(split.dataset["text"][:])


def test_the_size_of_a_batch_changes_nothing(subject, split):
    gates = gates_of(subject.model, HEADS)
    counts = [predict(subject.model, replace(subject, batch_size=size).batches(split), gates) for size in (1, 5, 9)]
    assert all(np.array_equal(counts[0], each) for each in counts[1:])
    assert counts[0].shape == (9, 10)


def test_gated_zeroed_and_removed_heads_write_the_same(subject, split, tmp_path):
    under = together(subject, split, HEADS)
    assert under != together(subject, split)
    for change in (zero_heads, remove_heads):
        model = copy.deepcopy(subject.classifier.model)
        change(model, HEADS)
        changed = replace(subject, classifier=subject.classifier._replace(model=model))
        assert together(changed, split) == under
    model.generation_config.update(bad_words_ids=[[1]])  # the unknown word
    save_pruned(model, tmp_path / "removed")
    again = load_pruned(tmp_path / "removed")
    assert again.generation_config.bad_words_ids == [[1]]
    assert together(replace(subject, classifier=subject.classifier._replace(model=again)), split) == under


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_many_masks_at_once_are_each_mask_alone(setup, split, tmp_path, beams):
    """Every row of a pass has its own gates, in the decoder one a hypothesis."""
    asked = replace(setup, beams=beams, store=tmp_path)
    subject = load_subject(asked, Reporter())
    predictions = predictions_of(asked, subject, split, Reporter())
    every = of_block(predictions.gone, 5)[:2]
    masks = [predictions.gone, HeadMask.parse(HEADS, subject.n_heads), *every]
    found = predict_masks(predictions, masks, memory=1)
    for mask, counts in found.items():
        alone = predict(subject.model, predictions.batches, gates_of(subject.model, mask))
        np.testing.assert_array_equal(counts, alone)
    assert len({counts.tobytes() for counts in found.values()}) > 2


def test_a_pass_takes_as_many_masks_as_the_memory(fresh, monkeypatch):
    rows, of_model = [], type(fresh.subject.model)
    original = of_model.generate

    def counted(self, **given):
        rows.append(len(given["input_ids"]))
        return original(self, **given)

    monkeypatch.setattr(of_model, "generate", counted)
    masks = of_block(fresh.gone, 0)
    run = ManyMasks(fresh, masks, memory=1)
    batch = next(iter(fresh.batches))
    run.bytes = run.bytes_per_token * 3 * (batch.inputs["input_ids"].numel() + 5 * 28)
    assert run.logits(batch).shape == (4, 5, 10)
    assert rows == [3 * 5, 5]


def test_nothing_is_written_twice_and_a_killed_run_goes_on(fresh, monkeypatch):
    masks = [fresh.gone, *of_block(fresh.gone, 4)]
    whole = predict_masks(fresh, masks)
    fresh.store.clear()
    computed, original = [], ManyMasks.logits

    def counted(self, batch):
        if len(computed) == 1:
            raise KeyboardInterrupt
        computed.append(batch.index)
        return original(self, batch)

    monkeypatch.setattr(ManyMasks, "logits", counted)
    with pytest.raises(KeyboardInterrupt):
        predict_masks(fresh, masks)
    computed.clear()
    monkeypatch.setattr(ManyMasks, "logits", lambda self, batch: computed.append(1) or original(self, batch))
    again = predict_masks(fresh, masks)
    assert len(computed) == len(fresh.batches) - 1
    assert all(np.array_equal(whole[mask], again[mask]) for mask in masks)
    predict_masks(fresh, masks)
    assert len(computed) == len(fresh.batches) - 1


def changed(subject, beams=1, **rest):
    return replace(subject, objective=replace(subject.objective, beams=beams), **rest)


def as_likelihood(subject):
    """The same model, asked how likely it finds the targets."""
    return bound(subject.classifier, TASKS["seq2seq"])


def test_what_changes_a_translation_is_in_its_key(setup, subject, split, predictions):
    gone = predictions.gone
    same = predictions_of(setup, subject, split, Reporter()).key(gone)
    assert same == predictions.key(gone)
    for change in ({"beams": 2}, {"max_length": 12}):
        other = predictions_of(setup, changed(subject, **change), split, Reporter())
        assert other.key(gone).objective != same.objective
    likelihood = predictions_of(setup, subject, split, Reporter())
    likelihood.tokens = replace(predictions.tokens, objective=as_likelihood(subject))
    assert likelihood.key(gone).objective != same.objective


def test_heads_are_scored_by_the_likelihood_of_the_targets(subject, split, predictions):
    """The paper's gradient: that of the loss in training, which BLEU has none of."""
    batches = predictions.batches
    scored = gate_gradients(subject.model, batches)
    plain = gate_gradients(subject.model, replace(batches, objective=as_likelihood(subject)))
    np.testing.assert_array_equal(scored.signed, plain.signed)
    importance = np.abs(scored.signed).mean(axis=0)
    n_heads = [block.n_heads for block in attention_blocks(subject.model)]
    assert sum(n_heads) == 48
    assert importance.min() > 0


def test_a_record_says_how_translations_are_written_and_compared(setup, subject, split):
    about = identify(changed(subject, beams=4), [split])
    assert about["metric"] == "bleu"
    assert about["translation"]["beams"] == 4
    assert about["translation"]["max_tokens"] == 28
    assert "tok:13a" in about["translation"]["signature"]
    assert replace(setup, beams=4).configuration()["beams"] == 4
    assert "beams" not in setup.configuration()
    with pytest.raises(TaskError, match="--beams must be given for translation only; got 2"):
        load_subject(replace(setup, task="mini-sentiment", beams=2), Reporter())


@torch.no_grad()
def test_the_checkpoint_may_forbid_tokens_but_not_draw(subject, split, predictions):
    """Its own way of choosing (sampling, beams, lengths) is left aside, its special tokens are not."""
    model = copy.deepcopy(subject.classifier.model)
    model.generation_config.update(do_sample=True, temperature=5.0, num_beams=4, max_length=3)
    other = replace(subject, classifier=subject.classifier._replace(model=model))
    assert together(other, split) == together(subject, split)
    model.generation_config.update(suppress_tokens=[subject.classifier.tokenizer.convert_tokens_to_ids("illa")])
    assert not any("illa" in text.split() for text in together(other, split))
