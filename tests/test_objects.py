"""Objects are read as they were written, found by their names, and gone once removed, wherever they are."""

import secrets

import pytest
from object_store import serving

from prune_heads.errors import StoreError
from prune_heads.store import is_url, objects_at
from prune_heads.store.objects import Folder, Remote

NAMES = ("ab/1.x", "ab/2.x", "cd/1.x", "jobs/1/0/7", "jobs/1/all", "jobs/2/all")


@pytest.fixture
def objects(anywhere):
    """In each kind of place."""
    return objects_at(anywhere)


@pytest.fixture
def filled(objects):
    for name in NAMES:
        objects.write(name, name.encode())
    return objects


def test_what_is_written_is_read_whole_or_from_its_start(objects):
    for content in (bytes(range(256)) * 300, b"", b"another"):
        objects.write("ab/1.x", content)
        assert objects.read("ab/1.x") == content
    assert [objects.read("ab/1.x", n) for n in (1, 7, 99)] == [b"a", b"another", b"another"]
    for absent in ("ab/2.x", "cd/1.x", "ab"):
        with pytest.raises((FileNotFoundError, StoreError)):
            objects.read(absent)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("[a-d]{2}/.*", ["ab/1.x", "ab/2.x", "cd/1.x"]),
        (r"ab/1\.x", ["ab/1.x"]),
        ("jobs/[0-9]/all", ["jobs/1/all", "jobs/2/all"]),
        ("jobs/1/all", ["jobs/1/all"]),
        ("jobs/[0-9]/[0-9]/[0-9]", ["jobs/1/0/7"]),
        ("jobs/3/all", []),
        ("a/.*", []),
        ("ab", []),
    ],
)
def test_what_matches_is_found_and_removed_and_nothing_else(filled, pattern, names):
    sizes = {name: len(name) for name in names}
    assert filled.find(pattern) == sizes
    assert list(filled.find(pattern)) == names
    assert filled.remove(pattern) == (len(names), sum(sizes.values()))
    assert filled.find(pattern) == {}
    assert filled.remove(pattern) == (0, 0)
    left = {name for depth in (2, 3, 4) for name in filled.find("/".join([".*"] * depth))}
    assert left == set(NAMES) - set(names)


def test_what_others_write_and_remove_is_seen_at_once(objects):
    other = objects_at(objects.place)
    assert objects.find("ab/.*") == {}
    other.write("ab/1.x", b"12")
    assert objects.find("ab/.*") == {"ab/1.x": 2}
    other.write("ab/1.x", b"123")
    assert (objects.find("ab/.*"), objects.read("ab/1.x")) == ({"ab/1.x": 3}, b"123")
    other.remove("ab/.*")
    assert objects.find("ab/.*") == {}


def test_two_may_remove_the_same(filled, monkeypatch):
    find, other = filled.find, objects_at(filled.place)

    def found_and_gone(pattern):
        found = find(pattern)
        other.remove("ab/1.*")
        return found

    monkeypatch.setattr(filled, "find", found_and_gone)
    filled.remove("ab/.*")
    assert find("ab/.*") == {}


def test_asking_whether_it_can_be_written_leaves_nothing(objects):
    objects.check_writable()
    assert objects.find(".*/.*") == {}


def test_a_path_is_a_folder_and_so_is_the_url_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_url(str(tmp_path))
    for place in ("kept", f"file://{tmp_path}/kept", f"local://{tmp_path}/kept"):
        objects = objects_at(place)
        assert isinstance(objects, Folder)
        assert objects.place == str(tmp_path / "kept")


def test_what_fsspec_does_not_know_is_refused():
    with pytest.raises(StoreError, match=r"URL that fsspec can open; got nowhere://x \(Protocol not known: n"):
        objects_at("nowhere://x")


def test_a_package_that_is_missing_is_named(monkeypatch):
    from fsspec.registry import known_implementations

    missing = {"class": "absent.Files", "err": "Install absent to reach it"}
    monkeypatch.setitem(known_implementations, "absent", missing)
    with pytest.raises(StoreError, match=r"must be installed; got absent://\*\*\*@b/c \(Install absent to reach"):
        objects_at("absent://me:secret@b/c")


def test_a_place_that_cannot_be_reached_or_entered_says_so_without_its_password():
    refused = r"must be {}; got objects://127.*\(.*\)\. Check its address and your credentials"
    with serving() as address:
        locked = objects_at(f"{address}/locked")
        for what, act in (
            ("writable", locked.check_writable),
            ("writable", lambda: locked.write("a", b"")),
            ("readable", lambda: locked.read("a")),
            ("readable", lambda: locked.find("a/b")),
        ):
            with pytest.raises(StoreError, match=refused.format(what)):
                act()
    with pytest.raises(StoreError, match="Connection refused"):
        objects_at(address).check_writable()


@pytest.mark.parametrize("user", ["key:p%2Fss", "key:p@ss", "token"])
def test_what_is_secret_in_a_url_is_never_shown(user):
    url = f"memory://{user}@bucket/{secrets.token_hex(4)}?token=t0ken"

    class Refusing:
        def pipe_file(self, path, content):
            raise PermissionError(f"{user} may not: {url}")

    with pytest.raises(StoreError) as refused:
        Remote(url, Refusing(), "bucket").write("a", b"")
    for secret in (user, "p%2Fss", "p@ss", "t0ken"):
        assert secret not in str(refused.value)
    assert "***@bucket/" in str(refused.value)
