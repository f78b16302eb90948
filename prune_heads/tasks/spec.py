"""Tasks as data: nine of GLUE, one of WMT, five built in, language modelling, translation. Imports nothing heavy."""

import difflib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from prune_heads.objectives import METRIC_NAMES as METRIC_NAMES
from prune_heads.objectives import OBJECTIVES, rows_for
from prune_heads.objectives import TaskSpec as TaskSpec

REGRESSION_METRICS = frozenset(OBJECTIVES["regression"].metrics)
"""Metrics of a score instead of a class."""

LABEL_METRICS = tuple(metric for row in rows_for("labelled") for metric in row.metrics)
"""Metrics of predicted labels and scores."""

OWN_METRICS = tuple(
    dict.fromkeys([*LABEL_METRICS, *(m for row in OBJECTIVES.values() if row.classes for m in row.metrics)])
)
"""Metrics that may be chosen for files of one's own."""

_ACC, _MCC, _TWO, _TEXTS = "accuracy", "matthews_correlation", "sentence1 sentence2", "text text_pair"
_NLI, _RTE, _SAME = "entailment neutral contradiction", "entailment not_entailment", "not_equivalent equivalent"
_WNLI = "not_entailment entailment"
_MATCHED = ("validation_matched", "validation_mismatched")

# Name, columns, labels, metric, question. Columns and the order of labels are those of the data set nyu-mll/glue on the
# Hugging Face hub, metrics those of Wang et al. 2019 (https://arxiv.org/abs/1804.07461), Table 1.
_GLUE = (
    ("CoLA", "sentence", "unacceptable acceptable", _MCC, "is the sentence grammatical English?"),
    ("SST-2", "sentence", "negative positive", _ACC, "does the film review speak well of the film?"),
    ("MRPC", _TWO, _SAME, "f1", "do two sentences from the news mean the same?"),
    ("QQP", "question1 question2", "not_duplicate duplicate", "f1", "do two questions ask the same?"),
    ("STS-B", _TWO, "", "pearson", "how alike are two sentences, from 0 to 5?"),
    ("MNLI", "premise hypothesis", _NLI, _ACC, "does the premise entail the hypothesis, contradict it, or neither?"),
    ("QNLI", "question sentence", _RTE, _ACC, "does the sentence hold the answer to the question?"),
    ("RTE", _TWO, _RTE, _ACC, "does the first text entail the second?"),
    ("WNLI", _TWO, _WNLI, _ACC, "does the sentence entail its copy with the pronoun replaced?"),
)
_MINI = (
    ("acceptability", "text", "unacceptable acceptable", _MCC, "is the sentence well formed? (as CoLA)"),
    ("sentiment", "text", "negative positive", _ACC, "does the sentence speak well of its subject? (as SST-2)"),
    ("paraphrase", _TEXTS, _SAME, "f1", "do two sentences mean the same? (as MRPC)"),
    ("inference", _TEXTS, _NLI, _ACC, "does the first sentence entail the second? (as MNLI)"),
    ("translation", _TEXTS, "", "bleu", "the sentence in a language with other word order and more agreement (as WMT)"),
)
_WMT = "WMT14: newstest2013 (test: 2014) from English into French; 5000 training pairs to score on"
_MORE: Mapping[str, dict[str, Any]] = {
    **{name: {"digit_labels": True} for name in ("cola", "sst2", "mrpc", "qqp", "wnli")},
    **{name: {"eval_splits": _MATCHED} for name in ("mnli", "mini-inference")},
    "wmt14-en-fr": {"kind": "translation", "more_splits": ("test",)},
    "mini-translation": {"kind": "translation", "eval_splits": ("validation", "mismatched"), "more_splits": ("test",)},
}


def _tasks() -> Iterator[TaskSpec]:
    glue = [(re.sub(r"\W", "", title).lower(), *rest[:-1], f"GLUE {title}: {rest[-1]}") for title, *rest in _GLUE]
    mini = [(f"mini-{title}", *rest[:-1], f"built in: {rest[-1]}") for title, *rest in _MINI]
    for name, columns, labels, metric, summary in (*glue, ("wmt14-en-fr", "en fr", "", "bleu", _WMT), *mini):
        yield TaskSpec(
            name, tuple(columns.split()), tuple(labels.split()) or None, metric, summary, **_MORE.get(name, {})
        )
    for row in OBJECTIVES.values():
        if row.summary:
            yield TaskSpec(row.kind, row.columns, None, next(iter(row.metrics)), row.summary, row.kind)


TASKS: Mapping[str, TaskSpec] = MappingProxyType({spec.name: spec for spec in _tasks()})
"""Name -> task, for the tasks that `--task` names; those that are `is_own` need files."""

MINI = tuple(name for name in TASKS if name.startswith("mini-"))
"""Names of the built-in tasks, whose data `prune_heads.mini` holds."""

_BY_LETTERS = {re.sub(r"\W", "", name): name for name in TASKS}


def task_name(written: str) -> str:
    """The name of a task as `TASKS` has it, however it is written: `SST-2`, `STS_B`; any other as it is."""
    return _BY_LETTERS.get(re.sub(r"[\W_]", "", written).lower(), written)


def nearest(written: str) -> str | None:
    """The task whose name is most like an unknown one."""
    return next(iter(difflib.get_close_matches(written.lower(), TASKS, n=1, cutoff=0.5)), None)
