"""Real processes: streams, exit codes, and files that join the commands."""

import json
import re
import subprocess
import sys
import time

import pytest

import prune_heads

COMMANDS = ("run", "score", "prune", "evaluate", "tasks", "criteria", "models")
SAME_BYTES = (
    "scores.json",
    "heads.json",
    "gradients.safetensors",
    "scores.png",
    "scores.svg",
    "curve.png",
    "curve.svg",
)


def read(path):
    return json.loads(path.read_text("utf-8"))


def test_help_and_version_need_no_library_that_computes(cli):
    done = cli("--help")
    assert done.returncode == 0
    assert all(f" {command} " in done.stdout for command in COMMANDS)
    assert cli("--version").stdout == f"prune-heads {prune_heads.__version__}\n"
    seen = "import sys, prune_heads.cli.app; print({'torch', 'transformers', 'numpy'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True).stdout == "set()\n"


def test_no_command_prints_the_help_and_is_misuse(cli):
    done = cli()
    assert done.returncode == 2
    assert "Commands" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(("command", "shown"), [("tasks", "sst2"), ("criteria", "fisher"), ("models", "roberta")])
def test_a_listing_is_a_table(command, shown, invoke):
    done = invoke(command)
    assert (done.exit_code, done.stderr) == (0, "")
    assert shown in done.stdout


@pytest.mark.slow
@pytest.mark.drawn
def test_steps_joined_by_files_are_a_run(forked, invoke, on_sst2, tmp_path, json_of, snapshot):
    """score, prune, evaluate and run as processes; the same run in this process gives the same bytes."""
    a, b, c = (tmp_path / name for name in "abc")
    processes = [
        forked("score", *on_sst2, "--output", a, "--json"),
        forked(
            "prune", "--model", on_sst2[1], "--scores", a / "scores.json", "--mode", "remove", "--output", b, "--json"
        ),
        forked("evaluate", "--model", b / "checkpoint", *on_sst2[2:], "--json"),
        forked("run", *on_sst2, "--mode", "remove", "--curve", "--save-checkpoint", "--output", c, "--json"),
    ]
    assert [done.code for done in processes] == [0, 0, 0, 0], [done.stderr for done in processes]
    assert all(done.stdout.count("\n") == 1 for done in processes)
    scored, pruned, evaluated, record = (json.loads(done.stdout) for done in processes)
    assert "scoring" in processes[0].stderr
    assert "evaluating" in processes[2].stderr
    assert scored == read(a / "scores.json") == read(c / "scores.json")
    assert pruned == read(b / "record.json")
    assert pruned["heads_pruned"] == record["heads_pruned"] == read(b / "heads.json")["heads_pruned"]
    assert evaluated["metrics"] == {row["metric"]: row["pruned"] for row in record["rows"]}
    assert evaluated["heads_pruned"] == record["heads_pruned"]
    assert record == read(c / "record.json")
    both = [snapshot(folder / "checkpoint") for folder in (b, c)]
    assert all(each.pop("README.md") for each in both)  # what is known of the model differs
    assert both[0] == both[1]

    d = tmp_path / "d"
    again = json_of(invoke("run", *on_sst2, "--mode", "remove", "--curve", "--output", d, "--json"))
    assert all((c / name).read_bytes() == (d / name).read_bytes() for name in SAME_BYTES)
    assert {**record, "seconds": 0, "provenance": 0} == {**again, "seconds": 0, "provenance": 0}


@pytest.mark.slow
def test_without_options_the_built_in_model_is_scored_and_pruned_offline(cli, tmp_path):
    begun = time.perf_counter()
    done = cli("run", "--json", "--max-examples", "64", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["model"]["name"] == "mini"
    assert (record["n_pruned"], record["n_heads"]) == (12, 24)
    assert [row["split"] for row in record["rows"]] == ["validation_matched", "validation_mismatched"]
    assert all(row["base"] > 0.5 for row in record["rows"])
    said = re.fullmatch(r"took (\d+\.\d) s, (\d+\.\d) s of it to start", done.stderr.splitlines()[-1])
    assert 0 < float(said[2]) < float(said[1]) < time.perf_counter() - begun
    assert not any(tmp_path.rglob("*.py"))  # nothing was fetched


def test_exit_codes_and_streams_of_real_processes(cli, forked, on_sst2, tmp_path):
    misuse = cli("run", "--task", "sst", "--output", tmp_path / "out")
    assert (misuse.returncode, misuse.stdout) == (2, "")
    assert misuse.stderr.startswith("error: '--task' must be one of cola, sst2, ")
    assert misuse.stderr.endswith("Did you mean sst2?\n")
    assert misuse.stderr.count("\n") == 1
    words = ("evaluate", *on_sst2[:4], "--data-dir", tmp_path / "no", "--json", "--output", tmp_path / "out")
    wrong = forked(*words, FORCE_COLOR="1", NO_COLOR="")
    assert (wrong.code, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("\x1b[31merror: the data folder must be there, got ")
    assert wrong.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
