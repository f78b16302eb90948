"""Does head dropout flatten the pruning curve? `python -m tests.measured head-dropout`.

Fine-tunings of one checkpoint by several seeds, with head dropout and without, all else alike. Of each the heads are
pruned in the order of its own scores. A curve is flatter where the mean metric along it is nearer to that of the whole
model: its area, over the share pruned from 0 to 1, less the metric of the whole model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prune_heads.ablation import predict_masks
from prune_heads.cli.reproduce import planned
from prune_heads.options import NewFolder, Scoring, Setup
from prune_heads.progress import Reporter
from prune_heads.selection import lowest_first
from prune_heads.statistics import area_under_curve
from prune_heads.statistics.differences import resampled_values
from prune_heads.statistics.seeds import crossed
from prune_heads.studies.finetuning import finetune_into
from prune_heads.studies.scoring import Lab, score

SUBJECTS = Path(__file__).parent / "michel2019" / "figure6.toml"
WORK = Path(__file__).parents[1] / "results" / "scratch" / "head-dropout"
TASKS = ("cola", "mrpc")
PROBABILITY = 0.2
SCORED, STEPS, RESAMPLES = 1_000, 10, 2_000  # training examples, points of a curve after the first, of the bootstrap
PARTS = ("whole", "area", "flatness")


def fine_tunings(task: str, work: Path = WORK) -> Iterator[tuple[Setup, Setup]]:
    """The models of figure 6 on a task without and with head dropout, a pair a seed; made where they are not there."""
    for each in planned("figure6", SUBJECTS, {}):
        if each.setup.task == task and each.recipe is not None:
            start, recipe, folder = each.recipe
            name = Path(each.setup.model).name
            dropped = work / f"{name}-{PROBABILITY:g}"
            finetune_into(start, recipe, Reporter(), folder, lambda _: {})
            finetune_into(
                start, replace(recipe, head_dropout=PROBABILITY), Reporter(), NewFolder(dropped), lambda _: {}
            )
            setup = replace(each.setup, dtype="float32")
            yield setup, replace(setup, model=str(dropped))


def flatter(pairs: Sequence[tuple[Setup, Setup]]) -> Iterator[dict[str, Any]]:
    """A row a pair, without and with head dropout, then one of the mean of the differences over pairs.

    Each row has the metric of the `whole` model, the `area`, and the `flatness`. The last has intervals of 95% for
    other seeds and other examples; see `crossed`.
    """
    values, draws, about = list[Any](), list[Any](), dict[str, Any]()
    for pair in pairs:
        labs = [Lab(setup, Reporter()) for setup in pair]
        curves = [_curve(lab) for lab in labs]
        on = labs[0].predictions(labs[0].subject.task.spec.eval_splits[0])
        counts, answers = curves[0][0], [each for _, curve in curves for each in curve]
        drawn = resampled_values(on.measure, answers, on.references, 0, RESAMPLES, groups=on.groups)
        seen = np.array([on.measure(each, on.references) for each in answers])[:, None]
        sides = [_parts(counts, of) for of in np.split(np.concatenate([seen, drawn], axis=1), 2)]
        about = {"task": pair[0].task, "metric": on.measure.name, "n_examples": on.n_units}
        models = [lab.subject.classifier.name for lab in labs]
        names = ("without", "with")
        said = {n: dict(zip(PARTS, of[:, 0].tolist(), strict=True)) for n, of in zip(names, sides, strict=True)}
        yield {**about, "models": models, "n_pruned": counts, **said}
        difference = sides[1] - sides[0]
        values.append(difference[:, 0])
        draws.append(difference[:, 1:])
    of_part = zip(PARTS, np.stack(values, axis=1), np.stack(draws, axis=1), strict=True)
    means = {name: crossed(value, draw, about["n_examples"]) for name, value, draw in of_part}
    ends = {name: {key: getattr(of, key) for key in ("value", "low", "high")} for name, of in means.items()}
    yield {**about, "n_seeds": len(values), "difference": ends}


def _curve(lab: Lab) -> tuple[list[int], list[Any]]:
    """How many heads are pruned at each point, and the answers there."""
    spec = lab.subject.task.spec
    by = score(lab.subject, Scoring(), lab.predictions(spec.score_split, SCORED)).scores
    on = lab.predictions(spec.eval_splits[0])
    masks = lowest_first(by, on.gone, STEPS)
    kept = predict_masks(on, masks)
    return [len(mask) for mask in masks], [on.answers(kept[mask]) for mask in masks]


def _parts(counts: Sequence[int], values: Any) -> Any:
    """`(3, n)` of the `PARTS`, from metrics along a curve, `(n_points, n)`."""
    areas = np.array([area_under_curve(counts, column) for column in values.T])
    return np.stack([values[0], areas, areas - values[0]])
