"""`--config`: the options of a run from a TOML file."""

import json
from pathlib import Path

import pytest
from typer.main import get_command

from prune_heads.cli.app import app
from prune_heads.heads import HeadMask


@pytest.fixture
def write(tmp_path, checkpoint, sst2):
    def write(**values):
        values = {"model": str(checkpoint), "task": "sst2", "data_dir": str(sst2), **values}
        file = tmp_path / "run.toml"
        file.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items()))
        return file

    return write


def configuration(done):
    return json.loads(done.stdout)["configuration"]


def test_options_come_from_the_file_and_the_command_line_goes_first(invoke, write):
    file = write(n_heads=3, estimator="fisher", curve=True, split=["validation"])
    done = invoke("run", "--config", file, "--estimator", "token", "--json")
    record = json.loads(done.stdout)
    assert record["n_pruned"] == 3
    assert record["configuration"]["estimator"] == "token"
    assert record["configuration"]["splits"] == ["validation"]
    assert len(record["curve"]) == 11


def test_paths_are_relative_to_the_file(invoke, write, tmp_path, checkpoint, sst2):
    for name, target in (("model", checkpoint), ("data", sst2)):
        (tmp_path / name).symlink_to(target)
    file = write(model="./model", data_dir="data", output="out", n_heads=1)
    assert invoke("run", "--config", file).exit_code == 0
    assert (tmp_path / "out" / "record.json").is_file()


def test_files_and_folders_are_looked_for_beside_the_file(invoke, json_of, write, tmp_path, checkpoint, monkeypatch):
    """Also where an option takes a path or something else: heads or their file, a model or its folder."""
    (tmp_path / "aside").mkdir()
    monkeypatch.chdir(tmp_path / "aside")
    (tmp_path / "tiny").symlink_to(checkpoint)
    (tmp_path / "heads.json").write_text(json.dumps(HeadMask.parse("1:2 3:4", (4, 4, 4)).to_json()))
    file = write(model="tiny", heads="heads.json")
    assert json_of(invoke("run", "--config", file, "--json"))["heads_pruned"] == ["1:2", "3:4"]
    assert "must be a readable file" in invoke("run", "--config", file, "--heads", "heads.json").stderr


PATHS = {"data_dir", "train_file", "validation_file", "output", "store", "scores", "spec", "nearest"}


@pytest.mark.parametrize("command", ["ablate", "bench", "curve", "finetune", "run"])
def test_what_is_a_path_is_known_from_the_type(command, tmp_path):
    (tmp_path / "tiny").mkdir()
    options = get_command(app).commands[command].callback.options

    def becomes(key, value):
        return options[key].placed(value, tmp_path)

    for key in options:
        assert becomes(key, "x y") == (str(tmp_path / "x y") if key in PATHS else "x y"), key
        assert becomes(key, 5) == 5
    assert becomes("model", "tiny") == str(tmp_path / "tiny")
    assert becomes("model", "./a/b") == str(tmp_path / "a/b")
    assert becomes("model", "~/a") == str(Path("~/a").expanduser())
    assert [becomes("model", name) for name in ("mini", "org/name", "/a/b")] == ["mini", "org/name", "/a/b"]
    assert becomes("task", "own.toml") == str(tmp_path / "own.toml")
    assert becomes("task", "sst2") == "sst2"
    if "heads" in options:
        assert [becomes("heads", text) for text in ("h.json", "1:2 3:4")] == [str(tmp_path / "h.json"), "1:2 3:4"]
    if "store" in options:
        assert becomes("store", "s3://bucket/a") == "s3://bucket/a"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data_dir": 5}, "data-dir"),
        ({"taks": "sst2", "fractoin": 0.1}, "'taks' (did you mean 'task'?); there is no option 'fractoin'"),
        ({"config": "other.toml"}, "there is no option 'config'"),
        ({"fraction": 1.5}, "fraction"),
        ({"criterion": "vibes"}, "vibes"),
        ({"fraction": 0.1, "n_heads": 2}, "exclude each other"),
    ],
)
def test_faults_are_misuse(invoke, write, values, message):
    done = invoke("run", "--config", write(**values))
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("text", "message"), [(None, "must be a readable file"), ("task = ", "must be a TOML file")])
def test_files_that_cannot_be_read_are_misuse(invoke, tmp_path, text, message):
    file = tmp_path / "run.toml"
    if text is not None:
        file.write_text(text)
    done = invoke("run", "--config", file)
    assert done.exit_code == 2
    assert message in done.stderr
