"""`prune-heads reproduce`: runs what is missing, shows it beside the published numbers, and again from records."""

import json
import shutil
from itertools import chain
from pathlib import Path
from typing import get_args

import pytest
from tiny import write_sst2
from transformers import AutoModelForSequenceClassification

from prune_heads import reproduction
from prune_heads.cli.reproduce import Reproduction, planned
from prune_heads.errors import OptionError
from prune_heads.execution.claims import NAME, Claims, Owner, held, machine
from prune_heads.objectives import TASKS
from prune_heads.options import Comparing, Setup
from prune_heads.options.studies import Conditions, Form
from prune_heads.paper import default_subjects, default_task
from prune_heads.progress import Reporter
from prune_heads.reporting.michel2019 import REPRODUCTIONS
from prune_heads.reproduction import STUDIES, record_name
from prune_heads.studies.scoring import Found
from prune_heads.surgery import zero_heads

MINI = ("--model", "mini", "--task", "mini-inference", "--max-examples", "24", "--choose-examples", "20")
MINI += ("--steps", "2")
TRANSLATION = ("--model", "mini", "--task", "mini-translation", "--max-examples", "24", "--steps", "2")
EVERY_FORM = [word for form in get_args(Form) for word in ("--form", form)]
OF_TRANSLATIONS = ["table1", "table2", "table5"]
TIMED = Path(__file__).parents[2] / "results" / "sst2-bench" / "record.json"


def test_names_are_the_keys_of_their_tables():
    assert list(get_args(Reproduction)) == [*REPRODUCTIONS, "all"]
    assert {study for each in REPRODUCTIONS.values() for study in each.studies} == set(STUDIES)


def test_the_defaults_are_of_the_hub():
    assert [each["task"] for each in default_subjects("figure6")] == ["sst2", "cola", "mrpc"]
    assert [each["task"] for each in default_subjects("estimators")] == ["mnli", "sst2", "cola", "mrpc"]
    assert all(each["model"].endswith(f"bert-base-uncased-{each['task']}") for each in default_subjects("table3"))
    assert [each["task"] for each in default_subjects("figure1")] == ["wmt14-en-fr", "mnli"]
    assert all(default_subjects(name) == default_subjects("figure1")[:1] for name in OF_TRANSLATIONS)
    assert [default_task(name) for name in ("table2", "table3", "figure1")] == ["wmt14-en-fr", "mnli", "mnli"]


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_a_default_fits(name):
    for each in default_subjects(name):
        if each["task"] in TASKS:
            translates = TASKS[each["task"]].kind == "translation"
            assert REPRODUCTIONS[name].translates in (None, translates)


@pytest.mark.slow
def test_all_of_it_once_and_again_from_the_records(invoke, json_of, snapshot, tmp_path, monkeypatch):
    """All but the clock: what is timed takes its time, and has its own tests."""
    monkeypatch.setitem(STUDIES, "bench", lambda *asked: json.loads(TIMED.read_text()))
    folder = tmp_path / "out"
    words = ("reproduce", "all", *MINI, "--output", folder, *EVERY_FORM, "--json")
    done = invoke(*words)
    first = json_of(done)
    for name in OF_TRANSLATIONS:
        assert f"left out: {name} must be of a translation; got mini-inference" in done.stderr
    assert list(first) == [name for name in REPRODUCTIONS if name not in (*OF_TRANSLATIONS, "figure4", "figure5")]
    assert {len(first[name]["rows"]) for name in ("table3", "table6")} == {12}
    files = snapshot(folder)
    assert {path for path in files if path.startswith("records/")} == {
        f"records/mini.mini-inference.{study}.json" for study in STUDIES if not study.startswith("curve-")
    }
    for name in first:
        for ending in ("md", "tex", "csv"):
            assert files[f"{name}.{ending}"]
    for name in ("figure1b", "figure2b", "figure3b", "figure6"):
        assert files[f"{name}.png"]
        assert files[f"{name}.svg"]
    for path in files:
        if not path.startswith("records"):
            (folder / path).unlink()
    again = invoke(*words, "--from-records")
    assert json_of(again) == first
    assert snapshot(folder) == files


@pytest.mark.thorough
def test_all_of_a_translation(invoke, json_of, snapshot, tmp_path):
    """One record serves tables 2 and 5, another table 1 and figures 1 and 2."""
    words = ("reproduce", "all", *TRANSLATION, "--score-examples", "16", "--output", tmp_path / "out", "--json")
    done = invoke(*words)
    first = json_of(done)
    assert list(first) == [*OF_TRANSLATIONS, "figure1", "figure2", "figure3", "figure4", "figure6", "estimators"]
    assert "left out: table3 must be of a task that is no translation; got mini-translation" in done.stderr
    only, without = (
        json.loads((tmp_path / f"out/records/mini.mini-translation.{study}.json").read_text())
        for study in ("only-one", "without-one")
    )
    assert [table["split"] for table in only["tables"]] == ["validation", "test"]
    assert [table["split"] for table in without["tables"]] == ["validation", "mismatched"]
    assert only["chosen_on"] == only["data"][0]
    for best in only["tables"][0]["best"]:
        assert best["best_here"] == {"head": best["head"], "delta": best["delta"]}
    two, five = ([row for row in first[name]["rows"] if row["head"]] for name in ("table2", "table5"))
    assert [row["head"] for row in two] == [row["head"] for row in five]
    assert [row["blocks"] for row in two] == ["E"] * 4 + ["A"] * 4 + ["D"] * 4
    chosen = only["tables"][1]["best"]
    assert [row["here"][0] for row in five] == [pytest.approx(100 * best["delta"]) for best in chosen]
    masked = [row["1"][0] for row in first["table1"]["rows"] if row["source"] == "here"]
    assert masked == [pytest.approx(100 * row[0]) for row in without["tables"][0]["delta"][:4]]
    assert {row["heads"] for row in first["figure1"]["rows"]} == {16}
    files = snapshot(tmp_path / "out")
    assert {path for path in files if path.endswith(".png")} == {
        *(f"figure{number}a.png" for number in (1, 2, 3)),
        *("figure4.png", "figure6.png", "estimators.png", "estimators-curves.png"),
    }
    assert json_of(invoke(*words, "--from-records")) == first


@pytest.mark.slow
def test_both_kinds_in_one_figure(invoke, json_of, tmp_path):
    (tmp_path / "figure1.toml").write_text(
        'max_examples = 8\n[[subject]]\nmodel = "mini"\ntask = "mini-translation"\n'
        '[[subject]]\nmodel = "mini"\ntask = "mini-inference"\n'
    )
    words = ("reproduce", "figure1", "--config", tmp_path, "--output", tmp_path / "out", "--json")
    rows = json_of(invoke(*words))["figure1"]["rows"]
    assert [row["metric"] for row in rows] == ["BLEU", "BLEU", "accuracy", "accuracy"]
    assert rows[0]["subject"] == "mini on mini-translation"
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"figure1a.png", "figure1b.png"}
    record = json.loads((tmp_path / "out/records/mini.mini-inference.without-one.json").read_text())
    _, below = (tmp_path / "out/figure1.md").read_text().split("## How far this can be believed")
    for table in record["tables"]:
        verdicts = [*chain(*table["equivalence"]["verdict"])]
        sure = [sum(p < 0.01 for p in chain(*of["together"]["max_t"])) for of in (table, table["likelihood"])]
        found = next(
            line
            for line in below.splitlines()
            if f"| {table['split'].removeprefix('validation_')} |" in line and "mini-inference" in line
        ).split(" | ")
        assert found[5::2][:2] == [str(n) for n in sure]
        assert found[-2:] == [str(verdicts.count("kept")), f"{verdicts.count('lost')} |"]


@pytest.mark.parametrize("name", ["table5", "figure2"])
def test_a_translation_on_one_split_alone(name, refused, tmp_path):
    (tmp_path / "pairs.csv").write_text("source,target\na,b\n")
    (tmp_path / "own.toml").write_text(
        'task = "translation"\nmodel = "mini"\ntrain_file = "pairs.csv"\nvalidation_file = "pairs.csv"\n'
    )
    said = refused("reproduce", name, "--config", tmp_path / "own.toml", "--output", tmp_path / "none")
    assert f"{name} must be of a task with 2 splits to measure on; got translation, which has 1" in said


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
    """Areas of a record of format 1 are made new from its points."""
    words = ("reproduce", "figure6", "--model", "mini", "--task", "mini-sentiment", "--steps", "2")
    words += ("--output", tmp_path / "out", "--max-examples")
    assert "masks:" in invoke(*words, "8").stderr
    (file,) = (tmp_path / "out/records").iterdir()
    right = json.loads(file.read_text())
    old = {**right, "format": 1, "lines": [{**line, "areas": {}} for line in right["lines"]]}
    file.write_text(json.dumps(old))
    assert invoke(*words, "8", "--from-records").exit_code == 0
    second = invoke(*words, "8")
    assert second.exit_code == 0
    assert "is there and is not computed again" in second.stderr
    assert "masks:" not in second.stderr
    assert json.loads(file.read_text()) == right
    assert "masks:" in invoke(*words, "9").stderr


@pytest.mark.slow
def test_one_process_alone_works_on_a_folder(invoke, tmp_path):
    """The claim of a process that is gone is taken over, and none is left."""
    words = ("reproduce", "figure6", "--model", "mini", "--task", "mini-sentiment", "--steps", "1")
    words += ("--output", tmp_path / "out", "--max-examples", "8")
    with held(tmp_path / "out", Reporter()):
        done = invoke(*words)
        assert (done.exit_code, done.stderr.splitlines()[-1][:31]) == (1, "error: another process works on")
    assert list(tmp_path.iterdir()) == []
    assert Claims(tmp_path / ".out.held", owner=Owner(machine(), 2**22 + 1, "gone")).take(NAME)
    assert invoke(*words).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(("cap", "asked", "n"), [(20, None, 20), (20, 24, 24), (None, None, 5000), (9999, None, 5000)])
def test_the_cap_of_all_splits_binds_what_heads_are_chosen_on(cap, asked, n, monkeypatch):
    seen = []

    def ablate(setup, options, reporter):
        seen.append(options)
        return Found({})

    monkeypatch.setattr(reproduction, "ablate", ablate)
    setup = Setup("mini", "mini-inference", max_examples=cap)
    STUDIES["only-one"](setup, Conditions(choose_examples=asked), Reporter())
    assert [options.settled(cap).choose_examples for options in seen] == [n], "settled by the study itself"


def test_table_4_of_a_type_whose_ceiling_is_unknown(invoke, json_of, tmp_path, monkeypatch):
    record = json.loads(TIMED.read_text())
    record["rows"] = [{**row, "ceiling": None} for row in record["rows"]]
    monkeypatch.setitem(STUDIES, "bench", lambda *asked: record)
    words = ("reproduce", "table4", *MINI[:4], "--output", tmp_path / "out")
    table = json_of(invoke(*words, "--json"))["table4"]
    assert {row["ceiling of the gain, %"] for row in table["rows"]} == {None}
    assert any("it is not known for this type of model" in note for note in table["notes"])
    assert "| ceiling of the gain, % |" in (tmp_path / "out/table4.md").read_text()


@pytest.mark.slow
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


@pytest.fixture
def in_training(tmp_path):
    """A subject that is fine-tuned first."""
    (tmp_path / "quick.toml").write_text(
        'model = "mini"\ntask = "mini-sentiment"\nmax_examples = 64\nepochs = 3\nlearning_rate = 1e-3\n'
        "keep_epochs = true\n"
    )
    (tmp_path / "figure5.toml").write_text(
        'max_examples = 32\nsteps = 5\n[[subject]]\nmodel = "./tuned"\ntask = "mini-sentiment"\n'
        'finetune = "quick.toml"\n'
    )
    return ("reproduce", "figure5", "--config", tmp_path, "--output", tmp_path / "out", "--json")


@pytest.mark.slow
def test_a_model_that_is_not_there_is_fine_tuned_once_and_its_epochs_are_compared(
    invoke, json_of, in_training, tmp_path
):
    """Also where two figures want it."""
    (tmp_path / "figure6.toml").write_text((tmp_path / "figure5.toml").read_text())
    both = ("reproduce", "all", *in_training[2:])
    done = invoke(*both)
    assert done.stderr.count("fine-tuned on mini-sentiment") == 1
    first = json_of(done)
    assert list(first) == ["figure5", "figure6"]
    rows = first["figure5"]["rows"]
    assert [(row["model"], row["epoch"]) for row in rows] == [("tuned", 1), ("tuned", 2), ("tuned", 3)]
    assert rows[2]["rank r with last"] == pytest.approx(1)
    assert all(-1 < row["rank r with last"] < 1 for row in rows[:2])
    trained = json.loads((tmp_path / "tuned/record.json").read_text())
    record = json.loads((tmp_path / "out/records/tuned--epoch-2.mini-sentiment.curve.json").read_text())
    assert record["model"]["name"] == record["configuration"]["model"] == "tuned/epoch-2"
    assert trained["finetuned"] != record["model"]["fingerprint"]
    weights = (tmp_path / "tuned/model.safetensors").stat()
    again = invoke(*in_training)
    assert json_of(again) == {"figure5": first["figure5"]}
    assert again.stderr.count("this was done before and is not done again") == 1
    assert (tmp_path / "tuned/model.safetensors").stat() == weights
    shutil.rmtree(tmp_path / "tuned")  # a clean clone has the records alone
    assert json_of(invoke(*both, "--from-records")) == first
    assert not (tmp_path / "tuned").exists()


@pytest.fixture(scope="module")
def by_seed(tmp_path_factory, checkpoint):
    """Two subjects: a model by two seeds, which are copies with another head 1:1, and one alone."""
    folder = tmp_path_factory.mktemp("seeds")
    write_sst2(folder / "data")
    for seed in (1, 2):
        model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
        zero_heads(model, f"{seed}:1,2")
        model.save_pretrained(folder / f"tuned-{seed}")
        for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
            if (checkpoint / name).exists():
                shutil.copy(checkpoint / name, folder / f"tuned-{seed}")
    subject = f'task = "sst2"\ndata_dir = "data"\nmodel = "{checkpoint}"\n'
    (folder / "figure6.toml").write_text(
        f'steps = 4\n[[subject]]\n{subject}[[subject]]\ntask = "sst2"\ndata_dir = "data"\n'
        'model = "./tuned-{seed}"\nseeds = [1, 2]\n'
    )
    return folder


def test_seeds_are_one_subject_by_hand(invoke, json_of, by_seed, tmp_path):
    """Means and losses of the joint record are those of the curves; without the models it is read again."""
    words = ("reproduce", "figure6", "--config", by_seed, "--output", tmp_path / "out", "--json")
    first = json_of(invoke(*words))
    names = ["tuned-1.sst2.curve", "tuned-2.sst2.curve", "tuned-1.sst2.seeds"]
    one, two, both = (json.loads((tmp_path / f"out/records/{name}.json").read_text()) for name in names)
    curves = [[point["value"] for point in record["lines"][0]["points"]] for record in (one, two)]
    assert [point["values"] for point in both["points"]] == [list(each) for each in zip(*curves, strict=True)]
    assert both["area"]["values"] == pytest.approx([record["lines"][0]["areas"]["validation"] for record in (one, two)])
    assert both["kept"]["points"][0].items() >= {"value": 0.0, "low": 0.0, "high": 0.0, "verdict": "kept"}.items()
    lost = [point["value"] - both["points"][0]["value"] for point in both["points"]]
    assert [point["value"] for point in both["kept"]["points"]] == pytest.approx(lost)
    assert [each["name"] for each in both["models"]] == ["tuned-1", "tuned-2"]
    assert both["curves"] == [one["identity_hash"], two["identity_hash"]]
    means = [row for row in first["figure6"]["rows"] if row["model"] == "mean of 2 seeds"]
    assert [row["whole"] for row in means] == [both["points"][0]["value"]]
    again = invoke(*words)
    assert json_of(again) == first
    assert "tuned-1.sst2.seeds.json is there and is not computed again" in again.stderr
    assert json_of(invoke(*words, "--from-records")) == first
    (tmp_path / "out/records/tuned-1.sst2.seeds.json").unlink()
    lacking = json_of(invoke(*words, "--from-records"))["figure6"]
    assert [row["model"] for row in lacking["rows"]][-1] == "mean of 3"
    assert any("no record of the fine-tunings on sst2 together" in note for note in lacking["notes"])


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ('model = "m-{seed}"\nseeds = [1]', "seeds must be a list of two or more, each once"),
        ('model = "m-{seed}"\nseeds = [1, 1]', "got those of m-1, m-1"),
        ('model = "m-{seed}"\nseeds = []', "got [] and 'm-{seed}'"),
        ('model = "m-{seed}"\nseeds = 3', "got 3"),
        ('model = "m"\nseeds = [1, 2]', "for {seed} in the paths of model and finetune; got [1, 2] and 'm'"),
        ('model = "m-{seed}"\nfinetune = "f.toml"\nseeds = [1, 2]', "got [1, 2] and 'm-{seed} and f.toml'"),
    ],
)
def test_faults_of_seeds(about, said, tmp_path, refused):
    (tmp_path / "f.toml").write_text(f'[[subject]]\ntask = "sst2"\n{about}\n')
    assert said in refused("reproduce", "figure6", "--config", tmp_path / "f.toml", "--output", tmp_path / "o", code=2)


def test_seeds_that_are_asked_different_things_are_one_group(tmp_path):
    one, two = ('[[subject]]\nmodel = "m-{seed}"\ntask = "sst2"\n' for _ in range(2))
    (tmp_path / "f.toml").write_text(f"{one}seeds = [1]\nsteps = 4\n{two}seeds = [2, 3]\n")
    found = planned("compare", tmp_path / "f.toml", {}, Comparing)
    assert [(Path(each.setup.model).name, each.conditions.steps) for each in found] == [
        ("m-1", 4),
        ("m-2", 10),
        ("m-3", 10),
    ]
    assert len({each.group for each in found}) == 1
    (tmp_path / "f.toml").write_text(f"{one}seeds = [1]\n{two}seeds = [1, 2]\n")
    with pytest.raises(OptionError, match="each once"):
        planned("compare", tmp_path / "f.toml", {}, Comparing)


def test_faults_of_what_is_fine_tuned(refused, in_training, tmp_path):
    assert "epoch-1, epoch-2, ...); there are none" in refused(
        "reproduce", "figure5", "--model", "mini", "--task", "mini-sentiment", "--output", tmp_path / "none"
    )
    (tmp_path / "quick.toml").write_text("epoks = 3\n")
    assert "did you mean 'epochs'?" in refused(*in_training[:-1], code=2)
    (tmp_path / "figure5.toml").write_text('[[subject]]\nfinetune = "quick.toml"\n')
    assert "must name the folder of its model" in refused(*in_training[:-1], code=2)


@pytest.mark.slow
def test_estimators_of_two_subjects(invoke, json_of, snapshot, tmp_path, monkeypatch):
    """An older record has intervals over the percent asked for: its study is run again."""
    (tmp_path / "estimators.toml").write_text(
        "max_examples = 24\nsteps = 4\nscore_examples = 20\n"
        '[[subject]]\nmodel = "mini"\ntask = "mini-inference"\n'
        '[[subject]]\nmodel = "mini"\ntask = "mini-acceptability"\n'
    )
    words = ("reproduce", "estimators", "--config", tmp_path, "--output", tmp_path / "out")
    sheet = json_of(invoke(*words, "--json"))["estimators"]
    rows, means = sheet["rows"][:12], sheet["rows"][12:]
    names = ["example", "token", "batch", "fisher", "signed", "running sum (defect)"]
    assert [row["estimator"] for row in rows] == 2 * names
    assert {row["task"] for row in rows} == {"mini-inference", "mini-acceptability"}
    assert {(row["scored on"], row["measured on"]) for row in rows} == {(20, 24)}
    assert [(row["task"], row["estimator"]) for row in means] == [("mean of 2", name) for name in names]
    for i, row in enumerate(means):
        for key in ("difference", "Spearman", "overlap at 50%"):
            both = [value[key] for value in rows[i::6]]
            assert row[key] == (None if i == 0 else pytest.approx(sum(both) / 2))
    assert any("never zeroes the gradient" in note for note in sheet["notes"])
    figures = {"estimators.png", "estimators-curves.png"}
    assert figures <= set(snapshot(tmp_path / "out"))
    assert "running sum (defect)" in (tmp_path / "out" / "estimators.md").read_text()
    file = tmp_path / "out/records/mini.mini-inference.estimators.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 1}))
    said = invoke(*words, "--from-records").stderr
    assert "must be of format 2, as its intervals cannot be had from a record of an older one" in said
    monkeypatch.setitem(STUDIES, "estimators", lambda *asked: pytest.fail("run again"))
    with pytest.raises(pytest.fail.Exception, match="run again"):
        invoke(*words)


def test_estimators_refuse_a_constant_metric(refused, tmp_path):
    words = ("--model", "mini", "--task", "mini-acceptability", "--max-examples", "1")
    said = refused("reproduce", "estimators", *words, "--output", tmp_path / "none")
    assert "matthews_correlation must be defined on validation" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stepz = 3", "there is no option 'stepz' (did you mean 'steps'?)"),
        ("subject = 3", "subject must be tables"),
        ("[[subject]]\nmodle = 'm'", "there is no option 'modle' (did you mean 'model'?)"),
        ("dtype = 'half'", "'half'"),
        ("steps = 'ten'", "'--steps' must be a whole number; got \"ten\""),
        ("runs = 2", "'--runs' must be at least 6; got 2"),
        ("criterion = ['gradient', 'luck']", "'--criterion' must be one of 'gradient'"),
    ],
)
def test_faults_of_a_file(text, said, tmp_path, refused):
    (tmp_path / "f.toml").write_text(text)
    assert said in refused("reproduce", "table3", "--config", tmp_path / "f.toml", "--output", tmp_path / "o", code=2)


@pytest.mark.slow
def test_all_takes_what_a_folder_has_and_refuses_when_nothing_is_left(invoke, json_of, refused, tmp_path):
    (tmp_path / "plans").mkdir()
    words = ("reproduce", "all", "--config", tmp_path / "plans", "--output", tmp_path / "out")
    assert "at least one table or figure must fit" in refused(*words)
    (tmp_path / "plans/figure1.toml").write_text('model = "mini"\ntask = "mini-inference"\nmax_examples = 24\n')
    assert "at least one table or figure must fit" in refused(*words, "--from-records")
    done = invoke(*words, "--json")
    assert list(json_of(done)) == ["figure1"]
    assert "table1 is left out: plans has no table1.toml" in done.stderr


def test_what_cannot_be_done(refused, tmp_path):
    assert "must be a readable file" in refused(
        "reproduce", "table3", *MINI, "--from-records", "--output", tmp_path / "none"
    )
    (tmp_path / "two.toml").write_text('[[subject]]\nmodel = "mini"\n[[subject]]\nmodel = "mini"\n')
    words = ("--task", "mini-inference", "--output", tmp_path / "none")
    assert "must be given one model" in refused("reproduce", "table4", "--config", tmp_path / "two.toml", *words)
    assert "is not one of" in refused("reproduce", "table9", code=2)
    assert "table3 must be of a task that is no translation" in refused(
        "reproduce", "table3", *TRANSLATION, "--output", tmp_path / "none"
    )
    assert "table2 must be of a translation; got mini-inference, of which there are table3" in refused(
        "reproduce", "table2", *MINI, "--output", tmp_path / "none"
    )
    assert "figure2 must be of a task with 2 splits" in refused(
        "reproduce", "figure2", *MINI[:3], "mini-sentiment", "--output", tmp_path / "none"
    )
