"""Work that is split: into however many parts, it gives the numbers of one process. The workers are this process."""

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prune_heads.ablation import ablations, predict_masks
from prune_heads.errors import RunError
from prune_heads.heads import HeadMask
from prune_heads.importance import gate_gradients, model_without
from prune_heads.options import Scoring, Setup
from prune_heads.progress import Reporter
from prune_heads.studies.scoring import Lab
from prune_heads.studies.setup import load_split, predictions_of
from prune_heads.studies.spreading import Spread

WITHIN = 1e-6


class Here:
    """Workers in this process, to which all comes through pickles, as it does on a cluster; theirs is `change`."""

    def __init__(self, n, change=lambda begin: begin, after=lambda: None):
        self.n, self.change, self.after, self.parts = n, change, after, []

    def run(self, begin, parts, tell, *, gpus):
        self.parts += parts
        work = self.change(pickle.loads(pickle.dumps(begin)))(1, 0)
        found = [pickle.loads(pickle.dumps(work(pickle.loads(pickle.dumps(part))))) for part in parts]
        for pair in zip(parts, found, strict=True):
            tell(*pair)
        self.after()
        return found


class Counting(Reporter):
    """Adds up what stages announce and do."""

    def __init__(self):
        super().__init__()
        self.total = self.done = 0

    def stage(self, name, total):
        self.total += total

        class Stage:
            def __enter__(stage):
                return lambda done: setattr(self, "done", self.done + done)

            def __exit__(stage, *error):
                return None

        return Stage()


@pytest.fixture
def setup(checkpoint, sst2, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which a worker takes away, thinking it Ray's
    return Setup(str(checkpoint), "sst2", data_dir=sst2, batch_size=6, store=tmp_path / "store")


@pytest.fixture
def examples(setup):
    return Lab(setup, Reporter()).examples(Scoring())


@pytest.mark.parametrize("masked", [None, "1:2 3:1,4"])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 40])
def test_gradients_are_those_of_the_same_batches(n, masked, setup, examples):
    masked = None if masked is None else HeadMask.parse(masked, (4, 4, 4))
    here, reporter = Here(n), Counting()
    one = gate_gradients(model_without(examples.subject.model, masked), examples.batches)
    many = Spread(setup, here, reporter).gradients(examples, masked)
    assert len(here.parts) == min(len(examples.batches), 4 * n) == min(7, 4 * n)
    assert reporter.done == reporter.total == 40
    np.testing.assert_allclose(one.signed, many.signed, rtol=0, atol=WITHIN)
    np.testing.assert_allclose(one.absolute, many.absolute, rtol=0, atol=WITHIN)
    np.testing.assert_array_equal(one.n_tokens, many.n_tokens)
    assert (one.n_heads, one.reads_one_token) == (many.n_heads, many.reads_one_token)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_what_is_asked_of_several_splits_is_in_the_store_afterwards(n, setup, examples, tmp_path):
    other = predictions_of(
        setup, examples.subject, load_split(setup, examples.subject, "validation", Reporter()), Reporter()
    )
    masks = [examples.gone, *ablations("only-one", examples.gone).values()]
    examples.of(masks[3])
    here, reporter = Here(n), Counting()
    Spread(setup, here, reporter).answers([(examples, masks), (other, masks[:2])])
    assert sum(len(part.do.keywords["masks"]) for part in here.parts) == len(masks) - 1 + 2
    assert reporter.done == reporter.total == (len(masks) - 1) * 40 + 2 * 30
    alone = replace(setup, store=tmp_path / "alone")
    for each, asked in ((examples, masks), (other, masks[:2])):
        expected = predict_masks(predictions_of(alone, each.subject, each.split, Reporter()), asked)
        for mask in asked:
            np.testing.assert_allclose(each.stored(mask), expected[mask], rtol=0, atol=WITHIN)
    again = Here(n)
    Spread(setup, again, reporter).answers([(examples, masks)])
    assert again.parts == []  # all is there


def test_what_workers_keep_elsewhere_is_kept_here_too(setup, examples, tmp_path):
    masks = [examples.gone, *ablations("without-one", examples.gone).values()]
    here = Here(2, after=lambda: shutil.rmtree(tmp_path / "store"))
    Spread(setup, here, Reporter()).answers([(examples, masks)])
    assert all(examples.stored(mask) is not None for mask in masks)


def test_paths_hold_in_another_folder(setup, examples, checkpoint, sst2, tmp_path, monkeypatch):
    home = tmp_path / "home"
    shutil.copytree(checkpoint, home / "model")
    shutil.copytree(sst2, home / "SST-2")
    monkeypatch.chdir(home)
    near = replace(setup, model="./model", data_dir=Path("SST-2"))

    def elsewhere(begin):
        monkeypatch.chdir(tmp_path)
        return begin

    assert Spread(near, Here(1, elsewhere), Reporter()).gradients(examples).signed.shape == (40, 12)


def test_a_worker_with_another_model_is_refused(setup, examples, copy_of_another):
    def another(begin):
        return replace(begin, setup=replace(begin.setup, model=str(copy_of_another)))

    with pytest.raises(RunError, match="every node must load the same model"):
        Spread(setup, Here(1, another), Reporter()).gradients(examples)


@pytest.fixture
def copy_of_another(checkpoint, tmp_path):
    """The checkpoint with one weight changed, under the same name."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(checkpoint, tmp_path / checkpoint.name)
    weights = next(folder.glob("*.safetensors"))
    tensors = load_file(weights)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


def test_workers_are_given_what_stands_in(setup, tmp_path):
    asked = replace(setup, replace="resample")
    examples = Lab(asked, Reporter()).examples(Scoring())
    one = gate_gradients(examples.subject.model, examples.batches)
    here = Here(2)
    many = Spread(asked, here, Counting()).gradients(examples)
    np.testing.assert_allclose(one.signed, many.signed, rtol=0, atol=WITHIN)
    masks = [examples.gone, *ablations("without-one", examples.gone).values()]
    Spread(asked, here, Reporter()).answers([(examples, masks)])
    alone = Lab(replace(asked, store=tmp_path / "alone"), Reporter()).examples(Scoring())
    expected, plain = predict_masks(alone, masks), Lab(setup, Reporter()).examples(Scoring())
    for mask in masks:
        np.testing.assert_allclose(examples.stored(mask), expected[mask], rtol=0, atol=WITHIN)
    assert plain.stored(masks[1]) is None
