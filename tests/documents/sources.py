"""Where a number of a document comes from, in one line: `file: path | operation | operation`.

`file` is a record, table or description (JSON, TOML, CSV) under results/, or in the package (`prune_heads/...`), and
may be left out where the claim names it once (`from`). One with a `*` stands for all files of that pattern: a list.
In `path`, `name` is a key, `[0]` an item, `[split=validation]` the one item that is so, `[*]` every item and
`[*criterion=random]` every one that is so. Several sources are joined by ` and `: a list. Operations are those of
`OPERATIONS`, or a format of Python (`.4f`, `+.2f`, `.1e`). Without a format only whole numbers and words can be shown.
"""

import csv
import functools
import json
import operator
import re
import statistics
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FORMAT = re.compile(r"\+?,?(\.\d+[ef])?")
WORDS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}


def shown(source: str, default: str | None = None) -> str:
    """The words that stand in the document for `source`; `default` is the file where it names none."""
    terms, *operations = source.split(" | ")
    values = [_found(term, default) for term in terms.split(" and ")]
    value = values if len(values) > 1 else values[0]
    for operation in operations:
        value = _applied(operation.strip(), value)
    if isinstance(value, int):
        value = f"{value:,}"
    assert isinstance(value, str), f"{source} is {value!r}: it wants a format"
    return value


def _found(term: str, default: str | None) -> Any:
    file, colon, path = term.rpartition(": ")
    name = file if colon else default
    assert name, f"{term} names no file"
    steps = re.findall(r"\[[^\]]*\]|[^.\[\]]+", path)
    folder = ROOT if name.startswith("prune_heads/") else ROOT / "results"
    if "*" in name:
        files = sorted(folder.glob(name))
        assert files, f"{term} stands for no file"
        return [_picked(_read(each), steps) for each in files]
    return _picked(_read(folder / name), steps)


@functools.cache
def _read(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".csv":
        return [
            {key: _number(cell) for key, cell in row.items()} for row in csv.DictReader(text.splitlines())
        ]
    return (tomllib if file.suffix == ".toml" else json).loads(text)


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _picked(value: Any, steps: Sequence[str]) -> Any:
    if not steps:
        return value
    step, *rest = steps
    if not step.startswith("["):
        return _picked(value[step], rest)
    step = step[1:-1]
    if step.startswith("*"):
        return [_picked(each, rest) for each in value if _is(each, step[1:])]
    if step.lstrip("-").isdigit():
        return _picked(value[int(step)], rest)
    (one,) = (each for each in value if _is(each, step))
    return _picked(one, rest)


def _is(item: Any, conditions: str) -> bool:
    pairs = (each.split("=") for each in conditions.split(",") if each)
    return all(str(item[key]) == wanted for key, wanted in pairs)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _flat(each)
    else:
        yield value


def _applied(operation: str, value: Any) -> Any:
    if FORMAT.fullmatch(operation):
        return _each(lambda number: _formatted(number, operation), value)
    name, _, argument = operation.partition(" ")
    assert name in OPERATIONS, f"there is no operation {name}; there are {', '.join(OPERATIONS)}"
    return OPERATIONS[name](value, *([argument] if argument else []))


def _each(function: Callable[[Any], Any], value: Any) -> Any:
    return [_each(function, each) for each in value] if isinstance(value, list) else function(value)


def _formatted(number: float, how: str) -> str:
    return re.sub(r"e\+?(-?)0*(\d)", r"e\1\2", format(number, how))  # 6.8e12, 1e-6


def _count(value: Any, condition: str) -> int:
    """Of the numbers; cells of a table that are empty are none."""
    sign, limit = condition.split()
    return sum(COMPARISONS[sign](each, float(limit)) for each in _flat(value) if each != "")


def _place(value: list[list[float]], end: str) -> str:
    """Where the lowest or highest of a table of heads stands."""
    number = {"min": min, "max": max}[end](_flat(value))
    (place,) = (
        f"layer {layer}, head {row.index(number) + 1}" for layer, row in enumerate(value, 1) if number in row
    )
    return place


def _best(value: Sequence[Mapping[str, Any]]) -> str:
    """The cells of a row of best heads: points, bold where the difference is significant after Holm."""
    points = [f"{100 * best['delta']:+.2f}" for best in value]
    marks = ["**" if best["p_holm"] < 0.01 else "" for best in value]
    return " | ".join(f"{mark}{point}{mark}" for mark, point in zip(marks, points, strict=True))


def _lost(best: Sequence[Mapping[str, Any]]) -> int:
    """Layers that one head alone leaves significantly worse, uncorrected as in the paper."""
    return sum(each["delta"] < 0 and each["p_value"] < 0.01 for each in best)


def _significant(sign: int) -> Callable[[Mapping[str, Any]], int]:
    """How many heads of a table of ablations make a significant difference, uncorrected, of this sign when masked."""

    def count(table: Mapping[str, Any]) -> int:
        pairs = zip(_flat(table["delta"]), _flat(table["p_value"]), strict=True)
        return sum(sign * delta > 0 and p < table["alpha"] for delta, p in pairs)

    return count


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "*": lambda value, factor: _each(lambda number: number * float(factor), value),
    "/": lambda value, divisor: _each(lambda number: number / float(divisor), value),
    "round": lambda value: _each(round, value),
    "abs": lambda value: _each(abs, value),
    "min": lambda value: min(_flat(value)),
    "max": lambda value: max(_flat(value)),
    "median": lambda value: statistics.median(_flat(value)),
    "mean": lambda value: statistics.fmean(_flat(value)),
    "sum": lambda value: sum(_flat(value)),
    "len": lambda value: sum(1 for _ in _flat(value)),
    "different": lambda value: len(set(_flat(value))),
    "count": _count,
    "difference": lambda pair: pair[0] - pair[1],
    "ratio": lambda pair: pair[0] / pair[1],
    "join": lambda texts, between: between.strip('"').join(texts),
    "before": lambda text, end: text.partition(end.strip('"'))[0],
    "word": lambda number: WORDS[round(number)],
    "place": _place,
    "best": _best,
    "lost": _lost,
    "missed": _significant(-1),
    "unwanted": _significant(1),
}
