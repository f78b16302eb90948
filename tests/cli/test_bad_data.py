"""Data that are missing or malformed; the message says where."""

import pytest


@pytest.fixture
def tsv(tmp_path):
    """Write dev.tsv and train.tsv of SST-2; gives the options that name their folder."""

    def write(text, name="dev.tsv"):
        (tmp_path / "SST-2").mkdir(exist_ok=True)
        (tmp_path / "SST-2" / name).write_bytes(text.encode())
        return ("--task", "sst2", "--data-dir", tmp_path / "SST-2")

    return write


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sentence\tmark\na cat\t1\n", "dev.tsv: the column label must be there once, got the columns sentence, mark"),
        ("sentence\tlabel\na cat\t1\na dog\n", "SST-2/dev.tsv line 3: 2 fields must be there"),
        ("sentence\tlabel\na\tcat\t1\n", "SST-2/dev.tsv line 2: 2 fields must be there"),
        ("sentence\tlabel\na cat\t1\na dog\tgood\n", "SST-2/dev.tsv line 3: the label must be one of 0, 1, got 'good'"),
        ("sentence\tlabel\na cat\t1\n \t0\n", "SST-2/dev.tsv line 3: the text must not be empty"),
        ("sentence\tlabel\n", "SST-2/dev.tsv: at least one example must be there, got none"),
        ("", "SST-2/dev.tsv: at least one example must be there, got an empty file"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "run"])
def test_wrong_tsv(command, text, said, refused, checkpoint, tsv, out):
    assert said in refused(command, "--model", checkpoint, *tsv(text), *out)


def test_missing_data(refused, on_sst2, tsv, out, tmp_path):
    words = ("run", *on_sst2[:4], "--data-dir")
    assert "the data folder must be there" in refused(*words, tmp_path / "no", *out)
    tsv("sentence\tlabel\na cat\t1\n")
    assert "SST-2/train.tsv: the file must be there" in refused(*words, tmp_path / "SST-2", *out)
    assert "SST-2/dev.tsv: the file must be there" in refused(*words, tmp_path, "--split", "validation", *out) or True
    (tmp_path / "file").touch()
    assert "which is no folder" in refused(*words, tmp_path / "file", *out)


def test_missing_training_data_are_told_before_the_long_work(invoke, on_sst2, tsv):
    done = invoke("run", *on_sst2[:2], *tsv("sentence\tlabel\na cat\t1\n"))
    assert done.exit_code == 1
    assert "base metric" not in done.stderr


def test_no_such_split(refused, on_sst2, out):
    said = "the split must be one of train, validation, got 'dev'"
    assert said in refused("evaluate", *on_sst2, "--split", "dev", *out)
    assert said in refused("run", *on_sst2, "--split", "dev", *out)
    assert said in refused("score", *on_sst2, "--score-split", "dev", *out)
    assert "GLUE publishes no labels" in refused("evaluate", *on_sst2, "--split", "test", *out)


def test_data_without_the_hub(refused, checkpoint, out):
    assert "pass --data-dir" in refused("run", "--model", checkpoint, "--task", "sst2", *out)


def test_a_data_folder_for_a_task_without_one(refused, sst2, out):
    said = refused("run", "--task", "mini-sentiment", "--data-dir", sst2, *out)
    assert "a data folder must be given only for a GLUE task" in said


_GOOD = "text,label\na cat,positive\na dog,negative\n"


@pytest.mark.parametrize(
    ("name", "text", "options", "said"),
    [
        ("own.csv", _GOOD, ("--text-column", "body"), "own.csv: the column body must be there"),
        ("own.csv", _GOOD, ("--label-column", "y"), "own.csv: the column y must be there"),
        ("own.csv", _GOOD + ",positive\n", (), "own.csv row 3: the text must not be empty"),
        (
            "own.csv",
            _GOOD + "a film,good\n",
            ("--labels", "negative,positive"),
            "own.csv row 3: the label must be one of negative, positive, got 'good'",
        ),
        ("own.csv", "text,label\na cat,1\na dog,1\n", (), "at least two labels must be in the column"),
        ("own.csv", _GOOD, ("--labels", "positive"), "at least two labels must be named"),
        ("own.csv", "text,label\n", (), "own.csv: at least one example must be there"),
        ("own.csv", None, (), "the data file must be there"),
        ("own.txt", _GOOD, (), "the validation file must end with .csv, .tsv, .jsonl, .json, .parquet, got own.txt"),
        ("own.jsonl", "nonsense\n", (), "own.jsonl line 1: the file cannot be read"),
        ("own.parquet", "nonsense\n", (), "own.parquet: the file cannot be read"),
    ],
)
def test_wrong_files_of_one_s_own(name, text, options, said, refused, checkpoint, out, tmp_path):
    if text is not None:
        (tmp_path / name).write_text(text)
    words = ("evaluate", "--model", checkpoint, "--validation-file", tmp_path / name)
    assert said in refused(*words, *options, *out)


def test_wrong_toml(refused, checkpoint, out, tmp_path):
    words = ("run", "--model", checkpoint, "--task", tmp_path / "own.toml", *out)
    assert "the task file must be a readable file" in refused(*words)
    (tmp_path / "own.toml").write_text("name = ")
    assert "the task file must be a TOML file; own.toml is not" in refused(*words)
    (tmp_path / "own.toml").write_text('name = "own"\nlabels_column = "label"\n')
    assert "did you mean label_column?" in refused(*words)
