"""What was found: values."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One use, in one line."""

    file: str
    """As the user named it; relative stays relative."""
    cell: int | None
    """Of a notebook: which cell, counting all of them from 1."""
    line: int
    """From 1; in a notebook, within the cell."""
    use: str
    """A key of `USES`."""


@dataclass(frozen=True)
class Unreadable:
    """A file, or a cell of a notebook, that names a use and cannot be parsed."""

    file: str
    cell: int | None
    reason: str


@dataclass
class Report:
    """All of a run."""

    findings: list[Finding] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    n_files: int = 0
    """Files that were looked into."""
