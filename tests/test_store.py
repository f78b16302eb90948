"""The store gives back what was put in, or nothing; whoever writes, dies or scribbles over it meanwhile."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_heads.errors import StoreError
from prune_heads.heads import HeadMask
from prune_heads.journal import Journal
from prune_heads.store import PredictionKey, PredictionStore, default_root

ABOUT = {"model": "tiny", "task": "sst2", "split": "validation"}
KEY = PredictionKey("m1", "d1", HeadMask.parse("2:1,3", (4, 4)), "float32")
LOGITS = np.array([[0.1, -0.0], [1e-45, 3e38], [2.5, -7.0]], dtype=np.float32)

masks = st.sampled_from([(4, 4), (4, 5), (4, 4, 4)]).flatmap(
    lambda n_heads: st.frozensets(
        st.tuples(st.integers(0, len(n_heads) - 1), st.integers(0, 3)), max_size=3
    ).map(lambda pruned: HeadMask(n_heads, pruned))
)
words = st.text(alphabet='ab"', max_size=3)
keys = st.builds(PredictionKey, words, words, masks, words)


@pytest.fixture
def damage():
    return []


@pytest.fixture
def store(tmp_path, damage):
    return PredictionStore(tmp_path / "store", damage.append)


@pytest.fixture
def entry(store):
    """The file of one entry."""
    store.put(KEY, LOGITS, about=ABOUT)
    return store.root / next(store.entries()).name


def run(script, *words):
    """Run Python in a process of its own, as another host would."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def writing(store, n_writers):
    """Processes that write to a store at once; gives None again and again until all have ended well."""
    writers = [run(WRITER, store.root, f"own {i}") for i in range(n_writers)]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * n_writers
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    while any(writer.poll() is None for writer in writers):
        yield
    assert [writer.communicate()[1] for writer in writers] == [""] * n_writers


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
    assert not store.root.exists()


@given(keys, keys)
def test_keys_have_one_digest_only_if_they_are_equal(a, b):
    assert (a == b) == (a.digest == b.digest)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "m2"},
        {"data": "d2"},
        {"dtype": "bfloat16"},
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
    text = '{"data":"d1","dtype":"float32","format":1,' + mask + ',"model":"m1"}'
    assert KEY.digest == hashlib.sha256(text.encode()).hexdigest()


def test_the_same_logits_give_the_same_bytes_wherever_they_are(tmp_path):
    roots = [tmp_path / str(i) / "store" for i in range(8)]
    for root in roots:
        PredictionStore(root).put(KEY, LOGITS, about=dict(reversed(ABOUT.items())))
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    assert len(files) == 8
    assert len({path.read_bytes() for path in files}) == 1
    assert {path.relative_to(root).as_posix() for path, root in zip(files, roots, strict=True)} == {
        f"{KEY.digest[:2]}/{KEY.digest}.safetensors"
    }


def test_others_may_read_the_entries(entry, tmp_path):
    (tmp_path / "usual").touch()
    assert entry.stat().st_mode == (tmp_path / "usual").stat().st_mode


def assert_noticed_and_repaired(store, damage, entry):
    assert store.get(KEY) is None
    assert len(damage) == 1
    assert KEY.digest[:12] in damage[0]
    (found,) = store.verify()
    assert (found.digest, found.n_bytes) == (KEY.digest, entry.stat().st_size)
    store.put(KEY, LOGITS, about=ABOUT)
    assert same(store.get(KEY), LOGITS)
    assert (store.verify(), len(damage)) == ([], 1)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_noticed(tmp_path_factory, data):
    damage = []
    store = PredictionStore(tmp_path_factory.mktemp("store"), damage.append)
    store.put(KEY, LOGITS, about=ABOUT)
    entry = store.root / next(store.entries()).name
    content = bytearray(entry.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    entry.write_bytes(content)
    assert len(list(store.entries())) == 1  # headers alone: seen or not, the list stands
    assert_noticed_and_repaired(store, damage, entry)


@settings(max_examples=50, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_any_truncation_is_noticed_by_the_header_alone(tmp_path_factory, share):
    damage = []
    store = PredictionStore(tmp_path_factory.mktemp("store"), damage.append)
    store.put(KEY, LOGITS, about=ABOUT)
    entry = store.root / next(store.entries()).name
    entry.write_bytes(entry.read_bytes()[: int(share * entry.stat().st_size)])
    assert [found.digest for found in store.entries() if found.damaged] == [KEY.digest]
    assert_noticed_and_repaired(store, damage, entry)


@pytest.mark.parametrize(
    "content", [b"", b"notes\n", b"\x02" + bytes(7) + b"{}", b"\x04" + bytes(7) + b"[[]]"]
)
def test_a_foreign_file_is_noticed(store, damage, entry, content):
    entry.write_bytes(content)
    assert_noticed_and_repaired(store, damage, entry)


def test_the_entry_of_another_key_is_noticed(store, damage, entry):
    store.put(replace(KEY, dtype="bfloat16"), LOGITS + 1, about=ABOUT)
    (other,) = (store.root / found.name for found in store.entries() if found.dtype == "bfloat16")
    shutil.copy(other, entry)
    assert_noticed_and_repaired(store, damage, entry)


def test_a_step_of_a_journal_is_no_entry(store, damage, entry):
    Journal.open(store.root, {"job": 1}).write(0, LOGITS)
    (step,) = store.root.glob("journals/*/0/0.safetensors")
    shutil.copy(step, entry)
    assert_noticed_and_repaired(store, damage, entry)


def test_entries_say_what_they_are(store, entry):
    (found,) = store.entries()
    assert (found.digest, found.about, found.heads_pruned) == (KEY.digest, ABOUT, ("2:1,3",))
    assert (found.dtype, found.n_examples, found.damaged) == ("float32", 3, None)
    assert (found.n_bytes, store.root / found.name) == (entry.stat().st_size, entry)


WRITER = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
import numpy as np
from prune_heads.heads import HeadMask
from prune_heads.store import PredictionKey, PredictionStore
store, own = PredictionStore(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()  # all begin at once
for i in range(20):
    for data in ("shared", own):
        key = PredictionKey("m", data, HeadMask((32,), frozenset({(0, i)})), "float32")
        store.put(key, np.full((5000, 3), i, dtype=np.float32), about={"task": data})
"""


def test_ten_writers_at_once_lose_nothing_and_a_reader_sees_whole_entries(store, damage):
    keys = {
        (data, i): PredictionKey("m", data, HeadMask((32,), frozenset({(0, i)})), "float32")
        for data in ("shared", *(f"own {n}" for n in range(10)))
        for i in range(20)
    }
    n_seen = 0
    for _ in writing(store, 10):
        for (_, i), key in keys.items():
            if (logits := store.get(key)) is not None:
                n_seen += 1
                assert logits.shape == (5000, 3)
                assert (logits == i).all()
    assert n_seen > 0
    assert damage == store.verify() == []
    assert {entry.digest for entry in store.entries()} == {key.digest for key in keys.values()}
    assert not list(store.root.rglob("*.partial"))


def test_each_writing_has_a_temporary_file_of_its_own_beside_its_target(store, monkeypatch):
    """Two that shared one could rename what the other has begun; on another disk, renaming would copy."""
    used, replace_file = [], os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (used.append(old), replace_file(old, new)))
    for _ in range(2):
        store.put(KEY, LOGITS, about=ABOUT)
    assert len(set(used)) == 2
    assert {path.parent for path in used} == {store.root / KEY.digest[:2]}


def test_clearing_does_no_harm_to_writers(store):
    n_cleared = 0
    for _ in writing(store, 3):
        n_cleared += store.clear()[0]
    assert n_cleared > 0
    assert store.verify() == []


NO_SPACE = """
import resource, sys
from pathlib import Path
from tempfile import TemporaryDirectory
import numpy as np
from prune_heads.errors import StoreError
from prune_heads.heads import HeadMask
from prune_heads.journal import Journal
from prune_heads.store import PredictionKey, PredictionStore
store = PredictionStore(Path(sys.argv[1]))
journal = Journal.open(store.root, {"job": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
key = PredictionKey("m", "d", HeadMask((4,)), "float32")
store.put(key, np.zeros((9, 2), np.float32), about={})
logits = np.ones((900, 2), np.float32)
for write in (lambda: store.put(key, logits, about={}), lambda: journal.write(0, logits), store.check_writable):
    try:
        write()
    except StoreError as error:
        print(error)
"""


def test_no_space_is_one_line_and_leaves_what_was_there(store):
    out, errors = run(NO_SPACE, store.root).communicate()
    assert errors == ""
    lines = out.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("the store of predictions must be writable, on a disk with space left; got ")
        assert line.endswith("(File too large). Free space there, or name another folder with --store")
    (entry,) = store.entries()
    assert (entry.n_examples, store.verify()) == (9, [])
    assert {path.name for path in store.root.rglob("*") if path.is_file()} == {
        Path(entry.name).name,
        "manifest.json",
    }


@pytest.mark.parametrize("below", ["", "deeper/store"])
def test_a_store_below_a_file_is_refused_before_the_work(tmp_path, below):
    (tmp_path / "file").write_text("1")
    store = PredictionStore(tmp_path / "file" / below)
    for write in (store.check_writable, lambda: store.put(KEY, LOGITS, about=ABOUT)):
        with pytest.raises(
            StoreError, match=r"must be writable.*file.* \((Not a directory|File exists)\)\. Free"
        ):
            write()
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


READ_ONLY = """
import os, sys
from pathlib import Path
from tempfile import TemporaryDirectory
import numpy as np
from prune_heads.errors import StoreError
from prune_heads.heads import HeadMask
from prune_heads.store import PredictionKey, PredictionStore
if os.getuid() == 0:
    os.setuid(65534)  # root may write everywhere
key = PredictionKey("m", "d", HeadMask((4,)), "float32")
for root in (Path(sys.argv[1]), Path(sys.argv[1]) / "new"):
    store = PredictionStore(root)
    for write in (store.check_writable, lambda: store.put(key, np.ones((9, 2), np.float32), about={})):
        try:
            write()
        except StoreError as error:
            print(error)
try:
    list(PredictionStore(Path(sys.argv[1])).entries())
except StoreError as error:
    print(error)
"""


def test_folders_that_cannot_be_written_or_read_are_refused(tmp_path):
    with TemporaryDirectory() as folder:  # in which others may look, unlike tmp_path
        (Path(folder) / "ab").mkdir(mode=0)
        Path(folder).chmod(0o555)
        out, errors = run(READ_ONLY, folder).communicate()
        assert [path.name for path in Path(folder).iterdir()] == ["ab"]
    assert errors == ""
    assert [line.partition("(")[2] for line in out.splitlines()] == [
        "Permission denied). Free space there, or name another folder with --store"
    ] * 4 + ["Permission denied). Name another with --store"]


def test_a_store_that_can_be_written_is_not_made_by_asking(store, tmp_path):
    store.check_writable()
    assert not list(tmp_path.iterdir())


def test_clear_takes_what_is_ours_and_nothing_else(store, entry):
    Journal.open(store.root, {"job": 1}).write(0, LOGITS)
    left_over = entry.with_name(f".{entry.name}.0123456789abcdef.partial")
    left_over.write_bytes(b"12345")
    foreign = [
        store.root / name for name in ("notes.txt", "ab/notes.txt", "abc/x.safetensors", "journals/notes")
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    n_bytes = sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file())
    assert store.clear() == (1, n_bytes - 4 * len("mine"))
    assert {path for path in store.root.rglob("*") if path.is_file()} == set(foreign)
    assert not entry.parent.exists()
    assert store.clear() == (0, 0)


def test_clear_of_damaged_entries_alone(store, entry):
    store.put(replace(KEY, model="m2"), LOGITS, about=ABOUT)
    entry.write_bytes(b"spoilt")
    assert store.clear(damaged_only=True) == (1, len(b"spoilt"))
    assert same(store.get(replace(KEY, model="m2")), LOGITS)
    assert [found.damaged for found in store.entries()] == [None]


def test_an_absent_store_is_empty_and_a_file_is_none(tmp_path):
    absent = PredictionStore(tmp_path / "absent")
    assert (list(absent.entries()), absent.verify(), absent.clear()) == ([], [], (0, 0))
    (tmp_path / "file").write_text("1")
    with pytest.raises(StoreError, match=r"must be a folder that can be read; got .*file"):
        list(PredictionStore(tmp_path / "file").entries())


def test_where_the_store_is(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("PRUNE_HEADS_STORE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / ".cache/prune-heads/predictions"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_root() == tmp_path / "cache/prune-heads/predictions"
    monkeypatch.setenv("PRUNE_HEADS_STORE", "~/own")
    assert default_root() == tmp_path / "own"


def test_an_unknown_home_asks_for_a_folder(monkeypatch):
    monkeypatch.setenv("PRUNE_HEADS_STORE", "~no such user/store")
    with pytest.raises(StoreError, match=r"home folder must be known.*--store"):
        default_root()
