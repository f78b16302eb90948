"""What the README, the experiments and the results say of each other and of the program is so."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import typer

from prune_heads.cli.app import app
from prune_heads.cli.options import SetupOptions
from prune_heads.heads import HeadMask
from prune_heads.reporting.figures import curve_figure, heat_map, save
from prune_heads.reporting.markdown import run_markdown

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.toml"))
RECORDS = sorted((ROOT / "results").rglob("record.json"))
COMMANDS = typer.main.get_command(app).commands


def options(command):
    return {parameter.name: parameter for parameter in COMMANDS[command].params}


def test_the_readme_names_every_command_and_no_other():
    table = README.partition("## Commands")[2].partition("\n\n    ")[0]
    named = {
        name
        for cell in re.findall(r"^\| (`.*?) \|", table, re.M)
        for name in re.findall(r"`(?:prune-heads )?([\w-]+)`", cell)
    }
    assert named == set(COMMANDS)


def test_every_option_in_the_readme_is_there():
    known = {name for command in COMMANDS.values() for parameter in command.params for name in parameter.opts}
    assert set(re.findall(r"--[a-z][a-z-]+", README)) <= known


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "experiments/README.md", "results/LOG.md"]
)
def test_links_and_paths_lead_somewhere(document):
    folder = (ROOT / document).parent
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    for link in links:
        assert (folder / link).exists(), link


def test_contributing_is_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 40


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_has_known_options_and_a_result(file):
    values = tomllib.loads(file.read_text(encoding="utf-8"))
    assert set(values) <= set(options("run"))
    assert (ROOT / "results" / file.stem / "record.json").is_file()
    assert file.name in (ROOT / "experiments" / "README.md").read_text()


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.parent.name)
def test_a_result_names_its_experiment_and_was_made_from_a_clean_tree(file):
    record = json.loads(file.read_text())
    wanted = tomllib.loads((ROOT / "experiments" / f"{file.parent.name}.toml").read_text())
    configuration = record["configuration"]
    assert configuration["task"] == wanted["task"]
    assert configuration["model"] == Path(wanted.get("model", SetupOptions().model)).name
    assert configuration["max_examples"] is None
    assert record["provenance"]["dirty"] is False
    assert not re.search(r'"/|\.\./', file.read_text())


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.parent.name)
def test_the_last_point_of_a_curve_is_a_constant_classifier(file):
    record = json.loads(file.read_text())
    ends = [point for point in record["curve"] if point["percent"] == 100]
    assert ends
    for point in ends:
        assert point["n_classes_predicted"] == 1
        mask = HeadMask.parse(
            " ".join(point["heads_pruned"]), json.loads((file.parent / "heads.json").read_text())["n_heads"]
        )
        assert len(mask) == mask.n_total


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.parent.name)
def test_tables_and_figures_are_those_of_the_record(file, tmp_path):
    """Byte for byte for tables; for figures the points, since the drawing depends on the machine's fonts."""
    record = json.loads(file.read_text())
    assert (file.parent / "table.md").read_text() == run_markdown(record)
    scores = json.loads((file.parent / "scores.json").read_text())
    save(curve_figure(record), tmp_path, "curve")
    save(heat_map(scores, record["heads_pruned"]), tmp_path, "scores")
    for stem in ("curve", "scores"):
        made, kept = ((folder / f"{stem}.svg").read_text() for folder in (tmp_path, file.parent))
        assert re.findall(r'd="(M[^"]*)"', made) == re.findall(r'd="(M[^"]*)"', kept)
        assert (file.parent / f"{stem}.png").is_file()
