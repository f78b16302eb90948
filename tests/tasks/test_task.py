import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_heads.errors import DataError, TaskError
from prune_heads.mini import read
from prune_heads.objectives import MINI, TASKS
from prune_heads.objectives.rows import fingerprint
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task

LABELLED = [name for name in MINI if TASKS[name].labels]


@pytest.fixture
def sst2(tmp_path):
    folder = tmp_path / "SST-2"
    folder.mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text("sentence\tlabel\n" + "".join(f"film {i}\t{i % 2}\n" for i in range(10)))
    return load_task("sst2", data_dir=folder)


@pytest.mark.parametrize("name", LABELLED)
def test_mini_tasks_load_from_the_package(name):
    task = load_task(name)
    assert task.splits == task.spec.splits
    split = task.load(task.spec.eval_splits[0])
    columns = read(name, split.name)
    assert split.dataset.to_dict() == columns
    assert split.source == "mini grammar"
    assert split.n_available == len(split.dataset) == len(columns["label"])


def test_the_first_examples_in_file_order_are_taken(sst2):
    split = sst2.load("validation", 3)
    assert split.dataset.to_dict() == {"text": ["film 0", "film 1", "film 2"], "label": [0, 1, 0]}
    assert split.n_available == 10
    assert sst2.load("validation", 99).fingerprint == sst2.load("validation").fingerprint != split.fingerprint


@pytest.mark.parametrize("n", [0, -1])
def test_no_examples_are_refused(sst2, n):
    with pytest.raises(DataError, match=f"must be at least 1, got {n}"):
        sst2.load("validation", n)


def test_unknown_splits_are_refused_with_those_there_are(sst2):
    with pytest.raises(TaskError, match=r"sst2: the split must be one of train, validation, got 'dev'"):
        sst2.load("dev")
    with pytest.raises(TaskError, match=r"got 'test'; GLUE publishes no labels"):
        sst2.load("test")
    with pytest.raises(TaskError, match=r"one of train, validation_matched, validation_mismatched, got 'validation'"):
        load_task("mini-inference").load("validation")


@pytest.mark.parametrize(
    ("typed", "meant"), [("sst-3", "sst2"), ("MNLY", "mnli"), ("mini-sentimant", "mini-sentiment")]
)
def test_unknown_tasks_are_refused_with_the_nearest(typed, meant):
    with pytest.raises(TaskError, match=f"Did you mean {meant}") as error:
        load_task(typed)
    assert all(name in str(error.value) for name in TASKS)


@pytest.mark.parametrize(
    ("typed", "meant"), [("SST-2", "sst2"), ("Sst2", "sst2"), ("STS_B", "stsb"), ("MiniSentiment", "mini-sentiment")]
)
def test_case_and_dashes_do_not_matter(typed, meant):
    assert load_task(typed, data_dir=None).spec is TASKS[meant]


def test_a_task_like_no_other_gets_no_hint():
    with pytest.raises(TaskError) as error:
        load_task("#")
    assert "Did you mean" not in str(error.value)


def test_data_folders_are_for_glue_only(tmp_path):
    with pytest.raises(TaskError, match="mini-sentiment: a data folder must be given only for a GLUE task"):
        load_task("mini-sentiment", data_dir=tmp_path)
    with pytest.raises(TaskError, match="wmt14-en-fr: a data folder must be given only for a GLUE task"):
        load_task("wmt14-en-fr", data_dir=tmp_path)
    own = OwnData({"train": tmp_path / "a.csv"}, ("text",), "label", "accuracy", ("a", "b"), "mine")
    with pytest.raises(TaskError, match="mine: a data folder must be given only for a GLUE task"):
        load_task("mine", data_dir=tmp_path, own=own)
    with pytest.raises(TaskError, match=r"must be described once, got x\.toml"):
        load_task("x.toml", own=own)
    assert load_task("sst2", own=own).spec.name == "mine"


ROWS = {"text": ["ab", "c"], "text_pair": ["d", "e"], "label": [0, 1]}
LABELS = ("no", "yes")


@pytest.mark.parametrize(
    ("change", "labels"),
    [
        ({"text": ["ab", "C"]}, LABELS),
        ({"text": ["a", "bc"]}, LABELS),
        ({"text_pair": ["d", "e "]}, LABELS),
        ({"text_pair": None}, LABELS),
        ({"label": [1, 1]}, LABELS),
        ({"text": ["c", "ab"], "text_pair": ["e", "d"], "label": [1, 0]}, LABELS),
        ({}, ("yes", "no")),
        ({}, None),
    ],
)
def test_any_change_of_content_changes_the_fingerprint(change, labels):
    columns = {name: column for name, column in {**ROWS, **change}.items() if column is not None}
    assert fingerprint(labels, columns) != fingerprint(LABELS, ROWS)


@given(*[st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=3)] * 2)
def test_fingerprints_tell_any_two_contents_apart(one, two):
    def of(pairs):
        columns = {"text": [a for a, _ in pairs], "text_pair": [b for _, b in pairs], "label": [0] * len(pairs)}
        return fingerprint(LABELS, columns)

    assert (of(one) == of(two)) == (one == two)


def test_a_known_fingerprint():
    """Records keep fingerprints, so that their form must not drift."""
    import hashlib

    content = '["no", "yes"]["ab", "d", 0]["c", "e", 1]'
    assert fingerprint(LABELS, ROWS) == hashlib.sha256(content.encode()).hexdigest()
