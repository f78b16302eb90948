"""The notebooks run, and give the outputs that are committed with them."""

import re

import nbformat
import pytest
from budgets import ROOT
from nbclient import NotebookClient

FOLDER = ROOT / "experiments" / "notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def outputs(book):
    """Cell -> its outputs as texts without their numbers, and the numbers; an image counts as being there."""
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {"text/plain": output.get("text", "")})
            for kind, value in sorted(data.items()):
                text = kind if kind.startswith("image/") else "".join(value)
                yield " ".join(NUMBER.sub("#", text).split()), [float(each) for each in NUMBER.findall(text)]


def test_there_are_three_and_each_is_explained():
    assert [book.stem for book in BOOKS] == ["ablation-and-statistics", "first-look", "own-model-data-criterion"]
    listed = (ROOT / "experiments" / "README.md").read_text("utf-8")
    assert all(f"notebooks/{book.name}" in listed for book in BOOKS)


@pytest.mark.parametrize("file", BOOKS, ids=lambda file: file.stem)
def test_outputs_are_committed_and_name_no_place_of_a_machine(file):
    book = nbformat.read(file, as_version=4)
    nbformat.validate(book)
    assert book.cells[0].source.startswith("# ")
    assert list(outputs(book))
    for cell in book.cells:
        assert not any(output.get("name") == "stderr" for output in cell.get("outputs", ()))
    assert not re.search(r"/(home|root|work|tmp|usr)/", file.read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("file", BOOKS, ids=lambda file: file.stem)
def test_a_notebook_gives_its_outputs_again(file, monkeypatch):
    """Numbers may differ a little from one machine to another; words, tables and their shapes may not."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    committed = list(outputs(nbformat.read(file, as_version=4)))
    book = nbformat.read(file, as_version=4)
    NotebookClient(book, timeout=300, kernel_name="python3").execute()
    for cell in book.cells:
        cell["outputs"] = [each for each in cell.get("outputs", ()) if each.get("name") != "stderr"]
    again = list(outputs(book))
    assert [text for text, _ in again] == [text for text, _ in committed]
    for (text, numbers), (_, expected) in zip(again, committed, strict=True):
        assert numbers == pytest.approx(expected, rel=0.02, abs=0.002), text
