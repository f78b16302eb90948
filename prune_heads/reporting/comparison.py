"""The tables of `prune-heads compare`: a row a criterion, in each column a quality with its error."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import mean, variance
from typing import NamedTuple

from prune_heads.reporting.curves import wilson
from prune_heads.reporting.words import Record, Row, metric_name
from prune_heads.statistics.ties import half_interval
from prune_heads.tables import Form, Page, Table

RANDOM = "random"


def _with_error(digits: str) -> Form:
    return Form(lambda of: f"{of[0]:{digits}}" + ("" if of[1] is None else f" ± {of[1]:.2f}"), ("", ", error"))


_SUMS = ("sums", "sums, response")
FORMS = dict.fromkeys(("gain", "area"), _with_error("+.2f")) | dict.fromkeys((*_SUMS, "agrees"), _with_error(".2f"))
_ABOUT = (
    "gain: area under the curve less that of random orders, in points of the metric; ± is half of the 95% interval "
    "for other scoring samples and other examples.",
    "ties: a letter in common is a tie at 5% after Holm; sums: Spearman's correlation of the summed scores of random "
    "masks with what they lose of the metric, or of the mean response, such as the log-likelihood; agrees: that of the "
    "scores of two samples; passes: forward + backward.",
)
_ELSEWHERE = "passes: forward and backward. A table of each model and task is in the folder, in table.md."


class Mean(NamedTuple):
    """The mean gain of a criterion over subjects, in points; fine-tunings by several seeds count as one."""

    criterion: str
    looks_at: str
    value: float
    half: float  # half of its 95% interval, for the same tasks
    passes: float  # forward and backward, mean of the subjects


class Summary(NamedTuple):
    """Criteria that were compared on the same subjects, best first."""

    subjects: tuple[str, ...]
    means: tuple[Mean, ...]


def summaries(record: Record) -> list[Summary]:
    """One for each set of subjects that some criterion was compared on, most first; of all criteria on these.

    A single subject, whose own table has the same, only if there are no others.
    """
    on = dict[str, list[str]]()
    for subject in record["subjects"]:
        for each in subject["criteria"]:
            on.setdefault(each["criterion"], []).append(subject["name"])
    found, first = [], {name: each for subject in record["subjects"] for name, each in named(subject).items()}
    for names in sorted({tuple(of) for of in on.values()}, key=lambda of: (-len(of), of)):
        subjects = [subject for subject in record["subjects"] if subject["name"] in names]
        means = []
        for name in (name for name, there in on.items() if {*names} <= {*there} and name != RANDOM):
            passes = mean(sum(named(subject)[name]["passes"].values()) for subject in subjects)
            means.append(Mean(name, first[name]["looks_at"], *mean_difference(subjects, name, RANDOM), passes))
        found.append(Summary(names, tuple(sorted(means, key=lambda each: -each.value))))
    found = [summary for summary in found if summary.means]
    return [summary for summary in found if len(summary.subjects) > 1] or found


def named(subject: Record) -> dict[str, Record]:
    """The criteria of a subject by their names."""
    return {each["criterion"]: each for each in subject["criteria"]}


def mean_difference(subjects: Iterable[Record], first: str, second: str) -> tuple[float, float]:
    """The mean over subjects of the area of one criterion less that of another, in points; half of its 95% interval.

    The interval is for these tasks, with independent errors. The variance of a group of seeds is S / k + the mean one
    of a seed, S that between the k seeds: too large rather than too small, for what the examples do to all seeds is
    counted with what it does to one.
    """
    groups = dict[str, list[Record]]()
    for subject in subjects:
        for pair in (pair for pair in subject["pairs"] if {pair["first"], pair["second"]} == {first, second}):
            value = pair["value"] if pair["first"] == first else -pair["value"]
            groups.setdefault(subject["group"] or subject["name"], []).append({**pair, "value": value})
    means, parts = [], []
    for pairs in groups.values():
        values, n = [pair["value"] for pair in pairs], len(pairs)
        means.append(mean(values))
        parts.append((mean(pair["error"] ** 2 for pair in pairs), mean(pair["degrees"] for pair in pairs)))
        parts += [(variance(values) / n, n - 1)] if n > 1 else []
    return 100 * mean(means), 100 * half_interval(parts) / len(means)


def comparison_page(record: Record, *, narrow: bool = False) -> Page:
    """The means over subjects, where there are several, and a table a subject; in a narrow one the means alone."""
    subjects, parts = record["subjects"], list[Table | str]()
    for summary in summaries(record) if len(subjects) > 1 else ():
        rows = [{"criterion": m.criterion, "gain": (m.value, m.half), "passes": f"{m.passes:g}"} for m in summary.means]
        of, n = ", ".join(summary.subjects), len(summary.subjects)
        parts.append(Table.of(f"Mean gain, {n} subjects" if n > 1 else of, rows, FORMS, [f"Of {of}."]))
    for subject in subjects if len(subjects) == 1 or not narrow else ():
        n, sizes = subject["data"][0]["n_examples"], subject["score_samples"]["n_examples"]
        how = "disjoint samples" if subject["score_samples"]["disjoint"] else "resamples"
        notes = [f"{metric_name(subject)} {subject['base']:.4f} with all heads, {n:,} examples; scored on {len(sizes)}"]
        notes[0] += f" {how} of {max(sizes):,}."
        notes += [f"{name} is left out: {why}" for name, why in subject["left_out"].items()]
        parts.append(Table.of(subject["name"], _rows(subject, 1 if narrow else 2), FORMS, notes))
    about = (_ABOUT[0], _ELSEWHERE) if narrow and len(subjects) > 1 else _ABOUT
    return Page("Which criterion to believe", (*parts, *_recalled(subjects, narrow), *_seeds(record), *about))


def _rows(subject: Record, n_sums: int) -> Iterator[Row]:
    """A row a criterion; sums with so many kinds of losses."""
    for each in subject["criteria"]:
        sums = dict(zip(_SUMS[:n_sums], each["additive"].values(), strict=False))
        about = {"gain": each["gain"] and _pair(each["gain"], 100), "ties": each["ties"]}
        about |= {name: found and _pair(found) for name, found in sums.items()}
        about |= {"agrees": each["agrees"] and _pair(each["agrees"])}
        yield {"criterion": each["criterion"], **about, "passes": "{forward:g} + {backward:g}".format(**each["passes"])}


def _pair(found: Record, scale: float = 1) -> tuple[float, float | None]:
    """The value, and half of its interval; None for no interval."""
    return scale * found["value"], None if found["low"] is None else scale * (found["high"] - found["low"]) / 2


def _recalled(subjects: Iterable[Record], narrow: bool) -> Iterator[Table]:
    """How many planted heads each criterion finds, of all subjects that have some; a narrow one has no intervals."""
    found = dict[str, dict[str, list[float]]]()
    for each in (each for subject in subjects for each in subject["criteria"] if each["recall"]):
        for kind, of in each["recall"].items():
            total = found.setdefault(each["criterion"], {}).setdefault(kind, [0.0, 0])
            total[:] = total[0] + of["found"], total[1] + of["n"]
    if found:
        shares = {name: {kind: _share(of, narrow) for kind, of in kinds.items()} for name, kinds in found.items()}
        note = "Share of the planted heads, or pairs of copies, that a criterion finds"
        note += "." if narrow else ", with Wilson's 95% interval."
        yield Table.of("Recall of planted heads", ({"criterion": n, **row} for n, row in shares.items()), {}, (note,))


def _share(of: Sequence[float], narrow: bool) -> str:
    found, n = of
    low, high = wilson(found / n, int(n))
    return f"{found / n:.2f} of {n}" if narrow else f"{found / n:.2f} ({low:.2f} to {high:.2f}) of {n}"


def _seeds(record: Record) -> Iterator[Table]:
    """How the scores of fine-tunings by several seeds agree."""
    for group in record["groups"]:
        rows = [{"criterion": name, "agrees": each and _pair(each)} for name, each in group["agrees"].items()]
        yield Table.of(f"Agreement of the scores of {', '.join(group['subjects'])}", rows, FORMS)


def comparison_csv(record: Record) -> str:
    """All tables of the subjects in one, numbers with 12 digits: a row a subject and criterion."""
    rows = ({"subject": subject["name"], **row} for subject in record["subjects"] for row in _rows(subject, 2))
    return Table.of("", rows, FORMS).to_csv(12)
