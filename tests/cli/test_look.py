"""`prune-heads look` in a terminal and in files; what it shows is `tests/test_looking.py`."""

import io
import json
import re

import pytest
from rich.console import Console

from prune_heads.reporting.looking import look_report

WORDS = ("look", "the plot is not predictable.")


def test_a_terminal_of_80_columns_shows_answers_effects_and_maps(invoke):
    done = invoke(*WORDS, "--heads", "2:1 3:2", COLUMNS="80")
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "mini on mini-sentiment: the plot is not predictable." in done.stdout
    assert re.search(r"positive +0\.9\d\d\nnegative +0\.0\d\d\n", done.stdout)
    effects = re.findall(r"^[1-6]((?: +[-+]?\d\.\d\d){4})$", done.stdout, re.M)
    assert len(effects) == 6
    assert len(re.findall(r"^head (?:2:1|3:2) \([-+]0\.\d+ nats\): attention$", done.stdout, re.M)) == 2
    assert "keys: 1 [CLS]  2 the  3 plot" in done.stdout
    assert len(re.findall(r"^ 3 plot     [ ░▒▓█]{24}$", done.stdout, re.M)) == 2
    assert len(re.findall(r"^0  ░░▒▒▒▓▓██ 0?\.?\d+$", done.stdout, re.M)) == 2


def test_json_and_files_hold_the_same_and_a_second_call_asks_nothing(invoke, json_of, out, monkeypatch, own_store):
    made = json_of(invoke(*WORDS, *out, "--json"))
    folder = out[1]
    kept = json.loads((folder / "record.json").read_text())
    assert made["texts"] == kept["texts"]
    assert {path.name for path in folder.iterdir()} == {
        *("record.json", "table.md"),
        *(f"{name}.{form}" for name in ("effects", "heads-1") for form in ("png", "svg")),
    }
    assert not own_store.exists()  # a text of one's own is nobody's
    assert "positive" in (folder / "table.md").read_text()
    assert "3:2" in (folder / "heads-1.svg").read_text()


def colours(record, width=80):
    file = io.StringIO()
    Console(width=width, force_terminal=True, color_system="truecolor", file=file).print(look_report(record))
    return file.getvalue()


def test_half_blocks_hold_two_queries_a_line(invoke, json_of):
    record = json_of(invoke(*WORDS, "--heads", "3:2", "--weighted", "--json"))
    shown = colours(record)
    rows = [line for line in shown.splitlines() if "▀" in line]
    assert len(rows) == 4  # of eight tokens
    assert "attention times the length of its value" in shown
    cell = re.findall(r"\x1b\[38;2;(\d+;\d+;\d+);48;2;(\d+;\d+;\d+)m▀▀▀", rows[0])
    assert len(cell) == 8
    assert "253;231;37" in {colour for row in rows for colour in re.findall(r"8;2;(\d+;\d+;\d+)", row)}  # the largest


def test_heads_that_flip_the_answer_are_named_in_three_lines_at_most(invoke, json_of):
    record = json_of(invoke(*WORDS, "--json"))
    record["texts"][0]["flips"] = [{"head": head, "answer": "negative"} for head in ("1:2", "1:3", "4:1")]
    record["texts"][0]["flips"] += [{"head": "2:1", "answer": answer} for answer in "abc"]
    record["texts"][0]["base"] = -0.0001
    shown = re.sub("\x1b.*?m", "", colours(record))
    said = re.findall(r"^The answer is (.*) when one of these heads is closed: (.*)\.$", shown, re.M)
    assert said == [("negative", "1:2,3 4:1"), ("a", "2:1"), ("b", "2:1")]
    assert "With all heads: 0.000 nats." in shown


def test_options_of_a_file(invoke, json_of, tmp_path):
    (tmp_path / "look.toml").write_text(
        'text = "the plot is not predictable."\ntask = "mini-sentiment"\nheads = "1:1"\n'
    )
    record = json_of(invoke("look", "--config", tmp_path / "look.toml", "--json"))
    assert (record["configuration"]["text"], record["texts"][0]["shown"]) == (WORDS[1], ["1:1"])
    other = json_of(invoke("look", "the plot is witty.", "--config", tmp_path / "look.toml", "--json"))
    assert other["texts"][0]["text"] == "the plot is witty."


def test_hostile_texts_are_shown_as_they_are(invoke):
    done = invoke("look", "[red]x[/red] \x1b[31m </script> שלום 😀 \u202e \t$x$", COLUMNS="80")
    assert done.exit_code == 0, done.output
    assert "[red]x[/red] \\x1b[31m </script> שלום 😀 \\u202e \\t$x$" in done.stdout.replace("\n", " ")
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "Missing argument"),
        (("",), 2, "TEXT must be a text"),
        ((" ",), 1, "must not be empty"),
        (("a", "--task", "mnly"), 2, "Did you mean mnli?"),
        (("a", "--heads", "7:1"), 1, "layer 7 must be between 1 and 6"),
        (("a", "--heads", ""), 1, "--heads must name heads to look at; got none"),
        (("no-such.jpg",), 1, "got the path of a picture, no-such.jpg"),
        (("a", "--model", "mini", "--task", "sst2"), 1, "the built-in model is for the built-in tasks only"),
        (("film " * 300,), 1, "the text must have at most"),
    ],
)
def test_misuse_is_one_line(refused, words, code, said):
    assert said in refused("look", *words, code=code)


@pytest.mark.drawn
@pytest.mark.slow
def test_figures_are_drawn(invoke, tmp_path):
    done = invoke(*WORDS, "--heads", "1:1,2,3,4 2:1,2,3", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "heads-2.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "out" / "heads-3.png").exists()
