"""Examples that are set aside when a model is trained: whole groups, the same for whoever uses the model later."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import write_sst2

from prune_heads import Evaluator, load_pruned
from prune_heads.errors import DataError, PruneHeadsError, TaskError
from prune_heads.options import Choice, NewFolder, Recipe, RunOptions, Scoring, Setup
from prune_heads.progress import Reporter
from prune_heads.reporting.folders import of_record
from prune_heads.studies.finetuning import finetune, finetune_into
from prune_heads.studies.pruning import run_alone
from prune_heads.studies.setup import load_split, load_subject
from prune_heads.tasks.task import HELD_OUT, HELD_OUT_ENTRY, HeldOut, load_task

ASIDE = HeldOut("task", "train", 10, 0, "")
RECIPE = Recipe(epochs=1, learning_rate=1e-3, hold_out=100)


def test_whole_groups_are_drawn_by_the_seed_alone():
    groups = [str(i % 13) for i in range(60)]
    places = ASIDE.places(groups, 60)
    assert places == ASIDE.places(groups, 60) != ASIDE._replace(seed=1).places(groups, 60)
    inside = {groups[i] for i in places}
    assert places == {i for i in range(60) if groups[i] in inside}
    assert 10 <= len(places) < 15  # more than were asked for by less than a group
    assert ASIDE._replace(n_examples=len(places)).places(groups, 60) == places  # so the number that is noted is enough
    assert len(ASIDE.places([], 60)) == 10
    often = np.bincount([i for seed in range(300) for i in ASIDE._replace(seed=seed).places([], 60)], minlength=60)
    assert np.abs(often - 50).max() < 5 * 50**0.5


def test_what_is_set_aside_and_the_rest_are_all_of_the_split():
    task, read = load_task("mini-sentiment"), []
    task = replace(task, read=lambda split, n, table=task.read: read.append(split) or table(split, n))
    whole = task.load("train")
    held = task.holding_out(100, 7)
    aside, rest = held.load(HELD_OUT), held.load("train")
    assert (len(aside), len(rest)) == (100, len(whole) - 100)
    assert (aside.n_available, rest.n_available, aside.name) == (100, len(rest), HELD_OUT)
    places = held.held_out.places((), len(whole))
    assert rest.columns["text"] == [text for i, text in enumerate(whole.columns["text"]) if i not in places]
    assert aside.fingerprint == held.held_out.fingerprint
    assert held.load("train", 5).columns["text"] == rest.columns["text"][:5]
    few = held.load(HELD_OUT, 5, seed=3)
    assert read == ["train"] * 2  # once for the whole, and once for all of its parts
    assert few.columns["text"] == aside.at(sorted(np.random.default_rng(3).permutation(100)[:5])).columns["text"]
    assert held.load("validation").fingerprint == task.load("validation").fingerprint
    with pytest.raises(DataError, match=r"must be left; --hold-out 99999 takes all \d+ of train\. Hold fewer out"):
        task.holding_out(99999, 0)
    with pytest.raises(
        TaskError, match="the split must be one of train, validation, got 'held-out'; 'prune-heads finetune"
    ):
        task.load(HELD_OUT)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A model that was trained without 100 examples, its record, and what was noted."""
    output, reporter = tmp_path_factory.mktemp("held") / "tuned", Reporter()
    setup = Setup("mini", "mini-sentiment", max_examples=64)
    return output, finetune_into(setup, RECIPE, reporter, NewFolder(output), of_record), reporter.notes


def test_a_model_names_what_it_has_not_seen(tuned):
    folder, record, notes = tuned
    held = json.loads((folder / "config.json").read_text())[HELD_OUT_ENTRY]
    assert held == record["held_out"]
    assert (held["n_examples"], held["split"], held["seed"]) == (100, "train", 42)
    assert "100 examples of train are set aside: the split held-out of this model" in notes
    assert "mini has its head: if it was trained on mini-sentiment, it may have seen them" in notes
    whole = load_task("mini-sentiment")
    assert record["data"][0]["fingerprint"] == whole.holding_out(100, 42).load("train", 64).fingerprint
    assert record["data"][0]["n_available"] == len(whole.load("train")) - 100


@pytest.mark.slow
def test_later_commands_keep_to_it(tuned, tmp_path):
    """Also of the model after pruning."""
    folder, record, _ = tuned
    setup = Setup(str(folder), "mini-sentiment", max_examples=40)
    found = run_alone(
        setup, Choice(n_heads=3), Scoring("magnitude"), RunOptions("remove", split=(HELD_OUT,)), Reporter()
    )
    (data,) = found.record["data"]
    assert (data["split"], data["n_examples"], data["n_available"]) == (HELD_OUT, 40, 100)
    found.checkpoint.write(tmp_path / "pruned")
    assert vars(load_pruned(tmp_path / "pruned").config)[HELD_OUT_ENTRY] == record["held_out"]
    subject = load_subject(replace(setup, model=str(tmp_path / "pruned"), max_examples=None), Reporter())
    aside, rest = (load_split(setup, subject, name, Reporter()) for name in (HELD_OUT, "train"))
    assert not {*aside.columns["text"]} & {*rest.columns["text"]} - {*_twice()}
    ev = Evaluator(str(folder), "mini-sentiment", split=HELD_OUT)
    assert ev.evaluate().n_examples == 100


def _twice():
    texts = load_task("mini-sentiment").load("train").columns["text"]
    return [text for text in texts if texts.count(text) > 1]


def test_a_second_training_keeps_to_it_too(tuned, tmp_path):
    folder, record, _ = tuned
    setup, reporter = Setup(str(folder), "mini-sentiment", max_examples=32), Reporter()
    with pytest.raises(PruneHeadsError, match="for a model that has examples set aside, 100 of train"):
        finetune(setup, RECIPE, tmp_path, reporter)
    other = Setup(str(folder), task="sst2", data_dir=write_sst2(tmp_path / "SST-2"))
    with pytest.raises(
        PruneHeadsError, match=r"100 of train \(mini-sentiment\)\. They stay so"
    ):  # nor are they forgotten
        finetune(other, RECIPE, tmp_path, reporter)
    recipe = replace(RECIPE, hold_out=None, distill_from="mini", seed=1)
    start, again = finetune(setup, recipe, tmp_path, reporter)
    assert again["held_out"] == record["held_out"] == vars(start.model.config)[HELD_OUT_ENTRY]
    assert "mini, which is learned from, may have seen the examples that are set aside" in reporter.notes


def test_other_data_and_damage_are_refused(tuned, tmp_path):
    held = HeldOut(**tuned[1]["held_out"])
    task = load_task("mini-sentiment")
    other = replace(task, held_out=held._replace(seed=5))
    with pytest.raises(
        DataError, match=r"must hold the 100 examples that the model was not trained on, got other rows"
    ):
        other.load("train")

    class Config:
        prune_heads_held_out = {"task": "mini-sentiment", "n": 5}  # noqa: RUF012

    with pytest.raises(
        TaskError, match=r"prune_heads_held_out in config\.json must have task, split, n_examples, seed, "
    ):
        task.of_model(Config)
    Config.prune_heads_held_out = held._replace(task="sst2")._asdict()
    assert task.of_model(Config) is task
