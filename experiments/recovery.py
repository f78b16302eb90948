"""How much of what pruning loses can be won back, and how? `python -m tests.measured recovery`.

Of each model the heads of lowest score are removed, and what is lost is won back in one way: by nothing, by the means
of the heads that are gone, by factors for those that are left, by one epoch of training, or by one that learns from the
whole model. Each is measured as it was saved, on the validation split, beside the whole model.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from prune_heads.cli.reproduce import planned
from prune_heads.evaluation import Subject
from prune_heads.files import new_directory
from prune_heads.heads import HeadMask
from prune_heads.options import NewFolder, Recipe, Scoring, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.selection import count_for_fraction, select
from prune_heads.statistics import compare_paired
from prune_heads.store import PredictionStore
from prune_heads.studies.finetuning import finetune_into
from prune_heads.studies.pruning import prune
from prune_heads.studies.recovering import rescaled
from prune_heads.studies.scoring import Lab, score
from prune_heads.studies.setup import load_split, load_subject

SUBJECTS = Path(__file__).parent / "michel2019"
WORK = Path(__file__).parents[1] / "results" / "scratch" / "recovery"
TASKS = ("sst2", "mnli", "cola", "mrpc", "stsb")
SEEDS = {"cola": 3}  # fine-tunings of a task; of others one
SHARES = (0.3, 0.5, 0.7)
WAYS = ("nothing", "mean", "rescale", "epoch", "distilled")
SCORED, RESCALED = 1_000, 512  # training examples
TRAINED = 10_000  # of an epoch, drawn at random where there are more
RATE = 5e-5  # half of that by which these models were fine-tuned


def subjects() -> list[Setup]:
    """The models of figures 3 and 6 on the five tasks, in float32."""
    found = [each.setup for name in ("figure3", "figure6") for each in planned(name, SUBJECTS / f"{name}.toml", {})]
    models = dict.fromkeys(replace(each, dtype="float32") for task in TASKS for each in found if each.task == task)
    return [each for task in TASKS for each in [own for own in models if own.task == task][: SEEDS.get(task, 1)]]


def won_back(
    setup: Setup, work: Path, *, shares: Sequence[float] = SHARES, trained: int | None = TRAINED
) -> Iterator[dict[str, Any]]:
    """A row a share and way: the metric, its paired difference from the whole model with its 95% interval, and p.

    The first row is of the whole model that is trained for an epoch more. What a folder of `work` holds is not made
    again, so a killed call goes on.

    Args:
        setup: A model that was fine-tuned on the task.
        work: Where the pruned models are.
        shares: Of the heads.
        trained: Training examples of an epoch, at most; None: all.
    """
    reporter = Reporter()
    lab, means = (Lab(replace(setup, replace=kind), reporter, reused=True) for kind in ("zero", "mean"))
    subject, split = lab.subject, lab.subject.task.spec.eval_splits[0]
    by = score(subject, Scoring(), lab.predictions(subject.task.spec.score_split, SCORED)).scores
    base = answers_of(subject, setup, split)
    about = {"model": subject.classifier.name, "task": setup.task, "metric": base[0].measure.name}
    for share in (0.0, *shares):
        mask = select(by, count_for_fraction(by.gone.n_total, share))
        for way in WAYS if share else ("epoch",):
            folder = work / f"{subject.classifier.name}-{share:g}-{way}"
            if not folder.exists() and way in ("epoch", "distilled"):
                start = str(work / f"{subject.classifier.name}-{share:g}-nothing") if share else setup.model
                recipe = Recipe(1, RATE, distill_from=setup.model if way == "distilled" else None)
                finetune_into(
                    replace(setup, model=start, sample=trained), recipe, reporter, NewFolder(folder), lambda _: {}
                )
            elif not folder.exists():
                _write(lab, mask, way, means, folder)
            found = answers_of(load_subject(replace(setup, model=str(folder)), reporter), setup, split)
            yield {**about, "share": share, "n_pruned": len(mask), "way": way, **_compared(base, found)}


def answers_of(subject: Subject, setup: Setup, split: str) -> tuple[Predictions, Any]:
    """The predictions on the split, and the answers."""
    reporter = Reporter()
    predictions = Predictions(subject, load_split(setup, subject, split, reporter), PredictionStore(None), reporter)
    return predictions, predictions.answers(predictions.of(predictions.gone))


def _compared(base: tuple[Predictions, Any], found: tuple[Predictions, Any]) -> dict[str, Any]:
    measure, references, groups = base[0].measure, base[0].references, base[0].groups
    tested = compare_paired(measure, base[1], found[1], references, seed=0, groups=groups)
    ends = {"difference": tested.value, "low": tested.low, "high": tested.high, "p": tested.p_value}
    return {"n_examples": len(references), "value": measure(found[1], references), **ends}


def _write(lab: Lab, mask: HeadMask, way: str, means: Lab, folder: Path) -> None:
    """The model without the heads, and what stands in for them."""
    classifier = lab.subject.classifier
    model, probe = deepcopy(classifier.model), classifier.probe_inputs()
    replacement = means.replacement if way == "mean" else None
    prune(model, mask, "remove", probe, None if replacement is None else replacement.means)
    if way == "rescale":
        rescaled(model, classifier.model, lab.predictions(lab.subject.task.spec.score_split, RESCALED), mask)
    with new_directory(folder) as made:
        classifier._replace(model=model).write(made)
