"""What is kept of a split under any mask: read from the store, or computed once and kept there.

Everything else (metrics, tables, curves, tests) is derived from these. A model may change between two questions, so
its weights are hashed anew for each, which takes a second for BERT-base; counters of changes do not see all of them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prune_heads.checkpoints import fingerprint
from prune_heads.errors import DataError, StoreError
from prune_heads.evaluation import EACH_ALONE, Subject, predict, unseen
from prune_heads.files import canonical
from prune_heads.gating import gates_of
from prune_heads.heads import HeadMask
from prune_heads.objectives.base import Kept, Objective
from prune_heads.objectives.batches import Batches
from prune_heads.objectives.replacing import Replacement
from prune_heads.objectives.responses import LIKELIHOOD
from prune_heads.progress import Progress, Reporter, silent
from prune_heads.statistics import Metric, compare_paired, mean_of, metric_interval
from prune_heads.statistics.differences import resampled_values
from prune_heads.statistics.groups import n_units, numbered
from prune_heads.statistics.margins import difference_interval, non_inferior
from prune_heads.store import PredictionKey, PredictionStore
from prune_heads.surgery import removed_heads
from prune_heads.tasks.task import HELD_OUT_ENTRY, Split

_MEAN = mean_of("response", lambda responses, references: responses)
"""Of responses, `(n_examples,)`, in place of predictions."""
N_DRAWS = 1_000  # resamples of the examples, for variances
_NOT_COMPUTED = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", HELD_OUT_ENTRY)
"""Entries of a configuration that do not change what the model computes in a given precision."""


class Predictions:
    """A model on a split, under masks; heads are masked by gates, so the model stays as it is.

    The split is tokenised when it is needed, unless its batches are given.
    """

    replacement: Replacement | None = None
    """What stands in for masked heads; to be set before anything is asked."""
    whole: "tuple[Predictions, Sequence[int]] | None" = None
    """Of some examples of a split: those on all of it, and the places of these; what is known is not computed again."""

    def __init__(
        self, subject: Subject, split: Split, store: PredictionStore, reporter: Reporter, batches: Batches | None = None
    ) -> None:
        if batches is not None:
            self.tokens = self.batches = batches
        self.subject, self.split, self.store, self.reporter = subject, split, store, reporter
        self.lower: Callable[[], Predictions] | None = None
        """The same in bfloat16: then masks that are asked for together run there, and are corrected by float32."""
        self.corrections: list[dict[str, Any]] = []  # what was found each time, see `ablation.mixed`
        self._held: PredictionKey | None = None

    @property
    def gone(self) -> HeadMask:
        """Heads that the model has lost before; part of every mask."""
        return removed_heads(self.subject.model) if self._held is None else self._held.mask

    @cached_property
    def tokens(self) -> Batches:
        """The split, tokenised for the model."""
        return self.subject.tokens(self.split)

    @cached_property
    def batches(self) -> Batches:
        """The same, padded as the model takes it."""
        batches = unseen(self.subject.model, self.tokens)
        if batches.batch_size < self.tokens.batch_size:
            why = "examples run one at a time, because in a batch an answer would depend on the other texts"
            self.reporter.note(f"{self.split.name}: {why}")
        return replace(batches, replacement=self.replacement)

    @property
    def objective(self) -> Objective:
        """What is predicted."""
        return self.tokens.objective

    @property
    def references(self) -> NDArray[Any]:
        """`(n_examples,)`: what the metrics compare with, in file order."""
        return self.tokens.references

    @cached_property
    def groups(self) -> NDArray[np.intp] | None:
        """`(n_examples,)` from 0: which examples are alike, so that they are resampled together; None: none are."""
        return numbered(np.asarray(self.split.groups)) if self.split.groups else None

    @property
    def measure(self) -> Metric:
        """The headline metric of the task."""
        return self.objective.headline

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """For the length of the block the model stays as it is, so that its weights are hashed once."""
        before, self._held = self._held, self.key(self.gone)
        try:
            yield
        finally:
            self._held = before

    def key(self, mask: HeadMask) -> PredictionKey:
        """The entry of a mask in the store, for the model as it is now."""
        instead = "" if mask <= self.gone else self.instead
        if self._held is not None:
            return replace(self._held, mask=mask | self._held.mask, instead=instead)
        if not self.store.keeps:
            return PredictionKey("", "", mask | self.gone, "")  # by which nothing is looked up
        model = self.subject.model
        dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
        what = canonical(self.objective.identity(model))
        return PredictionKey(model_key(model), self._data, mask | self.gone, dtype, what, instead)

    @property
    def instead(self) -> str:
        """What stands in for masked heads, for keys; empty for nothing."""
        return "" if self.replacement is None else self.replacement.identity

    def stored(self, mask: HeadMask) -> Kept | None:
        """What is kept under a mask, if the store has it; a damaged entry is noted and counts as none."""
        kept = self.store.get(key := self.key(mask))
        if kept is None and self.whole is not None and self.store.keeps:
            whole, places = self.whole
            kept = self.store.get(replace(key, data=whole._data))
            return None if kept is None else kept[list(places)]
        return kept

    def keep(self, mask: HeadMask, kept: Kept) -> None:
        """Put what is kept under a mask into the store; a `StoreError` if that cannot be written."""
        about = {"model": self.subject.classifier.name, "task": self.subject.task.spec.name, "split": self.split.name}
        self.store.put(self.key(mask), kept, about=about)

    def of(self, mask: HeadMask, progress: Progress = silent) -> Kept:
        """What is kept under a mask, `(n_examples, width)` in file order.

        A `NotFiniteError` if a number is NaN or infinite, a `StoreError` if the store cannot be written.
        """
        with self.unchanged():
            if (there := self.stored(mask)) is not None:
                progress(len(there))
                return there
            self.store.objects.check_writable()
            gates = None if mask <= self.gone else gates_of(self.subject.model, mask)
            kept = predict(self.subject.model, self.batches, gates, progress=progress)
            self.keep(mask, kept)
            return kept

    def answers(self, kept: Kept) -> NDArray[Any]:
        """What is predicted, as the metrics take it; see `Objective.predictions`."""
        return self.objective.predictions(kept)

    def metric_of(self, kept: Kept) -> float:
        """The headline metric of what is kept of the split."""
        return self.measure(self.answers(kept), self.references)

    def metrics(self, kept: Kept) -> dict[str, float]:
        """All metrics, the headline first."""
        return self.objective.metrics(kept, self.references)

    def intervals(self, kept: Kept, seed: int) -> dict[str, list[float]]:
        """The 95% interval of each metric, by the bootstrap of the examples or their groups with this seed."""
        answers, references, measures = self.answers(kept), self.references, self.objective.measures
        how: dict[str, Any] = {"seed": seed, "groups": self.groups}
        return {name: list(metric_interval(each, answers, references, **how)) for name, each in measures.items()}

    def interval(self, answers: NDArray[Any], seed: int) -> tuple[float, float]:
        """That of the headline metric, of what is predicted."""
        return metric_interval(self.measure, answers, self.references, seed=seed, groups=self.groups)

    @property
    def n_units(self) -> int:
        """What is resampled: groups, or examples."""
        return n_units(len(self.references), self.groups)

    def resampled(self, answers: Sequence[NDArray[Any]], seed: int) -> NDArray[np.float64]:
        """`(len(answers), 1 + N_DRAWS)`: the headline metric of each, and after it on resamples, the same for all."""
        drawn = resampled_values(self.measure, answers, self.references, seed, N_DRAWS, False, self.groups)
        return np.hstack([[[self.measure(each, self.references)] for each in answers], drawn])

    def kept_within(self, margin: float, base: NDArray[Any], answers: NDArray[Any], seed: int) -> dict[str, Any]:
        """Whether the headline metric of what is predicted is less than the margin below that of the base.

        `{"margin", "low", "high", "verdict"}`: a 90% interval of the difference, and `non_inferior` of it.
        """
        low, high = difference_interval(self.measure, base, answers, self.references, seed=seed, groups=self.groups)
        return {"margin": margin, "low": low, "high": high, "verdict": non_inferior(low, high, margin)}

    def compared(self, kept: Mapping[str, Kept], test: Callable[..., Any], seed: int) -> Iterator[dict[str, Any]]:
        """A row a metric: the value of both by their names, second minus first, and what a paired test says of that."""
        values = {title: self.metrics(each) for title, each in kept.items()}
        answers = list(map(self.answers, kept.values()))
        for name, measure in self.objective.measures.items():
            found = asdict(test(measure, *answers, self.references, seed=seed, groups=self.groups))
            both = {title: value[name] for title, value in values.items()}
            yield {"metric": name, **both, "difference": found.pop("value"), **found}

    def changed(self, base: NDArray[Any], answers: NDArray[Any]) -> list[int] | None:
        """How many answers become right, and how many wrong; None where an answer is not right or wrong."""
        if not self.objective.chooses or base.shape != self.references.shape:
            return None
        same = [each == self.references for each in (base, answers)]
        was, now = (each if each.ndim == 1 else each.all(axis=1) for each in same)
        return [int((now & ~was).sum()), int((was & ~now).sum())]

    def told(self, found: Any) -> dict[str, Any]:
        """What was found of the objective's response, for records: under `likelihood` if it is the log-likelihood.

        Any other stands under `response`, with its `name` and `unit`; a number by itself is its `value`.
        """
        response = self.objective.response
        if response is LIKELIHOOD or found is None:
            return {"likelihood": found}
        numbers = found if isinstance(found, dict) else {"value": found}
        return {"likelihood": None, "response": {"name": response.name, "unit": response.unit, **numbers}}

    def response(self, kept: Kept, seed: int) -> dict[str, Any]:
        """The mean of the response over the examples with its 95% interval, as `told`; None where it is not defined."""
        values = self.objective.responses(kept, self.references)
        if values is None:
            return self.told(None)
        low, high = metric_interval(_MEAN, values, self.references, seed=seed, groups=self.groups)
        return self.told({"value": _MEAN(values, self.references), "low": low, "high": high})

    def responses_compared(self, kept: Mapping[str, Kept], seed: int) -> dict[str, Any]:
        """The same of both, second minus first, and the paired test of the difference."""
        of = {name: self.objective.responses(each, self.references) for name, each in kept.items()}
        first, second = of.values()
        if first is None or second is None:
            return self.told(None)
        found = asdict(compare_paired(_MEAN, first, second, self.references, seed=seed, groups=self.groups))
        both = {name: _MEAN(each, self.references) for name, each in of.items() if each is not None}
        return self.told({**both, "difference": found.pop("value"), **found})

    def check_defined(self) -> None:
        """Refuse a split on which the headline metric says nothing, before any work.

        The `DataError` says why, e.g. that all its labels are alike.
        """
        if reason := self.measure.why_undefined(self.references):
            must = f"must be defined on {self.split.name} ({len(self.references)} examples): {reason}"
            hint = "(files are often sorted by label: --sample N). Take another split, or more examples"
            raise DataError(f"{self.measure.name} {must} {hint}")

    def warn_if_below_chance(self, base: Kept) -> None:
        """A base metric under that of chance most often means that labels are swapped, or tokens are."""
        objective, split = self.objective, self.split.name
        if why := objective.says_little(self.references):
            self.reporter.note(f"{split}: {why}")
            return
        value, chance = self.metric_of(base), objective.chance(self.references)
        if chance is not None and value < chance:
            what, check = objective.below_chance
            below = f"the base {self.measure.name} {value:.4f} is below that of {what} ({chance:.4f})"
            self.reporter.note(f"{split}: {below}: {check}")

    @cached_property
    def _data(self) -> str:
        """Texts, labels and their order, and the tokens that the model was given of them; padding is no part."""
        digest = hashlib.sha256(f"{self.split.fingerprint}\n{EACH_ALONE}\n".encode())
        for name, array in self.tokens.arrays():
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8))
        return digest.hexdigest()


def model_key(model: nn.Module) -> str:
    """SHA-256 (hex) of all that decides what a transformers model computes: its weights and its configuration.

    A `StoreError` if it has no configuration.
    """
    to_dict = getattr(getattr(model, "config", None), "to_dict", None)
    if to_dict is None:
        needs = "a store needs the configuration of the model, by which predictions are found again"
        hint = "Set model.config to a transformers config, or leave out the store"
        raise StoreError(f"{needs}; got {type(model).__name__} without one. {hint}")
    config: dict[str, Any] = to_dict()
    text = json.dumps({k: v for k, v in config.items() if k not in _NOT_COMPUTED}, sort_keys=True, default=str)
    digest = hashlib.sha256(f"{fingerprint(model)}\n{text}".encode())
    kept = model.state_dict().keys()
    for name, buffer in model.named_buffers():  # frequencies of positions, which no file holds
        if name not in kept:
            digest.update(f"{name} {buffer.dtype} {tuple(buffer.shape)}\n".encode())
            digest.update(buffer.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
