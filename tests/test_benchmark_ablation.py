"""The benchmark of ablations: what its numbers are made of, under a clock that the test turns."""

import itertools
import re
import statistics
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import WORDS, tiny_model
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmark import ablation as module
from experiments.benchmark.__main__ import ablation_ratios
from experiments.benchmark.ablation import ablation_multiply_adds, benchmark_ablation, matrix_rate, published_evaluation
from prune_heads.anatomy import attention_blocks
from prune_heads.evaluation import predict
from prune_heads.gating import gates_of
from prune_heads.heads import HeadMask
from prune_heads.options import Setup
from prune_heads.progress import Reporter
from prune_heads.studies.setup import load_subject

SECONDS = {
    "engine": (2.0, 4.0, 3.0),
    "bfloat16": (1.0, 1.5, 2.0),
    "correction": (0.5, 0.1, 0.4),
    "one_at_a_time": (0.5, 0.8, 0.2),
    "published": (10.0, 30.0, 7.0),
}
"""Of each side in each repeat; of one evaluation where one is timed."""
RATES = (1e6, 4e6, 2e6)
N_HEADS = 12


@pytest.fixture
def setup(checkpoint, sst2):
    return Setup(str(checkpoint), "sst2", data_dir=sst2, device="cpu")


@pytest.fixture
def clock(monkeypatch):
    """Time passes only where a side runs, and as long as `SECONDS` says; the sides do their work."""
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    passing = {name: itertools.cycle(seconds) for name, seconds in SECONDS.items()}

    def timed(original, name_of):
        def run(*args):
            found = original(*args)
            now[0] += next(passing[name_of(*args)])
            return found

        return run

    side = module._Side
    names = {"float32": "engine", "bfloat16": "bfloat16"}
    monkeypatch.setattr(side, "table", timed(side.table, lambda self: names[self.setup.dtype]))
    monkeypatch.setattr(side, "alone", timed(side.alone, lambda *_: "one_at_a_time"))
    monkeypatch.setattr(module, "corrected", timed(module.corrected, lambda *_: "correction"))
    in_here = timed(lambda setup, split, mask: module._in_a_process(setup, split, mask, 1), lambda *_: "published")
    monkeypatch.setattr(module, "published_evaluation", in_here)
    rates = itertools.cycle(RATES)
    monkeypatch.setattr(module, "matrix_rate", lambda model: next(rates))


def each(first, second, scale=1):
    return [scale * a / b for a, b in zip(SECONDS[first], SECONDS[second], strict=True)]


def test_ratios_are_medians_of_those_of_each_repeat(setup, clock):
    report = benchmark_ablation(setup, Reporter(), repeats=3)
    for name in ("one_at_a_time", "published"):
        expected = each(name, "engine", N_HEADS)
        assert report["each"][name] == pytest.approx(expected, abs=0.005)
        assert report["ratios"][name] == pytest.approx(statistics.median(expected), abs=0.005)
        assert report["sides"][name] == {
            "seconds": pytest.approx(N_HEADS * statistics.median(SECONDS[name])),
            "extrapolated_from": "1 of 12 evaluations",
        }
        reduced = statistics.median(each(name, "bfloat16", N_HEADS))
        assert report["bfloat16"]["ratios"][name] == pytest.approx(reduced, abs=0.005)
    ratio = report["ratios"]["one_at_a_time"]
    lines = ablation_ratios(report)
    assert lines[:2] == [
        "engine: 3.0 s for 12 masks",
        f"ratio {ratio:.1f}x (each repeat: 3.0, 2.4, 0.8) to one masked evaluation at a time",
    ]
    assert re.fullmatch(r"engine in bfloat16: 1\.5 s; \d+ of 390 predictions flip", lines[-2])
    both = [a + b for a, b in zip(SECONDS["bfloat16"], SECONDS["correction"], strict=True)]
    assert report["mixed"]["seconds"] == statistics.median(both) == 1.6
    of_engine = statistics.median(a / b for a, b in zip(SECONDS["engine"], both, strict=True))
    assert report["mixed"]["ratios"]["engine"] == round(of_engine, 2) == 1.33
    assert report["mixed"]["n_flipped"] == 0 < report["mixed"]["n_float32"]
    assert lines[-1].startswith(
        "engine in mixed: 1.6 s, 100.0% of the answers in float32; 0 differ; ratio 1.3x to float32, "
    )
    assert report["sides"]["engine"] == {"seconds": 3.0}
    assert report["bfloat16"]["seconds"] == 1.5
    assert report["bfloat16"]["ratios"]["engine"] == 2.0


def test_the_floor_is_what_is_needed_at_the_rate_of_the_machine(setup, clock):
    floor = benchmark_ablation(setup, Reporter(), repeats=3)["floor"]
    subject = load_subject(setup, Reporter())
    batches = subject.batches(subject.task.load("validation"))
    needed = ablation_multiply_adds(subject.blocks, batches.n_tokens, one_position=True)
    assert floor["multiply_adds"] == needed
    assert floor["matrix_rate"] == 2e6
    seconds = [needed / rate for rate in RATES]
    assert floor["seconds"] == pytest.approx(statistics.median(seconds), abs=5e-4)
    shares = [floor / engine for floor, engine in zip(seconds, SECONDS["engine"], strict=True)]
    assert floor["share"] == pytest.approx(statistics.median(shares), abs=5e-4)


def test_a_report_has_its_conditions(setup, clock):
    report = benchmark_ablation(setup, Reporter(), repeats=1)
    assert (report["model"]["name"], report["task"], report["data"]["split"]) == ("tiny", "sst2", "validation")
    assert (report["n_examples"], report["n_variants"], report["batch_size"]) == (30, N_HEADS, 32)
    assert (report["dtype"], report["compiled"], report["compile_seconds"]) == ("float32", False, None)
    assert report["threads"] == 1
    assert report["bfloat16"]["n_predictions"] == 13 * 30
    assert 0 <= report["bfloat16"]["n_flipped"] < 13 * 30
    assert set(report["sides"]) == {"engine", "one_at_a_time", "published"}


@pytest.mark.slow
def test_the_published_evaluation_is_a_process_and_gives_the_masked_loss(setup):
    mask = HeadMask.parse("2:3 1:1", (4, 4, 4))
    subject = load_subject(setup, Reporter())
    batches = subject.batches(subject.task.load("validation"))
    logits = torch.from_numpy(predict(subject.model, batches, gates_of(subject.model, mask)))
    loss = cross_entropy(logits, torch.from_numpy(batches.targets.values)).mean()
    assert published_evaluation(setup, "validation", mask) == pytest.approx(float(loss), abs=1e-6)
    unmasked = cross_entropy(
        torch.from_numpy(predict(subject.model, batches)), torch.from_numpy(batches.targets.values)
    )
    assert abs(float(unmasked.mean() - loss)) > 1e-3  # the mask is seen


@pytest.mark.parametrize("n_words", [1, 6])
def test_the_multiply_adds_are_those_of_the_engine_and_nothing_twice(n_words, setup, tmp_path):
    """To the last one, on examples of one length: what the engine does beyond is spelt out here."""
    texts = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(n_words)) for i in range(8)]
    lines = ["sentence\tlabel", *(f"{text}\t{i % 2}" for i, text in enumerate(texts))]
    (tmp_path / "dev.tsv").write_text("\n".join(lines) + "\n")
    side = module._Side(replace(setup, data_dir=tmp_path), Reporter(), False)
    model, n_tokens = side.predictions.subject.model, side.predictions.batches.n_tokens
    assert side.reads_one_position
    model.set_attn_implementation("eager")  # torch does not count the fused kernel
    with FlopCounterMode(display=False) as counter:
        side.table()

    n, width, t = 8, 32, n_words + 2
    assert list(n_tokens) == [t] * n
    beyond = {
        "attention of one token to itself, unused": N_HEADS * n * (3 * width * width + 2 * width),
        "pooler and classifier": (1 + N_HEADS) * n * (width * width + width * 2),
    }
    needed = ablation_multiply_adds(attention_blocks(model), n_tokens, one_position=True)
    assert counter.get_total_flops() == 2 * (needed + sum(beyond.values()))


def test_the_multiply_adds_of_a_model_that_is_read_everywhere():
    """Spelt out for three layers: after each layer's attention, and the layers above it, for each of its heads."""
    n_tokens = np.array([3, 5])
    qkv, after, mixing = 3 * 32 * 32, 32 * 32 + 2 * 32 * 48, 2 * 32 * (3 * 3 + 5 * 5)
    layer = 8 * (qkv + after) + mixing
    expected = 3 * layer + 4 * sum(8 * after + above * layer for above in (2, 1, 0))
    assert ablation_multiply_adds(attention_blocks(tiny_model()), n_tokens, one_position=False) == expected


def test_the_rate_is_of_the_widest_matrix():
    model, calls = tiny_model(), []
    for name, linear in model.named_modules():
        if isinstance(linear, torch.nn.Linear):
            linear.register_forward_pre_hook(lambda m, args, n=name: calls.append((n, len(args[0]))))
    rate = matrix_rate(model, repeats=2)
    assert calls == [("bert.encoder.layer.0.intermediate.dense", 4096)] * 2
    assert 1e6 < rate < 1e13


def test_a_score_has_no_label_to_flip():
    of_scores = SimpleNamespace(
        predictions=SimpleNamespace(subject=SimpleNamespace(objective=SimpleNamespace(chooses=False)))
    )
    assert module._flips(of_scores, np.zeros((2, 3, 1)), np.ones((2, 3, 1))) == {}
