"""Shared fixtures: the folder of real data, and tiny seeded models built from configurations (no download)."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

# Read by huggingface_hub when it is first imported: no test may reach out to a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

sys.path.insert(0, str(Path(__file__).parent))  # tests import their helpers by name

from tiny import save_tiny_checkpoint, write_sst2

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real GLUE data, models and reference numbers; skips, or fails when CI demands it."""
    if SHARED.is_dir():
        return SHARED
    message = (
        "no folder 'shared' beside the project: real GLUE data, models and reference numbers are not here"
    )
    if os.environ.get("PRUNE_HEADS_REQUIRE_REAL") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two test workers share two cores; tiny models are slower on more threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny sentiment classifier on disk."""
    return save_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def sst2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny folder in the official SST-2 layout."""
    return write_sst2(tmp_path_factory.mktemp("glue") / "SST-2")


@pytest.fixture
def cli() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the real command line as a process: `cli("run", "--json")`."""

    def run(*words: object, timeout: float = 120, **env: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "prune_heads", *map(str, words)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | env,
        )

    return run
