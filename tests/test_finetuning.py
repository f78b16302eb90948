"""Fine-tuning: the head that is kept or drawn, the recipe against a loop by hand, kills, and what is refused."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup

from prune_heads.batching import Batches
from prune_heads.checkpoints import load_classifier
from prune_heads.checkpoints.to_finetune import load_to_finetune
from prune_heads.errors import CheckpointError, PruneHeadsError, TaskError
from prune_heads.jobs.finetune import finetune_job
from prune_heads.progress import Silent
from prune_heads.studies.finetuning import finetune
from prune_heads.studies.setup import Setup
from prune_heads.studies.training import Recipe
from prune_heads.tasks.own import own_texts

LABELS = ("negative", "positive")
SETUP = Setup("mini", "mini-sentiment", max_examples=96)
QUICK = Recipe(epochs=2, learning_rate=1e-3)


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def logits(classifier):
    with torch.no_grad():
        return classifier.model.eval()(**classifier.probe_inputs()).logits


@pytest.fixture
def sentiment(tmp_path):
    """The built-in sentiment classifier on disk, to spoil."""
    classifier = load_classifier("mini", task="mini-sentiment")
    classifier.model.save_pretrained(tmp_path / "sentiment")
    classifier.tokenizer.save_pretrained(tmp_path / "sentiment")
    return tmp_path / "sentiment"


@pytest.fixture
def headless(sentiment, tmp_path):
    """Its body alone, as a pretrained model comes."""
    body = AutoModelForSequenceClassification.from_pretrained(sentiment).base_model
    body.save_pretrained(tmp_path / "headless")
    for file in sentiment.glob("tokenizer*"):
        shutil.copy(file, tmp_path / "headless")
    return tmp_path / "headless"


def test_a_head_for_the_same_labels_is_kept_in_whatever_order(sentiment):
    config = json.loads((sentiment / "config.json").read_text())
    config["id2label"], config["label2id"] = {0: "Positive", 1: "Negative"}, {"Positive": 0, "Negative": 1}
    (sentiment / "config.json").write_text(json.dumps(config))
    start = load_to_finetune(str(sentiment), LABELS)
    assert start.drawn == ()
    assert list(start.classifier.model.config.id2label.values()) == ["Positive", "Negative"]
    assert torch.equal(logits(start.classifier), logits(load_classifier("mini", task="mini-sentiment")))


@pytest.mark.parametrize(
    ("labels", "n"), [(("bad", "good"), 2), (("a", "b", "c"), 3), (None, 1)], ids=["two", "three", "score"]
)
def test_a_head_for_other_labels_is_drawn_and_named_by_them(sentiment, labels, n):
    torch.manual_seed(0)
    model = load_to_finetune(str(sentiment), labels).classifier.model
    torch.manual_seed(0)
    again = load_to_finetune(str(sentiment), labels)
    assert again.drawn == ("classifier.bias", "classifier.weight")
    assert model.classifier.weight.shape[0] == n
    assert list(model.config.id2label.values()) == list(labels or ("score",))
    assert torch.equal(model.classifier.weight, again.classifier.model.classifier.weight)
    old = load_classifier("mini", task="mini-sentiment").model
    assert n != 2 or (model.classifier.weight - old.classifier.weight).abs().min() > 0
    assert all(torch.equal(a, b) for a, b in zip(model.bert.parameters(), old.bert.parameters(), strict=True))


def test_a_model_without_a_head_gets_one_and_learns(headless, tmp_path):
    setup = Setup(str(headless), "mini-sentiment", max_examples=480)
    found = finetune(setup, QUICK, tmp_path / "work", Silent())
    assert found.record["drawn"] == ["classifier.bias", "classifier.weight"]
    assert [epoch["epoch"] for epoch in found.record["epochs"]] == [1, 2]
    assert found.record["epochs"][1]["loss"] < found.record["epochs"][0]["loss"]
    assert found.record["metrics"]["validation"]["accuracy"] > 0.8


def test_weights_that_are_no_head_must_be_there(headless):
    model = AutoModelForSequenceClassification.from_pretrained(headless)
    rest = {k: v for k, v in model.base_model.state_dict().items() if "layer.3" not in k}
    model.base_model.save_pretrained(headless, state_dict=rest)
    with pytest.raises(CheckpointError, match=r"lacks bert\.encoder\.layer\.3"):
        load_to_finetune(str(headless), LABELS)


def test_the_trainer_does_what_the_recipe_says(tmp_path, monkeypatch):
    """The same steps by hand: AdamW without decay of biases and norms, one schedule, gradients of norm 1."""
    seen, plain = [], Batches.batch
    recipe = Recipe(epochs=2, learning_rate=1e-3, weight_decay=0.5, group_by_length=False)
    setup = replace(SETUP, max_examples=64, batch_size=16)

    def spy(batches, index, **rest):
        batch = plain(batches, index, **rest)
        if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            seen.append(batch)
        return batch

    monkeypatch.setattr(Batches, "batch", spy)
    trained = finetune(setup, recipe, tmp_path / "work", Silent()).classifier.model
    assert sorted(i for batch in seen[:4] for i in batch.index) == list(range(64))
    assert len(seen) == 8
    model = load_classifier("mini", task="mini-sentiment").model.train()
    decayed = [w for name, w in model.named_parameters() if "bias" not in name and "LayerNorm" not in name]
    others = [w for name, w in model.named_parameters() if "bias" in name or "LayerNorm" in name]
    groups = [{"params": decayed, "weight_decay": 0.5}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, 1e-3)
    schedule = get_linear_schedule_with_warmup(optimizer, 1, 8)  # a tenth of eight steps, rounded up
    for batch in seen:
        model(**batch.inputs, labels=batch.labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    for (name, mine), theirs in zip(model.named_parameters(), trained.parameters(), strict=True):
        if (
            "key.bias" not in name
        ):  # its gradient is rounding alone, for a softmax ignores it; Adam blows it up
            assert torch.allclose(mine, theirs, atol=1e-6), name


def test_batches_are_of_like_length_if_asked(tmp_path, monkeypatch):
    spread, plain = {True: [], False: []}, Batches.batch
    for grouped in spread:

        def spy(batches, index, *, into=spread[grouped], **rest):
            if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
                into.append(batches.n_tokens[index].std())
            return plain(batches, index, **rest)

        monkeypatch.setattr(Batches, "batch", spy)
        recipe = Recipe(epochs=1, group_by_length=grouped)
        finetune(replace(SETUP, max_examples=384, batch_size=16), recipe, tmp_path / str(grouped), Silent())
    assert sum(spread[True]) < 0.7 * sum(spread[False])


class _Killed(BaseException):
    pass


class _KilledAfter(Silent):
    """A reporter in whose hands the process dies once so many examples are done."""

    def __init__(self, examples):
        super().__init__()
        self.left = examples

    def stage(self, name, total):
        return self

    def __enter__(self):
        return self._count

    def __exit__(self, *error):
        return None

    def _count(self, done):
        self.left -= done
        if self.left < 0:
            raise _Killed


@pytest.mark.parametrize("grouped", [True, False], ids=["by length", "random"])
@pytest.mark.parametrize("examples", [70, 150], ids=["epoch 1", "epoch 2"])
def test_a_killed_fine_tuning_goes_on_to_the_same_bytes(tmp_path, examples, grouped):
    recipe = replace(QUICK, keep_epochs=True, keep_steps=(0, 4), group_by_length=grouped)
    whole = finetune_job(SETUP, recipe, Silent(), output=tmp_path / "whole", save_seconds=0.0)
    with pytest.raises(_Killed):
        finetune_job(SETUP, recipe, _KilledAfter(examples), output=tmp_path / "killed", save_seconds=0.0)
    assert not (tmp_path / "killed").exists()
    killed = finetune_job(SETUP, recipe, Silent(), output=tmp_path / "killed", save_seconds=0.0)
    assert any("went on from step" in note for note in killed["notes"])
    assert not (tmp_path / "killed.training").exists()
    for folder in ("", "epoch-1", "epoch-2", "step-0", "step-4"):
        assert weights(tmp_path / "killed" / folder) == weights(tmp_path / "whole" / folder)
    assert killed["metrics"] == whole["metrics"]
    assert killed["finetuned"] == whole["finetuned"]
    losses = [[epoch["loss"] for epoch in record["epochs"]] for record in (killed, whole)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)  # means of means that the trainer has rounded


def test_a_save_that_was_cut_off_is_not_used(tmp_path):
    whole = finetune_job(SETUP, QUICK, Silent(), output=tmp_path / "whole", save_seconds=1e9)
    with pytest.raises(_Killed):
        finetune_job(SETUP, QUICK, _KilledAfter(130), output=tmp_path / "torn", save_seconds=1e9)
    (save,) = (tmp_path / "torn.training").glob("checkpoint-*")
    later = shutil.copytree(save, save.with_name("checkpoint-5"))
    state = (later / "trainer_state.json").read_text()
    (later / "trainer_state.json").write_text(state[: len(state) // 2])
    torn = finetune_job(SETUP, QUICK, Silent(), output=tmp_path / "torn", save_seconds=1e9)
    assert torn["notes"][-1].startswith("went on from step 3")
    assert torn["finetuned"] == whole["finetuned"]


def test_what_is_done_is_not_done_again_and_other_work_is_not_taken_over(tmp_path):
    output = tmp_path / "out"
    first = finetune_job(SETUP, QUICK, Silent(), output=output, save_seconds=1e9)
    reporter = Silent()
    assert finetune_job(SETUP, QUICK, reporter, output=output, save_seconds=1e9) == first
    assert reporter.notes[-1].startswith("this was done before")
    other = replace(QUICK, seed=1)
    with pytest.raises(PruneHeadsError, match="holds a different run"):
        finetune_job(SETUP, other, Silent(), output=output, save_seconds=1e9)
    with pytest.raises(_Killed):
        finetune_job(SETUP, QUICK, _KilledAfter(100), output=tmp_path / "new", save_seconds=1e9)
    with pytest.raises(PruneHeadsError, match="holds the work of a different fine-tuning"):
        finetune_job(SETUP, other, Silent(), output=tmp_path / "new", save_seconds=1e9)
    replaced = finetune_job(SETUP, other, Silent(), output=output, save_seconds=1e9, overwrite=True)
    assert replaced["finetuned"] != first["finetuned"]


def test_the_record_names_no_place(tmp_path, sentiment):
    record = finetune_job(
        replace(SETUP, model=str(sentiment)), QUICK, Silent(), output=tmp_path / "out", save_seconds=1e9
    )
    assert record["model"]["name"] == "sentiment"
    assert str(tmp_path) not in (tmp_path / "out" / "record.json").read_text()
    assert record["finetuned"] != record["model"]["fingerprint"]


def test_what_cannot_be_fine_tuned_is_refused(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("a text\n")
    with pytest.raises(PruneHeadsError, match="float16 needs a GPU"):
        finetune(replace(SETUP, dtype="float16", device="cpu"), QUICK, tmp_path / "work", Silent())
    texts = Setup("mini", "lm", own=own_texts("lm", {"train": file}, None))
    with pytest.raises(TaskError, match="needs a task with labels"):
        finetune(texts, QUICK, tmp_path / "work", Silent())
