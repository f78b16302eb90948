"""Tiny language models of every kind, and texts in which one word says what the others are."""

import random
from pathlib import Path

import torch
from loading import load_language_model
from tiny import WORDS, tiny_tokenizer
from tiny_types import tiny_config
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from prune_heads.checkpoints import Checkpoint

AUTO = {
    "gpt2": AutoModelForCausalLM,
    "llama": AutoModelForCausalLM,
    "bert": AutoModelForMaskedLM,
    "t5": AutoModelForSeq2SeqLM,
    "bart": AutoModelForSeq2SeqLM,
}
"""Type -> the class that its language model is loaded by."""
PAIRS = ("t5", "bart")
TOPICS, FILLERS = WORDS[:6], WORDS[6:]


def is_pairs(model_type: str) -> bool:
    """Whether it gives targets to sources."""
    return model_type in PAIRS


def task_of(model_type: str) -> str:
    """Its task's name."""
    return "seq2seq" if is_pairs(model_type) else "lm"


def topic_texts(n: int, seed: int) -> list[str]:
    """Texts in which every second word is the topic: to predict it, a model must look at an earlier word."""
    draw = random.Random(seed)
    texts = []
    for _ in range(n):
        topic = draw.choice(TOPICS)
        texts.append(" ".join(f"{topic} {draw.choice(FILLERS)}" for _ in range(draw.randint(2, 5))))
    return texts


def topic_pairs(n: int, seed: int) -> list[tuple[str, str]]:
    """Sources, and targets that repeat their topic: to predict it, a decoder must look at the source."""
    draw = random.Random(seed)
    return [(text, " ".join([text.split()[0]] * draw.randint(1, 4))) for text in topic_texts(n, seed)]


def write_texts(folder: Path, model_type: str, *, n_train: int = 120, n_dev: int = 40) -> tuple[object, ...]:
    """Files of texts or pairs; gives the options that name them and their task."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, n, seed in (("train", n_train, 0), ("validation", n_dev, 1)):
        if is_pairs(model_type):
            lines = ["source,target", *(f"{source},{target}" for source, target in topic_pairs(n, seed))]
            file = folder / f"{name}.csv"
        else:
            lines, file = topic_texts(n, seed), folder / f"{name}.txt"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        files += [f"--{name}-file", file]
    return ("--task", task_of(model_type), *files)


def text_tokenizer() -> PreTrainedTokenizerFast:
    """That of `tiny`, without the types of tokens, which are for pairs."""
    tokenizer = tiny_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return tokenizer


def tiny_language_model(model_type: str, *, seed: int = 0) -> PreTrainedModel:
    """A random model in evaluation mode, its weights large enough that every head matters."""
    config = tiny_config(model_type)
    config.bos_token_id = config.decoder_start_token_id = 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AUTO[model_type].from_config(config)
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower():
                torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


def save_language_model(folder: Path, model: PreTrainedModel) -> Path:
    """The checkpoint with its tokenizer."""
    model.save_pretrained(folder)
    text_tokenizer().save_pretrained(folder)
    return folder


def loaded(folder: Path, model_type: str, **options: object) -> Checkpoint:
    """As the commands load it."""
    return load_language_model(str(folder), pairs=is_pairs(model_type), **options)
