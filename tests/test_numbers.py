"""No number of a measurement is written by hand: tables are those of their records, and prose repeats none of them.

Results stand on pages in tables between markers, which `prune-heads reproduce` and `python -m tests.measured` write. A
number in the prose of a page must be one of those that are no measurement; each says why it is none.
"""

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from prune_heads.reporting.terminal import run_report
from prune_heads.reproduction import fill

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "results/README.md", "results/criteria.md")
NUMBER = re.compile(r"(?<![\w.,])(?<![A-Za-z]-)\d(?:[\d,]*\d)?(?:\.\d+)?(?:e-?\d+)?")  # not the 2 of SST-2
NO_MEASUREMENTS = {
    r"`[^`]*`": "code",
    r"\((?:Post, |Michel, Levy and Neubig, )?20\d\d\)|Devlin et al\., 2019": "the year of a paper",
    r"transformers (?:4\.44|\d)(?![\d.]\d)|Python 3\.11\+": "versions",
    r"\d+(?: \+ \d)? layers x \d+ heads(?:, \d+ wide)?": "the size of a model",
    r"p < 0\.01|\b95% interval|level of 5%": "a level of tests",
    r"\[?(?:[Ss]eed|[Tt]ables?|[Ff]igures?) \[?\d+|\[\d\]": "the name of a run, or a part of the paper",
    r"\(8 bytes an example and head\)": "two float32",
}
"""Pattern -> what it is."""


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def prose(text):
    """A page without blocks of code, tables between markers, tags and the targets of links, on one line."""
    text = re.sub(r"<!-- table: .*?<!-- end -->", "", text, flags=re.S)
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    text = re.sub(r"(?<=\n\n)(    .*\n|\n)+", "\n", text)
    text = re.sub(r"<[a-z][^>]*>", "", text)
    return " ".join(re.sub(r"\]\([^)]*\)", "]", text).split())


def measurements(text):
    """The numbers in the prose of a page that are none of the others."""
    page = prose(text)
    covered = [match.span() for pattern in NO_MEASUREMENTS for match in re.finditer(pattern, page)]
    return [
        f"...{page[max(low - 40, 0) : low]}>{number[0]}<{page[high : high + 20]}..."
        for number in NUMBER.finditer(page)
        for low, high in [number.span()]
        if not any(start <= low and high <= end for start, end in covered)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_no_number_of_a_measurement_is_written_by_hand(page):
    assert measurements(read(page)) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_new_number_is_found(page):
    (found,) = measurements(read(page) + "\n\nIt is 17.3x as fast on SST-2, with `--steps 5`.\n")
    assert ">17.3<" in found


@pytest.mark.parametrize("pattern", NO_MEASUREMENTS)
def test_every_pattern_is_needed(pattern):
    assert any(re.search(pattern, prose(read(page))) for page in PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_of_a_page_are_those_of_its_files(page, tmp_path):
    """The files are those of their records: `test_documents.py` and `test_measured.py`."""
    names = re.findall(r"<!-- table: (\S+)", read(page))
    assert len(names) == read(page).count("<!-- end -->")
    for name in names:
        there = tmp_path / f"{name}.md"
        there.parent.mkdir(exist_ok=True)
        shutil.copyfile((ROOT / page).parent / f"{name}.md", there)
    emptied = re.sub(r"(<!-- table: [^\n]*\n).*?(<!-- end -->)", r"\1\2", read(page), flags=re.S)
    copy = tmp_path / "README.md"
    copy.write_text(emptied, encoding="utf-8")
    fill(copy)
    assert copy.read_text(encoding="utf-8") == read(page)


def test_a_table_that_is_not_there_stays_as_it_is(tmp_path):
    page = tmp_path / "README.md"
    text = "a\n\n<!-- table: x/y 2 -->\n\n| old |\n| --- |\n\n<!-- end -->\n\nb\n"
    page.write_text(text)
    fill(page)
    assert page.read_text() == text
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y.md").write_text("# y\n\n| first |\n| --- |\n\n| second |\n| --- |\n\nA note.\n")
    fill(page)
    assert page.read_text() == text.replace("old", "second")
    fill(tmp_path / "none.md")
    assert not (tmp_path / "none.md").exists()


def example(command, page="README.md"):
    """What a page shows below `command`: an indented block, or one of text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    indented = re.search(rf"^    \$ {command}\n((    .*\n|\n)+)", text, re.M)
    if indented:
        return [line[4:] for line in trimmed(indented[1])]
    return trimmed(re.search(rf"^```text\n\$ {command}\n(.*?)^```$", text, re.M | re.S)[1])


def trimmed(text):
    return [line.rstrip() for line in text.rstrip().splitlines()]


def test_the_example_run_is_its_record():
    folder = ROOT / "results/mini-curve"
    record = json.loads((folder / "record.json").read_text()) | {"curve": []}
    stream = io.StringIO()
    Console(file=stream, width=100).print(run_report(record, json.loads((folder / "scores.json").read_text())))
    *made, seconds = trimmed(stream.getvalue())
    *there, other_seconds = example("prune-heads run")
    assert there == made
    assert re.sub(r"[\d.]+", "", other_seconds) == re.sub(r"[\d.]+", "", seconds).replace(", curve ", "")


def test_the_example_of_look_is_what_it_says(invoke):
    done = invoke("look", "the plot is not predictable.", "--heads", "1:3", COLUMNS="80")
    assert trimmed(done.stdout) == example('prune-heads look "the plot is not predictable." --heads 1:3')


def test_the_example_of_the_doctor_is_what_it_says(tmp_path, invoke, monkeypatch):
    (tmp_path / "scripts").mkdir()
    lines = {7: "outputs = model(**inputs, head_mask=mask)", 13: "model.prune_heads({2: [0, 4]})"}
    script = "\n".join(lines.get(number, "") for number in range(1, 14)) + "\n"
    (tmp_path / "scripts" / "importance.py").write_text(script)
    monkeypatch.chdir(tmp_path)
    done = invoke("doctor", "scripts", COLUMNS="80")
    assert done.exit_code == 1
    assert trimmed(done.stdout) == example("prune-heads doctor scripts", "prune_heads/guide/errors.md")
