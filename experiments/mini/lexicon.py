"""The words of the built-in suite: plain tables, no logic.

Every word is lower case and without hyphen or apostrophe, so that a tokenizer that splits at blanks and
punctuation sees each as one token.
"""

from collections.abc import Mapping
from dataclasses import dataclass


def _tree(*branches: str) -> Mapping[str, str]:
    """`"doctor: surgeon dentist"` -> {"surgeon": "doctor", "dentist": "doctor"}."""
    pairs = (branch.split(": ") for branch in branches)
    return {word: general for general, words in pairs for word in words.split()}


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """`"tall/short young/old"` -> (("tall", "short"), ("young", "old"))."""
    return tuple((first, second) for first, second in (pair.split("/") for pair in text.split()))


@dataclass(frozen=True)
class Genre:
    """The content words of one kind of text, with the relations among them.

    Attributes:
        nouns: noun -> the next more general noun; the most general one is no key.
        verbs: verb -> the next more general verb, in the base form.
        opposite_verbs: pairs of verbs that exclude each other.
        opposite_adjectives: pairs of adjectives that exclude each other.
        opposite_comparatives: pairs such as taller/shorter; each pair is one scale.
        places: adverbials of place.
        times: adverbials of time.
    """

    nouns: Mapping[str, str]
    verbs: Mapping[str, str]
    opposite_verbs: tuple[tuple[str, str], ...]
    opposite_adjectives: tuple[tuple[str, str], ...]
    opposite_comparatives: tuple[tuple[str, str], ...]
    places: tuple[str, ...]
    times: tuple[str, ...]


TOWN = Genre(
    nouns=_tree(
        "doctor: surgeon dentist",
        "musician: violinist drummer",
        "artist: painter sculptor",
        "scientist: chemist biologist",
        "athlete: runner boxer",
        "relative: aunt uncle",
        "person: doctor musician artist scientist athlete relative",
    ),
    verbs=_tree("touch: hug pat", "follow: chase track", "notice: watch spot"),
    opposite_verbs=_pairs("praise/criticize help/hinder admire/despise"),
    opposite_adjectives=_pairs("tall/short young/old rich/poor calm/nervous polite/rude happy/sad"),
    opposite_comparatives=_pairs("taller/shorter younger/older richer/poorer happier/sadder"),
    places=("in the park", "in the office", "in the library", "in the museum", "in the kitchen", "in the hotel"),
    times=("at noon", "at midnight", "before lunch", "after dinner"),
)

FARM = Genre(
    nouns=_tree(
        "dog: poodle collie",
        "horse: mare pony",
        "bird: hen goose",
        "fish: trout salmon",
        "insect: wasp beetle",
        "animal: dog horse bird fish insect",
    ),
    verbs=_tree("inspect: sniff examine", "pursue: hunt stalk", "clean: groom lick"),
    opposite_verbs=_pairs("scare/soothe accept/reject obey/ignore"),
    opposite_adjectives=_pairs("wild/tame fat/thin fast/slow brave/timid healthy/sick wet/dry"),
    opposite_comparatives=_pairs("wilder/tamer fatter/thinner faster/slower wetter/drier"),
    places=("in the barn", "in the field", "in the stable", "in the forest", "near the river", "near the pond"),
    times=("at dawn", "at dusk", "before winter", "after harvest"),
)

# Words of the same meaning, for paraphrases.
SAME_NOUNS = _pairs(
    "physician/medic lawyer/attorney boss/manager kid/child thief/robber author/writer buddy/friend "
    "infant/baby policeman/officer tutor/teacher"
)
SAME_VERBS = _pairs(
    "help/assist phone/call hire/employ welcome/greet rescue/save protect/defend scare/frighten question/quiz"
)
SAME_ADJECTIVES = _pairs(
    "smart/clever wealthy/rich ill/sick furious/angry weary/tired courageous/brave silent/quiet glad/happy"
)
STREETS = ("in the street", "in the school", "in the hospital", "in the market", "at the station", "at the beach")
DAYS = ("on monday", "on friday", "last week", "last summer")

# Film reviews.
ASPECTS = ("plot", "acting", "music", "ending", "dialogue", "script", "cast", "camera")
WORKS = ("film", "movie", "story", "comedy", "drama", "sequel")
GOOD = _words("brilliant funny charming clever fresh moving gripping lovely superb warm witty original")
BAD = _words("dull boring clumsy weak stale awful tedious shallow silly bland messy predictable")
DEGREES: Mapping[str, int] = {"slightly": 1, "somewhat": 1, "": 2, "very": 3, "truly": 3, "extremely": 3}

# Acceptability: (singular, plural, reflexive of the singular).
PEOPLE = tuple(
    (singular, singular + "s", reflexive)
    for reflexive, words in (
        ("himself", "boy king uncle waiter monk brother"),
        ("herself", "girl queen aunt nun niece sister"),
    )
    for singular in words.split()
)
SINGULAR_DETERMINERS = ("this", "that", "every", "each", "the", "the")
PLURAL_DETERMINERS = ("these", "those", "many", "several", "the", "the")
# (third person singular, plural and base).
INTRANSITIVE = _pairs("laughs/laugh sleeps/sleep sings/sing smiles/smile waits/wait")
TRANSITIVE = _pairs("admires/admire knows/know helps/help likes/like sees/see blames/blame")
PARTICIPLES = ("laughed", "slept", "sung", "smiled", "waited")
QUALITIES = ("tall", "young", "kind", "clever", "tired", "famous", "quiet", "proud")
PREPOSITIONS = ("near", "behind", "beside", "with")
