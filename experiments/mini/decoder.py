"""A decoder that has learned nothing yet: `python -m experiments.mini.decoder FOLDER TASK`.

A Llama of 6 layers with 4 heads each, two of which share keys and values. `prune-heads finetune` trains it on a task of
the built-in suite, whose tokenizer it has.
"""

import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from experiments.mini.blank import build_tokenizer
from experiments.mini.grammar import TASKS


def main(folder: str, task: str) -> None:
    """Write the checkpoint, its weights drawn from a seed."""
    tokenizer, names = build_tokenizer(task), TASKS[task]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
        initializer_range=0.05,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=None,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        problem_type="single_label_classification",
        dtype="float32",
    )
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(Path(folder))
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in TASKS:
        raise SystemExit(f"usage: python -m experiments.mini.decoder FOLDER {'|'.join(TASKS)}")
    main(*sys.argv[1:])
