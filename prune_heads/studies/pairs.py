"""Two heads closed together: do they do the same work? `prune-heads ablate --kind pairs`.

The interaction of two heads is the loss without both, minus both losses alone, in log-likelihood of the right answer
(nats an example). It is positive where each stands in for the other, so that only losing both shows, and negative
where one is of no use without the other. Each loss is an exact evaluation under a mask.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np

from prune_heads.descriptors import Head
from prune_heads.errors import HeadDescriptorError, OptionError, RunError, UnfitError
from prune_heads.files import read_json
from prune_heads.heads import NUMBERING, HeadMask
from prune_heads.options import Ablation, Pairs, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, Study
from prune_heads.statistics.differences import compare_paired
from prune_heads.statistics.joint import compare_means
from prune_heads.statistics.tables import benjamini_hochberg, holm
from prune_heads.studies.ablating import ALPHA, among, n_resamples
from prune_heads.studies.measuring import Measured
from prune_heads.studies.reading import read_heads
from prune_heads.studies.scoring import Found, Lab
from prune_heads.studies.spreading import Spread

Pair = tuple[Head, Head]
ENDS = ("first", "second")  # of a pair, in records
_TESTED = ("low", "high", "p_value")  # what a record has of a test beside its value


def ablate_pairs(
    setup: Setup, options: Ablation, which: Pairs, reporter: Reporter, *, spread: Spread | None = None
) -> Found:
    """The interactions of pairs of heads, a table a split; a table has a row a pair, see `interactions`.

    Raises:
        HeadDescriptorError: If the heads cannot be read or are gone, or there are no two.
        OptionError: If layers are named beside heads or a run.
        PruneHeadsError: See `predict_masks`.
        UnfitError: If the likelihood of the right answer is not defined.
    """
    if options.blocks is not None and (which.heads or which.nearest):
        raise OptionError("--blocks takes the pairs of each layer; --heads and --nearest name others. Leave one out")
    study, lab = Study("ablate", reporter), Lab(setup, reporter, seed=options.seed)
    subject, every = lab.subject, lab.reported(options.split)
    pairs = pairs_of(every[0].gone, options, which)
    asked = {
        "heads": read_heads(which.heads, subject.n_heads).descriptors() if which.heads else None,
        "nearest": [" ".join(names_of(pair, subject.n_heads)) for pair in pairs] if which.nearest else None,
    }
    study.begin(setup, options, asked, **lab.identify([each.split for each in every]))
    for each in every:
        each.check_defined()
        check_likelihood(each)
    how: dict[str, Any] = {"memory": options.memory, "compiled": options.compiled}
    wanted = masks_of_pairs(every[0].gone, pairs)
    if spread is not None:
        spread.answers([(each, wanted) for each in every], **how)
    found = [Measured(each, wanted, options.seed, **how) for each in every]
    study.lap("ablate")
    tables = [interactions(measured, pairs, options.seed) for measured in found]
    study.lap("statistics")
    spec = subject.task.spec
    about = {"task": spec.name, "kind": options.kind, "headline": every[0].measure.name}
    record = study.record(subject.device, **about, labels=spec.labels and list(spec.labels), pairs=tables)
    return Found(record, {name: record[name] for name in ("task", "kind", "model", "pairs")})


def pairs_of(gone: HeadMask, options: Ablation, which: Pairs) -> list[Pair]:
    """The pairs that are asked for, in order.

    A `HeadDescriptorError` if heads cannot be read or are gone, or there are no two; a `RunError` if there is no run of
    `similar` on this model's heads.
    """
    if which.nearest is not None:
        found = _nearest(which.nearest, gone)
    elif which.heads is not None:
        found = list(combinations(read_heads(which.heads, gone.n_heads), 2))
    else:
        there = among(options.blocks, gone) - gone
        found = [(a, b) for a, b in combinations(there, 2) if a[0] == b[0]]
    if lost := HeadMask(gone.n_heads, frozenset(chain(*found))) & gone:
        raise HeadDescriptorError(f"pairs must be of heads that the model has; {lost} were removed before")
    if not found:
        raise HeadDescriptorError("a pair must be of two heads, and there are no two. Name more by --heads or --blocks")
    return found


def _nearest(path: Path, gone: HeadMask) -> list[Pair]:
    must = "--nearest must name what 'prune-heads similar --output' writes"
    record = read_json(path / RECORD_FILE if path.is_dir() else path, "a run of 'similar'")
    try:
        counts = [block["n_heads"] for block in record["blocks"]]
        rows = [[str(row[end]) for end in ENDS] for row in record["nearest"]]
    except (KeyError, TypeError) as error:
        raise RunError(f"{must}; {path.name} is of another command, or damaged ({error})") from error
    if counts != list(gone.n_heads):
        raise RunError(f"{must} of this model, with {list(gone.n_heads)} heads a layer; {path.name} has {counts}")
    if not rows:
        raise RunError(f"{must} of several layers; {path.name} has one layer. Leave it out for the pairs of a layer")
    pairs = list[Pair]()
    for names in rows:
        match [list(HeadMask.parse(name, gone.n_heads)) for name in names]:
            case [[first], [second]] if first != second:
                pairs.append((first, second))
            case _:
                raise HeadDescriptorError(f"a pair must be of two heads such as 3:1 and 7:2; got {' and '.join(names)}")
    return pairs


def names_of(heads: Iterable[Head], n_heads: Sequence[int]) -> list[str]:
    """What people call these heads, `3:1`."""
    return [str(HeadMask(n_heads, frozenset([head]))) for head in heads]  # type: ignore[arg-type]


def check_likelihood(predictions: Predictions) -> None:
    """Refuse a task without a likelihood of the right answer, by what is kept without a mask: `UnfitError`."""
    if predictions.objective.log_likelihood(predictions.of(predictions.gone), predictions.references) is None:
        must = "pairs are measured in the log-likelihood of the right answer, which the task must have"
        raise UnfitError(f"{must}; {predictions.subject.task.spec.name} ({predictions.objective.name}) has none")


def masks_of_pairs(gone: HeadMask, pairs: Sequence[Pair]) -> list[HeadMask]:
    """No head, each head alone as `without-one` masks it, and each pair."""
    alone = [frozenset([head]) for head in dict.fromkeys(chain(*pairs))]
    return [gone, *(HeadMask(gone.n_heads, heads) | gone for heads in [*alone, *map(frozenset, pairs)])]


def interactions(found: Measured, pairs: Sequence[Pair], seed: int) -> dict[str, Any]:
    """What closing each pair does on one split.

    Returns:
        About the split, and `rows`, one a pair: its heads by name, `first_loss`, `second_loss` and `loss` of
        log-likelihood (nats an example) without the first, the second and both; the `interaction`, loss less the two
        others, with its 95% interval and p-values (all pairs share the resamples of a paired bootstrap; Holm and
        Benjamini-Hochberg over the pairs); `delta`, the change of the metric without both, with its interval and
        p-value, and `metric_interaction`, which is of losses of the metric as the other is.
    """
    predictions, heads = found.predictions, list(dict.fromkeys(chain(*pairs)))
    gone, *masks = masks_of_pairs(predictions.gone, pairs)
    likelihoods = found.responses([gone, *masks])
    assert likelihoods is not None  # see `check_likelihood`
    losses, values = likelihoods[:, :1] - likelihoods[:, 1:], np.array([found.value(mask) for mask in masks])
    first, second = np.array([[heads.index(head) for head in pair] for pair in pairs]).T
    both = slice(len(heads), None)
    each = losses[:, both] - losses[:, first] - losses[:, second]
    how: dict[str, Any] = {"seed": seed, "groups": predictions.groups}
    tests = compare_means(each, n_resamples=n_resamples(len(pairs)), **how)
    metric_tests = [
        compare_paired(predictions.measure, found.answers(gone), found.answers(mask), predictions.references, **how)
        for mask in masks[both]
    ]
    base, loss, p_values = found.value(gone), losses.mean(axis=0), [test.p_value for test in tests]
    names = np.array(names_of(heads, gone.n_heads))
    columns: dict[str, Any] = {"first": names[first], "second": names[second]}
    columns |= {"first_loss": loss[first], "second_loss": loss[second], "loss": loss[both]}
    columns["interaction"] = [test.value for test in tests]
    columns |= {name: [getattr(test, name) for test in tests] for name in _TESTED}
    columns |= {"p_holm": holm(p_values), "p_bh": benjamini_hochberg(p_values)}
    columns["delta"] = [test.value for test in metric_tests]
    columns |= {f"delta_{name}": [getattr(test, name) for test in metric_tests] for name in _TESTED}
    columns["metric_interaction"] = values[first] + values[second] - base - values[both]
    cells = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
    about: dict[str, Any] = {"split": predictions.split.name, "metric": predictions.measure.name, "base": base}
    about |= {"likelihood": float(likelihoods[:, 0].mean()), "n_examples": len(predictions.references)}
    about |= {"numbering": NUMBERING, "blocks": [block.describe() for block in predictions.subject.blocks]}
    about |= {"test": tests[0].test, "metric_test": metric_tests[0].test, "alpha": ALPHA}
    return {**about, "rows": [dict(zip(columns, row, strict=True)) for row in cells]}
