"""Parts of one job on a local Ray cluster: in order, each done though workers are lost; errors arrive as they are."""

import sys
import threading
import time

import pytest
from clusters import on_ray
from hypothesis import given
from hypothesis import strategies as st
from shard_work import Begin

from prune_heads.errors import DataError, RunError
from prune_heads.execution.cluster import Shards, connected, shares_of
from prune_heads.execution.pool import MOST_DEATHS

pytestmark = on_ray
SECONDS = 180


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """As many as the shares of the cluster allow."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def log(tmp_path):
    """Where workers leave their traces."""
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def run(nodes, n, *words):
    with connected(nodes.address) as ray:
        return Shards(ray, n).run(*words)


def names(log, start):
    return [path.name for path in log.iterdir() if path.name.startswith(f"{start}.")]


@pytest.mark.parametrize("n", [1, 5])
def test_each_part_is_done_once_and_found_in_order(n, nodes, log):
    told = []
    found = run(nodes, n, Begin(log), range(9), lambda *one: told.append(one))
    assert found == [i * i for i in range(9)]
    assert sorted(told) == list(enumerate(found))
    assert all(len(names(log, i)) == 1 for i in range(9))
    loads = names(log, "load")
    assert 1 <= len(loads) <= n
    assert len({name.split(".")[1] for name in loads}) == len(loads)  # each worker loads once
    assert {name.split(".")[2] for name in loads} == {"2" if n == 1 else "1"}


def test_a_part_whose_worker_dies_is_done_by_another(nodes, log):
    assert run(nodes, 2, Begin(log, dies=1), range(4)) == [0, 1, 4, 9]
    assert len(names(log, 1)) == 2
    assert all(len(names(log, i)) == 1 for i in (0, 2, 3))


def test_a_part_that_ends_every_worker_ends_the_job(nodes, log):
    with pytest.raises(RunError, match="must not end its worker; part 2 of 4 has ended 3"):
        run(nodes, 2, Begin(log, dies=1, deaths=MOST_DEATHS), range(4))
    assert len(names(log, 1)) == MOST_DEATHS


def test_workers_that_die_as_they_load_end_the_job(nodes, log):
    with pytest.raises(RunError, match="workers must start; worker 1 died 3 times in a row"):
        run(nodes, 1, Begin(log, crashes=True), range(4))
    assert len(names(log, "load")) == MOST_DEATHS


def test_of_several_parts_that_fail_the_first_is_told_whichever_is_sooner(nodes, log):
    with pytest.raises(DataError) as raised:
        run(nodes, 3, Begin(log, fails=(1, 2)), range(30))
    assert str(raised.value) == "part 1 cannot be done"
    assert type(raised.value) is DataError
    assert len(list(log.iterdir())) < 30  # none is begun that is no longer wanted


def test_what_cannot_be_loaded_is_said_as_it_is(nodes, log):
    with pytest.raises(DataError) as raised:
        run(nodes, 2, Begin(log, refuses=True), range(4))
    assert str(raised.value) == "no part will be done"


def test_a_fault_of_the_program_is_not_hidden(nodes, log):
    with pytest.raises(ZeroDivisionError, match="a fault of the program"):
        run(nodes, 1, Begin(log), [666])


@pytest.mark.thorough
def test_a_node_that_is_lost_takes_no_part_with_it(nodes, lose, log):
    second = lose(1)

    def disturb():
        end = time.monotonic() + SECONDS
        while len(list(log.glob("[0-9]*"))) < 6 and time.monotonic() < end:
            time.sleep(0.02)
        second()

    disturber = threading.Thread(target=disturb)
    disturber.start()
    assert run(nodes, 3, Begin(log), range(60)) == [i * i for i in range(60)]
    disturber.join()


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match=r"pip install 'prune-heads\[ray\]'"), connected(None):
        pass


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(1, 40), st.booleans())
def test_all_workers_fit_at_once(cores, n, gpus):
    nodes = [{"CPU": float(c), "GPU": float(c // 4)} if c // 4 else {"CPU": float(c)} for c in cores]
    shares = dict(zip(("CPU", "GPU"), shares_of(nodes, n, gpus=gpus), strict=True))
    has_gpus = gpus and any("GPU" in node for node in nodes)
    assert (0 < shares["GPU"] <= 1) == has_gpus
    assert shares["CPU"] > 0
    for name in ("CPU", "GPU") if has_gpus else ("CPU",):
        rooms = [node.get(name, 0) for node in nodes if "GPU" in node or not has_gpus]
        if any(rooms):
            assert sum(int(room / shares[name]) for room in rooms) >= n
            assert shares[name] == int(shares[name]) or shares[name] < 1
