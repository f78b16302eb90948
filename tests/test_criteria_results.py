"""What results/criteria.md finds is so in the records beside it: each finding has a condition here."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

from prune_heads.reporting.comparison import mean_difference, summaries

RESULTS = Path(__file__).resolve().parents[1] / "results"
PAGE = (RESULTS / "criteria.md").read_text(encoding="utf-8")
FORWARD = ("output-norm", "relative-norm", "entropy", "confidence", "first-token")
BY_MASKS = ("regression", "shapley", "greedy")
LEARNED = ("causal-gates", "l0-gates", "subset-gates")
SURE = {"gnorm", "gnorm-published", "shapley", "l0-gates", "subset-gates"}


@cache
def record(name):
    return json.loads((RESULTS / name / "record.json").read_text(encoding="utf-8"))


def criteria(name, subject):
    """Criterion -> what the record says of it on a subject."""
    (found,) = [each for each in record(name)["subjects"] if each["name"] == subject]
    return {each["criterion"]: each for each in found["criteria"]}


def better(name, subject):
    """Pairs of criteria of which the first is surely better on a subject, after Holm's adjustment."""
    (found,) = [each for each in record(name)["subjects"] if each["name"] == subject]
    sure = [each for each in found["pairs"] if each["p_holm"] < 0.05]
    return {(e["first"], e["second"]) if e["value"] > 0 else (e["second"], e["first"]) for e in sure}


def over_random(name, subject):
    return {first for first, second in better(name, subject) if second == "random"}


COLA = [("compare-cola-rte", f"minilm-cola{seed} on cola") for seed in ("", "-seed-1", "-seed-2")]
RTE = ("compare-cola-rte", "minilm-rte on rte")
SST2, MNLI, MRPC, QNLI, STSB = FIVE = [
    ("compare-five", f"minilm-{task} on {task}") for task in ("sst2", "mnli", "mrpc", "qnli", "stsb")
]
SEVEN = ("compare-cola-rte", "compare-five")
UNPLANTED = (*SEVEN, "compare-mini", "compare-few", "compare-decoder")
TRANSLATION = ("compare-decoder", "mini on mini-translation")
DECODERS = [("compare-decoder", f"mini-decoder-{task} on mini-{task}") for task in ("acceptability", "sentiment")]


def over_gradient(name):
    """The pairs of a criterion and the subject of a record on which it is surely better than the gradient."""
    every = (each["name"] for each in record(name)["subjects"])
    return [(first, of) for of in every for first, second in better(name, of) if second == "gradient"]


def passes(each):
    return sum(each["passes"].values())


def seconds(name, subject):
    return json.loads((RESULTS / name / "seconds.json").read_text(encoding="utf-8"))["seconds"][subject]


def on_all(*subjects):
    """The criteria that are compared on each of them."""
    return set.intersection(*({*criteria(*of)} for of in subjects)) - {"random"}


def gained_less(criterion):
    """By how many points less a criterion gains on the built-in suite by eight examples than by sixty-four."""
    by_few, by_more = ({each.criterion: each.value for each in gains_of(f"compare-{name}")} for name in ("few", "mini"))
    return by_more[criterion] - by_few[criterion]


@cache
def planted():
    """Criterion -> kind of plant -> share of those planted that it finds."""
    found = {}
    for each in (
        each for subject in record("compare-planted")["subjects"] for each in subject["criteria"] if each["recall"]
    ):
        for kind, of in each["recall"].items():
            total = found.setdefault(each["criterion"], {}).setdefault(kind, [0, 0])
            total[:] = total[0] + of["found"], total[1] + of["n"]
    return {name: {kind: hits / n for kind, (hits, n) in of.items()} for name, of in found.items()}


def gains_of(name):
    """Mean gains of the criteria, best first."""
    return summaries(record(name))[0].means


def differs(names, first, second):
    """How far the mean areas of two criteria are apart, in halves of its 95% interval."""
    of = (each for name in ([names] if isinstance(names, str) else names) for each in record(name)["subjects"])
    value, half = mean_difference(of, first, second)
    return value / half


def on_seven(second):
    """The criteria that are compared on all seven tasks, as `differs` says of their means: worse, open, better."""
    found = {name: differs(SEVEN, name, second) for name in on_all(*COLA, RTE, *FIVE) - {second}}
    below, above = ({name for name, by in found.items() if sign * by > 1} for sign in (-1, 1))
    return below, {*found} - below - above, above


FINDINGS = {
    "At first, use the gradient of the gates: two passes. On no model here but those with planted heads is anything "
    "surely better.": lambda: (
        not any(map(over_gradient, UNPLANTED))
        and all(passes(criteria(*of)["gradient"]) == 2 for of in (*COLA, *FIVE, *DECODERS, TRANSLATION))
    ),
    "With a budget of a hundred passes, attention attribution is worth a try. On the mean of each comparison without "
    "planted heads it surely beats random orders.": lambda: (
        all(differs(name, "attention-attribution", "random") > 1 for name in UNPLANTED)
        and passes(criteria(*COLA[0])["attention-attribution"]) < 100
    ),
    "On a decoder, these two hold as well.": lambda: all(
        differs("compare-decoder", name, "random") > 1 and all(name in over_random(*of) for of in DECODERS)
        for name in ("gradient", "attention-attribution")
    ),
    "On a large model, mind what grows with the number of heads. The passes of the gradient, of the mask search by "
    "Fisher information, of integrated gradients and of the criteria by maps do not. Those of ablation, second order "
    "and Greedy-Gnorm do. Those of attention attribution grow with the number of layers.": lambda: (
        all(
            passes(criteria("compare-mini", "mini on mini-inference")[name]) == passes(criteria(*COLA[0])[name])
            for name in ("gradient", "fisher-search", "integrated-gradients", *FORWARD)
        )
        and all(
            passes(criteria("compare-mini", "mini on mini-inference")[name]) < passes(criteria(*COLA[0])[name])
            for name in ("ablation", "second-order", "gnorm")
        )
        and [  # of 6, 6 and 12 layers, of 12, 4 and 4 heads
            passes(criteria(*of)["attention-attribution"]) for of in (COLA[0], DECODERS[0], TRANSLATION)
        ]
        == [16 * n_layers + 1 for n_layers in (6, 6, 12)]
    ),
    "When minutes matter: on CoLA the gradient takes less than a thirtieth of the time of attention attribution, and "
    "less than a sixtieth of that of Greedy-Gnorm with labels.": lambda: (
        (took := seconds(*COLA[0]))["gradient"] < min(took["attention-attribution"] / 30, took["gnorm"] / 60)
    ),
    "With few examples, too, use the gradient: by eight examples it gains on the built-in suite what it gains by "
    "sixty-four, within two points.": lambda: abs(gained_less("gradient")) < 2,
    "On RTE, where the model is little better than a guess, no criterion differs from random orders or from another "
    "one.": lambda: not better(*RTE),
    "On CoLA, both forms of Greedy-Gnorm, Shapley values, hard-concrete gates and subset sampling surely beat random "
    "orders. Which of them is best is open. They were compared on one fine-tuning.": lambda: (
        over_random(*COLA[0]) == SURE and not [pair for pair in better(*COLA[0]) if {*pair} <= SURE]
    ),
    "Of the criteria of few passes, attention attribution alone surely beats random orders on more than one of the "
    "three fine-tunings.": lambda: (
        [name for name in criteria(*COLA[1]) if sum(name in over_random(*of) for of in COLA) > 1]
        == ["attention-attribution"]
    ),
    "Nothing is surely better than the gradient of the gates, which takes two passes. Greedy-Gnorm takes over fifty "
    "times as many.": lambda: (
        not over_gradient("compare-cola-rte")
        and passes(criteria(*COLA[0])["gradient"]) == 2
        and passes(criteria(*COLA[0])["gnorm"]) > 100
    ),
    "No criterion is surely worse than the entropy or the confidence of the maps. On each fine-tuning some are surely "
    "better than the confidence.": lambda: (
        not [first for of in (*COLA, RTE) for first, _ in better(*of) if first in ("entropy", "confidence")]
        and all("confidence" in {second for _, second in better(*of)} for of in COLA)
    ),
    "Ablation by the metric is no better than random orders: the scores of two samples of a few hundred examples do "
    "not agree.": lambda: all(
        "ablation" not in over_random(*of) and criteria(*of)["ablation"]["agrees"]["low"] < 0 for of in (*COLA, RTE)
    ),
    "Stable scores need not be good ones: norms and maps give almost the same order on each sample, but none of them "
    "surely beats random orders.": lambda: all(
        criteria(*of)[name]["agrees"]["value"] > 0.98 and name not in over_random(*of)
        for of in (*COLA, RTE)
        for name in FORWARD
    ),
    "The scores of the three fine-tunings agree in part by all criteria but ablation, by which they hardly "
    "agree.": lambda: all(
        (each["value"] < 0.2) if name == "ablation" else (each["value"] > 0.5)
        for name, each in record("compare-cola-rte")["groups"][0]["agrees"].items()
    ),
    "HIES, with its weight fixed beforehand, is surely worse than Michel's score, which is one half of it.": lambda: (
        differs("compare-cola-rte", "hies", "gradient") < -1
    ),
    "The gradient and attention attribution surely beat random orders on MNLI, QNLI and STS-B. Nothing surely beats "
    "them on SST-2 and MRPC.": lambda: (
        all({"gradient", "attention-attribution"} <= over_random(*of) for of in (MNLI, QNLI, STSB))
        and not over_random(*SST2)
        and not over_random(*MRPC)
    ),
    "On the mean of the five, the gradient is surely better than each other criterion of few passes but attention "
    "attribution. These two do not surely differ on the mean, nor on any task.": lambda: (
        {name for name in on_all(*FIVE) - {"gradient"} if differs("compare-five", name, "gradient") < -1}
        == on_all(*FIVE) - {"attention-attribution", "gradient"}
        and abs(differs("compare-five", "attention-attribution", "gradient")) < 1
        and not [pair for of in FIVE for pair in better(*of) if {*pair} == {"gradient", "attention-attribution"}]
    ),
    "On SST-2, the entropy and the confidence are surely worse than random orders, and HIES is surely worse than the "
    "gradient. The same holds on the mean of the five.": lambda: (
        {second for first, second in better(*SST2) if first == "random"} == {"entropy", "confidence"}
        and ("gradient", "hies") in better(*SST2)
        and all(differs("compare-five", name, "random") < -1 for name in ("entropy", "confidence"))
        and differs("compare-five", "hies", "gradient") < -1
    ),
    "The norm of the weights is surely worse than random orders on MNLI, and on the mean of the five.": lambda: (
        ("random", "magnitude") in better(*MNLI) and differs("compare-five", "magnitude", "random") < -1
    ),
    "By ablation two samples hardly agree, on any task.": lambda: all(
        criteria(*of)["ablation"]["agrees"]["value"] < 0.3 for of in FIVE
    ),
    "The gradient is surely better than each other criterion of few passes but attention attribution, from which it "
    "does not surely differ.": lambda: on_seven("gradient")[1:] == ({"attention-attribution"}, set()),
    "Both surely beat random orders. So do the ratio of norms, the mask search by Fisher information, integrated "
    "gradients and the norm of a head's output.": lambda: (
        on_seven("random")[2]
        == {
            "gradient",
            "attention-attribution",
            "relative-norm",
            "fisher-search",
            "integrated-gradients",
            "output-norm",
        }
    ),
    "The norm of the weights, the entropy and the confidence are surely worse than random orders. HIES, first-token, "
    "second order, row sums, ablation and the exact ablation of flagged heads do not surely differ from "
    "them.": lambda: (
        on_seven("random")[:2]
        == (
            {"magnitude", "entropy", "confidence"},
            {"hies", "first-token", "second-order", "row-sums", "ablation", "screened"},
        )
    ),
    "All criteria but second order and row sums surely beat random orders, the norm of the weights and the entropy "
    "among them. Greedy-Gnorm with labels is surely worse than the gradient.": lambda: (
        {each.criterion for each in gains_of("compare-mini") if each.value < each.half} == {"second-order", "row-sums"}
        and differs("compare-mini", "gnorm", "gradient") < -1
    ),
    "The gradient, the mask search by Fisher information, HIES, attention attribution and the criteria by one forward "
    "pass gain what they gain by sixty-four examples, within two points.": lambda: all(
        abs(gained_less(name)) < 2 for name in ("gradient", "fisher-search", "hies", "attention-attribution", *FORWARD)
    ),
    "Ablation by the metric gains ten points less. Integrated gradients gain over five points less.": lambda: (
        10 < gained_less("ablation") < 11 and 5 < gained_less("integrated-gradients") < 7
    ),
    "No criterion is surely better than the gradient, on the mean or on any task.": lambda: (
        not over_gradient("compare-few")
        and all(
            differs("compare-few", each.criterion, "gradient") < 1
            for each in gains_of("compare-few")
            if each.criterion != "gradient"
        )
    ),
    "On all three, the gradient, Greedy-Gnorm with labels, attention attribution and second order surely beat random "
    "orders. Nothing is surely better than the gradient on any of them.": lambda: (
        set.intersection(*(over_random(*of) for of in (*DECODERS, TRANSLATION)))
        == {"gradient", "gnorm", "attention-attribution", "second-order"}
        and not over_gradient("compare-decoder")
    ),
    "On the mean of the three, the norms, the maps, ablation, HIES and Greedy-Gnorm as published are surely worse than "
    "the gradient. Attention attribution is surely better, by about a point.": lambda: (
        all(
            differs("compare-decoder", name, "gradient") < -1
            for name in (*FORWARD, "magnitude", "ablation", "hies", "gnorm-published")
        )
        and differs("compare-decoder", "attention-attribution", "gradient") > 1
        and 0.5 < mean_difference(record("compare-decoder")["subjects"], "attention-attribution", "gradient")[0] < 1.5
    ),
    "Row sums and integrated gradients are good orders of the translation model's heads. On the decoder for "
    "acceptability two samples hardly agree by either.": lambda: all(
        criteria(*TRANSLATION)[name]["gain"]["value"] > criteria(*TRANSLATION)["gradient"]["gain"]["value"]
        and criteria(*DECODERS[0])[name]["agrees"]["value"] < 0.4
        for name in ("row-sums", "integrated-gradients")
    ),
    "Exact ablation of flagged heads is not defined for translations.": lambda: (
        "screened" not in criteria(*TRANSLATION) and "screened" in criteria(*DECODERS[0])
    ),
    "All criteria but first-token, ablation, regression, greedy removal and subset sampling find every dead head. "
    "First-token finds none: without weights a head looks at all tokens alike.": lambda: (
        {name for name, of in planted().items() if of["dead"] < 1}
        == {"first-token", "ablation", "regression", "greedy", "subset-gates"}
        and planted()["first-token"]["dead"] == 0
    ),
    "A head that alone decides the label of many examples is always found by regression on masks and by attention "
    "attribution. The gradient, HIES, Greedy-Gnorm with labels, row sums and the norm of the weights never find "
    "it.": lambda: (
        {name for name, of in planted().items() if of["feature"] == 1} == {"regression", "attention-attribution"}
        and {name for name, of in planted().items() if of["feature"] == 0}
        == {"gradient", "hies", "gnorm", "row-sums", "magnitude"}
    ),
    "A head that few examples need is hard to find. Entropy and confidence find most of them, criteria by masks and "
    "gates that are learned hardly any.": lambda: (
        {name for name, of in planted().items() if of["rare"] > 0.6} == {"entropy", "confidence"}
        and max(of["rare"] for of in planted().values()) < 0.7
        and all(planted()[name]["rare"] < 0.1 for name in (*BY_MASKS, *LEARNED))
    ),
    "No criterion finds all heads that only add noise. Those without a sign are not asked.": lambda: (
        max(of["noise"] for of in planted().values() if "noise" in of) < 0.8
    ),
    "In these models greedy removal has the largest gain. The gradient and both forms of Greedy-Gnorm are surely "
    "worse. The norm of a head's output beside its layer's is surely worse than random orders.": lambda: (
        (gains := gains_of("compare-planted"))[0].criterion == "greedy"
        and all(differs("compare-planted", "greedy", name) > 2 for name in ("gradient", "gnorm", "gnorm-published"))
        and [each.criterion for each in gains if each.value < -each.half] == ["relative-norm"]
    ),
}


def findings(page):
    """The items of the page's lists, on a line each."""
    return [" ".join(item.split()) for item in re.findall(r"^- (.*(?:\n  .*)*)", page, re.M)]


def test_each_finding_has_a_condition():
    assert findings(PAGE) == [*FINDINGS]


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda text: " ".join(text.split()[:6]))
def test_a_finding_is_so(finding):
    assert FINDINGS[finding]()


def test_a_finding_that_is_not_so_is_found():
    assert findings("- One\n  of two lines.\n- Two.\n") == ["One of two lines.", "Two."]
    assert not over_random(*RTE)
    assert ("gnorm", "ablation") in better(*COLA[0])
    assert ("ablation", "gnorm") not in better(*COLA[0])
