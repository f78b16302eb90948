"""Tables and figures of a run say what its record says."""

import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from prune_heads.reporting.figures import save
from prune_heads.reporting.figures.curves import curve_figure
from prune_heads.reporting.figures.heads import heat_map
from prune_heads.reporting.figures.looks import LOOKS
from prune_heads.reporting.terminal import evaluation_table, run_page, run_report, score_table

SCORES = {
    "criterion": "gradient",
    "estimator": "example",
    "normalize": "none",
    "split": "train",
    "n_examples": 12,
    "blocks": [{"kind": "self", "stack": "encoder", "n_heads": n} for n in (3, 2)],
    "scores": [[0.031, 0.0072, 0.5], [0.02, 0.1]],
    "standard_error": None,
}
RECORD = {
    "model": {"name": "tiny"},
    "task": "mnli",
    "configuration": {"criterion": "gradient", "estimator": "example"},
    "scored_on": {"split": "train"},
    "headline": "accuracy",
    "mode": "remove",
    "n_heads": 5,
    "n_pruned": 2,
    "heads_pruned": ["1:2", "2:1"],
    "parameters": {"before": 1000, "pruned": 250},
    "data": [{"split": "validation_matched", "n_examples": 7}],
    "rows": [
        {
            "split": "validation_matched",
            "metric": "accuracy",
            "n_examples": 7,
            "base": 0.9,
            "pruned": 0.8,
            "difference": -0.1,
            "low": -0.2,
            "high": -0.05,
        }
    ],
    "curve": [
        {"split": "validation_matched", "percent": p, "n_pruned": p // 20, "accuracy": 0.9 - p / 200}
        for p in range(0, 101, 10)
    ],
    "seconds": {"load": 1.25, "score": 2.5},
}


def struck(axes):
    """Column and row of each cell with a stroke, which goes through its middle."""
    return {tuple(np.mean(line.get_data(), axis=1).round(9)) for line in axes.lines}


def test_scores_in_the_terminal_are_scaled_to_three_digits(rendered):
    text = rendered(score_table(SCORES))
    assert "in units of 1e-01" in text
    assert re.search(r"1 +0\.31 +0\.07 +5\.00", text)
    assert re.search(r"2 +0\.20 +1\.00", text)
    assert "12 examples of train" in text


def test_scores_near_zero_have_no_sign_and_say_what_ablation_scored_by(rendered):
    report = SCORES | {"criterion": "ablation", "estimator": None, "response": "likelihood"}
    text = rendered(score_table(report | {"scores": [[-1e-6, 0.007, 1.1], [0.02, -0.02]]}))
    assert "importance by ablation / likelihood" in text
    assert "-0.00" not in text
    assert "-0.02" in text
    title = heat_map(report).axes[0].get_title()
    assert title.startswith("importance by ablation (likelihood)")


@pytest.mark.parametrize("n_heads", [12, 16])
def test_a_real_model_fits_into_the_usual_widths(rendered, n_heads):
    blocks = [{"kind": "self", "stack": "encoder", "n_heads": n_heads}] * 12
    report = SCORES | {"scores": np.random.default_rng(0).random((12, n_heads)).tolist(), "blocks": blocks}
    text = rendered(score_table(report), width=80 if n_heads == 12 else 100)
    assert "…" not in text


def test_the_blocks_of_an_encoder_decoder_have_letters(rendered):
    kinds = [("self", "encoder"), ("cross", "decoder"), ("self", "decoder")]
    blocks = [{"kind": kind, "stack": stack, "n_heads": 2} for kind, stack in kinds]
    report = SCORES | {"scores": [[0.1, 0.2]] * 3, "blocks": blocks}
    lines = rendered(score_table(report, ["A:1:2"])).splitlines()
    assert [line.split()[0] for line in lines if ":" in line[:4]] == ["E:1", "A:1", "D:1"]
    axes = heat_map(report, ["A:1:2"]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["E:1", "A:1", "D:1"]
    assert struck(axes) == {(1, 1)}


def test_the_report_of_a_run_in_the_terminal(rendered):
    text = rendered(run_report(RECORD, SCORES))
    assert "tiny on mnli: 2 of 5 heads removed" in text
    assert re.search(r"validation_matched +accuracy +0\.9000 +0\.8000 +-0\.1000 +-0\.2000 to -0\.0500", text)
    assert "250 of 1,000 removed (25.0%)" in text
    assert "2 of 5: 1:2 2:1" in text
    assert re.search(r"100% +5 +0\.4000", text)
    assert "3.8 (load 1.2, score 2.5)" in text
    assert "…" not in text


def test_the_report_of_an_evaluation(rendered):
    report = {
        "task": "sst2",
        "split": "validation",
        "n_examples": 3,
        "metrics": {"accuracy": 1 / 3},
        "intervals": {"accuracy": [0.25, 0.5]},
        "heads_pruned": [],
    }
    assert "no head pruned" in rendered(evaluation_table(report))
    assert re.search(r"accuracy +0\.3333 +0\.2500 to 0\.5000", rendered(evaluation_table(report)))


def test_the_tables_in_markdown():
    text = run_page(RECORD).to_markdown()
    assert "| validation_matched | accuracy | 7 | 0.9000 | 0.8000 | -0.1000 | -0.2000 to -0.0500 |" in text
    assert "| 50% | 2 | 0.6500 |" in text
    assert text.endswith("1:2 2:1\n")
    assert "##" not in run_page(RECORD | {"curve": []}).to_markdown().replace("# tiny", "")


def test_the_heat_map_shows_every_score_and_crosses_the_pruned():
    axes = heat_map(SCORES, ["1:2", "2:1"]).axes[0]
    grid = axes.images[0].get_array()
    assert np.allclose(grid[0], SCORES["scores"][0])
    assert np.allclose(grid[1, :2], SCORES["scores"][1])
    assert np.isnan(grid[1].filled(np.nan)[2])
    assert [text.get_text() for text in axes.texts] == ["0.31", "0.07", "5.00", "0.20", "1.00"]
    assert struck(axes) == {(1, 0), (0, 1)}


def test_a_head_that_was_removed_before_has_no_colour():
    gone = {"n_heads": [3, 2], "heads_pruned": ["1:3"]}
    grid = heat_map(SCORES | {"gone": gone}).axes[0].images[0].get_array().filled(np.nan)
    assert np.isnan(grid).tolist() == [[False, False, True], [False, False, True]]


def test_a_curve_has_its_intervals_and_the_number_of_examples():
    axes = curve_figure(RECORD).axes[0]
    assert axes.get_title() == "tiny on MNLI: pruned by gradient (example)\nmatched, n = 7"
    (bars,) = [art for art in axes.collections if type(art).__name__ == "LineCollection"]
    low, high = bars.get_segments()[2][:, 1]  # of 5 of 7
    p, n, z = 0.8, 7, 1.96
    assert [abs(p - end) / np.sqrt(end * (1 - end) / n) for end in (low, high)] == pytest.approx([z, z])
    kept = [{**point, "low": 0.1, "high": 0.2} for point in RECORD["curve"]]
    (bars,) = curve_figure(RECORD | {"curve": kept}).axes[0].collections
    assert {tuple(ends[:, 1]) for ends in bars.get_segments()} == {(0.1, 0.2)}


def test_splits_are_shades_of_the_colour_of_their_criterion():
    also = [{**point, "split": "validation_mismatched"} for point in RECORD["curve"]]
    data = [*RECORD["data"], {"split": "validation_mismatched", "n_examples": 1009}]
    figure = curve_figure(RECORD | {"curve": [*RECORD["curve"], *also], "data": data})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["matched, n = 7", "mismatched, n = 1,009"]
    first, second = (line for line in figure.axes[0].lines if line.get_marker() in ("o", "s"))
    assert to_rgb(first.get_color()) == to_rgb(LOOKS["example"].colour) != to_rgb(second.get_color())


def test_the_curve_shows_every_point():
    line = curve_figure(RECORD).axes[0].lines[0]
    assert list(line.get_xdata()) == [0, 0, 20, 20, 40, 40, 60, 60, 80, 80, 100]  # of 5 heads
    assert np.allclose(line.get_ydata(), [0.9 - p / 200 for p in range(0, 101, 10)])


@pytest.mark.parametrize("draw", [lambda: heat_map(SCORES, ["1:2"]), lambda: curve_figure(RECORD)])
def test_the_same_record_gives_the_same_bytes(draw, tmp_path):
    for stem in "ab":
        save(draw(), tmp_path, stem)
    for kind in ("png", "svg"):
        first, second = ((tmp_path / f"{stem}.{kind}").read_bytes() for stem in "ab")
        assert first == second
        assert len(first) > 1000
