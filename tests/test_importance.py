"""Scores by property: batch size, dead heads, definition by finite difference, normalisation."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import tiny_model, tiny_tokenizer, tokenize, write_sst2
from tiny_types import tiny_inputs
from tiny_types import tiny_model as classifier

from prune_heads.anatomy import attention_blocks
from prune_heads.checkpoints import Checkpoint
from prune_heads.errors import NotFiniteError
from prune_heads.evaluation import Subject
from prune_heads.gating import gated
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance import CRITERIA, ESTIMATORS, NORMALIZERS, Examples, GateGradients, gate_gradients
from prune_heads.importance.gradient import _per_token
from prune_heads.objectives.batches import Batch
from prune_heads.objectives.classifiers import Regression, SingleLabel
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.store import PredictionStore
from prune_heads.surgery import remove_heads, zero_heads
from prune_heads.tasks.task import load_task


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return load_task("sst2", data_dir=write_sst2(tmp_path_factory.mktemp("importance"), n_train=37))


@pytest.fixture(scope="module")
def split(task):
    return task.load("train")


@pytest.fixture(scope="module")
def model():
    return tiny_model(n_labels=2)


def batches(split, size=8):
    return tokenize(split, tiny_tokenizer(), model_index=(0, 1), batch_size=size)


def predictions(model, task, store):
    model.config.id2label = {0: "negative", 1: "positive"}
    subject = Subject.of(Checkpoint(model, tiny_tokenizer(), "tiny", None), task, batch_size=8)
    return Predictions(subject, task.load("train"), PredictionStore(store), Reporter())


@pytest.fixture(scope="module")
def gradients(model, split):
    return gate_gradients(model, batches(split))


@pytest.mark.parametrize("size", [1, 5, 64])
def test_gradients_do_not_depend_on_the_batch_size(model, split, gradients, size):
    others = gate_gradients(model, batches(split, size))
    assert np.allclose(others.signed, gradients.signed, rtol=1e-4, atol=1e-6)
    assert np.allclose(others.absolute, gradients.absolute, rtol=1e-4, atol=1e-6)
    for name in ("example", "token", "fisher", "signed"):
        a, b = (ESTIMATORS[name].score(g, size) for g in (gradients, others))
        assert np.allclose(a.flat(), b.flat(), rtol=1e-4, atol=1e-7)
        assert np.allclose(np.concatenate(a.standard_error), np.concatenate(b.standard_error), rtol=1e-3, atol=1e-7)


def test_the_estimator_batch_does_depend_on_it_and_is_bounded_by_the_extremes(gradients):
    one, all_ = (ESTIMATORS["batch"].score(gradients, size).flat() for size in (1, 1000))
    assert np.allclose(one, ESTIMATORS["example"].score(gradients, 1).flat())
    assert np.allclose(all_, np.abs(ESTIMATORS["signed"].score(gradients, 1).flat()))
    some = ESTIMATORS["batch"].score(gradients, 8).flat()
    assert np.all(all_ - 1e-12 <= some)
    assert np.all(some <= one + 1e-12)
    assert not np.allclose(some, one)


def test_gradients_are_the_slope_of_the_loss(split):
    """Central differences of each example's own loss by one gate, in float64."""
    model = tiny_model(n_labels=2).double()
    examples = batches(split)
    gradients = gate_gradients(model, examples)
    batch = examples.batch(np.arange(6))
    for block, head in [(0, 0), (1, 3), (2, 2)]:
        losses = []
        for step in (1e-4, -1e-4):
            gates = [torch.ones(4, dtype=torch.float64) for _ in range(3)]
            gates[block][head] += step
            with gated(model, gates), torch.no_grad():
                logits = model(**batch.inputs).logits
                losses.append(torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none"))
        slope = ((losses[0] - losses[1]) / 2e-4).numpy()
        assert np.allclose(gradients.signed[:6, block * 4 + head], slope, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("model_type", ["t5", "bart", "funnel", "albert"])
def test_every_block_has_gates_for_its_own_tokens(model_type):
    """Encoder-decoders, a type that shortens the text between its layers, and one that calls a W_O several times."""
    model = classifier(model_type).double()
    inputs, labels = tiny_inputs(), torch.tensor([0, 1, 2])
    per_token = _per_token(model, attention_blocks(model), Batch(np.arange(3), inputs, labels), SingleLabel("accuracy"))
    signed = torch.cat([gradient.sum(dim=1) for gradient in per_token], dim=1)
    n_heads = [block.n_heads for block in attention_blocks(model)]
    if model_type == "funnel":
        assert len({gradient.shape[1] for gradient in per_token}) > 1
    for place in (0, len(n_heads) // 2, len(n_heads) - 1):
        losses = []
        for step in (1e-3, -1e-3):
            gates = [torch.ones(n, dtype=torch.float64) for n in n_heads]
            gates[place][1] += step
            with gated(model, gates), torch.no_grad():
                logits = model(**inputs).logits
                losses.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none"))
        slope = ((losses[0] - losses[1]) / 2e-3).float()
        assert torch.allclose(signed[:, sum(n_heads[:place]) + 1], slope, rtol=1e-2, atol=3e-4)


def test_known_answers():
    signed = np.array([[1.0, -2.0, 0.0], [-3.0, 2.0, 4.0]], dtype=np.float32)
    absolute = np.array([[6.0, 3.0, 1.0], [4.0, 3.0, 5.0]], dtype=np.float32)
    g = GateGradients(signed, absolute, np.array([3, 7]), (2, 1))
    assert ESTIMATORS["example"].score(g, 2).flat().tolist() == [2.0, 2.0, 2.0]
    assert ESTIMATORS["fisher"].score(g, 2).flat().tolist() == [5.0, 4.0, 8.0]
    assert ESTIMATORS["signed"].score(g, 2).flat().tolist() == [1.0, 0.0, -2.0]
    assert ESTIMATORS["batch"].score(g, 2).flat().tolist() == [1.0, 0.0, 2.0]
    # By tokens (3 + 7), the last layer by examples (2).
    assert ESTIMATORS["token"].score(g, 2).flat().tolist() == [1.0, 0.6, 3.0]
    assert np.concatenate(ESTIMATORS["example"].score(g, 2).standard_error).tolist() == [1.0, 0.0, 2.0]
    # A language model reads all tokens of the last layer, and a decoder may have other tokens than an encoder.
    g = GateGradients(signed, absolute, np.array([[3, 1], [7, 3]]), (2, 1), reads_one_token=False)
    assert ESTIMATORS["token"].score(g, 2).flat().tolist() == [1.0, 0.6, 1.5]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_standard_error_of_one_example_is_undefined(name):
    one = GateGradients(np.ones((1, 3), "f4"), np.ones((1, 3), "f4"), np.ones(1, int), (1, 2))
    assert ESTIMATORS[name].score(one, 8).to_json()["standard_error"] is None


@pytest.mark.parametrize("name", ESTIMATORS)
def test_standard_errors_are_those_of_repeated_samples(name):
    """The spread of the estimate over many samples from one population is what the standard error says."""
    rng = np.random.default_rng(0)
    signed = rng.normal(0.3, 1.0, size=(400, 200, 3)).astype(np.float32)
    n_tokens = rng.integers(3, 30, size=(400, 200))
    absolute = (np.abs(signed) * n_tokens[..., None] ** 0.5).astype(np.float32)
    scored = [
        ESTIMATORS[name].score(GateGradients(s, a, t, (2, 1)), 10)
        for s, a, t in zip(signed, absolute, n_tokens, strict=True)
    ]
    spread = np.std([one.flat() for one in scored], axis=0)
    stated = np.mean([np.concatenate(one.standard_error) for one in scored], axis=0)
    assert np.allclose(stated, spread, rtol=0.15)


@pytest.mark.parametrize("criterion", ["gradient", "magnitude"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_dead_head_scores_zero_and_no_other(model, task, own_store, criterion, estimator):
    dead = zero_heads(copy.deepcopy(model), "1:2 3:4")
    examples = predictions(dead, task, own_store)
    scores = CRITERIA[criterion].score(Examples(dead, examples, estimator=estimator))
    zero = {(b, h) for b, row in enumerate(scores.values) for h in np.flatnonzero(row == 0)}
    assert zero == {(0, 1), (2, 3)}


def test_a_layer_without_heads_takes_no_part(model, split):
    removed = remove_heads(copy.deepcopy(model), "2:1,2,3,4 3:1")
    gated_out = zero_heads(copy.deepcopy(model), "2:1,2,3,4 3:1")
    got = gate_gradients(removed, batches(split))
    assert got.n_heads == (4, 0, 3)
    expected = gate_gradients(gated_out, batches(split)).signed[:, [0, 1, 2, 3, 9, 10, 11]]
    assert np.allclose(got.signed, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("criterion", ["gradient", "ablation"])
def test_masked_heads_count_as_gone(model, task, own_store, criterion):
    masked = HeadMask.parse("2:1,2 3:1", (4, 4, 4))
    smaller = remove_heads(copy.deepcopy(model), masked)
    got, expected = (
        CRITERIA[criterion].score(Examples(one, predictions(one, task, own_store), heads)).flat()
        for one, heads in ((copy.deepcopy(model), masked), (smaller, None))
    )
    there = np.concatenate(masked.keep())
    assert np.allclose(got[there], expected[there], rtol=1e-4, atol=1e-9)
    assert not expected[~there].any()
    assert not got[~there].any()


@pytest.mark.parametrize("criterion", ["gradient", "ablation"])
def test_a_criterion_that_looks_at_data_must_be_given_some(model, criterion):
    with pytest.raises(ValueError, match="must be given examples"):
        CRITERIA[criterion].score(Examples(model))


def test_parameters_are_frozen_only_meanwhile(model, split):
    trained = copy.deepcopy(model)
    trained.classifier.bias.requires_grad_(False)
    gate_gradients(trained, batches(split))
    frozen = [name for name, parameter in trained.named_parameters() if not parameter.requires_grad]
    assert frozen == ["classifier.bias"]
    assert all(parameter.grad is None for parameter in trained.parameters())


def test_the_loss_of_regression_is_the_squared_error():
    outputs = SimpleNamespace(logits=torch.tensor([[1.0], [4.0]]))
    batch = Batch(np.arange(2), {}, torch.tensor([0.5, 6.0]))
    assert Regression("pearson").losses(outputs, batch).tolist() == [0.25, 4.0]


def test_nan_is_refused_and_the_example_named(model, split):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.bert.encoder.layer[1].attention.self.query.weight[0, 0] = float("nan")
    with pytest.raises(NotFiniteError, match=r"losses must be finite.*example \d+ of the split"):
        gate_gradients(broken, batches(split))
    assert all(parameter.requires_grad for parameter in broken.parameters())


def test_random_is_a_function_of_the_seed(model):
    a, b, c = (CRITERIA["random"].score(Examples(model, seed=seed)).flat() for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_magnitude_is_the_norm_of_what_the_head_owns(model):
    scores = CRITERIA["magnitude"].score(Examples(model))
    block = attention_blocks(model)[1]
    rows = [projection.weight[8:16] for projection in (block.query, block.key, block.value)]
    owned = torch.cat([*rows, block.output.weight[:, 8:16].T])
    assert scores.values[1][1] == pytest.approx(float(owned.detach().double().norm()))


def test_normalisations():
    scores = HeadScores(([3.0, 4.0], [0.0, 0.0]), ([1.0, 2.0], [0.0, 0.0]))
    assert NORMALIZERS["none"].score(scores) is scores
    l2 = NORMALIZERS["l2"].score(scores)
    assert l2.flat().tolist() == [0.6, 0.8, 0.0, 0.0]
    assert l2.standard_error[0].tolist() == [0.2, 0.4]
    assert NORMALIZERS["min-max"].score(scores).flat().tolist() == [0.75, 1.0, 0.0, 0.0]
    assert NORMALIZERS["min-max"].score(HeadScores(([2.0, 2.0],))).flat().tolist() == [0.0, 0.0]
