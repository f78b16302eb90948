"""What a lab keeps between runs, and what it asks of others."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from prune_heads.importance import CRITERIA
from prune_heads.options import Scoring, Setup
from prune_heads.progress import Reporter
from prune_heads.studies.scoring import Lab

LONG = ("gnorm", "gnorm-published", "greedy", "shapley")


@pytest.mark.parametrize(
    "criterion", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in CRITERIA]
)
def test_scores_are_computed_anew_for_another_seed_only_where_it_matters(criterion):
    asked = []

    def share(what, how):
        asked.append(what)
        return how()

    lab = Lab(Setup("mini", "mini-sentiment", max_examples=8), Reporter(), share=share)
    few = {"masks": 60, "updates": 3}
    first, second = (lab.scored(Scoring(criterion, seed=seed, **few)).scores.values for seed in (1, 2))
    depends = any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    # The built-in model has no dropout to draw.
    assert depends == CRITERIA[criterion].draws or criterion == "gnorm-published"
    assert len(asked) == 1 + CRITERIA[criterion].draws


OTHER = {
    "data_dir": Path("data"),
    "train_file": Path("a.csv"),
    "validation_file": Path("a.csv"),
    "label_order": ("a", "b"),
    "labels": ("a", "b"),
    "text_column": ("a",),
    "trust_remote_code": True,
    "criterion": "random",
}
"""A value of the fields whose type does not suggest one."""


def other(value, name):
    if name in OTHER:
        return OTHER[name]
    return (
        f"{value}x"
        if isinstance(value, str | None) and name not in ("max_examples", "sample", "sample_seed", "score_examples")
        else (value or 0) + 1
    )


def test_whatever_is_asked_for_is_in_the_key_of_what_is_shared():
    """An option that is added later, too; where predictions are kept changes no score."""
    lab = Lab(Setup("mini", "mini-sentiment"), Reporter())
    scoring, setup = Scoring("magnitude"), lab.setup
    before = lab._identity(scoring, None)
    for field in fields(Setup):
        lab.setup = replace(setup, **{field.name: other(getattr(setup, field.name), field.name)})
        assert (lab._identity(scoring, None) == before) == (field.name == "store"), field.name
    lab.setup = setup
    for field in fields(Scoring):
        changed = replace(scoring, **{field.name: other(getattr(scoring, field.name), field.name)})
        assert lab._identity(changed, None) != before, field.name
    assert lab._identity(scoring, None) == before
