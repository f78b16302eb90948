"""Figures of ablations show every head of their record."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from prune_heads.reporting.figures import save
from prune_heads.reporting.figures.heads import ablation_histogram, ablation_maps, ablation_scatter

RESULTS = Path(__file__).resolve().parents[2] / "results"
PLAIN, ALONE, HOLM = (0.002, 0.4, 1.0, 0.6), (-0.0148, 0.004, 0.02, 0.009), (-0.0321, 1e-9, 1e-8, 1e-8)
ROWS = [[PLAIN, ALONE, None], [HOLM, PLAIN]]
R = {"value": 0.812, "low": 0.7, "high": 0.9}
PAIR = {"first": "a", "second": "b", "n_heads": 4, "pearson": R, "spearman": R}
DRAWINGS = [ablation_maps, ablation_histogram, ablation_scatter]


@pytest.fixture
def record(ablations):
    return ablations([("a", ROWS), ("b", [[ALONE, HOLM, None], [PLAIN, PLAIN]])], correlations=[PAIR])


def colours_of(axes):
    """The colour of each cell that has a number, as red, green and blue."""
    (image,) = axes.images
    grid = image.get_array()
    return image.to_rgba(grid)[~np.ma.getmaskarray(grid) & ~np.isnan(grid.filled(np.nan))][:, :3]


@pytest.mark.parametrize("limit", [-2520, 372, 3])
def test_two_differences_never_share_a_colour_and_the_largest_is_not_cut_off(limit, ablations):
    """Told apart are a hundredth of the scale, which has 256 colours, also at its ends."""
    deltas = [limit * i / 100_000 for i in range(-10, 11)]
    deltas += [limit / 10_000 * share for share in (0.99, 0.98, -0.99, -0.98)]
    axes = ablation_maps(ablations([("a", [[(delta, 1.0, 1.0, 1.0) for delta in deltas]])])).axes[0]
    assert axes.images[0].get_clim() == pytest.approx((-abs(limit) / 100, abs(limit) / 100))
    assert len({tuple(colour) for colour in colours_of(axes)}) == len(deltas)


def test_the_two_strongest_heads_of_mnli_look_different():
    record = json.loads((RESULTS / "mnli-without-one" / "record.json").read_text())
    image = ablation_maps(record).axes[0].images[0]
    first, second = (image.to_rgba(100 * record["tables"][0]["delta"][layer][9])[:3] for layer in (2, 3))
    assert max(abs(a - b) for a, b in zip(first, second, strict=True)) > 0.2


@pytest.mark.slow
def test_a_png_is_small_and_keeps_the_colours_of_the_cells_and_of_their_scale(tmp_path):
    figure = ablation_maps(json.loads((RESULTS / "mnli-only-one" / "record.json").read_text()))
    save(figure, tmp_path, "x", ["png"])
    assert (tmp_path / "x.png").stat().st_size < 120_000
    with Image.open(tmp_path / "x.png") as picture:
        kept = np.array(picture.getpalette()).reshape(-1, 3) / 255
    scale = figure.axes[0].images[0].to_rgba(np.linspace(-30, 30, 61))[:, :3]
    for colours in (*map(colours_of, figure.axes[:2]), scale):
        assert np.abs(colours[:, None] - kept[None]).max(-1).min(1).max() < 0.05


@pytest.mark.parametrize("width", [2, 16, 17])
def test_the_scale_is_as_high_as_its_map_and_large_cells_carry_their_numbers(width, ablations):
    figure = ablation_maps(ablations([(split, [[ALONE] * width] * 3) for split in "ab"]))
    figure.draw_without_rendering()
    *maps, first, second = figure.axes
    for axes, bar in zip(maps, (first, second), strict=True):
        assert bar.get_position().height == pytest.approx(axes.get_position().height, rel=1e-6)
        assert bar.get_position().y0 == pytest.approx(axes.get_position().y0, rel=1e-6)
        assert len(axes.texts) == (3 * width if width <= 16 else 0)


def test_the_map_shows_every_difference_and_marks_the_significant(record):
    first, second, *_ = ablation_maps(record).axes
    assert (first.get_title(), second.get_title()) == ("a, n = 872", "b, n = 872")
    grid = first.images[0].get_array().filled(np.nan)
    assert np.allclose(grid, [[0.2, -1.48, np.nan], [-3.21, 0.2, np.nan]], equal_nan=True)
    assert first.images[0].norm(0.0) == 0.5  # white is no difference
    assert first.images[0].get_clim() == second.images[0].get_clim() == pytest.approx((-3.21, 3.21))
    assert [text.get_text() for text in first.texts] == ["+0.20", "-1.48", "-3.21", "+0.20"]
    (frame,) = [patch for patch in first.patches if isinstance(patch, Rectangle)]
    assert frame.get_bbox().contains(0, 1)


def test_a_map_of_no_difference_at_all_is_white(ablations):
    axes = ablation_maps(ablations([("a", [[(0.0, 1.0, 1.0, 1.0)] * 2])])).axes[0]
    assert np.allclose(axes.images[0].norm(axes.images[0].get_array()), 0.5)


@pytest.mark.parametrize("step", [1, 2, 7, 40])
def test_the_histogram_counts_every_head_once_and_the_base_is_inside_a_bin(step, ablations):
    deltas = np.arange(-30, 12) * step / 872
    record = ablations([("a", [[(float(delta), 1.0, 1.0, 1.0) for delta in deltas]])])
    axes = ablation_histogram(record).axes[0]
    assert sum(patch.get_height() for patch in axes.patches) == len(deltas)
    (around,) = [patch for patch in axes.patches if abs(patch.get_x() + patch.get_width() / 2 - 0.75) < 1e-9]
    counted = np.abs(deltas) < around.get_width() / 2
    assert around.get_height() == counted.sum()
    assert axes.lines[0].get_xdata()[0] == 0.75


def test_the_histogram_of_heads_that_change_nothing(ablations):
    axes = ablation_histogram(ablations([("a", [[(0.0, 1.0, 1.0, 1.0)] * 3])])).axes[0]
    assert [patch.get_height() for patch in axes.patches] == [3]


def test_the_scatter_shows_every_head_measured_on_both(record):
    axes = ablation_scatter(record).axes[0]
    points = {
        (round(float(x), 6), round(float(y), 6))
        for line in axes.lines
        if line.get_marker() == "o"
        for x, y in zip(*line.get_data(), strict=True)
        if x == x
    }
    assert points == {(0.2, -1.48), (-1.48, -3.21), (-3.21, 0.2), (0.2, 0.2)}
    assert "Pearson r 0.81 (95% interval 0.70 to 0.90)" in axes.get_title()
    measure = "difference in accuracy, points"
    assert (axes.get_xlabel(), axes.get_ylabel()) == (f"a:\n{measure}", f"b:\n{measure}")


@pytest.mark.parametrize("draw", DRAWINGS)
def test_the_same_record_gives_the_same_bytes(draw, record, tmp_path):
    for stem in "ab":
        save(draw(record), tmp_path, stem)
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert "nan" not in (tmp_path / "a.svg").read_text().lower()
