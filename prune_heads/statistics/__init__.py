"""What predictions say about heads: differences, their tests, and how two tables agree. Pure functions.

Nothing here knows of models or heads: arrays in, numbers out, with NumPy, and SciPy where
a test needs a distribution. Whatever is random takes a seed and is a function of its arguments.
"""

from prune_heads.statistics.differences import compare_areas, compare_paired, metric_interval, paired_bootstrap
from prune_heads.statistics.metrics import METRICS, N_COUNTS, Metric, mean_of, metric_named, unless
from prune_heads.statistics.tables import area_under_curve, benjamini_hochberg, correlate, correlate_within, holm
