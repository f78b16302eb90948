"""What a reproduction shows, and words that its parts share."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prune_heads.paper import sheet
from prune_heads.reporting.figures import Figure
from prune_heads.reporting.words import Record, Row, subject_of
from prune_heads.tables import Page, Table

Records = Mapping[str, Sequence[Record]]  # study -> its record for each subject, in the order of the subjects

SURE = "*"  # mark of a difference with p < 0.01, the paper's level


@dataclass(frozen=True)
class Shown:
    """A table, and figures by the end of their file names."""

    table: Table
    figures: Mapping[str, Figure] = field(default_factory=dict)
    summary: Table | None = None  # a row a subject, where the table has many
    below: Table | None = None  # what is said of some subjects together

    @property
    def page(self) -> Page | Table:
        """The table, after the summary and before what stands below it, if there are such."""
        if self.summary is None and self.below is None:
            return self.table
        parts = (self.summary, replace(self.table, title=""), self.below)
        return Page(self.table.title, tuple(part for part in parts if part is not None))


def is_translation(record: Record) -> bool:
    """Whether what the model wrote was measured, and not what it answered."""
    return "translation" in record


def drawn(draw: Callable[[Record], Figure], records: Sequence[Record]) -> dict[str, Figure]:
    """A figure a subject, by the end of its name: `a` of a translation, `b` of another, `b-sst2` of a second one."""
    seen, figures = Counter[str](), {}
    for record in records:
        end = "a" if is_translation(record) else "b"
        if seen[end]:
            end += f"-{record['task']}"
        seen[end] += 1
        figures[end + (f"-{seen[end]}" if seen[end] > 1 else "")] = draw(record)
    return figures


def table_of(
    name: str,
    records: Sequence[Record],
    rows: Iterable[Row],
    also: Mapping[str, bool] = {},
    forms: Mapping[str, str] = {},
    before: Iterable[str] = (),
    **words: Any,
) -> Table:
    """A table with the title, the forms and the notes of its sheet, in which `words` stand; more notes go `before`.

    `also`: other sentences of the sheet -> whether they are said. A single subject stands in the title instead of in a
    column `subject`. Where numbers are not of full precision it is said; where some subjects alone are so, of which.
    """
    subject, is_alone, about = subject_of(records[0]), len(records) == 1, sheet(name)
    if is_alone:
        rows = [{key: value for key, value in row.items() if (key, value) != ("subject", subject)} for row in rows]
    keys = ["notes", *(key for key, is_said in also.items() if is_said)]
    notes = [*before, *(sentence.format(**words) for key in keys for sentence in about[key])]
    dtypes = [record["configuration"]["dtype"] for record in records]
    for dtype in dict.fromkeys(each for each in dtypes if each != "float32"):
        whose = [subject_of(record) for record, each in zip(records, dtypes, strict=True) if each == dtype]
        notes.append(f"Computed in {dtype}" + (f": {', '.join(whose)}." if len(whose) < len(records) else "."))
    title = about["title"].format(subject=f", {subject}" if is_alone else "", **words)
    return Table.of(title, rows, {**about.get("forms", {}), **forms}, notes)


def ends(found: Record, scale: float = 1.0, less: float = 0.0) -> tuple[float, float] | None:
    """The interval of a number, times `scale`, less a number; None where it has none."""
    return None if found["low"] is None else (scale * found["low"] - less, scale * found["high"] - less)
