"""What somebody does to a model between two questions is seen, and what we do to it meanwhile is undone."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_model, tiny_tokenizer, write_sst2
from transformers import LlamaConfig, LlamaForSequenceClassification

from prune_heads.ablation import predict_masks
from prune_heads.anatomy import attention_blocks
from prune_heads.checkpoints import Checkpoint
from prune_heads.evaluation import Subject, predict
from prune_heads.gating import gates_of
from prune_heads.heads import HeadMask
from prune_heads.importance.gradient import batch_rows, gate_gradients
from prune_heads.predictions import Predictions, model_key
from prune_heads.progress import Reporter
from prune_heads.store import PredictionStore
from prune_heads.surgery import remove_heads, zero_heads
from prune_heads.tasks.task import load_task

NONE, SOME = HeadMask((4, 4, 4)), HeadMask.parse("1:1,2 3:3", (4, 4, 4))


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return load_task("sst2", data_dir=write_sst2(tmp_path_factory.mktemp("state")))


@pytest.fixture
def examples(task, tmp_path):
    model = tiny_model(n_labels=2)
    model.config.id2label = {0: "negative", 1: "positive"}
    subject = Subject.of(Checkpoint(model, tiny_tokenizer(), "tiny", None), task, batch_size=8)
    return Predictions(subject, task.load("validation"), PredictionStore(tmp_path / "store"), Reporter())


def truth(examples, mask=NONE):
    """Without a store and without anything kept; a copy, so that nothing of the model can be remembered either."""
    model = copy.deepcopy(examples.subject.model).eval()
    return predict(model, examples.subject.batches(examples.split), gates_of(model, mask))


def scaled(model):
    model.bert.encoder.layer[0].attention.output.dense.weight.data.mul_(2)  # no counter of changes sees it


def reconfigured(model):
    model.config.layer_norm_eps = 0.5  # not read any more, but nobody can know that
    model.bert.encoder.layer[1].output.LayerNorm.eps = 0.5


CHANGES = {
    "zeroed": lambda model: zero_heads(model, SOME),
    "removed": lambda model: remove_heads(model, SOME),
    "written to": scaled,
    "reconfigured": reconfigured,
    "other precision": lambda model: model.bfloat16(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("ask", [lambda p, m: p.of(m), lambda p, m: predict_masks(p, [m])[m | p.gone]])
def test_a_changed_model_is_another_model(examples, change, ask):
    before, key = ask(examples, NONE), examples.key(NONE)
    CHANGES[change](examples.subject.model)
    tolerance = 1e-5 if change != "other precision" else 0.1
    for mask in (NONE, HeadMask.parse("2:4", (4, 4, 4))):
        np.testing.assert_allclose(ask(examples, mask), truth(examples, mask), rtol=0, atol=tolerance)
    assert examples.key(NONE) != key
    assert examples.gone == (SOME if change == "removed" else NONE)
    fresh = Predictions(examples.subject, examples.split, examples.store, Reporter())
    assert np.array_equal(fresh.of(NONE), examples.of(NONE))
    assert not np.array_equal(fresh.of(NONE), before)


def test_buffers_that_no_file_holds_are_of_the_key():
    config = LlamaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37, vocab_size=50
    )
    model = LlamaForSequenceClassification(config)
    key = model_key(model)
    model.model.rotary_emb.inv_freq.mul_(3)
    assert model_key(model) != key


def test_a_model_that_is_changed_back_is_known_again(examples):
    model, key = examples.subject.model, examples.key(NONE)
    kept = copy.deepcopy(model.state_dict())
    zero_heads(model, SOME)
    assert examples.key(NONE) != key
    model.load_state_dict(kept)
    assert examples.key(NONE) == key


def test_what_a_translation_is_told_is_read_anew(tmp_path):
    """`generate` reads the model's own settings, whatever they were when the sources were tokenised."""
    from prune_heads.options import Setup
    from prune_heads.studies.setup import load_split, load_subject, predictions_of

    setup = Setup("mini", "mini-translation", max_examples=4, store=tmp_path, device="cpu")
    subject = load_subject(setup, Reporter())
    examples = predictions_of(setup, subject, load_split(setup, subject, "validation", Reporter()), Reporter())
    before = examples.of(examples.gone)
    subject.model.generation_config.suppress_tokens = list(range(8, 40))
    assert not np.array_equal(examples.of(examples.gone), before)


def modes(model):
    return [module.training for module in model.modules()]


@pytest.fixture
def trained(examples):
    """In the middle of a training in which one layer is kept in evaluation mode and one is frozen."""
    model = examples.subject.model.train()
    model.bert.encoder.layer[1].eval()
    model.bert.encoder.layer[2].requires_grad_(False)
    return model


def test_a_model_in_training_is_evaluated_without_dropout(examples, trained):
    before, expected = modes(trained), truth(examples)
    batches = examples.subject.batches(examples.split)
    assert np.array_equal(predict(trained, batches), expected)
    assert np.array_equal(examples.of(NONE), expected)
    found = predict_masks(examples, [SOME])[SOME]
    np.testing.assert_allclose(found, truth(examples, SOME), rtol=0, atol=1e-5)
    assert modes(trained) == before


def test_gradients_of_a_model_in_training_are_those_of_evaluation(examples, trained):
    before, frozen = modes(trained), [p.requires_grad for p in trained.parameters()]
    batches = examples.subject.batches(examples.split)
    expected = gate_gradients(copy.deepcopy(trained).eval(), batches)
    found = gate_gradients(trained, batches)
    assert np.array_equal(found.signed, expected.signed)
    assert modes(trained) == before
    rows = batch_rows(trained, batches, range(len(batches)))
    next(rows)
    rows.close()  # somebody has seen enough
    assert modes(trained) == before
    assert [p.requires_grad for p in trained.parameters()] == frozen


def test_the_mode_comes_back_after_an_error_too(examples, trained):
    before = modes(trained)
    trained.bert.embeddings.word_embeddings.weight.data[5:] = torch.nan
    for call in (predict, gate_gradients):
        with pytest.raises(Exception, match="must be finite"):
            call(trained, replace(examples.subject.tokens(examples.split)))
        assert modes(trained) == before


def test_blocks_are_those_of_now(examples):
    remove_heads(examples.subject.model, "2:1,2,3")
    assert [block.n_heads for block in attention_blocks(examples.subject.model)] == [4, 1, 4]
    assert examples.subject.n_heads == (4, 4, 4)
    masks = [HeadMask.parse(text, (4, 4, 4)) for text in ("2:4", "1:1 2:4", "3:1,2,3,4")]
    for mask, logits in predict_masks(examples, masks).items():
        np.testing.assert_allclose(logits, truth(examples, mask), rtol=0, atol=1e-5)
