"""`prune-heads curve`: its contract, its folder, and what it refuses."""

import csv
import json

import pytest


@pytest.fixture
def words(on_sst2):
    return ("curve", *on_sst2, "--draws", 3)


@pytest.mark.slow
@pytest.mark.drawn
def test_the_folder_is_complete_and_the_record_is_what_is_printed(words, invoke, json_of, tmp_path, snapshot):
    record = json_of(invoke(*words, "--output", tmp_path / "out", "--json"))
    files = snapshot(tmp_path / "out")
    assert set(files) == {"record.json", "table.md", "curves.csv", "curve.png", "curve.svg"}
    assert json.loads(files["record.json"]) == record
    keys = {"lines", "correlations", "headline", "task", "model", "data", "scored_on", "configuration", "notes"}
    assert keys <= record.keys()
    assert record["command"] == "curve"
    assert [line["criterion"] for line in record["lines"]] == ["gradient", "ablation", "magnitude", "random"]
    assert {name: split["split"] for name, split in record["scored_on"].items()} == {
        "gradient": "train",
        "ablation": "validation",
    }
    assert record["configuration"].items() >= {"estimator": "example", "draws": 3, "steps": 10}.items()
    assert len(list(csv.DictReader(files["curves.csv"].decode().splitlines()))) == 4 * 11
    assert not [path for path in (tmp_path, *words[2:7:4]) if str(path).encode() in files["record.json"]]
    again = json_of(invoke(*words, "--output", tmp_path / "out", "--json"))  # the same run may be repeated
    assert again["lines"] == record["lines"]


def test_options_are_heeded(words, invoke, json_of):
    options = ("--criterion", "random", "--criterion", "gradient", "--estimator", "fisher", "--normalize", "l2")
    more = ("--steps", 4, "--split", "train", "--score-split", "validation", "--score-examples", 7, "--seed", 5)
    record = json_of(invoke(*words, *options, *more, "--rescore", "--json"))
    first, second = record["lines"]
    assert (first["criterion"], first["n_draws"], first["rescored"]) == ("random", 3, False)
    assert (second["estimator"], second["scored_on"], second["rescored"]) == ("fisher", "validation", True)
    assert [point["percent"] for point in second["points"]] == [0, 25, 50, 75, 100]
    assert list(second["areas"]) == ["train"]
    assert record["scored_on"]["gradient"]["n_examples"] == 7
    assert record["correlations"] == []
    wanted = {"criteria": ["random", "gradient"], "normalize": "l2", "seed": 5, "rescore": True}
    assert record["configuration"].items() >= wanted.items()


def test_the_terminal_shows_a_table_and_correlations(words, invoke):
    done = invoke(*words, COLUMNS="80")
    assert done.exit_code == 0
    for text in ("validation", "ablation", "(oracle)", "random (3 draws)", "area", "gradient and ablation"):
        assert text in done.stdout
    assert "…" not in done.stdout
    assert "note: ablation: heads are ordered by what was measured on validation" in done.stderr


def test_options_come_from_a_file(words, invoke, json_of, tmp_path):
    file = tmp_path / "curve.toml"
    file.write_text('criterion = ["magnitude", "ablation"]\nscore_split = "train"\nsteps = 2\n')
    record = json_of(invoke(*words, "--config", file, "--json"))
    assert [line["criterion"] for line in record["lines"]] == ["magnitude", "ablation"]
    assert record["lines"][1]["scored_on"] == "train"
    assert len(record["lines"][0]["points"]) == 3


def test_a_model_that_has_lost_heads_begins_without_them(words, invoke, json_of, tmp_path):
    cut = ("prune", "--model", words[2], "--heads", "1:1,3 2:4", "--mode", "remove")
    json_of(invoke(*cut, "--output", tmp_path / "pruned", "--json"))
    model = ("--model", tmp_path / "pruned" / "checkpoint")
    record = json_of(invoke("curve", *model, *words[3:], "--json"))
    for line in record["lines"]:
        assert [point["n_pruned"] for point in line["points"]] == [3, 3, 3, 3, 4, 6, 7, 8, 9, 10, 12]
        if line["n_draws"] == 1:
            assert line["points"][0]["heads_pruned"] == ["1:1,3", "2:4"]
    assert {pair["n_heads"] for pair in record["correlations"]} == {9}


def test_one_block_of_a_model_that_has_lost_heads_in_it_and_in_another(words, invoke, json_of, tmp_path):
    cut = ("prune", "--model", words[2], "--heads", "1:1,3 2:4", "--mode", "remove")
    json_of(invoke(*cut, "--output", tmp_path / "pruned", "--json"))
    model = ("--model", tmp_path / "pruned" / "checkpoint")
    folder = ("--output", tmp_path / "out")
    record = json_of(invoke("curve", *model, *words[3:], "--blocks", "2", "--steps", 4, *folder, "--json"))
    for line in record["lines"]:
        assert [point["percent"] for point in line["points"]] == [0, 25, 50, 75, 100]
        assert [point["n_pruned"] for point in line["points"]] == [3, 3, 4, 5, 6]
        if line["n_draws"] == 1:
            assert line["points"][0]["heads_pruned"] == ["1:1,3", "2:4"]
            assert line["points"][-1]["heads_pruned"] == ["1:1,3", "2:1,2,3,4"]
    assert {pair["n_heads"] for pair in record["correlations"]} == {3}
    assert "by heads of block 2 pruned, lowest score first" in (tmp_path / "out/table.md").read_text()


@pytest.mark.parametrize("command", ["score", "run"])
def test_ablation_is_a_criterion_like_any_other(command, on_sst2, invoke, json_of, tmp_path):
    words = (command, *on_sst2, "--criterion", "ablation", "--output", tmp_path / "out", "--json")
    done = invoke(*words)
    report = json_of(done)
    asked = report if command == "score" else report["configuration"]
    assert (asked["criterion"], asked["estimator"]) == ("ablation", None)
    assert "oracle" not in done.stderr  # scored on train
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [len(row) for row in scores["standard_error"]] == [4, 4, 4]
    assert (scores["split"], scores["n_examples"]) == ("train", 40)
    assert not (tmp_path / "out" / "gradients.safetensors").exists()


def test_a_run_in_oracle_order_says_so(on_sst2, invoke, json_of):
    words = ("run", *on_sst2, "--criterion", "ablation", "--score-split", "validation", "--json")
    assert any("an oracle" in note for note in json_of(invoke(*words))["notes"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--criterion", "gradiant"), "'gradient'"),
        (("--draws", 0), "'--draws'"),
        (("--steps", 0), "'--steps'"),
        (("--steps", "ten"), "'--steps'"),
    ],
)
def test_misuse(options, said, words, refused):
    assert said in refused(*words, *options, code=2)


@pytest.mark.parametrize(
    ("blocks", "code", "said"),
    [
        ("E", 1, "--blocks must be between 1 and 3 for this model; got E"),
        ("4", 1, "--blocks must be between 1 and 3 for this model; got 4"),
        ("B", 2, "must be layer numbers from 1"),
    ],
)
def test_blocks_that_are_not_there_are_refused(blocks, code, said, words, refused, out):
    assert said in refused(*words, "--blocks", blocks, *out, code=code)


def test_a_split_that_is_not_there_is_refused(words, refused):
    assert "validaton" in refused(*words, "--split", "validaton")


def test_a_split_of_one_class_is_refused_where_the_metric_needs_two(refused, checkpoint, tmp_path, out):
    for name, labels in (("train", ("negative", "positive")), ("dev", ("positive",))):
        rows = [f"a good film {i},{labels[i % len(labels)]}" for i in range(6)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    files = ("--train-file", tmp_path / "train.csv", "--validation-file", tmp_path / "dev.csv")
    metric = ("--metric", "matthews_correlation", "--labels", "negative,positive")
    said = refused("curve", "--model", checkpoint, *files, *metric, *out)
    assert "matthews_correlation must be defined on validation (6 examples)" in said


def test_another_run_in_the_folder_is_refused_before_any_work(words, invoke, refused, tmp_path):
    folder = ("--criterion", "magnitude", "--output", tmp_path / "out")
    assert invoke(*words, *folder).exit_code == 0
    assert "holds a different run" in refused(*words, *folder, "--steps", 5)
    assert invoke(*words, *folder, "--steps", 5, "--overwrite").exit_code == 0
