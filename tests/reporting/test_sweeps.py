"""The panels of a sweep, and the forms of its results."""

import csv
import io

import pytest

from prune_heads.reporting.figures import sweep_figure
from prune_heads.reporting.sweep_forms import results_csv, results_markdown, results_parquet, rows_of_parquet
from prune_heads.reporting.sweep_panels import panels


def row(task, criterion, n_pruned, seed, pruned, *, estimator=None, headline=True, model="m"):
    return {
        "trial": f"{task}{criterion}{n_pruned}{seed}{model}",
        "model": model,
        "task": task,
        "criterion": criterion,
        "estimator": estimator,
        "seed": seed,
        "n_pruned": n_pruned,
        "n_heads": 8,
        "split": "validation",
        "metric": "matthews_correlation" if headline else "accuracy",
        "n_examples": 10,
        "base": 0.5,
        "pruned": pruned,
        "difference": pruned - 0.5,
        "low": -0.1,
        "high": 0.1,
        "headline": headline,
    }


@pytest.fixture
def rows():
    return [
        row("b", "random", 4, 0, 0.2),
        row("b", "random", 4, 1, 0.4),
        row("b", "random", 0, 0, 0.5),
        row("a", "gradient", 2, 0, 0.25, estimator="fisher"),
        row("a", "gradient", 2, 0, 0.75, estimator="example"),
        row("a", "gradient", 2, 0, 0.9, estimator="example", headline=False),
    ]


def test_a_panel_a_task_and_a_line_for_what_else_varies(rows):
    first, second = panels(rows)
    assert (first.title, second.title) == ("a", "b")
    assert first.lines == {"gradient / example": {25.0: (0.75,)}, "gradient / fisher": {25.0: (0.25,)}}
    assert second.lines == {"random": {0.0: (0.5,), 50.0: (0.2, 0.4)}}
    assert first.metric == "matthews correlation"


def test_models_are_told_apart_only_where_there_are_several(rows):
    assert [p.title for p in panels([*rows, row("a", "random", 0, 0, 0.5, model="n")])] == [
        "a / m",
        "a / n",
        "b / m",
    ]


def test_the_order_of_the_trials_does_not_matter(rows):
    assert panels(rows[::-1]) == panels(rows)
    assert results_markdown("s", rows[::-1]) == results_markdown("s", rows)


def test_the_table_shows_the_mean_and_how_far_seeds_differ(rows):
    assert results_markdown("how far", rows).splitlines() == [
        "# how far",
        "",
        "Mean over 2 seeds, from the least to the most, of random.",
        "",
        "## a: matthews correlation, 10 examples",
        "",
        "| heads pruned | gradient / example | gradient / fisher |",
        "| --- | --- | --- |",
        "| 25% | 0.7500 | 0.2500 |",
        "",
        "## b: matthews correlation, 10 examples",
        "",
        "| heads pruned | random |",
        "| --- | --- |",
        "| 0% | 0.5000 |",
        "| 50% | 0.3000 (0.2000 to 0.4000) |",
    ]


def test_csv_and_parquet_hold_every_row_in_full(rows):
    assert rows_of_parquet(results_parquet(rows)) == rows
    read = list(csv.DictReader(io.StringIO(results_csv(rows))))
    assert [float(each["pruned"]) for each in read] == [each["pruned"] for each in rows]


def test_the_figure_has_the_lines_of_the_panels_and_their_bands(rows):
    left, right = sweep_figure("s", rows).axes
    assert [line.get_label() for line in left.lines] == ["gradient / example", "gradient / fisher"]
    (line,) = right.lines
    assert line.get_xydata().tolist() == [[0, 0.5], [50, pytest.approx(0.3)]]
    band = right.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.2, 0.5)


def test_a_line_has_the_same_colour_in_every_panel(rows):
    shown = sweep_figure("s", [*rows, row("a", "random", 0, 0, 0.5)])
    colours = {(line.get_label(), line.get_color()) for axes in shown.axes for line in axes.lines}
    assert len(colours) == len({label for label, _ in colours}) == 3
