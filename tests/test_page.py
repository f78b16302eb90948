"""The page of `prune-heads report`: what its data holds, what it refuses, and that texts of others stay texts."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import zlib

import pytest
from made_runs import HOSTILE, NAME, Made

from prune_heads.errors import RunError
from prune_heads.reporting import page
from prune_heads.reporting.page import write_page
from prune_heads.reporting.page.runs import command_line


def data_of(text):
    packed = re.search(r'<script type="text/plain" id="data">([^<]*)</script>', text)[1]
    return json.loads(zlib.decompress(base64.b64decode(packed)))


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


@pytest.fixture
def written(tmp_path):
    """The data of the page of these runs."""

    def write(*runs, **options):
        write_page(runs, tmp_path / "page.html", **options)
        return data_of((tmp_path / "page.html").read_text("utf-8"))

    return write


def titles(data):
    return {column["title"]: column for column in data["columns"]}


def test_an_ablation_gives_a_column_of_points_and_one_of_nats(made, written):
    data = written(made.ablate())
    points, nats = data["columns"]
    assert (points["title"], points["unit"]) == ("accuracy without the head", "points")
    assert (nats["title"], nats["unit"]) == ("log-likelihood without the head", "nats")
    assert points["values"][2][3] == pytest.approx(-1.1)
    assert points["low"][2][3] == pytest.approx(-1.2)
    assert nats["values"][2][3] == pytest.approx(-0.11)
    assert (points["p_adjusted"][2][3], points["alpha"]) == (0.0001, 0.01)


def test_another_response_has_a_column_in_its_own_unit(made, written):
    folder = made.ablate()
    record = json.loads((folder / "record.json").read_text())
    (table,) = record["tables"]
    words = {"name": "minus the squared error", "unit": "squared points of the score"}
    table |= {"response": {**words, **table["likelihood"]}, "likelihood": None}
    (folder / "record.json").write_text(json.dumps(record))
    data = written(folder)
    other = data["columns"][1]
    assert (other["title"], other["unit"]) == ("minus the squared error without the head", words["unit"])
    assert "right answer" not in other["note"]
    assert not any("record is older" in each["what"] for each in data["missing"] if "log-likelihood" in each["what"])


def test_a_column_that_a_later_study_adds_is_shown_as_it_is(made, written):
    new = {"name": "new", "title": "Something new", "values": made.grid(float), "group": "nobody knows it"}
    found = titles(written(made.columns(columns=[new])))
    assert found["Something new"]["values"] == new["values"]
    assert found["Something new"]["kind"] == "number"
    assert found["Role"]["values"][0] == ["previous", "broad", "none", "previous"]


def test_the_same_numbers_are_one_column(made, written):
    """Those of a run and of `score`, up to the last digits."""
    scores = json.loads((made.score() / "scores.json").read_text())
    scores["scores"] = [[value * (1 + 1e-6) for value in row] for row in scores["scores"]]
    (made.run() / "scores.json").write_text(json.dumps(scores))
    assert len(written(made.folder / "score", made.folder / "run")["columns"]) == 1
    scores["scores"][0][1] *= 2
    (made.folder / "run" / "scores.json").write_text(json.dumps(scores))
    assert len(written(made.folder / "score", made.folder / "run", overwrite=True)["columns"]) == 2


def test_heads_that_are_gone_have_no_score(made, written):
    folder = made.score()
    scores = json.loads((folder / "scores.json").read_text())
    scores["gone"] = {"n_heads": [4, 4, 4], "heads_pruned": ["2:1,3"]}
    (folder / "scores.json").write_text(json.dumps(scores))
    assert written(folder)["columns"][0]["values"][1] == [None, 0.05, None, 0.07]


def test_orders_have_the_masks_that_were_measured_and_none_for_several_draws(made, written):
    gradient, random = written(made.curve())["orders"]
    assert [point["n"] for point in gradient["points"]] == [0, 3, 6, 9, 12]
    assert gradient["points"][2]["heads"] == [0, 1, 2, 3, 4, 5]
    assert gradient["points"][2]["value"] == pytest.approx(0.84)
    assert {point["heads"] for point in map(dict, random["points"])} == {None}
    assert random["n_draws"] == 20


def test_a_run_has_its_two_points_unless_a_curve_holds_them(made, written):
    (order,) = written(made.run())["orders"]
    assert [(point["n"], point["value"], point["low"]) for point in order["points"]] == [(0, 0.9, 0.85), (6, 0.8, None)]
    points = [
        {"split": "validation", "percent": 50 * i, "n_pruned": 6 * i, "accuracy": 0.9, "heads_pruned": made.mask(6 * i)}
        for i in range(3)
    ]
    (order,) = written(made.run(curve=points), overwrite=True)["orders"]
    assert [point["n"] for point in order["points"]] == [0, 6, 12]
    assert order["where"] == "SST-2, validation"


def test_the_base_metric_is_said_once_with_its_interval_if_one_is_known(made, written):
    made.ablate()
    old = made.run()
    record = json.loads((old / "record.json").read_text())
    del record["rows"][0]["base_interval"]
    spoiled(old, rows=record["rows"])
    assert [each["low"] for each in written(old)["base"]] == [None]
    assert [each["low"] for each in written(old, made.folder / "ablate", overwrite=True)["base"]] == [0.85]


def test_nothing_is_missing_from_a_page_of_every_study(made, written):
    data = written(*made.every())
    assert data["missing"] == []
    assert [pairs["rows"][0][:3] for pairs in data["pairs"]] == [[0, 4, 0.1], [0, 1, 0.25]]
    assert len(data["texts"]) == len(data["examples"]) == 1


@pytest.mark.parametrize("name", ["mini-curve", "mnli-without-one", "sst2-only-one", "mnli-curve"])
def test_older_records_are_shown_and_the_page_says_what_they_lack(name, written, request):
    data = written(request.config.rootpath / "results" / name)
    how = [each["how"] for each in data["missing"]]
    assert any(line.startswith("prune-heads look ") for line in how)
    on = " --data-dir SST-2" if name.startswith("sst2") else " --data-dir MNLI" if name.startswith("mnli") else ""
    assert any(line.startswith(f"prune-heads ablate{on} --model m") for line in how)
    assert not any("--data-dir" in line for line in how if " look " in line)  # which takes none
    assert len(data["columns"]) >= 1


def test_pairs_that_similar_was_given_are_shown_once(written, request):
    results = request.config.rootpath / "results"
    titles = [each["title"] for each in written(results / "mini-similar", results / "mini-pairs")["pairs"]]
    assert [title for title in titles if title.startswith("closed together")] == [
        f"closed together, mini-inference, {split} (above 0: they stand in for each other)"
        for split in ("matched", "mismatched")
    ]


def test_runs_in_other_number_types_are_of_one_model_by_its_name(written, request):
    results = request.config.rootpath / "results"
    data = written(*(results / f"mnli-{name}" for name in ("without-one", "curve", "criteria")))
    assert {order["title"] for order in data["orders"]} >= {"gradient (example)", "ablation (oracle)"}


def test_a_model_of_144_heads_and_2000_examples_fits(tmp_path, written):
    made = Made(tmp_path, 12, 12, 2000)
    text = "word " * 60
    made.every(text)
    made.ablate(text=text, n_tokens=48)
    data = written(
        *(tmp_path / name for name in ("ablate", "curve", "score", "run", "roles", "look", "similar", "pairs"))
    )
    assert data["examples"][0]["heads"][11][11][4]["map"]
    assert (tmp_path / "page.html").stat().st_size < 3_000_000
    assert len(data["examples"][0]["examples"]) == 2000


def test_maps_are_left_out_where_they_do_not_fit(made, written, monkeypatch):
    folder = made.ablate(n_tokens=40)
    whole = written(folder)
    size = (made.folder / "page.html").stat().st_size
    monkeypatch.setattr(page, "MOST_BYTES", size - 1)
    cut = written(folder, overwrite=True)
    kept = [[change["map"] is not None for change in cell] for cell in cut["examples"][0]["heads"][0]]
    assert kept == [[True, True, False, False, False]] * 4
    assert whole["columns"] == cut["columns"]


def test_texts_of_others_are_text(tmp_path):
    made = Made(tmp_path, name=NAME)
    runs = made.every(HOSTILE)
    write_page(runs, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert len(re.findall("<script", text)) == len(re.findall("</script", text)) == 2
    assert not re.search("<img|<b>model|onerror", text)
    data = data_of(text)
    assert data["model"]["name"] == NAME
    assert data["examples"][0]["examples"][3]["inputs"]["text"] == f"3 {HOSTILE}"


def test_nothing_is_asked_of_another_place_and_no_other_script_may_run(made):
    write_page([made.ablate()], made.folder / "page.html")
    text = (made.folder / "page.html").read_text("utf-8")
    policy = re.search('Content-Security-Policy" content="([^"]*)"', text)[1]
    script = re.search("<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}'; " in policy
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r'(?:href|src)="(?!#)([^"]*)"', text)) == {"data:,"}


def test_a_page_needs_no_torch(made):
    code = (
        "import sys; from pathlib import Path; from prune_heads.reporting.page import write_page; "
        "write_page([Path(sys.argv[1])], Path(sys.argv[2])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, made.ablate(), made.folder / "page.html"], check=True)


def test_the_command_of_a_record_is_what_was_asked():
    asked = {"model": "m", "task": "sst2", "data_dir": "SST-2", "max_examples": None, "batch_size": 32, "seed": 3}
    asked |= {"heads": ["3:1,5", "7:2"], "splits": ["a", "b"], "curve": True, "batch_sizes": [1, 4], "unknown": 1}
    line = command_line({"command": "run", "configuration": asked})
    assert line == (
        "prune-heads run --model m --task sst2 --data-dir SST-2 --seed 3 --heads '3:1,5 7:2' --split a --split b "
        "--curve --batch-sizes 1,4"
    )


def spoiled(folder, **changes):
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**record, **changes}))
    return folder


REFUSED = {
    "no run": (lambda made: made.folder, "holds no record.json"),
    "nothing there": (lambda made: made.folder / "gone", "gone is not there"),
    "another command": (lambda made: made.write("x", {"command": "prune"}), "x is of 'prune'"),
    "no record of ours": (lambda made: spoiled(made.ablate(), command=None), "ablate is no record of ours"),
    "a later format": (lambda made: spoiled(made.ablate(), format=9), "at most 2; ablate has 9"),
    "no model": (lambda made: spoiled(made.ablate(), model=None), "ablate is damaged"),
    "no tables": (lambda made: spoiled(made.ablate(), tables=[{}]), "ablate is damaged (KeyError"),
    "tables of nothing": (lambda made: spoiled(made.ablate(), tables=3), "ablate is damaged (TypeError"),
    "a block of no stack": (
        lambda made: spoiled(made.columns(), blocks=[{**block, "stack": []} for block in made.blocks]),
        "roles is damaged (IndexError",
    ),
    "a fingerprint of another form": (
        lambda made: spoiled(made.ablate(), model={"name": "model", "type": "bert", "fingerprint": 7}),
        "ablate is damaged (ValueError: the model's name, type, fingerprint and revision must be texts)",
    ),
    "a column without a title": (
        lambda made: made.columns(columns=[{"name": "x", "values": made.grid(float)}]),
        "roles is damaged (KeyError: 'title')",
    ),
    "a metric that is no number": (
        lambda made: spoiled(
            made.run(), rows=[{"split": "validation", "metric": "accuracy", "base": "high", "pruned": 0.5}]
        ),
        "run is damaged (ValueError",
    ),
    "no points": (lambda made: spoiled(made.curve(), lines=[{}]), "curve is damaged (KeyError"),
    "an unknown head": (lambda made: spoiled(made.run(), heads_pruned=["9:1"]), "run is damaged"),
    "texts for numbers": (
        lambda made: made.columns(columns=[{"name": "x", "title": "x", "values": made.grid(str)}]),
        "values of x must be numbers",
    ),
    "too few heads": (
        lambda made: made.columns(columns=[{"name": "x", "title": "x", "values": [[1.0]]}]),
        "values of x must have [4, 4, 4] heads a layer",
    ),
    "heads of nobody knows how many": (lambda made: spoiled(made.curve(), costs=None), "none does"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_run_is_refused(what, made):
    make, said = REFUSED[what]
    with pytest.raises(RunError, match=re.escape(said)):
        write_page([make(made)], made.folder / "page.html")
    assert not (made.folder / "page.html").exists()


def test_other_models_are_refused(made, tmp_path):
    other = Made(tmp_path / "other", name="another")
    with pytest.raises(RunError, match=r"one model.* got model \(ffffffff\) and, in score, another \(ffffffff\)"):
        write_page([made.ablate(), other.score()], tmp_path / "page.html")
    changed = spoiled(made.score(), model={"name": "model", "fingerprint": "1" * 64})
    with pytest.raises(RunError, match=r"got model \(ffffffff\) and, in score, model \(11111111\)"):
        write_page([made.ablate(), changed], tmp_path / "page.html")


def test_a_damaged_file_is_refused(made):
    folder = made.ablate()
    (folder / "examples.json").write_text("{")
    with pytest.raises(RunError, match="the examples of a run must be a JSON file"):
        write_page([folder], made.folder / "page.html")


def test_the_output_is_a_new_file(made):
    folder, target = made.ablate(), made.folder / "page.html"
    with pytest.raises(RunError, match=r"must be a file; .* is a folder"):
        write_page([folder], made.folder)
    write_page([folder], target)
    with pytest.raises(RunError, match="Name another, or replace it by --overwrite"):
        write_page([folder], target)
    write_page([folder], target, overwrite=True)
    with pytest.raises(RunError, match="must be writable"):
        write_page([folder], target / "below.html")
    assert sorted(path.name for path in made.folder.iterdir()) == ["ablate", "page.html"]


def test_the_command_says_what_the_page_holds_and_lacks(made, invoke):
    done = invoke("report", made.ablate(), made.curve(), "--output", made.folder / "page.html")
    assert done.exit_code == 0
    said = " ".join(done.stdout.split())
    assert "page.html: 2 orders, 2 columns, 2 runs, " in said
    assert "the role of each head prune-heads roles --model model --task sst2 -o FOLDER" in said
    done = invoke("report", made.folder / "ablate", "-o", made.folder / "page.html")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: the output must be a new file")
    done = invoke("report", made.folder / "ablate", "-o", made.folder / "page.html", "--overwrite", "--json")
    assert json.loads(done.stdout)["columns"] == ["accuracy without the head", "log-likelihood without the head"]


def test_an_example_that_is_no_object_is_refused(made):
    folder = made.ablate()
    found = json.loads((folder / "examples.json").read_text())
    found["splits"][0]["heads"][0][3] = [7]
    (folder / "examples.json").write_text(json.dumps(found))
    with pytest.raises(RunError, match=r"ablate is damaged \(TypeError"):
        write_page([folder], made.folder / "page.html")
    assert not (made.folder / "page.html").exists()


def test_a_model_without_its_type_and_revision_has_a_page(made, written):
    file = spoiled(made.ablate(), model={"name": "model", "fingerprint": "f" * 64})
    assert written(file)["model"]["type"] == "unknown type"


def test_a_record_without_its_task_has_a_page(made, written):
    assert titles(written(spoiled(made.columns(), task=None)))["Role"]["values"][0][0] == "previous"
