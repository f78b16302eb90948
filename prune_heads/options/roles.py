"""What `prune-heads roles` looks at: texts, parses, and the runs that roles are compared with."""

from dataclasses import dataclass
from pathlib import Path

from prune_heads.options.fields import Group, option


@dataclass(frozen=True)
class RoleSources(Group):
    """On what roles are measured, and what they are compared with."""

    panel = "Roles"
    apart = ("parses", "conllu", "spacy")
    split: str | None = option(
        "Split whose texts are looked at. (default: the task's first validation split)", reach="content"
    )
    parses: bool = option("Also measure syntactic roles, on the parses in the training file, as MNLI's has.", False)
    conllu: Path | None = option("Also measure syntactic roles, on the sentences of a CoNLL-U file.", reach="content")
    spacy: str | None = option(
        "Also measure syntactic roles, on the texts as this spaCy model parses them (needs spaCy and the model)."
    )
    against: tuple[Path, ...] = option(
        "Run to compare roles with: a folder of score, ablate or roles; repeatable.", (), reach="content"
    )
    seed: int = option("Seed of the random texts and of the bootstrap.", 0, low=0)
