"""mini-inference: does the premise entail the hypothesis, contradict it, or leave it open?

A pair is two meanings, the second an edit of the first; its label is worked out from both (`relations`),
never from how the pair was made.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from experiments.mini.clauses import Clause, NounPhrase, sentence, word
from experiments.mini.draw import Draw
from experiments.mini.lexicon import Genre
from experiments.mini.relations import (
    CONTRADICTION,
    ENTAILMENT,
    NEUTRAL,
    OPPOSITES,
    Comparison,
    clause_relation,
    comparison_relation,
    is_a,
    quantified_relation,
)

Pair = tuple[str, str, int]


def _nouns(genre: Genre, draw: Draw) -> tuple[str, str]:
    """Two nouns of which neither is a kind of the other."""
    while True:
        first, second = draw.two(tuple(genre.nouns))
        if not is_a(first, second) and not is_a(second, first):
            return first, second


def _adjective(genre: Genre, draw: Draw, probability: float = 0.5) -> str:
    return draw.pick(draw.pick(genre.opposite_adjectives)) if draw.chance(probability) else ""


def _verbs(genre: Genre) -> tuple[str, ...]:
    opposite = tuple(verb for pair in genre.opposite_verbs for verb in pair)
    return tuple(genre.verbs) + tuple(dict.fromkeys(genre.verbs.values())) + opposite


def _clause(genre: Genre, draw: Draw) -> Clause:
    agent, patient = _nouns(genre, draw)
    return Clause(
        NounPhrase(agent, _adjective(genre, draw)),
        draw.pick(_verbs(genre)),
        NounPhrase(patient, _adjective(genre, draw)),
        draw.pick(genre.places) if draw.chance(0.5) else "",
        draw.pick(genre.times) if draw.chance(0.4) else "",
    )


def _near(tree: Mapping[str, str], entry: str, draw: Draw) -> str:
    """A word above the entry in the taxonomy, or one below it, or itself where it has neither."""
    below = [name for name, parent in tree.items() if parent == entry]
    options = ([tree[entry]] if entry in tree else []) + ([draw.pick(below)] if below else [])
    return draw.pick(options) if options else entry


def _edit_phrase(phrase: NounPhrase, genre: Genre, draw: Draw) -> NounPhrase:
    """The phrase with a wider, narrower or other noun, or with its adjective dropped or another put on."""
    if draw.chance(0.45):
        return replace(phrase, noun=_near(genre.nouns, phrase.noun, draw))
    if draw.chance(0.15):
        return replace(phrase, noun=draw.pick(tuple(genre.nouns)))
    return replace(phrase, adjective="" if phrase.adjective else _adjective(genre, draw, 1))


def _edit_event(clause: Clause, genre: Genre, draw: Draw) -> Clause:
    """The clause with another verb, place or time, more or less specific."""
    kind = draw.pick(("verb", "verb", "place", "time"))
    if kind == "place":
        return replace(clause, place="" if clause.place else draw.pick(genre.places))
    if kind == "time":
        return replace(clause, time="" if clause.time else draw.pick(genre.times))
    verb = OPPOSITES.get(clause.verb) or _near(genre.verbs, clause.verb, draw)
    return replace(clause, verb=verb if draw.chance(0.85) else draw.pick(_verbs(genre)))


def _edit(clause: Clause, genre: Genre, draw: Draw) -> Clause:
    if draw.chance(0.45):
        return _edit_event(clause, genre, draw)
    if clause.agent is None or draw.chance(0.5):
        return replace(clause, patient=_edit_phrase(clause.patient, genre, draw))
    return replace(clause, agent=_edit_phrase(clause.agent, genre, draw))


def clause_pair(genre: Genre, draw: Draw) -> Pair:
    """Two clauses that differ in polarity, roles, voice, or one or two words."""
    premise = replace(_clause(genre, draw), negated=draw.chance(0.25))
    hypothesis = _edit(premise, genre, draw)
    if draw.chance(0.5):
        hypothesis = _edit(hypothesis, genre, draw)
    if draw.chance(0.4):
        hypothesis = replace(hypothesis, negated=not hypothesis.negated)
    if hypothesis.agent and draw.chance(0.15):
        hypothesis = replace(hypothesis, agent=hypothesis.patient, patient=hypothesis.agent)
    elif draw.chance(0.15):
        hypothesis = replace(hypothesis, agent=None)
    return word(premise, draw), word(hypothesis, draw), clause_relation(premise, hypothesis)


def property_pair(genre: Genre, draw: Draw) -> Pair:
    """A clause, and a sentence that gives one of its individuals a property."""
    premise = _clause(genre, draw)
    agent, patient = premise.agent or premise.patient, premise.patient
    subject, other = draw.pick(((agent, patient), (patient, agent)))
    known = draw.pick((agent.adjective, patient.adjective)) or _adjective(genre, draw, 1)
    said = OPPOSITES[known] if draw.chance(0.5) else known
    negated = draw.chance(0.4)
    label = NEUTRAL
    if subject.adjective in (said, OPPOSITES[said]):
        label = CONTRADICTION if (subject.adjective == said) == negated else ENTAILMENT
    noun = genre.nouns.get(subject.noun, subject.noun)
    if is_a(other.noun, noun) or draw.chance(0.7):  # a wider noun must not fit both individuals
        noun = subject.noun
    return word(premise, draw), sentence("the", noun, "was not" if negated else "was", said), label


def comparison_pair(genre: Genre, draw: Draw) -> Pair:
    """Two comparisons: same or opposite word, same or reversed order."""
    first, second = _nouns(genre, draw)
    scale = draw.pick(genre.opposite_comparatives)
    premise = Comparison(
        NounPhrase(first, _adjective(genre, draw, 0.3)), draw.pick(scale), NounPhrase(second), draw.chance(0.2)
    )
    hypothesis = replace(premise, comparative=draw.pick(scale), negated=draw.chance(0.3))
    if draw.chance(0.25):
        hypothesis = replace(hypothesis, comparative=draw.pick(draw.pick(genre.opposite_comparatives)))
    if draw.chance(0.5):
        hypothesis = replace(hypothesis, first=hypothesis.second, second=hypothesis.first)
    if draw.chance(0.5):
        hypothesis = replace(hypothesis, first=_edit_phrase(hypothesis.first, genre, draw))
    return str(premise), str(hypothesis), comparison_relation(premise, hypothesis)


def quantified_pair(genre: Genre, draw: Draw) -> Pair:
    """Two clauses about every, some or no member of a class."""
    clause = _clause(genre, draw)
    agent = clause.agent or clause.patient
    premise = replace(clause, agent=replace(agent, determiner=draw.pick(("every", "some", "no"))))
    hypothesis = _edit(premise, genre, draw)
    if draw.chance(0.5) and hypothesis.agent:
        determiner = draw.pick(("every", "some", "no"))
        hypothesis = replace(hypothesis, agent=replace(hypothesis.agent, determiner=determiner))
    # What opposite verbs mean under quantifiers is left out.
    if hypothesis.verb == OPPOSITES.get(premise.verb):
        hypothesis = replace(hypothesis, verb=premise.verb)
    return word(premise, draw), word(hypothesis, draw), quantified_relation(premise, hypothesis)


_FAMILIES: tuple[Callable[[Genre, Draw], Pair], ...] = (
    *(clause_pair,) * 9,
    *(property_pair,) * 4,
    *(comparison_pair,) * 4,
    *(quantified_pair,) * 3,
)
_LABELS = (*(ENTAILMENT,) * 7, *(NEUTRAL,) * 7, *(CONTRADICTION,) * 6)


def inference_pair(genre: Genre, draw: Draw) -> Pair:
    """One example: premise, hypothesis, label; every family has the same share of labels."""
    family, wanted = draw.pick(_FAMILIES), draw.pick(_LABELS)
    while True:
        premise, hypothesis, label = family(genre, draw)
        if label == wanted and premise != hypothesis:
            return premise, hypothesis, label
