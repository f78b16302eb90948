"""What the README, the experiments and the results say of each other and of the program is so."""

import json
import random
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
import typer
from matplotlib.image import imread
from pyarrow import parquet

from prune_heads.cli.app import app
from prune_heads.cli.reproduce import planned
from prune_heads.cli.sweep import known
from prune_heads.execution.spec import read_sweep
from prune_heads.heads import HeadMask
from prune_heads.options import Comparing, Setup
from prune_heads.reporting import folders
from prune_heads.reporting.figures import save
from prune_heads.reporting.figures.curves import sweep_figure
from prune_heads.reporting.figures.heads import heat_map
from prune_heads.reporting.michel2019 import REPRODUCTIONS
from prune_heads.reporting.sweep_results import results_page
from prune_heads.visible import csv_of

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.toml"))
RECORDS = sorted(file for file in (ROOT / "results").glob("*/record.json") if file.parent.name != "scratch")
COMMANDS = typer.main.get_command(app).commands


def options(command):
    return {parameter.name: parameter for parameter in COMMANDS[command].params}


def subcommands(command):
    return getattr(command, "commands", {}).values()


def made_by(command):
    """The records of one command."""
    return [file for file in RECORDS if json.loads(file.read_text())["command"] == command]


def test_the_readme_names_every_command_and_no_other():
    table = README.partition("## Commands")[2].partition("\n\n    ")[0]
    named = {
        name
        for cell in re.findall(r"^\| (`.*?) \|", table, re.M)
        for name in re.findall(r"`(?:prune-heads )?([\w-]+)`", cell)
    }
    assert named == set(COMMANDS)


def test_every_option_in_the_readme_is_there():
    every = [*COMMANDS.values(), *(part for each in COMMANDS.values() for part in subcommands(each))]
    known = {
        name
        for command in every
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    own = re.sub(r"^ +(#SBATCH|srun|export) .*$", "", README, flags=re.M)  # the lines of other programs
    assert set(re.findall(r"--[a-z][a-z-]+", own)) <= known


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CONTRIBUTING.md",
        "experiments/README.md",
        "results/LOG.md",
        "results/README.md",
        "results/criteria.md",
    ],
)
def test_links_and_paths_lead_somewhere(document):
    folder = (ROOT / document).parent
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    for link in links:
        assert (folder / link).exists(), link


def test_nothing_stands_at_the_top_but_what_belongs_there():
    """Also not what a test or a trial has left in the working directory."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    top = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    files = {
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "constraints.txt",
        "pyproject.toml",
    }
    assert {name for name in top if not name.startswith(".")} == files | {
        *("prune_heads", "experiments", "tests", "results")
    }


def test_contributing_is_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 40


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_has_known_options_and_a_result(file):
    assert file.name in (ROOT / "experiments" / "README.md").read_text()
    if file.parent.name == "michel2019":
        assert file.stem in REPRODUCTIONS
        assert (ROOT / "results" / "michel2019" / f"{file.stem}.md").is_file()
        return
    if file.parent.name == "sweep":
        assert read_sweep(file, known()).trials
    elif file.parent.name == "compare":
        assert planned("compare", file, {}, Comparing)
    else:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        assert set(values) <= set(options(file.parent.name))
    assert (ROOT / "results" / file.stem / "record.json").is_file()


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.parent.name)
def test_a_result_names_its_experiment_and_was_made_from_a_clean_tree(file):
    record = json.loads(file.read_text())
    assert not re.search(r'"/|\.\./', file.read_text())
    (experiment,) = [each for each in EXPERIMENTS if each.stem == file.parent.name]
    assert record["command"] == experiment.parent.name
    if record["command"] == "sweep":
        sweep = read_sweep(experiment, known())
        assert (record["name"], tuple(record["axes"])) == (sweep.name, sweep.axes)
        assert record["n_done"] == record["n_trials"]
        # Hashes are those of an earlier version, which had fewer options, and ran every criterion once a seed.
        assert {row["trial"] for row in sweep_rows(file.parent)} == {trial.digest for trial in sweep.trials}
        assert [each["dirty"] for each in record["provenance"]] == [False]
        return
    if record["command"] == "compare":
        assert record["provenance"]["dirty"] is False
        wanted = [
            (Path(each.setup.task).name, list(each.conditions.names))
            for each in planned("compare", experiment, {}, Comparing)
        ]
        assert [(each["task"], each["criteria"]) for each in record["asked"]] == wanted
        return
    wanted = tomllib.loads(experiment.read_text())
    configuration = record["configuration"]
    assert configuration["task"] == wanted["task"]
    assert configuration["model"] == Path(wanted.get("model", Setup().model)).name
    assert configuration["dtype"] == wanted.get("dtype", "float32")
    assert configuration.get("max_examples") == wanted.get("sample")
    assert record["provenance"]["dirty"] is False


@pytest.mark.parametrize("file", made_by("run"), ids=lambda file: file.parent.name)
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


@pytest.mark.parametrize("file", made_by("curve"), ids=lambda file: file.parent.name)
def test_all_curves_begin_and_end_alike(file):
    lines = json.loads(file.read_text())["lines"]
    for percent in (0, 100):
        values = {
            (point["split"], round(point["value"], 12))
            for line in lines
            for point in line["points"]
            if point["percent"] == percent
        }
        assert len(values) == len({split for split, _ in values}) > 0


@pytest.mark.parametrize("file", made_by("ablate"), ids=lambda file: file.parent.name)
def test_a_table_of_ablations_is_whole(file):
    record = json.loads(file.read_text())
    for table in record.get("tables", ()):  # none of pairs
        available = next(data["n_available"] for data in record["data"] if data["split"] == table["split"])
        assert table["n_examples"] == (record["configuration"]["max_examples"] or available)
        for block, row in zip(table["blocks"], table["delta"], strict=True):
            assert len(row) == block["n_heads"]
            assert None not in row


def drawn(figure):
    return lambda path: save(figure, path.parent, path.name)


def run_files(record, folder):
    """And the map of the scores, which are not in the record."""
    scores = json.loads((folder / "scores.json").read_text())
    return {**folders.of_record(record), "scores": drawn(heat_map(scores, record["heads_pruned"]))}


def sweep_rows(folder):
    return parquet.read_table(folder / "results.parquet").to_pylist()


def sweep_files(record, folder):
    rows = sweep_rows(folder)
    texts = {"table.md": results_page(record["name"], rows).to_markdown(), "results.csv": csv_of(rows)}
    return texts | {"sweep": drawn(sweep_figure(record["name"], rows))}


FILES = {"run": run_files, "sweep": sweep_files}
"""Command -> name of a file -> its text or JSON, or what draws a figure of that stem, where a record is not all."""


def assert_same_picture(made, kept):
    """Dot by dot: how a file is packed may differ between machines; letters are drawn from matplotlib's own font."""
    first, second = (imread(path) for path in (made, kept))
    assert first.shape == second.shape
    assert np.array_equal(first, second)


def test_vector_figures_are_kept_only_where_a_page_shows_them():
    pages = [*ROOT.glob("*.md"), *(ROOT / "experiments").glob("*.md"), *(ROOT / "results").glob("*.md")]
    shown = {
        (page.parent / target).resolve()
        for page in pages
        for target in re.findall(r'(?:\]\(|src=")([^)"#]+\.svg)', page.read_text(encoding="utf-8"))
    }
    assert set((ROOT / "results").rglob("*.svg")) <= shown
    linked = (ROOT / "results/README.md").read_text() + (ROOT / "experiments/README.md").read_text()
    for file in (ROOT / "results/michel2019").glob("*.*"):
        assert file.suffix in (".md", ".png")
        assert f"michel2019/{file.name}" in linked


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted((ROOT / "results/michel2019").glob("*.md")), ids=lambda file: file.stem)
def test_a_reproduction_is_that_of_its_records(file, tmp_path, invoke):
    kept = file.parent
    shutil.copytree(kept / "records", tmp_path / "records")
    words = ("--config", ROOT / "experiments/michel2019", "--output", tmp_path, "--from-records")
    assert invoke("reproduce", file.stem, *words).exit_code == 0
    assert (tmp_path / file.name).read_bytes() == file.read_bytes()
    figures = {path.name for path in kept.glob(f"{file.stem}*.png")}
    assert {path.name for path in tmp_path.glob("*.png")} == figures
    for name in figures:
        assert_same_picture(tmp_path / name, kept / name)


@pytest.mark.parametrize("file", sorted((ROOT / "results/michel2019/records").iterdir()), ids=lambda file: file.stem)
def test_the_records_of_the_reproductions_are_of_whole_data_and_a_clean_tree(file):
    record = json.loads(file.read_text())
    assert record["configuration"].get("max_examples") is None or record["command"] == "estimators"
    assert record["provenance"]["dirty"] is False
    assert not re.search(r'"/|\.\./', file.read_text())


def made_of(file):
    """What a folder of results holds beside its record: texts, objects, and what draws a figure into a file."""
    record = json.loads(file.read_text())
    return FILES.get(record["command"], lambda record, folder: folders.of_record(record))(record, file.parent).items()


@pytest.mark.slow
@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.parent.name)
def test_tables_are_those_of_the_record(file):
    for name, what in made_of(file):
        if isinstance(what, str):
            assert (file.parent / name).read_text() == what
        elif not callable(what):
            assert json.loads((file.parent / name).read_text()) == what


SAMPLE = random.Random(0).sample(RECORDS, len(RECORDS) // 4)


@pytest.mark.parametrize(
    "file",
    [pytest.param(file, marks=pytest.mark.slow if file in SAMPLE else pytest.mark.thorough) for file in RECORDS],
    ids=lambda file: file.parent.name,
)
def test_figures_are_those_of_the_record(file, tmp_path):
    """Dot by dot; of a seeded sample of folders, the others by `make thorough`."""
    kept = file.parent
    for name, what in made_of(file):
        if callable(what):
            what(tmp_path / name)
            assert_same_picture(tmp_path / f"{name}.png", kept / f"{name}.png")
            if (kept / f"{name}.svg").exists():  # only where a page shows it
                made, there = ((folder / f"{name}.svg").read_text() for folder in (tmp_path, kept))
                assert re.findall(r'd="(M[^"]*)"', made) == re.findall(r'd="(M[^"]*)"', there)
