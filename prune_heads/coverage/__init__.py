"""The table of model types as it was tried for this release, and the trials that make it."""

import json
from importlib import resources
from typing import Any


def committed_table() -> dict[str, Any]:
    """`{"transformers": version, "models": [...]}`, with a row of `coverage.tiny.row_of` for each type."""
    table: dict[str, Any] = json.loads((resources.files("prune_heads.coverage") / "table.json").read_text())
    return table


def beside_heads(model_type: str) -> list[str]:
    """The modules of a type by which tokens see each other and which have no heads here."""
    return next((list(row["mixers"]) for row in committed_table()["models"] if row["type"] == model_type), [])
