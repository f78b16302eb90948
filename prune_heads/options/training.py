# ruff: noqa: RUF009  (a field is made by a call, as by dataclasses.field)
"""How a model is fine-tuned."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from prune_heads.options.fields import Group, numbers, option
from prune_heads.options.setup import folder_or_name

Schedule = Literal["constant", "v"]  # how the probability of head dropout runs

_later = partial(option, since="later")


@dataclass(frozen=True)
class Recipe(Group):
    """How a model is fine-tuned; the defaults are those of Michel, Levy and Neubig (2019) for BERT.

    Their code multiplies the rate by the warm-up schedule twice, once in the loop and once inside its optimizer, and
    that optimizer (BertAdam) does not correct its moments at the start. Here the schedule acts once, as the paper says,
    and the optimizer is AdamW. They pad all texts to 128 tokens; here a batch is padded to its longest.
    """

    epochs: int = option("Number of passes over the training split.", 3, low=1)
    learning_rate: float = option("Highest learning rate.", 2e-5, low=0)  # linear warm-up, then linear decay to 0
    warmup: float = option("Share of steps in which the rate rises.", 0.1, key="warmup_fraction", low=0, high=0.99)
    weight_decay: float = option("Weight decay of matrices, by AdamW.", 0.01, low=0)
    """Biases and layer norms are left out."""
    seed: int = option("Seed of the new head, the order of examples and the dropout.", 42, low=0)
    group_by_length: bool = option(
        "Put texts of similar length into a batch: less padding, but batches are no longer random samples.",
        True,
        flag="--group-by-length/--no-group-by-length",
    )
    keep_epochs: bool = option("Keep the checkpoint of each epoch, in epoch-1, epoch-2, and so on.", False)
    keep_steps: tuple[int, ...] = option("Keep checkpoints of these steps; 0: the start.", (), read=numbers(0, "0,50"))
    save_minutes: float = option("Minutes between saves, where a killed run continues.", 10.0, reach="nothing", low=0)
    distill_from: str | None = _later(
        "Also learn from what this model answers: a folder or a model on the hub, fine-tuned on the task.",
        reach="content",
        is_path=folder_or_name,
    )
    temperature: float | None = _later("Temperature of what is learned by --distill-from. (default: 2)", low=0.01)
    head_dropout: float = _later("Probability that a head is left out of a step of training.", 0.0, low=0, high=0.99)
    schedule: Schedule | None = _later(
        "Course of --head-dropout: 'constant', or 'v', falling to 0 over the warm-up, then rising. (default: constant)"
    )
    hold_out: int | None = _later(
        "Set N training examples aside, in whole groups: the split 'held-out' of the model from then on.", low=1
    )

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        if "temperature" in given and "distill_from" not in given:
            yield "--temperature belongs to --distill-from"
        if "schedule" in given and not given.get("head_dropout"):
            yield "--schedule belongs to --head-dropout"


@dataclass(frozen=True)
class Planting(Group):
    """How heads are planted in a model."""

    seed: int = option("Seed of which heads are overwritten, and with what.", 0, low=0)
