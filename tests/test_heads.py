"""Heads as values: text form, JSON form, set operations, errors that point."""

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_heads import HeadMask, HeadScores
from prune_heads.descriptors import HeadCounts, named_blocks
from prune_heads.errors import HeadDescriptorError
from prune_heads.heads import as_mask

SHAPE = (4, 2, 6)

shapes = st.lists(st.integers(0, 12), min_size=1, max_size=8).map(tuple)


@st.composite
def masks(draw, shape=shapes, n=1):
    n_heads = draw(shape)
    places = [(b, h) for b, count in enumerate(n_heads) for h in range(count)]
    subsets = st.sets(st.sampled_from(places)) if places else st.just(set())
    drawn = tuple(HeadMask(n_heads, frozenset(draw(subsets))) for _ in range(n))
    return drawn if n > 1 else drawn[0]


def test_text_counts_from_one_and_python_from_zero():
    mask = HeadMask.parse("3:1,5 2:2", SHAPE)
    assert set(mask) == {(2, 0), (2, 4), (1, 1)}
    assert str(mask) == "2:2 3:1,5"
    assert mask == HeadMask.from_mapping({2: [0, 4], 1: [1]}, SHAPE)


@given(masks())
def test_text_and_json_round_trip(mask):
    assert HeadMask.parse(str(mask), mask.n_heads) == mask
    assert HeadMask.from_json(json.loads(json.dumps(mask.to_json()))) == mask


@given(masks(n=2))
def test_set_operations_are_those_of_sets(pair):
    a, b = pair
    assert (a | b).pruned == a.pruned | b.pruned
    assert (a & b).pruned == a.pruned & b.pruned
    assert (a - b).pruned == a.pruned - b.pruned
    assert (a ^ b).pruned == a.pruned ^ b.pruned
    assert len(~a) == a.n_total - len(a)
    assert ~~a == a
    assert a <= a | b
    assert a & b <= a


@given(masks())
def test_keep_is_the_mask_by_block(mask):
    arrays = mask.keep()
    assert [len(array) for array in arrays] == list(mask.n_heads)
    assert {(b, h) for b, array in enumerate(arrays) for h in np.flatnonzero(~array)} == set(mask)


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("x:1", "character 1 ('x')", "a number must be here"),
        ("1:", "the end", "a number must be here"),
        ("1:1,,2", "character 5 (',')", "a number must be here"),
        ("1:1 2:1x", "character 8 ('x')", "a number must be here"),
        ("1:1 3", "the end", "':' and heads must follow"),
        ("1 2:1", "character 2 (' ')", "':' and heads must follow"),
        ("4:1", "character 1 ('4')", "layer 4 must be between 1 and 3"),
        ("0:1", "character 1 ('0')", "layer 0 must be between 1 and 3"),
        ("1:1 2:2,3", "character 9 ('3')", "head 3 must be between 1 and 2 (layer 2)"),
        ("1:0", "character 3 ('0')", "head 0 must be between 1 and 4"),
        ("1:2,3,2", "character 7 ('2')", "head 2 is named twice"),
        ("1:²", "character 3 ('²')", "a number must be here"),
        ("-1:2", "character 1 ('-')", "a number must be here"),
    ],
)
def test_parse_errors_point_at_the_character(text, place, reason):
    with pytest.raises(HeadDescriptorError) as caught:
        HeadMask.parse(text, SHAPE)
    assert place in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="0123456789:, x", max_size=12))
def test_whatever_comes_is_parsed_or_refused(text):
    try:
        mask = HeadMask.parse(text, SHAPE)
    except HeadDescriptorError:
        return
    assert HeadMask.parse(str(mask), SHAPE) == mask


def test_same_layer_may_stand_twice():
    assert HeadMask.parse("1:1 1:2", SHAPE) == HeadMask.parse("1:1,2", SHAPE)


def test_masks_of_different_models_do_not_mix():
    with pytest.raises(HeadDescriptorError, match="same model"):
        HeadMask((2, 2)) | HeadMask((3, 2))


@pytest.mark.parametrize("heads", [{3: [0]}, {0: [4]}, {0: [-1]}, {-1: [0]}])
def test_indices_out_of_range_are_refused(heads):
    with pytest.raises(HeadDescriptorError, match="must be between 0 and"):
        as_mask(heads, SHAPE)


def test_descriptors_may_be_a_list_as_records_give_them():
    mask = HeadMask.parse("1:1 3:1,4", SHAPE)
    assert as_mask(mask.descriptors(), SHAPE) == as_mask(tuple(mask.descriptors()), SHAPE) == mask
    assert not as_mask([], SHAPE)


@pytest.mark.parametrize("heads", [0, None, ["1:1", None], [(0, 1), (2, 3)], {0: None}, {0: 1}, {"a": [0]}, b"1:1"])
def test_what_names_no_heads_is_refused(heads):
    with pytest.raises(HeadDescriptorError, match="heads must be a HeadMask, a descriptor such as '3:1,5', a list"):
        as_mask(heads, SHAPE)


@pytest.mark.parametrize("value", [{}, {"n_heads": [4]}, {"n_heads": [4], "heads_pruned": "1:1"}, {"n_heads": 4}])
def test_json_of_another_kind_is_refused(value):
    with pytest.raises(HeadDescriptorError, match="heads_pruned"):
        HeadMask.from_json(value)


@given(shapes)
def test_scores_round_trip_flat_and_json(n_heads):
    flat = np.random.default_rng(0).normal(size=sum(n_heads))
    scores = HeadScores.from_flat(flat, n_heads, standard_error=np.abs(flat))
    assert scores.n_heads == n_heads
    assert np.array_equal(scores.flat(), flat)
    again = HeadScores.from_json(json.loads(json.dumps(scores.to_json())))
    assert np.array_equal(again.flat(), flat)
    assert all(map(np.array_equal, again.standard_error, scores.standard_error))


def test_standard_errors_must_have_the_shape_of_the_scores():
    with pytest.raises(ValueError, match="shape"):
        HeadScores(([1.0, 2.0],), ([1.0],))


LETTERS = HeadCounts((4, 2, 6, 3, 3), "EEADD")


@st.composite
def lettered(draw):
    letters = draw(st.permutations("EEAADD"))
    counts = HeadCounts(draw(st.lists(st.integers(1, 9), min_size=6, max_size=6)), "".join(letters))
    places = [(b, h) for b, count in enumerate(counts) for h in range(count)]
    return HeadMask(counts, frozenset(draw(st.sets(st.sampled_from(places)))))


@given(lettered())
def test_letters_round_trip(mask):
    assert HeadMask.parse(str(mask), mask.n_heads) == mask
    read = HeadMask.from_json(json.loads(json.dumps(mask.to_json())))
    assert (read, read.n_heads.letters) == (mask, mask.n_heads.letters)
    for other in (~mask, mask | mask, mask - mask, pickle.loads(pickle.dumps(mask)), copy.deepcopy(mask)):
        assert other.n_heads.letters == mask.n_heads.letters


def test_each_kind_of_block_is_counted_by_itself():
    mask = HeadMask.parse("E:2:1 A:1:6,2 D:2:3", LETTERS)
    assert set(mask) == {(1, 0), (2, 5), (2, 1), (4, 2)}
    assert mask.descriptors() == ["E:2:1", "A:1:2,6", "D:2:3"]
    assert LETTERS.names() == ["E:1", "E:2", "A:1", "D:1", "D:2"]


def test_a_model_of_one_kind_has_no_letters():
    counts = HeadCounts((4, 4), "EE")
    assert counts.letters == ""
    assert str(HeadMask.parse("2:1", counts)) == "2:1"


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("2:1", "character 1 ('2')", "this model has several kinds of blocks, so E or A or D must come first"),
        ("E:2:1 X:1:1", "character 7 ('X')", "this model has several kinds of blocks, so E or A or D must come first"),
        ("e:2:1", "character 1 ('e')", "this model has several kinds of blocks, so E or A or D must come first"),
        ("E2:1", "character 2 ('2')", "':' and a layer must follow E"),
        ("A", "the end", "':' and a layer must follow A"),
        ("A:2:1", "character 3 ('2')", "layer 2 must be between 1 and 1"),
        ("D:2:4", "character 5 ('4')", "head 4 must be between 1 and 3 (layer 2)"),
        ("D:2", "the end", "':' and heads must follow the layer"),
        ("D::1", "character 3 (':')", "a number must be here"),
    ],
)
def test_faults_of_lettered_text_are_pointed_at(text, at, says):
    with pytest.raises(HeadDescriptorError) as caught:
        HeadMask.parse(text, LETTERS)
    assert f"at {at}: {says}; the form is 'letter:layer:head,head'" in str(caught.value)


def test_letters_where_there_are_none_and_letters_that_fit_no_model():
    with pytest.raises(HeadDescriptorError, match="blocks of one kind, which have no letter"):
        HeadMask.parse("E:2:1", SHAPE)
    for letters in ("EE", "EEX"):
        with pytest.raises(HeadDescriptorError, match="each of 3 blocks must have a letter"):
            HeadCounts(SHAPE, letters)


def test_blocks_by_name_and_by_letter():
    assert named_blocks(["D:2", "E"], LETTERS) == (0, 1, 4)
    assert named_blocks(["3", "1"], HeadCounts(SHAPE)) == (0, 2)
    for wrong in ("A:2", "1", "X"):
        with pytest.raises(HeadDescriptorError, match=f"between E:1 and D:2 for this model; got {wrong}"):
            named_blocks([wrong], LETTERS)
