"""What Michel, Levy and Neubig (2019) published, as data, and models like theirs on the hub.

The file says where each number comes from. Layers and heads are numbered from 1, as in the paper.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

_CLASSIFIERS: Mapping[str, Mapping[str, str]] = {
    task: {"model": f"yoshitomo-matsubara/bert-base-uncased-{task}", "task": task}
    for task in ("mnli", "sst2", "cola", "mrpc")
}
"""Fine-tunings of bert-base-uncased whose data and settings are on the hub; `prune-heads finetune` makes one's own."""

_TRANSLATION: Mapping[str, str] = {"model": "Helsinki-NLP/opus-mt-en-fr", "task": "wmt14-en-fr"}
"""6 + 6 layers of 8 heads, for transformers; the paper's model is one of fairseq, of 16 heads."""

_MNLI = _CLASSIFIERS["mnli"]
_BOTH = (_TRANSLATION, _MNLI)
_SUBJECTS: Mapping[str, tuple[Mapping[str, str], ...]] = {
    **dict.fromkeys(("table1", "table2", "table5", "figure4"), (_TRANSLATION,)),
    **dict.fromkeys(("figure1", "figure3"), _BOTH),  # figure 2 needs MTNT, which is not a split of WMT
    "figure6": tuple(_CLASSIFIERS[task] for task in ("sst2", "cola", "mrpc")),
    "estimators": tuple(_CLASSIFIERS.values()),
}
"""On what a table or figure is reproduced where nothing is named; of those not here, on MNLI."""


@cache
def published() -> Mapping[str, Any]:
    """Table or figure (`table3`) -> its numbers; `setup` and `replication` beside them."""
    text = resources.files("prune_heads.paper").joinpath("michel2019.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def default_subjects(name: str) -> list[Mapping[str, str]]:
    """Options of each subject of a table or figure, `model` and `task`: the paper's (a) before its (b)."""
    return list(_SUBJECTS.get(name, (_MNLI,)))


def default_task(name: str) -> str:
    """The task of a model that is named alone: of a classifier, if the table or figure takes one."""
    subjects = default_subjects(name)
    return next((each["task"] for each in subjects if each is not _TRANSLATION), subjects[0]["task"])
