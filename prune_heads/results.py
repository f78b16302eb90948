"""What the Evaluator gives: plain values that show well in a terminal and in a notebook."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from prune_heads.heads import NUMBERING, HeadScores
from prune_heads.reporting.ablation import ablation_table, head_rows, in_points, response_of, subtitle
from prune_heads.reporting.terminal import evaluation_table, score_table
from prune_heads.reporting.words import Row, data_name
from prune_heads.tables import Table

if TYPE_CHECKING:
    import pandas as pd

Cells = list[list[float | None]]  # one row a block; None for a head that is not there or was not asked about


class Result:
    """What results share: `print` of Rich draws `table()`, a notebook shows it as HTML."""

    def to_json(self) -> dict[str, Any]:
        """As the command of the same name prints it with --json."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in found.items() if name != "response" or value is not None}

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
    metrics: dict[str, float]  # by name; the first is the headline
    intervals: dict[str, list[float]]  # of 95%, by the bootstrap
    heads_pruned: list[str]  # descriptors, from 1; heads that the model has lost before are among them
    n_heads: int  # heads in all
    likelihood: Row | None = None
    """`value`, `low`, `high` of the mean log-likelihood of the right answer (nats an example), where it is defined."""
    response: Row | None = None  # the same of another response of the objective, with its `name` and `unit`

    @property
    def value(self) -> float:
        """The headline metric."""
        return next(iter(self.metrics.values()))

    def table(self) -> Table:
        """A row a metric."""
        return evaluation_table(self.to_json())

    def _rows(self) -> Iterator[Row]:
        for name, value in self.metrics.items():
            yield {"metric": name, "value": value, **dict(zip(("low", "high"), self.intervals[name], strict=True))}


@dataclass(frozen=True, eq=False)
class Scores(Result, HeadScores):
    """One number a head: `HeadScores`, and how they were made."""

    criterion: str = ""
    estimator: str | None = None
    normalize: str = "none"
    split: str | None = None  # that they were estimated on; None for a criterion that looks at no examples
    n_examples: int = 0
    blocks: tuple[Row, ...] = ()  # the attention blocks, as they were
    response: str = "metric"  # that `ablation` scored by

    def to_json(self) -> dict[str, Any]:
        """As `prune-heads score --json` prints it."""
        about = {name: getattr(self, name) for name in ("criterion", "estimator", "normalize", "split", "n_examples")}
        about |= {"response": self.response} if self.response != "metric" else {}
        return {**about, "numbering": NUMBERING, "blocks": list(self.blocks), **HeadScores.to_json(self)}

    def table(self) -> Table:
        """Layers down, heads across; heads that are gone have none."""
        return score_table(self.to_json())

    def _rows(self) -> Iterator[Row]:
        for block, head in ~self.gone:
            error = None if self.standard_error is None else float(self.standard_error[block][head])
            place = {"layer": self.n_heads.names()[block], "head": head + 1}
            yield {**place, "score": float(self.values[block][head]), "standard_error": error}


@dataclass(frozen=True)
class Ablations(Result):
    """What each head on its own does to the metric. Rows of cells are blocks; None: the head was not asked about."""

    task: str
    split: str
    kind: str
    metric: str
    base: float  # the metric without a mask
    n_examples: int
    numbering: str
    blocks: list[Row]
    value: Cells
    delta: Cells  # value less base
    low: Cells
    high: Cells
    p_value: Cells
    p_adjusted: dict[str, Cells]  # by `holm` and `bh` (Benjamini-Hochberg), over all heads
    test: str
    alpha: float  # the level of significance
    best: list[Row] | None  # of `only-one`: the head of each layer that is best on other examples
    likelihood: Row | None = None
    """`base`, `delta` and its tests as above, of the log-likelihood of the right answer in nats an example."""
    base_interval: list[float] | None = None  # of 95%, by the bootstrap
    together: Row | None = None  # what is said of all heads at once; see `prune_heads.studies.together`
    changed: Row | None = None  # cells of how many answers become right (`to_right`) and wrong (`to_wrong`)
    equivalence: Row | None = None  # to no mask, where a margin was named
    response: Row | None = None  # as `likelihood`, of another response of the objective, with its `name` and `unit`

    def table(self) -> Table:
        """Differences in points, layers down and heads across."""
        table = self.to_json()
        return ablation_table(table, f"{self.metric} {in_points(self.kind, self.metric)}: {subtitle(table)}")

    def _rows(self) -> Iterator[Row]:
        return head_rows(self.to_json())


@dataclass(frozen=True)
class Curve(Result):
    """The metric as heads go, lowest score first: one of the lines of `prune-heads curve`."""

    criterion: str | None
    estimator: str | None
    rescored: bool
    n_draws: int
    scored_on: str | None
    scores: Cells | None
    areas: dict[str, float]  # split -> area under the points, over the share of heads pruned
    points: list[Row]

    @property
    def area(self) -> float:
        """Under the points, over the share of heads pruned."""
        return next(iter(self.areas.values()))

    def table(self) -> Table:
        """A row a point."""
        rows = (
            {"pruned": point["percent"], "heads": point["n_pruned"], "value": point["value"]}
            | {"95% interval": (point["low"], point["high"])}
            for point in self.points
        )
        title = f"heads pruned by {self.criterion or 'the scores given'}, lowest score first"
        forms = {"pruned": "{:g}%", "value": ".4f", "95% interval": ".4f to"}
        return Table.of(title, rows, forms, (f"area under the curve: {self.area:.4f}",))

    def _rows(self) -> Iterator[Row]:
        return ({**point, "heads_pruned": " ".join(point["heads_pruned"])} for point in self.points)


@dataclass(frozen=True)
class Comparison(Result):
    """Two masks on the same examples."""

    task: str
    split: str
    n_examples: int
    first: list[str]  # descriptors, from 1
    second: list[str]
    rows: list[Row]
    """A row a metric, the headline first: `first`, `second`, `difference`, `low`, `high`, `p_value`, `test`."""
    likelihood: Row | None = None
    """The same of the mean log-likelihood of the right answer."""
    changed: list[int] | None = None  # answers that become right, and wrong, under the second
    response: Row | None = None  # as `likelihood`, of another response of the objective, with its `name` and `unit`

    @property
    def difference(self) -> float:
        """Of the headline metric: second less first."""
        return float(self.rows[0]["difference"])

    @property
    def p_value(self) -> float:
        """Of the headline metric, two-sided, under the hypothesis of no difference."""
        return float(self.rows[0]["p_value"])

    def table(self) -> Table:
        """A row a metric, and one of the response beside them."""
        of = response_of(self.to_json())
        rows = (
            {name: row[name] for name in ("metric", "first", "second", "difference")}
            | {"95% interval": (row["low"], row["high"]), "p": row["p_value"]}
            for row in [*self.rows, *([{"metric": f"{of[0]} ({of[1]})", **of[2]}] if of else [])]
        )
        first, second = (" ".join(heads) or "no head" for heads in (self.first, self.second))
        title = f"{data_name(self.task, self.split)}, {self.n_examples} examples; first: {first} pruned, second: "
        title += f"{second} pruned"
        tests = (f"p of {row['metric']}: {row['test']} test" for row in self.rows)
        forms = {"first": ".4f", "second": ".4f", "difference": "+.4f", "95% interval": ".4f to", "p": ".3g"}
        return Table.of(title, rows, forms, (f"{'; '.join(tests)}.",))

    def _rows(self) -> Iterator[Row]:
        return iter(self.rows)
