"""What every objective must keep, over every row of the table: losses and metrics of examples, masks, keys."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from loading import load_classifier
from tiny import WORDS, save_tiny_checkpoint, write_sst2
from tiny_images import loaded_vit, save_images, save_vit
from tiny_questions import answering
from tiny_texts import loaded, save_language_model, tiny_language_model, topic_texts, write_texts
from tiny_tokens import save_tagger, tagger_of, write_conll

from prune_heads import gates_of, remove_heads, zero_heads
from prune_heads.ablation import predict_masks
from prune_heads.errors import TaskError
from prune_heads.evaluation import Subject, predict
from prune_heads.heads import HeadMask
from prune_heads.importance import gate_gradients
from prune_heads.objectives import METRIC_NAMES, OBJECTIVES, bound
from prune_heads.objectives.base import source_hash
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.store import PredictionStore
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task

MODELS = {"causal-lm": "gpt2", "masked-lm": "bert", "seq2seq": "t5", "translation": "bart"}
"""Objectives of texts -> the type of a tiny model."""


def subject_of(name, folder):
    """A tiny model on tiny data, which a new row brings with it: see `MAKERS`."""
    return MAKERS[name](folder)


def single_label(folder):
    task = load_task("sst2", data_dir=write_sst2(folder / "SST-2", n_train=12, n_dev=17))
    return Subject.of(load_classifier(str(save_tiny_checkpoint(folder / "model"))), task, batch_size=4)


def regression(folder):
    texts = topic_texts(17, 0)  # no two alike: equal scores would be ties, up to rounding
    rows = [f"{text} {' '.join(WORDS[: i + 1])},{i % 5 / 2}" for i, text in enumerate(texts)]
    (folder / "scores.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    own = OwnData({"validation": folder / "scores.csv"}, ("text",), "label", "pearson")
    model = save_tiny_checkpoint(folder / "model", ("score",))
    return Subject.of(load_classifier(str(model)), load_task("own", own=own), batch_size=4)


def multi_label(folder):
    model = save_tiny_checkpoint(folder / "model", ("red", "dull", "good"))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    rows = [f"{text},{('', 'red', 'good|red')[i % 3]}" for i, text in enumerate(topic_texts(17, 0))]
    (folder / "labels.csv").write_text("\n".join(["text,labels", *rows]) + "\n")
    task = load_task("multi-label", own=OwnData({"validation": folder / "labels.csv"}, kind="multi-label"))
    return Subject.of(load_classifier(str(model)), task, batch_size=4)


def of_texts(name):
    def make(folder):
        _, task, _, _, _, file = write_texts(folder, MODELS[name], n_train=2, n_dev=9)
        kind = "translation" if name == "translation" else task
        model = save_language_model(folder / "model", tiny_language_model(MODELS[name]))
        task = load_task(kind, own=OwnData({"validation": file}, kind=kind))
        return Subject.of(loaded(model, MODELS[name]), task, batch_size=4, max_length=12)

    return make


def image_classification(folder):
    own = OwnData({"validation": save_images(folder / "images", 11)}, kind="image-classification")
    task = load_task("image-classification", own=own)
    return Subject.of(loaded_vit(save_vit(folder / "model")), task, batch_size=4)


def tagger(folder):
    file = write_conll(folder / "validation.conll", 9)
    task = load_task("token-classification", own=OwnData({"validation": file}, kind="token-classification"))
    return Subject.of(tagger_of(save_tagger(folder / "model")), task, batch_size=4)


MAKERS = {
    "single-label": single_label,
    "regression": regression,
    "image-classification": image_classification,
    "multi-label": multi_label,
    "token-classification": tagger,
    "question-answering": answering,
    **{name: of_texts(name) for name in MODELS},
}


@pytest.fixture(scope="module", params=OBJECTIVES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def subject(name, tmp_path_factory):
    return subject_of(name, tmp_path_factory.mktemp(name))


@pytest.fixture(scope="module")
def split(subject):
    return subject.measurable(subject.task.load("validation"), Reporter())


@pytest.fixture(scope="module")
def batches(subject, split):
    return subject.batches(split)


@pytest.fixture(scope="module")
def kept(subject, batches):
    return predict(subject.model, batches)


@pytest.fixture
def predictions(subject, split, own_store):
    return Predictions(subject, split, PredictionStore(own_store), Reporter())


def test_every_row_is_tried_and_is_what_it_says():
    assert set(MAKERS) == set(OBJECTIVES)
    for name, row in OBJECTIVES.items():
        assert row.load().name == name


def test_the_model_names_its_objective(name, subject):
    assert subject.objective.name == name
    assert bound(subject.classifier, subject.task.spec, name).name == name
    with pytest.raises(TaskError, match=r"model and task must be of one kind|the objective must be one of"):
        bound(subject.classifier, subject.task.spec, "causal-lm" if name != "causal-lm" else "regression")


def test_what_is_kept_is_finite_and_of_one_width(kept, batches):
    assert kept.dtype == np.float32
    assert kept.shape == (batches.n_examples, kept.shape[1])
    assert np.isfinite(kept).all()


def test_nothing_depends_on_the_batch_size(subject, split, batches, kept):
    metrics = subject.objective.metrics(kept, batches.references)
    gradients = gate_gradients(subject.model, batches)
    for size in (1, 64):
        other = replace(subject, batch_size=size).batches(split)
        again = predict(subject.model, other)
        np.testing.assert_allclose(again, kept, rtol=1e-5, atol=1e-5)
        assert subject.objective.metrics(again, other.references) == pytest.approx(metrics, rel=1e-4, abs=1e-6)
        np.testing.assert_allclose(gate_gradients(subject.model, other).signed, gradients.signed, rtol=1e-3, atol=1e-5)


def test_a_weight_is_how_often_an_example_counts(subject, batches, kept):
    """A bootstrap of `n` examples is `n` examples with weights."""
    objective, n = subject.objective, batches.n_examples
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=5)
    made = objective.predictions(kept)
    for metric in objective.measures.values():
        got = metric.weighted(made, batches.references, weights * 1.0)
        repeated = [metric(made.repeat(row, axis=0), batches.references.repeat(row, axis=0)) for row in weights]
        assert got == pytest.approx(repeated, abs=1e-9)


def test_the_metrics_are_those_of_its_row(name, subject, kept, batches):
    objective = subject.objective
    values = objective.metrics(kept, batches.references)
    assert tuple(values) == METRIC_NAMES[objective.metric] == OBJECTIVES[name].metrics[objective.metric]
    assert objective.headline.name == next(iter(values))


@torch.no_grad()
def test_a_loss_is_of_its_example_alone_and_a_likelihood_is_minus_the_loss(name, subject, batches, kept):
    def losses(index):
        batch = batches.batch(np.asarray(index))
        return subject.objective.losses(subject.model(**batch.inputs), batch)

    together = losses(range(batches.n_examples))
    assert together.shape == (batches.n_examples,)
    alone = torch.cat([losses([i]) for i in range(batches.n_examples)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    likelihood = subject.objective.log_likelihood(kept, batches.references)
    if name in ("regression", "translation"):
        assert likelihood is None
    else:
        np.testing.assert_allclose(likelihood, -alone.numpy(), rtol=1e-4, atol=1e-5)
    response = subject.objective.responses(kept, batches.references)
    if name == "translation":  # sentence BLEU, whose oracle is in tests/statistics/test_bleu.py
        assert response.shape == alone.shape
        assert ((response >= 0) & (response <= 1)).all()
    else:
        np.testing.assert_allclose(response, -alone.numpy(), rtol=1e-4, atol=1e-5)


def test_gated_is_zeroed_is_removed_and_is_what_many_masks_give(subject, batches, predictions, kept):
    n_heads = predictions.gone.n_heads
    masks = [HeadMask(n_heads, frozenset({(block, 0)})) for block in (0, len(n_heads) - 1)]
    found = predict_masks(predictions, masks)
    for mask in masks:
        under = predict(subject.model, batches, gates_of(subject.model, mask))
        np.testing.assert_allclose(found[mask], under, rtol=1e-5, atol=1e-5)
        for surgery in (zero_heads, remove_heads):
            changed = surgery(copy.deepcopy(subject.model), mask)
            np.testing.assert_allclose(predict(changed, batches), under, rtol=1e-5, atol=1e-5)
    assert any(not np.array_equal(found[mask], kept) for mask in masks) or subject.objective.generates


def test_the_key_names_it(name, predictions, monkeypatch):
    key = predictions.key(predictions.gone)
    assert f'"name":"{name}"' in key.objective
    assert source_hash(type(predictions.objective)) in key.objective
    monkeypatch.setattr(type(predictions.objective), "settings", lambda self, model: {"other": 1})
    assert predictions.key(predictions.gone).objective != key.objective


def test_comments_and_docstrings_are_no_part_of_the_code(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    hashes = []
    for i, body in enumerate(("x = 1", '"""Said."""\n    # and noted\n    x = 1', "x = 2")):
        (tmp_path / f"code_{i}.py").write_text(f"class Own:\n    {body}\n")
        hashes.append(source_hash(__import__(f"code_{i}").Own))
    assert hashes[0] == hashes[1] != hashes[2]


def test_chance_is_the_metric_of_what_needs_no_model(name, subject, batches):
    references = batches.references
    chance = subject.objective.chance(references)
    if name in ("single-label", "image-classification"):
        assert chance == max(np.mean(references == label) for label in set(references))
    elif name == "regression":
        assert chance == 0
    elif name == "multi-label":  # 11 of 17 examples are red, 5 of these good too
        assert chance == 2 * 11 / (17 + 16)
    elif name in ("translation", "token-classification", "question-answering"):
        assert chance is None
    else:
        assert chance == pytest.approx(-np.log(120))
