"""Fine-tuning: the head that is kept or drawn, the recipe against a loop by hand, kills, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from killed import Killed, KilledAfter
from loading import load_classifier, load_to_finetune
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup

from prune_heads.errors import CheckpointError, PruneHeadsError, RunError, TaskError
from prune_heads.execution.claims import NAME, Claims, Owner, held, machine
from prune_heads.objectives.batches import Batches
from prune_heads.options import NewFolder, Recipe, Setup
from prune_heads.progress import Reporter
from prune_heads.reporting.folders import of_record
from prune_heads.studies.finetuning import finetune, finetune_into
from prune_heads.studies.setup import load_split, load_subject
from prune_heads.studies.training import _Order, _Watch, last_whole

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
    assert list(start.model.config.id2label.values()) == ["Positive", "Negative"]
    assert torch.equal(logits(start), logits(load_classifier("mini", task="mini-sentiment")))


@pytest.mark.parametrize(
    ("labels", "n"), [(("bad", "good"), 2), (("a", "b", "c"), 3), (None, 1)], ids=["two", "three", "score"]
)
def test_a_head_for_other_labels_is_drawn_and_named_by_them(sentiment, labels, n):
    torch.manual_seed(0)
    model = load_to_finetune(str(sentiment), labels).model
    torch.manual_seed(0)
    again = load_to_finetune(str(sentiment), labels)
    assert again.drawn == ("classifier.bias", "classifier.weight")
    assert model.classifier.weight.shape[0] == n
    assert list(model.config.id2label.values()) == list(labels or ("score",))
    assert torch.equal(model.classifier.weight, again.model.classifier.weight)
    old = load_classifier("mini", task="mini-sentiment").model
    assert n != 2 or (model.classifier.weight - old.classifier.weight).abs().min() > 0
    assert all(torch.equal(a, b) for a, b in zip(model.bert.parameters(), old.bert.parameters(), strict=True))


@pytest.mark.slow
def test_a_model_without_a_head_gets_one_and_learns(headless, tmp_path):
    setup = Setup(str(headless), "mini-sentiment", max_examples=480)
    _, record = finetune(setup, QUICK, tmp_path / "work", Reporter())
    assert record["drawn"] == ["classifier.bias", "classifier.weight"]
    assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2]
    assert record["epochs"][1]["loss"] < record["epochs"][0]["loss"]
    assert record["metrics"]["validation"]["accuracy"] > 0.8


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
    trained = finetune(setup, recipe, tmp_path / "work", Reporter())[0].model
    assert sorted(i for batch in seen[:4] for i in batch.index) == list(range(64))
    assert len(seen) == 8
    model = load_classifier("mini", task="mini-sentiment").model.train()
    decayed = [w for name, w in model.named_parameters() if "bias" not in name and "LayerNorm" not in name]
    others = [w for name, w in model.named_parameters() if "bias" in name or "LayerNorm" in name]
    groups = [{"params": decayed, "weight_decay": 0.5}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, 1e-3)
    schedule = get_linear_schedule_with_warmup(optimizer, 1, 8)  # a tenth of eight steps, rounded up
    for batch in seen:
        model(**batch.inputs, labels=batch.targets).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    for (name, mine), theirs in zip(model.named_parameters(), trained.parameters(), strict=True):
        if "key.bias" not in name:  # its gradient is rounding alone, for a softmax ignores it; Adam blows it up
            assert torch.allclose(mine, theirs, atol=1e-6), name


@pytest.mark.slow
def test_batches_are_of_like_length(tmp_path, monkeypatch):
    seen, plain = [], Batches.batch

    def spy(batches, index, **rest):
        if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            seen.append(batches.n_tokens[index].std())
        return plain(batches, index, **rest)

    setup = replace(SETUP, max_examples=192, batch_size=16)
    monkeypatch.setattr(Batches, "batch", spy)
    finetune(setup, Recipe(epochs=1), tmp_path / "work", Reporter())
    subject = load_subject(setup, Reporter())
    batches = subject.batches(load_split(setup, subject, "train", Reporter()))
    order = np.array(list(_Order(batches, 42, grouped=False))).reshape(12, 16)
    assert len(seen) == 12
    assert sum(seen) < 0.7 * batches.n_tokens[order].std(axis=1).sum()


def tuned(output, reporter=None, recipe=QUICK, **more):
    recipe, folder = replace(recipe, save_minutes=0.0), NewFolder(output, **more)
    return finetune_into(SETUP, recipe, reporter or Reporter(), folder, of_record)


def killed(output, examples):
    """Three batches of 32 are an epoch; a save comes after each."""
    with pytest.raises(Killed):
        tuned(output, KilledAfter(examples), KEEPING)
    return output.with_name(f"{output.name}.training")


KEEPING = replace(QUICK, keep_epochs=True, keep_steps=(0, 4))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Record and folder of a fine-tuning that nobody killed."""
    output = tmp_path_factory.mktemp("whole") / "whole"
    return tuned(output, recipe=KEEPING), output


def check_same(record, output, whole):
    right, folder = whole
    for kept in ("", "epoch-1", "epoch-2", "step-0", "step-4"):
        assert weights(output / kept) == weights(folder / kept)
    assert sorted(path.name for path in output.iterdir()) == sorted(path.name for path in folder.iterdir())
    assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2]
    assert [epoch["metrics"] for epoch in record["epochs"]] == [epoch["metrics"] for epoch in right["epochs"]]
    assert record["metrics"] == right["metrics"]
    assert record["finetuned"] == right["finetuned"]
    losses = [[epoch["loss"] for epoch in each["epochs"]] for each in (record, right)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)  # means of means that the trainer has rounded
    assert [path.name for path in output.parent.iterdir()] == [output.name]


@pytest.mark.slow
@pytest.mark.parametrize("when", [70, pytest.param("end of epoch 1", marks=pytest.mark.thorough), "end of epoch 2"])
def test_a_killed_fine_tuning_goes_on_to_the_same_bytes(tmp_path, whole, when, monkeypatch):
    """In the middle of an epoch, and after its last step before it is measured."""
    output = tmp_path / "killed"
    if isinstance(when, int):
        killed(output, when)
    else:
        measure = _Watch.on_epoch_end

        def die(watch, args, state, *rest, **more):
            if round(state.epoch) == int(when[-1]):
                raise Killed
            measure(watch, args, state, *rest, **more)

        monkeypatch.setattr(_Watch, "on_epoch_end", die)
        with pytest.raises(Killed):
            tuned(output, recipe=KEEPING)
        monkeypatch.undo()
    assert not output.exists()
    record = tuned(output, recipe=KEEPING)
    assert any("went on from step" in note for note in record["notes"])
    check_same(record, output, whole)


@pytest.mark.parametrize("grouped", [True, False])
def test_the_order_of_an_epoch_is_of_its_number_alone(grouped):
    subject = load_subject(SETUP, Reporter())
    order = _Order(subject.batches(subject.task.load("train")), 42, grouped=grouped)
    drawn = []
    for epoch in (0, 1, 0):
        torch.manual_seed(epoch + len(drawn))
        order.set_epoch(epoch)
        drawn.append(list(order))
    assert drawn[0] == drawn[2] != drawn[1]
    assert sorted(drawn[0]) == sorted(drawn[1]) == list(range(len(order)))


@pytest.mark.slow
def test_the_last_whole_save_is_taken_whatever_was_left_half_written(tmp_path, whole):
    """As after two kills in mid-save, and one while a checkpoint to be kept was written."""
    work = killed(tmp_path / "torn", 130)
    (save,) = work.glob("checkpoint-*")
    assert save.name == "checkpoint-4"
    for left in (".checkpoint-5.x.partial", ".checkpoint-5.y.partial", "kept/.epoch-2.x.partial"):
        shutil.copytree(save, work / left)
    later = shutil.copytree(save, work / "checkpoint-5")
    (later / "optimizer.pt").write_bytes((later / "optimizer.pt").read_bytes()[:1000])
    for odd in ("checkpoint-x", "checkpoint-6"):
        (work / odd).mkdir()
    record = tuned(tmp_path / "torn", recipe=KEEPING)
    assert record["notes"][-3:] == [
        "what was saved at step 6 is not used: seal.json cannot be read (No such file or directory)",
        "what was saved at step 5 is not used: optimizer.pt is damaged",
        "went on from step 4, where an earlier process was stopped",
    ]
    check_same(record, tmp_path / "torn", whole)


def test_any_file_of_a_save_that_is_cut_or_missing_is_noticed(tmp_path):
    work = killed(tmp_path / "out", 70)
    (save,) = work.glob("checkpoint-*")
    assert last_whole(work, Reporter()) == save
    files = sorted(save.iterdir())
    assert {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} < {f.name for f in files}
    for file in files:
        content, reporter = file.read_bytes(), Reporter()
        for spoilt in (content[: len(content) // 2], b"", b"[" * 100_000, None):
            file.unlink() if spoilt is None else file.write_bytes(spoilt)
            assert last_whole(work, reporter) is None
        file.write_bytes(content)
        assert all(note.startswith(f"what was saved at step 2 is not used: {file.name}") for note in reporter.notes)
    assert last_whole(work, Reporter()) == save


@pytest.mark.slow
def test_one_process_alone_fine_tunes_into_a_folder(tmp_path, whole):
    output = tmp_path / "out"
    with held(output, Reporter()), pytest.raises(RunError, match="another process works on"):
        tuned(output, recipe=KEEPING, overwrite=True)
    assert list(tmp_path.iterdir()) == []
    dead = Claims(tmp_path / ".out.held", owner=Owner(machine(), 2**22 + 1, "gone"))
    assert dead.take(NAME)
    shutil.copytree(whole[1], output)
    record = tuned(output, recipe=KEEPING, overwrite=True)
    check_same(record, output, whole)


@pytest.mark.slow
def test_what_is_done_is_not_done_again_and_other_work_is_not_taken_over(tmp_path, whole):
    record, folder = whole
    reporter, other = Reporter(), replace(KEEPING, seed=1)
    assert tuned(folder, reporter, KEEPING) == record
    assert reporter.notes[-1].startswith("this was done before")
    with pytest.raises(PruneHeadsError, match="holds a different run"):
        tuned(folder, recipe=other)
    killed(tmp_path / "new", 70)
    with pytest.raises(PruneHeadsError, match=r"new\.training holds a different run"):
        tuned(tmp_path / "new", recipe=other)
    replaced = tuned(tmp_path / "new", recipe=other, overwrite=True)
    assert replaced["finetuned"] != record["finetuned"]


def test_the_record_names_no_place(tmp_path, sentiment):
    setup = replace(SETUP, model=str(sentiment), max_examples=64)
    record = finetune_into(setup, replace(QUICK, epochs=1), Reporter(), NewFolder(tmp_path / "out"), of_record)
    assert record["model"]["name"] == "sentiment"
    assert str(tmp_path) not in (tmp_path / "out" / "record.json").read_text()
    assert record["finetuned"] != record["model"]["fingerprint"]


def test_what_cannot_be_fine_tuned_is_refused(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("a text\n")
    with pytest.raises(PruneHeadsError, match="float16 needs a GPU"):
        finetune(replace(SETUP, dtype="float16", device="cpu"), QUICK, tmp_path / "work", Reporter())
    with pytest.raises(PruneHeadsError, match="--keep-steps must be at most 6, the steps of this training; got 7"):
        tuned(tmp_path / "out", recipe=replace(QUICK, keep_steps=(0, 7)))
    assert not list(tmp_path.glob("*out*"))
    texts = Setup("mini", "lm", train_file=file)
    with pytest.raises(TaskError, match=r"can train, which causal-lm is not yet\. Name a fine-tuned"):
        finetune(texts, QUICK, tmp_path / "work", Reporter())
