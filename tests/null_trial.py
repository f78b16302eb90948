"""A double of the trial, not of the machinery: it returns at once, sleeps, is held, fails or dies as it is told."""

import os
import signal
import time
from pathlib import Path

from prune_heads.execution.spec import Known

DEFAULTS = {"task": "t", "model": "m", "fraction": 0.5, "seed": 0, "sleep": 0.0, "fail": 0, "log": "", "criterion": "a"}


def check(key, value):
    kind = type(DEFAULTS[key])
    if not isinstance(value, kind) and not (kind is float and isinstance(value, int)):
        raise ValueError(f"must be {kind.__name__}; got {value!r}")
    return value


def clash(values):
    return (
        "fraction 0.9 and criterion z exclude each other"
        if values["fraction"] == 0.9 and values["criterion"] == "z"
        else None
    )


KNOWN = Known(DEFAULTS, check, clash)


def begin():
    return run


def no_trials():
    raise SystemExit(3)


def no_trials_at_first(folder):
    """Dies as it starts, three times in all; `folder` counts."""
    n = len(list(folder.iterdir()))
    if n < 3:
        (folder / f"{n}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run


def broken():
    raise ValueError("no trials here")


def run(trial):
    """Makes a file for every start in `log`; lasts while `hold` is beside it; fails as often as `fail` says."""
    values, starts = trial.values, 0
    if values["log"]:
        folder = Path(values["log"])
        name = f"{values['model']}-{values['criterion']}-{values['fraction']}-{values['seed']}"
        starts = len(list(folder.glob(f"{name}.*")))
        start = f"{name}.{os.getpid()}.{time.monotonic_ns()}"
        (folder / start).write_text(str(os.getppid()))
        while folder.with_name("hold").exists():
            time.sleep(0.01)
    time.sleep(values["sleep"])
    if starts < values["fail"]:
        raise ValueError("not yet")
    if values["criterion"] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"configuration": dict(values), "result": {"accuracy": values["fraction"] / 2 + values["seed"]}}
