"""How important is each head? `CRITERIA` is the table; higher = more important, for every criterion."""

from prune_heads.importance.criteria import CRITERIA, Criterion, Examples, criterion_of, model_without, own_criterion
from prune_heads.importance.gradient import (
    ESTIMATORS,
    NORMALIZERS,
    BatchRows,
    GateGradients,
    batch_rows,
    gate_gradients,
    in_file_order,
    running_sum,
)
