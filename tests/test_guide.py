"""The guide's pages: their examples run, their options are there, their links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
from api_page import PAGE, api_page
from null_work import here
from typer.main import get_command

from prune_heads.cli.app import app
from prune_heads.cli.sweep import Workers
from prune_heads.guide import TOPICS, page, title

COMMANDS = get_command(app)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(topic, *languages):
    return [(language, text) for language, text in BLOCK.findall(page(topic)) if language in languages]


def commands(text):
    """The calls of prune-heads in a block, as words."""
    joined = text.replace("\\\n", " ")
    lines = (line.strip().removeprefix("$ ") for line in joined.splitlines())
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("prune-heads ")]


def test_every_page_is_a_topic():
    assert {file.stem for file in PAGE.parent.glob("*.md")} == set(TOPICS)


def test_the_page_of_the_api_is_that_of_the_docstrings():
    assert page("api") == api_page(), "write it anew: python -m tests.api_page"


@pytest.mark.parametrize("topic", TOPICS)
def test_links_lead_to_pages(topic):
    links = re.findall(r"\]\(([^)#]+)\)", page(topic))
    assert [link for link in links if "://" not in link and not (PAGE.parent / link).is_file()] == []


@pytest.mark.parametrize("topic", TOPICS)
def test_blocks_are_of_a_known_language(topic):
    assert {language for language, _ in BLOCK.findall(page(topic))} <= {"python", "console", "sh", "toml", "text"}


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if blocks(topic, "sh", "console")])
def test_commands_have_the_options_that_are_shown(topic):
    for _, text in blocks(topic, "sh", "console"):
        for words in commands(text):
            command = COMMANDS
            while hasattr(command, "commands"):
                command = command.commands[words[0]]
                words = words[1:]
            command.make_parser(command.context_class(command)).parse_args(args=words)


@pytest.mark.slow
@pytest.mark.parametrize("topic", [topic for topic in TOPICS if blocks(topic, "python", "console")])
def test_examples_run(topic, invoke, tmp_path, monkeypatch):
    """Each page from its top to its end, in an empty folder; trials run in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Workers, "start", lambda self: here)
    names = {"__name__": topic}
    for language, text in blocks(topic, "python", "console"):
        if language == "python":
            exec(compile(text, f"{topic}.md", "exec"), names)
        for words in commands(text) if language == "console" else ():
            done = invoke(*words)
            assert done.exit_code == 0, done.output
            assert done.stdout.strip()


def test_guide_shows_a_page_as_it_is_where_there_is_no_terminal(invoke):
    assert invoke("guide", "limits").stdout == (PAGE.parent / "limits.md").read_text(encoding="utf-8")
    listed = invoke("guide").stdout
    assert all(f"prune-heads guide {topic}`: {title(topic)}" in listed for topic in TOPICS)


def test_an_unknown_topic_is_misuse(invoke):
    done = invoke("guide", "wiki")
    assert done.exit_code == 2
    assert "start" in done.stderr


def test_pages_ship_with_the_package():
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"guide/*.md"' in text


def test_the_page_on_heads_says_what_is_checked_after_all_commands():
    *commands, last = re.findall(r"^## (.*)$", page("heads"), re.M)
    assert [re.findall("`(.*)`", each) for each in commands] == [["look"], ["similar"], ["roles"]]
    assert last == "What is checked"


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if blocks(topic, "python")])
def test_examples_import_what_is_there(topic):
    """The slow suite runs them whole."""
    for _, text in blocks(topic, "python"):
        for line in re.findall(r"^from prune_heads\S* import .+$", text, re.M):
            exec(line, {})
