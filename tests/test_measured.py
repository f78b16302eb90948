"""What `python -m tests.measured` finds: the suite's numbers again, and rows of every size that is asked for."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def measured(monkeypatch):
    """The module as `python -m` finds it, from the root of the project."""
    monkeypatch.syspath_prepend(ROOT)
    spec = importlib.util.spec_from_file_location("measured", ROOT / "tests/measured.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("tests.null_trial", None)


@pytest.mark.thorough
def test_the_record_of_the_suite_is_found_again(measured):
    (row,) = measured.suite(["mini-paraphrase"])
    rows = json.loads((measured.RECORDS / "suite.json").read_text())["rows"]
    (there,) = [each for each in rows if each["task"] == "mini-paraphrase"]
    assert row.pop("delta") == [pytest.approx(each, abs=1e-9) for each in there.pop("delta")]
    assert row == pytest.approx(there)


def test_the_tables_are_those_of_the_records(measured):
    for name, table in measured.tables().items():
        assert (measured.RECORDS / f"{name}.md").read_text() == table.to_markdown()


def test_a_sweep_is_run_whole_before_it_is_timed(measured):
    rows = measured.sweep([3, 20])
    assert [(row["n_trials"], row["n_done"]) for row in rows] == [(3, 3), (20, 20)]
    assert all(row[f"{part}_seconds"] > 0 for row in rows for part in ("resolve", "trial", "status"))


@pytest.mark.thorough
def test_memory_is_of_the_process_that_scores(measured):
    (row,) = measured.memory([50])
    assert row["n_sentences"] == 50
    assert 100 < row["peak_mib"] < 8_000


@pytest.mark.slow
def test_orders_by_what_stands_in_are_those_of_evaluators(monkeypatch):
    """`mean` and `zero` by hand: the gradients of an Evaluator, ranked by scipy."""
    from scipy.stats import spearmanr

    from experiments.replacing import agreement
    from prune_heads import Evaluator
    from prune_heads.options import Setup

    rows = {row["replace"]: row for row in agreement(Setup("mini", "mini-inference"), 20)}
    assert list(rows) == ["mean", "position-mean", "resample"]
    of = {
        kind: Evaluator("mini", "mini-inference", split="train", max_examples=20, replace=kind).score("gradient")
        for kind in ("zero", "mean")
    }
    zero, mean = ([x for row in each.values for x in row] for each in of.values())
    assert rows["mean"]["spearman"]["value"] == pytest.approx(spearmanr(zero, mean).statistic, abs=1e-3)
    lower = [set(sorted(range(24), key=each.__getitem__)[:12]) for each in (zero, mean)]
    assert rows["mean"]["overlap"] == len(lower[0] & lower[1]) / 12


def test_a_command_that_fails_is_not_measured(measured):
    with pytest.raises(SystemExit, match="must end well; it ended with 2"):
        measured._ran("evaluate", "--max-examples", "none")
