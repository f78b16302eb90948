"""What stands in for a masked head: against sums by hand, one example at a time, in float64; and folded into biases."""

import copy
import pickle
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_questions import answering, questions
from tiny_texts import loaded as load_pairs
from tiny_texts import save_language_model, tiny_language_model, write_texts
from tiny_types import VOCABULARY, tiny_model

from prune_heads import (
    Evaluator,
    attention_blocks,
    gate_gradients,
    gated,
    gates_of,
    load_pruned,
    remove_heads,
    save_pruned,
    zero_heads,
)
from prune_heads.ablation import ManyMasks, ablations, predict_masks
from prune_heads.anatomy import on_context
from prune_heads.checkpoints import Checkpoint
from prune_heads.errors import OptionError, UnfitError, UnsupportedModelError
from prune_heads.evaluation import Subject, predict, unseen
from prune_heads.heads import HeadMask
from prune_heads.objectives.batches import Batches, Field, Ragged, loaded
from prune_heads.objectives.classifiers import SingleLabel
from prune_heads.objectives.replacing import KINDS, measure, stand_in
from prune_heads.options import Scoring, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.store import Journal, PredictionStore, unfinished
from prune_heads.studies.scoring import Lab
from prune_heads.surgery import bias_shifts
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task, task_of_labels

TYPES = ("bert", "gpt2", "llama", "xlnet", "bart", "vit")
LENGTHS = (9, 5, 12, 7, 5, 12, 3)


def batches_for(model, *, size=3, lengths=LENGTHS, seed=0):
    """Examples of a classifier, padded as it takes them, three a batch."""
    draw, labels = np.random.default_rng(seed), np.arange(len(lengths)) % 3
    objective = SingleLabel("accuracy", None, (0, 1, 2))
    if model.main_input_name == "pixel_values":
        edge = model.config.image_size
        pixels = draw.standard_normal((len(lengths), 3, edge, edge))
        return Batches(objective, {"pixel_values": Field(pixels.astype(np.float64))}, Field(labels), labels, size)
    ids = Ragged.of([draw.integers(5, VOCABULARY, n).astype(np.int32) for n in lengths])
    if model.config.model_type == "bart":  # it reads the last of its end tokens
        ids.values[ids.offsets[1:] - 1] = model.config.eos_token_id
    inputs = {"input_ids": ids, "attention_mask": replace(ids, values=np.ones_like(ids.values))}
    return unseen(model, Batches(objective, inputs, Field(labels), labels, size))


@pytest.fixture(scope="module", params=TYPES)
def model(request):
    return tiny_model(request.param, num_labels=3).double()


@torch.no_grad()
def outputs(model, batches, i):
    """The input of each W_O, `(tokens, width)`, for an example alone, so without padding."""
    seen = {}
    with ExitStack() as hooks:
        for place, block in enumerate(attention_blocks(model)):
            hooks.push(on_context(block, lambda module, args, place=place: seen.update({place: args[0][0]})))
        model(**batches.batch(np.array([i])).inputs)
    return [seen[place] for place in sorted(seen)]


def test_a_mean_is_that_of_all_tokens_of_examples_alone(model):
    batches = batches_for(model)
    alone = [outputs(model, batches, i) for i in range(batches.n_examples)]
    for size in (1, 3, 50):
        found = measure(model, replace(batches, batch_size=size), "mean").means
        for i, mean in enumerate(found):
            assert torch.allclose(mean, torch.cat([each[i] for each in alone]).mean(dim=0), rtol=0, atol=1e-9)


def test_a_mean_at_a_position_is_that_of_the_tokens_there(model):
    batches = batches_for(model)
    alone = [outputs(model, batches, i) for i in range(batches.n_examples)]
    for size in (2, 50):
        found = measure(model, replace(batches, batch_size=size), "position-mean").means
        for i, table in enumerate(found):
            *rows, last = table
            assert len(rows) == max(len(each[i]) for each in alone)
            for t, row in enumerate(rows):
                there = torch.stack([each[i][t] for each in alone if len(each[i]) > t])
                assert torch.allclose(row, there.mean(dim=0), rtol=0, atol=1e-9)
            assert torch.allclose(last, torch.cat([each[i] for each in alone]).mean(dim=0), rtol=0, atol=1e-9)


@torch.no_grad()
def by_hand(model, batches, i, mask, others):
    """The logits of an example alone; the heads of the mask give what `others` has, `(tokens, width)` a block."""
    blocks, pruned = attention_blocks(model), mask.by_block()

    def hook(i):
        def change(module, args):
            context = args[0].clone()
            for head in pruned[i]:
                dims = slice(head * blocks[i].head_dim, (head + 1) * blocks[i].head_dim)
                context[..., dims] = others[i][..., dims]
            return (context, *args[1:])

        return change

    with ExitStack() as hooks:
        for place, block in enumerate(blocks):
            hooks.push(on_context(block, hook(place)))
        return model(**batches.batch(np.array([i])).inputs).logits[0]


@pytest.mark.parametrize("kind", KINDS)
def test_masked_heads_give_what_stands_in(model, kind):
    """On longer examples than those that it was measured on, in batches with padding, as on each alone by hand."""
    on, batches = batches_for(model), batches_for(model, lengths=(4, 14, 12, 5), seed=1, size=4)
    found = measure(model, on, kind, seed=5)
    mask = HeadMask.from_mapping(
        {0: [1], len(attention_blocks(model)) - 1: [0, 2]}, [b.n_heads for b in attention_blocks(model)]
    )
    got = predict(model, replace(batches, replacement=found), gates_of(model, mask))
    for i in range(batches.n_examples):
        n = [len(each) for each in outputs(model, batches, i)]
        if kind == "mean":
            others = found.means
        elif kind == "position-mean":
            others = [table[[min(t, len(table) - 1) for t in range(n[b])]] for b, table in enumerate(found.means)]
        else:
            drawn = int(np.random.default_rng([5, i]).integers(len(LENGTHS) - 1))
            donor = outputs(model, on, drawn + (drawn >= i))
            others = [each[[t % len(each) for t in range(n[b])]] for b, each in enumerate(donor)]
        assert np.allclose(got[i], by_hand(model, batches, i, mask, others), rtol=0, atol=1e-6)
    assert np.abs(got - predict(model, batches, gates_of(model, mask))).max() > 1e-3
    whole = predict(model, replace(batches, replacement=found), gates_of(model, ""))
    np.testing.assert_array_equal(whole, predict(model, batches))  # gates of 1, bit for bit


@pytest.mark.parametrize("kind", KINDS)
def test_many_masks_at_once_are_one_at_a_time(kind, tmp_path):
    for model_type in ("bert", "llama"):
        model = tiny_model(model_type, num_labels=3)
        examples = predictions_of(model, tmp_path / model_type, kind)
        masks = [
            examples.gone,
            *ablations("only-one", examples.gone).values(),
            HeadMask.parse("1:1 3:2", examples.gone.n_heads),
        ]
        found = predict_masks(examples, masks)
        assert not any("one at a time" in note for note in examples.reporter.notes)
        for mask in masks[::-3]:
            alone = predict(model, examples.batches, gates_of(model, mask))
            np.testing.assert_allclose(found[mask], alone, rtol=0, atol=2e-5)


def predictions_of(model, store, kind):
    """On our examples, of a task that knows their labels alone."""
    batches = batches_for(model)
    found = batches if kind == "zero" else replace(batches, replacement=measure(model, batches, kind))
    task, split = task_of_labels(batches.references, "accuracy")
    checkpoint = Checkpoint(model, None, "tiny", None)
    subject = Subject.of(checkpoint, task, objective=batches.objective, batch_size=3)
    examples = Predictions(subject, split, PredictionStore(store), Reporter(), found)
    examples.replacement = found.replacement
    return examples


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_towards_what_stands_in(kind):
    """(Att_h - r)^T dL/dAtt_h, of autograd by the heads' outputs themselves, each example alone."""
    model = tiny_model("bert", num_labels=3).double()
    batches = batches_for(model)
    found = measure(model, batches, kind, seed=2)
    got = gate_gradients(model, replace(batches, replacement=found)).signed
    for i in range(batches.n_examples):
        seen, alone = {}, replace(batches, batch_size=1)
        instead = stand_in(model, replace(alone, replacement=found), np.array([i]))
        batch = alone.batch(np.array([i]))
        with ExitStack() as hooks:
            for place, block in enumerate(attention_blocks(model)):
                hooks.push(on_context(block, lambda _, args, place=place, seen=seen: seen.update({place: args[0]})))
            loss = batches.objective.losses(model(**batch.inputs), batch).sum()
        gradients = torch.autograd.grad(loss, list(seen.values()))
        wanted = []
        for (place, context), gradient in zip(seen.items(), gradients, strict=True):
            other = instead[place]
            other = other[: context.shape[1]] if kind == "position-mean" else other
            wanted += ((context - other) * gradient)[0].unflatten(-1, (4, 8)).sum(dim=(0, 2)).tolist()
        np.testing.assert_allclose(got[i], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "bart", "vit", "starcoder2"])
def test_a_mean_is_folded_into_the_bias(model_type, tmp_path):
    model = tiny_model(model_type, num_labels=3).double()
    batches = batches_for(model)
    means = measure(model, batches, "mean").means
    heads = {0: [2, 3], 1: [0, 1, 2, 3], len(means) - 1: [0, 1]}  # groups, where heads share keys
    with torch.no_grad(), gated(model, gates_of(model, heads), means):
        inputs = batches.batch(np.arange(3)).inputs
        expected = model(**inputs).logits
    zeroed, removed = (take(copy.deepcopy(model), heads, means) for take in (zero_heads, remove_heads))
    zeroed.save_pretrained(tmp_path / "zeroed")
    save_pruned(removed, tmp_path / "removed")
    plain = type(model).from_pretrained(tmp_path / "zeroed", dtype=torch.float64)
    for other in (zeroed, removed, plain.eval(), load_pruned(tmp_path / "removed").double().eval()):
        with torch.no_grad():
            assert torch.allclose(other(**inputs).logits, expected, rtol=0, atol=1e-9)
    with torch.no_grad():
        without = zero_heads(copy.deepcopy(model), heads)(**inputs).logits
    assert (without - expected).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("model_type", "why"),
    [
        ("llama", "there is none"),
        ("t5", "there is none"),
        ("xlnet", "there is none"),
        ("albert", "share their weights"),
    ],
)
def test_a_bias_that_is_not_there_or_not_its_own_takes_no_mean(model_type, why):
    model = tiny_model(model_type)
    means = [torch.ones(block.n_heads * block.head_dim) for block in attention_blocks(model)]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    for take in (zero_heads, remove_heads):
        with pytest.raises(UnsupportedModelError, match=f"must be its own to take the means of heads; .*{why}"):
            take(model, {0: [0]}, means)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert bias_shifts(model, {}, means) == []


def test_what_has_no_positions_is_refused_by_name():
    swin = tiny_model("swin", num_labels=3).double()
    batches = batches_for(swin)
    assert all(mean.ndim == 1 for mean in measure(swin, batches, "mean").means)
    with pytest.raises(UnfitError, match=r"--replace position-mean needs blocks .* Take --replace zero or mean"):
        measure(swin, batches, "position-mean")
    with pytest.raises(UnfitError, match="--replace resample needs blocks"):
        stand_in(swin, replace(batches, replacement=measure(swin, batches, "resample")), np.arange(2))
    bert = tiny_model("bert", num_labels=3)
    with pytest.raises(UnfitError, match="two examples that can stand in for each other; got 1"):
        measure(bert, batches_for(bert, lengths=(4,)), "resample")
    with pytest.raises(OptionError, match="must be one of zero, mean, position-mean, resample; got 'median'"):
        measure(bert, batches_for(bert), "median")


def test_shapes_that_do_not_fit_are_refused():
    model = tiny_model("bert", num_labels=3)
    inputs, gates = batches_for(model).batch(np.arange(3)).inputs, gates_of(model, "1:1")
    for shape in [(31,), (4, 31), (0, 32), (2, 12, 32), (3, 11, 32), (1, 1, 1, 32)]:
        others = [torch.zeros(shape), None, None]
        with pytest.raises(ValueError, match="must have the shape"), gated(model, gates, others):
            model(**inputs)
    with pytest.raises(ValueError, match="got 3, and 2 to stand in"), gated(model, gates, [None] * 2):
        pass


def test_a_block_without_heads_has_nothing_to_replace():
    model = remove_heads(tiny_model("bert", num_labels=3), "2:1,2,3,4 1:2")
    batches = batches_for(model)
    for kind in KINDS:
        found = replace(batches, replacement=measure(model, batches, kind))
        one, none, three = stand_in(model, found, np.arange(3))
        assert none is None
        assert (one.shape[-1], three.shape[-1]) == (24, 32)
        assert np.isfinite(predict(model, found, gates_of(model, "1:1 3:2"))).all()


def test_padding_of_a_loader_is_no_part_of_a_mean():
    """Rows come padded, on the right or on the left."""
    model = tiny_model("bert", num_labels=3).double()
    whole = batches_for(model, lengths=(5, 3))
    expected = {kind: measure(model, whole, kind).means for kind in KINDS[:2]}
    inputs = whole.batch(np.arange(2)).inputs
    turned = {name: torch.stack([value[0], value[1].roll(2)]) for name, value in inputs.items()}
    turned["position_ids"] = torch.tensor([[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]])
    for given in (inputs, turned):
        padded = loaded([{**given, "labels": torch.tensor([0, 1])}], model)
        for kind, means in expected.items():
            for mean, other in zip(means, measure(model, padded, kind).means, strict=True):
                assert torch.allclose(mean, other, rtol=0, atol=1e-9)


def test_predictions_know_what_stood_in(tmp_path):
    model = tiny_model("bert", num_labels=3)
    by_kind = {kind: predictions_of(model, tmp_path, kind) for kind in ("zero", *KINDS)}
    none, one = HeadMask((4, 4, 4)), HeadMask.parse("1:1", (4, 4, 4))
    assert len({each.key(none) for each in by_kind.values()}) == 1  # no head is masked
    assert len({each.key(one).digest for each in by_kind.values()}) == 4
    assert "instead" not in by_kind["zero"].key(one).to_json()
    kept = {kind: each.of(one) for kind, each in by_kind.items()}
    for kind, each in by_kind.items():
        np.testing.assert_array_equal(each.stored(one), kept[kind])
        others = [kept[other] for other in kept if other != kind]
        assert all(np.abs(kept[kind] - other).max() > 1e-3 for other in others)
    masks = [none, one]
    journal = Journal(
        by_kind["mean"].store.objects,
        {**by_kind["mean"].key(none).to_json(), "instead": by_kind["mean"].instead, "masks": [str(m) for m in masks]},
    )
    predict_masks(by_kind["zero"], masks)  # all is there: journals of these are closed, not those of others
    assert [each.name for each in unfinished(journal.objects)] == [journal.name]
    predict_masks(by_kind["mean"], masks)
    assert not unfinished(journal.objects)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """An encoder-decoder on pairs, whose decoder has lengths of its own."""
    folder = tmp_path_factory.mktemp("pairs")
    _, name, _, train, _, validation = write_texts(folder, "bart", n_train=9, n_dev=6)
    task = load_task(name, own=OwnData({"train": train, "validation": validation}, kind=name))
    checkpoint = load_pairs(save_language_model(folder / "bart", tiny_language_model("bart")), "bart")
    return Subject.of(checkpoint, task, batch_size=4)


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    """Questions with contexts in several windows, a row each."""
    return answering(tmp_path_factory.mktemp("answering"), questions(7))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subject", ["pairs", "windows"])
def test_nothing_depends_on_the_batch(kind, subject, request):
    subject = request.getfixturevalue(subject)
    task, model = subject.task, subject.model
    every = [replace(subject, batch_size=size).batches(task.load("validation")) for size in (1, 4)]
    made = [measure(model, each, kind, seed=1) for each in every]
    kept = [
        predict(model, replace(each, replacement=found), gates_of(model, {0: [1], 2: [0, 3]}))
        for each, found in zip(every, made, strict=True)
    ]
    np.testing.assert_allclose(kept[0], kept[1], rtol=1e-4, atol=1e-4)
    assert np.abs(kept[0] - predict(model, every[0], gates_of(model, {0: [1], 2: [0, 3]}))).max() > 1e-3
    assert made[0].identity == made[1].identity
    sent = pickle.dumps(made[1])  # to the workers of a cluster, without the model that an objective may hold
    assert len(sent) < sum(weight.nbytes for weight in model.parameters()) / 2
    again = replace(every[1], replacement=pickle.loads(sent))
    np.testing.assert_array_equal(predict(model, again, gates_of(model, {0: [1], 2: [0, 3]})), kept[1])


def test_an_encoder_decoder_has_the_means_of_its_own_tokens(pairs):
    """Of the encoder over sources, of the decoder over what it is given; no padding."""
    batches = pairs.batches(pairs.task.load("validation"))
    assert len({*(batches.n_tokens - batches.n_decoded)}) > 1
    alone = [outputs(pairs.model, batches, i) for i in range(batches.n_examples)]
    for kind in KINDS[:2]:
        for i, mean in enumerate(measure(pairs.model, batches, kind).means):
            wanted = torch.cat([each[i] for each in alone]).mean(dim=0)
            assert torch.allclose((mean if kind == "mean" else mean[-1]).float(), wanted, rtol=0, atol=1e-5)
            assert mean.ndim == 1 or len(mean) == 1 + max(len(each[i]) for each in alone)


def test_written_texts_take_means_alone():
    setup = Setup("mini", "mini-translation", max_examples=3, replace="mean")
    lab = Lab(setup, Reporter())
    examples = lab.reported(["validation"])[0]
    mask = HeadMask.parse("E:1:1 D:1:2 A:2:1", examples.gone.n_heads)
    found = predict_masks(examples, [mask])[mask]
    np.testing.assert_array_equal(
        found, predict(lab.subject.model, examples.batches, gates_of(lab.subject.model, mask))
    )
    assert lab.identify([])["replaced_by"]["split"] == "train"
    for kind in KINDS[1:]:
        with pytest.raises(UnfitError, match=f"--replace {kind} needs all tokens .* Take --replace zero or mean"):
            _ = Lab(replace(setup, replace=kind), Reporter()).replacement


def test_the_evaluator_replaces_too():
    """By its own examples, or as another one does."""
    zero = Evaluator("mini", "mini-sentiment", max_examples=12)
    ev = Evaluator("mini", "mini-sentiment", max_examples=12, replace="mean")
    assert zero.replacement is None
    assert zero.evaluate() == ev.evaluate()
    assert zero.evaluate("1:1 2:1").likelihood != ev.evaluate("1:1 2:1").likelihood
    model, batches = ev.model, ev.replacement.rows
    assert batches.n_tokens.sum() > 0
    other = ev.on(max_examples=5)
    assert other.replacement is ev.replacement
    scores = [each.score().flat() for each in (zero, ev)]
    assert not np.allclose(*scores)
    folded = zero_heads(copy.deepcopy(model), "1:1 2:1", ev.replacement.means)
    alone = Evaluator(folded, "mini-sentiment", max_examples=12, tokenizer=ev._predictions.subject.classifier.tokenizer)
    found = [each.likelihood["value"] for each in (alone.evaluate(), ev.evaluate("1:1 2:1"))]
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    with pytest.raises(OptionError, match="got 'median'"):
        Evaluator("mini", "mini-sentiment", max_examples=4, replace="median")


def test_at_most_so_many_examples_are_measured(monkeypatch):
    monkeypatch.setattr("prune_heads.studies.scoring.MOST_REPLACING", 6)
    lab = Lab(Setup("mini", "mini-sentiment", replace="resample"), Reporter(), seed=3)
    assert len(lab.replacement.rows.n_tokens) == 6
    assert lab.replacement.seed == 3
    assert any(note.endswith("a batch, for others of 6 examples of train") for note in lab.reporter.notes)
    first, lab.scoring = lab.replacement, Scoring(score_examples=4, seed=3)
    assert len(lab.replacement.rows.n_tokens) == 4
    assert lab.replacement is not first


def test_a_killed_ablation_goes_on_with_what_stood_in(tmp_path, monkeypatch):
    model, done, original = tiny_model("bert", num_labels=3), [], ManyMasks.logits

    def killed(self, batch):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(batch)
        return original(self, batch)

    masks = list(ablations("without-one", HeadMask((4, 4, 4))).values())
    masks.insert(0, HeadMask((4, 4, 4)))
    expected = predict_masks(predictions_of(model, tmp_path / "whole", "resample"), masks)
    monkeypatch.setattr(ManyMasks, "logits", killed)
    with pytest.raises(KeyboardInterrupt):
        predict_masks(predictions_of(model, tmp_path / "killed", "resample"), masks)
    done.clear()
    found = predict_masks(predictions_of(model, tmp_path / "killed", "resample"), masks)
    assert len(done) == 1  # of three batches
    assert all(np.array_equal(found[mask], kept) for mask, kept in expected.items())
    done.clear()
    with pytest.raises(KeyboardInterrupt):  # what stands in is other, so nothing is taken over
        predict_masks(predictions_of(model, tmp_path / "killed", "mean"), masks)
