"""Tasks as data: nine of GLUE, one of WMT, five built in, language modelling, translation. Imports nothing heavy."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from prune_heads.objectives import METRIC_NAMES as METRIC_NAMES
from prune_heads.objectives import OBJECTIVES, rows_for

REGRESSION_METRICS = frozenset(OBJECTIVES["regression"].metrics)
"""Metrics of a score instead of a class."""

LABEL_METRICS = tuple(metric for row in rows_for("labelled") for metric in row.metrics)
"""Metrics of predicted labels and scores."""

OWN_METRICS = tuple(
    dict.fromkeys([*LABEL_METRICS, *(m for row in OBJECTIVES.values() if row.has_classes for m in row.metrics)])
)
"""Metrics that may be chosen for files of one's own."""

TEXT_METRIC = "log_likelihood"
"""The metric of language models: nats a predicted token, higher is better; perplexity is exp of minus that."""

TRANSLATION_METRIC = "bleu"
"""The metric of translations: corpus BLEU as a share, 0.35 where others say 35."""


def headline(metric: str) -> str:
    """Name of the value that stands for `metric` in tables and curves, e.g. `f1` of (f1, accuracy)."""
    return METRIC_NAMES[metric][0]


@dataclass(frozen=True)
class TaskSpec:
    """What a task is, without its data."""

    name: str
    """`mnli`, `mini-inference`, or the name in one's own TOML."""
    text_columns: tuple[str, ...]
    """One or two, as the hub or the user's own files name them."""
    labels: tuple[str, ...] | None
    """Label names in the hub's order; None for scores, and where texts alone are modelled."""
    metric: str
    """Key of `METRIC_NAMES`."""
    score_split: str = "train"
    """The split that importance is estimated on."""
    eval_splits: tuple[str, ...] = ("validation",)
    """The splits that results are reported on; the first is the default."""
    more_splits: tuple[str, ...] = ()
    """Splits that are reported on when they are named."""
    summary: str = ""
    """One line for a list of tasks."""
    digit_labels: bool = False
    """Whether the official files write label i as the digit i, so that checkpoints may do so too."""
    kind: str = "labelled"
    """`Row.kind` of its objectives."""

    @property
    def is_own(self) -> bool:
        """Whether it stands for files of one's own, which must be named."""
        return self.name == self.kind

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits whose answers are known."""
        return (self.score_split, *self.eval_splits, *self.more_splits)


_SENTENCES = ("sentence1", "sentence2")
_NLI = ("entailment", "neutral", "contradiction")
_MATCHED = ("validation_matched", "validation_mismatched")

# Label orders and column names are those of the data set nyu-mll/glue on the Hugging Face hub.
# Metrics are those of Wang et al. 2019 (https://arxiv.org/abs/1804.07461), Table 1.
_ALL = (
    TaskSpec(
        "cola",
        ("sentence",),
        ("unacceptable", "acceptable"),
        "matthews_correlation",
        summary="GLUE CoLA: is the sentence grammatical English?",
        digit_labels=True,
    ),
    TaskSpec(
        "sst2",
        ("sentence",),
        ("negative", "positive"),
        "accuracy",
        summary="GLUE SST-2: does the film review speak well of the film?",
        digit_labels=True,
    ),
    TaskSpec(
        "mrpc",
        _SENTENCES,
        ("not_equivalent", "equivalent"),
        "f1",
        summary="GLUE MRPC: do two sentences from the news mean the same?",
        digit_labels=True,
    ),
    TaskSpec(
        "qqp",
        ("question1", "question2"),
        ("not_duplicate", "duplicate"),
        "f1",
        summary="GLUE QQP: do two questions ask the same?",
        digit_labels=True,
    ),
    TaskSpec("stsb", _SENTENCES, None, "pearson", summary="GLUE STS-B: how alike are two sentences, from 0 to 5?"),
    TaskSpec(
        "mnli",
        ("premise", "hypothesis"),
        _NLI,
        "accuracy",
        eval_splits=_MATCHED,
        summary="GLUE MNLI: does the premise entail the hypothesis, contradict it, or neither?",
    ),
    TaskSpec(
        "qnli",
        ("question", "sentence"),
        ("entailment", "not_entailment"),
        "accuracy",
        summary="GLUE QNLI: does the sentence hold the answer to the question?",
    ),
    TaskSpec(
        "rte",
        _SENTENCES,
        ("entailment", "not_entailment"),
        "accuracy",
        summary="GLUE RTE: does the first text entail the second?",
    ),
    TaskSpec(
        "wnli",
        _SENTENCES,
        ("not_entailment", "entailment"),
        "accuracy",
        summary="GLUE WNLI: does the sentence entail its copy with the pronoun replaced?",
        digit_labels=True,
    ),
    TaskSpec(
        "wmt14-en-fr",
        ("en", "fr"),
        None,
        TRANSLATION_METRIC,
        more_splits=("test",),
        summary="WMT14: newstest2013 (test: 2014) from English into French; 5000 training pairs to score on",
        kind="translation",
    ),
    TaskSpec(
        "mini-acceptability",
        ("text",),
        ("unacceptable", "acceptable"),
        "matthews_correlation",
        summary="built in: is the sentence well formed? (as CoLA)",
    ),
    TaskSpec(
        "mini-sentiment",
        ("text",),
        ("negative", "positive"),
        "accuracy",
        summary="built in: does the sentence speak well of its subject? (as SST-2)",
    ),
    TaskSpec(
        "mini-paraphrase",
        ("text", "text_pair"),
        ("not_equivalent", "equivalent"),
        "f1",
        summary="built in: do two sentences mean the same? (as MRPC)",
    ),
    TaskSpec(
        "mini-inference",
        ("text", "text_pair"),
        _NLI,
        "accuracy",
        eval_splits=_MATCHED,
        summary="built in: does the first sentence entail the second? (as MNLI)",
    ),
    TaskSpec(
        "mini-translation",
        ("text", "text_pair"),
        None,
        TRANSLATION_METRIC,
        eval_splits=("validation", "mismatched"),
        more_splits=("test",),
        summary="built in: the sentence in a language with other word order and more agreement (as WMT)",
        kind="translation",
    ),
)

_OWN = tuple(
    TaskSpec(row.kind, row.columns, None, next(iter(row.metrics)), summary=row.summary, kind=row.kind)
    for row in OBJECTIVES.values()
    if row.summary is not None
)

TASKS: Mapping[str, TaskSpec] = MappingProxyType({spec.name: spec for spec in (*_ALL, *_OWN)})
"""Name -> task, for the tasks that `--task` names; those that are `is_own` need files."""

MINI = tuple(name for name in TASKS if name.startswith("mini-"))
"""Names of the built-in tasks, whose data `prune_heads.mini` holds."""

_BY_LETTERS = {re.sub(r"\W", "", name): name for name in TASKS}


def task_name(written: str) -> str:
    """The name of a task as `TASKS` has it, however it is written: `SST-2`, `STS_B`; any other as it is."""
    return _BY_LETTERS.get(re.sub(r"[\W_]", "", written).lower(), written)
