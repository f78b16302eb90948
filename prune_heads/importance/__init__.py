"""How important is each head? `CRITERIA` is the table; higher = more important, for every criterion."""

from prune_heads.importance.criteria import CRITERIA, Criterion, Examples, model_without
from prune_heads.importance.gradient import ESTIMATORS, NORMALIZERS, GateGradients, gate_gradients, running_sum
from prune_heads.importance.own import criterion_of, own_criterion
