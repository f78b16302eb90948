"""What every study starts from: a model, a task, and the conditions under which they meet."""

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from prune_heads.budget import head_costs, n_parameters
from prune_heads.checkpoints import Checkpoint, Exported, fingerprint, load_checkpoint
from prune_heads.errors import PruneHeadsError
from prune_heads.evaluation import Subject
from prune_heads.files import digest
from prune_heads.objectives import TASKS, head_for, serving
from prune_heads.objectives.replacing import Replacement
from prune_heads.options import Setup, WrittenModel
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.statistics.groups import FEW_GROUPS, numbered
from prune_heads.store import PredictionStore, default_root
from prune_heads.tasks.task import Split, load_task

_SMALL = 2_000_000  # parameters below which one thread is enough; BERT-base has 110 million


def load_subject(setup: Setup, reporter: Reporter, *, exported: bool = False) -> Subject:
    """Load both and bring them together; what was decided by a fallback is noted. The model may be `exported`.

    A `PruneHeadsError` if the model or the task cannot be loaded, or do not fit.
    """
    task = load_task(setup.task, data_dir=setup.data_dir, own=setup.own, skip_invalid=setup.skip_invalid)
    options: dict[str, Any] = {"label_order": setup.label_order, "doc_stride": setup.doc_stride}
    options["beams"] = setup.beams if setup.beams != 1 else None
    serving(task.spec, setup.objective, **options)
    classifier = load_model(setup, reporter, task.spec.kind, setup.objective, exported=exported)
    limit_threads(classifier)
    device = "cpu" if isinstance(classifier.model, Exported) else setup.device
    if isinstance(classifier.model, Exported) and (setup.dtype != "float32" or setup.device not in ("auto", "cpu")):
        must = "an exported model runs on the CPU and in the precision of its file"
        raise PruneHeadsError(f"{must}; got --dtype {setup.dtype}, --device {setup.device}. Leave both out")
    options |= {"batch_size": setup.batch_size, "max_length": setup.max_length}
    subject = Subject.of(classifier, task, objective=setup.objective, device=resolve_device(device), **options)
    if subject.objective.note:
        reporter.note(subject.objective.note)
    return subject


def load_model(
    setup: WrittenModel, reporter: Reporter, kind: str | None = None, objective: str | None = None, **more: Any
) -> Checkpoint:
    """Load the model alone; None for the kind of the task that is named, or of the checkpoint where that has labels.

    What had to be decided is noted; `more` is for `load_checkpoint`.
    """
    if kind is None and setup.task in TASKS and TASKS[setup.task].kind != "labelled":
        kind = TASKS[setup.task].kind
    dtype = torch.float32 if setup.dtype == "mixed" else getattr(torch, setup.dtype)
    how: dict[str, Any] = {"dtype": dtype, "trust_remote_code": setup.trust_remote_code}
    loaded = load_checkpoint(setup.model, head_for(kind, objective), task=setup.task, **how, **more)
    reporter.note(*loaded.notes)
    return loaded


def load_split(setup: Setup, subject: Subject, split: str, reporter: Reporter, limit: int | None = None) -> Split:
    """Load a split of the task, cut at `limit` or at `max_examples`; what is left out is noted."""
    loaded = subject.task.load(split, limit or setup.max_examples, seed=setup.sample_seed)
    if loaded.left_out:
        n_out = len(loaded.left_out)
        rows = "1 invalid row of the file is" if n_out == 1 else f"{n_out} invalid rows of the file are"
        reporter.note(f"{split}: {rows} left out, the first: {loaded.left_out[0]}")
    n, there = len(loaded), loaded.n_available
    if n < there and setup.sample_seed is None:
        reporter.note(f"{split}: the first {n} of {there} examples, in file order")
    elif n < there:
        reporter.note(f"{split}: {n} of {there} examples, drawn at random (seed {setup.sample_seed})")
    if loaded.groups and (n_groups := len({*loaded.groups})) < FEW_GROUPS:
        reporter.note(f"{split}: reliable intervals and tests need {FEW_GROUPS} groups of examples; got {n_groups}")
    return subject.measurable(loaded, reporter)


def predictions_of(
    setup: Setup, subject: Subject, split: Split, reporter: Reporter, replacement: Replacement | None = None
) -> Predictions:
    """The subject's predictions on a split, backed by the store; damaged entries are noted."""
    store = PredictionStore(setup.store or default_root(), on_damage=reporter.note)
    found = Predictions(subject, split, store, reporter)
    found.replacement = replacement
    return found


def limit_threads(classifier: Checkpoint) -> None:
    """One thread for a small model, unless the user has set another number; for a large one those of the process.

    The matrices of a small model are done before threads have met: two gain a fifth on an idle machine and, each
    waiting for the other, are ten times slower on a busy one (results/LOG.md).
    """
    n_threads = _n_threads()  # before it is changed
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1 if n_parameters(classifier.model) < _SMALL else n_threads)


@cache
def _n_threads() -> int:
    """Those of the process, before a small model was loaded."""
    return torch.get_num_threads()


def resolve_device(name: str) -> torch.device:
    """`auto` is the first of CUDA, MPS and CPU that is there; a `PruneHeadsError` if the one asked for is not."""
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    there = [device for device, is_there in has.items() if is_there]
    if name not in ("auto", *there):
        raise PruneHeadsError(f"--device must be one that this machine has ({', '.join(there)}); got {name}")
    return torch.device(there[0] if name == "auto" else name)


def identify(subject: Subject, splits: Sequence[Split]) -> dict[str, Any]:
    """For records: the model and the data by name and fingerprint, and what is measured on them.

    Of translations also how they are written and compared.
    """
    about = {"metric": subject.task.spec.metric, **subject.objective.about(subject.n_max)}
    return {**identify_model(subject.classifier), **about, "data": [identify_split(split) for split in splits]}


def identify_model(classifier: Checkpoint) -> dict[str, Any]:
    """For records: the model by name, type, hub revision and fingerprint."""
    about = {"name": classifier.name, "type": classifier.model.config.model_type, "revision": classifier.revision}
    return {"model": {**about, "fingerprint": fingerprint(classifier.model)}}


def costs_of(classifier: Checkpoint) -> dict[str, Any]:
    """For records: what each head costs, so that costs under any mask can be told without the model."""
    return head_costs(classifier.model, classifier.usual_length())


def identify_split(split: Split) -> dict[str, Any]:
    """For records: where the examples came from, how many there are, were taken and cut, and their fingerprint."""
    about: dict[str, Any] = {"split": split.name, "source": split.source}
    about |= {"n_examples": len(split), "n_available": split.n_available}
    left: dict[str, Any] = {"n_left_out": len(split.left_out), "n_cut": split.n_cut}
    if split.groups:
        groups = numbered(np.asarray(split.groups)).tolist()
        left |= {"n_groups": len(set(groups)), "groups": digest({"groups": groups})}
    return {**about, **{name: n for name, n in left.items() if n}, "fingerprint": split.fingerprint}
