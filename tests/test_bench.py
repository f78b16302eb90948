"""The bench: which sides it times, in which order, on which batches, and what its numbers are made of; never speed."""

import itertools
import math
import statistics

import numpy as np
import pytest
import torch
from tiny import tiny_model, tiny_tokenizer
from tiny_types import tiny_config
from tiny_types import tiny_model as tiny_of
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from prune_heads import load_pruned, remove_heads, save_pruned
from prune_heads.budget import budget, n_parameters
from prune_heads.checkpoints import linear_maps
from prune_heads.errors import DataError, HeadDescriptorError, UnsupportedModelError
from prune_heads.gating import gated, gates_of
from prune_heads.heads import HeadMask
from prune_heads.options import Bench, Choice, Setup
from prune_heads.progress import Reporter
from prune_heads.studies import bench as module
from prune_heads.studies.bench import SIDES, Race, bench, ceiling, original_of
from prune_heads.studies.setup import load_subject

MASK = HeadMask.parse("1:2 2:1,2,3,4", (4, 4, 4))
CHOICE = Choice(heads=str(MASK))


@pytest.fixture
def setup(checkpoint, sst2):
    return Setup(str(checkpoint), "sst2", data_dir=sst2, device="cpu")


@pytest.fixture
def subject(setup):
    return load_subject(setup, Reporter())


@pytest.fixture
def split(subject):
    return subject.task.load("validation")


@pytest.fixture
def sides(subject):
    original = original_of(subject)
    removed = remove_heads(subject.classifier.model, MASK)
    return {"original": (original, None), "masked": (original, MASK), "removed": (removed, None)}


@pytest.fixture
def calls(monkeypatch):
    """Every timing that is asked for; the sides take the seconds of `SECONDS` in turn."""
    asked, seconds = [], {name: itertools.cycle(each) for name, each in SECONDS.items()}

    def timed(sides, race, name, n_passes):
        asked.append((race.lengths, race.batch_size, name, n_passes))
        return next(seconds[name])

    monkeypatch.setattr(module, "_seconds", timed)
    return asked


N_RUNS, N_WARM = 7, 2
SECONDS = {
    "original": [0.03, 0.04, 6.0, 8.0, 6.0, 6.0, 7.0, 9.0, 6.0],
    "masked": [0.03, 0.04, 6.0, 9.0, 7.0, 8.0, 7.0, 9.0, 5.0],
    "removed": [0.01, 0.02, 4.0, 4.0, 5.0, 3.0, 7.0, 6.0, 6.0],
}
"""Two for warm-up, then one a run."""


def test_all_sides_are_warmed_up_and_then_timed_in_turn(setup, calls):
    bench(setup, CHOICE, Bench(batch_sizes=(1, 8), length=16, runs=N_RUNS), Reporter())
    per_race = len(SIDES) * (N_WARM + N_RUNS)
    assert len(calls) == 4 * per_race
    races = [calls[i : i + per_race] for i in range(0, len(calls), per_race)]
    assert [race[0][:2] for race in races] == [("fixed", 1), ("fixed", 8), ("real", 1), ("real", 8)]
    for race in races:
        assert len({call[:2] for call in race}) == 1
        names = [name for _, _, name, _ in race]
        warm, timed = names[: len(SIDES) * N_WARM], names[len(SIDES) * N_WARM :]
        assert {name: warm.count(name) for name in SIDES} == dict.fromkeys(SIDES, N_WARM)
        runs = [tuple(timed[i : i + 3]) for i in range(0, len(timed), 3)]
        first, second, third = (SIDES[i:] + SIDES[:i] for i in range(3))
        assert runs == [first, second, third, first, second, third, first]
        passes = [n for *_, n in race]
        assert set(passes[: len(warm)]) == {1}
        assert set(passes[len(warm) :]) == {math.ceil(0.05 / 0.02)}  # by the fastest side, when it was warm


def test_numbers_are_made_of_the_seconds_of_each_run(setup, calls):
    report = bench(setup, CHOICE, Bench(batch_sizes=(4, 8), length=16, runs=N_RUNS), Reporter()).record
    timed = {name: each[N_WARM:] for name, each in SECONDS.items()}
    assert [(row["lengths"], row["batch_size"], row["n_examples"]) for row in report["rows"]] == [
        ("fixed", 4, 4),
        ("fixed", 8, 8),
        ("real", 4, 8),
        ("real", 8, 8),
    ]
    for row in report["rows"]:
        assert row["n_passes"] == 3
        for name in SIDES:
            speeds = [row["n_examples"] * 3 / seconds for seconds in timed[name]]
            found = row["examples_per_second"][name]
            assert found["each"] == pytest.approx(speeds)
            assert found["mean"] == pytest.approx(statistics.fmean(speeds))
            assert found["deviation"] == pytest.approx(statistics.stdev(speeds))
        for name in ("masked", "removed"):
            ratios = [a / b for a, b in zip(timed["original"], timed[name], strict=True)]
            assert row["ratio"][name]["each"] == pytest.approx(ratios)
            assert row["ratio"][name]["median"] == pytest.approx(statistics.median(ratios))
    assert report["length"] == 16
    assert report["parameters"]["pruned"] == 5 * 8 * (4 * 32 + 3)


def test_a_side_is_what_its_name_says_and_a_timing_is_all_of_it(sides, monkeypatch):
    events, logits = [], {}
    inputs = [{"input_ids": torch.arange(5, 5 + n)[None]} for n in (7, 9)]
    clock = itertools.count(100)

    def tick():
        events.append("clock")
        return next(clock)

    monkeypatch.setattr(module.time, "perf_counter", tick)
    monkeypatch.setattr(torch.cpu, "synchronize", lambda: events.append("synchronise"))
    (original, _), _, (removed, _) = sides.values()
    for model in (original, removed):
        model.register_forward_hook(lambda m, args, output: events.append(output.logits))
    for name in SIDES:
        events.clear()
        assert module._seconds(sides, Race("real", 1, inputs), name, 2) == 1
        shown = [event if isinstance(event, str) else "pass" for event in events]
        assert shown == ["synchronise", "clock", *["pass"] * 4, "synchronise", "clock"]
        logits[name] = events[2:4]
        assert all(torch.equal(a, b) for a, b in zip(events[2:4], events[4:6], strict=True))
    with torch.no_grad():
        for i, batch in enumerate(inputs):
            plain = original(**batch).logits
            with gated(original, gates_of(original, MASK)):
                masked = original(**batch).logits
            assert torch.equal(logits["original"][i], plain)
            assert torch.equal(logits["masked"][i], masked)
            assert torch.allclose(logits["removed"][i], masked, rtol=0, atol=1e-5)
            assert (plain - masked).abs().max() > 1e-3
    assert not any(m._forward_pre_hooks for m in original.modules())


def test_layers_without_heads_do_not_attend(sides, monkeypatch):
    counted, attend = [], torch.nn.functional.scaled_dot_product_attention

    def count(*args, **options):
        counted.append(args[0].shape)
        return attend(*args, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", count)
    heads = {}
    for name in SIDES:
        counted.clear()
        race = Race("fixed", 2, [{"input_ids": torch.full((2, 5), 7)}])
        module._seconds(sides, race, name, 1)
        heads[name] = [shape[1] for shape in counted]
    assert heads == {"original": [4, 4, 4], "masked": [4, 4, 4], "removed": [3, 4]}


def test_batches_are_texts_in_file_order_padded_to_a_length_or_to_the_longest(subject, split):
    batches = subject.batches(split)
    races = list(module._races(subject, split, 20, (2, 7, 10)))
    fixed, real = races[:3], races[3:]
    n_tokens = batches.n_tokens
    for size, race in zip((2, 7, 10), fixed, strict=True):
        assert (race.lengths, race.batch_size, race.n_examples, race.n_tokens) == ("fixed", size, size, [20])
        assert race.inputs[0]["attention_mask"].sum(1).tolist() == n_tokens[:size].tolist()
    for size, race in zip((2, 7, 10), real, strict=True):
        starts = range(0, 10 - size + 1, size)
        assert race.n_tokens == [n_tokens[start : start + size].max() for start in starts]
        for start, inputs in zip(starts, race.inputs, strict=True):
            first = batches.batch(np.array([start])).inputs["input_ids"][0]
            assert inputs["input_ids"][0, : len(first)].tolist() == first.tolist()
            assert len(inputs["input_ids"]) == size


def test_texts_are_cut_at_the_fixed_length(subject, split):
    (race, _) = module._races(subject, split, 4, (30,))
    assert race.inputs[0]["input_ids"].shape == (30, 4)


def test_the_ceiling_is_the_ratio_of_multiply_adds_over_all_batches(subject):
    original = subject.model
    inputs = [{"input_ids": torch.ones(2, n, dtype=torch.long)} for n in (4, 30, 30)]
    costs = [budget(original, MASK, n) for n in (4, 30, 30)]
    before, after = (sum(cost["multiply_adds"][stage]["total"] for cost in costs) for stage in ("before", "after"))
    assert ceiling(original, MASK, Race("real", 2, inputs)) == before / after
    assert ceiling(original, MASK, Race("fixed", 2, inputs[:1])) == costs[0]["speedup"]
    assert ceiling(original, MASK, Race("real", 2, inputs[:2])) != costs[0]["speedup"]


def test_no_ceiling_where_multiply_adds_are_not_known():
    model = tiny_of("deberta")
    inputs = [{"input_ids": torch.ones(1, 9, dtype=torch.long)}]
    assert ceiling(model, MASK, Race("fixed", 1, inputs)) is None


@pytest.mark.parametrize(
    ("model_type", "said"),
    [
        ("deberta", "ceilings: multiply-adds and speed-ups are not known: relative positions take products"),
        ("mixtral", "ceilings: multiply-adds are a lower bound and speed-ups an upper one; not counted: weights of"),
        ("bert", ""),
    ],
)
def test_what_ceilings_leave_out_is_noted(model_type, said):
    model = tiny_of(model_type)
    note = module.about_ceilings(model, MASK)
    assert bool(note) == bool(said)
    assert said in note


def test_no_ceiling_for_a_language_model():
    model = AutoModelForCausalLM.from_config(tiny_config("gpt2")).eval()
    inputs = [{"input_ids": torch.ones(1, 9, dtype=torch.long)}]
    assert ceiling(model, MASK, Race("fixed", 1, inputs)) is None
    said = "no ceilings: bench gives them for classifiers; prune-heads info counts a language model"
    assert module.about_ceilings(model, MASK) == said


@pytest.mark.parametrize(
    ("each", "most", "noted"),
    [([1.3, 1.5], 1.2, True), ([1.19, 1.5], 1.2, False), ([1.0, 1.1], 1.2, False), ([1.3, 1.5], None, False)],
)
def test_a_gain_above_its_ceiling_in_every_run_is_noted(each, most, noted):
    reporter = Reporter()
    row = {"lengths": "fixed", "batch_size": 4, "ratio": {"removed": {"each": each}}, "ceiling": most}
    module._note_above(row, reporter)
    assert len(reporter.notes) == noted
    if noted:
        assert "(1.30x at least, ceiling 1.20x)" in reporter.notes[0]


def test_what_cannot_be_timed(setup):
    with pytest.raises(DataError, match="at most the number of examples, 30 of validation; got 31"):
        bench(setup, CHOICE, Bench(batch_sizes=(1, 31)), Reporter())
    with pytest.raises(DataError, match="--length must be at most what the model takes, 64 tokens; got 65"):
        bench(setup, CHOICE, Bench(batch_sizes=(1,), length=65), Reporter())


@pytest.fixture
def saved(tmp_path, sst2):
    """A two-label classifier of a type on disk, as a setup."""

    def save(model_type):
        config = tiny_config(model_type)
        config.num_labels = 2
        config.id2label, config.label2id = {0: "negative", 1: "positive"}, {"negative": 0, "positive": 1}
        tokenizer = tiny_tokenizer()
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        for part in (AutoModelForSequenceClassification.from_config(config), tokenizer):
            part.save_pretrained(tmp_path / model_type)
        return Setup(str(tmp_path / model_type), "sst2", data_dir=sst2, device="cpu")

    return save


@pytest.mark.parametrize("model_type", ["llama", "albert"])
def test_random_heads_go_with_those_that_share_their_weights(model_type, saved, monkeypatch):
    monkeypatch.setattr(module, "_SHORTEST_SECONDS", 1e-9)
    setup, reporter = saved(model_type), Reporter()
    choice = Choice(fraction=0.5, groups=model_type == "llama")
    records = [
        bench(setup, choice, Bench(batch_sizes=(1,), length=8, seed=seed), reporter).record for seed in (1, 1, 2)
    ]
    chosen = [HeadMask.parse(" ".join(record["heads_pruned"]), (4, 4, 4)) for record in records]
    assert [len(mask) for mask in chosen] == [6, 6, 6]
    assert chosen[0] == chosen[1] != chosen[2]
    for mask in chosen:
        rows = mask.by_block()
        if model_type == "albert":
            assert rows[0] == rows[1] == rows[2]
        else:
            assert all(row in ((), (0, 1), (2, 3), (0, 1, 2, 3)) for row in rows)
    assert bool(reporter.notes) == (model_type == "albert")


def test_heads_of_a_part_of_a_group(saved):
    with pytest.raises(UnsupportedModelError, match="are removed by whole groups"):
        bench(saved("llama"), Choice(heads="1:1"), Bench(batch_sizes=(1,)), Reporter())


def test_random_heads_of_groups_must_be_asked_for(saved):
    with pytest.raises(HeadDescriptorError, match="are removed by whole groups: add --groups"):
        bench(saved("llama"), Choice(fraction=0.5), Bench(batch_sizes=(1,), length=8), Reporter())


@pytest.mark.slow
def test_the_original_of_a_checkpoint_that_has_lost_heads(setup, sst2, tmp_path, monkeypatch):
    monkeypatch.setattr(linear_maps, "_LARGE", 0)  # so that tiny maps are exchanged too, on all sides alike
    save_pruned(remove_heads(tiny_model(n_labels=2), "3:1,4"), tmp_path / "pruned")
    tiny_tokenizer().save_pretrained(tmp_path / "pruned")
    narrow = Setup(str(tmp_path / "pruned"), "sst2", data_dir=sst2, label_order=("negative", "positive"), device="cpu")
    whole, gone = (load_subject(each, Reporter()) for each in (setup, narrow))
    original = original_of(gone)
    assert n_parameters(original) == n_parameters(whole.model) > n_parameters(gone.model)
    assert n_parameters(gone.model) == n_parameters(load_pruned(tmp_path / "pruned"))
    report = bench(narrow, Choice(heads="3:1"), Bench(batch_sizes=(2,), length=8), Reporter()).record
    assert report["heads_pruned"] == ["3:1,4"]
    assert report["rows"][0]["ceiling"] > 1
    copied = original_of(whole)
    kinds = [[type(m) for m in model.modules()] for model in (original, copied, whole.model)]
    assert kinds[0] == kinds[1] == kinds[2]
    assert linear_maps.OneDnnLinear in kinds[0]
    assert copied is not whole.model
    assert all(torch.equal(a, b) for a, b in zip(copied.parameters(), whole.model.parameters(), strict=True))
