"""What a checkpoint holds must fit together and the task; what transformers would invent or leave out is refused."""

import json
import re

import pytest
import torch
from loading import load_classifier, load_to_finetune
from spoiled import edit, logits, refuse, saved
from tiny import tiny_model
from transformers import (
    AutoTokenizer,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForQuestionAnswering,
    ConvBertConfig,
    ConvBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForTokenClassification,
    ModernBertConfig,
    ModernBertForTokenClassification,
)

from prune_heads.errors import CheckpointError, PruneHeadsError
from prune_heads.evaluation import Subject, predict
from prune_heads.tasks.task import load_task

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
LABELS = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}


# Another head than one for the class of a text.


@pytest.mark.parametrize(
    "build",
    [
        lambda: LlamaForTokenClassification(
            LlamaConfig(**SHAPE, num_key_value_heads=2, vocab_size=120, pad_token_id=0)
        ),
        lambda: ModernBertForTokenClassification(
            ModernBertConfig(**SHAPE, vocab_size=120, pad_token_id=0, cls_token_id=2, sep_token_id=3)
        ),
        lambda: BertForQuestionAnswering(tiny_model(n_labels=2).config),
        lambda: BertForMultipleChoice(tiny_model(n_labels=1).config),
        lambda: BertForNextSentencePrediction(tiny_model(n_labels=2).config),
    ],
    ids=["llama-tokens", "modernbert-tokens", "questions", "choice", "next-sentence"],
)
def test_a_head_for_something_else_is_refused_and_named(build, tmp_path):
    model = build()
    refuse(saved(model, tmp_path / "other"), rf"trained classification head.*\({type(model).__name__}\)")


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_a_head_for_another_kind_of_answer_is_refused(problem, copy):
    classifier = load_classifier(str(edit(copy, problem_type=problem)))  # pruned and exported it may be
    with pytest.raises(CheckpointError, match=f"must be single_label_classification.* got {problem}"):
        Subject.of(classifier, load_task("mini-sentiment"))


def test_a_start_takes_no_head_for_something_else(tmp_path, copy):
    """A token classifier of as many labels has a head of the same name and shape."""
    config = LlamaConfig(**SHAPE, **LABELS, num_key_value_heads=2, vocab_size=120, pad_token_id=0)
    model = LlamaForTokenClassification(config)
    start = load_to_finetune(str(saved(model, tmp_path / "tokens")), ("negative", "positive"))
    assert start.drawn == ("score.weight",)
    assert not torch.equal(start.model.score.weight, model.score.weight)
    assert torch.equal(start.model.model.norm.weight, model.model.norm.weight)
    multi = load_to_finetune(str(edit(copy, problem_type="multi_label_classification")), ("negative", "positive"))
    assert multi.drawn == ("classifier.bias", "classifier.weight")
    assert multi.model.config.problem_type is None


# Entries of config.json.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": 5}, "architectures in config.json of copy must be a list of names"),
        ({"architectures": "BertForSequenceClassification"}, "must be a list of names"),
        ({"architectures": [1]}, "must be a list of names"),
        ({"architectures": ["Mine"]}, r"of another class \(Mine\)"),
        ({"problem_type": "guess"}, "problem_type in config.json of copy must be null or one of"),
        ({"id2label": ["negative", "positive"]}, "id2label .* must map numbers from 0 to names"),
        ({"id2label": {"-1": "negative", "0": "positive"}}, "must map numbers from 0"),
        ({"num_labels": 3}, "num_labels .* must be the number of labels that id2label names, 2; got 3"),
        ({"label2id": {"negative": 1, "positive": 0}}, "label2id .* agree with id2label, where negative is 0"),
        ({"label2id": ["negative"]}, "label2id .* must map names to numbers"),
        ({"is_decoder": True}, "is_decoder in config.json of copy must be false"),
        ({"quantization_config": {"quant_method": "guess"}}, "quantization_config .* must be absent.*guess"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "must be absent"),
        ({"num_hidden_layers": 2}, r"has bert\.encoder\.layer\.2.* left over"),
        ({"num_hidden_layers": 4}, r"must be those of its config\.json; it lacks bert\.encoder\.layer\.3"),
        ({"model_type": "roberta"}, r"it lacks .*roberta|lacks classifier\.dense\.bias.*and has bert"),
        ({"hidden_size": "32"}, "cannot be loaded"),
        ({"hidden_act": "guess"}, "cannot be loaded: .*guess"),
        ({"num_attention_heads": -4}, "cannot be loaded|must be a whole number"),
        ({"pad_token_id": 7}, "pad_token_id in config.json of copy is 7, the tokenizer has 0"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_entries_that_contradict_or_would_be_ignored_are_refused(change, said, copy):
    with pytest.raises(PruneHeadsError, match=said):
        Subject.of(load_classifier(str(edit(copy, **change))), load_task("mini-sentiment"))


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", {"return_dict": False}, "return_dict = False; True is taken"),
        ("config.json", {"return_dict": None}, "return_dict = None; True is taken"),
        ("config.json", {"chunk_size_feed_forward": 7}, "chunk_size_feed_forward = 7; 0 is taken"),
        ("config.json", {"pad_token_id": None}, r"the tokenizer's is taken: \[PAD\] \(0\)"),
        ("config.json", {"architectures": None}, "names no class in 'architectures'; BertForSequenceClass"),
        *(
            ("tokenizer_config.json", {"model_max_length": length}, "model_max_length .* ignored")
            for length in (-1, 0, 1, "512", [5], float("nan"))
        ),
        ("tokenizer_config.json", {"model_input_names": ["input_ids"]}, "attention_mask, which is added"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_what_is_harmless_is_settled_with_a_note_and_changes_nothing(file, change, said, copy, sst2, checkpoint):
    split = load_task("sst2", data_dir=sst2).load("validation")

    def answers(folder):
        subject = Subject.of(load_classifier(str(folder)), load_task("sst2", data_dir=sst2), batch_size=8)
        return subject.classifier.notes, predict(subject.model, subject.batches(split))

    (none, right), (notes, got) = answers(checkpoint), answers(edit(copy, file, **change))
    assert none == ()
    assert len(notes) == 1
    assert re.search(said, notes[0])
    assert pytest.approx(right) == got


def test_a_padding_token_that_only_the_tokenizer_names_marks_where_texts_end(tmp_path):
    """GPT-2 reads its logits off the last token that is no padding."""
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=120, n_positions=64, pad_token_id=0, **LABELS)
    saved(GPT2ForSequenceClassification(config), tmp_path / "model")
    right = logits(tmp_path / "model")
    assert torch.equal(logits(edit(tmp_path / "model", pad_token_id=None)), right)


def test_what_a_class_says_of_padding_gives_way_to_the_tokenizer(tmp_path):
    """ConvBERT's says 1, and its tokenizer is BERT's; what config.json says itself does not."""
    config = ConvBertConfig(**SHAPE, **LABELS, embedding_size=32, vocab_size=120, head_ratio=1)
    folder = saved(ConvBertForSequenceClassification(config), tmp_path / "model")
    refuse(folder, "pad_token_id in config.json of model is 1, the tokenizer has 0")
    loaded = load_classifier(str(edit(folder, pad_token_id=None)))
    assert loaded.model.config.pad_token_id == 0
    assert loaded.notes == ("config.json names no padding token; the tokenizer's is taken: [PAD] (0)",)


# Tokenizers.


def test_a_tokenizer_that_no_file_describes_is_refused_by_the_names_of_its_files(copy):
    for file in copy.glob("tokenizer*"):
        file.unlink()
    refuse(copy, r"must hold its tokenizer: tokenizer.json, or vocab.txt; copy holds none")
    (copy / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    refuse(copy, "must have words")


def test_a_tokenizer_of_another_model_or_class_is_refused(copy):
    words = load_classifier(str(copy)).tokenizer("the film is good")["input_ids"]
    edit(copy, "tokenizer_config.json", tokenizer_class="RobertaTokenizer")
    if AutoTokenizer.from_pretrained(copy)("the film is good")["input_ids"] != words:  # transformers 5.0 reads the file
        refuse(copy, "must be of the class that its tokenizer.json is for; as RobertaTokenizer")
    edit(copy, "tokenizer_config.json", tokenizer_class="TokenizersBackend", model_input_names=["foo"])
    refuse(copy, "must hold 'input_ids'")
    tokenizer = AutoTokenizer.from_pretrained(copy, model_input_names=["input_ids"])
    tokenizer.pad_token = "[MASK]"
    tokenizer.save_pretrained(copy)
    refuse(copy, "pad_token_id in config.json of copy is 0, the tokenizer has 4")
