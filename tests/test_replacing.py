"""What stands in for a masked head: against sums by hand, one example at a time, in float64; and folded into biases."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_types import VOCABULARY, tiny_model

from prune_heads import attention_blocks, gates_of
from prune_heads.ablation import ablations, predict_masks
from prune_heads.anatomy import on_context
from prune_heads.checkpoints import Checkpoint
from prune_heads.evaluation import Subject, predict, unseen
from prune_heads.heads import HeadMask
from prune_heads.objectives.batches import Batches, Field, Ragged
from prune_heads.objectives.classifiers import SingleLabel
from prune_heads.objectives.replacing import KINDS, measure
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.store import PredictionStore

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
    for model_type in ("bert", "llama", "xlnet"):
        model = tiny_model(model_type, num_labels=3)
        examples = predictions_of(model, tmp_path / model_type, kind)
        masks = [
            examples.gone,
            *ablations("only-one", examples.gone).values(),
            HeadMask.parse("1:1 3:2", examples.gone.n_heads),
        ]
        found = predict_masks(examples, masks)
        assert not any("one at a time" in note for note in examples.reporter.notes) or model_type == "xlnet"
        for mask in masks:
            alone = predict(model, examples.batches, gates_of(model, mask))
            np.testing.assert_allclose(found[mask], alone, rtol=0, atol=2e-5)


def predictions_of(model, store, kind, **how):
    """On our examples, of a task that is there for its name."""
    model.config.id2label = dict(enumerate("abc"))
    batches = batches_for(model, **how)
    found = batches if kind == "zero" else replace(batches, replacement=measure(model, batches, kind))
    rows = [{"text": "a", "label": "a"}]
    from prune_heads.tasks.task import task_of_labels

    task, split = task_of_labels(batches.references, "accuracy")
    subject = Subject.of(Checkpoint(model, None, "tiny", None), task, objective=batches.objective, batch_size=3)
    examples = Predictions(subject, split, PredictionStore(store), Reporter(), found)
    examples.replacement = found.replacement
    return examples
