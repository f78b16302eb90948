"""The reader of files from outside: a value that can be computed with, or an error that names what is wrong."""

import json
import math
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prune_heads.errors import RunError, TaskError
from prune_heads.files import read_json, read_toml

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "x.file"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


UTF_8 = "a thing: x.file"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a":\n"caf\xe9"}'.encode("latin-1"), f"{UTF_8} line 2: the file must be UTF-8, got the byte 0xe9"),
        ('{"a":\n"\u20ac'.encode()[:-1], f"{UTF_8} line 2: .* ends within a character: it is cut"),
        (b"\xef\xbb\xbf\n\xe9}", f"{UTF_8} line 2: .* 0xe9"),
        ("{}".encode("utf-16"), f"{UTF_8}: .*got UTF-16"),
        ("{}".encode("utf-32"), f"{UTF_8}: .*got UTF-32"),
        ("{}".encode("utf-16-le"), f"{UTF_8} line 1: .*null byte"),
    ],
)
@pytest.mark.parametrize("read", [read_json, read_toml])
def test_other_encodings_are_named_with_the_line(read, content, said, file):
    with pytest.raises(TaskError, match=said):
        read(file(content), "a thing", TaskError)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a":' * 100 + "1" + "}" * 100, "nested at most 64 deep"),
        ('{"a":' + "9" * 5000 + "}", "4300 digits"),
        ('{"a":1' + "0" * 400 + "}", "a must be a number of at most 64 bits; got one of 1329"),
        ('{"a":[[1e999]]}', r"a\[1\]\[1\] must be a finite number; got inf"),
        ('{"a":{"b":NaN}}', "b must be a finite number; got nan"),
        ('{"a":"\\ud800"}', r"a must be text; got '\\ud800'"),
        ('{"\\ud800":1}', "must be text"),
        ('{"a":"x\\u0000"}', "a must be text"),
        ("[1]", "holds a list"),
        ("", "must be a JSON file"),
    ],
)
def test_json_that_nobody_can_compute_with(content, said, file):
    with pytest.raises(RunError, match=said):
        read_json(file(content), "a thing")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a=" + "[" * 100_000, "nested too deeply"),
        ("a=" + "{b=" * 100_000, "nested too deeply"),
        ("a=" + "9" * 5000, "a must be a number of at most 64 bits"),
        ("a=1" + "0" * 400, "at most 64 bits"),
        ("a=[nan]", r"a\[1\] must be a finite number; got nan"),
        ("a=-inf", "a must be a finite number; got -inf"),
        ("a=2020-01-01", "a must be a text, a number, true or false; got a date, 2020-01-01"),
        ("a=[12:30:00]", "got a time"),
        ("a." * 125_000 + "a=1", "line 1 has more than 100 dots"),
        ("[" + "a." * 125_000 + "a]", "line 1 has more than 100 dots"),
        ("x={" + "a." * 125_000 + "a=1}", "line 1 has more than 100 dots"),
        ("#" * (1 << 20) + "#", "at most 1,048,576 bytes"),
        ('a="x\\u0000"', "a must be text"),
    ],
)
def test_toml_that_nobody_can_compute_with_or_that_would_hang(content, said, file):
    start = time.perf_counter()
    with pytest.raises(RunError, match=said):
        read_toml(file(content), "a thing")
    assert time.perf_counter() - start < 5


def test_what_is_no_file(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path, tmp_path / "none", tmp_path / "loop", tmp_path / ("n" * 300), tmp_path / "a\0b"):
        for read in (read_json, read_toml):
            with pytest.raises(RunError, match="a thing must be a readable file; got "):
                read(path, "a thing")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda values: st.lists(values, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), values, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(value=st.dictionaries(st.sampled_from("abc"), VALUES), mark=st.sampled_from(["", "\ufeff"]))
@FUZZ
def test_any_other_value_comes_back_as_it_was(value, mark, file):
    assert read_json(file(mark + json.dumps(value)), "a thing") == value


PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"a", b":", b"=", b",", b"\n", b"1", b"e9", b"NaN", b"nan", b"\\u", b"d800", b".",
     b"'", b"\xff", b"\0", b"null", b"true", b"2020-01-01", b"#", b'"""', b"-", b"\xc3\xa9"]
)  # fmt: skip


@given(content=st.lists(PIECES, max_size=30).map(b"".join) | st.binary(max_size=60))
@FUZZ
def test_whatever_the_bytes_are_there_is_a_finite_value_or_our_error(content, file):
    for read in (read_json, read_toml):
        try:
            value = read(file(content), "a thing")
        except RunError as error:
            assert str(error)  # noqa: PT017
        else:
            assert math.isfinite(sum(each for each in value.values() if isinstance(each, float)))
            json.dumps(value, allow_nan=False).encode()
