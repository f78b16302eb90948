"""What `--help` shows first, and the short forms of options."""

import re

import pytest
from typer.main import get_command

from prune_heads.cli.app import COMMANDS, app

ROOT = get_command(app)


def command_of(words):
    command = ROOT
    for word in words:
        command = command.commands[word]
    return command


def leaves(command=ROOT, path=()):
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        return [path]
    return [leaf for name, each in subcommands.items() for leaf in leaves(each, (*path, name))]


def test_every_command_has_its_two_examples():
    examples = {name: about["examples"] for name, about in COMMANDS.items() if "examples" in about}
    assert examples.keys() == {" ".join(path) for path in leaves()}
    assert {len(each) for each in examples.values()} == {2}


@pytest.mark.parametrize("name", [" ".join(path) for path in leaves()])
def test_help_begins_with_examples_that_the_command_takes(name, invoke):
    shown = invoke(*name.split(), "-h", COLUMNS="80").stdout
    assert shown == invoke(*name.split(), "--help", COLUMNS="80").stdout
    before_options = shown[: shown.index("╭─")]
    for example in COMMANDS[name]["examples"]:
        assert f"\n {example} " in before_options, "an example is one line of a terminal of 80 columns"
        assert example.startswith(f"prune-heads {name}")
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", example)][1 + len(name.split()) :]
        command = command_of(name.split())
        context = command.context_class(command, info_name=name)
        command.make_parser(context).parse_args(args=words)  # raises on an option that is not there


def test_the_choices_of_an_option_are_whole_words_in_80_columns(invoke):
    shown = invoke("run", "--help", COLUMNS="80").stdout
    objectives = ("regression", "masked-lm", "question-answering", "token-classification", "image-classification")
    assert not [word for word in (*objectives, "position-mean", "matthews_correlation") if word not in shown]


def test_markup_in_help_is_shown_as_it_is_written(invoke):
    assert "[[subject]]" in invoke("reproduce", "--help").stdout


def test_output_has_a_short_form(invoke, on_sst2, tmp_path):
    assert invoke("evaluate", *on_sst2, "-o", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "record.json").is_file()
    for path in leaves():
        long = {name for option in command_of(path).params for name in option.opts}
        assert ("--output" in long) == ("-o" in long), path


def test_completion_is_offered(invoke):
    assert "--install-completion" in invoke("--help").stdout
