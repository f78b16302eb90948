"""What the Evaluator gives: plain values that show well in a terminal and in a notebook."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from math import floor, log10
from typing import TYPE_CHECKING, Any

from prune_heads.descriptors import HeadCounts
from prune_heads.heads import NUMBERING, HeadScores
from prune_heads.tables import POINTS, TEXT, Cell, Column, Form, Table, columns, number

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
Cells = list[list[float | None]]
"""One row a block; None for a head that is not there or was not asked about."""

_INTERVAL = Form(lambda ends: f"{ends[0]:.4f} to {ends[1]:.4f}", (", low", ", high"))


class Result:
    """What results share: `print` of Rich draws `table()`, a notebook shows it as HTML."""

    def to_json(self) -> dict[str, Any]:
        """As the command of the same name prints it with --json."""
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]

    def to_pandas(self) -> "pd.DataFrame":
        """A row a metric, a head or a point, numbers in full; layers and heads are counted from 1."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def table(self) -> Table:
        """For people; `to_markdown`, `to_latex`, `to_csv` and `to_html` write it."""
        raise NotImplementedError

    def __rich__(self) -> Table:
        return self.table()

    def _repr_html_(self) -> str:
        return self.table().to_html()

    def _rows(self) -> Iterator[Row]:
        raise NotImplementedError


@dataclass(frozen=True)
class Evaluation(Result):
    """The metrics under a mask."""

    task: str
    split: str
    n_examples: int
    metrics: dict[str, float]
    """By name; the first is the headline."""
    intervals: dict[str, list[float]]
    """Of 95%, by the bootstrap."""
    heads_pruned: list[str]
    """Descriptors, from 1; heads that the model has lost before are among them."""
    n_heads: int
    """Heads in all."""

    @property
    def value(self) -> float:
        """The headline metric."""
        return next(iter(self.metrics.values()))

    def table(self) -> Table:
        """A row a metric."""
        pruned = f"pruned: {' '.join(self.heads_pruned)}" if self.heads_pruned else "no head pruned"
        return Table(
            f"{self.task} {self.split}, {self.n_examples} examples, {pruned}",
            (Column("metric"), Column("value", number(4)), Column("95% interval", _INTERVAL)),
            tuple((name, value, tuple(self.intervals[name])) for name, value in self.metrics.items()),
        )

    def _rows(self) -> Iterator[Row]:
        for name, value in self.metrics.items():
            low, high = self.intervals[name]
            yield {"metric": name, "value": value, "low": low, "high": high}


@dataclass(frozen=True, eq=False)
class Scores(Result, HeadScores):
    """One number a head: `HeadScores`, and how they were made."""

    criterion: str = ""
    estimator: str | None = None
    normalize: str = "none"
    split: str | None = None
    """That they were estimated on; None for a criterion that looks at no examples."""
    n_examples: int = 0
    blocks: tuple[Row, ...] = ()
    """The attention blocks, as they were."""

    def to_json(self) -> dict[str, Any]:
        """As `prune-heads score --json` prints it."""
        return {
            "criterion": self.criterion,
            "estimator": self.estimator,
            "normalize": self.normalize,
            "split": self.split,
            "n_examples": self.n_examples,
            "numbering": NUMBERING,
            "blocks": list(self.blocks),
            **HeadScores.to_json(self),
        }

    def table(self) -> Table:
        """Layers down, heads across; heads that are gone have none."""
        made = " / ".join(part for part in (self.criterion, self.estimator) if part)
        on = f" on {self.n_examples} examples of {self.split}" if self.split else ""
        norm = "" if self.normalize == "none" else f", normalised: {self.normalize}"
        cells = [
            [value if kept else None for value, kept in zip(*row, strict=True)]
            for row in zip(self.values, self.gone.keep(), strict=True)
        ]
        largest = max((abs(value) for row in cells for value in row if value), default=1.0)
        form = number(max(0, 3 - floor(log10(largest))))
        return _grid(f"importance by {made}{on}{norm}", self.n_heads, cells, form)

    def _rows(self) -> Iterator[Row]:
        errors = self.standard_error
        for name, block, head in _heads(self.n_heads):
            if (block, head) not in self.gone:
                error = None if errors is None else float(errors[block][head])
                value = float(self.values[block][head])
                yield {"layer": name, "head": head + 1, "score": value, "standard_error": error}


@dataclass(frozen=True)
class Ablations(Result):
    """What each head on its own does to the metric. Rows of cells are blocks; None: the head was not asked about."""

    task: str
    split: str
    kind: str
    metric: str
    base: float
    """The metric without a mask."""
    n_examples: int
    numbering: str
    blocks: list[Row]
    value: Cells
    delta: Cells
    """Value less base."""
    low: Cells
    high: Cells
    p_value: Cells
    p_adjusted: dict[str, Cells]
    """By `holm` and `bh` (Benjamini-Hochberg), over all heads."""
    test: str
    alpha: float
    """The level of significance."""
    best: list[Row] | None
    """Of `only-one`: the head of each layer that is best on other examples."""

    def table(self) -> Table:
        """Differences in points, layers down and heads across."""

        def cell(delta: float | None, p: float | None) -> Cell | None:
            if delta is None or p is None:
                return None
            return Cell(100 * delta, "*" if p <= self.alpha else "")

        holm = self.p_adjusted["holm"]
        cells = [[cell(*pair) for pair in zip(*rows, strict=True)] for rows in zip(self.delta, holm, strict=True)]
        note = f"* p <= {self.alpha} by the {self.test} test after Holm's correction over all heads"
        how = "without each head" if self.kind == "without-one" else "with each head alone in its layer"
        title = f"{self.metric} {how}, minus {self.base:.4f} with all heads, in points: {self.split}, "
        title += f"{self.n_examples} examples"
        return _grid(title, HeadCounts.described(self.blocks), cells, POINTS, note)

    def _rows(self) -> Iterator[Row]:
        for name, block, head in _heads(HeadCounts.described(self.blocks)):
            if self.delta[block][head] is not None:
                named = ("value", "delta", "low", "high", "p_value")
                found = {key: getattr(self, key)[block][head] for key in named}
                adjusted = {f"p_{key}": cells[block][head] for key, cells in self.p_adjusted.items()}
                yield {"layer": name, "head": head + 1, **found, **adjusted}


@dataclass(frozen=True)
class Curve(Result):
    """The metric as heads go, lowest score first: one of the lines of `prune-heads curve`."""

    criterion: str | None
    estimator: str | None
    rescored: bool
    n_draws: int
    scored_on: str | None
    scores: Cells | None
    areas: dict[str, float]
    """Split -> area under the points, over the share of heads pruned."""
    points: list[Row]

    @property
    def area(self) -> float:
        """Under the points, over the share of heads pruned."""
        return next(iter(self.areas.values()))

    def table(self) -> Table:
        """A row a point."""
        rows = [(f"{p['percent']:g}%", str(p["n_pruned"]), p["value"], (p["low"], p["high"])) for p in self.points]
        shape = (*columns(right=("pruned", "heads")), Column("value", number(4)), Column("95% interval", _INTERVAL))
        title = f"heads pruned by {self.criterion or 'the scores given'}, lowest score first"
        return Table(title, shape, tuple(rows), (f"area under the curve: {self.area:.4f}",))

    def _rows(self) -> Iterator[Row]:
        yield from ({**point, "heads_pruned": " ".join(point["heads_pruned"])} for point in self.points)


@dataclass(frozen=True)
class Comparison(Result):
    """Two masks on the same examples."""

    task: str
    split: str
    n_examples: int
    first: list[str]
    """Descriptors, from 1."""
    second: list[str]
    rows: list[Row]
    """A row a metric, the headline first: `first`, `second`, `difference`, `low`, `high`, `p_value`, `test`."""

    @property
    def difference(self) -> float:
        """Of the headline metric: second less first."""
        return float(self.rows[0]["difference"])

    @property
    def p_value(self) -> float:
        """Of the headline metric, two-sided, under the hypothesis of no difference."""
        return float(self.rows[0]["p_value"])

    def table(self) -> Table:
        """A row a metric."""
        first, second = (" ".join(heads) or "no head" for heads in (self.first, self.second))
        four, difference = number(4), Form("{:+.4f}".format)
        shape = (Column("metric"), Column("first", four), Column("second", four), Column("difference", difference))
        tested = (Column("95% interval", _INTERVAL), Column("p", Form("{:.3g}".format)), Column("test", TEXT))
        keys = ("metric", "first", "second", "difference")
        rows = [(*(row[k] for k in keys), (row["low"], row["high"]), row["p_value"], row["test"]) for row in self.rows]
        pruned = f"first: {first} pruned, second: {second} pruned"
        title = f"{self.task} {self.split}, {self.n_examples} examples; {pruned}"
        return Table(title, shape + tested, tuple(rows))

    def _rows(self) -> Iterator[Row]:
        yield from self.rows


def _heads(n_heads: HeadCounts) -> Iterator[tuple[str, int, int]]:
    """Name of the block, its index, and the index of the head."""
    for block, (name, n) in enumerate(zip(n_heads.names(), n_heads, strict=True)):
        yield from ((name, block, head) for head in range(n))


def _grid(title: str, n_heads: HeadCounts, cells: Sequence[Sequence[Any]], form: Form, *notes: str) -> Table:
    width = max(n_heads, default=0)
    shape = (Column("layer"), *(Column(str(head + 1), form, "right") for head in range(width)))
    rows = [
        (name, *row, *[None] * (width - len(row)))
        for name, row in zip(n_heads.names(), cells, strict=True)
        if any(cell is not None for cell in row)
    ]
    return Table(title, shape, tuple(rows), notes)
