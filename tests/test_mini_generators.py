"""The grammar of the built-in suite: it generates what the package ships, with labels that hold in all worlds."""

import functools
import itertools
import json
import lzma
import random
import re
from importlib import resources

import pytest

from experiments.mini import translation
from experiments.mini.blank import build_config, build_tokenizer
from experiments.mini.clauses import Clause, NounPhrase
from experiments.mini.generate import json_lines
from experiments.mini.grammar import SPLITS, TASKS, TRANSLATION, generate
from experiments.mini.lexicon import FARM
from experiments.mini.relations import (
    CONTRADICTION,
    ENTAILMENT,
    NEUTRAL,
    Comparison,
    clause_relation,
    comparison_relation,
    quantified_relation,
)
from prune_heads.objectives import MINI
from prune_heads.objectives import TASKS as SHIPPED

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("generators")]  # what is generated is kept by one worker
cached = functools.cache(generate)


def _pairs(task, split, seed=0):
    columns = cached(task, split, seed)
    return list(zip(columns["text"], columns.get("text_pair", columns["text"]), strict=True))


def _words(examples):
    return {word for texts in examples for text in texts for word in re.findall(r"\w+", text)}


SAMPLE = random.Random(0).sample(sorted(SPLITS), 2)
SAMPLED = [task if task in SAMPLE else pytest.param(task, marks=pytest.mark.thorough) for task in SPLITS]
"""A seeded sample by `make test`, all tasks by `make thorough`."""


@pytest.mark.parametrize("task", SAMPLED)
def test_what_is_generated_is_what_is_shipped(task):
    assert tuple(SPLITS) == MINI
    assert set(SPLITS[task]) == set(SHIPPED[task].splits)
    assert TASKS.get(task) == SHIPPED[task].labels
    for split in SPLITS[task]:
        file = resources.files("prune_heads.mini") / "data" / task / f"{split}.jsonl.xz"
        assert lzma.decompress(file.read_bytes()) == json_lines(task, split)


@pytest.mark.parametrize("task", SAMPLED)
def test_tokenizers_and_configurations_are_those_that_are_shipped(task, tmp_path):
    tokenizer = build_tokenizer(task)
    tokenizer(["a"], padding=True)  # noted in its file
    tokenizer.save_pretrained(tmp_path)
    build_config(task, tokenizer).save_pretrained(tmp_path)
    for file in tmp_path.iterdir():
        shipped = resources.files("prune_heads.mini") / "checkpoints" / task / file.name
        assert json.loads(file.read_text()) == json.loads(shipped.read_text())
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("task", SAMPLED)
def test_no_validation_example_is_trained_on_but_all_its_words(task):
    epochs = [_pairs(task, "train", seed) for seed in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    trained = {frozenset(texts) for epoch in epochs for texts in epoch}
    for split in SPLITS[task][1:]:
        held_out = {frozenset(texts) for texts in _pairs(task, split)}
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


@pytest.mark.parametrize("name", [("mnli", "train"), ("mini-inference", "test")])
def test_unknown_names_are_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=rf"validation_mismatched.* got '{name[0]}' and '{name[1]}'"):
        generate(*name)


def _label_by_worlds(premise: int, hypothesis: int) -> int:
    """The label of two sentences given as bit sets of the possible worlds in which they are true."""
    assert premise
    if premise & ~hypothesis == 0:
        return ENTAILMENT
    return NEUTRAL if premise & hypothesis else CONTRADICTION


def test_quantified_labels_agree_with_all_possible_worlds():
    # In a world, each of five musicians is absent, touched nobody, hugged, or touched in another way.
    people = [("violinist", "tall"), ("violinist", "tall"), ("violinist", ""), ("musician", "tall"), ("musician", "")]
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


NURSE, KINGS = translation.Phrase("nurse", False, "the", "tall"), translation.Phrase("king", True, "a")
LETTER, CITY = translation.Phrase("letter", True, "my"), ("near", translation.Phrase("city", True, "the"))


@pytest.mark.parametrize(
    ("clause", "source", "target"),
    [
        (
            translation.Clause(NURSE, translation.Action("see"), KINGS),
            "the tall nurse sees some kings",
            "illa nutrica alta aliqui regi videt",
        ),
        (
            translation.Clause(KINGS, translation.Action("see"), NURSE),
            "some kings see the tall nurse",
            "aliqui regi illa nutrica alta vidunt",
        ),
        (
            translation.Clause(KINGS, translation.Action("love", past=True, negated=True), NURSE),
            "some kings did not love the tall nurse",
            "aliqui regi illa nutrica alta amati non",
        ),
        (
            translation.Clause(
                NURSE,
                translation.Action("see", past=True, negated=True),
                KINGS,
                passive=True,
                time="now",
                time_first=True,
            ),
            "now, some kings were not seen by the tall nurse",
            "illa nutrica alta nunc aliqui regi vidata non",
        ),
        (
            translation.Clause(KINGS, translation.Action("send"), LETTER, receiver=NURSE, place=CITY, time="today"),
            "some kings send my letters to the tall nurse near the cities today",
            "aliqui regi hodie illae urbae apud illa nutrica alta ad meae chartae mittunt",
        ),
        (
            translation.Clause(
                NURSE,
                translation.Action("fear"),
                KINGS,
                describing=translation.Clause(NURSE, translation.Action("help", past=True), KINGS),
            ),
            "the tall nurse who helped some kings fears some kings",
            "illa nutrica alta qua aliqui regi iuvata aliqui regi timet",
        ),
    ],
)
def test_translations_by_hand(clause, source, target):
    assert clause.source().replace(" ,", ",") == source
    assert clause.target() == target


def test_the_target_is_a_function_of_the_source():
    every = [pair for split in SPLITS[TRANSLATION] for pair in _pairs(TRANSLATION, split)]
    every += _pairs(TRANSLATION, "train", 1)
    assert len(dict(every)) == len(set(every))
