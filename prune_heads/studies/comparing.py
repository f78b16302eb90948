"""The trials of a comparison of criteria: one criterion on one scoring sample of a model on a task.

A trial scores the heads and measures the curve of their order, which leaves what the model answers in the store. The
yardsticks (`yardsticks`) are then read from the store.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from prune_heads.ablation import predict_masks
from prune_heads.checkpoints import fingerprint
from prune_heads.errors import UnfitError, UnsupportedModelError
from prune_heads.execution.spec import Sweep, Trial
from prune_heads.execution.worker import RunTrial
from prune_heads.files import digest
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance import Criterion, Examples, criterion_of
from prune_heads.options import Comparing, RandomMasks, Setup
from prune_heads.options.scoring import RANDOM
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.selection import count_for_fraction, lowest_first
from prune_heads.studies.additivity import FRACTIONS, masks_drawn
from prune_heads.studies.repeated import USEFUL, check_units, samples_of
from prune_heads.studies.scoring import Lab, given, score

Record = dict[str, Any]
AXES = ("subject", "criterion", "sample")


@dataclass(frozen=True)
class Subject:
    """A model on a task, and by what criteria are compared on it."""

    name: str  # `minilm-cola on cola`
    setup: Setup
    options: Comparing
    group: str = ""  # what fine-tunings by several seeds share: the name of the first one

    @property
    def names(self) -> list[str]:
        """The criteria as records name them, `random` last: one's own without a path, unless two have one name."""
        rows = [criterion_of(name).name or name for name in self.options.names]
        return rows if len({*rows}) == len(rows) else list(self.options.names)

    def row(self, name: str) -> Criterion:
        """A criterion by its name."""
        return criterion_of(self.options.names[self.names.index(name)])

    def samples(self, name: str) -> range:
        """The samples that a criterion scores on, from 0: all, or one where it looks at no data."""
        return range(self.options.score_samples if name == RANDOM or self.row(name).needs_data else 1)

    def trial(self, name: str, sample: int) -> Trial:
        """The trial of a criterion on a sample."""
        values = dict(zip(AXES, (self.name, name, sample + 1), strict=True))
        return Trial(values, digest({**values, "source": self.row(name).source, **self.asked, "criteria": None}))

    @property
    def asked(self) -> Record:
        """What can change a result."""
        return {"name": self.name, **self.setup.configuration(), **self.options.configuration(), "criteria": self.names}


def subjects_of(planned: Sequence[tuple[Setup, Comparing, str]]) -> list[Subject]:
    """With a name each, `minilm-cola on cola`; the second of one name is `... (2)`. A group is named by its first."""
    about = [setup.configuration() for setup, _, _ in planned]
    names = [f"{each['model']} on {each['task']}" for each in about]
    numbers = [names[:i].count(name) + 1 for i, name in enumerate(names)]
    named = [name + (f" ({n})" if n > 1 else "") for name, n in zip(names, numbers, strict=True)]
    groups = [group for _, _, group in planned]
    first = dict(zip(reversed(groups), reversed(named), strict=True))
    every = zip(named, planned, strict=True)
    return [Subject(name, setup, options, group and first[group]) for name, (setup, options, group) in every]


def sweep_of(subjects: Sequence[Subject]) -> Sweep:
    """The trials of all subjects. Those of a sample follow each other, for they share what they compute."""
    trials = tuple(
        subject.trial(name, sample)
        for subject in subjects
        for sample in range(subject.options.score_samples)
        for name in subject.names
        if sample in subject.samples(name)
    )
    return Sweep("comparison", trials, len(trials), AXES)


class Ground:
    """What criteria are compared on: a model, its scoring samples, and the split that their orders are measured on."""

    def __init__(self, subject: Subject, reporter: Reporter) -> None:
        self.compared, self.options = subject, subject.options
        self.lab = Lab(subject.setup, reporter, reused=True)
        spec, options = self.lab.subject.task.spec, subject.options
        self.lab.scoring = options.by("gradient")
        self.on = self.lab.predictions(spec.eval_splits[0])
        self.on.check_defined()
        n = options.score_samples
        self.whole = self.lab.predictions(options.score_split or spec.score_split, n * options.score_examples)
        check_units("what a comparison scores and measures on", (self.on, self.whole))
        useful = min(USEFUL, options.score_examples)
        self.is_disjoint, parts = samples_of({"": self.whole}, self.lab, n, options.seed, useful)
        self.samples: list[Predictions] = parts[""]
        self._shared: tuple[int, Examples] | None = None

    def identity(self) -> Record:
        """Fingerprints of the model and of the examples, by which a trial is known to be of them."""
        of = {"measured": self.on.split.fingerprint, "scored": self.whole.split.fingerprint}
        return {"model": fingerprint(self.lab.subject.model), **of}

    def order(self, scores: HeadScores) -> list[HeadMask]:
        """The masks of the curve of an order, lowest score first."""
        return lowest_first(scores, self.on.gone, self.options.steps)

    @cached_property
    def draws(self) -> list[list[HeadMask]]:
        """Random orders."""
        scorings = (self.options.by(RANDOM, i) for i in range(self.options.draws))
        return [self.order(score(self.lab.subject, each).scores) for each in scorings]

    @cached_property
    def masks(self) -> list[HeadMask]:
        """Random masks of those of the sizes that there are: of two heads at least, and not of all."""
        n = len(~self.on.gone)
        sizes = tuple(f for f in FRACTIONS if 2 <= count_for_fraction(n, f) < n)
        asked = RandomMasks(self.options.random_masks, sizes)
        return masks_drawn(self.on.gone, asked, self.options.seed) if sizes else []

    def run(self, name: str, sample: int) -> Record:
        """What a trial leaves: the scores, the passes that they took, and seconds; of `random` nothing.

        Where the criterion is not defined for this model or its task, `unfit` says why.
        """
        found: Record = {"of": self.identity()}
        if name == RANDOM:  # its share of the random orders, and of the masks that sums are compared with
            n = self.options.score_samples
            predict_masks(self.on, [self.on.gone, *chain(*self.draws[sample::n]), *self.masks[sample::n]])
            return found
        row, start, examples = self.compared.row(name), time.perf_counter(), None
        scoring = self.options.by(name, sample)
        if row.needs_data:
            if self._shared is None or self._shared[0] != sample:
                self._shared = sample, given(self.lab.subject, scoring, self.samples[sample])
            examples = self._shared[1]
            examples.spent.clear()
        try:
            scores = score(self.lab.subject, scoring, self.samples[sample], criterion=row, asked=examples).scores
        except (UnfitError, UnsupportedModelError) as error:
            return {**found, "unfit": str(error)}
        seconds = {"score": round(time.perf_counter() - start, 3)}
        predict_masks(self.on, self.order(scores))
        passes = [sum(each) for each in zip((0.0, 0.0), *(examples.spent.values() if examples else ()), strict=True)]
        of_passes = dict(zip(("forward", "backward"), passes, strict=True))
        of_its = [note for note in self.on.reporter.notes if note.startswith(f"{name}: ")]  # others move with a kill
        return {**found, "notes": of_its, "scores": scores.to_json(), "passes": of_passes, "seconds": seconds}


@dataclass(frozen=True)
class BeginTrials:
    """Called once in each process, for what runs its trials; of two in turn of one subject the second loads nothing."""

    subjects: tuple[Subject, ...]

    def __call__(self) -> RunTrial:
        """What runs a trial."""
        named = {each.name: each for each in self.subjects}
        last: list[tuple[str, Ground]] = []

        def run(trial: Trial) -> Record:
            subject, criterion, sample = (trial.values[axis] for axis in AXES)
            if not last or last[0][0] != subject:
                last.clear()  # two models at once may be one too many
                last.append((subject, Ground(named[subject], Reporter())))
            about = {"digest": trial.digest, "values": dict(trial.values)}
            return {"trial": about, **last[0][1].run(criterion, sample - 1)}

        return run
