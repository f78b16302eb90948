"""Curves of some attention blocks alone: their heads go, the others stay."""

import itertools
from dataclasses import replace

import pytest

from prune_heads.errors import HeadDescriptorError
from prune_heads.heads import HeadMask
from prune_heads.options import Curves, Setup
from prune_heads.progress import Reporter
from prune_heads.studies.ablating import among
from prune_heads.studies.curves import curves
from prune_heads.studies.setup import load_subject, predictions_of

CRITERIA = ("gradient", "ablation", "random")
OF_ONE_DRAW = Curves(CRITERIA, score_examples=4, draws=1, steps=4, split=("validation",))


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    store = tmp_path_factory.mktemp("blocks") / "store"
    return Setup("mini", "mini-translation", max_examples=4, store=store)


@pytest.fixture(scope="module")
def shape(setup):
    """Heads of every block, with letters."""
    subject = load_subject(setup, Reporter())
    return predictions_of(setup, subject, subject.task.load("validation", 4), Reporter()).gone.n_heads


def masks(line, shape):
    return [HeadMask.parse(" ".join(point["heads_pruned"]), shape) for point in line["points"]]


@pytest.mark.slow
@pytest.mark.parametrize("rescore", [False, True])
def test_only_heads_of_the_kind_go_and_in_the_end_all_of_them(setup, shape, rescore):
    options = replace(OF_ONE_DRAW, rescore=rescore, blocks=("E",))
    record = curves(setup, options, Reporter())
    kind = HeadMask(shape, frozenset(head for head in HeadMask.all(shape) if shape.letters[head[0]] == "E"))
    assert [line["criterion"] for line in record["lines"]] == list(CRITERIA)
    for line in record["lines"]:
        assert [point["percent"] for point in line["points"]] == [0, 25, 50, 75, 100]
        assert [point["n_pruned"] for point in line["points"]] == [0, 4, 8, 12, 16]
        found = masks(line, shape)
        assert found[-1] == kind
        assert all(before <= after <= kind for before, after in itertools.pairwise(found))
    assert [pair["n_heads"] for pair in record["correlations"]] == [16]
    assert record["configuration"]["blocks"] == ["E"]


@pytest.mark.slow
def test_all_blocks_by_name_are_the_curve_without_names(setup):
    named, plain = (
        curves(setup, replace(OF_ONE_DRAW, blocks=blocks), Reporter()) for blocks in (("A", "D", "E"), None)
    )
    for part in ("lines", "correlations"):
        assert named[part] == plain[part]
    assert "blocks" not in plain["configuration"]
    assert named["identity_hash"] != plain["identity_hash"]


def test_blocks_that_are_not_there_or_have_no_heads_left_are_refused():
    gone = HeadMask.parse("1:1,3 2:4", (4, 4, 4))
    assert str(among(("2",), gone)) == "2:1,2,3,4"
    with pytest.raises(HeadDescriptorError, match="--blocks 3 must have heads left"):
        among(("3",), gone | HeadMask.parse("3:1,2,3,4", (4, 4, 4)))
    with pytest.raises(HeadDescriptorError, match="--blocks must be between 1 and 3 for this model; got E"):
        among(("E",), gone)
