"""Scores are of the heads as they were numbered before any removal, from every function that makes or takes them."""

import copy
import json

import numpy as np
import pytest
import torch
from tiny import tiny_model, tiny_tokenizer, write_sst2
from tiny_types import tiny_inputs
from tiny_types import tiny_model as classifier

from prune_heads.anatomy import attention_blocks, head_counts
from prune_heads.checkpoints import Checkpoint
from prune_heads.errors import HeadDescriptorError
from prune_heads.evaluation import Subject
from prune_heads.gating import gated, gates_of
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance import CRITERIA, ESTIMATORS, NORMALIZERS, Examples, gate_gradients, running_sum
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.selection import lowest_first, select
from prune_heads.store import PredictionStore
from prune_heads.surgery import remove_heads, zero_heads
from prune_heads.tasks.task import load_task

GONE = "1:1,3 2:1,2,3,4 3:4"
MASK = HeadMask.parse(GONE, (4, 4, 4))


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return load_task("sst2", data_dir=write_sst2(tmp_path_factory.mktemp("numbering"), n_train=20))


def examples_of(model, task, store):
    model.config.id2label = {0: "negative", 1: "positive"}
    subject = Subject.of(Checkpoint(model, tiny_tokenizer(), "tiny", None), task, batch_size=8)
    return Predictions(subject, task.load("train"), PredictionStore(store), Reporter())


def every_score(examples, **question):
    """Of each criterion, each estimator and each normalisation; the criterion `random` aside."""
    model = examples.subject.model
    for name in ("gradient", "ablation", "magnitude"):
        for estimator in ESTIMATORS if name == "gradient" else ("example",):
            asked = Examples(model, examples, estimator=estimator, **question)
            scores = CRITERIA[name].score(asked)
            for normalize, normalizer in NORMALIZERS.items():
                yield f"{name} {estimator} {normalize}", normalizer.score(scores)
    yield "running sum", running_sum(gate_gradients(model, examples.batches))


def test_scores_of_a_pruned_model_are_in_the_places_of_its_heads(task, own_store):
    """A copy whose heads are zeroed instead has them all; those that are left score the same there."""
    zeroed = every_score(examples_of(zero_heads(tiny_model(n_labels=2), GONE), task, own_store / "zeroed"))
    removed = every_score(examples_of(remove_heads(tiny_model(n_labels=2), GONE), task, own_store / "removed"))
    there = np.concatenate(MASK.keep())
    for (name, expected), (_, scores) in zip(zeroed, removed, strict=True):
        assert (scores.n_heads, scores.gone) == ((4, 4, 4), MASK), name
        assert not scores.flat()[~there].any(), name
        if "min-max" in name:  # of the heads that are there
            assert (scores.flat()[there].min(), scores.flat()[there].max()) == (0, 1), name
        else:
            np.testing.assert_allclose(scores.flat()[there], expected.flat()[there], rtol=1e-3, atol=1e-6)
        if scores.standard_error is not None:
            assert not np.concatenate(scores.standard_error)[~there].any()


def test_random_scores_are_of_the_heads_that_are_there():
    scores = CRITERIA["random"].score(Examples(remove_heads(tiny_model(), GONE), seed=3))
    assert scores.gone == MASK
    assert np.flatnonzero(scores.flat() == 0).tolist() == np.flatnonzero(~np.concatenate(MASK.keep())).tolist()


def test_a_model_is_pruned_on_by_its_own_scores(task, own_store):
    model = remove_heads(tiny_model(n_labels=2), GONE)
    examples = examples_of(model, task, own_store)
    inputs = examples.batches.batch(np.arange(3)).inputs
    for name, scores in every_score(examples):
        mask = select(scores, 9)
        assert len(mask) == 9, name
        assert mask >= MASK, name
        assert HeadMask.parse(str(mask), head_counts(attention_blocks(model))) == mask
        left = sorted(~MASK, key=lambda head: (scores.values[head[0]][head[1]], head))
        assert set(mask - MASK) == set(left[:2]), name
        with torch.no_grad():
            with gated(model, gates_of(model, mask)):
                got = model(**inputs).logits
            expected = zero_heads(tiny_model(n_labels=2), mask)(**inputs).logits
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    with pytest.raises(HeadDescriptorError, match="between 7 and 12 of 12 heads"):
        select(scores, 6)
    masks = lowest_first(scores, HeadMask((4, 4, 4)), 6)
    assert [len(mask) for mask in masks] == [7, 7, 7, 7, 8, 10, 12]


def test_masked_heads_count_as_gone_too(task, own_store):
    masked = HeadMask.parse("1:2", (4, 4, 4))
    for name in ("gradient", "ablation"):
        model = remove_heads(tiny_model(n_labels=2), GONE)
        examples = examples_of(model, task, own_store)
        scores = CRITERIA[name].score(Examples(model, examples, masked))
        assert scores.gone == MASK | masked
        assert scores.values[0][1] == 0
        assert (0, 1) in select(scores, 8)


@pytest.mark.parametrize("model_type", ["bart", "t5"])
def test_an_encoder_decoder_has_letters(task, own_store, model_type):
    model = classifier(model_type)
    gone = HeadMask.parse("E:2:1,3 A:1:4 D:3:1,2,3,4", head_counts(attention_blocks(model)))
    remove_heads(model, gone)
    scores = CRITERIA["magnitude"].score(Examples(model))
    assert (scores.gone, scores.n_heads.letters) == (gone, gone.n_heads.letters)
    inputs = tiny_inputs()
    for each in (scores, HeadScores.from_json(json.loads(json.dumps(scores.to_json())))):
        mask = select(each, 12)
        assert HeadMask.parse(str(mask), head_counts(attention_blocks(model))) == mask
        assert (len(mask), gone <= mask) == (12, True)
        with torch.no_grad(), gated(model, gates_of(model, str(mask))):
            got = model(**inputs).logits
        with torch.no_grad():
            expected = zero_heads(classifier(model_type), mask)(**inputs).logits
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_gradients_know_whose_their_columns_are(task, own_store):
    model = remove_heads(tiny_model(n_labels=2), GONE)
    gradients = gate_gradients(model, examples_of(model, task, own_store).batches)
    assert (gradients.n_heads, gradients.signed.shape[1], gradients.gone) == ((2, 0, 3), 5, MASK)
    there = gradients.scores(np.arange(1, 6))
    assert there.flat().tolist() == [0, 1, 0, 2, 0, 0, 0, 0, 3, 4, 5, 0]


def test_scores_of_another_model_are_refused():
    with pytest.raises(HeadDescriptorError, match="of the same model"):
        HeadScores(([1.0], [2.0]), gone=HeadMask((2, 1)))
    with pytest.raises(HeadDescriptorError, match="of the same model"):
        select(HeadScores(([1.0], [2.0])), 1, gone=HeadMask((1, 2)))


def test_plain_scores_are_of_heads_that_are_all_there():
    scores = HeadScores(([1.0, 2.0], [3.0]))
    assert (scores.gone, scores.n_heads) == (HeadMask((2, 1)), (2, 1))
    assert scores.to_json() == {"scores": [[1.0, 2.0], [3.0]], "standard_error": None}
    assert copy.copy(scores).flat().tolist() == [1.0, 2.0, 3.0]
