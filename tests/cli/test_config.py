"""`--config`: the options of a run from a TOML file."""

import json

import pytest


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


@pytest.mark.parametrize(
    ("values", "message"),
    [
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


@pytest.mark.parametrize(
    ("text", "message"), [(None, "must be a readable file"), ("task = ", "must be a TOML file")]
)
def test_files_that_cannot_be_read_are_misuse(invoke, tmp_path, text, message):
    file = tmp_path / "run.toml"
    if text is not None:
        file.write_text(text)
    done = invoke("run", "--config", file)
    assert done.exit_code == 2
    assert message in done.stderr
