"""mini-paraphrase: do two sentences say the same?

Both sentences of a pair word their meaning freely (synonyms, voice, order of adverbials). Equivalent pairs
mean the same; the others differ in one point or a few.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from experiments.mini.clauses import Clause, NounPhrase, word
from experiments.mini.draw import Draw
from experiments.mini.lexicon import DAYS, SAME_ADJECTIVES, SAME_NOUNS, SAME_VERBS, STREETS

NOT_EQUIVALENT, EQUIVALENT = range(2)

_SYNONYMS = {
    one: other
    for table in (SAME_NOUNS, SAME_VERBS, SAME_ADJECTIVES)
    for pair in table
    for one, other in (pair, pair[::-1])
}


def _other(table: Sequence[tuple[str, str]], entry: str, draw: Draw) -> str:
    """A word of the table that means something else than the entry."""
    return draw.pick(draw.pick([pair for pair in table if entry not in pair]))


def _clause(draw: Draw) -> Clause:
    agent, patient = (draw.pick(pair) for pair in draw.two(SAME_NOUNS))
    adjectives = [draw.pick(pair) for pair in draw.two(SAME_ADJECTIVES)]
    return Clause(
        NounPhrase(agent, adjectives[0] if draw.chance(0.4) else ""),
        draw.pick(draw.pick(SAME_VERBS)),
        NounPhrase(patient, adjectives[1] if draw.chance(0.4) else ""),
        draw.pick(STREETS) if draw.chance(0.4) else "",
        draw.pick(DAYS) if draw.chance(0.4) else "",
        draw.chance(0.2),
    )


def _reword(clause: Clause, reword: Callable[[str], str]) -> Clause:
    """The clause with this done to its nouns, adjectives and verb."""

    def phrase(said: NounPhrase) -> NounPhrase:
        return NounPhrase(reword(said.noun), reword(said.adjective))

    agent = phrase(clause.agent) if clause.agent else None
    return replace(clause, agent=agent, verb=reword(clause.verb), patient=phrase(clause.patient))


def same_meaning(one: Clause, other: Clause) -> bool:
    """Whether two clauses differ by synonyms at most."""

    def first(entry: str) -> str:
        return min(entry, _SYNONYMS.get(entry, entry))

    return _reword(one, first) == _reword(other, first)


def _change_phrase(phrase: NounPhrase, draw: Draw) -> NounPhrase:
    if draw.chance(0.6):
        return replace(phrase, noun=_other(SAME_NOUNS, phrase.noun, draw))
    return replace(phrase, adjective=_other(SAME_ADJECTIVES, phrase.adjective, draw))


def _change(clause: Clause, draw: Draw) -> Clause:
    """Another meaning: roles or adjectives exchanged, one word, an adverbial or the polarity changed.

    The clause as it is where it lacks what would be changed.
    """
    agent, patient = clause.agent or clause.patient, clause.patient
    kind = draw.pick(("roles", "adjectives", "agent", "patient", "verb", "place", "time", "polarity"))
    if kind == "roles":
        return replace(clause, agent=patient, patient=agent)
    if kind == "adjectives":
        first, second = agent.adjective, patient.adjective
        return replace(clause, agent=replace(agent, adjective=second), patient=replace(patient, adjective=first))
    if kind == "agent":
        return replace(clause, agent=_change_phrase(agent, draw))
    if kind == "patient":
        return replace(clause, patient=_change_phrase(patient, draw))
    if kind == "verb":
        return replace(clause, verb=_other(SAME_VERBS, clause.verb, draw))
    if kind == "place" and clause.place:
        return replace(clause, place=draw.pick([place for place in STREETS if place != clause.place]))
    if kind == "time" and clause.time:
        return replace(clause, time=draw.pick([time for time in DAYS if time != clause.time]))
    return replace(clause, negated=not clause.negated) if kind == "polarity" else clause


def paraphrase_pair(draw: Draw) -> tuple[str, str, int]:
    """One example: two sentences and the label; a little more than half of them are equivalent."""
    label = EQUIVALENT if draw.chance(0.54) else NOT_EQUIVALENT
    while True:
        clause = other = _clause(draw)
        if label == NOT_EQUIVALENT:
            other = _change(other, draw)
            while draw.chance(0.6):
                other = _change(other, draw)
        if same_meaning(clause, other) == (label == EQUIVALENT):
            other = _reword(other, lambda entry: _SYNONYMS[entry] if entry and draw.chance(0.35) else entry)
            first, second = word(clause, draw), word(other, draw)
            if first != second:
                return first, second, label
