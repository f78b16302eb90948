"""Which dimensions each head owns, for every way to lay W_Q, W_K and W_V out."""

import pytest

from prune_heads.anatomy.block import owned_dimensions

APART = {"Q": "q", "K": "k", "V": "v"}
FUSED = dict.fromkeys("QKV", "qkv")
LATENT = {"Q": "q", "K": "kv", "V": "kv"}


def starts(owned):
    return {part: [dims.start for dims in rows] for part, rows in owned.items()}


def test_projections_of_their_own():
    owned = owned_dimensions(APART, {"q": 8, "k": 8, "v": 8}, 4, 8, interleaved=False)
    assert owned == dict.fromkeys("QKV", (range(0, 2), range(2, 4), range(4, 6), range(6, 8)))


def test_groups_share_keys_and_values():
    owned = owned_dimensions(APART, {"q": 8, "k": 4, "v": 4}, 4, 8, interleaved=False)
    assert starts(owned) == {"Q": [0, 2, 4, 6], "K": [0, 2], "V": [0, 2]}


def test_stacked():
    """All of W_Q, then all of W_K, then all of W_V."""
    owned = owned_dimensions(FUSED, {"qkv": 24}, 4, 8, interleaved=False)
    assert starts(owned) == {"Q": [0, 2, 4, 6], "K": [8, 10, 12, 14], "V": [16, 18, 20, 22]}
    owned = owned_dimensions(FUSED, {"qkv": 12}, 4, 8, interleaved=False)  # one key and value head for all
    assert starts(owned) == {"Q": [0, 2, 4, 6], "K": [8], "V": [10]}


def test_interleaved():
    """Head by head, or group by group with the queries first."""
    owned = owned_dimensions(FUSED, {"qkv": 24}, 4, 8, interleaved=True)
    assert starts(owned) == {"Q": [0, 6, 12, 18], "K": [2, 8, 14, 20], "V": [4, 10, 16, 22]}
    owned = owned_dimensions(FUSED, {"qkv": 16}, 4, 8, interleaved=True)
    assert starts(owned) == {"Q": [0, 2, 8, 10], "K": [4, 12], "V": [6, 14]}


def test_latent_attention_has_heads_of_other_sizes():
    """Queries of 5 dimensions; keys of 3 and values of 2 in one module, head by head."""
    owned = owned_dimensions(LATENT, {"q": 20, "kv": 20}, 4, 8, interleaved=True)
    assert owned["Q"] == tuple(range(5 * i, 5 * i + 5) for i in range(4))
    assert owned["K"] == tuple(range(5 * i, 5 * i + 3) for i in range(4))
    assert owned["V"] == tuple(range(5 * i + 3, 5 * i + 5) for i in range(4))


@pytest.mark.parametrize("held_by", [APART, FUSED, LATENT])
def test_every_dimension_has_one_owner(held_by):
    sizes = {"q": 24, "k": 12, "v": 12, "kv": 48, "qkv": 48}
    owned = owned_dimensions(held_by, sizes, 6, 24, interleaved=True)
    for module in set(held_by.values()):
        dims = [i for part, path in held_by.items() if path == module for r in owned[part] for i in r]
        assert sorted(dims) == list(range(sizes[module]))


def test_no_heads_are_left():
    assert owned_dimensions(FUSED, {"qkv": 0}, 0, 0, interleaved=False) == dict.fromkeys("QKV", ())


@pytest.mark.parametrize(
    ("held_by", "sizes", "said"),
    [
        (APART, {"q": 9, "k": 8, "v": 8}, r"W_Q \(9\) cannot be shared by 4 heads"),
        (APART, {"q": 8, "k": 8, "v": 9}, r"W_V \(9\) cannot be shared by 2 dimensions"),
        (APART, {"q": 8, "k": 7, "v": 8}, r"W_K \(7\) cannot be shared by 4 key heads"),
        (APART, {"q": 8, "k": 6, "v": 6}, r"query heads \(4\) cannot be shared by 3 key heads"),
        (FUSED, {"qkv": 14}, "W_QKV has 14 outputs for 4 heads of 2 dimensions"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(held_by, sizes, said):
    with pytest.raises(ValueError, match=said):
        owned_dimensions(held_by, sizes, 4, 8, interleaved=False)
