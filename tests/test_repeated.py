"""Areas for other scoring samples: which examples are drawn, and the numbers by an independent computation."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import WORDS

from prune_heads import predictions
from prune_heads.errors import OptionError, UnfitError
from prune_heads.heads import HeadMask
from prune_heads.options import Curves, Scoring, Setup
from prune_heads.options.studies import Conditions
from prune_heads.progress import Reporter
from prune_heads.reporting.curves import curve_page
from prune_heads.selection import lowest_first
from prune_heads.statistics import area_under_curve
from prune_heads.studies import repeated
from prune_heads.studies.curves import curves
from prune_heads.studies.repeated import curves_of_seeds, enough_of, samples_of
from prune_heads.studies.scoring import Lab, score

SHAPE = (4, 4, 4)


@pytest.fixture(scope="module")
def setup(checkpoint, tmp_path_factory):
    """Sentences that differ, so that they tell where an example came from."""
    folder = tmp_path_factory.mktemp("sampling")
    for name, n in (("train", 40), ("dev", 30)):
        lines = [f"{WORDS[i % 7]} {WORDS[i // 7]} {WORDS[i % 5]} \t{i % 2}" for i in range(n)]
        (folder / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    return Setup(str(checkpoint), "sst2", data_dir=folder, store=folder / "store")


def indices(lab, part):
    """The places of the examples of a sample, by their texts, which differ."""
    places = {text: i for i, text in enumerate(lab.predictions("train").split.columns["text"])}
    return [places[text] for text in part.split.columns["text"]]


def test_parts_share_no_example_and_resamples_are_as_long_as_the_whole(setup, monkeypatch):
    lab = Lab(setup, Reporter())
    whole = {"gradient": lab.predictions("train")}
    n = len(whole["gradient"].split)
    monkeypatch.setattr(repeated, "USEFUL", n // 5)
    is_disjoint, parts = samples_of(whole, lab, 5, 0)
    drawn = [i for part in parts["gradient"] for i in indices(lab, part)]
    assert (is_disjoint, sorted(drawn)) == (True, list(range(n)))
    assert drawn != sorted(drawn)
    again, other = (samples_of(whole, lab, 5, seed)[1]["gradient"] for seed in (0, 1))
    assert [indices(lab, each) for each in again] == [indices(lab, each) for each in parts["gradient"]]
    assert [indices(lab, each) for each in again] != [indices(lab, each) for each in other]
    monkeypatch.setattr(repeated, "USEFUL", n)
    is_disjoint, parts = samples_of(whole, lab, 5, 0)
    assert (is_disjoint, {len(each.split) for each in parts["gradient"]}) == (False, {n})
    assert len(set(indices(lab, parts["gradient"][0]))) < n


def test_examples_that_belong_together_are_in_one_part(setup, monkeypatch):
    lab = Lab(setup, Reporter())
    whole = lab.predictions("train")
    groups = np.random.default_rng(0).integers(0, 12, len(whole.split))
    whole.__dict__["groups"] = np.unique(groups, return_inverse=True)[1]
    monkeypatch.setattr(repeated, "USEFUL", 1)
    parts = samples_of({"gradient": whole}, lab, 5, 0)[1]["gradient"]
    found = [{int(whole.groups[i]) for i in indices(lab, part)} for part in parts]
    assert sum(map(len, found)) == 12


def test_one_example_is_refused(setup):
    for criterion in ("gradient", "magnitude"):
        with pytest.raises(UnfitError, match=r"two examples or groups of examples at least.*has one. Leave"):
            curves(replace(setup, max_examples=1), Curves((criterion,), score_samples=5), Reporter())


def by_hand(setup, parts, seed):
    """Areas by the orders of scoring samples, and on 100 resamples of the examples, a loop each."""
    lab = Lab(setup, Reporter())
    on, found = lab.predictions("validation"), []
    rng = np.random.default_rng(seed)
    n = len(on.references)
    drawn = [rng.integers(0, n, n) for _ in range(100)]
    for part in parts:
        masks = lowest_first(score(lab.subject, Scoring(), part).scores, HeadMask(SHAPE), 4)
        right = np.array([on.answers(on.of(mask)) == on.references for mask in masks])
        counts = [len(mask) for mask in masks]
        rows = [right, *(right[:, each] for each in drawn)]
        found.append([area_under_curve(counts, row.mean(axis=1)) for row in rows])
    return np.array(found), n


def drawn_areas(lab, options):
    """The area of each random order."""
    on, found = lab.predictions("validation"), []
    for i in range(options.draws):
        scores = score(lab.subject, Scoring("random", seed=options.seed + i)).scores
        masks = lowest_first(scores, HeadMask(SHAPE), options.steps)
        found.append(area_under_curve([len(mask) for mask in masks], [on.metric_of(on.of(mask)) for mask in masks]))
    return np.array(found)


def test_random_orders_are_dealt_out_to_all_samples(setup):
    with pytest.raises(OptionError, match=r"--draws must be as many as --score-samples \(5\); got 3"):
        curves(setup, Curves(("random",), draws=3, score_samples=5), Reporter())


@pytest.mark.parametrize("is_disjoint", [True, False])
def test_areas_by_hand(setup, monkeypatch, is_disjoint):
    monkeypatch.setattr(predictions, "N_DRAWS", 100)
    lab = Lab(setup, Reporter())
    train = lab.predictions("train")
    monkeypatch.setattr(repeated, "USEFUL", 1 if is_disjoint else 10**6)
    options = Curves(("gradient", "magnitude", "random"), steps=4, score_samples=5, draws=10, seed=3)
    record = curves(setup, options, Reporter())
    found, n = by_hand(setup, samples_of({"gradient": train}, lab, 5, 3)[1]["gradient"], 3)
    rows = {(row["first"], row["second"]): row for row in record["sampled_areas"]}
    assert list(rows) == [
        *((name, None) for name in ("gradient", "magnitude", "random")),
        *(("gradient", "magnitude"), ("gradient", "random"), ("magnitude", "random")),
    ]
    lines = {line["criterion"]: line for line in record["lines"]}
    of = rows["gradient", None]
    assert of["values"] == pytest.approx(found[:, 0])
    between, shared = found[:, 0].var(ddof=1), found[:, 1:].mean(axis=0).var() * n / (n - 1)
    rest = ((found[:, 1:] - found[:, 1:].mean(axis=0)).var(axis=1).sum() / 4) * n / (n - 1)
    variance = between / (5 if is_disjoint else 1) + max(shared - rest / 5, 0)
    from scipy.stats import t

    assert (of["high"] - of["low"]) / 2 == pytest.approx(t.ppf(0.975, of["degrees"]) * variance**0.5)
    middle = found[:, 0].mean() if is_disjoint else lines["gradient"]["areas"]["validation"]
    assert of["value"] == pytest.approx(middle)
    assert len(set(rows["magnitude", None]["values"])) == 1, "one order, whatever is drawn"
    assert rows["magnitude", None]["value"] == pytest.approx(lines["magnitude"]["areas"]["validation"])
    assert rows["random", None]["value"] == pytest.approx(lines["random"]["areas"]["validation"])
    drawn = drawn_areas(lab, options)
    of, error = rows["random", None], (drawn.var(ddof=1) / 10) ** 0.5
    dealt = np.var(of["values"], ddof=1) / (5 if is_disjoint else 1)
    assert dealt == pytest.approx(np.var(drawn.reshape(2, 5).mean(axis=0), ddof=1) / 5), "of the mean of all draws"
    assert 0.2 * error < dealt**0.5 < 5 * error
    apart = rows["gradient", None]["value"] - rows["magnitude", None]["value"]
    assert rows["gradient", "magnitude"]["value"] == pytest.approx(apart)
    said = str(curve_page(record).to_markdown())
    assert "gradient - magnitude" in said
    assert ("5 disjoint samples, their mean; examples of each: gradient 8" in said) is is_disjoint


@pytest.mark.parametrize("is_grouped", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_long_split_is_measured_in_part(setup, monkeypatch, is_grouped):
    """The curve is of all examples, its samples of some, in whole groups; what is known is kept."""
    monkeypatch.setattr(repeated, "ENOUGH", 20)
    monkeypatch.setattr(repeated, "USEFUL", 1)
    lab = Lab(setup, Reporter())
    whole = lab.predictions("validation")
    if is_grouped:
        whole.__dict__["groups"] = np.arange(len(whole.split)) // 3
    part = enough_of(whole, lab, 3)
    places = [whole.split.columns["text"].index(text) for text in part.split.columns["text"]]
    assert len(places) == (18 if is_grouped else 20)
    assert places == sorted(set(places))
    if is_grouped:
        assert set(np.bincount(np.array(places) // 3)) == {0, 3}
        return
    options = Curves(("gradient", "ablation"), steps=4, score_samples=5, seed=3)
    record = curves(setup, options, Reporter())
    assert record["score_samples"]["measured_on"] == [20]
    assert record["lines"] == curves(setup, replace(options, score_samples=None), Reporter())["lines"]
    mask = HeadMask(SHAPE, frozenset({(0, 1)}))
    kept = whole.of(mask)
    monkeypatch.setattr(predictions, "predict", None)  # nothing is computed
    np.testing.assert_array_equal(part.of(mask), kept[places])
    of = {(row["first"], row["second"]): row["values"] for row in record["sampled_areas"]}
    monkeypatch.undo()
    monkeypatch.setattr(repeated, "USEFUL", 1)
    samples = samples_of({"": lab.predictions("train")}, lab, 5, 3)[1][""]
    for sample, value in zip(samples, of["gradient", None], strict=True):
        masks = lowest_first(score(lab.subject, Scoring(), sample).scores, HeadMask(SHAPE), 4)
        values = [part.metric_of(part.of(mask)) for mask in masks]
        assert value == pytest.approx(area_under_curve([len(mask) for mask in masks], values))
    assert "Measured on 20 of 30 examples of validation." in str(curve_page(record).to_markdown())


def test_without_the_option_nothing_is_drawn(setup):
    record = curves(setup, Curves(("magnitude",), steps=2), Reporter())
    assert not {"score_samples", "sampled_areas"} & {*record, *record["configuration"]}


@pytest.mark.parametrize("spoil", [{"fingerprint": "other"}, {"n_examples": 1}, {"n_pruned": 2}])
def test_seeds_that_share_no_examples_or_heads_are_refused(spoil):
    def record(name, fingerprint="same", n_examples=9, n_pruned=1):
        points = [{"split": "validation", "n_pruned": n} for n in (0, n_pruned)]
        data = {"split": "validation", "fingerprint": fingerprint, "n_examples": n_examples}
        return {"data": [data], "lines": [{"points": points}], "model": {"name": name}}

    with pytest.raises(UnfitError, match=r"must share two examples or more.*got a, b"):
        curves_of_seeds([], [record("a", **spoil), record("b")], Conditions(), Reporter())
