"""Language models by property: likelihoods against transformers' own loss, derivatives, masks, tokens to predict."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_texts import AUTO, loaded, save_language_model, task_of, tiny_language_model, write_texts

from prune_heads import attention_blocks, gated, gates_of, load_pruned, remove_heads, save_pruned, zero_heads
from prune_heads.ablation import ManyMasks, ablations, predict_masks
from prune_heads.checkpoints import fingerprint
from prune_heads.evaluation import Subject, predict
from prune_heads.heads import HeadMask
from prune_heads.importance import ESTIMATORS, gate_gradients
from prune_heads.objectives.batches import IGNORED
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.store import PredictionStore
from prune_heads.surgery import removed_heads
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task

TYPES = list(AUTO)


@pytest.fixture(scope="module", params=TYPES)
def model_type(request):
    return request.param


@pytest.fixture(scope="module")
def folder(model_type, tmp_path_factory):
    folder = tmp_path_factory.mktemp("language") / model_type
    return save_language_model(folder, tiny_language_model(model_type))


@pytest.fixture(scope="module")
def task(model_type, tmp_path_factory):
    _, name, _, train, _, validation = write_texts(tmp_path_factory.mktemp("texts"), model_type, n_train=20, n_dev=9)
    return load_task(name, own=OwnData({"train": train, "validation": validation}, kind=name))


def subject_of(folder, model_type, task, **options):
    return Subject.of(loaded(folder, model_type), task, **{"batch_size": 4} | options)


@pytest.fixture(scope="module")
def subject(folder, model_type, task):
    return subject_of(folder, model_type, task)


@pytest.fixture(scope="module")
def split(subject, task):
    return subject.measurable(task.load("validation"), Reporter())


@pytest.fixture(scope="module")
def batches(subject, split):
    return subject.batches(split)


def plain(folder, model_type):
    """As transformers loads it."""
    return AUTO[model_type].from_pretrained(folder).eval()


def one_head_each(model):
    """A head, or a group of them, in three of the blocks."""
    blocks = attention_blocks(model)
    group = range(blocks[0].n_heads // blocks[0].n_kv_heads)
    return {i: list(group) for i in (0, len(blocks) // 2, len(blocks) - 1)}


@torch.no_grad()
def test_a_prediction_is_the_loss_of_transformers_times_the_tokens(folder, model_type, batches, subject):
    """One text at a time, without padding, from ids that are made here."""
    model, got = plain(folder, model_type), predict(subject.model, batches)[:, 0]
    for i, n_predicted in enumerate(batches.references.tolist()):
        batch = batches.batch(np.array([i]))
        ids, targets = batch.inputs["input_ids"], batch.targets
        if task_of(model_type) == "lm" and model_type != "bert":
            ids = targets = torch.cat([ids, targets[:, -1:]], dim=1)
            assert n_predicted == ids.shape[1] - 1
        loss = float(model(input_ids=ids, labels=targets).loss)
        assert got[i] == pytest.approx(-loss * n_predicted, rel=1e-5)


def test_the_metric_is_nats_a_token_and_its_perplexity(subject, split, batches):
    logits = predict(subject.model, batches)
    metrics = subject.objective.metrics(logits, subject.batches(split).references)
    assert metrics["log_likelihood"] == pytest.approx(logits.sum() / batches.references.sum(), rel=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(-metrics["log_likelihood"]))


def test_the_perplexity_of_a_uniform_model_is_the_size_of_its_vocabulary(folder, model_type, task, split):
    subject = subject_of(folder, model_type, task)
    with torch.no_grad():
        for parameter in subject.model.parameters():
            parameter.zero_()
    logits = predict(subject.model, subject.batches(split))
    metrics = subject.objective.metrics(logits, subject.batches(split).references)
    assert metrics["perplexity"] == pytest.approx(120, rel=1e-5)
    assert subject.objective.chance(None) == pytest.approx(metrics["log_likelihood"])


def test_nothing_depends_on_the_batch_size(subject, split, batches):
    expected, gradients = predict(subject.model, batches), gate_gradients(subject.model, batches)
    for size in (1, 64):
        others = replace(subject, batch_size=size).batches(split)
        assert np.allclose(predict(subject.model, others), expected, rtol=1e-5)
        again = gate_gradients(subject.model, others)
        for name in ("signed", "absolute"):
            assert np.allclose(getattr(again, name), getattr(gradients, name), rtol=1e-3, atol=1e-5)


def losses_of(model, batch):
    """Minus the log-likelihood of each example, worked out from the logits of a plain model."""
    inputs, targets = dict(batch.inputs), batch.targets
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(targets)
    log = model(**inputs).logits.log_softmax(dim=-1)
    chosen = log.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return -(chosen * (targets != IGNORED)).sum(dim=1)


def test_gradients_are_the_product_of_a_head_and_its_derivative(folder, model_type, subject, batches):
    """The paper's Att^T dL/dAtt, token by token, at the input of W_O of a plain model."""
    model, batch, contexts = plain(folder, model_type), batches.batch(np.arange(5)), {}
    gradients, blocks = gate_gradients(subject.model, batches), attention_blocks(model)
    for block in blocks:
        block.output.module.register_forward_pre_hook(
            lambda module, args, name=block.name: contexts.update({name: args[0]})
        )
    wanted = torch.autograd.grad(losses_of(model, batch).sum(), [contexts[block.name] for block in blocks])
    products = [
        (contexts[block.name] * gradient).detach().unflatten(-1, (block.n_heads, block.head_dim)).sum(dim=-1)
        for block, gradient in zip(blocks, wanted, strict=True)
    ]
    for got, per_token in ((gradients.signed, products), (gradients.absolute, [p.abs() for p in products])):
        expected = torch.cat([each.sum(dim=1) for each in per_token], dim=1).numpy()
        assert np.allclose(got[:5], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("smooth", ["gpt2", "bert", "bart"])
def test_gradients_are_the_slope_of_minus_the_log_likelihood(smooth, tmp_path):
    """Central differences in float64, by one gate of each kind of block; of models without kinks and float32 norms."""
    _, name, _, train, *_ = write_texts(tmp_path, smooth, n_train=5, n_dev=1)
    folder = save_language_model(tmp_path / "model", tiny_language_model(smooth))
    subject = subject_of(folder, smooth, load_task(name, own=OwnData({"train": train}, kind=name)))
    batches = subject.batches(subject.measurable(subject.task.load("train"), Reporter()))
    gradients = gate_gradients(subject.model, batches)
    model, batch = plain(folder, smooth).double(), batches.batch(np.arange(5))
    blocks = attention_blocks(model)
    for place in (0, len(blocks) // 2, len(blocks) - 1):
        losses = []
        for step in (1e-4, -1e-4):
            gates = [torch.ones(block.n_heads, dtype=torch.float64) for block in blocks]
            gates[place][1] += step
            with gated(model, gates), torch.no_grad():
                losses.append(losses_of(model, batch))
        slope = ((losses[0] - losses[1]) / 2e-4).numpy()
        column = sum(block.n_heads for block in blocks[:place]) + 1
        assert np.allclose(gradients.signed[:, column], slope, rtol=1e-3, atol=1e-4)


def test_a_dead_head_scores_zero_and_no_other(subject, batches):
    heads = one_head_each(subject.model)
    scores = ESTIMATORS["example"].score(gate_gradients(zero_heads(copy.deepcopy(subject.model), heads), batches), 4)
    zero = {(b, int(h)) for b, row in enumerate(scores.values) for h in np.flatnonzero(row == 0)}
    assert zero == {(b, h) for b, row in heads.items() for h in row}


def test_gated_is_zeroed_is_removed(subject, batches):
    heads = one_head_each(subject.model)
    under = predict(subject.model, batches, gates_of(subject.model, heads))
    assert np.abs(under - predict(subject.model, batches)).max() > 0.01
    for surgery in (zero_heads, remove_heads):
        changed = surgery(copy.deepcopy(subject.model), heads)
        assert np.allclose(predict(changed, batches), under, rtol=1e-5)


@pytest.mark.slow
def test_the_engine_gives_what_one_masked_evaluation_at_a_time_gives(subject, split, own_store, model_type):
    reporter = Reporter()
    predictions = Predictions(subject, split, PredictionStore(own_store), reporter)
    masks = list(ablations("without-one", predictions.gone).values())
    for mask, got in predict_masks(predictions, masks).items():
        alone = predict(subject.model, predictions.batches, gates_of(subject.model, mask))
        assert np.allclose(got, alone, rtol=1e-5)
        assert np.array_equal(predictions.stored(mask), got)
    run = ManyMasks(predictions, masks, 96)
    decodes_twice = task_of(model_type) == "seq2seq"  # layers of a decoder that attend twice are not shared
    assert (run.together is None) == decodes_twice
    assert run.together is None or run.together.plan.position is None
    assert [note for note in reporter.notes if "one at a time" in note] == (
        ["the masks run one at a time: this model's layers could not be shared exactly"] * decodes_twice
    )


def test_a_broken_off_table_goes_on_where_it_was(subject, split, own_store, monkeypatch):
    predictions = Predictions(subject, split, PredictionStore(own_store), Reporter())
    masks = list(ablations("without-one", predictions.gone).values())[:3]
    expected = predict_masks(Predictions(subject, split, PredictionStore(own_store / "2"), Reporter()), masks)
    computed, whole = [], ManyMasks.logits

    def broken(self, batch):
        if len(computed) == 1:
            raise KeyboardInterrupt
        computed.append(batch.index)
        return whole(self, batch)

    monkeypatch.setattr(ManyMasks, "logits", broken)
    with pytest.raises(KeyboardInterrupt):
        predict_masks(predictions, masks)
    monkeypatch.setattr(ManyMasks, "logits", lambda self, batch: computed.append(batch.index) or whole(self, batch))
    found = predict_masks(predictions, masks)
    assert sorted(np.concatenate(computed).tolist()) == list(range(len(split.dataset)))  # each batch once
    assert all(np.array_equal(found[mask], expected[mask]) for mask in masks)


def test_other_targets_are_another_entry_of_the_store(subject, split, own_store):
    first, second = (Predictions(subject, split, PredictionStore(own_store), Reporter()) for _ in range(2))
    targets = first.tokens.targets
    changed = np.where(targets.values == IGNORED, IGNORED, 7)
    second.__dict__["tokens"] = replace(first.tokens, targets=replace(targets, values=changed))
    nothing = HeadMask(subject.n_heads)
    assert first.key(nothing).data != second.key(nothing).data
    assert first.key(nothing).model == second.key(nothing).model


def test_a_checkpoint_is_that_of_the_model_itself(folder, model_type, subject, tmp_path):
    """Names, class and weights; also with removed heads, which load_pruned brings back as the same class."""
    assert fingerprint(subject.model) == fingerprint(plain(folder, model_type))
    assert [b.name for b in subject.blocks] == [b.name for b in attention_blocks(plain(folder, model_type))]
    save_pruned(subject.model, tmp_path / "whole")
    again = AUTO[model_type].from_pretrained(tmp_path / "whole")
    assert again.config.architectures == [type(plain(folder, model_type)).__name__]
    heads = one_head_each(subject.model)
    save_pruned(remove_heads(copy.deepcopy(subject.model), heads), tmp_path / "removed")
    narrow = load_pruned(tmp_path / "removed")
    assert type(narrow) is type(plain(folder, model_type))
    assert fingerprint(narrow) == fingerprint(remove_heads(plain(folder, model_type), heads))
    assert removed_heads(narrow) == HeadMask.from_mapping(heads, subject.n_heads)


def test_the_estimator_token_divides_by_the_tokens_of_the_block(subject, split, batches):
    gradients = gate_gradients(subject.model, batches)
    scores = ESTIMATORS["token"].score(gradients, 4)
    n_source, n_target = int(batches.n_tokens.sum()), int(batches.targets.sizes.sum())
    ends = np.cumsum([0, *gradients.n_heads])
    for i, block in enumerate(subject.blocks):
        n_tokens = n_source if block.stack == "encoder" else n_target
        expected = gradients.absolute[:, ends[i] : ends[i + 1]].sum(axis=0) / n_tokens
        assert np.allclose(scores.values[i], expected, rtol=1e-5)


def test_texts_are_cut_alike_everywhere(subject, task):
    """Counts, targets and inputs of texts that are longer than may be."""
    reporter = Reporter()
    short = replace(subject, max_length=6)
    split = short.measurable(task.load("validation"), reporter)
    batches = short.batches(split)
    assert any("examples are cut at 6 tokens" in note for note in reporter.notes)
    assert batches.n_tokens.max() <= 6
    assert len(split.dataset) == batches.n_examples
    longer = subject.objective.batches(split, subject.classifier.tokenizer, batch_size=4, n_max=64)
    assert longer.n_tokens.max() > 6
