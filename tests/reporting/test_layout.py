"""The printer: what is given to it is shown as it is written, and no table cuts a number, however narrow."""

import csv
import io
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from prune_heads.reporting.figures import save
from prune_heads.tables import Form, Page, Table
from prune_heads.tables.terminal import console, line, spans
from prune_heads.visible import csv_of, in_latex, visible

HOSTILE = "[red]a[/a] \x1b[31mb\x07\r\u202ec\u2066 \udce9 \u2028 :smile: <b>&lt;$x^2$|"
WRITTEN = r"[red]a[/a] \x1b[31mb\x07\r\u202ec\u2066 \udce9 \u2028 :smile: <b>&lt;$x^2$|"


def shown(part, width):
    target = io.StringIO()
    made = console()
    made.width, made.file = width, target
    made.print(part, crop=False)
    return target.getvalue()


def test_a_text_is_shown_as_it_is_written():
    assert visible(HOSTILE) == WRITTEN
    assert visible("é 日本 👩\u200d🔬 naïve\u200c") == "é 日本 👩\u200d🔬 naïve\u200c"
    table = Table.of("", [{"[b]x": HOSTILE, "y": 1.5}])
    for part in (line(HOSTILE), table, spans(HOSTILE, (HOSTILE, "bold"))):
        assert WRITTEN in shown(part, 300)
    assert "[b]x" in shown(table, 300)


@given(text=st.text(st.characters() | st.sampled_from("\x1b\x9b\u202e\u2066\ud800[]/\\@:?"), max_size=40))
@settings(max_examples=150, deadline=None)
def test_nothing_that_is_shown_is_obeyed(text):
    found = shown(line(text), 300)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", found)
    found.encode()


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("https://u:p@ss@host/x", "https://***@host/x"),
        ("s3://key:secret@bucket/x?token=abc, so", "s3://***@bucket/x?***, so"),
        ("https:/u:p@host/x (a path made of it)", "https:/***@host/x (a path made of it)"),
        ("a@b.c, /data:/x@y, C:/a@b and file:///a/b stay", "a@b.c, /data:/x@y, C:/a@b and file:///a/b stay"),
    ],
)
def test_passwords_in_urls_are_masked(text, hidden):
    assert visible(text) == hidden


@pytest.mark.parametrize("piece", ["://", "@", "://@", "://?", "a:/", "\x1b", "a:/b:", "[", "\u202e"])
def test_a_long_text_is_shown_in_the_time_it_takes_to_read_it(piece):
    start = time.perf_counter()
    visible(piece * (250_000 // len(piece)))
    assert time.perf_counter() - start < 4  # 0.4 s on an idle machine


WORDS = ("accuracy", "matthews_correlation_of_a_long_name", "a text of several words", "[red]bold", "")
NUMBERS = st.floats(-1e6, 1e6).map(lambda x: f"{x:+.4f}") | st.sampled_from(
    ["0.9123", "-0.1000 (-0.1234 to +0.0001)", "1,234,567", "12.5%", "3:1,5 7:2", "2.70x", "1.2e-05", "E:3"]
)


HEADINGS = st.sampled_from(["base", "difference (95% interval)", "a long heading of words", "1"])


@given(
    heading=st.lists(HEADINGS, max_size=9),
    width=st.sampled_from([20, 40, 60, 80]),
    gap=st.sampled_from([0, 1, 2]),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_a_narrow_table_cuts_no_number_and_no_line_is_too_long(heading, width, gap, data):
    rows = [[data.draw(st.sampled_from(WORDS)), *(data.draw(NUMBERS) for _ in heading)] for _ in range(2)]
    forms = (Form.of(""), *[Form(lambda cell: cell[0])] * len(heading))
    table = Table(
        "", ("name", *heading), forms, tuple((word, *zip(numbers, strict=True)) for word, *numbers in rows), gap=gap
    )
    found = shown(table, width)
    assert max(map(len, found.splitlines())) <= width
    assert "…" not in found
    numbers = [word for row in rows for cell in row[1:] for word in cell.split()]
    if gap:  # else columns touch, as they are asked to
        assert not set(numbers) - set(found.split())
    assert all(sum(found.count(digit) for digit in "0123456789") >= sum(map(str.isdigit, word)) for word in numbers)
    folded = "".join(found.split())
    assert all(set(word) <= set(folded) for row in rows for word in row[0].split())


def test_a_pipe_has_no_width_unless_it_is_said(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table.of("", [{f"column {i}": 0.1234 for i in range(60)}])
    console().print(table, crop=False)
    _, _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["0.1234"] * 60
    monkeypatch.setenv("COLUMNS", "40")
    console().print(table, crop=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(lines).split().count("0.1234") >= 60


TABLE = Table.of(
    HOSTILE,
    [{"model": "=1+1", "a|b": 0.5, "interval": (-1.25, 0.5)}, {"model": HOSTILE}, {"model": "-0.5", "a|b": -0.25}],
    {"a|b": ".4f", "interval": "+.2f to"},
    [f"A note on {HOSTILE}."],
)


def test_names_are_harmless_in_every_form():
    for width in (20, 40, 60, 80, 200):
        words = shown(TABLE, width).split()
        assert {"0.5000", "-0.2500", "-1.25", "+0.50"} <= set(words)
    text = TABLE.to_markdown()
    assert "<b>" not in text
    assert "&lt;b>&amp;lt;" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    rows = [re.split(r"(?<!\\)\|", each) for each in text.splitlines() if each.startswith("| ")]
    assert [len(row) for row in rows] == [5] * 5
    cells = list(csv.reader(io.StringIO(TABLE.to_csv(12))))
    assert cells[1] == ["'=1+1", "0.5", "-1.25", "0.5"]
    assert [row[:2] for row in cells[2:]] == [[WRITTEN, ""], ["-0.5", "-0.25"]]


@pytest.mark.parametrize("cell", ["=1+1", "+x", "-x", "@x", "-1 to 2", "+1-1", "--1"])
def test_a_text_that_a_spreadsheet_would_compute_is_quoted(cell):
    assert next(csv.reader(io.StringIO(csv_of([{cell: 1}])))) == [f"'{cell}"]


@pytest.mark.parametrize("cell", ["-1", "+1.5e-3", "x=1", "a@b", "", -1.5, 0, None, "-inf"])
def test_numbers_and_other_texts_are_not(cell):
    found = next(csv.reader(io.StringIO(csv_of([{"a": cell, "b": 1}]).partition("\n")[2])))
    assert found == ["" if cell is None else str(cell), "1"]


def test_latex_and_markdown_of_names():
    assert in_latex("a_b\x1b&\\[") == r"a\_b\textbackslash{}x1b\&\textbackslash{}["
    assert "\n{}[red] & x \\\\" in Table.of("c", [{"a": "[red]", "b": "x"}]).to_latex()  # no argument of the row before
    assert Page("<script>\n## b", (Table.of("", [{"a": "x|y\nz"}]),)).to_markdown() == (
        "# &lt;script>\\n## b\n\n| a |\n| --- |\n| x\\|y\\nz |\n"
    )


def test_names_in_a_figure_are_no_formulas(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.set_title("$\\frac{ a_$ \x1b[31m 日本")
    axes.set_xlabel(HOSTILE)
    save(figure, tmp_path, "x")
    text = (tmp_path / "x.svg").read_text()
    assert "$\\frac{ a_$ \\x1b[31m 日本" in text
    assert "\\u202ec" in text


def test_rich_obeys_what_the_printer_does_not():
    """So the tests above can fail."""
    target = io.StringIO()
    Console(file=target, width=20).print("[red]a\x1b[31m")
    assert "[red]" not in target.getvalue()
    assert "\x1b" in target.getvalue()
