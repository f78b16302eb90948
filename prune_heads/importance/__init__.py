"""How important is each head? `CRITERIA` is the table; higher = more important, for every criterion."""

from prune_heads.importance.criteria import CRITERIA, Criterion, Examples, criterion_of, model_without, own_criterion
from prune_heads.importance.gradient import ESTIMATORS, NORMALIZERS, GateGradients, gate_gradients, running_sum
