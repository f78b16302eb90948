"""What a reproduction shows, and words that its parts share."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from prune_heads.paper import sheet
from prune_heads.reporting.words import Record, Row, subject_of
from prune_heads.tables import Page, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Records = Mapping[str, Sequence[Record]]  # study -> its record for each subject, in the order of the subjects

SURE = "*"  # mark of a difference with p < 0.01, the paper's level


@dataclass(frozen=True)
class Shown:
    """A table, and figures by the end of their file names."""

    table: Table
    figures: Mapping[str, "Figure"] = field(default_factory=dict)
    summary: Table | None = None  # a row a subject, where the table has many

    @property
    def page(self) -> Page | Table:
        """The summary if there is one, and the table."""
        if self.summary is None:
            return self.table
        return Page(self.table.title, (self.summary, replace(self.table, title="")))


def is_translation(record: Record) -> bool:
    """Whether what the model wrote was measured, and not what it answered."""
    return "translation" in record


def panels(records: Sequence[Record]) -> Iterator[tuple[str, Record]]:
    """End of the name of each subject's figure: `a` of a translation, `b` of another, `b-sst2` of a second one."""
    seen: Counter[str] = Counter()
    for record in records:
        end = "a" if is_translation(record) else "b"
        if seen[end]:
            end += f"-{record['task']}"
        seen[end] += 1
        yield end + (f"-{seen[end]}" if seen[end] > 1 else ""), record


def said(name: str, key: str = "notes", **words: Any) -> list[str]:
    """Sentences of a sheet, with these words in them."""
    return [sentence.format(**words) for sentence in sheet(name)[key]]


def table_of(
    name: str, records: Sequence[Record], rows: list[Row], notes: list[str], forms: Mapping[str, str] = {}, **words: Any
) -> Table:
    """A table with the title and the forms of its sheet.

    A single subject stands in the title instead of in a column `subject`. Where numbers are not of full precision it is
    said; where they are so of some subjects alone, of which.
    """
    subject, is_alone = subject_of(records[0]), len(records) == 1
    title = sheet(name)["title"].format(subject=f", {subject}" if is_alone else "", **words)
    if is_alone:
        rows = [dict(item for item in row.items() if item != ("subject", subject)) for row in rows]
    dtypes: dict[str, list[str]] = {}
    for record in records:
        dtypes.setdefault(record["configuration"]["dtype"], []).append(subject_of(record))
    dtypes.pop("float32", None)
    precision = (
        f"Computed in {dtype}" + (f": {', '.join(whose)}." if len(whose) < len(records) else ".")
        for dtype, whose in dtypes.items()
    )
    return Table.of(title, rows, {**sheet(name).get("forms", {}), **forms}, (*notes, *precision))
