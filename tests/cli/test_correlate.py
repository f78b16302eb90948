"""`prune-heads correlate`: from the folders of `ablate` and `score` to a folder of its own."""

import json
import re

import pytest

NOTHING = {"value": None, "low": None, "high": None}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Where the fixtures below leave their runs."""
    return tmp_path_factory.mktemp("correlate")


@pytest.fixture
def ablated(invoke, folders):
    """The ablation of the built-in model on its two splits."""
    folder = folders / "ablated"
    if not folder.exists():
        done = invoke("ablate", "--max-examples", "40", "--blocks", "1,2", "--output", folder)
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def scored(invoke, folders):
    """Its scores."""
    folder = folders / "scored"
    if not folder.exists():
        done = invoke("score", "--max-examples", "40", "--output", folder)
        assert done.exit_code == 0, done.output
    return folder


@pytest.mark.drawn
@pytest.mark.slow  # sixteen figures
def test_json_is_its_contract_and_the_folder_is_complete(invoke, ablated, scored, out, json_of, snapshot):
    done = invoke("correlate", ablated, scored, *out, "--json")
    report = json_of(done)
    assert list(report) == ["series", "correlations"]
    assert [(each["name"], each["source"], each["kind"], each["n_heads"]) for each in report["series"]] == [
        ("mini validation_matched without-one", "ablated", "ablation", 8),
        ("mini validation_matched without-one, log-likelihood", "ablated", "ablation", 8),
        ("mini validation_mismatched without-one", "ablated", "ablation", 8),
        ("mini validation_mismatched without-one, log-likelihood", "ablated", "ablation", 8),
        ("gradient (example) on train", "scored", "scores", 24),
    ]
    scores = json.loads((scored / "scores.json").read_text())
    assert report["series"][4]["values"] == scores["scores"]
    assert [pair["n_heads"] for pair in report["correlations"]] == [8] * 8
    record = json.loads((ablated / "record.json").read_text())
    of_ablate, *_ = record["correlations"]
    assert (
        report["correlations"][1].items()
        >= {name: of_ablate[name] for name in ("n_heads", "pearson", "spearman")}.items()
    )
    assert report["correlations"][2]["first_measure"] == "loss without the head"
    assert "different models" not in done.stderr

    stems = [f"scatter-{pair}" for pair in ("1-2", "1-3", "1-5", "2-4", "2-5", "3-4", "3-5", "4-5")]
    files = {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")} | {"record.json", "table.md"}
    kept = snapshot(out[1])
    assert kept.keys() == files
    assert not [name for name, content in kept.items() if str(ablated.parent).encode() in content]
    assert not [name for name, content in kept.items() if re.search(rb"\bNaN\b|\bnan\b", content)]
    record = json.loads(kept["record.json"])
    assert report.items() <= record.items()
    assert (record["command"], record["notes"]) == ("correlate", [])
    assert "loss without the head (points)" in kept["scatter-1-5.svg"].decode()
    assert "loss without the head (nats)" in kept["scatter-2-5.svg"].decode()


def test_terminal_and_markdown_say_the_same(invoke, ablated, scored, out, json_of):
    done = invoke("correlate", ablated, scored, *out)
    assert done.exit_code == 0
    report = json_of(invoke("correlate", ablated, scored, "--json"))
    table = (out[1] / "table.md").read_text()
    for pair in report["correlations"]:
        for name in ("pearson", "spearman"):
            r = pair[name]
            text = f"{r['value']:.2f} ({r['low']:.2f} to {r['high']:.2f})"
            assert text in done.stdout
            assert text in table
    assert "| 1: loss without the head | 5: score | 8 |" in table
    assert re.search(r"1: loss without the head +5: score +8", done.stdout)
    narrow = invoke("correlate", ablated, scored, COLUMNS="80").stdout
    assert max(map(len, narrow.splitlines())) <= 80
    for cell in (text, "1: loss", "mini validation_mismatched without-one, log-likelihood"):
        assert cell in narrow
    assert "…" not in narrow


def test_the_same_file_twice_agrees_with_itself(invoke, scored, json_of):
    report = json_of(invoke("correlate", scored, scored / "scores.json", "--json"))
    (pair,) = report["correlations"]
    assert (pair["first"], pair["second"]) == ("gradient (example) on train", "gradient (example) on train (2)")
    assert pair["pearson"]["value"] == pytest.approx(1.0)


def spoil(source, target, change):
    """A copy of a record with something else in it."""
    record = json.loads((source / "record.json").read_text())
    change(record)
    target.mkdir()
    (target / "record.json").write_text(json.dumps(record))
    return target


@pytest.mark.slow
@pytest.mark.drawn
@pytest.mark.parametrize("n", [3, 4])
def test_what_is_undefined_is_said_in_words_and_drawn(n, invoke, ablated, out, tmp_path, json_of):
    def change(record):
        for table in record["tables"]:
            table["delta"][:2] = [[0.0] * n + [None] * (4 - n), [None] * 4]
            table["likelihood"] = None

    folder = spoil(ablated, tmp_path / "spoilt", change)
    report = json_of(invoke("correlate", folder, folder, *out, "--json"))
    assert all((pair["n_heads"], pair["pearson"]) == (n, NOTHING) for pair in report["correlations"])
    words = f"undefined ({'fewer than four heads' if n < 4 else 'one side is constant'})"
    assert words in (out[1] / "table.md").read_text()
    assert words in invoke("correlate", folder, folder).stdout
    svg = (out[1] / "scatter-1-2.svg").read_text()
    assert words in svg
    assert "nan" not in svg.lower()


def test_models_that_differ_are_noted(invoke, ablated, out, tmp_path):
    other = spoil(ablated, tmp_path / "other", lambda record: record["model"].update(fingerprint="another"))
    done = invoke("correlate", ablated, other, *out)
    assert done.exit_code == 0
    assert done.stderr.count("note: ") == 1
    (note,) = json.loads((out[1] / "record.json").read_text())["notes"]
    assert "are of different models" in note


def test_what_cannot_be_compared_is_one_line(refused, ablated, scored, tmp_path, out):
    labels = spoil(ablated, tmp_path / "labels", lambda record: record.update(labels=["yes", "no"]))
    assert "must be of the same labels" in refused("correlate", ablated, labels, *out)
    shape = spoil(ablated, tmp_path / "shape", lambda record: record["tables"][0].update(delta=[[0.1]]))
    assert "must be of the same heads" in refused("correlate", scored, shape)
    assert "holds no scores.json and no record.json" in refused("correlate", ablated, tmp_path)
    assert "must be a readable file" in refused("correlate", ablated, tmp_path / "absent")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert "holds no record.json of ours" in refused("correlate", scored, scored, "--output", tmp_path / "out")


@pytest.mark.slow
def test_other_series_are_a_different_run(invoke, refused, ablated, scored, out):
    assert invoke("correlate", ablated, scored, *out).exit_code == 0
    assert invoke("correlate", ablated, scored, *out).exit_code == 0
    assert "holds a different run" in refused("correlate", scored, ablated, *out)
    assert invoke("correlate", scored, ablated, *out, "--overwrite").exit_code == 0


def test_one_file_is_misuse(refused, scored):
    assert "'second'" in refused("correlate", scored, code=2)
