"""The model as an argument and by `--model`, and tasks however they are written."""

import pytest
from typer.main import get_command

from prune_heads.cli.app import app


def test_every_command_that_names_a_model_takes_it_both_ways():
    commands = get_command(app).commands.values()
    params = [{param.name: param for param in command.params} for command in commands]
    # The argument of look is the text.
    both = [each for each in params if ("model" in each or "checkpoint" in each) and "text" not in each]
    assert len(both) >= 11
    assert all(each["model"].opts == ["--model"] and not each["checkpoint"].required for each in both)


@pytest.mark.parametrize("command", ["evaluate", "info", "score"])
def test_both_ways_mean_the_same(command, invoke, json_of, on_sst2, checkpoint):
    rest = (*(() if command == "info" else on_sst2[2:]), "--json")
    by_option, by_argument, by_both = (
        json_of(invoke(command, *model, *rest))
        for model in (("--model", checkpoint), (checkpoint,), (checkpoint, "--model", checkpoint))
    )
    assert by_option == by_argument == by_both


def test_the_argument_goes_before_a_file_of_options(invoke, json_of, on_sst2, checkpoint, tmp_path):
    (tmp_path / "run.toml").write_text('model = "elsewhere"\n')
    words = ("--config", tmp_path / "run.toml", *on_sst2[2:], "--n-heads", 1, "--criterion", "magnitude", "--json")
    assert json_of(invoke("run", checkpoint, *words))["model"]["name"] == checkpoint.name
    (tmp_path / "run.toml").write_text(f'checkpoint = "{checkpoint}"\n')
    assert "there is no option 'checkpoint'" in invoke("run", "--config", tmp_path / "run.toml").stderr


def test_a_task_may_be_written_as_on_its_page(invoke, json_of, on_sst2, sst2, checkpoint, tmp_path):
    right = json_of(invoke("evaluate", *on_sst2, "--json"))
    for task in ("SST-2", "Sst2"):
        assert json_of(invoke("evaluate", checkpoint, "--task", task, "--data-dir", sst2, "--json")) == right
    (tmp_path / "run.toml").write_text(f'task = "SST-2"\ndata_dir = "{sst2}"\nmodel = "{checkpoint}"\n')
    words = ("--config", tmp_path / "run.toml", "--n-heads", 1, "--criterion", "magnitude", "--json")
    assert json_of(invoke("run", *words))["task"] == "sst2"
    assert json_of(invoke("info", "mini", "--task", "Mini_Sentiment", "--json")) == json_of(
        invoke("info", "--task", "mini-sentiment", "--json")
    )
