import json
import os
import subprocess
import sys
import textwrap

import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prune_heads.errors import DataError, TaskError
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task

PAIRS = [("one", "two", "yes"), ("NA", "null", "no"), ("007", 'a "b", c\nd', "yes")]


def own(metric: str = "accuracy", labels: tuple[str, ...] | None = None, columns=("text",), **files) -> OwnData:
    return OwnData(files, tuple(columns), "label", metric, labels, "mine")


def load(data: OwnData, split: str = "validation"):
    return load_task(data.name, own=data).load(split)


def write_csv(path, *lines, encoding="utf-8"):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


def write_jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_parquet(path, rows, label=None):
    data = datasets.Dataset.from_list(rows)
    if label is not None:
        data = data.cast_column("label", label)
    datasets.disable_progress_bars()
    data.to_parquet(path)
    return path


def write_any(path, rows):
    """The same rows in the format that the ending says."""
    if path.suffix == ".csv":
        fields = [[f'"{str(value).replace(chr(34), chr(34) * 2)}"' for value in row.values()] for row in rows]
        return write_csv(path, ",".join(rows[0]), *map(",".join, fields))
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
        return path
    return (write_parquet if path.suffix == ".parquet" else lambda path, rows: write_jsonl(path, *rows))(path, rows)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json", "parquet"])
def test_pairs_from_every_format_are_the_same(tmp_path, ending):
    rows = [{"a": a, "id": i, "label": label, "b": b} for i, (a, b, label) in enumerate(PAIRS)]
    path = write_any(tmp_path / f"dev.{ending}", rows)
    split = load(own(columns=("a", "b"), validation=path))
    assert split.dataset.to_dict() == {
        "text": ["one", "NA", "007"],
        "text_pair": ["two", "null", 'a "b", c\nd'],
        "label": [1, 0, 1],
    }
    assert split.source == f"dev.{ending}"
    assert (
        split.fingerprint
        == load(own(columns=("a", "b"), validation=write_jsonl(tmp_path / "x.jsonl", *rows))).fingerprint
    )


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])).filter(str.strip), min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
def test_any_texts_come_back_as_they_were_written(tmp_path, texts):
    rows = [{"text": text, "label": i % 2} for i, text in enumerate([*texts, "last", "two"])]
    for ending in ("csv", "jsonl"):
        split = load(own(validation=write_any(tmp_path / f"dev.{ending}", rows)))
        assert split.dataset["text"][:] == [*texts, "last", "two"]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["b", "a", "B"], ("B", "a", "b")),
        ([10, 2, -1], ("-1", "2", "10")),
        (["10", "2", "1", "01"], ("01", "1", "2", "10")),
        ([True, False], ("False", "True")),
    ],
)
def test_labels_that_are_not_named_are_sorted(tmp_path, values, labels):
    path = write_jsonl(tmp_path / "dev.jsonl", *[{"text": "x", "label": value} for value in values])
    task = load_task("mine", own=own(validation=path))
    assert task.spec.labels == labels
    assert [labels[i] for i in task.load("validation").dataset["label"]] == [str(value) for value in values]


def test_labels_that_are_not_named_come_from_all_the_files(tmp_path):
    train = write_csv(tmp_path / "train.csv", "text,label", "x,c", "y,a")
    validation = write_csv(tmp_path / "dev.csv", "text,label", "x,b")
    data = own(train=train, validation=validation)
    assert load_task("mine", own=data).spec.labels == ("a", "b", "c")
    assert load(data).dataset["label"][:] == [1]


def test_named_labels_keep_their_order_and_refuse_others(tmp_path):
    path = write_csv(tmp_path / "dev.csv", "text,label", "x,no", "y,yes", "z,maybe")
    with pytest.raises(DataError, match=r"dev\.csv row 3: the label must be one of yes, no, got 'maybe'"):
        load(own(labels=("yes", "no"), validation=path))
    assert load(own(labels=("yes", "no", "maybe"), validation=path)).dataset["label"][:] == [1, 0, 2]


def test_parquet_class_labels_are_taken_by_name(tmp_path):
    rows = [{"text": "x", "label": 0}, {"text": "y", "label": 1}]
    kind = datasets.ClassLabel(names=["yes", "no"])
    path = write_parquet(tmp_path / "dev.parquet", rows, kind)
    task = load_task("mine", own=own(validation=path))
    assert task.spec.labels == ("no", "yes")
    assert task.load("validation").dataset["label"][:] == [1, 0]
    unlabelled = write_parquet(tmp_path / "test.parquet", [{"text": "x", "label": -1}], kind)
    with pytest.raises(DataError, match=r"test\.parquet row 1: the label must be .* got -1"):
        load(own(labels=("no", "yes"), validation=unlabelled))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_scores(tmp_path, ending):
    path = write_any(tmp_path / f"dev.{ending}", [{"text": "x", "label": 1.5}, {"text": "y", "label": 2.0}])
    task = load_task("mine", own=own("pearson", validation=path))
    assert task.spec.labels is None
    assert task.load("validation").dataset["label"][:] == [1.5, 2.0]


def test_splits_are_the_files_and_what_is_missing_is_said(tmp_path):
    path = write_csv(tmp_path / "dev.csv", "text,label", "x,a", "y,b")
    task = load_task("mine", own=own(validation=path, hard=path))
    assert task.splits == task.spec.eval_splits == ("validation", "hard")
    with pytest.raises(TaskError, match=r"one of validation, hard, got 'train'; name a file for it \(--train-file"):
        task.load("train")
    only_train = load_task("mine", own=own(train=path))
    assert len(only_train.load("train").dataset) == 2
    with pytest.raises(TaskError, match="--validation-file"):
        only_train.load(only_train.spec.eval_splits[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\nx,a\n ,b\n", "a.csv row 2: the text must not be empty"),
        ("a.csv", "text,label\nx,a\ny\n", "a.csv row 2: 2 fields must be there \\(text, label\\), got 1"),
        ("a.csv", "text,label\nx,a\ny,b,c\n", "a.csv row 2: 2 fields must be there \\(text, label\\), got 3"),
        ("a.csv", "text,label\nx,a,1\ny,b,2\n", "a.csv row 1: 2 fields must be there"),
        (
            "a.csv",
            "sentence,label\nx,a\n",
            "a.csv: the column text must be there once, got the columns sentence, label",
        ),
        ("a.csv", "\n", "a.csv: the column text must be there once, got the columns none"),
        ("a.csv", "text,label\n", "a.csv: at least one example must be there, got none"),
        ("a.csv", "text,label\nx,a,1\ny,b\n", "a.csv row 1: 2 fields must be there"),
        ("a.csv", 'text,label\n"x,a\ny,b\n', "a.csv: the file cannot be read: line 3: unexpected end of data"),
        ("a.csv", 'text,label\n"x" y,a\n', "a.csv: the file cannot be read: line 2: .* must be doubled"),
        ("a.csv", "text,label,text\nx,a,y\n", "the column text must be there once, got the columns text, label, text"),
        ("a.csv", b"text,label\ncaf\xe9,a\n", "a.csv line 2: the file must be UTF-8, got the byte 0xe9, as in Latin-1"),
        ("a.jsonl", '{"text": "x", "label": "a"}\n{"label": "b"}\n', "a.jsonl line 2: the text must be text, got None"),
        ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": "y"}\n', "a.jsonl line 2: the label .* got None"),
        ("a.jsonl", '{"text": 1, "label": "a"}\n{"text": 2, "label": "b"}\n', "line 1: the text must be text, got 1"),
        ("a.jsonl", '{"text": "x", "label": 0.5}\n', "line 1: the label must be .* got 0.5"),
        ("a.jsonl", '{"text": "x", "label": "a"}\n', "at least two labels must be in the column label, got a"),
        ("a.jsonl", '{"text": "x"}\n', "the column label must be there once, got the columns text"),
        ("a.jsonl", '{"text": "x", "label"\n', "a.jsonl line 1: the file cannot be read"),
        ("a.jsonl", "null\n", "a.jsonl line 1: it must be a JSON object, got None"),
        ("a.parquet", "no parquet", "a.parquet: the file cannot be read"),
    ],
)
def test_malformed_files_are_refused_with_the_row(tmp_path, capfd, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as error:
        load(own(validation=path))
    assert str(tmp_path) not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_an_empty_split_is_refused(tmp_path, name):
    path = tmp_path / name
    if name == "a.parquet":
        datasets.Dataset.from_dict({"text": [], "label": []}).to_parquet(path)
    else:
        path.write_text("text,label\n" if name == "a.csv" else "")
    with pytest.raises(DataError, match=f"{name}: at least one example must be there, got none"):
        load(own(labels=("a", "b"), validation=path))


@pytest.mark.parametrize("score", ["high", "nan", "", "inf"])
def test_scores_must_be_numbers(tmp_path, score):
    path = write_csv(tmp_path / "a.csv", "text,label", "x,1", f"y,{score}")
    with pytest.raises(DataError, match=f"a.csv row 2: the score must be a finite number, got '{score}'"):
        load(own("pearson", validation=path))


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="the data file must be there"):
        load(own(labels=("a", "b"), validation=tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {}}, "at least one file must be named"),
        ({"files": {"train": "a.txt"}}, "the train file must end with .csv, .tsv, .jsonl, .json, .parquet, got a.txt"),
        ({"text_columns": ("a", "b", "c")}, "text columns must be 1 or 2 in number, got 3"),
        ({"text_columns": ("a", "a")}, "must differ, got a twice"),
        ({"label_column": "text"}, "must differ, got text twice"),
        ({"metric": "bleu"}, "the metric must be one of accuracy, f1, .* got 'bleu'"),
        ({"labels": ("a",)}, "at least two labels must be named, got 1"),
        ({"labels": ("a", "b", "a")}, "labels must differ, got a twice"),
        ({"metric": "f1", "labels": ("a", "b", "c")}, "the metric f1 is of the second of two labels, got 3"),
        ({"metric": "pearson", "labels": ("a", "b")}, "labels must not be named for the metric pearson"),
        ({"name": "sst2"}, "must not be that of a task that is built in, got sst2"),
    ],
)
def test_inconsistent_descriptions_are_refused(tmp_path, changes, message):
    good = {
        "files": {"train": tmp_path / "a.csv"},
        "text_columns": ("text",),
        "label_column": "label",
        "metric": "accuracy",
    }
    if "files" in changes:
        changes = {"files": {split: tmp_path / name for split, name in changes["files"].items()}}
    OwnData(**good)
    with pytest.raises(TaskError, match=message):
        OwnData(**{**good, **changes})


def test_f1_wants_two_labels_in_the_files(tmp_path):
    path = write_csv(tmp_path / "a.csv", "text,label", "x,a", "y,b", "z,c")
    with pytest.raises(DataError, match="two labels must be in the column label, got a, b, c"):
        load(own("f1", validation=path))


@pytest.mark.slow
def test_local_sources_and_metrics_use_no_network_and_leave_no_file(tmp_path):
    """In a process of its own, for the libraries read their settings when they are imported."""
    write_csv(tmp_path / "a.csv", "text,label", "x,a", "y,b")
    write_jsonl(tmp_path / "a.jsonl", {"text": "x", "label": "a"})
    write_parquet(tmp_path / "a.parquet", [{"text": "x", "label": "a"}])
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nx\t0\n")
    script = textwrap.dedent("""
        import socket, sys
        import numpy
        from pathlib import Path

        def refuse(*args):
            raise SystemExit(f"network used: {args}")

        socket.socket.connect = socket.getaddrinfo = refuse
        from prune_heads.statistics import METRICS as VALUES
        from prune_heads.tasks.metrics import METRICS
        from prune_heads.tasks.own import OwnData
        from prune_heads.tasks.task import load_task

        folder = Path(sys.argv[1])
        for ending in ("csv", "jsonl", "parquet"):
            files = {"train": folder / f"a.{ending}"}
            own = OwnData(files, ("text",), "label", "accuracy", ("a", "b"), "mine")
            load_task("mine", own=own).load("train")
        load_task("sst2", data_dir=folder).load("validation")
        load_task("mini-sentiment").load("validation")
        for metric in METRICS:
            VALUES[metric](numpy.ones((2, 10)) if metric == "bleu" else numpy.array([0, 1]), [1, 1])
        print("done")
    """)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", done.stderr
    assert not (tmp_path / "hf").exists()
    assert not (tmp_path / "home").exists()
    assert list((tmp_path / "tmp").glob("tmp*")) == []


def test_labels_of_thousands_of_digits_are_names(tmp_path):
    """Python refuses to make a number of more than 4,300 digits."""
    long = "9" * 5000
    file = write_csv(tmp_path / "a.csv", "text,label", f"x,{long}", "y,1")
    assert load_task("mine", own=own(validation=file)).spec.labels == ("1", long)


def test_a_first_line_that_is_a_list_is_named_by_its_line(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('[1, 2]\n{"text": "x", "label": "a"}\n')
    with pytest.raises(DataError, match=r"line 1: it must be a JSON object, got \[1, 2\]"):
        load_task("mine", own=own(validation=file))
