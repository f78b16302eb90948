"""What a model says of an example does not depend on the examples beside it, nor on how it was cut without a word."""

import copy
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import WORDS, tiny_model, tiny_tokenizer, write_sst2
from tiny_types import END, PAD, VOCABULARY, tiny_config
from tiny_types import tiny_model as classifier
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as OF_IMAGES

from prune_heads.ablation import ablations, predict_masks
from prune_heads.checkpoints import Checkpoint
from prune_heads.coverage import committed_table
from prune_heads.errors import DataError, UnsupportedModelError
from prune_heads.evaluation import Subject, n_positions, predict, unseen
from prune_heads.gating import gated, gates_of
from prune_heads.importance import gate_gradients
from prune_heads.objectives.batches import Batches, Field, Ragged
from prune_heads.objectives.classifiers import SingleLabel
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.store import PredictionStore
from prune_heads.studies.setup import identify_split
from prune_heads.tasks.task import load_task

LENGTHS = (9, 23, 17, 10, 23, 12)
SIDES = {
    **dict.fromkeys(("bert", "roberta", "deberta-v2", "gpt2", "opt", "llama", "bloom", "big_bird"), "right"),
    **dict.fromkeys(("bart", "t5", "mixtral", "esm", "ctrl"), "right"),
    "xlnet": "left",
    **dict.fromkeys(("mobilebert", "canine"), "none"),
}
"""Where the padding of a type stands; none: each example runs alone."""
SPARSE = ("big_bird", "bigbird_pegasus")
ROWS = committed_table()["models"]
IMAGES = {row["type"] for row in ROWS if not row["classifier"] and row["type"] in OF_IMAGES}
GATED = [row["type"] for row in ROWS if row["gate"] and row["classifier"] and row["type"] not in IMAGES]


def random_batches(side, *, size=4, lengths=LENGTHS, seed=0):
    draw = np.random.default_rng(seed)
    texts = [np.append(draw.integers(5, VOCABULARY, n - 1), END).astype(np.int32) for n in lengths]
    ids, labels = Ragged.of(texts), np.arange(len(lengths)) % 3
    inputs = {"input_ids": ids, "attention_mask": replace(ids, values=np.ones_like(ids.values))}
    made = Batches(SingleLabel("accuracy", None, (0, 1, 2)), inputs, Field(labels), labels, size)
    return texts, replace(made, side=side)


@torch.no_grad()
def alone(model, texts, gates=None):
    """The truth: each example without any other and without padding."""
    with gated(model, gates or gates_of(model, {})):
        ids = [torch.from_numpy(text[None].astype(np.int64)) for text in texts]
        return torch.cat([model(input_ids=x, attention_mask=torch.ones_like(x)).logits for x in ids]).numpy()


def assert_each_alone(model_type, side):
    # Sparse blocks are for texts of a length, and BigBird leaves them for good at the first shorter one.
    changes = {"attention_type": "original_full"} if model_type in SPARSE else {}
    model = classifier(model_type, **changes)
    texts, batches = random_batches(side)
    ready = unseen(model, batches)
    for heads in ({}, {0: [0, 1]}):
        expected = alone(model, texts, gates_of(model, heads))
        got = predict(model, ready, gates_of(model, heads))
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    return ready


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model_type", SIDES)
def test_examples_do_not_see_each_other(model_type, side):
    ready = assert_each_alone(model_type, side)
    assert (ready.side, ready.batch_size) == (SIDES[model_type], 1 if SIDES[model_type] == "none" else 4)


@pytest.mark.thorough
@pytest.mark.parametrize("model_type", GATED)
def test_examples_of_no_type_see_each_other(model_type):
    for side in ("left", "right"):
        try:
            assert_each_alone(model_type, side)
        except UnsupportedModelError as error:
            assert "alone" in str(error)  # noqa: PT017


@pytest.mark.parametrize("model_type", ["gpt2", "xlnet", "mobilebert"])
def test_scores_do_not_depend_on_the_batch(model_type):
    model, (_, one), (_, many) = (classifier(model_type), random_batches("left", size=1), random_batches("left"))
    found = [gate_gradients(model, unseen(model, batches)) for batches in (one, many)]
    for name in ("signed", "absolute"):
        a, b = (getattr(each, name) for each in found)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(a).max())


def test_the_last_token_is_found_by_what_the_model_takes_for_padding():
    """GPT-2's head reads the last token that is not `pad_token_id`, which need not be the tokenizer's."""
    model = classifier("gpt2")
    model.config.pad_token_id = 4
    texts, batches = random_batches("right")
    np.testing.assert_allclose(predict(model, unseen(model, batches)), alone(model, texts), rtol=0, atol=1e-5)
    model.config.pad_token_id = None  # then it refuses any batch
    ready = unseen(model, batches)
    assert ready.batch_size == 1
    np.testing.assert_allclose(predict(model, ready), alone(model, texts), rtol=0, atol=1e-6)


def test_a_model_that_remembers_is_refused():
    model, (_, batches) = classifier("bert"), random_batches("right")

    def grow(module, args, output):
        output.logits += module.config.grown
        module.config.grown += 1

    model.config.grown = 1
    model.register_forward_hook(grow)
    with pytest.raises(UnsupportedModelError, match="depend on what the model was given before"):
        unseen(model, batches)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return load_task("sst2", data_dir=write_sst2(tmp_path_factory.mktemp("padding")))


def subject_of(task, model_type="gpt2", *, side="left", **options):
    model, tokenizer = tiny_model(model_type, n_labels=2), tiny_tokenizer()
    model.config.id2label = {0: "negative", 1: "positive"}
    tokenizer.padding_side = side
    if model_type == "gpt2":
        tokenizer.model_input_names = ["input_ids"]  # no mask of padding unless it is asked for
    return Subject.of(Checkpoint(model, tokenizer, "tiny", None), task, **options)


def predictions_of(subject, store):
    split = subject.measurable(subject.task.load("validation"), Reporter())
    return Predictions(subject, split, PredictionStore(store), Reporter())


def test_stored_predictions_are_of_each_example_alone(task, tmp_path):
    """Whichever side and batch size ran first: one key, one answer, and that is the right one."""
    found = []
    for side, size in (("left", 32), ("left", 1), ("right", 32)):
        for store in (tmp_path / "shared", tmp_path / f"{side}{size}"):
            examples = predictions_of(subject_of(task, side=side, batch_size=size), store)
            mask = examples.gone
            found.append((examples.key(mask), examples.of(mask)))
    ids = [np.asarray(tiny_tokenizer()(text)["input_ids"]) for text in examples.split.dataset["text"]]
    expected = alone(examples.subject.model, ids)
    for key, logits in found:
        assert key == found[0][0]
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", ["gpt2", "xlnet", "mobilebert"])
def test_many_masks_at_once_are_those_of_each_example_alone(task, tmp_path, model_type):
    """The engine of the ablations makes batches of its own."""
    model = classifier(model_type)
    model.config.id2label = {0: "a", 1: "b", 2: "c"}
    texts, batches = random_batches("left", seed=1)
    subject = subject_of(task)
    examples = predictions_of(subject, tmp_path)
    examples.subject = replace(subject, classifier=subject.classifier._replace(model=model))
    vars(examples).update(tokens=batches)
    masks = list(ablations("without-one", examples.gone).values())[::3]
    for mask, logits in predict_masks(examples, masks).items():
        expected = alone(model, texts, gates_of(model, mask))
        np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    said = any("examples run one at a time" in note for note in examples.reporter.notes)
    assert said == (model_type == "mobilebert")


def test_an_example_without_a_token_is_refused(task):
    subject = subject_of(task)
    subject.classifier.tokenizer.backend_tokenizer.post_processor = None
    empty = {"text": ["good", ""], "label": [0, 1]}
    with pytest.raises(DataError, match="example 2 of validation has none"):
        subject.batches(replace(task.load("validation"), columns=empty))


@pytest.mark.parametrize(("n_max", "n_cut"), [(7, 2), (12, 1), (13, 0)])
def test_pairs_that_are_cut_are_counted(tmp_path, n_max, n_cut):
    lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
    lines += [f"{i % 2}\t1\t2\t{' '.join(WORDS[:n])}\tcat" for i, n in enumerate((2, 8, 3, 9))]
    (tmp_path / "dev.tsv").write_text("\n".join(lines) + "\n")
    task, reporter = load_task("mrpc", data_dir=tmp_path), Reporter()
    model = tiny_model(n_labels=2)
    model.config.id2label = {0: "not_equivalent", 1: "equivalent"}
    subject = Subject.of(Checkpoint(model, tiny_tokenizer(), "tiny", None), task, max_length=n_max)
    split = subject.measurable(task.load("validation"), reporter)
    said = [f"validation: {n_cut} of 4 examples are cut at {n_max} tokens"] if n_cut else []
    assert reporter.notes == said
    assert identify_split(split).get("n_cut", 0) == split.n_cut == n_cut
    assert subject.batches(split).n_tokens.max() == min(n_max, 13)


def test_what_is_cut_is_noted_and_recorded_for_scoring_too(invoke, on_sst2, tmp_path):
    for command, split in (("evaluate", "validation"), ("score", "train")):
        done = invoke(command, *on_sst2, "--max-length", 5, "--output", tmp_path / command)
        record = json.loads((tmp_path / command / "record.json").read_text())
        (data,) = record["data"]
        note = f"{split}: {data['n_cut']} of {data['n_examples']} examples are cut at 5 tokens"
        assert note in record["notes"]
        assert note in " ".join(done.stderr.split())
        assert 0 < data["n_cut"] < data["n_examples"]


@pytest.mark.parametrize(
    ("model_type", "room"),
    [("bert", 64), ("roberta", 63), ("opt", 64), ("gptj", 64), ("llama", 64), ("mpt", 64), ("xlnet", sys.maxsize)],
)
def test_no_text_is_longer_than_the_positions(model_type, room):
    """Rotary and other positions that no embedding holds are those of the configuration."""
    assert n_positions(classifier(model_type)) == room


def test_padding_is_of_no_example():
    _, batches = random_batches("right")
    batch = batches.batch(np.arange(3))
    assert batch.inputs["attention_mask"].sum(1).tolist() == list(LENGTHS[:3])
    assert batch.inputs["input_ids"][0, LENGTHS[0] :].unique().tolist() == [PAD]


_SPARSE = {"attention_type": "block_sparse", "block_size": 4, "num_random_blocks": 1}
_LONG = {
    **{"rope_type": "longrope", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 32},
    **{"short_factor": [1.0] * 4, "long_factor": [3.0] * 4},
}


@pytest.mark.parametrize(
    ("model_type", "options", "lengths", "side"),
    [
        ("big_bird", _SPARSE, (9, 12, 20, 5), "right"),  # too short for blocks, so all is seen
        ("big_bird", _SPARSE, (30, 60, 45, 33), "none"),  # the last block is seen by all, and it may be padding
        ("big_bird", _SPARSE, (30, 60, 10), None),  # a short text turns the blocks off, for good
        ("llama", {"rope_parameters": _LONG}, (30, 60, 10), "none"),  # by the longest text of a batch
        ("llama", {"rope_parameters": {**_LONG, "rope_type": "dynamic"}}, (30, 60, 10), "right"),
    ],
)
def test_what_a_batch_does_to_attention_is_found(model_type, options, lengths, side):
    config = tiny_config(model_type)
    vars(config).update(options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(config).eval()
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower():
                torch.nn.init.normal_(parameter, std=0.15)
    texts, batches = random_batches("left", lengths=lengths)
    expected = np.concatenate([alone(copy.deepcopy(model), [text]) for text in texts])
    if side is None:
        with pytest.raises(UnsupportedModelError, match="another kind of attention"):
            unseen(model, batches)
        return
    ready = unseen(model, batches)
    assert ready.side == side
    np.testing.assert_allclose(predict(model, ready), expected, rtol=0, atol=1e-5)
