"""The built-in suite: a pure grammar with right labels, and checkpoints that fit it and can be remade."""

import functools
import hashlib
import itertools
import json
import re
import warnings
from importlib import resources
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from prune_heads.errors import CheckpointError, TaskError
from prune_heads.mini import SPLITS, TASKS, generate, grammar
from prune_heads.mini.clauses import Clause, NounPhrase
from prune_heads.mini.lexicon import FARM
from prune_heads.mini.relations import (
    CONTRADICTION,
    ENTAILMENT,
    NEUTRAL,
    Comparison,
    clause_relation,
    comparison_relation,
    quantified_relation,
)
from prune_heads.statistics import METRICS
from prune_heads.studies.train_mini import train, validation_metrics

ALL_SPLITS = [(task, split) for task in TASKS for split in SPLITS[task]]
CHECKPOINTS = Path(str(resources.files("prune_heads.mini"))) / "checkpoints"

# SHA-256 of `json.dumps(generate(task, split))`. The shipped checkpoints belong to exactly these examples.
DIGESTS = {
    ("mini-acceptability", "train"): "8979141ebbc665cc5048f76e441d6481ccaf86d259fc36a0f517bab761d4029a",
    ("mini-acceptability", "validation"): "d456608dabc65a286391a5bef8d46613642c54d417a86f9f582bfb27dcdc5888",
    ("mini-sentiment", "train"): "689197303eb004f803a809338b9dabafcb2647b207e9d075bbab2f588dc39782",
    ("mini-sentiment", "validation"): "334e45a3d1c838a8441dec00b472d605240b553c2246d68f1fe33087328bdb75",
    ("mini-paraphrase", "train"): "1c0cfb96fd78630c65092404cc92a31efe3935da0b53d2e9128f229164121837",
    ("mini-paraphrase", "validation"): "9c8b151d08f9e418463c1f6aa680402ab53b7eeb081ebb990246ac9555cf581a",
    ("mini-inference", "train"): "8192215a2eb40fd645c029dd0cade41e8667227d930618466ade984da4ac0fad",
    (
        "mini-inference",
        "validation_matched",
    ): "ffa9aa17076b7ff633de0cdc3af9c6585d9caed38fe963cbd8b628806a173484",
    (
        "mini-inference",
        "validation_mismatched",
    ): "0affd7a7458a723075d0e9fad7197972727ae918c6033201a88f3c7beff5c128",
}


cached = functools.cache(generate)


def _texts(columns):
    return list(zip(columns["text"], columns.get("text_pair", columns["text"]), strict=True))


def _words(examples):
    return {word for texts in examples for text in texts for word in re.findall(r"\w+", text)}


@pytest.mark.parametrize(("task", "split"), ALL_SPLITS)
def test_split_is_a_pure_function(task, split):
    columns = generate(task, split)
    assert cached(task, split) == columns
    assert hashlib.sha256(json.dumps(columns).encode()).hexdigest() == DIGESTS[task, split]


@pytest.mark.parametrize(("task", "split"), ALL_SPLITS)
def test_split_is_well_formed(task, split):
    columns = cached(task, split)
    assert ("text_pair" in columns) == (task in ("mini-paraphrase", "mini-inference"))
    assert {len(column) for column in columns.values()} == {6000 if split == "train" else 1000}
    assert len(set(_texts(columns))) == len(columns["label"])
    for text in itertools.chain(columns["text"], columns.get("text_pair", [])):
        assert re.fullmatch(r"[a-z]+(,? [a-z]+)*\.", text)


@pytest.mark.parametrize(("task", "split"), ALL_SPLITS)
def test_labels_are_about_balanced_but_not_exactly(task, split):
    labels = cached(task, split)["label"]
    counts = [labels.count(index) for index in range(len(TASKS[task]))]
    assert sum(counts) == len(labels)
    assert 0.8 / len(counts) < min(counts) / len(labels) < max(counts) / len(labels) < 1.2 / len(counts)
    assert min(counts) != max(counts)


@pytest.mark.parametrize("task", TASKS)
def test_no_validation_example_is_trained_on_but_all_its_words(task):
    epochs = [_texts(cached(task, "train", seed=seed)) for seed in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    trained = {frozenset(texts) for epoch in epochs for texts in epoch}
    for split in SPLITS[task][1:]:
        held_out = {frozenset(texts) for texts in _texts(cached(task, split))}
        assert trained.isdisjoint(held_out)
        assert _words(held_out) <= _words(trained)


def test_mismatched_words_are_rare_in_training():
    farm = re.compile(rf"\b({'|'.join({*FARM.nouns, *FARM.nouns.values()})})\b")
    shares = {}
    for split in SPLITS["mini-inference"]:
        premises = cached("mini-inference", split)["text"]
        shares[split] = sum(bool(farm.search(text)) for text in premises) / len(premises)
    assert shares["validation_matched"] == 0
    assert 0.03 < shares["train"] < 0.07
    assert shares["validation_mismatched"] == 1


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(TaskError, match=r"mini-inference.*got 'mnli'"):
        generate("mnli", "train")
    with pytest.raises(TaskError, match="train, validation_matched, validation_mismatched, got 'test'"):
        generate("mini-inference", "test")


def _label_by_worlds(premise: int, hypothesis: int) -> int:
    """The label of two sentences given as bit sets of the possible worlds in which they are true."""
    assert premise
    if premise & ~hypothesis == 0:
        return ENTAILMENT
    return NEUTRAL if premise & hypothesis else CONTRADICTION


def test_quantified_labels_agree_with_all_possible_worlds():
    # In a world, each of five musicians is absent, touched nobody, hugged, or touched in another way.
    people = [
        ("violinist", "tall"),
        ("violinist", "tall"),
        ("violinist", ""),
        ("musician", "tall"),
        ("musician", ""),
    ]
    deeds = [None, set(), {"hug"}, {"touch"}]
    worlds = list(itertools.product(deeds, repeat=len(people)))
    quantifiers = {"every": all, "some": any, "no": lambda truths: not any(truths)}

    def bits(truths):
        return sum(truth << i for i, truth in enumerate(truths))

    def named(agent: NounPhrase, world: tuple) -> list[set]:
        return [
            done
            for (noun, adjective), done in zip(people, world, strict=True)
            if done is not None and agent.noun in (noun, "musician") and agent.adjective in (adjective, "")
        ]

    exists, true = {}, {}
    for (noun, adjective), verb, quantifier in itertools.product(people[1:], ("hug", "touch"), quantifiers):
        agent = NounPhrase(noun, adjective, quantifier)
        clause = Clause(agent, verb, NounPhrase("boxer"))
        done = [[bool(deed & {"hug", verb}) for deed in named(agent, world)] for world in worlds]
        exists[clause] = bits(bool(truths) for truths in done)
        true[clause] = bits(quantifiers[quantifier](truths) for truths in done)
    for premise, hypothesis in itertools.product(true, repeat=2):
        sensible = exists[premise] & exists[hypothesis]
        expected = _label_by_worlds(true[premise] & sensible, true[hypothesis] & sensible)
        assert quantified_relation(premise, hypothesis) == expected, f"{premise} {hypothesis}"


def test_comparison_labels_agree_with_all_possible_worlds():
    worlds = list(itertools.product(range(2), repeat=4))  # height and age of the aunt, then of the boxer
    truths = {
        "taller": lambda a, b: a[0] > b[0],
        "shorter": lambda a, b: a[0] < b[0],
        "older": lambda a, b: a[1] > b[1],
        "younger": lambda a, b: a[1] < b[1],
    }
    aunt, boxer = NounPhrase("aunt"), NounPhrase("boxer")

    def truth(said: Comparison) -> int:
        bits = 0
        for i, world in enumerate(worlds):
            who = {aunt: world[:2], boxer: world[2:]}
            bits |= (truths[said.comparative](who[said.first], who[said.second]) != said.negated) << i
        return bits

    comparisons = [
        Comparison(first, comparative, second, negated)
        for first, second in ((aunt, boxer), (boxer, aunt))
        for comparative in truths
        for negated in (False, True)
    ]
    for premise, hypothesis in itertools.product(comparisons, repeat=2):
        expected = _label_by_worlds(truth(premise), truth(hypothesis))
        assert comparison_relation(premise, hypothesis) == expected, f"{premise} {hypothesis}"


TALL_SURGEON, SURGEON, DOCTOR, BOXER = (
    NounPhrase("surgeon", "tall"),
    NounPhrase("surgeon"),
    NounPhrase("doctor"),
    NounPhrase("boxer"),
)


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        (Clause(TALL_SURGEON, "hug", BOXER, "in the park"), Clause(DOCTOR, "touch", BOXER), ENTAILMENT),
        (Clause(DOCTOR, "hug", BOXER), Clause(SURGEON, "hug", BOXER), NEUTRAL),
        (Clause(SURGEON, "hug", BOXER), Clause(BOXER, "hug", SURGEON), NEUTRAL),
        (Clause(SURGEON, "hug", BOXER), Clause(None, "hug", BOXER), ENTAILMENT),
        (Clause(SURGEON, "hug", BOXER, negated=True), Clause(None, "hug", BOXER), NEUTRAL),
        (Clause(SURGEON, "hug", BOXER), Clause(SURGEON, "hug", BOXER, "in the park"), NEUTRAL),
        (Clause(SURGEON, "hug", BOXER), Clause(SURGEON, "touch", BOXER, negated=True), CONTRADICTION),
        (Clause(SURGEON, "touch", BOXER), Clause(SURGEON, "hug", BOXER, negated=True), NEUTRAL),
        (Clause(SURGEON, "touch", BOXER, negated=True), Clause(SURGEON, "hug", BOXER), CONTRADICTION),
        (
            Clause(SURGEON, "touch", BOXER, negated=True),
            Clause(SURGEON, "hug", BOXER, "in the park", negated=True),
            ENTAILMENT,
        ),
        (Clause(SURGEON, "hug", BOXER, negated=True), Clause(SURGEON, "touch", BOXER, negated=True), NEUTRAL),
        (Clause(SURGEON, "praise", BOXER), Clause(SURGEON, "criticize", BOXER), CONTRADICTION),
        (Clause(SURGEON, "praise", BOXER), Clause(SURGEON, "criticize", BOXER, negated=True), ENTAILMENT),
        (Clause(SURGEON, "praise", BOXER, negated=True), Clause(SURGEON, "criticize", BOXER), NEUTRAL),
    ],
)
def test_clause_labels(premise, hypothesis, label):
    assert clause_relation(premise, hypothesis) == label


@pytest.fixture(scope="module")
def metrics():
    return {task: validation_metrics(task, CHECKPOINTS / task) for task in TASKS}


def test_checkpoints_are_small():
    sizes = [path.stat().st_size for path in CHECKPOINTS.rglob("*") if path.is_file()]
    assert 0 < sum(sizes) <= 3_000_000


@pytest.mark.parametrize("task", TASKS)
def test_checkpoint_loads_without_a_warning_and_knows_all_words(task):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer = AutoTokenizer.from_pretrained(CHECKPOINTS / task)
        model = AutoModelForSequenceClassification.from_pretrained(CHECKPOINTS / task)
    assert tuple(model.config.id2label.values()) == TASKS[task]
    assert model.config.num_hidden_layers * model.config.num_attention_heads >= 24
    assert model.dtype == torch.float32
    for split in SPLITS[task]:
        columns = cached(task, split)
        ids = tokenizer(columns["text"] + columns.get("text_pair", []))["input_ids"]
        assert all(tokenizer.unk_token_id not in row for row in ids)
        assert max(map(len, ids)) <= tokenizer.model_max_length


@pytest.mark.parametrize(
    ("task", "split", "metric", "expected"),
    [
        ("mini-acceptability", "validation", "matthews_correlation", 0.929),
        ("mini-sentiment", "validation", "accuracy", 0.926),
        ("mini-paraphrase", "validation", "f1", 0.904),
        ("mini-inference", "validation_matched", "accuracy", 0.863),
        ("mini-inference", "validation_mismatched", "accuracy", 0.835),
    ],
)
def test_checkpoint_is_as_good_as_measured(metrics, task, split, metric, expected):
    labels = cached(task, split)["label"]
    most_frequent = max(labels, key=labels.count)
    majority = METRICS[metric]([most_frequent] * len(labels), labels)
    reached = metrics[task][split][metric]
    assert reached == pytest.approx(expected, abs=0.005)  # rounding may differ among processors
    assert 1 - reached < 0.55 * (1 - majority)


def test_training_is_reproducible(tmp_path, monkeypatch):
    monkeypatch.setattr(grammar, "N_TRAIN", 320)
    monkeypatch.setattr(grammar, "N_VALIDATION", 100)
    for name, seed in (("first", 0), ("second", 0), ("other", 1)):
        torch.rand(3)  # whatever chance the caller has used up must not matter
        before = torch.get_rng_state()
        train("mini-inference", tmp_path / name, seed=seed, n_epochs=2)
        assert torch.equal(before, torch.get_rng_state())
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
    weights = "model.safetensors"
    assert (tmp_path / "first" / weights).read_bytes() != (tmp_path / "other" / weights).read_bytes()


def test_training_writes_what_is_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(grammar, "N_TRAIN", 640)
    done = []
    train("mini-acceptability", tmp_path, n_epochs=1, progress=done.append)
    assert len(done) == 1
    shipped = CHECKPOINTS / "mini-acceptability"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in shipped.iterdir()}
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert json.loads((tmp_path / name).read_text()) == json.loads((shipped / name).read_text())
    with pytest.raises(CheckpointError, match="new or empty folder"):
        train("mini-acceptability", tmp_path, n_epochs=1)
