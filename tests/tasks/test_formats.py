"""Files of one's own as they come: separators, rows that are none, samples, and bytes of any kind."""

import datetime
import json

import numpy as np
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from prune_heads.errors import DataError
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task

LABELS = ("a", "b")


@pytest.fixture
def load(tmp_path):
    """The rows of a file, and what was left out of it."""

    def read(name, content, *, skip=False, metric="accuracy", labels=LABELS):
        path = tmp_path / name
        if isinstance(content, pyarrow.Table):
            parquet.write_table(content, path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        own = OwnData({"validation": path}, ("text",), "label", metric, labels, "mine")
        split = load_task("mine", own=own, skip_invalid=skip).load("validation")
        rows = split.dataset.to_dict()
        return list(zip(rows["text"], rows["label"], strict=True)), split.left_out

    return read


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tsv", 'text\tlabel\n1,5; "so"\ta\n"two\nlines"\tb\n'),
        ("x.csv", 'text;label\n"1,5; ""so""";a\n"two\nlines";b\n'),
        ("x.csv", '\ufefftext\tid\tlabel\r\n1,5; "so"\t0\ta\r\n"two\nlines"\t1\tb\r\n'),
        ("x.csv", 'label,text\na,"1,5; ""so"""\n\nb,"two\nlines"\n'),
        ("x.json", json.dumps([{"label": "a", "text": '1,5; "so"'}, {"text": "two\nlines", "label": "b"}], indent=1)),
        ("x.jsonl", '{"label": "a", "text": "1,5; \\"so\\"", "n": NaN}\n\n{"text": "two\\nlines", "label": "b"}'),
        (
            "x.parquet",
            pyarrow.table({"text": ['1,5; "so"', "two\nlines"], "label": pyarrow.array(LABELS).dictionary_encode()}),
        ),
    ],
)
def test_the_same_rows_however_they_are_separated(load, name, content):
    assert load(name, content) == ([('1,5; "so"', 0), ("two\nlines", 1)], ())


@pytest.mark.parametrize(
    ("name", "content", "faults"),
    [
        (
            "x.csv",
            "text,label\nx,a\ny\n,a\nz,c\nw,b,1\nv,b\n",
            [
                "row 2: 2 fields",
                "row 5: 2 fields",
                "row 3: the text must not be",
                "row 4: the label must be one of a, b, got 'c'",
            ],
        ),
        (
            "x.jsonl",
            '{"text": "x", "label": "a"}\n{"text"\n7\n{"text": null, "label": "a"}\n{"text": "\\ud800", "label": "a"}\n'
            '{"text": "y", "label": [1]}\n{"text": "v", "label": "b"}\n' + '{"text":' * 5000 + "\n",
            [
                "line 2: the file cannot be read, it must hold one JSON object a line: Expecting ':'",
                "line 8: .*nested too deeply",
                "line 3: it must be a JSON object, got 7",
                "line 4: the text must be text, got None",
                "line 5: .*half a surrogate pair",
                r"line 6: the label must be one of a, b, got \['1'\]",
            ],
        ),
        (
            "x.parquet",
            pyarrow.table({"text": ["x", None, "y", "v"], "label": ["a", "a", None, "b"]}),
            ["row 2: the text must be text, got None", "row 3: the label must be"],
        ),
    ],
)
def test_rows_at_fault_are_refused_or_left_out_and_counted(load, name, content, faults):
    with pytest.raises(DataError, match=f"{name} {faults[0]}"):
        load(name, content)
    rows, left_out = load(name, content, skip=True)
    assert rows == [("x", 0), ("v", 1)]
    assert len(left_out) == len(faults)
    for said, fault in zip(left_out, faults, strict=True):
        with pytest.raises(DataError, match=f"^{name} {fault}"):
            raise DataError(said)


def test_a_file_of_which_all_is_left_out(load):
    with pytest.raises(DataError, match=r"got none; 2 rows were left out, the first: x\.csv row 1: the label"):
        load("x.csv", "text,label\nx,c\ny,d\n", skip=True)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            pyarrow.table({"text": pyarrow.array([], "string"), "label": pyarrow.array([], "string")}),
            "at least one example",
        ),
        (pyarrow.table({}), "the column text must be there once, got the columns none; --text-column .* names another"),
        (
            pyarrow.table({"text": ["x"], "y": ["a"]}),
            "the column label must be there once, .* --label-column .* names another",
        ),
        (pyarrow.table({"text": [1.5], "label": ["a"]}), "row 1: the text must be text, got 1.5"),
        (pyarrow.table({"text": [b"\xff"], "label": ["a"]}), "row 1: the text must be text, got b'"),
        (
            pyarrow.table({"text": ["x"], "label": [datetime.date(2020, 1, 1)]}),
            "row 1: the label must be one of a, b, got datetime",
        ),
        (pyarrow.table({"text": ["x"], "label": [{"a": 1}]}), "row 1: the label must be one of a, b"),
        (
            pyarrow.table({"text": ["x"], "label": [0]}).replace_schema_metadata({"huggingface": "[" * 100_000}),
            "the file cannot be read: .*recursion",
        ),
        (
            pyarrow.table({"text": ["x"], "label": [0]}).replace_schema_metadata({"huggingface": '{"info": [5]}'}),
            "row 1: the label must be one of a, b, got '0'",
        ),
    ],
)
def test_parquet_that_is_no_data(load, table, said):
    with pytest.raises(DataError, match=rf"^x\.parquet.*{said}"):
        load("x.parquet", table)


@pytest.mark.parametrize("label", ["9" * 400, "1e999", "NaN", '"1_0e400"', "[]", "true1"])
def test_scores_that_are_no_numbers(load, label):
    with pytest.raises(DataError, match=r"^x\.jsonl line 1: "):
        load("x.jsonl", f'{{"text": "x", "label": {label}}}\n', metric="pearson", labels=None)


WHOLE = {
    ".csv": b'text,label\nx,a\n"y, z",b\n',
    ".tsv": b"text\tlabel\nx\ta\ny\tb\n",
    ".jsonl": b'{"text": "x", "label": "a"}\n{"text": "y", "label": "b"}\n',
    ".json": b'[{"text": "x", "label": "a"}, {"text": "y", "label": "b"}]',
}


@given(data=st.data(), ending=st.sampled_from([*WHOLE, ".parquet"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_give_rows_or_our_error(load, tmp_path, data, ending):
    if ending == ".parquet":
        parquet.write_table(pyarrow.table({"text": ["x", "y"], "label": list(LABELS)}), tmp_path / "whole")
        WHOLE[ending] = (tmp_path / "whole").read_bytes()
    content = bytearray(WHOLE[ending])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        piece = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"[[[[", b"{", b"null", b"\n", b"\\ud800", b"\xff"])
        )
        content[at : at + data.draw(st.integers(0, 3))] = piece
    try:
        rows, _ = load(f"x{ending}", bytes(content), skip=data.draw(st.booleans()))
    except DataError as error:
        assert str(tmp_path) not in str(error) or "no file" in str(error)  # noqa: PT017
    else:
        assert all(isinstance(text, str) and text.strip() and label in (0, 1) for text, label in rows)


def test_long_fields_and_many_columns_are_read_in_time(load):
    wide = ",".join(["text", "label", *(f"c{i}" for i in range(50_000))]) + "\n"
    assert load("x.csv", wide + "x,a" + ",1" * 50_000 + "\n") == ([("x", 0)], ())
    long = "x" * 1_000_000
    assert load("x.csv", f"text,label\n{long},a\n")[0] == [(long, 0)]


def test_a_sample_is_drawn_with_its_seed_from_all_rows(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("".join(f"text {i}\n" for i in range(1000)))
    task = load_task("lm", own=OwnData({"train": path}, kind="lm"))
    drawn = [task.load("train", 50, seed=seed).dataset["text"][:] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 50
    numbers = np.array([int(text.split()[1]) for text in drawn[0]])
    assert (np.diff(numbers) > 0).all()  # in file order
    assert 300 < numbers.mean() < 700
