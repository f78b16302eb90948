"""A sweep as a file: what it resolves to, and what is said of its faults."""

import itertools
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from null_trial import DEFAULTS, KNOWN

from prune_heads.errors import OptionError
from prune_heads.execution.spec import Known, read_sweep, sweep_of

FILE = """
name = "how-far"
task = "sst2"
seeds = [0, 1]
[grid]
criterion = ["a", "b"]
fraction = [0.0, 0.5, 1.0]
[[exclude]]
criterion = "b"
fraction = [0.0, 1.0]
[[include]]
criterion = "c"
fraction = 0.25
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "sweep.toml").write_text(text)
        return read_sweep(tmp_path / "sweep.toml", KNOWN)

    return read


def of(content, name="s", known=KNOWN):
    return sweep_of(content, known, name=name, shown="s.toml")


def draws(values):
    return values["criterion"] == "random"


DRAWING = Known(DEFAULTS, KNOWN.check, lambda values: None, draws)


def faults(read, text):
    with pytest.raises(OptionError) as caught:
        read(text)
    head, rest = str(caught.value).split(": ", 1)
    return [head, *re.split(r"(?:^|; )\(\d+\) ", rest)[1:]]


def test_a_file_resolves_to_its_trials_in_order(read):
    sweep = read(FILE)
    assert sweep.name == "how-far"
    assert sweep.axes == ("criterion", "fraction", "seed")
    found = [(t.values["criterion"], t.values["fraction"], t.values["seed"]) for t in sweep.trials]
    assert found == [
        *[("a", f, s) for f in (0.0, 0.5, 1.0) for s in (0, 1)],
        *[("b", 0.5, s) for s in (0, 1)],
        *[("c", 0.25, s) for s in (0, 1)],
    ]
    assert all(trial.values == {**DEFAULTS, "task": "sst2", **trial.values} for trial in sweep.trials)
    assert read("task = 'sst2'").name == "sweep"


axes = st.dictionaries(
    st.sampled_from(["model", "criterion", "task"]),
    st.lists(st.sampled_from("uvwxyz"), min_size=1, unique=True),
    max_size=3,
)


@given(axes, st.randoms())
def test_the_trials_are_the_product_and_their_hashes_their_content(grid, draw):
    sweep = of({"grid": grid, "fraction": 0.5})
    found = {tuple(trial.values[key] for key in grid) for trial in sweep.trials}
    assert found == set(itertools.product(*grid.values()))
    assert len({trial.digest for trial in sweep.trials}) == len(sweep.trials) == len(found)
    keys = list(grid)
    draw.shuffle(keys)
    again = of({"fraction": 0.5, "seed": 0, "grid": {key: grid[key] for key in keys}})
    assert {trial.digest for trial in again.trials} == {trial.digest for trial in sweep.trials}


def test_options_that_vary_together_are_one_axis():
    content = {
        "together": [{"task": "sst2", "criterion": "a"}, {"task": "cola", "criterion": "b"}],
        "grid": {"fraction": [0.0, 0.5]},
        "seeds": [1, 2],
    }
    sweep = of(content)
    assert sweep.axes == ("task", "criterion", "fraction", "seed")
    assert [tuple(t.values[key] for key in sweep.axes) for t in sweep.trials] == [
        (*pair, fraction, seed) for pair in (("sst2", "a"), ("cola", "b")) for fraction in (0.0, 0.5) for seed in (1, 2)
    ]
    in_full = {"task": ["sst2", "cola"], "criterion": ["a", "b"], "fraction": [0.0, 0.5]}
    rest = [{"task": "sst2", "criterion": "b"}, {"task": "cola", "criterion": "a"}]
    by_exclusion = of({"grid": in_full, "exclude": rest, "seeds": [1, 2]})
    assert {t.digest for t in sweep.trials} == {t.digest for t in by_exclusion.trials}


def test_a_default_that_is_written_is_the_same_trial():
    assert of({"fraction": 0.5}).trials == of({}).trials
    assert of({"fraction": 0.25}).trials != of({}).trials
    twice = of({"grid": {"fraction": [0.5, 0.25]}, "include": [{"fraction": 0.25}]})
    assert (len(twice.trials), twice.n_twice) == (2, 1)


def test_the_digest_is_that_of_name_and_trials():
    base = {"grid": {"fraction": [0.1, 0.2]}}
    assert of(base).digest == of(base).digest
    assert len({of(base).digest, of(base, name="other").digest, of({"grid": {"fraction": [0.1]}}).digest}) == 3


def test_all_faults_are_told_together_with_the_nearest_key(read):
    text = """
    nmae = "x"
    fraction = "half"
    criterion = "a"
    [grid]
    criterion = ["a", "b"]
    fractoin = [0.1]
    seed = []
    model = ["m", "m"]
    [[include]]
    modle = "m"
    [[exclude]]
    task = 3
    """
    head, *rest = faults(read, text)
    assert head == "sweep.toml has 8 fault(s)"
    assert rest == [
        "nmae: there is no such option (did you mean name?)",
        "fraction: must be float; got 'half'",
        "grid.fractoin: there is no such option (did you mean fraction?)",
        "grid.seed: must be a list of at least one value; got []",
        "grid.model: names a value twice",
        "include[1].modle: there is no such option (did you mean model?)",
        "exclude[1].task: must be str; got 3",
        "grid.criterion: must not stand at the top too",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grid = 3", "grid: must be a table of lists; got 3"),
        ("include = 3", "include: must be tables, written [[include]]; got 3"),
        ("seeds = [0]\n[grid]\nseed = [1]", "seeds: must not stand beside grid.seed"),
        ("seeds = ['x']", "seeds: seed: must be int; got 'x'"),
        ("name = 3", "name: must be a text; got 3"),
        ("[[exclude]]\nfraction = 0.7", "exclude[1]: leaves no trial out"),
        ("[[exclude]]\nfraction = 0.5", "exclude: leaves all trials out"),
        ("fraction = 0.9\ncriterion = 'z'", "{}: fraction 0.9 and criterion z exclude each other"),
        ("[[include]]", "include[1]: must be a table of options; got {}"),
        ("together = 3", "together: must be tables, written [[together]]; got 3"),
        ("[[together]]\ntask = 3", "together[1].task: must be str; got 3"),
        ("[[together]]\ntask = 'a'\n[[together]]\nmodel = 'b'", "together[2]: must set what the first one sets: task"),
        ("task = 'a'\n[[together]]\ntask = 'b'", "together.task: must not stand at the top too"),
        ("[[together]]\nseed = 1\n[grid]\nseed = [1]", "together.seed: must not stand in the grid too"),
    ],
)
def test_faults(text, said, read):
    assert said in faults(read, text)


def test_files_that_cannot_be_read(read, tmp_path):
    with pytest.raises(OptionError, match=r"must be a TOML file; sweep\.toml is not: "):
        read("a = ")
    with pytest.raises(OptionError, match="must be a readable file"):
        read_sweep(tmp_path / "none.toml", KNOWN)


def test_excluding_does_not_depend_on_the_order_of_rules():
    rules = [{"fraction": 0.1, "criterion": "a"}, {"fraction": [0.2, 0.3]}, {"criterion": "b"}]
    grid = {"fraction": [0.1, 0.2, 0.3, 0.4], "criterion": ["a", "b", "c"]}
    found = set()
    for seed in range(5):
        random.Random(seed).shuffle(rules)
        found.add(of({"grid": grid, "exclude": rules}).digest)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("9" * 5000, "fraction must be a number of at most 64 bits"),
        ("0x" + "f" * 5000, "grid.fraction[2] must be a number of at most 64 bits; got one of 20000"),
        ("1" + "0" * 400, "grid.fraction[2] must be a number of at most 64 bits"),
        ("1e400", "grid.fraction[2] must be a finite number; got inf"),
        ("-inf", "grid.fraction[2] must be a finite number; got -inf"),
        ("nan", "grid.fraction[2] must be a finite number; got nan"),
        ("2026-11-29", "grid.fraction[2] must be a text, a number, true or false; got a date"),
        ("[[2026-11-29T00:00:00]]", "grid.fraction[2][1][1] must be a text, a number, true or false; got a datetime"),
    ],
)
def test_what_toml_has_and_no_option_takes_is_refused_by_its_key(value, said, read):
    with pytest.raises(OptionError) as caught:
        read(f"model = 'm'\n[grid]\nfraction = [\n  0.5,\n  {value}\n]\n")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 200
    with pytest.raises(OptionError, match=r"include\[1\]\.seed must be a text, a number"):
        read("[[include]]\nseed = 12:00:00")


def test_a_file_that_is_nested_too_deep(read):
    with pytest.raises(OptionError, match="must be a TOML file"):
        read(f"fraction = {'[' * 10_000}{']' * 10_000}")


def test_an_option_that_is_added_later_leaves_the_hashes_as_they_are():
    grid = {"grid": {"fraction": [0.1, 0.5], "model": ["a", "b"]}}
    later = Known({**DEFAULTS, "later": 1}, lambda key, value: value, KNOWN.clash)
    assert of(grid).digest == of(grid, known=later).digest == of({**grid, "later": 1}, known=later).digest
    for value in (2, 1.0, True):
        assert of({**grid, "later": value}, known=later).digest != of(grid).digest
    always = Known(DEFAULTS, KNOWN.check, KNOWN.clash, always=DEFAULTS)
    again = Known({**DEFAULTS, "later": 1}, KNOWN.check, KNOWN.clash, always=DEFAULTS)
    assert of(grid, known=always).digest == of(grid, known=again).digest != of(grid).digest


def test_two_spellings_of_a_value_are_one_trial():
    known = Known(DEFAULTS, lambda key, value: {"SST-2": "sst2"}.get(value, value), KNOWN.clash)
    one = of({"task": "sst2", "include": [{"model": "x"}]}, known=known)
    assert of({"task": "SST-2", "include": [{"model": "x"}]}, known=known) == one
    assert one.trials[0].digest == of({"task": "sst2"}).trials[0].digest
    grid = {"grid": {"task": ["SST-2", "t"]}, "exclude": [{"task": "sst2"}]}
    assert [trial.values["task"] for trial in of(grid, known=known).trials] == ["t"]
    with pytest.raises(OptionError, match=r"grid\.task: names a value twice"):
        of({"grid": {"task": ["SST-2", "sst2"]}}, known=known)


def test_a_criterion_that_draws_nothing_is_run_for_the_first_seed():
    content = {"grid": {"criterion": ["magnitude", "random"], "fraction": [0.0, 0.5]}, "seeds": [3, 1, 2]}
    sweep = of(content, known=DRAWING)
    found = [(t.values["criterion"], t.values["fraction"], t.values["seed"]) for t in sweep.trials]
    assert found == [
        *[("magnitude", f, 3) for f in (0.0, 0.5)],
        *[("random", f, s) for f in (0.0, 0.5) for s in (3, 1, 2)],
    ]
    assert (sweep.n_undrawn, sweep.n_twice) == (4, 0)
    rest = of({**content, "exclude": [{"criterion": "magnitude", "seed": 3}]}, known=DRAWING)
    assert [t.values["seed"] for t in rest.trials if t.values["criterion"] == "magnitude"] == [1, 1]
    whole = {trial.digest for trial in of(content).trials}
    assert {trial.digest for trial in sweep.trials} < whole  # the hashes of a sweep that ran them all


def test_a_contradiction_is_found_before_anything_runs_and_told_once():
    def clash(values):
        return "--task must say which" if values["model"] == "x" and values["task"] == "t" else None

    known = Known(DEFAULTS, KNOWN.check, clash)
    content = {"grid": {"model": ["m", "x"], "fraction": [0.1, 0.2, 0.3]}}
    with pytest.raises(OptionError, match=r'has 1 fault\(s\): \(1\) \{"model": "x", "fraction": 0.1\}: --task must'):
        of(content, known=known)
    with pytest.raises(OptionError, match="--task must"):
        of(
            {"grid": {"model": ["m", "x"], "sleep": [i / 1000 for i in range(1000)]}, "seeds": list(range(1000))},
            known=known,
        )
