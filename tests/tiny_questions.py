"""A tiny model that answers questions, and questions whose answers stand in long and short contexts."""

import json
import random
from pathlib import Path

import torch
from tiny import _BERT, WORDS, tiny_tokenizer
from transformers import BertConfig, BertForQuestionAnswering

from prune_heads.checkpoints import load_checkpoint
from prune_heads.evaluation import Subject
from prune_heads.objectives.question_answering import QuestionAnswering
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task

TASK = "question-answering"


def save_answering(folder: Path, *, seed: int = 0) -> Path:
    """A checkpoint with random weights that are large enough for every head to matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForQuestionAnswering(BertConfig(num_labels=2, **_BERT))
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower():
                torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def questions(n: int, seed: int = 0, *, no_answers: bool = False) -> list[dict]:
    """Rows as `datasets` has SQuAD's; contexts have 3 to 40 words, some questions two right answers."""
    draw, rows = random.Random(seed), []
    for i in range(n):
        words = draw.choices(WORDS, k=draw.randint(3, 40))
        begins = [sum(len(word) + 1 for word in words[:k]) for k in range(len(words))]
        spans = [(k, min(len(words), k + draw.randint(1, 4))) for k in draw.sample(range(len(words)), 1 + i % 2)]
        spans = [] if no_answers and i % 3 == 0 else spans
        found = {"text": [" ".join(words[a:b]) for a, b in spans], "answer_start": [begins[a] for a, _ in spans]}
        question = f"{' '.join(draw.choices(WORDS, k=3))} ?"
        rows.append({"question": question, "context": " ".join(words), "answers": found})
    return rows


def as_squad(rows: list[dict], version: str = "1.1") -> dict:
    """The same as SQuAD's own files have them."""
    paragraphs = []
    for i, row in enumerate(rows):
        pairs = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        answers = [{"text": text, "answer_start": start} for text, start in pairs]
        asked = {"id": str(i), "question": row["question"], "answers": answers}
        if version != "1.1":
            asked |= {"is_impossible": not answers, "plausible_answers": []}
        paragraphs.append({"context": row["context"], "qas": [asked]})
    return {"version": version, "data": [{"title": "words", "paragraphs": paragraphs}]}


def write_questions(path: Path, rows: list[dict]) -> Path:
    """One JSON object a line."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def answering(folder: Path, rows: list[dict] | None = None, *, max_length: int = 24, **options) -> Subject:
    """The model on these questions; contexts of more than 24 tokens are cut into windows."""
    file = write_questions(folder / "validation.jsonl", questions(13) if rows is None else rows)
    model = folder / "model"
    checkpoint = load_checkpoint(str(model if model.exists() else save_answering(model)), QuestionAnswering.head)
    task = load_task(TASK, own=OwnData({"validation": file}, kind=TASK))
    return Subject.of(checkpoint, task, batch_size=4, max_length=max_length, **options)
