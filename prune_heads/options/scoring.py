# ruff: noqa: RUF009  (a field is made by a call, as by dataclasses.field)
"""How heads are scored, and put in order: criteria, and the options that every study which scores has."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from importlib import resources
from typing import Any, Literal

from prune_heads.errors import OptionError
from prune_heads.options.fields import Group, ending, names, option

# Keys of the tables of these names in `prune_heads.importance`, which imports torch; `--help` does not wait for it.
ROWS = tomllib.loads((resources.files("prune_heads") / "importance/criteria.toml").read_text("utf-8"))
CRITERIA = tuple(ROWS)
DRAWS = tuple(name for name, row in ROWS.items() if row.get("draws"))  # whose scores depend on the seed
PLAIN = ("gradient", "ablation", "magnitude", "random")  # those that a curve compares by default
FEW_PASSES = tuple(name for name, row in ROWS.items() if row["looks_at"] not in ("masks", "updates"))
RANDOM = "random"
ESTIMATORS = ("example", "token", "batch", "fisher", "signed")
NORMALIZERS = ("none", "l2", "min-max")

Response = Literal["metric", "likelihood"]  # what a head changes

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
criterion_option = partial(option, read=_criterion_name, is_path=ending(".py"), metavar="NAME")
A_CRITERION = "Criterion, see 'prune-heads criteria'; or your own, as module:function or file.py:function"
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
    "better (regression: minus the squared error; translation: sentence BLEU).",
    "metric",
    shown=lambda of: of.response if "ablation" in (of.criterion, *of.criterion) else None,
    since="later",
)


def _is_of(what: str, of: Any) -> bool:
    """Whether a group has a criterion that looks at it."""
    every = (of.criterion,) if isinstance(of.criterion, str) else of.criterion
    return any(ROWS[name]["looks_at"] == what for name in every if name in ROWS)


def _budget(name: str, said: str, default: int, low: int) -> Any:
    """An option of the criteria that look at what it counts."""
    asked: Any = {"low": low, "shown": lambda of: getattr(of, name) if _is_of(name, of) else None, "since": "later"}
    return partial(option, said, default, **asked)


_masks = _budget("masks", "Number of masks that a criterion by masks measures, at most.", 2000, 2)
_updates = _budget("updates", "Number of updates of a criterion that learns gates.", 500, 1)
_NORMALIZE = "Normalisation of the scores: 'l2' within each layer, 'min-max' over all heads."
_SPLIT = "Split that heads are scored on. (default: the training split; for 'ablation' of a curve its first)"
blocks_option = partial(
    option, "Layers to take heads of: 1,3, from 1; in an encoder-decoder E:1,A,D:2. (default: all)", read=_block_names
)
scored_option = partial(option, "Score on the first N examples; for 'ablation' of a curve with --score-split.", low=1)
samples_option = partial(
    option,
    "Number of disjoint random scoring samples, 5 or more: areas get intervals for other samples, too. Short data are "
    "resampled instead.",
    low=5,
    since="later",
)
seed_option = partial(option, "Seed of random choices and of the bootstrap.", 0, low=0)
steps_option = partial(option, "Number of steps of a curve, from no pruned head to all of them.", 10, low=1)
splits_option = partial(option, "Split to measure on; repeatable. (default: the validation splits)", (), key="splits")
margin_option = partial(
    option,
    "Loss that is small enough, in units of the metric: 0.01 is a point. Tests whether less is lost.",
    low=0.0001,
    since="later",
)


@dataclass(frozen=True)
class Scoring(Group):
    """How heads are scored."""

    panel = "Scoring"
    criterion: str = criterion_option(f"{A_CRITERION}.", "gradient")
    estimator: str = _estimator()
    normalize: str = option(_NORMALIZE, "none", choices=NORMALIZERS)
    seed: int = seed_option()
    score_split: str | None = option(_SPLIT)
    score_examples: int | None = scored_option()  # None: as in the `Setup`
    response: Response = _response()
    masks: int = _masks()
    updates: int = _updates()


@dataclass(frozen=True)
class Curves(Group):
    """Curves of several criteria."""

    criterion: tuple[str, ...] = criterion_option(
        f"{A_CRITERION}; repeatable. (default: {', '.join(PLAIN)})", PLAIN, key="criteria", is_many=True
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
    seed: int = seed_option()
    score_split: str | None = option(_SPLIT)
    score_examples: int | None = scored_option()  # for `ablation` together with a split
    blocks: tuple[str, ...] | None = blocks_option(since="sweeps")
    steps: int = steps_option()  # the paper's figure 3 has steps of 10 %
    split: tuple[str, ...] = splits_option()
    margin: float | None = margin_option()
    response: Response = _response()
    score_samples: int | None = samples_option()
    masks: int = _masks()
    updates: int = _updates()

    def by(self, criterion: str) -> Scoring:
        """How one of the criteria scores."""
        return Scoring(criterion, **{each.name: getattr(self, each.name) for each in fields(Scoring)[1:]})


@dataclass(frozen=True)
class Comparing(Group):
    """What criteria are compared by; `random` is always one of them."""

    panel = "Comparison"
    criterion: tuple[str, ...] = criterion_option(
        f"{A_CRITERION}; repeatable. (default: all but those by masks and those that learn gates)",
        FEW_PASSES,
        key="criteria",
        is_many=True,
    )
    score_samples: int = option("Number of disjoint random scoring samples; short data are resampled.", 5, low=2)
    score_examples: int = option("Number of examples of each scoring sample.", 256, low=1)
    score_split: str | None = option("Split that heads are scored on. (default: the training split)")
    draws: int = option("Number of random orders.", 20, low=2)
    steps: int = steps_option()
    random_masks: int = option("Number of random masks of each size, of 10, 30 and 50% of the heads.", 100, low=4)
    seed: int = seed_option()
    masks: int = _masks()
    updates: int = _updates()

    @property
    def names(self) -> tuple[str, ...]:
        """The criteria, `random` last."""
        return (*(name for name in self.criterion if name != RANDOM), RANDOM)

    def by(self, criterion: str, sample: int = 0) -> Scoring:
        """How one of the criteria scores on a sample, counted from 0; each draws by a seed of its own."""
        return Scoring(criterion, seed=self.seed + sample, masks=self.masks, updates=self.updates)

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        if not {*given.get("criterion", FEW_PASSES)} - {RANDOM}:
            yield "--criterion must name one beside random, which all are compared with"
