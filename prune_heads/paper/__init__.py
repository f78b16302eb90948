"""What Michel, Levy and Neubig (2019) published, as data, models like theirs on the hub, and words for what we show.

The files say where each number comes from. Layers and heads are numbered from 1, as in the paper.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any


@cache
def published(file: str = "michel2019.toml") -> Mapping[str, Any]:
    """Table or figure (`table3`) -> its numbers; `setup`, `replication` and our `subjects` beside them."""
    return tomllib.loads(resources.files("prune_heads.paper").joinpath(file).read_text(encoding="utf-8"))


def sheet(name: str) -> Mapping[str, Any]:
    """What stands around the numbers of a reproduction: `title`, `forms` of columns, `notes` and other sentences."""
    return published("sheets.toml")[name]


def default_subjects(name: str) -> list[Mapping[str, str]]:
    """Options of each subject of a table or figure, `model` and `task`: the paper's (a) before its (b)."""
    ours = published()["subjects"]
    return [{"model": ours["models"][task], "task": task} for task in ours.get(name, ["mnli"])]


def default_task(name: str) -> str:
    """The task of a model that is named alone: of a classifier, if the table or figure takes one."""
    tasks = [each["task"] for each in default_subjects(name)]
    return next((task for task in tasks if task != "wmt14-en-fr"), tasks[0])
