"""The notebooks run, and give the outputs that are committed with them."""

import json
import re

import nbformat
import pytest
from budgets import ROOT
from forked import Forked
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
                bare = " ".join(NUMBER.sub("#", text).split())
                bare = bare.replace("# ,", "#,").replace("# ]", "#]")  # arrays are padded by how many digits they show
                yield bare, [float(each) for each in NUMBER.findall(text)]


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


def run_in_a_kernel(book, streams):
    """As a notebook is run: in a process that a kernel's client starts."""
    NotebookClient(book, timeout=300, kernel_name="python3").execute()


def run_in_a_fork(book, streams):
    """The same cells in IPython's shell, in a process that has torch imported already."""

    def cells():
        import pandas
        from IPython.core.displayhook import DisplayHook
        from IPython.core.interactiveshell import InteractiveShell
        from IPython.utils.capture import capture_output

        values = []

        class Values(DisplayHook):
            """The value of a cell in all its forms; a terminal would show one, with its number."""

            def write_format_data(self, format_dict, md_dict=None):
                values.append(format_dict)

            def write_output_prompt(self):
                pass

            finish_displayhook = write_output_prompt

        class Shell(InteractiveShell):
            displayhook_class = Values

            def enable_gui(self, gui=None):
                """Figures are outputs."""

        shell = Shell.instance()
        shell.history_manager.enabled = False  # nothing is written into the user's own
        shell.enable_matplotlib("inline")
        pandas.set_option("display.max_columns", 20)  # as in a kernel; here pandas sees a terminal
        for cell in book.cells:
            if cell.cell_type == "code":
                with capture_output() as said:
                    shell.run_cell(cell.source, store_history=True).raise_error()  # `;` is told by it
                found = [{"name": "stdout", "text": said.stdout}] if said.stdout else []
                found += [{"data": data} for data in (*values, *(output.data for output in said.outputs))]
                values.clear()
                print(json.dumps(found, default=str))

    ended = Forked(streams, program=cells).wait()
    assert ended.code == 0, ended.stderr
    made = [json.loads(line) for line in ended.stdout.splitlines()]
    for cell, found in zip([cell for cell in book.cells if cell.cell_type == "code"], made, strict=True):
        cell["outputs"] = found


@pytest.mark.parametrize(
    "run",
    [pytest.param(run_in_a_fork, marks=pytest.mark.slow), pytest.param(run_in_a_kernel, marks=pytest.mark.thorough)],
)
@pytest.mark.parametrize("file", BOOKS, ids=lambda file: file.stem)
def test_a_notebook_gives_its_outputs_again(file, run, tmp_path, monkeypatch):
    """Numbers may differ a little from one machine to another; words, tables and their shapes may not."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    committed = list(outputs(nbformat.read(file, as_version=4)))
    book = nbformat.read(file, as_version=4)
    run(book, tmp_path / "streams")
    for cell in book.cells:
        cell["outputs"] = [each for each in cell.get("outputs", ()) if each.get("name") != "stderr"]
    again = list(outputs(book))
    assert [text for text, _ in again] == [text for text, _ in committed]
    for (text, numbers), (_, expected) in zip(again, committed, strict=True):
        assert numbers == pytest.approx(expected, rel=0.02, abs=0.002), text
