# ruff: noqa: RUF009  (a field is made by a call, as by dataclasses.field)
"""What each study is asked: how heads are scored and chosen, what is measured, and how a model is fine-tuned."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from prune_heads.errors import OptionError
from prune_heads.options.fields import Group, ending, names, nowhere, numbers, option
from prune_heads.options.setup import WrittenModel

# Keys of the tables of these names in `prune_heads.importance`, which imports torch; `--help` does not wait for it.
CRITERIA = ("gradient", "ablation", "magnitude", "random")
ESTIMATORS = ("example", "token", "batch", "fisher", "signed")
NORMALIZERS = ("none", "l2", "min-max")

Mode = Literal["zero", "remove"]  # what happens to the weights of heads that are pruned
Kind = Literal["without-one", "only-one", "pairs", "random"]
"""Which ablations: of one head, of all others of its layer, of two, of random sets."""
Response = Literal["metric", "likelihood"]  # what a head changes
Form = Literal["md", "tex", "csv", "png", "svg"]
Target = Literal["dense", "onnx"]  # what a checkpoint is exported to

CHOOSE_EXAMPLES = 5000  # as in the paper's table 6
BATCH_SIZES = (1, 4, 16, 64)  # those of the paper's table 4

_BLOCK = re.compile(r"(?:[EAD]:)?0*[1-9][0-9]*|[EAD]")


def _criterion_name(text: str) -> str:
    """A criterion of the table, or a function of the user as `my_module:function` or `file.py:function`."""
    if text not in CRITERIA and ":" not in text:
        known = ", ".join(map(repr, CRITERIA))
        raise OptionError(f"must be one of {known}, or your own as module:function or file.py:function; got {text!r}")
    return text


def _block_names(text: str) -> tuple[str, ...]:
    """`"3, 1"` as `("1", "3")`, in order; `E:1` or `E` in an encoder-decoder."""
    parts = names(text)
    if not all(map(_BLOCK.fullmatch, parts)):
        must = f"must be layer numbers from 1, comma-separated, e.g. 1,3; got {text!r}"
        raise OptionError(f"{must}. In an encoder-decoder: E:1,A:3, or a letter for all of its kind")
    return tuple(sorted(set(parts), key=lambda part: (part[:1].isalpha(), len(part), part)))


# Options that several groups have.
_criterion = partial(option, read=_criterion_name, is_path=ending(".py"), metavar=f"<{'|'.join(CRITERIA)}>")
_A_CRITERION = "Criterion, see 'prune-heads criteria'; or your own, as module:function or file.py:function"
_estimator = partial(
    option,
    "Estimator of the criterion 'gradient', see 'prune-heads criteria'.",
    "example",
    choices=ESTIMATORS,
    shown=lambda of: of.estimator if "gradient" in (of.criterion, *of.criterion) else None,
)
_response = partial(
    option,
    "What the criterion 'ablation' scores by: the metric, or the log-likelihood of the right answer, which ranks heads "
    "better; of scores minus the squared error, of translations sentence BLEU.",
    "metric",
    shown=lambda of: of.response if "ablation" in (of.criterion, *of.criterion) else None,
    since="later",
)
_NORMALIZE = "Normalisation of the scores: 'l2' within each layer, 'min-max' over all heads."
_SPLIT = "Split that heads are scored on. (default: the training split; for 'ablation' of a curve its first)"
_blocks = partial(
    option, "Layers to take heads of: 1,3, from 1; in an encoder-decoder E:1,A,D:2. (default: all)", read=_block_names
)
_heads = partial(option, reach="content", is_path=ending(".json"))  # records hold the heads, not the file that has them
_scored = partial(option, "Score on the first N examples only; for 'ablation' of a curve with --score-split.", low=1)
_score_samples = partial(
    option,
    "Number of disjoint random scoring samples, 5 or more: areas get intervals for other samples, too. Short data are "
    "resampled instead.",
    low=5,
    since="later",
)
_seed = partial(option, "Seed of random choices and of the bootstrap.", 0, low=0)
_steps = partial(option, "Number of steps of a curve, from no pruned head to all of them.", 10, low=1)
_runs = partial(option, "Number of timed runs of each model, taken in turn after a warm-up.", 6, low=6)
_splits = partial(option, "Split to measure on; repeatable. (default: the task's validation splits)", (), key="splits")
_margin = partial(
    option,
    "Loss that is small enough, in units of the metric: 0.01 is a point. Says where less is shown to be lost.",
    low=0.0001,
    since="later",
)
_mode = partial(option, "Set the weights of pruned heads to zero, or remove them.", "zero")


@dataclass(frozen=True)
class Scoring(Group):
    """How heads are scored."""

    panel = "Scoring"
    criterion: str = _criterion(f"{_A_CRITERION}.", "gradient")
    estimator: str = _estimator()
    normalize: str = option(_NORMALIZE, "none", choices=NORMALIZERS)
    seed: int = _seed()
    score_split: str | None = option(_SPLIT)
    score_examples: int | None = _scored()  # None: as in the `Setup`
    response: Response = _response()


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

    mode: Mode = _mode()
    split: tuple[str, ...] = _splits()
    curve: bool = option("Also measure the metric with 0, 10, ..., 100% of the heads pruned.", False)
    margin: float | None = _margin()


@dataclass(frozen=True)
class Curves(Group):
    """Curves of several criteria."""

    criterion: tuple[str, ...] = _criterion(
        f"{_A_CRITERION}; repeatable. (default: all of the table)", CRITERIA, key="criteria", is_many=True
    )
    rescore: bool = option(
        "Score again at every step, with the heads masked that went before (the authors' exact mode, slow).", False
    )
    draws: int = option(
        "Number of random orders for the criterion 'random', with seeds from --seed on.",
        20,
        low=1,
        shown=lambda of: of.draws if "random" in of.criterion else None,
    )
    estimator: str = _estimator()
    normalize: str = option(_NORMALIZE, "none", choices=NORMALIZERS)
    seed: int = _seed()
    score_split: str | None = option(_SPLIT)
    score_examples: int | None = _scored()  # for `ablation` together with a split
    blocks: tuple[str, ...] | None = _blocks(since="sweeps")
    steps: int = _steps()  # the paper's figure 3 has steps of 10 %
    split: tuple[str, ...] = _splits()
    margin: float | None = _margin()
    response: Response = _response()
    score_samples: int | None = _score_samples()

    def by(self, criterion: str) -> Scoring:
        """How one of the criteria scores."""
        how = (self.estimator, self.normalize, self.seed, self.score_split, self.score_examples, self.response)
        return Scoring(criterion, *how)


@dataclass(frozen=True)
class Ablation(Group):
    """Every head on its own."""

    kind: Kind = option("Mask one head at a time, all others of its layer, two heads, or random sets.", "without-one")
    blocks: tuple[str, ...] | None = _blocks()
    split: tuple[str, ...] = _splits()
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
    seed: int = _seed()
    memory: int | None = option("MiB of activations a forward pass. (default: 96 on a CPU, 8192 on a GPU)", low=1)
    compiled: bool = option("Compile the layers first; it takes a while.", False, flag="--compile", key="compile")
    margin: float | None = _margin()
    details: bool = nowhere("Also show a row a head: intervals and places that hold for all, shrunk estimates.", False)

    def settled(self, max_examples: int | None) -> "Ablation":
        """With a number of examples to choose on, where at most so many are taken of a split."""
        if self.choose_examples is not None:
            return self
        return replace(self, choose_examples=min(CHOOSE_EXAMPLES, max_examples or CHOOSE_EXAMPLES))

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        if given.get("kind") != "only-one" and given.keys() & {"choose_split", "choose_examples"}:
            yield "--choose-split and --choose-examples belong to --kind only-one"


@dataclass(frozen=True)
class Bench(Group):
    """What is timed, and by what heads are chosen."""

    scores: Path | None = option("A scores.json; the lowest go. (default: random heads)", reach="content")
    seed: int = _seed(reach="content")
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
    mode: Mode = _mode()
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
        "heads; 'onnx' is an ONNX file without them (needs the extra 'onnx').",
        MISSING,
        kw_only=True,
    )
    heads: str = _heads("More heads to prune: '3:1,5 7:2', from 1; or a heads.json. (default: none)", "")

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        dtype = given.get("dtype", cls.dtype)
        if given["to"] == "onnx" and dtype != "float32":
            yield f"--dtype {dtype} is for --to dense; ONNX is written in float32"


@dataclass(frozen=True)
class Conditions(Group):
    """How a model on a task is studied for the paper's tables and figures; each study records its own part."""

    seed: int = _seed(reach="content")
    steps: int = _steps(reach="content")
    score_examples: int | None = _scored(reach="content")
    choose_examples: int | None = option(
        "Number of training examples that table 6 chooses heads on. (default: 5000)", reach="content", low=1
    )
    """None for as many as the paper, but no more than of any split."""
    criterion: tuple[str, ...] = _criterion(
        "Criterion that figure 3 compares; repeatable. (default: gradient, ablation)",
        ("gradient", "ablation"),
        reach="content",
        is_many=True,
    )
    runs: int = _runs(reach="content")
    margin: float | None = _margin(default=0.01, reach="content")
    score_samples: int | None = _score_samples(reach="content")


@dataclass(frozen=True)
class Reproducing(Group):
    """Where a reproduction is kept, and how it is run."""

    jobs: int = nowhere("Number of models that are studied at once, each in its own process.", 1, low=1)
    output: Path = nowhere("Folder for tables, figures and records.", Path("michel2019"), short="-o")
    from_records: bool = nowhere("Write the tables and figures again, from the records alone.", False)
    form: tuple[Form, ...] = nowhere("Format of the files; repeatable. (default: md, png)", ("md", "png"))
