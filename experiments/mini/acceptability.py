"""mini-acceptability: is the sentence well-formed?

Each example tests one rule of grammar, among nouns and clauses that only look as if they mattered.
Acceptable and unacceptable sentences have the same structures; the unacceptable one breaks just that rule.
After the phenomena of BLiMP (Warstadt et al. 2020, https://aclanthology.org/2020.tacl-1.25).
"""

from experiments.mini.clauses import sentence
from experiments.mini.draw import Draw
from experiments.mini.lexicon import (
    INTRANSITIVE,
    PARTICIPLES,
    PEOPLE,
    PLURAL_DETERMINERS,
    PREPOSITIONS,
    QUALITIES,
    SINGULAR_DETERMINERS,
    TRANSITIVE,
)

UNACCEPTABLE, ACCEPTABLE = range(2)
Person = tuple[str, str, str]


def _phrase(draw: Draw, person: Person, number: int, determiner: str = "") -> str:
    """A noun phrase; `number` is 0 for singular, 1 for plural."""
    determiner = determiner or draw.pick((SINGULAR_DETERMINERS, PLURAL_DETERMINERS)[number])
    return " ".join([determiner, *([draw.pick(QUALITIES)] if draw.chance(0.4) else []), person[number]])


def _someone(draw: Draw, number: int | None = None) -> str:
    return _phrase(draw, draw.pick(PEOPLE), draw.pick((0, 1)) if number is None else number)


def _modifier(draw: Draw, number: int, broken: bool = False) -> str:
    """A phrase or clause between noun and verb, most often about people of the other number.

    Args:
        draw: source of chance.
        number: of the noun that the phrase belongs to.
        broken: the verb of the relative clause disagrees with its subject.
    """
    other = number if draw.chance(0.3) else 1 - number
    attractor = _someone(draw, other)
    verbs = draw.pick(TRANSITIVE)
    kind = draw.pick(("subject", "object") if broken else ("none", "phrase", "phrase", "subject", "object"))
    return {
        "none": "",
        "phrase": f"{draw.pick(PREPOSITIONS)} {attractor}",
        "subject": f"that {verbs[number ^ broken]} {attractor}",
        "object": f"that {attractor} {verbs[other ^ broken]}",
    }[kind]


def _predicate(draw: Draw, number: int) -> str:
    """A verb phrase whose verb agrees with a subject of that number."""
    return {
        "verb": draw.pick(INTRANSITIVE)[number],
        "object": f"{draw.pick(TRANSITIVE)[number]} {_someone(draw)}",
        "quality": f"{('is', 'are')[number]} {draw.pick(QUALITIES)}",
    }[draw.pick(("verb", "object", "quality"))]


def _agreement(draw: Draw, broken: bool) -> str:
    """The verb agrees with the head noun: `the boy near the queens laughs`, not `laugh`."""
    number = draw.pick((0, 1))
    return f"{_someone(draw, number)} {_modifier(draw, number)} {_predicate(draw, number ^ broken)}"


def _relative_agreement(draw: Draw, broken: bool) -> str:
    """The verb of the relative clause agrees with its own subject: `the boy that the queens know laughs`."""
    number = draw.pick((0, 1))
    subject = _someone(draw, number)
    modifier = _modifier(draw, number, broken)
    while not modifier.startswith("that"):
        modifier = _modifier(draw, number, broken)
    return f"{subject} {modifier} {_predicate(draw, number)}"


def _reflexive(draw: Draw, broken: bool) -> str:
    """The reflexive agrees with the subject, not with the noun beside it."""
    person, number = draw.pick(PEOPLE), draw.pick((0, 1))
    right = "themselves" if number else person[2]
    wrong = [form for form in ("himself", "herself", "themselves") if form != right]
    subject = _phrase(draw, person, number)
    verb = draw.pick(TRANSITIVE)[number]
    return f"{subject} {_modifier(draw, number)} {verb} {draw.pick(wrong) if broken else right}"


def _determiner(draw: Draw, broken: bool) -> str:
    """Determiner and noun agree in number: `these boys`, not `this boys`."""
    number = draw.pick((0, 1))
    determiners = (SINGULAR_DETERMINERS, PLURAL_DETERMINERS)[number ^ broken]
    phrase = _phrase(draw, draw.pick(PEOPLE), number, draw.pick([d for d in determiners if d != "the"]))
    if draw.chance(0.5):
        return f"{phrase} {_modifier(draw, number)} {_predicate(draw, number)}"
    subject = draw.pick((0, 1))
    return f"{_someone(draw, subject)} {draw.pick(TRANSITIVE)[subject]} {phrase}"


def _order(draw: Draw, broken: bool) -> str:
    """Determiner, adjective, noun, verb, object: in this order."""
    number = draw.pick((0, 1))
    determiner = draw.pick((SINGULAR_DETERMINERS, PLURAL_DETERMINERS)[number])
    phrase = [determiner, draw.pick(QUALITIES), draw.pick(PEOPLE)[number]]
    verb, other = draw.pick(TRANSITIVE)[number], _someone(draw)
    if not broken:
        return " ".join([*phrase, verb, other])
    if draw.chance(0.3):
        return " ".join([*phrase, other, verb])
    wrong = draw.pick(((0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0)))
    return " ".join([*(phrase[position] for position in wrong), verb, other])


def _polarity(draw: Draw, broken: bool) -> str:
    """`ever` needs a negative subject, not an embedded `no`: `no boy near the queen has ever sung`."""
    number = draw.pick((0, 1))
    person, other = draw.two(PEOPLE)
    inside = draw.pick((0, 1))
    positive = _phrase(draw, other, inside, "the")
    negative = _phrase(draw, person, number, "no")
    if broken:
        positive, negative = _phrase(draw, other, inside, "no"), _phrase(draw, person, number, "the")
    link = draw.pick((draw.pick(PREPOSITIONS), f"that {draw.pick(TRANSITIVE)[number]}"))
    return f"{negative} {link} {positive} {('has', 'have')[number]} ever {draw.pick(PARTICIPLES)}"


_RULES = (_agreement, _agreement, _relative_agreement, _reflexive, _reflexive, _determiner, _order, _polarity)


def judged_sentence(draw: Draw) -> tuple[str, int]:
    """One example: text and label; a little more than half of them are acceptable."""
    label = ACCEPTABLE if draw.chance(0.55) else UNACCEPTABLE
    return sentence(draw.pick(_RULES)(draw, label == UNACCEPTABLE)), label
