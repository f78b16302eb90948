"""Batches and predictions: file order, padding, precision, what is refused."""

import numpy as np
import pytest
import torch
from tiny import tiny_model, tiny_tokenizer, tokenize, write_sst2

from prune_heads.checkpoints import Checkpoint
from prune_heads.errors import LabelError, NotFiniteError, UnsupportedModelError
from prune_heads.evaluation import Subject, predict
from prune_heads.gating import gates_of
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.tasks.task import load_task


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return load_task("sst2", data_dir=write_sst2(tmp_path_factory.mktemp("evaluation"), n_dev=41))


def subject_of(task, labels=("negative", "positive"), **options):
    model = tiny_model(n_labels=len(labels))
    model.config.id2label = dict(enumerate(labels))
    return Subject.of(Checkpoint(model, tiny_tokenizer(), "tiny", None), task, **options)


def batches(task, **options):
    return tokenize(task.load("validation"), tiny_tokenizer(), model_index=(0, 1), **options)


def test_batches_are_sorted_by_length_and_hold_every_example_once(task):
    examples = batches(task, batch_size=8)
    order = np.concatenate([batch.index for batch in examples])
    assert sorted(order.tolist()) == list(range(41))
    assert len(examples) == 6 == sum(1 for _ in examples)
    lengths = examples.n_tokens[order]
    assert np.all(np.diff(lengths) <= 0)
    for batch in examples:
        assert batch.inputs["input_ids"].shape == (len(batch.index), examples.n_tokens[batch.index].max())
        assert batch.inputs["attention_mask"].sum(1).tolist() == examples.n_tokens[batch.index].tolist()


def test_tokens_are_those_of_the_tokenizer(task):
    split, examples = task.load("validation"), batches(task)
    for i in (0, 17, 40):
        ids = examples.batch(np.array([i])).inputs["input_ids"][0].tolist()
        assert ids == tiny_tokenizer()(split.dataset[i]["text"])["input_ids"]


def test_long_examples_are_cut(task):
    assert batches(task, max_length=5).n_tokens.max() == 5


@pytest.mark.parametrize("size", [1, 7, 100])
def test_predictions_are_in_file_order_whatever_the_batches(task, size):
    model = tiny_model(n_labels=2)
    examples = batches(task, batch_size=size)
    logits = predict(model, examples, gates_of(model, "1:1 2:3"))
    alone = [predict(model, batches(task, batch_size=1), gates_of(model, "1:1 2:3"))]
    assert logits.shape == (41, 2)
    assert np.allclose(logits, alone[0], rtol=0, atol=1e-5)


def test_progress_counts_every_example(task):
    seen = []
    predict(tiny_model(n_labels=2), batches(task, batch_size=8), progress=seen.append)
    assert sum(seen) == 41


def test_labels_are_read_by_name_not_by_place(task):
    """A checkpoint with the two outputs swapped gives the same predictions and losses once its names are read."""
    split = task.load("validation")
    straight, swapped = subject_of(task), subject_of(task, ("positive", "negative"))
    with torch.no_grad():
        for parameter in (swapped.model.classifier.weight, swapped.model.classifier.bias):
            parameter.copy_(parameter.flip(0))
    results = []
    for subject in (straight, swapped):
        logits = predict(subject.model, subject.batches(split))
        batches = subject.batches(split)
        results.append((subject.objective.predictions(logits), subject.objective.metrics(logits, batches.references)))
    assert np.array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert np.array_equal(straight.batches(split).targets.values, 1 - swapped.batches(split).targets.values)


def test_labels_that_do_not_match_and_unknown_models_are_refused(task):
    with pytest.raises(LabelError, match="negative, positive"):
        subject_of(task, ("cat", "dog"))
    with pytest.raises(UnsupportedModelError):
        Subject.of(Checkpoint(torch.nn.Linear(1, 1), tiny_tokenizer(), "no", None), task)


def test_nan_in_the_logits_is_refused(task):
    model = tiny_model(n_labels=2)
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    with pytest.raises(NotFiniteError, match="logits must be finite"):
        predict(model, batches(task))


def test_a_score_below_the_majority_is_said(task):
    split, reporter = task.load("validation"), Reporter()
    predictions = Predictions(subject_of(task), split, None, reporter)
    truth = np.asarray(split.dataset["label"])
    wrong = np.eye(2, dtype=np.float32)[1 - truth]
    predictions.warn_if_below_chance(wrong)
    assert "check the labels" in reporter.notes[0]
    predictions.warn_if_below_chance(1 - wrong)
    assert len(reporter.notes) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lower_precision_is_near(task, dtype):
    model, examples = tiny_model(n_labels=2), batches(task)
    exact = predict(model, examples, gates_of(model, "1:1"))
    low = predict(model.to(dtype), examples, gates_of(model, "1:1"))
    assert low.dtype == np.float32
    assert np.abs(low - exact).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize(("model_type", "room"), [("bert", 64), ("roberta", 63), ("distilbert", 64)])
def test_texts_longer_than_the_model_are_cut_also_when_the_tokenizer_knows_no_limit(model_type, room, tmp_path):
    rows = "\n".join(f"{'dog ' * 200}\t{label}" for label in (0, 1))
    (tmp_path / "dev.tsv").write_text(f"sentence\tlabel\n{rows}\n")
    task = load_task("sst2", data_dir=tmp_path)
    model, tokenizer = tiny_model(model_type, n_labels=2), tiny_tokenizer()
    model.config.id2label = {0: "negative", 1: "positive"}
    tokenizer.model_max_length = 10**30
    subject = Subject.of(Checkpoint(model, tokenizer, "tiny", None), task)
    batches = subject.batches(task.load("validation"))
    assert batches.n_tokens.tolist() == [room, room]
    assert predict(model, batches).shape == (2, 2)
