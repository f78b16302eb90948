"""What a sentence of the suite means, and the ways in which English words it."""

from dataclasses import dataclass

from experiments.mini.draw import Draw


@dataclass(frozen=True)
class NounPhrase:
    """`the tall surgeon`; no adjective is the empty string."""

    noun: str
    adjective: str = ""
    determiner: str = "the"

    def __str__(self) -> str:
        return " ".join(filter(None, (self.determiner, self.adjective, self.noun)))


@dataclass(frozen=True)
class Clause:
    """Who did what to whom, where and when.

    Attributes:
        agent: the one who acts; None: left unsaid, as in `the boxer was helped`.
        verb: in the base form.
        patient: the one acted on.
        place: adverbial of place, or empty.
        time: adverbial of time, or empty.
        negated: `did not help` rather than `helped`.
    """

    agent: NounPhrase | None
    verb: str
    patient: NounPhrase
    place: str = ""
    time: str = ""
    negated: bool = False


def past(verb: str) -> str:
    """The past tense, and the participle, of a regular verb of the lexicon."""
    if verb.endswith("e"):
        return verb + "d"
    return verb + verb[-1] + "ed" if verb in ("hug", "pat", "spot", "quiz") else verb + "ed"


def sentence(*parts: str) -> str:
    """The parts joined to a sentence with single blanks and a full stop; parts may be empty."""
    return " ".join(" ".join(parts).split()).replace(" ,", ",") + "."


def word(clause: Clause, draw: Draw) -> str:
    """One wording of the clause: active or passive, adverbials in one order or the other, or one in front.

    A quantified agent stays in front of its verb, since a passive would change the scope.
    """
    where, when = clause.place, clause.time
    front = ""
    if when and draw.chance(0.3):
        front, when = when + " ,", ""
    adverbials = (where, when) if draw.chance(0.5) else (when, where)
    agent, patient = clause.agent, str(clause.patient)
    if agent is None or (agent.determiner == "the" and draw.chance(0.4)):
        verb = ("was not " if clause.negated else "was ") + past(clause.verb)
        return sentence(front, patient, verb, f"by {agent}" if agent else "", *adverbials)
    verb = "did not " + clause.verb if clause.negated else past(clause.verb)
    return sentence(front, str(agent), verb, patient, *adverbials)
