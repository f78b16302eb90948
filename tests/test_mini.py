"""The built-in suite: data that never change, and checkpoints that fit them and can be trained again."""

import functools
import hashlib
import itertools
import json
import re
import warnings
from importlib import resources
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from prune_heads.errors import CheckpointError
from prune_heads.evaluator import Evaluator
from prune_heads.mini import read
from prune_heads.objectives import MINI, TASKS
from prune_heads.statistics import METRICS
from prune_heads.studies.train_mini import N_EXAMPLES, _shuffled, train

LABELLED = [task for task in MINI if TASKS[task].labels]
ALL_SPLITS = [(task, split) for task in LABELLED for split in TASKS[task].splits]
CHECKPOINTS = Path(str(resources.files("prune_heads.mini"))) / "checkpoints"

# SHA-256 of `json.dumps(read(task, split))`. The shipped checkpoints belong to exactly these examples.
DIGESTS = {
    ("mini-acceptability", "train"): "8979141ebbc665cc5048f76e441d6481ccaf86d259fc36a0f517bab761d4029a",
    ("mini-acceptability", "validation"): "d456608dabc65a286391a5bef8d46613642c54d417a86f9f582bfb27dcdc5888",
    ("mini-sentiment", "train"): "689197303eb004f803a809338b9dabafcb2647b207e9d075bbab2f588dc39782",
    ("mini-sentiment", "validation"): "334e45a3d1c838a8441dec00b472d605240b553c2246d68f1fe33087328bdb75",
    ("mini-paraphrase", "train"): "1c0cfb96fd78630c65092404cc92a31efe3935da0b53d2e9128f229164121837",
    ("mini-paraphrase", "validation"): "9c8b151d08f9e418463c1f6aa680402ab53b7eeb081ebb990246ac9555cf581a",
    ("mini-inference", "train"): "8192215a2eb40fd645c029dd0cade41e8667227d930618466ade984da4ac0fad",
    ("mini-inference", "validation_matched"): "ffa9aa17076b7ff633de0cdc3af9c6585d9caed38fe963cbd8b628806a173484",
    ("mini-inference", "validation_mismatched"): "0affd7a7458a723075d0e9fad7197972727ae918c6033201a88f3c7beff5c128",
}


cached = functools.cache(read)


def _texts(columns):
    return list(zip(columns["text"], columns.get("text_pair", columns["text"]), strict=True))


def _words(examples):
    return {word for texts in examples for text in texts for word in re.findall(r"\w+", text)}


@pytest.mark.parametrize(("task", "split"), ALL_SPLITS)
def test_split_holds_the_examples_that_every_record_is_about(task, split):
    assert hashlib.sha256(json.dumps(read(task, split)).encode()).hexdigest() == DIGESTS[task, split]


@pytest.mark.parametrize(("task", "split"), ALL_SPLITS)
def test_split_is_well_formed(task, split):
    columns = cached(task, split)
    assert ("text_pair" in columns) == (task in ("mini-paraphrase", "mini-inference"))
    assert {len(column) for column in columns.values()} == {N_EXAMPLES if split == "train" else 1000}
    assert len(set(_texts(columns))) == len(columns["label"])
    for text in itertools.chain(columns["text"], columns.get("text_pair", [])):
        assert re.fullmatch(r"[a-z]+(,? [a-z]+)*\.", text)


@pytest.mark.parametrize(("task", "split"), ALL_SPLITS)
def test_labels_are_about_balanced_but_not_exactly(task, split):
    labels = cached(task, split)["label"]
    counts = [labels.count(index) for index in range(len(TASKS[task].labels))]
    assert sum(counts) == len(labels)
    assert 0.8 / len(counts) < min(counts) / len(labels) < max(counts) / len(labels) < 1.2 / len(counts)
    assert min(counts) != max(counts)


@pytest.mark.parametrize("task", LABELLED)
def test_no_validation_example_is_trained_on(task):
    trained = {frozenset(texts) for texts in _texts(cached(task, "train"))}
    for split in TASKS[task].splits[1:]:
        assert trained.isdisjoint(frozenset(texts) for texts in _texts(cached(task, split)))


@pytest.fixture(scope="module")
def metrics():
    return {
        (task, split): Evaluator(str(CHECKPOINTS / task), task, split=split).evaluate().metrics
        for task in LABELLED
        for split in TASKS[task].eval_splits
    }


def test_checkpoints_are_small():
    sizes = [path.stat().st_size for path in CHECKPOINTS.rglob("*") if path.is_file()]
    assert 0 < sum(sizes) <= 3_000_000


@pytest.mark.parametrize("task", LABELLED)
def test_checkpoint_loads_without_a_warning_and_knows_all_words(task):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer = AutoTokenizer.from_pretrained(CHECKPOINTS / task)
        model = AutoModelForSequenceClassification.from_pretrained(CHECKPOINTS / task)
    assert tuple(model.config.id2label.values()) == TASKS[task].labels
    assert model.config.num_hidden_layers * model.config.num_attention_heads >= 24
    assert model.dtype == torch.float32
    for split in TASKS[task].splits:
        columns = cached(task, split)
        ids = tokenizer(columns["text"] + columns.get("text_pair", []))["input_ids"]
        assert all(tokenizer.unk_token_id not in row for row in ids)
        assert max(map(len, ids)) <= tokenizer.model_max_length


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "split", "metric", "expected"),
    [
        ("mini-acceptability", "validation", "matthews_correlation", 0.929),
        ("mini-sentiment", "validation", "accuracy", 0.926),
        ("mini-paraphrase", "validation", "f1", 0.904),
        ("mini-inference", "validation_matched", "accuracy", 0.863),
        ("mini-inference", "validation_mismatched", "accuracy", 0.835),
    ],
)
def test_checkpoint_is_as_good_as_measured(metrics, task, split, metric, expected):
    labels = cached(task, split)["label"]
    most_frequent = max(labels, key=labels.count)
    majority = METRICS[metric]([most_frequent] * len(labels), labels)
    reached = metrics[task, split][metric]
    assert reached == pytest.approx(expected, abs=0.005)  # rounding may differ among processors
    assert 1 - reached < 0.55 * (1 - majority)


def some(task, n):
    """The first examples of the training split, for each epoch the same."""
    columns = {name: column[:n] for name, column in cached(task, "train").items()}
    return lambda epoch: columns


@pytest.mark.slow
def test_training_is_reproducible(tmp_path):
    for name, seed in (("first", 0), ("second", 0), ("other", 1)):
        torch.rand(3)  # whatever chance the caller has used up must not matter
        before = torch.get_rng_state()
        train("mini-inference", tmp_path / name, seed=seed, n_epochs=2, examples=some("mini-inference", 320))
        assert torch.equal(before, torch.get_rng_state())
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
    weights = "model.safetensors"
    assert (tmp_path / "first" / weights).read_bytes() != (tmp_path / "other" / weights).read_bytes()


def test_each_epoch_is_the_training_split_in_another_order():
    columns = cached("mini-paraphrase", "train")
    first, second = (_shuffled(columns, 0, epoch) for epoch in (0, 1))
    rows = [list(zip(*each.values(), strict=True)) for each in (columns, first, second)]
    assert rows[0] != rows[1] != rows[2]
    assert sorted(rows[0]) == sorted(rows[1]) == sorted(rows[2])
    assert second == _shuffled(columns, 0, 1) != _shuffled(columns, 1, 1)


def test_training_writes_what_is_shipped(tmp_path):
    done = []
    task = "mini-acceptability"
    train(task, tmp_path, n_epochs=1, examples=some(task, 640), progress=done.append)
    assert done == [640]
    shipped = CHECKPOINTS / "mini-acceptability"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in shipped.iterdir()}
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert json.loads((tmp_path / name).read_text()) == json.loads((shipped / name).read_text())
    with pytest.raises(CheckpointError, match="new or empty folder"):
        train("mini-acceptability", tmp_path, n_epochs=1)
