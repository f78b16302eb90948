"""The table of model types, as the tests tried them for this release."""

import json
from importlib import resources
from typing import Any


def committed_table() -> dict[str, Any]:
    """`{"transformers": version, "models": [...]}`, a row a type: what is exact, and why not."""
    return json.loads((resources.files("prune_heads.coverage") / "table.json").read_text())
