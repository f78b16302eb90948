"""How long the suite takes, kept by pytest's cache for `python -m tests.budgets`: a plugin of `conftest.py`."""

import datetime
import time

import pytest

_SELECTING = ("keyword", "lf", "failedfirst", "stepwise", "maxfail", "collectonly")


class SuiteTimes:
    """Seconds of a run of all tests, collection included; kept by its expression of marks."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.tests = 0
        self.durations = 0.0
        self.durations_of_default = 0.0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tests += report.when == "call"
        self.durations += report.duration
        if "slow" not in report.keywords:
            self.durations_of_default += report.duration

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        config = session.config
        whole = config.args == config.getini("testpaths") and not any(
            config.getoption(name, None) for name in _SELECTING
        )
        cache = getattr(config, "cache", None)
        if not whole or cache is None or exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return
        seconds = time.perf_counter() - self.start
        kept = cache.get("budgets/suites", {})
        kept[config.option.markexpr] = {
            "seconds": round(seconds, 1),
            "default_seconds": round(seconds * self.durations_of_default / (self.durations or 1), 1),
            "tests": self.tests,
            "workers": getattr(config.option, "numprocesses", None) or 1,
            "date": datetime.date.today().isoformat(),
        }
        cache.set("budgets/suites", kept)
