"""The table of guide/criteria.md, from the rows of criteria.toml: `python -m tests.criteria_page` writes it."""

import re
from pathlib import Path

import prune_heads
from prune_heads.importance import CRITERIA

PAGE = Path(prune_heads.__file__).parent / "guide/criteria.md"
TABLE = re.compile(r"^\| `--criterion` .*?\n(?=\n)", re.MULTILINE | re.DOTALL)


def table() -> str:
    """A row a criterion."""
    columns = ("`--criterion`", "score of head h", "source", "cost", "looks at", "error")
    lines = [columns, ("---",) * len(columns)]
    for name, row in CRITERIA.items():
        cells = (row.formula, row.paper, row.cost, row.looks_at, "yes" if row.has_error else "no")
        lines.append((f"`{name}`", *(cell.replace("|", "\\|") for cell in cells)))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda found: table(), PAGE.read_text("utf-8"), count=1), encoding="utf-8")
