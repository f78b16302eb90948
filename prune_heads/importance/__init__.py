"""How important is each head? `CRITERIA` is the table; higher = more important, for every criterion."""

from prune_heads.importance.criteria import CRITERIA as CRITERIA
from prune_heads.importance.criteria import criterion_of as criterion_of
from prune_heads.importance.criterion import Criterion as Criterion
from prune_heads.importance.criterion import Examples as Examples
from prune_heads.importance.criterion import model_without as model_without
from prune_heads.importance.estimators import ESTIMATORS as ESTIMATORS
from prune_heads.importance.estimators import running_sum as running_sum
from prune_heads.importance.gradient import GateGradients as GateGradients
from prune_heads.importance.gradient import batch_rows as batch_rows
from prune_heads.importance.gradient import gate_gradients as gate_gradients
from prune_heads.importance.normalize import NORMALIZERS as NORMALIZERS
from prune_heads.importance.own import own_criterion as own_criterion
