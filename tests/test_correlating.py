"""Series from files, and every pair of them."""

import json

import numpy as np
import pytest
import scipy.stats

from prune_heads.errors import LabelError, RunError
from prune_heads.heads import HeadScores
from prune_heads.progress import Reporter
from prune_heads.studies.correlating import correlate_files, read_series

DELTAS = [[-0.02, 0.01, None], [0.0, -0.3]]
OTHER = [[-0.01, 0.02, -0.5], [0.005, -0.1]]
SCORES = [[2.0, -1.0, 9.0], [0.5, 4.0]]
NLI = ["entailment", "neutral", "contradiction"]


@pytest.fixture
def ablation(tmp_path):
    """A function that writes what `prune-heads ablate --output` leaves."""

    def write(folder, splits, *, kind="without-one", metric="accuracy", labels=NLI, model="bert"):
        tables = [{"split": split, "kind": kind, "metric": metric, "delta": rows} for split, rows in splits.items()]
        about = {"name": model, "fingerprint": f"sha of {model}"}
        record = {"command": "ablate", "model": about, "labels": labels, "tables": tables}
        return write_json(tmp_path / folder / "record.json", record).parent

    return write


@pytest.fixture
def scores(tmp_path):
    """A function that writes what `prune-heads score --output` leaves."""

    def write(folder, rows, *, model="bert", **changes):
        about = {"name": model, "fingerprint": f"sha of {model}"}
        write_json(tmp_path / folder / "record.json", {"command": "score", "model": about})
        how = {"criterion": "gradient", "estimator": "example", "normalize": "none", "split": "train"}
        report = {**how, **HeadScores(tuple(rows)).to_json(), **changes}
        return write_json(tmp_path / folder / "scores.json", report).parent

    return write


def write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def paired(*paths):
    reporter = Reporter()
    return correlate_files(paths, reporter)["correlations"], reporter.notes


def test_a_table_is_a_series_and_so_is_a_file_of_scores(ablation, scores):
    folder = ablation("mine", {"matched": DELTAS, "mismatched": OTHER})
    series = correlate_files([folder, scores("grads", SCORES) / "scores.json"], Reporter())["series"]
    assert [tuple(each[key] for key in ("name", "source", "kind", "n_heads")) for each in series] == [
        ("bert matched without-one", "mine", "ablation", 4),
        ("bert mismatched without-one", "mine", "ablation", 5),
        ("gradient (example) on train", "grads/scores.json", "scores", 5),
    ]
    assert [each["values"] for each in series] == [DELTAS, OTHER, SCORES]
    assert read_series(folder / "record.json")[0]["values"] == DELTAS
    assert {each["fingerprint"] for each in series} == {"sha of bert"}
    json.dumps(series, allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"criterion": "magnitude", "estimator": None, "split": None}, "magnitude"),
        ({"criterion": "ablation", "estimator": None}, "ablation on train"),
        ({"normalize": "l2"}, "gradient (example, l2) on train"),
        ({"criterion": "magnitude", "estimator": None, "normalize": "l2", "split": None}, "magnitude (l2)"),
    ],
)
def test_scores_are_named_by_how_they_were_made(changes, name, scores):
    assert [series["name"] for series in read_series(scores("s", SCORES, **changes))] == [name]


def test_two_ablations_are_correlated_as_they_are(ablation):
    (pair,), notes = paired(ablation("mine", {"a": DELTAS}), ablation("yours", {"b": OTHER}))
    x, y = [-0.02, 0.01, 0.0, -0.3], [-0.01, 0.02, 0.005, -0.1]  # the third head is not measured on one side
    assert (pair["first"], pair["second"]) == ("bert a without-one", "bert b without-one")
    assert (pair["first_measure"], pair["second_measure"], pair["n_heads"]) == ("difference", "difference", 4)
    assert pair["pearson"]["value"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert pair["spearman"]["value"] == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert pair["pearson"]["low"] < pair["pearson"]["value"] < pair["pearson"]["high"]
    assert notes == []


@pytest.mark.parametrize("first", ["scores", "ablation"])
def test_beside_scores_a_difference_counts_as_a_loss(first, ablation, scores):
    paths = [scores("s", SCORES), ablation("a", {"a": DELTAS})]
    measures = ["score", "loss without the head"]
    (pair,), _ = paired(*(paths if first == "scores" else paths[::-1]))
    found = [pair["first_measure"], pair["second_measure"]]
    assert found == (measures if first == "scores" else measures[::-1])
    expected = np.corrcoef([2.0, -1.0, 0.5, 4.0], [0.02, -0.01, 0.0, 0.3])[0, 1]
    assert pair["pearson"]["value"] == pytest.approx(expected)


def test_of_a_head_alone_the_difference_itself_should_go_with_the_score(ablation, scores):
    (pair,), _ = paired(scores("s", SCORES), ablation("a", {"a": OTHER}, kind="only-one"))
    assert pair["second_measure"] == "difference with the head alone"
    flat = [value for row in OTHER for value in row]
    assert pair["pearson"]["value"] == pytest.approx(np.corrcoef([2, -1, 9, 0.5, 4], flat)[0, 1])


def test_every_pair_once_and_names_that_differ(ablation):
    folder = ablation("mine", {"a": DELTAS, "b": OTHER})
    pairs, _ = paired(folder, folder)
    names = ["bert a without-one", "bert b without-one", "bert a without-one (2)", "bert b without-one (2)"]
    assert [(pair["first"], pair["second"]) for pair in pairs] == [
        (names[i], names[j]) for i in range(4) for j in range(i + 1, 4)
    ]
    assert pairs[1]["pearson"]["value"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rows", "n_heads"), [([[0.1, None, 0.2], [None, 0.3]], 2), ([[0.1, 0.1, None], [0.1, 0.1]], 4)]
)
def test_what_is_undefined_is_none(rows, n_heads, ablation):
    (pair,), _ = paired(ablation("mine", {"a": DELTAS}), ablation("yours", {"b": rows}))
    nothing = {"value": None, "low": None, "high": None}
    assert (pair["n_heads"], pair["pearson"], pair["spearman"]) == (n_heads, nothing, nothing)


def test_other_models_are_noted_once_and_compared(ablation, scores):
    folders = [ablation(name, {"a": DELTAS}, model=name) for name in ("bert", "mine")]
    pairs, notes = paired(*folders, scores("s", SCORES, model="mine"))
    assert len(pairs) == 3
    assert [note.partition(" are of different models")[0] for note in notes] == [
        "bert a without-one and mine a without-one"
    ]


def test_a_file_of_scores_without_its_record_has_no_model(scores, ablation):
    folder = scores("s", SCORES)
    (folder / "record.json").unlink()
    (series,) = read_series(folder)
    assert (series["model"], series["fingerprint"]) == (None, None)
    assert paired(folder, ablation("a", {"a": DELTAS}))[1] == []


def test_series_that_cannot_be_compared(ablation, scores):
    mine = ablation("mine", {"a": DELTAS})
    with pytest.raises(RunError, match=r"same heads .*\(mine\) has \[3, 2\], .*\(s\) has \[2, 2\]"):
        paired(mine, scores("s", [[1.0, 2.0], [3.0, 4.0]]))
    with pytest.raises(LabelError, match=r"has contradiction, entailment, neutral, .* has negative, positive"):
        paired(mine, ablation("sst2", {"b": OTHER}, labels=["negative", "positive"]))
    with pytest.raises(LabelError, match=r"same labels .* has scores instead"):
        paired(mine, ablation("stsb", {"b": OTHER}, labels=None, metric="pearson"))
    with pytest.raises(RunError, match=r"same metric .* has accuracy, .* has f1"):
        paired(mine, ablation("f1", {"b": OTHER}, metric="f1"))
    assert paired(mine, ablation("order", {"b": OTHER}, labels=NLI[::-1]))[0]


NUMBERLESS = [None, "x", [], [[]], [["x"]], [[float("inf")]], [[float("nan")]], 3]


@pytest.mark.parametrize("rows", NUMBERLESS)
def test_damaged_numbers_are_refused(rows, ablation, scores):
    with pytest.raises(RunError, match=r"mine is damaged|delta\S* must be a finite number"):
        read_series(ablation("mine", {"a": rows}))
    with pytest.raises(RunError, match=r"s is damaged|scores\S* must be a finite number"):
        read_series(scores("s", SCORES, scores=rows))


@pytest.mark.parametrize("missing", ["model", "labels", "tables"])
def test_records_that_lack_something_are_refused(missing, ablation):
    file = ablation("mine", {"a": DELTAS}) / "record.json"
    record = json.loads(file.read_text())
    del record[missing]
    file.write_text(json.dumps(record))
    with pytest.raises(RunError, match=rf"mine is damaged \(KeyError: '{missing}'\)"):
        read_series(file.parent)


@pytest.mark.parametrize("other", ["pairs", "random"])
def test_ablations_of_several_heads_are_another_command(other, ablation):
    file = ablation("mine", {"a": DELTAS}) / "record.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({other: record.pop("tables"), **record}))
    with pytest.raises(RunError, match="mine is of another command"):
        read_series(file.parent)


def test_files_that_are_neither(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"ablate --output' or .*; empty holds no scores\.json and no record"):
        read_series(tmp_path / "empty")
    other = write_json(tmp_path / "evaluated" / "record.json", {"command": "evaluate"})
    with pytest.raises(RunError, match="evaluated is of another command"):
        read_series(other.parent)
    with pytest.raises(RunError, match=r"must be a readable file; got .*absent"):
        read_series(tmp_path / "absent")
    (tmp_path / "text").write_text("r = 0.81")
    with pytest.raises(RunError, match="must be a JSON file"):
        read_series(tmp_path / "text")


def test_old_records_hold_no_response(ablation):
    assert all("response" not in each for each in read_series(ablation("old", {"a": DELTAS})))


def test_responses_of_two_kinds_are_refused_and_pairs_differ_in_one_thing(ablation, scores):
    folder = ablation("mine", {"a": DELTAS, "b": OTHER})
    file = folder / "record.json"
    record = json.loads(file.read_text())
    for table in record["tables"]:
        table["likelihood"] = {"delta": [[-value for value in row] for row in OTHER]}
    file.write_text(json.dumps(record))
    pairs, _ = paired(folder, scores("s", SCORES))
    short = {"bert a without-one": "a", "bert b without-one": "b", "gradient (example) on train": "s"}
    short |= {f"{name}, log-likelihood": letter.upper() for name, letter in short.items() if letter != "s"}
    found = [short[pair["first"]] + short[pair["second"]] for pair in pairs]
    assert found == ["aA", "ab", "as", "AB", "As", "bB", "bs", "Bs"]
    assert pairs[found.index("bB")]["pearson"]["value"] == pytest.approx(-1)
    record["tables"][1] |= {"likelihood": None, "response": {"name": "mine", "unit": "points", "delta": DELTAS}}
    file.write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"same metric .* has log-likelihood of the right answer, .* has mine"):
        paired(folder)
