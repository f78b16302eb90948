"""Into the store: nothing twice, a killed job goes on and ends in the same bytes, passes fit the memory."""

import os
import random
import re
import signal
import time

import numpy as np
import pytest
import torch

from prune_heads import remove_heads
from prune_heads.ablation import ManyMasks, ablations, predict_masks
from prune_heads.errors import MaskNotAppliedError, NotFiniteError
from prune_heads.evaluation import predict
from prune_heads.gating import gates_of
from prune_heads.heads import HeadMask
from prune_heads.options import Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.store import PredictionStore, unfinished
from prune_heads.studies.setup import load_subject, predictions_of


@pytest.fixture
def predictions(checkpoint, sst2, tmp_path):
    """Of the tiny checkpoint on 30 examples, four a batch, in a store of its own."""
    setup = Setup(str(checkpoint), "sst2", data_dir=sst2, batch_size=4, store=tmp_path / "store")
    subject = load_subject(setup, Reporter())
    return predictions_of(setup, subject, subject.task.load("validation"), Reporter())


def masks_of(predictions):
    return [predictions.gone, *ablations("without-one", predictions.gone).values()]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def computed(monkeypatch):
    """The batches that were computed, by their first example."""
    batches, original = [], ManyMasks.logits

    def counted(self, batch):
        batches.append(int(batch.index[0]))
        return original(self, batch)

    monkeypatch.setattr(ManyMasks, "logits", counted)
    return batches


def test_the_store_gets_what_one_evaluation_at_a_time_gives(predictions):
    found = predict_masks(predictions, masks_of(predictions))
    assert len(found) == 13
    for mask, logits in found.items():
        alone = predict(predictions.subject.model, predictions.batches, gates_of(predictions.subject.model, mask))
        np.testing.assert_allclose(logits, alone, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(predictions.stored(mask), logits)


def test_nothing_is_computed_twice(predictions, computed, monkeypatch):
    masks = masks_of(predictions)
    first = predict_masks(predictions, masks[:5])
    assert len(computed) == len(predictions.batches)
    again = predict_masks(predictions, masks[:5])
    assert len(computed) == len(predictions.batches)
    assert all(np.array_equal(first[mask], again[mask]) for mask in first)
    runs, original = [], ManyMasks.__init__

    def noted(self, predictions, todo, *options, **named):
        runs.append(todo)
        original(self, predictions, todo, *options, **named)

    monkeypatch.setattr(ManyMasks, "__init__", noted)
    predict_masks(predictions, masks)
    assert runs == [masks[5:]]


def test_an_interrupted_job_repeats_only_the_batch_in_flight(predictions, computed, tmp_path, monkeypatch):
    masks, n = masks_of(predictions), len(predictions.batches)
    predict_masks(predictions, masks)
    undisturbed = contents(tmp_path / "store")
    predictions.store.clear()
    computed.clear()
    counted = ManyMasks.logits
    for stop in (3, 2, 1):
        seen = len(computed)

        def broken(self, batch, last=seen + stop):
            rows = counted(self, batch)
            if len(computed) == last:
                raise KeyboardInterrupt
            return rows

        monkeypatch.setattr(ManyMasks, "logits", broken)
        with pytest.raises(KeyboardInterrupt):
            predict_masks(predictions, masks)
    monkeypatch.setattr(ManyMasks, "logits", counted)
    predict_masks(predictions, masks)
    assert len(computed) == n + 3  # one batch in flight each time
    assert contents(tmp_path / "store") == undisturbed
    assert not unfinished(predictions.store.objects)


def test_a_job_is_closed_though_another_process_took_its_manifest(predictions, monkeypatch):
    """The other one closed the job between the last step and the look at the manifest, which it then removed."""
    original = Predictions.keep

    def keep(self, mask, logits):
        original(self, mask, logits)
        for manifest in predictions.store.objects.find(r"journals/\w+/manifest\.json"):
            predictions.store.objects.remove(re.escape(manifest))

    monkeypatch.setattr(Predictions, "keep", keep)
    predict_masks(predictions, masks_of(predictions))
    assert unfinished(predictions.store.objects) == []


@pytest.mark.parametrize("n_kept", [1, 7, 12])
def test_a_job_killed_while_it_stores_ends_in_the_same_bytes(predictions, computed, tmp_path, monkeypatch, n_kept):
    masks = masks_of(predictions)
    predict_masks(predictions, masks)
    undisturbed = contents(tmp_path / "store")
    predictions.store.clear()
    original, kept = Predictions.keep, []

    def killed(self, mask, logits):
        if len(kept) == n_kept:
            raise KeyboardInterrupt
        kept.append(mask)
        original(self, mask, logits)

    monkeypatch.setattr(Predictions, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        predict_masks(predictions, masks)
    monkeypatch.setattr(Predictions, "keep", original)
    computed.clear()
    predict_masks(predictions, masks)
    assert computed == []
    assert contents(tmp_path / "store") == undisturbed


@pytest.mark.slow
def test_ten_kills_at_random_moments_end_in_the_same_bytes(predictions, tmp_path):
    masks = masks_of(predictions)
    start = time.perf_counter()
    predict_masks(predictions, masks)
    seconds = time.perf_counter() - start
    undisturbed = contents(tmp_path / "store")
    predictions.store.clear()
    moments = random.Random(0)
    for _ in range(10):
        child = os.fork()
        if child == 0:
            predict_masks(predictions, masks)
            os._exit(0)
        time.sleep(moments.uniform(0.2, 0.6) * seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    predict_masks(predictions, masks)
    entries = {name: data for name, data in contents(tmp_path / "store").items() if ".partial" not in name.name}
    assert entries == undisturbed


def test_a_damaged_entry_is_noticed_and_computed_again(predictions, tmp_path):
    masks = masks_of(predictions)
    predict_masks(predictions, masks)
    undisturbed = contents(tmp_path / "store")
    victim = next(path for path in sorted((tmp_path / "store").rglob("*.safetensors")))
    victim.write_bytes(victim.read_bytes()[:-7])
    noted = []
    predictions.store = PredictionStore(tmp_path / "store", on_damage=noted.append)
    predict_masks(predictions, masks)
    assert len(noted) == 1
    assert "damaged" in noted[0]
    there = contents(tmp_path / "store")
    assert there.keys() == undisturbed.keys()
    assert sum(there[name] != undisturbed[name] for name in there) <= 1  # another batch of masks may round otherwise


def test_a_pass_fits_the_memory_and_the_result_does_not_depend_on_it(predictions, tmp_path):
    masks = masks_of(predictions)
    sizes = {}
    for memory in (1, 64):
        run = ManyMasks(predictions, masks, memory)
        batch = next(iter(predictions.batches))
        run.bytes_per_token = 8_000
        sizes[memory] = [len(group) for _, group in run._passes(batch.inputs["input_ids"].numel())]
        rows = run.logits(batch)
        if memory == 1:
            small = rows
    np.testing.assert_allclose(rows, small, rtol=0, atol=1e-5)
    assert sum(sizes[1]) == sum(sizes[64]) == len(masks)
    assert max(sizes[1]) * 8_000 * batch.inputs["input_ids"].numel() <= 2**20
    assert len(sizes[64]) == 4  # no mask, and one pass a layer


def test_layers_below_run_once_for_all_masks(predictions):
    masks = masks_of(predictions)
    run = ManyMasks(predictions, masks, 64)
    calls = [0] * 3
    for i, block in enumerate(predictions.subject.blocks):
        block.key.module.register_forward_hook(lambda *_, i=i: calls.__setitem__(i, calls[i] + 1))
    run.logits(next(iter(predictions.batches)))
    assert calls == [1, 2, 4]  # recording; masks of the layers below; in the last layer, of its own


def test_a_model_that_cannot_share_runs_one_at_a_time_and_says_so(predictions):
    remove_heads(predictions.subject.model, "2:1,2,3,4")
    assert predictions.gone == HeadMask.parse("2:1,2,3,4", (4, 4, 4))
    masks = masks_of(predictions)
    found = predict_masks(predictions, masks)
    assert any("one at a time" in note for note in predictions.reporter.notes)
    mask = masks[-1]
    alone = predict(predictions.subject.model, predictions.batches, gates_of(predictions.subject.model, mask))
    np.testing.assert_allclose(found[mask], alone, rtol=0, atol=1e-6)


def test_gates_that_do_nothing_are_refused(predictions):
    for block in predictions.subject.blocks:  # an attention that does not call its W_O as a module
        block.output.module.register_forward_hook(lambda module, args, output: torch.zeros_like(output))
    with pytest.raises(MaskNotAppliedError):
        predict_masks(predictions, masks_of(predictions))
    assert not predictions.store.objects.root.exists()


def test_logits_that_are_not_finite_are_refused(predictions):
    with torch.no_grad():
        predictions.subject.model.bert.embeddings.word_embeddings.weight[7] = torch.nan
    with pytest.raises(NotFiniteError):
        predict_masks(predictions, masks_of(predictions))


class TestKeys:
    """What another key is: anything that changes what a prediction is worth."""

    def key(self, checkpoint, sst2, **changes):
        setup = Setup(str(checkpoint), "sst2", data_dir=sst2, **changes)
        subject = load_subject(setup, Reporter())
        return predictions_of(setup, subject, subject.task.load("validation"), Reporter())

    def digest(self, predictions):
        return predictions.key(HeadMask((4, 4, 4))).digest

    def test_the_same_again(self, checkpoint, sst2):
        assert self.digest(self.key(checkpoint, sst2)) == self.digest(self.key(checkpoint, sst2))

    @pytest.mark.parametrize(
        "changes", [{"dtype": "bfloat16"}, {"max_length": 6}, {"label_order": ("positive", "negative")}]
    )
    def test_an_option(self, checkpoint, sst2, changes):
        assert self.digest(self.key(checkpoint, sst2, **changes)) != self.digest(self.key(checkpoint, sst2))

    def test_the_batch_size_is_none(self, checkpoint, sst2):
        assert self.digest(self.key(checkpoint, sst2, batch_size=3)) == self.digest(self.key(checkpoint, sst2))

    def test_a_weight_and_a_setting(self, checkpoint, sst2):
        before = self.digest(self.key(checkpoint, sst2))
        changed = self.key(checkpoint, sst2)
        with torch.no_grad():
            changed.subject.model.classifier.bias[0] += 1e-6
        assert self.digest(changed) != before
        changed = self.key(checkpoint, sst2)
        changed.subject.model.config.hidden_act = "relu"
        assert self.digest(changed) != before

    def test_a_text_and_a_label(self, checkpoint, sst2, tmp_path):
        before = self.digest(self.key(checkpoint, sst2))
        lines = (sst2 / "dev.tsv").read_text().splitlines()
        text, label = lines[3].split("\t")
        for changed in (f"{text.upper()}\t{label}", f"{text}\t{1 - int(label)}"):  # the tokens are the same
            folder = tmp_path / str(abs(hash(changed)))
            folder.mkdir()
            (folder / "dev.tsv").write_text("\n".join([*lines[:3], changed, *lines[4:]]) + "\n")
            assert self.digest(self.key(checkpoint, folder)) != before

    def test_a_tokenizer(self, checkpoint, sst2, tmp_path):
        before = self.key(checkpoint, sst2)
        tokenizer = before.subject.classifier.tokenizer
        tokenizer.backend_tokenizer.normalizer = None  # case now matters, so some words become unknown
        tokenizer.backend_tokenizer.post_processor = None
        after = Predictions(before.subject, before.split, before.store, Reporter())
        assert self.digest(after) != self.digest(self.key(checkpoint, sst2))


@pytest.mark.slow
def test_a_model_that_was_compiled_runs_together_too(predictions):
    masks = masks_of(predictions)[:5]
    plain = ManyMasks(predictions, masks, 96)
    expected = [plain.logits(batch) for batch in predictions.batches]
    model = predictions.subject.model
    model.compile(backend="eager")
    model(input_ids=torch.tensor([[5, 6, 7]]))
    run = ManyMasks(predictions, masks, 96)
    assert run.together is not None
    for batch, logits in zip(predictions.batches, expected, strict=True):
        np.testing.assert_allclose(run.logits(batch), logits, rtol=0, atol=1e-6)
