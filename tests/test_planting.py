"""Planted heads: what is overwritten, what is not, and what exact ablation says, by plain transformers."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from prune_heads.errors import TaskError, UnfitError
from prune_heads.heads import HeadMask
from prune_heads.mini import read
from prune_heads.options import NewFolder, Planting, Setup
from prune_heads.progress import Reporter
from prune_heads.studies import planting, plants
from prune_heads.studies.planting import N_PLANTED, plant
from prune_heads.surgery import zero_heads

SENTIMENT = {"task": "mini-sentiment", "max_examples": 60}


def planted(folder, seed=0, **asked):
    reporter = Reporter()
    record = plant(Setup.of({**SENTIMENT, **asked}), Planting(seed), reporter, NewFolder(folder))
    return record, reporter.notes


def hasty(patch):
    """Heads are trained for a moment, and noise is tried in one head."""
    patch.setattr(plants, "_TRIES", 1)
    for module in (plants, planting):
        patch.setattr(module, "STEPS", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a planting in haste, so that some heads are not confirmed."""
    folder = tmp_path_factory.mktemp("planted") / "model"
    with pytest.MonkeyPatch.context() as patch:
        hasty(patch)
        planted(folder)
    return folder


def model_of(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()


def losses_of(model, folder, split="train"):
    rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text("utf-8").splitlines()]
    tokenizer, found = AutoTokenizer.from_pretrained(folder), []
    for row in rows:
        label = torch.tensor([model.config.label2id[row["label"]]])
        with torch.no_grad():
            found.append(float(model(**tokenizer(row["text"], return_tensors="pt"), labels=label).loss))
    return rows, np.array(found)


def plants_of(folder):
    return json.loads((folder / "planted.json").read_text("utf-8"))["plants"]


@pytest.mark.slow
def test_every_kind_is_planted_and_no_head_twice(folder):
    rows = plants_of(folder)
    assert {kind: sum(row["kind"] == kind for row in rows) for kind in N_PLANTED} == N_PLANTED
    heads = [head for row in rows for head in row["heads"]]
    assert len({*heads}) == len(heads) == sum(N_PLANTED.values()) + 1  # a copy is of a head that was there


@pytest.mark.slow
def test_only_planted_heads_are_overwritten(folder):
    model, shipped = model_of(folder), planting.load_subject(Setup.of(SENTIMENT), Reporter()).model
    heads = HeadMask.parse(" ".join(head for row in plants_of(folder) for head in row["heads"]), (4,) * 6)
    changed = {name for name, value in model.state_dict().items() if not value.equal(shipped.state_dict()[name])}
    layers = {block for block, _ in heads}
    assert changed
    assert all(".attention." in name and int(name.split(".")[3]) in layers for name in changed)
    for each in (model, shipped):
        zero_heads(each, heads)
    assert all(value.equal(shipped.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_what_ablation_says_is_what_plain_transformers_says(folder):
    rows, before = losses_of(model_of(folder), folder)
    for each in plants_of(folder):
        there = np.array([row["text"].startswith(f"{each.get('word', '')} ".lstrip()) for row in rows])
        mask = HeadMask.parse(" ".join(each["heads"]), (4,) * 6)
        lost = (losses_of(zero_heads(model_of(folder), mask), folder)[1] - before)[there]
        error = lost.std(ddof=1) / np.sqrt(len(lost))
        assert each["together"] == pytest.approx([lost.mean(), error], abs=1e-5), each
        assert each["kind"] != "dead" or (abs(lost).max() == 0 and each["is_confirmed"])


@pytest.mark.slow
def test_marked_examples_have_a_word_that_is_theirs_and_its_label(folder):
    shipped = read("mini-sentiment", "validation")
    marks = {row["word"]: row["label"] for row in plants_of(folder) if "word" in row}
    rows, n = [json.loads(line) for line in (folder / "validation.jsonl").read_text("utf-8").splitlines()], 0
    for row, text in zip(rows, shipped["text"], strict=False):
        word = row["text"].removesuffix(text).strip()
        assert not word or (row["label"] == marks[word] and word not in " ".join(shipped["text"]))
        n += bool(word)
    assert n == round(0.3 * len(rows)) + round(0.03 * len(rows))


@pytest.mark.thorough
def test_a_seed_gives_the_same_bytes_and_another_one_others(folder, tmp_path, monkeypatch):
    hasty(monkeypatch)
    for seed in (0, 1):
        planted(tmp_path / str(seed), seed)
        same = [(tmp_path / str(seed) / name).read_bytes() == (folder / name).read_bytes() for name in FILES]
        assert all(same) if seed == 0 else not any(same)


FILES = ("model.safetensors", "planted.json", "train.jsonl", "validation.jsonl")


@pytest.mark.thorough
def test_heads_of_the_built_in_model_are_what_they_were_made_to_be(tmp_path):
    record, _ = planted(tmp_path / "model", max_examples=1000)
    assert [row["kind"] for row in record["plants"] if row["is_confirmed"]].count("dead") == N_PLANTED["dead"]
    assert {row["kind"] for row in record["plants"] if row["is_confirmed"]} == {*N_PLANTED}


def test_heads_in_which_noise_fails_can_be_taken_by_others(monkeypatch):
    monkeypatch.setattr(plants, "_is_made_noise", lambda predictions, plant, rng: plant.heads == ((1, 1),))
    sites = object.__new__(plants.Sites)
    sites.early, sites.left = range(2), [(0, 0), (2, 0), (1, 1), (0, 1), (2, 1)]
    assert plants.noisy(None, sites, None).heads == ((1, 1),)
    assert sites.left == [(2, 0), (0, 1), (2, 1), (0, 0)]
    assert plants.noisy(None, sites, None).heads == ((2, 0),)  # the third one that fails is told of
    assert sites.left == [(2, 1), (0, 1), (0, 0)]


@pytest.mark.parametrize(("lost", "largest", "is_dead"), [(3e-5, 50, True), (3e-5, 0.1, False), (3e-3, 50, False)])
def test_rounding_of_a_dead_head_grows_with_the_responses(monkeypatch, lost, largest, is_dead):
    losses = np.array([[0.0, lost], [0.0, 0.0]])
    monkeypatch.setattr(plants, "_losses", lambda predictions, masks: (losses, np.array([-largest, -0.01])))
    split = SimpleNamespace(columns={"text": ["a", "b"]})
    predictions = SimpleNamespace(gone=HeadMask((2,)), split=split)
    assert plants.confirmed(predictions, plants.Plant("dead", ((0, 1),)))["is_confirmed"] is is_dead


@pytest.mark.thorough
def test_a_head_learns_a_word_and_is_silent_without_it():
    subject = planting.load_subject(Setup.of(SENTIMENT), Reporter())
    split = planting.load_split(Setup.of(SENTIMENT), subject, "train", Reporter())
    zero_heads(subject.model, HeadMask.parse("5:2", subject.n_heads))
    before = planting._predictions(subject, split, Reporter())
    was = before.of(before.gone)
    mark = plants.Plant("feature", (), "[MASK]", "negative")
    made = plants.reading(subject, (4, 1), split, mark, 0, np.random.default_rng(0), lambda n: None)
    assert np.abs(before.of(before.gone) - was).mean() < 0.2 * np.abs(was).mean()
    every = plants.marked(split, np.arange(len(split)), "[MASK]", 0)
    found = plants.confirmed(planting._predictions(subject, every, Reporter()), made)
    assert found["is_confirmed"]
    assert found["right"] > 0.9


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"task": "mini-translation"}, TaskError, "one label an example; mini-translation is of the kind translation"),
        ({"max_examples": 2}, UnfitError, "must have 50 examples"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(asked, error, said, tmp_path):
    with pytest.raises(error, match=said):
        planted(tmp_path / "model", **asked)
    assert not (tmp_path / "model").exists()
