"""A criterion looks the same in every figure, and people read names that they use."""

import itertools

import pytest
from matplotlib.colors import to_rgb

from prune_heads.importance import CRITERIA
from prune_heads.importance.gradient import ESTIMATORS
from prune_heads.objectives import METRIC_NAMES, TASKS
from prune_heads.reporting.figures.looks import ATTENTION_LOOKS, LOOKS, looks_of, shaded
from prune_heads.reporting.words import metric_title, split_title, task_title
from prune_heads.studies.curves import RUNNING_SUM

NAMES = [*(f"gradient ({name})" for name in (*ESTIMATORS, RUNNING_SUM)), "ablation (oracle)", "magnitude", "random"]


def test_every_criterion_and_estimator_has_a_look_of_its_own():
    assert set(LOOKS) == {*ESTIMATORS, RUNNING_SUM, *CRITERIA} - {"gradient"}
    for group in (LOOKS, ATTENTION_LOOKS):
        assert len({look.colour for look in group.values()}) == len(group)
        assert len({(look.dash, look.marker) for look in group.values()}) == len(group)  # in print
    for a, b in itertools.combinations(LOOKS.values(), 2):
        assert sum(abs(x - y) for x, y in zip(to_rgb(a.colour), to_rgb(b.colour), strict=True)) > 0.3


def test_a_name_inside_another_is_not_taken_for_it():
    for name in CRITERIA:
        assert looks_of([name])[name] == LOOKS.get(name, LOOKS["example"])


def test_a_look_does_not_depend_on_what_stands_beside_it():
    together = looks_of(NAMES)
    assert together == {name: look for each in NAMES for name, look in looks_of([each]).items()}
    assert looks_of(reversed(NAMES)) == together
    assert len(set(together.values())) == len(NAMES)
    assert looks_of(["gradient / fisher"])["gradient / fisher"] == LOOKS["fisher"]  # of a sweep
    assert looks_of(["gradient"])["gradient"] == LOOKS["example"]
    assert looks_of(["random (20 draws)"])["random (20 draws)"] == LOOKS["random"]


def test_scored_again_is_the_same_colour_with_rings():
    plain, again = looks_of(["gradient (example)", "gradient (example), re-scored"]).values()
    assert again == plain._replace(is_open=True)


def test_unknown_names_and_several_of_one_criterion_are_told_apart():
    names = ["own", "gradient / example / l2", "gradient / example / none", "mine", "examples 3"]
    looks = looks_of(names)
    assert looks["gradient / example / l2"] == LOOKS["example"]
    assert len(set(looks.values())) == len(names)
    assert len({look.colour for look in looks_of(map(str, range(6))).values()}) == 6
    assert len(looks_of(map(str, range(40)))) == 40


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_shades_begin_dark_and_end_light(n):
    looks = shaded(LOOKS["example"], n)
    lightness = [sum(to_rgb(look.colour)) for look in looks]
    assert lightness == sorted(set(lightness))
    assert len({(look.dash, look.marker) for look in looks}) == n
    if n < 3:
        assert to_rgb(looks[0].colour) == to_rgb(LOOKS["example"].colour)


def test_names_for_people():
    titles = {task: task_title(task) for task in TASKS}
    assert (titles["sst2"], titles["stsb"], titles["cola"]) == ("SST-2", "STS-B", "CoLA")
    for task, spec in TASKS.items():  # as the list of tasks has it
        if spec.summary.startswith("GLUE "):
            assert spec.summary.startswith(f"GLUE {titles[task]}:")
    metrics = {name for names in METRIC_NAMES.values() for name in names}
    assert metric_title("matthews_correlation") == "Matthews correlation"
    assert not [title for title in map(metric_title, metrics) if "_" in title or "f1" in title or "bleu" in title]
    assert len(set(map(metric_title, metrics))) == len(metrics)
    assert (split_title("validation_matched"), split_title("validation")) == ("matched", "validation")
