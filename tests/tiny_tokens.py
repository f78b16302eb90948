"""Tiny models that label words, and sentences with entities."""

import random
from pathlib import Path

import torch
from tiny import _BERT, WORDS, tiny_tokenizer
from transformers import AutoConfig, AutoModelForTokenClassification

from prune_heads.checkpoints import Checkpoint, load_checkpoint
from prune_heads.objectives.token_classification import TokenClassification

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
DASHED = [f"{WORDS[i]}-{WORDS[i + 1]}" for i in range(4)]
"""Words of three tokens each."""


def sentences(n: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """Words and their tags."""
    draw = random.Random(seed)
    made = []
    for _ in range(n):
        words = [draw.choice((*WORDS, *DASHED)) for _ in range(draw.randint(1, 9))]
        made.append((words, [draw.choice(("O", *TAGS)) for _ in words]))
    return made


def write_conll(path: Path, n: int, seed: int = 0) -> Path:
    """The same as a file of three columns."""
    lines = ["-DOCSTART- -X- O", ""]
    for words, tags in sentences(n, seed):
        lines += [*(f"{word} NN {tag}" for word, tag in zip(words, tags, strict=True)), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def save_tagger(folder: Path, tags: tuple[str, ...] = TAGS, *, seed: int = 0) -> Path:
    """A random BERT that labels words, with its tokenizer, as transformers saves it."""
    names = dict(enumerate(tags))
    config = AutoConfig.for_model("bert", **_BERT, id2label=names, label2id={tag: i for i, tag in names.items()})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForTokenClassification.from_config(config)
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower():
                torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tagger_of(folder: Path) -> Checkpoint:
    """As the commands load it."""
    return load_checkpoint(str(folder), TokenClassification.head_of)
