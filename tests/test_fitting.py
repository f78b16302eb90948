"""`prune-heads fit`: what is searched and how, what is tested and when, and that it is the model that is kept."""

import json
from dataclasses import replace
from itertools import combinations, pairwise
from math import sqrt
from types import SimpleNamespace

import numpy as np
import pytest
from test_criteria_masks import Game, every_mask
from tiny import WORDS, tiny_tokenizer, write_sst2
from tiny import tiny_model as tiny_bert
from tiny_texts import text_tokenizer
from tiny_types import tiny_model as tiny_type

from prune_heads import remove_heads, save_pruned
from prune_heads.ablation import ManyMasks
from prune_heads.anatomy import attention_blocks
from prune_heads.budget import budget, head_costs
from prune_heads.descriptors import HeadCounts
from prune_heads.errors import DataError, HeadDescriptorError, OptionError, UnfitError, UnsupportedModelError
from prune_heads.evaluation import predict
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.options import Fitting, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.reporting.fitting import fit_page
from prune_heads.runs import Study
from prune_heads.statistics.metrics import METRICS
from prune_heads.studies import bench, fitting
from prune_heads.studies.fitting import fit, units_of
from prune_heads.studies.scoring import Lab
from prune_heads.studies.search import cut, exchange, ordered, saved, short_list

N_TRAIN, N_TEST, MARGIN = 64, 80, 0.2
TIMES = {"milliseconds": {"before": 2.0, "after": 1.0}}


@pytest.fixture(scope="module")
def setup(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitting")
    data = write_sst2(folder / "SST-2", n_train=N_TRAIN, n_dev=N_TEST)
    return Setup(str(checkpoint), "sst2", data_dir=data, store=folder / "store")


@pytest.fixture(scope="module")
def events():
    """What happened in order: the split that was answered, and the ends of stages."""
    return []


@pytest.fixture(scope="module")
def found(setup, events):
    """A fit, watched."""
    of, predict, many, lap = Predictions.of, fitting.predict, ManyMasks.__init__, Study.lap

    def watched(function, what):
        def call(*args, **how):
            events.append(what(*args))
            return function(*args, **how)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictions, "of", watched(of, lambda self, *_: self.split.name))
        patch.setattr(ManyMasks, "__init__", watched(many, lambda self, on, *_: on.split.name))
        patch.setattr(fitting, "predict", watched(predict, lambda model, batches: "validation"))
        patch.setattr(Study, "lap", watched(lap, lambda self, stage: f"end of {stage}"))
        return fit(setup, Fitting(max_loss=MARGIN, mode="remove", candidates=4, exchange=40), Reporter())


def test_the_test_is_not_looked_at_before_the_candidates_are_fixed(events, found):
    fixed = events.index("end of search")
    assert "validation" not in events[:fixed]
    assert events[:fixed].count("train") > 5
    assert set(events[fixed:]) == {"end of search", "validation", "end of test"}


def test_the_record_is_that_of_a_run_and_says_what_was_tested(found):
    record = found.record
    listed, n_shown = record["fit"]["candidates"], record["fit"]["n_shown"]
    tested = [row for row in listed if "p_value" in row]
    masks = [HeadMask.parse(" ".join(row["heads_pruned"]), (4, 4, 4)) for row in listed]
    assert all(a <= b and len(a) < len(b) for a, b in pairwise(masks))
    kept = [row for row in tested if row["p_value"] <= 0.05]
    assert [row["verdict"] == "kept" for row in tested] == [True] * len(kept) + [False] * (len(tested) - len(kept))
    assert len(tested) - len(kept) == (len(tested) < len(listed) or "limit" in tested[-1])
    assert kept, "the margin of this test is to be wide enough"
    assert (n_shown, record["n_pruned"]) == (kept[-1]["n_pruned"],) * 2
    assert record["heads_pruned"] == kept[-1]["heads_pruned"] == found.mask.descriptors()
    assert [point["n_pruned"] for point in record["curve"]] == [0, *(row["n_pruned"] for row in tested)]
    (row,) = record["rows"]
    assert (row["kept"]["margin"], row["kept"]["verdict"]) == (MARGIN, "kept")
    assert row["pruned"] == kept[-1]["value"] == record["curve"][len(kept)]["accuracy"]
    assert row["difference"] == pytest.approx(-kept[-1]["lost"])
    assert [record[name]["n_examples"] for name in ("scored_on", "chosen_on")] == [N_TRAIN // 2] * 2
    json.dumps(record, allow_nan=False)


def test_what_is_tested_is_what_is_kept(found, setup, tmp_path):
    """The saved checkpoint gives the metric of the record, and the gated model gives it, too."""
    found.checkpoint.write(tmp_path / "kept")
    for model, mask in ((str(tmp_path / "kept"), None), (setup.model, found.mask)):
        on = Lab(replace(setup, model=model), Reporter()).predictions("validation")
        assert on.metric_of(on.of(mask or on.gone)) == found.record["rows"][0]["pruned"]


def test_layers_are_chosen_as_by_enumeration(setup):
    """Of three layers, all sets: as many as can go are found, by a search that tries few."""
    options = Fitting(max_loss=0.3, units="layers", candidates=3)
    record = fit(setup, options, Reporter()).record
    lab = Lab(setup, Reporter())
    search_on = fitting.samples_of({"train": lab.predictions("train", N_TRAIN)}, lab, 2, 0, useful=1)[1]["train"][1]
    search = fitting.Search(search_on, units_of(lab.subject, options), len, options, N_TEST)
    sets = [each for n in range(4) for each in combinations(range(3), n)]
    fitting_sets = [s for s in sets if search.loss(search.mask(s)).distance(0.3) * sqrt(2 * N_TEST / N_TRAIN) >= 1.645]
    assert record["fit"]["exchanged"]["n_pruned"] == 4 * max(map(len, fitting_sets))
    assert all(row["n_pruned"] % 4 == 0 for row in record["fit"]["candidates"])


def test_means_are_folded_into_what_is_tested(setup):
    options = Fitting(max_loss=MARGIN, candidates=1, exchange=0)
    found = fit(replace(setup, replace="mean"), options, Reporter())
    lab = Lab(replace(setup, replace="mean"), Reporter())
    lab.scoring = replace(options.by("gradient"), score_examples=options.train_examples)
    on = lab.predictions("validation")
    (row,) = found.record["fit"]["candidates"]
    mask = HeadMask.parse(" ".join(row["heads_pruned"]), (4, 4, 4))
    assert row["value"] == on.metric_of(on.of(mask))
    assert found.record["replaced_by"]["split"] == "train"


def test_rescaled_heads_are_those_that_are_tested_and_saved(setup):
    found = fit(setup, Fitting(max_loss=MARGIN, candidates=3, exchange=0, rescale=True), Reporter())
    first, *_, shown = [row for row in found.record["fit"]["candidates"] if row.get("verdict") == "kept"]
    on = Lab(setup, Reporter()).predictions("validation")
    assert shown["value"] == on.metric_of(predict(found.checkpoint.model, on.batches))
    factors = [each for row in shown["rescaled"]["factors"] for each in row]
    assert factors.count(None) == found.record["n_pruned"] == shown["n_pruned"]
    of_first = [each for row in first["rescaled"]["factors"] for each in row if each is not None]
    assert len(of_first) == 12 - first["n_pruned"] > 0
    assert max(abs(each - 1) for each in of_first) > 1e-4
    plain = fit(setup, Fitting(max_loss=MARGIN, candidates=3, exchange=0), Reporter())
    assert "rescaled" not in plain.record["fit"]["candidates"][0]


def test_milliseconds_are_those_of_bench(setup, monkeypatch):
    """The fastest of those that are shown is kept; a spread beyond the gain is noted."""
    calls = iter(range(10**6))
    monkeypatch.setattr(
        bench, "_seconds", lambda sides, race, name, n: 2.0 if name == "before" else 1 + next(calls) / 99
    )
    options, reporter = Fitting(max_loss=MARGIN, mode="remove", budget="milliseconds", candidates=3), Reporter()
    record = fit(setup, options, reporter).record
    timed = [row for row in record["fit"]["candidates"] if "speed" in row]
    assert len(timed) > 1
    assert record["n_pruned"] == max(timed, key=lambda row: row["speed"])["n_pruned"] == timed[0]["n_pruned"]
    assert timed[0]["milliseconds"]["before"] == pytest.approx(1e3 * 2.0 / 1, rel=1)
    assert not [note for note in reporter.notes if "speed-ups" in note]
    monkeypatch.setattr(bench, "_seconds", lambda sides, race, name, n: 2.0 - next(calls) % 2)
    fit(setup, options, reporter)
    assert [note for note in reporter.notes if "speed-ups differ more" in note]
    # By its runs the second may be as fast as the first, and the third as the second, but not as the first.
    speeds = iter(([1.2, 1.2], [1.0, 1.2], [1.0, 1.1]))
    monkeypatch.setattr(fitting, "_speed", lambda *_: {"speeds": (x := next(speeds)), "speed": np.mean(x), **TIMES})
    wide = fit(setup, replace(options, max_loss=0.5, exchange=0), Reporter()).record
    assert [row["n_pruned"] for row in wide["fit"]["candidates"]].index(wide["n_pruned"]) == 1


@pytest.mark.parametrize("n", [5, 8])
def test_an_exchange_ends_where_no_pair_that_is_tried_gains(n):
    """As many stay closed; never is it worse; where losses add up it is the best set of all."""
    rng = np.random.default_rng(n)
    for seed in range(6):
        closed = rng.permutation(n) < n // 2
        game, effects = Game.covered(n, seed), rng.random(n)
        (before,) = game(closed[None])
        game.asked = 0
        found, swaps = exchange(closed, np.ones(n), game, 200)
        assert found.sum() == closed.sum()
        assert game.asked <= 200
        assert (game(found[None])[0] > before) == (swaps > 0)
        best, _ = exchange(closed, np.ones(n), Game(lambda row, of=effects: -float(of[row].sum())), 500)
        assert set(np.flatnonzero(best)) == set(np.argsort(effects)[: n // 2])


def test_an_exchange_sees_what_stands_in_for_each_other():
    """Of two copies only one can go: the search is given both, and finds the best set by enumeration."""
    weights = np.array([3.0, 3.0, 1.0, 2.0, 0.5, 4.0])

    def value(row):
        open_ = ~row
        return float(max(open_[0], open_[1]) * 3 + (open_ * weights)[2:].sum())

    rows = every_mask(6)
    rows = rows[rows.sum(axis=1) == 3]
    start = np.array([True, True, False, True, False, False])
    found, swaps = exchange(start, np.ones(6), Game(value), 100)
    assert value(found) == max(map(value, rows))
    assert swaps
    assert (exchange(start, np.ones(6), Game(value), 6)[0] == start).all()  # too few masks to begin
    dear = np.array([9, 9, 1, 9, 1, 1])  # nothing that is open saves as much
    assert (exchange(start, dear, Game(value), 100)[0] == start).all()


def test_cuts_orders_and_short_lists():
    for most in range(9):
        asked = []
        assert cut(lambda n, most=most, asked=asked: asked.append(n) or n <= most, 0, 8) == most
        assert len(asked) <= 4
    scores = HeadScores(([3.0, -1.0, 2.0], [1.0, 1.0, 0.5]))
    units = [frozenset([(b, h)]) for b in range(2) for h in range(3)]
    assert ordered(scores, units, np.ones(6)) == [1, 5, 3, 4, 2, 0]
    assert ordered(scores, units, np.array([1, 1, 10, 1, 1, 1])) == [1, 2, 5, 3, 4, 0]
    pairs = [frozenset([(0, 0), (0, 1)]), frozenset([(1, 0), (1, 1)])]
    assert ordered(scores, pairs, np.array([2, 2])) == [0, 1]
    assert short_list(list(range(13)), 8, 4) == [2, 4, 6, 8]
    assert short_list(list(range(13)), 3, 8) == [1, 2, 3]
    assert short_list([4, 5, 6], 0, 8) == [1]
    assert short_list([0, 10, 12, 20], 3, 2) == [1, 3]


@pytest.mark.parametrize("kind", ["bert", "llama", "albert", "t5"])
def test_what_is_saved_is_what_the_budget_counts(kind):
    model = tiny_type(kind, num_labels=2)
    costs, rng = head_costs(model, 16), np.random.default_rng(0)
    counts = HeadCounts.described(costs["blocks"])
    for share in (0.2, 0.6, 1.0):
        heads = frozenset((b, h) for b, n in enumerate(counts) for h in range(n) if rng.random() < share)
        if kind == "albert":  # whose layers share their heads
            heads = frozenset((b, h) for b in range(len(counts)) for _, h in heads)
        mask = HeadMask(counts, heads)
        of = budget(model, mask, 16)
        for what in ("parameters", "multiply_adds"):
            assert saved(costs, mask, what) == of[what]["before"]["total"] - of[what]["after"]["total"]
        assert saved(costs, mask, "heads") == len(mask)


def subject_with(model):
    return SimpleNamespace(blocks=attention_blocks(model))


def test_what_goes_as_a_whole():
    llama = subject_with(tiny_type("llama", num_labels=2))
    assert [len(unit) for unit in units_of(llama, Fitting())] == [1] * 12
    assert [len(unit) for unit in units_of(llama, Fitting(units="groups", mode="remove"))] == [2] * 6
    assert [len(unit) for unit in units_of(llama, Fitting(units="layers"))] == [4] * 3
    lost = subject_with(remove_heads(tiny_bert(), "1:1,2,3,4 2:1"))
    assert [len(unit) for unit in units_of(lost, Fitting(units="layers"))] == [3, 4]
    with pytest.raises(HeadDescriptorError, match="none left"):
        units_of(subject_with(remove_heads(tiny_bert(), {b: range(4) for b in range(3)})), Fitting())


def test_a_model_that_lost_heads_goes_on_from_there(setup, tmp_path):
    model = tiny_bert(n_labels=2)
    model.config.id2label, model.config.label2id = {0: "negative", 1: "positive"}, {"negative": 0, "positive": 1}
    save_pruned(remove_heads(model, "1:1,2,3,4 2:1"), tmp_path / "lost")
    tiny_tokenizer().save_pretrained(tmp_path / "lost")
    options = Fitting(max_loss=MARGIN, candidates=2, mode="remove", criterion=("magnitude", "ablation"), exchange=30)
    record = fit(replace(setup, model=str(tmp_path / "lost")), options, Reporter()).record
    gone = HeadMask.parse("1:1,2,3,4 2:1", (4, 4, 4))
    for row in record["fit"]["candidates"]:
        assert gone <= HeadMask.parse(" ".join(row["heads_pruned"]), (4, 4, 4))
        assert row["n_pruned"] > 5
    assert [each["criterion"] for each in record["fit"]["searched"]] == ["magnitude", "ablation"]
    assert record["ordered_by"]["criterion"] in ("magnitude", "ablation")
    (said,) = [part for part in fit_page(record).parts if "Shown at" in str(part) or "Not shown at" in str(part)]
    assert said.endswith(". 5 heads were gone before: what was lost by these does not count.")


def test_examples_seen_before_are_counted_and_the_same_data_refused(setup, tmp_path):
    texts = sorted({" ".join(np.random.default_rng(i).choice(WORDS, 5)) for i in range(90)})
    rows = [f"{text},{('negative', 'positive')[i % 2]}" for i, text in enumerate(texts)]
    for name, part in (("train", rows[:50]), ("dev", rows[40:90])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *part]) + "\n")
    files = {"train_file": tmp_path / "train.csv", "validation_file": tmp_path / "dev.csv"}
    own = Setup(setup.model, store=setup.store, **files)
    record = fit(own, Fitting(max_loss=0.3, exchange=0, candidates=2), Reporter()).record
    assert record["fit"]["n_seen"] == 10
    assert any("10 of 50 examples are also in train" in note for note in record["notes"])
    with pytest.raises(DataError, match="all of validation are in train"):
        fit(
            Setup(setup.model, store=setup.store, **files | {"validation_file": files["train_file"]}),
            Fitting(max_loss=0.3),
            Reporter(),
        )


def test_what_cannot_be_shown_is_refused_before_any_answer(setup, monkeypatch):
    monkeypatch.setattr(Predictions, "of", None)
    monkeypatch.setattr(fitting, "score", None)
    refused = [
        (DataError, "about 299 examples must be there; validation has 80, which show 0.03", {"max_loss": 0.01}),
        (OptionError, "must be a split on which nothing is chosen", {"test_split": "train"}),
        (OptionError, "--budget milliseconds must be with --mode remove", {"budget": "milliseconds"}),
    ]
    for error, said, how in refused:
        with pytest.raises(error, match=said):
            fit(setup, Fitting(**{"max_loss": 0.2, **how}), Reporter())
    with pytest.raises(OptionError, match="--replace must be zero or mean"):
        fit(replace(setup, replace="resample"), Fitting(), Reporter())
    with pytest.raises(UnfitError, match=r"scored and chosen on must be of two examples .*; train has one"):
        fit(replace(setup, max_examples=1), Fitting(max_loss=0.5, confidence=0.5), Reporter())
    on = Lab(setup, Reporter()).predictions("validation")
    unlike = replace(on.objective, metric=METRICS["perplexity"])
    monkeypatch.setattr(Predictions, "objective", property(lambda self: unlike))
    with pytest.raises(UnfitError, match="sst2 is measured by perplexity"):
        fit(setup, Fitting(), Reporter())


def test_a_loss_of_few_scores_is_not_tested(tmp_path):
    """The correlation of two scores is 1 or -1, whatever is drawn of them: its error was 0, and any heads could go."""
    model = tiny_bert(n_labels=1)
    model.config.problem_type = "regression"
    model.save_pretrained(tmp_path / "scores")
    tiny_tokenizer().save_pretrained(tmp_path / "scores")
    for name, n in (("train", 8), ("validation", 2)):
        rows = [f"{WORDS[i]} {WORDS[i + 1]},{i}.5" for i in range(n)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    files = {f"{name}_file": tmp_path / f"{name}.csv" for name in ("train", "validation")}
    own = Setup(str(tmp_path / "scores"), store=tmp_path / "store", metric="pearson", **files)
    with pytest.raises(
        DataError, match="of pearson must be tested on 30 examples or groups at least; validation has 2"
    ):
        fit(own, Fitting(max_loss=0.1), Reporter())


def test_answers_are_worth_what_they_are_in_the_test():
    """Of 2000 test examples 100 are positive, in training half of all: an answer is worth ten times as much."""
    truth = (np.arange(2000) < 100).astype(int)
    test = SimpleNamespace(
        measure=METRICS["f1"],
        references=truth,
        groups=None,
        answers=lambda kept: kept,
        kept_within=lambda *_: {"low": 0.0, "high": 0.0},
        metric_of=lambda kept: METRICS["f1"](kept, truth),
        changed=lambda *_: [0, 0],
    )
    row = fitting._tested(SimpleNamespace(options=Fitting(max_loss=0.01), worth=1.0), test, truth, truth)
    # One positive of 100 that is missed takes 1/199 of F1, so no flip says as much as of 199 answers.
    assert (row["verdict"], row["p_value"]) == ("open", pytest.approx(0.99**199, abs=0.01))


def test_too_few_groups_are_refused_as_too_few_examples(setup, monkeypatch):
    monkeypatch.setattr(Predictions, "groups", property(lambda self: np.arange(len(self.references)) // 8))
    with pytest.raises(DataError, match=r"about 108 examples must be there; validation has 80, which show 0\.259"):
        fit(setup, Fitting(max_loss=0.2), Reporter())


def test_an_image_is_known_by_its_content(tmp_path):
    same, other = (SimpleNamespace(source=name, fingerprint=of) for name, of in (("a.png", "1"), ("b.png", "1")))
    splits = [SimpleNamespace(columns={"image": [each], "label": [i]}) for i, each in enumerate((same, other))]
    assert fitting._inputs(splits[0]) == fitting._inputs(splits[1])


def test_heads_that_share_keys_go_by_groups(setup, tmp_path):
    model = tiny_type("llama", num_labels=2)
    model.config.id2label, model.config.label2id = {0: "negative", 1: "positive"}, {"negative": 0, "positive": 1}
    model.save_pretrained(tmp_path / "llama")
    text_tokenizer().save_pretrained(tmp_path / "llama")
    on = replace(setup, model=str(tmp_path / "llama"))
    with pytest.raises(UnsupportedModelError, match="--units groups"):
        fit(on, Fitting(max_loss=0.3, mode="remove"), Reporter())
    asked = Fitting(max_loss=0.3, mode="remove", units="groups", budget="parameters", candidates=2, exchange=20)
    for row in fit(on, asked, Reporter()).record["fit"]["candidates"]:
        assert row["n_pruned"] % 2 == 0
        assert row["saved"] > 0
