"""What wins back the loss of pruning, and what head dropout does to the curve: by hand on the built-in model."""

from dataclasses import replace

import pytest

from experiments import head_dropout, recovery
from prune_heads.evaluator import Evaluator
from prune_heads.options import Setup
from prune_heads.statistics import area_under_curve
from prune_heads.surgery import removed_heads
from tests.measured import dropout_table, recovery_table

pytestmark = pytest.mark.thorough
SETUP = Setup("mini", "mini-sentiment", max_examples=60, device="cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    return work, list(recovery.won_back(SETUP, work, shares=(0.5,)))


def test_each_way_is_measured_as_it_was_saved(made):
    work, rows = made
    assert [(row["share"], row["way"]) for row in rows] == [(0, "epoch"), *((0.5, way) for way in recovery.WAYS)]
    base = Evaluator("mini", "mini-sentiment", max_examples=60).evaluate().metrics["accuracy"]
    folders = [next(work.glob(f"*-{row['share']:g}-{row['way']}")) for row in rows]
    for row, folder in zip(rows, folders, strict=True):
        found = Evaluator(str(folder), "mini-sentiment", max_examples=60)
        assert row["value"] == found.evaluate().metrics["accuracy"]
        assert row["difference"] == pytest.approx(row["value"] - base)
        assert row["low"] <= row["difference"] <= row["high"]
        assert len(removed_heads(found.model)) == row["n_pruned"] == (12 if row["share"] else 0)
    weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert len({*weights}) == len(weights)


def test_what_was_made_is_not_made_again(made, monkeypatch):
    work, rows = made
    monkeypatch.setattr(recovery, "finetune_into", None)
    monkeypatch.setattr(recovery, "_write", None)
    assert list(recovery.won_back(SETUP, work, shares=(0.5,))) == rows


def test_the_table_of_ways(made):
    text = recovery_table(made[1]).to_markdown()
    assert text.startswith("| model | metric | heads gone | nothing | mean | rescale | epoch | distilled |")
    whole, half = made[1][0], made[1][1]
    assert f"| 0% |  |  |  | {100 * whole['difference']:+.2f} (" in text
    assert f"| 50% | {100 * half['difference']:+.2f} ({100 * half['low']:+.2f} to {100 * half['high']:+.2f}) |" in text


def test_a_curve_is_that_of_an_evaluator(made):
    other = replace(SETUP, model=str(next(made[0].glob("*-0-epoch"))))
    *rows, mean = head_dropout.flatter([(SETUP, SETUP), (SETUP, other)])
    assert rows[0]["without"] == rows[0]["with"] == rows[1]["without"]
    assert mean["n_seeds"] == 2
    for side, setup in (("without", SETUP), ("with", other)):
        model = Evaluator(setup.model, "mini-sentiment", max_examples=60)
        scores = Evaluator(setup.model, "mini-sentiment", split="train", max_examples=1_000).score("gradient")
        order = sorted(((value, (i, j)) for i, row in enumerate(scores.values) for j, value in enumerate(row)))
        values = [
            model.evaluate([f"{i + 1}:{j + 1}" for _, (i, j) in order[:n]]).metrics["accuracy"]
            for n in rows[1]["n_pruned"]
        ]
        area = area_under_curve(rows[1]["n_pruned"], values)
        assert rows[1][side] == pytest.approx({"whole": values[0], "area": area, "flatness": area - values[0]})
    for part, of in mean["difference"].items():
        assert of["value"] == pytest.approx((rows[1]["with"][part] - rows[1]["without"][part]) / 2)
        assert of["low"] <= of["value"] <= of["high"]
    assert "| mean difference of 2 |" in dropout_table([*rows, mean]).to_markdown()
