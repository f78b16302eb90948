"""A table in all its forms."""

import csv
import io

from rich.console import Console

from prune_heads.reporting.sheet import (
    Sheet,
    as_interval,
    as_marked,
    as_range,
    as_text,
    in_points,
    sheet_csv,
    sheet_latex,
    sheet_markdown,
    sheet_report,
    sheet_table,
    with_digits,
)

SHEET = Sheet(
    "A & B",
    (
        ("layer", as_text),
        ("a difference", in_points),
        ("95% interval", as_interval),
        ("rate", with_digits(1)),
    ),
    ((1, -0.5, (-1.25, 0.125), 2 / 3), (2, None, None, 3.0)),
    ("Said beside.",),
)


def test_markdown():
    assert sheet_markdown(SHEET).splitlines() == [
        "# A & B",
        "",
        "| layer | a difference | 95% interval | rate |",
        "| --- | --- | --- | --- |",
        "| 1 | -0.50 | -1.25 to +0.12 | 0.7 |",
        "| 2 |  |  | 3.0 |",
        "",
        "Said beside.",
    ]


def test_csv_holds_numbers_to_12_digits_and_intervals_in_two_columns():
    rows = list(csv.DictReader(io.StringIO(sheet_csv(SHEET))))
    assert list(rows[0]) == ["layer", "a difference", "95% interval, low", "95% interval, high", "rate"]
    assert rows[0]["rate"] == "0.666666666667"
    assert (rows[0]["95% interval, low"], rows[0]["95% interval, high"]) == ("-1.25", "0.125")
    assert (rows[1]["a difference"], rows[1]["95% interval, low"]) == ("", "")


def test_csv_is_the_same_where_the_last_bits_of_a_sum_are_not():
    columns = (("r", with_digits(2)), ("95% interval", as_interval))
    here, elsewhere = (
        sheet_csv(Sheet("R", columns, ((r, (low, 0.5)),), ()))
        for r, low in (
            (0.011094824982489197, -0.4872904874617369),
            (0.011094824982489204, -0.4872904874617368),
        )
    )
    assert here == elsewhere


def test_a_mark_stands_beside_its_number_and_in_a_column_of_its_own_in_csv():
    marked = Sheet(
        "M",
        (("difference", as_marked), ("range", as_range)),
        (((-0.525, "*"), (0.4, 60)), ((1 / 3, ""), None)),
    )
    assert marked.texts() == [["-0.53*", "0.4 to 60"], ["+0.33", ""]]
    rows = list(csv.DictReader(io.StringIO(sheet_csv(marked))))
    assert list(rows[0]) == ["difference", "difference, mark", "range, low", "range, high"]
    assert [(float(row["difference"]), row["difference, mark"]) for row in rows] == [
        (-0.525, "*"),
        (0.333333333333, ""),
    ]
    assert "$-$0.53$^{*}$" in sheet_latex(marked)


def test_latex_is_escaped():
    text = sheet_latex(SHEET)
    assert r"\caption{A \& B. Said beside.}" in text
    assert r"layer & a difference & 95\% interval & rate \\" in text
    assert r"1 & $-$0.50 & $-$1.25 to $+$0.12 & 0.7 \\" in text


def test_the_terminal_wraps_headings_and_no_number():
    console = Console(width=40, file=io.StringIO())
    console.print(sheet_table(SHEET))
    assert "-1.25 to +0.12" in console.file.getvalue()


def test_json_has_an_object_a_row():
    assert sheet_report(SHEET)["rows"][0] == {
        "layer": 1,
        "a difference": -0.5,
        "95% interval": (-1.25, 0.125),
        "rate": 2 / 3,
    }
