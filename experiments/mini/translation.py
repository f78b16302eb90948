"""mini-translation: from English into a made-up language with other word order and more agreement.

In the source the verb stands between subject and object and adjectives before their nouns. In the target verbs are
last, adjectives follow, prepositions do so too, and the receiver comes before what is given. Nouns have a gender there,
which the source does not show; determiners and adjectives take it over with the number, and so does the verb, from its
subject at the other end of the clause. What is passive in the source is active there, so that its first words come
last. The target is a function of the source.
"""

from dataclasses import dataclass

from experiments.mini.clauses import sentence
from experiments.mini.draw import Draw

_MASCULINE = {
    "doctor": "medic",
    "teacher": "magistr",
    "farmer": "rustic",
    "boy": "puer",
    "king": "reg",
    "dog": "can",
    "horse": "caball",
    "wolf": "lup",
}
_FEMININE = {
    "nurse": "nutric",
    "queen": "regin",
    "girl": "fili",
    "sister": "soror",
    "aunt": "amit",
    "cat": "catt",
    "goat": "capr",
    "bird": "avic",
}
_THINGS = {"book": "libr", "letter": "chart", "apple": "mal", "ring": "anell", "coin": "monet", "cup": "calic"}
_FEMININE_THINGS = ("letter", "apple", "coin")
_PLACES = {"garden": "hort", "house": "cas", "city": "urb", "park": "parc"}
_FEMININE_PLACES = ("house", "city")
_ADJECTIVES = {
    "tall": "alt",
    "small": "parv",
    "old": "vetul",
    "young": "iuvan",
    "good": "bon",
    "sad": "trist",
    "black": "nigr",
    "white": "alb",
}
_VERBS = {"see": "vid", "help": "iuv", "follow": "sequ", "call": "voc", "love": "am", "fear": "tim"}
_GIVING = {"offer": "offer", "show": "monstr", "send": "mitt"}
_PREPOSITIONS = {"in": "in", "near": "apud", "behind": "post"}
_TIMES = {"today": "hodie", "always": "semper", "now": "nunc", "often": "saepe"}
_LINKS = {"and": "et", "but": "sed"}
_IRREGULAR_PLURALS = {"wolf": "wolves", "city": "cities"}

_BEINGS = tuple(_MASCULINE | _FEMININE)
_STEMS = _MASCULINE | _FEMININE | _THINGS | _PLACES
_FEMALE = frozenset((*_FEMININE, *_FEMININE_THINGS, *_FEMININE_PLACES))


@dataclass(frozen=True)
class Phrase:
    """`the tall nurses`: a noun with what agrees with it."""

    noun: str
    plural: bool
    determiner: str
    """`the`, `my`, or `a`, which is `some` in the plural."""
    adjective: str = ""

    @property
    def ending(self) -> str:
        """That of all target words which agree with the noun."""
        return ("ae" if self.plural else "a") if self.noun in _FEMALE else ("i" if self.plural else "us")

    @property
    def source(self) -> str:
        """In English."""
        noun = self.noun
        if self.plural:
            noun = _IRREGULAR_PLURALS.get(noun, noun + "s")
        determiner = self.determiner
        if determiner == "a" and self.plural:
            determiner = "some"
        elif determiner == "a" and (self.adjective or noun)[0] in "aeiou":
            determiner = "an"
        return sentence(determiner, self.adjective, noun).removesuffix(".")

    @property
    def target(self) -> str:
        """Determiner, noun, adjective, all with the noun's ending."""
        stems = {"the": "ill", "my": "me", "a": "aliqu" if self.plural else "un"}
        adjective = _ADJECTIVES[self.adjective] + self.ending if self.adjective else ""
        words = (stems[self.determiner] + self.ending, _STEMS[self.noun] + self.ending, adjective)
        return " ".join(filter(None, words))


@dataclass(frozen=True)
class Action:
    """`did not see`: a verb and its subject's share in it."""

    verb: str
    past: bool = False
    negated: bool = False

    def source(self, subject: Phrase) -> str:
        """In English."""
        third = not subject.plural
        if self.negated:
            return ("did" if self.past else "does" if third else "do") + f" not {self.verb}"
        if self.past:
            return {"see": "saw", "send": "sent"}.get(self.verb, self.verb + ("d" if self.verb == "love" else "ed"))
        return self.verb + ("s" if third else "")

    def passive(self, patient: Phrase) -> str:
        """In English, of what is past: `was not seen by`."""
        participle = {"see": "seen", "love": "loved"}.get(self.verb, self.verb + "ed")
        return " ".join(
            filter(None, ("were" if patient.plural else "was", "not" if self.negated else "", participle, "by"))
        )

    def target(self, subject: Phrase) -> str:
        """The present has the subject's number, the past its gender too; the negation is the very last word."""
        stem = (_VERBS | _GIVING)[self.verb]
        verb = stem + "at" + subject.ending if self.past else stem + ("unt" if subject.plural else "et")
        return verb + (" non" if self.negated else "")


@dataclass(frozen=True)
class Clause:
    """Who does what, with everything around it; what is not there is None or empty."""

    subject: Phrase
    action: Action
    patient: Phrase
    receiver: Phrase | None = None
    describing: "Clause | None" = None
    """`who sees the dog`: of the subject, which is its subject too."""
    place: tuple[str, Phrase] | None = None
    """Preposition and place."""
    time: str = ""
    time_first: bool = False
    passive: bool = False
    """`the dog was seen by the girl`, without a receiver."""

    def source(self) -> str:
        """In English."""
        time = f"{self.time} ," if self.time_first else self.time
        words = [self.subject.source]
        if self.describing:
            words.append(f"who {self.describing.predicate_source()}")
        if self.passive:
            words = [self.patient.source, self.action.passive(self.patient), *words, self._place_source()]
        else:
            words.append(self.predicate_source())
        return " ".join(filter(None, [time, *words] if self.time_first else [*words, time]))

    def predicate_source(self) -> str:
        """All but subject and time."""
        words = [self.action.source(self.subject), self.patient.source]
        if self.receiver:
            words.append(f"to {self.receiver.source}")
        return " ".join(filter(None, [*words, self._place_source()]))

    def _place_source(self) -> str:
        return f"{self.place[0]} {self.place[1].source}" if self.place else ""

    def target(self) -> str:
        """Subject, time, place, receiver, patient, verb."""
        words = [self.subject.target]
        if self.describing:
            words.append(f"qu{self.subject.ending} {self.describing.predicate_target()}")
        words.append(_TIMES[self.time] if self.time else "")
        words.append(self.predicate_target())
        return " ".join(filter(None, words))

    def predicate_target(self) -> str:
        """All but subject and time."""
        words = []
        if self.place:
            words.append(f"{self.place[1].target} {_PREPOSITIONS[self.place[0]]}")
        if self.receiver:
            words.append(f"{self.receiver.target} ad")
        return " ".join([*words, self.patient.target, self.action.target(self.subject)])


def _phrase(draw: Draw, nouns: tuple[str, ...], adjectives: float = 0.4) -> Phrase:
    adjective = draw.pick(tuple(_ADJECTIVES)) if draw.chance(adjectives) else ""
    return Phrase(draw.pick(nouns), draw.chance(0.5), draw.pick(("the", "the", "a", "my")), adjective)


def _action(draw: Draw, verbs: dict[str, str], past: float = 0.3) -> Action:
    return Action(draw.pick(tuple(verbs)), draw.chance(past), draw.chance(0.2))


def _clause(draw: Draw, *, simple: bool) -> Clause:
    subject = _phrase(draw, _BEINGS)
    gives = draw.chance(0.3)
    patient = _phrase(draw, tuple(_THINGS) if gives else _BEINGS)
    action = _action(draw, _GIVING if gives else _VERBS, past=0.3 if gives else 0.5)
    receiver = _phrase(draw, _BEINGS, 0.2) if gives else None
    describing = None
    if not simple and draw.chance(0.3):
        describing = Clause(subject, _action(draw, _VERBS), _phrase(draw, _BEINGS, 0.2))
    place = None
    if not simple and not describing and draw.chance(0.4):
        place = (draw.pick(tuple(_PREPOSITIONS)), Phrase(draw.pick(tuple(_PLACES)), draw.chance(0.2), "the"))
    time = draw.pick(tuple(_TIMES)) if draw.chance(0.3) else ""
    time_first = bool(time) and draw.chance(0.5)
    passive = action.past and receiver is None and draw.chance(0.5)
    return Clause(subject, action, patient, receiver, describing, place, time, time_first, passive)


def translated_sentence(draw: Draw, *, two_clauses: bool) -> tuple[str, str]:
    """A sentence and its translation.

    Args:
        draw: Chance.
        two_clauses: Two simple clauses joined by `and` or `but`, instead of one of any kind.
    """
    if not two_clauses:
        clause = _clause(draw, simple=False)
        return sentence(clause.source()), sentence(clause.target())
    first, link, second = (_clause(draw, simple=True), draw.pick(tuple(_LINKS)), _clause(draw, simple=True))
    return (
        sentence(first.source(), ",", link, second.source()),
        sentence(first.target(), ",", _LINKS[link], second.target()),
    )
