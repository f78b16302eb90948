"""The table of model types as it was tried for this release; `survey` makes it."""

import json
from importlib import resources
from typing import Any


def committed_table() -> dict[str, Any]:
    """`{"transformers": version, "models": [...]}`, with a row of `survey.Survey` for each type."""
    table: dict[str, Any] = json.loads((resources.files("prune_heads.coverage") / "table.json").read_text())
    return table


def beside_heads(model_type: str) -> list[str]:
    """The modules of a type by which tokens see each other and which have no heads here."""
    rows = {row["type"]: row["mixers"] for row in committed_table()["models"]}
    return list(rows.get(model_type, []))
