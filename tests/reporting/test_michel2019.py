"""The paper's tables and figures: the published numbers, and what is set beside them, from records alone."""

import json
import re
from pathlib import Path

import pytest

from prune_heads.paper import published
from prune_heads.reporting.michel2019 import REPRODUCTIONS
from prune_heads.tables import Cell

RECORDS = Path(__file__).resolve().parents[2] / "results" / "michel2019" / "records"


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
            "p_value": 0.2,
            "best_here": {"head": 1, "delta": 0.01},
        }
        for layer in range(1, n_layers + 1)
    ]
    table = {
        "split": "validation_matched",
        "n_examples": 10,
        "base": 0.8,
        "blocks": [{"kind": "self", "stack": "encoder", "n_heads": 2}] * n_layers,
        "value": [[0.81, 0.78]] * n_layers,
        "delta": [[0.01, -0.02]] * n_layers,
        "low": [[-0.01, -0.03]] * n_layers,
        "high": [[0.02, -0.01]] * n_layers,
        "p_value": [[0.5, 0.001]] * n_layers,
        "p_adjusted": {},
        "alpha": 0.01,
        "test": "exact McNemar",
        "best": best,
    }
    return about(tables=[table])


def of_translation(record):
    """The same, said to be of what was written."""
    return record | {"task": "wmt14-en-fr", "headline": "bleu", "translation": {}}


def kept_of_translation(n_layers):
    """Head 3 of each layer, where p is less than 0.01 in A alone; worse by a point on the second split."""
    names = [f"{kind}:{layer}" for kind in "EAD" for layer in range(1, n_layers + 1)]
    base = {"n_examples": 9, "base": 0.36, "alpha": 0.01, "test": "paired bootstrap"}
    rows = [
        [
            {"layer": name, "head": 3, "delta": delta, "low": delta - 0.01, "high": delta + 0.01}
            | {"p_value": 0.001 if name[0] == "A" else 0.2, "chosen_on": "validation", "chosen_examples": 9}
            | {"best_here": {"head": 3, "delta": delta}}
            for name in names
        ]
        for delta in (-0.01, -0.02)
    ]
    kinds = [("self", "encoder"), ("cross", "decoder"), ("self", "decoder")]
    blocks = [{"kind": kind, "stack": stack, "n_heads": 3} for kind, stack in kinds for _ in range(n_layers)]
    tables = [
        base
        | {"split": split, "best": best, "blocks": blocks, "p_adjusted": {}}
        | {key: [[None, None, row[key]] for row in best] for key in ("delta", "low", "high", "p_value")}
        | {"value": [[None, None, 0.36 + row["delta"]] for row in best]}
        for split, best in zip(("validation", "test"), rows, strict=True)
    ]
    return of_translation(about(tables=tables))


def masked_of_translation():
    """Two layers of two heads of each kind; what a head makes depends on its kind and on the split."""
    kinds = [("self", "encoder"), ("cross", "decoder"), ("self", "decoder")]
    blocks = [{"kind": kind, "stack": stack, "n_heads": 2} for kind, stack in kinds for _ in range(2)]
    encoder = [[-0.01, 0.02], [0.0, -0.03]]
    grids = {
        "validation": [*encoder, *[[-0.2, -0.1]] * 4],
        "mismatched": [*([-delta for delta in row] for row in encoder), *[[-0.2, -0.1]] * 4],
    }
    p_values = [[0.5, 0.001], [0.5, 0.5], *[[0.001, 0.001]] * 4]
    tables = [
        {"split": split, "n_examples": 9, "base": 0.36, "alpha": 0.01, "test": "paired bootstrap", "blocks": blocks}
        | {"delta": grid, "low": grid, "high": grid, "p_value": p_values}
        | {"value": [[0.36 + delta for delta in row] for row in grid], "p_adjusted": {}}
        for split, grid in grids.items()
    ]
    pair = {"first": "validation", "second": "mismatched", "n_heads": 12}
    agreement = {"value": 0.9, "low": 0.8, "high": 0.95}
    correlations = [pair | {"pearson": agreement, "spearman": agreement}]
    return of_translation(about(kind="without-one", tables=tables, correlations=correlations))


def curve(values, task="mnli", criterion="gradient"):
    points = [
        {"split": "validation", "percent": 10 * i, "n_pruned": i, "value": value, "low": value, "high": value}
        for i, value in enumerate(values)
    ]
    line = {"criterion": criterion, "estimator": None, "rescored": False, "n_draws": 1, "points": points}
    areas = {"validation": sum(values) / len(values)}
    return about(task=task, lines=[line | {"scored_on": "train", "areas": areas}])


def test_the_published_numbers_hang_together():
    there = published()
    assert [len(row) for row in there["table1"]["delta"]] == [16] * 6
    for layer, head in there["table1"]["significant"]:
        assert abs(there["table1"]["delta"][layer - 1][head - 1]) >= 0.15
    for whole, half, gain in zip(
        *(there["table4"][key] for key in ("original", "pruned_50", "gain_percent")), strict=True
    ):
        assert 100 * (half / whole - 1) == pytest.approx(gain, abs=0.8)
    assert len(there["table3"]["delta"][""]) == len(there["table6"]["delta"][""]) == 12
    assert all(
        six <= three for six, three in zip(there["table6"]["delta"][""], there["table3"]["delta"][""], strict=True)
    )
    ends = {name: values[-1] for name, values in there["replication"].items() if name != "heads"}
    assert ends == {"mnli_gradient": 0.3182, "mnli_oracle": 0.3182, "sst2_gradient": 0.5092, "cola_gradient": 0.0}


def test_table_3_is_chosen_where_it_is_measured_and_table_6_elsewhere():
    records = {"only-one": [only_one(12)]}
    three, six = (REPRODUCTIONS[name].show(records).table for name in ("table3", "table6"))
    first, sixth = three.rows[0], six.rows[5]
    assert first[:4] == (1, Cell(-0.01), 1, Cell(1.0))
    assert first[4] == (-1.0, 2.0)
    assert first[5] == pytest.approx(1.01)
    assert first[6] == pytest.approx((-0.99, 2.01))
    assert sixth[:4] == (6, Cell(-0.52), 2, Cell(-2.0))
    assert sixth[6] == pytest.approx((-2.48, -0.48))
    assert "chosen on validation_matched itself" in three.notes[0]
    assert "chosen on 50 examples of train" in six.notes[0]


def test_layers_of_models_of_other_depth_are_not_subtracted():
    table = REPRODUCTIONS["table3"].show({"only-one": [only_one(6)]}).table
    assert len(table.rows) == 12
    assert all(row[5] is row[6] is None for row in table.rows)
    assert [row[1].value for row in table.rows] == published()["table3"]["delta"][""]
    assert table.rows[11][2:] == (None,) * 5
    assert "different numbers of layers" in table.notes[-1]


def test_published_numbers_of_another_task_are_not_subtracted():
    table = REPRODUCTIONS["table6"].show({"only-one": [only_one(12) | {"task": "sst2"}]}).table
    assert [row[1].value for row in table.rows] == published()["table6"]["delta"][""]
    assert all(row[3] == Cell(-2.0) and row[5] is row[6] is None for row in table.rows)
    assert "of another task" in table.notes[-1]


def test_of_several_models_the_published_rows_stand_beside_the_one_of_their_task():
    records = [only_one(12), only_one(6) | {"task": "sst2", "model": {"name": "n"}}]
    table = REPRODUCTIONS["table3"].show({"only-one": records}).table
    assert table.heading[:3] == ("subject", "layer", "published")
    assert [row[0] for row in table.rows] == ["m on mnli"] * 12 + ["n on sst2"] * 6
    assert [row[2].value for row in table.rows[:12]] == published()["table3"]["delta"][""]
    assert table.rows[0][6] == pytest.approx(1.01)
    assert {row[2] for row in table.rows[12:]} == {row[6] for row in table.rows[12:]} == {None}
    assert [note.partition(":")[0] for note in table.notes[:2]] == ["m on mnli", "n on sst2"]
    assert not any("subtracted" in note for note in table.notes)


def test_tables_2_and_5_are_of_the_first_and_the_last_split():
    records = {"only-one": [kept_of_translation(6)]}
    two, five = (REPRODUCTIONS[name].show(records).table for name in ("table2", "table5"))
    there = published()
    assert [row[:2] for row in two.rows] == [(kind, layer) for kind in "EAD" for layer in range(1, 7)]
    assert two.rows[0][:5] == ("E", 1, Cell(-1.31, "*"), 3, Cell(-1.0))
    assert two.rows[11][:5] == ("A", 6, Cell(-13.56, "*"), 3, Cell(-1.0, "*"))
    assert two.rows[0][6] == pytest.approx(0.31)
    assert two.rows[0][7] == pytest.approx((-0.69, 1.31))
    assert [row[2] for row in five.rows] == [value for kind in "EAD" for value in there["table5"]["delta"][kind]]
    assert [row[4] for row in five.rows] == [Cell(-2.0, "*" if row[0] == "A" else "") for row in five.rows]
    assert any("of the published ones it is not known" in note for note in five.notes)
    assert "of validation (without a mask: 36.00); the head was chosen on validation itself" in two.notes[0]
    assert "of test (without a mask: 36.00); the head was chosen on 9 examples of validation" in five.notes[0]


def test_kinds_of_other_depth_are_not_subtracted():
    table = REPRODUCTIONS["table2"].show({"only-one": [kept_of_translation(7)]}).table
    assert [row[2] for row in table.rows if row[1] == 7] == [None] * 3
    assert len(table.rows) == 21
    assert all(row[6] is row[7] is None for row in table.rows)
    assert "different numbers of layers" in table.notes[-1]


def test_table_1_has_the_heads_of_the_encoder_above_the_published_ones():
    table = REPRODUCTIONS["table1"].show({"without-one": [masked_of_translation()]}).table
    assert table.rows[0][:5] == ("here", 1, Cell(-1.0), Cell(2.0, "*"), None)
    assert table.rows[1][:4] == ("here", 2, Cell(0.0), Cell(-3.0))
    assert table.rows[2][:8] == (
        "published",
        1,
        *(Cell(value) for value in (0.03, 0.07, 0.05, -0.06, 0.03)),
        Cell(-0.53, "*"),
    )
    assert len(table.rows) == 8
    assert sum(cell is not None and cell.mark == "*" for row in table.rows[2:] for cell in row[2:]) == 8
    assert "1 of 4 here, 8 of 96 published" in table.notes[1]


def test_figures_1_and_2_of_a_translation():
    records = {"without-one": [masked_of_translation()]}
    one, two = (REPRODUCTIONS[name].show(records) for name in ("figure1", "figure2"))
    assert [row[3:] for row in one.table.rows] == [(4, 0, 1, pytest.approx(-3)), (4, 1, 0, pytest.approx(-2))]
    assert list(one.figures) == list(two.figures) == ["a"]
    heights = [patch.get_height() for patch in one.figures["a"].axes[0].patches]
    assert sum(heights) == 4
    assert [row[2:5] for row in two.table.rows] == [("all", 0.56, 0.9), ("E", 0.56, pytest.approx(-1))]
    names = {text.get_text() for text in two.figures["a"].axes[0].texts}
    assert names
    assert all(name[0] in "EAD" for name in names)


def test_a_correlation_that_is_not_defined_is_left_empty():
    record = masked_of_translation()
    record["correlations"][0]["pearson"] = {"value": None, "low": None, "high": None}
    row = REPRODUCTIONS["figure2"].show({"without-one": [record]}).table.rows[0]
    assert row[3:] == (0.56, None, None, None, None)


def test_the_second_subject_of_a_kind_has_a_figure_of_its_own():
    others = [curve([0.7, 0.6], task) for task in ("sst2", "mnli", "sst2")]
    records = [curve([0.8, 0.7]), *others, of_translation(curve([0.4, 0.1]))]
    shown = REPRODUCTIONS["figure3"].show({"orders": records})
    assert list(shown.figures) == ["b", "b-sst2", "b-mnli", "b-sst2-2", "a"]
    reached = {row[0]: row[2] for row in shown.table.rows}
    assert reached["published: bert-base-uncased on mnli"] == 40
    assert reached["published: a large Transformer on WMT14 En-Fr"] == 20
    assert reached["m on wmt14-en-fr, BLEU"] is None


def test_the_replication_stands_beside_the_nearest_share():
    table = REPRODUCTIONS["figure3"].show({"orders": [curve([0.8] * 11)]}).table
    names = table.heading
    replicated = next(row for row in table.rows if row[0].startswith("replication") and row[1] == "gradient")
    values = dict(zip(names, replicated, strict=True))
    assert values["0%"] is None
    assert (values["10%"], values["50%"], values["100%"]) == (0.8374, 0.8151, 0.3182)
    assert not any(
        row[0].startswith("replication")
        for row in REPRODUCTIONS["figure3"].show({"orders": [curve([0.8], "own")]}).table.rows
    )


def test_figure_6_has_a_row_and_a_panel_a_task():
    records = [curve([0.8, 0.7], "sst2"), curve([0.8, 0.7], "other"), of_translation(curve([0.4, 0.3]))]
    shown = REPRODUCTIONS["figure6"].show({"curve": records})
    assert [(row[0], row[4]) for row in shown.table.rows] == [("sst2", 60), ("other", None), ("wmt14-en-fr", 20)]
    titles = [axes.get_title() for axes in shown.figures[""].axes]
    assert titles == ["m on SST-2\nvalidation", "m on other\nvalidation", "m on WMT14 En-Fr\nvalidation"]


def rows_of(table):
    return [dict(zip(table.heading, row, strict=True)) for row in table.rows]


def test_figure_6_sums_up_the_models_of_a_task():
    """Of several without a record of them together nothing is invented."""
    values = [[0.8, 0.8, 0.7], [0.6, 0.5, 0.4], [0.7, 0.62, 0.7]]
    records = [curve(each, "cola") for each in values]
    shown = REPRODUCTIONS["figure6"].show({"curve": [*records, curve([0.9, 0.8], "sst2")]})
    mean = rows_of(shown.table)[3]
    assert mean["model"] == "mean of 3"
    assert (mean["whole"], shown.below) == (pytest.approx(0.7), None)
    assert "no record of the fine-tunings on cola together" in " ".join(shown.table.notes)
    panel = shown.figures[""].axes[0]
    assert list(panel.lines[0].get_ydata()) == pytest.approx([0.7, 0.64, 0.6])
    (band,) = panel.collections
    corners = {(x, round(y, 6)) for x, y in band.get_paths()[0].vertices}
    assert {(0, 0.6), (0, 0.8), (50, 0.5), (50, 0.8), (100, 0.4), (100, 0.7)} == corners


def kept_as(verdicts):
    """What records hold of a margin, by the letters of verdicts."""
    words = {"k": "kept", "o": "open", "l": "lost"}
    points = [{"low": 0, "high": 0, "verdict": words[letter]} for letter in verdicts]
    return {"split": "validation", "margin": 0.02, "points": points}


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("kkk", (20, None, None)),
        ("kol", (0, 10, 20)),
        ("kll", (0, None, 10)),
        ("ool", (None, 10, 20)),
        ("oko", (None, 20, None)),
    ],
)
def test_how_far_a_loss_is_shown_open_and_refuted(verdicts, expected):
    record = curve([0.8, 0.8, 0.7], "sst2")
    record["lines"][0]["kept"] = [kept_as(verdicts)]
    for figure, study in (("figure3", "orders"), ("figure6", "curve")):
        table = REPRODUCTIONS[figure].show({study: [record]}).table
        row = rows_of(table)[0]
        assert tuple(row[name] for name in ("shown up to, %", "open up to, %", "refuted from, %")) == expected
        said = " ".join(table.notes)
        assert "a loss below 2 point" in said
        assert "older" not in said
    (axes,) = REPRODUCTIONS["figure6"].show({"curve": [record]}).figures[""].axes
    marks = {line.get_linestyle(): line.get_xdata()[0] for line in axes.lines if line.get_color() == "0.3"}
    assert marks == {style: 5 * at for style, at in {"-": expected[0], "--": expected[2]}.items() if at is not None}


@pytest.mark.parametrize(("figure", "study"), [("figure3", "orders"), ("figure5", "curve"), ("figure6", "curve")])
def test_what_no_record_has_tested_has_no_column_and_no_sentence(figure, study):
    def made(task, *kept):
        record = curve([0.8] * 11, task) | {"model": {"name": f"{task}/epoch-1"}}
        record["lines"][0] |= {"scores": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "kept": list(kept)}
        return record

    older = REPRODUCTIONS[figure].show({study: [made("sst2"), made("cola")]}).table
    mixed = REPRODUCTIONS[figure].show({study: [made("sst2"), made("cola", kept_as("k" * 11))]}).table
    columns = ["shown up to, %", "open up to, %", "refuted from, %"]
    assert [name for name in mixed.heading if name not in older.heading] == columns
    assert not any(word in " ".join(older.notes) for word in ("hown up to", "older"))
    assert any(note.startswith("Shown up to") for note in mixed.notes)
    assert any("older: sst2/epoch-1 on sst2." in note for note in mixed.notes)


def test_figure_6_has_the_mean_of_seeds_with_its_interval_and_their_share():
    def of(value, share=0.25):
        about = {"values": [value - 0.1, value + 0.1], "value": value, "low": value - 0.2, "high": value + 0.2}
        return {**about, "degrees": 1, "share": share, "share_low": 0.0, "share_high": 0.9}

    points = [{"percent": percent, "n_pruned": i, **of(0.7 - i / 10)} for i, percent in enumerate((0, 50, 100))]
    seeds = {"task": "cola", "models": ["a", "b"], "points": points, "area": of(0.6, None), "kept": kept_as("kol")}
    seeds["headline"] = "accuracy"
    records = [curve(each, "cola") for each in ([0.6, 0.5, 0.4], [0.8, 0.7, 0.6])]
    shown = REPRODUCTIONS["figure6"].show({"curve": records, "seeds": [seeds]})
    mean = rows_of(shown.table)[2]
    assert (mean["model"], mean["whole"], mean["95% interval"]) == ("mean of 2 seeds", 0.7, pytest.approx((0.5, 0.9)))
    assert (mean["shown up to, %"], mean["open up to, %"], mean["refuted from, %"]) == (0, 50, 100)
    found = {row["of"]: row for row in rows_of(shown.below)}
    assert list(found) == ["0% pruned", "50% pruned", "area"]
    assert found["50% pruned"]["lowest to highest"] == pytest.approx((0.5, 0.7))
    assert (found["0% pruned"]["seeds' share, %"], found["area"]["seeds' share, %"]) == (25, None)
    (band,) = shown.figures[""].axes[0].collections
    assert {round(y, 6) for _, y in band.get_paths()[0].vertices} == {0.3, 0.4, 0.5, 0.7, 0.8, 0.9}
    assert shown.page.to_markdown().count("\n| --- ") == 2
    wide = {"points": [{**each, "high": 1.2} for each in points], "area": {**of(0.6, None), "low": -0.1}}
    shown = REPRODUCTIONS["figure6"].show({"curve": records, "seeds": [{**seeds, **wide}]})
    (band,) = shown.figures[""].axes[0].collections
    assert {round(y, 6) for _, y in band.get_paths()[0].vertices} == {0.3, 0.4, 0.5, 1.0}  # no accuracy is above 1
    ends = {row["of"]: row["95% interval"] for row in rows_of(shown.below)}
    assert (rows_of(shown.table)[2]["95% interval"][1], ends["0% pruned"][1], ends["area"][0]) == (1, 1, 0)


def test_precision_is_said_where_it_is_reduced():
    record = only_one(2)
    record["configuration"]["dtype"] = "bfloat16"
    assert "Computed in bfloat16." in REPRODUCTIONS["table3"].show({"only-one": [record]}).table.notes
    both = REPRODUCTIONS["table3"].show({"only-one": [only_one(2), record | {"task": "sst2"}]}).table
    assert both.notes[-1] == "Computed in bfloat16: m on sst2."


def test_figure_6_says_which_was_computed_in_reduced_precision():
    reduced = curve([0.8, 0.7], "qnli") | {"configuration": {"dtype": "bfloat16"}}
    notes = REPRODUCTIONS["figure6"].show({"curve": [curve([0.8, 0.7], "sst2"), reduced]}).table.notes
    assert notes[-1] == "Computed in bfloat16: m on qnli."


def test_figure_4_has_a_line_and_a_column_a_kind_of_attention():
    about_data = {"data": [{"split": "validation", "n_examples": 9}], "scored_on": {"gradient": {"n_examples": 5}}}
    values = {"E": [0.9, 0.8], "A": [0.9, 0.1], "D": [0.9, 0.5]}
    records = {f"curve-{letter}": [curve(each) | about_data] for letter, each in values.items()}
    shown = REPRODUCTIONS["figure4"].show(records)
    assert shown.table.rows == (("0%", 0.9, 0.9, 0.9), ("10%", 0.8, 0.1, 0.5))
    assert [name[:1] for name in shown.table.heading[1:]] == ["E", "A", "D"]
    assert "on 9 examples of validation; importance is estimated on 5 of train" in shown.table.notes[0]
    (axes,) = shown.figures[""].axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn["encoder-decoder attention"] == [0.9, 0.1]
    assert [text.get_text() for text in shown.figures[""].legends[0].get_texts()] == [
        "encoder self-attention",
        "encoder-decoder attention",
        "decoder self-attention",
    ]


@pytest.mark.parametrize("figure", ["figure3", "figure4", "figure5", "figure6", "estimators"])
def test_every_committed_curve_says_its_number_of_examples_and_has_intervals_where_they_are_known(figure):
    """A curve without bars has a band, or comes from a record of estimators, which held no intervals at first."""
    records = {}
    for study in REPRODUCTIONS[figure].studies:
        files = sorted(RECORDS.glob(f"*.{study}.json"))
        read = [json.loads(file.read_text()) for file in files]
        records[study] = [each for each in read if ("epoch-" in each["model"]["name"]) == (figure == "figure5")]
    for end, shown in REPRODUCTIONS[figure].show(records).figures.items():
        panels = [axes for axes in shown.axes if axes.lines and not axes.images and axes.get_visible()]
        for axes in panels:
            assert re.search(r"n = [\d,]+$", axes.get_title())
            curves = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
            known = figure != "estimators" or axes.get_ylabel() == "accuracy"
            assert len(axes.collections) == (len(curves) if known else 0), (end, axes.get_title())


def test_figure_5_is_epoch_by_epoch_and_says_nothing_of_a_model_that_has_learned_nothing():
    def epoch(n, values, scores, model="a"):
        record = curve(values, task="cola") | {"model": {"name": f"{model}/epoch-{n}"}}
        record["lines"][0] |= {"scores": scores, "kept": [kept_as("kkkoolkkkkk")]}
        return record

    steps = [0.9, 0.895, 0.9, 0.85, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.1]
    order, other = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[1.0, 2.0, 3.0], [4.0, 6.0, 5.0]]
    records = [epoch(1, [0.0] * 11, other), epoch(2, steps, other), epoch(10, steps, order)]
    shown = REPRODUCTIONS["figure5"].show({"curve": [*records, epoch(1, steps, order, model="b")]})
    assert [row[:2] for row in shown.table.rows] == [("a", 1), ("a", 2), ("a", 10), ("b", 1)]
    assert [row[2:10] for row in shown.table.rows[:2]] == [
        (0.0, 0.0, 0.0, 0.0, 0.0, None, None, None),
        (0.9, 0.9, 0.9, 0.7, 0.5, 20, 40, 50),
    ]
    assert [row[10] for row in shown.table.rows] == [pytest.approx(r) for r in (33 / 35, 33 / 35, 1, 1)]
    assert [row[11] is None for row in shown.table.rows] == [False, False, True, True]


def test_a_summary_has_a_row_a_subject_where_there_are_several():
    one = {"only-one": [only_one(12)]}
    two = {"only-one": [only_one(12), only_one(6) | {"task": "sst2"}]}
    assert REPRODUCTIONS["table3"].show(one).summary is None
    shown = REPRODUCTIONS["table3"].show(two)
    assert [row[0] for row in shown.summary.rows] == ["m on mnli", "m on sst2"]
    for row, record in zip(shown.summary.rows, two["only-one"], strict=True):
        best = [each["best_here"]["delta"] for each in record["tables"][0]["best"]]
        assert row[3] == len(best)
        assert row[5] == pytest.approx(100 * min(best))
    assert shown.page.to_markdown().count("\n| --- ") == 2
    assert shown.page.to_markdown().startswith("# Table 3")
    orders = REPRODUCTIONS["figure3"].show({"orders": [curve([0.8, 0.6]), curve([0.9, 0.7], "sst2")]})
    assert [row[2] for row in orders.summary.rows] == [pytest.approx(0.7), pytest.approx(0.8)]


def test_figure_3_has_the_difference_of_areas_for_other_scoring_samples():
    record = curve([0.8, 0.6], "sst2")
    row = {"split": "validation", "first": "gradient", "second": "ablation", "value": 0.02, "low": -0.01, "high": 0.05}
    record["sampled_areas"] = [{**row, "second": None}, row]
    summary = REPRODUCTIONS["figure3"].show({"orders": [curve([0.9, 0.7]), record]}).summary
    without, found = rows_of(summary)
    name = "area, gradient - ablation"
    assert (found[name], found[f"95% interval, {name}"]) == (0.02, (-0.01, 0.05))
    assert without[name] is without[f"95% interval, {name}"] is None
    assert "-0.0100 to +0.0500" in summary.to_markdown()
