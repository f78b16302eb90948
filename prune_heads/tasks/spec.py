"""Tasks as data: nine of GLUE, one of WMT, five built in, language modelling, translation. Imports nothing heavy."""

import difflib
import re
from collections.abc import Mapping
from types import MappingProxyType

from prune_heads.objectives import METRIC_NAMES as METRIC_NAMES
from prune_heads.objectives import OBJECTIVES, table_of
from prune_heads.objectives import TaskSpec as TaskSpec

OWN_METRICS = tuple(
    dict.fromkeys(m for row in OBJECTIVES.values() if row.classes or row.kind == "labelled" for m in row.metrics)
)
"""Metrics that may be chosen for files of one's own."""

_BUILT_IN = [TaskSpec(name=name, **row) for name, row in table_of("prune_heads.tasks", "tasks.toml").items()]
_OWN = [
    TaskSpec(row.kind, row.columns, next(iter(row.metrics)), summary=row.summary, kind=row.kind)
    for row in OBJECTIVES.values()
    if row.summary
]

TASKS: Mapping[str, TaskSpec] = MappingProxyType({spec.name: spec for spec in (*_BUILT_IN, *_OWN)})
"""Name -> task, for the tasks that `--task` names; those that are `is_own` need files."""

MINI = tuple(name for name in TASKS if name.startswith("mini-"))  # built-in tasks, whose data `mini` holds

_BY_LETTERS = {re.sub(r"\W", "", name): name for name in TASKS}


def task_name(written: str) -> str:
    """The name of a task as `TASKS` has it, however it is written: `SST-2`, `STS_B`; any other as it is."""
    return _BY_LETTERS.get(re.sub(r"[\W_]", "", written).lower(), written)


def nearest(written: str) -> str | None:
    """The task whose name is most like an unknown one."""
    return next(iter(difflib.get_close_matches(written.lower(), TASKS, n=1, cutoff=0.5)), None)
