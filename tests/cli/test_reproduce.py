"""`prune-heads reproduce`: runs what is missing, shows it beside the published numbers, and again from records."""

import json
from pathlib import Path

import pytest

from prune_heads.cli.names import ReproductionName
from prune_heads.jobs.reproduce import STUDIES, record_name
from prune_heads.paper.subjects import default_subjects
from prune_heads.reporting.michel2019 import REPRODUCTIONS
from prune_heads.studies.setup import Setup

MINI = ("--model", "mini", "--task", "mini-inference", "--max-examples", "24", "--choose-examples", "20")
MINI += ("--steps", "2")
TIMED = Path(__file__).parents[2] / "results" / "sst2-bench" / "record.json"


def test_names_are_the_keys_of_their_tables():
    assert [name.value for name in ReproductionName] == [*REPRODUCTIONS, "all"]
    assert {study for each in REPRODUCTIONS.values() for study in each.studies} == set(STUDIES)


def test_the_defaults_are_of_the_hub():
    assert [each["task"] for each in default_subjects("figure6")] == ["sst2", "cola", "mrpc"]
    assert all(
        each["model"].endswith(f"bert-base-uncased-{each['task']}") for each in default_subjects("table3")
    )


def test_all_of_it_once_and_again_from_the_records(invoke, json_of, snapshot, tmp_path, monkeypatch):
    """All but the clock: what is timed takes its time, and has its own tests."""
    monkeypatch.setitem(STUDIES, "bench", lambda *asked: json.loads(TIMED.read_text()))
    folder = tmp_path / "out"
    first = json_of(invoke("reproduce", "all", *MINI, "--output", folder, "--json"))
    fitting = [name for name in REPRODUCTIONS if name != "figure4"]  # which is of encoder-decoders
    assert list(first) == fitting
    assert {len(first[name]["rows"]) for name in ("table3", "table6")} == {12}
    files = snapshot(folder)
    assert {path for path in files if path.startswith("records/")} == {
        f"records/mini.mini-inference.{study}.json" for study in ("only-one", "without-one", "curve", "bench")
    }
    for name in fitting:
        for ending in ("md", "tex", "csv", *(("png", "svg") if name.startswith("figure") else ())):
            assert files[f"{name}.{ending}"]
    for path in files:
        if not path.startswith("records"):
            (folder / path).unlink()
    again = invoke("reproduce", "all", *MINI, "--output", folder, "--from-records", "--json")
    assert json_of(again) == first
    assert snapshot(folder) == files


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("a/b/../c/minilm", "minilm.sst2.curve.json"),
        ("../minilm", "minilm.sst2.curve.json"),
        ("mini", "mini.sst2.curve.json"),
        ("someone/bert-base", "someone--bert-base.sst2.curve.json"),
    ],
)
def test_a_record_is_named_by_no_path(model, name):
    assert record_name(Setup(model, "sst2"), "curve") == name


def test_what_is_there_is_not_computed_again_and_other_settings_are(invoke, tmp_path):
    words = ("reproduce", "figure1", *MINI, "--output", tmp_path / "out")
    assert "masks:" in invoke(*words).stderr
    second = invoke(*words)
    assert second.exit_code == 0
    assert "is there and is not computed again" in second.stderr
    assert "masks:" not in second.stderr
    assert "masks:" in invoke(*words, "--max-examples", "25").stderr


def test_several_subjects_from_a_folder_of_files(invoke, json_of, tmp_path):
    (tmp_path / "figure6.toml").write_text(
        "max_examples = 16\nsteps = 2\n"
        '[[subject]]\nmodel = "mini"\ntask = "mini-inference"\n[[subject]]\nmodel = "mini"\ntask = "mini-sentiment"\n'
    )
    words = ("reproduce", "figure6", "--config", tmp_path, "--output", tmp_path / "out", "--json")
    rows = json_of(invoke(*words))["figure6"]["rows"]
    assert [row["task"] for row in rows] == ["mini-inference", "mini-sentiment"]
    record = json.loads((tmp_path / "out/records/mini.mini-sentiment.curve.json").read_text())
    assert record["configuration"]["max_examples"] == 16


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stepz = 3", "there is no option 'stepz' (did you mean 'steps'?)"),
        ("subject = 3", "subject must be tables"),
        ("[[subject]]\nmodle = 'm'", "there is no option 'modle' (did you mean 'model'?)"),
        ("dtype = 'half'", "'half'"),
    ],
)
def test_faults_of_a_file(text, said, tmp_path, refused):
    (tmp_path / "f.toml").write_text(text)
    assert said in refused(
        "reproduce", "table3", "--config", tmp_path / "f.toml", "--output", tmp_path / "o", code=2
    )


def test_what_cannot_be_done(refused, tmp_path):
    assert "must be a readable file" in refused(
        "reproduce", "table3", *MINI, "--from-records", "--output", tmp_path / "none"
    )
    (tmp_path / "two.toml").write_text('[[subject]]\nmodel = "mini"\n[[subject]]\nmodel = "mini"\n')
    words = ("--task", "mini-inference", "--output", tmp_path / "none")
    assert "must be given one model" in refused(
        "reproduce", "table3", "--config", tmp_path / "two.toml", *words
    )
    assert "is not one of" in refused("reproduce", "table9", code=2)
