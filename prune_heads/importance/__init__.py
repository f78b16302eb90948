"""How important is each head? `CRITERIA` is the table; higher = more important, for every criterion."""

from prune_heads.importance.criteria import CRITERIA, criterion_of
from prune_heads.importance.criterion import Criterion, Examples, model_without
from prune_heads.importance.estimators import ESTIMATORS, running_sum
from prune_heads.importance.gradient import GateGradients, batch_rows, gate_gradients
from prune_heads.importance.normalize import NORMALIZERS
from prune_heads.importance.own import own_criterion
