"""Which lines of older scripts rely on the masks and the pruning that transformers 5 no longer has.

Files are read by syntax tree; nothing of them is run or imported. Standard library only.
"""

from prune_heads.migration.files import examine
from prune_heads.migration.report import Finding, Report, Unreadable

__all__ = ["Finding", "Report", "Unreadable", "examine"]
