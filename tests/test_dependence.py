"""Examples that belong together: where groups come from, and that intervals, tests and halves take them whole."""

import json

import numpy as np
import pytest
from tiny import write_sst2

from prune_heads import Evaluator
from prune_heads.errors import DataError, OptionError, UnfitError
from prune_heads.heads import HeadMask
from prune_heads.objectives import TASKS
from prune_heads.options import Ablation, Choice, Cluster, Curves, Pairs, RandomMasks, RunOptions, Scoring, Setup
from prune_heads.options.studies import Conditions
from prune_heads.progress import Reporter
from prune_heads.statistics import compare_areas
from prune_heads.statistics.groups import clustered_mcnemar
from prune_heads.statistics.margins import score_interval
from prune_heads.studies import curves as of_curves
from prune_heads.studies.ablating import ablate
from prune_heads.studies.additivity import ablate_heads, ablate_random
from prune_heads.studies.curves import compare_estimators, curves
from prune_heads.studies.pruning import run_alone
from prune_heads.studies.setup import load_split, load_subject, predictions_of
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task

SHAPE = (4, 4, 4)
WORDS = ("a good film", "the cat sleeps", "it was not very dull", "we saw a red dog and it runs")


def write_rows(path, n_groups, n=80):
    """Labels, and a document that every few rows share."""
    names = ("negative", "positive")
    rows = [f"{WORDS[i % 4]} {'very ' * (i % 5)},{names[i % 3 == 0]},d{i * n_groups // n}" for i in range(n)]
    path.write_text("\n".join(["text,label,document", *rows]) + "\n")
    return path


@pytest.fixture
def setup(checkpoint, tmp_path):
    """One's own rows in so many groups."""

    def make(n_groups, **more):
        path = write_rows(tmp_path / "own.csv", n_groups)
        described = {"labels": ("negative", "positive"), "cluster_column": "document", **more}
        return Setup(str(checkpoint), train_file=path, validation_file=path, **described)

    return make


def test_pairs_of_mnli_and_qnli_share_what_is_asked_about(tmp_path):
    assert (TASKS["mnli"].cluster_column, TASKS["qnli"].cluster_column) == ("premise", "question")
    folder = tmp_path / "QNLI"
    folder.mkdir()
    rows = ["index\tquestion\tsentence\tlabel", "0\tWho?\tHe.\tentailment", "1\tWhy?\tSo.\tnot_entailment"]
    (folder / "dev.tsv").write_text("\n".join([*rows, "2\tWho?\tShe.\tentailment"]) + "\n")
    split = load_task("qnli", data_dir=folder).load("validation")
    assert split.groups == ("Who?", "Why?", "Who?")
    assert split.at([1, 2]).groups == ("Why?", "Who?")
    assert load_task("qnli", data_dir=folder).load("validation", 2).groups == ("Who?", "Why?")
    (tmp_path / "MNLI").mkdir()
    rows = ["pairID\tsentence1\tsentence2\tgold_label", "0\tA\tB\tneutral", "1\tC\tD\tneutral", "2\tA\tE\tneutral"]
    (tmp_path / "MNLI/dev_matched.tsv").write_text("\n".join(rows) + "\n")
    assert load_task("mnli", data_dir=tmp_path).load("validation_matched").groups == ("A", "C", "A")


@pytest.mark.real
def test_pairs_of_mnli_have_a_third_as_many_premises(shared):
    split = load_task("mnli", data_dir=shared / "glue").load("validation_matched")
    assert (len(split), len({*split.groups})) == (9815, 3334)


def test_blank_lines_end_documents(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("one\ntwo\n\n\nthree\n")
    task = load_task("lm", own=OwnData({"validation": path}, kind="lm"))
    first, second, third = task.load("validation").groups
    assert first == second != third
    path.write_text("one\ntwo\nthree\n")
    assert load_task("lm", own=OwnData({"validation": path}, kind="lm")).load("validation").groups == ()


def test_questions_share_their_context(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [
        {"asked": f"What is {i}?", "story": f"It is {i // 2}.", "answers": {"text": [], "answer_start": []}}
        for i in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = OwnData({"validation": path}, ("asked", "story"), kind="question-answering")
    assert load_task(own.name, own=own).load("validation").groups == ("It is 0.", "It is 0.", "It is 1.", "It is 1.")


def test_a_column_that_is_missing_is_named(setup):
    with pytest.raises(DataError, match=r"the column chapter must be there once.*--cluster-column"):
        ablate(setup(8, cluster_column="chapter"), Ablation(), Reporter())
    with pytest.raises(OptionError, match="--cluster-column"):
        Setup.of({"cluster_column": "document"})


def test_a_table_says_how_many_groups_and_tests_them(setup):
    grouped, alone = setup(20), setup(20, cluster_column=None)
    record = ablate(grouped, Ablation(), Reporter()).record
    (found,), (other,) = record["tables"], ablate(alone, Ablation(), Reporter()).record["tables"]
    json.dumps(record, allow_nan=False)
    assert record["data"][0]["n_groups"] == 20
    assert found["test"] == "clustered McNemar"
    assert found["likelihood"]["test"] == "paired bootstrap of groups"
    assert found["together"]["n_groups"] == 20
    assert other["together"]["n_groups"] is None
    assert found["delta"] == other["delta"]
    assert found["p_value"] != other["p_value"]


def test_groups_of_rows_in_memory(checkpoint):
    rows = [{"text": WORDS[i % 4], "label": i % 2, "document": i // 10} for i in range(40)]
    ev = Evaluator(str(checkpoint), rows, columns={"cluster": "document"})
    predictions = ev._predictions
    assert predictions.groups.tolist() == [i // 10 for i in range(40)]
    (row, *_) = ev.compare("", "1:1,2,3,4 2:1,2,3").rows
    first, second = (predictions.of(ev._mask(heads)) for heads in ("", "1:1,2,3,4 2:1,2,3"))
    right = [predictions.answers(kept) == predictions.references for kept in (first, second)]
    assert row["p_value"] == pytest.approx(clustered_mcnemar(*right, predictions.groups))
    with pytest.raises(DataError, match="chapter must be there once"):
        Evaluator(str(checkpoint), rows, columns={"cluster": "chapter"})


@pytest.mark.parametrize("kind", ["without-one", "only-one"])
def test_one_group_says_nothing_of_all_heads(kind, setup):
    (found,) = ablate(setup(1), Ablation(kind), Reporter()).record["tables"]
    assert found["together"] is None
    assert {p for row in found["likelihood"]["p_value"] for p in row} == {1.0}


def test_what_is_said_of_all_heads_is_of_the_table(checkpoint, tmp_path):
    """Each in its cell; heads that change no answer have p = 1, and flips add up to the difference."""
    data = write_sst2(tmp_path / "SST-2", n_train=20, n_dev=120)
    (found,) = ablate(Setup(str(checkpoint), "sst2", data_dir=data), Ablation(blocks=("1", "3")), Reporter()).record[
        "tables"
    ]
    about, changed = found["together"], found["changed"]
    for name in ("low", "high", "max_t", "first", "last", "lower_half", "shrunk", "shrunk_error"):
        assert [[cell is None for cell in row] for row in about[name]] == [[False] * 4, [True] * 4, [False] * 4]
    for row in (0, 2):
        for head in range(4):
            to_right, to_wrong = changed["to_right"][row][head], changed["to_wrong"][row][head]
            assert found["delta"][row][head] == pytest.approx((to_right - to_wrong) / 120, abs=1e-12)
            assert about["low"][row][head] <= found["delta"][row][head] <= about["high"][row][head]
            assert about["low"][row][head] <= found["low"][row][head] + 0.02
            assert 1 <= about["first"][row][head] <= about["last"][row][head] <= 8
            assert (to_right + to_wrong > 0) or about["max_t"][row][head] == 1
    shares = [cell for row in about["lower_half"] for cell in row if cell is not None]
    assert sum(shares) == pytest.approx(4, abs=1e-9)
    n_changed = np.add(*([*changed[side][0], *changed[side][2]] for side in ("to_right", "to_wrong")))
    n_few = int((n_changed < 20).sum())
    assert about["few"] == (f"fewer than 20 answers change for {n_few} of 8 heads" if n_few else None)


def test_random_masks_by_hand(setup):
    """The sums are of the half whose examples no mask is measured on, and groups are never torn."""
    asked = RandomMasks(masks=6, fraction=(0.25, 0.5))
    record = ablate_random(setup(16), Ablation("random"), asked, Reporter()).record
    json.dumps(record, allow_nan=False)
    metric, likelihood = record["random"]
    assert (metric["response"], likelihood["response"]) == ("accuracy", "likelihood")
    assert metric["n_singles"] + metric["n_examples"] == 80
    assert metric["n_singles"] % 5 == 0  # groups of five rows
    assert [row["n_closed"] for row in metric["rows"]] == [3, 6]
    assert all(row["n_heads"] == 12 and 1 <= row["n_masks"] <= 6 for row in metric["rows"])
    assert set(metric["rows"][0]["spearman"]) == {"single effects", "gradient", "magnitude"}
    assert len(record["masks"]) == sum(row["n_masks"] for row in metric["rows"])
    again = ablate_random(setup(16), Ablation("random"), asked, Reporter()).record
    assert again["random"] == record["random"]


def test_losses_of_random_masks_are_those_of_gated_evaluations(setup):
    """Of one half each: the masks on the one, single heads on the other, and the mean over all masks."""
    asked = setup(16)
    record = ablate_random(asked, Ablation("random"), RandomMasks(4, (0.5,)), Reporter()).record
    (row,) = record["random"][0]["rows"]
    first = np.isin(np.arange(80) // 5, np.random.default_rng(0).permutation(16)[:8])
    subject = load_subject(asked, Reporter())
    whole = load_split(asked, subject, "validation", Reporter())
    alone, many = (
        predictions_of(asked, subject, whole.at(np.flatnonzero(side)), Reporter()) for side in (first, ~first)
    )

    def losses(predictions, masks):
        base = predictions.metric_of(predictions.of(HeadMask(SHAPE)))
        return {heads: base - predictions.metric_of(predictions.of(HeadMask.parse(heads, SHAPE))) for heads in masks}

    masks = [" ".join(heads) for heads in record["masks"]]
    assert row["loss"] == pytest.approx(np.mean(list(losses(many, masks).values())), abs=1e-12)
    of_one = losses(alone, [f"{block}:{head}" for block in range(1, 4) for head in range(1, 5)])
    sums = [
        sum(of_one[str(HeadMask(SHAPE, frozenset([head])))] for head in HeadMask.parse(mask, SHAPE)) for mask in masks
    ]
    assert row["summed"] == pytest.approx(np.mean(sums), abs=1e-12)


@pytest.mark.parametrize(
    ("masks", "which", "error", "said"),
    [
        ("random", RandomMasks(4, (0.05,)), UnfitError, "a mask must close two heads at least"),
        ("without-one", RandomMasks(masks=4), OptionError, "--masks and --fraction belong to --kind random"),
    ],
)
def test_masks_that_cannot_be(masks, which, error, said, setup):
    with pytest.raises(error, match=said):
        ablate_heads(setup(8), Cluster(), Ablation(masks), Pairs(), which, Reporter())


def test_areas_of_estimators_are_resampled_by_groups(setup, monkeypatch):
    asked = []

    def seen(*given, **how):
        asked.append(np.unique(how["groups"]).size)
        return compare_areas(*given, **how)

    monkeypatch.setattr(of_curves, "compare_areas", seen)
    lines = compare_estimators(setup(5), Conditions(steps=1), Reporter())["lines"]
    assert asked == [5] * len(lines)


def test_one_group_has_no_halves(setup):
    with pytest.raises(UnfitError, match="two examples or groups of examples at least; validation has one"):
        ablate_random(setup(1), Ablation("random"), RandomMasks(4, (0.5,)), Reporter())


@pytest.mark.parametrize("text", ["", "0", "1", "a", "0.5,2"])
def test_fractions_are_shares(text):
    with pytest.raises(OptionError, match="shares between 0 and 1"):
        RandomMasks.of({"fraction": text})


def test_a_margin_in_run_curve_and_ablate(setup):
    """Every verdict follows from the interval of the flips; the curve stops at the first that is not shown."""
    asked = setup(80, cluster_column=None)
    curve = curves(asked, Curves(("gradient", "random"), draws=2, steps=6, margin=0.05), Reporter())
    json.dumps(curve, allow_nan=False)
    line, drawn = curve["lines"]
    assert drawn["kept"] == []
    (kept,) = line["kept"]
    subject = load_subject(asked, Reporter())
    predictions = predictions_of(asked, subject, load_split(asked, subject, "validation", Reporter()), Reporter())
    right = predictions.answers(predictions.of(HeadMask(SHAPE))) == predictions.references
    verdicts = []
    for point, found in zip(line["points"], kept["points"], strict=True):
        mask = HeadMask.parse(" ".join(point["heads_pruned"]), SHAPE)
        after = predictions.answers(predictions.of(mask)) == predictions.references
        low, high = score_interval(int((after & ~right).sum()), int((right & ~after).sum()), 80)
        assert (found["low"], found["high"]) == pytest.approx((low, high))
        assert found["verdict"] == ("kept" if low > -0.05 else "lost" if high < -0.05 else "open")
        verdicts.append(found["verdict"])
    n_shown = next((i for i, each in enumerate(verdicts) if each != "kept"), len(verdicts))
    counts = [point["n_pruned"] for point in line["points"]]
    assert kept["n_kept"] == (counts[n_shown - 1] if n_shown else None)
    assert kept["n_lost"] == next((n for n, each in zip(counts, verdicts, strict=True) if each == "lost"), None)

    (found,) = ablate(asked, Ablation(margin=0.05), Reporter()).record["tables"]
    for verdicts, lows, highs in zip(*(found["equivalence"][name] for name in ("verdict", "low", "high")), strict=True):
        for verdict, low, high in zip(verdicts, lows, highs, strict=True):
            assert (verdict == "kept") == (low > -0.05 and high < 0.05)

    record = run_alone(asked, Choice(heads="1:1"), Scoring("magnitude"), RunOptions(margin=0.05), Reporter()).record
    (row,) = [row for row in record["rows"] if row["metric"] == "accuracy"]
    assert row["kept"]["margin"] == 0.05
    assert row["kept"]["low"] <= row["difference"] <= row["kept"]["high"]


def test_a_margin_of_a_metric_that_means_nothing_is_refused(setup, tmp_path):
    asked = setup(8, metric="matthews_correlation")
    (tmp_path / "own.csv").write_text("text,label,document\n" + "a film,positive,1\n" * 9)
    for margin in (None, 0.01):
        options = (asked, Choice(heads="1:1"), Scoring("magnitude"), RunOptions(margin=margin), Reporter())
        if margin is None:
            assert run_alone(*options).record["rows"][0]["base"] == 0
        else:
            with pytest.raises(DataError, match="must be defined on validation"):
                run_alone(*options)


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
@pytest.mark.parametrize(("n_groups", "n_units"), [(1, 1), (10, 10), (None, 80)])
def test_what_no_answer_changes_is_not_shown_by_few(metric, n_groups, n_units, setup):
    """z^2 / (n + z^2) to each side, of groups and of metrics that are no share, as of accuracy."""
    asked = setup(n_groups or 1, metric=metric, cluster_column=n_groups and "document")
    subject = load_subject(asked, Reporter())
    predictions = predictions_of(asked, subject, load_split(asked, subject, "validation", Reporter()), Reporter())
    base = predictions.answers(predictions.of(HeadMask(SHAPE)))
    found, z = predictions.kept_within(0.01, base, base, 0), 1.6448536
    assert (found["low"], found["high"]) == pytest.approx((-(z**2) / (n_units + z**2), z**2 / (n_units + z**2)))
    assert found["verdict"] == "open"


def test_areas_of_estimators_are_compared_by_groups(setup):
    """Of one group all resamples are alike."""
    record = compare_estimators(setup(1), Conditions(steps=3, score_examples=16), Reporter())
    for found in (line["area_difference"] for line in record["lines"]):
        assert (found["low"], found["high"]) == pytest.approx((found["value"],) * 2, abs=1e-12)


def test_few_groups_are_noted(setup):
    for n_groups in (1, 29, 30):
        reporter = Reporter()
        load_split(setup(n_groups), load_subject(setup(n_groups), Reporter()), "validation", reporter)
        said = f"validation: reliable intervals and tests need 30 groups of examples; got {n_groups}"
        assert (said in reporter.notes) == (n_groups < 30)


def test_a_group_that_is_missing_is_refused(setup, tmp_path):
    asked = setup(20)
    (tmp_path / "own.csv").write_text("text,label,document\na film,positive,1\na dog,negative,\n")
    with pytest.raises(DataError, match=r"own.csv row 2: document must say its group, got '"):
        load_task("own", own=asked.own).load("validation")
    split = load_task("own", own=asked.own, skip_invalid=True).load("validation")
    assert (len(split), len(split.left_out), split.groups) == (1, 1, ("1",))


def test_groups_of_rows_in_memory_must_be_there(checkpoint):
    rows = [{"text": WORDS[i % 4], "label": i % 2, "document": None if i == 3 else i // 10} for i in range(40)]
    with pytest.raises(DataError, match="example 4: document must say its group, got None"):
        Evaluator(str(checkpoint), rows, columns={"cluster": "document"})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "random", "blocks": "1", "margin": 0.01}, "--kind random must be without --blocks"),
        ({"kind": "pairs", "margin": 0.01}, "--kind pairs must be without --margin"),
    ],
)
def test_what_tables_of_several_heads_do_not_look_at_is_refused(given, said):
    with pytest.raises(OptionError, match=said):
        Ablation.of(given)
    assert Ablation.of({"kind": "pairs", "blocks": "1", "details": False}).blocks == ("1",)
    assert Ablation.of({"kind": "random", "details": False}).kind == "random"


def test_few_flips_are_said_of_metrics_that_are_no_share(setup):
    (found,) = ablate(setup(80, metric="f1", cluster_column=None), Ablation(), Reporter()).record["tables"]
    n_flips = np.add(*(np.array(found["changed"][side]) for side in ("to_right", "to_wrong")))
    assert found["together"]["few"] == f"fewer than 20 answers change for {(n_flips < 20).sum()} of 12 heads"


def test_intervals_of_groups_and_other_metrics_are_of_the_bootstrap(setup):
    asked = setup(20, metric="f1")
    subject = load_subject(asked, Reporter())
    predictions = predictions_of(asked, subject, load_split(asked, subject, "validation", Reporter()), Reporter())
    base, after = (predictions.answers(predictions.of(HeadMask.parse(heads, SHAPE))) for heads in ("", "1:1,2 3:1,2,3"))
    found = predictions.kept_within(0.1, base, after, 0)
    draws = np.random.default_rng(1)
    values = []
    for _ in range(4000):
        at = np.concatenate([np.flatnonzero(predictions.groups == g) for g in draws.integers(0, 20, 20)])
        one, two = (predictions.measure(each[at], predictions.references[at]) for each in (base, after))
        values.append(two - one)
    value, least = (predictions.measure(each, predictions.references) for each in (after, base))
    value, least = value - least, 1.6448536**2 / (20 + 1.6448536**2)
    low, high = np.quantile(values, [0.05, 0.95])
    expected = min(low, value - least), max(high, value + least)
    assert (found["low"], found["high"]) == pytest.approx(expected, abs=0.03)
