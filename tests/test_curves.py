"""Curves of several criteria: orders, points, bands, areas; nothing is evaluated twice."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from tiny import write_sst2
from transformers import BertForSequenceClassification

from prune_heads.errors import DataError
from prune_heads.heads import HeadMask
from prune_heads.importance import CRITERIA, ESTIMATORS, Examples, criteria, gate_gradients
from prune_heads.options import Ablation, Choice, Curves, RunOptions, Scoring, Setup
from prune_heads.progress import Reporter
from prune_heads.selection import select
from prune_heads.statistics import area_under_curve
from prune_heads.studies.ablating import ablate
from prune_heads.studies.curves import curves, renewed
from prune_heads.studies.measuring import evaluate
from prune_heads.studies.pruning import run
from prune_heads.studies.scoring import Lab, score
from prune_heads.studies.setup import load_subject, predictions_of
from prune_heads.surgery import remove_heads, zero_heads

N_DRAWS = 6


@pytest.fixture(scope="module")
def setup(checkpoint, sst2, tmp_path_factory):
    return Setup(str(checkpoint), "sst2", data_dir=sst2, store=tmp_path_factory.mktemp("curves") / "store")


@pytest.fixture(scope="module")
def record(setup):
    return curves(setup, Curves(draws=N_DRAWS), Reporter())


@pytest.fixture(scope="module")
def rescored(setup):
    return curves(setup, Curves(("gradient", "ablation", "magnitude"), rescore=True), Reporter())


@pytest.fixture
def examples(setup):
    """The predictions of the tiny model on the validation split."""
    reporter = Reporter()
    subject = load_subject(setup, reporter)
    return predictions_of(setup, subject, subject.task.load("validation"), reporter)


@pytest.fixture
def forwards(monkeypatch):
    """The examples that the model has seen since the list was last cleared, a number a call."""
    seen = []
    forward = BertForSequenceClassification.forward

    def counted(self, input_ids=None, **inputs):
        seen.append(len(input_ids))
        return forward(self, input_ids, **inputs)

    monkeypatch.setattr(BertForSequenceClassification, "forward", counted)
    return seen


def line(record, criterion):
    (found,) = (line for line in record["lines"] if line["criterion"] == criterion)
    return found


def masks(line):
    return [HeadMask.parse(" ".join(point["heads_pruned"]), (4, 4, 4)) for point in line["points"]]


def test_every_line_goes_from_no_head_to_all(record, examples):
    base, none = (
        examples.metric_of(examples.of(HeadMask((4, 4, 4)))),
        examples.metric_of(examples.of(HeadMask.all((4, 4, 4)))),
    )
    assert len({point["value"] for each in record["lines"] for point in each["points"]}) > 5
    assert [line["criterion"] for line in record["lines"]] == ["gradient", "ablation", "magnitude", "random"]
    for each in record["lines"]:
        points = each["points"]
        assert [point["percent"] for point in points] == list(range(0, 101, 10))
        assert [point["n_pruned"] for point in points] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 12]
        assert (points[0]["value"], points[-1]["value"]) == (base, none)
        assert all(point["low"] <= point["value"] <= point["high"] for point in points)
        assert min(p["value"] for p in points) <= each["areas"]["validation"] <= max(p["value"] for p in points)


def test_a_line_prunes_the_lowest_scores_and_its_values_are_those_of_its_masks(record, setup, examples):
    for criterion in ("gradient", "ablation", "magnitude"):
        found = line(record, criterion)
        on = {"gradient": "train", "ablation": "validation", "magnitude": None}[criterion]
        assert (found["scored_on"], found["n_draws"], found["rescored"]) == (on, 1, False)
        assert found["estimator"] == ("example" if criterion == "gradient" else None)
        data = on and predictions_of(setup, examples.subject, examples.subject.task.load(on), Reporter())
        scores = score(examples.subject, Scoring(criterion), data).scores
        for mask, point in zip(masks(found), found["points"], strict=True):
            assert mask == select(scores, len(mask))
            assert point["value"] == examples.metric_of(examples.of(mask))
        values = {point["n_pruned"]: point["value"] for point in found["points"]}
        area = area_under_curve([n / 12 for n in values], list(values.values()))
        assert found["areas"]["validation"] == pytest.approx(area)


def test_steps_finer_than_a_head_change_no_area(setup):
    """Each of 12 heads is one point then, whether in 12 steps or in 20."""
    by_steps = {n: curves(setup, Curves(("magnitude",), steps=n), Reporter())["lines"][0] for n in (12, 20)}
    assert len(by_steps[20]["points"]) == 21
    areas = [line["areas"]["validation"] for line in by_steps.values()]
    assert areas[0] == pytest.approx(areas[1], abs=1e-12)


def test_an_older_record_is_made_new_from_its_points(record):
    old = {**record, "format": 1, "lines": [{**each, "areas": {"validation": 0.5}} for each in record["lines"]]}
    assert record["format"] == 2
    again = renewed(old)
    assert [each["criterion"] for each in again["lines"]] == [each["criterion"] for each in record["lines"]]
    for mine, right in zip(again["lines"], record["lines"], strict=True):
        assert mine["areas"]["validation"] == pytest.approx(right["areas"]["validation"], abs=1e-12)
    assert again["format"] == 2


def test_random_is_a_band_over_draws_of_consecutive_seeds(record, setup, examples):
    found = line(record, "random")
    assert found["n_draws"] == N_DRAWS
    by_seed = [score(examples.subject, Scoring("random", seed=seed)).scores for seed in range(N_DRAWS)]
    for point in found["points"]:
        values = [examples.metric_of(examples.of(select(scores, point["n_pruned"]))) for scores in by_seed]
        assert point["value"] == pytest.approx(np.mean(values))
        assert (point["low"], point["high"]) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))
        assert point["heads_pruned"] is None
    assert any(point["low"] < point["high"] for point in found["points"])
    again, other = (
        curves(setup, Curves(("random",), seed=seed, draws=N_DRAWS), Reporter())["lines"] for seed in (0, 1)
    )
    assert again == [found]
    assert other != [found]


def test_a_single_draw_of_random_has_heads_and_the_interval_of_its_metric(setup):
    (found,) = curves(setup, Curves(("random",), draws=1), Reporter())["lines"]
    assert masks(found)[-1] == HeadMask.all((4, 4, 4))
    assert found["points"][0]["low"] < found["points"][0]["high"]


def test_scores_are_correlated_pair_by_pair_but_for_random(record):
    pairs = [(pair["first"], pair["second"]) for pair in record["correlations"]]
    assert pairs == [("gradient", "ablation"), ("gradient", "magnitude"), ("ablation", "magnitude")]
    for pair in record["correlations"]:
        assert pair["n_heads"] == 12
        assert -1 <= pair["pearson"]["low"] <= pair["pearson"]["value"] <= pair["pearson"]["high"] <= 1


@pytest.mark.slow
def test_rescored_gradients_are_those_of_the_model_without_the_heads_that_went(record, rescored, setup, examples):
    subject = examples.subject
    batches = subject.batches(subject.task.load("train"))
    found = line(rescored, "gradient")
    assert found["rescored"]
    before = HeadMask((4, 4, 4))
    for mask in masks(found)[1:]:
        model = zero_heads(copy.deepcopy(subject.model), before)
        scores = ESTIMATORS["example"].score(gate_gradients(model, batches), 32)
        expected = sorted(~before, key=lambda head: scores.values[head[0]][head[1]])
        assert mask.pruned == before.pruned | set(expected[: len(mask) - len(before)])
        before = mask
    once = masks(line(record, "gradient"))
    assert masks(found)[:2] == once[:2]
    assert masks(found) != once


def test_rescored_ablations_are_a_greedy_search(record, rescored, examples):
    found = line(rescored, "ablation")
    before = HeadMask((4, 4, 4))
    for mask in masks(found)[1:]:
        worth = {
            head: -examples.metric_of(examples.of(before | HeadMask((4, 4, 4), frozenset([head])))) for head in ~before
        }
        expected = sorted(~before, key=worth.__getitem__)  # ties by layer and head, as everywhere
        assert mask.pruned == before.pruned | set(expected[: len(mask) - len(before)])
        before = mask
    once = masks(line(record, "ablation"))
    assert masks(found)[:2] == once[:2]
    assert masks(found) != once


def test_a_criterion_without_data_is_not_asked_again(record, rescored):
    assert line(rescored, "magnitude") == line(record, "magnitude")


@pytest.mark.parametrize(("split", "is_oracle"), [(None, True), ("validation", True), ("train", False)])
def test_an_oracle_is_called_one(setup, split, is_oracle):
    reporter = Reporter()
    found = curves(setup, Curves(("ablation",), score_split=split), reporter)
    assert found["lines"][0]["scored_on"] == found["scored_on"]["ablation"]["split"] == (split or "validation")
    assert any("an oracle" in note for note in reporter.notes) is is_oracle
    assert found["configuration"]["estimator"] is None


def test_the_scores_of_ablation_are_what_the_metric_loses(examples):
    subject = examples.subject
    scored = CRITERIA["ablation"].score(Examples(subject.model, examples))
    base = evaluate(examples, HeadMask((4, 4, 4)))["metrics"]["accuracy"]
    right = examples.answers(examples.of(HeadMask((4, 4, 4)))) == examples.references
    for head in ~HeadMask((4, 4, 4)):
        mask = HeadMask((4, 4, 4), frozenset([head]))
        assert scored.values[head[0]][head[1]] == base - evaluate(examples, mask)["metrics"]["accuracy"]
        lost = right.astype(int) - (examples.answers(examples.of(mask)) == examples.references)
        assert scored.standard_error[head[0]][head[1]] == pytest.approx(lost.std(ddof=1) / np.sqrt(len(lost)))
    assert len(set(scored.flat())) > 3


def test_heads_that_are_gone_score_zero_and_the_others_keep_their_places(setup, examples):
    pruned = load_subject(setup, Reporter())
    remove_heads(pruned.model, "1:1 3:2,4")
    data = predictions_of(setup, pruned, examples.split, Reporter())
    scored = score(pruned, Scoring("ablation"), data).scores
    gone = HeadMask.parse("1:1 3:2,4", (4, 4, 4))
    masked = score(examples.subject, Scoring("ablation"), examples, masked=gone).scores
    assert scored.n_heads == (4, 4, 4)
    assert {head for head in gone if scored.values[head[0]][head[1]]} == set()
    assert np.array_equal(scored.flat(), masked.flat())
    assert np.any(scored.flat() != 0)


def test_a_metric_that_is_no_mean_has_no_standard_error(checkpoint, tmp_path):
    folder = write_sst2(tmp_path / "CoLA")
    for file in folder.iterdir():
        rows = [row.split("\t") for row in file.read_text().splitlines()[1:]]
        file.write_text("".join(f"x\t{label}\t*\t{text}\n" for text, label in rows))
    setup = Setup(str(checkpoint), "cola", data_dir=folder, label_order=("unacceptable", "acceptable"))
    found = curves(setup, Curves(("ablation", "random"), draws=2, steps=3), Reporter())
    assert found["headline"] == "matthews_correlation"
    assert [point["percent"] for point in found["lines"][0]["points"]] == pytest.approx([0, 100 / 3, 200 / 3, 100])
    subject = load_subject(setup, Reporter())
    data = predictions_of(setup, subject, subject.task.load("validation"), Reporter())
    assert score(subject, Scoring("ablation"), data).scores.standard_error is None


@pytest.mark.parametrize("split", ["validation", "train"])
def test_a_metric_that_is_undefined_is_refused(checkpoint, tmp_path, split):
    """On the split of the curve, and on the one that ablations are measured on."""
    labels = {"train": "01", "dev": "01"} | {{"validation": "dev"}.get(split, split): "1"}
    for name, given in labels.items():
        rows = [f"x\t{given[i % len(given)]}\t*\ta good film {i}" for i in range(8)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(rows) + "\n")
    setup = Setup(str(checkpoint), "cola", data_dir=tmp_path, label_order=("unacceptable", "acceptable"))
    with pytest.raises(DataError, match=f"must be defined on {split} .8 examples.*all 8 examples are alike"):
        curves(setup, Curves(("ablation", "magnitude"), score_split=split), Reporter())


@pytest.mark.parametrize("n_samples", [None, pytest.param(5, marks=pytest.mark.slow)])
def test_criteria_of_a_curve_share_their_gradients(setup, monkeypatch, n_samples):
    asked = list[int]()

    def counted(model, batches, **how):
        asked.append(batches.n_examples)
        return gate_gradients(model, batches, **how)

    monkeypatch.setattr(criteria, "gate_gradients", counted)
    options = Curves(("gradient", "hies"), steps=2, score_samples=n_samples)
    both = curves(setup, options, Reporter())
    assert len(asked) == 1 + (n_samples or 0)
    for name in options.criterion:
        (alone,) = curves(setup, replace(options, criterion=(name,)), Reporter())["lines"]
        assert line(both, name) == alone


def test_nothing_is_evaluated_twice(setup, forwards):
    setup = replace(setup, store=setup.store.parent / "another")
    options = Curves(("ablation", "magnitude", "random"), draws=3)
    first = curves(setup, options, Reporter())
    assert forwards
    forwards.clear()
    again = curves(setup, options, Reporter())
    assert again["lines"] == first["lines"]
    ablate(setup, Ablation(), Reporter())  # the oracle was made of these masks
    assert forwards == []

    options = RunOptions(curve=True)
    points = run(Lab(setup, Reporter()), Choice(), Scoring("magnitude"), options).record["curve"]
    assert sum(forwards) < 2 * 30  # the model after surgery, and a few examples that prove the gates
    values = {point["percent"]: point["value"] for point in line(first, "magnitude")["points"]}
    assert {point["percent"]: point["accuracy"] for point in points} == values
    forwards.clear()
    subject = load_subject(setup, Reporter())
    evaluate(predictions_of(setup, subject, subject.task.load("validation"), Reporter()), HeadMask((4, 4, 4)))
    assert sum(forwards) < 30
