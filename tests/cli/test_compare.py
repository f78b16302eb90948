"""`prune-heads compare`: what it leaves, that a killed one ends in the same bytes, and what it refuses."""

import json
import os
import random
import signal
import time
from contextlib import suppress

import pytest
from forked import Forked
from null_work import here

from prune_heads.cli.sweep import Workers

FEW = ("--max-examples", 24, "--score-examples", 8, "--score-samples", 2, "--random-masks", 4, "--draws", 2)
FEW = (*FEW, "--steps", 3)
TWO = ("--criterion", "gradient", "--criterion", "magnitude")


@pytest.fixture(autouse=True)
def alone(request, monkeypatch):
    """Trials run in this process, but for tests of processes."""
    if "processes" not in request.node.name:
        monkeypatch.setattr(Workers, "start", lambda self: here)


def left(folder):
    """The files of a comparison; seconds differ."""
    files = (file for file in folder.iterdir() if file.is_file() and file.name != "seconds.json")
    return {file.name: file.read_bytes() for file in files}


def test_what_it_leaves_and_shows(invoke, json_of, tmp_path):
    out = tmp_path / "out"
    shown = invoke("compare", *FEW, *TWO, "-o", out, COLUMNS="80")
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "mini on mini-inference" in shown.stdout
    names = {"record.json", "table.md", "table.csv", "claims.md", "seconds.json", "cost.png", "cost.svg"}
    curves = {f"curves-mini-on-mini-inference.{form}" for form in ("png", "svg")}
    assert {file.name for file in out.iterdir()} == {*names, *curves, "sweep"}
    record = json.loads((out / "record.json").read_text())
    assert record["command"] == "compare"
    assert [each["criteria"] for each in record["asked"]] == [["gradient", "magnitude", "random"]]
    before = left(out)
    again = json_of(invoke("compare", *FEW, *TWO, "-o", out, "--json"))
    assert again == record
    assert left(out) == before
    assert "started" not in shown.stderr


@pytest.mark.slow
def test_subjects_of_a_file_and_options_that_go_first(invoke, json_of, tmp_path):
    file = tmp_path / "plan.toml"
    file.write_text('criterion = ["magnitude"]\nsteps = 2\n[[subject]]\ntask = "mini-inference"\n')
    found = json_of(invoke("compare", "--config", file, *FEW, "-o", tmp_path / "out", "--json"))
    assert [subject["name"] for subject in found["subjects"]] == ["mini on mini-inference"]
    assert len(found["subjects"][0]["criteria"][0]["points"]) == 4
    assert {each["criterion"] for each in found["subjects"][0]["criteria"]} == {"magnitude", "random"}


def killed(words, folder, tmp_path, moments):
    """Kills the whole group of processes at each moment, then lets it end; how many were killed."""
    n = 0
    for i, moment in enumerate(moments):
        process = Forked(tmp_path / f"streams {i}", *words, "-o", folder, before=os.setpgrp)
        time.sleep(moment)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        n += process.wait().code == -signal.SIGKILL
    last = Forked(tmp_path / "streams last", *words, "-o", folder).wait()
    assert last.code == 0, last.stderr
    return n


@pytest.mark.slow
def test_a_killed_one_ends_in_the_same_bytes(invoke, tmp_path, monkeypatch):
    words = ("compare", *FEW, *TWO, "--store", tmp_path / "store")
    begun = time.monotonic()
    assert invoke("compare", *FEW, *TWO, "-o", tmp_path / "quiet").exit_code == 0
    took = time.monotonic() - begun
    killed(words, tmp_path / "killed", tmp_path, [0.6 * took])
    assert left(tmp_path / "killed") == left(tmp_path / "quiet")


@pytest.mark.thorough
def test_kills_of_all_processes_at_five_moments_end_in_the_same_bytes(invoke, tmp_path):
    words = ("compare", *FEW, "--store", tmp_path / "store", "--jobs", 2)
    begun = time.monotonic()
    assert invoke("compare", *FEW, "-o", tmp_path / "quiet").exit_code == 0
    took = time.monotonic() - begun
    moments = [random.Random(i).uniform(0.0, took / 4) for i in range(5)]  # each goes on with what the last one left
    assert killed(words, tmp_path / "killed", tmp_path, moments) >= 3
    assert left(tmp_path / "killed") == left(tmp_path / "quiet")


def test_too_few_examples_are_refused_before_any_trial(invoke, tmp_path):
    words = ("--max-examples", 1, "--task", "mini-sentiment")
    refused = invoke("compare", *FEW, *TWO, *words, "-o", tmp_path / "out")
    assert refused.exit_code == 1
    said = "what a comparison scores and measures on must be of two examples or groups of examples at least; validation"
    assert refused.stderr == f"error: {said} has one\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_trial_that_fails_does_not_stop_the_others_and_is_tried_again(invoke, tmp_path):
    own = tmp_path / "own.py"
    own.write_text("def rows(examples):\n    raise ValueError('not yet')\n")
    words = ("compare", *FEW, "--criterion", "magnitude", "--criterion", f"{own}:rows", "-o", tmp_path / "out")
    failed = invoke(*words)
    assert failed.exit_code == 1
    *_, last = failed.stderr.splitlines()
    assert last.startswith("error: 2 of 5 trials failed: the criterion own.py:rows must give the scores of the heads")
    assert last.endswith("The same command tries them again")
    assert not (tmp_path / "out/record.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--criterion", "luck"), "'--criterion' must be one of"),
        (("--criterion", "random"), "--criterion must name one beside random"),
        (("--score-samples", "1"), "Input should be greater than or equal to 2"),
        (("--address", "auto"), "belong to --executor ray"),
        (("--task", "sst"), "Did you mean sst2?"),
    ],
)
def test_misuse(refused, out, words, said):
    assert said in refused("compare", *words, *out, code=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[subject]]\nmodle = "mini"\n', "did you mean 'model'?"),
        ('subject = "mini"\n', "subject must be tables"),
        ('[[subject]]\ncriterion = ["lucky"]\n', "must be one of"),
    ],
)
def test_faults_of_a_file(invoke, tmp_path, text, said):
    file = tmp_path / "plan.toml"
    file.write_text(text)
    done = invoke("compare", "--config", file, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(invoke, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    done = invoke("compare", *FEW, *TWO, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "must be a new folder or one of an earlier run" in done.stderr
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"mine.txt"}
    other = tmp_path / "other"
    assert invoke("compare", *FEW, "--criterion", "magnitude", "-o", other).exit_code == 0
    before = left(other)
    done = invoke("compare", *FEW, *TWO, "-o", other)
    assert done.exit_code == 1
    assert "holds another sweep" in done.stderr
    assert left(other) == before


@pytest.mark.thorough  # `tests/cli/test_sweep.py` asks the same of a sweep, which a comparison is
def test_processes_give_the_same_bytes(invoke, tmp_path, monkeypatch):
    assert invoke("compare", *FEW, *TWO, "--jobs", 2, "-o", tmp_path / "two").exit_code == 0
    monkeypatch.setattr(Workers, "start", lambda self: here)
    assert invoke("compare", *FEW, *TWO, "-o", tmp_path / "one").exit_code == 0
    assert left(tmp_path / "one") == left(tmp_path / "two")
