import subprocess
import sys

import pytest

from prune_heads.objectives import METRIC_NAMES, MINI, TASKS, rows_for
from prune_heads.tasks.sources import CONFIGURATIONS, GLUE


def test_the_table_holds_the_glue_tasks_the_mini_tasks_and_those_of_language_models():
    own = {"lm", "seq2seq", "translation", "multi-label", "question-answering"}
    own |= {"token-classification", "image-classification"}
    assert set(TASKS) == set(GLUE) | set(CONFIGURATIONS) | set(MINI) | own
    assert {name for name, spec in TASKS.items() if spec.is_own} == own
    assert len(GLUE) == 9
    assert len(MINI) == 5


@pytest.mark.parametrize("spec", TASKS.values(), ids=TASKS)
def test_each_task_is_consistent(spec):
    assert TASKS[spec.name] is spec
    assert spec.metric in METRIC_NAMES
    assert (spec.labels is None and spec.kind == "labelled") == (spec.metric == "pearson")
    assert rows_for("labelled", spec.metric) or spec.kind != "labelled"
    assert len(spec.text_columns) in (1, 2)
    assert spec.metric != "f1" or len(spec.labels) == 2
    assert spec.summary
    assert len(set(spec.splits)) == len(spec.splits)


@pytest.mark.parametrize("name", GLUE)
def test_glue_rows_fit_their_tasks(name):
    spec, files = TASKS[name], GLUE[name]
    assert len(files["text_columns"]) == len(spec.text_columns)


def test_files_that_write_labels_as_digits():
    assert {name for name in GLUE if TASKS[name].digit_labels} == {"cola", "sst2", "mrpc", "qqp", "wnli"}


def test_the_headline_comes_first():
    assert [names[0] for names in METRIC_NAMES.values()] == [
        "accuracy",
        "f1",
        "matthews_correlation",
        "pearson",
        "micro_f1",
        "macro_f1",
        "log_likelihood",
        "bleu",
        "exact_match",
        "entity_f1",
        "token_accuracy",
    ]


def test_listing_tasks_imports_nothing_heavy():
    code = (
        "import sys, prune_heads.objectives\n"
        "print(*{'torch', 'transformers', 'datasets', 'evaluate', 'numpy', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
