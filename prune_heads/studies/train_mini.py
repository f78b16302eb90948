"""Train a model for a built-in task from scratch: a very small BERT, or Marian.

By default each epoch is a pass over the shipped training split, in a new order. The shipped checkpoints were trained on
fresh examples in each epoch, which the grammar in `experiments/mini` of the repository generates; its `train.py` calls
`train` with them. Validation examples never occur in either. No head is dropped, gated or regularised apart from the
others.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
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
from prune_heads.mini import read
from prune_heads.progress import Progress, Silent, silent
from prune_heads.studies import mini_translator
from prune_heads.studies.mini_translator import TRANSLATION
from prune_heads.tasks.spec import TASKS
from prune_heads.tasks.task import load_task

Columns = Mapping[str, list]
"""`text`, for pairs `text_pair`, and `label` where the task has labels: a list each, of equal length."""

BATCH_SIZE = 64
N_EXAMPLES = 6000
"""Of the training split of each built-in task."""
WARM_UP_FRACTION = 0.1


class Recipe(NamedTuple):
    """How the shipped checkpoint of a task was trained."""

    n_epochs: int
    """Epochs of 6000 fresh examples; too few for a perfect score, so that the loss of a head shows."""
    learning_rate: float
    """The highest of the schedule; 1.5e-3 is too much for the paraphrases."""
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

    A few words of the mismatched split occur in no example of the shipped training split.
    """
    if task == TRANSLATION:
        return mini_translator.build_tokenizer()
    spec = TASKS[task]
    splits = [read(task, split) for split in spec.splits]
    texts = [text for columns in splits for name in spec.text_columns for text in columns[name]]
    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)})
    vocabulary = {entry: index for index, entry in enumerate((*_SPECIAL, *words))}
    return BertTokenizer(vocabulary, model_max_length=_MAX_TOKENS)


def build_model(task: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A BERT of 6 layers with 4 heads each, or the encoder-decoder of the translation, weights drawn at random."""
    if task == TRANSLATION:
        return mini_translator.build_model(tokenizer)
    names = TASKS[task].labels or ()
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


def _reshuffled(task: str, seed: int) -> Callable[[int], Columns]:
    """The shipped training split in another order for each epoch."""
    columns = read(task, "train")

    def examples(epoch: int) -> Columns:
        order = np.random.default_rng((seed, epoch)).permutation(len(columns["text"]))
        return {name: [column[i] for i in order] for name, column in columns.items()}

    return examples


def _batches(
    columns: Columns, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """The examples in their order; those that fill no batch are left out."""
    if "label" not in columns:
        yield from mini_translator.batches(columns, tokenizer, BATCH_SIZE)
        return
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
    examples: Callable[[int], Columns] | None = None,
    progress: Progress = silent,
) -> None:
    """Train on the task and write model, configuration and tokenizer.

    Weights are stored in float16 to keep the package small; they are meant to be computed in float32, and the
    configuration says so.

    Args:
        task: A name in `prune_heads.tasks.spec.MINI`.
        output_dir: Folder to write to; made if it is not there.
        seed: Of the initial weights and of the order of the examples.
        n_epochs: How many; None: as many as for the shipped checkpoint.
        examples: Epoch (from 0) -> its examples, as many for each; None: the shipped training split, in another order
            each time.
        progress: Called after each epoch.

    Raises:
        TaskError: There is no such task.
        CheckpointError: The folder holds something already.
        RunError: The folder cannot be written.
    """
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise CheckpointError(f"a checkpoint must go to a new or empty folder; {output_dir} is neither")
    tokenizer = build_tokenizer(task)
    recipe, examples = RECIPES[task], examples or _reshuffled(task, seed)
    n_epochs = n_epochs or recipe.n_epochs
    with reproducible(seed):
        model = build_model(task, tokenizer).train()
        optimizer = torch.optim.AdamW(
            model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        n_examples = len(examples(0)["text"])
        n_steps = n_epochs * (n_examples // BATCH_SIZE)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, n_steps))
        for epoch in range(n_epochs):
            for inputs, labels in _batches(examples(epoch), tokenizer):
                loss = model(**inputs, labels=labels).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            progress(n_examples)
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
