"""What the tests of workers share."""

import pytest
from null_work import sweep


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    return folder


@pytest.fixture
def grid(log):
    return sweep(log=str(log), grid={"fraction": [0.0, 0.1, 0.2], "model": ["a", "b"]}, seeds=[0, 1])
