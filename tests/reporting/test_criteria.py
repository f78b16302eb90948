"""Curves of several criteria, as tables and as a figure."""

import csv
import io
import re

import numpy as np
import pytest

from prune_heads.reporting.curves import Line, curve_csv, curve_page
from prune_heads.reporting.figures import save
from prune_heads.reporting.figures.curves import criteria_figure

SPLITS = ("validation_matched", "validation_mismatched")


def line(criterion, drop, **more):
    points = [
        {
            "split": split,
            "percent": percent,
            "n_pruned": percent // 10,
            "value": 0.9 - drop * percent / 300,
            "low": 0.8 - drop * percent / 300,
            "high": 0.95 - drop * percent / 300,
            "heads_pruned": None,
        }
        for split in SPLITS
        for percent in range(0, 101, 10)
    ]
    plain = {"estimator": None, "rescored": False, "n_draws": 1, "scored_on": None}
    areas = {split: 0.9 - drop / 6 for split in SPLITS}
    return {"criterion": criterion, **plain, "areas": areas, "points": points, **more}


RECORD = {
    "command": "curve",
    "model": {"name": "tiny"},
    "task": "mnli",
    "headline": "accuracy",
    "data": [{"split": "validation_matched", "n_examples": 9815}],
    "lines": [
        line("gradient", 0.2, estimator="example", scored_on="train"),
        line("gradient", 0.1, estimator="example", scored_on="train", rescored=True),
        line("ablation", 0.3, scored_on="validation_matched"),
        line("magnitude", 0.5),
        line("random", 0.9, n_draws=20),
    ],
    "correlations": [
        {
            "first": "gradient",
            "second": "ablation",
            "n_heads": 24,
            "pearson": {"value": 0.632, "low": 0.307, "high": 0.825},
            "spearman": {"value": None, "low": None, "high": None},
        }
    ],
}
NAMES = ["gradient (example)", "gradient (example), re-scored", "ablation (oracle)", "magnitude", "random (20 draws)"]


def test_the_table_in_the_terminal_fits_and_ends_with_the_area(rendered):
    text = rendered(curve_page(RECORD))
    assert "…" not in text
    for split in SPLITS:
        assert f"\n{split}\n" in text
    assert re.search(r"50% +5 +0\.8667 +0\.8833 +0\.8500 +0\.8167 +0\.7500", text)
    assert len(re.findall(r"area +0\.8667 +0\.8833 +0\.8500 +0\.8167 +0\.7500", text)) == 2


def test_the_tables_in_markdown():
    text = curve_page(RECORD).to_markdown()
    assert f"| pruned | heads | {' | '.join(NAMES)} |" in text
    assert "ablation (matched)" in text.partition("mismatched")[2]  # an oracle of the other split
    assert "| 100% | 10 | 0.8333 | 0.8667 | 0.8000 | 0.7333 | 0.6000 |" in text
    assert "| area |  | 0.8667 | 0.8833 | 0.8500 | 0.8167 | 0.7500 |" in text


def test_how_scores_agree_stands_below(rendered):
    row = ("gradient and ablation", "24", "0.63 (0.31 to 0.82)", "undefined (one side is constant)")
    assert f"| {' | '.join(row)} |" in curve_page(RECORD).to_markdown()
    assert re.search(" +".join(map(re.escape, row)), rendered(curve_page(RECORD), 100))
    none = RECORD | {"correlations": []}
    assert "correlation" not in (rendered(curve_page(none)) + curve_page(none).to_markdown()).lower()


def test_a_line_without_a_point_leaves_its_cell_empty(rendered):
    short = RECORD["lines"][0] | {"points": RECORD["lines"][0]["points"][:1]}
    record = RECORD | {"lines": [short, RECORD["lines"][3]]}
    assert "| 50% | 5 |  | 0.8167 |" in curve_page(record).to_markdown()
    assert "None" not in rendered(curve_page(record))


def test_csv_reads_back_exactly():
    rows = list(csv.DictReader(io.StringIO(curve_csv(RECORD))))
    points = [point for one in RECORD["lines"] for point in one["points"]]
    assert [float(row["value"]) for row in rows] == [point["value"] for point in points]
    assert [float(row["low"]) for row in rows] == [point["low"] for point in points]
    assert [row["split"] for row in rows] == [point["split"] for point in points]
    assert (rows[-1]["criterion"], rows[-1]["n_draws"], rows[-1]["estimator"]) == ("random", "20", "")


def test_the_figure_has_a_panel_a_split_a_line_a_criterion_and_a_band():
    panels = criteria_figure(RECORD).axes
    assert [axes.get_title() for axes in panels] == ["matched, n = 9,815", "mismatched"]  # not said of the second one
    for axes in panels:
        drawn = {one.get_label(): one for one in axes.lines}
        assert set(NAMES) - {"ablation (oracle)"} < set(drawn)
        for name, one in zip(NAMES, RECORD["lines"], strict=True):
            if name in drawn:
                assert np.allclose(drawn[name].get_ydata(), [point["value"] for point in one["points"][:11]])
    (band,) = [art for art in panels[0].collections if type(art).__name__ == "FillBetweenPolyCollection"]
    y = band.get_paths()[0].vertices[:, 1]
    random = RECORD["lines"][-1]["points"][:11]
    assert y.min() == pytest.approx(min(point["low"] for point in random))
    assert y.max() == pytest.approx(max(point["high"] for point in random))


@pytest.mark.parametrize(
    ("record", "counts", "places"),
    [
        ({}, [0, 2, 24], [0, 100 / 12, 100]),
        ({}, [6, 6, 24], [25, 25, 100]),
        ({"n_heads": 48}, [0, 2, 24], [0, 100 / 24, 50]),
        ({"configuration": {"blocks": ["E"]}}, [3, 4, 7], [0, 25, 100]),
    ],
    ids=["10% of 24 is 2", "some are gone before", "it ends early", "of one kind"],
)
def test_a_point_stands_at_the_share_of_the_heads_that_are_gone(record, counts, places):
    points = [{"split": "a", "percent": i, "n_pruned": n} for i, n in enumerate(counts)]
    assert Line(record, {"points": points}, "a").shares == pytest.approx(places)


def test_the_figure_speaks_of_a_band_only_where_one_is_drawn():
    assert "band" in criteria_figure(RECORD).legends[0].get_title().get_text()
    alone = criteria_figure({**RECORD, "lines": RECORD["lines"][:1]})
    assert "band" not in alone.get_supxlabel()
    assert "interval" in alone.get_supxlabel()


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        (["E"], "heads of blocks E pruned"),
        (["3"], "heads of block 3 pruned"),
        (["E:1", "A"], "heads of blocks E:1, A pruned"),
    ],
)
def test_table_and_figure_say_of_which_blocks_the_heads_are(blocks, said):
    record = RECORD | {"configuration": {"blocks": blocks}}
    assert f"accuracy by {said}, lowest score first" in curve_page(record).to_markdown()
    assert {axes.get_xlabel() for axes in criteria_figure(record).axes} == {f"{said} (%), lowest score first"}
    assert "by heads pruned, lowest" in curve_page(RECORD).to_markdown()


def test_the_same_curves_give_the_same_bytes(tmp_path):
    for stem in "ab":
        save(criteria_figure(RECORD), tmp_path, stem)
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
