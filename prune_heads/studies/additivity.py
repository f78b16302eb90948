"""Do single heads add up? Random masks against sums of single effects: `prune-heads ablate --kind random`.

A score of single heads is used as if it added up: the heads with the lowest scores go together. Here masks of many
heads are drawn at random and measured, and their losses are compared with the sums of what their heads lose alone, and
of what each criterion gives them (the linear datamodelling score of Park et al., 2023; for components of a model Shah
et al., 2024).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.ablation import ablations
from prune_heads.errors import OptionError, UnfitError
from prune_heads.heads import NUMBERING, HeadMask
from prune_heads.importance import CRITERIA
from prune_heads.objectives.responses import LIKELIHOOD
from prune_heads.options import Ablation, Cluster, Pairs, RandomMasks, Scoring, Setup
from prune_heads.options.scoring import PLAIN
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.selection import count_for_fraction
from prune_heads.statistics.groups import units
from prune_heads.statistics.tables import correlate
from prune_heads.studies.ablating import ablate
from prune_heads.studies.measuring import Measured
from prune_heads.studies.pairs import ablate_pairs
from prune_heads.studies.repeated import check_units
from prune_heads.studies.scoring import Found, Lab
from prune_heads.studies.setup import identify_split
from prune_heads.studies.spreading import Spread, spread_over

Numbers = NDArray[np.float64]
SINGLE = "single effects"
N_MASKS, FRACTIONS = 300, (0.1, 0.3, 0.5)
_SCORED = tuple(name for name in PLAIN if CRITERIA[name].looks_at != "answers" and not CRITERIA[name].draws)


def ablate_heads(
    setup: Setup, cluster: Cluster, options: Ablation, which: Pairs, random: RandomMasks, reporter: Reporter
) -> Found:
    """See `ablate`, `ablate_pairs` and `ablate_random`, here or on a cluster.

    An `OptionError` if pairs or random masks are described and not asked for; a `PruneHeadsError` as they do.
    """
    if options.kind != "pairs" and (which.heads or which.nearest):
        raise OptionError("--heads and --nearest belong to --kind pairs")
    if options.kind != "random" and (random.masks or random.fraction):
        raise OptionError("--masks and --fraction belong to --kind random")
    with spread_over(setup, cluster, reporter) as spread:
        if options.kind == "pairs":
            return ablate_pairs(setup, options, which, reporter, spread=spread)
        if options.kind == "random":
            return ablate_random(setup, options, random, reporter, spread=spread)
        return ablate(setup, options, reporter, spread=spread)


def ablate_random(
    setup: Setup, options: Ablation, which: RandomMasks, reporter: Reporter, *, spread: Spread | None = None
) -> Found:
    """Random masks on one half of a split, single effects on the other, so that they share no noise.

    Examples that belong together are in the same half. A table a split and response (the metric and the objective's
    response, where it is defined): of each fraction the mean loss, the ratio of the mean measured loss to the mean sum
    of single ones, and Spearman's correlation over masks of the measured with the summed, by the single effects and by
    each criterion that looks at no answers, with its 95% interval. An `UnfitError` if a half has no example, or heads
    do not suffice for a mask of two; a `PruneHeadsError` as of `predict_masks`.
    """
    study, lab = Study("ablate", reporter), Lab(setup, reporter, seed=options.seed)
    subject, every = lab.subject, lab.reported(options.split)
    scored = {name: lab.scored(Scoring(name, seed=options.seed)) for name in _SCORED}
    data = [identify_split(lab.predictions(subject.task.spec.score_split).split)]
    study.begin(setup, options, which, **lab.identify([each.split for each in every]), scored_on=data)
    masks, gone = masks_drawn(every[0].gone, which, options.seed), every[0].gone
    singles = ablations("without-one", gone)
    closed = np.array([[head in mask for head in singles] for mask in masks], dtype=np.float64)
    sums = {n: closed @ [each.scores.values[block][head] for block, head in singles] for n, each in scored.items()}
    wanted = [[gone, *singles.values()], [gone, *masks]]
    how: dict[str, Any] = {"memory": options.memory, "compiled": options.compiled}
    tables = []
    for whole in every:
        both = halves(whole, lab, options.seed)
        for half in both:
            half.check_defined()
        if spread is not None:
            spread.answers(list(zip(both, wanted, strict=True)), **how)
        first, second = map(partial(Measured, seed=options.seed, **how), both, wanted)
        sizes = {"n_singles": len(both[0].references), "n_examples": len(both[1].references)}
        found = responses_of(first, wanted[0]), responses_of(second, wanted[1])
        for (name, alone), (_, together) in zip(*found, strict=True):
            rows = list(_rows(together[0] - together[1:], closed, closed @ (alone[0] - alone[1:]), sums))
            table = {"split": whole.split.name, "response": name, **sizes, "base": float(together[0])}
            tables.append({**table, "rows": rows})
    study.lap("ablate")
    about: dict[str, Any] = {"task": subject.task.spec.name, "kind": options.kind, "headline": every[0].measure.name}
    about |= {"numbering": NUMBERING, "blocks": [block.describe() for block in subject.blocks]}
    record = study.record(subject.device, **about, random=tables, masks=[mask.descriptors() for mask in masks])
    return Found(record, {name: record[name] for name in ("task", "kind", "model", "random")})


def masks_drawn(gone: HeadMask, which: RandomMasks, seed: int) -> list[HeadMask]:
    """So many masks of each fraction of the heads that are left, without the ones that are drawn twice.

    An `UnfitError` if a fraction is not of two heads, or of all.
    """
    left, rng, found = list(~gone), np.random.default_rng(seed), list[HeadMask]()
    for fraction in which.fraction or FRACTIONS:
        n = count_for_fraction(len(left), fraction)
        if not 2 <= n < len(left):
            raise UnfitError(f"a mask must close two heads at least and leave one; {fraction:g} of {len(left)} is {n}")
        drawn = (rng.choice(len(left), n, replace=False).tolist() for _ in range(which.masks or N_MASKS))
        found += [HeadMask(gone.n_heads, frozenset(left[i] for i in places)) | gone for places in drawn]
    return list(dict.fromkeys(found))


def halves(whole: Predictions, lab: Lab, seed: int) -> list[Predictions]:
    """Two random halves of a split, which share no example and no group of examples.

    An `UnfitError` if there are fewer than two examples or groups.
    """
    check_units("what random masks are measured on", [whole])
    groups, n = units(len(whole.split), whole.groups), whole.n_units
    first = np.isin(groups, np.random.default_rng(seed).permutation(n)[: n // 2])
    return [lab.part(whole, np.flatnonzero(side).tolist()) for side in (first, ~first)]


def responses_of(measured: Measured, masks: Sequence[HeadMask]) -> Iterator[tuple[str, Numbers]]:
    """The metric under each mask, and the mean response where it is defined."""
    yield measured.predictions.measure.name, np.array([measured.value(mask) for mask in masks])
    if (responses := measured.responses(masks)) is not None:
        response = measured.predictions.objective.response
        yield "likelihood" if response is LIKELIHOOD else response.name, responses.mean(axis=0, dtype=np.float64)


def _rows(losses: Numbers, closed: Numbers, single: Numbers, sums: Mapping[str, Numbers]) -> Iterator[dict[str, Any]]:
    for size in dict.fromkeys(closed.sum(axis=1).tolist()):
        of = closed.sum(axis=1) == size
        by = {name: correlate(losses[of], each[of])["spearman"] for name, each in {SINGLE: single, **sums}.items()}
        means = {"loss": float(losses[of].mean()), "summed": float(single[of].mean())}
        yield {"n_closed": int(size), "n_heads": closed.shape[1], "n_masks": int(of.sum()), **means, "spearman": by}
