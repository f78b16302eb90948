"""The options of evaluate, prune, export, finetune and reproduce."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from prune_heads.options.choices import Form, Mode, Target
from prune_heads.options.fields import Group, json_file, numbers, of_file, option
from prune_heads.options.heads import CRITERION, criterion_name
from prune_heads.options.setup import WrittenModel

# Heads stand in records by themselves, not by the text or the file that names them.


@dataclass(frozen=True)
class Masked(Group):
    """What is evaluated."""

    heads: str = option(
        "Heads to mask, counted from 1: '3:1,5 7:2'; or a heads.json. (default: none)",
        "content",
        is_path=json_file,
        default="",
    )
    split: str | None = option("Split to evaluate on. (default: the task's first validation split)", "content")


@dataclass(frozen=True)
class Surgery(Group):
    """By what heads are chosen, and what happens to them."""

    scores: Path | None = option("A scores.json; the heads with the lowest scores are pruned.", "content")
    mode: Mode = option("Set the weights of pruned heads to zero, or remove them.", default="zero")


@dataclass(frozen=True)
class Export(WrittenModel):
    """What a checkpoint is written as."""

    to: Target = option(
        "Format: 'dense' is a folder for plain transformers, in the original shapes, with zeros for pruned "
        "heads; 'onnx' is an ONNX file without them (needs the extra 'onnx').",
        default=MISSING,
        kw_only=True,
    )
    heads: str = option(
        "More heads to prune, counted from 1: '3:1,5 7:2'; or a heads.json. (default: none)",
        "content",
        is_path=json_file,
        default="",
    )

    @classmethod
    def clash(cls, given: Mapping[str, Any]) -> str | None:
        """ONNX is written in one precision."""
        dtype = given.get("dtype", cls.dtype)
        if given["to"] == "onnx" and dtype != "float32":
            return f"--dtype {dtype} is for --to dense; ONNX is written in float32"
        return None


@dataclass(frozen=True)
class Recipe(Group):
    """How a model is fine-tuned; the defaults are those of Michel, Levy and Neubig (2019) for BERT.

    Their code multiplies the rate by the warm-up schedule twice, once in the loop and once inside its optimizer, and
    that optimizer (BertAdam) does not correct its moments at the start. Here the schedule acts once, as the paper says,
    and the optimizer is AdamW. They pad all texts to 128 tokens; here a batch is padded to its longest.
    """

    epochs: int = option("Number of passes over the training split.", low=1, default=3)
    learning_rate: float = option("Highest learning rate.", low=0, default=2e-5)
    """Linear warm-up, then linear decay to 0."""
    warmup: float = option(
        "Share of the steps in which the learning rate rises.", key="warmup_fraction", low=0, high=0.99, default=0.1
    )
    weight_decay: float = option("Weight decay of matrices, by AdamW.", low=0, default=0.01)
    """Biases and layer norms are left out."""
    seed: int = option("Seed of the new head, the order of examples and the dropout.", low=0, default=42)
    group_by_length: bool = option(
        "Put texts of similar length into a batch: less padding, but batches are no longer random samples.",
        flag="--group-by-length/--no-group-by-length",
        default=True,
    )
    keep_epochs: bool = option("Keep the checkpoint of each epoch, in epoch-1, epoch-2, and so on.", default=False)
    keep_steps: tuple[int, ...] = option(
        "Keep checkpoints after these steps: 0,50,100, where 0 is the start.", read=numbers(0, "0,50"), default=()
    )
    save_minutes: float = option(
        "Minutes between two saves; a killed run continues from the last one.", "nothing", low=0, default=10.0
    )


@dataclass(frozen=True)
class Conditions(Group):
    """How a model on a task is studied; each study records its own part."""

    seed: int = option("Seed of random choices and of the bootstrap.", "content", low=0, default=0)
    steps: int = option("Number of steps of a curve.", "content", low=1, default=10)
    score_examples: int | None = option(
        "Number of training examples that heads are scored on. (default: all)", "content", low=1
    )
    choose_examples: int | None = option(
        "Number of training examples that table 6 chooses heads on. (default: 5000)", "content", low=1
    )
    """None for as many as the paper, but no more than of any split."""
    criterion: tuple[str, ...] = option(
        "Criterion that figure 3 compares; repeatable. (default: gradient, ablation)",
        "content",
        read=criterion_name,
        is_many=True,
        is_path=of_file,
        metavar=CRITERION,
        default=("gradient", "ablation"),
    )
    runs: int = option("Number of timed runs of each model.", "content", low=6, default=6)


@dataclass(frozen=True)
class Reproducing(Group):
    """Where a reproduction is kept, and how it is run."""

    jobs: int = option(
        "Number of models that are fine-tuned and studied at once, each in its own process.",
        "nothing",
        low=1,
        default=1,
    )
    output: Path = option("Folder for tables, figures and records.", "nothing", short="-o", default=Path("michel2019"))
    from_records: bool = option("Write the tables and figures again, from the records alone.", "nothing", default=False)
    form: tuple[Form, ...] = option(
        "Format of the files; repeatable. (default: md, png)", "nothing", default=("md", "png")
    )
