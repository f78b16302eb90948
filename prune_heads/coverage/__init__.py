"""The table of model types as it was tried for this release, and the trials that make it."""

import json
from importlib import resources
from typing import Any


def committed_table() -> dict[str, Any]:
    """`{"transformers": version, "models": [...]}`, with a row of `coverage.tiny.row_of` for each type."""
    return json.loads((resources.files("prune_heads.coverage") / "table.json").read_text())
