"""Shared fixtures: the folder of real data, and tiny seeded models built from configurations (no download)."""

import functools
import gc
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Many tests start processes of the program: they keep what they compile, whatever the environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Read by huggingface_hub when it is first imported: no test may reach out to a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Read by Ray: its workers step back behind everything else, which on two busy cores means that they hardly run.
os.environ.setdefault("RAY_worker_niceness", "0")
# Read by torch. Two test workers share two cores; tiny models are slower on more threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Its compiler would start processes of its own, which import torch, for a handful of kernels.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parent))  # tests import their helpers by name

from clusters import lose, nodes  # noqa: F401 (fixtures)
from places import anywhere, place, served, url  # noqa: F401 (fixtures)
from suite_times import SuiteTimes

if TYPE_CHECKING:
    from forked import Ended
    from hub_stub import HubAddress, Online
    from typer import Typer
    from typer.testing import Result

sys.dont_write_bytecode = False

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SuiteTimes())


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers for all tests; files and tests that are named run in this process, where a debugger reaches them."""
    return 2 if config.args == config.getini("testpaths") else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow begins first, so that the workers end together."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Files whose tests share a costly fixture go to one worker as a whole, so that it is made once.

    Those of pytest-xdist 3.8 lose their groups with pytest 9.2: it marks them in names that are no longer read.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _shared_by(config.rootpath / nodeid.partition("::")[0]) or nodeid

    return Scheduling(config, log)


@functools.cache
def _shared_by(file: Path) -> str:
    """What its tests share: a group that they name, or the fixtures of the module; empty if nothing."""
    text = file.read_text(encoding="utf-8")
    if "pytestmark = on_ray" in text:
        return "ray"
    if named := re.search(r'xdist_group\("(\w+)"\)', text):
        return named[1]
    return str(file) if 'scope="module"' in text else ""


def pytest_collection_finish() -> None:
    """What torch, transformers and the tests' modules consist of stays: no collection of garbage looks at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real GLUE data, models and reference numbers; skips, or fails when CI demands it."""
    if SHARED.is_dir():
        return SHARED
    message = "no folder 'shared' beside the project: real GLUE data, models and reference numbers are not here"
    if os.environ.get("PRUNE_HEADS_REQUIRE_REAL") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Whatever the test before has set; torch is imported by the tests that need it."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Places for stores, which whoever writes to them makes: most tests need none."""
    numbers, stores = itertools.count(), tmp_path_factory.mktemp("stores")
    return lambda: stores / str(next(numbers))


@pytest.fixture(autouse=True)
def own_store(new_store: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store of predictions for each test, where none is named: nobody's cache is read or written."""
    folder = new_store()
    monkeypatch.setenv("PRUNE_HEADS_STORE", str(folder))
    return folder


@pytest.fixture
def in_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """What waits for ever on a cluster that does not come up must fail instead, after the module's `SECONDS`."""
    seconds = request.module.SECONDS

    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"the cluster took more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny sentiment classifier on disk."""
    from tiny import save_tiny_checkpoint

    return save_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """The same, to spoil."""
    return shutil.copytree(checkpoint, tmp_path / "copy")


@pytest.fixture(scope="session")
def sst2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny folder in the official SST-2 layout."""
    from tiny import write_sst2

    return write_sst2(tmp_path_factory.mktemp("glue") / "SST-2")


@pytest.fixture(scope="session")
def on_sst2(checkpoint: Path, sst2: Path) -> tuple[object, ...]:
    """The options that name the tiny model and its data."""
    return ("--model", checkpoint, "--task", "sst2", "--data-dir", sst2)


@pytest.fixture
def cli() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the real command line as a process: `cli("run", "--json")`. It takes seconds; see `forked`."""

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


@pytest.fixture
def forked(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., "Ended"]:
    """Run it as a process that starts at once, a fork of this one: `forked("run", "--json")`.

    What libraries read of the environment when they are imported is that of this process.
    """
    from forked import Forked

    def run(*words: object, **env: str) -> "Ended":
        streams = tmp_path_factory.mktemp("streams") / "of"
        return Forked(streams, *words, before=lambda: os.environ.update({"COLUMNS": "200"} | env)).wait()

    return run


@functools.cache
def _command(app: "Typer") -> object:
    """Made once: all commands with all their options take as long as a short test."""
    from typer.main import get_command

    return get_command(app)


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Callable[..., "Result"]:
    """The command line in this process, which has torch imported already; an unforeseen error is raised."""
    from typer import testing
    from typer.testing import CliRunner

    from prune_heads.cli.app import app

    monkeypatch.setattr(testing, "_get_command", _command)

    def run(*words: object, **env: str) -> "Result":
        return CliRunner(env={"COLUMNS": "200"} | env).invoke(
            app, [str(word) for word in words], catch_exceptions=False
        )

    return run


@pytest.fixture(scope="session")
def hub() -> Iterator["HubAddress"]:
    """Where a hub can be served; else connections are refused."""
    from hub_stub import HubAddress

    address = HubAddress()
    yield address
    address.close()


@pytest.fixture(scope="session")
def online(hub: "HubAddress", tmp_path_factory: pytest.TempPathFactory) -> Iterator["Online"]:
    """Runs commands and scripts that know this hub: `online.run("run", home=folder)`."""
    from hub_stub import Online

    process = Online(tmp_path_factory.mktemp("online"), hub)
    yield process
    process.close()
