"""Mask each head, or all others of its layer, and measure: the paper's tables 1, 2, 3, 5 and 6, and its figure 2."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, combinations, groupby
from typing import Any

from prune_heads.ablation import KINDS, ablations, predict_masks
from prune_heads.ablation.mixed import n_different
from prune_heads.descriptors import Head, named_blocks
from prune_heads.errors import HeadDescriptorError, OptionError
from prune_heads.heads import NUMBERING, HeadMask
from prune_heads.options import Ablation, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.statistics.differences import N_RESAMPLES, PairedTest, exact_p, test_of
from prune_heads.statistics.joint import Differences, joint, mean_differences, metric_differences
from prune_heads.statistics.margins import difference_interval, equivalent
from prune_heads.statistics.tables import benjamini_hochberg, correlate, holm
from prune_heads.studies.changed import changed
from prune_heads.studies.measuring import Measured
from prune_heads.studies.scoring import Found, Lab
from prune_heads.studies.setup import costs_of, identify_split
from prune_heads.studies.spreading import Spread
from prune_heads.studies.together import Flips, together

ALPHA = 0.01  # the paper's level of significance
BESIDE = ("task", "model", "tables", "correlations", "flips")  # what `--json` prints beside the first split's table
FLIP_SAMPLE = 64  # examples, the first of the split, on which a reduced precision is compared with float32


# long: one study from its options to its record, a stage a paragraph
def ablate(setup: Setup, options: Ablation, reporter: Reporter, *, spread: Spread | None = None) -> Found:
    """What `prune-heads ablate` finds: a table a split, their correlations, and for `only-one` the best heads.

    What takes long is done by the cluster that `spread` stands for, or here. A `PruneHeadsError` as of `ablated`.
    """
    study, options = Study("ablate", reporter), options.settled(setup.max_examples)
    lab = Lab(setup, reporter, seed=options.seed)
    subject, every = lab.subject, lab.reported(options.split)
    splits, choosing = [each.split for each in every], None
    if options.kind == "only-one":
        name = options.choose_split or subject.task.spec.score_split
        if n := options.choose_examples:
            choosing = lab.of(subject.measurable(subject.task.load(name, n, seed=options.seed), reporter))
        else:
            choosing = lab.predictions(name)
        if name in [split.name for split in splits]:
            reporter.note(f"only-one: heads are chosen on {name}, which they are tested on too: this flatters them")
    for split in (each for each in splits if len(each) == 1):
        reporter.note(f"{split.name}: one example says nothing of others: no interval or test can be relied on")
    chosen_on = None if choosing is None else identify_split(choosing.split)
    study.begin(setup, options, **lab.identify(splits), chosen_on=chosen_on)
    asked = every if choosing is None or choosing in every else [*every, choosing]
    for each in asked:
        each.check_defined()

    if spread is not None:
        wanted = [(each, (each.gone, *masks_of(each, options).values())) for each in asked]
        spread.answers(wanted, memory=options.memory, compiled=options.compiled)
    found = {each: ablated(each, options) for each in asked}
    study.lap("ablate")
    tables = [table(options, found[each], found[choosing] if choosing else None) for each in every]
    correlations = [
        {"first": a["split"], "second": b["split"], **correlate([*chain(*a["delta"])], [*chain(*b["delta"])])}
        for a, b in combinations(tables, 2)
    ]
    study.lap("statistics")
    flipped = None
    if setup.dtype == "mixed":
        flipped = {**every[0].corrections[-1], "others": [each.corrections[-1] for each in asked[1:]]}
    elif setup.dtype != "float32" and subject.objective.chooses:
        flipped = count_flips(setup, options, found[every[0]], reporter)
        study.lap("float32 sample")
    spec, costs = subject.task.spec, costs_of(subject.classifier)
    about: dict[str, Any] = {"task": spec.name, "kind": options.kind, "headline": every[0].measure.name}
    about |= {"labels": spec.labels and list(spec.labels), "costs": costs, "tables": tables}
    record = study.record(subject.device, **about, correlations=correlations, flips=flipped)
    examples = None
    if options.kind == "without-one":
        kept = [(each, found[each].kept, masks_of(each, options).items()) for each in every]
        without = [(each, of[each.gone], {head: of[mask] for head, mask in masks}) for each, of, masks in kept]
        examples = partial(changed, without)
    report = {**tables[0], **{name: record[name] for name in BESIDE}}
    return Found(record, report, examples=examples, details=options.details)


def among(blocks: Sequence[str] | None, gone: HeadMask) -> HeadMask:
    """The heads of the blocks of these names, or of all; of a model that has lost some, these too.

    A `HeadDescriptorError` if a block is not there, or no head is left in them.
    """
    places = named_blocks(blocks, gone.n_heads)
    found = HeadMask(gone.n_heads, frozenset(head for head in HeadMask.all(gone.n_heads) if head[0] in places))
    if found <= gone:
        whose = "the model" if blocks is None else f"--blocks {','.join(blocks)}"
        cure = "Name others with --blocks, or take a checkpoint that has heads"
        raise HeadDescriptorError(f"{whose} must have heads left; all were removed before. {cure}")
    return found


def masks_of(predictions: Predictions, options: Ablation) -> dict[Head, HeadMask]:
    """The mask that asks about each head, beside that of no head.

    A `HeadDescriptorError` as of `among`; an `OptionError` if the kind is not of single heads.
    """
    if options.kind not in KINDS:
        raise OptionError(f"an ablation of single heads must be of one of {', '.join(KINDS)}; got {options.kind}")
    asked = among(options.blocks, predictions.gone)
    return {head: mask for head, mask in ablations(options.kind, predictions.gone).items() if head in asked}


def ablated(predictions: Predictions, options: Ablation) -> Measured:
    """The ablations of one kind on one split.

    A `DataError` if the metric is undefined on the split; a `HeadDescriptorError` if a block is not there, or no head
    is left in them; a `PruneHeadsError` if masks are not applied, logits are not finite, or the store cannot be
    written.
    """
    predictions.check_defined()
    wanted = [predictions.gone, *masks_of(predictions, options).values()]
    return Measured(predictions, wanted, options.seed, memory=options.memory, compiled=options.compiled)


def table(options: Ablation, found: Measured, chosen: Measured | None = None) -> dict[str, Any]:
    """One split's table: metric and difference of each head, its interval, and p-values before and after correction.

    All heads are on the same resamples, of groups of examples where the split has some; they are enough for the
    smallest p to survive a correction over all heads. `likelihood` says the same of the mean log-likelihood of the
    right answer (nats an example), `response` of another one. `changed` counts answers that become right and wrong.

    Args:
        options: Which ablations.
        found: What is measured under them.
        chosen: The same ablations on other examples, by which each layer's best head is picked.
    """
    predictions, gone = found.predictions, found.predictions.gone
    masks, base, groups = masks_of(predictions, options), found.answers(gone), predictions.groups
    measure, references = predictions.measure, predictions.references
    answers = [found.answers(mask) for mask in masks.values()]
    how = {"seed": options.seed, "n_resamples": n_resamples(len(masks))}

    def cells(numbers: Sequence[Any]) -> list[list[Any]]:
        """One row a block; None for a head that is not there or was not asked about."""
        return gone.n_heads.rows(dict(zip(masks, numbers, strict=True)))

    def told(differences: Differences, test: str, exact: Sequence[float | None], flips: Flips | None) -> Any:
        """The test of each head, and for records its difference, interval and p-values, and what is said of all."""
        drawn = joint(differences, **how)
        tests = drawn.tests(test, exact)
        p_values = [each.p_value for each in tests]
        columns = {"delta": cells([each.value for each in tests])}
        columns |= {name: cells([getattr(each, name) for each in tests]) for name in ("low", "high", "p_value")}
        adjusted = {"holm": cells(holm(p_values).tolist()), "bh": cells(benjamini_hochberg(p_values).tolist())}
        all_of_them = together(differences, drawn, cells, options.seed, flips, measure.is_share)
        return tests, {**columns, "p_adjusted": adjusted, "test": test, "together": all_of_them}

    counted = [predictions.changed(base, each) for each in answers]
    flips = [each for each in counted if each is not None] or None
    exact = [exact_p(measure, base, each, references, groups) for each in answers]
    differences = metric_differences(measure, base, answers, references, groups)
    tests, columns = told(differences, test_of(measure, groups), exact, flips)
    response = None
    if (responses := found.responses([gone, *masks.values()])) is not None:
        changes = responses[:, 1:] - responses[:, :1]
        of_each = told(mean_differences(changes, groups), test_of(None, groups), [None] * len(masks), None)[1]
        response = {"base": float(responses[:, 0].mean()), **of_each}
    about: dict[str, Any] = {"split": predictions.split.name, "kind": options.kind, "metric": measure.name}
    about |= {"base": found.value(gone), "base_interval": list(found.interval(gone))}
    about |= {"n_examples": len(references), "numbering": NUMBERING}
    about["blocks"] = [block.describe() for block in predictions.subject.blocks]
    about["value"] = cells([found.value(mask) for mask in masks.values()])
    to_right, to_wrong = (None, None) if flips is None else map(cells, zip(*flips, strict=True))
    about["changed"] = None if flips is None else {"to_right": to_right, "to_wrong": to_wrong}
    about["equivalence"] = None
    if options.margin is not None:
        interval = partial(difference_interval, measure, base, seed=options.seed, groups=groups)
        ends = [interval(each, references) for each in answers]
        shown = {"low": cells([low for low, _ in ends]), "high": cells([high for _, high in ends])}
        verdicts = cells([equivalent(*each, options.margin) for each in ends])
        about["equivalence"] = {"margin": options.margin, **shown, "verdict": verdicts}
    best = None if chosen is None else _best(options, dict(zip(masks, tests, strict=True)), chosen)
    return {**about, **columns, "alpha": ALPHA, "best": best, **predictions.told(response)}


def n_resamples(n_tests: int) -> int:
    """Enough for the smallest p of so many tests to survive Holm's correction at `ALPHA`."""
    return max(N_RESAMPLES, int(1.5 * n_tests / ALPHA))


def _best(options: Ablation, tests: Mapping[Head, PairedTest], chosen: Measured) -> list[dict[str, Any]]:
    """Each layer's head that is best where it is chosen, and what it is worth here; corrected over the layers."""
    predictions, base = chosen.predictions, chosen.value(chosen.predictions.gone)
    there = {head: chosen.value(mask) - base for head, mask in masks_of(predictions, options).items()}
    names, rows = predictions.gone.n_heads.names(), list[dict[str, Any]]()
    for block, group in groupby(tests, key=lambda head: head[0]):
        heads = list(group)
        pick = max(heads, key=there.__getitem__)  # the first of equals
        flattering = max(heads, key=lambda head: tests[head].value)
        layer = int(names[block]) if names[block].isdecimal() else names[block]
        chosen_on = {"chosen_on": predictions.split.name, "chosen_examples": len(predictions.references)}
        chosen_on |= {"chosen_value": base + there[pick], "chosen_base": base}
        tested = {name: getattr(tests[pick], name) for name in ("low", "high", "p_value")}
        best_here = {"head": flattering[1] + 1, "delta": tests[flattering].value}
        about = {"layer": layer, "head": pick[1] + 1, **chosen_on, "delta": tests[pick].value}
        rows.append({**about, **tested, "best_here": best_here})
    p_values = [row["p_value"] for row in rows]
    adjusted = zip(holm(p_values).tolist(), benjamini_hochberg(p_values).tolist(), strict=True)
    return [{**row, "p_holm": by_holm, "p_bh": by_bh} for row, (by_holm, by_bh) in zip(rows, adjusted, strict=True)]


def count_flips(setup: Setup, options: Ablation, found: Measured, reporter: Reporter) -> dict[str, Any]:
    """How many predictions of the first examples differ from those of float32, of an objective that `chooses`."""
    n = min(FLIP_SAMPLE, len(found.predictions.references))
    exact, split = replace(setup, dtype="float32"), found.predictions.split
    sample = Lab(exact, reporter, seed=options.seed).of(split.at(range(n)))
    wanted = predict_masks(sample, list(found.kept), memory=options.memory)
    flipped = sum(n_different(sample.objective, found.kept[mask][:n], kept) for mask, kept in wanted.items())
    about = {"dtype": setup.dtype, "split": split.name, "n_examples": n}
    return {**about, "n_masks": len(wanted), "n_predictions": n * len(wanted), "n_flipped": flipped}
