# ruff: noqa: RUF009  (a field is made by a call, as by dataclasses.field)
"""What each study is asked: how heads are scored and chosen, what is measured, and how a model is fine-tuned."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from prune_heads.options.fields import Group, ending, nowhere, numbers, option
from prune_heads.options.scoring import (
    blocks_option,
    criterion_option,
    margin_option,
    samples_option,
    scored_option,
    seed_option,
    splits_option,
    steps_option,
)
from prune_heads.options.setup import WrittenModel

Mode = Literal["zero", "remove"]  # what happens to the weights of heads that are pruned
Kind = Literal["without-one", "only-one", "pairs", "random"]
"""Which ablations: of one head, of all others of its layer, of two, of random sets."""
Form = Literal["md", "tex", "csv", "png", "svg"]
Target = Literal["dense", "onnx", "torch-int8"]  # what a checkpoint is exported to

_heads = partial(option, reach="content", is_path=ending(".json"))  # records hold the heads, not the file that has them
_runs = partial(option, "Number of timed runs of each model, taken in turn after a warm-up.", 6, low=6)
mode_option = partial(option, "Set the weights of pruned heads to zero, or remove them.", "zero")

CHOOSE_EXAMPLES = 5000  # as in the paper's table 6
BATCH_SIZES = (1, 4, 16, 64)  # those of the paper's table 4


@dataclass(frozen=True)
class Choice(Group):
    """Which heads to prune: by exactly one of the first three; half of them where none is given."""

    panel = "Which heads"
    apart = ("fraction", "n_heads", "heads")
    fraction: float | None = option("Share of heads to prune. (default: 0.5)", low=0, high=1)
    n_heads: int | None = option("Number of heads to prune.", low=0)
    heads: str | None = _heads("Heads to prune, counted from 1: '3:1,5 7:2'; or a heads.json.")
    min_per_layer: int = option("Minimum number of heads that every layer keeps.", 0, low=0)
    groups: bool = option(
        "Prune heads that share keys and values as one group; --mode remove needs it for them.", False, since="sweeps"
    )

    def __post_init__(self) -> None:
        if (self.fraction, self.n_heads, self.heads) == (None, None, None):
            object.__setattr__(self, "fraction", 0.5)

    @property
    def needs_scores(self) -> bool:
        """Whether heads are chosen by their scores."""
        return self.heads is None


@dataclass(frozen=True)
class RunOptions(Group):
    """What a run does beside choosing heads."""

    mode: Mode = mode_option()
    split: tuple[str, ...] = splits_option()
    curve: bool = option("Also measure the metric with 0, 10, ..., 100% of the heads pruned.", False)
    margin: float | None = margin_option()
    rescale: bool = option(
        "Win back loss: give each kept head a factor, by least squares on the examples that heads are scored on.",
        False,
        since="later",
    )


@dataclass(frozen=True)
class Ablation(Group):
    """Every head on its own."""

    kind: Kind = option("Mask one head at a time, all others of its layer, two heads, or random sets.", "without-one")
    blocks: tuple[str, ...] | None = blocks_option()
    split: tuple[str, ...] = splits_option()
    choose_split: str | None = option(
        "Split on which only-one chooses the best head of each layer. (default: the task's training split)",
        shown=lambda of: of.choose_split if of.kind == "only-one" else None,
    )
    choose_examples: int | None = option(
        "Number of examples to choose on, drawn at random. (default: 5000, or --max-examples if that is less)",
        low=1,
        shown=lambda of: (of.choose_examples or None) if of.kind == "only-one" else None,
    )
    """None for as many as in the paper, but no more than are taken of any split; 0 for those that it is measured on."""
    seed: int = seed_option()
    memory: int | None = option("MiB of activations a forward pass. (default: 96 on a CPU, 8192 on a GPU)", low=1)
    compiled: bool = option("Compile the layers first; it takes a while.", False, flag="--compile", key="compile")
    margin: float | None = margin_option()
    details: bool = nowhere("Also show each head: intervals and places that hold for all heads at once.", False)

    def settled(self, max_examples: int | None) -> "Ablation":
        """With a number of examples to choose on, where at most so many are taken of a split."""
        if self.choose_examples is not None:
            return self
        return replace(self, choose_examples=min(CHOOSE_EXAMPLES, max_examples or CHOOSE_EXAMPLES))

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        if given.get("kind") != "only-one" and given.keys() & {"choose_split", "choose_examples"}:
            yield "--choose-split and --choose-examples belong to --kind only-one"
        ignored = {"pairs": ("details", "margin"), "random": ("blocks", "details", "margin")}.get(given.get("kind", ""))
        for name in filter(given.get, ignored or ()):
            yield f"--kind {given['kind']} must be without --{name}, which it does not look at"


@dataclass(frozen=True)
class Bench(Group):
    """What is timed, and by what heads are chosen."""

    scores: Path | None = option("A scores.json; the lowest go. (default: random heads)", reach="content")
    seed: int = seed_option(reach="content")
    batch_sizes: tuple[int, ...] | None = option(
        "Batch sizes, comma-separated. (default: 1,4,16,64, up to the number of examples)", read=numbers(1, "1,4,16,64")
    )
    length: int | None = option(
        "Tokens that texts are padded to; own lengths are timed too. (default: 128, or the model's limit)", low=4
    )
    runs: int = _runs()

    def sizes(self, n_examples: int) -> tuple[int, ...]:
        """The batch sizes, of so many examples."""
        return self.batch_sizes or tuple(size for size in BATCH_SIZES if size <= n_examples)


@dataclass(frozen=True)
class Masked(Group):
    """What is evaluated."""

    heads: str = _heads("Heads to mask, counted from 1: '3:1,5 7:2'; or a heads.json. (default: none)", "")
    split: str | None = option("Split to evaluate on. (default: the task's first validation split)", reach="content")


@dataclass(frozen=True)
class Surgery(Group):
    """By what heads are chosen, and what happens to them."""

    scores: Path | None = option("A scores.json; the heads with the lowest scores are pruned.", reach="content")
    mode: Mode = mode_option()
    replace: Literal["zero", "mean"] = option(
        "What stands in for pruned heads: nothing, or their means, which --scores of 'score --replace mean' must hold.",
        "zero",
        since="later",
    )


@dataclass(frozen=True)
class Export(WrittenModel):
    """What a checkpoint is written as."""

    to: Target = option(
        "Format: 'dense' is a folder for plain transformers, in the original shapes, with zeros for pruned "
        "heads; 'onnx' is an ONNX file without them (needs the extra 'onnx'); 'torch-int8' has 8-bit weights without "
        "them, for load_pruned.",
        MISSING,
        kw_only=True,
    )
    heads: str = _heads("More heads to prune: '3:1,5 7:2', from 1; or a heads.json. (default: none)", "")
    int8: bool = option("Quantise the ONNX file to 8 bits.", False, since="later")

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        dtype = given.get("dtype", cls.dtype)
        if given["to"] != "dense" and dtype != "float32":
            yield f"--dtype {dtype} is for --to dense; ONNX is written in float32, and 8 bits are made from it"
        if given["to"] != "onnx" and given.get("int8"):
            yield "--int8 is for --to onnx; for PyTorch take --to torch-int8"


@dataclass(frozen=True)
class Conditions(Group):
    """How a model on a task is studied for the paper's tables and figures; each study records its own part."""

    seed: int = seed_option(reach="content")
    steps: int = steps_option(reach="content")
    score_examples: int | None = scored_option(reach="content")
    choose_examples: int | None = option(
        "Number of training examples that table 6 chooses heads on. (default: 5000)", reach="content", low=1
    )
    """None for as many as the paper, but no more than of any split."""
    criterion: tuple[str, ...] = criterion_option(
        "Criterion that figure 3 compares; repeatable. (default: gradient, ablation)",
        ("gradient", "ablation"),
        reach="content",
        is_many=True,
    )
    runs: int = _runs(reach="content")
    margin: float | None = margin_option(default=0.01, reach="content")
    score_samples: int | None = samples_option(reach="content")


@dataclass(frozen=True)
class Reproducing(Group):
    """Where a reproduction is kept, and how it is run."""

    jobs: int = nowhere("Number of models that are studied at once, each in its own process.", 1, low=1)
    output: Path = nowhere("Folder for tables, figures and records.", Path("michel2019"), short="-o")
    from_records: bool = nowhere("Write the tables and figures again, from the records alone.", False)
    form: tuple[Form, ...] = nowhere("Format of the files; repeatable. (default: md, png)", ("md", "png"))
