"""The table of model types as it was tried for this release; `trial` makes it."""

import json
from importlib import resources
from typing import Any


def committed_table() -> dict[str, Any]:
    """`{"transformers": version, "models": [{type, gate, zero, remove, reason}, ...]}`."""
    table: dict[str, Any] = json.loads((resources.files("prune_heads.coverage") / "table.json").read_text())
    return table
