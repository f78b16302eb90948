"""One's own texts for language models: plain text, and sources with targets."""

import json

import pytest

from prune_heads.errors import DataError, TaskError
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task


def test_plain_text_is_a_text_a_line_without_blank_ones(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\n  \n two, \x0bhalf\x0c\xe2\x80\xa8three\nNA")
    split = load_task("lm", own=OwnData({"train": path}, kind="lm")).load("train")
    assert split.dataset.to_dict() == {"text": ["one", " two, \x0bhalf\x0c\u2028three", "NA"]}
    assert (split.source, split.n_available) == ("a.txt", 3)
    same = tmp_path / "a.jsonl"
    same.write_text("".join(json.dumps({"t": text}) + "\n" for text in split.dataset["text"]))
    other = load_task("lm", own=OwnData({"train": same}, ["t"], kind="lm")).load("train", 2, seed=0)
    assert other.fingerprint != split.fingerprint
    assert (
        load_task("lm", own=OwnData({"train": same}, ["t"], kind="lm")).load("train").fingerprint == split.fingerprint
    )
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"a\.txt line 1: the file must be UTF-8"):
        load_task("lm", own=OwnData({"train": path}, kind="lm")).load("train")
    path.write_bytes(b"\n \n")
    with pytest.raises(DataError, match=r"a\.txt: at least one example must be there"):
        load_task("lm", own=OwnData({"train": path}, kind="lm")).load("train")


def test_sources_and_targets(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("de,en\nHund,dog\nKatze,cat\n")
    task = load_task("seq2seq", own=OwnData({"validation": path}, ["de", "en"], kind="seq2seq"))
    assert task.load("validation").dataset.to_dict() == {"text": ["Hund", "Katze"], "text_pair": ["dog", "cat"]}
    assert (task.spec.kind, task.spec.metric, task.spec.labels) == ("seq2seq", "log_likelihood", None)
    with pytest.raises(DataError, match="the column source must be there once, got the columns de, en"):
        load_task("seq2seq", own=OwnData({"validation": path}, kind="seq2seq")).load("validation")


@pytest.mark.parametrize(
    ("kind", "file", "columns", "message"),
    [
        ("seq2seq", "a.txt", None, "must end with .csv, .tsv, .jsonl, .json, .parquet, got a.txt"),
        ("lm", "a.xls", None, "must end with .csv, .tsv, .jsonl, .json, .parquet, .txt, got a.xls"),
        ("lm", "a.csv", ["a", "b"], "text columns must be 1 in number, got 2"),
        ("seq2seq", "a.csv", ["a"], "text columns must be 2 in number, got 1"),
        ("seq2seq", "a.csv", ["a", "a"], "must differ, got a twice"),
    ],
)
def test_inconsistent_descriptions_of_texts_are_refused(kind, file, columns, message, tmp_path):
    with pytest.raises(TaskError, match=message):
        OwnData({"train": tmp_path / file}, columns or (), kind=kind)
