"""prune-heads: how important is each attention head? Score, gate, zero, remove, re-evaluate.

The names below are the public API. They are imported when first used, since torch takes seconds to import
and the command line must answer at once.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prune_heads.anatomy import AttentionBlock as AttentionBlock
    from prune_heads.anatomy import attention_blocks as attention_blocks
    from prune_heads.anatomy import describe_attention as describe_attention
    from prune_heads.checkpoints import load_pruned as load_pruned
    from prune_heads.checkpoints import save_pruned as save_pruned
    from prune_heads.errors import PruneHeadsError as PruneHeadsError
    from prune_heads.evaluator import Evaluator as Evaluator
    from prune_heads.gating import gated as gated
    from prune_heads.gating import gates_of as gates_of
    from prune_heads.heads import HeadMask as HeadMask
    from prune_heads.heads import HeadScores as HeadScores
    from prune_heads.importance import CRITERIA as CRITERIA
    from prune_heads.importance import ESTIMATORS as ESTIMATORS
    from prune_heads.importance import Examples as Examples
    from prune_heads.importance import gate_gradients as gate_gradients
    from prune_heads.objectives import OBJECTIVES as OBJECTIVES
    from prune_heads.objectives.base import Objective as Objective
    from prune_heads.results import Ablations as Ablations
    from prune_heads.results import Comparison as Comparison
    from prune_heads.results import Curve as Curve
    from prune_heads.results import Evaluation as Evaluation
    from prune_heads.results import Scores as Scores
    from prune_heads.selection import select as select
    from prune_heads.surgery import remove_heads as remove_heads
    from prune_heads.surgery import zero_heads as zero_heads
    from prune_heads.tasks.task import load_task as load_task
    from prune_heads.verification import prove_gates as prove_gates
    from prune_heads.verification import verify as verify

    __version__: str

_HOME = {
    "AttentionBlock": "anatomy",
    "attention_blocks": "anatomy",
    "describe_attention": "anatomy",
    "load_pruned": "checkpoints",
    "save_pruned": "checkpoints",
    "PruneHeadsError": "errors",
    "Evaluator": "evaluator",
    "gated": "gating",
    "gates_of": "gating",
    "HeadMask": "heads",
    "HeadScores": "heads",
    "CRITERIA": "importance",
    "ESTIMATORS": "importance",
    "Examples": "importance",
    "gate_gradients": "importance",
    "OBJECTIVES": "objectives",
    "Objective": "objectives.base",
    "prove_gates": "verification",
    "Ablations": "results",
    "Comparison": "results",
    "Curve": "results",
    "Evaluation": "results",
    "Scores": "results",
    "select": "selection",
    "remove_heads": "surgery",
    "zero_heads": "surgery",
    "load_task": "tasks.task",
    "verify": "verification",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("prune-heads")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
