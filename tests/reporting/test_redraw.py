"""`python -m tests.redraw` draws a run's figures from what is in its folder."""

import shutil
from pathlib import Path

import pytest
import redraw

from prune_heads.reporting import figures

RESULTS = Path(__file__).resolve().parents[2] / "results"


@pytest.mark.parametrize("name", ["mini-curve", "criteria-sweep", "minilm-rte"])
def test_the_figures_of_a_folder_are_those_that_are_drawn_again(name, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "_write_png", lambda figure, path: path.write_text("drawn"))
    folder = shutil.copytree(RESULTS / name, tmp_path / name)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    drawn = redraw.redraw(folder)
    after = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(after) == set(before)
    assert {name for name in after if name.endswith(".png")} == {f"{stem}.png" for stem in drawn}
    assert all(after[name] == before[name] for name in after if not name.endswith((".png", ".svg")))
