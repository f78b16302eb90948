"""`score` and `ablate` with --executor ray: the numbers of one process, however many workers share the work."""

import json

import numpy as np
import pytest
from clusters import on_ray
from safetensors.numpy import load_file

from prune_heads.importance import ESTIMATORS, GateGradients

pytestmark = on_ray
SECONDS = 240
WITHIN = 1e-6
SCORE = ("score", "--batch-size", "8", "--json", "--score-examples")
ABLATE = ("ablate", "--max-examples", "60", "--choose-examples", "40", "--kind", "only-one", "--json")


@pytest.fixture
def on(nodes):
    """The options for so many workers."""
    return lambda n: ("--executor", "ray", "--shards", n, "--address", nodes.address)


def numbers(value):
    """Every number of a report, in order."""
    if isinstance(value, dict | list):
        return [x for each in (value.values() if isinstance(value, dict) else value) for x in numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


def agree(one, many):
    assert one.keys() == many.keys()
    a, b = numbers(one), numbers(many)
    assert len(a) == len(b) > 10
    assert np.max(np.abs(np.subtract(a, b))) <= WITHIN
    words = [json.dumps(each, default=str) for each in (texts(one), texts(many))]
    assert words[0] == words[1]


def texts(value):
    if isinstance(value, dict):
        return {key: texts(each) for key, each in value.items()}
    if isinstance(value, list):
        return [texts(each) for each in value]
    return None if isinstance(value, int | float) and not isinstance(value, bool) else value


def ranking(report):
    return np.argsort(np.concatenate(report["scores"]), kind="stable").tolist()


def record(folder):
    """What a record says beside when and how long."""
    there = json.loads((folder / "record.json").read_text())
    del there["seconds"], there["provenance"]
    return there


def matrix(folder, report):
    arrays = load_file(folder / "gradients.safetensors")
    n_heads = tuple(len(row) for row in report["scores"])
    return arrays, GateGradients(arrays["signed"], arrays["absolute"], arrays["n_tokens"], n_heads)


@pytest.mark.parametrize(
    ("n", "n_examples", "estimator", "normalize"),
    [(3, 16, "batch", "min-max")],  # three workers, two batches
)
def test_gradients_are_those_of_one_process(n, n_examples, estimator, normalize, on, tmp_path, invoke, json_of):
    words = (*SCORE, n_examples, "--estimator", estimator, "--normalize", normalize)
    one = json_of(invoke(*words, "--output", tmp_path / "one"))
    many = json_of(invoke(*words, "--output", tmp_path / "many", *on(n)))
    agree(one, many)
    assert ranking(one) == ranking(many)
    assert record(tmp_path / "one") == record(tmp_path / "many")
    (a, of_one), (b, of_many) = matrix(tmp_path / "one", one), matrix(tmp_path / "many", many)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=WITHIN)
    for each in ESTIMATORS.values():  # computed of the matrix, in one process or not
        for size in (8, 32):
            first, second = each.score(of_one, size), each.score(of_many, size)
            np.testing.assert_allclose(first.flat(), second.flat(), rtol=0, atol=WITHIN)
            assert (first.standard_error is None) == (second.standard_error is None)  # of one batch there is none
            for x, y in zip(first.standard_error or (), second.standard_error or (), strict=True):
                np.testing.assert_allclose(x, y, rtol=0, atol=WITHIN)


@pytest.mark.thorough
def test_a_process_and_its_ablation_scores(on, tmp_path, cli, json_of, invoke):
    words = (*SCORE, 50, "--criterion", "ablation")
    one = json_of(invoke(*words, "--store", tmp_path / "a"))
    done = cli(*words, "--store", tmp_path / "b", *on(2), timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    many = json.loads(done.stdout)
    agree(one, many)
    assert ranking(one) == ranking(many)
    assert len(list((tmp_path / "b").rglob("*.safetensors"))) == 1 + len(np.concatenate(one["scores"]))


@pytest.mark.thorough
def test_ablations_are_those_of_one_process(on, tmp_path, invoke, json_of, monkeypatch):
    stores = (tmp_path / "a", tmp_path / "b")
    one = json_of(invoke(*ABLATE, "--store", stores[0], "--output", tmp_path / "one"))
    monkeypatch.chdir(tmp_path)  # the workers stand elsewhere
    many = json_of(invoke(*ABLATE, "--store", "b", "--output", tmp_path / "many", *on(2)))
    agree(one, many)
    assert record(tmp_path / "one") == record(tmp_path / "many")
    assert {path.name for path in stores[0].glob("??/*")} == {path.name for path in stores[1].glob("??/*")}
    again = json_of(invoke(*ABLATE, "--store", stores[1], *on(2)))
    assert again == many


def test_a_worker_that_cannot_go_on_says_what_one_process_says(on, invoke, copy, sst2):
    weights = next(copy.glob("*.safetensors"))
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file

    tensors = load(weights)
    # Finite, so that it loads; only the longer examples have this position, and overflow.
    name = next(key for key in tensors if key.endswith("position_embeddings.weight"))
    tensors[name][9] = 3e38
    save_file(tensors, weights, metadata={"format": "pt"})
    words = ("score", "--model", copy, "--task", "sst2", "--data-dir", sst2, "--batch-size", "4")
    one, many = invoke(*words), invoke(*words, *on(1))
    assert one.exit_code == many.exit_code == 1
    assert one.stderr.splitlines()[-1] == many.stderr.splitlines()[-1]


@pytest.mark.parametrize("criterion", ["random", "magnitude"])
def test_what_is_done_at_once_is_done_here(criterion, tmp_path, invoke, json_of):
    words = ("score", "--criterion", criterion, "--json", "--output")
    one = invoke(*words, tmp_path / "one")
    many = invoke(*words, tmp_path / "many", "--executor", "ray", "--shards", 2, "--address", "nowhere:1")
    assert json_of(one) == json_of(many)
    assert "here, not on a cluster" in many.stderr
    assert record(tmp_path / "one") == record(tmp_path / "many")


@pytest.mark.parametrize("command", ["score", "ablate"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shards", "2"), "belong to --executor ray"),
        (("--address", "auto"), "belong to --executor ray"),
        (("--executor", "ray"), "needs --shards"),
        (("--executor", "ray", "--shards", "0"), "greater than or equal to 1"),
    ],
)
def test_misuse(command, words, said, refused):
    assert said in refused(command, *words, code=2)


@pytest.mark.parametrize("command", ["score", "ablate"])
def test_without_ray(command, refused, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    assert "pip install 'prune-heads[ray]'" in refused(command, "--executor", "ray", "--shards", 2)
