"""`prune-heads reproduce figure4`: each kind of attention of an encoder-decoder pruned alone."""

import csv
import json

import pytest

MINI = ("--model", "mini", "--max-examples", "6", "--score-examples", "6", "--steps", "2")


@pytest.fixture
def words(tmp_path):
    return ("reproduce", "figure4", *MINI, "--output", tmp_path / "out")


@pytest.mark.slow
def test_a_column_a_kind_of_attention_and_again_from_the_records(words, invoke, json_of, snapshot, tmp_path):
    forms = ("md", "csv", "svg")
    on = ("--task", "mini-translation", "--json", *(word for form in forms for word in ("--form", form)))
    sheet = json_of(invoke(*words, *on))["figure4"]
    rows = [list(row.values()) for row in sheet["rows"]]
    assert [row[0] for row in rows] == ["0%", "50%", "100%"]
    assert len({*rows[0][1:]}) == 1  # all begin with the whole model
    assert len({*rows[-1][1:]}) == 3
    files = snapshot(tmp_path / "out")
    for place, letter in enumerate("EAD", 1):
        record = json.loads(files[f"records/mini.mini-translation.curve-{letter}.json"])
        assert record["configuration"]["blocks"] == [letter]
        (line,) = record["lines"]
        assert (line["criterion"], len(line["points"])) == ("gradient", 3)
        assert [point["value"] for point in line["points"]] == [row[place] for row in rows]
        names = {name[:1] for point in line["points"] for name in point["heads_pruned"]}
        assert (names, line["points"][-1]["n_pruned"]) == ({letter}, 16)
    assert {name for name in files if name.startswith("figure4")} == {f"figure4.{form}" for form in forms}
    assert len(list(csv.DictReader(files["figure4.csv"].decode().splitlines()))) == 3
    assert json_of(invoke(*words, *on, "--from-records"))["figure4"] == sheet
    assert snapshot(tmp_path / "out") == files


def test_a_model_without_these_kinds_is_refused(words, refused):
    said = refused(*words, "--task", "mini-inference")
    assert "must be of an encoder-decoder, which has blocks E, A and D; got mini" in said


def test_records_that_are_not_there_are_named(words, refused):
    said = refused(*words, "--task", "mini-translation", "--from-records")
    assert "mini.mini-translation.curve-E.json must be a readable file" in said
