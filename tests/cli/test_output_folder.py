"""What stands in the output folder is never lost unasked."""

import json
import shutil
import tempfile

import pytest


def test_a_folder_of_a_different_run_is_replaced_only_when_asked(refused, invoke, on_sst2, tmp_path):
    out = ("--output", tmp_path / "out")
    assert invoke("run", *on_sst2, *out).exit_code == 0
    assert "holds a different run; name another --output, or replace it with --overwrite" in refused(
        "run", *on_sst2, *out, "--fraction", "0.25"
    )
    assert "holds a different run" in refused("evaluate", *on_sst2, *out)
    assert invoke("run", *on_sst2, *out).exit_code == 0
    assert invoke("run", *on_sst2, *out, "--fraction", "0.25", "--overwrite").exit_code == 0
    assert json.loads((tmp_path / "out" / "record.json").read_text())["n_pruned"] == 3


@pytest.mark.parametrize("split", ["train.tsv", "dev.tsv"])
def test_the_same_options_on_other_data_are_a_different_run(split, refused, invoke, on_sst2, sst2, tmp_path):
    data = shutil.copytree(sst2, tmp_path / "SST-2")
    command = "score" if split == "train.tsv" else "evaluate"
    words = (*on_sst2[:4], "--data-dir", data, "--output", tmp_path / "out")
    assert invoke(command, *words).exit_code == 0
    with (data / split).open("a") as file:
        file.write("one more film \t1\n")
    assert "holds a different run" in refused(command, *words)
    words = (*words[:-1], tmp_path / "run")
    assert invoke("run", *words).exit_code == 0
    with (data / split).open("a") as file:
        file.write("and yet another \t1\n")
    assert "holds a different run" in refused("run", *words)


def test_other_heads_of_a_file_or_another_metric_are_a_different_run(refused, invoke, on_sst2, tmp_path):
    words = ("run", *on_sst2, "--heads", tmp_path / "heads.json", "--output", tmp_path / "out")
    for heads in ("1:1", "1:2"):
        (tmp_path / "heads.json").write_text(json.dumps({"n_heads": [4, 4, 4], "heads_pruned": [heads]}))
        if heads == "1:1":
            assert invoke(*words).exit_code == 0
    assert "holds a different run" in refused(*words)

    (tmp_path / "own.csv").write_text("text,label\na cat,positive\na dog,negative\n")
    own = ("evaluate", *on_sst2[:2], "--validation-file", tmp_path / "own.csv", "--output", tmp_path / "own")
    assert invoke(*own).exit_code == 0
    assert "holds a different run" in refused(*own, "--metric", "f1")


def test_folders_that_are_not_ours_are_never_replaced(refused, on_sst2, tmp_path):
    words = ("run", *on_sst2, "--overwrite", "--output", tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    assert "holds no record.json of ours" in refused(*words)
    (tmp_path / "mine" / "record.json").write_text('{"best time": "9.58 s"}')
    assert "holds no record.json of ours" in refused(*words)
    (tmp_path / "mine" / "record.json").write_text("9.58 s")
    assert "the record of an earlier run must be a JSON file" in refused(*words)
    assert "holds no record.json of ours" in refused(*words[:-1], tmp_path / "mine" / "thesis.tex")


def test_an_empty_folder_is_filled(invoke, on_sst2, tmp_path):
    (tmp_path / "empty").mkdir()
    assert invoke("run", *on_sst2, "--output", tmp_path / "empty").exit_code == 0
    assert (tmp_path / "empty" / "record.json").exists()


def test_an_output_that_cannot_be_made_is_told_before_the_work(refused, invoke, on_sst2, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    words = ("run", *on_sst2, "--output")
    assert f"{tmp_path / 'file'} is a file" in refused(*words, tmp_path / "file" / "sub" / "out")
    assert "base metric" not in invoke(*words, tmp_path / "file" / "out").stderr
    (tmp_path / "locked").mkdir()
    made = tempfile.mkdtemp  # not chmod: root may write everywhere

    def denied(**options):
        if options["dir"] == tmp_path / "locked":
            raise PermissionError(13, "Permission denied")
        return made(**options)

    monkeypatch.setattr(tempfile, "mkdtemp", denied)
    assert f"must be writable; got {tmp_path / 'locked'} (" in refused(*words, tmp_path / "locked" / "out")


def test_an_output_that_cannot_be_made_after_all(refused, on_sst2, out, monkeypatch):
    made, calls = tempfile.mkdtemp, []

    def denied(**options):
        calls.append(options)
        if len(calls) > 1:  # the first is to try it
            raise PermissionError(13, "Permission denied")
        return made(**options)

    monkeypatch.setattr(tempfile, "mkdtemp", denied)
    assert "must be writable" in refused("prune", *on_sst2[:2], "--heads", "1:1", "--output", out[1].parent)
