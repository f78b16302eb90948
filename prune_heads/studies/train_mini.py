"""Train a model for a built-in task from scratch: with the tokenizer and configuration of the shipped checkpoint.

The shipped checkpoints were trained on fresh examples in each epoch, which the grammar in `experiments/mini` of the
repository generates; its `train.py` calls `train` with them. Validation examples never occur in them, nor in the
training split. No head is dropped, gated or regularised apart from the others.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from shutil import copyfile

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from prune_heads.errors import CheckpointError
from prune_heads.files import new_directory
from prune_heads.mini import read
from prune_heads.objectives.batches import IGNORED
from prune_heads.options import Recipe
from prune_heads.progress import Progress, silent

Columns = Mapping[str, list]  # `text`, for pairs `text_pair`, `label` where the task has labels: of equal length

BATCH_SIZE = 64
N_EXAMPLES = 6000  # of the training split of each built-in task

RECIPES: Mapping[str, Recipe] = {
    "mini-acceptability": Recipe(16, 1.5e-3, weight_decay=0.3),
    "mini-sentiment": Recipe(10, 1.5e-3, weight_decay=1.0),
    "mini-paraphrase": Recipe(45, 0.5e-3, weight_decay=0.1),
    "mini-inference": Recipe(60, 1.5e-3, weight_decay=0.1),
    "mini-translation": Recipe(5, 1.5e-3, weight_decay=0.6),
}
"""How the shipped checkpoints were trained. Epochs are of 6000 fresh examples, and too few for a perfect score, so that
the loss of a head shows. A learning rate of 1.5e-3 is too much for the paraphrases. The higher the decay, the fewer
heads share the work; at 0.3 the paraphrases are not learned at all."""


def _shuffled(columns: Columns, seed: int, epoch: int) -> Columns:
    """The examples in another order for each epoch."""
    order = np.random.default_rng((seed, epoch)).permutation(len(columns["text"]))
    return {name: [column[i] for i in order] for name, column in columns.items()}


def _batches(columns: Columns, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """The examples in their order; those that fill no batch are left out. Without labels, the pairs are targets."""
    for start in range(0, len(columns["text"]) - BATCH_SIZE + 1, BATCH_SIZE):
        rows = {name: column[start : start + BATCH_SIZE] for name, column in columns.items()}
        if "label" in rows:
            labels = torch.tensor(rows.pop("label"))
            yield dict(tokenizer(*rows.values(), padding=True, return_tensors="pt")), labels
            continue
        sources, targets = (tokenizer(texts, padding=True, return_tensors="pt") for texts in rows.values())
        yield dict(sources), torch.where(targets["attention_mask"] == 1, targets["input_ids"], IGNORED)


# long: one training from its recipe to its files, a stage a paragraph
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

    Weights are stored in float16 to keep the package small; the configuration says to compute them in float32.

    Args:
        task: A name in `prune_heads.objectives.MINI`.
        output_dir: New or empty.
        seed: Of the initial weights and of the order of the examples.
        n_epochs: How many; None: as many as for the shipped checkpoint.
        examples: Epoch (from 0) -> its examples, as many each; None: the shipped training split, reordered each time.
        progress: Called after each epoch.

    Raises:
        CheckpointError: The folder holds something already.
        RunError: The folder cannot be written.
    """
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise CheckpointError(f"a checkpoint must go to a new or empty folder; {output_dir} is neither")
    shipped = Path(str(resources.files("prune_heads.mini"))) / "checkpoints" / task
    tokenizer, config = AutoTokenizer.from_pretrained(shipped), AutoConfig.from_pretrained(shipped)
    recipe, examples = RECIPES[task], examples or partial(_shuffled, read(task, "train"), seed)
    n_epochs = n_epochs or recipe.epochs
    n_examples = len(examples(0)["text"])
    n_steps = n_epochs * (n_examples // BATCH_SIZE)
    warm_up = max(1, round(recipe.warmup * n_steps))

    def rate(step: int) -> float:
        """Linear warm-up to 1, then linear decay to 0."""
        return min((step + 1) / warm_up, (n_steps - step) / (n_steps - warm_up + 1))

    # One thread and deterministic kernels: the same machine gives the same bytes.
    n_threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = getattr(transformers, config.architectures[0])(config).train()
            optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
            for epoch in range(n_epochs):
                for inputs, labels in _batches(examples(epoch), tokenizer):
                    model(**inputs, labels=labels).loss.backward()
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad()
                progress(n_examples)
    finally:
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(deterministic)
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items() if name not in tied}
    with new_directory(output_dir) as folder:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            copyfile(shipped / name, folder / name)
        model.config.save_pretrained(folder)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
