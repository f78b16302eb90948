"""The sizes that CI holds are held here as well, and the counting counts; times are for `python -m tests.budgets`."""

import json
import re
import tomllib

import pytest
from budgets import ROOT, long_functions, sizes
from suite_times import SuiteTimes


def test_sizes_are_within_their_limits():
    assert [each for each in sizes() if not each.kept] == []


def test_long_functions_need_a_reason_above_them():
    body = "    x = 1\n" * 60
    source = (
        f"def short():\n{body[:-10]}\n"
        f"def bare():\n{body}\n"
        f"# long: one row a case\ndef reasoned():\n{body}\n"
        f"# long: its options\n@wrapped\ndef decorated():\n{body}\n"
        f"@wrapped\nasync def wrapped():\n{body}\n"
    )
    assert list(long_functions(source, "m")) == ["m.bare (61)", "m.wrapped (61)"]


class Report:
    def __init__(self, duration, *keywords):
        self.when, self.duration, self.keywords = "call", duration, dict.fromkeys(keywords, 1)


def test_a_suite_is_timed_and_its_default_part_is_its_share(pytester_cache):
    config, kept = pytester_cache
    times = SuiteTimes()
    for report in (Report(1.0), Report(2.0), Report(3.0, "slow")):
        times.pytest_runtest_logreport(report)
    times.start -= 100
    times.pytest_sessionfinish(config, pytest.ExitCode.OK)
    suite = kept["budgets/suites"]["not thorough"]
    assert (suite["tests"], suite["workers"]) == (3, 2)
    assert suite["seconds"] == pytest.approx(100, abs=1)
    assert suite["default_seconds"] == pytest.approx(50, abs=1)
    times.pytest_sessionfinish(config, pytest.ExitCode.INTERRUPTED)
    config.config.args = ["tests/test_budgets.py"]
    times.start -= 900
    times.pytest_sessionfinish(config, pytest.ExitCode.OK)
    assert kept["budgets/suites"]["not thorough"] == suite


@pytest.fixture
def pytester_cache():
    """A session of all tests with two workers, and what its cache holds."""

    class Cache(dict):
        set = dict.__setitem__

    class Options:
        markexpr, numprocesses = "not thorough", 2

    class Config:
        args, option, cache = ["tests"], Options, Cache()

        @staticmethod
        def getini(name):
            return ["tests"]

        @staticmethod
        def getoption(name, default):
            return default

    class Session:
        config = Config

    return Session, Config.cache


def test_the_changelog_keeps_its_form():
    """An unreleased part, then the versions, dated, newest first; the newest is that of pyproject.toml."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    versions = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", head) for head in heads[1:]]
    assert all(versions)
    dates = [version[2] for version in versions]
    assert dates == sorted(dates, reverse=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert versions[0][1] == project["version"]
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds
    lines = text.partition("\n## ")[2].splitlines()[1:]
    assert all(re.match(r"(- |  \S|#|$)", line) for line in lines)


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"\nversion: {json.dumps(project['version'])}\n" in text
    assert f"\nlicense: {project['license']}\n" in text
    assert "Are Sixteen Heads Really Better than One?" in text
