"""The options of single steps: evaluate, prune, export, info."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from prune_heads.options.choices import Mode, Target
from prune_heads.options.fields import Group, option
from prune_heads.options.places import json_file
from prune_heads.options.setup import WrittenModel

# Heads stand in records by themselves, not by the text or the file that names them.


@dataclass(frozen=True)
class Masked(Group):
    """What is evaluated."""

    heads: str = option(
        "Heads to mask, counted from 1: '3:1,5 7:2'; or a heads.json. (default: none)",
        "content",
        is_path=json_file,
        default="",
    )
    split: str | None = option(
        "Split to evaluate on. (default: the task's first validation split)", "content"
    )


@dataclass(frozen=True)
class Surgery(Group):
    """By what heads are chosen, and what happens to them."""

    scores: Path | None = option("A scores.json; the heads with the lowest scores are pruned.", "content")
    mode: Mode = option("Set the weights of pruned heads to zero, or remove them.", default="zero")


@dataclass(frozen=True)
class Export(WrittenModel):
    """What a checkpoint is written as."""

    to: Target = option(
        "Format: 'dense' is a folder for plain transformers, in the original shapes, with zeros for pruned "
        "heads; 'onnx' is an ONNX file without them (needs the extra 'onnx').",
        default=MISSING,
        kw_only=True,
    )
    heads: str = option(
        "More heads to prune, counted from 1: '3:1,5 7:2'; or a heads.json. (default: none)",
        "content",
        is_path=json_file,
        default="",
    )

    @classmethod
    def clash(cls, given: Mapping[str, Any]) -> str | None:
        """ONNX is written in one precision."""
        dtype = given.get("dtype", cls.dtype)
        if given["to"] == "onnx" and dtype != "float32":
            return f"--dtype {dtype} is for --to dense; ONNX is written in float32"
        return None
