"""Any number of labels an example: metrics against scikit-learn, files and rows of every form, and the commands."""

import json
import random

import datasets
import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loading import load_classifier
from null_work import here
from tiny import WORDS, save_tiny_checkpoint, tiny_tokenizer
from torch.nn import functional

from prune_heads import Evaluator
from prune_heads.errors import CheckpointError, DataError, LabelError, TaskError
from prune_heads.evaluation import Subject, predict
from prune_heads.execution import worker
from prune_heads.objectives.classifiers import METRICS
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task

LABELS = ("joy", "deep grief", "anger")
PROBLEM = "multi_label_classification"

draw = random.Random(0)
ROWS = [
    {
        "text": " ".join(draw.choices(WORDS, k=draw.randint(1, 9))),
        "labels": [label for label in ("anger", "joy") if draw.random() < 0.5],
    }
    for _ in range(24)
]
"""No row is of deep grief."""


def save(folder, labels=LABELS, problem=PROBLEM):
    """A tiny checkpoint whose outputs are labels of their own."""
    path = save_tiny_checkpoint(folder, labels) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"problem_type": problem}))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("multi") / "model")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def json_of(done):
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def read(path, **options):
    return load_task("multi-label", own=OwnData({"validation": path}, **options, kind="multi-label"))


def subject(model, path, **options):
    return Subject.of(load_classifier(str(model)), read(path), batch_size=5, **options)


# Metrics.

TABLE = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.tuples(*[st.booleans()] * 6), min_size=n, max_size=n),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
    )
)


@given(TABLE)
@settings(max_examples=60)
def test_the_metrics_are_those_of_scikit_learn_over_any_weights(table):
    cells, weights = np.asarray(table[0], dtype=int), np.asarray(table[1], dtype=float)
    made, true = cells[:, :3], cells[:, 3:]
    weights[0] += not weights.any()
    both = np.stack([weights, np.ones(len(made))])
    for average in ("micro", "macro"):
        ours = METRICS[f"{average}_f1"].weighted(made, true, both)
        theirs = [
            sklearn.metrics.f1_score(true, made, average=average, sample_weight=each, zero_division=0) for each in both
        ]
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_what_is_undefined_is_0_and_is_said():
    none = np.zeros((3, 2), dtype=int)
    assert [metric(none, none) for metric in METRICS.values()] == [0, 0]
    assert METRICS["macro_f1"].why_undefined(none) == "macro_f1 needs labels, and none of the 3 examples has one"
    assert METRICS["macro_f1"].why_undefined(none + 1) is None


# What is kept.


@torch.no_grad()
def test_losses_logits_and_likelihoods(model, file):
    on = subject(model, file)
    batches = on.batches(on.task.load("validation"))
    wanted = np.asarray([[float(label in row["labels"]) for label in LABELS] for row in ROWS])
    np.testing.assert_array_equal(batches.references, wanted)
    kept = predict(on.model, batches)
    tokens = tiny_tokenizer()([row["text"] for row in ROWS], padding=True, return_tensors="pt")
    logits = on.model(**tokens).logits
    np.testing.assert_allclose(kept, logits, rtol=1e-5, atol=1e-5)
    truth = torch.from_numpy(wanted).float()
    losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(dim=1)
    np.testing.assert_allclose(on.objective.log_likelihood(kept, batches.references), -losses, rtol=1e-5, atol=1e-5)
    assert on.model(**tokens, labels=truth).loss * len(LABELS) == pytest.approx(losses.mean().item())
    np.testing.assert_array_equal(on.objective.predictions(kept), logits.sigmoid() > 0.5)
    extreme = np.asarray([[1e4, -1e4, 1e4]], dtype=np.float32)
    assert on.objective.log_likelihood(extreme, np.asarray([[1, 0, 0]])) == pytest.approx([-1e4])


def test_chance_is_the_best_of_giving_the_same_labels_always(model, file):
    objective = subject(model, file).objective
    references = np.random.default_rng(0).integers(0, 2, (9, 3)) * [1, 0, 1]
    every = [[i >> bit & 1 for bit in range(3)] for i in range(8)]
    assert objective.chance(references) == max(
        METRICS["micro_f1"](np.tile(labels, (9, 1)), references) for labels in every
    )
    assert objective.says_little(references) is None
    assert "all 2 examples have the same labels" in objective.says_little(references[[0, 0]])


# Files.


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet", "classes"])
def test_files_of_every_form_give_the_same_examples(ending, file, tmp_path):
    path = tmp_path / f"rows.{'parquet' if ending == 'classes' else ending}"
    if ending in ("csv", "tsv"):
        mark = "," if ending == "csv" else "\t"
        lines = [mark.join((row["text"], " | ".join(row["labels"]))) for row in ROWS]
        path.write_text("\n".join([mark.join(("text", "labels")), *lines]) + "\n")
    elif ending == "jsonl":
        path.write_bytes(file.read_bytes())
    else:
        rows = datasets.Dataset.from_list(ROWS)
        if ending == "classes":
            kind = datasets.List(datasets.ClassLabel(names=["joy", "anger"]))
            rows = rows.cast_column("labels", kind)
        rows.to_parquet(path)
    split, wanted = read(path).load("validation"), read(file).load("validation")
    assert split.fingerprint == wanted.fingerprint
    assert split.columns["label"] == [
        [i for i, label in enumerate(("anger", "joy")) if label in row["labels"]] for row in ROWS
    ]
    assert split.dataset["label"][:] == split.columns["label"]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("null", r"rows.jsonl line 2: the labels? must be .*, got null|None"),
        ("7", "rows.jsonl line 2: the labels must be a list of names.*got '7'"),
        ('["joy", null]', "rows.jsonl line 2: the label must be text"),
        ('["joy", ""]', "rows.jsonl line 2: the label must be text"),
        ('["joy", "joy"]', "rows.jsonl line 2: each label must be named once"),
        ('[["joy"]]', "rows.jsonl line 2: the label must be text"),
        ('{"joy": 1}', "rows.jsonl line 2: the label"),
    ],
)
def test_bad_labels_are_refused_with_their_place(labels, said, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"text": "a cat", "labels": ["joy"]}}\n{{"text": "a dog", "labels": {labels}}}\n')
    with pytest.raises(DataError, match=said):
        read(path).load("validation")
    path.write_text('{"text": "a cat", "label": ["joy"]}\n')
    with pytest.raises(DataError, match="the column labels must be there once, got the columns text, label"):
        read(path)
    assert read(path, label_column="label").load("validation").columns["label"] == [[0]]
    path.write_text('{"text": "a cat", "labels": []}\n')
    with pytest.raises(DataError, match="at least one label must be in the column labels, got none"):
        read(path)
    assert read(path, labels=("joy",)).load("validation").columns["label"] == [[]]
    path.write_text('{"text": "a cat", "labels": ["sad"]}\n')
    with pytest.raises(DataError, match="line 1: the label must be one of joy, got"):
        read(path, labels=("joy",)).load("validation")


# Labels of the data and of the model.


def test_labels_that_the_model_lacks_are_refused_with_both_lists(model, file, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,labels\na cat,joy|Deep_Grief\na dog,fear\n")
    with pytest.raises(
        LabelError,
        match="must have all labels of the data, and lacks fear: the task has Deep_Grief, fear, joy; the "
        "checkpoint has joy, deep grief, anger",
    ):
        subject(model, path)
    path.write_text("text,labels\na cat,joy|Deep_Grief\na dog,\n")
    on = subject(model, path)
    assert on.batches(on.task.load("validation")).references.tolist() == [[1, 1, 0], [0, 0, 0]]
    other = subject(model, path, label_order=("x", "joy", "Deep_Grief"))
    assert other.batches(other.task.load("validation")).references.tolist() == [[0, 1, 1], [0, 0, 0]]
    with pytest.raises(LabelError, match="--label-order must name a label for each of the 3 outputs"):
        subject(model, path, label_order=("joy", "Deep_Grief"))


def test_numbers_are_the_labels_of_a_model_without_names(tmp_path):
    model = save(tmp_path / "model", tuple(f"LABEL_{i}" for i in range(12)))
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a cat", "labels": [11, 2]}\n')
    on = subject(model, path)
    assert np.flatnonzero(on.batches(on.task.load("validation")).references[0]).tolist() == [2, 11]
    assert on.objective.note is None
    path.write_text('{"text": "a cat", "labels": ["joy"]}\n')
    with pytest.raises(LabelError, match="lacks joy"):
        subject(model, path)


def test_the_head_must_be_for_the_task(model, file, tmp_path):
    with pytest.raises(CheckpointError, match=f"must be single_label_classification.* got {PROBLEM}"):
        Subject.of(load_classifier(str(model)), load_task("mini-inference"))
    one = save(tmp_path / "one", problem="single_label_classification")
    with pytest.raises(CheckpointError, match=f"must be {PROBLEM}.* got single_label_classification"):
        subject(one, file)
    unsaid = subject(save(tmp_path / "unsaid", problem=None), file)
    assert unsaid.objective.note == f"config.json names no problem_type; {PROBLEM} is taken, as the task asks"


# The Evaluator.


def vectors(kind):
    return [{**row, "labels": [kind(label in row["labels"]) for label in LABELS]} for row in ROWS]


def test_rows_of_every_form_are_the_same(model, file, invoke):
    loaded = load_classifier(str(model))
    classes = datasets.List(datasets.ClassLabel(names=["anger", "joy"]))
    forms = {
        "names": ROWS,
        "Dataset": datasets.Dataset.from_list(ROWS),
        "classes": datasets.Dataset.from_list(ROWS).cast_column("labels", classes),
        "0/1": vectors(int),
        "floats": datasets.Dataset.from_list(vectors(float)),
        "booleans": vectors(bool),
    }
    on = ("--model", model, "--task", "multi-label", "--validation-file", file)
    wanted = json_of(invoke("evaluate", *on, "--json"))["metrics"]
    assert list(wanted) == ["micro_f1", "macro_f1"]
    for name, rows in forms.items():
        ev = Evaluator(loaded.model, rows, tokenizer=loaded.tokenizer)
        assert ev.evaluate().metrics == wanted, name
    renamed = [{"body": row["text"], "tags": row["labels"]} for row in ROWS]
    ev = Evaluator(loaded.model, renamed, tokenizer=loaded.tokenizer, columns={"text": "body", "label": "tags"})
    assert ev.evaluate().metrics == wanted
    macro = Evaluator(loaded.model, ROWS, tokenizer=loaded.tokenizer, metric="macro_f1")
    assert list(macro.evaluate().metrics) == ["macro_f1", "micro_f1"]

    def exact(predictions, references, weights):
        return weights @ (predictions == references).all(axis=1) / weights.sum(axis=1)

    own = Evaluator(loaded.model, ROWS, tokenizer=loaded.tokenizer, metric=exact)
    assert set(own.evaluate("1:1").metrics) == {"exact"}
    assert own.compare(None, "1:1").rows[0]["metric"] == "exact"


def test_a_data_loader_gives_the_same(model):
    loaded = load_classifier(str(model))
    wanted = Evaluator(loaded.model, ROWS, tokenizer=loaded.tokenizer)
    fields = loaded.tokenizer([row["text"] for row in ROWS], padding=True, return_tensors="pt")
    for kind in (int, float):
        truth = torch.tensor([row["labels"] for row in vectors(kind)])
        ev = Evaluator(
            loaded.model,
            [
                {**{name: part[i : i + 8] for name, part in fields.items()}, "labels": truth[i : i + 8]}
                for i in range(0, len(ROWS), 8)
            ],
        )
        assert ev.evaluate("1:1").metrics == wanted.evaluate("1:1").metrics
        np.testing.assert_allclose(ev.score().values, wanted.score().values, rtol=1e-4, atol=1e-6)
    batch = {**fields, "labels": truth * 2}
    with pytest.raises(DataError, match=r"a 0 or 1 for each of the model's 3 outputs; got \(24, 3\)"):
        Evaluator(loaded.model, [batch])


@pytest.mark.parametrize("labels", [[0, 1], [0, 2, 1], ["fear"], "joy", [1, None, 0]])
def test_bad_rows_are_refused_with_their_number(labels, model):
    loaded = load_classifier(str(model))
    with pytest.raises((LabelError, DataError), match=r"example 1: the labels? must be"):
        Evaluator(loaded.model, [{"text": "a cat", "labels": labels}], tokenizer=loaded.tokenizer)


def test_an_objective_that_is_named_overrides_the_head(tmp_path):
    loaded = load_classifier(str(save(tmp_path / "unsaid", problem=None)))
    ev = Evaluator(loaded.model, ROWS, tokenizer=loaded.tokenizer, objective="multi-label")
    assert "no problem_type" in ev.notes[0]
    assert 0 <= ev.evaluate().metrics["micro_f1"] <= 1
    with pytest.raises((LabelError, TaskError, DataError)):
        Evaluator(loaded.model, ROWS, tokenizer=loaded.tokenizer)


# The commands.


@pytest.mark.slow
def test_the_commands(model, file, invoke, tmp_path, own_store):
    on = ("--model", model, "--task", "multi-label", "--train-file", file, "--validation-file", file)
    table = json_of(invoke("ablate", *on, "--output", tmp_path / "ablate", "--json"))
    assert (table["metric"], table["test"]) == ("micro_f1", "paired bootstrap")
    again = invoke("ablate", *on, "--json")
    assert json_of(again)["value"] == table["value"]
    assert "masks:" not in again.stderr  # from the store
    under = json_of(invoke("evaluate", *on, "--heads", "2:3", "--json"))["metrics"]
    assert under["micro_f1"] == table["value"][1][2]
    json_of(invoke("score", *on, "--output", tmp_path / "score", "--json"))
    pairs = json_of(invoke("correlate", tmp_path / "ablate", tmp_path / "score", "--json"))["correlations"]
    assert len(pairs) == 3  # of the metric, the response and the scores
    assert all(-1 <= pair["pearson"]["value"] <= 1 for pair in pairs)
    words = ("curve", *on, "--criterion", "gradient", "--steps", "2", "--output", tmp_path / "curve")
    assert json_of(invoke(*words, "--json"))["metric"] == "micro_f1"
    words = ("run", *on, "--metric", "macro_f1", "--mode", "remove", "--save-checkpoint")
    record = json_of(invoke(*words, "--output", tmp_path / "run", "--json"))
    assert [row["metric"] for row in record["rows"]] == ["macro_f1", "micro_f1"]
    narrow = ("--model", tmp_path / "run" / "checkpoint", *on[2:])
    found = json_of(invoke("evaluate", *narrow, "--json"))["metrics"]
    assert found["macro_f1"] == pytest.approx(record["rows"][0]["pruned"])
    for words in (
        ("prune", "--model", model, "--heads", "1:1", "--output", tmp_path / "pruned"),
        ("info", model, "--heads", "1:1"),
        ("export", model, "--to", "dense", "--output", tmp_path / "dense"),
        ("bench", *on, "--heads", "1:1", "--batch-sizes", "4", "--length", "12"),
    ):
        done = invoke(*words, "--json")
        assert done.exit_code == 0, done.output
    dense = json_of(invoke("evaluate", "--model", tmp_path / "dense", *on[2:], "--json"))["metrics"]
    assert dense == pytest.approx(json_of(invoke("evaluate", *on, "--json"))["metrics"])


def test_fine_tuning_makes_a_head_for_the_labels(file, checkpoint, invoke, tmp_path):
    on = ("--task", "multi-label", "--train-file", file, "--validation-file", file)
    words = ("finetune", "--model", checkpoint, *on, "--epochs", "1", "--output", tmp_path / "out")
    record = json_of(invoke(*words, "--json"))
    assert record["labels"] == ["anger", "joy"]
    made = tmp_path / "out"
    config = json.loads((made / "config.json").read_text())
    assert (config["problem_type"], config["id2label"]) == (PROBLEM, {"0": "anger", "1": "joy"})
    found = json_of(invoke("evaluate", "--model", made, *on, "--json"))["metrics"]
    assert found == pytest.approx(record["metrics"]["validation"])
    taught = json_of(
        invoke(*words[:-1], tmp_path / "taught", "--distill-from", made, "--head-dropout", "0.3", "--json")
    )
    assert taught["teacher"]["fingerprint"] == record["finetuned"]
    assert taught["epochs"][0]["loss"] != record["epochs"][0]["loss"]


def test_a_sweep(model, file, invoke, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "processes", lambda *shares: here)
    (tmp_path / "sweep.toml").write_text(
        f'model = "{model}"\ntask = "multi-label"\ntrain_file = "{file}"\nvalidation_file = "{file}"\n'
        "[grid]\nfraction = [0.25, 0.5]\n"
    )
    done = invoke("sweep", "run", tmp_path / "sweep.toml", "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    rows = json_of(invoke("sweep", "results", tmp_path / "out", "--json"))["rows"]
    assert [row["metric"] for row in rows] == ["micro_f1", "macro_f1"] * 2


def test_what_a_file_says_in_toml(model, file, invoke, tmp_path):
    (tmp_path / "moods.toml").write_text(
        f'name = "moods"\ntask = "multi-label"\nmetric = "macro_f1"\n[files]\nvalidation = "{file}"\n'
    )
    on = ("--model", model, "--task", tmp_path / "moods.toml", "--json")
    assert list(json_of(invoke("evaluate", *on))["metrics"]) == ["macro_f1", "micro_f1"]
    (tmp_path / "moods.toml").write_text(
        f'name = "moods"\nmetric = "macro_f1"\ntext_columns = ["text"]\nlabel_column = "y"\n[files]\na = "{file}"\n'
    )
    with pytest.raises(TaskError, match="task = 'multi-label' must stand beside the metric macro_f1"):
        load_task(str(tmp_path / "moods.toml"))


def test_beams_are_refused(model, file, invoke):
    on = ("--model", model, "--task", "multi-label", "--validation-file", file)
    done = invoke("evaluate", *on, "--beams", "2")
    assert "--beams must be given for translation only" in done.stderr
    done = invoke("evaluate", *on, "--objective", "regression")
    assert "the objective must be one of multi-label, got regression" in done.stderr
    done = invoke("evaluate", *on, "--metric", "f1")
    assert "the metric must be one of micro_f1, macro_f1, got 'f1'" in done.stderr
