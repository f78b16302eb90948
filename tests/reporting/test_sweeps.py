"""The panels of a sweep, and the forms of its results."""

import csv
import io

import pytest
from pyarrow import BufferReader, parquet

from prune_heads.reporting.figures.curves import sweep_figure
from prune_heads.reporting.sweep import results_parquet
from prune_heads.reporting.sweep_results import panels, result_rows, results_page, seeds_sentence
from prune_heads.visible import csv_of


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
    assert [p.title for p in panels([*rows, row("a", "random", 0, 0, 0.5, model="n")])] == ["a / m", "a / n", "b / m"]


def test_the_order_of_the_trials_does_not_matter(rows):
    assert panels(rows[::-1]) == panels(rows)
    assert results_page("s", rows[::-1]) == results_page("s", rows)


def test_the_table_shows_the_mean_and_how_far_seeds_differ(rows):
    assert results_page("how far", rows).to_markdown().splitlines() == [
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
    assert parquet.read_table(BufferReader(results_parquet(rows))).to_pylist() == rows
    read = list(csv.DictReader(io.StringIO(csv_of(rows))))
    assert [float(each["pruned"]) for each in read] == [each["pruned"] for each in rows]


def test_the_figure_has_the_lines_of_the_panels_and_their_bands(rows):
    left, right = sweep_figure("s", rows).axes
    assert [line.get_label() for line in left.lines] == ["gradient / example", "gradient / fisher"]
    (line,) = right.lines
    assert line.get_xydata().tolist() == [[0, 0.5], [50, pytest.approx(0.3)]]
    band = right.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.2, 0.5)


def test_a_line_of_single_trials_has_bars_and_every_panel_its_number_of_examples(rows):
    left, right = sweep_figure("s", rows).axes
    assert (left.get_title(), right.get_title()) == ("a\nn = 10", "b\nn = 10")
    bars = [art for art in left.collections if type(art).__name__ == "LineCollection"]
    assert [art.get_segments()[0][:, 1].tolist() for art in bars] == [[0.4, 0.6]] * 2  # around the whole model's 0.5
    assert len(right.collections) == 1


def test_a_line_that_lies_on_another_does_not_hide_it():
    same = [row("a", criterion, n, 0, 0.5) for criterion in ("gradient", "random") for n in (0, 4)]
    first, second = sweep_figure("s", same).axes[0].lines
    assert first.get_ydata().tolist() == second.get_ydata().tolist()
    assert (first.get_linestyle(), second.get_linestyle()) == ("-", "--")
    assert first.get_markersize() > second.get_markersize()


def test_a_line_has_the_same_colour_in_every_panel(rows):
    shown = sweep_figure("s", [*rows, row("a", "random", 0, 0, 0.5)])
    colours = {(line.get_label(), line.get_color()) for axes in shown.axes for line in axes.lines}
    assert len(colours) == len({label for label, _ in colours}) == 3


def with_options(rows, **options):
    return [{**row, **options} for row in rows]


def test_numbers_come_with_their_option_and_texts_where_they_would_meet():
    base = row("a", "gradient", 2, 0, 0.5)
    none = {"max_examples": None, "score_examples": None}
    rows = [{**base, **none, "max_examples": 100}, {**base, **none, "score_examples": 100, "pruned": 0.25}]
    (panel,) = panels(rows)
    assert panel.lines == {"max_examples 100": {25.0: (0.5,)}, "score_examples 100": {25.0: (0.25,)}}
    rows = [{**base, "split_a": "x", "split_b": None}, {**base, "split_a": None, "split_b": "x", "pruned": 0.25}]
    (panel,) = panels(rows)
    assert panel.lines == {"split_a x": {25.0: (0.5,)}, "split_b x": {25.0: (0.25,)}}


def test_heads_that_are_named_are_no_seeds(rows):
    named = [{**row("a", "gradient", 1, 0, value), "heads": heads} for heads, value in (("1:1", 0.2), ("1:2", 0.4))]
    (panel,) = panels(named)
    assert panel.lines == {"1:1": {12.5: (0.2,)}, "1:2": {12.5: (0.4,)}}
    assert seeds_sentence(named) == ""


def test_two_ways_to_ask_for_as_many_heads_are_one_point():
    twice = [{**row("a", "gradient", 2, 0, 0.5), "fraction": fraction} for fraction in (0.25, 0.26)]
    assert panels(twice)[0].lines == {"": {25.0: (0.5,)}}


def test_data_or_a_model_that_has_changed_in_between_is_another_panel(rows):
    first, second = (
        with_options([row("a", "gradient", 2, 0, v)], data_fingerprint=f) for v, f in ((0.1, "x"), (0.3, "y"))
    )
    assert [(p.title, *p.lines.values()) for p in panels(first + second)] == [
        ("a / data_fingerprint x", {25.0: (0.1,)}),
        ("a / data_fingerprint y", {25.0: (0.3,)}),
    ]
    first, second = (
        with_options([row("a", "gradient", 2, 0, v)], scored_fingerprint=f) for v, f in ((0.1, "x"), (0.3, "y"))
    )
    (panel,) = panels(first + second)
    assert sorted(panel.lines.values(), key=str) == [{25.0: (0.1,)}, {25.0: (0.3,)}]


def test_a_data_folder_is_said_where_it_tells_apart(rows):
    """Of tasks that each have their own it goes without saying; of one task it is in the title, or names lines."""
    own = [{**each, "data_dir": each["task"]} for each in rows]
    assert [(p.title, list(p.lines)) for p in panels(own)] == [(p.title, list(p.lines)) for p in panels(rows)]
    base = row("a", "gradient", 2, 0, 0.5)
    two = [{**base, "data_dir": d, "n_examples": n} for d, n in (("x/d", 10), ("y/d", 20))]
    assert [p.title for p in panels(two)] == ["a / data_dir x/d", "a / data_dir y/d"]
    scored = [{**base, "data_dir": d} for d in ("x/d", "y/d")]  # the same to report on
    assert list(panels(scored)[0].lines) == ["x/d", "y/d"]


def test_seeds_are_said_of_the_lines_that_have_some():
    drawn = [row("a", "random", 4, seed, 0.2) for seed in range(3)]
    assert seeds_sentence(drawn) == "mean over 3 seeds, from the least to the most"
    both = [*drawn, row("a", "magnitude", 4, 0, 0.2)]
    assert seeds_sentence(both) == "mean over 3 seeds, from the least to the most, of random"
    more = [*both, *(row("b", "random", 4, seed, 0.2) for seed in range(2))]
    assert seeds_sentence(more) == "mean over 2 to 3 seeds, from the least to the most, of random"


def of(*records):
    """The rows of trials with these records."""
    done = {f"{i}": record for i, record in enumerate(records)}
    return list(result_rows(["model", "data_dir", "seed"], done))


def record(model="m", shown=None, seed=0, fingerprint="f" * 64, data_dir=None, criterion="random"):
    chosen = {"criterion": criterion, "heads": None, "curve": False}
    found = {"metric": "accuracy", "n_examples": 1, "base": 0, "pruned": 0, "difference": 0, "low": 0, "high": 0}
    return {
        "trial": {"values": {"model": model, "task": "t", "data_dir": data_dir, "seed": seed, **chosen}},
        "configuration": {"data_dir": data_dir and data_dir.rpartition("/")[2]},
        "model": {"name": shown or model.rpartition("/")[2], "fingerprint": fingerprint},
        "data": [{"split": "s", "fingerprint": "d" * 64}],
        "scored_on": None,
        **{"n_pruned": 0, "n_heads": 1, "headline": "accuracy", "rows": [{"split": "s", **found}]},
    }


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (["a/c", "b/c", "d"], ["a/c", "b/c", "d"]),
        (["x/a/c", "y/a/c", "y/b/c"], ["x/a/c", "y/a/c", "b/c"]),
        (["c", "../c"], ["c", "../c"]),
        (["/r/a/c", "/s/a/c/", "z/b"], ["r/a/c", "s/a/c", "b"]),
        (["a/c", "./a/c", "a//c/"], ["c", "c", "c"]),
        (["./a/c", "a/x", "q/a/c"], ["a/c", "x", "q/a/c"]),
    ],
)
def test_names_that_meet_are_shown_with_as_much_of_their_path_as_tells_them_apart(written, shown):
    names = [each.rstrip("/").rpartition("/")[2] for each in written]
    models = (record(model=each, shown=name) for each, name in zip(written, names, strict=True))
    assert [row["model"] for row in of(*models)] == shown
    folders = [record(data_dir=each.rstrip("/")) for each in written]
    assert [row["data_dir"] for row in of(*folders)] == shown


def test_one_path_with_other_weights_is_another_model():
    rows = of(record("a/c", fingerprint="1" * 64), record("a/c", fingerprint="2" * 64), record("a/d"))
    assert [each["model"] for each in rows] == ["c (111111111111)", "c (222222222222)", "d"]


def test_a_folder_that_ran_every_seed_is_counted_once_where_nothing_is_drawn():
    for criterion, seeds in (("random", [2, 1, 3]), ("magnitude", [1])):
        assert [each["seed"] for each in of(*(record(seed=seed, criterion=criterion) for seed in (2, 1, 3)))] == seeds
