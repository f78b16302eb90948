"""More trials than a folder takes are counted, not listed."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from null_trial import DEFAULTS, KNOWN

from prune_heads.errors import OptionError
from prune_heads.execution import spec as spec_module
from prune_heads.execution.spec import Known, sweep_of


def of(content, name="s", known=KNOWN):
    return sweep_of(content, known, name=name, shown="s.toml")


def draws(values):
    return values["criterion"] == "random"


DRAWING = Known(DEFAULTS, KNOWN.check, lambda values: None, draws)


values = {"criterion": ["magnitude", "random", "c"], "model": list("uvw"), "fraction": [0.0, 0.25, 1.0]}
rules = st.fixed_dictionaries(
    {},
    optional={
        **{key: st.lists(st.sampled_from(some), min_size=1, unique=True) for key, some in values.items()},
        "seed": st.lists(st.integers(0, 3), min_size=1, unique=True),
    },
).filter(bool)
together = st.sampled_from([[], [{"task": "a", "sleep": 1.0}, {"task": "b", "sleep": 2.0}]])


@given(st.sets(st.sampled_from(list(values))), st.integers(1, 4), st.lists(rules, max_size=3), together)
def test_trials_are_counted_as_they_are_listed(keys, n_seeds, left_out, joint):
    grid = {key: values[key] for key in sorted(keys)}
    content = {"grid": grid, "seeds": list(range(n_seeds)), "exclude": left_out, "together": joint}
    try:
        listed = of(content, known=DRAWING)
    except OptionError:  # a rule leaves out none or all
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spec_module, "MOST_TRIALS", 0)
        counted = of(content, known=DRAWING)
    assert (counted.n_trials, counted.n_undrawn) == (len(listed.trials), listed.n_undrawn)
    assert counted.trials == listed.trials[:20]


def test_a_thousand_million_trials_are_counted_and_not_listed():
    many = list(range(1000))
    grid = {"fraction": [i / 1000 for i in many], "sleep": [float(i) for i in many]}
    start = time.perf_counter()
    sweep = of({"grid": grid, "seeds": many, "exclude": [{"fraction": 0.5, "seed": [1, 2]}]})
    assert sweep.n_trials == 10**9 - 2 * 1000
    assert len(sweep.trials) == 20
    assert sweep.trials[0].values == {**DEFAULTS, "fraction": 0.0, "sleep": 0.0, "seed": 0}
    assert time.perf_counter() - start < 10
