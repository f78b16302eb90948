"""The paper's tables and figures: the published numbers, and what is set beside them, from records alone."""

import pytest

from prune_heads.paper import published
from prune_heads.reporting.michel2019 import REPRODUCTIONS
from prune_heads.reporting.michel2019.orders import prunable_percent


def about(**more):
    return {
        "model": {"name": "m"},
        "task": "mnli",
        "headline": "accuracy",
        "configuration": {"dtype": "float32", "runs": 6},
        **more,
    }


def only_one(n_layers):
    """Head 2 is best where it is chosen, head 1 where it is measured."""
    best = [
        {
            "layer": layer,
            "head": 2,
            "chosen_on": "train",
            "chosen_examples": 50,
            "delta": -0.02,
            "low": -0.03,
            "high": -0.01,
            "best_here": {"head": 1, "delta": 0.01},
        }
        for layer in range(1, n_layers + 1)
    ]
    table = {
        "split": "validation_matched",
        "n_examples": 10,
        "base": 0.8,
        "low": [[-0.01, -0.03]] * n_layers,
        "high": [[0.02, -0.01]] * n_layers,
        "best": best,
    }
    return about(tables=[table])


def curve(values, task="mnli", criterion="gradient"):
    points = [
        {"split": "validation", "percent": 10 * i, "n_pruned": i, "value": value, "low": value, "high": value}
        for i, value in enumerate(values)
    ]
    line = {"criterion": criterion, "estimator": None, "rescored": False, "n_draws": 1, "points": points}
    return about(task=task, lines=[line | {"scored_on": "train"}])


def test_the_published_numbers_hang_together():
    there = published()
    assert [len(row) for row in there["table1"]["delta"]] == [16] * 6
    for layer, head in there["table1"]["significant"]:
        assert abs(there["table1"]["delta"][layer - 1][head - 1]) >= 0.15
    for whole, half, gain in zip(
        *(there["table4"][key] for key in ("original", "pruned_50", "gain_percent")), strict=True
    ):
        assert 100 * (half / whole - 1) == pytest.approx(gain, abs=0.8)
    assert len(there["table3"]["delta_pp"]) == len(there["table6"]["delta_pp"]) == 12
    assert all(
        six <= three
        for six, three in zip(there["table6"]["delta_pp"], there["table3"]["delta_pp"], strict=True)
    )
    ends = {name: values[-1] for name, values in there["replication"].items() if name != "heads"}
    assert ends == {
        "mnli_gradient": 0.3182,
        "mnli_oracle": 0.3182,
        "sst2_gradient": 0.5092,
        "cola_gradient": 0.0,
    }


def test_table_3_is_chosen_where_it_is_measured_and_table_6_elsewhere():
    records = {"only-one": [only_one(12)]}
    three, six = (REPRODUCTIONS[name].show(records).sheet for name in ("table3", "table6"))
    first, sixth = three.rows[0], six.rows[5]
    assert first[:4] == (1, -0.01, 1, 1.0)
    assert first[4] == (-1.0, 2.0)
    assert first[5] == pytest.approx(1.01)
    assert first[6] == pytest.approx((-0.99, 2.01))
    assert sixth[:4] == (6, -0.52, 2, -2.0)
    assert sixth[6] == pytest.approx((-2.48, -0.48))
    assert "chosen on validation_matched itself" in three.notes[0]
    assert "chosen on 50 examples of train" in six.notes[0]


def test_layers_of_models_of_other_depth_are_not_subtracted():
    sheet = REPRODUCTIONS["table3"].show({"only-one": [only_one(6)]}).sheet
    assert len(sheet.rows) == 12
    assert all(row[5] is row[6] is None for row in sheet.rows)
    assert [row[1] for row in sheet.rows] == published()["table3"]["delta_pp"]
    assert sheet.rows[11][2:] == (None,) * 5
    assert "different numbers of layers" in sheet.notes[-1]


@pytest.mark.parametrize(
    ("values", "percent"),
    [([0.8, 0.795, 0.79, 0.8], 10), ([0.8, 0.7], 0), ([0.8, 0.9, 0.8], 20), ([0.5], 0)],
)
def test_how_far_one_can_prune(values, percent):
    record = curve(values)
    assert prunable_percent(record, record["lines"][0]) == percent


def test_the_replication_stands_beside_the_nearest_share():
    sheet = REPRODUCTIONS["figure3"].show({"curve": [curve([0.8] * 11)]}).sheet
    replicated = {row[0]: row[2] for row in sheet.rows}
    assert replicated["0%"] is None
    assert replicated["10%"] == 0.8374
    assert replicated["50%"] == 0.8151
    assert replicated["100%"] == 0.3182


def test_figure_6_has_a_row_and_a_panel_a_task():
    shown = REPRODUCTIONS["figure6"].show({"curve": [curve([0.8, 0.7], task) for task in ("sst2", "other")]})
    assert [(row[0], row[4]) for row in shown.sheet.rows] == [("sst2", 60), ("other", None)]
    assert [axes.get_title() for axes in shown.figures[""].axes] == ["m on sst2", "m on other"]


def test_precision_is_said_where_it_is_reduced():
    record = only_one(2)
    record["configuration"]["dtype"] = "bfloat16"
    assert "Computed in bfloat16." in REPRODUCTIONS["table3"].show({"only-one": [record]}).sheet.notes


def test_figure_4_has_a_line_and_a_column_a_kind_of_attention():
    about_data = {"data": [{"n_examples": 9}], "scored_on": {"gradient": {"n_examples": 5}}}
    values = {"E": [0.9, 0.8], "A": [0.9, 0.1], "D": [0.9, 0.5]}
    records = {f"curve-{letter}": [curve(each) | about_data] for letter, each in values.items()}
    shown = REPRODUCTIONS["figure4"].show(records)
    assert shown.sheet.rows == (("0%", 0.9, 0.9, 0.9), ("10%", 0.8, 0.1, 0.5))
    assert [name[:1] for name in shown.sheet.heading[1:]] == ["E", "A", "D"]
    assert "on 9 examples of validation; importance is estimated on 5 of train" in shown.sheet.notes[0]
    (axes,) = shown.figures[""].axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn["encoder-decoder attention"] == [0.9, 0.1]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "encoder self-attention",
        "encoder-decoder attention",
        "decoder self-attention",
    ]
