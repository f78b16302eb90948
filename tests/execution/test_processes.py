"""`prune-heads sweep run` as processes, with doubles for trials: together on one folder, killed, interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chaos import Watch, chaos, compare, records, run
from null_trial import KNOWN, begin

from prune_heads.cli import sweep as cli_sweep
from prune_heads.execution.claims import Claims
from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.spec import read_sweep

NULL = (sys.executable, str(Path(__file__).parents[1] / "null_sweep.py"), "sweep", "run")


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


@pytest.fixture
def sweep(tmp_path, log):
    """The words that run a sweep of null trials, `sweep(folder, n=40)`."""

    def words(root, *more, n, sleep=0.0):
        spec = tmp_path / "s.toml"
        spec.write_text(f"log = {json.dumps(str(log))}\nsleep = {sleep}\nseeds = {list(range(n))}\n")
        return [*NULL, str(spec), "--output", str(tmp_path / root), *more]

    return words


@pytest.fixture
def hold(tmp_path):
    """A file that keeps trials running for as long as it is there."""
    file = tmp_path / "hold"
    file.touch()
    return file


@pytest.fixture
def start():
    """A process, which ends with the test; Ctrl-C reaches it also where the shell would have it ignored."""
    running = []

    def start(words, **env):
        child = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | env,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            start_new_session=True,
        )
        running.append(child)
        return child

    yield start
    for child in running:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def starts(log):
    """Trial -> how often it was begun."""
    names = [path.name.rsplit(".", 2)[0] for path in log.iterdir()]
    return {name: names.count(name) for name in names}


def workers(log):
    """The processes that have begun trials, in no order."""
    return {int(path.name.split(".")[-2]) for path in log.iterdir()}


def owners(log):
    """The processes that have claimed trials, one for each trial that was begun."""
    return [int(text) for path in log.iterdir() if (text := path.read_text())]


def until(is_so):
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def ended(child):
    out, err = child.communicate(timeout=60)
    return child.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize(("n_kills", "n"), [(6, 150), pytest.param(20, 500, marks=pytest.mark.thorough)])
def test_a_sweep_that_is_killed_again_and_again_ends_in_the_same_bytes(n_kills, n, sweep, log, tmp_path):
    many = {"sleep": 0.01, "n": n}
    done = chaos(sweep("killed", "--json", **many), tmp_path / "killed", n_kills, 0.15, seed=0)
    assert done.faults == []
    assert done.kills == n_kills
    assert done.trials == n
    again = starts(log)
    assert len(again) == n
    assert sum(n - 1 for n in again.values()) <= done.cut_off <= done.kills
    assert run(sweep("whole", "--json", **many), Watch(tmp_path / "whole"), None).kills == 0
    assert compare(tmp_path / "killed", tmp_path / "whole") == (n, n)
    assert not list((tmp_path / "killed").rglob("*.partial"))


def test_what_chaos_must_find_it_finds(tmp_path):
    record = tmp_path / "trials" / "ab" / "abc" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    watch = Watch(tmp_path)
    said = 'import sys; print(\'{"event": "started", "trial": "abc"}\'); sys.exit(3)'
    run([sys.executable, "-c", said], watch, None)
    first, second = watch.faults
    assert first == "abc: started again though it was done"
    assert second.startswith("a run that was not killed ended with exit code 3, {'event': 'started'")
    (tmp_path / "new").write_text("{}")
    (tmp_path / "new").replace(record)
    watch.look()
    assert watch.faults[2:] == ["abc: its record was written again"]
    record.unlink()
    watch.look()
    assert watch.faults[3:] == ["abc: its record is gone"]
    (tmp_path / "other").mkdir()
    assert compare(tmp_path, tmp_path / "other") == (0, 0)


@pytest.mark.slow
def test_an_array_job_runs_every_trial_once_though_a_worker_is_killed(sweep, start, log, tmp_path):
    """Three that begin at once on a folder that is not there yet, and a fourth that dies in its first trial."""
    words = sweep("s", "--worker", sleep=0.05, n=60)
    array = [start(words, SLURM_ARRAY_TASK_ID=str(i)) for i in range(3)]
    lost = start(words)
    until(lambda: lost.pid in owners(log))
    lost.kill()
    lost.communicate()
    own = 0
    for child in array:
        code, out, err = ended(child)
        assert code == 0, err
        assert f" {child.pid}: ends: " in err
        assert "60 of 60 trials done" in out or " left" in out
        own += int(err.split("ends: ")[1].split()[0])
    again, of_lost = starts(log), owners(log).count(lost.pid)
    assert {child.pid for child in array} < set(owners(log))
    assert len(again) == len(records(tmp_path / "s")) == 60
    assert sum(n - 1 for n in again.values()) <= 1  # what was running when the worker was killed
    assert 60 - of_lost <= own <= 60 - of_lost + 1
    code, out, _ = ended(start(sweep("plain", sleep=0.05, n=60)))
    assert (code, out) == (0, "s: 60 of 60 trials done\n")
    assert compare(tmp_path / "s", tmp_path / "plain") == (60, 60)


@pytest.fixture
def null(monkeypatch):
    """The command in this process, with doubles for trials."""
    monkeypatch.setattr(cli_sweep, "known", lambda: KNOWN)
    monkeypatch.setattr(cli_sweep, "BeginTrials", lambda *place: begin)


def test_a_worker_leaves_a_trial_to_the_living_and_a_plain_run_waits_for_it(sweep, start, log, tmp_path, null, invoke):
    words = sweep("s", n=1)
    spec, output = words[len(NULL)], tmp_path / "s"
    (trial,) = read_sweep(Path(spec), KNOWN).trials
    first = Claims(output / "claims")
    SweepFolder.open(output, read_sweep(Path(spec), KNOWN))
    assert first.take(trial.digest)
    with first.beating(0.05):
        plain = start([*words, "--json"])
        done = invoke("sweep", "run", spec, "--output", output, "--worker", "--json")
        assert (done.exit_code, done.stderr) == (0, "")
        end = json.loads(done.stdout)
        assert (end["left"], end["running"]) == (1, 1)
        assert (end["worker"]["done"], end["worker"]["failed"]) == (0, 0)
        assert plain.poll() is None
        assert starts(log) == {}
        first.give_back(trial.digest)
        assert ended(plain)[0] == 0
    assert starts(log) == {"m-a-0.5-0": 1}


def test_the_exit_code_of_a_worker_is_that_of_its_own_trials(sweep, tmp_path, null, invoke):
    spec = Path(sweep("s", n=2)[len(NULL)])
    spec.write_text(spec.read_text() + "fail = 9\n")
    words = ["sweep", "run", spec, "--output", tmp_path / "s"]
    first = invoke(*words, "--worker")
    assert first.exit_code == 1
    assert "ends: 0 trials done here, 2 failed" in first.stderr
    assert invoke(*words, "--worker").exit_code == 0
    assert invoke(*words).exit_code == 1
    done = invoke(*words, "--worker", "--executor", "ray")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "error: --worker and --executor ray exclude each other.\n"


def test_ctrl_c_lets_the_running_trial_finish(sweep, start, log, hold, tmp_path):
    child = start(sweep("s", "--json", n=4))
    until(lambda: starts(log))
    os.killpg(child.pid, signal.SIGINT)
    assert "running trials finish" in child.stderr.readline()
    hold.unlink()
    code, out, _ = ended(child)
    assert code == 1
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["started", "done", "end"]
    assert len(records(tmp_path / "s")) == 1


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_second_ctrl_c_stops_at_once_and_the_next_run_takes_over(jobs, sweep, start, log, hold, tmp_path):
    """Of one process, and of two beside the one that started them; the terminal sends the signal to all."""
    words = sweep("s", "--jobs", str(jobs), n=4)
    child = start(words)
    until(lambda: len(starts(log)) == jobs)
    os.killpg(child.pid, signal.SIGINT)
    assert "running trials finish" in child.stderr.readline()
    assert child.poll() is None
    os.killpg(child.pid, signal.SIGINT)  # trials would be held for ever
    code, out, err = ended(child)
    assert (code, out) == (130, "")
    assert err.endswith("error: interrupted; nothing half-written was left\n")
    assert records(tmp_path / "s") == {}
    assert not list((tmp_path / "s" / "claims").rglob("*.*"))  # no trial is to blame
    hold.unlink()
    assert ended(start(words))[0] == 0
    assert sorted(starts(log).values()) == [1] * (4 - jobs) + [2] * jobs
    assert ended(start(sweep("whole", n=4)))[0] == 0
    assert compare(tmp_path / "s", tmp_path / "whole") == (4, 4)


def test_workers_of_a_killed_parent_end_and_no_trial_is_to_blame(sweep, start, log, hold, tmp_path):
    words = sweep("s", "--jobs", "2", n=4)
    child = start(words)
    until(lambda: len(starts(log)) == 2)  # which would be held for ever
    child.kill()
    child.communicate()
    until(lambda: not any(lives(pid) for pid in workers(log)))
    left = [json.loads(claim.read_text()) for claim in (tmp_path / "s" / "claims").rglob("*.*")]
    assert [claim["n_deaths"] for claim in left] == [0, 0]
    hold.unlink()
    assert ended(start(words))[0] == 0
    assert len(records(tmp_path / "s")) == 4


def lives(pid):
    """Whether there is a process of this number that has not ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_trial_that_kills_its_process_fails_after_three(sweep, start, log, tmp_path):
    """Also in an array job, whose processes know nothing of each other."""
    spec = Path(sweep("s", n=1)[len(NULL)])
    spec.write_text(spec.read_text() + '[grid]\ncriterion = ["dies", "a"]\n')
    words = [*NULL, str(spec), "--output", str(tmp_path / "s"), "--worker"]
    assert ended(start(words, SLURM_ARRAY_TASK_ID="0"))[0] == 1
    assert starts(log) == {"m-dies-0.5-0": 3, "m-a-0.5-0": 1}
    assert len(records(tmp_path / "s")) == 1


@pytest.mark.slow
def test_a_trial_that_was_running_when_all_was_killed_is_not_to_blame(sweep, start, log, hold, tmp_path):
    """By a user or with the machine, however often: nobody is left who would tell."""
    words = sweep("s", n=1)
    for n in range(1, 4):
        child = start(words)
        until(lambda n=n: sum(starts(log).values()) == n)
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
    hold.unlink()
    assert ended(start(words))[0] == 0
    assert len(records(tmp_path / "s")) == 1
