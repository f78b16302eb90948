"""Files are there whole or not at all."""

import json
import shutil

import pytest

from prune_heads.errors import RunError
from prune_heads.files import clear_left_over, new_directory, read_json, write_json, write_text


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_folder_appears_whole(tmp_path):
    with new_directory(tmp_path / "deep" / "run") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "deep" / "run").exists()
    assert everything(tmp_path) == ["deep", "deep/run", "deep/run/a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_folder_that_fails_leaves_what_was_there(tmp_path, error):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old").write_text("1")
    with pytest.raises(error), new_directory(tmp_path / "run") as folder:  # noqa: PT012 (it fails after writing)
        (folder / "new").write_text("2")
        raise error
    assert everything(tmp_path) == ["run", "run/old"]


def test_a_folder_that_fails_leaves_no_parents_that_were_made_for_it(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="no"), new_directory(tmp_path / "there" / "deep" / "er" / "run"):
        raise ValueError("no")
    assert everything(tmp_path) == ["there"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for name in ("old", "new"):
        with new_directory(tmp_path / "run") as folder:
            (folder / name).write_text("1")
    assert everything(tmp_path) == ["run", "run/new"]


def test_others_may_read_what_was_written(tmp_path):
    with new_directory(tmp_path / "run") as folder:
        (folder / "a").touch(mode=0o600)
    write_text(tmp_path / "b", "1")
    (tmp_path / "usual").touch()
    usual = (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "run" / "a").stat().st_mode == usual == (tmp_path / "b").stat().st_mode


def test_json_round_trip_and_numbers_that_json_cannot_hold(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, "ü"]})
    assert read_json(tmp_path / "a.json", "a test") == {"x": [1, "ü"]}
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, "ü"]}
    assert everything(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("text", "message"), [(None, "readable file"), ("{", "must be a JSON file"), ("[1]", "holds a list")]
)
def test_what_is_no_json_object_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(RunError, match=f"(?s)a test must.*{message}|{message}"):
        read_json(tmp_path / "a.json", "a test")


def test_what_a_kill_left_of_a_folder_with_a_long_name_is_cleared(tmp_path):
    """Names of trials have 64 digits, of which a temporary name shows 50."""
    one, other = tmp_path / ("a" * 64), tmp_path / ("b" * 64)
    for target in (one, other):
        writing = new_directory(target)
        (writing.__enter__() / "record.json").write_text("{}")
        left = next(tmp_path.glob(f".{target.name[0]}*.partial"))
        shutil.copytree(left, tmp_path / "copy")
        writing.__exit__(None, None, None)
        (tmp_path / "copy").rename(left)  # as if the process had been killed before it was renamed
    clear_left_over(one)
    assert [path.name[:2] for path in tmp_path.glob(".*")] == [".b"]
    assert one.is_dir()
    clear_left_over(other)
    assert sorted(tmp_path.iterdir()) == [one, other]
