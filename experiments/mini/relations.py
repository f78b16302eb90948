"""Entailment worked out from meaning: monotonicity reasoning over a small taxonomy.

After natural logic (MacCartney & Manning 2009, https://aclanthology.org/W09-3714).
Two readings are fixed as in MNLI: definite phrases of both sentences speak of the same individuals and the
same occasion, and opposite verbs exclude each other.
"""

from dataclasses import dataclass, replace

from experiments.mini.clauses import Clause, NounPhrase, sentence
from experiments.mini.lexicon import FARM, TOWN

ENTAILMENT, NEUTRAL, CONTRADICTION = range(3)

_PARENTS = {**TOWN.nouns, **FARM.nouns, **TOWN.verbs, **FARM.verbs}
OPPOSITES = {
    one: other
    for genre in (TOWN, FARM)
    for table in (genre.opposite_verbs, genre.opposite_adjectives, genre.opposite_comparatives)
    for pair in table
    for one, other in (pair, pair[::-1])
}


def is_a(specific: str, general: str) -> bool:
    """Whether `general` is `specific` itself or lies above it in the taxonomy."""
    return specific == general or (specific in _PARENTS and is_a(_PARENTS[specific], general))


def describes(general: NounPhrase, specific: NounPhrase) -> bool:
    """Whether everything that the specific phrase describes is described by the general one, too."""
    return is_a(specific.noun, general.noun) and general.adjective in ("", specific.adjective)


def covers(general: Clause, specific: Clause) -> bool:
    """Whether every event of the specific kind is one of the general kind; who took part is not compared."""
    return (
        is_a(specific.verb, general.verb)
        and general.place in ("", specific.place)
        and general.time in ("", specific.time)
        and (general.agent is None or specific.agent is not None)
    )


def clause_relation(premise: Clause, hypothesis: Clause) -> int:
    """The label of two clauses about definite individuals; negation reverses verbs and adverbials only."""
    if premise.agent and hypothesis.agent and not describes(hypothesis.agent, premise.agent):
        return NEUTRAL
    if not describes(hypothesis.patient, premise.patient):
        return NEUTRAL
    if not premise.negated:
        opposite = replace(hypothesis, verb=OPPOSITES.get(hypothesis.verb, hypothesis.verb))
        if opposite != hypothesis and covers(opposite, premise):
            return ENTAILMENT if hypothesis.negated else CONTRADICTION
        if covers(hypothesis, premise):
            return CONTRADICTION if hypothesis.negated else ENTAILMENT
    elif covers(premise, hypothesis):
        return ENTAILMENT if hypothesis.negated else CONTRADICTION
    return NEUTRAL


def quantified_relation(premise: Clause, hypothesis: Clause) -> int:
    """The label of two clauses whose agents carry `every`, `some` or `no`.

    Whatever is quantified over is taken to exist (Strawson entailment).
    """
    if premise.agent is None or hypothesis.agent is None or not describes(hypothesis.patient, premise.patient):
        return NEUTRAL
    wider, narrower = describes(hypothesis.agent, premise.agent), describes(premise.agent, hypothesis.agent)
    comparable = wider or narrower
    looser, stricter = covers(hypothesis, premise), covers(premise, hypothesis)
    table = {
        ("every", "every"): (ENTAILMENT, narrower and looser),
        ("every", "some"): (ENTAILMENT, comparable and looser),
        ("some", "some"): (ENTAILMENT, wider and looser),
        ("no", "no"): (ENTAILMENT, narrower and stricter),
        ("every", "no"): (CONTRADICTION, comparable and looser),
        ("some", "no"): (CONTRADICTION, wider and looser),
        ("no", "every"): (CONTRADICTION, comparable and stricter),
        ("no", "some"): (CONTRADICTION, narrower and stricter),
        ("some", "every"): (NEUTRAL, True),
    }
    label, holds = table[premise.agent.determiner, hypothesis.agent.determiner]
    return label if holds else NEUTRAL


@dataclass(frozen=True)
class Comparison:
    """`the surgeon was (not) taller than the boxer`."""

    first: NounPhrase
    comparative: str
    second: NounPhrase
    negated: bool = False

    def __str__(self) -> str:
        verb = "was not" if self.negated else "was"
        return sentence(str(self.first), verb, self.comparative, "than", str(self.second))


def comparison_relation(premise: Comparison, hypothesis: Comparison) -> int:
    """The label of two comparisons on a scale on which two individuals may also be equal."""
    turned = Comparison(hypothesis.second, OPPOSITES[hypothesis.comparative], hypothesis.first, hypothesis.negated)
    for said, inverse in (
        (hypothesis, False),
        (turned, False),
        (replace(hypothesis, comparative=turned.comparative), True),
        (replace(turned, comparative=hypothesis.comparative), True),
    ):
        same = describes(said.first, premise.first) and describes(said.second, premise.second)
        if not (same and said.comparative == premise.comparative):
            continue
        if not inverse:
            return ENTAILMENT if said.negated == premise.negated else CONTRADICTION
        if not premise.negated:  # taller rules out shorter; not taller leaves shorter or equal
            return ENTAILMENT if said.negated else CONTRADICTION
    return NEUTRAL
