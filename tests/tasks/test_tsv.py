import itertools
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prune_heads.errors import DataError
from prune_heads.objectives import TASKS
from prune_heads.tasks.sources import GLUE
from prune_heads.tasks.task import load_task

HEADERS = {
    "cola": None,
    "sst2": "sentence\tlabel",
    "mrpc": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "qqp": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
    "stsb": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
    "rte": "index\tsentence1\tsentence2\tlabel",
}

TEXT = st.text(st.characters(exclude_characters="\0\t\n\r", exclude_categories=["Cs"])).filter(str.strip)


def write(folder: Path, *lines: str, name: str = "dev.tsv", encoding: str = "utf-8", end: str = "\n") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes("".join(line + end for line in lines).encode(encoding))
    return folder


def read(task: str, folder: Path, split: str = "validation"):
    return load_task(task, data_dir=folder).load(split)


def test_sst2(tmp_path):
    rows = read("sst2", write(tmp_path / "SST-2", HEADERS["sst2"], 'a "quoted" film \t1', "'dull\t0"))
    assert rows.columns["text"] == ['a "quoted" film ', "'dull"]
    assert rows.columns.get("text_pair") is None
    assert rows.columns["label"] == [1, 0]
    assert rows.source == "SST-2/dev.tsv"


def test_cola_has_no_header(tmp_path):
    rows = read("cola", write(tmp_path / "CoLA", "gj04\t1\t\tThe boys left.", "gj04\t0\t*\tBoys the left."))
    assert rows.columns["text"] == ["The boys left.", "Boys the left."]
    assert rows.columns["label"] == [1, 0]


def test_stsb_has_scores_in_single_precision(tmp_path):
    rows = read("stsb", write(tmp_path / "STS-B", HEADERS["stsb"], "0\tg\tf\ty\t1\tn\tn\tA cat.\tA dog.\t3.8"))
    assert rows.columns.get("text_pair") == ["A dog."]
    assert rows.columns["label"] == [3.799999952316284]  # as the hub stores it


def test_columns_are_found_by_name(tmp_path):
    rows = read("rte", write(tmp_path / "RTE", "label\tsentence2\tsentence1", "not_entailment\tsecond\tfirst"))
    assert (rows.columns["text"], rows.columns.get("text_pair"), rows.columns["label"]) == (["first"], ["second"], [1])


@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "\n"), ("utf-8-sig", "\n"), ("utf-8", "\r\n")])
def test_byte_order_marks_and_windows_line_ends_are_tolerated(tmp_path, encoding, end):
    folder = write(tmp_path / "MRPC", HEADERS["mrpc"], "1\t7\t8\tone é\tone", encoding=encoding, end=end)
    rows = read("mrpc", folder)
    assert (rows.columns["text"], rows.columns.get("text_pair"), rows.columns["label"]) == (["one é"], ["one"], [1])


@given(st.lists(st.tuples(TEXT, TEXT, st.sampled_from(TASKS["rte"].labels)), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_texts_come_back_as_they_were_written(tmp_path, examples):
    lines = [f"{i}\t{first}\t{second}\t{label}" for i, (first, second, label) in enumerate(examples)]
    rows = read("rte", write(tmp_path / "RTE", HEADERS["rte"], *lines))
    assert rows.columns["text"] == [first for first, _, _ in examples]
    assert rows.columns.get("text_pair") == [second for _, second, _ in examples]
    assert [TASKS["rte"].labels[label] for label in rows.columns["label"]] == [label for _, _, label in examples]


def test_the_folder_above_serves_too(tmp_path):
    write(tmp_path / "SST-2", HEADERS["sst2"], "good\t1")
    assert read("sst2", tmp_path) == read("sst2", tmp_path / "SST-2")


QQP_ROW = "1\t2\t3\tIs it?\tIt is?\t1"


def test_broken_lines_of_qqp_are_skipped_and_its_empty_questions_kept(tmp_path):
    broken = ["4\t5\t6\tWhat is the", '"\tWas he real?\t0', "7\t8\t9\tHow do I?\t\t0"]
    rows = read("qqp", write(tmp_path / "QQP", HEADERS["qqp"], *broken, QQP_ROW))
    assert rows.columns["text"] == ["How do I?", "Is it?"]
    assert rows.columns.get("text_pair") == ["", "It is?"]


def test_so_many_broken_lines_are_not_the_official_qqp(tmp_path):
    limit = GLUE["qqp"]["broken_lines"]
    folder = write(tmp_path / "QQP", HEADERS["qqp"], QQP_ROW, *["short"] * (limit + 1))
    with pytest.raises(DataError, match=rf"QQP/dev.tsv line {limit + 3}: 6 fields"):
        read("qqp", folder)


@pytest.mark.parametrize(
    ("task", "lines", "message"),
    [
        ("sst2", ["sentence\tlabel", "fine\t1", "a\tb\t1"], r"X/dev\.tsv line 3: 2 fields .* got 3"),
        ("sst2", ["sentence\tlabel", "no label"], r"line 2: 2 fields .* got 1"),
        ("sst2", ["sentence\tlabel", "", "fine\t1"], r"line 2: 2 fields .* got 1"),
        ("cola", ["gj04\t1\t\tfine", "gj04\t1\tshort"], r"line 2: 4 fields .* got 3"),
        ("qqp", [HEADERS["qqp"], QQP_ROW + "\tmore"], r"line 2: 6 fields .* got 7"),
        ("sst2", ["sentence\tlabel", "fine\tpositive"], r"line 2: the label must be one of 0, 1, got 'positive'"),
        ("cola", ["gj04\t2\t\tfine"], r"line 1: the label must be one of 0, 1, got '2'"),
        ("rte", [HEADERS["rte"], "0\ta\tb\tmaybe"], "one of entailment, not_entailment, got 'maybe'"),
        ("rte", [HEADERS["rte"], "0\ta\tb\t"], "one of entailment, not_entailment, got ''"),
        ("sst2", ["sentence\tlabel", "fine\t1", " \t1"], r"line 3: the text must not be empty"),
        ("rte", [HEADERS["rte"], "0\ta\t\tentailment"], r"line 2: the text must not be empty"),
        ("stsb", [HEADERS["stsb"], "0\tg\tf\ty\t1\tn\tn\ta\tb\thigh"], r"line 2: the score .* got 'high'"),
        ("stsb", [HEADERS["stsb"], "0\tg\tf\ty\t1\tn\tn\ta\tb\tnan"], r"line 2: the score .* got 'nan'"),
        ("stsb", [HEADERS["stsb"], "0\tg\tf\ty\t1\tn\tn\ta\tb\t1e99"], r"line 2: the score .* got '1e99'"),
        ("sst2", ["text\tlabel", "fine\t1"], r"the column sentence must be there once, got the columns text, label"),
        ("sst2", ["sentence,label", "fine,1"], r"the column sentence must be there"),
        ("rte", ["index\tsentence1\tsentence2"], r"the column label must be there"),
        ("sst2", ["sentence\tlabel"], "at least one example must be there, got none"),
        ("sst2", [], "at least one example must be there, got an empty file"),
        ("cola", ["\n\n"], "at least one example must be there, got an empty file"),
    ],
)
def test_malformed_files_are_refused_with_the_line(tmp_path, task, lines, message):
    with pytest.raises(DataError, match=message) as error:
        read(task, write(tmp_path / "X", *lines))
    assert str(tmp_path) not in str(error.value)


def test_what_is_not_utf8_is_refused_with_the_line(tmp_path):
    folder = write(tmp_path / "SST-2", "sentence\tlabel", "fine\t1", "caf\u00e9\t1", encoding="latin-1")
    with pytest.raises(DataError, match=r"^SST-2/dev\.tsv line 3: the file must be UTF-8, got the byte 0xe9"):
        read("sst2", folder)


def test_missing_files_and_folders(tmp_path):
    folder = write(tmp_path / "SST-2", "sentence\tlabel", "fine\t1", name="train.tsv")
    with pytest.raises(DataError, match=r"SST-2/dev\.tsv: the file must be there, got a folder with .*: train\.tsv"):
        read("sst2", folder)
    with pytest.raises(DataError, match="the data folder must be there"):
        read("sst2", tmp_path / "none")
    (folder / "dev.tsv").mkdir()
    with pytest.raises(DataError, match=r"SST-2/dev\.tsv must be a readable file"):
        read("sst2", folder)


@pytest.mark.slow
def test_tens_of_megabytes_are_read_in_linear_time(tmp_path):
    words = random.Random(0).choices(["a", "film", "of", "rare", "depth", "and", "wit"], k=60)
    folder = write(tmp_path / "SST-2", HEADERS["sst2"], *[" ".join(words) + "\t1"] * 100_000)
    assert (folder / "dev.tsv").stat().st_size > 20e6
    start = time.process_time()  # of this process: other work on the machine does not count
    assert len(read("sst2", folder)) == 100_000
    assert time.process_time() - start < 10  # about 0.5 s; quadratic reading would take minutes


# Rows and label counts, in the hub's order of labels, from the record of where the shared files came from.
REAL = {
    ("cola", "train"): (8551, [2528, 6023]),
    ("cola", "validation"): (1043, [322, 721]),
    ("sst2", "train"): (67349, [29780, 37569]),
    ("sst2", "validation"): (872, [428, 444]),
    ("mrpc", "train"): (3668, [1194, 2474]),
    ("mrpc", "validation"): (408, [129, 279]),
    ("qqp", "train"): (28869, None),
    ("qqp", "validation"): (4000, None),
    ("stsb", "train"): (5749, 2.701),
    ("stsb", "validation"): (1500, 2.364),
    ("mnli", "train"): (15340, [5203, 5049, 5088]),
    ("mnli", "validation_matched"): (9815, [3479, 3123, 3213]),
    ("mnli", "validation_mismatched"): (9832, [3463, 3129, 3240]),
    ("qnli", "train"): (9999, [5027, 4972]),
    ("qnli", "validation"): (5463, [2702, 2761]),
    ("rte", "train"): (2490, [1249, 1241]),
    ("rte", "validation"): (277, [146, 131]),
    ("wnli", "train"): (635, [323, 312]),
    ("wnli", "validation"): (71, [40, 31]),
}


@pytest.mark.real
@pytest.mark.parametrize(("task", "split"), REAL)
def test_real_files(shared, task, split):
    n, expected = REAL[task, split]
    loaded = load_task(task, data_dir=shared / "glue").load(split)
    labels = loaded.dataset["label"][:]
    assert loaded.n_available == len(labels) == n
    assert loaded.source == f"{GLUE[task]['folder']}/{split.replace('validation', 'dev')}.tsv"
    if isinstance(expected, list):
        assert [Counter(labels)[i] for i in range(len(expected))] == expected
    elif expected is not None:
        assert sum(labels) / n == pytest.approx(expected, abs=5e-4)


@pytest.mark.real
@pytest.mark.parametrize(("task", "other"), list(itertools.permutations(GLUE, 2)))
def test_the_files_of_another_task_are_refused(shared, task, other):
    with pytest.raises(DataError):
        read(task, shared / "glue" / GLUE[other]["folder"], TASKS[task].eval_splits[0])
