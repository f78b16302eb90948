"""Every form of a table of ablations says what its record says."""

import csv
import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_heads.reporting.ablation import ablation_csv, ablation_page, best_csv
from prune_heads.visible import in_latex


def ablation_report(record):
    return ablation_page(record, narrow=True)


def ablation_latex(record):
    return ablation_page(record).to_latex()


def ablation_markdown(record):
    return ablation_page(record).to_markdown()


PLAIN, ALONE, HOLM = (0.002, 0.4, 1.0, 0.6), (-0.0148, 0.004, 0.02, 0.009), (-0.0321, 1e-9, 1e-8, 1e-8)
RAGGED = [[PLAIN, ALONE, None], [HOLM, PLAIN]]
BEST = [
    {
        "layer": 2,
        "head": 1,
        "chosen_on": "train",
        "chosen_examples": 5000,
        "chosen_value": 0.7,
        "chosen_base": 0.75,
        "delta": -0.0321,
        "low": -0.04,
        "high": -0.02,
        "p_value": 1e-9,
        "p_holm": 2e-9,
        "p_bh": 1e-9,
        "best_here": {"head": 2, "delta": 0.002},
    }
]
NUMBERS = st.floats(-0.09, 0.09, allow_subnormal=False)
P = st.sampled_from([0.0, 1e-6, 0.0099, 0.01, 0.5]) | st.floats(0, 1)
CELLS = st.tuples(NUMBERS, P, P, P).map(lambda c: (c[0], c[1], max(c[1:3]), max(c[1], c[3])))
TABLES = st.lists(st.lists(st.none() | CELLS, min_size=1, max_size=5), min_size=1, max_size=4).filter(
    lambda rows: any(cell for row in rows for cell in row)
)


def shown(rows):
    """(layer, head) -> number and mark, as they must stand in a table; layers of which nothing is known have no row."""
    width = max(map(len, rows))
    return {
        layer: [text(cell) for cell in [*row, *[None] * (width - len(row))]]
        for layer, row in enumerate(rows, 1)
        if any(row)
    }


def text(cell):
    if cell is None:
        return "-"
    number = f"{cell[0] * 100:+.2f}" if cell[0] else "0.00"
    return number + ("#" if cell[2] < 0.01 else "*" if cell[1] < 0.01 else "")


@given(rows=TABLES)
@settings(max_examples=40, deadline=None)
def test_every_head_stands_in_every_form_with_its_mark(rows, rendered, ablations):
    record, wanted = ablations([("validation", rows)]), shown(rows)
    lines = rendered(ablation_report(record)).splitlines()
    grid = lines[4 : 4 + len(wanted)]
    assert {int(line[:5]): [line[5 + 6 * i :][:6].strip() for i in range(len(row))] for line, row in zip(
        grid, wanted.values(), strict=True
    )} == wanted  # fmt: skip

    cells = [line.strip("| ").split(" | ") for line in ablation_markdown(record).splitlines() if "|" in line]
    assert {int(layer): row for layer, *row in cells[2:]} == wanted

    body = ablation_latex(record).partition("\\hline\n")[2].partition("\n\\end{tabular}")[0].splitlines()
    for line, (layer, row) in zip(body, wanted.items(), strict=True):
        first, *found = line.removesuffix(r" \\").split(" & ")
        plain = [cell.replace("$-$", "-").replace("$+$", "+") for cell in found]
        bold = [re.sub(r"^(.*\d)([*#])$", mathematical, cell) for cell in row]
        assert (int(first), plain) == (layer, bold)


def mathematical(match):
    mark = {"*": "*", "#": r"\#"}[match[2]]
    return rf"\textbf{{{match[1]}}}$^{{{mark}}}$"


@given(rows=TABLES)
@settings(max_examples=40, deadline=None)
def test_csv_reads_back_exactly(rows, ablations):
    found = list(csv.DictReader(io.StringIO(ablation_csv(ablations([("a", rows), ("b", rows)])))))
    there = [(layer, head, cell) for layer, row in enumerate(rows, 1) for head, cell in enumerate(row, 1) if cell]
    assert [line["split"] for line in found] == ["a"] * len(there) + ["b"] * len(there)
    for line, (layer, head, (delta, p, holm, bh)) in zip(found, there * 2, strict=True):
        assert (int(line["layer"]), int(line["head"])) == (layer, head)
        keys = ("value", "delta", "low", "high", "p_value", "p_holm", "p_bh")
        assert [float(line[key]) for key in keys] == [0.75 + delta, delta, delta - 0.01, delta + 0.01, p, holm, bh]


def test_the_foot_says_what_the_marks_mean_and_counts(rendered, ablations):
    record = ablations([("validation", RAGGED)])
    for form in (rendered(ablation_report(record), 200), ablation_markdown(record), ablation_latex(record)):
        words = form.replace("$<$", "<").replace("$^{*}$", "*").replace(r"\#", "#")
        assert "0.7500 with all heads" in words
        assert "arked * where p < 0.01 (exact McNemar test), # where" in words
        assert "over 4 heads; - not measured" in words
        assert "he metric is higher than with all heads for 2 of 4 heads, and lower for 2." in words
        assert "It differs significantly (p < 0.01) for 2 (0 higher, 2 lower); after Holm for 1, after " in words
        assert "Benjamini-Hochberg for 2" in words


def test_marks_are_told_apart_by_colour_too(rendered, ablations):
    coloured = rendered(ablation_report(ablations([("validation", RAGGED)])), colour=True)
    styles = {mark: re.search(rf"\x1b\[([\d;]+)m *[-+]\d\.\d\d\{mark}", coloured)[1] for mark in "*#"}
    assert styles["*"] != styles["#"]
    assert re.search(r"\x1b\[0m\+0\.20", coloured)  # not significant: no colour


@pytest.mark.parametrize(("n_heads", "width"), [(12, 80), (16, 110)])
@pytest.mark.parametrize("delta", [-0.0148, -0.1356, -0.09996])
def test_a_real_model_fits_into_the_usual_widths(n_heads, width, delta, rendered, ablations):
    record = ablations([("validation", [[(delta, 1e-9, 1e-9, 1e-9)] * n_heads] * 12)])
    lines = rendered(ablation_report(record), width).splitlines()
    assert lines[4].split("#")[:-1] == [f"1    {delta * 100:+5.{2 if delta > -0.09 else 1}f}"] + [
        f"{delta * 100:+5.{2 if delta > -0.09 else 1}f}"
    ] * (n_heads - 1)
    assert len(lines[4]) <= width
    assert "…" not in "".join(lines)


def test_the_best_heads_of_only_one(rendered, ablations):
    record = ablations([("validation", RAGGED)], kind="only-one", best=BEST)
    row = ["2", "1", "-3.21#", "-4.00 to -2.00", "2e-09", "2", "+0.20"]
    terminal = rendered(ablation_report(record))
    assert re.search(" +".join(map(re.escape, row)), terminal)
    assert "…" not in terminal
    assert f"| {' | '.join(row)} |" in ablation_markdown(record)
    assert r"2 & 1 & \textbf{$-$3.21}$^{\#}$ & $-$4.00 to $-$2.00 & 2e$-$09 & 2 & $+$0.20 \\" in ablation_latex(record)
    for form in (terminal, ablation_markdown(record), ablation_latex(record)):
        assert "chosen on 5,000 examples of train" in form
        assert "over 1 layers" in " ".join(form.split())
    (line,) = csv.DictReader(io.StringIO(best_csv(record)))
    assert float(line["p_holm"]) == 2e-9
    assert (line["split"], line["layer"], line["head"], line["chosen_on"]) == ("validation", "2", "1", "train")
    assert (line["best_here_head"], line["best_here_delta"]) == ("2", "0.002")


def test_correlations_and_flips(rendered, ablations):
    interval = {"value": 0.812, "low": 0.7, "high": 0.9}
    pair = {"first": "a", "second": "b", "n_heads": 4, "pearson": interval, "spearman": interval}
    flips = {"dtype": "bfloat16", "split": "a", "n_examples": 64, "n_masks": 73, "n_predictions": 4672, "n_flipped": 3}
    splits = [("a", RAGGED), ("b", RAGGED)]
    record = ablations(splits, correlations=[pair], flips=flips)
    for form in (rendered(ablation_report(record), 200), ablation_markdown(record)):
        assert (
            "orrelation of 4 differences on a and b: Pearson r 0.81 (95% interval 0.70 to 0.90), Spearman 0.81" in form
        )
        assert "redictions that bfloat16 flips: 3 of 4,672 (64 examples of a, 73 masks)" in form
    assert "flips" not in ablation_markdown(ablations(splits))


def test_latex_escapes_what_would_be_a_command():
    assert in_latex(r"a_b & 50% #1 $x {y} ~z ^w \q") == (
        r"a\_b \& 50\% \#1 \$x \{y\} \textasciitilde{}z \textasciicircum{}w \textbackslash{}q"
    )


@given(rows=TABLES)
@settings(max_examples=20, deadline=None)
def test_latex_has_as_many_columns_as_it_says(rows, ablations):
    text = ablation_latex(ablations([("validation_matched", rows)], name="my_model & co"))
    assert r"my\_model \& co" in text
    assert not re.search(r"(?<!\\)[_%#]", text)
    columns = len(re.search(r"begin\{tabular\}\{r\|(r*)\}", text)[1])
    table = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in table] == [columns] * len(table)
    assert text.count("{") == text.count("}")
    assert {word for word in re.findall(r"\\([a-z]+)", text)} <= {
        "begin", "end", "caption", "centering", "small", "setlength", "tabcolsep", "hline", "textbf",
    }  # fmt: skip


def test_no_form_says_nan_or_none(rendered, ablations):
    record = ablations([("validation", [[None, None], *RAGGED])], kind="only-one", best=BEST)
    forms = (ablation_markdown, ablation_latex, ablation_csv, best_csv)
    for form in (rendered(ablation_report(record)), *(make(record) for make in forms)):
        assert not re.search(r"\b(nan|none|null)\b", form, re.I)


@pytest.mark.parametrize("least", [0.0, None])
def test_where_no_answer_changes_without_a_typical_head_no_smallest_difference_is_told(least, rendered, request):
    """It would be 0; errors of heads that change nothing are 0.00."""
    record = json.loads((request.config.rootpath / "results" / "sst2-without-one" / "record.json").read_text())
    (table,) = record["tables"]
    table["together"] |= {"smallest_difference": least}
    table["together"]["shrunk_error"] = [[0.0] * 12] * 6
    text = " ".join(rendered(ablation_page(record, narrow=True, details=True)).split())
    assert "All heads at once: significant for 0 (max-t, p < 0.01). No head changes an answer" in text
    assert "would be found in 80%" not in text
    assert re.search(r"shrunk [+-]?0\.\d\d \(error 0\.00\)", text)
    assert not re.search(r"[ (]\.\d", text)
