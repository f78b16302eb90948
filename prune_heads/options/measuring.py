"""What is measured: curves, ablations, estimators, speed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prune_heads.errors import OptionError
from prune_heads.options.choices import CRITERIA, Kind
from prune_heads.options.fields import Group, Say, numbers, of_file, option
from prune_heads.options.heads import CRITERION, ESTIMATOR, NORMALIZER, SCORE, SEED, Scoring, criterion_name

_ORDER = "Order of heads"

CHOOSE_EXAMPLES = 5000
"""As in the paper's table 6."""
BATCH_SIZES = (1, 4, 16, 64)
"""Those of the paper's table 4."""

_BLOCK = re.compile(r"(?:[EAD]:)?0*[1-9][0-9]*|[EAD]")

SPLITS = Say("Split to measure on; repeatable. (default: the task's validation splits)", key="splits")


def block_names(text: str) -> tuple[str, ...]:
    """`"3, 1"` as `("1", "3")`, in order; `E:1` or `E` in an encoder-decoder.

    Raises:
        OptionError: If a name is none of a block.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(_BLOCK.fullmatch(part) for part in parts):
        raise OptionError(
            f"must be layer numbers from 1, comma-separated, e.g. 1,3; got {text!r}. In an encoder-decoder: E:1,A:3, "
            "or a letter for all of its kind"
        )
    return tuple(sorted(set(parts), key=lambda part: (part[:1].isalpha(), len(part), part)))


@dataclass(frozen=True)
class Curves(Group):
    """Curves of several criteria."""

    criterion: tuple[str, ...] = option(
        "Criterion, see 'prune-heads criteria'; or your own, as module:function or file.py:function; repeatable. "
        "(default: gradient, ablation, magnitude, random)",
        panel=_ORDER,
        key="criteria",
        read=criterion_name,
        is_many=True,
        is_path=of_file,
        metavar=CRITERION,
        default=CRITERIA,
    )
    rescore: bool = option(
        "Score again at every step, with the heads masked that are pruned so far (the authors' exact mode). "
        "This costs one more scoring per step for each criterion that uses data.",
        panel=_ORDER,
        default=False,
    )
    draws: int = option(
        "Number of random orders for the criterion 'random', with seeds from --seed on.",
        panel=_ORDER,
        low=1,
        applies=lambda group: "random" in group.criterion,
        default=20,
    )
    estimator: str = option(ESTIMATOR, default="example")
    normalize: str = option(NORMALIZER, default="none")
    seed: int = option(SEED, default=0)
    score_split: str | None = option(
        "Split that heads are scored on. (default: the training split; for 'ablation' the curve's first)", panel=SCORE
    )
    score_examples: int | None = option(
        "Score on the first N examples only; 'ablation' needs --score-split for that.", panel=SCORE, low=1
    )
    blocks: tuple[str, ...] | None = option(
        "Prune only heads of these layers, from 1: 1,3; in an encoder-decoder E:1,A,D:2. (default: all)",
        panel=_ORDER,
        read=block_names,
        since="sweeps",
    )
    steps: int = option("Number of steps from no pruned head to all of them.", low=1, default=10)
    """The paper's figure 3 has steps of 10 %."""
    split: tuple[str, ...] = option(SPLITS, default=())

    def by(self, criterion: str) -> Scoring:
        """How one of the criteria scores."""
        return Scoring(criterion, self.estimator, self.normalize, self.seed, self.score_split, self.score_examples)


def _chooses(group: Any) -> bool:
    return bool(group.kind == "only-one")


@dataclass(frozen=True)
class Ablation(Group):
    """Every head on its own."""

    kind: Kind = option("Mask one head at a time, or all other heads of its layer.", default="without-one")
    blocks: tuple[str, ...] | None = option(
        "Mask only heads of these layers, from 1: 1,3; in an encoder-decoder E:1,A,D:2. (default: all)",
        read=block_names,
    )
    split: tuple[str, ...] = option(SPLITS, default=())
    choose_split: str | None = option(
        "Split on which only-one chooses the best head of each layer. (default: the task's training split)",
        applies=_chooses,
    )
    choose_examples: int | None = option(
        "Number of examples to choose on, drawn at random. (default: 5000, or --max-examples if that is less)",
        low=1,
        applies=_chooses,
        shown=lambda n: n or None,
    )
    """None for as many as in the paper, but no more than are taken of any split; 0 for those that it is measured on."""
    seed: int = option("Seed of these random examples and of the bootstrap.", low=0, default=0)
    memory: int | None = option(
        "MiB for the activations of one forward pass. (default: 96 on a CPU, 8192 on a GPU)", low=1
    )
    compiled: bool = option(
        "Compile the layers first, which takes tens of seconds.", flag="--compile", key="compile", default=False
    )

    def settled(self, max_examples: int | None) -> "Ablation":
        """With a number of examples to choose on, where at most so many are taken of a split."""
        if self.choose_examples is not None:
            return self
        return replace(self, choose_examples=min(CHOOSE_EXAMPLES, max_examples or CHOOSE_EXAMPLES))

    @classmethod
    def clash(cls, given: Mapping[str, Any]) -> str | None:
        """Only `only-one` chooses."""
        if given.get("kind") != "only-one" and given.keys() & {"choose_split", "choose_examples"}:
            return "--choose-split and --choose-examples belong to --kind only-one"
        return None


@dataclass(frozen=True)
class Comparison(Group):
    """Estimators of gradients against each other."""

    steps: int = option("Number of steps of each curve, from no pruned head to all of them.", low=1, default=10)
    score_examples: int | None = option("The first N training examples to score on. (default: as the setup)", low=1)
    seed: int = option("Seed of the bootstrap.", low=0, default=0)


@dataclass(frozen=True)
class Bench(Group):
    """What is timed, and by what heads are chosen."""

    scores: Path | None = option(
        "A scores.json; the heads with the lowest scores are pruned. (default: random heads)", "content"
    )
    seed: int = option("Seed of the random choice of heads.", "content", low=0, default=0)
    batch_sizes: tuple[int, ...] | None = option(
        "Batch sizes, comma-separated. (default: 1,4,16,64, up to the number of examples)", read=numbers(1, "1,4,16,64")
    )
    length: int | None = option(
        "Tokens that texts are padded to; own lengths are timed too. (default: 128, or the model's limit)", low=4
    )
    runs: int = option("Number of timed runs of each model, taken in turn after a warm-up.", low=6, default=6)

    def sizes(self, n_examples: int) -> tuple[int, ...]:
        """The batch sizes, of so many examples."""
        return self.batch_sizes or tuple(size for size in BATCH_SIZES if size <= n_examples)
