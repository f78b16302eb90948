"""The store in a folder: whoever writes at once or dies meanwhile, whether or not the disk lets us."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from prune_heads.errors import StoreError
from prune_heads.heads import HeadMask
from prune_heads.store import Journal, PredictionKey, PredictionStore, default_root

ABOUT = {"model": "tiny", "task": "sst2", "split": "validation"}
KEY = PredictionKey("m1", "d1", HeadMask.parse("2:1,3", (4, 4)), "float32")
LOGITS = np.array([[0.1, -0.0], [1e-45, 3e38], [2.5, -7.0]], dtype=np.float32)


@pytest.fixture
def damage():
    return []


@pytest.fixture
def store(tmp_path, damage):
    return PredictionStore(tmp_path / "store", damage.append)


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
    writers = [run(WRITER, store.objects.root, f"own {i}") for i in range(n_writers)]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * n_writers
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    while any(writer.poll() is None for writer in writers):
        yield
    assert [writer.communicate()[1] for writer in writers] == [""] * n_writers


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


def test_others_may_read_the_entries(store, tmp_path):
    store.put(KEY, LOGITS, about=ABOUT)
    entry = store.objects.root / next(store.entries()).name
    (tmp_path / "usual").touch()
    assert entry.stat().st_mode == (tmp_path / "usual").stat().st_mode


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


@pytest.mark.slow
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
    assert not list(store.objects.root.rglob("*.partial"))


def test_each_writing_has_a_temporary_file_of_its_own_beside_its_target(store, monkeypatch):
    """Two that shared one could rename what the other has begun; on another disk, renaming would copy."""
    used, replace_file = [], os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (used.append(old), replace_file(old, new)))
    for _ in range(2):
        store.put(KEY, LOGITS, about=ABOUT)
    assert len(set(used)) == 2
    assert {path.parent for path in used} == {store.objects.root / KEY.digest[:2]}


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
from prune_heads.store import Journal
from prune_heads.store import PredictionKey, PredictionStore
store = PredictionStore(Path(sys.argv[1]))
journal = Journal(store.objects, {"job": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
key = PredictionKey("m", "d", HeadMask((4,)), "float32")
store.put(key, np.zeros((9, 2), np.float32), about={})
logits = np.ones((900, 2), np.float32)
for write in (lambda: store.put(key, logits, about={}), lambda: journal.write(0, logits), store.objects.check_writable):
    try:
        write()
    except StoreError as error:
        print(error)
"""


def test_no_space_is_one_line_and_leaves_what_was_there(store):
    out, errors = run(NO_SPACE, store.objects.root).communicate()
    assert errors == ""
    lines = out.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("the store of predictions must be writable, on a disk with space left; got ")
        assert line.endswith("(File too large). Make room or allow it there, or name another folder with --store")
    (entry,) = store.entries()
    assert (entry.n_examples, store.verify()) == (9, [])
    assert {path.name for path in store.objects.root.rglob("*") if path.is_file()} == {
        Path(entry.name).name,
        "manifest.json",
    }


@pytest.mark.parametrize("below", ["", "deeper/store"])
def test_a_store_below_a_file_is_refused_before_the_work(tmp_path, below):
    (tmp_path / "file").write_text("1")
    store = PredictionStore(tmp_path / "file" / below)
    for write in (store.objects.check_writable, lambda: store.put(KEY, LOGITS, about=ABOUT)):
        with pytest.raises(StoreError, match=r"must be writable.*file.* \((Not a directory|File exists)\)\. Make room"):
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
    for write in (store.objects.check_writable, lambda: store.put(key, np.ones((9, 2), np.float32), about={})):
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
        "Permission denied). Make room or allow it there, or name another folder with --store"
    ] * 5


def test_clearing_leaves_no_folder(store):
    store.put(KEY, LOGITS, about=ABOUT)
    Journal(store.objects, {"job": 1}).write(0, LOGITS)
    (store.objects.root / "00").mkdir()  # of a writer that was killed before it wrote
    store.clear()
    assert not list(store.objects.root.iterdir())


def test_a_file_is_no_store(tmp_path):
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
    monkeypatch.setenv("PRUNE_HEADS_STORE", "s3://bucket/~/own")
    assert default_root() == "s3://bucket/~/own"


def test_an_unknown_home_asks_for_a_folder(monkeypatch):
    monkeypatch.setenv("PRUNE_HEADS_STORE", "~no such user/store")
    with pytest.raises(StoreError, match=r"home folder of the store must be known.*--store"):
        default_root()
