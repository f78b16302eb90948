"""What every study starts from: a model, a task, and the conditions under which they meet."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from prune_heads.checkpoints import Classifier, fingerprint, folder_name, load_classifier, load_language_model
from prune_heads.costs import n_parameters
from prune_heads.errors import PruneHeadsError
from prune_heads.evaluation import Subject
from prune_heads.objectives import check_options
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.store import PredictionStore, default_root
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.spec import TASKS, TaskKind, task_name
from prune_heads.tasks.task import Split, load_task

_SMALL = 2_000_000
"""Parameters below which one thread is enough; BERT-base has 110 million."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Setup:
    """A model on a task, as asked for; nothing is loaded yet."""

    model: str
    task: str
    data_dir: Path | None = None
    own: OwnData | None = None
    label_order: tuple[str, ...] | None = None
    max_examples: int | None = None
    sample_seed: int | None = None
    """Examples are drawn at random where fewer are taken than there are; None for the first ones."""
    skip_invalid: bool = False
    """Leave out the rows of one's own data that are at fault, and count them, instead of refusing."""
    batch_size: int = 32
    max_length: int = 128
    dtype: str = "float32"
    device: str = "auto"
    trust_remote_code: bool = False
    store: Path | str | None = None
    """Where predictions are kept, a path or a URL; None for the user's cache."""
    beams: int = 1
    """Hypotheses that a translation keeps at every token; 1 is greedy."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", task_name(self.task))

    def load(self, reporter: Reporter) -> Subject:
        """Load both and bring them together; what was decided by a fallback is noted.

        Raises:
            PruneHeadsError: If the model or the task cannot be loaded, or do not fit.
        """
        task = load_task(self.task, data_dir=self.data_dir, own=self.own, skip_invalid=self.skip_invalid)
        options: dict[str, Any] = {
            "label_order": self.label_order,
            "beams": self.beams if self.beams != 1 else None,
        }
        check_options(task.spec, options)
        classifier = self.load_model(reporter, task.spec.kind)
        limit_threads(classifier)
        subject = Subject.of(
            classifier,
            task,
            batch_size=self.batch_size,
            max_length=self.max_length,
            device=resolve_device(self.device),
            **options,
        )
        if subject.objective.note:
            reporter.note(subject.objective.note)
        return subject

    def load_model(self, reporter: Reporter, kind: TaskKind | None = None) -> Classifier:
        """Load the model alone; None for the kind of the task that is built in. What had to be decided is noted."""
        if kind is None:
            kind = TASKS[self.task].kind if self.task in TASKS else "labelled"
        dtype, trust = DTYPES[self.dtype], self.trust_remote_code
        if kind == "labelled":
            loaded = load_classifier(self.model, task=self.task, dtype=dtype, trust_remote_code=trust)
        else:
            pairs = kind in ("seq2seq", "translation")
            loaded = load_language_model(
                self.model, pairs=pairs, task=self.task, dtype=dtype, trust_remote_code=trust
            )
        for note in loaded.notes:
            reporter.note(note)
        return loaded

    def load_split(self, subject: Subject, split: str, reporter: Reporter, limit: int | None = None) -> Split:
        """Load a split of the task, cut at `limit` or at `max_examples`; what is left out is noted."""
        loaded = subject.task.load(split, limit or self.max_examples, seed=self.sample_seed)
        if loaded.left_out:
            n_out = len(loaded.left_out)
            reporter.note(
                f"{split}: {n_out} invalid rows of the file are left out, the first: {loaded.left_out[0]}"
            )
        n, there = len(loaded.dataset), loaded.n_available
        if n < there and self.sample_seed is None:
            reporter.note(f"{split}: the first {n} of {there} examples, in file order")
        elif n < there:
            reporter.note(f"{split}: {n} of {there} examples, drawn at random (seed {self.sample_seed})")
        return subject.measurable(loaded, reporter)

    def load_splits(self, subject: Subject, names: Sequence[str], reporter: Reporter) -> list[Split]:
        """The splits to report on; no name stands for the task's own."""
        return [self.load_split(subject, name, reporter) for name in names or subject.task.spec.eval_splits]

    def predictions(self, subject: Subject, split: Split, reporter: Reporter) -> Predictions:
        """The subject's predictions on a split, backed by the store; damaged entries are noted."""
        store = PredictionStore(self.store or default_root(), on_damage=reporter.note)
        return Predictions(subject, split, store, reporter)

    def configuration(self) -> dict[str, Any]:
        """For records: everything that can change a result; folders by their names only."""
        return {
            "model": folder_name(Path(self.model).resolve()) if Path(self.model).is_dir() else self.model,
            "task": Path(self.task).name if self.own is None else self.own.name,
            "data_dir": None if self.data_dir is None else self.data_dir.resolve().name,
            "label_order": None if self.label_order is None else list(self.label_order),
            "max_examples": self.max_examples,
            "batch_size": self.batch_size,
            "max_length": self.max_length,
            "dtype": self.dtype,
            **({"beams": self.beams} if self.beams != 1 else {}),
            **({"sample_seed": self.sample_seed} if self.sample_seed is not None else {}),
            **({"skip_invalid": True} if self.skip_invalid else {}),
        }


def limit_threads(classifier: Classifier) -> None:
    """One thread for a small model, unless the user has set another number; for a large one those of the process.

    The matrices of a small model are done before threads have met: two gain a fifth on an idle machine and, each
    waiting for the other, are ten times slower on a busy one (results/LOG.md).
    """
    n_threads = _n_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1 if n_parameters(classifier.model) < _SMALL else n_threads)


@cache
def _n_threads() -> int:
    """Those of the process, before a small model was loaded."""
    return torch.get_num_threads()


def resolve_device(name: str) -> torch.device:
    """`auto` is the first of CUDA, MPS and CPU that is there.

    Raises:
        PruneHeadsError: If a device is asked for that is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, available in there.items() if available)
    if not there.get(name, False):
        available = ", ".join(device for device, is_there in there.items() if is_there)
        raise PruneHeadsError(f"--device must be one that this machine has ({available}); got {name}")
    return torch.device(name)


def identify(subject: Subject, splits: list[Split]) -> dict[str, Any]:
    """For records: the model and the data by name and fingerprint, and what is measured on them."""
    return {
        **identify_model(subject.classifier),
        **identify_metric(subject),
        "data": [identify_split(split) for split in splits],
    }


def identify_model(classifier: Classifier) -> dict[str, Any]:
    """For records: the model by name, type, hub revision and fingerprint."""
    return {
        "model": {
            "name": classifier.name,
            "type": classifier.model.config.model_type,
            "revision": classifier.revision,
            "fingerprint": fingerprint(classifier.model),
        }
    }


def identify_metric(subject: Subject) -> dict[str, Any]:
    """For records: what is measured; of translations also how they are written and compared."""
    return {"metric": subject.task.spec.metric, **subject.objective.about(subject.n_max)}


def identify_split(split: Split) -> dict[str, Any]:
    """For records: where the examples came from, how many there are, were taken and cut, and their fingerprint."""
    return {
        "split": split.name,
        "source": split.source,
        "n_examples": len(split.dataset),
        "n_available": split.n_available,
        **({"n_left_out": len(split.left_out)} if split.left_out else {}),
        **({"n_cut": split.n_cut} if split.n_cut else {}),
        "fingerprint": split.fingerprint,
    }
