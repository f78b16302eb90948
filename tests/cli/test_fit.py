"""`prune-heads fit` from the terminal: its files, a page of it, a kill, and what it refuses."""

import json
import os
import signal

import pytest
from forked import Forked
from tiny import write_sst2

from prune_heads import load_pruned
from prune_heads.heads import HeadMask
from prune_heads.options import Setup
from prune_heads.progress import Reporter
from prune_heads.studies.scoring import Lab
from prune_heads.surgery import removed_heads


@pytest.fixture(scope="module")
def words(checkpoint, tmp_path_factory):
    """Of data that the model answers without an error, so that every answer that changes is a loss."""
    folder = tmp_path_factory.mktemp("fit")
    data = write_sst2(folder / "SST-2", n_train=64, n_dev=80)
    for name, split in (("train", "train"), ("dev", "validation")):
        on = Lab(Setup(str(checkpoint), "sst2", data_dir=data, store=folder / "store"), Reporter()).predictions(split)
        header, *lines = (data / f"{name}.tsv").read_text().splitlines()
        rows = [f"{line[:-1]}{answer}" for line, answer in zip(lines, on.answers(on.of(on.gone)), strict=True)]
        (data / f"{name}.tsv").write_text("\n".join([header, *rows]) + "\n")
    return (
        "fit",
        "--model",
        checkpoint,
        "--task",
        "sst2",
        "--data-dir",
        data,
        "--exchange",
        0,
        "--max-loss",
        0.2,
        "--candidates",
        3,
    )


def lasting(folder):
    """Every file with its bytes; of the record what does not depend on when it was made, and no figures."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    record = json.loads(found.pop("record.json"))
    return {k: v for k, v in found.items() if not k.endswith((".png", ".svg"))}, {
        k: v for k, v in record.items() if k not in ("seconds", "provenance")
    }


def test_a_fit_leaves_the_files_of_a_run_and_goes_on_a_page(invoke, words, tmp_path, json_of):
    done = invoke(*words, "--mode", "remove", "-o", tmp_path / "fitted", COLUMNS="80")
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    said = " ".join(done.stdout.split())
    assert "Shown at 95% confidence: this model loses less than 0.2 of accuracy without 12 heads." in said
    assert "The test has 80 examples of validation, on which nothing was chosen." in said
    files = {path.name for path in (tmp_path / "fitted").iterdir()}
    assert {"record.json", "table.md", "heads.json", "scores.json", "examples.json", "curve.svg", "checkpoint"} <= files
    record = json.loads((tmp_path / "fitted" / "record.json").read_text())
    mask = HeadMask.parse(" ".join(record["heads_pruned"]), (4, 4, 4))
    assert removed_heads(load_pruned(tmp_path / "fitted" / "checkpoint")) == mask
    page = invoke("report", tmp_path / "fitted", "-o", tmp_path / "page.html", "--json")
    assert json_of(page)["n_orders"] == 1


def test_nothing_that_is_shown_leaves_the_model(invoke, words, tmp_path, json_of):
    record = json_of(invoke(*words, "--max-loss", 0.05, "-o", tmp_path / "none", "--json"))
    assert record["fit"]["n_shown"] is None
    assert record["n_pruned"] == record["rows"][0]["difference"] == 0
    (tested,) = [row for row in record["fit"]["candidates"] if "limit" in row]
    assert tested["limit"] > 0.05
    assert not (tmp_path / "none" / "checkpoint").exists()
    table = (tmp_path / "none" / "table.md").read_text()
    assert "Not shown at 95% confidence" in table
    more = tested["examples_needed"] > 80
    assert (f"{tested['examples_needed']:,} examples would show 0.05 in 80%" in table) == more
    assert ("only if less is lost than here" in table) != more


@pytest.mark.slow
def test_a_fit_that_was_killed_ends_in_the_same_bytes(invoke, words, tmp_path):
    how = (*words, "--replace", "mean", "--exchange", 40)
    assert invoke(*how, "-o", tmp_path / "quiet", "--store", tmp_path / "a").exit_code == 0
    process = Forked(tmp_path / "streams", *how, "-o", tmp_path / "killed", "--store", tmp_path / "b")
    process.wait_for("scoring")
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    assert invoke(*how, "-o", tmp_path / "killed", "--store", tmp_path / "b").exit_code == 0
    assert lasting(tmp_path / "killed") == lasting(tmp_path / "quiet")


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--max-loss", 0.01), 1, "about 299 examples must be there"),
        (("--max-loss", 0), 2, "--max-loss"),
        (("--confidence", 1), 2, "--confidence"),
        (("--budget", "seconds"), 2, "--budget"),
        (("--units", "neurons"), 2, "--units"),
        (("--criterion", "luck"), 2, "'--criterion' must be one of"),
        (("--replace", "resample"), 2, "--replace must be zero or mean"),
        (("--test-split", "train"), 2, "--test-split must be a split on which nothing is chosen"),
        (("--test-split", "test"), 1, "GLUE publishes no labels"),
        (("--budget", "milliseconds"), 2, "--mode remove"),
        (("--train-examples", 1), 2, "--train-examples"),
    ],
)
def test_what_is_refused_is_one_line(refused, words, out, more, code, said):
    assert said in refused(*words, *more, *out, code=code)
