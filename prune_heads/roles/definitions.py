"""What is measured of a head, and what it must reach to play a role: the rows of `definitions.toml`."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

Form = Literal["weight", "maximum", "entropy", "confidence", "output"]
On = Literal["texts", "repeated", "parses"]
NONE = "none"  # the role of a head that plays none of those that are defined

_TABLE = tomllib.loads((resources.files(__name__.rpartition(".")[0]) / "definitions.toml").read_text("utf-8"))
FORMS: Mapping[str, Mapping[str, str]] = _TABLE["forms"]
"""Form of a score -> its `note`, what is averaged, and its `unit`."""


@dataclass(frozen=True)
class Score:
    """One number a head; `definitions.toml` says what each form averages."""

    name: str
    title: str
    form: Form
    source: str
    pattern: str = ""  # pairs of query and key that it is about
    on: On = "texts"
    """Whether it is measured on the texts, on random tokens that come twice, or on parsed sentences."""

    @property
    def note(self) -> str:
        """What it is, in a sentence."""
        where = {"texts": "", "repeated": "; on random tokens that come twice", "parses": "; between words"}[self.on]
        return f"{self.title}: {FORMS[self.form]['note']}{where} ({self.source})."


@dataclass(frozen=True)
class Role:
    """What a head is said to do where one of its scores passes."""

    name: str
    code: str  # what stands in a cell of a figure
    family: str  # roles of one family share a colour
    threshold_of: str  # who says so
    at_least: Mapping[str, float] = field(default_factory=dict)  # score -> threshold; of relations, above the null
    at_most: Mapping[str, float] = field(default_factory=dict)

    def is_played(self, scores: Mapping[str, tuple[float, float, float | None]]) -> bool:
        """Whether a head plays it, by (value, low end of the interval, null) of each score that was measured.

        A score with a null must also be above it with its whole interval.
        """
        for name, least in self.at_least.items():
            if name in scores:
                value, low, null = scores[name]
                base = null if name in RELATION_SCORES and null is not None else 0.0
                if value >= base + least and (null is None or low > null):
                    return True
        return any(name in scores and scores[name][0] <= most for name, most in self.at_most.items())


TREEBANK: Mapping[str, Any] = _TABLE["treebank"]
"""Of constituency trees: labels, how texts write words, and head rules."""

_VOITA = "Voita et al. 2019, section 5.2; between words as Clark et al. 2019, section 4.1"
RELATION_SCORES: Mapping[str, Score] = {
    f"{relation}-{way}": Score(f"{relation}-{way}", f"Maximum of {words}", "maximum", _VOITA, on="parses")
    for relation, name in _TABLE["relations"].items()
    for way, words in (("to-head", f"the {name} is its head"), ("from-head", f"a head is its {name}"))
}
"""`nsubj-to-head` -> its score: the share of subjects whose maximum is on their verb."""

_OTHERS = {name: Score(name, **row) for name, row in _TABLE["scores"].items()}
SCORES: Mapping[str, Score] = {**_OTHERS, **RELATION_SCORES}
ROLES: Mapping[str, Role] = {name: Role(name, **row) for name, row in _TABLE["roles"].items()}
FAMILIES: Mapping[str, str] = _TABLE["families"]
"""Family of roles -> its colour in figures."""


def roles_of(scores: Mapping[str, tuple[float, float, float | None]]) -> list[str]:
    """The roles that a head plays, the one that stands for them first; see `Role.is_played`."""
    return [name for name, role in ROLES.items() if role.is_played(scores)]


def described(names: Sequence[str]) -> list[dict[str, Any]]:
    """For records: each role that these scores can show, with its thresholds and their source."""
    rows = []
    for name, role in ROLES.items():
        at_least, at_most = ({k: v for k, v in of.items() if k in names} for of in (role.at_least, role.at_most))
        about = {"role": name, "code": role.code, "family": role.family, "threshold_of": role.threshold_of}
        rows += [{**about, "at_least": at_least, "at_most": at_most}] * bool(at_least or at_most)
    return rows
