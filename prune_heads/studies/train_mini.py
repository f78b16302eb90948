"""Train the checkpoint of a built-in task from scratch: a very small BERT, or Marian, on sentences of the grammar.

Each epoch sees fresh examples: the grammar's training split under the epoch's number as seed. The published
training split, on which importance is scored, is that of the first epoch; validation examples never occur
(see `prune_heads.mini.grammar`). No head is dropped, gated or regularised apart from the others.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from prune_heads.checkpoints import load_classifier, load_language_model
from prune_heads.errors import CheckpointError
from prune_heads.evaluation import Subject, predict
from prune_heads.files import new_directory
from prune_heads.mini import SPLITS, TASKS, generate, grammar
from prune_heads.mini.grammar import TRANSLATION
from prune_heads.progress import Progress, Silent, silent
from prune_heads.studies import mini_translator
from prune_heads.tasks.task import load_task

BATCH_SIZE = 64
WARM_UP_FRACTION = 0.1


class Recipe(NamedTuple):
    """How the shipped checkpoint of a task was trained."""

    n_epochs: int
    """Passes over fresh examples, 6000 each; too few for a perfect score, so that lost heads show."""
    learning_rate: float
    """At its highest; 1.5e-3 is too much for the paraphrases."""
    weight_decay: float
    """Of all weights. The more, the fewer heads share the work; at 0.3 the paraphrases are not learned at all."""


RECIPES: Mapping[str, Recipe] = {
    "mini-acceptability": Recipe(16, 1.5e-3, 0.3),
    "mini-sentiment": Recipe(10, 1.5e-3, 1.0),
    "mini-paraphrase": Recipe(45, 0.5e-3, 0.1),
    "mini-inference": Recipe(60, 1.5e-3, 0.1),
    TRANSLATION: Recipe(5, 1.5e-3, 0.6),
}

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_MAX_TOKENS = 64


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """One thread and deterministic kernels inside the block: the same machine gives the same bytes."""
    n_threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(deterministic)


def build_tokenizer(task: str) -> PreTrainedTokenizerBase:
    """A tokenizer whose vocabulary is the words of the task's splits.

    A few words of the mismatched split are not in the published training split, but in those of later epochs.
    """
    if task == TRANSLATION:
        return mini_translator.build_tokenizer()
    splits = [generate(task, split) for split in SPLITS[task]]
    texts = [text for columns in splits for name in ("text", "text_pair") for text in columns.get(name, [])]
    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)})
    vocabulary = {entry: index for index, entry in enumerate((*_SPECIAL, *words))}
    return BertTokenizer(vocabulary, model_max_length=_MAX_TOKENS)


def build_model(task: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A BERT of 6 layers with 4 heads each, or the encoder-decoder of the translation, weights drawn at random."""
    if task == TRANSLATION:
        return mini_translator.build_model(tokenizer)
    names = TASKS[task]
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=_MAX_TOKENS,
        hidden_dropout_prob=0.0,  # with dropout all heads learn the same, and hardly one of them matters
        attention_probs_dropout_prob=0.0,
        initializer_range=0.05,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    return BertForSequenceClassification(config)


def _batches(
    task: str, epoch: int, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """The epoch's examples in the grammar's order, which is random; those that fill no batch are left out."""
    if task == TRANSLATION:
        yield from mini_translator.batches(epoch, tokenizer, BATCH_SIZE)
        return
    columns = generate(task, "train", seed=epoch)
    pairs, labels = columns.get("text_pair"), torch.tensor(columns["label"])
    for start in range(0, len(labels) - BATCH_SIZE + 1, BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        texts = (columns["text"][rows],) if pairs is None else (columns["text"][rows], pairs[rows])
        yield dict(tokenizer(*texts, padding=True, return_tensors="pt")), labels[rows]


def _rate(step: int, n_steps: int) -> float:
    """Linear warm-up to 1, then linear decay to 0."""
    warm_up = max(1, round(WARM_UP_FRACTION * n_steps))
    return min((step + 1) / warm_up, (n_steps - step) / (n_steps - warm_up + 1))


def train(
    task: str,
    output_dir: Path,
    *,
    seed: int = 0,
    n_epochs: int | None = None,
    progress: Progress = silent,
) -> None:
    """Train on the task and write model, configuration and tokenizer.

    Weights are stored in float16 to keep the package small; they are meant to be computed in float32, and the
    configuration says so.

    Args:
        task: A name in `prune_heads.mini.SPLITS`.
        output_dir: Folder to write to; made if it is not there.
        seed: Of the initial weights. The data do not depend on it.
        n_epochs: Passes over 6000 fresh examples; None: as many as for the shipped checkpoint.
        progress: Called after each epoch.

    Raises:
        TaskError: There is no such task.
        CheckpointError: The folder holds something already.
        RunError: The folder cannot be written.
    """
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise CheckpointError(f"a checkpoint must go to a new or empty folder; {output_dir} is neither")
    tokenizer = build_tokenizer(task)
    recipe = RECIPES[task]
    n_epochs = n_epochs or recipe.n_epochs
    with reproducible(seed):
        model = build_model(task, tokenizer).train()
        optimizer = torch.optim.AdamW(
            model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        n_steps = n_epochs * (grammar.N_TRAIN // BATCH_SIZE)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, n_steps))
        for epoch in range(n_epochs):
            for inputs, labels in _batches(task, epoch, tokenizer):
                loss = model(**inputs, labels=labels).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            progress(grammar.N_TRAIN)
    model.config.dtype = torch.float32
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    weights = {
        name: value.half().contiguous() for name, value in model.state_dict().items() if name not in tied
    }
    with new_directory(output_dir) as folder:
        tokenizer.save_pretrained(folder)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def validation_metrics(task: str, folder: Path) -> dict[str, dict[str, float]]:
    """The task's metrics of a trained checkpoint: split -> metric -> value.

    Raises:
        CheckpointError: There is no loadable checkpoint in the folder.
    """
    pairs = task == TRANSLATION
    model = load_language_model(str(folder), pairs=True) if pairs else load_classifier(str(folder))
    subject = Subject.of(model, load_task(task))
    spec = subject.task.spec
    splits = [subject.measurable(subject.task.load(name), Silent()) for name in spec.eval_splits]
    found = {}
    for split in splits:
        batches = subject.batches(split)
        found[split.name] = subject.objective.metrics(predict(subject.model, batches), batches.references)
    return found
