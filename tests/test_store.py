"""The store gives back what was put in, or nothing, whoever scribbles over it, in a folder and on an object store."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prune_heads.heads import HeadMask
from prune_heads.store import Journal, PredictionKey, PredictionStore

ABOUT = {"model": "tiny", "task": "sst2", "split": "validation"}
KEY = PredictionKey("m1", "d1", HeadMask.parse("2:1,3", (4, 4)), "float32")
NAME = f"{KEY.digest[:2]}/{KEY.digest}.safetensors"
LOGITS = np.array([[0.1, -0.0], [1e-45, 3e38], [2.5, -7.0]], dtype=np.float32)

masks = st.sampled_from([(4, 4), (4, 5), (4, 4, 4)]).flatmap(
    lambda n_heads: st.frozensets(st.tuples(st.integers(0, len(n_heads) - 1), st.integers(0, 3)), max_size=3).map(
        lambda pruned: HeadMask(n_heads, pruned)
    )
)
words = st.text(alphabet='ab"', max_size=3)
keys = st.builds(PredictionKey, words, words, masks, words)


@pytest.fixture
def damage():
    return []


@pytest.fixture
def store(place, damage):
    return PredictionStore(place, damage.append)


@pytest.fixture
def entry(store):
    """The name of one entry."""
    store.put(KEY, LOGITS, about=ABOUT)
    return NAME


def everything(store):
    """What is kept, whatever it is, with its bytes."""
    names = (name for depth in range(1, 6) for name in store.objects.find("/".join([".*"] * depth)))
    return {name: store.objects.read(name) for name in names}


def same(a, b):
    """Equal to the last bit."""
    return a is not None and a.dtype == b.dtype == np.float32 and np.array_equal(a.view("u4"), b.view("u4"))


def test_what_is_put_is_got_to_the_last_bit(store):
    assert store.get(KEY) is None
    store.put(KEY, LOGITS, about=ABOUT)
    assert same(store.get(KEY), LOGITS)
    store.put(KEY, np.asfortranarray(LOGITS[:2]), about=ABOUT)  # other strides, same values
    assert same(store.get(KEY), LOGITS[:2])
    assert len(list(store.entries())) == 1


def test_other_precisions_are_not_converted_in_silence(store):
    with pytest.raises(ValueError, match="must be float32; got float64"):
        store.put(KEY, LOGITS.astype(np.float64), about=ABOUT)
    assert everything(store) == {}


@given(keys, keys)
def test_keys_have_one_digest_only_if_they_are_equal(a, b):
    assert (a == b) == (a.digest == b.digest)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "m2"},
        {"data": "d2"},
        {"dtype": "bfloat16"},
        {"objective": "another"},
        {"mask": HeadMask.parse("2:1", (4, 4))},
        {"mask": HeadMask.parse("2:1,3", (4, 8))},
    ],
)
def test_each_part_of_the_key_counts(store, change):
    store.put(KEY, LOGITS, about=ABOUT)
    assert store.get(replace(KEY, **change)) is None
    assert same(store.get(replace(KEY)), LOGITS)


def test_the_digest_is_that_of_all_parts_and_of_the_format():
    """Spelt out, since another digest would make every store out there worthless."""
    numbering = '"numbering":"layers and heads from 1"'
    mask = '"mask":{"heads_pruned":["2:1,3"],"n_heads":[4,4],' + numbering + "}"
    text = '{"data":"d1","dtype":"float32","format":2,' + mask + ',"model":"m1","objective":""}'
    assert KEY.digest == hashlib.sha256(text.encode()).hexdigest()


def assert_noticed_and_repaired(store, damage, entry):
    assert store.get(KEY) is None
    assert len(damage) == 1
    assert KEY.digest[:12] in damage[0]
    (found,) = store.verify()
    assert (found.digest, found.n_bytes) == (KEY.digest, len(store.objects.read(entry)))
    store.put(KEY, LOGITS, about=ABOUT)
    assert same(store.get(KEY), LOGITS)
    assert (store.verify(), len(damage)) == ([], 1)


@pytest.fixture(params=["folder", "memory"])
def new_store(request, tmp_path_factory):
    """A function that gives another empty store each time, with a list of the damage that it tells of."""

    def new():
        damage, folder = [], tmp_path_factory.mktemp("store")
        place = folder if request.param == "folder" else f"memory://{folder.name}"
        store = PredictionStore(place, damage.append)
        store.clear()  # memory outlives the example
        store.put(KEY, LOGITS, about=ABOUT)
        return store, damage

    return new


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_noticed(new_store, data):
    store, damage = new_store()
    content = bytearray(store.objects.read(NAME))
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    store.objects.write(NAME, bytes(content))
    assert len(list(store.entries())) == 1  # headers alone: seen or not, the list stands
    assert_noticed_and_repaired(store, damage, NAME)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_any_truncation_is_noticed_by_the_header_alone(new_store, share):
    store, damage = new_store()
    content = store.objects.read(NAME)
    store.objects.write(NAME, content[: int(share * len(content))])
    assert [found.digest for found in store.entries() if found.damaged] == [KEY.digest]
    assert_noticed_and_repaired(store, damage, NAME)


@pytest.mark.parametrize("content", [b"", b"notes\n", b"\x02" + bytes(7) + b"{}", b"\x04" + bytes(7) + b"[[]]"])
def test_foreign_bytes_are_noticed(store, damage, entry, content):
    store.objects.write(entry, content)
    assert_noticed_and_repaired(store, damage, entry)


def test_the_entry_of_another_key_is_noticed(store, damage, entry):
    store.put(replace(KEY, dtype="bfloat16"), LOGITS + 1, about=ABOUT)
    (other,) = (found.name for found in store.entries() if found.dtype == "bfloat16")
    store.objects.write(entry, store.objects.read(other))
    assert_noticed_and_repaired(store, damage, entry)


def test_a_step_of_a_journal_is_no_entry(store, damage, entry):
    Journal(store.objects, {"job": 1}).write(0, LOGITS)
    (step,) = store.objects.find(r"journals/.*/0/0\.safetensors")
    store.objects.write(entry, store.objects.read(step))
    assert_noticed_and_repaired(store, damage, entry)


def test_entries_say_what_they_are(store, entry):
    (found,) = store.entries()
    assert (found.digest, found.about, found.heads_pruned) == (KEY.digest, ABOUT, ("2:1,3",))
    assert (found.dtype, found.n_examples, found.damaged) == ("float32", 3, None)
    assert (found.n_bytes, found.name) == (len(store.objects.read(entry)), entry)


def test_a_header_of_any_length_is_read(store, entry):
    """Also one that does not end in the bytes that are read at first."""
    long = {name: "x" * 20_000 for name in ABOUT}
    store.put(KEY, LOGITS, about=long)
    (found,) = store.entries()
    assert (found.about, found.damaged) == (long, None)


def test_clear_takes_what_is_ours_and_nothing_else(store, entry):
    Journal(store.objects, {"job": 1}).write(0, LOGITS)
    folder, _, name = entry.partition("/")
    store.objects.write(f"{folder}/.{name}.0123456789abcdef.partial", b"12345")
    n_bytes = sum(map(len, everything(store).values()))
    foreign = {name: b"mine" for name in ("notes.txt", "ab/notes.txt", "abc/x.safetensors", "journals/notes")}
    for name, content in foreign.items():
        store.objects.write(name, content)
    assert store.clear() == (1, n_bytes)
    assert everything(store) == foreign
    assert store.clear() == (0, 0)


def test_clear_of_damaged_entries_alone(store, entry):
    store.put(replace(KEY, model="m2"), LOGITS, about=ABOUT)
    store.objects.write(entry, b"spoilt")
    assert store.clear(damaged_only=True) == (1, len(b"spoilt"))
    assert same(store.get(replace(KEY, model="m2")), LOGITS)
    assert [found.damaged for found in store.entries()] == [None]


def test_what_is_absent_is_an_empty_store(store):
    assert (list(store.entries()), store.verify(), store.clear()) == ([], [], (0, 0))
    assert everything(store) == {}


def test_a_store_that_can_be_written_is_not_made_by_asking(store, tmp_path):
    store.objects.check_writable()
    assert (everything(store), list(tmp_path.iterdir())) == ({}, [])


def test_entries_have_the_same_bytes_and_names_wherever_they_are(tmp_path, store):
    PredictionStore(tmp_path / "folder").put(KEY, LOGITS, about=dict(reversed(ABOUT.items())))
    store.put(KEY, LOGITS, about=ABOUT)
    assert everything(store) == {NAME: (tmp_path / "folder" / NAME).read_bytes()}
