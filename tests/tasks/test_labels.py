import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_heads.errors import LabelError
from prune_heads.objectives import TASKS, TaskSpec
from prune_heads.objectives.texts import match_labels

MNLI, SST2, STSB = TASKS["mnli"], TASKS["sst2"], TASKS["stsb"]
CLASSES = [spec for spec in TASKS.values() if spec.labels is not None]


def own(*labels: str) -> TaskSpec:
    return TaskSpec("own", ("text",), "accuracy", labels)


def style(name: str, which: int) -> str:
    return [name, name.upper(), name.replace("_", "-"), name.replace("_", " ").title(), f" {name} "][which]


@given(st.data())
def test_every_logit_is_found_by_its_name_in_whatever_order_and_spelling(data):
    spec = data.draw(st.sampled_from(CLASSES))
    order = data.draw(st.permutations(spec.labels))
    names = {i: style(label, data.draw(st.integers(0, 4))) for i, label in enumerate(order)}
    index, note = match_labels(spec, names)
    assert [order[i] for i in index] == list(spec.labels)
    assert note is None


@given(st.data())
def test_numbered_names_stand_for_the_order_of_the_task_with_a_note(data):
    spec = data.draw(st.sampled_from(CLASSES))
    numbers = data.draw(st.permutations(range(len(spec.labels))))
    index, note = match_labels(spec, {i: f"LABEL_{number}" for i, number in enumerate(numbers)})
    assert [numbers[i] for i in index] == list(range(len(spec.labels)))
    assert note is not None
    assert "--label-order" in note
    assert all(label in note for label in spec.labels)


@pytest.mark.slow
@given(st.data())
def test_a_given_order_is_taken_instead_of_the_names(data):
    spec = data.draw(st.sampled_from(CLASSES))
    order = data.draw(st.permutations(spec.labels))
    names = {i: data.draw(st.text()) for i in range(len(order))}
    index, _ = match_labels(spec, names, label_order=order)
    assert [order[i] for i in index] == list(spec.labels)


def test_digits_are_names_where_the_official_files_write_digits():
    index, note = match_labels(SST2, {0: "1", 1: "0"})
    assert index == (1, 0)
    assert note is None


def test_digits_say_nothing_elsewhere():
    index, note = match_labels(MNLI, {0: "0", 1: "1", 2: "2"})
    assert index == (0, 1, 2)
    assert "0 = entailment, 1 = neutral, 2 = contradiction" in note


def test_labels_of_ones_own_that_are_digits_match_by_name():
    assert match_labels(own("0", "1"), {0: "1", 1: "0"}) == ((1, 0), None)


def test_labels_that_differ_only_in_case_are_not_confused():
    task = own("a_b", "A B")
    assert match_labels(task, {0: "A B", 1: "a_b"}) == ((1, 0), None)
    with pytest.raises(LabelError):
        match_labels(task, {0: "a-b", 1: "A B"})


def test_regression_needs_one_output():
    assert match_labels(STSB, {0: "LABEL_0"}) == ((0,), None)
    with pytest.raises(LabelError, match=r"one output, a score, got 2 \(no, yes\)"):
        match_labels(STSB, {0: "no", 1: "yes"})
    with pytest.raises(LabelError, match="--label-order must not be given"):
        match_labels(STSB, {0: "LABEL_0"}, label_order=["x"])


@pytest.mark.parametrize(
    "names",
    [
        ["entailment", "not_entailment"],
        ["entailment", "neutral", "contradiction", "other"],
        ["LABEL_0"],
        ["entailment", "neutral", "opposite"],
        ["entailment", "entailment", "neutral"],
        ["entailment", "LABEL_1", "LABEL_2"],
        ["LABEL_0", "LABEL_1", "LABEL_3"],
        ["LABEL_0", "LABEL_0", "LABEL_1"],
        ["", "", ""],
    ],
)
def test_what_does_not_match_is_refused_with_both_lists_and_the_cure(names):
    with pytest.raises(LabelError) as error:
        match_labels(MNLI, dict(enumerate(names)))
    message = str(error.value)
    assert "entailment, neutral, contradiction" in message
    assert ", ".join(names) in message
    assert "--label-order" in message


@pytest.mark.parametrize("order", [["entailment", "neutral"], ["entailment", "neutral", "neutral"], ["a", "b", "c"]])
def test_a_given_order_must_name_each_label_once(order):
    with pytest.raises(LabelError, match="and each of entailment, neutral, contradiction once, got"):
        match_labels(MNLI, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, label_order=order)


def test_an_order_cannot_mend_a_wrong_number_of_outputs():
    with pytest.raises(LabelError, match="must have 3 labels, got 2"):
        match_labels(MNLI, {0: "LABEL_0", 1: "LABEL_1"}, label_order=MNLI.labels)


def test_gaps_in_id2label_are_refused():
    with pytest.raises(LabelError, match="must count 0, 1, 2"):
        match_labels(SST2, {0: "negative", 2: "positive"})


@pytest.mark.real
@pytest.mark.parametrize(
    ("model", "task", "index"), [("minilm-sst2", "sst2", (0, 1)), ("minilm-mnli", "mnli", (1, 2, 0))]
)
def test_real_checkpoints_match_without_a_guess(shared, model, task, index):
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(shared / "models" / model)
    assert match_labels(TASKS[task], config.id2label) == (index, None)
