"""What Michel, Levy and Neubig (2019) published, as data, to be set beside what is measured here.

The file says where each number comes from. Layers and heads are numbered from 1, as in the paper.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

CITATION = "Michel, Levy and Neubig (2019), arXiv:1905.10650"


@cache
def published() -> Mapping[str, Any]:
    """Table or figure (`table3`) -> its numbers; `setup` and `replication` beside them."""
    text = resources.files("prune_heads.paper").joinpath("michel2019.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
