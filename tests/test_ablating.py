"""The study of `prune-heads ablate`: every number of its tables, worked out another way."""

import json
from dataclasses import replace
from math import comb

import numpy as np
import pytest
import scipy.stats
from tiny import save_tiny_checkpoint, write_sst2

from prune_heads.errors import DataError, HeadDescriptorError, UnfitError
from prune_heads.heads import HeadMask
from prune_heads.objectives.responses import RESPONSES
from prune_heads.options import Ablation, Scoring, Setup
from prune_heads.progress import Reporter
from prune_heads.statistics import correlate
from prune_heads.studies.ablating import FLIP_SAMPLE, ablate, ablated, masks_of, table
from prune_heads.studies.measuring import compare, evaluate
from prune_heads.studies.scoring import Lab
from prune_heads.studies.setup import load_split, load_subject, predictions_of
from prune_heads.surgery import remove_heads

SHAPE = (4, 4, 4)
HEADS = [(block, head) for block in range(3) for head in range(4)]
KINDS = ["without-one", "only-one"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_sst2(tmp_path_factory.mktemp("ablating") / "SST-2", n_train=60, n_dev=80)


@pytest.fixture
def setup(checkpoint, data):
    return Setup(str(checkpoint), "sst2", data_dir=data)


@pytest.fixture
def mini():
    return Setup("mini", "mini-inference", max_examples=60)


@pytest.fixture
def own(checkpoint, tmp_path):
    """A setup on one's own labels, in file order, as a function of the metric."""

    def make(metric, labels, model=checkpoint):
        path = tmp_path / "own.csv"
        words = ("a good film", "the cat sleeps", "it was not very dull", "we saw a red dog and it runs")
        rows = [f"{words[i % 4]} {'very ' * (i % 3)},{label}" for i, label in enumerate(labels)]
        path.write_text("\n".join(["text,label", *rows]) + "\n")
        names = None if metric == "pearson" else ("negative", "positive")
        return Setup(str(model), train_file=path, validation_file=path, metric=metric, labels=names)

    return make


def run(setup, **options):
    record = ablate(setup, Ablation(**options), Reporter()).record
    json.dumps(record, allow_nan=False)
    return record


def predictions(setup, split="validation"):
    subject = load_subject(setup, Reporter())
    return predictions_of(setup, subject, load_split(setup, subject, split, Reporter()), Reporter())


def masked(kind, block, head):
    if kind == "without-one":
        return HeadMask(SHAPE, frozenset([(block, head)]))
    return HeadMask(SHAPE, frozenset((block, other) for other in range(4) if other != head))


def flat(rows):
    return [cell for row in rows for cell in row]


@pytest.mark.parametrize("kind", KINDS)
def test_every_difference_is_that_of_evaluating_with_the_mask(kind, setup, tmp_path):
    (found,) = run(setup, kind=kind)["tables"]
    apart = predictions(replace(setup, store=tmp_path / "another"))
    base = evaluate(apart, HeadMask(SHAPE))["metrics"]["accuracy"]
    values = [evaluate(apart, masked(kind, *head))["metrics"]["accuracy"] for head in HEADS]
    assert found["base"] == base
    assert flat(found["value"]) == values
    assert flat(found["delta"]) == pytest.approx([value - base for value in values])
    assert len(set(values)) > 1
    assert (found["kind"], found["metric"], found["n_examples"]) == (kind, "accuracy", 80)
    assert [block["layer"] for block in found["blocks"]] == [1, 2, 3]


def test_p_values_are_mcnemar_s_and_corrected_over_all_heads(mini):
    options = Ablation("without-one")
    measured = ablated(predictions(mini, "validation_matched"), options)
    found = table(options, measured)
    truth = measured.predictions.references

    def right(logits):
        return measured.predictions.answers(logits) == truth

    before, expected = right(measured.kept[measured.predictions.gone]), []
    for mask in masks_of(measured.predictions, options).values():
        logits = measured.kept[mask]
        after = right(logits)
        lost, n = int((before & ~after).sum()), int((before ^ after).sum())
        tail = sum(comb(n, k) for k in range(min(lost, n - lost) + 1))
        expected.append(min(1.0, 2 * tail / 2**n))
    assert flat(found["p_value"]) == pytest.approx(expected)
    assert (len(expected), found["test"], found["alpha"]) == (24, "exact McNemar", 0.01)
    assert min(expected) < 0.01 < max(expected)
    stepped = np.maximum.accumulate([p * (24 - i) for i, p in enumerate(sorted(expected))])
    assert sorted(flat(found["p_adjusted"]["holm"])) == pytest.approx(np.minimum(stepped, 1).tolist())
    assert flat(found["p_adjusted"]["bh"]) == pytest.approx(scipy.stats.false_discovery_control(expected))
    for delta, low, high in zip(*(flat(found[name]) for name in ("delta", "low", "high")), strict=True):
        assert low <= delta <= high


def relabel(path, answers):
    heading, *lines = path.read_text().splitlines()
    texts = [line.rpartition("\t")[0] for line in lines]
    rows = [f"{text}\t{answer}" for text, answer in zip(texts, answers, strict=True)]
    path.write_text("\n".join([heading, *rows]) + "\n")


def test_only_one_chooses_on_the_other_split_and_tests_here(checkpoint, tmp_path):
    """Labels are made so that head 1:2 alone is perfect in training, and head 1:4 alone is in validation."""
    folder = write_sst2(tmp_path / "SST-2", n_train=60, n_dev=80)
    setup = Setup(str(checkpoint), "sst2", data_dir=folder)
    for split, file, head in (("train", "train", 1), ("validation", "dev", 3)):
        found = predictions(setup, split)
        relabel(folder / f"{file}.tsv", found.answers(found.of(masked("only-one", 0, head))))
    record = run(setup, kind="only-one")
    (found,) = record["tables"]
    first, *_ = best = found["best"]
    assert [row["layer"] for row in best] == [1, 2, 3]
    assert (first["head"], first["best_here"]["head"]) == (2, 4)
    assert (first["chosen_on"], first["chosen_examples"], first["chosen_value"]) == ("train", 60, 1.0)
    assert first["best_here"]["delta"] == pytest.approx(1 - found["base"])
    there = predictions(setup, "train")
    for row in best:
        here = {name: found[name][row["layer"] - 1] for name in ("delta", "low", "high", "p_value")}
        assert {name: cells[row["head"] - 1] for name, cells in here.items()} == {name: row[name] for name in here}
        alone = [there.metric_of(there.of(masked("only-one", row["layer"] - 1, head))) for head in range(4)]
        assert row["head"] == alone.index(max(alone)) + 1
        assert row["chosen_value"] == pytest.approx(max(alone))
        assert row["chosen_base"] == there.metric_of(there.of(HeadMask(SHAPE)))
        assert row["best_here"]["delta"] == max(here["delta"])
    p = [row["p_value"] for row in best]
    assert [row["p_bh"] for row in best] == pytest.approx(scipy.stats.false_discovery_control(p))
    assert min(row["p_holm"] for row in best) == pytest.approx(min(1.0, 3 * min(p)))
    assert record["chosen_on"]["split"] == "train"
    assert [data["split"] for data in record["data"]] == ["validation"]


def test_the_sample_to_choose_on_is_drawn_by_the_seed_in_file_order(mini):
    task = load_subject(mini, Reporter()).task
    everything = task.load("train").dataset
    n = len(everything) // 2
    drawn = task.load("train", n, seed=0)
    place = {tuple(row.values()): i for i, row in enumerate(everything)}
    assert len(place) == len(everything)  # no row is there twice, so places are known
    places = [place[tuple(row.values())] for row in drawn.dataset]
    assert len(places) == n
    assert places == sorted(set(places))
    assert places != list(range(n))
    assert task.load("train", n, seed=0).fingerprint == drawn.fingerprint
    assert task.load("train", n, seed=1).fingerprint != drawn.fingerprint
    assert len(task.load("train", 10**6, seed=0).dataset) == len(everything)


@pytest.mark.slow
def test_the_choice_depends_on_the_seed_alone(setup):
    chosen = [run(setup, kind="only-one", choose_examples=20, seed=seed)["chosen_on"] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1]
    assert chosen[0]["fingerprint"] != chosen[2]["fingerprint"]
    assert chosen[0]["n_examples"] == 20
    other = run(setup, kind="only-one", choose_split="validation")["tables"][0]["best"]
    assert all(row["head"] == row["best_here"]["head"] for row in other)


@pytest.mark.parametrize(
    ("metric", "labels", "why"),
    [
        ("matthews_correlation", ["positive"] * 6, "labels that differ"),
        ("f1", ["negative"] * 6, "positive label"),
        ("pearson", ["2.5"] * 6, "scores that differ"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_split_on_which_the_metric_is_undefined_is_refused_before_the_work(
    kind, metric, labels, why, own, tmp_path, own_store
):
    model = save_tiny_checkpoint(tmp_path / "model", ("score",) if metric == "pearson" else ("negative", "positive"))
    with pytest.raises(DataError, match=rf"{metric} must be defined on validation .*{why}.*Take another split"):
        run(own(metric, labels, model), kind=kind)
    assert not own_store.exists()


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        ("matthews_correlation", ["positive", "negative"] * 10),
        ("f1", ["positive", "negative", "negative"] * 6),
        ("pearson", [str(i % 7 / 2) for i in range(20)]),
    ],
)
def test_other_metrics_are_tested_by_the_bootstrap(metric, labels, own, tmp_path):
    model = save_tiny_checkpoint(tmp_path / "model", ("score",) if metric == "pearson" else ("negative", "positive"))
    record = run(own(metric, labels, model))
    (found,) = record["tables"]
    assert (found["metric"], found["test"], record["headline"]) == (metric, "paired bootstrap", metric)
    assert record["labels"] == (None if metric == "pearson" else ["negative", "positive"])
    assert (found["likelihood"] is None) is ("response" in found) is (metric == "pearson")
    measured = predictions(own(metric, labels, model))
    for head, value in zip(HEADS, flat(found["value"]), strict=True):
        assert value == measured.metric_of(measured.of(masked("without-one", *head)))


def test_blocks_that_are_not_asked_for_stay_empty(setup):
    record = run(setup, blocks=("2",))
    (found,), (whole,) = record["tables"], run(setup)["tables"]
    for name in ("value", "delta", "low", "high", "p_value"):
        assert found[name] == [[None] * 4, whole[name][1], [None] * 4]
    p = found["p_value"][1]
    assert found["p_adjusted"]["bh"][1] == pytest.approx(scipy.stats.false_discovery_control(p))
    assert found["p_adjusted"]["holm"][0] == [None] * 4
    assert record["configuration"]["blocks"] == ["2"]
    assert [row["layer"] for row in run(setup, kind="only-one", blocks=("2",))["tables"][0]["best"]] == [2]
    with pytest.raises(HeadDescriptorError, match="between 1 and 3 for this model; got 4"):
        run(setup, blocks=("4",))


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_likelihood_of_the_right_answer_is_tested_beside_the_metric(kind, setup):
    """Its change is the mean over the examples of log softmax, worked out here from gated logits."""
    (found,) = run(setup, kind=kind)["tables"]
    response, apart = found["likelihood"], predictions(setup)
    columns, at = list(apart.objective.model_index), np.arange(80)

    def likelihood(mask):
        logits = apart.of(mask)[:, columns].astype(np.float64)
        return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))[at, apart.references]

    base = likelihood(HeadMask(SHAPE))
    assert response["base"] == pytest.approx(base.mean(), abs=1e-6)
    changes = [likelihood(masked(kind, *head)) - base for head in HEADS]
    assert flat(response["delta"]) == pytest.approx([each.mean() for each in changes], abs=1e-6)
    assert response["test"] == "paired bootstrap"
    by_t = [scipy.stats.ttest_1samp(each, 0).pvalue for each in changes]
    assert flat(response["p_value"]) == pytest.approx(by_t, abs=0.05)
    assert min(by_t) < 0.05 < 0.2 < max(by_t)
    bh = scipy.stats.false_discovery_control(flat(response["p_value"]))
    assert flat(response["p_adjusted"]["bh"]) == pytest.approx(bh)
    for delta, low, high in zip(*(flat(response[name]) for name in ("delta", "low", "high")), strict=True):
        assert low <= delta <= high


@pytest.mark.parametrize("kind", KINDS)
def test_heads_that_were_removed_before_are_not_measured(kind, setup):
    gone = HeadMask.parse("1:2 2:1,2,3,4", SHAPE)
    there = predictions(setup)
    remove_heads(there.subject.model, gone)
    pruned = predictions_of(setup, there.subject, there.split, Reporter())
    found = table(Ablation(kind), ablated(pruned, Ablation(kind)))
    whole = predictions(setup)
    assert found["base"] == whole.metric_of(whole.of(gone))
    for (block, head), value in zip(HEADS, flat(found["value"]), strict=True):
        if (block, head) in gone:
            assert value is None
        else:
            assert value == whole.metric_of(whole.of(masked(kind, block, head) | gone))
    for name in ("delta", "low", "high", "p_value"):
        assert [cell is None for cell in flat(found[name])] == [head in gone for head in HEADS]
    with pytest.raises(HeadDescriptorError, match="--blocks 2 must have heads left"):
        ablated(pruned, Ablation(kind, blocks=("2",)))


@pytest.mark.slow
def test_a_reduced_precision_counts_the_predictions_that_it_flips(setup):
    record = run(replace(setup, dtype="bfloat16"))
    low, high = (
        ablated(predictions(each), Ablation("without-one")) for each in (replace(setup, dtype="bfloat16"), setup)
    )
    flipped = sum((low.answers(mask) != high.answers(mask))[:FLIP_SAMPLE].sum() for mask in high.kept)
    assert record["flips"] == {
        "dtype": "bfloat16",
        "split": "validation",
        "n_examples": 64,
        "n_masks": 13,
        "n_predictions": 64 * 13,
        "n_flipped": flipped,
    }
    assert flipped > 0
    assert run(setup)["flips"] is None


def test_the_sample_for_flips_is_of_the_examples_that_were_measured(setup):
    """Of examples that are drawn at random, too."""
    low, answers = replace(setup, dtype="bfloat16", max_examples=16, sample_seed=3), []
    for each in (low, replace(low, dtype="float32")):
        of, masks = predictions(each), [HeadMask(SHAPE), *(masked("without-one", *head) for head in HEADS)]
        answers.append([of.answers(of.of(mask)) for mask in masks])
    assert run(low)["flips"]["n_flipped"] == int((np.array(answers[0]) != np.array(answers[1])).sum())


def test_the_sample_for_flips_may_have_one_class(own):
    setup = own("matthews_correlation", ["negative"] * FLIP_SAMPLE + ["positive"] * 6)
    assert run(replace(setup, dtype="bfloat16"))["flips"]["n_examples"] == FLIP_SAMPLE


def test_scores_have_no_label_to_flip(own, tmp_path):
    setup = own("pearson", [str(i % 7 / 2) for i in range(20)], save_tiny_checkpoint(tmp_path / "m", ("score",)))
    assert run(replace(setup, dtype="bfloat16"))["flips"] is None


@pytest.mark.parametrize(("choose_split", "is_flattering"), [(None, False), ("validation", True)])
def test_it_is_said_where_heads_are_tested_on_what_chose_them(setup, choose_split, is_flattering):
    reporter = Reporter()
    ablate(setup, Ablation("only-one", choose_split=choose_split, choose_examples=20), reporter)
    assert any("flatters" in note for note in reporter.notes) is is_flattering


@pytest.mark.slow
def test_the_splits_of_a_task_are_correlated(mini):
    record = run(mini, blocks=("2", "3"))
    first, second = record["tables"]
    (pair,) = record["correlations"]
    assert (pair["first"], pair["second"]) == (first["split"], second["split"])
    expected = correlate(flat(first["delta"][1:3]), flat(second["delta"][1:3]))
    assert expected["n_heads"] == 8
    assert pair == {"first": first["split"], "second": second["split"], **expected}
    assert record["labels"] == ["entailment", "neutral", "contradiction"]
    assert run(mini, split=("validation_mismatched",), blocks=("2", "3"))["tables"] == [second]


def test_heads_may_be_chosen_on_as_many_examples_as_are_measured_on(setup):
    short = replace(setup, max_examples=30)
    same = run(short, kind="only-one", choose_split="validation", choose_examples=0)
    assert same["chosen_on"] == same["data"][0]
    for best in same["tables"][0]["best"]:
        assert best["best_here"] == {"head": best["head"], "delta": best["delta"]}
    other = run(short, kind="only-one", choose_examples=0)
    assert (other["chosen_on"]["split"], other["chosen_on"]["n_examples"]) == ("train", 30)


def test_the_likelihood_as_the_response_of_a_criterion(setup):
    """The scores are what the table says that each head alone loses, with the errors of the mean."""
    (found,) = run(setup)["tables"]
    asked = Scoring("ablation", score_split="validation", response="likelihood")
    scored = Lab(setup, Reporter()).scored(asked)
    assert flat(scored.scores.values) == pytest.approx([-each for each in flat(found["likelihood"]["delta"])], abs=1e-9)
    assert scored.report()["response"] == "likelihood"
    assert scored.scores.standard_error is not None
    assert "response" not in Lab(setup, Reporter()).scored(replace(asked, response="metric")).report()


def test_of_scores_the_response_is_minus_the_squared_error(own, tmp_path, monkeypatch):
    model = save_tiny_checkpoint(tmp_path / "model", ("score",))
    setup = own("pearson", [str(i % 7 / 2) for i in range(20)], model)
    apart, heads = predictions(setup), HeadMask.parse("1:1,2 3:1", SHAPE)
    errors = [(apart.of(mask)[:, 0].astype(float) - apart.references) ** 2 for mask in (HeadMask(SHAPE), heads)]
    found, both = evaluate(apart, HeadMask(SHAPE)), compare(apart, HeadMask(SHAPE), heads)
    words = {"name": "minus the squared error", "unit": "squared points of the score"}
    for each in (found, both):
        assert each["likelihood"] is None
        assert each["response"].items() >= words.items()
    assert found["response"]["value"] == pytest.approx(-errors[0].mean())
    assert both["response"]["difference"] == pytest.approx(errors[0].mean() - errors[1].mean())
    asked = Scoring("ablation", score_split="validation", response="likelihood")
    scored = Lab(setup, Reporter()).scored(asked).scores
    (found,) = run(setup)["tables"]
    assert flat(scored.values) == pytest.approx([-each for each in flat(found["response"]["delta"])], abs=1e-9)
    monkeypatch.setattr(type(apart.objective), "response", RESPONSES["likelihood"])
    with pytest.raises(UnfitError, match="must be defined to score by it; regression has none"):
        Lab(setup, Reporter()).scored(asked)


def test_evaluations_and_comparisons_say_the_likelihood_and_the_flips(setup):
    apart, heads = predictions(setup), HeadMask.parse("1:1,2 3:1,2,3", SHAPE)
    found, pruned = evaluate(apart, HeadMask(SHAPE)), evaluate(apart, heads)
    both = compare(apart, HeadMask(SHAPE), heads)
    values = [apart.objective.log_likelihood(apart.of(mask), apart.references) for mask in (HeadMask(SHAPE), heads)]
    assert found["likelihood"]["value"] == pytest.approx(values[0].mean())
    assert found["likelihood"]["low"] < values[0].mean() < found["likelihood"]["high"]
    assert both["likelihood"]["difference"] == pytest.approx(values[1].mean() - values[0].mean())
    assert both["likelihood"]["difference"] == pytest.approx(
        pruned["likelihood"]["value"] - found["likelihood"]["value"]
    )
    right = [apart.answers(apart.of(mask)) == apart.references for mask in (HeadMask(SHAPE), heads)]
    assert both["changed"] == [int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())]
