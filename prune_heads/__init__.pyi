"""The public API: `prune_heads` imports each name from the module that is named here, when it is first used."""

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
