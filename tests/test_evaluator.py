"""The Evaluator: the numbers of the commands, whatever carries the data, and nothing left behind."""

import json
import os
import random
from dataclasses import dataclass

import datasets
import numpy as np
import pytest
import torch
from rich.console import Console
from tiny import WORDS, tiny_model, tiny_tokenizer
from tiny_texts import text_tokenizer, tiny_language_model, topic_pairs
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from prune_heads import Evaluator, HeadMask, HeadScores, attention_blocks, gate_gradients, load_task, select
from prune_heads.errors import CriterionError, DataError, HeadDescriptorError, StoreError, TaskError
from prune_heads.importance import CRITERIA, criterion_of
from prune_heads.objectives.classifiers import SingleLabel

draw = random.Random(0)
ROWS = [{"text": " ".join(draw.choices(WORDS, k=draw.randint(1, 9))), "label": draw.randint(0, 1)} for _ in range(30)]
SHAPE = (4, 4, 4)


@pytest.fixture(scope="module")
def model():
    return tiny_model(n_labels=2)


@pytest.fixture
def ev(model):
    return Evaluator(model, ROWS, tokenizer=tiny_tokenizer())


def loader(rows, size=7):
    def collate(some):
        fields = tiny_tokenizer()([row["text"] for row in some], padding=True, return_tensors="pt")
        return {**fields, "labels": torch.tensor([row["label"] for row in some])}

    return DataLoader(rows, batch_size=size, collate_fn=collate)


def printed(thing):
    console = Console(width=100)
    with console.capture() as captured:
        console.print(thing)
    return captured.get()


@pytest.fixture(scope="module")
def commands(checkpoint, sst2):
    """Words of each command, and what answers the same question in Python."""
    on = ("--model", checkpoint, "--task", "sst2", "--data-dir", sst2)
    return {
        "evaluate": (("evaluate", *on, "--heads", "1:2 3:1,4"), lambda ev: ev.evaluate("1:2 3:1,4")),
        "score": (("score", *on), lambda ev: ev.on(split="train").score()),
        "score by answers": (
            ("score", *on, "--criterion", "ablation", "--normalize", "l2"),
            lambda ev: ev.on(split="train").score("ablation", normalize="l2"),
        ),
        "ablate": (("ablate", *on), lambda ev: ev.ablate()),
        "only one": (
            ("ablate", *on, "--kind", "only-one"),
            lambda ev: ev.ablate("only-one", chosen_on=ev.on(split="train")),
        ),
    }


@pytest.mark.parametrize("name", ["evaluate", "score", "score by answers", "ablate", "only one"])
def test_the_numbers_are_those_of_the_command(name, commands, invoke, checkpoint, sst2):
    words, ask = commands[name]
    expected = json.loads(invoke(*words, "--json").stdout)
    found = ask(Evaluator(str(checkpoint), load_task("sst2", data_dir=sst2))).to_json()
    assert found == {key: expected[key] for key in found}
    if not name.startswith(("ablate", "only")):  # whose command also has the other splits
        assert found.keys() == expected.keys()


def test_a_curve_is_a_line_of_the_command(invoke, checkpoint, sst2):
    on = ("--model", checkpoint, "--task", "sst2", "--data-dir", sst2)
    record = json.loads(invoke("curve", *on, "--criterion", "gradient", "--steps", "4", "--json").stdout)
    ev = Evaluator(str(checkpoint), load_task("sst2", data_dir=sst2))
    assert ev.curve(ev.on(split="train").score(), steps=4).to_json() == record["lines"][0]


@pytest.fixture(scope="module")
def said(model):
    """What is said of the rows as they are."""
    ev = Evaluator(model, ROWS, tokenizer=tiny_tokenizer())
    scores = ev.score()
    return ev.evaluate("1:1").metrics, ev.ablate().delta, scores, ev.curve(scores).points[3]["value"]


@pytest.mark.parametrize("carrier", ["dataset", "class labels", "names", "loader", "pairs", "batches of one"])
def test_whatever_carries_the_data_the_numbers_are_the_same(carrier, model, said):
    tokenizer = tiny_tokenizer()
    named = [{**row, "label": f"LABEL_{row['label']}"} for row in ROWS]
    rows = datasets.Dataset.from_list(ROWS)
    given = {
        "dataset": lambda: Evaluator(model, rows, tokenizer=tokenizer),
        "class labels": lambda: Evaluator(
            model,
            rows.cast_column("label", datasets.ClassLabel(names=["LABEL_0", "LABEL_1"])).rename_columns(
                {"text": "sentence", "label": "gold"}
            ),
            tokenizer=tokenizer,
            columns={"text": "sentence", "label": "gold"},
        ),
        "names": lambda: Evaluator(model, named, tokenizer=tokenizer),
        "loader": lambda: Evaluator(model, loader(ROWS)),
        "pairs": lambda: Evaluator(model, [(batch, batch.pop("labels")) for batch in loader(ROWS, 30)]),
        "batches of one": lambda: Evaluator(model, ROWS, tokenizer=tokenizer, batch_size=1),
    }
    other, (metrics, delta, scores, value) = given[carrier](), said
    assert other.evaluate("1:1").metrics == metrics
    assert other.ablate().delta == delta
    same = other.score()
    np.testing.assert_allclose(same.flat(), scores.flat(), rtol=1e-4)
    np.testing.assert_allclose(np.concatenate(same.standard_error), np.concatenate(scores.standard_error), rtol=1e-4)
    assert other.curve(scores).points[3]["value"] == value


def test_a_data_loader_is_read_once_in_its_order(model):
    read = []

    def once():
        for i, batch in enumerate(loader(ROWS)):
            read.append(i)
            yield batch

    ev = Evaluator(model, once())
    ev.score(), ev.ablate()
    assert read == list(range(5))
    assert ev._predictions.references.tolist() == [row["label"] for row in ROWS]


def test_gradients_of_a_data_loader_are_those_of_the_examples(model):
    one, two = gate_gradients(model, loader(ROWS)), gate_gradients(model, loader(ROWS, 30))
    assert one.signed.shape == (30, 12)
    np.testing.assert_allclose(one.signed, two.signed, atol=1e-6)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({"input_ids": torch.ones(2, 3)}, "got the fields input_ids"),
        (("a", "b", "c"), "got tuple"),
        ((torch.ones(2, 3), [1, 0]), "labels is a list"),
        ((torch.ones(2, 3), torch.ones(3)), "a row an example"),
        ((torch.ones(2, 3), torch.ones(2, 4)), "must be as in the first"),
    ],
)
def test_a_batch_of_another_kind_is_refused_by_its_number(model, batch, said):
    with pytest.raises(DataError, match=f"batch 2 of the DataLoader.*{said}"):
        Evaluator(model, [next(iter(loader(ROWS))), batch])


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ([], DataError, "must hold at least one example; got none"),
        ([{"image": torch.ones(3, 8, 8), "label": "cat"}], DataError, "column text .* got the columns image, label"),
        ([{"sentence": "a", "label": 0}], DataError, "column text must be there once, got the columns sentence, label"),
        ([{"text": "a", "label": 2}], DataError, "example 1: the label must be one of LABEL_0, LABEL_1, got '2'"),
        ([{"text": "a", "label": 0}, {"text": "", "label": 0}], DataError, "example 2: the text must not be"),
        ([{"text": "a", "label": 0}, {"text": 3, "label": 0}], DataError, "each column of one type"),
    ],
)
def test_data_that_do_not_fit_are_refused(model, data, error, said):
    with pytest.raises(error, match=said):
        Evaluator(model, data, tokenizer=tiny_tokenizer())


def test_texts_need_a_tokenizer(model):
    with pytest.raises(DataError, match="tokenizer="):
        Evaluator(model, ROWS)


def test_without_a_store_nothing_is_left_and_nothing_said(ev, tmp_path, monkeypatch, capfd, own_store):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("prune_heads.predictions.fingerprint", lambda model: pytest.fail("weights were hashed"))
    ev.evaluate("1:1"), ev.ablate(), ev.curve(ev.score(), steps=3), ev.compare(None, "1:1")
    assert os.listdir(tmp_path) == []
    assert not own_store.exists()
    assert capfd.readouterr() == ("", "")


def test_a_store_is_asked_with_the_weights_of_now(model, tmp_path):
    ev = Evaluator(model, ROWS, tokenizer=tiny_tokenizer(), store=tmp_path / "store")
    before = ev.ablate()
    n_entries = len(list(tmp_path.rglob("*.safetensors")))
    assert n_entries == 13
    assert ev.ablate() == before
    assert len(list(tmp_path.rglob("*.safetensors"))) == n_entries
    saved = model.classifier.weight.detach().clone()
    with torch.no_grad():
        model.classifier.weight.mul_(-1)
    try:
        assert ev.evaluate().metrics["accuracy"] != before.base
    finally:
        with torch.no_grad():
            model.classifier.weight.copy_(saved)


def test_the_model_stays_as_it_is(model, ev):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    ev.ablate(), ev.score()
    assert model.training
    model.eval()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in state.items())


def test_scores_are_head_scores_that_select_takes(ev):
    scores = ev.score("magnitude")
    assert isinstance(scores, HeadScores)
    assert (scores.criterion, scores.estimator, scores.split, scores.n_examples) == ("magnitude", None, None, 0)
    mask = select(scores, 5)
    assert len(mask) == 5
    assert HeadScores.from_json(json.loads(json.dumps(scores.to_json()))).flat().tolist() == scores.flat().tolist()


def test_a_criterion_of_ones_own_is_given_the_examples(ev):
    def by_absolute_gradient(examples):
        assert len(list(examples.batches)) == 1
        return np.abs(examples.gradients.signed).mean(axis=0)

    own, ours = ev.score(by_absolute_gradient), ev.score("gradient")
    np.testing.assert_allclose(own.flat(), ours.flat(), rtol=1e-6)
    assert own.criterion.endswith("by_absolute_gradient")
    assert own.estimator is None
    assert [p["value"] for p in ev.curve(own).points] == [p["value"] for p in ev.curve(ours).points]


FLAT = np.arange(12.0)


@pytest.mark.parametrize(
    "given",
    [FLAT, FLAT.tolist(), torch.arange(12.0), FLAT.reshape(3, 4), [FLAT[:4], FLAT[4:8], FLAT[8:]]],
    ids=["array", "list", "tensor", "matrix", "rows"],
)
def test_scores_of_ones_own_may_be_flat_or_rows(ev, given):
    assert ev.score(lambda examples: given).flat().tolist() == FLAT.tolist()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (FLAT[:11], "a score for each head, 12 of them, .*; got 11"),
        (np.where(FLAT == 6, np.nan, FLAT), "must be finite to be put in order; that of head 2:3 is not"),
        (
            HeadScores.from_flat(FLAT, (4, 4, 4), np.where(FLAT == 6, np.inf, FLAT)),
            "must have finite errors; that of head 2:3 is not",
        ),
        (None, "TypeError"),
        (["a"] * 12, "could not convert string"),
        (HeadScores((np.zeros(4), np.zeros(4))), "got 8"),
    ],
)
def test_what_are_no_scores_of_the_heads_is_refused(ev, given, said):
    with pytest.raises(CriterionError, match=said):
        ev.score(lambda examples: given)


def test_a_criterion_that_exits_fails_in_a_line(ev):
    def leaves(examples):
        raise SystemExit(3)

    with pytest.raises(CriterionError, match="must give the scores of the heads; it failed with SystemExit: 3"):
        ev.score(leaves)


def test_what_cannot_be_called_is_no_criterion(ev):
    with pytest.raises(CriterionError, match="must be a function of examples; this one is of type int"):
        ev.score(3)


def test_a_criterion_scores_a_model_without_the_heads_that_are_gone(model):
    def sizes(examples):
        return [[float(len(examples.gone))] * block.n_original_heads for block in attention_blocks(examples.model)]

    from prune_heads import remove_heads

    smaller = remove_heads(tiny_model(n_labels=2), "1:2 3:1")
    scores = Evaluator(smaller, ROWS, tokenizer=tiny_tokenizer()).score(sizes)
    assert scores.gone == HeadMask.parse("1:2 3:1", SHAPE)
    assert scores.flat().tolist() == [2, 0, 2, 2, 2, 2, 2, 2, 0, 2, 2, 2]


def test_two_masks_are_tested_pairwise(ev):
    same = ev.compare("1:1", {0: [0]})
    assert (same.difference, same.p_value) == (0, 1)
    found = ev.compare(None, HeadMask.all(SHAPE))
    base, none = ev.evaluate(), ev.evaluate(HeadMask.all(SHAPE))
    assert found.difference == pytest.approx(none.value - base.value)
    assert found.rows[0]["test"] == "exact McNemar"
    low, high = base.intervals["accuracy"]
    assert low <= base.value <= high


def test_an_option_of_the_objective_is_passed_on(model, ev):
    turned = Evaluator(model, ROWS, tokenizer=tiny_tokenizer(), label_order=("LABEL_1", "LABEL_0"))
    accuracy = ev.evaluate("1:1").value
    for each in (turned, turned.on(ROWS)):
        assert each.evaluate("1:1").value == pytest.approx(1 - accuracy)
    with pytest.raises(TaskError, match="--beams must be given for translation only"):
        Evaluator(model, ROWS, tokenizer=tiny_tokenizer(), beams=2)
    with pytest.raises(TaskError, match="takes no options; got label_order"):
        Evaluator(model, loader(ROWS), label_order=("LABEL_1", "LABEL_0"))


def test_heads_that_are_not_there_are_refused(ev):
    with pytest.raises(HeadDescriptorError, match="4:1"):
        ev.evaluate("4:1")
    with pytest.raises(HeadDescriptorError, match="got 0"):
        ev.evaluate(0)


def test_heads_are_taken_as_results_give_them(ev):
    found = ev.evaluate("1:1 2:2")
    assert ev.evaluate(found.heads_pruned) == found
    assert ev.compare([], found.heads_pruned) == ev.compare(None, "1:1 2:2")


def test_titles_name_data_once_and_eighty_columns_hold_the_longest_names(model, ev):
    assert ev.evaluate().table().title == "own data, 30 examples, no head pruned"
    assert "accuracy without one head, difference in points (1 point = 0.01): own, 30" in ev.ablate().table().title
    other = Evaluator(model, ROWS, tokenizer=tiny_tokenizer(), metric="matthews_correlation").compare(None, "1:1")
    console = Console(width=80)
    with console.capture() as captured:
        console.print(other)
    assert len([line for line in captured.get().splitlines() if line.startswith("matthews_correlation ")]) == 1
    assert "p of matthews_correlation: paired bootstrap test." in captured.get()


def test_labels_of_words_are_for_rows(model):
    batch = {"input_ids": torch.ones(2, 3, dtype=torch.long), "labels": torch.full((2, 3), 2)}
    answers = {"input_ids": batch["input_ids"], "start_positions": torch.ones(2), "end_positions": torch.ones(2)}
    for given in (batch, answers):
        with pytest.raises(DataError, match="labels of words give a list of dicts or a Dataset, with the model's"):
            Evaluator(model, [given])


def test_results_show_in_a_terminal_a_notebook_and_pandas(ev):
    scores, table = ev.score(), ev.ablate()
    frame = table.to_pandas()
    assert frame.shape == (12, 19)
    assert frame.loc[5, ["layer", "head"]].tolist() == ["2", 2]
    assert frame.loc[5, "delta"] == table.delta[1][1]
    assert scores.to_pandas()["standard_error"].tolist() == np.concatenate(scores.standard_error).tolist()
    for result in (scores, table, ev.evaluate("1:1"), ev.compare(None, "1:1"), ev.curve(scores, steps=3)):
        shown, html = printed(result), result._repr_html_()
        assert html.startswith("<table>")
        assert html.count("<tr>") == len(result.table().rows) + 1
        assert result.table().texts()[-1][0] in shown
        assert len(result.to_pandas()) > 0
        json.dumps(result.to_json())


def test_a_module_of_ones_own_needs_no_configuration(tmp_path):
    torch.manual_seed(0)
    body = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2, enable_nested_tensor=False)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = body, nn.Linear(16, 3)

        def forward(self, x):
            return self.head(self.body(x).mean(dim=1))

    model, x = Model().eval(), torch.randn(24, 5, 16)
    labels = model(x).argmax(dim=-1)
    ev = Evaluator(model, DataLoader(TensorDataset(x, labels), batch_size=5))
    assert ev.evaluate().metrics == {"accuracy": 1.0}
    none = ev.evaluate(HeadMask.all((4, 4))).value
    assert none < 1
    scores = ev.score()
    assert (scores.flat() > 0).all()
    assert ev.curve(scores, steps=2).points[-1]["value"] == none
    kept = Evaluator(model, DataLoader(TensorDataset(x, labels), batch_size=5), store=tmp_path)
    with pytest.raises(StoreError, match=r"got Model without one\. Set model\.config .* or leave out the store"):
        kept.evaluate()


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_scores_on_the_examples_of_the_evaluator(ev, criterion):
    scores = ev.score(criterion, masks=30, updates=2)
    assert scores.n_examples == (30 if CRITERIA[criterion].needs_data else 0)
    assert scores.n_heads == SHAPE


OWN = "import numpy as np\n\n\ndef ranks(examples):\n    'Later heads matter more.'\n    return np.arange(12)\n"


@pytest.mark.parametrize("folder", ["", "nested/"])
def test_a_criterion_is_named_by_its_file_or_its_module(ev, tmp_path, monkeypatch, folder):
    (tmp_path / "nested").mkdir()
    (tmp_path / folder / "late_ranks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    scores = ev.score(f"{folder}late_ranks.py:ranks")
    assert (scores.criterion, scores.flat().tolist()) == ("late_ranks.py:ranks", list(range(12)))
    if not folder:
        assert ev.score("late_ranks:ranks").flat().tolist() == list(range(12))
        assert criterion_of("late_ranks:ranks").source == criterion_of("late_ranks.py:ranks").source
    assert criterion_of(f"{folder}late_ranks.py:ranks").summary == "Later heads matter more."
    (tmp_path / folder / "late_ranks.py").write_text(OWN.replace("np.arange(12)", "-np.arange(12)"))
    assert ev.score(f"{folder}late_ranks.py:ranks").flat().tolist() == [-i for i in range(12)]


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        (OWN, "own.py:rank", "own.py:rank must be there; got the functions ranks"),
        (OWN, "none.py:ranks", "file must be a readable file; got none.py"),
        (OWN, "no_such_module_here:ranks", "got ModuleNotFoundError"),
        ("import sys; sys.exit(3)", "own.py:ranks", "got SystemExit: 3"),
        ("def ranks(:", "own.py:ranks", "got SyntaxError"),
        ("ranks = 3", "own.py:ranks", "own.py:ranks is of type int"),
        ("def ranks(): return 1", "own.py:ranks", "failed with TypeError: ranks.. takes 0"),
        ("def ranks(examples): return [[1.0]]", "own.py:ranks", "a score for each head"),
        (OWN, "ranks", "must be one of gradient, ablation, magnitude, random, .*, or one's own"),
    ],
)
def test_a_criterion_that_does_not_fit_is_refused_with_the_reason(ev, tmp_path, monkeypatch, source, name, said):
    (tmp_path / "own.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CriterionError, match=said):
        ev.score(name)


def test_a_metric_of_ones_own_is_a_function_of_weighted_examples(ev, model):
    def balanced_accuracy(predictions, references, weights):
        right = [weights @ ((predictions == references) & (references == label)) for label in (0, 1)]
        return np.mean([r / (weights @ (references == i)) for i, r in enumerate(right)], axis=0)

    own = Evaluator(model, ROWS, tokenizer=tiny_tokenizer(), metric=balanced_accuracy)
    found = own.evaluate("1:1")
    kept = own._predictions.of(HeadMask.parse("1:1", SHAPE)).argmax(axis=1)
    truth = np.array([row["label"] for row in ROWS])
    expected = np.mean([(kept[truth == label] == label).mean() for label in (0, 1)])
    assert found.metrics == {"balanced_accuracy": pytest.approx(expected)}
    low, high = found.intervals["balanced_accuracy"]
    assert low < expected < high
    table = own.ablate()
    assert (table.metric, table.test) == ("balanced_accuracy", "paired bootstrap")
    assert own.score("ablation").flat().tolist() == [pytest.approx(-d) for row in table.delta for d in row]
    other = Evaluator(model, ROWS, tokenizer=tiny_tokenizer(), metric="matthews_correlation")
    assert list(other.evaluate().metrics) == ["matthews_correlation"]
    with pytest.raises(TaskError, match="one of accuracy"):
        Evaluator(model, ROWS, tokenizer=tiny_tokenizer(), metric="bacc")


@pytest.mark.parametrize("model_type", ["gpt2", "bert", "t5"])
def test_texts_are_for_language_models(model_type):
    texts = [dict(zip(("text", "text_pair"), pair, strict=True)) for pair in topic_pairs(8, 0)]
    rows = texts if model_type == "t5" else [{"text": row["text"]} for row in texts]
    ev = Evaluator(tiny_language_model(model_type), rows, tokenizer=text_tokenizer())
    assert list(ev.evaluate().metrics) == ["log_likelihood", "perplexity"]
    scores = ev.score()
    assert (scores.flat() > 0).all()
    assert type(ev.model) is type(tiny_language_model(model_type))


def test_an_objective_of_ones_own_says_what_is_lost_and_what_is_kept(model):
    @dataclass(frozen=True)
    class Margin(SingleLabel):
        """Hinge loss of the margin between two classes."""

        name = "margin"

        def losses(self, outputs, batch):
            sign = 2 * batch.targets - 1
            return (1 - sign * (outputs.logits[:, 1] - outputs.logits[:, 0])).clamp(min=0)

    own = Evaluator(model, loader(ROWS), objective=Margin("accuracy", model_index=(0, 1)))
    plain = Evaluator(model, loader(ROWS))
    assert own.evaluate().metrics == plain.evaluate().metrics
    assert not np.allclose(own.score().flat(), plain.score().flat())
