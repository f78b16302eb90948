"""How far do orders of heads agree, whatever stands in for a head that is gone? `python -m tests.measured replaced`.

Heads are scored by `gradient` on the first training examples of the tasks of figure 3, towards each replacement.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from prune_heads.cli.reproduce import planned
from prune_heads.objectives.replacing import KINDS
from prune_heads.options import Scoring, Setup
from prune_heads.progress import Reporter
from prune_heads.statistics import correlate
from prune_heads.studies.scoring import Lab

SUBJECTS = Path(__file__).parent / "michel2019" / "figure3.toml"
N_EXAMPLES = 1_000


def subjects() -> list[Setup]:
    """The classifiers of figure 3, in float32; a translation has no examples whose places could be filled."""
    planned_ones = (each.setup for each in planned("figure3", SUBJECTS, {}))
    return [replace(setup, dtype="float32") for setup in planned_ones if setup.task != "mini-translation"]


def agreement(setup: Setup, n_examples: int = N_EXAMPLES) -> Iterator[dict[str, Any]]:
    """A row a replacement: Spearman's correlation with the scores towards zero, and the overlap of the lower halves."""
    scores = {
        kind: _scores(replace(setup, replace=cast(Any, kind), max_examples=n_examples)) for kind in ("zero", *KINDS)
    }
    lower = {kind: set(np.argsort(each, kind="stable")[: len(each) // 2].tolist()) for kind, each in scores.items()}
    about = {"model": Path(setup.model).name, "task": setup.task, "n_examples": n_examples}
    for kind in KINDS:
        rank = correlate([scores["zero"]], [scores[kind]])["spearman"]
        overlap = len(lower["zero"] & lower[kind]) / len(lower["zero"])
        yield {**about, "replace": kind, "spearman": rank, "overlap": overlap}


def _scores(setup: Setup) -> np.ndarray:
    lab = Lab(setup, Reporter())
    lab.scoring = Scoring("gradient")
    return lab.scored(lab.scoring).scores.flat()
