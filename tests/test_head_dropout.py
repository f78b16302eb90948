"""Head dropout: its gates by their properties, its schedules, and a training with it against a loop by hand."""

import numpy as np
import pytest
import torch
from killed import Killed, KilledAfter
from loading import load_classifier
from tiny import tiny_model

from prune_heads import gated, remove_heads, zero_heads
from prune_heads.evaluation import predict
from prune_heads.heads import HeadMask
from prune_heads.objectives.batches import Batches
from prune_heads.options import NewFolder, Recipe, Setup
from prune_heads.progress import Reporter
from prune_heads.reporting.folders import of_record
from prune_heads.studies.finetuning import finetune, finetune_into
from prune_heads.studies.head_dropout import HeadDropout
from prune_heads.studies.setup import load_split, load_subject
from prune_heads.surgery import zeroed_heads


def dropout(model, p, **recipe):
    return HeadDropout(model, Recipe(head_dropout=p, **recipe), zeroed_heads(model))


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_gates_are_one_on_average_and_never_all_closed(p):
    drops = dropout(tiny_model(), p, seed=3)
    gates = torch.stack([torch.stack(drops.gates(step, 1000)) for step in range(1000)]).double()  # (steps, 3, 4)
    assert torch.allclose(gates.sum(dim=-1), torch.tensor(4.0).double(), atol=1e-6)  # n / kept for each that is kept
    kept = (gates > 0).sum(dim=-1)
    assert kept.min() >= 1
    error = gates.std(dim=0) / 1000**0.5
    assert ((gates.mean(dim=0) - 1).abs() < 5 * error).all()
    share, at_least_one = (gates > 0).double().mean(dim=0), 1 - p + p**4 / 4  # one of four stays where all would go
    assert (share - at_least_one).abs().max() < 5 * (0.25 / 1000) ** 0.5
    among = np.corrcoef((gates > 0).double().flatten(1).T.numpy())[:4, 4:8]
    assert np.abs(among).max() < 0.17  # blocks draw on their own


def test_gates_follow_from_seed_step_and_block_alone():
    model = tiny_model()
    one, other = dropout(model, 0.5), dropout(model, 0.5)
    other.gates(3, 9)
    assert all(torch.equal(a, b) for a, b in zip(one.gates(7, 9), other.gates(7, 9), strict=True))
    drawn = {tuple(torch.cat(one.gates(step, 9)).tolist()) for step in range(9)}
    drawn |= {tuple(torch.cat(dropout(model, 0.5, seed=1).gates(step, 9)).tolist()) for step in range(9)}
    assert len(drawn) > 12
    assert all((gate == 1).all() for gate in dropout(model, 1e-9).gates(0, 9))


def test_heads_that_are_gone_are_none_of_the_n():
    """Zeroed and removed heads leave the same training; others draw what they would draw beside them."""
    heads = "1:2,4 2:1,2,3,4"
    zeroed, removed = (dropout(take(tiny_model(), heads), 0.6) for take in (zero_heads, remove_heads))
    keep = HeadMask.parse(heads, (4, 4, 4)).keep()
    every = dropout(tiny_model(), 0.6)
    for step in range(50):
        whole = every.gates(step, 50)
        for i, gate in enumerate(removed.gates(step, 50)):
            torch.testing.assert_close(zeroed.gates(step, 50)[i][keep[i]], gate)
            assert gate.sum() == pytest.approx(len(gate), abs=1e-5)
            if (whole[i][keep[i]] > 0).any():
                assert torch.equal(whole[i][keep[i]] > 0, gate > 0)


def test_schedules():
    constant, v = (dropout(tiny_model(), 0.3, schedule=name, warmup=0.2) for name in ("constant", "v"))
    assert [constant.probability(step, 50) for step in (0, 10, 49)] == [0.3] * 3
    assert [v.probability(step, 50) for step in (0, 5, 10, 30, 50)] == pytest.approx([0.3, 0.15, 0, 0.15, 0.3])
    no_warmup = dropout(tiny_model(), 0.3, schedule="v", warmup=0.0)
    assert [no_warmup.probability(step, 10) for step in (0, 5)] == pytest.approx([0, 0.15])


SETUP = Setup("mini", "mini-sentiment", max_examples=96)


def test_each_step_has_its_gates_and_what_is_measured_has_none(tmp_path, monkeypatch):
    """At a rate of 0 the model stays: the loss of the epoch is the mean of that under the gates of each step."""
    seen, plain = [], Batches.batch

    def spy(batches, index, **rest):
        batch = plain(batches, index, **rest)
        if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            seen.append(batch)
        return batch

    monkeypatch.setattr(Batches, "batch", spy)
    recipe = Recipe(epochs=1, learning_rate=0.0, head_dropout=0.5, schedule="v", warmup=0.4)
    start, record = finetune(SETUP, recipe, tmp_path, Reporter())
    monkeypatch.undo()
    assert record["finetuned"] == record["model"]["fingerprint"]
    drops, losses = HeadDropout(start.model, recipe, HeadMask((4,) * 6)), []
    for step, batch in enumerate(seen):
        with torch.no_grad(), gated(start.model, drops.gates(step, 3)):
            losses.append(float(start.model(**batch.inputs, labels=batch.targets).loss))
    assert record["epochs"][0]["loss"] == pytest.approx(np.mean(losses), abs=1e-4)
    subject = load_subject(SETUP, Reporter())
    split = load_split(SETUP, subject, "validation", Reporter())
    batches = subject.batches(split)
    expected = subject.objective.metrics(predict(subject.model, batches), batches.references)
    assert record["metrics"]["validation"] == expected


@pytest.mark.slow
def test_a_killed_training_with_all_of_it_goes_on_to_the_same_bytes(tmp_path):
    """Head dropout, a teacher, examples set aside, and zeros."""
    start = load_classifier("mini", task="mini-sentiment")
    zero_heads(start.model, "1:1 2:1,2,3,4")
    start.write(tmp_path / "zeroed")
    setup = Setup(str(tmp_path / "zeroed"), "mini-sentiment", max_examples=96)
    recipe = Recipe(2, 1e-3, save_minutes=0.0, distill_from="mini", head_dropout=0.5, schedule="v", hold_out=100)

    def tuned(name, reporter):
        return finetune_into(setup, recipe, reporter, NewFolder(tmp_path / name), of_record)

    whole = tuned("whole", Reporter())
    with pytest.raises(Killed):
        tuned("killed", KilledAfter(100))
    again = tuned("killed", Reporter())
    assert any("went on from step" in note for note in again["notes"])
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert files[0] == files[1]
    assert again["finetuned"] == whole["finetuned"]
    assert again["metrics"] == whole["metrics"]
