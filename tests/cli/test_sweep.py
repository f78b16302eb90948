"""`prune-heads sweep`: a grid from a file, as a process: runs, goes on after kills, shows what came out."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from chaos import records
from null_work import here
from pyarrow import parquet
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from prune_heads.cli.app import app
from prune_heads.cli.sweep import draws, known
from prune_heads.execution import worker
from prune_heads.importance import CRITERIA

GRID = """
name = "grid"
model = {model!r}
data_dir = {data!r}
task = "sst2"
max_examples = 20
seeds = [0, 1]
[grid]
criterion = ["gradient", "random"]
fraction = [0.0, 0.5, 1.0]
"""
N = 9
"""Of gradient, which draws nothing, one seed; of random both."""


@pytest.fixture(scope="module", autouse=True)
def in_this_process():
    """Trials run here, where torch is imported already; a test that starts a process has real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "processes", lambda *shares: here)
        yield


@pytest.fixture
def spec(tmp_path, checkpoint, sst2):
    def write(text=GRID, **more):
        file = tmp_path / "sweep.toml"
        top = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
        file.write_text(top + text.format(model=str(checkpoint), data=str(sst2)))
        return file

    return write


@pytest.fixture(scope="module")
def whole(tmp_path_factory, checkpoint, sst2, in_this_process):
    """The folder of the sweep, run to its end by one process; to be read only."""
    folder = tmp_path_factory.mktemp("sweep")
    file = folder / "sweep.toml"
    file.write_text(GRID.format(model=str(checkpoint), data=str(sst2)))
    words = ("sweep", "run", file, "--output", folder / "whole", "--store", folder / "store")
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return folder / "whole"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "out"


def process(*words):
    command = [sys.executable, "-m", "prune_heads", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_dry_run_prints_the_trials_and_writes_nothing(spec, invoke, json_of, snapshot, tmp_path):
    file = spec()
    before = snapshot(tmp_path)
    report = json_of(invoke("sweep", "run", file, "--dry-run", "--json"))
    assert report["n_trials"] == len(report["trials"]) == N
    assert report["axes"] == ["criterion", "fraction", "seed"]
    assert report["trials"][0] | {"digest": ""} == {"digest": "", "criterion": "gradient", "fraction": 0.0, "seed": 0}
    assert f"grid: {N} trials" in invoke("sweep", "run", file, "--dry-run").stdout
    assert snapshot(tmp_path) == before


def test_a_sweep_is_run_once_and_shown(spec, root, invoke, json_of, tmp_path):
    done = invoke("sweep", "run", spec(), "--output", root)
    assert done.exit_code == 0, done.stderr
    assert f"grid: {N} of {N} trials done" in done.stdout
    first = records(root)
    assert len(first) == N
    for name, content in first.items():
        record = json.loads(content)
        assert record["trial"]["digest"] == name
        assert record["configuration"]["fraction"] == record["trial"]["values"]["fraction"]
        assert "date" not in record["provenance"]
    again = [
        json.loads(line) for line in invoke("sweep", "run", spec(), "--output", root, "--json").stdout.splitlines()
    ]
    assert [row["event"] for row in again] == ["end"]
    assert records(root) == first
    status = json_of(invoke("sweep", "status", root, "--json"))
    assert status == {**{"name": "grid", "n_trials": N, "done": N, "failed": 0, "running": 0, "left": 0, "errors": []}}
    report = json_of(invoke("sweep", "results", root, "--json"))
    rows = list(csv.DictReader(io.StringIO((root / "results.csv").read_text())))
    assert len(rows) == len(report["rows"]) == N
    assert parquet.read_table(root / "results.parquet").to_pylist() == report["rows"]
    for row, shown in zip(rows, report["rows"], strict=True):
        assert float(row["pruned"]) == shown["pruned"]
        assert int(row["n_pruned"]) == int(float(row["fraction"]) * 12)
    assert invoke("sweep", "plot", root, "--output", tmp_path / "figure").exit_code == 0
    assert {path.name for path in (tmp_path / "figure").iterdir()} == {"sweep.png", "sweep.svg"}
    assert "mean over 2 seeds" in (tmp_path / "figure" / "sweep.svg").read_text()


@pytest.mark.slow
def test_a_trial_is_the_run_of_the_same_options(spec, whole, invoke, json_of):
    for content in records(whole).values():
        trial = json.loads(content)
        values = trial["trial"]["values"]
        words = [f"--{key}={values[key]}" for key in ("criterion", "fraction", "seed")]
        alone = json_of(invoke("run", "--config", spec(), *words, "--json"))  # its tables are for sweeps
        for key in ("configuration", "rows", "heads_pruned", "parameters", "notes", "identity_hash"):
            assert alone[key] == trial[key]


@pytest.mark.thorough
def test_processes_and_one_process_give_the_same_records(spec, whole, tmp_path):
    with process("sweep", "run", spec(), "--output", tmp_path / "two", "--jobs", 2, "--json") as both:
        events = [json.loads(line) for line in both.stdout]
    assert both.returncode == 0
    assert records(tmp_path / "two") == records(whole)
    assert sum(event["event"] == "done" for event in events) == N


@pytest.mark.thorough
def test_ray_gives_the_same_records(spec, whole, tmp_path):
    pytest.importorskip("ray")
    words = ("sweep", "run", spec(), "--output", tmp_path / "ray", "--executor", "ray", "--jobs", 2)
    with process(*words) as cluster:
        _, errors = cluster.communicate(timeout=240)
    assert cluster.returncode == 0, errors
    assert records(tmp_path / "ray") == records(whole)


@pytest.mark.thorough
def test_a_sweep_that_is_killed_ends_in_the_same_bytes(spec, whole, tmp_path, invoke):
    killed = tmp_path / "killed"
    words = (spec(), "--output", killed, "--kills", 3, "--mean-seconds", 0.5, "--compare", whole, "--", "--retries", 1)
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *map(str, words)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary, compared = done.stdout.splitlines()
    assert re.fullmatch(rf"[123] kills, [234] starts, {N} trials done, [0123] cut off, \d+ s, 0 faults", summary)
    assert compared == f"{N} of {N} records are identical to those of {whole}"
    assert json.loads(invoke("sweep", "status", killed, "--json").stdout)["running"] == 0


def test_failures_are_told_and_tried_again_when_asked(spec, root, invoke, json_of, sst2, tmp_path):
    data = tmp_path / "data"
    file = spec(GRID.replace("{data!r}", repr(str(data))))
    done = invoke("sweep", "run", file, "--output", root, "--stop-after", 3)
    assert done.exit_code == 1
    assert f"grid: 0 of {N} trials done, 3 failed, {N - 3} left" in done.stdout
    report = json_of(invoke("sweep", "status", root, "--json"))
    assert report["failed"] == report["errors"][0]["n_trials"] == 3
    failure = json.loads(next(root.glob("failures/*/*.json")).read_text())
    assert "Traceback" in failure["traceback"]
    data.symlink_to(sst2)
    assert json_of(invoke("sweep", "retry", root, "--json")) == {"n_forgotten": 3}
    assert invoke("sweep", "run", file, "--output", root).exit_code == 0
    assert len(records(root)) == N


def test_misuse_and_what_is_not_a_sweep(spec, root, whole, refused, tmp_path):
    file = spec()
    said = refused("sweep", "run", spec(GRID.replace("fraction", "fractoin"), criterio="x"), "--output", root, code=2)
    assert "sweep.toml has 2 fault(s): (1) criterio: there is no such option (did you mean criterion?)" in said
    assert "; (2) grid.fractoin: there is no such option (did you mean fraction?)" in said
    said = refused("sweep", "run", spec(GRID.replace('"random"', '"vibes"')), "--output", root, code=2)
    assert "grid.criterion: must be one of 'gradient', 'ablation', 'magnitude', 'random', " in said
    assert ", or your own as module:function or file.py:function; got 'vibes'" in said
    file = spec()
    assert "--output must name" in refused("sweep", "run", file, code=2)
    assert "belong to --executor ray" in refused("sweep", "run", file, "--output", root, "--address", "auto", code=2)
    for command in ("status", "results", "plot", "retry"):
        assert "must hold sweep.json" in refused("sweep", command, tmp_path)
    shutil.copytree(whole, root)
    other = spec(GRID.replace("[0.0, 0.5, 1.0]", "[0.0]"))
    assert "holds another sweep of the same name" in refused("sweep", "run", other, "--output", root)
    next(root.glob("trials/*/*/record.json")).write_text("{")
    assert "must be a JSON file" in refused("sweep", "results", root)


LATER = {
    **{"objective": None, "sample": None, "sample_seed": None},
    **{"skip_invalid": False, "beams": 1, "doc_stride": None},
    **{"cluster_column": None, "margin": None, "response": "metric", "replace": "zero"},
    **{"masks": 2000, "updates": 500, "rescale": False},
}
"""Options that were added after the first version: at their defaults they are in no hash, so these may not change."""
DIGEST = "d805f57157625af20e6767d06e0f965e901017a451c5ad0f00ef6301443bdfcb"


def test_the_hash_of_a_trial_is_that_of_the_first_version(tmp_path, invoke, json_of):
    assert {key: value for key, value in known().defaults.items() if key not in known().always} == LATER
    (tmp_path / "s.toml").write_text('model = "m"\ntask = "SST-2"\nfraction = 0.5\n')
    plan = json_of(invoke("sweep", "run", tmp_path / "s.toml", "--dry-run", "--json"))
    assert [trial["digest"] for trial in plan["trials"]] == [DIGEST]


def test_the_seed_matters_where_the_criterion_says_so():
    for criterion, row in CRITERIA.items():
        values = {**known().defaults, "criterion": criterion}
        assert draws(values) == row.draws
        assert not draws({**values, "heads": "1:1"})  # which no score chooses
        assert draws({**values, "heads": "1:1", "curve": True}) == row.draws
        assert draws({**values, "heads": "1:1", "replace": "resample"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[grid]\nmodel = ["bert"]', "--task must say which task the model is for"),
        ('task = "lm"\nmodel = "gpt2"', "--task lm needs texts of your own"),
        ('model = "bert"\n[[include]]\nlabel_column = "y"', "--labels describe --train-file"),
        ("[grid]\nfraction = [0.5]\nn_heads = [1]", "--fraction and --n-heads exclude each other"),
        ('task = "sst2"\ndata_dir = 5', "data_dir: must be a path; got 5"),
        ('split = "validation"', 'split: must be a list of texts; got "validation"'),
        ("curve = 1", "curve: must be true or false; got 1"),
        ("[grid]\nmax_examples = [true]", "grid.max_examples: must be a whole number; got true"),
    ],
)
def test_a_dry_run_finds_what_no_trial_could_do(text, said, refused, tmp_path):
    file = tmp_path / "s.toml"
    file.write_text(text)
    assert said in refused("sweep", "run", file, "--dry-run", code=2)


def test_more_trials_than_a_folder_takes_are_counted_and_not_run(invoke, json_of, refused, tmp_path):
    file, many = tmp_path / "s.toml", list(range(1, 1001))
    grid = f"[grid]\nbatch_size = {many}\nmax_examples = {many}\n"
    file.write_text(f'criterion = "random"\nseeds = {many}\n{grid}')
    report = json_of(invoke("sweep", "run", file, "--dry-run", "--json"))
    assert (report["n_trials"], report["n_undrawn"], len(report["trials"])) == (10**9, 0, 20)
    said = refused("sweep", "run", file, "--output", tmp_path / "s", code=2)
    assert "must describe 1,000,000 trials at most; s.toml describes 1,000,000,000." in said


def test_folders_of_one_name_are_told_apart(checkpoint, sst2, invoke, json_of, tmp_path):
    """Two models and two data folders: each row is what `prune-heads run` says of its own."""
    for name in "ab":
        shutil.copytree(checkpoint, tmp_path / name / "checkpoint-500")
        shutil.copytree(sst2, tmp_path / name / "SST-2")
    weights = tmp_path / "b" / "checkpoint-500" / "model.safetensors"
    save_file({key: -value for key, value in load_file(weights).items()}, weights, {"format": "pt"})
    dev = tmp_path / "b" / "SST-2" / "dev.tsv"
    dev.write_text("".join(dev.read_text().splitlines(keepends=True)[:15]))
    file = tmp_path / "s.toml"
    models, data = (json.dumps([f"./{name}/{end}" for name in "ab"]) for end in ("checkpoint-500", "SST-2"))
    file.write_text(
        f'task = "sst2"\nn_heads = 3\ncriterion = "magnitude"\n[grid]\nmodel = {models}\ndata_dir = {data}\n'
    )
    assert invoke("sweep", "run", file, "--output", tmp_path / "s").exit_code == 0
    rows = json_of(invoke("sweep", "results", tmp_path / "s", "--json"))["rows"]
    assert len(rows) == 4
    table = (tmp_path / "s" / "table.md").read_text()
    assert table.count("\n## ") == 4
    assert " to " not in table
    for row in rows:
        words = ("--task", "sst2", "--n-heads", 3, "--criterion", "magnitude", "--json")
        where = ("--model", tmp_path / row["model"], "--data-dir", tmp_path / row["data_dir"])
        alone = json_of(invoke("run", *words, *where))
        assert (row["base"], row["pruned"]) == (alone["rows"][0]["base"], alone["rows"][0]["pruned"])
        assert alone["model"]["fingerprint"].startswith(row["model_fingerprint"])
        assert f"## {row['model']} / data_dir {row['data_dir']}: accuracy, {row['n_examples']} examples" in table
    assert len({(row["model"], row["data_dir"], row["base"]) for row in rows}) == 4
    shown = invoke("sweep", "results", tmp_path / "s").stdout
    assert all(f"{row['model']} / data_dir {row['data_dir']}" in shown for row in rows)
