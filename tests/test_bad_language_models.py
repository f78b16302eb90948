"""Language models that are refused, with the cure; and texts that there is nothing to measure on."""

import json

import pytest
import torch
from loading import load_classifier, load_language_model
from safetensors.torch import load_file, save_file
from tiny import save_tiny_checkpoint, tiny_model, tiny_tokenizer
from tiny_texts import loaded, save_language_model, tiny_language_model
from transformers import AutoTokenizer, BertConfig, BertLMHeadModel

from prune_heads import remove_heads, save_pruned
from prune_heads.errors import CheckpointError, DataError, TaskError
from prune_heads.evaluation import Subject, n_positions
from prune_heads.progress import Reporter
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task


@pytest.fixture
def texts(tmp_path):
    def write(content, **options):
        (tmp_path / "texts.txt").write_text(content, encoding="utf-8")
        return load_task("lm", own=OwnData({"train": tmp_path / "texts.txt"}, kind="lm"))

    return write


@pytest.mark.parametrize(("model_type", "right", "wrong"), [("gpt2", "lm", "seq2seq"), ("t5", "seq2seq", "lm")])
def test_the_other_kind_is_refused_and_the_task_is_named(model_type, right, wrong, tmp_path):
    folder = save_language_model(tmp_path / "model", tiny_language_model(model_type))
    with pytest.raises(CheckpointError, match=f"--task {wrong} must be given .* Take --task {right}"):
        load_language_model(str(folder), pairs=wrong == "seq2seq")


@pytest.mark.parametrize("removed", [False, True])
def test_a_language_model_is_no_classifier(removed, tmp_path):
    model = tiny_language_model("gpt2")
    save_pruned(remove_heads(model, "1:1") if removed else model, tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"is a language model \(GPT2LMHeadModel\).*--task lm"):
        load_classifier(str(tmp_path / "model"))
    assert loaded(tmp_path / "model", "gpt2").objective == "causal"


@pytest.mark.parametrize("names", [None, ["BertModel"], ["BertForSequenceClassification"], ["MyOwn"]])
def test_a_class_without_a_head_of_that_kind_is_refused(names, tmp_path):
    folder = save_tiny_checkpoint(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": names}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="must name a class with a language-modelling head"):
        load_language_model(str(folder))


def test_a_head_that_was_never_trained_is_refused(tmp_path):
    folder = save_language_model(tmp_path / "model", tiny_language_model("bert"))
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: w for name, w in weights.items() if "transform" not in name},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(CheckpointError, match=r"must have a trained language-modelling head; model lacks cls\.pred"):
        load_language_model(str(folder))


def test_a_causal_model_that_sees_the_next_token_is_refused(tmp_path):
    shape = {"vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    for is_decoder in (True, False):
        folder = tmp_path / f"decoder-{is_decoder}"
        model = BertLMHeadModel(BertConfig(**shape, intermediate_size=48, is_decoder=is_decoder))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.15, generator=torch.Generator().manual_seed(0))
        save_language_model(folder, model)
    assert load_language_model(str(tmp_path / "decoder-True")).objective == "causal"
    with pytest.raises(CheckpointError, match=r"must not see the tokens that it predicts.*is_decoder"):
        load_language_model(str(tmp_path / "decoder-False"))


def test_special_tokens_that_are_needed(tmp_path, texts):
    """A causal model pads with whatever there is; a masked one must have its mask."""
    for model_type in ("gpt2", "bert"):
        folder = save_language_model(tmp_path / model_type, tiny_language_model(model_type))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.pad_token = tokenizer.mask_token = None
        tokenizer.save_pretrained(folder)
    subject = Subject.of(loaded(tmp_path / "gpt2", "gpt2"), texts("a cat\na cat sleeps\n"))
    batches = subject.batches(subject.measurable(subject.task.load("train"), Reporter()))
    assert [len(batch.index) for batch in batches] == [2]
    with pytest.raises(CheckpointError, match="must have a mask token"):
        load_language_model(str(tmp_path / "bert"))


def test_texts_without_a_token_to_predict_are_left_out_or_refused(tmp_path, texts):
    tokenizer = tiny_tokenizer()
    folder = save_language_model(tmp_path / "model", tiny_language_model("gpt2"))
    tokenizer.backend_tokenizer.post_processor = None  # as GPT-2's own, which adds no special tokens
    tokenizer.save_pretrained(folder)
    subject = Subject.of(loaded(folder, "gpt2"), texts("a cat\n\ncat\n  \na cat sleeps\n"))
    reporter = Reporter()
    split = subject.measurable(subject.task.load("train"), reporter)
    assert split.dataset["text"][:] == ["a cat", "a cat sleeps"]
    assert subject.batches(split).references.tolist() == [1, 2]
    assert reporter.notes == ["train: 1 of 3 texts have no token to predict and are left out"]
    subject = Subject.of(loaded(folder, "gpt2"), texts("cat\ndog\n"))
    with pytest.raises(DataError, match="got none in 2"):
        subject.measurable(subject.task.load("train"), Reporter())


def test_model_and_task_must_be_of_one_kind(tmp_path, texts):
    task = texts("a cat\n")
    classifier = load_classifier(str(save_tiny_checkpoint(tmp_path / "classifier")))
    with pytest.raises(TaskError, match="got labelled and lm"):
        Subject.of(classifier, task)
    model = loaded(save_language_model(tmp_path / "model", tiny_language_model("gpt2")), "gpt2")
    with pytest.raises(TaskError, match="got lm and labelled"):
        Subject.of(model, load_task("mini-sentiment"))
    with pytest.raises(TaskError, match="--label-order must be given for single-label"):
        Subject.of(model, task, label_order=("a", "b"))


@torch.no_grad()
@pytest.mark.parametrize("model_type", ["gpt2", "bart", "opt", "bert", "roberta"])
def test_the_longest_text_that_has_positions(model_type):
    """As many tokens run, and one more does not."""
    model = tiny_language_model(model_type) if model_type in ("gpt2", "bart") else tiny_model(model_type)
    n = n_positions(model)
    assert n in (62, 63, 64)
    model(input_ids=torch.full((1, n), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, n + 1), 5))
