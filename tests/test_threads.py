"""How many threads a model gets: small ones a single one, and those that come after them their own again."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from prune_heads.studies import setup
from prune_heads.studies.setup import limit_threads

SMALL, LARGE = (SimpleNamespace(model=nn.Linear(n, n)) for n in (4, 1500))


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    setup._n_threads.cache_clear()
    torch.set_num_threads(2)
    yield
    setup._n_threads.cache_clear()


def test_a_large_model_after_a_small_one_has_the_threads_of_the_process():
    found = []
    for each in (SMALL, LARGE, SMALL):
        limit_threads(each)
        found.append(torch.get_num_threads())
    assert found == [1, 2, 1]


def test_the_user_goes_first(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    limit_threads(SMALL)
    assert torch.get_num_threads() == 2
