"""A trial belongs to one living process, whatever dies and whatever the clocks say."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from prune_heads.execution.claims import DEAD_AFTER_SECONDS, LATELY_SECONDS, Claims, Owner

TRIAL = "ab" + "0" * 62


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def claims(tmp_path, clock):
    """Claims of processes on other machines, whose ids mean nothing here."""

    def claims(host="elsewhere", pid=1):
        return Claims(tmp_path, Owner(host, pid, os.urandom(4).hex()), clock)

    return claims


def test_one_has_it_until_he_gives_it_back(claims):
    first, second = claims(), claims("other")
    assert first.take(TRIAL)
    assert not second.take(TRIAL)
    assert not first.take(TRIAL)
    assert (first.holds(TRIAL), second.holds(TRIAL)) == (True, False)
    assert list(second.running()) == [TRIAL]
    first.give_back(TRIAL)
    assert list(second.running()) == []
    assert second.take(TRIAL)


def test_who_beats_is_alive_and_who_does_not_is_replaced(claims, clock):
    first, second = claims(), claims("other")
    assert first.take(TRIAL)
    for _ in range(10):
        first.beat()
        assert not second.take(TRIAL)
        clock.now += DEAD_AFTER_SECONDS * 0.9
    assert not second.take(TRIAL)
    clock.now += DEAD_AFTER_SECONDS * 0.2
    assert second.take(TRIAL)
    assert (first.holds(TRIAL), second.holds(TRIAL)) == (False, True)
    first.beat()  # was only slow
    assert second.holds(TRIAL)
    first.give_back(TRIAL)
    assert second.holds(TRIAL)
    second.give_back(TRIAL)
    assert list(claims().running()) == []


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_only_ones_own_clock_counts(claims, clock, jump, tmp_path):
    """File times, of another machine or of a clock that jumps, are never looked at."""
    first, second = claims(), claims("other")
    assert first.take(TRIAL)
    assert not second.take(TRIAL)
    (file,) = tmp_path.rglob(f"{TRIAL}.*")
    stat = file.stat()
    os.utime(file, (stat.st_atime + jump, stat.st_mtime + jump))
    assert not second.take(TRIAL)
    clock.now += DEAD_AFTER_SECONDS + 1
    assert second.take(TRIAL)


def test_a_process_of_this_machine_that_is_gone_is_replaced_at_once(tmp_path):
    code = (
        "from pathlib import Path; from prune_heads.execution.claims import Claims; "
        f"print(Claims(Path({str(tmp_path)!r})).take({TRIAL!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert Claims(tmp_path).take(TRIAL)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="zombies are known by /proc")
def test_a_process_that_ended_and_is_waited_for_by_nobody_is_replaced_at_once(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout.read() == b""  # it has ended, or is about to
    claim = Claims(tmp_path, Owner(Owner.me().host, child.pid, "x"))
    assert claim.take(TRIAL)
    try:
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(") ")[2][0] != "Z":
            threading.Event().wait(0.01)
        os.kill(child.pid, 0)  # it is there
        assert Claims(tmp_path).take(TRIAL)
    finally:
        child.communicate()


def test_only_who_beats_has_beaten_and_only_for_a_while(claims, clock):
    first, second = claims(), claims("other")
    assert not second.has_beaten(TRIAL)
    assert first.take(TRIAL)
    assert not second.take(TRIAL)
    assert not second.has_beaten(TRIAL)  # it may have been dead for long
    clock.now += 1
    first.beat()
    assert not second.take(TRIAL)
    assert second.has_beaten(TRIAL)
    clock.now += LATELY_SECONDS
    assert not second.has_beaten(TRIAL)
    first.beat()
    assert not second.take(TRIAL)
    assert not second.has_beaten(TRIAL)  # between two looks so far apart it may have died
    first.give_back(TRIAL)
    assert not second.has_beaten(TRIAL)


def test_a_claim_that_was_being_written_when_its_owner_died(claims, clock, tmp_path):
    for content in (b"", b"{", b"3"):
        (tmp_path / "ab").mkdir(exist_ok=True)
        (tmp_path / "ab" / f"{TRIAL}.1").write_bytes(content)
        taker = claims()
        assert not taker.take(TRIAL)
        clock.now += DEAD_AFTER_SECONDS + 1
        assert taker.take(TRIAL)
        taker.give_back(TRIAL)


def take(folder, barrier, results, host):
    claims = Claims(folder, Owner(host, 1, host))
    barrier.wait()
    results.put(claims.take(TRIAL))


@pytest.mark.parametrize("is_dead", [False, True])
def test_of_many_who_take_at_once_one_has_it(tmp_path, is_dead):
    if is_dead:  # a process of this machine that is gone
        child = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
        )
        me = Owner.me()
        assert Claims(tmp_path, Owner(me.host, int(child.stdout), "x")).take(TRIAL)
    host = Owner.me().host if is_dead else "elsewhere"
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(8), context.Queue()
    workers = [context.Process(target=take, args=(tmp_path, barrier, results, host)) for i in range(8)]
    for worker in workers:
        worker.start()
    taken = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert sum(taken) == 1


def test_the_heart_beats_in_a_thread_and_stops(tmp_path):
    claims = Claims(tmp_path)
    claims.take(TRIAL)
    (file,) = tmp_path.rglob(f"{TRIAL}.*")
    first = json.loads(file.read_text())["beat"]
    with claims.beating(0.01):
        for _ in range(1000):
            if json.loads(file.read_text())["beat"] > first + 2:
                break
            threading.Event().wait(0.01)
        else:
            pytest.fail("no beat")
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]
