"""Criteria that learn gates, against the same fits spelled out with torch's own optimiser; resumed, seeded, clean."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from tiny import tiny_model
from tiny_criteria import SHAPES, examples_on, hooks
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from prune_heads.errors import NotFiniteError
from prune_heads.heads import HeadMask
from prune_heads.importance import CRITERIA, Examples, learned, learning
from prune_heads.importance.learned import COOLING, L0, PULL, soft_top_k
from prune_heads.options import Setup
from prune_heads.progress import Reporter
from prune_heads.selection import select
from prune_heads.store import unfinished
from prune_heads.studies.scoring import Lab
from prune_heads.surgery import remove_heads, zero_heads

LEARNED = [name for name, row in CRITERIA.items() if row.looks_at == "updates"]
UPDATES, SIZE = 9, 8


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few examples an update, of more that there are, and a state every two updates."""
    monkeypatch.setattr(learning, "BATCH", SIZE)
    monkeypatch.setattr(learning, "EVERY", 2)


class Spelled:
    """Gates as factors of W_O's columns, and Adam of torch: no hook, no state in a store."""

    def __init__(self, model, examples):
        self.model, self.batches, self.update = model, examples.batches, 0
        self.weights = [f"bert.encoder.layer.{i}.attention.output.dense.weight" for i in range(3)]
        self.unit = self.loss(torch.zeros(12), np.arange(12)).item()

    def loss(self, gates, index):
        batch = self.batches.batch(index)
        weights = dict(self.model.named_parameters())
        scaled = {
            name: weights[name] * gates[4 * i : 4 * i + 4].repeat_interleave(8)[None]
            for i, name in enumerate(self.weights)
        }
        logits = functional_call(self.model, scaled, (), batch.inputs).logits
        return cross_entropy(logits, batch.targets)

    def fit(self, start, n, rate, gates, penalty):
        parameters = start.clone().float().requires_grad_()
        optimiser = torch.optim.Adam([parameters], lr=rate)
        for i in range(n):
            rng = np.random.default_rng([0, self.update])
            index = rng.choice(12, SIZE, replace=False)
            noise = torch.from_numpy(rng.uniform(1e-6, 1 - 1e-6, 12))
            optimiser.zero_grad()
            (self.loss(gates(parameters, noise, i / n).float(), index) / self.unit + penalty(parameters)).backward()
            torch.nn.utils.clip_grad_norm_([parameters], 1.0)
            optimiser.step()
            self.update += 1
        return parameters.detach()


def causal(spelled):
    """As in the authors' package, whose `positive` masks are those that are pulled open."""

    def fit(start, l1_weight):
        return spelled.fit(start, 3, 1.0, lambda x, *_: x.sigmoid(), lambda x: -l1_weight * x.clamp(-4, 4).mean())

    start = torch.from_numpy(np.random.default_rng([0, UPDATES]).uniform(1e-6, 1 - 1e-6, 12))
    none = fit(torch.log(start / (1 - start)), 0)
    positive, negative = fit(none, PULL), fit(none, -PULL)
    return negative.sigmoid() - (1 - positive.sigmoid())


def l0(spelled):
    def gates(log_alpha, noise, _):
        s = 1 / (1 + torch.exp(-(noise.log() - (1 - noise).log() + log_alpha) / 0.33))
        return (1.2 * s - 0.1).clip(0, 1)

    def penalty(log_alpha):
        return L0 * torch.sigmoid(log_alpha - 0.33 * math.log(0.1 / 1.1)).mean()

    return spelled.fit(torch.full((12,), 2.0), UPDATES, 0.1, gates, penalty)


def subset(spelled):
    def gates(logits, noise, done):
        keys = logits.double() - torch.log(-torch.log(noise))
        temperature = math.exp((1 - done) * math.log(COOLING[0]) + done * math.log(COOLING[1]))
        total = 0
        for _ in range(6):
            taken = torch.softmax(keys / temperature, 0)
            keys, total = keys + torch.log((1 - taken).clamp(min=1e-300)), total + taken
        return total

    return spelled.fit(torch.zeros(12), UPDATES, 0.5, gates, lambda x: 0 * x.sum())


@pytest.mark.parametrize(("name", "spell"), [("causal-gates", causal), ("l0-gates", l0), ("subset-gates", subset)])
def test_a_fit_is_that_which_is_published_step_by_step(name, spell):
    model = tiny_model(n_labels=2)
    examples = examples_on(model, batch_size=3, updates=UPDATES)
    got = CRITERIA[name].score(examples).flat()
    assert np.allclose(got, spell(Spelled(model, examples)), rtol=1e-3, atol=1e-4)
    passes = UPDATES * SIZE / 12
    assert list(examples.spent.values()) == [(passes + 1, passes)]


def test_a_relaxed_subset_has_its_size_and_becomes_the_largest():
    keys = torch.from_numpy(np.random.default_rng(0).normal(size=10))
    for temperature in (100.0, 1.0, 0.1):
        gates = soft_top_k(keys, 4, temperature)
        assert float(gates.sum()) == pytest.approx(4)
        assert bool((gates > 0).all())
    assert np.allclose(soft_top_k(keys, 4, 1e3), 0.4, atol=0.01)
    hard = soft_top_k(keys, 4, 1e-3)
    assert torch.allclose(hard, (keys >= keys.sort().values[-4]).double(), atol=1e-6)


@pytest.mark.parametrize("name", LEARNED)
def test_a_killed_fit_goes_on_and_ends_in_the_same_bytes(name, tmp_path, monkeypatch):
    model, updates = tiny_model(n_labels=2), []
    whole, adam = CRITERIA[name].score(examples_on(model, updates=UPDATES)), learning._adam

    def killed_after(n):
        def step(*args):
            if len(updates) == n:
                raise KeyboardInterrupt
            updates.append(args)
            return adam(*args)

        monkeypatch.setattr(learning, "_adam", step)

    for n in (1, 6, 100):  # before the first state, later, and not at all
        killed_after(n)
        examples = examples_on(model, updates=UPDATES, store=tmp_path)
        if n < 100:
            with pytest.raises(KeyboardInterrupt):
                CRITERIA[name].score(examples)
            assert len(unfinished(examples.predictions.store.objects)) == 1
    resumed = CRITERIA[name].score(examples)
    assert resumed.flat().tobytes() == whole.flat().tobytes()
    assert UPDATES < len(updates) <= UPDATES + 2
    assert unfinished(examples.predictions.store.objects) == []


@pytest.mark.parametrize("name", LEARNED)
def test_seeds_matter_and_batches_do_not(name):
    model = tiny_model(n_labels=2)
    one, same, other = (
        CRITERIA[name].score(examples_on(model, updates=UPDATES, batch_size=size, seed=seed)).flat()
        for size, seed in ((32, 0), (3, 0), (32, 1))
    )
    assert np.allclose(one, same, rtol=1e-3, atol=1e-4)
    assert not np.allclose(one, other, rtol=1e-2)


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_model_is_scored(name, shape):
    model = SHAPES[shape]().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    examples = examples_on(model, n=4, updates=3)
    scores = CRITERIA[name].score(examples)
    there = np.concatenate(scores.gone.keep())
    assert scores.gone == examples.gone
    assert np.isfinite(scores.flat()).all()
    assert not scores.flat()[~there].any()
    assert scores.flat()[there].all() or name == "subset-gates"  # of one head, which is always taken
    assert hooks(model) == 0
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", LEARNED)
def test_masked_heads_count_as_gone(name):
    model, masked = tiny_model(n_labels=2), HeadMask.parse("2:1,2,3,4 3:1", (4, 4, 4))
    smaller = remove_heads(deepcopy(model), masked)
    got, expected = (
        CRITERIA[name].score(examples_on(one, updates=UPDATES, masked=heads))
        for one, heads in ((model, masked), (smaller, None))
    )
    assert got.gone == expected.gone == masked
    assert np.allclose(got.flat(), expected.flat(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", LEARNED)
def test_nan_is_refused_and_nothing_is_left_behind(name):
    model = tiny_model(n_labels=2)
    with torch.no_grad():
        model.bert.encoder.layer[1].attention.self.query.weight[0, 0] = float("nan")
    with pytest.raises(NotFiniteError, match=r"losses must be finite.*example \d+ of the split"):
        CRITERIA[name].score(examples_on(model, updates=3))
    assert hooks(model) == 0
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_gradient_that_is_not_finite_is_refused(monkeypatch):
    monkeypatch.setattr(learned, "soft_top_k", lambda keys, k, temperature: (keys * 0).sqrt())
    with pytest.raises(NotFiniteError, match="gradients of the gates must be finite; got NaN or infinity in update 1"):
        CRITERIA["subset-gates"].score(examples_on(tiny_model(n_labels=2), updates=3))


def test_a_head_that_gives_nothing_is_pulled_both_ways():
    """Its gates follow the penalty alone: open, then closed; so it is irrelevant, and with the L0 penalty it goes."""
    model = zero_heads(tiny_model(n_labels=2), "2:3")
    examples = examples_on(model, n=24, updates=60)
    assert abs(CRITERIA["causal-gates"].score(examples).values[1][2]) < 0.1
    alphas = CRITERIA["l0-gates"].score(examples)
    assert alphas.values[1][2] < 2 - 60 * 0.1 * 0.9
    assert alphas.values[1][2] == pytest.approx(alphas.flat().min(), abs=0.3)


@pytest.mark.thorough
@pytest.mark.parametrize("name", LEARNED)
def test_half_the_heads_of_a_trained_model_go_at_less_cost_than_at_random(name, monkeypatch):
    """On other training examples than those that the gates are learned on."""
    monkeypatch.undo()
    lab = Lab(Setup("mini", "mini-sentiment"), Reporter())
    whole = lab.predictions("train").split
    first, second = (lab.of(whole.at(list(range(start, start + 96)))) for start in (0, 96))
    scores = CRITERIA[name].score(Examples(lab.subject.model, first, updates=150))
    examples = Examples(lab.subject.model, second)
    drawn = [np.random.default_rng(seed).permutation(24) < 12 for seed in range(12)]
    base, ours, *at_random = examples.responses(
        [examples.gone, select(scores, 12), *examples.masks_of(np.array(drawn))]
    ).mean(axis=0)
    assert base - ours < (base - np.mean(at_random)) / 2
