import pytest

from prune_heads.errors import TaskError
from prune_heads.tasks.own import OwnData, read_toml
from prune_heads.tasks.task import load_task

GOOD = """
name = "reviews"
text_columns = ["review"]
label_column = "stars"
metric = "accuracy"
labels = ["bad", "good"]

[files]
train = "data/train.csv"
validation = "dev.jsonl"
"""


def write(tmp_path, text):
    path = tmp_path / "reviews.toml"
    path.write_text(text)
    return path


def test_a_description_is_read_with_paths_relative_to_it(tmp_path):
    assert read_toml(write(tmp_path, GOOD)) == OwnData(
        {"train": tmp_path / "data" / "train.csv", "validation": tmp_path / "dev.jsonl"},
        ("review",),
        "stars",
        "accuracy",
        ("bad", "good"),
        "reviews",
    )


def test_labels_are_optional_and_may_be_numbers(tmp_path):
    assert read_toml(write(tmp_path, GOOD.replace('labels = ["bad", "good"]', ""))).labels is None
    assert read_toml(write(tmp_path, GOOD.replace('["bad", "good"]', "[1, 0]"))).labels == ("1", "0")
    assert read_toml(write(tmp_path, GOOD.replace('["bad", "good"]', "[false, true]"))).labels == ("False", "True")


def test_a_task_loads_from_it(tmp_path):
    (tmp_path / "dev.jsonl").write_text('{"review": "fine", "stars": "good"}\n')
    task = load_task(str(write(tmp_path, GOOD)))
    assert task.spec.name == "reviews"
    assert task.load("validation").dataset.to_dict() == {"text": ["fine"], "label": [1]}


def test_all_faults_are_told_at_once(tmp_path):
    text = """
        nmae = "x"
        text_columns = "text"
        metric = "acuracy"
        labels = ["a"]
        colour = 1
        [files]
        train = "train.txt"
    """
    with pytest.raises(TaskError) as error:
        read_toml(write(tmp_path, text))
    for fault in (
        "reviews.toml: ",
        "the key nmae is unknown; did you mean name?",
        "the key colour is unknown; known are name, label_column",
        "the key name must be there",
        "the key label_column must be there",
        "text_columns must be a list of texts, got 'text'",
        "the metric must be one of accuracy",
        "got 'acuracy'",
        "at least two labels must be named, got 1",
        "the train file must end with .csv",
    ):
        assert fault in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"reviews"', "3", "name must be a text, got 3"),
        ('"reviews"', '""', "name must be a text, got ''"),
        ('"reviews"', '"mnli"', "must not be that of a task that is built in, got mnli"),
        ('["review"]', "[]", r"text_columns must be a list of texts, got \[\]"),
        ('["review"]', '["review", 1]', "text_columns must be a list of texts"),
        ('["bad", "good"]', "[0.5, 1.0]", "labels must be a list of texts, whole numbers or booleans"),
        ('"dev.jsonl"', '["dev.jsonl"]', "files must be a file name for each split"),
        ("[files]", "[flies]", "the key flies is unknown; did you mean files"),
        ("[files]", "[files", "the task file must be a TOML file"),
    ],
)
def test_faults(tmp_path, old, new, message):
    with pytest.raises(TaskError, match=message):
        read_toml(write(tmp_path, GOOD.replace(old, new)))


TEXTS = """
name = "wiki"
task = "lm"

[files]
train = "train.txt"
validation = "dev.jsonl"
"""


def test_texts_for_a_language_model(tmp_path):
    files = {"train": tmp_path / "train.txt", "validation": tmp_path / "dev.jsonl"}
    assert read_toml(write(tmp_path, TEXTS)) == OwnData(files, ["text"], name="wiki", kind="lm")
    named = TEXTS.replace("[files]", 'text_columns = ["body"]\n[files]')
    assert read_toml(write(tmp_path, named)).text_columns == ("body",)
    pairs = TEXTS.replace('"lm"', '"seq2seq"').replace("train.txt", "train.csv")
    assert read_toml(write(tmp_path, pairs)).text_columns == ("source", "target")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'task = "lm"',
            'task = "mnli"',
            "task must be one of .*lm, seq2seq, translation, .* or be left out, got 'mnli'",
        ),
        ('task = "lm"', 'metric = "log_likelihood"', "task = 'lm' or 'seq2seq' must stand in place of the metric"),
        ("[files]", 'label_column = "y"\n[files]', "label_column must not be named beside task = 'lm'"),
        ("[files]", 'labels = ["a", "b"]\n[files]', "labels must not be named beside task = 'lm'"),
        ('"wiki"', '"seq2seq"', "must not be that of a task that is built in"),
        ('"lm"', '"seq2seq"', "the train file must end with .csv"),
        ('name = "wiki"', "", "the key name must be there"),
    ],
)
def test_faults_of_texts(tmp_path, old, new, message):
    with pytest.raises(TaskError, match=message):
        read_toml(write(tmp_path, TEXTS.replace(old, new)))


def test_no_file_at_all(tmp_path):
    with pytest.raises(TaskError, match="the task file must be a readable file"):
        load_task(str(tmp_path / "none.toml"))


def test_an_empty_files_table(tmp_path):
    with pytest.raises(TaskError, match="at least one file must be named"):
        read_toml(write(tmp_path, GOOD.split("[files]")[0] + "[files]"))
