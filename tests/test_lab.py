"""What a lab keeps between runs, and what it asks of others."""

import numpy as np
import pytest

from prune_heads.importance import CRITERIA
from prune_heads.progress import Silent
from prune_heads.studies.lab import Lab
from prune_heads.studies.scoring import Scoring
from prune_heads.studies.setup import Setup


@pytest.mark.parametrize("criterion", CRITERIA)
def test_scores_are_computed_anew_for_another_seed_only_where_it_matters(criterion):
    asked = []

    def share(what, how):
        asked.append(what)
        return how()

    lab = Lab(Setup("mini", "mini-sentiment", max_examples=8), Silent(), share=share)
    first, second = (lab.scored(Scoring(criterion, seed=seed)).scores.values for seed in (1, 2))
    depends = any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert depends == (criterion == "random") == CRITERIA[criterion].draws
    assert len(asked) == 1 + depends
