"""What the tests of the command line share."""

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Figures are made, but files hold their words alone: drawing takes most of the time of many commands.

    Tests that are marked `drawn` draw them, as do all of `tests/reporting`.
    """

    def savefig(self, path, **options):
        words = [text.get_text() for text in self.findobj(Text)]
        Path(path).write_text("\n".join([Path(path).suffix, *words]))

    if not request.node.get_closest_marker("drawn"):
        monkeypatch.setattr(Figure, "savefig", savefig)
        monkeypatch.setattr(Figure, "draw_without_rendering", lambda self: None)
        monkeypatch.setattr("prune_heads.reporting.figures._write_png", savefig)


@pytest.fixture
def snapshot():
    """Every file of a folder with its bytes, and every folder in it; hidden ones too."""
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


@pytest.fixture
def refused(invoke, snapshot, tmp_path):
    """Run a command that must fail: checks exit code, streams and disk, and gives the one line on stderr."""

    def run(*words, code=1):
        before = snapshot(tmp_path)
        done = invoke(*words)
        assert done.exit_code == code, done.output
        assert done.stdout == ""
        *progress, last = done.stderr.splitlines()
        assert last.startswith("error: ")
        assert all(line.startswith("note: ") or line.endswith(" done") for line in progress)
        assert snapshot(tmp_path) == before
        return last.removeprefix("error: ")

    return run


@pytest.fixture
def out(tmp_path):
    """The option that names a folder yet to be made."""
    return ("--output", tmp_path / "results" / "out")


@pytest.fixture
def json_of():
    """The one JSON object on stdout of a command that went well."""

    def read(done):
        assert done.exit_code == 0, done.output
        assert done.stdout.count("\n") == 1
        value = json.loads(done.stdout)
        assert isinstance(value, dict)
        return value

    return read
