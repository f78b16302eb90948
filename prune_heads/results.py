"""What the Evaluator gives: plain values that show well in a terminal and in a notebook."""

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

    from prune_heads.tables import Table

Row = dict[str, Any]
Cells = list[list[float | None]]
"""One row a block; None for a head that is not there or was not asked about."""


class _Result:
    """What results share; `print` of Rich draws their table, a notebook shows it as HTML."""

    def to_json(self) -> dict[str, Any]:
        """What the command of the same name prints with --json."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.repr}  # type: ignore[arg-type]

    def to_pandas(self) -> "pd.DataFrame":
        """A row a metric, a head or a point, numbers in full; layers and heads from 1."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def __rich__(self) -> "RenderableType":
        return self._table()

    def _repr_html_(self) -> str:
        return self._table().to_html()

    def _rows(self) -> Iterator[Row]:
        raise NotImplementedError

    def _table(self) -> "Table":
        raise NotImplementedError
