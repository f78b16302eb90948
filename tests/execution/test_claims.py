"""A trial belongs to one living process, whatever dies and whatever the clocks say."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from prune_heads.execution import claims as claims_module
from prune_heads.execution.claims import DEAD_AFTER_SECONDS, LATELY_SECONDS, Claims, Owner, digests, machine

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


def test_one_has_it_until_he_gives_it_back(claims, tmp_path):
    first, second = claims(), claims("other")
    assert first.take(TRIAL)
    assert not second.take(TRIAL)
    assert not first.take(TRIAL)
    assert (first.holds(TRIAL), second.holds(TRIAL)) == (True, False)
    assert digests(tmp_path, ".*") == [TRIAL]
    first.give_back(TRIAL)
    assert digests(tmp_path, ".*") == []
    assert second.take(TRIAL)


def test_who_beats_is_alive_and_who_does_not_is_replaced(claims, clock, tmp_path):
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
    assert digests(tmp_path, ".*") == []


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
    claim = Claims(tmp_path, Owner(machine(), child.pid, "x"))
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
        child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
        assert Claims(tmp_path, Owner(machine(), int(child.stdout), "x")).take(TRIAL)
    host = machine() if is_dead else "elsewhere"
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


@pytest.fixture(scope="module")
def gone():
    """The number of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    return int(done.stdout)


def test_workers_that_died_of_a_trial_in_a_row_are_counted_on_by_the_next_owner(tmp_path, gone):
    for n in range(3):
        dead = Claims(tmp_path, Owner(machine(), gone, str(n)))
        assert dead.take(TRIAL)
        assert dead.n_deaths(TRIAL) == n
        dead.beat()
        dead.count_death(TRIAL)
        dead.beat()
    unseen = Claims(tmp_path, Owner(machine(), gone, "y"))  # itself killed, by a user
    assert unseen.take(TRIAL)
    living = Claims(tmp_path)
    assert living.n_deaths(TRIAL) == 0  # it is not its trial yet
    assert living.take(TRIAL)
    assert living.n_deaths(TRIAL) == 3
    living.give_back(TRIAL)
    assert living.take(TRIAL)
    assert living.n_deaths(TRIAL) == 0


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="namespaces are those of Linux")
@pytest.mark.parametrize("differs", ["boot", "namespace"])
def test_two_hosts_or_containers_of_one_name_do_not_take_each_other_for_dead(
    differs, tmp_path, gone, clock, monkeypatch
):
    """The number of the other's process means nothing here."""
    with monkeypatch.context() as elsewhere:
        if differs == "boot":
            elsewhere.setattr(Path, "read_text", lambda path: "another-boot")
        else:
            elsewhere.setattr(Path, "readlink", lambda path: Path("pid:[1]"))
        host = machine.__wrapped__()
    assert host.split()[0] == machine().split()[0]
    other, mine = Claims(tmp_path, Owner(host, gone, "x")), Claims(tmp_path, clock=clock)
    assert other.take(TRIAL)
    assert not mine.take(TRIAL)
    clock.now += DEAD_AFTER_SECONDS + 1
    assert mine.take(TRIAL)


def test_who_runs_is_told_from_the_dead_and_from_the_silent(tmp_path, gone, claims, clock):
    trials = [f"{i:02x}" + "0" * 62 for i in range(4)]
    mine, beats, silent = Claims(tmp_path), claims("other"), claims()
    assert mine.take(trials[0])
    assert Claims(tmp_path, Owner(machine(), gone, "x")).take(trials[1])
    assert beats.take(trials[2])
    assert silent.take(trials[3])
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        clock.now += seconds
        beats.beat()

    assert Claims(tmp_path, clock=clock).alive(sleep) == [trials[0], trials[2]]
    assert 0 < sum(slept) <= 3 * claims_module.BEAT_SECONDS
    silent.give_back(trials[3])
    beats.give_back(trials[2])
    slept.clear()
    assert Claims(tmp_path, clock=clock).alive(sleep) == [trials[0]]
    assert slept == []  # of this machine it is known at once


def test_whatever_else_lies_there_is_passed_over(tmp_path, clock):
    shard = tmp_path / "ab"
    (shard / f"{TRIAL}.1").mkdir(parents=True)  # no claim, and it does not beat
    for name in (".DS_Store", "x.1", f"{TRIAL}.", f"{TRIAL}.0", f"{TRIAL}.one"):
        (shard / name).touch()
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "cd").symlink_to(tmp_path / "cd")
    mine = Claims(tmp_path, clock=clock)
    assert digests(tmp_path, ".*") == [TRIAL]
    assert not mine.take(TRIAL)
    clock.now += DEAD_AFTER_SECONDS + 1
    assert mine.take(TRIAL)
    assert mine.holds(TRIAL)
