"""Places for objects: the kinds that a test is run on, each empty and of its own.

With s3fs and moto[server] installed, S3 is one of them.
"""

import secrets
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec

import pytest
from object_store import serving, serving_s3

WITHIN = ["folder", "memory"]
"""This process."""
OUTSIDE = ["http", *(["s3"] if find_spec("s3fs") and find_spec("moto") else [])]
"""Object stores that are processes of their own."""


@pytest.fixture(scope="module")
def served():
    """The address of an object store of a kind, which is started when it is first asked for."""
    with ExitStack() as stack:
        yield cache(lambda kind: stack.enter_context({"http": serving, "s3": serving_s3}[kind]()))


def _new(request, tmp_path):
    kind, name = request.param, secrets.token_hex(8)
    if kind in WITHIN:
        return tmp_path / "store" if kind == "folder" else f"memory://{name}"
    return f"{request.getfixturevalue('served')(kind)}/{name}"


@pytest.fixture(params=WITHIN)
def place(request, tmp_path):
    """A folder, or a URL, both within this process."""
    return _new(request, tmp_path)


@pytest.fixture(params=OUTSIDE)
def url(request, tmp_path):
    """A URL on an object store that is another process."""
    return _new(request, tmp_path)


@pytest.fixture(params=[*WITHIN, *OUTSIDE])
def anywhere(request, tmp_path):
    """Each of them."""
    return _new(request, tmp_path)
