"""The file of the examples that change most: each number, worked out another way."""

import base64
import json
import zlib

import numpy as np
import pytest
import torch
from tiny import save_tiny_checkpoint, write_sst2

from prune_heads.gating import gated, gates_of
from prune_heads.options import Ablation, Choice, RunOptions, Scoring, Setup
from prune_heads.progress import Reporter
from prune_heads.studies import changed
from prune_heads.studies.ablating import ablate
from prune_heads.studies.pruning import run_alone
from prune_heads.studies.setup import load_split, load_subject
from prune_heads.surgery import remove_heads

LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def setup(checkpoint, tmp_path_factory):
    data = write_sst2(tmp_path_factory.mktemp("changed") / "SST-2", n_train=20, n_dev=40)
    return Setup(str(checkpoint), "sst2", data_dir=data)


@pytest.fixture
def own(tmp_path):
    """A setup on texts and labels of one's own, for a model of the same labels."""

    def make(rows, labels, **options):
        model = save_tiny_checkpoint(tmp_path / "model", labels)
        path = tmp_path / "own.jsonl"
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
        names = labels if len(labels) > 1 else None
        return Setup(str(model), train_file=path, validation_file=path, labels=names, **options)

    return make


def splits_of(found):
    return json.loads(found.examples())["splits"]


def ablated(setup):
    return splits_of(ablate(setup, Ablation(), Reporter()))


class Alone:
    """The model, one example at a time, without anything of what is tested."""

    def __init__(self, setup):
        subject = load_subject(setup, Reporter())
        self.split = load_split(setup, subject, "validation", Reporter())
        self.batches, self.model = subject.batches(self.split), subject.model.eval()

    @torch.no_grad()
    def logits(self, heads=""):
        with gated(self.model, gates_of(self.model, heads)):
            rows = [self.model(**self.batches.batch(np.asarray([i])).inputs).logits for i in range(len(self.split))]
        return torch.cat(rows).double()


@pytest.mark.slow
def test_changes_are_those_of_closing_the_head_the_largest_first(setup):
    (found,), alone = ablated(setup), Alone(setup)
    labels = torch.tensor(alone.split.columns["label"])
    at = torch.arange(len(labels))
    base = alone.logits()
    assert [len(row) for row in found["heads"]] == [4, 4, 4]
    for block, row in enumerate(found["heads"]):
        for head, changes in enumerate(row):
            after = alone.logits(f"{block + 1}:{head + 1}")
            delta = (after.log_softmax(1) - base.log_softmax(1))[at, labels]
            flipped = after.argmax(1) != base.argmax(1)
            order = sorted(at.tolist(), key=lambda i: (not flipped[i], -abs(delta[i])))[:5]
            named = [found["examples"][change["example"]]["index"] for change in changes]
            assert sorted(delta[named].abs().tolist()) == pytest.approx(sorted(delta[order].abs().tolist()), abs=1e-4)
            assert [change["delta"] for change in changes] == pytest.approx(delta[named].tolist(), abs=1e-4)
            assert [change["after"] for change in changes] == [LABELS[i] for i in after[named].argmax(1)]


def test_examples_are_those_of_the_split_with_their_names(setup):
    (found,), alone = ablated(setup), Alone(setup)
    base = alone.logits()
    for example in found["examples"]:
        i = example["index"]
        assert example["inputs"] == {"text": alone.split.columns["text"][i]}
        assert example["label"] == LABELS[alone.split.columns["label"][i]]
        assert example["before"] == LABELS[base[i].argmax()]
    indices = [example["index"] for example in found["examples"]]
    assert len(set(indices)) == len(indices)
    named = {change["example"] for row in found["heads"] for cell in row for change in cell}
    assert named == set(range(len(indices)))


def test_maps_are_the_model_s_own_to_a_byte(setup):
    (found,), alone = ablated(setup), Alone(setup)
    alone.model.set_attn_implementation("eager")
    for block, row in enumerate(found["heads"]):
        for head, changes in enumerate(row):
            assert [change["map"] is not None for change in changes] == [True, True, False, False, False]
            for change in changes[:2]:
                i = found["examples"][change["example"]]["index"]
                inputs = alone.batches.batch(np.asarray([i])).inputs
                with torch.no_grad():
                    expected = alone.model(**inputs, output_attentions=True).attentions[block][0, head].numpy()
                shown, n = change["map"], len(expected)
                assert shown["queries"] == shown["keys"]
                assert shown["keys"][0] == "[CLS]"
                assert shown["keys"][1:-1] == found["examples"][change["example"]]["inputs"]["text"].split()
                values = np.frombuffer(zlib.decompress(base64.b64decode(shown["values"])), np.uint8).reshape(n, n)
                assert values / 255 == pytest.approx(expected, abs=0.5 / 255 + 1e-6)


def test_heads_that_were_removed_have_no_cell_and_others_keep_their_numbers(setup, monkeypatch):
    whole = ablated(setup)
    from prune_heads.studies import setup as setups

    load = setups.load_model

    def without(*args, **options):
        loaded = load(*args, **options)
        remove_heads(loaded.model, "1:1 2:1,2,3,4")
        return loaded

    monkeypatch.setattr(setups, "load_model", without)
    (found,) = ablated(setup)
    assert [[cell is None for cell in row] for row in found["heads"]] == [[True, *[False] * 3], [True] * 4, [False] * 4]
    assert found["heads"][0][1][0]["map"] is not None
    assert found != whole


def test_a_run_names_what_pruning_changes(setup):
    found = run_alone(setup, Choice(heads="1:1,2,3 2:1,2,3 3:1,2"), Scoring(), RunOptions(mode="remove"), Reporter())
    (split,) = splits_of(found)
    alone = Alone(setup)
    before, after = (alone.logits(heads).log_softmax(1) for heads in ("", "1:1,2,3 2:1,2,3 3:1,2"))
    delta = (after - before)[torch.arange(40), torch.tensor(alone.split.columns["label"])]
    flipped = before.argmax(1) != after.argmax(1)
    named = [split["examples"][change["example"]]["index"] for change in split["pruned"]]
    assert named == sorted(range(40), key=lambda i: (not flipped[i], -abs(delta[i]), i))
    assert [change["delta"] for change in split["pruned"]] == pytest.approx(delta[named].tolist(), abs=1e-4)


def test_texts_are_cut_and_the_file_stays_small(own, monkeypatch):
    rows = [("very good " * 300 + str(i), LABELS[i % 2]) for i in range(6)]
    setup = own(rows, LABELS)
    (found,) = ablated(setup)
    assert {len(example["inputs"]["text"]) for example in found["examples"]} == {2000}
    shown = next(change["map"] for row in found["heads"] for cell in row for change in cell if change["map"])
    assert len(shown["queries"]) == len(shown["keys"]) == 48
    assert len(zlib.decompress(base64.b64decode(shown["values"]))) == 48 * 48
    monkeypatch.setattr(changed, "MAX_BYTES", 20_000)
    text = ablate(setup, Ablation(), Reporter()).examples()
    assert len(text) < 20_000
    assert {len(cell) for row in json.loads(text)["splits"][0]["heads"] for cell in row} == {3}


def test_scores_change_by_their_size(own):
    setup = own([(f"good {'very ' * (i % 5)} film", i % 7 / 2) for i in range(12)], ("score",), metric="pearson")
    (found,) = ablated(setup)
    for row in found["heads"]:
        for cell in row:
            size = [abs(each["after"] - found["examples"][each["example"]]["before"]) for each in cell]
            assert size == sorted(size, reverse=True)
            assert {each["delta"] for each in cell} == {None}


def test_only_one_has_no_head_that_is_closed_alone(setup):
    assert ablate(setup, Ablation("only-one", choose_split="validation"), Reporter()).examples is None


def test_what_answers_are_called_in_tasks_of_every_kind():
    assert changed._label([0, 1], LABELS) == ["negative", "positive"]
    assert changed._label({"text": ["a cat"], "answer_start": [3]}, None) == ["a cat"]
    assert changed._label(2.5, None) == 2.5
    assert changed._text(["a", "red", "dog"]) == "a red dog"
