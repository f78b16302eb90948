"""A table in all its forms."""

import csv
import io
import subprocess
import sys
from html.parser import HTMLParser

from rich.console import Console

from prune_heads.tables import Cell, Page, Table

TABLE = Table.of(
    "A & B",
    [{"layer": 1, "a difference": -0.5, "95% interval": (-1.25, 0.125), "rate": 2 / 3}, {"layer": 2, "rate": 3.0}],
    {"a difference": "+.2f", "95% interval": "+.2f to", "rate": ".1f"},
    ["Said beside."],
)


def drawn(part, width=40, colour=None):
    console = Console(width=width, file=io.StringIO(), color_system=colour, force_terminal=colour is not None)
    console.print(part)
    return console.file.getvalue()


def test_markdown():
    assert TABLE.to_markdown().splitlines() == [
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
    rows = list(csv.DictReader(io.StringIO(TABLE.to_csv(12))))
    assert list(rows[0]) == ["layer", "a difference", "95% interval, low", "95% interval, high", "rate"]
    assert rows[0]["rate"] == "0.666666666667"
    assert (rows[0]["95% interval, low"], rows[0]["95% interval, high"]) == ("-1.25", "0.125")
    assert (rows[1]["a difference"], rows[1]["95% interval, low"]) == ("", "")


def test_csv_is_the_same_where_the_last_bits_of_a_sum_are_not():
    here, elsewhere = (
        Table.of("R", [{"r": r, "95% interval": (low, 0.5)}], {"r": ".2f", "95% interval": "+.2f to"})
        for r, low in ((0.011094824982489197, -0.4872904874617369), (0.011094824982489204, -0.4872904874617368))
    )
    assert here.to_csv(12) == elsewhere.to_csv(12)
    assert here.to_csv() != elsewhere.to_csv()
    assert next(csv.DictReader(io.StringIO(here.to_csv())))["r"] == "0.011094824982489197"


def test_a_mark_stands_beside_its_number_and_in_a_column_of_its_own_in_csv():
    rows = [{"difference": Cell(-0.525, "*"), "range": (0.4, 60)}, {"difference": Cell(1 / 3, "#", "bold red")}, {}]
    marked = Table.of("M", rows, {"difference": "+.2f*", "range": ".4g to"})
    assert marked.texts() == [["-0.53*", "0.4 to 60"], ["+0.33#", ""], ["", ""]]
    rows = list(csv.DictReader(io.StringIO(marked.to_csv())))
    assert list(rows[0]) == ["difference", "difference, mark", "range, low", "range, high"]
    assert [(row["difference"], row["difference, mark"]) for row in rows] == [
        ("-0.525", "*"),
        (str(1 / 3), "#"),
        ("", ""),
    ]
    assert r"$-$0.53$^{*}$ & 0.4" in marked.to_latex()
    assert r"\textbf{$+$0.33}$^{\#}$" in marked.to_latex()
    assert "<b>+0.33#</b>" in marked.to_html()
    assert [row["difference"] for row in marked.to_json()["rows"]] == [(-0.525, "*"), (1 / 3, "#"), None]
    assert drawn(marked).splitlines()[3:5] == ["    -0.53*  0.4 to 60", "    +0.33#           "]


def test_latex_is_escaped():
    text = TABLE.to_latex()
    assert r"\caption{A \& B. Said beside.}" in text
    assert r"layer & a difference & 95\% interval & rate \\" in text
    assert r"1 & $-$0.50 & $-$1.25 to $+$0.12 & 0.7 \\" in text


def test_the_terminal_wraps_headings_and_no_number():
    assert "-1.25 to +0.12" in drawn(TABLE)


def test_json_has_an_object_a_row():
    assert TABLE.to_json()["rows"][0] == {
        "layer": 1,
        "a difference": -0.5,
        "95% interval": (-1.25, 0.125),
        "rate": 2 / 3,
    }


class Elements(HTMLParser):
    """The texts of each element of an HTML table, and that every element ends."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts = [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]][-1] += data


def test_html_has_every_cell_and_obeys_nothing():
    hostile = '<script>alert(1)</script> & \x1b[31m\u202e "x"'
    shown = hostile.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    found = Elements(
        Table.of(hostile, [{hostile: hostile, "n": 1}, {hostile: "sum", "n": 2}], notes=(hostile,), n_foot=1).to_html()
    )
    assert set(found.texts) == {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "p"}
    assert found.texts["caption"] == found.texts["p"] == [shown]
    assert found.texts["th"] == [shown, "n"]
    assert found.texts["td"] == [shown, "1", "sum", "2"]
    assert TABLE._repr_html_() == TABLE.to_html()


def test_all_keys_stand_beside_each_part_of_a_table_that_is_too_wide():
    row = {"first": "a", "second": "b", "pearson": (0.12, 0.34), "spearman": (0.56, 0.78)}
    pairs = Table.of("", [row], {"pearson": ".2f to", "spearman": ".2f to"})
    lines = drawn(Table(**{**vars(pairs), "n_keys": 2}), 28).splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("a")] == [["a", "b"]] * 2
    assert [line.split() for line in drawn(pairs, 28).splitlines() if line.startswith("a")][1][0:2] != ["a", "b"]


def test_what_colours_mean_is_said_only_where_there_are_some():
    table = Table.of("", [{"x": Cell(1, style="bold red")}], colour_note="red = lost")
    assert "red = lost" not in drawn(table)
    assert "red = lost" in drawn(table, colour="truecolor")


def test_a_page_in_markdown_and_in_the_terminal():
    page = Page("P", (TABLE, "One.", "Two.", TABLE))
    assert page.to_markdown() == "\n".join(
        ["# P", "", f"#{TABLE.to_markdown()}", "One.", "", "Two.", "", f"#{TABLE.to_markdown()}"]
    )
    lines = [line.rstrip() for line in drawn(page, 80).splitlines()]
    of_table = [line.rstrip() for line in drawn(TABLE, 80).splitlines()]
    assert lines == ["P", "", *of_table, "", "One.", "Two.", "", *of_table]


def test_tables_need_neither_torch_nor_a_terminal_library_until_they_are_drawn():
    code = "import sys, prune_heads.tables; print({'torch', 'pandas', 'rich', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
