"""What a comparison of criteria says: yardsticks of each criterion on each subject, from what its trials have left."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from prune_heads.errors import PruneHeadsError, RunError, UnfitError
from prune_heads.execution.folder import SweepFolder
from prune_heads.files import read_json
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.options.scoring import RANDOM
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.statistics import holm
from prune_heads.statistics.ties import agreement, foreseen, from_zero, letters
from prune_heads.studies.additivity import responses_of
from prune_heads.studies.comparing import Ground, Record, Subject
from prune_heads.studies.curves import line_of
from prune_heads.studies.measuring import Measured
from prune_heads.studies.planting import PLANTED_FILE
from prune_heads.studies.repeated import areas_sampled
from prune_heads.studies.scoring import note_oracle
from prune_heads.studies.setup import identify_split

ALPHA = 0.05  # of the differences of two criteria, after Holm's adjustment for all pairs of a subject
_NEEDED, _COPIES = ("feature", "rare"), "copies"
NONE = HeadScores(())  # of `random`, whose orders have many
_OF_PAIR = ("first", "second", "value", "low", "high", "degrees", "share")
_OF_GAIN = ("value", "low", "high", "error", "share", "p_holm")
Rows = NDArray[np.float64]  # `(n_samples, n_heads_there)`


def comparison(
    study: Study, subjects: Sequence[Subject], folder: SweepFolder, new_reporter: Callable[[], Reporter]
) -> tuple[Record, Record]:
    """The record of `prune-heads compare`, of trials that are done, and the mean seconds that scoring took.

    The record has no time and no date: one that was killed on its way is the same.

    Raises:
        RunError: If a trial is of another model or other data than there are now, or `planted.json` is damaged.
        UnfitError: If no criterion is defined for any of the subjects.
        PruneHeadsError: If a model or data cannot be loaded.
    """
    judged, scores, seconds = list[Record](), dict[str, dict[str, Rows]](), dict[str, Record]()
    for subject in subjects:
        ground, seconds[subject.name] = Ground(subject, new_reporter()), {}
        found = dict[str, list[Record]]()
        for name in subject.names:
            trials = [subject.trial(name, i).digest for i in subject.samples(name)]
            found[name] = list(map(folder.record, trials))
            if took := [each["score"] for each in map(folder.stages, trials) if each]:
                seconds[subject.name][name] = round(mean(took), 3)
        if any(trial.get("of") != ground.identity() for trials in found.values() for trial in trials):
            must = f"{subject.name} must be the model and the data that the trials in {folder.root.name} are of"
            raise RunError(f"{must}; they have changed. Name another --output")
        record, scores[subject.name] = judge(subject, ground, found)
        judged.append(record)
    if not any(each["gain"] for subject in judged for each in subject["criteria"]):
        raise UnfitError("some criterion must be defined for some model and its task; the notes say why none is")
    groups = dict.fromkeys(subject.group for subject in subjects if subject.group)
    seeds = [[subject.name for subject in subjects if subject.group == group] for group in groups]
    agree = [{"subjects": names, "agrees": _of_seeds([scores[name] for name in names])} for names in seeds]
    record = study.record(ground.lab.subject.device, subjects=judged, groups=agree)
    del record["seconds"], record["provenance"]["date"]
    return record, {"seconds": seconds}


def _of_seeds(of_each: Sequence[Mapping[str, Rows]]) -> Record:
    """Criterion -> how the scores of fine-tunings agree, each the mean over its samples."""
    first, *others = of_each
    names = [n for n, rows in first.items() if all(n in of and of[n].shape[1:] == rows.shape[1:] for of in others)]
    return {name: agreement(np.stack([of[name].mean(axis=0) for of in of_each])) for name in names}


# long: one subject from its trials to its record, a yardstick a paragraph
def judge(subject: Subject, ground: Ground, found: Mapping[str, Sequence[Record]]) -> tuple[Record, dict[str, Rows]]:
    """The yardsticks of a subject, and the scores of each criterion, `(n_samples, n_heads_there)`.

    Args:
        subject: The model on the task.
        ground: What its trials were measured on.
        found: Criterion -> the records of its trials.
    """
    options, on, gone, is_disjoint = subject.options, ground.on, ground.on.gone, ground.is_disjoint
    left_out = {name: each["unfit"] for name, trials in found.items() for each in trials if "unfit" in each}
    on.reporter.note(*(f"{name} is left out: {why}" for name, why in left_out.items()))
    on.reporter.note(*sorted({note for trials in found.values() for each in trials for note in each.get("notes", ())}))
    for name in options.names:
        note_oracle(name, ground.whole.split, [on.split], on.reporter)
    rows = {name: subject.row(name) for name in found if name not in left_out}
    scores = {n: [HeadScores.from_json(each["scores"]) for each in found[n]] for n in rows if n != RANDOM}
    there = np.concatenate([*gone.keep(), np.zeros(0, dtype=bool)])
    flat = {name: np.stack([each.flat()[there] for each in of]) for name, of in scores.items()}

    orders = {name: [ground.order(each) for each in of] for name, of in scores.items()} | {RANDOM: ground.draws}
    asked = [gone, *(mask for of in orders.values() for order in of for mask in order), *ground.masks]
    measured = Measured(on, asked, options.seed)
    how = {"n": options.score_samples, "seed": options.seed, "is_disjoint": is_disjoint}
    areas = areas_sampled(orders, {n: orders[n] for n, row in rows.items() if row.needs_data}, measured, **how)
    pairs = [{key: row[key] for key in _OF_PAIR} | from_zero(row) for row in areas if row["second"] is not None]
    for pair, p in zip(pairs, holm([pair["p"] for pair in pairs]).tolist(), strict=True):
        pair["p_holm"] = p
    area = {row["first"]: row for row in areas if row["second"] is None}
    gains = {pair["first"]: {key: pair[key] for key in _OF_GAIN} for pair in pairs if pair["second"] == RANDOM}
    best_first = sorted(rows, key=lambda name: -area[name]["value"])
    tied = letters(best_first, [frozenset((e["first"], e["second"])) for e in pairs if e["p_holm"] < ALPHA])

    closed = np.array([[head in mask for head in ~gone] for mask in ground.masks], dtype=np.float64)
    n_closed = closed.sum(axis=1) if len(closed) else closed
    losses = {key: of[0] - of[1:] for key, of in responses_of(measured, [gone, *ground.masks]) if len(closed)}
    plants, criteria = _planted(subject, gone), []
    for name in best_first:
        about: Record = {"criterion": name, "looks_at": rows[name].looks_at, "ties": tied[name]}
        about |= {"area": {key: area[name][key] for key in ("value", "low", "high")}, "gain": gains.get(name)}
        about |= {"additive": {}, "agrees": None, "recall": None, "passes": {"forward": 0.0, "backward": 0.0}}
        if name != RANDOM:
            tell = partial(foreseen, flat[name] @ closed.T, sizes=n_closed, is_disjoint=is_disjoint)
            about["additive"] = {key: tell(loss) for key, loss in losses.items()}
            about["agrees"] = agreement(flat[name])
            about["recall"] = plants and recall(plants, scores[name], gone, rows[name].is_signed)
            about["passes"] = {way: mean(each["passes"][way] for each in found[name]) for way in about["passes"]}
        line = line_of(({}, scores.get(name, [NONE])[0], orders[name]), [measured], options.steps)
        criteria.append({**about, "points": line["points"]})
    record: Record = {"name": subject.name, "group": subject.group or None, "task": ground.lab.subject.task.spec.name}
    record |= {**ground.lab.identify([on.split]), "scored_on": identify_split(ground.whole.split)}
    record["score_samples"] = {"disjoint": is_disjoint, "n_examples": [len(each.split) for each in ground.samples]}
    record |= {"headline": on.measure.name, "n_heads": gone.n_total, "n_gone": len(gone), "base": measured.value(gone)}
    record |= {"left_out": left_out, "criteria": criteria, "pairs": pairs, "notes": list(on.reporter.notes)}
    return record, flat


def _planted(subject: Subject, gone: HeadMask) -> list[tuple[str, HeadMask]] | None:
    """Kind and heads of each plant that ablation has confirmed; None where the model's folder has no `planted.json`."""
    file = Path(subject.setup.model).expanduser() / PLANTED_FILE
    if not file.is_file():
        return None
    try:
        plants = [each for each in read_json(file, "a file of plants")["plants"] if each["is_confirmed"]]
        return [(str(each["kind"]), HeadMask.parse(" ".join(each["heads"]), gone.n_heads)) for each in plants]
    except (KeyError, TypeError, PruneHeadsError) as error:
        must = f"{PLANTED_FILE} of {subject.name} must hold plants with kind, heads and is_confirmed"
        raise RunError(f"{must}; it does not ({type(error).__name__}: {error})") from error


def recall(
    plants: Sequence[tuple[str, HeadMask]], scores: Sequence[HeadScores], gone: HeadMask, is_signed: bool | None
) -> Record:
    """Kind of plant -> how many were `found` of `n`, the mean over samples.

    So many heads may go: those that are dead or only add noise, and one of each two copies; so many are needed: those
    that carry a feature, or are needed by few examples. Dead heads and noise are found among as many of the lowest
    scores, needed heads among as many of the highest; two copies are found where not both are among the lowest.
    A criterion that is not signed cannot say that a head is better gone, and is not asked for noise. By one that is,
    dead heads are found among the scores nearest to 0, for it puts harmful heads before them.
    """
    sizes = [1 if kind == _COPIES else len(heads) for kind, heads in plants]
    is_signed = any((each.flat() < 0).any() for each in scores) if is_signed is None else is_signed
    n_needed = sum(n for n, (kind, _) in zip(sizes, plants, strict=True) if kind in _NEEDED)
    found: Record = {kind: {"found": 0.0, "n": 0} for kind, _ in plants if kind != "noise" or is_signed}
    for n, (kind, heads) in zip(sizes, plants, strict=True):
        if kind in found:
            found[kind]["n"] += n
        for each in scores if kind in found else ():
            of = [np.abs(row) for row in each.values] if is_signed and kind == "dead" else each.values
            order = sorted(~gone, key=lambda head: (of[head[0]][head[1]], head))
            among = set(order[len(order) - n_needed :] if kind in _NEEDED else order[: sum(sizes) - n_needed])
            hit = not heads.pruned <= among if kind == _COPIES else len(heads.pruned & among)
            found[kind]["found"] += hit / len(scores)
    return found
